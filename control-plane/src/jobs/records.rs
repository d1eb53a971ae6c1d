//! Lets go of records that are older than their organizations keep them, and makes the days that records to come belong
//! to.

use tracing::info;

use crate::store::{RecordStore, StoreError, clock};

/// How many records, losses and days went.
pub(super) async fn run(store: &RecordStore) -> Result<u64, StoreError> {
    // Removes nothing, so a clock that is not believed makes them as well.
    let made = store.make_days().await;
    let now = clock::believed(store.central()).await?;
    let gone = store.remove(now).await?;
    if gone.days > 0 {
        info!(record_store = store.name(), days = gone.days, "days of records dropped");
    }
    made?;
    Ok(gone.records + gone.losses + gone.days)
}
