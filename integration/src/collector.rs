//! A collector: takes traces, metrics and logs by OTLP over gRPC, and remembers them.
//!
//! Can be told to let everybody wait. Speaks the real protocol, by the servers that the OpenTelemetry project generates.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use data_encoding::HEXLOWER;
use opentelemetry_proto::tonic::collector::logs::v1::logs_service_server::{LogsService, LogsServiceServer};
use opentelemetry_proto::tonic::collector::logs::v1::{ExportLogsServiceRequest, ExportLogsServiceResponse};
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_server::{
    MetricsService, MetricsServiceServer,
};
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::metrics::v1::{metric, number_data_point};
use opentelemetry_proto::tonic::resource::v1::Resource;
use rr_contract::runtime::{Shutdown, Tasks};
use tokio::sync::watch;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status};

/// Attributes as texts.
pub type Attributes = BTreeMap<String, String>;

/// A span as it came. Ids are hexadecimal; no parent is empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// The program that sent it.
    pub service: String,
    /// Its name.
    pub name: String,
    /// 2: of a server, 3: of a client.
    pub kind: i32,
    /// Its trace.
    pub trace: String,
    /// Its id.
    pub id: String,
    /// The id of its parent.
    pub parent: String,
    /// What tracers say of the trace to each other.
    pub state: String,
    /// Whether it failed.
    pub is_fault: bool,
    /// Start and end, in nanoseconds since 1970.
    pub times: (u64, u64),
    /// Its attributes.
    pub attributes: Attributes,
}

#[derive(Default)]
struct Got {
    spans: Vec<Span>,
    /// The most of them in one call.
    most_at_once: usize,
    /// The newest value of each counter and gauge, by service, name and labels.
    values: BTreeMap<(String, String, Attributes), f64>,
    /// Log lines of each service.
    lines: BTreeMap<String, u64>,
    /// Whatever came, for what must not be in it.
    texts: String,
    headers: Vec<MetadataMap>,
}

#[derive(Clone)]
struct Sink {
    got: Arc<Mutex<Got>>,
    waits: watch::Receiver<bool>,
}

/// A running collector.
pub struct Collector {
    address: SocketAddr,
    sink: Sink,
    waits: watch::Sender<bool>,
    shutdown: Shutdown,
}

impl Collector {
    /// Starts it on a free port.
    pub async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let (waits, waiting) = watch::channel(false);
        let sink = Sink { got: Arc::default(), waits: waiting };
        let shutdown = Shutdown::new();
        let stop = shutdown.stop();
        let serving = tonic::transport::Server::builder()
            .add_service(TraceServiceServer::new(sink.clone()))
            .add_service(MetricsServiceServer::new(sink.clone()))
            .add_service(LogsServiceServer::new(sink.clone()))
            .serve_with_incoming(TcpListenerStream::new(listener));
        Tasks::new().spawn("collector", async move { stop.cut(serving).await });
        Self { address, sink, waits, shutdown }
    }

    /// Where it takes them.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// From now on, nobody gets an answer, or everybody does again.
    pub fn lets_wait(&self, waits: bool) {
        self.waits.send_replace(waits);
    }

    /// All spans so far.
    pub fn spans(&self) -> Vec<Span> {
        self.sink.got().spans.clone()
    }

    /// How many spans the longest call had.
    pub fn most_at_once(&self) -> usize {
        self.sink.got().most_at_once
    }

    /// The newest values of a metric of a program, by labels.
    pub fn values(&self, service: &str, name: &str) -> Vec<(Attributes, f64)> {
        let got = self.sink.got();
        let of = got.values.iter().filter(|((of, named, _), _)| (&**of, &**named) == (service, name));
        of.map(|((_, _, labels), value)| (labels.clone(), *value)).collect()
    }

    /// How many log lines came from a program.
    pub fn lines(&self, service: &str) -> u64 {
        self.sink.got().lines.get(service).copied().unwrap_or_default()
    }

    /// Whether something that came holds a text.
    pub fn holds(&self, text: &str) -> bool {
        self.sink.got().texts.contains(text)
    }

    /// The values of a header in all calls, none where it was missing.
    pub fn headers(&self, name: &str) -> Vec<Option<String>> {
        let got = self.sink.got();
        let value = |map: &MetadataMap| Some(map.get(name)?.to_str().ok()?.to_owned());
        got.headers.iter().map(value).collect()
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.shutdown.begin();
    }
}

