//! Removes the caller's credential and hop-by-hop headers, and adds the upstream's secret.
//!
//! Sends nothing. The invariant: what leaves here holds no header that names the caller's credential, and
//! the secret stands in one header, in a request to an origin that it was sealed for.

use std::time::SystemTime;

use http::header::{self, HeaderName, HeaderValue};
use http::request::Parts;
use http::uri::{PathAndQuery, Scheme};
use http::{HeaderMap, Uri, Version};

use crate::reply::{Denial, Failure, OURS, Refused};
use crate::snapshot::upstream::Unusable;
use crate::snapshot::{CompiledTarget, Injection};

use super::admit::Admitted;
use super::query;

/// A request as the upstream is to see it, but for its body.
pub(crate) struct Injected<'s> {
    pub(super) parts: Parts,
    pub(super) target: &'s CompiledTarget,
}

pub(super) fn inject<'s>(
    request: Admitted<'s>,
    mut parts: Parts,
    now: SystemTime,
) -> Result<Injected<'s>, Refused> {
    let Admitted { route, path, .. } = request;
    let target = &*route.target;
    let credential = route.upstream.as_deref().ok_or(Failure::Credential(Unusable::Missing))?;
    let injection = credential.injection(&target.base, now).map_err(Failure::Credential)?;

    parts.uri = uri(target, &path, parts.uri.query())?;
    parts.version = Version::HTTP_11;
    if is_coded(&parts.headers) {
        return Err(Denial::Coded.into());
    }
    let trailers = wants_trailers(&parts.headers);
    strip_hop_by_hop(&mut parts.headers);
    for name in [header::AUTHORIZATION, header::EXPECT, header::PROXY_AUTHORIZATION] {
        parts.headers.remove(name);
    }
    strip_ours(&mut parts.headers);
    parts.headers.insert(header::HOST, target.host.clone());
    if trailers {
        parts.headers.insert(header::TE, HeaderValue::from_static("trailers"));
    }
    match injection {
        Injection::Nothing => {}
        // Replaces whatever the caller put there, however often.
        Injection::Header(name, value) => {
            parts.headers.insert(name.clone(), value.clone());
        }
    }
    Ok(Injected { parts, target })
}

/// The base path, the rest, and the query without the caller's credential.
fn uri(target: &CompiledTarget, path: &str, query: Option<&str>) -> Result<Uri, Denial> {
    let query = query.and_then(query::without_credential);
    let base = target.base.path();
    let mut text = String::with_capacity(base.len() + path.len() + query.as_ref().map_or(0, |q| q.len() + 1));
    text.push_str(base);
    text.push_str(path);
    if let Some(query) = query {
        text.push('?');
        text.push_str(&query);
    }
    let path = PathAndQuery::from_maybe_shared(bytes::Bytes::from(text)).map_err(|_| Denial::TooLong)?;
    let mut uri = http::uri::Parts::default();
    uri.scheme = Some(if target.is_tls() { Scheme::HTTPS } else { Scheme::HTTP });
    uri.authority = Some(target.authority.clone());
    uri.path_and_query = Some(path);
    Uri::from_parts(uri).map_err(|_| Denial::TooLong)
}

/// `TE: trailers` is the one hop-by-hop header that gRPC needs on every hop. The codings that may stand beside
/// it are between two neighbours.
fn wants_trailers(headers: &HeaderMap) -> bool {
    let mut members = headers.get_all(header::TE).iter().flat_map(|te| te.as_bytes().split(|&b| b == b','));
    members.any(|member| member.trim_ascii().eq_ignore_ascii_case(b"trailers"))
}

/// Whether a body has a hop-by-hop coding other than chunked. The next reader would not know.
pub(super) fn is_coded(headers: &HeaderMap) -> bool {
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    let plain = |coding: &HeaderValue| {
        let coding = coding.as_bytes().trim_ascii();
        coding.eq_ignore_ascii_case(b"chunked") || coding.eq_ignore_ascii_case(b"identity")
    };
    codings.next().is_some_and(|coding| !plain(coding)) || codings.next().is_some()
}

/// Removes hop-by-hop headers, and those that `Connection` names.
pub(super) fn strip_hop_by_hop(headers: &mut HeaderMap) {
    const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
    const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");

    if headers.contains_key(header::CONNECTION) {
        let named: Vec<HeaderName> = headers
            .get_all(header::CONNECTION)
            .iter()
            .flat_map(|value| value.as_bytes().split(|&byte| byte == b','))
            .filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok())
            // `Connection` must not remove the content length: without it, another reader could see the next
            // request inside this body.
            .filter(|name| name != header::CONTENT_LENGTH)
            .collect();
        for name in named {
            headers.remove(name);
        }
        headers.remove(header::CONNECTION);
    }
    for name in [
        KEEP_ALIVE,
        PROXY_CONNECTION,
        header::PROXY_AUTHENTICATE,
        header::TE,
        header::TRAILER,
        header::TRANSFER_ENCODING,
        header::UPGRADE,
    ] {
        headers.remove(name);
    }
}

/// Removes headers that only this node may set.
pub(super) fn strip_ours(headers: &mut HeaderMap) {
    // Few requests have one, so nothing is collected until one is seen.
    while let Some(name) = headers.keys().find(|name| name.as_str().starts_with(OURS)).cloned() {
        headers.remove(name);
    }
}
