//! Builds the request as the upstream is to see it, and adds the upstream's secret.
//!
//! Sends nothing. The invariant: the secret stands where its seal says and nowhere else, in a request to an origin that it was
//! sealed for.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::SystemTime;

use http::header;
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Uri, Version};
use tokio::time::{Instant, timeout_at};

use crate::access_token::{AccessToken, TokenSource};
use crate::echo::Needles;
use crate::reply::{Denial, Failure, Refused};
use crate::snapshot::upstream::Unusable;
use crate::snapshot::{CompiledTarget, Injection, Route, UpstreamCredential};
use crate::values::Pair;
use crate::worker::Worker;

use super::admit::Admitted;
use super::caller_body::CallerBody;
use super::clean::{Cleaned, HOPS};
use super::header_name::remove_others;
use super::query;

/// A request as the upstream is to see it.
pub(crate) struct Injected<'s> {
    pub(super) parts: Parts,
    pub(super) body: CallerBody,
    pub(super) route: &'s Route,
    /// Which base URL of the target it goes to.
    pub(super) endpoint: u8,
    /// The token that it bears, if it bears one that was got for it.
    pub(super) token: Option<Arc<AccessToken>>,
    /// What is looked for in its answer; `None`: nothing.
    pub(super) needles: Option<Arc<Needles>>,
}

impl<'s> Injected<'s> {
    /// The target at the base URL that the secret was judged for.
    pub(super) fn target(&self) -> &'s Arc<CompiledTarget> {
        self.route.target.at(self.endpoint)
    }
}

pub(super) fn inject<'s>(
    request: Admitted<'s>,
    worker: &Worker,
    now: SystemTime,
) -> Result<Injected<'s>, Refused> {
    let Admitted { request, cleaned, body } = request;
    let Cleaned { mut parts, query, trailers, hops } = *cleaned;
    let route = request.route;
    // Chosen before the secret goes in, since its seal names where it may go.
    let endpoint = match &route.target.standing {
        Some(standing) => {
            let draw = || u32::from_ne_bytes(worker.draw());
            standing.choose(Instant::now(), 0, route.sealed_for(), draw)
        }
        None => 0,
    };
    let target = route.target.at(endpoint);
    let injection = injection(route.upstream.as_deref(), route, target, now).map_err(Failure::Credential)?;
    let (token, needles) = (injection.token().cloned(), injection.needles().cloned());

    parts.version = Version::HTTP_11;
    if let Some(host) = request.route.shape.as_deref().and_then(|shape| shape.host.as_ref()) {
        parts.extensions.insert(host.clone());
    }
    if trailers {
        parts.headers.insert(header::TE, HeaderValue::from_static("trailers"));
    }
    let query = put(&injection, &mut parts.headers, query.as_deref(), hops);
    parts.uri = uri(target, &request.path, query.as_deref())?;
    Ok(Injected { parts, body, route, endpoint, token, needles })
}

/// Waits for the token that a request is to bear, where there is none yet.
pub(crate) async fn wait_for_token(source: &TokenSource, now: SystemTime, until: Option<Instant>) {
    let waits = source.wait(now);
    match until {
        Some(until) => timeout_at(until, waits).await.unwrap_or_default(),
        None => waits.await,
    }
}

/// Whether what goes to this base URL of the route's target may go there, a token that is not there yet included.
pub(super) fn may_go(
    credential: Option<&UpstreamCredential>,
    route: &Route,
    target: &CompiledTarget,
    now: SystemTime,
) -> bool {
    matches!(injection(credential, route, target, now), Ok(_) | Err(Unusable::Token))
}

/// What goes into a request to this base URL of the route's target.
pub(super) fn injection(
    credential: Option<&UpstreamCredential>,
    route: &Route,
    target: &CompiledTarget,
    now: SystemTime,
) -> Result<Injection, Unusable> {
    let credential = credential.ok_or(Unusable::Missing)?;
    let host = route.shape.as_deref().and_then(|shape| shape.host.as_ref());
    credential.injection(&target.base, target.ca_hash(), host, now)
}

/// Puts what the upstream gets into the headers and the query of a request that passed so many edges.
pub(super) fn put<'q>(
    injection: &Injection,
    headers: &mut HeaderMap,
    query: Option<&'q str>,
    hops: u8,
) -> Option<Cow<'q, str>> {
    let mut query = query.map(Cow::Borrowed);
    if let Some(secret) = injection.values() {
        for (name, value) in secret.headers() {
            // Replaces whatever the caller put there, however often and however spelled.
            remove_others(headers, name);
            headers.insert(name.clone(), value.clone());
        }
        for pair in secret.pairs() {
            query = Some(with_pair(query.as_deref(), pair));
        }
        if secret.is_key() {
            headers.insert(HOPS, HeaderValue::from(u16::from(hops) + 1));
        }
    }
    if let Some(signer) = injection.signer() {
        // Those of these very names it takes out itself, when nothing changes the request any more: one of them says what a
        // body is.
        for name in signer.names() {
            remove_others(headers, name);
        }
        for name in signer.parameters() {
            query = query.and_then(|query| query::without(&query, name).map(|left| left.into_owned().into()));
        }
    }
    query
}

/// A query in which a parameter takes the place of all that bear its name, whoever wrote them.
fn with_pair(query: Option<&str>, pair: &Pair) -> Cow<'static, str> {
    let mut text = query.and_then(|query| query::without(query, &pair.name)).unwrap_or_default().into_owned();
    if !text.is_empty() {
        text.push('&');
    }
    text.push_str(&pair.text);
    text.into()
}

/// The base path, the rest, and the query. Scheme and host are added where a connection wants them.
pub(super) fn uri(target: &CompiledTarget, path: &str, query: Option<&str>) -> Result<Uri, Denial> {
    let base = target.base.path();
    let mut text = String::with_capacity(base.len() + path.len() + query.map_or(0, |query| query.len() + 1));
    text.push_str(base);
    text.push_str(path);
    if let Some(query) = query {
        text.push('?');
        text.push_str(query);
    }
    let path = PathAndQuery::from_maybe_shared(bytes::Bytes::from(text)).map_err(|_| Denial::TooLong)?;
    Ok(Uri::from(path))
}
