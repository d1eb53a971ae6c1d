//! From names to addresses: bounded by organization, joined by name, kept for as long as the zone's owner lets them be.
//!
//! Judges no address: the guard does, each time one is used, so an answer that is kept opens nothing. A look-up goes on
//! when its waiter leaves, for the next who asks. The invariant: what one organization's name servers do, and how many
//! names it asks for, takes nothing that another's look-ups need.

mod order;

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use rr_domain::model::id::OrgId;
use rr_runtime::Tasks;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, timeout};

use super::names::{Found, NameError, Names};

pub(crate) use self::order::Order;

/// For how long an answer is good, whatever the zone says: so short a time would be a look-up for each connection, so
/// long a time would keep an upstream that has moved.
const GOOD_FOR: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(3600));
/// The same of an answer that there is no address. An upstream that comes to be is not to be missed for long.
const MISSING_FOR: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// How long nobody asks again after a failure.
const FAILED_FOR: Duration = Duration::from_secs(1);
/// How long an answer is better than none, after it was good.
const STALE: Duration = Duration::from_secs(300);
/// How long a request with an expired answer waits for a new one.
const STALE_AFTER: Duration = Duration::from_secs(1);
/// A look-up that has taken this long is given up: no further request waits for it.
const SILENT: Duration = Duration::from_secs(5);
/// A look-up that has taken this long is ended.
const LONGEST: Duration = Duration::from_secs(20);
/// Look-ups of one organization at a time, those that were given up among them.
const BY_ORG: usize = 8;
/// Look-ups of all organizations, for any of them; and those kept for organizations that have none under way.
const IN_ALL: usize = 96;
const FOR_FIRST: usize = 64;
/// Look-ups of a process that may be under way.
pub const LOOK_UPS: usize = IN_ALL + FOR_FIRST;
/// Requests of one organization that may wait until it may ask for another name.
const WAITING_BY_ORG: usize = 256;
/// Names whose answers are kept. With more, the organization that most are kept for loses one.
const KEPT: usize = 4096;
/// Addresses of one name and family that are kept: a zone may have thousands.
const BY_FAMILY: usize = 16;

/// A name without an address.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LookupError {
    /// There is none, or none could be found out.
    #[error("host name does not resolve")]
    Failed(#[source] Arc<NameError>),
    /// The look-up was given up.
    #[error("name server did not answer in time")]
    Silent,
    /// The organization waits for as many names as it may.
    #[error("too many requests of the organization are waiting for name resolution")]
    Crowded,
    /// The look-up ended without an outcome, because the process ends.
    #[error("name resolution was cut off")]
    CutOff,
}

type Addresses = Arc<[IpAddr]>;
type Outcome = Result<Addresses, LookupError>;

/// The look-ups of a process. Its lock is held for a few instructions, and only to open a connection.
pub struct Resolver {
    names: Arc<dyn Names>,
    known: Arc<Mutex<Known>>,
    orgs: Mutex<HashMap<OrgId, Weak<Share>>>,
    any: Arc<Semaphore>,
    first: Arc<Semaphore>,
    tasks: Tasks,
}

#[derive(Default)]
struct Known {
    answers: HashMap<Arc<str>, Answer>,
    asked: HashMap<Arc<str>, Asked>,
}

/// What is known of a name.
struct Answer {
    /// Who first asked for it.
    org: OrgId,
    /// `None`: it has none, or none was found.
    addresses: Option<Addresses>,
    good_until: Instant,
    /// Why the last look-up brought none, and how long nobody asks again.
    refused: Option<(LookupError, Instant)>,
    /// How long IPv4 begins, because it was faster.
    v4_first_until: Option<Instant>,
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

/// A look-up's right to be. Given back when the look-up ends, not when its waiter goes.
struct Slot {
    _any: OwnedSemaphorePermit,
    _own: OwnedSemaphorePermit,
    _share: Arc<Share>,
}

/// What is known of a name, as of now.
enum Kept {
    Good(Addresses),
    Refused(LookupError),
    /// Better than none. `true`: and nobody is to be asked yet.
    Stale(Addresses, bool),
    Nothing,
}

impl Resolver {
    /// A resolver that knows nothing yet, and starts nothing before it is asked.
    pub fn new(names: Arc<dyn Names>) -> Arc<Self> {
        Arc::new(Self {
            names,
            known: Arc::default(),
            orgs: Mutex::default(),
            any: Arc::new(Semaphore::new(IN_ALL)),
            first: Arc::new(Semaphore::new(FOR_FIRST)),
            tasks: Tasks::new(),
        })
    }

