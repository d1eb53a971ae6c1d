//! One region's view: what its proxies reach, the digest of it, and how it came to be so.
//!
//! The invariant: the view holds exactly the published resources that some proxy of the region reaches,
//! and its digest is that of what it holds. One change costs what it touches, not what there is.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::LazyLock;

use rr_contract::digest::{Digest, ViewDigest};
use rr_contract::model::resource::Key;
use rr_contract::wire::fleet;

use super::index::Entry;

/// How many changes of a region are remembered for nodes that come back. Beyond that they get a snapshot.
const LOG_MOST: usize = 20_000;

static EMPTY: LazyLock<Digest> = LazyLock::new(|| ViewDigest::default().digest());

/// A region's part of what is published.
pub(super) struct RegionView {
    /// How many proxies of the region reach a key.
    held: HashMap<Key, u32>,
    entries: BTreeMap<Key, Entry>,
    digest: ViewDigest,
    /// The digest at each revision that changed the view, from the oldest that is remembered.
    ring: BTreeMap<u64, Digest>,
    /// What each of those revisions changed.
    log: BTreeMap<u64, BTreeSet<Key>>,
    logged: usize,
    dirty: BTreeSet<Key>,
}

/// What is to be sent: everything, or what changed.
pub(super) struct Cut {
    /// It is everything.
    pub(super) snapshot: bool,
    pub(super) upserts: Vec<(Key, Entry)>,
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
            digest: ViewDigest::default(),
            ring: BTreeMap::from([(start, *EMPTY)]),
            log: BTreeMap::new(),
            logged: 0,
            dirty: BTreeSet::new(),
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
    pub(super) fn settle(&mut self, key: Key, published: Option<&Entry>, revision: Option<u64>) {
        let wanted = published.filter(|entry| self.held.contains_key(&entry.held_by(key)));
        let old = match wanted {
            Some(entry) => {
                if self.entries.get(&key).is_some_and(|held| held.hash == entry.hash) {
                    // Written again as it was: nothing to send, and the digest is the same.
                    return;
                }
                self.digest.add(&key, &entry.hash);
                self.entries.insert(key, entry.clone())
            }
            None => match self.entries.remove(&key) {
                Some(old) => Some(old),
                None => return,
            },
        };
        if let Some(old) = old {
            self.digest.remove(&key, &old.hash);
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

    /// Whether nothing changed after a revision.
    pub(super) fn settled(&self, from: u64) -> bool {
        self.log.last_key_value().is_none_or(|(newest, _)| *newest <= from)
    }

    /// What changed after `from`, each key once as it is now; or everything.
    pub(super) fn cut(&self, from: Option<u64>, position: fleet::Position) -> Cut {
        // A position from before what is remembered cannot be caught up by changes.
        let oldest = self.ring.first_key_value().map_or(0, |(oldest, _)| *oldest);
        let Some(from) = from.filter(|from| *from >= oldest) else {
            let upserts = self.entries.iter().map(|(key, entry)| (*key, entry.clone())).collect();
            return Cut { upserts, ..Cut::empty(position, true) };
        };
        let keys: BTreeSet<Key> =
            self.log.range(from + 1..).flat_map(|(_, keys)| keys.iter().copied()).collect();
        let mut cut = Cut::empty(position, false);
        for key in keys {
            match self.entries.get(&key) {
                Some(entry) => cut.upserts.push((key, entry.clone())),
                None => cut.removals.push(key),
            }
        }
        cut
    }
}
