//! Takes out of a request what belongs to the caller's hop or identifies the caller, before any rule looks at it.
//!
//! Adds nothing, and makes one of pieces that are one: the upstream's secret comes with `inject`. The invariant: what leaves here is what rules, meters and
//! the upstream see, and none of it holds the caller's credential.

use bytes::Bytes;
use http::HeaderMap;
use http::header::{self, HeaderName, HeaderValue};
use http::request::Parts;

use crate::reply::{Denial, OURS};
use crate::traces::is_of_traces;

use super::forwarded::is_forwarded;
use super::header_name::begins;
use super::query;

/// Says how many edges a request has passed. Only between edges: an upstream that is none is not told.
pub(super) const HOPS: HeaderName = HeaderName::from_static(HOPS_NAME);
const HOPS_NAME: &str = "requestrocket-hops";
/// A request passes no more edges than this. Where edges lead to each other in a circle, one request would otherwise take
/// up all connections of all of them.
const HOPS_MAX: u8 = 4;

/// A request without the credential and the headers of its hop.
#[derive(Clone)]
pub(crate) struct Cleaned {
    pub(super) parts: Parts,
    /// Without the credential; `None` when nothing is left of it.
    pub(super) query: Option<Box<str>>,
    /// Whether the caller takes trailers.
    pub(super) trailers: bool,
    /// How many edges it has passed one after the other, each by the key of a caller at the next.
    pub(super) hops: u8,
}

/// Boxed: the stages behind this one hand it on.
/// `carried_in`: the header that held the caller's credential, where that was not `Authorization`.
pub(super) fn clean(mut parts: Parts, carried_in: Option<&HeaderName>) -> Result<Box<Cleaned>, Denial> {
    let rare = Rare::in_headers(&parts.headers);
    if rare.coding && is_coded(&parts.headers) {
        return Err(Denial::Coded);
    }
    let trailers = rare.te && wants_trailers(&parts.headers);
    let hops = if rare.hops { hops(&parts.headers) } else { 0 };
    if hops >= HOPS_MAX {
        return Err(Denial::Loop);
    }
    strip(&mut parts.headers, |name| {
        // What the upstream is told about the caller is the proxy's to say, whoever says it here.
        [header::AUTHORIZATION, header::EXPECT].contains(name)
            || begins(name, "proxy-authorization")
            || is_forwarded(name)
            // Told anew where the target says so.
            || is_of_traces(name)
    });
    if let Some(name) = carried_in {
        parts.headers.remove(name);
    }
    if rare.cookie {
        join_cookies(&mut parts.headers);
    }
    let query = parts.uri.query().and_then(query::without_credential).map(|query| query.into());
    Ok(Box::new(Cleaned { parts, query, trailers, hops }))
}

/// Which of the headers are there that few requests have. Looking at each name once is cheaper than looking for each of
/// these.
#[derive(Default)]
struct Rare {
    coding: bool,
    te: bool,
    hops: bool,
    cookie: bool,
}

impl Rare {
    fn in_headers(headers: &HeaderMap) -> Self {
        let mut rare = Self::default();
        for name in headers.keys() {
            match name.as_str() {
                "transfer-encoding" => rare.coding = true,
                "te" => rare.te = true,
                "cookie" => rare.cookie = true,
                HOPS_NAME => rare.hops = true,
                _ => {}
            }
        }
        rare
    }
}

/// Makes one of the pieces that HTTP/2 may cut a cookie header into (RFC 9113, 8.2.3), as upstreams do: rules look at
/// each header by itself.
fn join_cookies(headers: &mut HeaderMap) {
    if headers.get_all(header::COOKIE).iter().nth(1).is_none() {
        return;
    }
    let pieces: Vec<&[u8]> = headers.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes).collect();
    let joined = HeaderValue::from_maybe_shared(Bytes::from(pieces.join(&b"; "[..])));
    headers.insert(header::COOKIE, joined.expect("values, put together with text, stay one"));
}

/// Who writes it without need gets no further with it.
fn hops(headers: &HeaderMap) -> u8 {
    let said = headers.get_all(HOPS).iter().filter_map(|value| value.to_str().ok()?.parse().ok());
    said.max().unwrap_or(0)
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
