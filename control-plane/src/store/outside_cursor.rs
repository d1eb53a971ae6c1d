//! The cursors of spools whose records lie in no database of this kind: they lie in the central one, and a batch is taken in two
//! steps around the write outside.
//!
//! A batch is begun, written outside under a token that names it, and ended. Whoever stops in between leaves it begun, and it
//! comes again under the same token, with the same time and, unless it was long ago, the same numbers. The invariants: at most one
//! batch of a spool is begun and not ended, so a token is used by one batch alone; and a spool is not left while one is.

use sea_orm::sea_query::{Expr, ExprTrait as _, OnConflict};
use sea_orm::{
    ActiveValue::Set, ColumnTrait as _, Condition, EntityTrait as _, QueryFilter as _, QuerySelect as _,
};

use super::cursor::{Left, Spool};
use super::entity::arrival;
use super::entity::outside_cursor::{ActiveModel, Column, Entity, Model};
use super::row::Reader;
use super::{StoreError, Txn};

/// The row with the number of the record that came last outside.
const ARRIVAL: i32 = 3;
/// How long those that follow records wait for a batch that was begun, in microseconds.
const WAITED_FOR: i64 = 60_000_000;

/// The place of a spool's cursor.
#[derive(Debug, Clone)]
pub(super) struct Place {
    /// The store's name.
    pub(super) store: String,
    pub(super) spool: Spool,
}

/// What comes of beginning a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Begun {
    /// It is to be written outside: the number of its first record, and its time.
    At(i64, i64),
    /// The spool is stored up to this sequence, which is its own or behind it.
    Duplicate(u64),
    /// The batch with this sequence is due first.
    Expected(u64),
    /// Batches of it are stored elsewhere by now.
    Elsewhere,
}

impl Place {
    fn is_this(&self) -> Condition {
        Condition::all()
            .add(Column::Store.eq(&self.store))
            .add(Column::Node.eq(&self.spool.node))
            .add(Column::Spool.eq(self.spool.spool.clone()))
    }

    /// With the row's lock, in a transaction that writes.
    async fn take(&self, txn: &Txn) -> Result<Option<Model>, StoreError> {
        Entity::find()
            .filter(self.is_this())
            .lock_exclusive()
            .one(txn.tx())
            .await
            .map_err(StoreError::statement("read telemetry cursor"))
    }

    async fn insert(&self, txn: &Txn, last: i64, since: i64, is_left: bool) -> Result<(), StoreError> {
        Entity::insert(ActiveModel {
            store: Set(self.store.clone()),
            node: Set(self.spool.node.clone()),
            spool: Set(self.spool.spool.clone()),
            last: Set(last),
            since: Set(since),
            is_left: Set(is_left),
            first: Set(0),
            begun_at: Set(0),
            tried_at: Set(0),
        })
        .on_conflict(
            OnConflict::columns([Column::Store, Column::Node, Column::Spool]).do_nothing().to_owned(),
        )
        .exec_without_returning(txn.tx())
        .await
        .map_err(StoreError::statement("move telemetry cursor"))?;
        Ok(())
    }

    async fn set(&self, txn: &Txn, columns: &[(Column, Expr)]) -> Result<(), StoreError> {
        let mut update = Entity::update_many().filter(self.is_this());
        for (column, value) in columns {
            update = update.col_expr(*column, value.clone());
        }
        let updated = update.exec(txn.tx()).await;
        updated.map(drop).map_err(StoreError::statement("move telemetry cursor"))
    }
}

/// Begins a batch with so many records, where it is the next of its spool.
pub(super) async fn begin(
    txn: &Txn,
    place: &Place,
    sequence: i64,
    since: i64,
    records: usize,
) -> Result<Begun, StoreError> {
    let mut row = place.take(txn).await?;
    if row.is_none() {
        if since != 0 {
            // Its region came from elsewhere, and its cursor was not entered.
            return Ok(Begun::Elsewhere);
        }
        if sequence != 1 {
            return Ok(Begun::Expected(1));
        }
        place.insert(txn, 0, 0, false).await?;
        row = place.take(txn).await?;
    }
    let row = row.ok_or(StoreError::Damaged("telemetry cursor"))?;
    let last = u64::try_from(row.last).map_err(|_| StoreError::Damaged("telemetry cursor"))?;
    if row.is_left {
        return Ok(Begun::Elsewhere);
    }
    if row.last >= sequence {
        return Ok(Begun::Duplicate(last));
    }
    if row.last + 1 < sequence {
        return Ok(Begun::Expected(last + 1));
    }
    let now = txn.now();
    // Who follows records waits no longer for its numbers: they may have been passed.
    let is_fresh = row.first != 0 && row.tried_at.saturating_add(WAITED_FOR) > now;
    let first = if is_fresh { row.first } else { number(txn, records).await? };
    let begun_at = if row.begun_at == 0 { now } else { row.begun_at };
    place
        .set(
            txn,
            &[
                (Column::First, Expr::value(first)),
                (Column::BegunAt, Expr::value(begun_at)),
                (Column::TriedAt, Expr::value(now)),
            ],
        )
        .await?;
    Ok(Begun::At(first, begun_at))
}