    /// The addresses of a name, for an organization. The caller bounds the time.
    pub async fn addresses(&self, org: OrgId, name: &str) -> Outcome {
        let name = whole(name);
        let old = match self.kept(name) {
            Kept::Good(addresses) | Kept::Stale(addresses, true) => return Ok(addresses),
            Kept::Refused(error) => return Err(error),
            Kept::Stale(addresses, false) => Some(addresses),
            Kept::Nothing => None,
        };
        let asked = self.ask(org, name);
        let Some(old) = old else { return asked.await };
        match timeout(STALE_AFTER, asked).await {
            Ok(Ok(addresses)) => Ok(addresses),
            // The zone has let go of the name, which is an answer.
            Ok(Err(error)) if error.is_final() => Err(error),
            Ok(Err(_)) | Err(_) => Ok(old),
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
            Kept::Good(addresses) => Ok(addresses),
            Kept::Refused(error) => Err(error),
            Kept::Stale(..) | Kept::Nothing => self.start(org, name, slot).await,
        }
    }

    fn kept(&self, name: &str) -> Kept {
        let (known, now) = (lock(&self.known), Instant::now());
        let Some(answer) = known.answers.get(name) else { return Kept::Nothing };
        let refused = answer.refused.as_ref().filter(|(_, until)| now < *until);
        match (&answer.addresses, refused) {
            (Some(addresses), _) if now < answer.good_until => Kept::Good(Arc::clone(addresses)),
            (Some(addresses), refused) if now < answer.good_until + STALE => {
                Kept::Stale(Arc::clone(addresses), refused.is_some())
            }
            (_, Some((error, _))) => Kept::Refused(error.clone()),
            _ => Kept::Nothing,
        }
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

    async fn start(&self, org: OrgId, name: &str, slot: Slot) -> Outcome {
        let name: Arc<str> = name.into();
        let (tell, told) = watch::channel(None);
        let asked = Asked { outcome: told.clone(), since: Instant::now() };
        let sooner = lock(&self.known).begin(&name, asked);
        if let Some(sooner) = sooner {
            drop(slot);
            return outcome(sooner).await;
        }
        let landing = Landing { known: Arc::clone(&self.known), name: Arc::clone(&name) };
        let names = Arc::clone(&self.names);
        // A task of its own: whoever asked may leave before the answer comes.
        self.tasks.spawn("lookup", async move {
            let _slot = slot;
            let found = timeout(LONGEST, names.look_up(&name)).await;
            let outcome = match found {
                Ok(Ok(Found { addresses, good_for })) if !addresses.is_empty() => {
                    let addresses = few(addresses);
                    let good_for = good_for.clamp(GOOD_FOR.0, GOOD_FOR.1);
                    lock(&landing.known).keep(org, &name, Arc::clone(&addresses), good_for);
                    Ok(addresses)
                }
                Ok(Ok(Found { good_for, .. })) => {
                    Err(LookupError::Failed(Arc::new(NameError::Missing { good_for })))
                }
                Ok(Err(error)) => Err(LookupError::Failed(Arc::new(error))),
                Err(_) => Err(LookupError::Silent),
            };
            if let Err(error) = &outcome {
                lock(&landing.known).refuse(org, &name, error.clone());
            }
            // Only now may another look-up of the name begin: it would not find what this one found.
            drop(landing);
            tell.send_replace(Some(outcome));
        });
        outcome(told).await
    }
}

impl LookupError {
    /// Whether name servers have said that there is no address.
    fn is_final(&self) -> bool {
        matches!(self, Self::Failed(error) if matches!(**error, NameError::Missing { .. }))
    }

