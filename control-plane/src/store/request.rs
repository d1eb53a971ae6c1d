//! Batches of nodes, each taken exactly once: records of proxied requests, which are read newest first, sums of requests, and
//! last uses of callers.

use std::collections::HashSet;

use rr_contract::wire::fleet;
use sea_orm::sea_query::{Expr, ExprTrait as _, Func, OnConflict};
use sea_orm::{
    ActiveValue::Set, ColumnTrait as _, Condition, EntityTrait as _, IntoActiveModel as _,
    PaginatorTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _,
};

use super::caller_use::{self, CallerUse};
use super::cursor::{self, Moved, Spool};
use super::entity::request_record::Column;
use super::entity::{arrival, proxy_home, record_loss, request_record};
use super::resource::{Compare, labelled};
use super::row::Reader;
use super::sums::{self, Waiting};
use super::{StoreError, Txn, account};

/// A batch as a node uploads it.
#[derive(Debug)]
pub(crate) struct Ingest {
    pub(crate) node: String,
    pub(crate) region: String,
    pub(crate) spool: Vec<u8>,
    pub(crate) sequence: u64,
    pub(crate) records: Vec<request_record::Model>,
    /// Of requests whose end is not told.
    pub(crate) begun: Vec<request_record::Model>,
    /// Ids of records that take the place of such.
    pub(crate) ended: Vec<String>,
    pub(crate) losses: Vec<RecordLoss>,
    pub(crate) uses: Vec<CallerUse>,
    pub(crate) sums: Vec<fleet::Sum>,
    /// Since when its region's records go to this store, as it is known here; 0 for ever.
    pub(crate) since: i64,
}

/// Organizations and proxies.
pub(crate) type Served = HashSet<(String, String)>;

/// Records that a node lost.
#[derive(Debug, Clone)]
pub(crate) struct RecordLoss {
    pub(crate) records: u64,
    pub(crate) from: i64,
    pub(crate) to: i64,
    pub(crate) reason: String,
}

impl RecordLoss {
    /// Whether records were left out because their proxy wants a share of them: that is no loss.
    pub(crate) fn is_sampled(&self) -> bool {
        self.reason == account::SAMPLED
    }

    /// As the fleet schema has it, without its time.
    pub(super) fn counted(&self) -> fleet::Dropped {
        fleet::Dropped { records: self.records, reason: self.reason.clone(), ..fleet::Dropped::default() }
    }
}

/// The outcome of a batch, and the records of it that count.
#[derive(Debug)]
pub(crate) struct Taken {
    pub(crate) outcome: Ingested,
    /// The records about proxies that its region serves or served; none where the batch is not the next of its spool.
    pub(crate) accepted: Vec<request_record::Model>,
}

/// The outcome of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ingested {
    /// Its rows are stored.
    Stored {
        /// How many records.
        stored: u64,
        /// How many records were not: of proxies that its region never served, or under an id that is in use.
        foreign: u64,
    },
    /// It was stored before; the spool is stored up to this sequence.
    Duplicate(u64),
    /// The batch with this sequence is due first.
    Expected(u64),
    /// Batches of its region are stored elsewhere by now.
    Elsewhere,
}

/// Selects records.
#[derive(Debug, Clone, Default)]
pub(crate) struct RequestFilter {
    pub(crate) org: String,
    pub(crate) proxy: Option<String>,
    /// Ids of caller credentials, one of which it is of.
    pub(crate) callers: Option<Vec<String>>,
    /// Words that its caller credential has: fields and values.
    pub(crate) labels: Vec<(String, String)>,
    pub(crate) statuses: Vec<(Compare, i32)>,
    pub(crate) codes: Vec<(Compare, String)>,
    pub(crate) paths: Vec<PathTerm>,
    /// Ids of rules, one of which decided.
    pub(crate) rules: Option<Vec<String>>,
    pub(crate) regions: Option<Vec<String>>,
    pub(crate) node: Option<String>,
    /// Received at this time or later.
    pub(crate) after: Option<i64>,
    /// Received before this time.
    pub(crate) before: Option<i64>,
    /// Behind a record, given by its time and id.
    pub(crate) behind: Option<(i64, String)>,
}

