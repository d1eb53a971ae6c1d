//! Sends the request, signed where its upstream wants that, and waits for the response's head.
//!
//! Follows no redirect. Where the proxy says nothing of retries, it repeats nothing that may have been received:
//! `upstream` tries again only what certainly was not taken. Bodies stream both ways and are never gathered.

use std::mem;
use std::rc::Rc;
use std::sync::Arc;

use http::header::CONTENT_LENGTH;
use http::{HeaderMap, Request, Response, StatusCode, Version};
use http_body::Body;
use hyper::body::Incoming;
use tokio::time::Instant;

use crate::echo::Needles;
use crate::reply::Failure;
use crate::snapshot::Route;
use crate::upstream::{Lease, Reply, SendError};
use crate::worker::Worker;

use super::attempts::Attempts;
use super::clean::{is_coded, strip};
use super::inject::Injected;
use super::second::Second;
use super::settle::Draft;
use super::sign;
use super::upstream_body::Waits;

/// The upstream's answer, cleaned, its body still to come.
pub(crate) struct Forwarded {
    pub(super) response: Response<Incoming>,
    /// The version in which it came.
    pub(super) version: Version,
    /// Gives the connection back once the body has been read.
    pub(super) lease: Lease,
    pub(super) waits: Waits,
    /// What is looked for in it, where it was given for something else than was shown first.
    pub(super) shown: Option<Arc<Needles>>,
}

/// Not an `async fn`: that would hold each argument a second time while it waits.
pub(super) fn forward(
    request: Injected<'_>,
    worker: &Rc<Worker>,
    draft: &mut Draft,
) -> impl Future<Output = Result<Forwarded, Failure>> {
    let Injected { mut parts, body, route, endpoint, token, needles: _ } = request;
    let asked_at = Instant::now();
    let body = body.into_sent(draft, asked_at);
    unframe(&mut parts.headers, &body);
    let end = until(route, draft);
    let passage = body.passage();
    let mut request = Some(Request::from_parts(parts, body));
    let may_be_second = token.is_some() || route.upstream.as_deref().is_some_and(|it| it.has_previous());
    async move {
        let mut shown = None;
        let reply = if may_be_second {
            // Boxed: all other requests would carry the state of it.
            let second = Second { route, endpoint, asked_at, until: end };
            let sent = Box::pin(second.send(request, token, worker, draft)).await;
            sent.map(|(reply, other)| {
                shown = other;
                reply
            })
        } else if route.target.standing.is_none() && route.retries.is_none() {
            if let Some(request) = &mut request {
                draft.begin_attempt(&route.target, request.headers_mut());
                sign::sign(request, route.upstream.as_deref(), &route.target, worker)?;
            }
            draft.asks();
            let own = route.shown();
            let sent = worker.connections.send(&route.target, own.as_ref(), &mut request, asked_at, end);
            let came = sent.await;
            draft.end_sending(&came);
            came.map_err(Failure::Upstream)
        } else {
            // Boxed as well.
            let attempts = Attempts { route, credential: route.upstream.as_deref(), until: end };
            Box::pin(attempts.send(&mut request, endpoint, asked_at, worker, draft)).await
        };
        draft.upstream_took(asked_at.elapsed(), passage.interim());
        let upload = Some(passage).filter(|passage| !passage.is_whole());
        // Found again, so that the state of a request need not hold it.
        let waits = Waits { idle: route.target.idle_timeout, until: until(route, draft), upload };
        Ok(Forwarded { shown, ..receive(reply?, waits, draft)? })
    }
}

/// Cleans an answer.
pub(super) fn receive(reply: Reply, waits: Waits, draft: &mut Draft) -> Result<Forwarded, Failure> {
    let Reply { mut response, lease } = reply;
    draft.upstream_answered(response.status());
    // Nobody has asked for another protocol.
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        return Err(Failure::Upstream(SendError::Switched));
    }
    if is_coded(response.headers()) {
        return Err(Failure::Upstream(SendError::Coded));
    }
    strip(response.headers_mut(), |_| false);
    let (mut head, body) = response.into_parts();
    unframe(&mut head.headers, &body);
    let version = mem::replace(&mut head.version, Version::HTTP_11);
    Ok(Forwarded { response: Response::from_parts(head, body), version, lease, waits, shown: None })
}

/// When all of the request has to have ended.
pub(super) fn until(route: &Route, draft: &Draft) -> Option<Instant> {
    route.target.total_timeout.map(|total| draft.started() + total)
}

/// Removes a content length that does not belong to the body: a second one, or one beside chunks, would let two
/// readers see two messages. The forwarded body gets its own.
fn unframe(headers: &mut HeaderMap, body: &impl Body) {
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    let is_one = lengths.next().is_none_or(|length| length.as_bytes().iter().all(u8::is_ascii_digit))
        && lengths.next().is_none();
    if !is_one || body.size_hint().exact().is_none() {
        headers.remove(CONTENT_LENGTH);
    }
}
