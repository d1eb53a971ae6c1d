//! Starts logs, traces and metrics of a program, and flushes them at its end.
//!
//! Logs go to stderr; traces, metrics and logs go to an OTLP collector if one is named; metrics can be
//! scraped in any case. Defines no metric and opens no port: each plane does that for itself.
//! The invariants: whoever logs waits for nobody; without a collector this opens no connection, and starts no thread
//! but the one that writes to stderr.

mod args;
mod export;
mod headers;
mod lines;
mod metrics;
#[cfg(test)]
mod tests;

use std::io::{self, IsTerminal};
use std::sync::mpsc;
use std::time::Duration;
use std::{env, thread};

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Meter, MeterProvider};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use opentelemetry_sdk::resource::{EnvResourceDetector, TelemetryResourceDetector};
use tracing::{Subscriber, warn};
use tracing_subscriber::filter::{EnvFilter, ParseError};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{Layer, Registry};

use self::export::Export;
use self::lines::Lines;
use super::chain;
use rr_seam::SystemEntropy;

pub use self::args::{InvalidCollector, LogFormat, ObserveArgs, OtlpCollector};
pub use self::export::Spans;
pub use self::headers::InvalidHeaders;
pub use self::lines::{flush_lines, say};
pub use self::metrics::LATENCY_SECONDS;

const DEFAULT_LOG_LEVEL: &str = "info";

/// How long a program waits at its end for a collector that does not answer.
const FLUSH_LIMIT: Duration = Duration::from_secs(5);

