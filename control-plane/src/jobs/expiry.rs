//! Tells of credentials that end soon.

use std::time::Duration;

use rr_contract::model::time;
use rr_contract::wire::management::Credential;
use rr_contract::wire::management::credential::Usage;

use super::{PAGE, Told};
use crate::notice;
use crate::noun::Noun;
use crate::store::{self, Store, StoreError, Stored, survey};

/// How long before the end it is told: time for two people to be on holiday one after the other.
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
                let not_after = document.not_after.as_ref().and_then(|at| time::system_time(at).ok())?;
                let not_after = store::micros(not_after);
                let upstream = matches!(document.usage, Some(Usage::Upstream(_)));
                (not_after <= soon).then(|| {
                    notice::credential_near_expiry(now, &row.org, &row.id, &row.name, not_after, upstream)
                })
            })
            .collect();
        count += told.tell(store, due).await?;
    }
}
