//! What one request was charged, until it is known what it came to.
//!
//! Decides nothing: `quota` does. The invariant: charges that were not handed to a request's draft are given back, and
//! those that were are settled once.

use std::net::IpAddr;
use std::num::NonZeroU64;
use std::sync::Arc;

use http::HeaderMap;
use rr_contract::model::meter::Windows;
use rr_contract::model::proxy::Limits;
use rr_contract::policy::meter::{Amount, ReadingError, Tally};
use rr_contract::policy::pace::Pace;
use rr_contract::policy::stream::{Framing, Unit};
use rr_contract::wire::fleet::LimitKind;
use tokio::task::yield_now;

use crate::quota::{
    Caller, Charge, Exceeded, KeyCharge, MeterCharge, Moment, Policy as LimitPolicy, ProxyQuota, Quota as _,
    StandardLimits, State, Window,
};
use crate::reply::{Denial, Limited, Whose, put_limits, warn};
use crate::report::{LimitState, METERS_MAX, MeterState, RawRecord};
use crate::snapshot::RunningMeter;

/// So much is read in one go, by all meters together: a moment, however many responses end at once.
const AT_ONCE: usize = 32 * 1024;

/// All that one request was charged.
#[derive(Default)]
pub(crate) struct Charges {
    at: Option<Moment>,
    limits: Vec<ChargedLimit>,
    meters: Vec<ChargedMeter>,
    /// Handed to a draft, which settles them.
    is_kept: bool,
    /// There was no room to look for a number.
    is_unread: bool,
}

/// What the upstream did of what was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Done {
    /// It failed, or never heard of it.
    Nothing,
    /// Nobody waited for the end, which may have told.
    Perhaps,
    All,
}

struct ChargedLimit {
    quota: Arc<ProxyQuota>,
    limits: Limits,
    charge: LimitCharge,
}

enum LimitCharge {
    Proxy(Charge),
    Caller(KeyCharge),
    Holder(KeyCharge),
    Address(KeyCharge),
}

struct ChargedMeter {
    running: RunningMeter,
    charge: MeterCharge,
    /// What has come of its numbers.
    tally: Tally,
    /// `None`: not known yet.
    found: Option<Result<Amount, ReadingError>>,
}

impl LimitCharge {
    fn kind(&self) -> LimitKind {
        match self {
            Self::Proxy(_) => LimitKind::Proxy,
            Self::Caller(_) | Self::Holder(_) => LimitKind::Caller,
            Self::Address(_) => LimitKind::Address,
        }
    }

    fn used(&self, window: Window) -> u64 {
        match self {
            Self::Proxy(charge) => charge.used(window),
            Self::Caller(charge) | Self::Holder(charge) | Self::Address(charge) => charge.used(window),
        }
    }
}

impl Charges {
    pub(super) fn begin(at: Moment) -> Self {
        let (limits, meters) = Default::default();
        Self { at: Some(at), limits, meters, is_kept: false, is_unread: false }
    }

    /// Charges one request to all of a proxy.
    pub(super) fn proxy(
        &mut self,
        quota: &Arc<ProxyQuota>,
        limits: &Limits,
        at: &Moment,
    ) -> Result<(), Denial> {
        let charge = quota
            .all()
            .charge(1, &windows(limits), at)
            .map_err(|full| of_proxy(LimitKind::Proxy, full, at))?;
        self.limit(quota, limits, LimitCharge::Proxy(charge));
        Ok(())
    }

    /// Charges one request to a caller credential, or to who holds its token where holders are told apart.
    pub(super) fn caller(
        &mut self,
        quota: &Arc<ProxyQuota>,
        caller: Caller,
        limits: &Limits,
        at: &Moment,
    ) -> Result<(), Denial> {
        let charge = match caller.holder {
            None => quota.charge_caller(caller.credential, limits, at).map(LimitCharge::Caller),
            Some(holder) => quota.charge_holder(holder, limits, at).map(LimitCharge::Holder),
        };
        self.limit(quota, limits, charge.map_err(|full| of_proxy(LimitKind::Caller, full, at))?);
        Ok(())
    }

    /// Charges one request to an address.
    pub(super) fn address(
        &mut self,
        quota: &Arc<ProxyQuota>,
        address: IpAddr,
        limits: &Limits,
        at: &Moment,
    ) -> Result<(), Denial> {
        let charge = quota
            .charge_address(address, limits, at)
            .map_err(|full| of_proxy(LimitKind::Address, full, at))?;
        self.limit(quota, limits, LimitCharge::Address(charge));
        Ok(())
    }

    fn limit(&mut self, quota: &Arc<ProxyQuota>, limits: &Limits, charge: LimitCharge) {
        self.limits.push(ChargedLimit { quota: Arc::clone(quota), limits: *limits, charge });
    }

