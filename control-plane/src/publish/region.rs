//! One region's view: what its proxies reach, the digest of it, and how it came to be so.
//!
//! The invariant: the view holds exactly the published resources that some proxy of the region reaches,
//! and its digest is that of what it holds. One change costs what it touches, not what there is.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::{Arc, LazyLock};

use rr_contract::digest::{BUCKETS_LOG2_MAX, Digest, ResourceHash, ViewDigest, bucket, locator};
use rr_contract::model::id::OrgId;
use rr_contract::model::resource::Key;
use rr_contract::wire::fleet;

use super::parsed::ParsedResource;

/// How many changes of a region are remembered for nodes that come back. Beyond that they are asked what they hold.
const LOG_MOST: usize = 20_000;
/// How many contents outside the log are remembered. Nodes that were away together mostly have one and the same.
const LEARNT_MOST: usize = 8;

/// Sorts before every other key.
const LEAST: Key = Key::org(OrgId::from_random([0; 16]));

static EMPTY: LazyLock<Digest> = LazyLock::new(|| ViewDigest::default().digest());

/// A region's part of what is published.
pub(super) struct RegionView {
    /// How many proxies of the region reach a key.
    held: HashMap<Key, u32>,
    /// By the finest bucket, so that one is a range.
    entries: BTreeMap<(u16, Key), Arc<ParsedResource>>,
    /// The sum of the locators of each bucket that is not empty.
    sums: BTreeMap<u16, u64>,
    digest: ViewDigest,
    /// The digest at each revision that changed the view, from the oldest that is remembered.
    ring: BTreeMap<u64, Digest>,
    /// What each of those revisions changed.
    log: BTreeMap<u64, BTreeSet<Key>>,
    logged: usize,
    dirty: BTreeSet<Key>,
    /// Contents outside this log from which a node was brought into step, and the keys that it took.
    learnt: VecDeque<Learnt>,
}

/// What differed between a content that is not in the log and this view at a revision.
struct Learnt {
    digest: Digest,
    revision: u64,
    keys: Arc<[Key]>,
}

/// The content from which a transaction starts.
#[derive(Debug, Clone)]
pub(super) enum Start {
    /// From nothing: everything is sent.
    Nothing,
    /// From a revision of ours.
    At(u64),
    /// From a content that differs from the view at a revision in these keys at the most.
    Differs { content: Digest, keys: Arc<[Key]>, revision: u64 },
}

impl Start {
    /// The digest of a content that is not in the log.
    pub(super) fn content(&self) -> Option<Digest> {
        match self {
            Self::Differs { content, .. } => Some(*content),
            Self::Nothing | Self::At(_) => None,
        }
    }
}

impl PartialEq for Start {
    /// Two starts are one where the same is sent from them to one revision.
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Nothing, Self::Nothing) => true,
            (Self::At(one), Self::At(other)) => one == other,
            (Self::Differs { content: one, .. }, Self::Differs { content: other, .. }) => one == other,
            _ => false,
        }
    }
}

/// What a transaction holds: everything, or what changed.
pub(super) struct Cut {
    /// It is everything.
    pub(super) snapshot: bool,
    pub(super) upserts: Vec<(Key, Arc<ParsedResource>)>,
    pub(super) removals: Vec<Key>,
    pub(super) position: fleet::Position,
}

impl Cut {
    pub(super) fn empty(position: fleet::Position, snapshot: bool) -> Self {
        Self { snapshot, upserts: Vec::new(), removals: Vec::new(), position }
    }
}

impl RegionView {
    /// An empty view that began at a revision.
    pub(super) fn new(start: u64) -> Self {
        Self {
            held: HashMap::new(),
            entries: BTreeMap::new(),
            sums: BTreeMap::new(),
            digest: ViewDigest::default(),
            ring: BTreeMap::from([(start, *EMPTY)]),
            log: BTreeMap::new(),
            logged: 0,
            dirty: BTreeSet::new(),
            learnt: VecDeque::new(),
        }
    }

    pub(super) fn empty_digest() -> Digest {
        *EMPTY
    }

    pub(super) fn digest(&self) -> Digest {
        self.ring.last_key_value().map_or(*EMPTY, |(_, digest)| *digest)
    }

    pub(super) fn count(&self) -> u64 {
        self.entries.len() as u64
    }

