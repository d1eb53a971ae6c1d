//! How many streams may open a second: after an outage all nodes come at once, and each costs work.
//!
//! A bucket of one second's worth, and nobody waits in it: who finds it empty is told when to come again. One node has
//! a small bucket of its own before it, so that no single certificate empties everybody's.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rr_contract::model::id::NodeId;
use tokio::time::Instant;

/// The longest that anybody is told to wait, so that those who are told so do not come at once again.
const LATEST: Duration = Duration::from_secs(10);

/// How many streams one node may open at once, and how often one more: oftener than an honest one tries.
const OF_ONE: u32 = 10;
const OF_ONE_EVERY: Duration = Duration::from_millis(500);

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
    /// When the bucket of each node that came lately is full again.
    nodes: HashMap<NodeId, Instant>,
    /// When it is looked next for buckets that are full by now.
    sweep: Instant,
}

impl Gate {
    /// Streams a second; 0 for any number.
    pub(crate) fn new(rate: u32) -> Self {
        let every = if rate == 0 { Duration::ZERO } else { Duration::from_secs(1) / rate };
        let now = Instant::now();
        Self {
            every,
            state: Mutex::new(State { whole: now, promised: now, nodes: HashMap::new(), sweep: now }),
        }
    }

    /// Lets one stream of a node in, or says when to come again: each later than the one before, so that they do not all
    /// come together.
    pub(crate) fn enter(&self, node: NodeId) -> Result<(), Duration> {
        if self.every.is_zero() {
            return Ok(());
        }
        let now = Instant::now();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let of_one = state.nodes.get(&node).map_or(now, |whole| (*whole).max(now)) + OF_ONE_EVERY;
        let full = now + OF_ONE_EVERY * OF_ONE;
        if of_one > full {
            // It takes nothing of what all share.
            return Err((of_one - full).clamp(self.every, LATEST));
        }
        let whole = state.whole.max(now);
        if whole + self.every <= now + Duration::from_secs(1) {
            state.whole = whole + self.every;
            if state.sweep <= now {
                state.sweep = now + OF_ONE_EVERY * OF_ONE;
                state.nodes.retain(|_, whole| *whole > now);
            }
            state.nodes.insert(node, of_one);
            return Ok(());
        }
        state.promised = state.promised.max(now) + self.every;
        Err((state.promised - now).clamp(self.every, LATEST))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(n: usize) -> NodeId {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&(n as u64).to_be_bytes());
        NodeId::from_random(id)
    }

    #[tokio::test(start_paused = true)]
    async fn so_many_streams_open_a_second_and_the_rest_are_told_to_come_one_after_the_other() {
        let gate = Gate::new(100);
        let let_in = |gate: &Gate| (0..1_000).filter(|n| gate.enter(node(*n)).is_ok()).count();
        assert_eq!(let_in(&gate), 100);
        let (one, other) = (gate.enter(node(1_001)), gate.enter(node(1_002)));
        let (one, other) = (one.expect_err("full"), other.expect_err("full"));
        assert!(one < other || other == LATEST, "{one:?} {other:?}");
        tokio::time::advance(Duration::from_millis(500)).await;
        assert_eq!(let_in(&gate), 50);
        tokio::time::advance(Duration::from_secs(60)).await;
        assert_eq!(let_in(&gate), 100, "what was not used is not kept");
    }

    #[tokio::test(start_paused = true)]
    async fn one_certificate_that_opens_streams_without_end_keeps_no_other_node_out() {
        let gate = Gate::new(100);
        let greedy = || (0..1_000).filter(|_| gate.enter(node(0)).is_ok()).count();
        assert_eq!(greedy(), OF_ONE as usize);
        let after = gate.enter(node(0)).expect_err("it had its share");
        assert!(after <= OF_ONE_EVERY, "{after:?}");
        assert_eq!((1..=90).filter(|n| gate.enter(node(*n)).is_ok()).count(), 90, "there is room for others");
        tokio::time::advance(OF_ONE_EVERY * 2).await;
        assert_eq!(greedy(), 2);
        // Nobody is remembered for ever.
        tokio::time::advance(Duration::from_secs(60)).await;
        gate.enter(node(200)).expect("there is room");
        let state = gate.state.lock().expect("nobody panics with it");
        assert_eq!(state.nodes.len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_rate_of_zero_lets_everybody_in() {
        let gate = Gate::new(0);
        assert!((0..100_000).all(|_| gate.enter(node(1)).is_ok()));
    }
}
