//! What was published, revision by revision: for the publisher, for rollbacks and differences, and for the audit.

use std::collections::HashSet;

use bytes::Bytes;
use rr_contract::model::id::RegionId;
use rr_contract::model::resource::Key;
use sea_orm::{
    ColumnTrait as _, Condition, ConnectionTrait as _, EntityTrait as _, FromQueryResult, QueryFilter as _,
    QueryOrder as _, QuerySelect as _, Statement,
};

use super::entity::{change, head, revision};
use super::resource::blobs;
use super::row::{Reader, is_text, key, number, row_of};
use super::{Head, Store, StoreError};
use crate::noun::Noun;

/// A resource as it is published now.
#[derive(Debug, Clone)]
pub(crate) struct PublishedResource {
    pub(crate) key: Key,
    pub(crate) revision: u64,
    pub(crate) payload: Bytes,
}

/// One change of a revision; no payload means that nodes are not sent it any more.
#[derive(Debug, Clone)]
pub(crate) struct PublishedChange {
    pub(crate) key: Key,
    pub(crate) revision: u64,
    pub(crate) payload: Option<Bytes>,
}

/// The changes after a revision.
#[derive(Debug, Clone, Default)]
pub(crate) struct News {
    /// Changes in the order of revisions, whole revisions only.
    pub(crate) changes: Vec<PublishedChange>,
    /// Revisions with agreed removals, and how many of one region each may take.
    pub(crate) removals: Vec<(u64, u64)>,
    /// Regions whose own document changed, which nodes are not sent, and the revision.
    pub(crate) regions: Vec<(RegionId, u64)>,
    /// The newest revision that was read, with its head of the audit chain; none where nothing came.
    pub(crate) to: Option<(u64, [u8; 32])>,
}

#[derive(FromQueryResult)]
struct Joined {
    kind: i32,
    org: String,
    id: String,
    rev: i64,
    payload: Vec<u8>,
}

/// An organization belongs to itself where nodes are concerned.
const CURRENT: &str = r#"SELECT "r"."kind" AS "kind", "r"."org" AS "org", "r"."id" AS "id", "r"."rev" AS "rev", "b"."payload" AS "payload" FROM "resource" "r" JOIN "blob" "b" ON "b"."hash" = "r"."payload""#;

