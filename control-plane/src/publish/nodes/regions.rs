//! Crashes, divergences and decisions by region, and whether a node waits because of them.

use std::collections::{HashMap, HashSet};

use rr_contract::model::id::{NodeId, RegionId};
use rr_contract::wire::fleet;

use super::Fleet;
use crate::events::WaitReason;
use crate::store::StoreError;
use crate::store::ledger::{Adopted, Crash, Divergence, RegionState};

/// How many nodes have to crash on one content until no other is brought there.
const CRASHED_TOGETHER: usize = 2;
/// How many reports are remembered.
const COUNTED_MOST: usize = 10_000;

/// By region. Read from the ledger, and ahead of it by what was seen here and is not written yet.
#[derive(Default)]
pub(super) struct RegionNotes {
    pub(super) states: HashMap<RegionId, RegionState>,
    pub(super) crashes: Vec<Crash>,
    /// Not written yet, because the database did not answer.
    pub(super) unwritten: Vec<Crash>,
    /// Reports that were counted: a node repeats its own until it is in step.
    pub(super) counted: HashSet<(NodeId, Vec<u8>)>,
    pub(super) diverged: HashMap<NodeId, (Divergence, i64)>,
}

/// A diverged node: our history cannot have brought it to its position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DivergedNode {
    pub(crate) node: NodeId,
    pub(crate) region: RegionId,
    pub(crate) revision: u64,
    /// In another history, not only ahead in ours.
    pub(crate) elsewhere: bool,
}

impl RegionNotes {
    fn crashed(&self) -> impl Iterator<Item = &Crash> {
        self.crashes.iter().chain(&self.unwritten)
    }
}

impl Fleet {
    /// Whether a node that stands at a revision is brought to the region's current content.
    pub(in crate::publish) fn waiting(
        &self,
        node: NodeId,
        region: RegionId,
        stands: u64,
        current: &[u8],
    ) -> Option<WaitReason> {
        let state = self.state();
        let regions = &state.regions;
        let there = |crash: &&Crash| crash.region == region;
        if regions.crashed().filter(there).any(|crash| crash.node == node && crash.digest == current) {
            return Some(WaitReason::CrashedThere);
        }
        let held = regions.states.get(&region).and_then(|state| state.held.as_ref());
        if held.is_some_and(|held| stands < held.revision) {
            return Some(WaitReason::Held);
        }
        // The ledger counts as well; it may not have answered yet.
        let unwritten = regions.unwritten.iter().filter(there).filter(|crash| stands < crash.revision);
        for crash in unwritten {
            let others: HashSet<NodeId> = regions
                .crashed()
                .filter(there)
                .filter(|other| other.digest == crash.digest)
                .map(|other| other.node)
                .collect();
            if others.len() >= CRASHED_TOGETHER {
                return Some(WaitReason::Held);
            }
        }
        None
    }

    /// Takes in that a node crashed on a content. True the first time.
    pub(in crate::publish) async fn crashed(&self, crash: Crash, boot_id: &[u8]) -> bool {
        {
            let mut state = self.state();
            if state.regions.counted.len() >= COUNTED_MOST {
                // One that is counted again says nothing new.
                state.regions.counted.clear();
            }
            if !state.regions.counted.insert((crash.node, boot_id.to_vec())) {
                return false;
            }
            state.regions.unwritten.push(crash.clone());
        }
        if self.write_crashes().await.is_ok() {
            // What became of it stands in the ledger.
            self.refresh().await.ok();
        }
        self.changed();
        true
    }

    /// Writes crashes that are not written yet.
    pub(super) async fn write_crashes(&self) -> Result<(), StoreError> {
        loop {
            let Some(crash) = self.state().regions.unwritten.first().cloned() else { return Ok(()) };
            self.0.ledger.crashed(crash.clone()).await?;
            let mut state = self.state();
            state.regions.unwritten.retain(|other| *other != crash);
            state.regions.crashes.push(crash);
        }
    }

    /// Notes a diverged node; since when it is known to be, in microseconds since 1970.
    pub(in crate::publish) async fn note_diverged(&self, divergence: Divergence) -> Result<i64, StoreError> {
        let now = self.0.ledger.now();
        {
            let mut state = self.state();
            match state.regions.diverged.get(&divergence.node) {
                Some((known, since)) if is_same(&known.at, &divergence.at) => return Ok(*since),
                _ => state.regions.diverged.insert(divergence.node, (divergence.clone(), now)),
            };
        }
        self.0.ledger.diverged(divergence).await?;
        Ok(now)
    }

    /// The adoption that covers a node which is diverged since a time, where there is one.
    pub(in crate::publish) fn adopted(
        &self,
        region: RegionId,
        since: i64,
        lineage: &[u8],
        head: u64,
    ) -> Option<Adopted> {
        let state = self.state();
        let adopted = state.regions.states.get(&region)?.adopted.as_ref()?;
        (adopted.covers(lineage, since) && adopted.revision <= head).then(|| adopted.clone())
    }

    /// Diverged nodes, connected or not, whichever replica saw them.
    #[cfg(test)]
    pub(in crate::publish) fn diverged(&self) -> Vec<DivergedNode> {
        self.state().regions.diverged.values().map(|(it, _)| DivergedNode::of(it)).collect()
    }

    /// Diverged nodes, connected or not, whichever replica saw them, without those that an adoption covers: these are
    /// brought over once they connect.
    pub(in crate::publish) fn undecided(&self, lineage: &[u8]) -> Vec<DivergedNode> {
        let state = self.state();
        let regions = &state.regions;
        let decided = |it: &Divergence, since| {
            let adopted = regions.states.get(&it.region).and_then(|state| state.adopted.as_ref());
            adopted.is_some_and(|adopted| adopted.covers(lineage, since))
        };
        let waiting = regions.diverged.values().filter(|(it, since)| !decided(it, *since));
        waiting.map(|(it, _)| DivergedNode::of(it)).collect()
    }

    /// A node that was diverged is in step.
    pub(in crate::publish) async fn in_step(&self, node: NodeId) -> Result<(), StoreError> {
        let known = self.state().regions.diverged.remove(&node).is_some();
        if known { self.0.ledger.in_step(node).await } else { Ok(()) }
    }
}

impl DivergedNode {
    fn of(it: &Divergence) -> Self {
        Self { node: it.node, region: it.region, revision: it.at.revision, elsewhere: it.elsewhere() }
    }
}

/// Whether two positions are one place. The number of resources follows from the rest.
pub(super) fn is_same(one: &fleet::Position, other: &fleet::Position) -> bool {
    (&one.lineage, one.revision, &one.digest, &one.audit)
        == (&other.lineage, other.revision, &other.digest, &other.audit)
}
