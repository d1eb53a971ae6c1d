//! The circuit breaker of a target: closed, open, or half open, when one request at a time finds out.
//!
//! Knows no threshold: it is handed in, as it may change. The invariant: while it is open, nobody passes; once its time
//! is over, one at a time does, and one that ends without a verdict makes room for the next.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use rr_contract::model::id::TargetId;
use rr_contract::model::resilience::CircuitBreaker;
use rr_contract::runtime::Seldom;
use tracing::{info, warn};

use super::{Outcome, SAID_EVERY};

/// What is told to callers while somebody finds out.
const FINDING_OUT: Duration = Duration::from_secs(1);

/// The state of a breaker.
pub(crate) struct Circuit {
    target: TargetId,
    /// Failures in a row, while it is closed.
    failures: AtomicU32,
    /// 0: it is closed.
    open_until: AtomicU64,
    /// Since when a request finds out; 0: none does.
    probed_since: AtomicU64,
    /// When a request succeeded last.
    succeeded_at: AtomicU64,
    /// That it opened, and that it closed: what does both in turn must not fill the log.
    said: [Seldom; 2],
}

/// The right to send one request.
pub(crate) struct Pass<'c> {
    circuit: &'c Circuit,
    begun: u64,
    is_probe: bool,
}

/// It is open for so long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StillOpen(pub(crate) Duration);

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        if self.is_probe {
            // Another one finds out by now, where this one took too long.
            let since = &self.circuit.probed_since;
            since.compare_exchange(self.begun, 0, Ordering::AcqRel, Ordering::Relaxed).ok();
        }
    }
}

impl Circuit {
    pub(crate) fn new(target: TargetId) -> Self {
        let (failures, open_until, probed_since, succeeded_at) = Default::default();
        let said = [Seldom::every(SAID_EVERY), Seldom::every(SAID_EVERY)];
        Self { target, failures, open_until, probed_since, succeeded_at, said }
    }

    /// Whether requests are held back, but for those that find out.
    pub(crate) fn is_open(&self) -> bool {
        self.open_until.load(Ordering::Relaxed) != 0
    }

    /// Its breaker opens it for so long by now: it stays open for no longer, whatever it was opened for.
    pub(crate) fn opens_for(&self, open_for: Duration, now: u64) {
        let latest = until(open_for, now);
        self.open_until.fetch_min(latest, Ordering::AcqRel);
    }

    /// `patience` is how long a request can take to find out before another one does: no caller keeps a circuit open
    /// by being slow.
    pub(super) fn admit(&self, patience: Duration, now: u64) -> Result<Pass<'_>, StillOpen> {
        let passes = |is_probe| Pass { circuit: self, begun: now, is_probe };
        match self.rest(now) {
            None => return Ok(passes(false)),
            Some(Duration::ZERO) => {}
            Some(rest) => return Err(StillOpen(rest)),
        }
        let since = self.probed_since.load(Ordering::Acquire);
        let is_patient = since != 0 && u128::from(now.saturating_sub(since)) < patience.as_millis();
        if is_patient
            || self.probed_since.compare_exchange(since, now, Ordering::AcqRel, Ordering::Relaxed).is_err()
        {
            return Err(StillOpen(FINDING_OUT));
        }
        // From here on dropping it makes room again. Somebody may have found out in between.
        let probe = passes(true);
        match self.rest(now) {
            None => Ok(passes(false)),
            Some(Duration::ZERO) => Ok(probe),
            Some(rest) => Err(StillOpen(rest)),
        }
    }

    /// How long it stays open; `None`: it is closed.
    fn rest(&self, now: u64) -> Option<Duration> {
        let until = self.open_until.load(Ordering::Acquire);
        (until != 0).then(|| Duration::from_millis(until.saturating_sub(now)))
    }
}

fn until(open_for: Duration, now: u64) -> u64 {
    now.saturating_add(u64::try_from(open_for.as_millis()).unwrap_or(u64::MAX))
}

impl Pass<'_> {
    /// Says whether it opened the circuit.
    pub(super) fn ended(self, outcome: Outcome, breaker: &CircuitBreaker, now: u64) -> bool {
        let Circuit { target, failures, open_until, succeeded_at, said, .. } = self.circuit;
        // Written where it changes something: all workers read it.
        if outcome == Outcome::Success && succeeded_at.load(Ordering::Relaxed) != now {
            succeeded_at.store(now, Ordering::Relaxed);
        }
        let until = until(breaker.open_for, now);
        match (outcome, self.is_probe) {
            (Outcome::Success, true) => {
                failures.store(0, Ordering::Relaxed);
                open_until.store(0, Ordering::Release);
                if let Some(held) = said[1].may() {
                    info!(target_id = %target, held, "circuit closed: the target answers again");
                }
                false
            }
            (Outcome::Success, false) => {
                // Written where it changes something: all workers read it.
                if failures.load(Ordering::Relaxed) != 0 {
                    failures.store(0, Ordering::Relaxed);
                }
                false
            }
            // Others have succeeded meanwhile: what fails is this request, and not the target. Otherwise requests to one
            // slow path that end together would be failures in a row, and one that found out for too long would open what
            // the one after it has closed.
            (Outcome::Failure, _) if succeeded_at.load(Ordering::Relaxed) > self.begun => false,
            (Outcome::Failure, true) => {
                open_until.store(until, Ordering::Release);
                true
            }
            (Outcome::Failure, false) => {
                let in_a_row = failures.fetch_add(1, Ordering::Relaxed).saturating_add(1);
                if in_a_row < breaker.consecutive_failures {
                    return false;
                }
                let opened =
                    open_until.compare_exchange(0, until, Ordering::AcqRel, Ordering::Relaxed).is_ok();
                if opened && let Some(held) = said[0].may() {
                    warn!(target_id = %target, in_a_row, held, "circuit opened: requests to the target failed in a row");
                }
                opened
            }
        }
    }
}
