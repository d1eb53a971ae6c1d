//! Where the tokens of one version of a credential come from: the token that counts now, and when another is asked for.
//!
//! Asks nobody itself. The invariants: a token is replaced by a newer one alone; requests make an issuer be asked no sooner
//! than a pause after it was asked before, which grows with its failures; where nobody has used a token, none is got in its
//! place.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwapOption;
use rr_contract::model::id::{CredentialId, OrgId};
use rr_contract::seal::Slot;
use rr_contract::seal::means::{Grant, TokenRequest, TokenUrl};
use rr_contract::secret::Secret;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout};

use crate::fetches::{Fetched, Next, Turn, Waiting};
use crate::values::Values;

/// The least time between two questions where there is no token.
const PAUSE: Duration = Duration::from_secs(1);
/// The least time between two questions where there is one, which an upstream does not take.
const PAUSE_REFUSED: Duration = Duration::from_secs(30);
/// The longest time until a question that failed is put again, while there is a token.
const RETRY_MAX: Duration = Duration::from_secs(60);
/// And the longest time until a request has it put again: issuers lock out who asks in vain too often, and a caller gets no
/// answer before.
const PAUSE_MAX: Duration = Duration::from_secs(15);
/// How long a request waits for a token.
const WAIT: Duration = Duration::from_secs(10);
/// A token is not used at the end of its life, in which it would end on its way: so long, or in its last tenth.
const SPARE: Duration = Duration::from_secs(5);
/// The part of its life, in percent, after which another token is asked for: drawn between these.
const REFRESH: (u32, u32) = (70, 85);

/// Whose source: a version of a credential, as it was sealed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct SourceName {
    pub(crate) org: OrgId,
    pub(crate) credential: CredentialId,
    pub(crate) version: u64,
    /// Of the seal. Two seals of one version would not share what one of them gets.
    pub(crate) seal: [u8; 32],
}

impl SourceName {
    /// By what name its token is kept on disk.
    pub(super) fn on_disk(&self) -> Vec<u8> {
        let version = self.version.to_be_bytes();
        [&self.org.as_bytes()[..], self.credential.as_bytes(), &version, &self.seal].concat()
    }
}

/// What is asked for a token.
pub(crate) enum Asked {
    Grant(Grant),
    Request(TokenRequest),
}

impl Asked {
    /// Where it is asked.
    pub(super) fn url(&self) -> &TokenUrl {
        match self {
            Self::Grant(grant) => &grant.url,
            Self::Request(request) => &request.url,
        }
    }
}

/// How tokens are got, and where they go.
pub(super) struct Way {
    pub(super) asked: Asked,
    pub(super) secret: Secret,
    pub(super) slot: Slot,
}

/// A token as it is sent.
pub(crate) struct AccessToken {
    pub(crate) values: Values,
    good_until: SystemTime,
}

/// The tokens of one version of a credential.
pub(crate) struct TokenSource {
    pub(super) name: SourceName,
    /// As long as the seal is open.
    way: ArcSwapOption<Way>,
    token: ArcSwapOption<AccessToken>,
    /// Since the token came.
    was_used: AtomicBool,
    state: Mutex<State>,
    /// How many questions have ended.
    ended: watch::Sender<u64>,
    waiting: Waiting,
    wake: Arc<Notify>,
}

struct State {
    is_under_way: bool,
    begun: Option<Instant>,
    /// `None`: nobody needs a token.
    due: Option<Instant>,
    /// In a row.
    failures: u32,
    was_read: bool,
    /// What is kept of it on disk is of no use any more.
    is_over: bool,
}

impl TokenSource {
    pub(super) fn new(name: SourceName, wake: Arc<Notify>) -> Self {
        let state = State {
            is_under_way: false,
            begun: None,
            due: None,
            failures: 0,
            was_read: false,
            is_over: false,
        };
        Self {
            name,
            way: ArcSwapOption::empty(),
            token: ArcSwapOption::empty(),
            was_used: AtomicBool::new(false),
            state: Mutex::new(state),
            ended: watch::Sender::new(0),
            waiting: Waiting::default(),
            wake,
        }
    }

