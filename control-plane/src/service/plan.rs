//! The changes that a removal or a rollback makes, listed before they are made and after.
//!
//! They are listed by name, for people, and as one digest, so that the changes made are the changes agreed to.

use rr_contract::wire::management as wire;

use super::{Reason, ServiceError};
use crate::noun::Noun;

/// How many changes a response lists.
const LISTED: usize = 1000;
/// Why a credential is not restored.
pub(super) const CREDENTIAL_STAYS_GONE: &str =
    "a deleted credential cannot be restored: its key or sealed value is not kept";
/// Why a resource of the installation is not restored.
pub(super) const NO_ROLLBACK: &str = "resources of the installation cannot be rolled back";

/// The changes, in the order in which they are listed.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    changes: Vec<wire::PlannedChange>,
    count: u64,
    irreversible: u64,
    digest: blake3::Hasher,
}

impl Plan {
    /// Adds a change.
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

    /// Identifies all the changes.
    pub(crate) fn digest(&self) -> String {
        self.digest.finalize().to_hex().to_string()
    }

    /// Whether this is the plan that the caller was shown, if the request names one.
    pub(super) fn is_what_was_shown(&self, expected: &str) -> Result<(), ServiceError> {
        if expected.is_empty() || expected == self.digest() {
            return Ok(());
        }
        Err(ServiceError::Conflict {
            reason: Reason::Changed,
            text: "the plan is out of date: request it again with `dry_run`".to_owned(),
        })
    }

    /// The number of changes, and how many of them are irreversible.
    pub(crate) const fn counts(&self) -> (u64, u64) {
        (self.count, self.irreversible)
    }

    /// The changes that a response lists.
    pub(crate) fn into_listed(self) -> Vec<wire::PlannedChange> {
        self.changes
    }
}

/// The change of one resource.
pub(super) fn change(action: wire::ChangeAction, noun: Noun, id: &str, name: &str) -> wire::PlannedChange {
    wire::PlannedChange {
        action: action.into(),
        kind: noun.text().to_owned(),
        id: id.to_owned(),
        name: name.to_owned(),
        ..wire::PlannedChange::default()
    }
}

/// Why a resource is not restored that names one which is not restored.
pub(super) fn names_what_stays_gone(noun: Noun, name: &str) -> String {
    format!("it names {} {name:?}, which cannot be restored", noun.title())
}
