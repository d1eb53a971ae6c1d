//! The counters of a process by what they count, whatever configuration names them.
//!
//! Used where configuration is compiled, and by the task that saves; a request holds what it needs. The invariant: as
//! long as anything is counted in a running day or month, the same thing gets the same counter.

use std::collections::HashMap;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use rr_contract::model::id::{CredentialId, MeterId, ProxyId};
use rr_contract::model::proxy::Limits;
use tokio::time::Instant;
use tracing::{info, warn};

use super::changed::{Address, Changed, Id, Saved};
use super::clock::{ClockEvent, QuotaClock};
use super::counter::{Counter, Exceeded};
use super::keyed::{KeyCharge, Keyed};
use super::moment::{Moment, Window};
use super::under_way::{Gauge, UnderWay};
use crate::holder::Holder;

/// How many addresses of callers a node counts apart.
const ADDRESSES: usize = 100_000;
/// How many holders of tokens. An issuer can have any number of them.
const HOLDERS: usize = 100_000;
/// How many caller credentials. They are configured, not chosen by callers, so this only bounds memory.
const CALLERS: usize = 1_000_000;

/// The counters of a proxy.
#[derive(Debug)]
pub(crate) struct ProxyQuota {
    id: ProxyId,
    all: Counter<2>,
    other_callers: Counter<2>,
    other_holders: Counter<2>,
    other_addresses: Counter<2>,
    keys: Arc<Keys>,
    under_way: Arc<Gauge>,
}

impl ProxyQuota {
    /// Of all its requests, by minute and day: a proxy has no limits of other windows.
    pub(crate) const fn all(&self) -> &Counter<2> {
        &self.all
    }

    /// Counts a request among those that are under way; `None` where there are as many as there may be.
    pub(crate) fn enter(&self, most: NonZeroU32) -> Option<UnderWay> {
        self.under_way.enter(most)
    }

    /// Charges a request to a caller credential.
    pub(crate) fn charge_caller(
        &self,
        caller: CredentialId,
        limits: &Limits,
        at: &Moment,
    ) -> Result<KeyCharge, Exceeded> {
        self.keys.callers.charge(Id::Caller(self.id, caller), limits, &self.other_callers, at)
    }

    /// Takes back what was charged to a caller credential.
    pub(crate) fn give_back_caller(&self, charge: KeyCharge) {
        self.keys.callers.give_back(charge, &self.other_callers);
    }

    /// Charges a request to who holds its token.
    pub(crate) fn charge_holder(
        &self,
        holder: Holder,
        limits: &Limits,
        at: &Moment,
    ) -> Result<KeyCharge, Exceeded> {
        self.keys.holders.charge(Id::Holder(self.id, holder), limits, &self.other_holders, at)
    }

    /// Takes back what was charged to who holds a token.
    pub(crate) fn give_back_holder(&self, charge: KeyCharge) {
        self.keys.holders.give_back(charge, &self.other_holders);
    }

    /// Charges a request to an address: to an IPv4 address, or to the 64 bits that an IPv6 address begins with.
    pub(crate) fn charge_address(
        &self,
        address: IpAddr,
        limits: &Limits,
        at: &Moment,
    ) -> Result<KeyCharge, Exceeded> {
        let id = Id::Address(self.id, Address::of(address));
        self.keys.addresses.charge(id, limits, &self.other_addresses, at)
    }

    /// Takes back what was charged to an address.
    pub(crate) fn give_back_address(&self, charge: KeyCharge) {
        self.keys.addresses.give_back(charge, &self.other_addresses);
    }

    fn counters(&self) -> [(Id, &Counter<2>); 4] {
        [
            (Id::Proxy(self.id), &self.all),
            (Id::OtherCallers(self.id), &self.other_callers),
            (Id::OtherHolders(self.id), &self.other_holders),
            (Id::OtherAddresses(self.id), &self.other_addresses),
        ]
    }
}

/// Of all proxies.
#[derive(Debug)]
struct Keys {
    callers: Keyed,
    holders: Keyed,
    addresses: Keyed,
}

/// The counters of a process. Clones share them.
#[derive(Debug, Clone)]
pub(crate) struct Quotas(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    clock: Arc<QuotaClock>,
    changed: Arc<Changed>,
    keys: Arc<Keys>,
    named: Mutex<Named>,
    tally: Tally,
}