/// What a path is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum PathTerm {
    Is(String),
    BeginsWith(String),
}

/// The row with the number of the newest record.
const ARRIVAL: i32 = 1;

/// How many requests a record stands for that says only that one has begun.
pub(crate) const BEGUN: i64 = 0;

/// How many rows of records one statement writes: below the number of values that it may bind.
const ROWS: usize = 500;

/// Stores a batch in the central database, and moves the cursor of its spool in the same transaction.
pub(crate) async fn ingest(txn: &Txn, mut batch: Ingest) -> Result<Taken, StoreError> {
    let served = served(txn, &batch).await?;
    let (region, uses) = (batch.region.clone(), std::mem::take(&mut batch.uses));
    let taken = store(txn, batch, &served).await?;
    if let Ingested::Stored { .. } = taken.outcome {
        caller_use::advance(txn, &region, uses).await?;
    }
    Ok(taken)
}

/// Stores of a batch what a store of records takes: all but last uses of callers.
pub(crate) async fn store(txn: &Txn, batch: Ingest, served: &Served) -> Result<Taken, StoreError> {
    let sequence = i64::try_from(batch.sequence).map_err(|_| StoreError::Damaged("telemetry cursor"))?;
    let spool = Spool { node: batch.node.clone(), spool: batch.spool.clone() };
    let outcome = match cursor::advance(txn, &spool, sequence, batch.since).await? {
        Moved::On => None,
        Moved::At(last) if last >= batch.sequence => Some(Ingested::Duplicate(last)),
        Moved::At(last) => Some(Ingested::Expected(last + 1)),
        Moved::Elsewhere => Some(Ingested::Elsewhere),
    };
    if let Some(outcome) = outcome {
        return Ok(Taken { outcome, accepted: Vec::new() });
    }
    let is_served = |row: &request_record::Model| served.contains(&(row.org.clone(), row.proxy.clone()));
    let all = batch.records.len() as u64;
    let mut accepted = batch.records;
    accepted.retain(is_served);
    end(txn, &batch.node, &batch.ended, &accepted).await?;
    let stored = write(txn, &mut accepted).await?;
    let mut begun = batch.begun;
    begun.retain(is_served);
    // Behind the others: of one that has ended meanwhile the record is there.
    write(txn, &mut begun).await?;
    let lost = batch.losses.iter().map(RecordLoss::counted).collect();
    for (position, loss) in (0_i32..).zip(batch.losses.into_iter().filter(|loss| !loss.is_sampled())) {
        record_loss::Entity::insert(record_loss::ActiveModel {
            node: Set(batch.node.clone()),
            spool: Set(batch.spool.clone()),
            sequence: Set(sequence),
            position: Set(position),
            records: Set(i64::try_from(loss.records).unwrap_or(i64::MAX)),
            from_at: Set(loss.from),
            to_at: Set(loss.to),
            reason: Set(loss.reason),
            stored_at: Set(txn.now()),
        })
        .exec_without_returning(txn.tx())
        .await
        .map_err(StoreError::statement("write losses"))?;
    }
    let made = batch.sums.iter().map(|sum| sum.requests).fold(0, u64::saturating_add);
    let mut taken = batch.sums;
    taken.retain(|sum| served.contains(&(sum.org.clone(), sum.proxy.clone())));
    let counted = accepted.iter().map(|row| row.count.unsigned_abs()).fold(0, u64::saturating_add);
    let waiting = Waiting {
        node: &batch.node,
        region: &batch.region,
        sums: taken,
        lost,
        made,
        // Of those whose id was in use it is not known which they are: they are no more than one request each.
        stored: counted.saturating_sub(accepted.len() as u64 - stored),
        refused: all - stored,
    };
    sums::wait(txn, waiting).await?;
    Ok(Taken { outcome: Ingested::Stored { stored, foreign: all - stored }, accepted })
}

