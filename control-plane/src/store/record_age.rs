//! What of the records of requests is too old to be kept, by organization, and how it goes.
//!
//! On PostgreSQL a day that is too old for every organization goes as a whole ([`days`]). All else is deleted some
//! thousand rows at a time. A record is as old as the time at which its node received the request; where a node's clock
//! was ahead, as the time since it was stored.
//!
//! The invariant: each transaction that removes something reads first how long organizations keep it, so nothing goes
//! that is younger than its organization keeps, whatever was changed since the run began: in the central database, where
//! organizations are, in the transaction itself. What belongs to no organization any more is kept by nobody.

mod days;

use rr_contract::wire::management::Org;
use sea_orm::{
    ColumnTrait as _, Condition, EntityTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _,
};

use super::entity::request_record::Column;
use super::entity::{record_loss, request_record};
use super::record_database::RecordDatabase;
use super::resource::{self, with_document, with_documents};
use super::row::Reader;
use super::{Store, StoreError, Txn};
use crate::document::{RECORD_DAYS, record_days};
use crate::noun::Noun;

pub(crate) use days::make as make_days;

/// How many rows one transaction deletes at the most of each kind: ingest waits for it on SQLite.
const SLICE: u64 = 2000;

const DAY: i64 = 86_400_000_000;

/// How much went.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Gone {
    pub(crate) records: u64,
    pub(crate) losses: u64,
    /// Whole days, with whatever was in them.
    pub(crate) days: u64,
}

/// Removes what is too old at a time. May be cut off anywhere: the next run, of whichever replica, goes on.
pub(crate) async fn remove(store: &RecordDatabase, now: i64) -> Result<Gone, StoreError> {
    // Where a day cannot be dropped, because it is read all the time, its records go as others do.
    let days = days::drop_old(store, now).await;
    let mut gone = Gone::default();
    let mut last = String::new();
    while let Some(org) = next_org(store, &last).await? {
        gone.records += remove_of(store, &org, now).await?;
        last = org;
    }
    gone.losses = remove_losses(store, now).await?;
    Ok(Gone { days: days?, ..gone })
}

/// For how long the organization keeps records that keeps them longest, hidden ones included: they may come back.
pub(super) async fn longest(db: &impl Reader) -> Result<i64, StoreError> {
    let rows = resource::all(db, Noun::Org, "").await?;
    let orgs = with_documents::<Org>(db, rows).await?;
    let days = orgs.iter().map(|org| record_days(&org.document)).max();
    Ok(i64::from(days.unwrap_or(RECORD_DAYS)) * DAY)
}

/// The same, asked in a transaction: of a store that has no organizations, where they are.
async fn longest_kept(txn: &Txn, keeper: Option<&Store>) -> Result<i64, StoreError> {
    match keeper {
        Some(keeper) => longest(keeper).await,
        None => longest(txn).await,
    }
}

/// Where organizations are, when it is another database.
fn keeper(store: &RecordDatabase) -> Option<Store> {
    (!store.is_central()).then(|| store.central().clone())
}

/// The organization behind another that has records, by id: one look into an index.
async fn next_org(store: &RecordDatabase, last: &str) -> Result<Option<String>, StoreError> {
    request_record::Entity::find()
        .select_only()
        .column(Column::Org)
        .filter(Column::Org.gt(last))
        .order_by_asc(Column::Org)
        .limit(1)
        .into_tuple()
        .one(store.conn())
        .await
        .map_err(StoreError::statement("find organizations with records"))
}

async fn remove_of(store: &RecordDatabase, org: &str, now: i64) -> Result<u64, StoreError> {
    let mut removed = 0;
    // Looks first, so that a run that finds nothing writes nothing.
    while any_too_old(store, org, now).await? {
        let (org, keeper) = (org.to_owned(), keeper(store));
        removed += store
            .note(move |txn| Box::pin(async move { remove_slice(txn, keeper.as_ref(), &org, now).await }))
            .await?;
    }
    Ok(removed)
}

