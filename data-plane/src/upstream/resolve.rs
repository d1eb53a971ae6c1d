//! From names to addresses: bounded by organization, joined by name, kept for a while.
//!
//! Judges no address: the guard does, each time one is used, so an answer that is kept opens nothing. The system's
//! look-up cannot be cancelled, and takes a thread for as long as a name server is silent. The invariant: what one
//! organization's name servers do takes no thread that another's look-ups need.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, ToSocketAddrs as _};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::Builder;
use std::time::Duration;

use rr_contract::model::id::OrgId;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, timeout};

/// How long an answer is good. The system does not tell what the zone's owner allows.
const FRESH: Duration = Duration::from_secs(30);
/// How long an answer is better than none.
const STALE: Duration = Duration::from_secs(300);
/// How long a request with an expired answer waits for a new one.
const STALE_AFTER: Duration = Duration::from_secs(1);
/// A look-up that has taken this long is given up: no further request waits for it, though its thread cannot be
/// ended.
const SILENT: Duration = Duration::from_secs(5);
/// Look-ups of one organization at a time, those that were given up among them.
const BY_ORG: usize = 8;
/// Look-ups of all organizations, for any of them; and those kept for organizations that have none under way.
const IN_ALL: usize = 96;
const FOR_FIRST: usize = 64;
/// Requests of one organization that may wait until it may ask for another name.
const WAITING_BY_ORG: usize = 256;
/// Names whose answers are kept.
const KEPT: usize = 4096;
/// The resolver of the C library reads files and speaks to servers on the stack.
const STACK: usize = 512 * 1024;

/// Resolves host names.
pub(crate) trait Names: Send + Sync {
    /// Blocks until the answer.
    fn look_up(&self, name: &str) -> io::Result<Vec<IpAddr>>;
}

/// The system's resolver.
pub(crate) struct SystemNames;

impl Names for SystemNames {
    fn look_up(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        Ok((name, 0).to_socket_addrs()?.map(|address| address.ip()).collect())
    }
}

/// A name without an address.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum LookupError {
    #[error("host name does not resolve")]
    Failed(#[source] Arc<io::Error>),
    #[error("name server did not answer in time")]
    Silent,
    #[error("too many requests of the organization are waiting for name resolution")]
    Crowded,
}

type Addresses = Arc<[IpAddr]>;
type Outcome = Result<Addresses, LookupError>;

/// The look-ups of a process. Its lock is held for a few instructions, and only to open a connection.
pub(crate) struct Resolver {
    names: Arc<dyn Names>,
    known: Arc<Mutex<Known>>,
    orgs: Mutex<HashMap<OrgId, Weak<Share>>>,
    any: Arc<Semaphore>,
    first: Arc<Semaphore>,
}

#[derive(Default)]
struct Known {
    answers: HashMap<Arc<str>, Answer>,
    asked: HashMap<Arc<str>, Asked>,
}

struct Answer {
    addresses: Addresses,
    since: Instant,
}

/// A look-up under way.
struct Asked {
    outcome: watch::Receiver<Option<Outcome>>,
    since: Instant,
}

/// What one organization has under way.
struct Share {
    slots: Arc<Semaphore>,
    waiting: AtomicUsize,
}

/// A thread's right to be. Given back when the look-up ends, not when its waiter goes.
struct Slot {
    _any: OwnedSemaphorePermit,
    _own: OwnedSemaphorePermit,
    _share: Arc<Share>,
}

impl Resolver {
    pub(crate) fn new(names: Arc<dyn Names>) -> Arc<Self> {
        Arc::new(Self {
            names,
            known: Arc::default(),
            orgs: Mutex::default(),
            any: Arc::new(Semaphore::new(IN_ALL)),
            first: Arc::new(Semaphore::new(FOR_FIRST)),
        })
    }

    /// The addresses of a name, for an organization. The caller bounds the time.
    pub(super) async fn addresses(&self, org: OrgId, name: &str) -> Outcome {
        let old = match self.kept(name) {
            Some((addresses, age)) if age < FRESH => return Ok(addresses),
            Some((addresses, age)) if age < STALE => Some(addresses),
            _ => None,
        };
        let asked = self.ask(org, name);
        match old {
            None => asked.await,
            Some(old) => Ok(timeout(STALE_AFTER, asked).await.ok().and_then(Result::ok).unwrap_or(old)),
        }
    }

    /// Joins the look-up that is under way, or starts one when it is the organization's turn.
    async fn ask(&self, org: OrgId, name: &str) -> Outcome {
        if let Some(asked) = self.join(name) {
            return asked?.await;
        }
        let slot = self.slot(org).await?;
        // Another request may have got the answer meanwhile.
        match self.kept(name) {
            Some((addresses, age)) if age < FRESH => Ok(addresses),
            _ => self.start(name, slot).await,
        }
    }

    fn kept(&self, name: &str) -> Option<(Addresses, Duration)> {
        let known = lock(&self.known);
        let answer = known.answers.get(name)?;
        Some((Arc::clone(&answer.addresses), answer.since.elapsed()))
    }

