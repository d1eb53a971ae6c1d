//! The nodes with an open stream, here and at other replicas, and what each reports that it runs.
//!
//! Reports are written every few seconds, so that they outlive the stream, and those of other replicas are read as
//! often. Which of two sessions of one node goes on is decided in [`clash`].

mod clash;
mod questions;
mod refused;
mod regions;
mod sharing;
mod target_test;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use data_encoding::HEXLOWER;
use rr_contract::model::id::{NodeId, RegionId};
use rr_contract::model::resource::Key;
use rr_contract::seam::{Entropy, draw};
use rr_contract::wire::fleet;
use tokio::sync::{Notify, Semaphore, watch};
use tokio_util::sync::CancellationToken;

use super::database::Ledger;
use super::sanitize::STANDING_MOST;
use crate::store::ledger::{Leased, NodeClash};

pub(crate) use clash::Clash;
pub(super) use questions::Asker;
pub(crate) use questions::Holdings;
pub(crate) use refused::{RefusedVersion, RefusingRegion};
pub(crate) use regions::DivergedNode;
pub(crate) use target_test::Tester;

use clash::Pulse;
use regions::RegionNotes;
use target_test::OpenTest;

/// How many clashes are remembered. Each copy of a disk comes again within seconds.
const MET_MOST: usize = 1_000;

/// A node with an open stream here.
#[derive(Debug, Clone)]
pub(crate) struct LiveNode {
    pub(crate) region: RegionId,
    pub(crate) address: String,
    pub(crate) build: String,
    /// New at each start of its process.
    pub(crate) boot_id: Vec<u8>,
    /// Must-understand features that it has.
    pub(crate) features: Vec<String>,
    /// What it reported last.
    pub(crate) status: fleet::Status,
    /// Microseconds since 1970.
    pub(crate) last_seen_at: i64,
    /// It is diverged: our history cannot have brought it to its position, and it is sent nothing.
    pub(crate) diverged: bool,
}

/// Connected nodes, and what nodes wait for. Clones share them.
#[derive(Clone)]
pub(crate) struct Fleet(Arc<Shared>);

struct Shared {
    /// Names this process among those that share a database.
    replica: String,
    ledger: Arc<dyn Ledger>,
    entropy: Arc<dyn Entropy>,
    state: Mutex<State>,
    /// Counts up when something changed that streams look at.
    changed: watch::Sender<u64>,
    /// Something is to be written soon: a node went, and others may wait for its place; or what others should see.
    moved: Notify,
    /// Places of questions to other replicas.
    asking: Semaphore,
}

#[derive(Default)]
struct State {
    next: u64,
    nodes: HashMap<NodeId, Slot>,
    elsewhere: HashMap<NodeId, Leased>,
    draining: HashSet<NodeId>,
    /// With the node token that each joined with.
    revoked: HashMap<NodeId, String>,
    regions: RegionNotes,
    /// Nodes that said something since the last report.
    said: HashSet<NodeId>,
    /// Nodes that went since the last report, with what they said last where the place was written as ours.
    left: HashMap<NodeId, Option<LiveNode>>,
    /// Counts up when a node came, went or said something.
    spoke: watch::Sender<u64>,
    /// Nodes that were met twice, for people.
    met: HashMap<NodeId, NodeClash>,
    /// Those of them that are not written yet.
    met_anew: HashSet<NodeId>,
    /// Replicas that took no question up: when, in microseconds since 1970.
    silent: HashMap<String, i64>,
}

struct Slot {
    session: u64,
    fence: CancellationToken,
    node: LiveNode,
    /// The place was written as ours.
    claimed: bool,
    /// Those who want to know what the node holds.
    askers: Vec<Asker>,
    /// What the node was asked to test, and has not answered.
    tests: Vec<OpenTest>,
    pulse: Arc<Pulse>,
    /// Numbers of the newest ping, and of the newest that was answered.
    pinged: u64,
    answered: u64,
}

/// One session's place in the fleet; leaving is dropping it.
pub(crate) struct Seat {
    fleet: Fleet,
    node: NodeId,
    session: u64,
    fence: CancellationToken,
    pulse: Arc<Pulse>,
}

