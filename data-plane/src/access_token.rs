//! Access tokens for upstreams: got with a secret from an issuer, kept while they last, and there before a request needs them.
//!
//! Puts nothing into a request. The invariants: a secret goes to the URL of its seal alone; one source asks for one token at a
//! time, however many requests wait for it; a token that is there is used until it ends, whatever becomes of its issuer.

mod answer;
mod request;
mod source;
mod sources;

pub(crate) use self::source::{AccessToken, Asked, SourceName, TokenSource};
pub(crate) use self::sources::{Answerer, SHELF, TokenSources};

#[cfg(test)]
pub(crate) mod tests;
