//! What a removal or a rollback does to which resource, told before it is done and after.
//!
//! Says it in names, for who is asked, and as one digest, so that what he agreed to is what is done.

use rr_contract::wire::management as wire;

use super::{Reason, ServiceError};
use crate::noun::Noun;

/// How many changes an answer lists.
const LISTED: usize = 1000;
/// Why a credential does not come back.
pub(super) const CREDENTIAL_STAYS_GONE: &str =
    "a credential that is deleted stays so: its key or sealed value is not kept";
/// Why nothing of the installation comes back.
pub(super) const NO_ROLLBACK: &str = "what belongs to the installation has no rollback";

/// What is done, in the order in which it is told.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    changes: Vec<wire::PlannedChange>,
    count: u64,
    irreversible: u64,
    digest: blake3::Hasher,
}

impl Plan {
    /// One more.
    pub(super) fn add(&mut self, change: wire::PlannedChange) {
        for part in [change.kind.as_bytes(), change.id.as_bytes(), &change.action.to_be_bytes()] {
            self.digest.update(&(part.len() as u64).to_be_bytes());
            self.digest.update(part);
        }
        self.count += 1;
        self.irreversible += u64::from(!change.irreversible.is_empty());
        if self.changes.len() < LISTED {
            self.changes.push(change);
        }
    }

    /// Stands for all that is done.
    pub(crate) fn digest(&self) -> String {
        self.digest.finalize().to_hex().to_string()
    }

    /// Whether this is what the caller was told before, where he says.
    pub(super) fn is_what_was_shown(&self, expected: &str) -> Result<(), ServiceError> {
        if expected.is_empty() || expected == self.digest() {
            return Ok(());
        }
        Err(ServiceError::Conflict {
            reason: Reason::Changed,
            text: "something else would be done by now than the plan that was shown: look at it anew"
                .to_owned(),
        })
    }

    /// How many there are, and how many of them for good.
    pub(crate) const fn counts(&self) -> (u64, u64) {
        (self.count, self.irreversible)
    }

    /// Those that an answer lists.
    pub(crate) fn into_listed(self) -> Vec<wire::PlannedChange> {
        self.changes
    }
}

/// What is done to one resource.
pub(super) fn change(action: wire::ChangeAction, noun: Noun, id: &str, name: &str) -> wire::PlannedChange {
    wire::PlannedChange {
        action: action.into(),
        kind: noun.text().to_owned(),
        id: id.to_owned(),
        name: name.to_owned(),
        ..wire::PlannedChange::default()
    }
}

/// Why what names a thing that stays gone does not come back either.
pub(super) fn names_what_stays_gone(noun: Noun, name: &str) -> String {
    format!("it names {} {name:?}, which does not come back", noun.title())
}