    fn join(&self, name: &str) -> Option<Result<impl Future<Output = Outcome> + use<>, LookupError>> {
        let known = lock(&self.known);
        let asked = known.asked.get(name)?;
        if asked.since.elapsed() >= SILENT {
            return Some(Err(LookupError::Silent));
        }
        Some(Ok(outcome(asked.outcome.clone())))
    }

    async fn slot(&self, org: OrgId) -> Result<Slot, LookupError> {
        let share = self.share(org);
        let closed = "no semaphore of ours is ever closed";
        let own = match Arc::clone(&share.slots).try_acquire_owned() {
            Ok(own) => own,
            Err(_) => {
                let _waiting = WaitingLookup::enter(&share)?;
                Arc::clone(&share.slots).acquire_owned().await.expect(closed)
            }
        };
        let is_first = share.slots.available_permits() + 1 == BY_ORG;
        let any = match Arc::clone(&self.any).try_acquire_owned() {
            Ok(any) => any,
            Err(_) if is_first => Arc::clone(&self.first).acquire_owned().await.expect(closed),
            Err(_) => Arc::clone(&self.any).acquire_owned().await.expect(closed),
        };
        Ok(Slot { _any: any, _own: own, _share: share })
    }

    fn share(&self, org: OrgId) -> Arc<Share> {
        let mut orgs = lock(&self.orgs);
        if let Some(share) = orgs.get(&org).and_then(Weak::upgrade) {
            return share;
        }
        orgs.retain(|_, share| share.strong_count() > 0);
        let share =
            Arc::new(Share { slots: Arc::new(Semaphore::new(BY_ORG)), waiting: AtomicUsize::default() });
        orgs.insert(org, Arc::downgrade(&share));
        share
    }

    async fn start(&self, name: &str, slot: Slot) -> Outcome {
        let name: Arc<str> = name.into();
        let (tell, told) = watch::channel(None);
        let since = Instant::now();
        let asked = Asked { outcome: told.clone(), since };
        let sooner = lock(&self.known).begin(&name, asked);
        if let Some(sooner) = sooner {
            drop(slot);
            return outcome(sooner).await;
        }
        let landing = Landing { known: Arc::clone(&self.known), name: Arc::clone(&name) };
        let names = Arc::clone(&self.names);
        let work = move || {
            let _slot = slot;
            let found = names.look_up(&name);
            let found = found.and_then(|found| match found.is_empty() {
                true => Err(io::Error::from(io::ErrorKind::NotFound)),
                false => Ok(Addresses::from(found)),
            });
            if let Ok(addresses) = &found {
                lock(&landing.known).keep(&name, Answer { addresses: Arc::clone(addresses), since });
            }
            drop(landing);
            tell.send_replace(Some(found.map_err(|error| LookupError::Failed(Arc::new(error)))));
        };
        let started = Builder::new().name("lookup".to_owned()).stack_size(STACK).spawn(work);
        started.map_err(|error| LookupError::Failed(Arc::new(error)))?;
        outcome(told).await
    }
}

async fn outcome(mut told: watch::Receiver<Option<Outcome>>) -> Outcome {
    let cut_off = || LookupError::Failed(Arc::new(io::ErrorKind::Interrupted.into()));
    match told.wait_for(Option::is_some).await {
        Ok(outcome) => outcome.clone().unwrap_or_else(|| Err(cut_off())),
        Err(_) => Err(cut_off()),
    }
}

impl Known {
    /// Registers a look-up, unless there is one already.
    fn begin(&mut self, name: &Arc<str>, asked: Asked) -> Option<watch::Receiver<Option<Outcome>>> {
        if let Some(sooner) = self.asked.get(name) {
            return Some(sooner.outcome.clone());
        }
        self.asked.insert(Arc::clone(name), asked);
        None
    }

    fn keep(&mut self, name: &Arc<str>, answer: Answer) {
        if self.answers.len() >= KEPT && !self.answers.contains_key(name) {
            self.answers.retain(|_, answer| answer.since.elapsed() < FRESH);
            let oldest = self.answers.iter().min_by_key(|(_, answer)| answer.since);
            if let Some(oldest) =
                oldest.map(|(name, _)| Arc::clone(name)).filter(|_| self.answers.len() >= KEPT)
            {
                self.answers.remove(&oldest);
            }
        }
        self.answers.insert(Arc::clone(name), answer);
    }
}

/// Says that a look-up is over, even if it panicked or never began.
struct Landing {
    known: Arc<Mutex<Known>>,
    name: Arc<str>,
}

impl Drop for Landing {
    fn drop(&mut self) {
        lock(&self.known).asked.remove(&self.name);
    }
}

/// A request that waits for its organization's turn.
struct WaitingLookup<'s>(&'s Share);

impl<'s> WaitingLookup<'s> {
    fn enter(share: &'s Share) -> Result<Self, LookupError> {
        let waiting = Self(share);
        let before = share.waiting.fetch_add(1, Ordering::Relaxed);
        if before >= WAITING_BY_ORG { Err(LookupError::Crowded) } else { Ok(waiting) }
    }
}

impl Drop for WaitingLookup<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

/// No code under these locks leaves a partial state, so a panic elsewhere is no reason to stop.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
