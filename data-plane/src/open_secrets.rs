//! The secrets that are open in this process: how many may be at once, and which have come to their end.
//!
//! Opens none. The invariants: no more than a bound are open, and what gives way is what was used longest ago; what is past its
//! end is closed at the next look; a lock is held for no longer than it takes to put one down.

use std::cmp::Reverse;
use std::mem;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, SystemTime};

use rr_contract::runtime::Stop;
use rr_contract::seam::Clock;
use tokio::time::sleep;

/// How many secrets are open at once in a process.
const OPEN_MAX: usize = 10_000;
/// The part of them that gives way at once, so that not each newcomer looks for one.
const GIVES_WAY: usize = 8;
/// How often somebody looks which have ended.
const LOOK: Duration = Duration::from_secs(1);

/// A secret that is open.
pub(crate) trait Closes: Send + Sync {
    /// After this time it is of no use.
    fn end(&self) -> Option<SystemTime>;

    /// The minute of its last use.
    fn used(&self) -> u32;

    /// Takes it out of memory; with `end`, because that was its end.
    fn close(&self, end: Option<SystemTime>);
}

/// What is open. Clones share it.
#[derive(Clone)]
pub(crate) struct OpenSecrets(Arc<Shared>);

struct Shared {
    open: Mutex<Vec<Weak<dyn Closes>>>,
    most: usize,
    /// Since the start.
    opened: AtomicU64,
}

impl Default for OpenSecrets {
    fn default() -> Self {
        Self::at_most(OPEN_MAX)
    }
}

impl OpenSecrets {
    /// With another bound.
    pub(crate) fn at_most(most: usize) -> Self {
        Self(Arc::new(Shared { open: Mutex::default(), most, opened: AtomicU64::default() }))
    }

    /// Takes note of one that was opened. Where there are too many now, others are closed.
    pub(crate) fn add(&self, secret: Weak<dyn Closes>) {
        self.0.opened.fetch_add(1, Ordering::Relaxed);
        let mut open = self.open();
        open.push(secret);
        if open.len() <= self.0.most {
            return;
        }
        let all = mem::take(&mut *open);
        drop(open);
        self.keep(all, None);
    }

    /// Closes what has ended at this time.
    pub(crate) fn look(&self, now: SystemTime) {
        let all = mem::take(&mut *self.open());
        self.keep(all, Some(now));
    }

    /// How many were opened since the start.
    pub(crate) fn opened(&self) -> u64 {
        self.0.opened.load(Ordering::Relaxed)
    }

    /// How many there are.
    #[cfg(test)]
    pub(crate) fn count(&self) -> usize {
        self.open().len()
    }

    /// Closes what has ended, until the stop.
    pub(crate) async fn follow(self, clock: Arc<dyn Clock>, stop: Stop) {
        while stop.cut(sleep(LOOK)).await.is_some() {
            self.look(clock.now());
        }
    }

    /// Puts back what stays of these.
    fn keep(&self, all: Vec<Weak<dyn Closes>>, now: Option<SystemTime>) {
        let mut stays = Vec::with_capacity(all.len());
        for weak in all {
            let Some(secret) = weak.upgrade() else { continue };
            match (secret.end(), now) {
                (Some(end), Some(now)) if now > end => secret.close(Some(end)),
                _ => stays.push((secret.used(), secret)),
            }
        }
        if stays.len() > self.0.most {
            // The newest, by the time of their last use, come first.
            stays.sort_by_key(|(used, _)| Reverse(*used));
            let room = self.0.most - self.0.most / GIVES_WAY;
            for (_, secret) in stays.split_off(room) {
                secret.close(None);
            }
        }
        let mut open = self.open();
        open.extend(stays.iter().map(|(_, secret)| Arc::downgrade(secret)));
    }

    /// No code under this lock leaves a partial state, so a panic elsewhere is no reason to stop.
    fn open(&self) -> MutexGuard<'_, Vec<Weak<dyn Closes>>> {
        self.0.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::UNIX_EPOCH;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[derive(Default)]
    struct One {
        end: Option<SystemTime>,
        used: AtomicU32,
        closed: Mutex<Option<Option<SystemTime>>>,
    }

    impl One {
        fn used_at(minute: u32) -> Arc<Self> {
            Arc::new(Self { used: AtomicU32::new(minute), ..Self::default() })
        }

        fn is_closed(&self) -> bool {
            self.closed.lock().expect("nobody panics").is_some()
        }
    }

    impl Closes for One {
        fn end(&self) -> Option<SystemTime> {
            self.end
        }

        fn used(&self) -> u32 {
            self.used.load(Ordering::Relaxed)
        }

        fn close(&self, end: Option<SystemTime>) {
            *self.closed.lock().expect("nobody panics") = Some(end);
        }
    }

    fn add(open: &OpenSecrets, one: &Arc<One>) {
        let one: Arc<dyn Closes> = Arc::<One>::clone(one);
        open.add(Arc::downgrade(&one));
    }

    #[test]
    fn what_was_used_longest_ago_gives_way_and_no_more_are_open_than_may_be() {
        let open = OpenSecrets::at_most(8);
        let all: Vec<_> = [5, 3, 9, 1, 7, 2, 8, 4, 6].map(One::used_at).into();
        for one in &all {
            assert!(open.count() <= 8);
            add(&open, one);
        }
        let closed: Vec<u32> = all.iter().filter(|one| one.is_closed()).map(|one| one.used()).collect();
        assert_eq!((closed, open.count()), (vec![1, 2], 7));
    }

    #[test]
    fn what_is_past_its_end_is_closed_and_what_is_held_by_nobody_is_forgotten() {
        let open = OpenSecrets::default();
        let end = UNIX_EPOCH + SECOND;
        let (ends, stays) = (Arc::new(One { end: Some(end), ..One::default() }), One::used_at(0));
        add(&open, &ends);
        add(&open, &stays);
        add(&open, &One::used_at(0));
        open.look(end);
        assert_eq!((ends.is_closed(), open.count()), (false, 2));
        open.look(end + SECOND);
        assert_eq!(*ends.closed.lock().expect("nobody panics"), Some(Some(end)));
        assert_eq!((stays.is_closed(), open.count()), (false, 1));
    }
}
