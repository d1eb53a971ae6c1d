//! Queries on the published configuration: single resources, the regions that are sent them, how far nodes are.
//!
//! Each is one look into the index, and finds nothing while nothing is loaded.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, PoisonError};

use rr_contract::digest::ResourceHash;
use rr_contract::model::id::{NodeId, OrgId, RegionId};
use rr_contract::model::proxy::Proxy;
use rr_contract::model::resource::Key;
use rr_contract::wire::fleet;
use tokio::sync::watch;

use super::Publisher;
use super::index::Index;
use super::index::progress::Shown;
use super::nodes::Holdings;
use crate::events::Standing;

impl Publisher {
    /// Whether a node of a region, given its position, has what a revision brought there.
    pub(crate) fn has_reached(&self, region: RegionId, at: &fleet::Position, revision: u64) -> bool {
        self.read().as_ref().is_some_and(|index| index.has_reached(region, at, revision))
    }

    /// Up to which revision a node of a region, given its position, has what revisions brought there.
    pub(crate) fn reached(&self, region: RegionId, at: &fleet::Position) -> u64 {
        self.read().as_ref().map_or(at.revision, |index| index.reached(region, at))
    }

    /// Where the configuration stands, and how many nodes here are not there.
    pub(crate) fn standing(&self) -> Standing {
        let regions = self.fleet().connected_by_region().into_keys();
        let wanted: HashMap<RegionId, _> =
            regions.filter_map(|region| Some((region, self.position(region)?))).collect();
        let behind = self.fleet().count(|node| match (wanted.get(&node.region), &node.status.running) {
            (Some(wanted), Some(runs)) => wanted.lineage != runs.lineage || wanted.digest != runs.digest,
            _ => true,
        });
        let revision = self.read().as_ref().map_or(0, Index::head);
        let silent = self.answered.lock().unwrap_or_else(PoisonError::into_inner).elapsed();
        Standing { revision, behind, silent }
    }

    /// A resource, if nodes are sent it.
    pub(crate) fn shown(&self, key: &Key) -> Option<Shown> {
        self.read().as_ref().and_then(|index| index.shown(key))
    }

    /// Regions that are sent a resource, each with those of some proxies through which they are.
    pub(crate) fn sent_to(&self, key: &Key, proxies: &[Key]) -> BTreeMap<RegionId, Vec<Key>> {
        self.read().as_ref().map(|index| index.sent_to(key, proxies)).unwrap_or_default()
    }

    /// A proxy as it is published.
    pub(crate) fn proxy(&self, key: &Key) -> Option<Arc<Proxy>> {
        self.read().as_ref().and_then(|index| index.proxy(key))
    }

    /// Proxies whose targets are tested after a change.
    pub(crate) fn tested_after_change(&self) -> Vec<(Key, Arc<Proxy>)> {
        self.read().as_ref().map(|index| index.tested_after_change()).unwrap_or_default()
    }

    /// Whether an organization is published as suspended.
    pub(crate) fn is_suspended(&self, org: OrgId) -> bool {
        self.read().as_ref().is_some_and(|index| index.is_suspended(org))
    }

    /// What bears on what is done with a resource: itself, what belongs to it, and of a proxy what it refers to.
    pub(crate) fn bears_on(&self, key: &Key) -> BTreeMap<Key, Option<Key>> {
        self.read().as_ref().map(|index| index.bears_on(key)).unwrap_or_default()
    }

    /// What a region is sent, by hash.
    pub(crate) fn published_in(&self, region: RegionId) -> BTreeMap<Key, ResourceHash> {
        self.read().as_ref().map(|index| index.published_in(region)).unwrap_or_default()
    }

    /// What a diverged node holds, by hash; none where it is not connected here or does not report it.
    pub(crate) async fn holds(&self, node: NodeId) -> Option<Holdings> {
        self.fleet().question(node)?.await.ok()
    }

    /// Whether a resource is a credential of callers.
    pub(crate) fn is_caller(&self, key: &Key) -> bool {
        self.read().as_ref().is_some_and(|index| index.is_caller(key))
    }

    /// Follows the newest revision that streams may carry.
    pub(crate) fn heads(&self) -> watch::Receiver<u64> {
        self.announced.subscribe()
    }
}
