//! Sends a request, and once more with something else where the upstream does not take what it was shown (401, or an alert of
//! TLS about a client certificate): with a token that is got for it, and with the secret of before while both are live.
//!
//! The invariants: what is sent again was not taken or may be repeated, and all of it is there; what goes into it goes to the
//! origins of its own seal; nothing of what was shown first stays in it.

use std::rc::Rc;
use std::sync::Arc;

use http::uri::PathAndQuery;
use http::{Request, StatusCode, Uri};
use tokio::time::{Instant, timeout};

use crate::access_token::AccessToken;
use crate::echo::Needles;
use crate::reply::Failure;
use crate::snapshot::{InUse, Injection, Route, UpstreamCredential};
use crate::upstream::retry::is_idempotent;
use crate::upstream::{Reply, RequestBody, SendError, again};
use crate::values::Values;
use crate::worker::Worker;

use super::attempts::Attempts;
use super::clean::HOPS;
use super::inject::{injection, put};
use super::query;
use super::settle::Draft;
use super::sign::sign;

/// A request that may be sent with something else.
pub(super) struct Second<'s> {
    pub(super) route: &'s Route,
    /// Which base URL of the target it goes to.
    pub(super) endpoint: u8,
    pub(super) asked_at: Instant,
    /// When all of it has to have ended.
    pub(super) until: Option<Instant>,
}

/// What has been tried.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Tried {
    First,
    AnotherToken,
    Previous,
}

impl<'s> Second<'s> {
    /// Sends it, bearing `token` if it bears one. With the answer comes what is looked for in it, if it was given for something
    /// else.
    pub(super) async fn send(
        self,
        mut request: Option<Request<RequestBody>>,
        mut token: Option<Arc<AccessToken>>,
        worker: &Rc<Worker>,
        draft: &mut Draft,
    ) -> Result<(Reply, Option<Arc<Needles>>), Failure> {
        let is_idempotent = request.as_ref().is_some_and(|request| is_idempotent(request.method()));
        let mut credential = self.route.upstream.as_deref();
        let (mut tried, mut needles) = (Tried::First, None);
        loop {
            let spare = request.as_mut().map(again);
            let reply = self.once(&mut request, credential, worker, draft).await;
            let may_repeat = |spare: &Request<RequestBody>| is_idempotent || !spare.body().is_gathered();
            let Some(mut spare) = spare.filter(|spare| is_refused(&reply) && may_repeat(spare)) else {
                return Ok((reply?, needles));
            };
            let Some((next, then, shows)) = self.other(tried, token.as_ref(), worker).await else {
                return Ok((reply?, needles));
            };
            // What was shown first is taken out of the request, so it has to be known.
            let used = self.route.upstream.as_deref().and_then(UpstreamCredential::in_use);
            if used.as_ref().is_some_and(InUse::is_over) {
                return Ok((reply?, needles));
            }
            let before = match &token {
                Some(token) => Some(&token.values),
                None => used.as_ref().and_then(InUse::values),
            };
            if !replace(&mut spare, before, &next) || !spare.body().claim() {
                return Ok((reply?, needles));
            }
            if let Ok(reply) = reply {
                worker.connections.discard(reply);
            }
            worker.counters.sent_again(then == Tried::Previous);
            needles = next.needles().cloned();
            (token, tried, request, credential) = (next.token().cloned(), then, Some(spare), Some(shows));
        }
    }

    async fn once(
        &self,
        request: &mut Option<Request<RequestBody>>,
        credential: Option<&UpstreamCredential>,
        worker: &Rc<Worker>,
        draft: &mut Draft,
    ) -> Result<Reply, Failure> {
        let Self { route, endpoint, asked_at, until } = *self;
        if route.target.standing.is_none() && route.retries.is_none() {
            if let Some(request) = &mut *request {
                draft.begin_attempt(&route.target, request.headers_mut());
                sign(request, credential, &route.target, worker)?;
            }
            draft.attempts(None, None);
            let shown = credential.and_then(UpstreamCredential::shown);
            let sent = worker.connections.send(&route.target, shown.as_ref(), request, asked_at, until);
            let came = sent.await;
            draft.end_sending(&came);
            return came.map_err(Failure::Upstream);
        }
        Box::pin(Attempts { route, credential, until }.send(request, endpoint, asked_at, worker, draft)).await
    }

    /// What comes next, what that is, and whose.
    async fn other(
        &self,
        tried: Tried,
        token: Option<&Arc<AccessToken>>,
        worker: &Worker,
    ) -> Option<(Injection, Tried, &'s UpstreamCredential)> {
        let credential = self.route.upstream.as_deref()?;
        let now = worker.clock.now();
        if tried == Tried::First
            && let (Some(source), Some(token)) = (credential.token_source(), token)
        {
            let another = source.another(token, now);
            let another = match self.until {
                // Not all that is left: the answer that is there has to go out in it.
                Some(until) => {
                    let half = until.saturating_duration_since(Instant::now()) / 2;
                    timeout(half, another).await.ok().flatten()
                }
                None => another.await,
            };
            if let Some(another) = another {
                return Some((Injection::Token(another), Tried::AnotherToken, credential));
            }
        }
        if tried == Tried::Previous {
            return None;
        }
        let previous = credential.previous(now)?;
        let target = self.route.target.at(self.endpoint);
        let injection = injection(Some(previous), self.route, target, now).ok()?;
        Some((injection, Tried::Previous, previous))
    }
}

/// Whether the upstream does not take what it was shown.
fn is_refused(reply: &Result<Reply, Failure>) -> bool {
    match reply {
        Ok(reply) => reply.response.status() == StatusCode::UNAUTHORIZED,
        Err(failure) => matches!(failure, Failure::Upstream(SendError::ClientCertificate(_))),
    }
}

/// Puts something else into a request. Whether that could be done.
fn replace(request: &mut Request<RequestBody>, before: Option<&Values>, next: &Injection) -> bool {
    // What the next edge would count is known where the first one was a key too.
    if next.values().is_some_and(Values::is_key) != before.is_some_and(Values::is_key) {
        return false;
    }
    let hops = request.headers().get(HOPS).and_then(|hops| hops.to_str().ok()?.parse::<u8>().ok());
    let path = request.uri().path().to_owned();
    let mut query = request.uri().query().map(str::to_owned);
    for (name, _) in before.map(Values::headers).unwrap_or_default() {
        request.headers_mut().remove(name);
    }
    for pair in before.map(Values::pairs).unwrap_or_default() {
        query = query.and_then(|query| query::without(&query, &pair.name).map(|rest| rest.into_owned()));
    }
    let query =
        put(next, request.headers_mut(), query.as_deref(), hops.map_or(0, |hops| hops.saturating_sub(1)));
    let text = match query {
        Some(query) => [&*path, "?", &query].concat(),
        None => path,
    };
    let Ok(path) = PathAndQuery::try_from(text) else { return false };
    *request.uri_mut() = Uri::from(path);
    true
}