    /// Charges a meter one request, or what it reserves.
    pub(super) fn meter(
        &mut self,
        running: &RunningMeter,
        caller: Caller,
        at: &Moment,
    ) -> Result<(), Denial> {
        let meter = &running.meter;
        let is_requests = meter.counts_requests();
        let amount = if is_requests { Amount::whole(1) } else { meter.reserve };
        let charge = running
            .counts
            .charge(caller, amount.millionths(), &running.limits, at)
            .map_err(|full| of_meter(running, full, at))?;
        let found = is_requests.then_some(Ok(amount));
        self.meters.push(ChargedMeter { running: running.clone(), charge, tally: meter.tally(), found });
        Ok(())
    }

    /// Whether a meter reads its number from the response's body.
    pub(super) fn read_bodies(&self) -> bool {
        self.meters.iter().any(|one| one.running.meter.reads_response_body())
    }

    /// Has meters read their numbers from the head of the response.
    pub(super) fn read_headers(&mut self, headers: &HeaderMap) {
        for one in &mut self.meters {
            if one.found.is_some() {
                continue;
            }
            let meter = &one.running.meter;
            meter.read_headers(headers, &mut one.tally);
            if !meter.reads_response_body() {
                one.found = Some(meter.total(&one.tally));
            }
        }
    }

    /// Has meters read their numbers from the response's document; `None` where there is none.
    pub(super) fn read_document(&mut self, document: Option<&[u8]>) {
        for one in self.readers() {
            let meter = &one.running.meter;
            let read = document.map_or(Ok(()), |document| meter.read_document(document, &mut one.tally));
            one.found = Some(read.and_then(|()| meter.total(&one.tally)));
        }
    }

    /// Has meters read their numbers from a part of a stream.
    pub(super) fn read_unit(&mut self, framing: Framing, unit: Unit<'_>) {
        let mut joined = Vec::new();
        for one in self.readers() {
            one.running.meter.read_unit(framing, unit, &mut one.tally, &mut joined);
        }
    }

    /// Whether no meter has a number in several parts of a stream, one behind the other.
    pub(super) fn pass_by(&self, framing: Framing, units: &[u8]) -> bool {
        let unknown = self.meters.iter().filter(|one| one.found.is_none());
        unknown
            .map(|one| &one.running.meter)
            .all(|meter| !meter.reads_response_body() || meter.passes_by(framing, units))
    }

    /// No more of a stream comes; `readable`: all of it could be read.
    pub(super) fn read_all(&mut self, readable: bool) {
        for one in self.readers() {
            let total = one.running.meter.total(&one.tally);
            one.found = Some(if readable { total } else { Err(ReadingError::Unseen) });
        }
    }

    /// The meters that read numbers in bodies, and do not know theirs.
    fn readers(&mut self) -> impl Iterator<Item = &mut ChargedMeter> {
        let unknown = self.meters.iter_mut().filter(|one| one.found.is_none());
        unknown.filter(|one| one.running.meter.reads_response_body())
    }

    /// Whether a document of this length is read in no time.
    pub(super) fn reads_at_once(&self, length: usize) -> bool {
        let readers = self.meters.iter().filter(|one| one.running.meter.reads_response_body());
        length.saturating_mul(readers.count()) <= AT_ONCE
    }

    /// Has meters read their numbers from a document of any length, and lets others go on meanwhile. Where it is not
    /// `whole`, only what is a document all the same has a number.
    pub(super) async fn read_in_turn(&mut self, document: &[u8], whole: bool) {
        let mut pace = Pace::new(yield_now);
        for one in self.readers() {
            let meter = &one.running.meter;
            let read = meter.read_document_at(document, &mut one.tally, &mut pace).await;
            let read = read.and_then(|()| meter.total(&one.tally));
            one.found = if whole { Some(read) } else { read.ok().map(Ok) };
        }
    }

    /// What was to be read is not: it costs no less than was set aside for it.
    pub(super) fn unread(&mut self) {
        self.is_unread = true;
    }

    /// Tells a caller how far limits are used.
    pub(super) fn put_fields(&self, headers: &mut HeaderMap) {
        let Some(at) = &self.at else { return };
        if self.limits.is_empty() && self.meters.is_empty() {
            return;
        }
        let mut standing = StandardLimits::default();
        for one in &self.limits {
            let policy = policy(one.charge.kind());
            for (window, limit) in limits_of(&one.limits) {
                let used = one.charge.used(window);
                standing.add(State { policy, window, limit: limit.get(), used });
            }
        }
        for one in &self.meters {
            for window in Window::ALL {
                if let Some(limit) = window.limit(&one.running.limits) {
                    let used = one.charge.used(window);
                    standing.add(meter_state(&one.running, window, limit.get(), used));
                }
            }
        }
        if let Some((policy, limit)) = standing.fields(at) {
            put_limits(headers, policy, limit);
        }
        if standing.is_near() {
            warn(headers);
        }
    }

