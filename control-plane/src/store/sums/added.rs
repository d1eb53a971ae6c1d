//! What sums add to series: by level, time and meter. Reads and writes nothing.

use std::collections::BTreeMap;

use rr_contract::model::latency::Latencies;
use rr_contract::wire::fleet;

use crate::store::StoreError;
use crate::store::detail::Detail;
use crate::store::entity::{meter_rollup, rollup};
use crate::store::level::Level;

/// Column values stay so far below the greatest number that thousands of them can be added up.
const MOST: i64 = 1_000_000_000_000_000;

/// What requests of a series have in common, without its id.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Common {
    pub(super) detail: Detail,
    pub(super) org: String,
    pub(super) proxy: String,
    pub(super) caller: String,
    pub(super) region: String,
    pub(super) code: String,
    pub(super) rule: String,
    pub(super) observed_rule: String,
    pub(super) status: i32,
    pub(super) observed_denial: bool,
}

/// When, and of a minute under which revision.
pub(super) type Place = (Level, i64, i64);

/// What is added to one series.
#[derive(Debug, Default)]
pub(super) struct Added {
    pub(super) requests: BTreeMap<Place, Amounts>,
    /// By meter.
    pub(super) meters: BTreeMap<(Place, String), Metered>,
}

#[derive(Debug, Default)]
pub(super) struct Amounts {
    pub(super) requests: i64,
    pub(super) aborted: i64,
    pub(super) request_bytes: i64,
    pub(super) response_bytes: i64,
    pub(super) micros: i64,
    pub(super) longest_micros: i64,
    pub(super) latencies: Latencies,
}

#[derive(Debug, Default)]
pub(super) struct Metered {
    pub(super) charged: i64,
    pub(super) missing: i64,
    pub(super) exceeded: i64,
}

/// The beginning of a sum's minute, and its revision.
pub(in crate::store) fn place(now: i64, sum: &fleet::Sum) -> (i64, i64) {
    let minute = i64::try_from(sum.minute).ok().and_then(|minute| minute.checked_mul(Level::Minute.length()));
    let now = Level::Minute.begin(now);
    (minute.map_or(now, |minute| minute.min(now)), i64::try_from(sum.revision).unwrap_or(0))
}

impl Common {
    pub(super) fn of(sum: &fleet::Sum, region: &str) -> Self {
        Self {
            detail: Detail::Full,
            org: sum.org.clone(),
            proxy: sum.proxy.clone(),
            caller: sum.caller_credential.clone(),
            region: region.to_owned(),
            code: sum.code.clone(),
            rule: sum.rule.clone(),
            observed_rule: sum.observed_rule.clone(),
            status: i32::try_from(sum.status).unwrap_or(0),
            observed_denial: sum.observed_denial,
        }
    }

    /// What a coarser series has of it.
    pub(super) fn coarse(&self, detail: Detail) -> Self {
        let mut coarse = Self { detail, ..self.clone() };
        let has = |wanted: Detail| detail == wanted || detail == Detail::Full;
        for (text, is_told) in [
            (&mut coarse.proxy, has(Detail::Proxies)),
            (&mut coarse.caller, has(Detail::Callers)),
            (&mut coarse.rule, has(Detail::Rules)),
            (&mut coarse.observed_rule, has(Detail::Rules)),
        ] {
            if !is_told {
                text.clear();
            }
        }
        coarse
    }

    /// By which it is found.
    pub(super) fn hash(&self) -> Vec<u8> {
        let mut hash = blake3::Hasher::new();
        hash.update(b"requestrocket series v1");
        for text in
            [&self.org, &self.proxy, &self.caller, &self.region, &self.code, &self.rule, &self.observed_rule]
        {
            hash.update(&(text.len() as u64).to_be_bytes());
            hash.update(text.as_bytes());
        }
        hash.update(&self.detail.row().to_be_bytes());
        hash.update(&self.status.to_be_bytes());
        hash.update(&[self.observed_denial.into()]);
        hash.finalize().as_bytes().to_vec()
    }
}

