//! How many of a proxy's requests of the last ten seconds may be retries.
//!
//! Counts by the second. The invariant: no more retries than the share, or the few that are always affordable, however
//! many workers take at the same time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use super::{Tally, millis};

const SECONDS: usize = 10;
/// Affordable whatever the share is.
const FEW: u64 = 3;

/// Requests and retries of a proxy.
pub(crate) struct Budget {
    requests: Window,
    retries: Window,
    tally: Arc<Tally>,
}

impl Budget {
    pub(crate) fn new(tally: Arc<Tally>) -> Self {
        Self { requests: Window::default(), retries: Window::default(), tally }
    }

    /// Counts a request.
    pub(crate) fn request(&self, now: Instant) {
        self.requests.add(second(now));
    }

    /// Takes a retry, if it is affordable.
    pub(crate) fn take(&self, percent: u32, now: Instant) -> bool {
        let now = second(now);
        // Counted first, so that of two that take the last one, one sees the other.
        self.retries.add(now);
        let most = (self.requests.sum(now) * u64::from(percent) / 100).max(FEW);
        let is_affordable = self.retries.sum(now) <= most;
        if is_affordable {
            Tally::count(&self.tally.retries);
        } else {
            self.retries.take_back(now);
            Tally::count(&self.tally.unaffordable);
        }
        is_affordable
    }
}

fn second(now: Instant) -> u64 {
    // Behind all that a fresh slot could be taken for.
    millis(now) / Duration::from_secs(1).as_millis() as u64 + SECONDS as u64
}

/// A second in the upper half of each slot, and how many it had in the lower.
#[derive(Default)]
struct Window([AtomicU64; SECONDS]);

impl Window {
    fn slot(&self, second: u64) -> &AtomicU64 {
        &self.0[(second % SECONDS as u64) as usize]
    }

    fn add(&self, second: u64) {
        let next = |slot: u64| if slot >> 32 == second { slot + 1 } else { (second << 32) | 1 };
        let slot = self.slot(second);
        let mut seen = slot.load(Ordering::Relaxed);
        while let Err(other) =
            slot.compare_exchange_weak(seen, next(seen), Ordering::Relaxed, Ordering::Relaxed)
        {
            seen = other;
        }
    }

    fn take_back(&self, second: u64) {
        let slot = self.slot(second);
        let mut seen = slot.load(Ordering::Relaxed);
        // A slot that has gone on to another second has forgotten it.
        while seen >> 32 == second && seen & u64::from(u32::MAX) > 0 {
            match slot.compare_exchange_weak(seen, seen - 1, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return,
                Err(other) => seen = other,
            }
        }
    }

    fn sum(&self, now: u64) -> u64 {
        let slots = self.0.iter().map(|slot| slot.load(Ordering::Relaxed));
        slots
            .filter(|slot| now - (slot >> 32).min(now) < SECONDS as u64)
            .map(|slot| slot & u64::from(u32::MAX))
            .sum()
    }
}
