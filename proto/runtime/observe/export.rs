//! Sends traces, metrics and logs to an OTLP collector, over one connection.
//!
//! A collector that is away is no error: batches wait, then are dropped, and the SDK logs that on stderr.
//! The invariants: what the exporters themselves log never reaches the exporters; no export lasts longer than
//! ten seconds; headers, which may be secrets, go over TLS or to this machine alone, and nothing prints them.

use std::sync::Arc;
use std::time::Duration;

use opentelemetry::trace::TracerProvider;
use opentelemetry_appender_tracing::layer::OpenTelemetryTracingBridge;
use opentelemetry_otlp::{LogExporter, MetricExporter, SpanExporter, WithTonicConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::logs::SdkLoggerProvider;
use opentelemetry_sdk::metrics::{PeriodicReader, SdkMeterProvider};
use opentelemetry_sdk::trace::{SdkTracerProvider, SpanData, SpanExporter as _};
use tokio::runtime::Handle;
use tonic::metadata::MetadataMap;
use tonic::transport::{Channel, ClientTlsConfig, Endpoint, Error};
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::{Layer, Registry};

use super::{ObserveError, OtlpCollector};

/// Crates below the exporters: with their spans and events exported, each export would cause the next.
const BELOW: [&str; 7] = ["h2", "hyper", "hyper_util", "rustls", "tokio_util", "tonic", "tower"];

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The exporters bound none of what goes over a connection that they are given.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(10);

/// The ends of traces and logs; those of metrics are at the meter provider.
#[derive(Debug, Clone)]
pub(super) struct Export {
    traces: SdkTracerProvider,
    logs: SdkLoggerProvider,
    spans: Arc<SpanExporter>,
}

/// Sends spans that a program makes by itself, beside those of `tracing`: it decides what is kept when, and counts what
/// is lost.
#[derive(Debug, Clone)]
pub struct Spans(Arc<SpanExporter>);

impl Spans {
    /// Sends them in one call, which lasts ten seconds at most. What was not taken is not kept.
    pub async fn send(&self, spans: Vec<SpanData>) -> OTelSdkResult {
        self.0.export(spans).await
    }
}

/// What has to be put in place for an export.
pub(super) struct Opened {
    pub(super) layers: Vec<Box<dyn Layer<Registry> + Send + Sync>>,
    pub(super) metrics: PeriodicReader<MetricExporter>,
    pub(super) export: Export,
}

/// Sets the exporters up. Connects when the first batch is sent.
pub(super) fn open(
    service: &'static str,
    collector: &OtlpCollector,
    headers: &MetadataMap,
    resource: &Resource,
) -> Result<Opened, ObserveError> {
    Handle::try_current().map_err(ObserveError::NoRuntime)?;
    let channel = connect(collector)
        .map_err(|source| ObserveError::Connect { collector: collector.clone(), source })?;
    let failed = |signal| move |source| ObserveError::Exporter { signal, source };

    let spans = || {
        let builder = SpanExporter::builder().with_tonic().with_channel(channel.clone());
        builder.with_metadata(headers.clone()).build().map_err(failed("traces"))
    };
    let metrics = MetricExporter::builder()
        .with_tonic()
        .with_channel(channel.clone())
        .with_metadata(headers.clone())
        .build()
        .map_err(failed("metrics"))?;
    let records = LogExporter::builder()
        .with_tonic()
        .with_channel(channel.clone())
        .with_metadata(headers.clone())
        .build()
        .map_err(failed("logs"))?;
    let mut own = spans()?;
    own.set_resource(resource);

    let traces =
        SdkTracerProvider::builder().with_resource(resource.clone()).with_batch_exporter(spans()?).build();
    let logs =
        SdkLoggerProvider::builder().with_resource(resource.clone()).with_batch_exporter(records).build();
    // Thread names and idle times would cost something at every step of every span.
    let span_layer = tracing_opentelemetry::layer()
        .with_tracer(traces.tracer(service))
        .with_threads(false)
        .with_tracked_inactivity(false)
        .with_location(false)
        .with_filter(filter_fn(|meta| is_exported(meta.target())));
    let log_layer =
        OpenTelemetryTracingBridge::new(&logs).with_filter(filter_fn(|meta| is_exported(meta.target())));

    Ok(Opened {
        layers: vec![span_layer.boxed(), log_layer.boxed()],
        metrics: PeriodicReader::builder(metrics).build(),
        export: Export { traces, logs, spans: Arc::new(own) },
    })
}

fn connect(collector: &OtlpCollector) -> Result<Channel, Error> {
    let mut endpoint = Endpoint::from_shared(collector.as_str().to_owned())?
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(EXPORT_TIMEOUT);
    if collector.is_https() {
        endpoint = endpoint.tls_config(ClientTlsConfig::new().with_enabled_roots())?;
    }
    Ok(endpoint.connect_lazy())
}

/// Whether spans and events of `target` go to the collector. They go to stderr in any case.
pub(super) fn is_exported(target: &str) -> bool {
    let origin = target.split("::").next().unwrap_or(target);
    !BELOW.contains(&origin) && !origin.starts_with("opentelemetry")
}

impl Export {
    pub(super) fn spans(&self) -> Spans {
        Spans(Arc::clone(&self.spans))
    }

    /// Flushes and ends all three, logs last. The first fault is returned; the rest is tried all the same.
    pub(super) fn shutdown(&self, meters: &SdkMeterProvider) -> OTelSdkResult {
        let outcomes = [self.traces.shutdown(), meters.shutdown(), self.logs.shutdown()];
        let faults =
            outcomes.into_iter().filter(|outcome| !matches!(outcome, Err(OTelSdkError::AlreadyShutdown)));
        faults.collect()
    }
}
