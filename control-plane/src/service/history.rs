//! Revisions: their changes, and the differences between two of them.

use std::collections::HashMap;

use prost::Message as _;
use rr_contract::model::time;
use rr_contract::wire::management::{self as wire, Document, Org};

use super::resource::show;
use super::scope::Scope;
use super::{OrgCaller, Page, PageRequest, Reason, ServiceError, Services};
use crate::noun::Noun;
use crate::store::history::Span;
use crate::store::{self, Reader, StoreError, Stored, change_row, revision_row, time_of};

/// How many changes of a revision are shown with it.
const SHOWN: u64 = 100;
/// How many rows of history are read at once for a page of differences.
pub(super) const READ: u64 = 5_000;

impl Services {
    /// An organization, as it is or as it was.
    pub(crate) async fn org_show(&self, at: OrgCaller, revision: u64) -> Result<Stored<Org>, ServiceError> {
        if revision == 0 {
            return Ok(Stored { row: at.org.row, document: at.org.document });
        }
        let mut principal = at.caller.principal.clone();
        principal.resources.clear();
        // Its history is its own.
        let scope = Scope { org: &at.org.id, principal: &principal, ceilings: None };
        show(&self.store, scope, &at.org.id, revision).await
    }

    /// Newest first.
    pub(crate) async fn revision_list(
        &self,
        page: &PageRequest,
    ) -> Result<Page<wire::Revision>, ServiceError> {
        let before = match page.cursor::<1>()? {
            Some([revision]) => Some(revision.parse().map_err(|_| {
                ServiceError::field(
                    "page_token",
                    "is not valid: pass the `next_page_token` of the previous page",
                )
            })?),
            None => None,
        };
        let floor = self.installation().await?.floor;
        let rows = store::history::revisions(&self.store, before, page.limit()).await?;
        let page = page.cut(rows, |row| vec![row.rev.to_string()]);
        let mut items = Vec::with_capacity(page.items.len());
        for row in page.items {
            items.push(self.revision_of(row, floor).await?);
        }
        Ok(Page { items, next: page.next })
    }

    /// By number.
    pub(crate) async fn revision_show(&self, number: u64) -> Result<wire::Revision, ServiceError> {
        let missing = || ServiceError::NotFound { noun: "revision", name: number.to_string() };
        if i64::try_from(number).is_err() {
            return Err(missing());
        }
        let row = store::history::revision(&self.store, number).await?.ok_or_else(missing)?;
        let floor = self.installation().await?.floor;
        self.revision_of(row, floor).await
    }

    async fn revision_of(
        &self,
        row: revision_row::Model,
        floor: u64,
    ) -> Result<wire::Revision, ServiceError> {
        let number = row.rev.unsigned_abs();
        let changes = store::history::changes(&self.store, number, None, None, SHOWN).await?;
        let changes = changes.into_iter().map(change_of).collect::<Result<_, _>>()?;
        Ok(wire::Revision {
            revision: number,
            at: Some(time::timestamp(time_of(row.at))),
            author: row.token,
            call: row.call,
            changes,
            change_count: row.changes.unsigned_abs(),
            kept: number >= floor,
            actor: row.actor,
        })
    }

    /// The differences of an organization between two revisions.
    pub(crate) async fn revision_diff(
        &self,
        at: &OrgCaller,
        request: wire::DiffRevisionsRequest,
    ) -> Result<wire::DiffRevisionsResponse, ServiceError> {
        let page = PageRequest::parse(request.page_size, &request.page_token)?;
        let head = self.installation().await?;
        let to = if request.to == 0 { head.revision } else { request.to };
        reached("from", request.from, head.revision, head.floor)?;
        reached("to", to, head.revision, head.floor)?;
        let cursor = page.cursor::<2>()?;
        let behind = match cursor {
            Some([kind, id]) => Some((
                kind.parse::<i32>().map_err(|_| {
                    ServiceError::field(
                        "page_token",
                        "is not valid: pass the `next_page_token` of the previous page",
                    )
                })?,
                id,
            )),
            None => None,
        };
        let (older, newer) = (request.from.min(to), request.from.max(to));
        let mut wanted = Vec::new();
        let mut next = behind.map(|(kind, id)| (kind, id.to_owned()));
        loop {
            let behind = next.as_ref().map(|(kind, id)| (*kind, id.as_str()));
            let (spans, whole) =
                store::history::spans(&self.store, &at.org.id, older, newer, behind, READ).await?;
            next = spans.last().map(|span| (span.noun.row(), span.id.clone())).or(next);
            wanted.extend(spans.into_iter().filter(|span| span.before != span.after));
            if whole || wanted.len() as u64 >= page.limit() {
                break;
            }
        }
        wanted.truncate(usize::try_from(page.limit()).unwrap_or(usize::MAX));
        let page = page.cut(wanted, |span| vec![span.noun.row().to_string(), span.id.clone()]);
        let blobs = documents(&self.store, &page.items).await?;
        let mut differences = Vec::with_capacity(page.items.len());
        for span in page.items {
            let (before, after) =
                if request.from <= to { (span.before, span.after) } else { (span.after, span.before) };
            differences.push(wire::Difference {
                kind: span.noun.text().to_owned(),
                id: span.id,
                name: span.name,
                before: before.map(|hash| document_of(&blobs, &hash)).transpose()?,
                after: after.map(|hash| document_of(&blobs, &hash)).transpose()?,
            });
        }
        Ok(wire::DiffRevisionsResponse { differences, next_page_token: page.next, to })
    }
}

pub(super) fn reached(field: &str, revision: u64, head: u64, floor: u64) -> Result<(), ServiceError> {
    if revision > head {
        return Err(ServiceError::field(field, format!("does not exist yet: the newest revision is {head}")));
    }
    if revision < floor {
        return Err(ServiceError::field(
            field,
            format!("is no longer kept: the oldest kept revision is {floor}"),
        ));
    }
    Ok(())
}

/// The organization did not change since the plan was made.
pub(super) async fn unchanged_since(db: &impl Reader, org: &str, expected: u64) -> Result<(), ServiceError> {
    if expected == 0 {
        return Ok(());
    }
    let newest = store::history::newest_of(db, org).await?;
    if newest <= expected {
        return Ok(());
    }
    Err(ServiceError::Conflict {
        reason: Reason::Changed,
        text: format!("the organization changed in revision {newest}, after {expected}: plan again"),
    })
}

pub(super) fn change_of(row: change_row::Model) -> Result<wire::Change, StoreError> {
    let noun = Noun::of_row(row.kind).ok_or(StoreError::Damaged("change"))?;
    Ok(wire::Change {
        kind: noun.text().to_owned(),
        org: row.org,
        id: row.id,
        removed: row.after.is_none(),
        name: row.name,
        created: row.before.is_none() && row.after.is_some(),
    })
}

pub(super) async fn documents(
    db: &impl Reader,
    spans: &[Span],
) -> Result<HashMap<Vec<u8>, Vec<u8>>, StoreError> {
    let hashes = spans.iter().flat_map(|span| [span.before.clone(), span.after.clone()]).flatten().collect();
    store::resource::blobs(db, hashes).await
}

pub(super) fn document_of(blobs: &HashMap<Vec<u8>, Vec<u8>>, hash: &Vec<u8>) -> Result<Document, StoreError> {
    let bytes = blobs.get(hash).ok_or(StoreError::Damaged("blob"))?;
    Document::decode(bytes.as_slice()).map_err(|_| StoreError::Damaged("blob"))
}
