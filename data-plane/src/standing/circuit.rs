//! The circuit breaker of a target: closed, open, or half open, when one request at a time finds out.
//!
//! Knows no threshold: it is handed in, as it may change. The invariant: while it is open, nobody passes; once its time
//! is over, one at a time does, and one that ends without a verdict makes room for the next.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use rr_contract::model::id::TargetId;
use rr_contract::model::resilience::CircuitBreaker;
use tracing::{info, warn};

use super::Outcome;

/// What is told to callers while somebody finds out.
const FINDING_OUT: Duration = Duration::from_secs(1);

/// The state of a breaker.
pub(crate) struct Circuit {
    target: TargetId,
    /// Failures in a row, while it is closed.
    failures: AtomicU32,
    /// 0: it is closed.
    open_until: AtomicU64,
    is_probed: AtomicBool,
}

/// The right to send one request.
pub(crate) struct Pass<'c> {
    circuit: &'c Circuit,
    is_probe: bool,
}

/// It is open for so long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StillOpen(pub(crate) Duration);

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        if self.is_probe {
            self.circuit.is_probed.store(false, Ordering::Release);
        }
    }
}

impl Circuit {
    pub(crate) fn new(target: TargetId) -> Self {
        let (failures, open_until, is_probed) = Default::default();
        Self { target, failures, open_until, is_probed }
    }

    /// Whether requests are held back, but for those that find out.
    pub(crate) fn is_open(&self) -> bool {
        self.open_until.load(Ordering::Relaxed) != 0
    }

    pub(super) fn admit(&self, now: u64) -> Result<Pass<'_>, StillOpen> {
        match self.rest(now) {
            None => return Ok(Pass { circuit: self, is_probe: false }),
            Some(Duration::ZERO) => {}
            Some(rest) => return Err(StillOpen(rest)),
        }
        if self.is_probed.swap(true, Ordering::AcqRel) {
            return Err(StillOpen(FINDING_OUT));
        }
        // From here on dropping it makes room again. Somebody may have found out in between.
        let probe = Pass { circuit: self, is_probe: true };
        match self.rest(now) {
            None => Ok(Pass { circuit: self, is_probe: false }),
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

impl Pass<'_> {
    /// Says whether it opened the circuit.
    pub(super) fn ended(self, outcome: Outcome, breaker: &CircuitBreaker, now: u64) -> bool {
        let Circuit { target, failures, open_until, .. } = self.circuit;
        let until = now.saturating_add(u64::try_from(breaker.open_for.as_millis()).unwrap_or(u64::MAX));
        match (outcome, self.is_probe) {
            (Outcome::Success, true) => {
                failures.store(0, Ordering::Relaxed);
                open_until.store(0, Ordering::Release);
                info!(target_id = %target, "circuit closed: the target answers again");
                false
            }
            (Outcome::Success, false) => {
                // Written where it changes something: all workers read it.
                if failures.load(Ordering::Relaxed) != 0 {
                    failures.store(0, Ordering::Relaxed);
                }
                false
            }
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
                if opened {
                    warn!(target_id = %target, in_a_row, "circuit opened: requests to the target failed in a row");
                }
                opened
            }
        }
    }
}