/// Ends a batch that is there; whether this was who did.
pub(super) async fn end(txn: &Txn, place: &Place, sequence: i64) -> Result<bool, StoreError> {
    let due = place.take(txn).await?.is_some_and(|row| row.last == sequence - 1 && row.first != 0);
    if due {
        let zero = || Expr::value(0_i64);
        let columns = [
            (Column::Last, Expr::value(sequence)),
            (Column::First, zero()),
            (Column::BegunAt, zero()),
            (Column::TriedAt, zero()),
        ];
        place.set(txn, &columns).await?;
    }
    Ok(due)
}

/// Numbers for so many records; the first of them.
async fn number(txn: &Txn, records: usize) -> Result<i64, StoreError> {
    let failed = || StoreError::statement("number records");
    // One without records is told from none by a number, too.
    let count = i64::try_from(records.max(1)).unwrap_or(i64::MAX);
    arrival::Entity::update_many()
        .col_expr(arrival::Column::Newest, Expr::col(arrival::Column::Newest).add(count))
        .filter(arrival::Column::Id.eq(ARRIVAL))
        .exec(txn.tx())
        .await
        .map_err(failed())?;
    Ok(through(txn).await? - count + 1)
}

async fn through(db: &impl Reader) -> Result<i64, StoreError> {
    let row = arrival::Entity::find_by_id(ARRIVAL)
        .one(db.conn())
        .await
        .map_err(StoreError::statement("read number of records"))?;
    row.map(|row| row.newest).ok_or(StoreError::Damaged("number of records"))
}

/// The number through which no record of a store comes any more.
pub(super) async fn newest(db: &impl Reader, store: &str, now: i64) -> Result<i64, StoreError> {
    // Before the others: what is begun later has greater numbers.
    let through = through(db).await?;
    let first: Option<Option<i64>> = Entity::find()
        .select_only()
        .column_as(Column::First.min(), "first")
        .filter(Column::Store.eq(store))
        .filter(Column::First.gt(0_i64))
        .filter(Column::TriedAt.gt(now.saturating_sub(WAITED_FOR)))
        .into_tuple()
        .one(db.conn())
        .await
        .map_err(StoreError::statement("read telemetry cursor"))?;
    Ok(first.flatten().map_or(through, |first| std::cmp::min(through, first - 1)))
}

/// Since when the region of a spool is where this is.
pub(super) async fn since(db: &impl Reader, place: &Place) -> Result<Option<i64>, StoreError> {
    let row = Entity::find()
        .filter(place.is_this())
        .one(db.conn())
        .await
        .map_err(StoreError::statement("read telemetry cursor"))?;
    Ok(row.map(|row| row.since))
}

/// From now on nothing is stored here of a spool: unless a batch was begun, which may be there, and is to be ended first.
pub(super) async fn leave(txn: &Txn, place: &Place, since: i64) -> Result<Left, StoreError> {
    let Some(row) = place.take(txn).await? else {
        place.insert(txn, 0, since, true).await?;
        return match place.take(txn).await? {
            Some(row) if row.since == since && row.is_left => Ok(Left::At(row.last)),
            _ => Err(StoreError::Moved),
        };
    };
    if row.since > since || (row.since == since && !row.is_left) {
        // The region went on meanwhile.
        return Err(StoreError::Moved);
    }
    if !row.is_left && row.first != 0 {
        return Ok(Left::Begun);
    }
    place.set(txn, &[(Column::Since, Expr::value(since)), (Column::IsLeft, Expr::value(true))]).await?;
    Ok(Left::At(row.last))
}

/// From now on a spool is stored here, behind a sequence or what is stored here already.
pub(super) async fn enter(txn: &Txn, place: &Place, since: i64, last: i64) -> Result<(), StoreError> {
    place.insert(txn, last, since, false).await?;
    let row = place.take(txn).await?.ok_or(StoreError::Damaged("telemetry cursor"))?;
    // Another replica may have been first, and further.
    if row.since < since {
        let columns = [
            (Column::Last, Expr::value(std::cmp::max(row.last, last))),
            (Column::Since, Expr::value(since)),
            (Column::IsLeft, Expr::value(false)),
        ];
        place.set(txn, &columns).await?;
    }
    Ok(())
}