impl Store {
    /// Everything as published, and the head that it belongs to: one consistent reading.
    pub(crate) async fn published(&self) -> Result<(Head, Vec<PublishedResource>), StoreError> {
        let snapshot = self.snapshot().await?;
        let db = snapshot.conn();
        let head = head::Entity::find_by_id(1_i32)
            .one(db)
            .await
            .map_err(StoreError::statement("read head"))?
            .ok_or(StoreError::Damaged("head"))?;
        let rows = Joined::find_by_statement(Statement::from_string(db.get_database_backend(), CURRENT))
            .all(db)
            .await
            .map_err(StoreError::statement("read resources"))?;
        snapshot.end().await?;
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

/// What was changed after a revision, in order. At most about `limit` changes, always whole revisions.
pub(crate) async fn since(db: &impl Reader, revision: u64, limit: u64) -> Result<News, StoreError> {
    let after = row_of(revision)?;
    let revisions = revision::Entity::find()
        .filter(revision::Column::Rev.gt(after))
        .order_by_asc(revision::Column::Rev)
        .limit(limit)
        .all(db.conn())
        .await
        .map_err(StoreError::statement("read revisions"))?;
    let mut last = None;
    let mut count = 0;
    let mut removals = Vec::new();
    for row in &revisions {
        last = Some(row);
        if row.removals > 0 {
            removals.push((number(row.rev)?, number(row.removals)?));
        }
        count += u64::try_from(row.changes).unwrap_or_default();
        if count >= limit {
            break;
        }
    }
    let Some(last) = last else { return Ok(News::default()) };
    let rows = change::Entity::find()
        .filter(change::Column::Rev.gt(after))
        .filter(change::Column::Rev.lte(last.rev))
        .filter(change::Column::Kind.is_in(
            Noun::ALL.into_iter().filter(|noun| noun.is_published() || *noun == Noun::Region).map(Noun::row),
        ))
        .order_by_asc(change::Column::Rev)
        .all(db.conn())
        .await
        .map_err(StoreError::statement("read changes"))?;
    let (regions, rows): (Vec<_>, Vec<_>) = rows.into_iter().partition(|row| row.kind == Noun::Region.row());
    let regions = regions
        .iter()
        .map(|row| {
            let id = row.id.parse().map_err(|_| StoreError::Damaged("change"))?;
            Ok((id, number(row.rev)?))
        })
        .collect::<Result<_, StoreError>>()?;
    let payloads = blobs(db, rows.iter().filter_map(|row| row.payload.clone()).collect()).await?;
    let missing: Vec<_> = rows
        .iter()
        .filter(|row| row.payload.as_ref().is_some_and(|hash| !payloads.contains_key(hash)))
        .collect();
    let followed = followed(db, &missing).await?;
    let changes = rows
        .into_iter()
        .filter(|row| !followed.contains(&(row.rev, row.kind, row.id.clone())))
        .map(|row| {
            let payload = match &row.payload {
                Some(hash) => {
                    let bytes = payloads.get(hash).ok_or(StoreError::Damaged("blob"))?;
                    Some(Bytes::copy_from_slice(bytes))
                }
                None => None,
            };
            Ok(PublishedChange { key: key(row.kind, row.org, row.id)?, revision: number(row.rev)?, payload })
        })
        .collect::<Result<_, StoreError>>()?;
    let audit = last.audit.as_slice().try_into().map_err(|_| StoreError::Damaged("revision"))?;
    Ok(News { changes, removals, regions, to: Some((number(last.rev)?, audit)) })
}

/// Of changes whose payload was let go of, those that a later change of the same resource followed: that one says all.
async fn followed(
    db: &impl Reader,
    missing: &[&change::Model],
) -> Result<HashSet<(i64, i32, String)>, StoreError> {
    let mut followed = HashSet::new();
    for row in missing {
        let later = change::Entity::find()
            .filter(change::Column::Kind.eq(row.kind))
            .filter(change::Column::Id.eq(&row.id))
            .filter(change::Column::Rev.gt(row.rev))
            .one(db.conn())
            .await
            .map_err(StoreError::statement("read changes"))?;
        if later.is_some() {
            followed.insert((row.rev, row.kind, row.id.clone()));
        }
    }
    Ok(followed)
}

/// How many removals the revisions behind `after` and up to `to` were agreed to take from one region.
pub(crate) async fn removals(db: &impl Reader, after: u64, to: u64) -> Result<u64, StoreError> {
    let rows: Vec<i64> = revision::Entity::find()
        .select_only()
        .column(revision::Column::Removals)
        .filter(revision::Column::Rev.gt(row_of(after)?))
        .filter(revision::Column::Rev.lte(row_of(to)?))
        .filter(revision::Column::Removals.gt(0_i64))
        .into_tuple()
        .all(db.conn())
        .await
        .map_err(StoreError::statement("read removals"))?;
    rows.into_iter().map(number).try_fold(0_u64, |sum, count| Ok(sum.saturating_add(count?)))
}

/// Revisions, newest first, below `before`.
pub(crate) async fn revisions(
    db: &impl Reader,
    before: Option<u64>,
    limit: u64,
) -> Result<Vec<revision::Model>, StoreError> {
    let mut query = revision::Entity::find();
    if let Some(before) = before {
        query = query.filter(revision::Column::Rev.lt(row_of(before)?));
    }
    query
        .order_by_desc(revision::Column::Rev)
        .limit(limit)
        .all(db.conn())
        .await
        .map_err(StoreError::statement("list revisions"))
}

/// One revision.
pub(crate) async fn revision(db: &impl Reader, number: u64) -> Result<Option<revision::Model>, StoreError> {
    revision::Entity::find_by_id(row_of(number)?)
        .one(db.conn())
        .await
        .map_err(StoreError::statement("read revision"))
}

/// Changes of one revision behind a place in it, in the order of the audit; of one organization or of all.
pub(crate) async fn changes(
    db: &impl Reader,
    number: u64,
    org: Option<&str>,
    behind: Option<(i32, &str)>,
    limit: u64,
) -> Result<Vec<change::Model>, StoreError> {
    let mut query = change::Entity::find().filter(change::Column::Rev.eq(row_of(number)?));
    if let Some(org) = org {
        query = query.filter(change::Column::Org.eq(org));
    }
    if let Some((kind, id)) = behind {
        query = query.filter(beyond(kind, id));
    }
    query
        .order_by_asc(change::Column::Kind)
        .order_by_asc(change::Column::Id)
        .limit(limit)
        .all(db.conn())
        .await
        .map_err(StoreError::statement("read changes"))
}

/// How one resource changed between two revisions: its documents' hashes at either.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) noun: Noun,
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) before: Option<Vec<u8>>,
    pub(crate) after: Option<Vec<u8>>,
}

