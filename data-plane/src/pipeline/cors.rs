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
use crate::report::Reason;
use crate::snapshot::{CompiledCors, CompiledProxy, Shape, list};

use super::resolve::HEADERS_MAX;

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

/// Answers a preflight request to a proxy that takes calls of web pages: with an `Err`, since nothing of it goes on.
/// Any other request passes.
pub(super) fn preflight(
    proxy: Option<&CompiledProxy>,
    parts: &Parts,
    page: Option<&mut Page<'_>>,
) -> Result<(), Denial> {
    if proxy.and_then(cors).is_none() || parts.method != Method::OPTIONS {
        return Ok(());
    }
    let headers = &parts.headers;
    let (true, Some(method)) = (headers.contains_key(ORIGIN), only(headers, &ACCESS_CONTROL_REQUEST_METHOD))
    else {
        return Ok(());
    };
    let Some(page) = page else { return Err(Denial::BadCredential(Reason::Origin)) };
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
