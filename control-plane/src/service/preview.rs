//! The end of previews: sets whose label says how long they stay.
//!
//! Looks at labels alone. The invariant: a preview is one by its name, and ends with the latest end that a label of it
//! says; with it goes what bears a label of it, and what belongs to that. What another resource still needs keeps all
//! of it, and holds up no other preview.

use std::collections::BTreeMap;

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
        let mut previews: BTreeMap<(String, String), Label> = BTreeMap::new();
        for (org, owner) in store::resource::owners(&self.store, PREFIX).await? {
            let Some(label) = Label::parse(&owner) else { continue };
            let latest = previews.entry((org, label.name.to_string())).or_insert_with(|| label.clone());
            latest.ends = latest.ends.max(label.ends);
        }
        if previews.is_empty() {
            return Ok(0);
        }
        // What goes for good goes at a time that is believed.
        let now = store::clock::believed(&self.store).await?;
        let mut ended = 0;
        for ((org, name), label) in previews {
            if !label.has_ended(now) {
                continue;
            }
            let of = org.clone();
            let removed = self
                .store
                .write(Author::system(CALL), move |txn| {
                    Box::pin(async move { apply::remove_ended(txn, &of, &label, now).await })
                })
                .await;
            match removed {
                Ok(written) => ended += usize::from(written.revision.is_some()),
                // Another one's resource needs a part of it: a person has to look, and the others go on.
                Err(error @ ServiceError::Refused { .. }) => {
                    warn!(
                        org,
                        preview = name,
                        error = %chain(&error),
                        remedy = "delete what uses a part of the preview, or lead it to something else",
                        "a preview has ended and cannot be removed"
                    );
                }
                Err(error) => return Err(error),
            }
        }
        Ok(ended)
    }
}
