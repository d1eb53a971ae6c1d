//! How many streams may open a second: after an outage all nodes come at once, and each costs work.
//!
//! A bucket of one second's worth, and nobody waits in it: who finds it empty is told when to come again.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// The longest that anybody is told to wait, so that those who are told so do not come at once again.
const LATEST: Duration = Duration::from_secs(10);

/// Streams that open at one replica.
#[derive(Debug)]
pub(crate) struct Gate {
    /// Between two streams. Zero means no bound.
    every: Duration,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// When the bucket is full again.
    whole: Instant,
    /// Up to when those that were sent away were told to come again.
    promised: Instant,
}

impl Gate {
    /// Streams a second; 0 for any number.
    pub(crate) fn new(rate: u32) -> Self {
        let every = if rate == 0 { Duration::ZERO } else { Duration::from_secs(1) / rate };
        let now = Instant::now();
        Self { every, state: Mutex::new(State { whole: now, promised: now }) }
    }

    /// Lets one stream in, or says when to come again: each later than the one before, so that they do not all come
    /// together.
    pub(crate) fn enter(&self) -> Result<(), Duration> {
        if self.every.is_zero() {
            return Ok(());
        }
        let now = Instant::now();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let whole = state.whole.max(now);
        if whole + self.every <= now + Duration::from_secs(1) {
            state.whole = whole + self.every;
            return Ok(());
        }
        state.promised = state.promised.max(now) + self.every;
        Err((state.promised - now).clamp(self.every, LATEST))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn so_many_streams_open_a_second_and_the_rest_are_told_to_come_one_after_the_other() {
        let gate = Gate::new(100);
        let let_in = |gate: &Gate| (0..1_000).filter(|_| gate.enter().is_ok()).count();
        assert_eq!(let_in(&gate), 100);
        let (one, other) = (gate.enter().expect_err("full"), gate.enter().expect_err("full"));
        assert!(one < other || other == LATEST, "{one:?} {other:?}");
        tokio::time::advance(Duration::from_millis(500)).await;
        assert_eq!(let_in(&gate), 50);
        tokio::time::advance(Duration::from_secs(60)).await;
        assert_eq!(let_in(&gate), 100, "what was not used is not kept");
    }

    #[tokio::test(start_paused = true)]
    async fn a_rate_of_zero_lets_everybody_in() {
        let gate = Gate::new(0);
        assert!((0..100_000).all(|_| gate.enter().is_ok()));
    }
}
