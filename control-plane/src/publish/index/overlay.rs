//! The index with changes on top that are not in it: the regions that these reach, and their effect there.
//!
//! The same rules of reach as the index, without a change to it: costs what is changed and what belongs to it.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use rr_contract::model::id::RegionId;
use rr_contract::model::resource::Key;

use super::{Index, reach};
use crate::publish::parsed::ParsedResource;

/// A change of one resource; none for its removal.
pub(in crate::publish) type ProposedChange = (Key, Option<Arc<ParsedResource>>);

/// Changes on top of an index, or of other layers.
#[derive(Default)]
pub(in crate::publish) struct Layer {
    entries: HashMap<Key, Option<Arc<ParsedResource>>>,
    /// How many proxies of a region reach a key more, or fewer, than below.
    held: HashMap<(RegionId, Key), i64>,
    /// What came to belong to a resource. Whether it still does its entry says.
    children: HashMap<Key, BTreeSet<Key>>,
    /// How many resources a region's view has more, or fewer, than below.
    counts: HashMap<RegionId, i64>,
}

/// What changes do in one region.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in crate::publish) struct Effect {
    pub(in crate::publish) added: u64,
    pub(in crate::publish) changed: u64,
    pub(in crate::publish) removed: u64,
    /// How many the view held before.
    pub(in crate::publish) held: u64,
    /// Features that a node needs for what is added or changed.
    pub(in crate::publish) needs: BTreeSet<&'static str>,
}

/// An index with layers on top, the newest last.
struct Stack<'a> {
    index: &'a Index,
    layers: &'a [&'a Layer],
}

impl Stack<'_> {
    fn entry(&self, key: &Key) -> Option<&ParsedResource> {
        let layered = self.layers.iter().rev().find_map(|layer| layer.entries.get(key));
        match layered {
            Some(entry) => entry.as_deref(),
            None => self.index.entry(key),
        }
    }

    fn reaches(&self, region: RegionId, key: Key) -> bool {
        let below = self.index.regions.get(&region).map_or(0, |view| i64::from(view.uses(&key)));
        let layered = self.layers.iter().filter_map(|layer| layer.held.get(&(region, key)));
        below + layered.sum::<i64>() > 0
    }

    /// What a region is sent of a resource.
    fn sent(&self, region: RegionId, key: Key) -> Option<&ParsedResource> {
        self.entry(&key).filter(|entry| self.reaches(region, entry.held_by(key)))
    }

    /// All that may belong to a resource.
    fn children(&self, key: &Key) -> impl Iterator<Item = Key> {
        let below = self.index.children.get(key).into_iter();
        let layered = self.layers.iter().filter_map(|layer| layer.children.get(key));
        below.chain(layered).flatten().copied()
    }

    fn regions(&self) -> HashSet<RegionId> {
        let layered = self.layers.iter().flat_map(|layer| layer.held.keys().map(|(region, _)| *region));
        self.index.regions.keys().copied().chain(layered).collect()
    }

    fn count(&self, region: RegionId) -> u64 {
        let below = self.index.regions.get(&region).map_or(0, |view| view.count());
        let layered: i64 = self.layers.iter().filter_map(|layer| layer.counts.get(&region)).sum();
        below.saturating_add_signed(layered)
    }
}

impl Index {
    /// What changes would do, region by region, on top of the index and of a layer of others; and they as a layer.
    pub(in crate::publish) fn effects(
        &self,
        below: &Layer,
        changes: &[ProposedChange],
    ) -> (Layer, BTreeMap<RegionId, Effect>) {
        let before = Stack { index: self, layers: &[below] };
        let mut top = Layer::default();
        // Where something may be different: resources with what belongs to them, and resources alone.
        let mut around: BTreeSet<(RegionId, Key)> = BTreeSet::new();
        let mut alone: BTreeSet<(Key, Key)> = BTreeSet::new();
        for (key, new) in changes {
            let old = before.entry(key);
            for (entry, sign) in [(old, -1), (new.as_deref(), 1)] {
                let Some(entry) = entry else { continue };
                alone.insert((*key, entry.held_by(*key)));
                if let Some(parent) = entry.payload.parent() {
                    top.children.entry(parent).or_default().insert(*key);
                }
                let Some(proxy) = entry.payload.proxy() else { continue };
                let reach = reach(*key, proxy);
                for region in &proxy.regions {
                    for reached in &reach {
                        *top.held.entry((*region, *reached)).or_default() += sign;
                        around.insert((*region, *reached));
                    }
                }
            }
            top.entries.insert(*key, new.clone());
        }
        let (effects, counts) = {
            let after = Stack { index: self, layers: &[below, &top] };
            let mut touched: BTreeSet<(RegionId, Key)> = BTreeSet::new();
            for (region, key) in around {
                touched.insert((region, key));
                touched.extend(after.children(&key).map(|child| (region, child)));
            }
            let regions = after.regions();
            for (key, held_by) in alone {
                for region in &regions {
                    if before.reaches(*region, held_by) || after.reaches(*region, held_by) {
                        touched.insert((*region, key));
                    }
                }
            }
            compare(&before, &after, touched)
        };
        top.counts = counts;
        (top, effects)
    }
}

fn compare(
    before: &Stack<'_>,
    after: &Stack<'_>,
    touched: BTreeSet<(RegionId, Key)>,
) -> (BTreeMap<RegionId, Effect>, HashMap<RegionId, i64>) {
    let mut effects: BTreeMap<RegionId, Effect> = BTreeMap::new();
    let mut counts: HashMap<RegionId, i64> = HashMap::new();
    for (region, key) in touched {
        let (had, has) = (before.sent(region, key), after.sent(region, key));
        if had.map(|entry| entry.payload.hash()) == has.map(|entry| entry.payload.hash()) {
            continue;
        }
        let effect = effects
            .entry(region)
            .or_insert_with(|| Effect { held: before.count(region), ..Effect::default() });
        match (had, has) {
            (None, _) => effect.added += 1,
            (Some(_), Some(_)) => effect.changed += 1,
            (Some(_), None) => effect.removed += 1,
        }
        if let Some(entry) = has {
            effect.needs.extend(entry.payload.needs().iter().copied());
        }
        *counts.entry(region).or_default() += i64::from(has.is_some()) - i64::from(had.is_some());
    }
    (effects, counts)
}

impl Layer {
    /// Takes in what is on top of it.
    pub(in crate::publish) fn absorb(&mut self, top: Self) {
        self.entries.extend(top.entries);
        for (place, count) in top.held {
            *self.held.entry(place).or_default() += count;
        }
        for (key, children) in top.children {
            self.children.entry(key).or_default().extend(children);
        }
        for (region, count) in top.counts {
            *self.counts.entry(region).or_default() += count;
        }
    }
}
