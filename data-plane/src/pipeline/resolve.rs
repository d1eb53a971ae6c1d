//! From a path to a proxy.
//!
//! Does not tell whether there is one: an unknown proxy goes on to `authenticate`, so that it is refused
//! after the same work and in the same words as a bad credential.

use http::Method;
use http::request::Parts;
use rr_contract::model::path;

use crate::reply::Denial;
use crate::snapshot::{CompiledProxy, Snapshot};

/// Where everything that is forwarded lives.
const PREFIX: &str = "/api/";

/// A request whose path was read once and for all.
pub(crate) struct Resolved<'s> {
    pub(super) proxy: Option<&'s CompiledProxy>,
    /// Normalised, behind `/api/{proxy}`, starting with a slash.
    pub(super) path: Box<str>,
}

pub(super) fn resolve<'s>(snapshot: &'s Snapshot, parts: &Parts) -> Result<Resolved<'s>, Denial> {
    if parts.method == Method::CONNECT || parts.method == Method::TRACE {
        return Err(Denial::Method);
    }
    let below = parts.uri.path().strip_prefix(PREFIX).ok_or(Denial::NotFound)?;
    if !snapshot.ready {
        return Err(Denial::NotReady);
    }
    let (address, rest) = below.split_at(below.find('/').unwrap_or(below.len()));
    let path = path::normalise(rest).map_err(Denial::Malformed)?;
    Ok(Resolved { proxy: snapshot.proxy(address), path: path.into() })
}