/// Why logs, traces and metrics could not be started.
#[derive(Debug, thiserror::Error)]
pub enum ObserveError {
    /// The log level is not a list of filter directives.
    #[error("log level {directives:?} is not understood")]
    LogLevel {
        /// What was given.
        directives: String,
        /// What is wrong with it.
        source: ParseError,
    },
    /// A collector is named, but there is no runtime to talk to it on.
    #[error("an OTLP collector needs a tokio runtime")]
    NoRuntime(#[source] tokio::runtime::TryCurrentError),
    /// The connection to the collector cannot be set up. That it cannot be *reached* is no error.
    #[error("set up the connection to the OTLP collector {collector}")]
    Connect {
        /// The collector's URL.
        collector: OtlpCollector,
        /// What the transport says.
        source: tonic::transport::Error,
    },
    /// An exporter refuses its configuration, of which part comes from `OTEL_*` variables.
    #[error("set up the OTLP exporter of {signal}")]
    Exporter {
        /// Traces, metrics or logs.
        signal: &'static str,
        /// What the exporter says.
        source: opentelemetry_otlp::ExporterBuildError,
    },
    /// The headers for the collector.
    #[error(transparent)]
    Headers(#[from] InvalidHeaders),
    /// The thread that writes log lines cannot be started.
    #[error("start writing log lines to stderr")]
    Lines(#[source] io::Error),
    /// This process has a global subscriber already; see [`Observability::quiet`].
    #[error("logs were started twice in one process")]
    Twice(#[source] tracing::subscriber::SetGlobalDefaultError),
}

/// Starts everything for the whole process; `service` is the program's name, such as `rr-edge`.
///
/// With a collector, this must be called inside a tokio runtime that lives until
/// [`shutdown`](Observability::shutdown) has returned: the exporters' connection runs on it.
pub fn start(service: &'static str, args: &ObserveArgs) -> Result<Observability, ObserveError> {
    let look = Look::of_stderr(args.log_format);
    let lines = Lines::new(look);
    let writer = lines.clone();
    let (subscriber, mut observability) = assemble(service, args, look, move || writer.clone())?;
    tracing::subscriber::set_global_default(subscriber).map_err(ObserveError::Twice)?;
    lines.start().map_err(ObserveError::Lines)?;
    observability.lines = Some(lines);
    Ok(observability)
}

/// The metrics of one program, and the end of everything that it exports. Clones are alike.
#[derive(Debug, Clone)]
pub struct Observability {
    meters: SdkMeterProvider,
    registry: prometheus::Registry,
    export: Option<Export>,
    lines: Option<Lines>,
}

impl Observability {
    /// Metrics alone, to be scraped: no logs, no collector, nothing global. For tests, and for the second
    /// plane in a process whose logs the first has started.
    pub fn quiet(service: &'static str) -> Self {
        let (meters, registry) = metrics::provider(resource(service), None);
        Self { meters, registry, export: None, lines: None }
    }

    /// A maker of instruments. Names are used as given, `requestrocket_edge_requests_total`, everywhere.
    pub fn meter(&self, scope: &'static str) -> Meter {
        self.meters.meter(scope)
    }

    /// Where a program sends the spans that it makes by itself; `None` where no collector is named.
    pub fn spans(&self) -> Option<Spans> {
        self.export.as_ref().map(Export::spans)
    }

    /// All metrics as they stand, in Prometheus' text format.
    pub fn scrape(&self) -> String {
        metrics::scrape(&self.registry)
    }

    /// Has log lines counted that were lost because nobody read them, under a name such as
    /// `requestrocket_edge_log_lines_lost_total`. Once a program: its lines share one stderr.
    pub fn count_lost_lines(&self, scope: &'static str, name: &'static str) {
        let lines = self.lines.clone();
        self.meter(scope)
            .u64_observable_counter(name)
            .with_description("Log lines that were lost because nobody read them in time")
            .with_callback(move |observer| observer.observe(lines.as_ref().map_or(0, Lines::lost), &[]))
            .build();
    }

    /// Sends what was not sent yet and ends the exporters, within five seconds, and writes the last log lines, within
    /// one more. Calling it again does nothing.
    ///
    /// Blocks: from async code, use `spawn_blocking`, because the runtime has to carry what is sent.
    pub fn shutdown(&self) {
        if !self.flush_within(FLUSH_LIMIT) {
            warn!(limit = ?FLUSH_LIMIT, "collector did not take the last telemetry in time");
        }
        flush_lines();
    }

    /// Whether the flush ended, well or badly, before `limit` had passed.
    fn flush_within(&self, limit: Duration) -> bool {
        let Some(export) = self.export.clone() else { return true };
        let meters = self.meters.clone();
        let (done, ended) = mpsc::sync_channel(1);
        // On a thread of its own, because the exporters' own limits do not cover a send under way.
        let flush = thread::Builder::new().name("telemetry-flush".into()).spawn(move || {
            if let Err(err) = export.shutdown(&meters) {
                warn!(error = %chain(&err), "last telemetry not sent");
            }
            // Nobody listens any more after the limit, and that was logged.
            done.send(()).ok();
        });
        flush.is_ok() && ended.recv_timeout(limit).is_ok()
    }
}

/// How log lines look.
#[derive(Debug, Clone, Copy)]
struct Look {
    format: LogFormat,
    color: bool,
}

impl Look {
    fn of_stderr(wanted: Option<LogFormat>) -> Self {
        let terminal = io::stderr().is_terminal();
        let format = wanted.unwrap_or(if terminal { LogFormat::Human } else { LogFormat::Json });
        let unwanted = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self { format, color: terminal && !unwanted }
    }
}

/// Builds what [`start`] makes global.
fn assemble<W>(
    service: &'static str,
    args: &ObserveArgs,
    look: Look,
    writer: W,
) -> Result<(impl Subscriber + Send + Sync + use<W>, Observability), ObserveError>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let directives = args.log_level.as_deref().unwrap_or(DEFAULT_LOG_LEVEL);
    let filter = log_filter(directives)?;
    let resource = resource(service);
    let mut layers = vec![lines(look, writer)];
    let (mut reader, mut export) = (None, None);
    let headers = args.otlp_headers_file.as_deref().map(headers::read).transpose()?;
    if headers.is_some() && args.otlp_endpoint.is_none() {
        return Err(InvalidHeaders::NoCollector.into());
    }
    if let Some(collector) = &args.otlp_endpoint {
        if headers.is_some() && !collector.is_private() {
            return Err(InvalidHeaders::Clear.into());
        }
        let opened = export::open(service, collector, &headers.unwrap_or_default(), &resource)?;
        layers.extend(opened.layers);
        (reader, export) = (Some(opened.metrics), Some(opened.export));
    }
    let (meters, registry) = metrics::provider(resource, reader);
    let subscriber = Registry::default().with(layers).with(filter);
    Ok((subscriber, Observability { meters, registry, export, lines: None }))
}

/// OpenTelemetry's own chatter is held at `warn`, and that of the resolver, whose lines name servers and whoever spoofs
/// them can fill at will, is off, unless a directive names it; so is that of the signer, which prints requests.
fn log_filter(directives: &str) -> Result<EnvFilter, ObserveError> {
    EnvFilter::builder()
        .parse(format!("opentelemetry=warn,hickory_net=off,hickory_resolver=off,aws_sigv4=off,{directives}"))
        .map_err(|source| ObserveError::LogLevel { directives: directives.to_owned(), source })
}

fn lines<S, W>(look: Look, writer: W) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let layer = tracing_subscriber::fmt::layer().with_writer(writer).with_ansi(look.color);
    match look.format {
        LogFormat::Human => layer.boxed(),
        LogFormat::Json => layer.json().flatten_event(true).with_span_list(false).boxed(),
    }
}

/// Who we are to a collector. `OTEL_RESOURCE_ATTRIBUTES` adds to it and overrides it.
fn resource(service: &'static str) -> Resource {
    let instance = u128::from_be_bytes(rr_seam::draw(&SystemEntropy));
    Resource::builder_empty()
        .with_service_name(service)
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .with_attribute(KeyValue::new("service.instance.id", format!("{instance:032x}")))
        .with_detectors(&[Box::new(TelemetryResourceDetector), Box::new(EnvResourceDetector::new())])
        .build()
}
