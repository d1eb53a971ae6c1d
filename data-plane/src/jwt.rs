//! Signed tokens of callers: what a credential wants of one, the keys that verify it, and what a worker has seen before.
//!
//! Reads no request and knows no proxy's rules. The invariants: a key has one family, so that no token chooses how it is
//! verified; what has been verified once counts only as long as credential, keys and token do; nothing in here waits.
//!
//! Signatures are verified on the worker itself: 20 to 250 µs, which is less than to hand them to another thread and back
//! where that is busy. They are looked at one by one, the rest of the worker in between ([`Turn`]), and what a flood of
//! wrong ones can take of a worker is bounded by proxy ([`Tokens`]).

mod checks;
mod issuer;
mod issuers;
mod keys;
mod tokens;
mod turns;

pub(crate) use self::checks::{Checks, Open, UnusableKeys};
pub(crate) use self::issuer::{Away, Issuer};
pub(crate) use self::issuers::{Issuers, SHELF, Sources};
pub(crate) use self::tokens::{Signed, Tokens, Verified};
pub(crate) use self::turns::Turn;

#[cfg(test)]
pub(crate) use self::issuers::tests as issuers_tests;
#[cfg(test)]
pub(crate) mod mint;

/// What is wrong with a token. Of several credentials that could take it, the one counts that it gets furthest with, so
/// they are in the order in which they are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Fault {
    /// It cannot be read, or in two ways.
    Malformed,
    /// It is a token for something else, or has extensions that nobody here understands.
    Type,
    /// The credential names another algorithm; `none` is one of those that none names.
    Algorithm,
    /// It is for somebody else.
    Audience,
    /// It has no end, or its end is over.
    Expired,
    /// It is for a later time, or was issued at one.
    Early,
    /// A claim is missing, or has another value; or none says who holds it, where the credential tells holders apart.
    Claim,
    /// The issuer's keys are too old, or were never there, and it cannot be asked for newer ones.
    Stale,
    /// None of the keys has its name and family.
    Key,
    /// No key made its signature.
    Signature,
    /// Too many signatures of the proxy were wrong just now for this one to be looked at: it may be good.
    Flood,
}

impl Fault {
    /// As records have it.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "token-malformed",
            Self::Type => "token-type",
            Self::Algorithm => "token-algorithm",
            Self::Audience => "token-audience",
            Self::Expired => "token-expired",
            Self::Early => "token-early",
            Self::Claim => "token-claim",
            Self::Stale => "issuer-stale",
            Self::Key => "token-key",
            Self::Signature => "token-signature",
            Self::Flood => "token-flood",
        }
    }
}
