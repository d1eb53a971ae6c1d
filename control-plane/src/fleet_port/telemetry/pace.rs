//! How fast nodes may upload: as fast as the store takes it.
//!
//! Holds up uploads and nothing else. The invariant: however many nodes upload, and however slow the store is, they have so few of
//! its connections that configuration and people find one.

use std::time::Duration;

use rr_contract::model::time::wire_duration;
use rr_contract::wire::fleet;
use tokio::sync::{Semaphore, SemaphorePermit};

/// How many batches are stored at once. The store has eight connections, and one on SQLite.
const AT_ONCE: usize = 3;
/// A batch that took so long was stored slowly.
const SLOW: Duration = Duration::from_millis(500);
/// The longest time that a node is asked to wait.
const PAUSE_MOST: Duration = Duration::from_secs(10);

/// Who stores next.
pub(crate) struct Pace {
    turns: Semaphore,
}

impl Default for Pace {
    fn default() -> Self {
        Self { turns: Semaphore::new(AT_ONCE) }
    }
}

impl Pace {
    /// Waits for a turn, first come, first served.
    pub(super) async fn turn(&self) -> SemaphorePermit<'_> {
        self.turns.acquire().await.expect("nobody closes it")
    }
}

/// Says how the node may go on after a batch that took so long to be stored, its turn included: where that was long, one batch at a
/// time, and as long a pause, so that the store has half of its time for others.
pub(super) fn say(answer: &mut fleet::UploadResponse, took: Duration) {
    answer.codecs = vec![fleet::BatchCodec::Zstd.into()];
    if took >= SLOW {
        answer.window = 1;
        answer.pause = Some(wire_duration(took.min(PAUSE_MOST)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_store_is_given_as_much_time_as_it_took_and_a_fast_one_is_not_waited_for() {
        let said = |millis| {
            let mut answer = fleet::UploadResponse::default();
            say(&mut answer, Duration::from_millis(millis));
            (answer.window, answer.pause)
        };
        assert_eq!((said(0), said(499)), ((0, None), (0, None)));
        let pause = |millis| Some(wire_duration(Duration::from_millis(millis)));
        assert_eq!((said(500), said(2_000)), ((1, pause(500)), (1, pause(2_000))));
        assert_eq!(said(60_000), (1, pause(10_000)));
    }

    #[tokio::test]
    async fn no_more_than_three_batches_are_stored_at_once() {
        let pace = Pace::default();
        let held = [pace.turn().await, pace.turn().await, pace.turn().await];
        let next = tokio::time::timeout(Duration::ZERO, pace.turn());
        assert!(next.await.is_err());
        drop(held);
        drop(pace.turn().await);
    }
}
