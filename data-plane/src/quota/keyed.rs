//! Counters that are made when a key is seen first: by caller credential, by who holds a token, by address.
//!
//! Keys that are there are found under a lock that readers share, one of 64; only a new key and the removal of keys
//! that are over take one for themselves. The invariants: never more keys than the bound, and what is over it counts
//! in one counter of its proxy; a key is taken out only when nothing is counted in its windows; whoever chooses keys
//! cannot choose where they come to lie.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, BuildHasherDefault, Hash, Hasher, RandomState};
use std::net::IpAddr;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};
use std::sync::{Arc, PoisonError, RwLock};

use rr_contract::model::meter::Windows;
use rr_contract::model::proxy::Limits;

use super::Quota as _;
use super::cell::between;
use super::changed::{Address, Changed, Id, Saved};
use super::counter::{Charge, Counter, Exceeded, Row};
use super::moment::{Moment, Window};

const SHARDS: usize = 64;

impl Address {
    /// The key of a caller's address. An IPv4 address that is written as an IPv6 address is the same key.
    pub(super) fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self(address.to_ipv6_mapped().octets()),
            IpAddr::V6(address) => {
                let mut bytes = address.octets();
                bytes[8..].fill(0);
                Self(bytes)
            }
        }
    }
}

/// What was charged for a key.
#[derive(Debug, Clone, Copy)]
pub(crate) struct KeyCharge {
    charge: Charge,
    /// `None`: charged to the counter that the rest shares.
    key: Option<Key>,
}

impl KeyCharge {
    /// What was used of a window with this charge, at the time of it.
    pub(crate) const fn used(&self, window: Window) -> u64 {
        self.charge.used(window)
    }
}

/// A name, hashed once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Key {
    hash: u64,
    id: Id,
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

/// Takes the hash that a key has.
#[derive(Default)]
struct Passed(u64);

impl Hasher for Passed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.0 = self.0.rotate_left(8) ^ u64::from(*byte));
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

#[derive(Debug)]
struct Entry {
    row: Row<2>,
    /// It has, or had, a limit for the day: its day is saved, and waited for before it is taken out.
    has_day: AtomicBool,
    is_told: AtomicBool,
}

impl Entry {
    fn new(saved: Option<&Saved>) -> Self {
        let has_day = AtomicBool::new(saved.is_some());
        Self { row: Row::new(saved), has_day, is_told: AtomicBool::new(false) }
    }

    fn is_running(&self, at: &Moment) -> bool {
        let windows: &[Window] =
            if self.has_day.load(SeqCst) { &[Window::Minute, Window::Day] } else { &[Window::Minute] };
        self.row.is_running(windows, at)
    }
}

type Shard = RwLock<HashMap<Key, Entry, BuildHasherDefault<Passed>>>;

/// Counters by key.
#[derive(Debug)]
pub(super) struct Keyed {
    most: usize,
    held: AtomicUsize,
    overflows: AtomicU64,
    /// With a secret of this process.
    hasher: RandomState,
    shards: Box<[Shard]>,
    changed: Arc<Changed>,
    swept: AtomicUsize,
}

impl Keyed {
    pub(super) fn new(most: usize, changed: &Arc<Changed>) -> Self {
        Self {
            most,
            held: AtomicUsize::new(0),
            overflows: AtomicU64::new(0),
            hasher: RandomState::new(),
            shards: (0..SHARDS).map(|_| Shard::default()).collect(),
            changed: Arc::clone(changed),
            swept: AtomicUsize::new(0),
        }
    }

    /// How many keys there are.
    pub(super) fn held(&self) -> usize {
        self.held.load(Relaxed)
    }

    /// How many requests were counted together with others because there were too many keys.
    pub(super) fn overflows(&self) -> u64 {
        self.overflows.load(Relaxed)
    }

    fn key(&self, id: Id) -> Key {
        Key { hash: self.hasher.hash_one(id), id }
    }

    /// The table takes the lowest and the highest bits of a hash.
    fn shard(&self, key: &Key) -> &Shard {
        &self.shards[(key.hash >> 32) as usize % SHARDS]
    }

