//! Asks the stream of a node to have it test a target.
//!
//! The stream sends the question when it is woken. One that ends drops whatever was not answered, and the caller learns
//! that there is no answer.

use rr_contract::model::feature;
use rr_contract::model::id::{NodeId, RegionId};
use rr_contract::wire::fleet;
use tokio::sync::oneshot;

use super::{Fleet, Seat};

/// How many questions a node has not answered at most: its answers take memory.
const OPEN_MOST: usize = 64;

/// A connected node that may be asked.
#[derive(Debug, Clone)]
pub(crate) struct Tester {
    pub(crate) node: NodeId,
    /// The replica that has its stream; none: this one.
    pub(crate) replica: Option<String>,
    /// Its program can test.
    pub(crate) can_test: bool,
    pub(crate) running: Option<fleet::Position>,
    pub(crate) draining: bool,
}

/// What a node is asked, and who waits for it.
pub(super) struct OpenTest {
    asked: fleet::TestTarget,
    is_sent: bool,
    answer: oneshot::Sender<fleet::TargetTested>,
}

impl Fleet {
    /// The name of this process among those that share a database.
    pub(crate) fn replica(&self) -> &str {
        &self.0.replica
    }

    /// Connected nodes of a region, here and at other replicas, by id.
    pub(crate) fn testers(&self, region: RegionId) -> Vec<Tester> {
        let can_test = |features: &[String]| features.iter().any(|has| has == feature::TARGET_TEST);
        let state = self.state();
        let here = state.nodes.iter().filter(|(_, slot)| slot.node.region == region);
        let there = state.elsewhere.iter().filter(|(_, node)| node.region == region);
        let here = here.map(|(id, slot)| Tester {
            node: *id,
            replica: None,
            can_test: can_test(&slot.node.features),
            running: slot.node.status.running.clone(),
            draining: state.draining.contains(id),
        });
        let there = there.map(|(id, node)| Tester {
            node: *id,
            replica: Some(node.replica.clone()),
            can_test: can_test(&node.features),
            running: node.status.running.clone(),
            draining: state.draining.contains(id),
        });
        let mut all: Vec<Tester> = here.chain(there).collect();
        all.sort_by_key(|tester| tester.node);
        all
    }

    /// Has a node test; none where its stream is not here, or it has too much to answer.
    pub(crate) fn ask_to_test(
        &self,
        node: NodeId,
        asked: fleet::TestTarget,
    ) -> Option<oneshot::Receiver<fleet::TargetTested>> {
        let (answer, answered) = oneshot::channel();
        let mut state = self.state();
        let slot = state.nodes.get_mut(&node)?;
        slot.tests.retain(|open| !open.answer.is_closed());
        if slot.tests.len() >= OPEN_MOST {
            return None;
        }
        slot.tests.push(OpenTest { asked, is_sent: false, answer });
        slot.pulse.test.notify_one();
        Some(answered)
    }
}

impl Seat {
    /// Ends when the node is to test something.
    pub(in crate::publish) async fn asked_to_test(&self) {
        self.pulse.test.notified().await;
    }

    /// What the node was not asked yet.
    pub(in crate::publish) fn tests(&self) -> Vec<fleet::TestTarget> {
        let mut state = self.fleet.state();
        let slot = state.nodes.get_mut(&self.node).filter(|slot| slot.session == self.session);
        let mut news = Vec::new();
        for open in slot.into_iter().flat_map(|slot| &mut slot.tests).filter(|open| !open.is_sent) {
            open.is_sent = true;
            news.push(open.asked.clone());
        }
        news
    }

    /// Takes an answer in; one that nobody asked for is passed over.
    pub(in crate::publish) fn tested(&self, tested: fleet::TargetTested) {
        let mut state = self.fleet.state();
        let slot = state.nodes.get_mut(&self.node).filter(|slot| slot.session == self.session);
        let Some(slot) = slot else { return };
        let Some(at) = slot.tests.iter().position(|open| open.asked.test == tested.test) else { return };
        // Whoever asked may be gone.
        slot.tests.swap_remove(at).answer.send(tested).ok();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rr_contract::seam::SystemEntropy;

    use super::super::LiveNode;
    use super::*;
    use crate::tests::stores::on_both;

    fn asked(n: usize) -> fleet::TestTarget {
        fleet::TestTarget { test: n.to_be_bytes().to_vec(), ..fleet::TestTarget::default() }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_node_is_asked_once_and_so_much_alone_as_it_has_not_answered() {
        on_both("asked_to_test", async |store, _clock| {
            let fleet = Fleet::new(Arc::new(store), Arc::new(SystemEntropy));
            let node = NodeId::from_random([1; 16]);
            assert!(fleet.ask_to_test(node, asked(0)).is_none(), "it is not here");
            let live = LiveNode {
                region: RegionId::from_random([1; 16]),
                address: String::new(),
                build: String::new(),
                boot_id: vec![1],
                features: Vec::new(),
                status: fleet::Status::default(),
                last_seen_at: 0,
                diverged: false,
            };
            let seat = fleet.enter(node, live).await.expect("is free");
            let mut answers: Vec<_> =
                (0..OPEN_MOST).map(|n| fleet.ask_to_test(node, asked(n)).expect("has room")).collect();
            assert_eq!(seat.tests().len(), OPEN_MOST);
            assert!(seat.tests().is_empty(), "nothing is asked twice");
            assert!(fleet.ask_to_test(node, asked(OPEN_MOST)).is_none());
            // Nobody waits for this one any more, and the other is answered.
            drop(answers.remove(0));
            let one = fleet.ask_to_test(node, asked(OPEN_MOST)).expect("has room");
            seat.tested(fleet::TargetTested { test: asked(1).test, revision: 5, ..Default::default() });
            assert_eq!(answers.remove(0).await.expect("is answered").revision, 5);
            fleet.ask_to_test(node, asked(OPEN_MOST + 1)).expect("has room");
            assert_eq!(seat.tests().len(), 2, "the two that are new");
            drop(one);
        })
        .await;
    }
}
