//! From a path to a proxy.
//!
//! Does not reveal whether the proxy exists: an unknown one goes on to `authenticate`, and is refused after the
//! same work and in the same words as a bad credential. What is refused here is refused alike for every proxy.

use http::header::HOST;
use http::request::Parts;
use http::{HeaderValue, Method, Version};
use rr_contract::model::path::{self, InvalidPath};

use crate::reply::Denial;
use crate::report::METHOD_MAX;
use crate::snapshot::{CompiledProxy, Snapshot};

use super::hop::Hop;

/// Maximum of one request. hyper counts on HTTP/1.1, this file on HTTP/2.
pub(crate) const HEADERS_MAX: usize = 128;
/// Prefix of all forwarded paths.
const PREFIX: &str = "/api/";

/// The parts of a request's target.
pub(crate) struct Addressed<'s, 'p> {
    /// `None`: the path names no proxy of this node.
    pub(super) proxy: Option<&'s CompiledProxy>,
    /// What stands behind `/api/{proxy}`, as it came.
    rest: &'p str,
}

/// A request with its normalised path.
pub(crate) struct Resolved<'s> {
    pub(super) proxy: Option<&'s CompiledProxy>,
    pub(super) path: Path,
}

/// A path behind `/api/{proxy}`, normalised, starting with a slash.
pub(crate) enum Path {
    Plain(Box<str>),
    /// It holds an encoded slash, a backslash or a NUL, which only some proxies take. Whether this one does is not
    /// told before the caller is known.
    Opaque(Box<str>),
}

impl Path {
    pub(super) fn as_str(&self) -> &str {
        match self {
            Self::Plain(path) | Self::Opaque(path) => path,
        }
    }
}

/// Finds the proxy that a path names.
pub(super) fn address<'s, 'p>(snapshot: &'s Snapshot, parts: &'p Parts) -> Result<Addressed<'s, 'p>, Denial> {
    let below = parts.uri.path().strip_prefix(PREFIX).ok_or(Denial::NotFound)?;
    if !snapshot.ready {
        return Err(Denial::NotReady);
    }
    let (address, rest) = below.split_at(below.find('/').unwrap_or(below.len()));
    Ok(Addressed { proxy: snapshot.proxy(address), rest })
}

/// Reads the rest of the request's head in the one way in which it can be read.
pub(super) fn resolve<'s>(
    addressed: Addressed<'s, '_>,
    parts: &Parts,
    hop: &Hop,
) -> Result<Resolved<'s>, Denial> {
    if !names_one_host(parts) {
        return Err(Denial::Host);
    }
    if hop.has_shown() && hop.tls.as_ref().is_some_and(|tls| tls.is_of_another_host(parts)) {
        return Err(Denial::Misdirected);
    }
    if parts.headers.len() > HEADERS_MAX {
        return Err(Denial::Headers);
    }
    if parts.version == Version::HTTP_2 && parts.headers.values().any(is_spaced) {
        return Err(Denial::Spaced);
    }
    if !is_forwarded(&parts.method) {
        return Err(Denial::Method);
    }
    let path = match path::normalise(addressed.rest) {
        Ok(path) => Path::Plain(path.into()),
        Err(InvalidPath::Ambiguous) => {
            let path = path::normalise_opaque(addressed.rest).map_err(Denial::Malformed)?;
            Path::Opaque(path.into())
        }
        Err(other) => return Err(Denial::Malformed(other)),
    };
    Ok(Resolved { proxy: addressed.proxy, path })
}

/// Whether a method may go on. Some servers take `delete` for `DELETE`, which a rule on methods would not.
fn is_forwarded(method: &Method) -> bool {
    let name = method.as_str();
    ![Method::CONNECT, Method::TRACE].contains(method)
        && name.len() <= METHOD_MAX
        && !name.bytes().any(|byte| byte.is_ascii_lowercase())
}

/// Whether a value has a space around it. HTTP/2 allows none (RFC 9113, 8.2.1), its library lets them pass, and whoever
/// reads the value over HTTP/1.1 takes them off: rules would have looked at another one.
fn is_spaced(value: &HeaderValue) -> bool {
    let ends = [value.as_bytes().first(), value.as_bytes().last()];
    ends.iter().any(|end| matches!(end, Some(b' ' | b'\t')))
}

/// Whether exactly one host is named, and in the form of one. A proxy in front of this node may have routed by another
/// one.
fn names_one_host(parts: &Parts) -> bool {
    let mut named = parts.headers.get_all(HOST).iter().map(HeaderValue::as_bytes);
    let (host, is_second) = (named.next(), named.next().is_some());
    // A request target that names a host leaves no room for another claim.
    let target = parts.uri.authority().map(|authority| authority.as_str().as_bytes());
    let agree = target.is_none_or(|target| is_host(target) && host.is_none_or(|host| host == target));
    let is_there = parts.version != Version::HTTP_11 || host.is_some();
    !is_second && is_there && agree && host.is_none_or(is_host)
}

/// The bytes of a host with its port.
const HOST_BYTES: [bool; 256] = {
    let mut table = [false; 256];
    let signs = b"-._~%!$&'()*+;=:[]";
    let mut byte = 0;
    while byte < table.len() {
        table[byte] = (byte as u8).is_ascii_alphanumeric();
        byte += 1;
    }
    let mut sign = 0;
    while sign < signs.len() {
        table[signs[sign] as usize] = true;
        sign += 1;
    }
    table
};

/// Whether this is a host with its port and nothing else: no user, no path, no list. Empty where there is none.
fn is_host(host: &[u8]) -> bool {
    host.iter().all(|byte| HOST_BYTES[usize::from(*byte)])
}
