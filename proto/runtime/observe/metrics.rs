//! The one provider of metrics, and its text form for scraping.
//!
//! Names and units appear as the instrument gives them: no suffix is added, no scope label, so a metric
//! is called the same in the code, in a scrape and at a collector. A counter `X_bucket` with a label `le` is, with its
//! `X_sum`, a histogram that a plane counts itself: a scrape shows it as one, for a counter may not be called so there.

use opentelemetry_otlp::MetricExporter;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::{PeriodicReader, SdkMeterProvider};
use prometheus::proto::{Bucket, Histogram, Metric, MetricFamily, MetricType};
use prometheus::{Registry, TextEncoder};
use tracing::error;

use crate::chain;

/// Bucket bounds for a histogram of seconds, from 100 µs to 60 s. An instrument that is not given bounds
/// has those of milliseconds.
pub const LATENCY_SECONDS: [f64; 18] = [
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
    30.0, 60.0,
];

pub(super) fn provider(
    resource: Resource,
    otlp: Option<PeriodicReader<MetricExporter>>,
) -> (SdkMeterProvider, Registry) {
    let registry = Registry::new();
    let scraped = opentelemetry_prometheus::exporter()
        .with_registry(registry.clone())
        .without_units()
        .without_counter_suffixes()
        .scope_info_enabled(false)
        .build()
        .expect("a new registry holds nothing that the exporter could clash with");
    let mut provider = SdkMeterProvider::builder().with_resource(resource).with_reader(scraped);
    if let Some(reader) = otlp {
        provider = provider.with_reader(reader);
    }
    (provider.build(), registry)
}

pub(super) fn scrape(registry: &Registry) -> String {
    let mut text = String::new();
    if let Err(err) = TextEncoder::new().encode_utf8(&histograms(registry.gather()), &mut text) {
        // What was written before the fault is whole lines, and better than nothing.
        error!(error = %chain(&err), "metrics not written in full");
    }
    text
}

/// The families, with a histogram in the place of counters that are its parts.
fn histograms(mut families: Vec<MetricFamily>) -> Vec<MetricFamily> {
    while let Some((at, name)) = families.iter().enumerate().find_map(|(at, family)| {
        let is_counter = family.get_field_type() == MetricType::COUNTER;
        let name = family.name().strip_suffix("_bucket").filter(|_| is_counter)?;
        Some((at, name.to_owned()))
    }) {
        let mut buckets = families.remove(at);
        let sum = families.iter().position(|family| family.name() == format!("{name}_sum"));
        let sum = sum.map(|at| families.remove(at));
        let metrics = one_histogram(&buckets, sum.as_ref());
        buckets.set_name(name);
        buckets.set_field_type(MetricType::HISTOGRAM);
        buckets.set_metric(vec![metrics]);
        families.insert(at.min(families.len()), buckets);
    }
    families
}

/// The planes' histograms have no label but `le`.
fn one_histogram(buckets: &MetricFamily, sum: Option<&MetricFamily>) -> Metric {
    let mut counted: Vec<(f64, u64)> = buckets
        .get_metric()
        .iter()
        .filter_map(|metric| {
            let le = metric.get_label().iter().find(|label| label.name() == "le")?;
            // Counts are whole numbers, which this keeps to 2^53.
            Some((le.value().parse().ok()?, metric.get_counter().get_value() as u64))
        })
        .collect();
    counted.sort_by(|(left, _), (right, _)| left.total_cmp(right));
    let count = counted.last().map_or(0, |(_, count)| *count);
    let mut histogram = Histogram::default();
    histogram.set_sample_count(count);
    let sum = sum.and_then(|family| family.get_metric().first());
    histogram.set_sample_sum(sum.map_or(0.0, |metric| metric.get_counter().get_value()));
    let bucket = |(bound, count)| {
        let mut bucket = Bucket::default();
        bucket.set_upper_bound(bound);
        bucket.set_cumulative_count(count);
        bucket
    };
    // The encoder adds the last one by itself, spelled as Prometheus spells it.
    let finite = counted.into_iter().filter(|(bound, _)| bound.is_finite());
    histogram.set_bucket(finite.map(bucket).collect());
    let mut metric = Metric::default();
    metric.set_histogram(histogram);
    metric
}
