//! The snapshot in force: activated by the control thread, read by each traffic worker.
//!
//! Reading is one acquire load and no write to shared memory: a worker keeps its own clone, counted by a
//! plain `Rc`, and asks for another only when the generation has moved. It does not know what it carries.
//! The invariant: a worker never drops the last reference to a version, so no request pays for freeing one.

use std::cell::{Cell, RefCell};
use std::ops::Deref;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Creates the activator and one reader for each worker.
pub(crate) fn cell<T>(first: T, workers: usize) -> (Activator<T>, Vec<PendingReader<T>>) {
    let first = Arc::new(first);
    let shared = Arc::new(Shared {
        generation: AtomicU64::new(1),
        slot: Mutex::new(Arc::clone(&first)),
        ran_on: (0..workers).map(|_| AtomicU64::new(0)).collect(),
    });
    let readers = (0..workers).map(|worker| PendingReader { shared: Arc::clone(&shared), worker }).collect();
    (Activator { shared, current: first, graveyard: Vec::new() }, readers)
}

struct Shared<T> {
    /// Moves after the slot, so a reader that sees the number finds that version or a newer one.
    generation: AtomicU64,
    /// Taken by a worker once a generation, never once a request.
    slot: Mutex<Arc<T>>,
    /// The generation that each worker has run on.
    ran_on: Box<[AtomicU64]>,
}

impl<T> Shared<T> {
    fn slot(&self) -> MutexGuard<'_, Arc<T>> {
        // Nothing panics under this lock, and a version is whole in any case.
        self.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The writing side. Lives on the control thread.
pub(crate) struct Activator<T> {
    shared: Arc<Shared<T>>,
    current: Arc<T>,
    /// Versions that some worker may still hold.
    graveyard: Vec<Arc<T>>,
}

impl<T> Activator<T> {
    /// Puts a version in force and returns its generation.
    pub(crate) fn activate(&mut self, next: T) -> u64 {
        let next = Arc::new(next);
        let before = std::mem::replace(&mut self.current, Arc::clone(&next));
        self.graveyard.push(before);
        let mut slot = self.shared.slot();
        let replaced = std::mem::replace(&mut *slot, next);
        // Inside the lock, so that a reader cannot pair the new number with the old version.
        let generation = self.shared.generation.fetch_add(1, Ordering::Release) + 1;
        drop(slot);
        drop(replaced);
        generation
    }

    /// What is in force.
    pub(crate) fn current(&self) -> &T {
        &self.current
    }

    /// The newest generation that every worker has run on.
    pub(crate) fn serving(&self) -> u64 {
        let oldest = self.shared.ran_on.iter().map(|seen| seen.load(Ordering::Acquire)).min();
        oldest.unwrap_or_else(|| self.shared.generation.load(Ordering::Acquire))
    }

    /// Frees the versions that no worker holds any more.
    pub(crate) fn bury(&mut self) {
        self.graveyard.retain(|version| Arc::strong_count(version) > 1);
    }

    #[cfg(test)]
    pub(crate) fn unburied(&self) -> usize {
        self.graveyard.len()
    }
}

/// A reader on its way to its worker's thread.
pub(crate) struct PendingReader<T> {
    shared: Arc<Shared<T>>,
    worker: usize,
}

impl<T> PendingReader<T> {
    /// Starts on this thread; from here on the reader stays on this thread.
    pub(crate) fn start(self) -> Reader<T> {
        struct Nobody;

        impl<T> Follower<T> for Nobody {
            fn first_run(&self, _: &T) {}

            fn tick(&self) {}
        }

        self.start_with(Box::new(Nobody))
    }

