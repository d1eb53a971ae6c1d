//! What answers names: a trait, so that a test can take its place.
//!
//! Keeps nothing and bounds nothing: [`Resolver`](super::Resolver) does.

use std::error::Error;
use std::net::IpAddr;
use std::pin::Pin;
use std::time::Duration;

/// A look-up under way.
pub type Lookup<'n> = Pin<Box<dyn Future<Output = Result<Found, NameError>> + Send + 'n>>;

/// Finds the addresses of host names.
pub trait Names: Send + Sync + 'static {
    /// Looks up a whole name, in lower case and without a dot at its end.
    fn look_up<'n>(&'n self, name: &'n str) -> Lookup<'n>;
}

/// The addresses of a name.
#[derive(Debug, Clone)]
pub struct Found {
    /// Of both families, as the name servers order them.
    pub addresses: Vec<IpAddr>,
    /// For how long the zone's owner lets the answer be kept.
    pub good_for: Duration,
}

/// A name without an address.
#[derive(Debug, thiserror::Error)]
pub enum NameError {
    /// Name servers say so.
    #[error("name does not exist, or has no address")]
    Missing {
        /// For how long the zone's owner lets the answer be kept.
        good_for: Duration,
    },
    /// No answer could be had.
    #[error("name servers gave no usable answer")]
    Failed(#[source] Box<dyn Error + Send + Sync>),
}
