//! Asks base URLs whether they work, as their targets want it.
//!
//! Runs on the control thread, over connections of its own, so no request waits for it. What it finds is in `standing`.
//! The invariants: only targets of the configuration in force are asked, through the same guard, names and certificates
//! as requests; what is sent carries no credential; one base URL is asked once at a time, on a connection that is closed
//! behind it, so that no upstream keeps this thread busy between two questions.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::header::{ACCEPT, HeaderValue, USER_AGENT};
use http::uri::PathAndQuery;
use http::{Request, Uri};
use rr_contract::model::id::OrgId;
use rr_contract::model::resilience::HealthCheck;
use rr_contract::runtime::{Stop, Tasks};
use rr_contract::seam::{Entropy, draw};
use tokio::time::{Instant, interval, timeout};
use tracing::debug;

use crate::snapshot::{CompiledTarget, Standings};
use crate::standing::{Endpoint, Tally, millis};

use super::{Connections, RequestBody};

/// How often it looks for what is due.
const TICK: Duration = Duration::from_millis(250);
/// The longest wait before a base URL is asked for the first time.
const FIRST_MAX: Duration = Duration::from_secs(10);
/// How many are asked at a time; the others wait for a tick.
const AT_ONCE: usize = 64;
/// Sockets of the checker: one for each that is asked, and one for each whose answer is being read to its end.
pub(crate) const SOCKETS: usize = 2 * AT_ONCE;
/// Of those that are asked, how many of one organization: its silent base URLs keep nobody else's from being asked.
const BY_ORG: usize = 8;

/// Asks until `stop`.
pub(crate) async fn run(
    standings: Standings,
    connections: Connections,
    entropy: Arc<dyn Entropy>,
    tasks: Tasks,
    stop: Stop,
) {
    let (connections, places) = (Rc::new(connections), Rc::new(Places::default()));
    let mut ticks = interval(TICK);
    let mut left = 0;
    while stop.cut(ticks.tick()).await.is_some() {
        connections.sweep();
        in_turn(standings.watched(), &mut left, |target| {
            if places.are_taken() {
                return false;
            }
            let (Some(check), Some(standing)) = (&target.health_check, &target.standing) else { return true };
            for (index, endpoint) in (0_u8..).zip(standing.endpoints()) {
                let Some(place) = Places::take(&places, target.org) else { break };
                let (first, next) = waits(check, &*entropy);
                if !endpoint.is_due(millis(Instant::now()), first, next) {
                    continue;
                }
                let ask = Ask {
                    target: Arc::clone(&target),
                    endpoint: Arc::clone(endpoint),
                    index,
                    connections: Rc::clone(&connections),
                    tally: Arc::clone(standings.tally()),
                    _place: place,
                };
                tasks.spawn_local("health check", ask.run());
            }
            true
        });
    }
}

/// Goes over all, until one finds no room: that one, as `left` remembers, is the first to be gone over the next time.
fn in_turn<T>(mut all: Vec<T>, left: &mut usize, mut has_room: impl FnMut(T) -> bool) {
    *left %= all.len().max(1);
    all.rotate_left(*left);
    let passed = all.into_iter().position(|one| !has_room(one));
    *left += passed.unwrap_or(0);
}

/// Who is being asked.
#[derive(Default)]
struct Places(RefCell<HashMap<OrgId, usize>>);

/// The right to ask, until it is dropped.
struct Place {
    places: Rc<Places>,
    org: OrgId,
}

impl Places {
    fn are_taken(&self) -> bool {
        self.0.borrow().values().sum::<usize>() >= AT_ONCE
    }

    fn take(places: &Rc<Self>, org: OrgId) -> Option<Place> {
        let is_full = places.are_taken() || places.0.borrow().get(&org).is_some_and(|taken| *taken >= BY_ORG);
        (!is_full).then(|| {
            *places.0.borrow_mut().entry(org).or_default() += 1;
            Place { places: Rc::clone(places), org }
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.0.borrow_mut();
        if let Some(own) = taken.get_mut(&self.org) {
            *own -= 1;
            if *own == 0 {
                taken.remove(&self.org);
            }
        }
    }
}

/// Before the first time, and before the next: nodes that start together do not ask together.
fn waits(check: &HealthCheck, entropy: &dyn Entropy) -> (Duration, Duration) {
    let fraction = f64::from(u32::from_le_bytes(draw(entropy))) / f64::from(u32::MAX);
    (check.interval.min(FIRST_MAX).mul_f64(fraction), check.interval.mul_f64(0.9 + fraction / 5.0))
}

/// One question.
struct Ask {
    target: Arc<CompiledTarget>,
    endpoint: Arc<Endpoint>,
    index: u8,
    connections: Rc<Connections>,
    tally: Arc<Tally>,
    _place: Place,
}

impl Ask {
    async fn run(self) {
        let Self { target, endpoint, index, connections, tally, _place } = self;
        let Some(check) = &target.health_check else { return };
        let at = target.at(index);
        let mut request = Some(request(at, check));
        let asked = connections.send(at, None, &mut request, Instant::now(), None);
        let passed = match timeout(check.timeout, asked).await {
            Ok(Ok(reply)) => {
                let status = reply.response.status().as_u16();
                connections.discard(reply);
                status <= check.max_status
            }
            Ok(Err(error)) => {
                debug!(%error, target_id = %target.id, endpoint = endpoint.name(), "health check failed");
                false
            }
            Err(_) => false,
        };
        // Its upstream does with it as it likes, and nothing that it does goes on between two checks.
        connections.let_go(at);
        Tally::count(if passed { &tally.checks_passed } else { &tally.checks_failed });
        endpoint.checked(passed, check);
    }
}

fn request(target: &CompiledTarget, check: &HealthCheck) -> Request<RequestBody> {
    let mut request = Request::new(RequestBody::nothing(Instant::now()));
    let path = format!("{}{}", target.base.path(), check.path);
    // The model has looked at both parts; together they may be nothing.
    let path = path.parse().unwrap_or(PathAndQuery::from_static("/"));
    *request.uri_mut() = Uri::from(path);
    let headers = request.headers_mut();
    headers.insert(USER_AGENT, HeaderValue::from_static("requestrocket-health-check"));
    headers.insert(ACCEPT, HeaderValue::from_static("*/*"));
    request
}

#[cfg(test)]
mod tests;