    /// Has meters read their numbers from what came of a response's document before it broke off, if that is whole.
    pub(super) fn read_broken(&mut self, document: &[u8]) {
        for one in self.readers() {
            let meter = &one.running.meter;
            let read = meter.read_document(document, &mut one.tally);
            one.found = read.and_then(|()| meter.total(&one.tally)).ok().map(Ok);
        }
    }

    /// Settles all of it.
    pub(super) fn settle(mut self, done: Done, record: &mut RawRecord) {
        self.is_kept = true;
        let done = if self.is_unread && done == Done::All { Done::Perhaps } else { done };
        for one in &self.limits {
            for (window, limit) in limits_of(&one.limits) {
                let (kind, used) = (one.charge.kind(), one.charge.used(window));
                record.limits.push(LimitState { kind, window: window.to_wire(), limit: limit.get(), used });
            }
        }
        for one in &self.meters {
            let meter = &one.running.meter;
            // What a response told before it broke off.
            let told = if one.found.is_none() && one.tally.has_begun() && done == Done::Perhaps {
                meter.total(&one.tally).ok()
            } else {
                None
            };
            let amount = match (one.found.or(told.map(|told| Ok(told.max(meter.reserve)))), done) {
                // Nothing was done, so nothing was used.
                (None | Some(Err(_)), Done::Nothing) => Amount::default(),
                (None | Some(Err(_)), Done::All) => meter.on_missing,
                // Whoever makes it so must not pay less than was set aside for it.
                (None | Some(Err(_)), Done::Perhaps) => meter.on_missing.max(meter.reserve),
                (Some(Ok(amount)), _) => amount,
            };
            one.running.counts.settle(one.charge, amount.millionths());
            if record.meters.len() >= METERS_MAX {
                continue;
            }
            record.meters.push(MeterState {
                meter: one.running.meter.id,
                charged: amount.millionths(),
                missing: !matches!(one.found, Some(Ok(_))) && told.is_none() && done != Done::Nothing,
                partial: told.is_some(),
                exceeded: None,
            });
        }
    }
}

impl Drop for Charges {
    fn drop(&mut self) {
        if self.is_kept {
            return;
        }
        for one in self.limits.drain(..) {
            match one.charge {
                LimitCharge::Proxy(charge) => one.quota.all().give_back(charge),
                LimitCharge::Caller(charge) => one.quota.give_back_caller(charge),
                LimitCharge::Holder(charge) => one.quota.give_back_holder(charge),
                LimitCharge::Address(charge) => one.quota.give_back_address(charge),
            }
        }
        for one in self.meters.drain(..) {
            one.running.counts.give_back(one.charge);
        }
    }
}

/// A limit of the proxy has no room.
fn of_proxy(kind: LimitKind, exceeded: Exceeded, at: &Moment) -> Denial {
    let Exceeded { window, limit, used, .. } = exceeded;
    denial(Whose::Proxy(kind), exceeded, State { policy: policy(kind), window, limit, used }, at)
}

/// A meter has no room.
fn of_meter(running: &RunningMeter, exceeded: Exceeded, at: &Moment) -> Denial {
    let Exceeded { window, limit, used, .. } = exceeded;
    let whose = Whose::Meter(running.meter.id, running.meter.name.clone());
    denial(whose, exceeded, meter_state(running, window, limit, used), at)
}

fn denial(whose: Whose, exceeded: Exceeded, state: State<'_>, at: &Moment) -> Denial {
    let mut standing = StandardLimits::default();
    standing.add(state);
    Denial::Limited(Box::new(Limited { whose, exceeded, fields: standing.fields(at) }))
}

fn policy(kind: LimitKind) -> LimitPolicy<'static> {
    match kind {
        LimitKind::Caller => LimitPolicy::Caller,
        LimitKind::Address => LimitPolicy::Address,
        LimitKind::Proxy | LimitKind::Unspecified => LimitPolicy::Proxy,
    }
}

/// How a meter stands. All meters are counted in millionths; requests are told as requests.
fn meter_state(running: &RunningMeter, window: Window, limit: u64, used: u64) -> State<'_> {
    let name = running.meter.name.as_str();
    if !running.meter.counts_requests() {
        return State { policy: LimitPolicy::MeterOfValues(name), window, limit, used };
    }
    let whole = |millionths| Amount::of_millionths(millionths).rounded_up();
    State { policy: LimitPolicy::MeterOfRequests(name), window, limit: whole(limit), used: whole(used) }
}

/// The limits that there are.
fn limits_of(limits: &Limits) -> impl Iterator<Item = (Window, NonZeroU64)> {
    let limits = [(Window::Minute, limits.minute), (Window::Day, limits.day)];
    limits.into_iter().filter_map(|(window, limit)| Some((window, limit?)))
}

fn windows(limits: &Limits) -> Windows {
    Windows { minute: limits.minute, day: limits.day, ..Windows::default() }
}
