//! Everything that is published, and each region's part of it.
//!
//! Reads no store: it is given what changed, parsed before ([`ParsedNews`]), so that no reader waits for a parser. The same
//! history gives the same views, whatever way it was cut into batches.

pub(super) mod overlay;
pub(super) mod progress;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use rr_contract::model::id::RegionId;
use rr_contract::model::proxy::Proxy;
use rr_contract::model::resource::{Key, Model};
use rr_contract::wire::fleet;

use super::parsed::{ParsedNews, ParsedResource};
use super::region::{Cut, RegionView, Start};
use crate::store::Head;
use crate::store::history::PublishedResource;

/// How the position that a node reports relates to our history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// It has the content of this revision of ours.
    At(u64),
    /// It is in our history, with a content that is not remembered: the node has to report what it holds.
    Unknown,
    /// It is ahead of us.
    Ahead,
    /// It is of another history.
    Elsewhere,
}

/// Of how many revisions the agreed removals are remembered; for older ones the log is read.
const REMOVALS_MOST: usize = 10_000;

/// Everything that is published.
pub(super) struct Index {
    lineage: [u8; 16],
    head: u64,
    /// Head of the audit chain at `head`.
    audit: [u8; 32],
    generation: u64,
    start: u64,
    resources: HashMap<Key, Arc<ParsedResource>>,
    /// What belongs to each resource.
    children: HashMap<Key, BTreeSet<Key>>,
    regions: HashMap<RegionId, RegionView>,
    /// How many removals each revision after `removals_from` was agreed to take from one region, where any.
    removals: BTreeMap<u64, u64>,
    removals_from: u64,
    /// When regions' own documents changed, since the index was loaded.
    changed: HashMap<RegionId, u64>,
}

