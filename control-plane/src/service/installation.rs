//! The installation and its history.

use super::{Page, PageRequest, ServiceError, Services};
use crate::store::change::RevisionEntry;
use crate::store::{self, Head, StoreError};

impl Services {
    /// The installation and where its history stands.
    pub(crate) async fn installation_show(&self) -> Result<Head, ServiceError> {
        let head = store::installation::head(&self.store).await?;
        Ok(head.ok_or(StoreError::Damaged("head"))?)
    }

    /// Published revisions, newest first.
    pub(crate) async fn revision_list(
        &self,
        page: &PageRequest,
    ) -> Result<Page<RevisionEntry>, ServiceError> {
        let before =
            match page.cursor::<1>()? {
                Some([revision]) => Some(revision.parse().map_err(|_| {
                    ServiceError::field("page_token", "is not one that a list call answered")
                })?),
                None => None,
            };
        let rows = store::change::revisions(&self.store, before, page.limit()).await?;
        Ok(page.cut(rows, |entry| vec![entry.revision.rev.to_string()]))
    }
}