impl Fleet {
    pub(super) fn new(ledger: Arc<dyn Ledger>, entropy: Arc<dyn Entropy>) -> Self {
        let replica = HEXLOWER.encode(&draw::<8>(&*entropy));
        Self(Arc::new(Shared {
            replica,
            ledger,
            entropy,
            state: Mutex::default(),
            changed: watch::Sender::new(0),
            moved: Notify::new(),
            asking: Semaphore::new(clash::ASKING_MOST),
        }))
    }

    /// A node, if its stream is open here.
    pub(crate) fn node(&self, id: &str) -> Option<LiveNode> {
        let id: NodeId = id.parse().ok()?;
        self.state().nodes.get(&id).map(|slot| slot.node.clone())
    }

    /// Whether a node's stream is open, here or at another replica.
    pub(crate) fn is_connected(&self, id: &str) -> bool {
        let Ok(id) = id.parse::<NodeId>() else { return false };
        let state = self.state();
        state.nodes.contains_key(&id) || state.elsewhere.contains_key(&id)
    }

    /// Clashes that were seen here lately.
    pub(crate) fn met(&self) -> Vec<NodeClash> {
        self.state().met.values().cloned().collect()
    }

    /// How many nodes of each region have a stream open.
    pub(crate) fn connected_by_region(&self) -> HashMap<RegionId, usize> {
        let mut counts = HashMap::new();
        let state = self.state();
        let here = state.nodes.values().map(|slot| slot.node.region);
        for region in here.chain(state.elsewhere.values().map(|node| node.region)) {
            *counts.entry(region).or_default() += 1;
        }
        counts
    }

    /// How many nodes with a stream open here are like that.
    pub(super) fn count(&self, is_meant: impl Fn(&LiveNode) -> bool) -> u64 {
        self.state().nodes.values().filter(|slot| is_meant(&slot.node)).count() as u64
    }

    /// How many streams are open here.
    pub(super) fn streams(&self) -> u32 {
        u32::try_from(self.state().nodes.len()).unwrap_or(u32::MAX)
    }

    /// Whether an operator took a node out of service.
    pub(crate) fn is_draining(&self, id: NodeId) -> bool {
        self.state().draining.contains(&id)
    }

    /// The node token that a node joined with which was revoked; none: it was not.
    pub(crate) fn revoked(&self, id: NodeId) -> Option<String> {
        self.state().revoked.get(&id).cloned()
    }

    /// Connected nodes of a region that lack some of these features, and which.
    pub(crate) fn lacking(
        &self,
        region: RegionId,
        needs: &BTreeSet<&'static str>,
    ) -> Vec<(String, Vec<String>)> {
        let lacks = |has: &[String]| -> Vec<String> {
            needs
                .iter()
                .filter(|need| !has.iter().any(|has| has == *need))
                .map(|need| (*need).to_owned())
                .collect()
        };
        let state = self.state();
        let here = state.nodes.iter().filter(|(_, slot)| slot.node.region == region);
        let there = state.elsewhere.iter().filter(|(_, node)| node.region == region);
        here.map(|(id, slot)| (id, &slot.node.features))
            .chain(there.map(|(id, node)| (id, &node.features)))
            .map(|(id, features)| (id.to_string(), lacks(features)))
            .filter(|(_, lacks)| !lacks.is_empty())
            .collect()
    }

    /// Follows what nodes here say, and that they come and go.
    pub(crate) fn spoke(&self) -> watch::Receiver<u64> {
        self.state().spoke.subscribe()
    }

    /// Microseconds since 1970.
    pub(super) fn now(&self) -> i64 {
        self.0.ledger.now()
    }

    /// Follows what streams look at besides the head.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.0.changed.subscribe()
    }

    fn changed(&self) {
        self.0.changed.send_modify(|count| *count += 1);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Held for a few map operations and never over an await.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Takes a node out, and remembers what it said last until that is written.
    fn leave(&mut self, id: NodeId) -> Option<Slot> {
        let slot = self.nodes.remove(&id);
        self.left.insert(id, slot.as_ref().filter(|slot| slot.claimed).map(|slot| slot.node.clone()));
        slot
    }

    /// What a node that comes had proven, as it said last to this process.
    fn proven(&self, id: NodeId) -> Option<fleet::Position> {
        let there = self.nodes.get(&id).map(|slot| &slot.node);
        there.or_else(|| self.left.get(&id)?.as_ref())?.status.proven.clone()
    }

    /// Remembers a clash until somebody was told.
    fn meet(&mut self, clash: &Clash, at: i64) {
        if self.met.len() >= MET_MOST {
            self.met.clear();
        }
        let Clash { node, region, there, newcomer, perhaps: _ } = clash.clone();
        self.met.insert(node, NodeClash { node, region, there, newcomer, at });
        self.met_anew.insert(node);
    }
}