/// Writes records; how many of them are new.
async fn write(txn: &Txn, records: &mut [request_record::Model]) -> Result<u64, StoreError> {
    number(txn, records).await?;
    let mut stored = 0;
    for rows in records.chunks(ROWS) {
        let rows = rows.iter().cloned().map(request_record::Model::into_active_model);
        // One that is there already is another with its id, and counts with those that are not taken. On PostgreSQL it
        // has to have its time too, for no index there is about more than a day.
        stored += request_record::Entity::insert_many(rows)
            .on_conflict(OnConflict::new().do_nothing().to_owned())
            .exec_without_returning(txn.tx())
            .await
            .map_err(StoreError::statement("write records"))?;
    }
    Ok(stored)
}

/// Removes what only says that requests have begun whose records come now: of the same node alone, for ids are anybody's to say.
async fn end(
    txn: &Txn,
    node: &str,
    ended: &[String],
    records: &[request_record::Model],
) -> Result<(), StoreError> {
    let ended: HashSet<&str> = ended.iter().map(String::as_str).collect();
    let of_them = || records.iter().filter(|row| ended.contains(row.id.as_str()));
    let times = || of_them().map(|row| row.received_at);
    let (Some(first), Some(last)) = (times().min(), times().max()) else { return Ok(()) };
    let ids: Vec<&str> = of_them().map(|row| row.id.as_str()).collect();
    for ids in ids.chunks(ROWS) {
        request_record::Entity::delete_many()
            .filter(Column::Id.is_in(ids.iter().copied()))
            .filter(Column::Node.eq(node))
            .filter(Column::Count.eq(BEGUN))
            // On PostgreSQL other days are not looked at.
            .filter(Column::ReceivedAt.between(first, last))
            .exec(txn.tx())
            .await
            .map_err(StoreError::statement("remove beginnings of requests"))?;
    }
    Ok(())
}

/// Gives each its number. The row stays locked until the commit, so that whoever sees a number sees all below it.
async fn number(txn: &Txn, records: &mut [request_record::Model]) -> Result<(), StoreError> {
    if records.is_empty() {
        return Ok(());
    }
    let failed = || StoreError::statement("number records");
    let count = i64::try_from(records.len()).unwrap_or(i64::MAX);
    arrival::Entity::update_many()
        .col_expr(arrival::Column::Newest, Expr::col(arrival::Column::Newest).add(count))
        .filter(arrival::Column::Id.eq(ARRIVAL))
        .exec(txn.tx())
        .await
        .map_err(failed())?;
    let newest = newest(txn).await?;
    for (number, record) in (newest - count + 1..).zip(records) {
        record.arrival = number;
    }
    Ok(())
}

/// The number of the record that came last.
pub(crate) async fn newest(db: &impl Reader) -> Result<i64, StoreError> {
    let row = arrival::Entity::find_by_id(ARRIVAL)
        .one(db.conn())
        .await
        .map_err(StoreError::statement("read number of records"))?;
    row.map(|row| row.newest).ok_or(StoreError::Damaged("number of records"))
}

/// Which of the proxies in a batch its region serves or once served.
pub(crate) async fn served(db: &impl Reader, batch: &Ingest) -> Result<Served, StoreError> {
    let of_records = batch.records.iter().chain(&batch.begun).map(|row| row.proxy.as_str());
    let proxies: HashSet<&str> = of_records.chain(batch.sums.iter().map(|sum| sum.proxy.as_str())).collect();
    let proxies: Vec<&str> = proxies.into_iter().collect();
    let mut served = HashSet::new();
    for proxies in proxies.chunks(ROWS) {
        let homes = proxy_home::Entity::find()
            .filter(proxy_home::Column::Region.eq(&batch.region))
            .filter(proxy_home::Column::Proxy.is_in(proxies.iter().copied()))
            .all(db.conn())
            .await
            .map_err(StoreError::statement("read homes of proxies"))?;
        served.extend(homes.into_iter().map(|home| (home.org, home.proxy)));
    }
    Ok(served)
}

