//! Calls from web pages (CORS, of the Fetch standard): answers preflight requests, tells browsers which pages can read a
//! reply, and says which can open a WebSocket.
//!
//! Authenticates nobody: a page needs a credential like everybody else. The invariant: to a page whose origin a proxy
//! does not name, and to whoever says no origin, the proxy is not told from one that does not exist.

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE,
    ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD, HeaderName, HeaderValue, ORIGIN, VARY,
};
use http::request::Parts;
use http::{HeaderMap, Method};

use crate::outcome::Code;
use crate::reply::Denial;
use crate::snapshot::{CompiledCors, CompiledProxy, Shape, list};

use super::resolve::{HEADERS_MAX, Resolved};

/// A web page that can call the proxy.
pub(super) struct Page<'s> {
    cors: &'s CompiledCors,
    /// The value of `Access-Control-Allow-Origin`.
    origin: HeaderValue,
    /// The headers that a preflight request may announce; `None`: none.
    headers: Option<HeaderValue>,
}

/// The page that a request comes from, if the proxy takes calls of it.
pub(super) fn page<'s>(proxy: Option<&'s CompiledProxy>, parts: &Parts) -> Option<Box<Page<'s>>> {
    let cors = cors(proxy?)?;
    let origin = cors.allow_origin(only(&parts.headers, &ORIGIN)?)?;
    Some(Box::new(Page { cors, origin, headers: None }))
}

/// How a request goes on that is not answered here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Goes {
    AsItIs,
    /// As if there were none: it is a preflight request of a page that the proxy does not name.
    WithoutProxy,
}

/// Answers a preflight request of a page that the proxy names: with an `Err`, since nothing of it goes on. One of another
/// page goes on without its proxy, and is refused where one that does not exist is, after the same work.
pub(super) fn preflight(
    resolved: &mut Resolved<'_>,
    parts: &Parts,
    page: Option<&mut Page<'_>>,
) -> Result<Goes, Denial> {
    if parts.method != Method::OPTIONS || resolved.proxy.and_then(cors).is_none() {
        return Ok(Goes::AsItIs);
    }
    let headers = &parts.headers;
    let (true, Some(method)) = (headers.contains_key(ORIGIN), only(headers, &ACCESS_CONTROL_REQUEST_METHOD))
    else {
        return Ok(Goes::AsItIs);
    };
    let Some(page) = page else {
        resolved.proxy = None;
        return Ok(Goes::WithoutProxy);
    };
    let Some(asked) = asked(headers) else { return Err(Denial::PreflightRefused) };
    let cors = page.cors;
    if !cors.takes_method(method.as_bytes()) || !asked.iter().all(|name| cors.takes_header(name)) {
        return Err(Denial::PreflightRefused);
    }
    // Where all are taken, those that were asked for are named: a star would not stand for all of them.
    page.headers = cors.allow_headers.clone().or_else(|| list(asked.iter().map(HeaderName::as_str)));
    Err(Denial::Preflight)
}

/// Whether a WebSocket may begin with a request that bears these origins: browsers ask nobody before they open one, and
/// let the page read it. Without an origin it comes from no page.
pub(super) fn takes_websocket(shape: Option<&Shape>, origins: &[HeaderValue]) -> bool {
    let Some(cors) = shape.and_then(|shape| shape.cors.as_ref()) else { return true };
    match origins {
        [] => true,
        [origin] => cors.allow_origin(origin).is_some(),
        // Two are two claims.
        _ => false,
    }
}

/// Whether a certificate that a browser may have shown by itself counts for a request that bears these origins: it does for none
/// of a page, unless the proxy names the page and takes what browsers bring by themselves.
pub(super) fn takes_certificate<'o>(
    proxy: &CompiledProxy,
    origins: impl IntoIterator<Item = &'o HeaderValue>,
) -> bool {
    let mut origins = origins.into_iter();
    match (origins.next(), origins.next()) {
        (None, _) => true,
        (Some(origin), None) => {
            cors(proxy).is_some_and(|cors| cors.credentials && cors.allow_origin(origin).is_some())
        }
        // Two are two claims.
        _ => false,
    }
}

/// Makes the proxy the one authority on who can read a response of its upstream.
pub(super) fn answer(shape: &Shape, page: Option<&Page<'_>>, headers: &mut HeaderMap) {
    if shape.cors.is_none() {
        return;
    }
    strip(shape, headers);
    match page {
        Some(page) => page.put_readable(headers),
        // A cache must not give this to a page that would be told more.
        None => vary(headers),
    }
}

/// Takes out of a head, or out of trailers, what an upstream says of pages, where the proxy has a word.
pub(super) fn strip(shape: &Shape, headers: &mut HeaderMap) {
    if shape.cors.is_none() {
        return;
    }
    let is_theirs = |name: &&HeaderName| name.as_str().starts_with("access-control-");
    while let Some(name) = headers.keys().find(is_theirs).cloned() {
        headers.remove(name);
    }
}

impl Page<'_> {
    /// Tells the browser what it may do with a reply of ours.
    pub(super) fn put(&self, code: Code, headers: &mut HeaderMap) {
        match code {
            Code::Preflight => self.put_granted(headers),
            Code::PreflightRefused => put_varying(headers),
            _ => self.put_readable(headers),
        }
    }

    fn put_granted(&self, headers: &mut HeaderMap) {
        self.put_origin(headers);
        headers.insert(ACCESS_CONTROL_ALLOW_METHODS, self.cors.allow_methods.clone());
        if let Some(names) = &self.headers {
            headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, names.clone());
        }
        headers.insert(ACCESS_CONTROL_MAX_AGE, self.cors.max_age.clone());
        put_varying(headers);
    }

    fn put_readable(&self, headers: &mut HeaderMap) {
        self.put_origin(headers);
        if let Some(names) = &self.cors.expose_headers {
            headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, names.clone());
        }
        vary(headers);
    }

    fn put_origin(&self, headers: &mut HeaderMap) {
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, self.origin.clone());
        if self.cors.credentials {
            headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        }
    }
}

