//! How long to wait before the next try: a random part of a bound that doubles.
//!
//! Sleeps for nobody. Jitter over the whole range matters: after an outage every node comes back at once.

use std::time::Duration;

use rr_contract::seam::{Entropy, draw};
use tokio::time::Instant;

const FIRST: Duration = Duration::from_millis(250);
/// So that a control plane that is only started anew finds its nodes back within three seconds.
const CAP_FIRST: Duration = Duration::from_millis(2500);
const FIRST_FOR: Duration = Duration::from_secs(30);
/// So that a short outage of the control plane ends soon after it ends.
const CAP_EARLY: Duration = Duration::from_secs(10);
const CAP_LATE: Duration = Duration::from_secs(30);
const EARLY: Duration = Duration::from_secs(10 * 60);
/// A stream that lived so long and brought something was no failure.
const PROVEN: Duration = Duration::from_secs(60);

/// Counts failures in a row.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    tries: u32,
    outage_since: Option<Instant>,
}

impl Backoff {
    /// The wait after another failure, the clock being at `now`.
    pub(crate) fn next(&mut self, now: Instant, entropy: &dyn Entropy) -> Duration {
        let since = *self.outage_since.get_or_insert(now);
        let cap = match now.duration_since(since) {
            away if away < FIRST_FOR => CAP_FIRST,
            away if away < EARLY => CAP_EARLY,
            _ => CAP_LATE,
        };
        let bound = FIRST.saturating_mul(1 << self.tries.min(16)).min(cap);
        self.tries += 1;
        part(bound, entropy)
    }

    /// A stream has ended that lived for `lived` and, or not, brought a message.
    pub(crate) fn stream_ended(&mut self, lived: Duration, brought_a_message: bool) {
        if brought_a_message && lived >= PROVEN {
            *self = Self::default();
        }
    }
}

/// A random part of `bound`.
pub(crate) fn part(bound: Duration, entropy: &dyn Entropy) -> Duration {
    let fraction = f64::from(u32::from_le_bytes(draw(entropy))) / f64::from(u32::MAX);
    bound.mul_f64(fraction)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Most;

    impl Entropy for Most {
        fn fill(&self, bytes: &mut [u8]) {
            bytes.fill(0xff);
        }
    }

    #[test]
    fn the_bound_doubles_up_to_what_an_outage_of_its_length_has() {
        let mut backoff = Backoff::default();
        let start = Instant::now();
        let waits: Vec<u128> = (0..6).map(|_| backoff.next(start, &Most).as_millis()).collect();
        assert_eq!(waits, [250, 500, 1000, 2000, 2500, 2500]);
        assert_eq!(backoff.next(start + FIRST_FOR, &Most), CAP_EARLY);
        assert_eq!(backoff.next(start + EARLY, &Most), CAP_LATE);
    }

    #[test]
    fn only_a_stream_that_lived_and_brought_something_ends_the_count() {
        let mut backoff = Backoff::default();
        let start = Instant::now();
        backoff.next(start, &Most);
        backoff.stream_ended(PROVEN, false);
        backoff.stream_ended(PROVEN / 2, true);
        assert_eq!(backoff.next(start, &Most), FIRST * 2);
        backoff.stream_ended(PROVEN, true);
        assert_eq!(backoff.next(start, &Most), FIRST);
    }
}
