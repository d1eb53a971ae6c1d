//! What is reported of refusals to the control plane and to operators.
//!
//! Judges nothing.

use rr_contract::model::resource::Key;
use rr_contract::wire::fleet;

use super::Inventory;

/// Maximum number of refusals reported at once: a message has to hold them, and more would explain nothing more.
pub(super) const TOLD_MAX: usize = 500;

impl Inventory {
    /// The refused resources, as far as they are reported.
    pub(crate) fn standing(&self) -> Vec<fleet::Refusal> {
        self.told(self.refused.iter())
    }

    /// The refusals of these keys, as far as they are reported.
    pub(crate) fn told<'a>(&self, keys: impl Iterator<Item = &'a Key>) -> Vec<fleet::Refusal> {
        let refusals = keys.filter_map(|key| {
            let entry = self.entries.get(key)?;
            let reason = entry.refusal.as_ref()?;
            Some(fleet::Refusal {
                key: Some(key.to_wire()),
                wanted: entry.wanted.hash.to_vec(),
                running: entry.running.as_ref().map(|running| running.hash.to_vec()).unwrap_or_default(),
                why: reason.why.into(),
                detail: reason.detail.clone(),
                fails_closed: entry.running.is_none(),
            })
        });
        refusals.take(TOLD_MAX).collect()
    }

    /// How many resources are here, refused or not.
    pub(crate) fn count(&self) -> u64 {
        self.entries.len() as u64
    }

    /// How many resources are refused.
    pub(crate) fn refusals(&self) -> usize {
        self.refused.len()
    }
}
