//! What connected nodes of a region refuse alike.

use std::collections::{BTreeSet, HashMap};

use rr_contract::model::id::{NodeId, RegionId};
use rr_contract::model::resource::Key;
use rr_contract::wire::fleet;

use super::Fleet;

/// A region in which something is refused.
#[derive(Debug, Default)]
pub(crate) struct RefusingRegion {
    pub(crate) connected: BTreeSet<NodeId>,
    /// By resource, and hash of the version.
    pub(crate) versions: HashMap<(Key, Vec<u8>), RefusedVersion>,
}

/// A version that nodes refuse.
#[derive(Debug, Default)]
pub(crate) struct RefusedVersion {
    pub(crate) nodes: BTreeSet<NodeId>,
    /// The versions that run in its place.
    pub(crate) running: BTreeSet<Vec<u8>>,
    /// The refusal of one of them.
    pub(crate) said: fleet::Refusal,
}

impl Fleet {
    /// Regions of which a node, connected here or elsewhere, refuses a resource in a way that counts. Where none does,
    /// this is a look at each node and nothing else.
    pub(crate) fn refusing(
        &self,
        counts: impl Fn(&Key, &fleet::Refusal) -> bool,
    ) -> HashMap<RegionId, RefusingRegion> {
        let mut regions: HashMap<RegionId, RefusingRegion> = HashMap::new();
        let state = self.state();
        let nodes = || {
            let here = state.nodes.iter().map(|(id, slot)| (*id, slot.node.region, &slot.node.status));
            let there = state.elsewhere.iter().map(|(id, node)| (*id, node.region, &node.status));
            here.chain(there)
        };
        for (node, region, status) in nodes().filter(|(.., status)| !status.standing.is_empty()) {
            for refusal in &status.standing {
                let Some(key) = refusal.key.as_ref().and_then(|key| Key::try_from(key).ok()) else {
                    continue;
                };
                if !counts(&key, refusal) {
                    continue;
                }
                let versions = &mut regions.entry(region).or_default().versions;
                let version = versions.entry((key, refusal.wanted.clone())).or_default();
                if version.nodes.insert(node) && version.nodes.len() == 1 {
                    version.said = refusal.clone();
                }
                if !refusal.running.is_empty() {
                    version.running.insert(refusal.running.clone());
                }
            }
        }
        if !regions.is_empty() {
            for (node, region, _) in nodes() {
                if let Some(region) = regions.get_mut(&region) {
                    region.connected.insert(node);
                }
            }
        }
        regions
    }
}
