//! The threads that compute hashes, and those who wait for them.
//!
//! Decides nothing about callers. A thread is started when more wait than threads that have nothing to do, and ends
//! when nothing came for a while; its memory goes with it. The invariant: whoever waits is told, or was put out for
//! another, or has gone; a thread that breaks leaves nobody waiting.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::Builder;
use std::time::Duration;

use rr_contract::password::{PasswordHash, Scratch};
use rr_contract::runtime::{logging_alike, stand_behind};
use tokio::sync::oneshot::{Receiver, Sender, channel};
use tracing::error;

use super::known::{Known, NODE};
use super::turns::Turns;
use super::{At, Attempt, Claimed, Crowded, Live, Outcome};

/// How long a thread waits for something to do. Its 19 MiB go with it.
const IDLE: Duration = Duration::from_secs(10);
/// A hash needs little but its scratch.
const STACK: usize = 256 * 1024;

pub(super) struct Shared {
    state: Mutex<State>,
    work: Condvar,
    most: usize,
    /// How long a thread waits for something to do.
    patience: Duration,
    /// Hashes that were computed.
    hashed: AtomicU64,
}

struct State {
    known: Known,
    turns: Turns<Job>,
    running: Vec<Running>,
    threads: usize,
    idle: usize,
    is_over: bool,
}

/// An attempt that waits.
struct Job {
    attempt: Attempt,
    live: Option<Arc<Live>>,
    rounds: usize,
    claimed: Claimed,
    /// All who wait for it.
    waiting: Vec<Sender<Outcome>>,
}

/// An attempt that is being checked.
struct Running {
    attempt: Attempt,
    waiting: Vec<Sender<Outcome>>,
}

/// What a question leads to.
pub(super) enum Asked {
    Known(Outcome),
    Waits(Place),
}

impl Shared {
    pub(super) fn new(most: usize) -> Self {
        Self::with_patience(most, IDLE)
    }

