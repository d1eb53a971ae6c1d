//! Takes out of a request what belongs to the caller's hop or identifies the caller, before any rule looks at it.
//!
//! Adds nothing: the upstream's secret comes with `inject`. The invariant: what leaves here is what rules, meters and
//! the upstream see, and none of it holds the caller's credential.

use http::HeaderMap;
use http::header::{self, HeaderName, HeaderValue};
use http::request::Parts;

use crate::reply::{Denial, OURS};

use super::forwarded::is_forwarded;
use super::header_name::begins;
use super::query;

/// A request without the credential and the headers of its hop.
#[derive(Clone)]
pub(crate) struct Cleaned {
    pub(super) parts: Parts,
    /// Without the credential; `None` when nothing is left of it.
    pub(super) query: Option<Box<str>>,
    /// Whether the caller takes trailers.
    pub(super) trailers: bool,
}

pub(super) fn clean(mut parts: Parts) -> Result<Cleaned, Denial> {
    if is_coded(&parts.headers) {
        return Err(Denial::Coded);
    }
    let trailers = wants_trailers(&parts.headers);
    strip(&mut parts.headers, |name| {
        // What the upstream is told about the caller is the proxy's to say, whoever says it here.
        [header::AUTHORIZATION, header::EXPECT].contains(name)
            || begins(name, "proxy-authorization")
            || is_forwarded(name)
    });
    let query = parts.uri.query().and_then(query::without_credential).map(|query| query.into());
    Ok(Cleaned { parts, query, trailers })
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
    let goes = |name: &&HeaderName| is_for_one_hop(name) || begins(name, OURS) || goes_too(name);
    while let Some(name) = headers.keys().find(goes).cloned() {
        headers.remove(name);
    }
}

/// Takes out of the trailers of a response what may not stand behind a body as well: whoever reads them into the head
/// would frame, route or authenticate by them (RFC 9110, 6.5.1).
pub(super) fn strip_trailers(trailers: &mut HeaderMap) {
    strip(trailers, is_for_a_head);
}

fn is_for_a_head(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "authorization"
            | "cache-control"
            | "content-encoding"
            | "content-length"
            | "content-range"
            | "content-type"
            | "host"
            | "set-cookie"
            | "www-authenticate"
    )
}

/// Also as some servers read it, which have one variable for both spellings: to them a second length would end a body
/// elsewhere.
fn is_for_one_hop(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "connection"
            | "content_length"
            | "http2-settings"
            | "http2_settings"
            | "keep-alive"
            | "keep_alive"
            | "proxy-authenticate"
            | "proxy_authenticate"
            | "proxy-connection"
            | "proxy_connection"
            | "te"
            | "trailer"
            | "transfer-encoding"
            | "transfer_encoding"
            | "upgrade"
    )
}