/// Which records of an organization are too old: those that were received too long ago, and those from ahead of us that
/// were stored too long ago. Two conditions, each of which an index serves.
async fn too_old(db: &impl Reader, org: &str, now: i64) -> Result<[Condition; 2], StoreError> {
    let of_org = || Condition::all().add(Column::Org.eq(org));
    let Some(kept) = kept(db, org).await? else { return Ok([of_org(), of_org()]) };
    let cutoff = now.saturating_sub(kept);
    Ok([
        of_org().add(Column::ReceivedAt.lt(cutoff)),
        of_org().add(Column::ReceivedAt.gt(now.saturating_add(DAY))).add(Column::StoredAt.lt(cutoff)),
    ])
}

/// For how long an organization keeps its records. One that is gone for good keeps none, and everything of it goes.
pub(super) async fn kept(db: &impl Reader, org: &str) -> Result<Option<i64>, StoreError> {
    let Some(row) = resource::by_id(db, Noun::Org, org).await? else { return Ok(None) };
    let days = record_days(&with_document::<Org>(db, row).await?.document);
    Ok(Some(i64::from(days) * DAY))
}

async fn any_too_old(store: &RecordDatabase, org: &str, now: i64) -> Result<bool, StoreError> {
    for condition in too_old(store.central(), org, now).await? {
        if nth(store, condition, 0).await?.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

async fn remove_slice(txn: &Txn, keeper: Option<&Store>, org: &str, now: i64) -> Result<u64, StoreError> {
    let mut removed = 0;
    let conditions = match keeper {
        Some(keeper) => too_old(keeper, org, now).await?,
        None => too_old(txn, org, now).await?,
    };
    for condition in conditions {
        let mut delete = request_record::Entity::delete_many().filter(condition.clone());
        if let Some((at, id)) = nth(txn, condition, SLICE - 1).await? {
            // The bound on the time alone is what days are left out by.
            delete = delete
                .filter(Column::ReceivedAt.lte(at))
                .filter(Condition::any().add(Column::ReceivedAt.lt(at)).add(Column::Id.lte(id)));
        }
        let gone = delete.exec(txn.tx()).await.map_err(StoreError::statement("remove records"))?;
        removed += gone.rows_affected;
    }
    Ok(removed)
}

/// The time and id of one of those records, the oldest first, counted from 0.
async fn nth(db: &impl Reader, condition: Condition, n: u64) -> Result<Option<(i64, String)>, StoreError> {
    request_record::Entity::find()
        .select_only()
        .columns([Column::ReceivedAt, Column::Id])
        .filter(condition)
        .order_by_asc(Column::ReceivedAt)
        .order_by_asc(Column::Id)
        .offset(n)
        .limit(1)
        .into_tuple()
        .one(db.conn())
        .await
        .map_err(StoreError::statement("find old records"))
}

/// Losses belong to a node, and so to every organization: they stay as long as records of any.
async fn remove_losses(store: &RecordDatabase, now: i64) -> Result<u64, StoreError> {
    let mut removed = 0;
    loop {
        let keeper = keeper(store);
        let (gone, more) = store
            .note(move |txn| Box::pin(async move { remove_losses_slice(txn, keeper.as_ref(), now).await }))
            .await?;
        removed += gone;
        if !more {
            return Ok(removed);
        }
    }
}

async fn remove_losses_slice(txn: &Txn, keeper: Option<&Store>, now: i64) -> Result<(u64, bool), StoreError> {
    let kept = longest_kept(txn, keeper).await?.max(i64::from(RECORD_DAYS) * DAY);
    let old = record_loss::Column::StoredAt.lt(now.saturating_sub(kept));
    let last: Option<i64> = record_loss::Entity::find()
        .select_only()
        .column(record_loss::Column::StoredAt)
        .filter(old.clone())
        .order_by_asc(record_loss::Column::StoredAt)
        .offset(SLICE - 1)
        .limit(1)
        .into_tuple()
        .one(txn.tx())
        .await
        .map_err(StoreError::statement("find old losses"))?;
    let mut delete = record_loss::Entity::delete_many().filter(old);
    if let Some(last) = last {
        // Those of one batch have one time, and go together.
        delete = delete.filter(record_loss::Column::StoredAt.lte(last));
    }
    let gone = delete.exec(txn.tx()).await.map_err(StoreError::statement("remove losses"))?;
    Ok((gone.rows_affected, last.is_some()))
}

#[cfg(test)]
mod tests;