impl Seat {
    /// Ends when a newer session of the same node came.
    pub(super) fn fence(&self) -> &CancellationToken {
        &self.fence
    }

    /// Notes what the node said.
    pub(super) fn update(&self, change: impl FnOnce(&mut LiveNode)) {
        let mut state = self.fleet.state();
        let Some(slot) = state.nodes.get_mut(&self.node).filter(|slot| slot.session == self.session) else {
            return;
        };
        change(&mut slot.node);
        state.said.insert(self.node);
        state.spoke.send_modify(|count| *count += 1);
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut state = self.fleet.state();
        if state.nodes.get(&self.node).is_some_and(|slot| slot.session == self.session) {
            state.leave(self.node);
            state.spoke.send_modify(|count| *count += 1);
            self.pulse.told.notify_waiters();
            self.fleet.0.moved.notify_one();
        }
    }
}

impl LiveNode {
    /// Takes in what the node had proven, as it said before; its Hello does not say it. Of another history it says nothing.
    pub(super) fn had_proven(&mut self, proven: fleet::Position) {
        if self.status.running.as_ref().is_some_and(|running| running.lineage == proven.lineage) {
            self.status.proven = Some(proven);
        }
    }

    /// Takes the refusals of a verdict in. `touched` is what the transaction was about; none for all.
    pub(super) fn refused(&mut self, refusals: &[fleet::Refusal], touched: Option<&[Key]>) {
        let standing = &mut self.status.standing;
        // A proxy is judged anew with what it uses, and told of again.
        let again: HashSet<&fleet::Key> =
            refusals.iter().filter_map(|refusal| refusal.key.as_ref()).collect();
        match touched {
            None => standing.clear(),
            Some(touched) => standing.retain(|refusal| {
                // One about a whole transaction is over once another was taken.
                let Some(key) = &refusal.key else { return false };
                !again.contains(key) && Key::try_from(key).is_ok_and(|key| !touched.contains(&key))
            }),
        }
        standing.extend(refusals.iter().filter(|refusal| refusal.key.is_some()).cloned());
        standing.truncate(STANDING_MOST);
    }

    /// Takes in that a whole transaction was refused.
    pub(super) fn refused_whole(&mut self, refusals: &[fleet::Refusal]) {
        let standing = &mut self.status.standing;
        standing.retain(|refusal| refusal.key.is_some());
        standing.extend(refusals.iter().filter(|refusal| refusal.key.is_none()).cloned());
    }
}

#[cfg(test)]
mod tests {
    use rr_contract::model::id::{OrgId, TargetId};
    use rr_contract::model::resource::ResourceId;

    use super::*;

    fn key(n: u8) -> Key {
        Key::new(OrgId::from_random([1; 16]), ResourceId::Target(TargetId::from_random([n; 16])))
    }

    fn refusal(n: u8) -> fleet::Refusal {
        fleet::Refusal { key: Some(key(n).to_wire()), ..fleet::Refusal::default() }
    }

    #[test]
    fn a_verdict_tells_of_what_was_judged_and_the_rest_stands() {
        let mut node = LiveNode {
            region: RegionId::from_random([1; 16]),
            address: String::new(),
            build: String::new(),
            boot_id: Vec::new(),
            features: Vec::new(),
            status: fleet::Status::default(),
            last_seen_at: 0,
            diverged: false,
        };
        let standing = |node: &LiveNode| -> Vec<fleet::Refusal> { node.status.standing.clone() };
        node.refused(&[refusal(1), refusal(2), refusal(3)], None);
        // The first is taken, the second judged again although it was not touched.
        node.refused(&[refusal(2)], Some(&[key(1)]));
        assert_eq!(standing(&node), [refusal(3), refusal(2)]);
        node.refused_whole(&[fleet::Refusal::default()]);
        assert_eq!(standing(&node).len(), 3);
        node.refused(&[], Some(&[key(3)]));
        assert_eq!(standing(&node), [refusal(2)]);
        node.refused(&[], None);
        assert!(standing(&node).is_empty());
    }
}