    /// Starts on this thread, with a follower that is told of each version that is new to this thread.
    pub(crate) fn start_with(self, follower: Box<dyn Follower<T>>) -> Reader<T> {
        let slot = self.shared.slot();
        let generation = self.shared.generation.load(Ordering::Acquire);
        let held = View(Rc::new(Arc::clone(&slot)));
        drop(slot);
        follower.first_run(&held);
        Reader {
            follower,
            shared: self.shared,
            worker: self.worker,
            seen: Cell::new(generation),
            held: RefCell::new(held),
        }
    }
}

/// Observes on a worker's thread which version it begins to run on. Costs a request nothing.
pub(crate) trait Follower<T> {
    /// This version is new to the thread, and decides its next request.
    fn first_run(&self, version: &T);
    /// The thread makes progress.
    fn tick(&self);
}

/// The reading side of one worker.
pub(crate) struct Reader<T> {
    follower: Box<dyn Follower<T>>,
    shared: Arc<Shared<T>>,
    worker: usize,
    seen: Cell<u64>,
    held: RefCell<View<T>>,
}

impl<T> Reader<T> {
    /// What is in force now. A request keeps the view, and so is decided by one version from end to end.
    pub(crate) fn view(&self) -> View<T> {
        if self.shared.generation.load(Ordering::Acquire) != self.seen.get() {
            self.refresh();
        }
        self.held.borrow().clone()
    }

    /// The generation that this worker has seen last.
    pub(crate) fn generation(&self) -> u64 {
        self.seen.get()
    }

    /// Releases an old version on an idle worker, and reports which one the worker runs on.
    pub(crate) fn tick(&self) {
        drop(self.view());
        self.shared.ran_on[self.worker].store(self.seen.get(), Ordering::Release);
        self.follower.tick();
    }

    #[cold]
    fn refresh(&self) {
        let slot = self.shared.slot();
        // Read under the lock: it belongs to the version in the slot.
        self.seen.set(self.shared.generation.load(Ordering::Acquire));
        let next = View(Rc::new(Arc::clone(&slot)));
        drop(slot);
        self.follower.first_run(&next);
        self.held.replace(next);
    }
}

/// One version, held by one request of one worker. A clone counts up a number that no other thread sees.
#[expect(
    clippy::redundant_allocation,
    reason = "the outer count is this thread's alone, the inner one is shared"
)]
pub(crate) struct View<T>(Rc<Arc<T>>);

impl<T> Clone for View<T> {
    fn clone(&self) -> Self {
        Self(Rc::clone(&self.0))
    }
}

impl<T> Deref for View<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn a_reader_sees_what_was_published_last() {
        let (mut activator, mut readers) = cell(1, 1);
        let reader = readers.remove(0).start();
        assert_eq!(*reader.view(), 1);
        activator.activate(2);
        activator.activate(3);
        assert_eq!(*reader.view(), 3);
    }

    #[test]
    fn a_request_keeps_the_version_that_it_began_with() {
        let (mut activator, mut readers) = cell(1, 1);
        let reader = readers.remove(0).start();
        let view = reader.view();
        activator.activate(2);
        assert_eq!((*view, *reader.view()), (1, 2));
    }

    #[test]
    fn a_version_serves_once_every_worker_has_run_on_it() {
        let (mut activator, mut readers) = cell((), 2);
        let (second, first) = (readers.remove(1).start(), readers.remove(0).start());
        let generation = activator.activate(());
        first.tick();
        assert!(activator.serving() < generation);
        second.tick();
        assert_eq!(activator.serving(), generation);
    }

    #[test]
    fn an_old_version_is_freed_by_the_writer_and_only_when_nobody_holds_it() {
        let (mut activator, mut readers) = cell(1, 1);
        let reader = readers.remove(0).start();
        let request = reader.view();
        activator.activate(2);
        reader.tick();
        activator.bury();
        assert_eq!(activator.unburied(), 1, "a request holds it");
        drop(request);
        activator.bury();
        assert_eq!(activator.unburied(), 0);
    }

    #[test]
    fn readers_on_other_threads_never_go_back() {
        const LAST: u64 = 2_000;
        let (mut activator, readers) = cell(0_u64, 3);
        thread::scope(|scope| {
            for reader in readers {
                scope.spawn(move || {
                    let reader = reader.start();
                    let mut newest = 0;
                    while newest < LAST {
                        let seen = *reader.view();
                        assert!(seen >= newest);
                        newest = seen;
                        reader.tick();
                    }
                });
            }
            for version in 1..=LAST {
                activator.activate(version);
                activator.bury();
            }
        });
        activator.bury();
        assert_eq!(activator.unburied(), 0);
        assert_eq!(activator.serving(), LAST + 1);
    }
}
