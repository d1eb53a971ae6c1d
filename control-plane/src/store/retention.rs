//! How far back history can be gone, and what is let go of behind that.
//!
//! Revisions, changes and documents stay for ever: the audit refers to them. What goes are payloads, the bytes that
//! nodes were sent, of versions that were followed by another one before the floor. Rows of changes keep the hash:
//! a reader that still asks for such bytes finds them missing, and does not take that for a removal.
//!
//! The invariant: bytes go only while the head row is held, so that no write can come to need them meanwhile.

use prost::Message as _;
use rr_contract::wire::management::Document;
use sea_orm::sea_query::Expr;
use sea_orm::{
    ColumnTrait as _, ConnectionTrait as _, EntityTrait as _, FromQueryResult, QueryFilter as _,
    QueryOrder as _, QuerySelect as _, Statement,
};

use super::entity::{blob, change, head, resource, revision};
use super::resource::BIND;
use super::row::{Reader as _, number, row_of};
use super::{Store, StoreError, Txn, installation};
use crate::noun::Noun;

/// How many changes one transaction is about: writes wait for it.
const SLICE: u64 = 500;

/// How far one step went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Step {
    /// The oldest revision that can be gone back to.
    pub(crate) floor: u64,
    /// Payloads that were let go of.
    pub(crate) dropped: u64,
    /// There is more to do.
    pub(crate) more: bool,
}

/// A change that came below the floor, and what the change before it had sent.
#[derive(FromQueryResult)]
struct Followed {
    rev: i64,
    kind: i32,
    id: String,
    before: Option<Vec<u8>>,
}

/// The payload goes with the newest change of the same resource that is older: found by index, one row each.
const FOLLOWED: &str = r#"SELECT "c"."rev" AS "rev", "c"."kind" AS "kind", "c"."id" AS "id", "p"."payload" AS "before" FROM "change" "c" LEFT JOIN "change" "p" ON "p"."kind" = "c"."kind" AND "p"."id" = "c"."id" AND "p"."rev" = (SELECT MAX("q"."rev") FROM "change" "q" WHERE "q"."kind" = "c"."kind" AND "q"."id" = "c"."id" AND "q"."rev" < "c"."rev") WHERE ("c"."rev", "c"."kind", "c"."id") > ($1, $2, $3) AND "c"."rev" <= $4 ORDER BY "c"."rev", "c"."kind", "c"."id" LIMIT $5"#;

/// Moves the floor towards the newest revision that was in force at a time, by some hundred changes or one revision.
/// What was not finished is done again by the next step, of whichever replica.
pub(crate) async fn step(store: &Store, at: i64) -> Result<Step, StoreError> {
    let head = installation::head(store).await?.ok_or(StoreError::Damaged("head"))?;
    let (floor, goal) = (row_of(head.floor)?, goal(store, head.floor, row_of(head.revision)?, at).await?);
    if goal <= floor {
        return Ok(Step { floor: head.floor, dropped: 0, more: false });
    }
    let next = next(store, floor, goal).await?;
    let mut place = (floor, i32::MAX, String::new());
    let mut dropped = 0;
    loop {
        let followed = followed(store, &place, next).await?;
        let Some(last) = followed.last() else { break };
        place = (last.rev, last.kind, last.id.clone());
        let mut payloads: Vec<Vec<u8>> = followed.into_iter().filter_map(|row| row.before).collect();
        payloads.sort_unstable();
        payloads.dedup();
        if !payloads.is_empty() {
            dropped += store
                .note(move |txn| Box::pin(async move { drop_unneeded(txn, payloads, next).await }))
                .await?;
        }
    }
    store.note(move |txn| Box::pin(async move { raise(txn, next).await })).await?;
    Ok(Step { floor: number(next)?, dropped, more: next < goal })
}

/// Lets go of what nodes were sent of resources before what they are sent now, however young it is: nobody is to be able to
/// read it again. A reader of history passes it over, for a later change of the same resource follows.
pub(crate) async fn forget_versions(store: &Store, noun: Noun, ids: &[String]) -> Result<u64, StoreError> {
    let mut dropped = 0;
    for ids in ids.chunks(BIND) {
        let payloads: Vec<Option<Vec<u8>>> = change::Entity::find()
            .select_only()
            .column(change::Column::Payload)
            .distinct()
            .filter(change::Column::Kind.eq(noun.row()))
            .filter(change::Column::Id.is_in(ids.to_vec()))
            .filter(change::Column::Payload.is_not_null())
            .into_tuple()
            .all(store.conn())
            .await
            .map_err(StoreError::statement("read changes"))?;
        let payloads: Vec<Vec<u8>> = payloads.into_iter().flatten().collect();
        for payloads in payloads.chunks(BIND) {
            let payloads = payloads.to_vec();
            dropped += store
                .note(move |txn| Box::pin(async move { drop_unneeded(txn, payloads, i64::MAX).await }))
                .await?;
        }
    }
    Ok(dropped)
}

