//! The history of what was published, and its newest state.

use std::collections::HashMap;

use bytes::Bytes;
use rr_contract::model::resource::Key;
use rr_contract::wire::fleet;
use sea_orm::{
    ColumnTrait as _, DatabaseBackend, EntityTrait as _, FromQueryResult, IsolationLevel, QueryFilter as _,
    QueryOrder as _, QuerySelect as _, Statement, TransactionOptions, TransactionTrait as _,
};

use super::entity::{blob, change, head, revision};
use super::row::Reader;
use super::{Head, Store, StoreError};

/// A resource as it stands.
#[derive(Debug, Clone)]
pub(crate) struct PublishedResource {
    pub(crate) key: Key,
    pub(crate) revision: u64,
    pub(crate) payload: Bytes,
}

/// One change of a revision; no payload means removed.
#[derive(Debug, Clone)]
pub(crate) struct PublishedChange {
    pub(crate) key: Key,
    pub(crate) revision: u64,
    pub(crate) payload: Option<Bytes>,
}

/// A revision with what it touched: kind, org, id, removed.
#[derive(Debug, Clone)]
pub(crate) struct RevisionEntry {
    pub(crate) revision: revision::Model,
    pub(crate) changes: Vec<change::Model>,
}

#[derive(FromQueryResult)]
struct Joined {
    kind: i32,
    org: String,
    id: String,
    rev: i64,
    payload: Vec<u8>,
}

const CURRENT: &str = r#"SELECT "r"."kind" AS "kind", "r"."org" AS "org", "r"."id" AS "id", "r"."rev" AS "rev", "b"."payload" AS "payload" FROM "resource" "r" JOIN "blob" "b" ON "b"."hash" = "r"."hash""#;

impl Store {
    /// Everything as published, and the head that it belongs to: one consistent reading.
    pub(crate) async fn published(&self) -> Result<(Head, Vec<PublishedResource>), StoreError> {
        let backend = self.reader().get_database_backend();
        let tx = self
            .reader()
            .begin_with_options(TransactionOptions {
                // SQLite reads one snapshot anyway.
                isolation_level: (backend == DatabaseBackend::Postgres)
                    .then_some(IsolationLevel::RepeatableRead),
                ..Default::default()
            })
            .await
            .map_err(StoreError::statement("begin"))?;
        let head = head::Entity::find_by_id(1_i32)
            .one(&tx)
            .await
            .map_err(StoreError::statement("read head"))?
            .ok_or(StoreError::Damaged("head"))?;
        let rows = Joined::find_by_statement(Statement::from_string(backend, CURRENT))
            .all(&tx)
            .await
            .map_err(StoreError::statement("read resources"))?;
        tx.rollback().await.map_err(StoreError::statement("end reading"))?;
        let resources = rows
            .into_iter()
            .map(|row| {
                Ok(PublishedResource {
                    key: key(row.kind, row.org, row.id)?,
                    revision: number(row.rev)?,
                    payload: row.payload.into(),
                })
            })
            .collect::<Result<_, StoreError>>()?;
        Ok((head.try_into()?, resources))
    }
}

/// What was changed after a revision, in order, up to the head that is returned with it.
/// At most about `limit` changes, always whole revisions.
pub(crate) async fn since(
    db: &impl Reader,
    revision: u64,
    limit: u64,
) -> Result<Vec<PublishedChange>, StoreError> {
    let after = i64::try_from(revision).map_err(|_| StoreError::Damaged("head"))?;
    let failed = || StoreError::statement("read changes");
    let mut rows = change::Entity::find()
        .filter(change::Column::Rev.gt(after))
        .order_by_asc(change::Column::Rev)
        .limit(limit)
        .all(db.conn())
        .await
        .map_err(failed())?;
    if rows.len() as u64 == limit
        && let Some(last) = rows.last().map(|row| row.rev)
    {
        // The last revision may be cut in the middle: read it whole.
        rows.retain(|row| row.rev != last);
        let whole = change::Entity::find()
            .filter(change::Column::Rev.eq(last))
            .all(db.conn())
            .await
            .map_err(failed())?;
        rows.extend(whole);
    }
    let mut payloads = payloads(db, rows.iter().filter_map(|row| row.hash.clone())).await?;
    rows.into_iter()
        .map(|row| {
            let payload = row.hash.as_ref().map(|hash| payloads.entry(hash.clone()).or_default().clone());
            if payload.as_ref().is_some_and(Bytes::is_empty) {
                return Err(StoreError::Damaged("blob"));
            }
            Ok(PublishedChange { key: key(row.kind, row.org, row.id)?, revision: number(row.rev)?, payload })
        })
        .collect()
}

async fn payloads(
    db: &impl Reader,
    hashes: impl Iterator<Item = Vec<u8>>,
) -> Result<HashMap<Vec<u8>, Bytes>, StoreError> {
    let mut found = HashMap::new();
    let hashes: Vec<Vec<u8>> = hashes.collect();
    // Below the number of values that one statement may bind.
    for hashes in hashes.chunks(500) {
        let blobs = blob::Entity::find()
            .filter(blob::Column::Hash.is_in(hashes.to_vec()))
            .all(db.conn())
            .await
            .map_err(StoreError::statement("read payloads"))?;
        found.extend(blobs.into_iter().map(|blob| (blob.hash, Bytes::from(blob.payload))));
    }
    Ok(found)
}

/// Newest first, below `before`.
pub(crate) async fn revisions(
    db: &impl Reader,
    before: Option<i64>,
    limit: u64,
) -> Result<Vec<RevisionEntry>, StoreError> {
    let mut query = revision::Entity::find();
    if let Some(before) = before {
        query = query.filter(revision::Column::Rev.lt(before));
    }
    let revisions = query
        .order_by_desc(revision::Column::Rev)
        .limit(limit)
        .all(db.conn())
        .await
        .map_err(StoreError::statement("list revisions"))?;
    let (Some(newest), Some(oldest)) = (revisions.first(), revisions.last()) else {
        return Ok(Vec::new());
    };
    let changes = change::Entity::find()
        .filter(change::Column::Rev.between(oldest.rev, newest.rev))
        .order_by_asc(change::Column::Rev)
        .all(db.conn())
        .await
        .map_err(StoreError::statement("list changes"))?;
    let mut by_revision: HashMap<i64, Vec<change::Model>> = HashMap::new();
    for change in changes {
        by_revision.entry(change.rev).or_default().push(change);
    }
    Ok(revisions
        .into_iter()
        .map(|revision| RevisionEntry {
            changes: by_revision.remove(&revision.rev).unwrap_or_default(),
            revision,
        })
        .collect())
}

fn key(kind: i32, org: String, id: String) -> Result<Key, StoreError> {
    Key::try_from(&fleet::Key { kind, org, id }).map_err(|_| StoreError::Damaged("resource"))
}

fn number(rev: i64) -> Result<u64, StoreError> {
    u64::try_from(rev).map_err(|_| StoreError::Damaged("resource"))
}
