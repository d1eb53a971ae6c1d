//! The closed set of error kinds of this plane. Every error has one, and `api/status.rs` turns it into a status.

/// The kind of an error, as far as callers are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The resource does not exist, or the caller may not see it.
    NotFound,
    /// The name or id is taken.
    AlreadyThere,
    /// The input breaks a rule of the model.
    Invalid,
    /// The input is well formed, but the current state forbids it.
    Refused,
    /// The caller is not known.
    Unauthenticated,
    /// The caller is known and may not do this.
    Forbidden,
    /// Another change came first; read again.
    Conflict,
    /// A limit is reached.
    Limited,
    /// Not now; the same call may work later.
    Unavailable,
    /// A defect of the control plane.
    Bug,
}