impl Added {
    pub(super) fn add(&mut self, (minute, revision): (i64, i64), sum: &fleet::Sum) {
        let latencies = Latencies::decode(&sum.latencies).unwrap_or_default();
        for level in Level::ALL {
            let at = level.begin(minute);
            // Other levels would have a row for each change of a busy day.
            let revision = if level == Level::Minute { revision } else { 0 };
            let amounts = self.requests.entry((level, at, revision)).or_default();
            plus(&mut amounts.requests, column(sum.requests));
            plus(&mut amounts.aborted, column(sum.aborted));
            plus(&mut amounts.request_bytes, column(sum.request_bytes));
            plus(&mut amounts.response_bytes, column(sum.response_bytes));
            plus(&mut amounts.micros, column(sum.micros));
            amounts.longest_micros = amounts.longest_micros.max(column(sum.longest_micros));
            amounts.latencies.merge(&latencies);
            for it in &sum.meters {
                let metered = self.meters.entry(((level, at, revision), it.meter.clone())).or_default();
                metered.merge(&Metered {
                    charged: column(it.charged_millionths),
                    missing: column(it.missing),
                    exceeded: column(it.exceeded),
                });
            }
        }
    }

    /// As a detail has it.
    fn merge(&mut self, more: &Self, detail: Detail) {
        let of = |revision: i64| if detail.has_revisions() { revision } else { 0 };
        for ((level, at, revision), amounts) in &more.requests {
            self.requests.entry((*level, *at, of(*revision))).or_default().merge(amounts);
        }
        for (((level, at, revision), meter), metered) in &more.meters {
            self.meters.entry(((*level, *at, of(*revision)), meter.clone())).or_default().merge(metered);
        }
    }
}

/// What all of these add to coarser series.
pub(super) fn coarse<'a>(full: impl Iterator<Item = (&'a Common, &'a Added)>) -> BTreeMap<Common, Added> {
    let mut all: BTreeMap<Common, Added> = BTreeMap::new();
    for (common, added) in full {
        for detail in Detail::COARSE {
            all.entry(common.coarse(detail)).or_default().merge(added, detail);
        }
    }
    all
}

pub(in crate::store) fn column(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(MOST).min(MOST)
}

fn plus(sum: &mut i64, more: i64) {
    *sum = sum.saturating_add(more).min(MOST);
}

impl Amounts {
    fn merge(&mut self, more: &Self) {
        for (sum, more) in [
            (&mut self.requests, more.requests),
            (&mut self.aborted, more.aborted),
            (&mut self.request_bytes, more.request_bytes),
            (&mut self.response_bytes, more.response_bytes),
            (&mut self.micros, more.micros),
        ] {
            plus(sum, more);
        }
        self.longest_micros = self.longest_micros.max(more.longest_micros);
        self.latencies.merge(&more.latencies);
    }

    pub(super) fn include(&mut self, row: &rollup::Model) -> Result<(), StoreError> {
        self.merge(&Self {
            requests: row.requests,
            aborted: row.aborted,
            request_bytes: row.request_bytes,
            response_bytes: row.response_bytes,
            micros: row.micros,
            longest_micros: row.longest_micros,
            latencies: Latencies::decode(&row.latencies).map_err(|_| StoreError::Damaged("rollup"))?,
        });
        Ok(())
    }

    pub(super) fn row(self, (series, level, at, revision): (i64, i16, i64, i64)) -> rollup::Model {
        rollup::Model {
            series,
            level,
            at,
            revision,
            requests: self.requests,
            aborted: self.aborted,
            request_bytes: self.request_bytes,
            response_bytes: self.response_bytes,
            micros: self.micros,
            longest_micros: self.longest_micros,
            latencies: self.latencies.encode(),
        }
    }
}

impl Metered {
    pub(super) fn merge(&mut self, more: &Self) {
        plus(&mut self.charged, more.charged);
        plus(&mut self.missing, more.missing);
        plus(&mut self.exceeded, more.exceeded);
    }

    pub(super) fn row(
        self,
        (series, level, at, revision, meter): (i64, i16, i64, i64, String),
    ) -> meter_rollup::Model {
        let Self { charged, missing, exceeded } = self;
        meter_rollup::Model { series, level, at, revision, meter, charged, missing, exceeded }
    }
}
