//! Keeps a log readable where the same line would come thousands of times.
//!
//! Logs nothing itself. The invariant: what is held back is counted, and the next line that comes through can
//! say how much that was.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Lets one line through at a time. Shared by all who would write the same line.
#[derive(Debug)]
pub struct Seldom {
    every: Duration,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    last: Option<Instant>,
    held: u64,
}

impl Seldom {
    /// One line in each such time.
    pub fn every(every: Duration) -> Self {
        Self { every, state: Mutex::default() }
    }

    /// Whether a line may be written now: `Some` with how many were held back since the last one.
    pub fn may(&self) -> Option<u64> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if state.last.is_some_and(|last| now.duration_since(last) < self.every) {
            state.held += 1;
            return None;
        }
        state.last = Some(now);
        Some(std::mem::take(&mut state.held))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_comes_through_and_the_next_says_how_many_did_not() {
        let seldom = Seldom::every(Duration::from_millis(5));
        assert_eq!(seldom.may(), Some(0));
        let mut held = 0;
        let told = loop {
            match seldom.may() {
                Some(told) => break told,
                None => held += 1,
            }
        };
        assert_eq!(told, held);
        let seldom = Seldom::every(Duration::from_secs(3600));
        assert_eq!((seldom.may(), seldom.may()), (Some(0), None));
    }
}