    /// Charges a request to a key, or to `others` where there are too many keys.
    pub(super) fn charge(
        &self,
        id: Id,
        limits: &Limits,
        others: &Counter<2>,
        at: &Moment,
    ) -> Result<KeyCharge, Exceeded> {
        let windows = Windows { minute: limits.minute, day: limits.day, ..Windows::default() };
        let key = self.key(id);
        let shard = self.shard(&key);
        let charge = |entry: &Entry| {
            let charge = entry.row.charge(1, &windows, at)?;
            if windows.day.is_some() && !entry.has_day.load(SeqCst) {
                entry.has_day.store(true, SeqCst);
            }
            self.tell(&key, entry);
            Ok(KeyCharge { charge, key: Some(key) })
        };
        // No request changes what another could leave half changed: a panic in one is nothing to the others.
        if let Some(entry) = shard.read().unwrap_or_else(PoisonError::into_inner).get(&key) {
            return charge(entry);
        }
        let share = || {
            self.overflows.fetch_add(1, Relaxed);
            others.charge(1, &windows, at).map(|charge| KeyCharge { charge, key: None })
        };
        // A flood of addresses takes no lock for itself.
        if self.held() >= self.most {
            return share();
        }
        between();
        let mut entries = shard.write().unwrap_or_else(PoisonError::into_inner);
        // Another request may have put it there meanwhile.
        if !entries.contains_key(&key) {
            if !self.reserve() {
                drop(entries);
                return share();
            }
            entries.insert(key, Entry::new(None));
        }
        charge(&entries[&key])
    }

    pub(super) fn give_back(&self, charge: KeyCharge, others: &Counter<2>) {
        let Some(key) = charge.key else { return others.give_back(charge.charge) };
        let entries = self.shard(&key).read().unwrap_or_else(PoisonError::into_inner);
        // A key that is gone has no running window.
        if let Some(entry) = entries.get(&key) {
            entry.row.settle(charge.charge, 0);
            self.tell(&key, entry);
        }
    }

    /// Puts a key down for the disk. Only days are kept there.
    fn tell(&self, key: &Key, entry: &Entry) {
        if entry.has_day.load(SeqCst) && !entry.is_told.load(SeqCst) && !entry.is_told.swap(true, SeqCst) {
            self.changed.add(key.id);
        }
    }

    fn reserve(&self) -> bool {
        let more = |held: usize| (held < self.most).then_some(held + 1);
        self.held.fetch_update(SeqCst, SeqCst, more).is_ok()
    }

    /// Goes on with what was saved, in the place of what was saved before. A key that nothing is kept of yet gets a
    /// place if it is worth one, as long as there is room.
    pub(super) fn load(&self, id: Id, saved: &Saved, is_worth_it: bool) {
        let key = self.key(id);
        let mut entries = self.shard(&key).write().unwrap_or_else(PoisonError::into_inner);
        if entries.contains_key(&key) || (is_worth_it && self.reserve()) {
            entries.insert(key, Entry::new(Some(saved)));
        }
    }

    /// What is to be on disk of a key. A change from here on is told again.
    pub(super) fn save(&self, id: Id) -> Option<Saved> {
        let key = self.key(id);
        let entries = self.shard(&key).read().unwrap_or_else(PoisonError::into_inner);
        let entry = entries.get(&key)?;
        entry.is_told.store(false, SeqCst);
        Some(entry.row.saved())
    }

    /// All that is to be on disk.
    pub(super) fn save_all(&self, mut each: impl FnMut(Id, Saved)) {
        for shard in &self.shards {
            let entries = shard.read().unwrap_or_else(PoisonError::into_inner);
            for (key, entry) in entries.iter().filter(|(_, entry)| entry.has_day.load(SeqCst)) {
                each(key.id, entry.row.saved());
            }
        }
    }

    /// Takes out keys that are over, of one shard a call.
    pub(super) fn sweep(&self, at: &Moment) {
        let shard = &self.shards[self.swept.fetch_add(1, Relaxed) % SHARDS];
        let has_any = |entries: &HashMap<_, Entry, _>| entries.values().any(|entry| !entry.is_running(at));
        if !has_any(&shard.read().unwrap_or_else(PoisonError::into_inner)) {
            return;
        }
        let mut entries = shard.write().unwrap_or_else(PoisonError::into_inner);
        let before = entries.len();
        entries.retain(|_, entry| entry.is_running(at));
        let gone = before - entries.len();
        if entries.capacity() > 4 * entries.len() + 64 {
            entries.shrink_to_fit();
        }
        self.held.fetch_sub(gone, SeqCst);
    }
}

#[cfg(test)]
mod tests;