    /// All that it holds, by hash.
    pub(super) fn hashes(&self) -> impl Iterator<Item = (Key, ResourceHash)> {
        self.entries.iter().map(|((_, key), entry)| (*key, *entry.payload.hash()))
    }

    /// How many proxies of the region reach a key.
    pub(super) fn uses(&self, key: &Key) -> u32 {
        self.held.get(key).copied().unwrap_or_default()
    }

    pub(super) fn holds(&self, key: &Key) -> bool {
        self.held.contains_key(key)
    }

    /// One more proxy reaches these.
    pub(super) fn hold(&mut self, keys: &[Key]) {
        for key in keys {
            *self.held.entry(*key).or_default() += 1;
        }
    }

    /// One proxy less reaches these.
    pub(super) fn release(&mut self, keys: &[Key]) {
        for key in keys {
            if let Some(count) = self.held.get_mut(key) {
                *count -= 1;
                if *count == 0 {
                    self.held.remove(key);
                }
            }
        }
    }

    /// Brings one key to where it should be.
    pub(super) fn settle(
        &mut self,
        key: Key,
        published: Option<&Arc<ParsedResource>>,
        revision: Option<u64>,
    ) {
        let wanted = published.filter(|entry| self.held.contains_key(&entry.held_by(key)));
        let place = (finest(&key), key);
        let old = match wanted {
            Some(entry) => {
                if self.entries.get(&place).is_some_and(|held| held.payload.hash() == entry.payload.hash()) {
                    // Written again as it was: nothing to send, and the digest is the same.
                    return;
                }
                self.digest.add(&key, entry.payload.hash());
                let sum = self.sums.entry(place.0).or_default();
                *sum = sum.wrapping_add(locator(&key, entry.payload.hash()));
                self.entries.insert(place, Arc::clone(entry))
            }
            None => match self.entries.remove(&place) {
                Some(old) => Some(old),
                None => return,
            },
        };
        if let Some(old) = old {
            self.digest.remove(&key, old.payload.hash());
            let sum = self.sums.entry(place.0).or_default();
            *sum = sum.wrapping_sub(locator(&key, old.payload.hash()));
            if *sum == 0 {
                self.sums.remove(&place.0);
            }
        }
        if revision.is_some() {
            self.dirty.insert(key);
        }
    }

    /// Ends a revision: notes what it changed and the digest after it.
    pub(super) fn close(&mut self, revision: u64) {
        if self.dirty.is_empty() {
            return;
        }
        let dirty = std::mem::take(&mut self.dirty);
        self.logged += dirty.len();
        self.log.insert(revision, dirty);
        self.ring.insert(revision, self.digest.digest());
        while self.logged > LOG_MOST && self.log.len() > 1 {
            if let Some((_, oldest)) = self.log.pop_first() {
                self.logged -= oldest.len();
            }
            // The ring begins where the log does: a delta from before it cannot be cut.
            self.ring.pop_first();
        }
    }

    /// Takes what was loaded as where the view began.
    pub(super) fn open(&mut self, start: u64) {
        self.ring = BTreeMap::from([(start, self.digest.digest())]);
    }

    /// Our revision with the content that a node says it has. The same content stands for the same place
    /// even where its number is older than all that is remembered.
    pub(super) fn revision_of(&self, resume: &fleet::Position) -> Option<u64> {
        self.ring
            .range(..=resume.revision)
            .next_back()
            .filter(|(_, digest)| resume.digest == **digest)
            .or_else(|| self.ring.iter().rev().find(|(_, digest)| resume.digest == **digest))
            .map(|(revision, _)| *revision)
    }

    /// The digest that the view had at a revision, where that is remembered.
    pub(super) fn digest_at(&self, revision: u64) -> Option<Digest> {
        self.ring.range(..=revision).next_back().map(|(_, digest)| *digest)
    }

    /// The newest revision at which the view had the content of a position: that has all that later revisions up to there
    /// brought to the region. What is not remembered is where it says.
    pub(super) fn reached(&self, at: &fleet::Position, head: u64) -> u64 {
        let found = self.ring.iter().rev().find(|(_, digest)| at.digest == **digest);
        let Some((start, _)) = found else { return at.revision };
        let next = self.ring.range(start.saturating_add(1)..).next();
        next.map_or(head, |(next, _)| next - 1).max(at.revision)
    }

