//! How what a write staged becomes rows: the documents, what nodes are sent, the links, the revision and its place in the
//! audit chain.
//!
//! Decides nothing: what is staged was checked. Rows go in by the hundred, so that a set of any size takes few
//! statements.

use std::collections::BTreeMap;

use bytes::Bytes;
use rr_contract::audit;
use rr_contract::digest::ResourceHash;
use rr_contract::model::time;
use rr_contract::wire::management as wire;
use sea_orm::sea_query::{CommonTableExpression, InsertStatement, OnConflict, WithClause};
use sea_orm::{
    ActiveValue::Set, ColumnTrait as _, Condition, ConnectionTrait as _, DatabaseBackend, EntityTrait as _,
    IntoActiveModel as _, QueryFilter as _, QueryTrait as _,
};

use super::{Author, Tip};
use crate::document::Part;
use crate::noun::Noun;
use crate::store::admission::AgreedRemovals;
use crate::store::entity::{blob, change, label, link, proxy_home, resource, revision};
use crate::store::txn::{Put, Staged, StagedChange, Txn};
use crate::store::{StoreError, time_of};

/// How many rows one statement writes: below the number of values that it may bind.
const ROWS: usize = 1000;
/// Up to how many changes go to a server in one statement: what an ordinary call makes.
const AT_ONCE: usize = 8;

/// Writes what was staged as the next revision; none when no resource changes.
pub(super) async fn flush(
    txn: &Txn,
    staged: Staged,
    author: &Author,
    admitted: AgreedRemovals,
    tip: &mut Tip,
) -> Result<Option<u64>, StoreError> {
    for rows in staged.also {
        rows(txn).await?;
    }
    if staged.changes.is_empty() && !staged.entry {
        return Ok(None);
    }
    let rev = tip.head + 1;
    let rows = Rows::of(rev, txn.now(), staged.changes);
    let head = chained(rev, txn.now(), author, tip, &rows.changes)?;
    let revision = revision::ActiveModel {
        rev: Set(rev),
        at: Set(txn.now()),
        token: Set(author.token.clone()),
        user: Set(author.user.clone()),
        actor: Set(author.name.clone()),
        address: Set(author.address.clone()),
        user_agent: Set(author.user_agent.clone()),
        call: Set(author.call.to_owned()),
        changes: Set(i64::try_from(rows.changes.len()).unwrap_or(i64::MAX)),
        audit: Set(head.to_vec()),
        removals: Set(i64::try_from(admitted.most).unwrap_or(i64::MAX)),
    };
    rows.clear(txn).await?;
    let few = (1..=AT_ONCE).contains(&rows.changes.len());
    if few && txn.tx().get_database_backend() == DatabaseBackend::Postgres {
        rows.write_at_once(txn, revision).await?;
    } else {
        rows.write(txn, revision).await?;
    }
    *tip = Tip { head: rev, audit: head };
    Ok(Some(u64::try_from(rev).map_err(|_| StoreError::Damaged("head"))?))
}

/// The head of the audit chain after one more entry.
fn chained(
    rev: i64,
    at: i64,
    author: &Author,
    tip: &Tip,
    changes: &[change::Model],
) -> Result<[u8; 32], StoreError> {
    let entry = wire::AuditEntry {
        at: Some(time::timestamp(time_of(at))),
        actor: Some(wire::Actor {
            token: author.token.clone(),
            user: author.user.clone(),
            name: author.name.clone(),
            address: author.address.clone(),
            user_agent: author.user_agent.clone(),
        }),
        call: author.call.to_owned(),
        change_count: changes.len() as u64,
        ..Default::default()
    };
    let mut digest = audit::Entry::new(&entry);
    for row in changes {
        digest = digest.change(&audit_change(row)?);
    }
    let number = u64::try_from(rev).map_err(|_| StoreError::Damaged("head"))?;
    Ok(*audit::Chain::at(tip.audit).next(number, &digest.finish()).head())
}

/// A change as the audit has it, without its documents.
pub(crate) fn audit_change(row: &change::Model) -> Result<wire::AuditChange, StoreError> {
    let noun = Noun::of_row(row.kind).ok_or(StoreError::Damaged("change"))?;
    Ok(wire::AuditChange {
        kind: noun.text().to_owned(),
        org: row.org.clone(),
        id: row.id.clone(),
        name: row.name.clone(),
        before_hash: row.before.clone().unwrap_or_default(),
        after_hash: row.after.clone().unwrap_or_default(),
        before: None,
        after: None,
    })
}

