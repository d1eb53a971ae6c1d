//! Sends a request whose target has several base URLs or a circuit breaker, or whose proxy retries.
//!
//! Decides by what others know: `standing` which base URL and whether at all, `upstream::retry` whether again. Rules,
//! limits and meters have decided before, once for all attempts. The invariants: each attempt goes to an origin that the
//! secret was sealed for, judged anew, and the whole of them takes no longer than one request may; a caller that leaves
//! counts for nothing unless the upstream had let it wait for long.

use std::rc::Rc;
use std::sync::Arc;

use http::{Request, StatusCode};
use rr_contract::outbound::LookupError;
use tokio::time::{Instant, sleep};

use crate::reply::Failure;
use crate::snapshot::{CompiledTarget, OwnCertificate, Route, UpstreamCredential};
use crate::standing::{Outcome, Pass, Standing};
use crate::upstream::retry::{is_failure, is_idempotent, wait};
use crate::upstream::{Passage, Reply, RequestBody, SendError, Turn, again};
use crate::worker::Worker;

use super::inject::may_go;
use super::settle::Draft;
use super::sign::sign;

/// A caller's leaving says something of the upstream once that has let it wait for this part of its time, and nothing
/// before: nobody opens a circuit by leaving at once.
const PART_OF_TIME: u32 = 2;

/// What all attempts of a request have in common.
pub(super) struct Attempts<'s> {
    pub(super) route: &'s Route,
    /// What is shown: its newest version, or the one before.
    pub(super) credential: Option<&'s UpstreamCredential>,
    /// When all of it has to have ended.
    pub(super) until: Option<Instant>,
}

impl Attempts<'_> {
    /// Sends it to a base URL of the target, and waits for the head of the last answer.
    pub(super) async fn send(
        self,
        request: &mut Option<Request<RequestBody>>,
        mut endpoint: u8,
        mut now: Instant,
        worker: &Rc<Worker>,
        draft: &mut Draft,
    ) -> Result<Reply, Failure> {
        let Self { route, credential, until } = self;
        let shown = credential.and_then(UpstreamCredential::shown);
        let shown = shown.as_ref();
        let standing = route.target.standing.as_deref();
        if let Some(retries) = &route.retries {
            retries.budget.request(now);
        }
        let is_idempotent = request.as_ref().is_some_and(|request| is_idempotent(request.method()));
        let retries = route.retries.as_ref().filter(|_| is_idempotent);
        let (mut done, mut tried, mut before) = (0, 0_u32, None::<Result<Reply, SendError>>);
        // Until when a request that finds no way at one base URL is taken to the next; from its second one on.
        let (goes_on_until, mut has_gone_on) = (now + route.target.connect_timeout, false);
        loop {
            let pass = match standing.map(|standing| standing.admit(now)).transpose() {
                Ok(pass) => pass.flatten(),
                Err(open) => {
                    let refused = Err(Failure::CircuitOpen(open.0));
                    return before.map_or(refused, |before| before.map_err(Failure::Upstream));
                }
            };
            if let Some(Ok(reply)) = before.take() {
                worker.connections.discard(reply);
            }
            let target = route.target.at(endpoint);
            if let Some(request) = &mut *request {
                draft.begin_attempt(target, request.headers_mut());
                sign(request, credential, target, worker)?;
            }
            let retried = retries.filter(|retries| done < retries.policy.attempts);
            let spare = retried.and(request.as_mut()).map(again);
            let at_endpoint = standing.map(|standing| standing.endpoint(endpoint).begin());
            draft.attempts(target.endpoint.as_ref(), at_endpoint);
            tried |= 1 << endpoint;
            let passage = request.as_ref().expect("it was not sent, or there is a spare").body().passage();
            let attempt = Attempt {
                worker,
                target,
                shown,
                standing,
                endpoint,
                pass,
                begun: now,
                passage,
                request: &mut *request,
            };
            let came = worker.connections.send(target, shown, attempt.request, now, until).await;
            now = Instant::now();
            attempt.ended(&came, now);
            draft.end_sending(&came);
            let choose = |tried| {
                let draw = || u32::from_ne_bytes(worker.draw());
                let next =
                    standing.map_or(0, |standing| standing.choose(now, tried, route.sealed_for(), draw));
                let is_sealed_for = may_go(credential, route, route.target.at(next), worker.clock.now());
                is_sealed_for.then_some(next)
            };
            if request.is_some()
                && came.as_ref().is_err_and(is_passed_over)
                && (!has_gone_on || now < goes_on_until)
                && let Some(next) = choose(tried).filter(|next| tried & (1 << next) == 0)
            {
                has_gone_on = true;
                (before, endpoint) = (Some(came), next);
                continue;
            }
            let (Some(retries), Some(spare)) = (retries, spare) else {
                return came.map_err(Failure::Upstream);
            };
            let wait = wait(
                &retries.policy,
                came.as_ref(),
                done,
                u32::from_ne_bytes(worker.draw()),
                worker.clock.now(),
            );
            let next = wait.and_then(|wait| {
                let is_too_long = until.is_some_and(|until| until <= now + wait);
                if is_too_long { None } else { choose(tried).map(|next| (wait, next)) }
            });
            let Some((wait, next)) = next else {
                return came.map_err(Failure::Upstream);
            };
            // Whoever has answered goes on with the body that it reads: an upstream may answer before it has all of it.
            let body = spare.body();
            let is_whole = if came.is_ok() { body.is_at_hand() } else { body.claim() };
            if !is_whole || !retries.budget.take(retries.policy.budget_percent, now) {
                return came.map_err(Failure::Upstream);
            }
            sleep(wait).await;
            now = Instant::now();
            *request = Some(spare);
            (before, endpoint) = (Some(came), next);
            done += 1;
        }
    }
}