    pub(super) fn with_patience(most: usize, patience: Duration) -> Self {
        let state = State {
            known: Known::new(NODE),
            turns: Turns::default(),
            running: Vec::new(),
            threads: 0,
            idle: 0,
            is_over: false,
        };
        Self { state: Mutex::new(state), work: Condvar::new(), most, patience, hashed: AtomicU64::new(0) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has an attempt checked, unless it is known, or is being checked for somebody else.
    pub(super) fn ask(
        self: &Arc<Self>,
        attempt: Attempt,
        at: At,
        live: Option<Arc<Live>>,
        claimed: Claimed,
    ) -> Asked {
        let (sender, receiver) = channel();
        let mut state = self.state();
        if let Some(outcome) = state.known.get(&attempt) {
            return Asked::Known(outcome);
        }
        let place = Place { shared: Arc::clone(self), at, attempt, told: Some(receiver) };
        let State { running, turns, .. } = &mut *state;
        let running = running.iter_mut().find(|running| running.attempt == attempt);
        let running = running.map(|running| &mut running.waiting);
        let waiting = turns.find(at, |job| job.attempt == attempt).map(|job| &mut job.waiting);
        if let Some(waiting) = running.or(waiting) {
            waiting.push(sender);
            return Asked::Waits(place);
        }
        let job = Job { attempt, live, rounds: at.rounds, claimed, waiting: vec![sender] };
        // Who has to go is told by its sender, which is dropped.
        let gone = state.turns.push(at, job);
        let is_refused = gone.is_some_and(|gone| gone.attempt == attempt);
        if !is_refused && !self.find_thread(&mut state) {
            state.turns.remove(at, |job| job.attempt == attempt);
        }
        Asked::Waits(place)
    }

    /// Sees to it that somebody does what waits. Returns whether there is one.
    fn find_thread(self: &Arc<Self>, state: &mut State) -> bool {
        if state.turns.len() <= state.idle {
            self.work.notify_one();
            return true;
        }
        if state.threads >= self.most {
            return true;
        }
        let shared = Arc::clone(self);
        let work = logging_alike(move || shared.work());
        match Builder::new().name("passwords".into()).stack_size(STACK).spawn(work) {
            Ok(_) => state.threads += 1,
            Err(error) => error!(%error, "start a thread that checks passwords"),
        }
        state.threads > 0
    }

    fn work(&self) {
        stand_behind();
        let _unbroken = Unbroken(self);
        let mut scratch = Scratch::default();
        while let Some(job) = self.next() {
            let mut checked = Checked { shared: self, attempt: job.attempt, outcome: None };
            checked.outcome = Some(job.run(&mut scratch, &self.hashed));
        }
    }

    /// Waits for something to do. `None`: there is nothing any more.
    fn next(&self) -> Option<Job> {
        let mut state = self.state();
        loop {
            if state.is_over {
                state.threads -= 1;
                return None;
            }
            if let Some(mut job) = state.turns.next() {
                let waiting = std::mem::take(&mut job.waiting);
                state.running.push(Running { attempt: job.attempt, waiting });
                return Some(job);
            }
            state.idle += 1;
            let waited = self.work.wait_timeout(state, self.patience);
            let (back, waited) = waited.unwrap_or_else(PoisonError::into_inner);
            state = back;
            state.idle -= 1;
            if waited.timed_out() && state.turns.len() == 0 {
                // Under the same lock: nobody counts on a thread that has decided to end.
                state.threads -= 1;
                return None;
            }
        }
    }

    /// Has the threads end, each with what it is doing.
    pub(super) fn end(&self) {
        self.state().is_over = true;
        self.work.notify_all();
    }

    #[cfg(test)]
    pub(super) fn hashed(&self) -> u64 {
        self.hashed.load(Ordering::Relaxed)
    }

    #[cfg(test)]
    pub(super) fn forget(&self) {
        self.state().known = Known::new(NODE);
    }

    /// How many threads there are, and how many attempts wait.
    #[cfg(test)]
    pub(super) fn counts(&self) -> (usize, usize) {
        let state = self.state();
        (state.threads, state.turns.len())
    }
}

impl Job {
    /// Computes as many hashes for a wrong password as the proxy says, whatever there is to compare it with.
    fn run(self, scratch: &mut Scratch, hashed: &AtomicU64) -> Outcome {
        let (live, nobodys) = (self.live.as_deref(), PasswordHash::nobodys());
        let hashes = live.map_or(&[][..], |live| &live.hashes);
        for number in 0..self.rounds.max(hashes.len()) {
            let hash = hashes.get(number);
            hashed.fetch_add(1, Ordering::Relaxed);
            let is_it = hash.unwrap_or(&nobodys).is_of(self.claimed.password(), scratch);
            if is_it && hash.is_some() {
                return Outcome::Good(number);
            }
        }
        Outcome::Wrong
    }
}

/// Counts a thread that panics out, and puts out those who wait where there is no other.
struct Unbroken<'s>(&'s Shared);

impl Drop for Unbroken<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let mut state = self.0.state();
            state.threads -= 1;
            if state.threads == 0 {
                state.turns = Turns::default();
            }
        }
    }
}

/// An attempt that is checked; tells those who wait when it is dropped.
struct Checked<'s> {
    shared: &'s Shared,
    attempt: Attempt,
    outcome: Option<Outcome>,
}

impl Drop for Checked<'_> {
    fn drop(&mut self) {
        let mut state = self.shared.state();
        let place = state.running.iter().position(|running| running.attempt == self.attempt);
        let running = place.map(|place| state.running.swap_remove(place));
        let Some(outcome) = self.outcome else { return };
        state.known.put(self.attempt, outcome);
        drop(state);
        for waiting in running.into_iter().flat_map(|running| running.waiting) {
            // An error: it has gone.
            waiting.send(outcome).ok();
        }
    }
}

/// A place among those who wait for an attempt; given up when it is dropped.
pub(super) struct Place {
    shared: Arc<Shared>,
    at: At,
    attempt: Attempt,
    told: Option<Receiver<Outcome>>,
}

