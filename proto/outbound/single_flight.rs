//! One piece of work for all who want its result at the same time.
//!
//! Keeps no result: who comes later begins anew. The invariant: the work goes on as long as one of those who wait is
//! left, whoever began it, and ends with the last.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};

use futures_util::future::{BoxFuture, FutureExt as _, Shared, WeakShared};

type Flight<V> = Shared<BoxFuture<'static, V>>;

/// The work under way, by key.
pub struct SingleFlight<K: Eq + Hash + Clone, V: Clone>(Mutex<HashMap<K, WeakShared<BoxFuture<'static, V>>>>);

impl<K: Eq + Hash + Clone, V: Clone> Default for SingleFlight<K, V> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Eq + Hash + Clone, V: Clone + Send + Sync + 'static> SingleFlight<K, V> {
    /// The result of the work under way for this key, or of `work` where there is none.
    pub async fn run<F>(&self, key: K, work: impl FnOnce() -> F) -> V
    where
        F: Future<Output = V> + Send + 'static,
    {
        let flight = {
            let mut flights = self.flights();
            match flights.get(&key).and_then(WeakShared::upgrade).filter(|flight| flight.peek().is_none()) {
                Some(flight) => flight,
                None => {
                    let flight = work().boxed().shared();
                    flights.insert(key.clone(), flight.downgrade().expect("it was not polled yet"));
                    flight
                }
            }
        };
        Waiting { flights: self, key, flight: Some(flight.clone()) }.land(flight).await
    }

    /// How many keys there is work under way for.
    pub fn len(&self) -> usize {
        self.flights().len()
    }

    /// Whether no work is under way.
    pub fn is_empty(&self) -> bool {
        self.flights().is_empty()
    }
}

impl<K: Eq + Hash + Clone, V: Clone> SingleFlight<K, V> {
    /// No code under this lock leaves a partial state, so a panic elsewhere is no reason to stop.
    fn flights(&self) -> MutexGuard<'_, HashMap<K, WeakShared<BoxFuture<'static, V>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One who waits. The last to leave takes the key along.
struct Waiting<'f, K: Eq + Hash + Clone, V: Clone> {
    flights: &'f SingleFlight<K, V>,
    key: K,
    flight: Option<Flight<V>>,
}

impl<K: Eq + Hash + Clone, V: Clone + Send + Sync + 'static> Waiting<'_, K, V> {
    async fn land(self, flight: Flight<V>) -> V {
        flight.await
    }
}

impl<K: Eq + Hash + Clone, V: Clone> Drop for Waiting<'_, K, V> {
    fn drop(&mut self) {
        let mine = self.flight.take();
        let is_mine_over = |now: Flight<V>| {
            let mine = mine.as_ref().filter(|mine| mine.ptr_eq(&now));
            mine.is_some_and(|mine| mine.peek().is_some())
        };
        let upgrade =
            |flights: &HashMap<K, WeakShared<_>>| flights.get(&self.key).and_then(WeakShared::upgrade);
        let mut flights = self.flights.flights();
        if upgrade(&flights).is_none_or(is_mine_over) {
            flights.remove(&self.key);
        }
        drop(flights);
        // Work that nobody waits for ends here, outside of the lock.
        drop(mine);
        let mut flights = self.flights.flights();
        if upgrade(&flights).is_none() {
            flights.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests;
