//! Tells whether everything that must come up first has come up.
//!
//! Does not watch health: a part that came up and broke later stays ready here, and reports itself
//! elsewhere. The invariant: ready means that no gate is held.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::watch;

/// The list of what start-up still waits for. Clones share the list.
///
/// Take every gate before the first of them can open; with none taken yet, the program counts as ready.
#[derive(Debug, Clone, Default)]
pub struct Readiness {
    held: Arc<watch::Sender<BTreeMap<&'static str, usize>>>,
}

impl Readiness {
    /// An empty list: ready until a gate is taken.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a part that readiness waits for. A name taken twice is waited for twice.
    #[must_use = "a gate that is dropped at once is open at once"]
    pub fn register(&self, name: &'static str) -> Gate {
        self.held.send_modify(|held| *held.entry(name).or_default() += 1);
        Gate { readiness: self.clone(), name }
    }

    /// Whether no gate is held now.
    pub fn is_ready(&self) -> bool {
        self.held.borrow().is_empty()
    }

    /// The names that are still waited for, in alphabetical order.
    pub fn pending(&self) -> Vec<&'static str> {
        self.held.borrow().keys().copied().collect()
    }

    /// Waits until no gate is held.
    pub async fn wait(&self) {
        let mut held = self.held.subscribe();
        held.wait_for(BTreeMap::is_empty).await.expect("the sender lives in self, which is borrowed here");
    }
}

/// One part that readiness waits for, until it says [`done`](Self::done) or is dropped.
///
/// One that is dropped by a panic stays closed: the program did not come up.
#[derive(Debug)]
pub struct Gate {
    readiness: Readiness,
    name: &'static str,
}

impl Gate {
    /// Says that this part is up.
    pub fn done(self) {}
}

impl Drop for Gate {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        self.readiness.held.send_modify(|held| {
            if let Some(count) = held.get_mut(self.name) {
                *count -= 1;
                if *count == 0 {
                    held.remove(self.name);
                }
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{self, AssertUnwindSafe};

    use super::*;

    #[test]
    fn the_parts_that_are_still_missing_are_named() {
        let readiness = Readiness::new();
        let (config, listener) = (readiness.register("config"), readiness.register("listener"));
        assert_eq!(readiness.pending(), ["config", "listener"]);
        config.done();
        assert_eq!(readiness.pending(), ["listener"]);
        assert!(!readiness.is_ready());
        drop(listener);
        assert!(readiness.is_ready());
    }

    #[test]
    fn a_name_that_was_taken_twice_is_waited_for_twice() {
        let readiness = Readiness::new();
        let (first, second) = (readiness.register("worker"), readiness.register("worker"));
        first.done();
        assert_eq!(readiness.pending(), ["worker"]);
        second.done();
        assert!(readiness.is_ready());
    }

    #[test]
    fn a_part_that_panicked_never_counts_as_up() {
        let readiness = Readiness::new();
        let gate = readiness.register("config");
        let outcome = panic::catch_unwind(AssertUnwindSafe(move || {
            let _held = gate;
            panic::resume_unwind(Box::new("no config"));
        }));
        assert!(outcome.is_err());
        assert_eq!(readiness.pending(), ["config"]);
    }

    #[tokio::test]
    async fn who_waits_is_woken_by_the_last_part() {
        let readiness = Readiness::new();
        let gate = readiness.register("config");
        let ((), ()) = tokio::join!(readiness.wait(), async { gate.done() });
        assert!(readiness.is_ready());
    }
}
