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
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize};
use std::sync::{Arc, PoisonError, RwLock};

use rr_contract::model::meter::Windows;

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
struct Entry<const N: usize> {
    row: Row<N>,
    /// The windows for which it has, or had, a limit: they are waited for before it is taken out. So is the minute.
    limited: AtomicU8,
    /// Nothing was charged to it, until it is known how much it will be: it waits for that as if it had counted something.
    is_open: AtomicBool,
    is_told: AtomicBool,
}

/// A set of windows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Set(u8);

impl Set {
    fn of(windows: impl IntoIterator<Item = Window>) -> Self {
        Self(windows.into_iter().fold(0, |set, window| set | 1 << window as u8))
    }

    fn limited(limits: &Windows) -> Self {
        Self::of(Window::ALL.into_iter().filter(|window| window.limit(limits).is_some()))
    }

    const fn has(self, window: Window) -> bool {
        self.0 & 1 << window as u8 != 0
    }

    /// Whether it has a window that is saved.
    const fn lasts(self) -> bool {
        self.has(Window::Day) || self.has(Window::Month)
    }
}

impl<const N: usize> Entry<N> {
    fn new(saved: Option<&Saved>) -> Self {
        let counts = |saved: &Saved, window| match window {
            Window::Day => saved.day.count > 0,
            Window::Month => saved.month.is_some_and(|month| month.count > 0),
            Window::Minute | Window::Hour => false,
        };
        let limited = saved
            .map_or(Set(0), |saved| Set::of(Window::ALL.into_iter().filter(|window| counts(saved, *window))));
        let [is_open, is_told] = Default::default();
        Self { row: Row::new(saved), limited: AtomicU8::new(limited.0), is_open, is_told }
    }

    fn limited(&self) -> Set {
        Set(self.limited.load(SeqCst))
    }

    fn limit(&self, more: Set) {
        if self.limited().0 | more.0 != self.limited().0 {
            self.limited.fetch_or(more.0, SeqCst);
        }
    }

    fn is_running(&self, at: &Moment) -> bool {
        let limited = self.limited();
        let counts = |window| window == Window::Minute || limited.has(window);
        self.row.is_running(counts, at) || self.is_open.load(SeqCst) && self.row.was_charged(counts, at)
    }

    /// What is to be on disk: nothing of a window that has no limit, which nobody waits for.
    fn saved(&self) -> Saved {
        let (limited, mut saved) = (self.limited(), self.row.saved());
        if !limited.has(Window::Day) {
            saved.day.count = 0;
        }
        if let Some(month) = &mut saved.month
            && !limited.has(Window::Month)
        {
            month.count = 0;
        }
        saved
    }
}

type Shard<const N: usize> = RwLock<HashMap<Key, Entry<N>, BuildHasherDefault<Passed>>>;

/// Counters by key, of all four windows or of minute and day.
#[derive(Debug)]
pub(super) struct Keyed<const N: usize = 2> {
    most: usize,
    held: AtomicUsize,
    overflows: AtomicU64,
    /// With a secret of this process.
    hasher: RandomState,
    shards: Box<[Shard<N>]>,
    changed: Arc<Changed>,
    swept: AtomicUsize,
}

impl<const N: usize> Keyed<N> {
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
    fn shard(&self, key: &Key) -> &Shard<N> {
        &self.shards[(key.hash >> 32) as usize % SHARDS]
    }

    /// Charges an amount to a key, or to `others` where there are too many keys.
    pub(super) fn charge(
        &self,
        id: Id,
        amount: u64,
        limits: &Windows,
        others: &Counter<N>,
        at: &Moment,
    ) -> Result<KeyCharge, Exceeded> {
        let key = self.key(id);
        let shard = self.shard(&key);
        let charge = |entry: &Entry<N>| {
            let charge = entry.row.charge(amount, limits, at)?;
            entry.limit(Set::limited(limits));
            if amount == 0 && !entry.is_open.load(SeqCst) {
                entry.is_open.store(true, SeqCst);
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
            others.charge(amount, limits, at).map(|charge| KeyCharge { charge, key: None })
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

    /// Puts what the charged amount came to in its place.
    pub(super) fn settle(&self, charge: KeyCharge, amount: u64, others: &Counter<N>) {
        let Some(key) = charge.key else { return others.settle(charge.charge, amount) };
        if charge.charge.amount() == amount {
            return;
        }
        let entries = self.shard(&key).read().unwrap_or_else(PoisonError::into_inner);
        // A key that is gone has no running window.
        if let Some(entry) = entries.get(&key) {
            entry.row.settle(charge.charge, amount);
            self.tell(&key, entry);
        }
    }

    /// Puts a key down for the disk. Only days and months are kept there.
    fn tell(&self, key: &Key, entry: &Entry<N>) {
        if entry.limited().lasts() && !entry.is_told.load(SeqCst) && !entry.is_told.swap(true, SeqCst) {
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
        Some(entry.saved())
    }

    /// All that is to be on disk.
    pub(super) fn save_all(&self, mut each: impl FnMut(Id, Saved)) {
        for shard in &self.shards {
            let entries = shard.read().unwrap_or_else(PoisonError::into_inner);
            for (key, entry) in entries.iter().filter(|(_, entry)| entry.limited().lasts()) {
                each(key.id, entry.saved());
            }
        }
    }

    /// Takes out keys that are over, of one shard a call.
    pub(super) fn sweep(&self, at: &Moment) {
        let shard = &self.shards[self.swept.fetch_add(1, Relaxed) % SHARDS];
        let has_any = |entries: &HashMap<_, Entry<N>, _>| entries.values().any(|entry| !entry.is_running(at));
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
