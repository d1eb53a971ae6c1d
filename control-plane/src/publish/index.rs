//! Everything that is published, and each region's part of it.
//!
//! Reads no store: it is given what changed. The same history gives the same views, whatever way it was
//! cut into batches.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use rr_contract::digest::{ResourceHash, resource_hash};
use rr_contract::model::id::RegionId;
use rr_contract::model::proxy::Proxy;
use rr_contract::model::resource::{Key, Model};
use rr_contract::wire::fleet;
use tracing::error;

use super::region::{Cut, RegionView};
use crate::store::Head;
use crate::store::change::{PublishedChange, PublishedResource};

/// A resource as it stands.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) revision: u64,
    pub(super) hash: ResourceHash,
    pub(super) payload: Bytes,
    /// Of a proxy: what decides where it and what it refers to is sent.
    proxy: Option<Arc<Proxy>>,
}

/// Where a node stands, by its own word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// In our past, at this revision of ours.
    At(u64),
    /// Nowhere that we can tell: it needs everything.
    Unknown,
    /// Ahead of us.
    Ahead,
    /// In another history.
    Elsewhere,
}

/// Everything that is published.
pub(super) struct Index {
    lineage: [u8; 16],
    head: u64,
    generation: u64,
    start: u64,
    resources: HashMap<Key, Entry>,
    regions: HashMap<RegionId, RegionView>,
}

impl Index {
    pub(super) fn load(head: Head, generation: u64, resources: Vec<PublishedResource>) -> Self {
        let mut index = Self {
            lineage: head.lineage,
            head: head.revision,
            generation,
            start: head.revision,
            resources: HashMap::with_capacity(resources.len()),
            regions: HashMap::new(),
        };
        let mut touched = BTreeSet::new();
        for resource in resources {
            index.put(resource.key, resource.revision, Some(resource.payload), &mut touched);
        }
        index.settle(touched, None);
        index
    }

    pub(super) fn lineage(&self) -> [u8; 16] {
        self.lineage
    }

    pub(super) fn head(&self) -> u64 {
        self.head
    }

    /// Counts up when the index was loaded anew: what was learnt from another one does not hold.
    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    /// Takes changes in, which are in the order of their revisions.
    pub(super) fn apply(&mut self, changes: Vec<PublishedChange>) {
        let mut changes = changes.into_iter().peekable();
        while let Some(first) = changes.next() {
            let revision = first.revision;
            let mut touched = BTreeSet::new();
            self.put(first.key, revision, first.payload, &mut touched);
            while let Some(change) = changes.next_if(|change| change.revision == revision) {
                self.put(change.key, revision, change.payload, &mut touched);
            }
            self.settle(touched, Some(revision));
            self.head = revision;
        }
    }

    pub(super) fn position(&self, region: RegionId) -> fleet::Position {
        let (digest, count) = match self.regions.get(&region) {
            Some(view) => (view.digest(), view.count()),
            None => (RegionView::empty_digest(), 0),
        };
        fleet::Position {
            lineage: self.lineage.to_vec(),
            revision: self.head,
            region: region.to_string(),
            digest: digest.to_vec(),
            count,
        }
    }

    /// Where a node stands that says so itself.
    pub(super) fn standing(&self, region: RegionId, resume: &fleet::Position) -> Standing {
        if resume.lineage != self.lineage {
            return Standing::Elsewhere;
        }
        if resume.revision > self.head {
            return Standing::Ahead;
        }
        if resume.region != region.to_string() {
            return Standing::Unknown;
        }
        let found = match self.regions.get(&region) {
            Some(view) => view.revision_of(resume),
            None if resume.digest == RegionView::empty_digest() => Some(self.start),
            None => None,
        };
        found.map_or(Standing::Unknown, Standing::At)
    }

    /// Whether nothing of a region changed after a revision.
    pub(super) fn settled(&self, region: RegionId, from: u64) -> bool {
        self.regions.get(&region).is_none_or(|view| view.settled(from))
    }

    /// What a region lacks that stands at `from`, or everything.
    pub(super) fn cut(&self, region: RegionId, from: Option<u64>) -> Cut {
        let position = self.position(region);
        match self.regions.get(&region) {
            Some(view) => view.cut(from, position),
            None => Cut::empty(position, from.is_none()),
        }
    }

    /// Stores one resource; notes which keys of which regions have to be looked at again.
    fn put(
        &mut self,
        key: Key,
        revision: u64,
        payload: Option<Bytes>,
        touched: &mut BTreeSet<(RegionId, Key)>,
    ) {
        let new = payload.map(|payload| {
            let proxy = match Model::parse(&key, &payload) {
                Ok(Model::Proxy(proxy)) => Some(Arc::new(proxy)),
                Ok(Model::Org(_) | Model::Target(_) | Model::Credential(_)) => None,
                Err(error) => {
                    // It was parsed before it was stored, so this build is older than what wrote it.
                    error!(resource = %key, %error, "published resource not understood");
                    None
                }
            };
            Entry { revision, hash: resource_hash(&payload), payload, proxy }
        });
        let new_proxy = new.as_ref().and_then(|entry| entry.proxy.clone());
        let old = match new {
            Some(entry) => self.resources.insert(key, entry),
            None => self.resources.remove(&key),
        };
        if let Some(proxy) = &new_proxy {
            let reach = reach(key, proxy);
            for region in &proxy.regions {
                let view = self.regions.entry(*region).or_insert_with(|| RegionView::new(self.start));
                view.hold(&reach);
                touched.extend(reach.iter().map(|key| (*region, *key)));
            }
        }
        if let Some(proxy) = old.and_then(|entry| entry.proxy) {
            let reach = reach(key, &proxy);
            for region in &proxy.regions {
                if let Some(view) = self.regions.get_mut(region) {
                    view.release(&reach);
                }
                touched.extend(reach.iter().map(|key| (*region, *key)));
            }
        }
        for (region, view) in &self.regions {
            if view.holds(&key) {
                touched.insert((*region, key));
            }
        }
    }

    /// Brings each touched key of each region to where the resources say it is.
    fn settle(&mut self, touched: BTreeSet<(RegionId, Key)>, revision: Option<u64>) {
        for (region, key) in touched {
            if let Some(view) = self.regions.get_mut(&region) {
                view.settle(key, self.resources.get(&key), revision);
            }
        }
        if let Some(revision) = revision {
            for view in self.regions.values_mut() {
                view.close(revision);
            }
        } else {
            for view in self.regions.values_mut() {
                view.open(self.start);
            }
        }
    }
}

/// A proxy and what it refers to.
fn reach(key: Key, proxy: &Arc<Proxy>) -> Vec<Key> {
    let mut reach = Model::Proxy(Proxy::clone(proxy)).refs(&key);
    reach.push(key);
    // One credential may be used both ways; a key counts once a proxy.
    reach.sort();
    reach.dedup();
    reach
}

#[cfg(test)]
mod tests;
