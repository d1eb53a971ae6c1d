//! From a path to a proxy.
//!
//! Does not reveal whether the proxy exists: an unknown one goes on to `authenticate`, and is refused after the
//! same work and in the same words as a bad credential.

use http::header::HOST;
use http::request::Parts;
use http::{Method, Version};
use rr_contract::model::path;

use crate::reply::Denial;
use crate::snapshot::{CompiledProxy, Snapshot};

/// Maximum of one request. hyper counts on HTTP/1.1, this file on HTTP/2.
pub(crate) const HEADERS_MAX: usize = 128;
/// Prefix of all forwarded paths.
const PREFIX: &str = "/api/";

/// A request with its normalised path.
pub(crate) struct Resolved<'s> {
    pub(super) proxy: Option<&'s CompiledProxy>,
    /// Normalised, behind `/api/{proxy}`, starting with a slash.
    pub(super) path: Box<str>,
}

pub(super) fn resolve<'s>(snapshot: &'s Snapshot, parts: &Parts) -> Result<Resolved<'s>, Denial> {
    if !names_one_host(parts) {
        return Err(Denial::Host);
    }
    if parts.headers.len() > HEADERS_MAX {
        return Err(Denial::Headers);
    }
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

/// Whether exactly one host is named. A proxy in front of this node may have routed by another one.
fn names_one_host(parts: &Parts) -> bool {
    let named = parts.headers.get_all(HOST).iter().count();
    match parts.version {
        Version::HTTP_11 => named == 1,
        // HTTP/2 names the host in the request target; a different `Host` header beside it is a second claim.
        Version::HTTP_2 => {
            parts.uri.authority().is_none_or(|authority| {
                parts.headers.get(HOST).is_none_or(|host| host.as_bytes() == authority.as_str().as_bytes())
            }) && named <= 1
        }
        _ => named <= 1,
    }
}