impl Place {
    pub(super) async fn outcome(mut self) -> Result<Outcome, Crowded> {
        let Some(told) = &mut self.told else { return Err(Crowded) };
        let outcome = told.await;
        // There is no place to give up any more.
        self.told = None;
        outcome.map_err(|_| Crowded)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some(told) = self.told.take() else { return };
        drop(told);
        let mut state = self.shared.state();
        let Some(job) = state.turns.find(self.at, |job| job.attempt == self.attempt) else { return };
        job.waiting.retain(|waiting| !waiting.is_closed());
        if job.waiting.is_empty() {
            state.turns.remove(self.at, |job| job.attempt == self.attempt);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::passwords::tests::{at, claimed};

    #[tokio::test]
    async fn a_thread_that_breaks_leaves_nobody_waiting() {
        let shared = Arc::new(Shared::new(0));
        let Asked::Waits(place) = shared.ask(Attempt([1; 32]), at(1, 1), None, claimed("ann:x")) else {
            panic!("nobody knows it");
        };
        let Asked::Waits(behind) = shared.ask(Attempt([2; 32]), at(1, 1), None, claimed("ann:y")) else {
            panic!("nobody knows it");
        };
        shared.state().threads = 1;
        let breaks = Arc::clone(&shared);
        let broken = std::thread::spawn(move || {
            let _unbroken = Unbroken(&breaks);
            let job = breaks.next().expect("one waits");
            let _checked = Checked { shared: &breaks, attempt: job.attempt, outcome: None };
            panic!("as if a hash broke");
        });
        assert!(broken.join().is_err());
        assert_eq!((place.outcome().await, behind.outcome().await), (Err(Crowded), Err(Crowded)));
        assert_eq!(shared.counts(), (0, 0));
    }

    /// Whether a thread that waits for something to do ends within ten seconds.
    fn ends(shared: &Arc<Shared>, meanwhile: impl FnOnce()) -> bool {
        let (tell, told) = std::sync::mpsc::sync_channel(1);
        let waits = Arc::clone(shared);
        std::thread::spawn(move || tell.send(waits.next().is_none()));
        meanwhile();
        told.recv_timeout(Duration::from_secs(10)) == Ok(true)
    }

    #[test]
    fn threads_end_with_whoever_owns_them() {
        let shared = Arc::new(Shared::with_patience(1, Duration::from_hours(1)));
        shared.state().threads = 2;
        let is_told_while_it_waits = ends(&shared, || {
            while shared.state().idle == 0 {
                std::thread::yield_now();
            }
            shared.end();
        });
        assert!(is_told_while_it_waits);
        assert!(ends(&shared, || ()), "one that comes afterwards");
        assert_eq!(shared.counts(), (0, 0));
    }

    #[test]
    fn a_thread_that_has_nothing_to_do_for_a_while_ends() {
        let shared = Arc::new(Shared::with_patience(1, Duration::ZERO));
        shared.state().threads = 1;
        assert!(ends(&shared, || ()));
        assert_eq!(shared.counts(), (0, 0));
    }

    #[tokio::test]
    async fn who_tries_what_is_being_checked_is_told_of_the_same_check() {
        let shared = Arc::new(Shared::new(0));
        let ask = || match shared.ask(Attempt([1; 32]), at(1, 1), None, claimed("ann:x")) {
            Asked::Waits(place) => place,
            Asked::Known(_) => panic!("nobody knows it"),
        };
        let first = ask();
        let job = shared.next().expect("one waits");
        let second = ask();
        assert_eq!(shared.counts(), (0, 0), "it waits for no check of its own");
        drop(Checked { shared: &shared, attempt: job.attempt, outcome: Some(Outcome::Wrong) });
        assert_eq!((first.outcome().await, second.outcome().await), (Ok(Outcome::Wrong), Ok(Outcome::Wrong)));
    }
}
