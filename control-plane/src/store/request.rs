//! Batches of nodes, each taken exactly once: records of proxied requests, which are read newest first, and last uses of
//! callers.

use std::collections::HashSet;

use sea_orm::sea_query::{Expr, OnConflict};
use sea_orm::{
    ActiveValue::Set, ColumnTrait as _, Condition, EntityTrait as _, IntoActiveModel as _, QueryFilter as _,
    QueryOrder as _, QuerySelect as _,
};

use super::caller_use::{self, CallerUse};
use super::entity::{proxy_home, record_loss, request_record, telemetry_cursor};
use super::resource::labelled;
use super::row::Reader;
use super::{StoreError, Txn};

/// A batch as a node uploads it.
#[derive(Debug)]
pub(crate) struct Ingest {
    pub(crate) node: String,
    pub(crate) region: String,
    pub(crate) spool: Vec<u8>,
    pub(crate) sequence: u64,
    pub(crate) records: Vec<request_record::Model>,
    pub(crate) losses: Vec<RecordLoss>,
    pub(crate) uses: Vec<CallerUse>,
}

/// Records that a node lost.
#[derive(Debug, Clone)]
pub(crate) struct RecordLoss {
    pub(crate) records: u64,
    pub(crate) from: i64,
    pub(crate) to: i64,
    pub(crate) reason: String,
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
    /// Received at this time or later.
    pub(crate) after: Option<i64>,
    /// Received before this time.
    pub(crate) before: Option<i64>,
    /// Behind a record, given by its time and id.
    pub(crate) behind: Option<(i64, String)>,
}

/// How many rows of records one statement writes: below the number of values that it may bind.
const ROWS: usize = 500;

/// Stores a batch, and moves the cursor of its spool in the same transaction.
pub(crate) async fn ingest(txn: &Txn, batch: Ingest) -> Result<Taken, StoreError> {
    let sequence = i64::try_from(batch.sequence).map_err(|_| StoreError::Damaged("telemetry cursor"))?;
    if !advance(txn, &batch, sequence).await? {
        let last = cursor(txn, &batch.node, &batch.spool).await?;
        let outcome =
            if last >= batch.sequence { Ingested::Duplicate(last) } else { Ingested::Expected(last + 1) };
        return Ok(Taken { outcome, accepted: Vec::new() });
    }
    let served = served(txn, &batch).await?;
    let all = batch.records.len() as u64;
    let mut accepted = batch.records;
    accepted.retain(|row| served.contains(&(row.org.clone(), row.proxy.clone())));
    let mut stored = 0;
    for rows in accepted.chunks(ROWS) {
        let rows = rows.iter().cloned().map(request_record::Model::into_active_model);
        // One that is there already is another with its id, and counts with those that are not taken.
        stored += request_record::Entity::insert_many(rows)
            .on_conflict(
                OnConflict::columns([request_record::Column::Id, request_record::Column::Org])
                    .do_nothing()
                    .to_owned(),
            )
            .exec_without_returning(txn.tx())
            .await
            .map_err(StoreError::statement("write records"))?;
    }
    for (position, loss) in (0_i32..).zip(batch.losses) {
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
    caller_use::advance(txn, &batch.region, batch.uses).await?;
    Ok(Taken { outcome: Ingested::Stored { stored, foreign: all - stored }, accepted })
}

/// Moves the cursor of a spool by exactly one. False where it is at another sequence.
async fn advance(txn: &Txn, batch: &Ingest, sequence: i64) -> Result<bool, StoreError> {
    let failed = || StoreError::statement("move telemetry cursor");
    if sequence == 1 {
        let made = telemetry_cursor::Entity::insert(telemetry_cursor::ActiveModel {
            node: Set(batch.node.clone()),
            spool: Set(batch.spool.clone()),
            last: Set(1),
        })
        .on_conflict(
            OnConflict::columns([telemetry_cursor::Column::Node, telemetry_cursor::Column::Spool])
                .do_nothing()
                .to_owned(),
        )
        .exec_without_returning(txn.tx())
        .await
        .map_err(failed())?;
        return Ok(made == 1);
    }
    let moved = telemetry_cursor::Entity::update_many()
        .col_expr(telemetry_cursor::Column::Last, Expr::value(sequence))
        .filter(telemetry_cursor::Column::Node.eq(&batch.node))
        .filter(telemetry_cursor::Column::Spool.eq(batch.spool.clone()))
        .filter(telemetry_cursor::Column::Last.eq(sequence - 1))
        .exec(txn.tx())
        .await
        .map_err(failed())?;
    Ok(moved.rows_affected == 1)
}

/// The sequence up to which a spool is stored; 0 for none of it.
pub(crate) async fn cursor(db: &impl Reader, node: &str, spool: &[u8]) -> Result<u64, StoreError> {
    let row = telemetry_cursor::Entity::find_by_id((node.to_owned(), spool.to_vec()))
        .one(db.conn())
        .await
        .map_err(StoreError::statement("read telemetry cursor"))?;
    row.map_or(Ok(0), |row| u64::try_from(row.last).map_err(|_| StoreError::Damaged("telemetry cursor")))
}

/// Which of the proxies in a batch its region serves or once served.
async fn served(txn: &Txn, batch: &Ingest) -> Result<HashSet<(String, String)>, StoreError> {
    let proxies: HashSet<&str> = batch.records.iter().map(|row| row.proxy.as_str()).collect();
    let proxies: Vec<&str> = proxies.into_iter().collect();
    let mut served = HashSet::new();
    for proxies in proxies.chunks(ROWS) {
        let homes = proxy_home::Entity::find()
            .filter(proxy_home::Column::Region.eq(&batch.region))
            .filter(proxy_home::Column::Proxy.is_in(proxies.iter().copied()))
            .all(txn.conn())
            .await
            .map_err(StoreError::statement("read homes of proxies"))?;
        served.extend(homes.into_iter().map(|home| (home.org, home.proxy)));
    }
    Ok(served)
}

/// Records, newest first.
pub(crate) async fn list(
    db: &impl Reader,
    filter: RequestFilter,
    limit: u64,
) -> Result<Vec<request_record::Model>, StoreError> {
    use request_record::Column;

    let mut query = request_record::Entity::find().filter(Column::Org.eq(filter.org));
    if let Some(proxy) = filter.proxy {
        query = query.filter(Column::Proxy.eq(proxy));
    }
    if let Some(callers) = filter.callers {
        query = query.filter(Column::Caller.is_in(callers));
    }
    for (field, value) in &filter.labels {
        query = query.filter(Column::Caller.in_subquery(labelled(field, value)));
    }
    if let Some(after) = filter.after {
        query = query.filter(Column::ReceivedAt.gte(after));
    }
    if let Some(before) = filter.before {
        query = query.filter(Column::ReceivedAt.lt(before));
    }
    if let Some((at, id)) = filter.behind {
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

/// One record, by id.
pub(crate) async fn by_id(
    db: &impl Reader,
    org: &str,
    id: &str,
) -> Result<Option<request_record::Model>, StoreError> {
    request_record::Entity::find_by_id((id.to_owned(), org.to_owned()))
        .one(db.conn())
        .await
        .map_err(StoreError::statement("read record"))
}
