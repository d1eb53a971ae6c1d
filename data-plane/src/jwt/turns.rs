//! One signature at a time: who has looked at one lets the rest of the worker go first before the next is looked at.
//!
//! Judges nothing. The invariant: between two looks the worker sees what came in meanwhile, so that many new tokens at
//! once hold another request up for one look and not for all of them.

use std::cell::Cell;

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::task::yield_now;

/// The turns of a worker, in the order in which they were asked for.
pub(crate) struct Turns(Semaphore);

/// The right to look at signatures.
pub(crate) struct Turn<'t> {
    _permit: Option<SemaphorePermit<'t>>,
    has_looked: Cell<bool>,
}

impl Default for Turns {
    fn default() -> Self {
        Self(Semaphore::new(1))
    }
}

impl Turns {
    /// Waits for those who asked before.
    pub(super) async fn next(&self) -> Turn<'_> {
        // It is never closed.
        Turn { _permit: self.0.acquire().await.ok(), has_looked: Cell::new(false) }
    }
}

impl Turn<'_> {
    /// Notes that a signature was looked at.
    pub(crate) fn looked(&self) {
        self.has_looked.set(true);
    }

    /// Gives the turn to the next; where it was made use of, once whatever else came in has been looked after.
    pub(crate) async fn end(self) {
        if self.has_looked.get() {
            yield_now().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use tokio::task::LocalSet;

    use super::*;

    /// The most looks between two times that a task gets to run that has nothing to do with tokens.
    async fn most_in_a_row(looks_each: u32) -> u32 {
        const REQUESTS: u32 = 32;
        let (turns, looked) = (Rc::new(Turns::default()), Rc::new(Cell::new(0)));
        let local = LocalSet::new();
        for _ in 0..REQUESTS {
            let (turns, looked) = (Rc::clone(&turns), Rc::clone(&looked));
            local.spawn_local(async move {
                let turn = turns.next().await;
                for _ in 0..looks_each {
                    turn.looked();
                    looked.set(looked.get() + 1);
                }
                turn.end().await;
            });
        }
        let other = async {
            let (mut before, mut most) = (0, 0);
            while before < REQUESTS * looks_each {
                yield_now().await;
                most = most.max(looked.get() - before);
                before = looked.get();
            }
            most
        };
        local.run_until(other).await
    }

    #[tokio::test]
    async fn others_of_the_worker_run_between_two_looks() {
        assert_eq!(most_in_a_row(1).await, 1);
    }

    #[tokio::test]
    async fn whoever_leaves_gives_the_turn_up() {
        let turns = Turns::default();
        drop(turns.next().await);
        turns.next().await.end().await;
    }
}