/// Whether any region serves or once served a proxy of an organization, by its id.
pub(crate) async fn was_served(db: &impl Reader, org: &str, proxy: &str) -> Result<bool, StoreError> {
    let home = proxy_home::Entity::find()
        .filter(proxy_home::Column::Proxy.eq(proxy))
        .filter(proxy_home::Column::Org.eq(org))
        .one(db.conn())
        .await
        .map_err(StoreError::statement("read homes of proxies"))?;
    Ok(home.is_some())
}

/// Records, newest first.
pub(crate) async fn list(
    db: &impl Reader,
    mut filter: RequestFilter,
    limit: u64,
) -> Result<Vec<request_record::Model>, StoreError> {
    let behind = filter.behind.take();
    let mut query = request_record::Entity::find().filter(filter.condition());
    if let Some((at, id)) = behind {
        query = query.filter(
            Condition::any()
                .add(Column::ReceivedAt.lt(at))
                .add(Condition::all().add(Column::ReceivedAt.eq(at)).add(Column::Id.lt(id))),
        );
    }
    query
        .order_by_desc(Column::ReceivedAt)
        .order_by_desc(Column::Id)
        .limit(limit)
        .all(db.conn())
        .await
        .map_err(StoreError::statement("list records"))
}

/// Those that came behind one and not behind another, by their numbers: the last so many, in their order, and how many
/// there are.
pub(crate) async fn arrived(
    db: &impl Reader,
    filter: RequestFilter,
    (after, through): (i64, i64),
    limit: u64,
) -> Result<(Vec<request_record::Model>, u64), StoreError> {
    let between = filter.condition().add(Column::Arrival.gt(after)).add(Column::Arrival.lte(through));
    let query = request_record::Entity::find().filter(between);
    let mut last = query
        .clone()
        .order_by_desc(Column::Arrival)
        .limit(limit)
        .all(db.conn())
        .await
        .map_err(StoreError::statement("read new records"))?;
    last.reverse();
    let all = last.len() as u64;
    if all < limit {
        return Ok((last, all));
    }
    let all = query.count(db.conn()).await.map_err(StoreError::statement("count new records"))?;
    Ok((last, all))
}

/// Of the path, as much as there is of a text. A pattern would take no account of case on SQLite.
fn beginning(text: &str) -> Expr {
    // PostgreSQL's function takes no longer number.
    let length = i32::try_from(text.chars().count()).unwrap_or(i32::MAX);
    Func::cust("substr").arg(Expr::col(Column::Path)).arg(1).arg(length).into()
}

impl RequestFilter {
    fn condition(self) -> Condition {
        let mut all = Condition::all().add(Column::Org.eq(self.org));
        for (column, ids) in [
            (Column::Proxy, self.proxy.map(|proxy| vec![proxy])),
            (Column::Node, self.node.map(|node| vec![node])),
            (Column::Caller, self.callers),
            (Column::Rule, self.rules),
            (Column::Region, self.regions),
        ] {
            if let Some(ids) = ids {
                all = all.add(column.is_in(ids));
            }
        }
        for (field, value) in &self.labels {
            all = all.add(Column::Caller.in_subquery(labelled(field, value)));
        }
        for (how, status) in self.statuses {
            all = all.add(how.condition(Column::Status, status));
        }
        for (how, code) in self.codes {
            all = all.add(how.condition(Column::Code, code));
        }
        for path in self.paths {
            all = all.add(match path {
                PathTerm::Is(path) => Column::Path.eq(path),
                PathTerm::BeginsWith(begin) => beginning(&begin).eq(begin),
            });
        }
        if let Some(after) = self.after {
            all = all.add(Column::ReceivedAt.gte(after));
        }
        if let Some(before) = self.before {
            all = all.add(Column::ReceivedAt.lt(before));
        }
        all
    }
}

/// One record, by id.
pub(crate) async fn by_id(
    db: &impl Reader,
    org: &str,
    id: &str,
) -> Result<Option<request_record::Model>, StoreError> {
    request_record::Entity::find_by_id((id.to_owned(), org.to_owned()))
        // Nothing that came later stands in for it.
        .order_by_asc(Column::Arrival)
        .one(db.conn())
        .await
        .map_err(StoreError::statement("read record"))
}
