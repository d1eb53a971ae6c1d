//! Tells of credentials that end soon, and takes that back when they end at another time.

use std::collections::HashMap;
use std::time::Duration;

use rr_contract::model::time;
use rr_contract::wire::management::credential::Usage;
use rr_contract::wire::management::{Credential, NotificationKind};

use super::{PAGE, Told};
use crate::notice;
use crate::noun::Noun;
use crate::store::{self, Store, StoreError, Stored, notification, survey};

/// How long before the end it is told first: time for two people to be on holiday one after the other.
const BEFORE: Duration = Duration::from_secs(14 * 86_400);

/// Looks through all that nodes are sent.
pub(super) async fn run(store: &Store, told: &Told) -> Result<u64, StoreError> {
    let now = store.now();
    let soon = now.saturating_add(i64::try_from(BEFORE.as_micros()).unwrap_or(i64::MAX));
    let mut after = String::new();
    let mut count = 0;
    loop {
        let rows = survey::published(store, Noun::Credential, &after, PAGE).await?;
        let Some(last) = rows.last() else { return Ok(count) };
        after.clone_from(&last.id);
        let credentials: Vec<Stored<Credential>> = store::resource::with_documents(store, rows).await?;
        let due = credentials
            .into_iter()
            .filter_map(|Stored { row, document }| {
                let not_after = end(&document)?;
                let upstream = matches!(document.usage, Some(Usage::Upstream(_)));
                (not_after <= soon).then(|| {
                    notice::credential_near_expiry(now, &row.org, &row.id, &row.name, not_after, upstream)
                })
            })
            .collect();
        count += told.tell(store, due).await?;
    }
}

/// Removes what nobody has read of ends that are none any more: the credential has another one, or is gone.
pub(super) async fn take_back(store: &Store, told: &Told) -> Result<u64, StoreError> {
    let mut after = String::new();
    let mut count = 0;
    loop {
        let rows = notification::unread(store, NotificationKind::CredentialNearExpiry, &after, PAGE).await?;
        let Some(last) = rows.last() else { return Ok(count) };
        after.clone_from(&last.id);
        let mut ends: HashMap<String, Option<i64>> = HashMap::new();
        for row in &rows {
            if !ends.contains_key(&row.subject) {
                ends.insert(row.subject.clone(), current(store, &row.subject).await?);
            }
        }
        let is_over = |row: &notification::NotificationRow| {
            let end = ends.get(&row.subject).copied().flatten();
            !end.is_some_and(|end| notice::is_of_end(&row.window, end))
        };
        let gone: Vec<String> = rows.iter().filter(|row| is_over(row)).map(|row| row.id.clone()).collect();
        // Should the end be the same again, that is news.
        told.forget(&gone);
        count += notification::remove_unread(store, gone).await?;
    }
}

/// The end of a credential that nodes are sent.
async fn current(store: &Store, id: &str) -> Result<Option<i64>, StoreError> {
    let row = store::resource::by_id(store, Noun::Credential, id).await?;
    let Some(row) = row.filter(|row| row.payload.is_some()) else { return Ok(None) };
    let found: Stored<Credential> = store::resource::with_document(store, row).await?;
    Ok(end(&found.document))
}

/// When nodes do not use it any longer, by its own word or by what is said of its seal.
fn end(credential: &Credential) -> Option<i64> {
    let sealed = match &credential.usage {
        Some(Usage::Upstream(upstream)) => upstream.label.as_ref().and_then(|label| label.not_after.as_ref()),
        Some(Usage::Caller(_)) | None => None,
    };
    let ends = credential.not_after.as_ref().into_iter().chain(sealed);
    ends.filter_map(|at| time::system_time(at).ok()).map(store::micros).min()
}