#[derive(Debug, Default)]
struct Named {
    proxies: HashMap<ProxyId, Arc<ProxyQuota>>,
    meters: HashMap<MeterId, Arc<Counter>>,
    /// What was saved of those that no configuration has named yet.
    saved: HashMap<Id, Saved>,
    /// When the over ones were last looked for.
    swept: Option<u64>,
}

/// What became of the files, for metrics.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) saves: AtomicU64,
    pub(super) failed: AtomicU64,
    pub(super) damaged: AtomicU64,
}

/// For metrics. Numbers of events are since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Numbers {
    /// Caller credentials that are counted apart.
    pub(crate) callers: u64,
    /// Holders of tokens that are counted apart.
    pub(crate) holders: u64,
    /// Addresses that are counted apart.
    pub(crate) addresses: u64,
    /// Requests whose caller, holder or address was counted together with others because there were too many.
    pub(crate) overflows: u64,
    /// Saves of changed counts.
    pub(crate) saves: u64,
    /// Saves that failed.
    pub(crate) saves_failed: u64,
    /// Damaged parts of the file of counts.
    pub(crate) damaged: u64,
    /// Jumps of the wall clock against the monotonic clock.
    pub(crate) clock_jumps: u64,
}

impl Quotas {
    pub(super) fn new(clock: QuotaClock) -> Self {
        Self::with_room(clock, CALLERS, HOLDERS, ADDRESSES)
    }

    pub(super) fn with_room(clock: QuotaClock, callers: usize, holders: usize, addresses: usize) -> Self {
        let changed = Arc::default();
        let [callers, holders, addresses] =
            [callers, holders, addresses].map(|most| Keyed::new(most, &changed));
        let keys = Keys { callers, holders, addresses };
        Self(Arc::new(Shared {
            clock: Arc::new(clock),
            changed,
            keys: Arc::new(keys),
            named: Mutex::default(),
            tally: Tally::default(),
        }))
    }

    /// Counters that no file keeps: for a configuration without a node.
    pub(crate) fn fleeting() -> Self {
        let now = SystemTime::now();
        Self::new(QuotaClock::start(now, Instant::now(), now))
    }

    /// The clock that moments come from.
    pub(crate) fn clock(&self) -> &Arc<QuotaClock> {
        &self.0.clock
    }

    /// The counters of a proxy.
    pub(crate) fn proxy(&self, id: ProxyId) -> Arc<ProxyQuota> {
        let Named { proxies, saved, .. } = &mut *self.named();
        let make = || {
            let mut counter = |id| Counter::new(id, saved.remove(&id).as_ref(), &self.0.changed);
            Arc::new(ProxyQuota {
                id,
                all: counter(Id::Proxy(id)),
                other_callers: counter(Id::OtherCallers(id)),
                other_holders: counter(Id::OtherHolders(id)),
                other_addresses: counter(Id::OtherAddresses(id)),
                keys: Arc::clone(&self.0.keys),
                under_way: Arc::default(),
            })
        };
        Arc::clone(proxies.entry(id).or_insert_with(make))
    }

    /// The counter of a meter.
    pub(crate) fn meter(&self, id: MeterId) -> Arc<Counter> {
        let Named { meters, saved, .. } = &mut *self.named();
        let name = Id::Meter(id);
        let make = || Arc::new(Counter::new(name, saved.remove(&name).as_ref(), &self.0.changed));
        Arc::clone(meters.entry(id).or_insert_with(make))
    }

    /// Compares the clocks, and lets go of what is over. To be called twice a second, by one task; does not wait for
    /// a disk.
    pub(crate) fn tick(&self, wall: SystemTime, mono: Instant) -> Option<ClockEvent> {
        let event = self.0.clock.watch(wall, mono);
        match event {
            Some(ClockEvent::Jumped(ms)) => warn!(
                ms,
                "wall clock jumped against the monotonic clock; limits and meters count on as if it had not, until it has held for five minutes"
            ),
            Some(ClockEvent::Followed(ms)) => {
                info!(ms, "limits and meters follow the wall clock again");
            }
            Some(ClockEvent::Returned) => info!("wall clock is back where it was before it jumped"),
            None => {}
        }
        let now = self.0.clock.moment(mono);
        self.0.keys.callers.sweep(&now);
        self.0.keys.holders.sweep(&now);
        self.0.keys.addresses.sweep(&now);
        self.forget(&now);
        event
    }

