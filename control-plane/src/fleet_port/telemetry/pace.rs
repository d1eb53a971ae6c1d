//! How fast nodes may upload: as fast as the store takes it.
//!
//! Holds up uploads and nothing else. The invariant: however many nodes upload, and however slow the store is, they have so few of
//! its connections that configuration and people find one.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rr_contract::model::time::wire_duration;
use rr_contract::wire::fleet;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How many batches are stored at once. The store has eight connections, and one on SQLite.
const AT_ONCE: usize = 3;
/// A batch that took so long was stored slowly.
const SLOW: Duration = Duration::from_millis(500);
/// The longest time that a node is asked to wait.
const PAUSE_MOST: Duration = Duration::from_secs(10);

/// Who stores next, in each store of records.
#[derive(Default)]
pub(crate) struct Pace {
    /// By the names of stores, of which settings have few.
    turns: Mutex<HashMap<String, Arc<Semaphore>>>,
}

impl Pace {
    /// Waits for a turn at a store, first come, first served.
    pub(super) async fn turn(&self, store: &str) -> OwnedSemaphorePermit {
        let turns = self.turns_at(store);
        turns.acquire_owned().await.expect("nobody closes it")
    }

    fn turns_at(&self, store: &str) -> Arc<Semaphore> {
        // Held for a look and never over an await.
        let mut all = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(turns) = all.get(store) {
            return Arc::clone(turns);
        }
        Arc::clone(all.entry(store.to_owned()).or_insert_with(|| Arc::new(Semaphore::new(AT_ONCE))))
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
    async fn no_more_than_three_batches_are_stored_at_once_in_one_store() {
        let pace = Pace::default();
        let held = [pace.turn("eu").await, pace.turn("eu").await, pace.turn("eu").await];
        let next = tokio::time::timeout(Duration::ZERO, pace.turn("eu"));
        assert!(next.await.is_err());
        let other = tokio::time::timeout(Duration::ZERO, pace.turn("us"));
        drop(other.await.expect("another store has turns of its own"));
        drop(held);
        drop(pace.turn("eu").await);
    }
}
