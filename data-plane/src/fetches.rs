//! What is fetched as long as configuration names it: a register of it, and whose fetch begins when.
//!
//! Fetches nothing. The invariants: what several name is there once, and is gone when none names it any more; what one
//! organization's sources do, silence above all, takes no fetch of another's.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use rr_contract::model::id::OrgId;
use tokio::time::Instant;

/// Fetches under way, of one organization and of all.
pub(crate) const FETCHES_ONE: usize = 2;
pub(crate) const FETCHES_ALL: usize = 64;

/// Requests that wait for one fetch.
pub(crate) const WAITING_MAX: usize = 1024;

/// Something that is fetched again and again.
pub(crate) trait Fetched {
    /// Whose it is.
    fn org(&self) -> OrgId;

    fn turn(&self) -> Turn;

    /// Whether a fetch is to begin, which then is under way.
    fn begins(&self, now: Instant) -> bool;
}

/// When something is fetched.
pub(crate) struct Turn {
    /// By a request.
    pub(crate) is_waited_for: bool,
    /// The last fetch.
    pub(crate) begun: Option<Instant>,
    pub(crate) next: Next,
}

/// The next fetch.
pub(crate) enum Next {
    /// The last one is under way.
    UnderWay,
    At(Instant),
    /// Nobody needs one.
    Never,
}

/// The requests that wait for a fetch.
#[derive(Default)]
pub(crate) struct Waiting(AtomicUsize);

/// A request that waits, as long as this is there.
pub(crate) struct Waits<'w> {
    waiting: &'w AtomicUsize,
    /// No more than [`WAITING_MAX`] wait with it.
    pub(crate) is_within: bool,
}

impl Waiting {
    pub(crate) fn begin(&self) -> Waits<'_> {
        let before = self.0.fetch_add(1, Ordering::Relaxed);
        Waits { waiting: &self.0, is_within: before < WAITING_MAX }
    }

    pub(crate) fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What is fetched, by name.
pub(crate) struct Register<K, T>(Mutex<HashMap<K, Weak<T>>>);

impl<K, T> Default for Register<K, T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Eq + Hash + Clone, T> Register<K, T> {
    /// What has this name, made if nothing has.
    pub(crate) fn get(&self, name: K, make: impl FnOnce() -> T) -> Arc<T> {
        let mut by = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(held) = by.get(&name).and_then(Weak::upgrade) {
            return held;
        }
        let made = Arc::new(make());
        by.insert(name, Arc::downgrade(&made));
        made
    }

    /// What is named, and the names of what is not named any more.
    pub(crate) fn held(&self) -> (Vec<Arc<T>>, Vec<K>) {
        let (mut held, mut gone) = (Vec::new(), Vec::new());
        let mut by = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        by.retain(|name, one| match one.upgrade() {
            Some(one) => {
                held.push(one);
                true
            }
            None => {
                gone.push(name.clone());
                false
            }
        });
        (held, gone)
    }

    pub(crate) fn all(&self) -> Vec<Arc<T>> {
        let by = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        by.values().filter_map(Weak::upgrade).collect()
    }
}

/// Of an organization's fetches.
#[derive(Default)]
struct OfOrg {
    under_way: usize,
    /// The last one.
    begun: Option<Instant>,
}

/// Those whose fetch begins now: where there is not room for all, the organizations take turns, and in each of them those
/// come first for which a request waits, and then those that have been due for longest.
pub(crate) fn due<T: Fetched>(held: &[Arc<T>]) -> Vec<Arc<T>> {
    let (mut by_org, mut waiting, now) = (HashMap::<OrgId, OfOrg>::new(), Vec::new(), Instant::now());
    for one in held {
        let of_org = by_org.entry(one.org()).or_default();
        let Turn { is_waited_for, begun, next } = one.turn();
        of_org.begun = of_org.begun.max(begun);
        match next {
            Next::At(due) if due <= now => waiting.push(((!is_waited_for, due), one)),
            Next::At(_) | Next::Never => {}
            Next::UnderWay => of_org.under_way += 1,
        }
    }
    waiting.sort_by_cached_key(|(turn, one)| (by_org.get(&one.org()).and_then(|it| it.begun), *turn));
    let mut all: usize = by_org.values().map(|of_org| of_org.under_way).sum();
    let mut due = Vec::new();
    for under_way in 0..FETCHES_ONE {
        for (_, one) in &waiting {
            let of_org = by_org.entry(one.org()).or_default();
            if all < FETCHES_ALL && of_org.under_way == under_way && one.begins(now) {
                (all, of_org.under_way) = (all + 1, of_org.under_way + 1);
                due.push(Arc::clone(one));
            }
        }
    }
    due
}