    /// Once a minute.
    fn forget(&self, now: &Moment) {
        let minute = now.term(Window::Minute).bits();
        let Named { proxies, meters, saved, swept } = &mut *self.named();
        if swept.replace(minute) == Some(minute) {
            return;
        }
        // No other clone can be made of the last one meanwhile: they are made under this lock.
        proxies.retain(|_, proxy| {
            Arc::strong_count(proxy) > 1
                || Arc::strong_count(&proxy.under_way) > 1
                || proxy.counters().iter().any(|(_, counter)| counter.is_running(now))
        });
        meters.retain(|_, meter| Arc::strong_count(meter) > 1 || meter.is_running(now));
        saved.retain(|_, saved| saved.is_running(now));
    }

    /// For metrics.
    pub(crate) fn numbers(&self) -> Numbers {
        let Shared { clock, keys, tally, .. } = &*self.0;
        Numbers {
            callers: keys.callers.held() as u64,
            holders: keys.holders.held() as u64,
            addresses: keys.addresses.held() as u64,
            overflows: keys.callers.overflows() + keys.holders.overflows() + keys.addresses.overflows(),
            saves: tally.saves.load(Ordering::Relaxed),
            saves_failed: tally.failed.load(Ordering::Relaxed),
            damaged: tally.damaged.load(Ordering::Relaxed),
            clock_jumps: clock.jumps(),
        }
    }

    pub(super) fn tally(&self) -> &Tally {
        &self.0.tally
    }

    /// Moves the names of all that has changed into `ids`.
    pub(super) fn take_changed(&self, ids: &mut Vec<Id>) {
        self.0.changed.take(ids);
    }

    /// What is to be on disk of one; `None` if it is gone.
    pub(super) fn save(&self, id: Id) -> Option<Saved> {
        match id {
            Id::Caller(..) => self.0.keys.callers.save(id),
            Id::Holder(..) => self.0.keys.holders.save(id),
            Id::Address(..) => self.0.keys.addresses.save(id),
            Id::Meter(meter) => self.named().meters.get(&meter).map(|counter| counter.save()),
            Id::Proxy(proxy) => self.named().proxies.get(&proxy).map(|quota| quota.all.save()),
            Id::OtherCallers(proxy) => {
                self.named().proxies.get(&proxy).map(|quota| quota.other_callers.save())
            }
            Id::OtherHolders(proxy) => {
                self.named().proxies.get(&proxy).map(|quota| quota.other_holders.save())
            }
            Id::OtherAddresses(proxy) => {
                self.named().proxies.get(&proxy).map(|quota| quota.other_addresses.save())
            }
        }
    }

    /// All that is to be on disk and is not over.
    pub(super) fn save_all(&self, now: &Moment, mut each: impl FnMut(Id, Saved)) {
        let mut each = |id, saved: Saved| {
            if saved.is_running(now) {
                each(id, saved);
            }
        };
        let Named { proxies, meters, saved, .. } = &*self.named();
        let of_proxies = proxies.values().flat_map(|quota| quota.counters());
        of_proxies.for_each(|(id, counter)| each(id, counter.saved()));
        meters.iter().for_each(|(id, counter)| each(Id::Meter(*id), counter.saved()));
        saved.iter().for_each(|(id, saved)| each(*id, *saved));
        self.0.keys.callers.save_all(&mut each);
        self.0.keys.holders.save_all(&mut each);
        self.0.keys.addresses.save_all(&mut each);
    }

    /// Goes on with what was saved.
    pub(super) fn load(&self, id: Id, saved: Saved, now: &Moment) {
        // A key whose day is over is not worth its place.
        let is_running = saved.is_running(now);
        match id {
            Id::Caller(..) => self.0.keys.callers.load(id, &saved, is_running),
            Id::Holder(..) => self.0.keys.holders.load(id, &saved, is_running),
            Id::Address(..) => self.0.keys.addresses.load(id, &saved, is_running),
            _ => {
                self.named().saved.insert(id, saved);
            }
        }
    }

    fn named(&self) -> MutexGuard<'_, Named> {
        self.0.named.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