    /// Says how tokens are got. From now on there is one as long as somebody uses it.
    pub(crate) fn opens(&self, asked: Asked, secret: Secret, slot: Slot) {
        let mut state = self.state();
        if self.way.load().is_some() {
            return;
        }
        self.way.store(Some(Arc::new(Way { asked, secret, slot })));
        state.due = Some(Instant::now());
        self.wake.notify_one();
    }

    /// Takes the secret and the token that was got with it out of memory; where the end of both `is_over`, that on disk too.
    pub(crate) fn closes(&self, is_over: bool) {
        let mut state = self.state();
        self.way.store(None);
        self.token.store(None);
        (state.due, state.was_read, state.is_over) = (None, false, is_over);
        self.wake.notify_one();
    }

    /// Whether what is kept of it on disk has to go, since it was asked last.
    pub(super) fn leaves_disk(&self) -> bool {
        std::mem::take(&mut self.state().is_over)
    }

    /// Where its tokens go; `None`: its seal is not open.
    pub(crate) fn slot(&self) -> Option<Slot> {
        self.way.load().as_ref().map(|way| way.slot.clone())
    }

    pub(super) fn way(&self) -> Option<Arc<Way>> {
        self.way.load_full()
    }

    /// The token, if there is one at this time.
    pub(crate) fn token(&self, now: SystemTime) -> Option<Arc<AccessToken>> {
        let token = self.token.load_full().filter(|token| token.is_good(now))?;
        // Read first: no core writes what all of them read.
        if !self.was_used.load(Ordering::Relaxed) && !self.was_used.swap(true, Ordering::Relaxed) {
            self.is_used_again();
        }
        Some(token)
    }

    /// Whether there is a token at this time.
    pub(crate) fn has_token(&self, now: SystemTime) -> bool {
        self.token.load().as_ref().is_some_and(|token| token.is_good(now))
    }

    /// Waits for a token where there is none.
    pub(crate) async fn wait(&self, now: SystemTime) {
        self.ask(PAUSE, || self.has_token(now)).await;
    }

    /// Another token than this one, which an upstream did not take: the one that is there by now, or that is got for it.
    pub(crate) async fn another(
        &self,
        refused: &Arc<AccessToken>,
        now: SystemTime,
    ) -> Option<Arc<AccessToken>> {
        let is_other = |token: &Arc<AccessToken>| !Arc::ptr_eq(token, refused);
        self.ask(PAUSE_REFUSED, || self.token(now).as_ref().is_some_and(is_other)).await;
        self.token(now).filter(is_other)
    }

