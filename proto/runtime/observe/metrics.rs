//! The one provider of metrics, and its text form for scraping.
//!
//! Names and units appear as the instrument gives them: no suffix is added, no scope label, so a metric
//! is called the same in the code, in a scrape and at a collector.

use opentelemetry_otlp::MetricExporter;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::{PeriodicReader, SdkMeterProvider};
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
    if let Err(err) = TextEncoder::new().encode_utf8(&registry.gather(), &mut text) {
        // What was written before the fault is whole lines, and better than nothing.
        error!(error = %chain(&err), "metrics not written in full");
    }
    text
}
