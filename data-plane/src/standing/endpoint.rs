//! One base URL of a target, as this node finds it.
//!
//! Decides nothing: thresholds are handed in. What workers read with each request changes rarely.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use rr_contract::model::id::TargetId;
use rr_contract::model::resilience::HealthCheck;
use rr_contract::runtime::Seldom;
use tracing::{info, warn};

use super::SAID_EVERY;

/// How often an ejection is the first one over, at the most.
const LONGEST: u32 = 10;

/// A base URL.
pub(crate) struct Endpoint {
    target: TargetId,
    /// Host and port.
    name: Arc<str>,
    under_way: AtomicU32,
    /// Failures in a row.
    failures: AtomicU32,
    /// When a request to it succeeded last.
    succeeded_at: AtomicU64,
    /// 0: never was.
    ejected_until: AtomicU64,
    /// Ejections without a success between them.
    ejections: AtomicU32,
    is_unhealthy: AtomicBool,
    /// Health checks in a row that passed, or, below 0, failed. The checker alone writes it, and what follows.
    results: AtomicI32,
    /// 0: it was not asked yet.
    next_check: AtomicU64,
    is_asked: AtomicBool,
    /// Of its ejections, and of its health: what fails and succeeds in turn must not fill the log.
    said: [Seldom; 2],
}

/// A request that is under way to it, until its response has ended.
pub(crate) struct AtEndpoint(Arc<Endpoint>);

impl Drop for AtEndpoint {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Endpoint {
    pub(crate) fn new(target: TargetId, name: Arc<str>) -> Self {
        Self {
            target,
            name,
            under_way: AtomicU32::default(),
            failures: AtomicU32::default(),
            succeeded_at: AtomicU64::default(),
            ejected_until: AtomicU64::default(),
            ejections: AtomicU32::default(),
            is_unhealthy: AtomicBool::default(),
            results: AtomicI32::default(),
            next_check: AtomicU64::default(),
            is_asked: AtomicBool::default(),
            said: [Seldom::every(SAID_EVERY), Seldom::every(SAID_EVERY)],
        }
    }

    /// Whether its ejection may be logged now, and how many were not.
    pub(super) fn may_tell(&self) -> Option<u64> {
        self.said[0].may()
    }

    pub(crate) fn target(&self) -> TargetId {
        self.target
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Counts a request.
    pub(crate) fn begin(self: &Arc<Self>) -> AtEndpoint {
        self.under_way.fetch_add(1, Ordering::Relaxed);
        AtEndpoint(Arc::clone(self))
    }

    pub(super) fn under_way(&self) -> u32 {
        self.under_way.load(Ordering::Relaxed)
    }

    pub(super) fn is_available(&self, now: u64) -> bool {
        !self.is_ejected(now) && !self.is_unhealthy()
    }

    pub(crate) fn is_ejected(&self, now: u64) -> bool {
        now < self.ejected_until.load(Ordering::Relaxed)
    }

    pub(crate) fn is_unhealthy(&self) -> bool {
        self.is_unhealthy.load(Ordering::Relaxed)
    }

    pub(super) fn succeeded(&self, now: u64) {
        // Written where it changes something: all workers read it.
        if self.succeeded_at.load(Ordering::Relaxed) != now {
            self.succeeded_at.store(now, Ordering::Relaxed);
        }
        for count in [&self.failures, &self.ejections] {
            if count.load(Ordering::Relaxed) != 0 {
                count.store(0, Ordering::Relaxed);
            }
        }
    }

    /// How many in a row failed now. A request that began before another one succeeded is none of them.
    pub(super) fn failed(&self, begun: u64) -> u32 {
        if self.succeeded_at.load(Ordering::Relaxed) > begun {
            return 0;
        }
        self.failures.fetch_add(1, Ordering::Relaxed).saturating_add(1)
    }

    /// Takes it out. Each time in a row is once more as long.
    pub(super) fn eject(&self, first: Duration, now: u64) -> Duration {
        let times = self.ejections.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        self.failures.store(0, Ordering::Relaxed);
        self.ejected_until.store(until(first, times, now), Ordering::Relaxed);
        first * times.clamp(1, LONGEST)
    }

    /// Its target ejects it for so long by now, the first time: it stays out for no longer than that would have come to.
    pub(crate) fn is_ejected_for(&self, first: Duration, now: u64) {
        let times = self.ejections.load(Ordering::Relaxed);
        self.ejected_until.fetch_min(until(first, times, now), Ordering::Relaxed);
    }

    /// Forgets what its target does not ask for any longer.
    pub(crate) fn forget(&self, ejections: bool, checks: bool) {
        if ejections {
            self.failures.store(0, Ordering::Relaxed);
            self.ejections.store(0, Ordering::Relaxed);
            self.ejected_until.store(0, Ordering::Relaxed);
        }
        if checks {
            self.is_unhealthy.store(false, Ordering::Relaxed);
            self.results.store(0, Ordering::Relaxed);
            self.next_check.store(0, Ordering::Relaxed);
        }
    }

    /// Whether it is to be asked now. `first` is the wait before the first time, `next` before the one after this.
    pub(crate) fn is_due(&self, now: u64, first: Duration, next: Duration) -> bool {
        let after = |wait: Duration| now + u64::try_from(wait.as_millis()).unwrap_or(u64::MAX / 2);
        match self.next_check.load(Ordering::Relaxed) {
            0 => self.next_check.store(after(first), Ordering::Relaxed),
            due if due > now || self.is_asked.load(Ordering::Relaxed) => {}
            _ => {
                self.next_check.store(after(next), Ordering::Relaxed);
                self.is_asked.store(true, Ordering::Relaxed);
                return true;
            }
        }
        false
    }

    /// It was asked whether it works.
    pub(crate) fn checked(&self, passed: bool, check: &HealthCheck) {
        self.is_asked.store(false, Ordering::Relaxed);
        // Its target has gone on without checks.
        if self.next_check.load(Ordering::Relaxed) == 0 {
            return;
        }
        let before = self.results.load(Ordering::Relaxed);
        let results = if passed { before.max(0).saturating_add(1) } else { before.min(0).saturating_sub(1) };
        self.results.store(results, Ordering::Relaxed);
        let (target_id, endpoint) = (self.target, &*self.name);
        if passed && self.is_unhealthy() && results.unsigned_abs() >= check.healthy_after {
            self.is_unhealthy.store(false, Ordering::Relaxed);
            if let Some(held) = self.said[1].may() {
                info!(%target_id, endpoint, held, "base URL is healthy again");
            }
        }
        if !passed && !self.is_unhealthy() && results.unsigned_abs() >= check.unhealthy_after {
            self.is_unhealthy.store(true, Ordering::Relaxed);
            if let Some(held) = self.said[1].may() {
                warn!(%target_id, endpoint, held, "base URL is unhealthy: its health checks failed in a row");
            }
        }
    }
}

/// When an ejection ends that is the one of so many in a row.
fn until(first: Duration, times: u32, now: u64) -> u64 {
    let lasts = first * times.clamp(1, LONGEST);
    now.saturating_add(u64::try_from(lasts.as_millis()).unwrap_or(u64::MAX))
}