    /// Has the issuer asked, unless it was within this pause, and waits for what comes of it.
    async fn ask(&self, pause: Duration, is_there: impl Fn() -> bool) {
        // Before the question could end.
        let mut ended = self.ended.subscribe();
        if is_there() {
            return;
        }
        // Before the question could be looked for: one that nobody waits for is not put.
        let waits = self.waiting.begin();
        {
            let mut state = self.state();
            let now = Instant::now();
            if !state.is_under_way {
                let pause = pause.max(pause_after(state.failures, PAUSE_MAX));
                if state.begun.is_some_and(|begun| begun + pause > now) {
                    return;
                }
                // One for all who ask meanwhile.
                state.due = Some(now);
                self.wake.notify_one();
            }
        }
        if waits.is_within {
            timeout(WAIT, ended.changed()).await.ok();
        }
    }

    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.waiting.count()
    }

    /// As if its issuer had given this at a time, for long.
    #[cfg(test)]
    pub(crate) fn has(&self, token: &str, at: SystemTime) {
        let (slot, secret) = (Slot::bearer(), Secret::from(token.to_owned()));
        let values = Values::of(std::iter::once((&secret, &slot))).expect("values");
        self.take(values, at, Duration::from_secs(3600), 0.0);
    }

    /// As if the last question had begun so long ago.
    #[cfg(test)]
    pub(crate) fn begun_before(&self, ago: Duration) {
        self.state().begun = Some(Instant::now() - ago);
    }

    /// Whether the disk was not asked yet, which is asked once.
    pub(super) fn reads_disk(&self) -> bool {
        !std::mem::replace(&mut self.state().was_read, true)
    }

    /// Takes a token that lasts from `now` on for so long. `chance` is from 0 to 1. Whether there had been none for the last
    /// questions; `None`: its secret is closed, and so it has none.
    pub(super) fn take(&self, values: Values, now: SystemTime, lasts: Duration, chance: f64) -> Option<bool> {
        let token = AccessToken { values, good_until: now + (lasts - SPARE.min(lasts / 10)) };
        let (least, most) = REFRESH;
        // Not all nodes at once.
        let part = f64::from(least) + f64::from(most - least) * chance.clamp(0.0, 1.0);
        let mut state = self.state();
        // It ended while its issuer was asked.
        if self.way.load().is_none() {
            return None;
        }
        self.was_used.store(false, Ordering::Relaxed);
        self.token.store(Some(Arc::new(token)));
        state.due = Some(Instant::now() + lasts.mul_f64(part / 100.0));
        Some(std::mem::take(&mut state.failures) > 0)
    }

    /// There is a token by a question, or by what was kept.
    pub(super) fn succeeded(&self) {
        let mut state = self.state();
        self.end(&mut state);
    }

    /// There is none. How often in a row.
    pub(super) fn failed(&self) -> u32 {
        let mut state = self.state();
        state.failures = state.failures.saturating_add(1);
        let pause = pause_after(state.failures, RETRY_MAX);
        // Nobody asks for it without a request: another one makes it due.
        let is_in_use = self.was_used.load(Ordering::Relaxed) && self.token.load().is_some();
        state.due = is_in_use.then(|| Instant::now() + pause);
        self.end(&mut state);
        state.failures
    }

    fn end(&self, state: &mut State) {
        state.is_under_way = false;
        // There is room for another.
        self.wake.notify_one();
        self.ended.send_modify(|ended| *ended += 1);
    }

    /// The first request since the token came: where its successor was due meanwhile, it is now.
    fn is_used_again(&self) {
        let mut state = self.state();
        if state.due.is_none() && !state.is_under_way {
            state.due = Some(Instant::now());
            self.wake.notify_one();
        }
    }

    /// No code under this lock leaves a partial state, so a panic elsewhere is no reason to stop.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Fetched for TokenSource {
    fn org(&self) -> OrgId {
        self.name.org
    }

    fn turn(&self) -> Turn {
        let state = self.state();
        let next = match state.due {
            _ if state.is_under_way => Next::UnderWay,
            Some(due) => Next::At(due),
            None => Next::Never,
        };
        Turn { is_waited_for: self.waiting.count() > 0, begun: state.begun, next }
    }

    fn begins(&self, now: Instant) -> bool {
        let mut state = self.state();
        if state.is_under_way || state.due.is_none_or(|due| due > now) {
            return false;
        }
        let is_idle = self.token.load().is_some()
            && !self.was_used.load(Ordering::Relaxed)
            && self.waiting.count() == 0;
        if is_idle {
            state.due = None;
            return false;
        }
        (state.is_under_way, state.begun, state.due) = (true, Some(now), None);
        true
    }
}

/// How long nothing is asked behind so many failures in a row.
fn pause_after(failures: u32, most: Duration) -> Duration {
    PAUSE.saturating_mul(1 << failures.saturating_sub(1).min(6)).min(most)
}

impl AccessToken {
    fn is_good(&self, now: SystemTime) -> bool {
        now < self.good_until
    }
}