#[derive(Default)]
struct Rows {
    blobs: BTreeMap<ResourceHash, Bytes>,
    resources: Vec<resource::Model>,
    removed: Vec<(Noun, String)>,
    unlinked: Vec<(Noun, String)>,
    links: Vec<link::Model>,
    labels: Vec<label::Model>,
    /// Where proxies are served from now on: what was once is kept, for their records.
    homes: Vec<proxy_home::Model>,
    /// In the order of kinds and ids, as the audit has them.
    changes: Vec<change::Model>,
}

impl Rows {
    fn of(rev: i64, now: i64, staged: BTreeMap<(Noun, String), StagedChange>) -> Self {
        let mut rows = Self::default();
        for ((noun, id), change) in staged {
            match change {
                StagedChange::Put(put) => rows.put(rev, now, *put),
                StagedChange::Decision(row, words) => rows.changes.push(change::Model {
                    rev,
                    kind: noun.row(),
                    org: concerned(noun, &id, row.org),
                    id,
                    name: words,
                    before: Some(row.doc.clone()),
                    after: Some(row.doc),
                    payload: None,
                }),
                StagedChange::Removal(row) => {
                    rows.changes.push(change::Model {
                        rev,
                        kind: noun.row(),
                        id: id.clone(),
                        org: concerned(noun, &id, row.org),
                        name: row.name,
                        before: Some(row.doc),
                        after: None,
                        payload: None,
                    });
                    rows.unlinked.push((noun, id.clone()));
                    rows.removed.push((noun, id));
                }
            }
        }
        rows
    }

    fn put(&mut self, rev: i64, now: i64, put: Put) {
        let doc = put.document.hash().to_vec();
        let payload = put.payload.map(|payload| {
            self.blobs.insert(*payload.hash(), payload.bytes().clone());
            payload.hash().to_vec()
        });
        self.blobs.insert(*put.document.hash(), put.document.bytes().clone());
        let links = put.links.iter().map(|(part, to, id)| link::Model {
            kind: put.noun.row(),
            id: put.id.clone(),
            part: part.row(),
            to_kind: to.row(),
            to_id: id.clone(),
        });
        self.links.extend(links);
        let labels = put.labels.into_iter().map(|(field, value)| label::Model {
            credential: put.id.clone(),
            field,
            value,
        });
        self.labels.extend(labels);
        if put.noun == Noun::Proxy {
            let regions = put.links.iter().filter(|(part, ..)| *part == Part::Region);
            self.homes.extend(regions.map(|(_, _, region)| proxy_home::Model {
                proxy: put.id.clone(),
                region: region.clone(),
                org: put.org.clone(),
            }));
        }
        if put.before.is_some() {
            self.unlinked.push((put.noun, put.id.clone()));
        }
        self.changes.push(change::Model {
            rev,
            kind: put.noun.row(),
            id: put.id.clone(),
            org: concerned(put.noun, &put.id, put.org.clone()),
            name: put.name.clone(),
            before: put.before.as_ref().map(|row| row.doc.clone()),
            after: Some(doc.clone()),
            payload: payload.clone(),
        });
        let (created_at, created_by) = match put.before {
            Some(before) => (before.created_at, before.created_by),
            None => (now, put.created_by),
        };
        self.resources.push(resource::Model {
            kind: put.noun.row(),
            id: put.id,
            org: put.org,
            name: put.name,
            owner: put.owner,
            rev,
            doc,
            payload,
            created_at,
            updated_at: now,
            created_by,
        });
    }

    /// Takes away what goes, and the links of what changes.
    async fn clear(&self, txn: &Txn) -> Result<(), StoreError> {
        for (noun, ids) in by_noun(&self.removed) {
            for ids in ids.chunks(ROWS) {
                resource::Entity::delete_many()
                    .filter(resource::Column::Kind.eq(noun.row()))
                    .filter(resource::Column::Id.is_in(ids.iter().copied()))
                    .exec(txn.tx())
                    .await
                    .map_err(StoreError::statement("remove resources"))?;
            }
        }
        for (noun, ids) in by_noun(&self.unlinked) {
            for ids in ids.chunks(ROWS) {
                link::Entity::delete_many()
                    .filter(Condition::all().add(link::Column::Kind.eq(noun.row())))
                    .filter(link::Column::Id.is_in(ids.iter().copied()))
                    .exec(txn.tx())
                    .await
                    .map_err(StoreError::statement("remove links"))?;
                if noun != Noun::Credential {
                    continue;
                }
                label::Entity::delete_many()
                    .filter(label::Column::Credential.is_in(ids.iter().copied()))
                    .exec(txn.tx())
                    .await
                    .map_err(StoreError::statement("remove labels"))?;
            }
        }
        Ok(())
    }