/// An attempt that is under way. Dropped before it has ended, its caller has left.
struct Attempt<'a> {
    worker: &'a Worker,
    target: &'a CompiledTarget,
    shown: Option<&'a Arc<OwnCertificate>>,
    /// `None` where nothing hangs on how it ends, or it has ended.
    standing: Option<&'a Standing>,
    endpoint: u8,
    pass: Option<Pass<'a>>,
    begun: Instant,
    passage: Rc<Passage>,
    /// There until it goes out.
    request: &'a mut Option<Request<RequestBody>>,
}

impl Attempt<'_> {
    fn ended(mut self, came: &Result<Reply, SendError>, now: Instant) {
        let Some(standing) = self.standing.take() else { return };
        let came = came.as_ref().map(|reply| reply.response.status());
        count_ended(standing, self.endpoint, self.pass.take(), came, &self.passage, self.begun, now);
    }

    /// Whether the upstream has let it wait for a good part of the time that it has.
    fn has_waited(&self, now: Instant) -> bool {
        if self.request.is_some() {
            let is_long = now - self.begun >= self.target.connect_timeout / PART_OF_TIME;
            return is_long && self.worker.connections.waits_for_upstream(self.target, self.shown);
        }
        let (turn, since) = self.passage.turn();
        turn == Turn::Upstream && now - since >= self.target.response_timeout / PART_OF_TIME
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        let Some(standing) = self.standing else { return };
        let now = Instant::now();
        if self.has_waited(now) {
            standing.ended(self.endpoint, self.pass.take(), Outcome::Failure, self.begun, now);
        }
    }
}

/// Whether an attempt says nothing of the other base URLs: the guard refuses where one leads, or this node has no room
/// for it.
fn is_passed_over(error: &SendError) -> bool {
    matches!(error, SendError::Guarded | SendError::Busy | SendError::Resolve(LookupError::Crowded))
}

/// Counts at a base URL what came of a request that `begun` then.
pub(super) fn count_ended(
    standing: &Standing,
    endpoint: u8,
    pass: Option<Pass<'_>>,
    came: Result<StatusCode, &SendError>,
    passage: &Passage,
    begun: Instant,
    now: Instant,
) {
    match outcome(came, passage, now) {
        Some(outcome) => standing.ended(endpoint, pass, outcome, begun, now),
        None if matches!(came, Err(SendError::Guarded)) => standing.guarded(endpoint, begun, now),
        None => {}
    }
}

