//! Series of an answer: what each step adds up to, and all of them.

use std::collections::BTreeMap;
use std::time::Duration;

use rr_contract::model::time;
use rr_contract::wire::management as wire;

use crate::store::metrics::{Measures, Metered};
use crate::store::time_of;

/// One series: the steps at which it had requests. Series are many and their steps few.
#[derive(Clone, Default)]
pub(super) struct Series {
    pub(super) steps: BTreeMap<usize, Step>,
}

#[derive(Clone, Default)]
pub(super) struct Step {
    pub(super) measures: Measures,
    pub(super) meters: BTreeMap<String, Metered>,
}

impl Series {
    pub(super) fn at(&mut self, place: usize) -> &mut Step {
        self.steps.entry(place).or_default()
    }

    pub(super) fn add(&mut self, more: &Self) {
        more.steps.iter().for_each(|(place, more)| self.at(*place).add(more));
    }

    pub(super) fn total(&self) -> Step {
        self.steps.values().fold(Step::default(), |mut total, step| {
            total.add(step);
            total
        })
    }
}

impl Step {
    fn add(&mut self, more: &Self) {
        self.measures.add(&more.measures);
        for (meter, metered) in &more.meters {
            self.meters.entry(meter.clone()).or_default().add(*metered);
        }
    }

    pub(super) fn wire(&self, at: i64) -> wire::MetricPoint {
        let Measures { requests, errors, latencies, .. } = &self.measures;
        let duration = |micros: u64| Some(time::wire_duration(Duration::from_micros(micros)));
        let longest = Duration::from_micros(self.measures.longest_micros);
        // The middle of a bucket may lie above all that fell into it.
        let quantile = |share| latencies.quantile(share).map(|it| time::wire_duration(it.min(longest)));
        let is_any = *requests > 0;
        #[expect(clippy::cast_precision_loss, reason = "a share needs no more than 52 bits")]
        let error_rate = if is_any { *errors as f64 / *requests as f64 } else { 0.0 };
        let meter = |(meter, it): (&String, &Metered)| wire::MetricMeter {
            meter: meter.clone(),
            name: String::new(),
            charged_millionths: it.charged,
            missing: it.missing,
            exceeded: it.exceeded,
        };
        wire::MetricPoint {
            at: Some(time::timestamp(time_of(at))),
            requests: *requests,
            errors: *errors,
            error_rate,
            denials: self.measures.denials,
            observed_denials: self.measures.observed_denials,
            aborted: self.measures.aborted,
            request_bytes: self.measures.request_bytes,
            response_bytes: self.measures.response_bytes,
            mean: self.measures.micros.checked_div(*requests).and_then(duration),
            p50: quantile(0.5),
            p90: quantile(0.9),
            p99: quantile(0.99),
            max: is_any.then(|| time::wire_duration(longest)),
            meters: self.meters.iter().map(meter).collect(),
        }
    }
}

pub(super) trait AllSeries {
    fn all_series(&self) -> impl Iterator<Item = &wire::MetricSeries>;
    fn all_series_mut(&mut self) -> impl Iterator<Item = &mut wire::MetricSeries>;
}

impl AllSeries for wire::QueryMetricsResponse {
    fn all_series(&self) -> impl Iterator<Item = &wire::MetricSeries> {
        self.series.iter().chain(&self.others).chain(&self.all)
    }

    fn all_series_mut(&mut self) -> impl Iterator<Item = &mut wire::MetricSeries> {
        self.series.iter_mut().chain(&mut self.others).chain(&mut self.all)
    }
}
