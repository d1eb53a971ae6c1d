//! The time that limits and meters count by: the monotonic clock, set by the wall clock.
//!
//! The wall clock is followed while it goes with the monotonic clock. A jump of more than two seconds is told once,
//! and followed only when the wall clock has held for five minutes since: the machine may have slept, or a clock was
//! put right. Until then time goes on as if it had not jumped, so that no jump to and fro ends a window. The
//! invariants: a moment is never older than one before it, but for the two seconds that are followed at once, unless
//! a clock that was set back was followed; that begins a new era, in which counters take the new time for the later.

use std::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::moment::Moment;

/// How far the clocks may drift apart between two looks.
const JUMP: u64 = 2_000;
/// How long the wall clock has to hold after a jump before it is followed.
const PATIENCE: Duration = Duration::from_secs(300);

/// A clock that many threads read and one sets.
#[derive(Debug)]
pub(crate) struct QuotaClock {
    start: Instant,
    /// Milliseconds from 1970 to `start`.
    began: AtomicI64,
    era: AtomicU32,
    jumps: AtomicU64,
    pending: Mutex<Option<Jump>>,
}

/// A jump that is not followed yet.
#[derive(Debug, Clone, Copy)]
struct Jump {
    by: i64,
    since: Instant,
}

/// What became of the wall clock, for the log. In milliseconds; positive when it was set forward.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ClockEvent {
    /// It jumped by so much.
    Jumped(i64),
    /// It has held since it jumped, and is followed by so much.
    Followed(i64),
    /// It is back where it was before it jumped.
    Returned,
}

impl QuotaClock {
    /// Starts with the wall clock, or with the latest time known from before if the wall clock is behind it.
    pub(super) fn start(wall: SystemTime, mono: Instant, known: SystemTime) -> Self {
        Self {
            start: mono,
            began: AtomicI64::new(millis(wall.max(known))),
            era: AtomicU32::new(0),
            jumps: AtomicU64::new(0),
            pending: Mutex::default(),
        }
    }

    /// The moment at an instant. Costs no look at a clock.
    pub(crate) fn moment(&self, mono: Instant) -> Moment {
        // The era first: whoever reads a new one reads the time that belongs to it.
        let era = self.era.load(Ordering::Acquire);
        let now = u64::try_from(self.now(mono)).unwrap_or_default();
        Moment::at(Duration::from_millis(now), era)
    }

    /// Milliseconds since 1970.
    fn now(&self, mono: Instant) -> i64 {
        let passed = i64::try_from(mono.saturating_duration_since(self.start).as_millis());
        self.began.load(Ordering::Relaxed).saturating_add(passed.unwrap_or(i64::MAX))
    }

    /// How often the wall clock has jumped.
    pub(super) fn jumps(&self) -> u64 {
        self.jumps.load(Ordering::Relaxed)
    }

    /// Compares the clocks, both read just now. To be called about twice a second, by one task.
    pub(super) fn watch(&self, wall: SystemTime, mono: Instant) -> Option<ClockEvent> {
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        let off = millis(wall).saturating_sub(self.now(mono));
        if off.unsigned_abs() <= JUMP {
            self.began.fetch_add(off, Ordering::Relaxed);
            return pending.take().map(|_| ClockEvent::Returned);
        }
        match *pending {
            Some(jump) if off.abs_diff(jump.by) <= JUMP => {
                if mono.saturating_duration_since(jump.since) < PATIENCE {
                    // A clock that is brought back slowly has not jumped again.
                    *pending = Some(Jump { by: off, ..jump });
                    return None;
                }
                *pending = None;
                self.began.fetch_add(off, Ordering::Relaxed);
                if off < 0 {
                    // Behind the time: an old era with a new time is only an old moment, which counts in the present
                    // window; a new era with an old time would last until that time comes again.
                    self.era.fetch_add(1, Ordering::Release);
                }
                Some(ClockEvent::Followed(off))
            }
            before => {
                *pending = Some(Jump { by: off, since: mono });
                self.jumps.fetch_add(1, Ordering::Relaxed);
                Some(ClockEvent::Jumped(off.saturating_sub(before.map_or(0, |jump| jump.by))))
            }
        }
    }
}

fn millis(time: SystemTime) -> i64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
