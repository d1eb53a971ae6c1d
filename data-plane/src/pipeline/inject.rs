//! Removes the caller's credential and hop-by-hop headers, and adds the upstream's secret.
//!
//! Sends nothing. The invariant: what leaves here holds no header that names the caller's credential, and
//! the secret stands in one header, in a request to an origin that it was sealed for.

use std::time::SystemTime;

use http::header::{self, HeaderName, HeaderValue};
use http::request::Parts;
use http::uri::PathAndQuery;
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
    strip(&mut parts.headers, |name| {
        [header::AUTHORIZATION, header::EXPECT, header::PROXY_AUTHORIZATION].contains(name)
    });
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

/// The base path, the rest, and the query without the caller's credential. Scheme and host are added where a
/// connection wants them.
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
    Ok(Uri::from(path))
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

/// Removes hop-by-hop headers, those that `Connection` names, those that only this node may set, and others.
pub(super) fn strip(headers: &mut HeaderMap, goes_too: impl Fn(&HeaderName) -> bool) {
    if headers.contains_key(header::CONNECTION) {
        let named: Vec<HeaderName> = headers
            .get_all(header::CONNECTION)
            .iter()
            .flat_map(|value| value.as_bytes().split(|&byte| byte == b','))
            .map(<[u8]>::trim_ascii)
            // Said by many a peer, and gone in any case.
            .filter(|name| !name.eq_ignore_ascii_case(b"keep-alive"))
            .filter_map(|name| HeaderName::from_bytes(name).ok())
            // `Connection` must not remove the content length: without it, another reader could see the next
            // request inside this body.
            .filter(|name| name != header::CONTENT_LENGTH)
            .collect();
        for name in named {
            headers.remove(name);
        }
    }
    // Few messages have more than one of them, so nothing is collected, and looking again is cheap.
    let goes = |name: &&HeaderName| is_for_one_hop(name) || name.as_str().starts_with(OURS) || goes_too(name);
    while let Some(name) = headers.keys().find(goes).cloned() {
        headers.remove(name);
    }
}

fn is_for_one_hop(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "connection"
            | "keep-alive"
            | "proxy-authenticate"
            | "proxy-connection"
            | "te"
            | "trailer"
            | "transfer-encoding"
            | "upgrade"
    )
}
