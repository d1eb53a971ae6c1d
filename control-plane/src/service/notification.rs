//! Notifications: read, marked, and followed.

use rr_contract::wire::management as wire;

use super::{Page, PageRequest, ServiceError, Services};
use crate::store::{self, notification::NotificationRow, time_of};
use rr_contract::model::time;

/// How many may be marked at once.
const MARKED_MOST: usize = 1000;
/// How many a watch reads at once.
const READ: u64 = 100;

impl Services {
    /// Newest first; of an organization, or of the installation where it is empty.
    pub(crate) async fn notification_list(
        &self,
        org: &str,
        unread: bool,
        page: &PageRequest,
    ) -> Result<Page<wire::Notification>, ServiceError> {
        let behind = match page.cursor::<2>()? {
            Some([at, id]) => {
                let at = at.parse().map_err(|_| {
                    ServiceError::field(
                        "page_token",
                        "is not valid: pass the `next_page_token` of the previous page",
                    )
                })?;
                Some((at, id.to_owned()))
            }
            None => None,
        };
        let rows = store::notification::list(&self.store, org, unread, behind, page.limit()).await?;
        let page = page.cut(rows, |row| vec![row.created_at.to_string(), row.id.clone()]);
        Ok(Page { items: page.items.into_iter().map(encode).collect(), next: page.next })
    }

    /// By id.
    pub(crate) async fn notification_show(
        &self,
        org: &str,
        id: &str,
    ) -> Result<wire::Notification, ServiceError> {
        let found = store::notification::by_id(&self.store, org, id).await?;
        found.map(encode).ok_or_else(|| ServiceError::NotFound { noun: "notification", name: id.to_owned() })
    }

    /// Marks them read; how many were not.
    pub(crate) async fn notification_mark(&self, org: &str, ids: Vec<String>) -> Result<u64, ServiceError> {
        if ids.is_empty() || ids.len() > MARKED_MOST {
            return Err(ServiceError::field("notifications", format!("must have 1 to {MARKED_MOST} ids")));
        }
        Ok(store::notification::mark(&self.store, org.to_owned(), ids).await?)
    }

    /// Notifications after the cursor, oldest first. Advances the cursor.
    pub(crate) async fn notification_news(
        &self,
        org: &str,
        cursor: &mut (i64, String),
    ) -> Result<Vec<wire::Notification>, ServiceError> {
        let rows = store::notification::after(&self.store, org, cursor.0, &cursor.1, READ).await?;
        if let Some(last) = rows.last() {
            *cursor = (last.created_at, last.id.clone());
        }
        Ok(rows.into_iter().map(encode).collect())
    }
}

fn encode(row: NotificationRow) -> wire::Notification {
    let at = |micros| Some(time::timestamp(time_of(micros)));
    wire::Notification {
        id: row.id,
        org: row.org,
        kind: row.kind,
        subject: row.subject,
        title: row.title,
        message: row.message,
        created_at: at(row.created_at),
        read_at: row.read_at.and_then(at),
    }
}
