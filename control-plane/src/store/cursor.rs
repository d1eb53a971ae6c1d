//! The cursors of spools: how far each is stored, in the store of records that takes its batches now.
//!
//! A region may come to another store. The cursor of a spool goes along when the next batch of it comes: it is left in each
//! store where batches of the region went before, and then entered where they go now, from the furthest of all. Each step is a
//! transaction of one store, and may be done again from the start, by any replica. The invariants: of all stores no more than
//! one holds a cursor of a spool that moves; and what a replica does that knows an older place of the region brings no cursor back:
//! each bears the time since which the region is where it went.

use sea_orm::sea_query::{Expr, ExprTrait as _, OnConflict};
use sea_orm::{ActiveValue::Set, ColumnTrait as _, Condition, EntityTrait as _, QueryFilter as _};

use super::entity::telemetry_cursor::{ActiveModel, Column, Entity, Model};
use super::row::Reader;
use super::{StoreError, Txn};

/// Whose batches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Spool {
    pub(crate) node: String,
    pub(crate) spool: Vec<u8>,
}

/// What came of an attempt to move a cursor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Moved {
    /// By exactly one.
    On,
    /// It is at this sequence.
    At(u64),
    /// It is, or may be, in another store.
    Elsewhere,
}

/// What comes of leaving a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Left {
    /// The spool was stored there up to this sequence, and no further batch of it will be.
    At(i64),
    /// A batch of it was begun there, and may be stored or not: it is to be ended there first.
    Begun,
}

impl Spool {
    fn is_this(&self) -> Condition {
        Condition::all().add(Column::Node.eq(&self.node)).add(Column::Spool.eq(self.spool.clone()))
    }

    async fn read(&self, db: &impl Reader) -> Result<Option<Model>, StoreError> {
        Entity::find_by_id((self.node.clone(), self.spool.clone()))
            .one(db.conn())
            .await
            .map_err(StoreError::statement("read telemetry cursor"))
    }

    /// Whether the row is new.
    async fn insert(&self, txn: &Txn, last: i64, since: i64, is_left: bool) -> Result<bool, StoreError> {
        let made = Entity::insert(ActiveModel {
            node: Set(self.node.clone()),
            spool: Set(self.spool.clone()),
            last: Set(last),
            since: Set(since),
            is_left: Set(is_left),
        })
        .on_conflict(OnConflict::columns([Column::Node, Column::Spool]).do_nothing().to_owned())
        .exec_without_returning(txn.tx())
        .await
        .map_err(StoreError::statement("move telemetry cursor"))?;
        Ok(made == 1)
    }
}

/// Moves the cursor of a spool to a sequence, where it is right before. `since`: as the region is known here.
pub(super) async fn advance(
    txn: &Txn,
    spool: &Spool,
    sequence: i64,
    since: i64,
) -> Result<Moved, StoreError> {
    // Where its region came from elsewhere, the cursor was entered before.
    if sequence == 1 && since == 0 {
        if spool.insert(txn, 1, 0, false).await? {
            return Ok(Moved::On);
        }
    } else {
        let moved = Entity::update_many()
            .col_expr(Column::Last, Expr::value(sequence))
            .filter(spool.is_this())
            .filter(Column::Last.eq(sequence - 1))
            // Where it is not left it is the one that moves, whatever is known here of the region.
            .filter(Column::IsLeft.eq(false))
            .exec(txn.tx())
            .await
            .map_err(StoreError::statement("move telemetry cursor"))?;
        if moved.rows_affected == 1 {
            return Ok(Moved::On);
        }
    }
    match spool.read(txn).await? {
        Some(row) if row.is_left => Ok(Moved::Elsewhere),
        Some(row) => {
            u64::try_from(row.last).map(Moved::At).map_err(|_| StoreError::Damaged("telemetry cursor"))
        }
        None if since == 0 => Ok(Moved::At(0)),
        None => Ok(Moved::Elsewhere),
    }
}

/// Since when the region of a spool is where this is, as its cursor has it.
pub(super) async fn since(db: &impl Reader, spool: &Spool) -> Result<Option<i64>, StoreError> {
    Ok(spool.read(db).await?.map(|row| row.since))
}

/// From now on nothing is stored here of a spool. How far it is stored.
pub(super) async fn leave(txn: &Txn, spool: &Spool, since: i64) -> Result<i64, StoreError> {
    if !spool.insert(txn, 0, since, true).await? {
        Entity::update_many()
            .col_expr(Column::Since, Expr::value(since))
            .col_expr(Column::IsLeft, Expr::value(true))
            .filter(spool.is_this())
            .filter(Column::Since.lt(since))
            .exec(txn.tx())
            .await
            .map_err(StoreError::statement("leave telemetry cursor"))?;
    }
    match spool.read(txn).await? {
        Some(row) if row.since == since && row.is_left => Ok(row.last),
        // The region went on meanwhile.
        _ => Err(StoreError::Moved),
    }
}

/// From now on a spool is stored here, behind a sequence or what is stored here already.
pub(super) async fn enter(txn: &Txn, spool: &Spool, since: i64, last: i64) -> Result<(), StoreError> {
    if spool.insert(txn, last, since, false).await? {
        return Ok(());
    }
    let behind = Expr::col(Column::Last).lt(last);
    Entity::update_many()
        .col_expr(Column::Last, Expr::case(behind, last).finally(Expr::col(Column::Last)).into())
        .col_expr(Column::Since, Expr::value(since))
        .col_expr(Column::IsLeft, Expr::value(false))
        .filter(spool.is_this())
        // Another replica may have been first, and further.
        .filter(Column::Since.lt(since))
        .exec(txn.tx())
        .await
        .map_err(StoreError::statement("enter telemetry cursor"))?;
    Ok(())
}