/// What differs in an organization between `from` and `to`, `from` being the older; behind a place, by kind and id.
pub(crate) async fn spans(
    db: &impl Reader,
    org: &str,
    from: u64,
    to: u64,
    behind: Option<(i32, &str)>,
    mut limit: u64,
) -> Result<(Vec<Span>, bool), StoreError> {
    loop {
        let (spans, whole) = spans_of(db, org, from, to, behind, limit).await?;
        if whole || !spans.is_empty() {
            return Ok((spans, whole));
        }
        // One resource changed more often than was read.
        limit = limit.saturating_mul(4);
    }
}

async fn spans_of(
    db: &impl Reader,
    org: &str,
    from: u64,
    to: u64,
    behind: Option<(i32, &str)>,
    limit: u64,
) -> Result<(Vec<Span>, bool), StoreError> {
    let mut query = change::Entity::find()
        .filter(change::Column::Org.eq(org))
        .filter(change::Column::Rev.gt(row_of(from)?))
        .filter(change::Column::Rev.lte(row_of(to)?))
        .filter(change::Column::Kind.is_in(Noun::CONFIGURATION.map(Noun::row)));
    if let Some((kind, id)) = behind {
        query = query.filter(beyond(kind, id));
    }
    let rows = query
        .order_by_asc(change::Column::Kind)
        .order_by_asc(change::Column::Id)
        .order_by_asc(change::Column::Rev)
        .limit(limit)
        .all(db.conn())
        .await
        .map_err(StoreError::statement("compare revisions"))?;
    let whole = (rows.len() as u64) < limit;
    let mut spans: Vec<Span> = Vec::new();
    for row in rows {
        let noun = Noun::of_row(row.kind).ok_or(StoreError::Damaged("change"))?;
        match spans.last_mut() {
            Some(span) if span.noun == noun && span.id == row.id => {
                span.after = row.after;
                span.name = row.name;
            }
            _ => spans.push(Span { noun, id: row.id, name: row.name, before: row.before, after: row.after }),
        }
    }
    if !whole {
        // The last one may go on behind what was read.
        spans.pop();
    }
    Ok((spans, whole))
}

/// The document that a resource had at a revision: its hash, by id or by name.
pub(crate) async fn at_revision(
    db: &impl Reader,
    noun: Noun,
    org: &str,
    reference: &str,
    number: u64,
) -> Result<Option<change::Model>, StoreError> {
    if !is_text(reference) {
        return Ok(None);
    }
    let column = if reference.starts_with(noun.prefix()) { change::Column::Id } else { change::Column::Name };
    let row = change::Entity::find()
        .filter(change::Column::Kind.eq(noun.row()))
        .filter(change::Column::Org.eq(org))
        .filter(column.eq(reference))
        .filter(change::Column::Rev.lte(row_of(number)?))
        .order_by_desc(change::Column::Rev)
        .one(db.conn())
        .await
        .map_err(StoreError::statement("read history"))?;
    Ok(row.filter(|row| row.after.is_some()))
}

/// The changes of one resource, newest first.
pub(crate) async fn versions(
    db: &impl Reader,
    noun: Noun,
    id: &str,
    limit: u64,
) -> Result<Vec<change::Model>, StoreError> {
    change::Entity::find()
        .filter(change::Column::Kind.eq(noun.row()))
        .filter(change::Column::Id.eq(id))
        .order_by_desc(change::Column::Rev)
        .limit(limit)
        .all(db.conn())
        .await
        .map_err(StoreError::statement("read history"))
}

/// The newest revision that changed an organization, or anything of it.
pub(crate) async fn newest_of(db: &impl Reader, org: &str) -> Result<u64, StoreError> {
    let row = change::Entity::find()
        .filter(change::Column::Org.eq(org))
        .order_by_desc(change::Column::Rev)
        .one(db.conn())
        .await
        .map_err(StoreError::statement("read history"))?;
    row.map_or(Ok(0), |row| number(row.rev))
}

fn beyond(kind: i32, id: &str) -> Condition {
    Condition::any()
        .add(change::Column::Kind.gt(kind))
        .add(Condition::all().add(change::Column::Kind.eq(kind)).add(change::Column::Id.gt(id)))
}
