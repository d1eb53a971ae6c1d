//! The published keys of one issuer at one URL: which there are, how old they are, and when they are fetched again.
//!
//! Fetches nothing itself. The invariants: keys are there as long as nothing newer is known and they are not stale; those
//! that are there become stale by evidence alone, a fetch that failed, and never because a clock jumped; nobody makes a
//! fetch begin sooner than [`PAUSE`] after the one before.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use rr_contract::model::caller::jwt::JwksUrl;
use rr_contract::model::id::OrgId;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout};

use crate::fetches::{Fetched, Next, Turn, Waiting, Waits};

use super::keys::PublicKeys;

/// The least time between two fetches, whoever asks.
pub(super) const PAUSE: Duration = Duration::from_secs(30);
/// How long a request waits for a fetch.
const WAIT: Duration = Duration::from_secs(5);
/// The bounds of the time until keys are fetched again.
const REFRESH: (Duration, Duration) = (Duration::from_secs(300), Duration::from_secs(600));
/// The longest time until a fetch that failed is tried again.
const RETRY_MAX: Duration = Duration::from_secs(300);
/// After how many failures in a row an issuer is away that never had keys: a minute and a half.
const AWAY_AFTER: u32 = 3;
/// How long it is told that an issuer is back.
const BACK_FOR: Duration = Duration::from_secs(3600);

/// Whose issuer, and its URL.
pub(super) type Name = (OrgId, Box<str>);

/// The keys of an issuer, for one organization.
pub(crate) struct Issuer {
    pub(super) org: OrgId,
    pub(super) url: JwksUrl,
    keys: RwLock<Option<Arc<PublicKeys>>>,
    /// Another with other keys.
    generation: AtomicU64,
    is_stale: AtomicBool,
    state: Mutex<State>,
    /// How many fetches have ended.
    ended: watch::Sender<u64>,
    waiting: Waiting,
    wake: Arc<Notify>,
}

struct State {
    is_under_way: bool,
    /// The last fetch.
    begun: Option<Instant>,
    due: Instant,
    /// In a row.
    failures: u32,
    fetched_at: Option<SystemTime>,
    /// The document that the keys are from.
    document: Option<[u8; 32]>,
    was_read: bool,
    away: Option<Away>,
}

/// A time without keys that count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Away {
    pub(crate) since: SystemTime,
    /// There never were any.
    pub(crate) never_there: bool,
    /// When there were keys again.
    pub(crate) back_at: Option<SystemTime>,
}

impl Issuer {
    pub(super) fn new(org: OrgId, url: JwksUrl, wake: Arc<Notify>) -> Self {
        let state = State {
            is_under_way: false,
            begun: None,
            due: Instant::now(),
            failures: 0,
            fetched_at: None,
            document: None,
            was_read: false,
            away: None,
        };
        wake.notify_one();
        Self {
            org,
            url,
            keys: RwLock::default(),
            generation: AtomicU64::new(0),
            is_stale: AtomicBool::new(false),
            state: Mutex::new(state),
            ended: watch::Sender::new(0),
            waiting: Waiting::default(),
            wake,
        }
    }

    /// Whose it is, and its URL.
    pub(super) fn name(&self) -> Name {
        (self.org, self.url.as_str().into())
    }

