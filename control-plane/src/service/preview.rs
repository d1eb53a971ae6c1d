//! The end of previews: sets whose label says how long they stay.
//!
//! Looks at labels alone. The invariant: with a preview goes what bears its label, and what belongs to that; what another
//! resource still needs keeps all of it.

use rr_contract::document::preview::{Label, PREFIX};
use rr_contract::runtime::chain;
use tracing::warn;

use super::{ServiceError, Services, apply};
use crate::store::{self, Author};

/// As the audit names it.
const CALL: &str = "rr-control preview";

impl Services {
    /// Removes the previews that have ended. Returns how many there were.
    pub(crate) async fn previews_end(&self) -> Result<usize, ServiceError> {
        let mut labels = store::resource::owners(&self.store, PREFIX).await?;
        labels.retain(|(_, owner)| Label::parse(owner).is_some());
        if labels.is_empty() {
            return Ok(0);
        }
        // What goes for good goes at a time that is believed.
        let now = store::clock::believed(&self.store).await?;
        let mut ended = 0;
        for (org, owner) in labels {
            if !Label::parse(&owner).is_some_and(|label| label.has_ended(now)) {
                continue;
            }
            let (of, label) = (org.clone(), owner.clone());
            let removed = self
                .store
                .write(Author::system(CALL), move |txn| {
                    Box::pin(async move { apply::remove_owned(txn, &of, &label).await })
                })
                .await;
            match removed {
                Ok(written) => ended += usize::from(written.revision.is_some()),
                // Another one's resource needs a part of it: a person has to look, and the others go on.
                Err(error @ ServiceError::Refused { .. }) => {
                    warn!(org, owner, error = %chain(&error), "a preview has ended and cannot be removed");
                }
                Err(error) => return Err(error),
            }
        }
        Ok(ended)
    }
}
