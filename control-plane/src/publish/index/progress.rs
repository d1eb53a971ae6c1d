//! How far nodes are by the log of their region, and who is sent a resource.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rr_contract::digest::ResourceHash;
use rr_contract::model::credential::Usage;
use rr_contract::model::id::{OrgId, RegionId};
use rr_contract::model::proxy::Proxy;
use rr_contract::model::resource::{Key, Model};
use rr_contract::wire::fleet;

use super::{Index, RegionView};

/// A resource as it is published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Shown {
    pub(crate) revision: u64,
    pub(crate) hash: ResourceHash,
    /// What has to be sent somewhere for it to be sent there.
    pub(crate) held_by: Key,
}

impl Index {
    /// Whether a node that stands somewhere in a region has what a revision brought there.
    pub(in crate::publish) fn has_reached(
        &self,
        region: RegionId,
        at: &fleet::Position,
        revision: u64,
    ) -> bool {
        if at.lineage != self.lineage {
            return false;
        }
        // What has the content has the revision, whatever number it knows it by. What a revision brings that is not taken in
        // yet is not known.
        at.revision >= revision
            || revision <= self.head
                && match self.regions.get(&region) {
                    Some(view) => view.digest_at(revision).is_some_and(|digest| at.digest == digest),
                    None => true,
                }
    }

    /// Up to which revision a node that stands somewhere in a region has what revisions brought there.
    pub(in crate::publish) fn reached(&self, region: RegionId, at: &fleet::Position) -> u64 {
        if at.lineage != self.lineage || at.revision > self.head {
            return at.revision;
        }
        match self.regions.get(&region) {
            Some(view) => view.reached(at, self.head),
            None if at.digest == RegionView::empty_digest() => self.head,
            None => at.revision,
        }
    }

    /// The first remembered revision of a region that a node lacks which stands somewhere, or nowhere yet. None where it
    /// lacks nothing, or stands in another history.
    pub(in crate::publish) fn lacks(
        &self,
        region: RegionId,
        running: Option<&fleet::Position>,
    ) -> Option<u64> {
        let view = self.regions.get(&region)?;
        let Some(at) = running else { return view.lacks(0, &RegionView::empty_digest()) };
        if at.lineage == self.lineage { view.lacks(at.revision, &at.digest) } else { None }
    }

    /// A resource, if nodes are sent it.
    pub(in crate::publish) fn shown(&self, key: &Key) -> Option<Shown> {
        let entry = self.entry(key)?;
        Some(Shown { revision: entry.revision, hash: *entry.payload.hash(), held_by: entry.held_by(*key) })
    }

    /// Regions that are sent a resource, each with those of some proxies through which they are.
    pub(in crate::publish) fn sent_to(&self, key: &Key, proxies: &[Key]) -> BTreeMap<RegionId, Vec<Key>> {
        let Some(entry) = self.entry(key) else { return BTreeMap::new() };
        let held_by = entry.held_by(*key);
        let there = self.regions.iter().filter(|(_, view)| view.holds(&held_by));
        let mut regions: BTreeMap<RegionId, Vec<Key>> =
            there.map(|(region, _)| (*region, Vec::new())).collect();
        for proxy in proxies {
            let Some(found) = self.entry(proxy).and_then(|entry| entry.payload.proxy()) else { continue };
            for region in &found.regions {
                if let Some(through) = regions.get_mut(region) {
                    through.push(*proxy);
                }
            }
        }
        regions
    }

    /// A proxy as it is published.
    pub(in crate::publish) fn proxy(&self, key: &Key) -> Option<Arc<Proxy>> {
        self.entry(key)?.payload.proxy().cloned()
    }

    /// Proxies whose targets are tested after a change.
    pub(in crate::publish) fn tested_after_change(&self) -> Vec<(Key, Arc<Proxy>)> {
        let proxies = self.resources.iter().filter_map(|(key, it)| Some((*key, it.payload.proxy()?)));
        proxies.filter(|(_, it)| it.test_after_change).map(|(key, it)| (key, Arc::clone(it))).collect()
    }

    /// Whether an organization is published as suspended.
    pub(in crate::publish) fn is_suspended(&self, org: OrgId) -> bool {
        let key = Key::org(org);
        let parsed = self.entry(&key).map(|entry| Model::parse(&key, entry.payload.bytes()));
        matches!(parsed, Some(Ok(Model::Org(org))) if org.suspended)
    }

    /// What bears on what is done with a resource, each with what it belongs to if it is a rule, filter or meter: itself,
    /// what belongs to it; and of a proxy, what it refers to, and what belongs to that.
    pub(in crate::publish) fn bears_on(&self, key: &Key) -> BTreeMap<Key, Option<Key>> {
        let mut reach: BTreeSet<Key> = [*key].into();
        if let Some(proxy) = self.proxy(key) {
            reach.extend(super::reach(*key, &proxy));
        }
        let parent = |key: &Key| self.entry(key).and_then(|entry| entry.payload.parent());
        let mut bears: BTreeMap<Key, Option<Key>> = reach.iter().map(|key| (*key, parent(key))).collect();
        for held in &reach {
            bears.extend(self.children.get(held).into_iter().flatten().map(|child| (*child, Some(*held))));
        }
        bears
    }

    /// What a region is sent, by hash.
    pub(in crate::publish) fn published_in(&self, region: RegionId) -> BTreeMap<Key, ResourceHash> {
        let Some(view) = self.regions.get(&region) else { return BTreeMap::new() };
        view.hashes().collect()
    }

    /// Whether a resource is a credential of callers.
    pub(in crate::publish) fn is_caller(&self, key: &Key) -> bool {
        let parsed = self.entry(key).map(|entry| Model::parse(key, entry.payload.bytes()));
        matches!(parsed, Some(Ok(Model::Credential(credential))) if matches!(credential.usage, Usage::Caller(_)))
    }
}