impl Sink {
    fn got(&self) -> MutexGuard<'_, Got> {
        self.got.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a call once it may be answered.
    async fn take<T: std::fmt::Debug>(&self, request: Request<T>) -> (T, MutexGuard<'_, Got>) {
        // The collector may be gone.
        self.waits.clone().wait_for(|waits| !*waits).await.ok();
        let (headers, _, call) = request.into_parts();
        let mut got = self.got();
        got.headers.push(headers);
        got.texts.push_str(&format!("{call:?}\n"));
        (call, got)
    }
}

fn attributes(pairs: &[KeyValue]) -> Attributes {
    let text = |pair: &KeyValue| match pair.value.as_ref().and_then(|value| value.value.as_ref()) {
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::IntValue(number)) => number.to_string(),
        Some(Value::BoolValue(truth)) => truth.to_string(),
        other => format!("{other:?}"),
    };
    pairs.iter().map(|pair| (pair.key.clone(), text(pair))).collect()
}

fn service(resource: Option<&Resource>) -> String {
    let all = resource.map(|resource| attributes(&resource.attributes)).unwrap_or_default();
    all.get("service.name").cloned().unwrap_or_default()
}

#[tonic::async_trait]
impl TraceService for Sink {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let (call, mut got) = self.take(request).await;
        let before = got.spans.len();
        for resource in call.resource_spans {
            let service = service(resource.resource.as_ref());
            for span in resource.scope_spans.into_iter().flat_map(|scope| scope.spans) {
                got.spans.push(Span {
                    service: service.clone(),
                    name: span.name,
                    kind: span.kind,
                    trace: HEXLOWER.encode(&span.trace_id),
                    id: HEXLOWER.encode(&span.span_id),
                    parent: HEXLOWER.encode(&span.parent_span_id),
                    state: span.trace_state,
                    is_fault: span.status.is_some_and(|status| status.code == 2),
                    times: (span.start_time_unix_nano, span.end_time_unix_nano),
                    attributes: attributes(&span.attributes),
                });
            }
        }
        got.most_at_once = got.most_at_once.max(got.spans.len() - before);
        Ok(Response::new(Default::default()))
    }
}

#[tonic::async_trait]
impl MetricsService for Sink {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        let (call, mut got) = self.take(request).await;
        for resource in call.resource_metrics {
            let service = service(resource.resource.as_ref());
            for metric in resource.scope_metrics.into_iter().flat_map(|scope| scope.metrics) {
                let points = match metric.data {
                    Some(metric::Data::Sum(sum)) => sum.data_points,
                    Some(metric::Data::Gauge(gauge)) => gauge.data_points,
                    // Our programs count their histograms themselves.
                    _ => continue,
                };
                for point in points {
                    let value = match point.value {
                        Some(number_data_point::Value::AsInt(whole)) => whole as f64,
                        Some(number_data_point::Value::AsDouble(number)) => number,
                        None => continue,
                    };
                    let labels = attributes(&point.attributes);
                    got.values.insert((service.clone(), metric.name.clone(), labels), value);
                }
            }
        }
        Ok(Response::new(Default::default()))
    }
}

#[tonic::async_trait]
impl LogsService for Sink {
    async fn export(
        &self,
        request: Request<ExportLogsServiceRequest>,
    ) -> Result<Response<ExportLogsServiceResponse>, Status> {
        let (call, mut got) = self.take(request).await;
        for resource in call.resource_logs {
            let lines = resource.scope_logs.iter().map(|scope| scope.log_records.len() as u64).sum::<u64>();
            *got.lines.entry(service(resource.resource.as_ref())).or_default() += lines;
        }
        Ok(Response::new(Default::default()))
    }
}
