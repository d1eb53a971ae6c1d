//! Notifications: read, marked, and followed.

mod mine;

use pbjson_types::Timestamp;
use rr_contract::model::time;
use rr_contract::wire::management as wire;

use super::{Page, PageRequest, ServiceError, Services, fields};
use crate::store::{self, notification::NotificationRow, time_of};

/// How many may be marked at once.
const MARKED_MOST: usize = 1000;
/// How many a watch reads at once.
const READ: u64 = 100;

/// Which notifications a call marks.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Marks {
    /// By id.
    These(Vec<String>),
    /// All that came at a time or before.
    Through(i64),
}

impl Marks {
    /// What a request says. A time to come is now: nothing is marked that nobody can have seen.
    pub(crate) fn parse(
        ids: Vec<String>,
        all: bool,
        through: Option<&Timestamp>,
        now: i64,
    ) -> Result<Self, ServiceError> {
        let through = fields::time_row("through", through)?;
        match (all, ids.len()) {
            (true, 0) => Ok(Self::Through(through.map_or(now, |at| at.min(now)))),
            (true, _) => Err(ServiceError::field(
                "notifications",
                "must be empty with `all`, which marks all: leave out the ids or `all`",
            )),
            (false, _) if through.is_some() => {
                Err(ServiceError::field("through", "is for `all` only: set `all`, or leave out the time"))
            }
            // What can be nobody's id is none.
            (false, 1..=MARKED_MOST) => {
                Ok(Self::These(ids.into_iter().filter(|id| store::is_text(id)).collect()))
            }
            (false, _) => Err(ServiceError::field(
                "notifications",
                format!("must have 1 to {MARKED_MOST} ids; `all` marks all without ids"),
            )),
        }
    }
}

impl Services {
    /// Newest first; of an organization, or of the installation where it is empty.
    pub(crate) async fn notification_list(
        &self,
        org: &str,
        unread: bool,
        page: &PageRequest,
    ) -> Result<Page<wire::Notification>, ServiceError> {
        let rows = store::notification::list(&self.store, org, unread, behind(page)?, page.limit()).await?;
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
    pub(crate) async fn notification_mark(&self, org: &str, marks: Marks) -> Result<u64, ServiceError> {
        Ok(match marks {
            Marks::These(ids) => store::notification::mark(&self.store, org.to_owned(), ids).await?,
            Marks::Through(at) => store::notification::mark_through(&self.store, org, at).await?,
        })
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

/// The row that the page before ended with.
fn behind(page: &PageRequest) -> Result<Option<(i64, String)>, ServiceError> {
    let Some([at, id]) = page.cursor::<2>()? else { return Ok(None) };
    let at = at.parse().map_err(|_| {
        ServiceError::field("page_token", "is not valid: pass the `next_page_token` of the previous page")
    })?;
    Ok(Some((at, id.to_owned())))
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
        seen: false,
        org_name: String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_000_000;

    fn parse(ids: usize, all: bool, through: Option<i64>) -> Result<Marks, String> {
        let through = through.map(|at| time::timestamp(time_of(at)));
        Marks::parse(vec!["no_a".to_owned(); ids], all, through.as_ref(), NOW)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn a_call_marks_ids_or_all_and_nothing_that_is_still_to_come() {
        assert_eq!(parse(2, false, None), Ok(Marks::These(vec!["no_a".to_owned(); 2])));
        let odd = vec!["no_a".to_owned(), "no_\0".to_owned()];
        let odd = Marks::parse(odd, false, None, NOW).expect("is taken");
        assert_eq!(odd, Marks::These(vec!["no_a".to_owned()]), "PostgreSQL takes no NUL");
        assert_eq!(parse(0, true, None), Ok(Marks::Through(NOW)));
        assert_eq!(parse(0, true, Some(7)), Ok(Marks::Through(7)));
        assert_eq!(parse(0, true, Some(NOW + 7)), Ok(Marks::Through(NOW)));
        for (ids, all, through, said) in [
            (1, true, None, "notifications"),
            (1, false, Some(7), "through"),
            (0, false, Some(7), "through"),
            (0, false, None, "`all`"),
            (MARKED_MOST + 1, false, None, "1 to 1000"),
        ] {
            let error = parse(ids, all, through).expect_err("says two things, or nothing");
            assert!(error.contains(said), "{error}");
        }
    }
}
