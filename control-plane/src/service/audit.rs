//! The audit, to be read: entries with their documents, and the attempts that were refused.

use prost::Message as _;
use rr_contract::wire::management::{self as wire, Document};

use super::{OrgCaller, Page, PageRequest, ServiceError, Services, fields};
use crate::store::audit::{AuditFilter, RefusedRow};
use crate::store::{self, StoreError, audit_change, change_row, entry_of};

/// How many changes an entry in a list is shown with.
const SHOWN: u64 = 100;
/// How many changes one message of an export holds.
const EXPORTED: u64 = 500;
/// How many revisions an export reads at once.
const READ: u64 = 200;

/// The filter of a list of entries.
pub(crate) struct AuditQuery {
    pub(crate) resource: String,
    pub(crate) actor: String,
    pub(crate) after: Option<pbjson_types::Timestamp>,
    pub(crate) before: Option<pbjson_types::Timestamp>,
}

impl Services {
    /// Entries that touch an organization, or all of them.
    pub(crate) async fn audit_list(
        &self,
        at: Option<&OrgCaller>,
        query: AuditQuery,
        page: &PageRequest,
    ) -> Result<Page<wire::AuditEntry>, ServiceError> {
        let below = match page.cursor::<1>()? {
            Some([revision]) => Some(revision.parse().map_err(|_| {
                ServiceError::field(
                    "page_token",
                    "is not valid: pass the `next_page_token` of the previous page",
                )
            })?),
            None => None,
        };
        let org = at.map(|at| at.org.id.clone());
        let filter = AuditFilter {
            org: org.clone(),
            resource: Some(query.resource).filter(|id| !id.is_empty()),
            actor: Some(query.actor).filter(|id| !id.is_empty()),
            after: fields::time_row("after", query.after.as_ref())?,
            before: fields::time_row("before", query.before.as_ref())?,
            below,
        };
        let rows = store::audit::list(&self.store, filter, page.limit()).await?;
        let page = page.cut(rows, |row| vec![row.rev.to_string()]);
        let mut items = Vec::with_capacity(page.items.len());
        for row in page.items {
            let number = row.rev.unsigned_abs();
            let changes = store::history::changes(&self.store, number, org.as_deref(), None, SHOWN).await?;
            let changes = self.audit_changes(changes).await?;
            items.push(wire::AuditEntry { changes, ..entry_of(row) });
        }
        Ok(Page { items, next: page.next })
    }

    /// The next entries of an export: whole ones, or parts of one. Empty at the end.
    pub(crate) async fn audit_export(
        &self,
        cursor: &mut ExportCursor,
    ) -> Result<Vec<wire::AuditEntry>, ServiceError> {
        let mut entries = Vec::new();
        let last = store_number(cursor.last);
        for row in store::audit::from(&self.store, store_number(cursor.next), last, READ).await? {
            let number = row.rev.unsigned_abs();
            let behind = cursor.behind.take();
            let behind = behind.as_ref().map(|(kind, id)| (*kind, id.as_str()));
            let changes = store::history::changes(&self.store, number, None, behind, EXPORTED).await?;
            let full = changes.len() as u64 == EXPORTED;
            let end = changes.last().map(|change| (change.kind, change.id.clone()));
            let changes = self.audit_changes(changes).await?;
            entries.push(wire::AuditEntry { changes, ..entry_of(row) });
            if full {
                // The rest of it comes next.
                cursor.next = number;
                cursor.behind = end;
                return Ok(entries);
            }
            cursor.next = number + 1;
            // Documents are large: a message at a time is enough.
            if entries.len() >= 20 {
                break;
            }
        }
        Ok(entries)
    }

    async fn audit_changes(
        &self,
        rows: Vec<change_row::Model>,
    ) -> Result<Vec<wire::AuditChange>, ServiceError> {
        let hashes = rows.iter().flat_map(|row| [row.before.clone(), row.after.clone()]).flatten().collect();
        let blobs = store::resource::blobs(&self.store, hashes).await?;
        let document = |hash: &Option<Vec<u8>>| {
            let bytes = hash.as_ref().and_then(|hash| blobs.get(hash));
            bytes
                .map(|bytes| Document::decode(bytes.as_slice()).map_err(|_| StoreError::Damaged("blob")))
                .transpose()
        };
        let changes = rows.iter().map(|row| {
            Ok(wire::AuditChange {
                before: document(&row.before)?,
                after: document(&row.after)?,
                ..audit_change(row)?
            })
        });
        Ok(changes.collect::<Result<_, StoreError>>()?)
    }

    /// Newest first.
    pub(crate) async fn refused_list(
        &self,
        actor: String,
        page: &PageRequest,
    ) -> Result<Page<RefusedRow>, ServiceError> {
        let behind = match page.cursor::<3>()? {
            Some([minute, token, call]) => {
                let minute = minute.parse().map_err(|_| {
                    ServiceError::field(
                        "page_token",
                        "is not valid: pass the `next_page_token` of the previous page",
                    )
                })?;
                Some((minute, token.to_owned(), call.to_owned()))
            }
            None => None,
        };
        let actor = Some(actor).filter(|actor| !actor.is_empty());
        let rows = store::audit::refused(&self.store, actor, behind, page.limit()).await?;
        Ok(page.cut(rows, |row| vec![row.minute.to_string(), row.token.clone(), row.call.clone()]))
    }
}

/// Where an export stands.
#[derive(Debug)]
pub(crate) struct ExportCursor {
    next: u64,
    last: u64,
    /// In the entry that is next: behind this change.
    behind: Option<(i32, String)>,
}

impl ExportCursor {
    /// From one revision to another; 0 for the first and the newest.
    pub(crate) fn new(from: u64, to: u64, head: u64) -> Result<Self, ServiceError> {
        let last = if to == 0 { head } else { to };
        if last > head {
            return Err(ServiceError::field(
                "to",
                format!("does not exist yet: the newest revision is {head}"),
            ));
        }
        if from > last && from > 1 {
            return Err(ServiceError::field("from", "is greater than `to`"));
        }
        Ok(Self { next: from.max(1), last, behind: None })
    }
}

fn store_number(revision: u64) -> i64 {
    i64::try_from(revision).unwrap_or(i64::MAX)
}