impl Index {
    pub(super) fn load(head: Head, generation: u64, resources: Vec<PublishedResource>) -> Self {
        let mut index = Self {
            lineage: head.lineage,
            head: head.revision,
            audit: head.audit,
            generation,
            start: head.revision,
            resources: HashMap::with_capacity(resources.len()),
            children: HashMap::new(),
            regions: HashMap::new(),
            removals: BTreeMap::new(),
            removals_from: head.revision,
            changed: HashMap::new(),
        };
        let mut touched = BTreeSet::new();
        for resource in resources {
            let entry = ParsedResource::of(&resource.key, resource.revision, resource.payload);
            index.put(resource.key, Some(Arc::new(entry)), &mut touched);
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

    /// Head of the audit chain at the head.
    pub(super) fn audit(&self) -> [u8; 32] {
        self.audit
    }

    /// The revision that last changed a region's own document; where that was before the index was loaded, the revision of
    /// then.
    pub(super) fn region_changed(&self, region: RegionId) -> u64 {
        self.changed.get(&region).copied().unwrap_or(self.start)
    }

    /// A resource as it stands.
    pub(super) fn entry(&self, key: &Key) -> Option<&ParsedResource> {
        self.resources.get(key).map(|entry| &**entry)
    }

    /// Counts up when the index was loaded anew: what was learnt from another one does not hold.
    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    /// Takes in what came after the head.
    pub(super) fn apply(&mut self, news: ParsedNews) {
        self.removals.extend(news.removals);
        while self.removals.len() > REMOVALS_MOST
            && let Some((oldest, _)) = self.removals.pop_first()
        {
            self.removals_from = oldest;
        }
        self.changed.extend(news.regions);
        self.take(news.changes);
        if let Some((revision, audit)) = news.to {
            // What touched no resource of nodes has no change here.
            if revision > self.head {
                self.settle(BTreeSet::new(), Some(revision));
                self.head = revision;
            }
            self.audit = audit;
        }
    }

    fn take(&mut self, changes: Vec<(Key, u64, Option<Arc<ParsedResource>>)>) {
        let mut changes = changes.into_iter().peekable();
        while let Some((key, revision, entry)) = changes.next() {
            let mut touched = BTreeSet::new();
            self.put(key, entry, &mut touched);
            while let Some((key, _, entry)) = changes.next_if(|(_, of, _)| *of == revision) {
                self.put(key, entry, &mut touched);
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
            audit: self.audit.to_vec(),
        }
    }

    /// Compares the position that a node reports with our history.
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

    /// What changed in a region since a start; none where that is not remembered.
    pub(super) fn cut(&self, region: RegionId, from: &Start) -> Option<Cut> {
        let position = self.position(region);
        match (self.regions.get(&region), from) {
            (Some(view), from) => view.cut(from, position),
            (None, Start::Nothing) => Some(Cut::empty(position, true)),
            (None, Start::At(_)) => Some(Cut::empty(position, false)),
            (None, Start::Differs { keys, .. }) => {
                Some(Cut { removals: keys.to_vec(), ..Cut::empty(position, false) })
            }
        }
    }

    /// A region's view, if anything was ever in it.
    pub(super) fn view(&self, region: RegionId) -> Option<&RegionView> {
        self.regions.get(&region)
    }

    /// The same, to note what was learnt.
    pub(super) fn view_mut(&mut self, region: RegionId) -> Option<&mut RegionView> {
        self.regions.get_mut(&region)
    }

    /// How many removals were agreed to after a revision; none where not all of those revisions are remembered.
    pub(super) fn removals(&self, from: u64) -> Option<u64> {
        let known = from >= self.removals_from;
        known.then(|| self.removals.range(from.saturating_add(1)..).map(|(_, count)| count).sum())
    }

    /// Stores one resource; notes which keys of which regions have to be looked at again.
    fn put(&mut self, key: Key, new: Option<Arc<ParsedResource>>, touched: &mut BTreeSet<(RegionId, Key)>) {
        let new_proxy = new.as_ref().and_then(|entry| entry.payload.proxy().cloned());
        let new_parent = new.as_ref().and_then(|entry| entry.payload.parent());
        let old = match new {
            Some(entry) => self.resources.insert(key, entry),
            None => self.resources.remove(&key),
        };
        let old_parent = old.as_ref().and_then(|entry| entry.payload.parent());
        if old_parent != new_parent {
            self.adopt(key, old_parent, new_parent);
        }
        if let Some(proxy) = &new_proxy {
            let reach = reach(key, proxy);
            for region in &proxy.regions {
                let view = self.regions.entry(*region).or_insert_with(|| RegionView::new(self.start));
                view.hold(&reach);
                touch(&self.children, *region, &reach, touched);
            }
        }
        if let Some(proxy) = old.as_ref().and_then(|entry| entry.payload.proxy()) {
            let reach = reach(key, proxy);
            for region in &proxy.regions {
                if let Some(view) = self.regions.get_mut(region) {
                    view.release(&reach);
                }
                touch(&self.children, *region, &reach, touched);
            }
        }
        // What belongs to another is where that is, and no longer where it belonged before.
        let (held, before) = (new_parent.unwrap_or(key), old_parent.unwrap_or(key));
        for (region, view) in &self.regions {
            if view.holds(&held) || view.holds(&before) {
                touched.insert((*region, key));
            }
        }
    }

    fn adopt(&mut self, key: Key, from: Option<Key>, to: Option<Key>) {
        if let Some(from) = from
            && let Some(children) = self.children.get_mut(&from)
        {
            children.remove(&key);
            if children.is_empty() {
                self.children.remove(&from);
            }
        }
        if let Some(to) = to {
            self.children.entry(to).or_default().insert(key);
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

/// Notes keys, and what belongs to them, to be looked at again in a region.
fn touch(
    children: &HashMap<Key, BTreeSet<Key>>,
    region: RegionId,
    keys: &[Key],
    touched: &mut BTreeSet<(RegionId, Key)>,
) {
    for key in keys {
        touched.insert((region, *key));
        touched.extend(children.get(key).into_iter().flatten().map(|child| (region, *child)));
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