    /// The first revision after one that changed the view, for who has another content than the view. Where the log does
    /// not go back so far, where it begins: what was lacking then was lacking before, too.
    pub(super) fn lacks(&self, from: u64, content: &[u8]) -> Option<u64> {
        if content == self.digest() {
            return None;
        }
        let logged = self.log.range(from.saturating_add(1)..).next().map(|(revision, _)| *revision);
        logged.or_else(|| self.ring.first_key_value().map(|(start, _)| *start).filter(|start| *start > from))
    }

    /// Whether nothing changed after a revision.
    pub(super) fn settled(&self, from: u64) -> bool {
        self.log.last_key_value().is_none_or(|(newest, _)| *newest <= from)
    }

    /// Whether what changed after a revision is remembered.
    pub(super) fn covers(&self, from: u64) -> bool {
        self.ring.first_key_value().is_some_and(|(oldest, _)| *oldest <= from)
    }

    /// The sums of 2 to the power of `log2` buckets.
    pub(super) fn sums(&self, log2: u32) -> Vec<u64> {
        let log2 = log2.min(BUCKETS_LOG2_MAX);
        let mut sums = vec![0_u64; 1 << log2];
        for (bucket, sum) in &self.sums {
            let coarse = usize::from(*bucket) >> (BUCKETS_LOG2_MAX - log2);
            sums[coarse] = sums[coarse].wrapping_add(*sum);
        }
        sums
    }

    /// What is in one of 2 to the power of `log2` buckets.
    pub(super) fn bucket(&self, log2: u32, bucket: u32) -> Vec<(Key, Arc<ParsedResource>)> {
        let finer = BUCKETS_LOG2_MAX - log2.min(BUCKETS_LOG2_MAX);
        let first = u64::from(bucket) << finer;
        let past = first + (1 << finer);
        let held = |(place, entry): (&(u16, Key), &Arc<ParsedResource>)| (place.1, Arc::clone(entry));
        // Buckets are 12 bits, so that the end of the last one still fits.
        let (Ok(first), Ok(last)) = (u16::try_from(first), u16::try_from(past - 1)) else {
            return Vec::new();
        };
        self.entries.range((first, LEAST)..).take_while(|((at, _), _)| *at <= last).map(held).collect()
    }

    /// Remembers a content from which a node was brought into step, and the keys that it took.
    pub(super) fn learn(&mut self, digest: Digest, revision: u64, keys: Arc<[Key]>) {
        self.forget(&digest);
        self.learnt.push_back(Learnt { digest, revision, keys });
        if self.learnt.len() > LEARNT_MOST {
            self.learnt.pop_front();
        }
    }

    /// Forgets a content: what was learnt about it did not hold.
    pub(super) fn forget(&mut self, digest: &Digest) {
        self.learnt.retain(|learnt| learnt.digest != *digest);
    }

    /// The start for a content that is not in the log, where it is remembered.
    pub(super) fn learnt(&self, digest: &Digest) -> Option<Start> {
        let Learnt { digest, revision, keys } = self.learnt.iter().find(|learnt| learnt.digest == *digest)?;
        let from = || Start::Differs { content: *digest, keys: Arc::clone(keys), revision: *revision };
        self.covers(*revision).then(from)
    }

    /// What changed since a start, each key once as it is now; none where that is not remembered.
    pub(super) fn cut(&self, from: &Start, position: fleet::Position) -> Option<Cut> {
        let (differing, revision): (&[Key], u64) = match from {
            Start::Nothing => {
                let upserts =
                    self.entries.iter().map(|((_, key), entry)| (*key, Arc::clone(entry))).collect();
                return Some(Cut { upserts, ..Cut::empty(position, true) });
            }
            Start::At(revision) => (&[][..], *revision),
            Start::Differs { keys, revision, .. } => (&keys[..], *revision),
        };
        if !self.covers(revision) {
            return None;
        }
        let mut keys: BTreeSet<Key> = self.changed(revision).collect();
        keys.extend(differing);
        let mut cut = Cut::empty(position, false);
        for key in keys {
            match self.entries.get(&(finest(&key), key)) {
                Some(entry) => cut.upserts.push((key, Arc::clone(entry))),
                None => cut.removals.push(key),
            }
        }
        Some(cut)
    }

    fn changed(&self, from: u64) -> impl Iterator<Item = Key> {
        self.log.range(from.saturating_add(1)..).flat_map(|(_, keys)| keys.iter().copied())
    }
}

fn finest(key: &Key) -> u16 {
    u16::try_from(bucket(key, BUCKETS_LOG2_MAX)).unwrap_or(u16::MAX)
}
