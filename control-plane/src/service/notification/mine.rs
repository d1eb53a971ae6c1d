//! Notifications of one person: of all organizations that the caller is a member of, and of the installation where the
//! caller is its operator, with marks of the caller's own.
//!
//! The invariant: which organizations these are is asked anew at every call, so that whoever leaves one sees nothing of
//! it any more, and a page token carries no right.

use std::collections::{BTreeSet, HashMap};

use rr_contract::wire::management::{self as wire, Org, Role};

use super::{Marks, behind, encode};
use crate::authz::Principal;
use crate::noun::Noun;
use crate::service::{Page, PageRequest, ServiceError, Services};
use crate::store::notification_seen::{self, Feed};
use crate::store::{self, Stored};

impl Services {
    /// Newest first.
    pub(crate) async fn notification_list_mine(
        &self,
        principal: &Principal,
        unread: bool,
        page: &PageRequest,
    ) -> Result<Page<wire::Notification>, ServiceError> {
        let (feed, names) = self.feed(principal).await?;
        let rows = notification_seen::list(&self.store, &feed, unread, behind(page)?, page.limit()).await?;
        let page = page.cut(rows, |(row, _)| vec![row.created_at.to_string(), row.id.clone()]);
        let shown = |(row, seen)| {
            let shown: wire::Notification = encode(row);
            let org_name = names.get(&shown.org).cloned().unwrap_or_default();
            wire::Notification { seen, org_name, ..shown }
        };
        Ok(Page { items: page.items.into_iter().map(shown).collect(), next: page.next })
    }

    /// Marks them for the caller alone; how many were not marked.
    pub(crate) async fn notification_mark_mine(
        &self,
        principal: &Principal,
        marks: Marks,
    ) -> Result<u64, ServiceError> {
        let (feed, _) = self.feed(principal).await?;
        Ok(match marks {
            Marks::These(ids) => notification_seen::mark(&self.store, feed, ids).await?,
            Marks::Through(at) => notification_seen::mark_through(&self.store, feed, at).await?,
        })
    }

    /// What a caller sees notifications of, and the names of these organizations by id.
    async fn feed(&self, principal: &Principal) -> Result<(Feed, HashMap<String, String>), ServiceError> {
        let ids: BTreeSet<String> = principal
            .orgs
            .iter()
            .filter(|(_, role)| *role >= Role::Viewer)
            .map(|(org, _)| org.clone())
            .collect();
        let ids: Vec<String> = ids.into_iter().collect();
        let rows = store::resource::find_all(&self.store, Noun::Org, "", &ids).await?;
        let mut there: Vec<Stored<Org>> = store::resource::with_documents(&self.store, rows).await?;
        there.retain(|org| org.document.deleted_at.is_none());
        let names: HashMap<String, String> =
            there.into_iter().map(|org| (org.row.id, org.row.name)).collect();
        let mut orgs: Vec<String> = names.keys().cloned().collect();
        if principal.operator {
            orgs.push(String::new());
        }
        // In one order, so that two calls at once do not wait for each other.
        orgs.sort_unstable();
        Ok((Feed { who: principal.maker().to_owned(), orgs }, names))
    }
}