    /// How long nobody asks again.
    fn keeps_for(&self) -> Duration {
        match self {
            Self::Failed(error) => match **error {
                NameError::Missing { good_for } => good_for.clamp(MISSING_FOR.0, MISSING_FOR.1),
                NameError::Failed(_) => FAILED_FOR,
            },
            Self::Silent | Self::Crowded | Self::CutOff => FAILED_FOR,
        }
    }
}

/// A name without the dot at its end.
fn whole(name: &str) -> &str {
    name.strip_suffix('.').unwrap_or(name)
}

fn few(mut addresses: Vec<IpAddr>) -> Addresses {
    let (mut v4, mut v6) = (0, 0);
    addresses.retain(|address| {
        let kept = if address.is_ipv4() { &mut v4 } else { &mut v6 };
        *kept += 1;
        *kept <= BY_FAMILY
    });
    addresses.into()
}

async fn outcome(mut told: watch::Receiver<Option<Outcome>>) -> Outcome {
    match told.wait_for(Option::is_some).await {
        Ok(outcome) => outcome.clone().unwrap_or(Err(LookupError::CutOff)),
        Err(_) => Err(LookupError::CutOff),
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

    fn keep(&mut self, org: OrgId, name: &Arc<str>, addresses: Addresses, good_for: Duration) {
        let good_until = Instant::now() + good_for;
        let addresses = Some(addresses);
        self.put(name, Answer { org, addresses, good_until, refused: None, v4_first_until: None });
    }

    fn refuse(&mut self, org: OrgId, name: &Arc<str>, error: LookupError) {
        let now = Instant::now();
        let until = now + error.keeps_for();
        let old = self.answers.get_mut(name).filter(|_| !error.is_final());
        match old {
            Some(old) => old.refused = Some((error, until)),
            None => {
                let refused = Some((error, until));
                let answer = Answer { org, addresses: None, good_until: now, refused, v4_first_until: None };
                self.put(name, answer);
            }
        }
    }

    fn put(&mut self, name: &Arc<str>, mut answer: Answer) {
        match self.answers.get(name) {
            // Otherwise whoever asks when it has expired could let it go with its own.
            Some(old) => (answer.org, answer.v4_first_until) = (old.org, old.v4_first_until),
            None if self.answers.len() >= KEPT => self.make_room(),
            None => {}
        }
        self.answers.insert(Arc::clone(name), answer);
    }

    /// Drops what is of no use any more, or else what soonest saves no look-up of the organization that has most.
    fn make_room(&mut self) {
        let now = Instant::now();
        self.answers.retain(|_, answer| answer.is_of_use(now));
        if self.answers.len() < KEPT {
            return;
        }
        let mut counts: HashMap<OrgId, usize> = HashMap::new();
        self.answers.values().for_each(|answer| *counts.entry(answer.org).or_default() += 1);
        let most = counts.values().max().copied().unwrap_or_default();
        let of_most = self.answers.iter().filter(|(_, answer)| counts[&answer.org] == most);
        if let Some(name) = of_most.min_by_key(|(_, answer)| answer.ends()).map(|(name, _)| Arc::clone(name))
        {
            self.answers.remove(&name);
        }
    }
}

impl Answer {
    /// Whether it still saves a look-up, or is better than none.
    fn is_of_use(&self, now: Instant) -> bool {
        self.ends() > now || (self.addresses.is_some() && self.good_until + STALE > now)
    }

    /// Until when it saves a look-up.
    fn ends(&self) -> Instant {
        self.refused.as_ref().map_or(self.good_until, |(_, until)| self.good_until.max(*until))
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