/// A part of the configuration that this node refused answers nobody.
fn cors(proxy: &CompiledProxy) -> Option<&CompiledCors> {
    proxy.route.as_ref()?.shape.as_deref()?.cors.as_ref()
}

/// The headers that a preflight request announces; `None` where they are no names, or too many.
fn asked(headers: &HeaderMap) -> Option<Vec<HeaderName>> {
    let lines = headers.get_all(ACCESS_CONTROL_REQUEST_HEADERS).iter();
    let members = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b',')).map(<[u8]>::trim_ascii);
    let mut asked = Vec::new();
    for name in members.filter(|name| !name.is_empty()) {
        asked.push(HeaderName::from_bytes(name).ok().filter(|_| asked.len() < HEADERS_MAX)?);
    }
    Some(asked)
}

/// The value of a header that is there once: two are two claims.
fn only<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h HeaderValue> {
    let mut values = headers.get_all(name).iter();
    values.next().filter(|_| values.next().is_none())
}

fn put_varying(headers: &mut HeaderMap) {
    let all = "Origin, Access-Control-Request-Method, Access-Control-Request-Headers";
    headers.insert(VARY, HeaderValue::from_static(all));
}

/// Adds `Origin` to what a reply varies by.
fn vary(headers: &mut HeaderMap) {
    let mut members =
        headers.get_all(VARY).iter().flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
    let says_so = |member: &[u8]| {
        matches!(member.trim_ascii(), b"*") || member.trim_ascii().eq_ignore_ascii_case(b"origin")
    };
    if !members.any(says_so) {
        headers.append(VARY, HeaderValue::from_static("Origin"));
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};
    use std::time::SystemTime;

    use http::Request;
    use prost::Message as _;
    use rr_contract::seam::SystemEntropy;
    use rr_contract::wire::fleet;

    use crate::fixture::{self, Region, caller_key, proxy_key};
    use crate::jwt::Tokens;
    use crate::passwords::{Checker, Passwords};
    use crate::snapshot::Snapshot;

    use super::super::authenticate::{Memory, authenticate};
    use super::super::hop::{Hop, Trusted};
    use super::super::resolve::{address, resolve};
    use super::*;

    const APP: &str = "https://app.example.com";

    fn snapshot() -> Snapshot {
        let region = Region::new();
        let cors = fleet::Cors { origins: vec![APP.to_owned()], ..fleet::Cors::default() };
        let proxy = fleet::ProxyResource { cors: Some(cors), ..fixture::proxy_message(1, &[1], 1, 2) };
        region.snapshot(&[
            fixture::org(false),
            fixture::target(1, "https://upstream.example"),
            fixture::caller(1, 1, &[1]),
            fixture::open_upstream(2),
            fixture::resource(proxy_key(1), proxy.encode_to_vec()),
        ])
    }

    fn parts(proxy: &str, origin: &str) -> Parts {
        let request = Request::options(format!("/api/{proxy}/x"))
            .header("host", "edge")
            .header("origin", origin)
            .header("access-control-request-method", "GET")
            .header("authorization", format!("Bearer {}", caller_key(1)));
        request.body(()).expect("a request").into_parts().0
    }

    /// What preflight says, and what authenticate says of what it let pass.
    fn told(snapshot: &Snapshot, proxy: &str, origin: &str) -> Result<(Goes, Denial), Denial> {
        let (parts, trusted) = (parts(proxy, origin), Trusted::default());
        let hop = Hop::new(IpAddr::from(Ipv4Addr::LOCALHOST), &trusted);
        let addressed = address(snapshot, &parts).expect("a path");
        let mut page = page(addressed.proxy, &parts);
        let mut resolved = resolve(addressed, &parts, &hop).expect("a request");
        let goes = preflight(&mut resolved, &parts, page.as_deref_mut())?;
        let (tokens, passwords) = (Tokens::default(), Checker::new(Passwords::new(&SystemEntropy)));
        let memory = Memory { tokens: &tokens, passwords: &passwords };
        let passed = authenticate(resolved, snapshot, memory, &parts, &hop, SystemTime::now());
        Ok((goes, passed.err().expect("it names no proxy that takes it")))
    }

    #[test]
    fn a_page_that_is_not_named_is_refused_where_an_unknown_proxy_is_and_nowhere_before() {
        let snapshot = snapshot();
        assert!(matches!(told(&snapshot, "acme.proxy-1", APP), Err(Denial::Preflight)));
        // With a good key, too: the proxy is not told from one that is not there.
        for origin in ["https://evil.com", "null", ""] {
            let (known, unknown) =
                (told(&snapshot, "acme.proxy-1", origin), told(&snapshot, "acme.nobody", origin));
            assert!(matches!(known, Ok((Goes::WithoutProxy, Denial::UnknownProxy))), "{origin}: {known:?}");
            assert!(matches!(unknown, Ok((Goes::AsItIs, Denial::UnknownProxy))), "{origin}: {unknown:?}");
        }
    }
}