/// The last revision before the first one that is not old enough: by number, for a clock that was once set wrong
/// must not make young history old.
async fn goal(store: &Store, floor: u64, head: i64, at: i64) -> Result<i64, StoreError> {
    let young = revision::Entity::find()
        .filter(revision::Column::Rev.gt(row_of(floor)?))
        .filter(revision::Column::At.gte(at))
        .order_by_asc(revision::Column::Rev)
        .one(store.conn())
        .await
        .map_err(StoreError::statement("read revisions"))?;
    Ok(young.map_or(head, |row| row.rev - 1))
}

/// Up to where one step goes.
async fn next(store: &Store, floor: i64, goal: i64) -> Result<i64, StoreError> {
    let rows = revision::Entity::find()
        .filter(revision::Column::Rev.gt(floor))
        .filter(revision::Column::Rev.lte(goal))
        .order_by_asc(revision::Column::Rev)
        .limit(SLICE)
        .all(store.conn())
        .await
        .map_err(StoreError::statement("read revisions"))?;
    let mut changes = 0;
    let mut next = floor;
    for row in rows {
        next = row.rev;
        changes += row.changes.unsigned_abs();
        if changes >= SLICE {
            break;
        }
    }
    Ok(next)
}

async fn followed(store: &Store, place: &(i64, i32, String), to: i64) -> Result<Vec<Followed>, StoreError> {
    let (rev, kind, id) = place;
    let statement = Statement::from_sql_and_values(
        store.conn().get_database_backend(),
        FOLLOWED,
        [
            (*rev).into(),
            (*kind).into(),
            id.as_str().into(),
            to.into(),
            i64::try_from(SLICE).unwrap_or(i64::MAX).into(),
        ],
    );
    Followed::find_by_statement(statement)
        .all(store.conn())
        .await
        .map_err(StoreError::statement("read changes"))
}

/// Lets go of those payloads that nothing needs: no resource as it is, no change above the floor, no audit.
async fn drop_unneeded(txn: &Txn, mut payloads: Vec<Vec<u8>>, floor: i64) -> Result<u64, StoreError> {
    // Every write holds this row: none is under way from here on.
    head::Entity::find_by_id(1_i32)
        .lock_exclusive()
        .one(txn.tx())
        .await
        .map_err(StoreError::statement("take head"))?;
    let mut needed: Vec<Vec<u8>> = resource::Entity::find()
        .select_only()
        .column(resource::Column::Payload)
        .distinct()
        .filter(resource::Column::Payload.is_in(payloads.clone()))
        .into_tuple()
        .all(txn.tx())
        .await
        .map_err(StoreError::statement("read resources"))?;
    let above: Vec<Vec<u8>> = change::Entity::find()
        .select_only()
        .column(change::Column::Payload)
        .distinct()
        .filter(change::Column::Payload.is_in(payloads.clone()))
        .filter(change::Column::Rev.gt(floor))
        .into_tuple()
        .all(txn.tx())
        .await
        .map_err(StoreError::statement("read changes"))?;
    needed.extend(above);
    payloads.retain(|hash| !needed.contains(hash));
    let found = blob::Entity::find()
        .filter(blob::Column::Hash.is_in(payloads))
        .all(txn.tx())
        .await
        .map_err(StoreError::statement("read payloads"))?;
    let dropped: Vec<Vec<u8>> =
        found.into_iter().filter(|row| !is_document(&row.payload)).map(|row| row.hash).collect();
    if dropped.is_empty() {
        return Ok(0);
    }
    let gone = blob::Entity::delete_many()
        .filter(blob::Column::Hash.is_in(dropped))
        .exec(txn.tx())
        .await
        .map_err(StoreError::statement("drop payloads"))?;
    Ok(gone.rows_affected)
}

/// Whether the same bytes may be kept as a document too, under the same hash: what we encoded comes out of its
/// reading unchanged.
fn is_document(bytes: &[u8]) -> bool {
    Document::decode(bytes)
        .is_ok_and(|document| document.resource.is_some() && document.encode_to_vec() == bytes)
}

async fn raise(txn: &Txn, floor: i64) -> Result<(), StoreError> {
    head::Entity::update_many()
        .col_expr(head::Column::Floor, Expr::value(floor))
        .filter(head::Column::Id.eq(1_i32))
        // Another replica may be further.
        .filter(head::Column::Floor.lt(floor))
        .exec(txn.tx())
        .await
        .map_err(StoreError::statement("move floor"))?;
    Ok(())
}

#[cfg(test)]
mod tests;