/// What the upstream made of a request; `None` where it is not its doing how it ended.
fn outcome(came: Result<StatusCode, &SendError>, passage: &Passage, now: Instant) -> Option<Outcome> {
    match came {
        Ok(status) if is_failure(status) && passage.is_slow(now) => None,
        Ok(status) if is_failure(status) => Some(Outcome::Failure),
        Ok(_) => Some(Outcome::Success),
        Err(error) => match error {
            // The caller, or this node.
            SendError::Caller(_)
            | SendError::Guarded
            | SendError::Trust(_)
            // A credential of this node, and not the only one for the target.
            | SendError::ClientCertificate(_)
            | SendError::Busy
            | SendError::Resolve(LookupError::Crowded | LookupError::CutOff)
            | SendError::TotalTimeout { is_asked: false } => None,
            SendError::TotalTimeout { is_asked: true } if passage.turn().0 == Turn::Caller => None,
            // It may have given up on an upload that did not come, and one organization's callers open no circuit by that.
            SendError::TotalTimeout { is_asked: true } | SendError::Broken(_) if passage.is_slow(now) => None,
            SendError::TotalTimeout { is_asked: true }
            | SendError::Resolve(LookupError::Failed(_) | LookupError::Silent)
            | SendError::Connect(_)
            | SendError::Tls(_)
            | SendError::Version(_)
            | SendError::ConnectTimeout
            | SendError::ResponseTimeout
            | SendError::Broken(_)
            | SendError::Switched
            | SendError::Coded => Some(Outcome::Failure),
        },
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::upstream::{CallerFault, TrustError};

    use super::*;

    #[tokio::test]
    async fn what_the_caller_or_this_node_did_is_no_failure_of_the_upstream() {
        let of = |error: SendError, turn: Turn| {
            outcome(Err(&error), &Passage::since(turn, Duration::from_millis(500)), Instant::now())
        };
        for error in [
            SendError::Guarded,
            SendError::Trust(Arc::new(TrustError::NoRoots)),
            SendError::ClientCertificate(rustls::AlertDescription::UnknownCA),
            SendError::Busy,
            SendError::Resolve(LookupError::Crowded),
            SendError::Resolve(LookupError::CutOff),
            SendError::Caller(CallerFault::Gone),
            SendError::TotalTimeout { is_asked: false },
        ] {
            let text = error.to_string();
            assert_eq!(of(error, Turn::Upstream), None, "{text}");
        }
        let late = |turn| of(SendError::TotalTimeout { is_asked: true }, turn);
        assert_eq!((late(Turn::Caller), late(Turn::Upstream)), (None, Some(Outcome::Failure)));
        for error in [
            SendError::ConnectTimeout,
            SendError::ResponseTimeout,
            SendError::Resolve(LookupError::Silent),
            SendError::Version("2"),
        ] {
            let text = error.to_string();
            assert_eq!(of(error, Turn::Upstream), Some(Outcome::Failure), "{text}");
        }
    }

    #[tokio::test]
    async fn what_an_upstream_says_when_its_caller_has_let_it_wait_is_no_failure_of_it() {
        let of = |came: Result<u16, SendError>, turn: Turn| {
            let status = came.as_ref().map(|status| StatusCode::from_u16(*status).expect("a status"));
            outcome(status, &Passage::since(turn, Duration::from_secs(1)), Instant::now())
        };
        let late = || Err(SendError::TotalTimeout { is_asked: true });
        for came in [|| Ok(503), || Ok(504), late] {
            assert_eq!(of(came(), Turn::Caller), None);
            assert_eq!(of(came(), Turn::Upstream), Some(Outcome::Failure));
        }
        assert_eq!(of(Ok(200), Turn::Caller), Some(Outcome::Success));
        assert_eq!(of(Err(SendError::ResponseTimeout), Turn::Caller), Some(Outcome::Failure));
    }
}
