//! Sends a request whose target has several base URLs or a circuit breaker, or whose proxy retries.
//!
//! Decides by what others know: `standing` which base URL and whether at all, `upstream::retry` whether again. Rules,
//! limits and meters have decided before, once for all attempts. The invariant: each attempt goes to an origin that the
//! secret was sealed for, judged anew, and the whole of them takes no longer than one request may.

use std::rc::Rc;

use http::{Request, StatusCode};
use rr_contract::outbound::LookupError;
use tokio::time::{Instant, sleep};

use crate::reply::Failure;
use crate::snapshot::Route;
use crate::standing::Outcome;
use crate::upstream::retry::{is_failure, is_idempotent, wait};
use crate::upstream::{Passage, Reply, RequestBody, SendError, Turn, again};
use crate::worker::Worker;

use super::inject::injection;
use super::settle::Draft;

/// What all attempts of a request have in common.
pub(super) struct Attempts<'s> {
    pub(super) route: &'s Route,
    /// When all of it has to have ended.
    pub(super) until: Option<Instant>,
}

impl Attempts<'_> {
    /// Sends it to a base URL of the target, and waits for the head of the last answer.
    pub(super) async fn send(
        self,
        mut request: Request<RequestBody>,
        mut endpoint: u8,
        mut now: Instant,
        worker: &Rc<Worker>,
        draft: &mut Draft,
    ) -> Result<Reply, Failure> {
        let Self { route, until } = self;
        let standing = route.target.standing.as_ref();
        if let Some(retries) = &route.retries {
            retries.budget.request(now);
        }
        let retries = route.retries.as_ref().filter(|_| is_idempotent(request.method()));
        let (mut done, mut tried, mut before) = (0, 0_u32, None::<Result<Reply, SendError>>);
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
            let spare = retries.filter(|retries| done < retries.policy.attempts).map(|_| again(&mut request));
            let target = route.target.at(endpoint);
            let at_endpoint = standing.map(|standing| standing.endpoint(endpoint).begin());
            draft.attempts(target.endpoint.as_ref(), at_endpoint);
            tried |= 1 << endpoint;
            let passage = request.body().passage();
            let begun = now;
            let came = worker.connections.send(target, request, now, until).await;
            now = Instant::now();
            let answered = came.as_ref().map(|reply| reply.response.status());
            if let (Some(standing), Some(outcome)) = (standing, outcome(answered, &passage)) {
                standing.ended(endpoint, pass, outcome, begun, now);
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
                let next = standing
                    .map_or(0, |standing| standing.choose(now, tried, || u32::from_ne_bytes(worker.draw())));
                let is_sealed_for = injection(route, route.target.at(next), worker.clock.now()).is_ok();
                (!is_too_long && is_sealed_for).then_some((wait, next))
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
            (before, request, endpoint) = (Some(came), spare, next);
            done += 1;
        }
    }
}

/// What the upstream made of a request; `None` where it is not its doing how it ended.
pub(super) fn outcome(came: Result<StatusCode, &SendError>, passage: &Passage) -> Option<Outcome> {
    match came {
        Ok(status) if is_failure(status) => Some(Outcome::Failure),
        Ok(_) => Some(Outcome::Success),
        Err(error) => match error {
            // The caller, or this node.
            SendError::Caller(_)
            | SendError::Guarded
            | SendError::Trust(_)
            | SendError::Busy
            | SendError::Resolve(LookupError::Crowded | LookupError::CutOff)
            | SendError::TotalTimeout { is_asked: false } => None,
            SendError::TotalTimeout { is_asked: true } if passage.turn().0 == Turn::Caller => None,
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