    /// Puts in what is new, table after table.
    async fn write(&self, txn: &Txn, revision: revision::ActiveModel) -> Result<(), StoreError> {
        async fn run(
            txn: &Txn,
            operation: &'static str,
            statement: InsertStatement,
        ) -> Result<(), StoreError> {
            txn.tx().execute(&statement).await.map_err(StoreError::statement(operation))?;
            Ok(())
        }

        let blobs: Vec<_> = self.blobs.iter().collect();
        for blobs in blobs.chunks(ROWS) {
            run(txn, "write documents", insert_blobs(blobs)).await?;
        }
        for resources in self.resources.chunks(ROWS) {
            run(txn, "write resources", insert_resources(resources)).await?;
        }
        for links in self.links.chunks(ROWS) {
            run(txn, "write links", insert_links(links)).await?;
        }
        for labels in self.labels.chunks(ROWS) {
            run(txn, "write labels", insert_labels(labels)).await?;
        }
        for homes in self.homes.chunks(ROWS) {
            run(txn, "write homes of proxies", insert_homes(homes)).await?;
        }
        run(txn, "write revision", revision::Entity::insert(revision).into_query()).await?;
        for changes in self.changes.chunks(ROWS) {
            run(txn, "write changes", insert_changes(changes)).await?;
        }
        Ok(())
    }

    /// The same in one statement, which spares the way to the server and back for each table.
    async fn write_at_once(&self, txn: &Txn, revision: revision::ActiveModel) -> Result<(), StoreError> {
        let blobs: Vec<_> = self.blobs.iter().collect();
        let parts = [
            ("new_blobs", (!blobs.is_empty()).then(|| insert_blobs(&blobs))),
            ("new_resources", (!self.resources.is_empty()).then(|| insert_resources(&self.resources))),
            ("new_links", (!self.links.is_empty()).then(|| insert_links(&self.links))),
            ("new_labels", (!self.labels.is_empty()).then(|| insert_labels(&self.labels))),
            ("new_homes", (!self.homes.is_empty()).then(|| insert_homes(&self.homes))),
            ("new_changes", (!self.changes.is_empty()).then(|| insert_changes(&self.changes))),
        ];
        let mut with = WithClause::new();
        for (name, part) in parts {
            if let Some(part) = part {
                with.cte(CommonTableExpression::new().table_name(name).query(part).to_owned());
            }
        }
        let statement = revision::Entity::insert(revision).into_query().with(with);
        txn.tx().execute(&statement).await.map_err(StoreError::statement("write revision"))?;
        Ok(())
    }
}

fn insert_blobs(blobs: &[(&ResourceHash, &Bytes)]) -> InsertStatement {
    let rows = blobs.iter().map(|(hash, payload)| blob::ActiveModel {
        hash: Set(hash.to_vec()),
        payload: Set(payload.to_vec()),
    });
    let known = OnConflict::column(blob::Column::Hash).do_nothing().to_owned();
    blob::Entity::insert_many(rows).on_conflict(known).into_query()
}

fn insert_resources(resources: &[resource::Model]) -> InsertStatement {
    use resource::Column;

    let known = OnConflict::columns([Column::Kind, Column::Id])
        .update_columns([
            Column::Org,
            Column::Name,
            Column::Owner,
            Column::Rev,
            Column::Doc,
            Column::Payload,
            Column::UpdatedAt,
        ])
        .to_owned();
    resource::Entity::insert_many(resources.iter().cloned().map(resource::Model::into_active_model))
        .on_conflict(known)
        .into_query()
}

fn insert_labels(labels: &[label::Model]) -> InsertStatement {
    label::Entity::insert_many(labels.iter().cloned().map(label::Model::into_active_model))
        .on_conflict_do_nothing()
        .into_query()
}

fn insert_links(links: &[link::Model]) -> InsertStatement {
    link::Entity::insert_many(links.iter().cloned().map(link::Model::into_active_model))
        .on_conflict_do_nothing()
        .into_query()
}

fn insert_homes(homes: &[proxy_home::Model]) -> InsertStatement {
    proxy_home::Entity::insert_many(homes.iter().cloned().map(proxy_home::Model::into_active_model))
        .on_conflict_do_nothing()
        .into_query()
}

fn insert_changes(changes: &[change::Model]) -> InsertStatement {
    change::Entity::insert_many(changes.iter().cloned().map(change::Model::into_active_model)).into_query()
}

/// Whose history a change is part of: an organization's own is its own.
fn concerned(noun: Noun, id: &str, org: String) -> String {
    if noun == Noun::Org { id.to_owned() } else { org }
}

fn by_noun(keys: &[(Noun, String)]) -> BTreeMap<Noun, Vec<&str>> {
    let mut grouped: BTreeMap<Noun, Vec<&str>> = BTreeMap::new();
    for (noun, id) in keys {
        grouped.entry(*noun).or_default().push(id);
    }
    grouped
}
