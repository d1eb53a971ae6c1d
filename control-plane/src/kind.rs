//! The closed set of what can be the matter. Every error of this plane answers with one of them, and
//! `api/status.rs` turns them into statuses.

/// What is the matter, as far as a caller has to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// What was named is not there, or is not the caller's to see.
    NotFound,
    /// The name or id is taken.
    AlreadyThere,
    /// The input breaks a rule of the model.
    Invalid,
    /// The input is well formed, but the state of things forbids it.
    Refused,
    /// Nobody, or nobody known.
    Unauthenticated,
    /// Somebody known, who may not do this.
    Forbidden,
    /// Something else changed first; read again.
    Conflict,
    /// Too much at once.
    Limited,
    /// Not now; the same call may work later.
    Unavailable,
    /// A fault of ours.
    Bug,
}