    /// The keys that count now. Asked for tokens that were not seen before, so its lock is no request's.
    pub(super) fn keys(&self) -> Option<Arc<PublicKeys>> {
        if self.is_stale() {
            return None;
        }
        self.keys.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Tells keys apart that were put in the place of others.
    pub(super) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Whether keys are too old, and the issuer could not be asked for newer ones.
    pub(super) fn is_stale(&self) -> bool {
        self.is_stale.load(Ordering::Relaxed)
    }

    /// How many fetches have ended: to be read before the keys are looked at.
    pub(crate) fn ended(&self) -> u64 {
        *self.ended.borrow()
    }

    /// Asks for a fetch for a token that the keys do not verify which were there after so many fetches, and waits for it if it
    /// begins now or is under way. Whether it is worth another look at the keys.
    pub(crate) async fn asked(&self, looked_at: u64) -> bool {
        let Some((mut ended, _waits)) = self.ask() else { return self.ended() != looked_at };
        if *ended.borrow() != looked_at {
            return true;
        }
        timeout(WAIT, ended.changed()).await.is_ok_and(|changed| changed.is_ok())
    }

    /// `None`: none begins now, or enough wait for it.
    fn ask(&self) -> Option<(watch::Receiver<u64>, Waits<'_>)> {
        // Before the fetch could end.
        let ended = self.ended.subscribe();
        {
            let mut state = self.state();
            let soonest = state.begun.map_or_else(Instant::now, |begun| begun + PAUSE);
            if !state.is_under_way {
                // One for all who ask meanwhile.
                state.due = state.due.min(soonest);
                if soonest > Instant::now() {
                    return None;
                }
                self.wake.notify_one();
            }
        }
        let waits = self.waiting.begin();
        waits.is_within.then_some((ended, waits))
    }

    /// Whether the disk was not asked yet, which is asked once.
    pub(super) fn reads_disk(&self) -> bool {
        !std::mem::replace(&mut self.state().was_read, true)
    }

    /// Takes keys that were fetched at a time, if they are others than those that are there.
    pub(super) fn take(&self, keys: PublicKeys, document: [u8; 32], fetched_at: SystemTime) {
        let mut state = self.state();
        state.fetched_at = Some(fetched_at);
        if state.document.replace(document) != Some(document) {
            *self.keys.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(keys));
            self.generation.fetch_add(1, Ordering::Release);
        }
    }

    /// There were keys that were fetched at a time, and they are too old to count.
    pub(super) fn had(&self, fetched_at: SystemTime) {
        self.state().fetched_at = Some(fetched_at);
    }

    /// A fetch succeeded, whose answer says how long it holds. `chance` is from 0 to 1. Whether it had been away.
    pub(super) fn succeeded(&self, now: SystemTime, holds_for: Option<Duration>, chance: f64) -> bool {
        self.is_stale.store(false, Ordering::Relaxed);
        let (least, most) = REFRESH;
        let until = holds_for.unwrap_or(most).clamp(least, most);
        // Not all nodes, and not all issuers of a node, at once.
        let until = least + (until - least).mul_f64(chance.clamp(0.0, 1.0));
        let mut state = self.state();
        (state.failures, state.due) = (0, Instant::now() + until);
        self.end(&mut state);
        let Some(away) = state.away.as_mut().filter(|away| away.back_at.is_none()) else { return false };
        away.back_at = Some(now);
        true
    }

    /// A fetch failed. Since when it is away, if it is by this failure.
    pub(super) fn failed(&self, now: SystemTime, lasts: Duration) -> Option<Away> {
        let mut state = self.state();
        let pause = PAUSE.saturating_mul(1 << state.failures.min(8)).min(RETRY_MAX);
        state.failures = state.failures.saturating_add(1);
        state.due = Instant::now() + pause;
        let age = state.fetched_at.map(|at| now.duration_since(at).unwrap_or_default());
        let is_stale = age.is_some_and(|age| age > lasts);
        self.end(&mut state);
        let is_new = is_stale && !self.is_stale.swap(true, Ordering::Relaxed);
        let never_there = age.is_none();
        if !(is_new || never_there && state.failures == AWAY_AFTER) {
            return None;
        }
        state.away = Some(Away { since: now, never_there, back_at: None });
        state.away
    }

    pub(super) fn is_away(&self) -> bool {
        self.state().away.is_some_and(|away| away.back_at.is_none())
    }

    /// Since when it is away, or that it has been lately.
    pub(super) fn away(&self, now: SystemTime) -> Option<Away> {
        let away = self.state().away?;
        let is_told = |back: SystemTime| now.duration_since(back).is_ok_and(|time| time < BACK_FOR);
        away.back_at.is_none_or(is_told).then_some(away)
    }

    fn end(&self, state: &mut State) {
        state.is_under_way = false;
        // There is room for another.
        self.wake.notify_one();
        self.ended.send_modify(|ended| *ended += 1);
    }

    /// No code under this lock leaves a partial state, so a panic elsewhere is no reason to stop.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Fetched for Issuer {
    fn org(&self) -> OrgId {
        self.org
    }

    fn turn(&self) -> Turn {
        let state = self.state();
        Turn {
            is_waited_for: self.waiting.count() > 0,
            begun: state.begun,
            next: if state.is_under_way { Next::UnderWay } else { Next::At(state.due) },
        }
    }

    fn begins(&self, now: Instant) -> bool {
        let mut state = self.state();
        if state.is_under_way || state.due > now {
            return false;
        }
        (state.is_under_way, state.begun) = (true, Some(now));
        true
    }
}

#[cfg(test)]
mod tests;
