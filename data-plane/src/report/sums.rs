//! Requests that are alike, added up by minute: how many, bytes, latencies, and what meters counted.
//!
//! Decides nothing about what is written when. The invariants: each request is in exactly one sum; and however long nobody
//! takes them, there are no more of them than `MOST`, or than twice as many as there are proxies and days.

use std::collections::HashMap;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use http::StatusCode;
use rr_contract::model::id::{CredentialId, MeterId, OrgId, ProxyId, RuleId};
use rr_contract::model::latency::Latencies;
use rr_contract::wire::fleet::{self, Effect, Window};

use crate::outcome::Code;

use super::RawRecord;
use super::raw_record::MeterState;

/// As many as a batch takes.
pub(super) const MOST: usize = 4096;
const HOUR: u32 = 60;
const DAY: u32 = 24 * HOUR;

/// What requests have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Key {
    /// Since 1970.
    minute: u32,
    org: OrgId,
    proxy: ProxyId,
    caller: Option<CredentialId>,
    rule: Option<RuleId>,
    /// Rules that only observe would have denied them, and which one.
    observed: Option<Option<RuleId>>,
    /// 0: there was no answer.
    status: u16,
    /// `None`: of a name that this edition does not know.
    code: Option<Code>,
    revision: u64,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Amounts {
    requests: u64,
    aborted: u64,
    request_bytes: u64,
    response_bytes: u64,
    micros: u64,
    longest_micros: u64,
    latencies: Latencies,
    /// Few: no proxy has many.
    meters: Vec<(MeterId, Metered)>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Metered {
    charged: u64,
    missing: u64,
    exceeded: u64,
}

/// Sums that nobody has taken yet.
#[derive(Debug)]
pub(crate) struct Sums {
    by_key: HashMap<Key, Amounts>,
    /// How many there may be before they are put together.
    room: usize,
}

/// Sums that a worker and the spool's thread have in common: of requests that have no record of their own. The lock is
/// taken for such requests alone.
#[derive(Debug, Clone, Default)]
pub(crate) struct SharedSums(Arc<Mutex<Sums>>);

impl SharedSums {
    pub(super) fn add(&self, record: &RawRecord) {
        self.sums().add(record);
    }

    pub(super) fn take(&self) -> Sums {
        mem::take(&mut *self.sums())
    }

    fn sums(&self) -> MutexGuard<'_, Sums> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Sums {
    fn default() -> Self {
        Self { by_key: HashMap::new(), room: MOST }
    }
}

impl Sums {
    /// Adds one request. A record that stands for more counts once: the others were added when they were left out.
    pub(super) fn add(&mut self, record: &RawRecord) {
        let Some((key, amounts)) = of_record(record) else { return };
        // Nearly always it is one of those that are there.
        if let Some(there) = self.by_key.get_mut(&key) {
            return there.add(amounts);
        }
        self.put(key, amounts);
    }

    /// Adds what is shared, which is empty afterwards.
    pub(super) fn receive(&mut self, shared: &SharedSums) {
        self.merge(shared.take());
    }

    pub(super) fn merge(&mut self, more: Self) {
        more.by_key.into_iter().for_each(|(key, amounts)| self.put(key, amounts));
    }

    /// Adds one that was written before.
    pub(super) fn put_back(&mut self, sum: &fleet::Sum) {
        if let Some((key, amounts)) = of_wire(sum) {
            self.put(key, amounts);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.by_key.len()
    }

    /// Takes up to so many of them out.
    pub(super) fn take(&mut self, most: usize) -> Vec<fleet::Sum> {
        if self.by_key.len() <= most {
            self.room = MOST;
            return self.by_key.drain().map(|(key, amounts)| to_wire(key, amounts)).collect();
        }
        let keys: Vec<Key> = self.by_key.keys().take(most).copied().collect();
        keys.into_iter().filter_map(|key| Some(to_wire(key, self.by_key.remove(&key)?))).collect()
    }

    fn put(&mut self, key: Key, amounts: Amounts) {
        if self.by_key.len() >= self.room && !self.by_key.contains_key(&key) {
            self.shrink();
        }
        self.by_key.entry(key).or_default().add(amounts);
    }

    /// Puts together those of an hour, and where that is not enough those of a proxy's day.
    fn shrink(&mut self) {
        for coarser in [Key::of_hour, Key::coarsest] {
            for (key, amounts) in mem::take(&mut self.by_key) {
                self.by_key.entry(coarser(key)).or_default().add(amounts);
            }
            if self.by_key.len() <= MOST / 2 {
                break;
            }
        }
        // With less room it would be done for each request.
        self.room = MOST.max(2 * self.by_key.len());
    }
}

impl Key {
    fn of_hour(self) -> Self {
        Self { minute: self.minute - self.minute % HOUR, ..self }
    }

    fn coarsest(self) -> Self {
        let Self { minute, org, proxy, .. } = self;
        Self {
            minute: minute - minute % DAY,
            org,
            proxy,
            caller: None,
            rule: None,
            observed: None,
            status: 0,
            code: None,
            revision: 0,
        }
    }
}

impl Amounts {
    fn add(&mut self, more: Self) {
        let Self { requests, aborted, request_bytes, response_bytes, micros, longest_micros, .. } = more;
        for (sum, more) in [
            (&mut self.requests, requests),
            (&mut self.aborted, aborted),
            (&mut self.request_bytes, request_bytes),
            (&mut self.response_bytes, response_bytes),
            (&mut self.micros, micros),
        ] {
            *sum = sum.saturating_add(more);
        }
        self.longest_micros = self.longest_micros.max(longest_micros);
        self.latencies.merge(&more.latencies);
        for (meter, more) in more.meters {
            let at = self.meters.iter().position(|(known, _)| *known == meter).unwrap_or_else(|| {
                self.meters.push((meter, Metered::default()));
                self.meters.len() - 1
            });
            let Metered { charged, missing, exceeded } = &mut self.meters[at].1;
            *charged = charged.saturating_add(more.charged);
            *missing = missing.saturating_add(more.missing);
            *exceeded = exceeded.saturating_add(more.exceeded);
        }
    }
}

/// The registered status that says as much as this one: what is not registered is to be taken for the first of its class
/// (RFC 9110, section 15), and an upstream cannot make up any number of them.
fn registered(status: StatusCode) -> u16 {
    if status.canonical_reason().is_some() { status.as_u16() } else { status.as_u16() / 100 * 100 }
}

fn of_record(record: &RawRecord) -> Option<(Key, Amounts)> {
    let since_1970 = record.received_at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let observed = record.observed.filter(|outcome| outcome.effect == Effect::Deny);
    let key = Key {
        minute: u32::try_from(since_1970.as_secs() / 60).unwrap_or(u32::MAX),
        org: record.org?,
        proxy: record.proxy?,
        caller: record.caller,
        rule: record.rules.and_then(|outcome| outcome.rule),
        observed: observed.map(|outcome| outcome.rule),
        status: record.status.map_or(0, registered),
        code: Some(record.code.unwrap_or(Code::CallerGone)),
        revision: record.revision,
    };
    let mut latencies = Latencies::default();
    latencies.add(record.duration);
    let micros = micros(record.duration);
    let amounts = Amounts {
        requests: 1,
        aborted: record.aborted.into(),
        request_bytes: record.request_bytes,
        response_bytes: record.response_bytes,
        micros,
        longest_micros: micros,
        latencies,
        meters: record.meters.iter().map(metered).collect(),
    };
    Some((key, amounts))
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

fn metered(state: &MeterState) -> (MeterId, Metered) {
    let (missing, exceeded) =
        (state.missing.into(), u64::from(state.exceeded.is_some_and(|it| it != Window::Unspecified)));
    (state.meter, Metered { charged: state.charged, missing, exceeded })
}

fn of_wire(sum: &fleet::Sum) -> Option<(Key, Amounts)> {
    let key = Key {
        minute: u32::try_from(sum.minute).unwrap_or(u32::MAX),
        org: sum.org.parse().ok()?,
        proxy: sum.proxy.parse().ok()?,
        caller: sum.caller_credential.parse().ok(),
        rule: sum.rule.parse().ok(),
        observed: sum.observed_denial.then(|| sum.observed_rule.parse().ok()),
        status: u16::try_from(sum.status).unwrap_or(0),
        code: Code::ALL.into_iter().find(|code| code.as_str() == sum.code),
        revision: sum.revision,
    };
    let meter = |it: &fleet::MeterSum| {
        let Ok(meter) = it.meter.parse() else { return None };
        Some((meter, Metered { charged: it.charged_millionths, missing: it.missing, exceeded: it.exceeded }))
    };
    let amounts = Amounts {
        requests: sum.requests,
        aborted: sum.aborted,
        request_bytes: sum.request_bytes,
        response_bytes: sum.response_bytes,
        micros: sum.micros,
        longest_micros: sum.longest_micros,
        latencies: Latencies::decode(&sum.latencies).unwrap_or_default(),
        meters: sum.meters.iter().filter_map(meter).collect(),
    };
    Some((key, amounts))
}

fn to_wire(key: Key, amounts: Amounts) -> fleet::Sum {
    let text = |id: Option<String>| id.unwrap_or_default();
    fleet::Sum {
        minute: key.minute.into(),
        org: key.org.text(),
        proxy: key.proxy.text(),
        caller_credential: text(key.caller.map(|id| id.text())),
        rule: text(key.rule.map(|id| id.text())),
        observed_denial: key.observed.is_some(),
        observed_rule: text(key.observed.flatten().map(|id| id.text())),
        status: key.status.into(),
        code: key.code.map(Code::as_str).unwrap_or_default().to_owned(),
        revision: key.revision,
        requests: amounts.requests,
        aborted: amounts.aborted,
        request_bytes: amounts.request_bytes,
        response_bytes: amounts.response_bytes,
        micros: amounts.micros,
        longest_micros: amounts.longest_micros,
        latencies: amounts.latencies.encode(),
        meters: amounts
            .meters
            .into_iter()
            .map(|(meter, Metered { charged, missing, exceeded })| fleet::MeterSum {
                meter: meter.text(),
                charged_millionths: charged,
                missing,
                exceeded,
            })
            .collect(),
    }
}

#[cfg(test)]
mod tests;
