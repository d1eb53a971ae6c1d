//! Tests of logs, metrics and the export, against a collector in this process.

use std::fs;
use std::io::{self, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::{Arc, Mutex, PoisonError};

use opentelemetry_proto::tonic::collector::logs::v1 as logs;
use opentelemetry_proto::tonic::collector::metrics::v1 as metrics;
use opentelemetry_proto::tonic::collector::trace::v1 as trace;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::resource::v1::Resource as WireResource;
use serde_json::Value as Json;
use tokio::sync::mpsc;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};
use tracing::{debug, info, info_span};

use super::*;
use crate::Tasks;

const JSON: Look = Look { format: LogFormat::Json, color: false };

#[test]
fn a_metric_is_scraped_under_the_name_it_was_given() {
    let observability = Observability::quiet("rr-edge");
    let requests = observability.meter("edge").u64_counter("requestrocket_edge_requests_total").build();
    requests.add(3, &[KeyValue::new("outcome", "forwarded")]);
    let text = observability.scrape();
    assert!(text.contains("\nrequestrocket_edge_requests_total{outcome=\"forwarded\"} 3\n"), "{text}");
    assert!(text.contains("service_name=\"rr-edge\""), "{text}");
}

#[test]
fn a_histogram_of_seconds_can_tell_fast_from_slow() {
    let observability = Observability::quiet("rr-edge");
    let latency = observability
        .meter("edge")
        .f64_histogram("requestrocket_edge_request_seconds")
        .with_unit("s")
        .with_boundaries(LATENCY_SECONDS.to_vec())
        .build();
    latency.record(0.0003, &[]);
    let text = observability.scrape();
    assert!(text.contains("requestrocket_edge_request_seconds_bucket{le=\"0.00025\"} 0\n"), "{text}");
    assert!(text.contains("requestrocket_edge_request_seconds_bucket{le=\"0.0005\"} 1\n"), "{text}");
}

#[test]
fn buckets_that_a_plane_counts_itself_are_scraped_as_one_histogram() {
    let observability = Observability::quiet("rr-edge");
    let meter = observability.meter("edge");
    let buckets = meter.u64_observable_counter("requestrocket_edge_request_seconds_bucket");
    let counts = [("10", 4), ("+Inf", 5), ("0.5", 3)];
    let _buckets = buckets
        .with_description("How long requests took")
        .with_callback(move |observer| {
            counts.iter().for_each(|(le, count)| observer.observe(*count, &[KeyValue::new("le", *le)]));
        })
        .build();
    let sum = meter.f64_observable_counter("requestrocket_edge_request_seconds_sum");
    let _sum = sum.with_callback(|observer| observer.observe(61.5, &[])).build();
    let text = observability.scrape();
    let lines = "# HELP requestrocket_edge_request_seconds How long requests took\n\
                 # TYPE requestrocket_edge_request_seconds histogram\n\
                 requestrocket_edge_request_seconds_bucket{le=\"0.5\"} 3\n\
                 requestrocket_edge_request_seconds_bucket{le=\"10\"} 4\n\
                 requestrocket_edge_request_seconds_bucket{le=\"+Inf\"} 5\n\
                 requestrocket_edge_request_seconds_sum 61.5\n\
                 requestrocket_edge_request_seconds_count 5\n";
    assert!(text.contains(lines), "{text}");
}

#[test]
fn two_planes_in_one_process_do_not_see_each_others_metrics() {
    let (control, edge) = (Observability::quiet("rr-control"), Observability::quiet("rr-edge"));
    edge.meter("edge").u64_counter("requestrocket_edge_requests_total").build().add(1, &[]);
    assert!(!control.scrape().contains("requestrocket_edge"));
}

#[test]
fn a_json_line_has_its_fields_at_the_top() {
    let lines = lines_of(ObserveArgs::default(), || info!(revision = 7, "snapshot applied"));
    assert_eq!(lines.len(), 1);
    assert_eq!((&lines[0]["message"], &lines[0]["revision"]), (&"snapshot applied".into(), &7.into()));
}

#[test]
fn the_log_level_decides_what_is_written() {
    let args = ObserveArgs { log_level: Some("warn,rr_runtime=debug".into()), ..ObserveArgs::default() };
    let lines = lines_of(args, || {
        debug!("ours");
        info!(target: "elsewhere", "theirs");
    });
    assert_eq!(lines.iter().map(|line| &line["message"]).collect::<Vec<_>>(), [&Json::from("ours")]);
}

#[test]
fn a_log_level_that_is_not_understood_is_refused_with_its_text() {
    let args = ObserveArgs { log_level: Some("info,x=loud".into()), ..ObserveArgs::default() };
    let err = assemble("rr-edge", &args, JSON, io::sink).err().expect("there is no level `loud`");
    assert!(err.to_string().contains("x=loud"), "{err}");
}

#[test]
fn a_collector_without_a_runtime_is_refused() {
    let args = collector_at("http://127.0.0.1:4317");
    let err = assemble("rr-edge", &args, JSON, io::sink).err().expect("no runtime here");
    assert!(matches!(err, ObserveError::NoRuntime(_)), "{err}");
}

#[test]
fn the_exporters_do_not_export_what_they_say_themselves() {
    for target in
        ["h2::client", "hyper_util::client", "tonic", "opentelemetry-otlp", "opentelemetry_sdk::trace"]
    {
        assert!(!export::is_exported(target), "{target}");
    }
    for target in ["rr_edge::pipeline", "rr_runtime", "hyperdrive"] {
        assert!(export::is_exported(target), "{target}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_span_a_metric_and_a_log_line_reach_the_collector_with_the_service_name() {
    let (sink, mut received) = Sink::start();
    let (subscriber, observability) =
        assemble("rr-edge", &collector_at(&sink), JSON, io::sink).expect("a plain collector");
    tracing::subscriber::with_default(subscriber, || {
        info_span!("request").in_scope(|| info!("forwarded"));
    });
    observability.meter("edge").u64_counter("requestrocket_edge_requests_total").build().add(1, &[]);

    let ending = observability.clone();
    tokio::task::spawn_blocking(move || ending.shutdown()).await.expect("shutdown does not panic");

    let mut got = Vec::new();
    while let Ok(item) = received.try_recv() {
        got.push((item.signal, item.service, item.name));
    }
    got.sort();
    let expected =
        [("log", "forwarded"), ("metric", "requestrocket_edge_requests_total"), ("span", "request")];
    assert_eq!(got, expected.map(|(signal, name)| (signal, "rr-edge".to_owned(), name.to_owned())));
    assert!(observability.flush_within(FLUSH_LIMIT), "a second shutdown has nothing to wait for");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_collector_that_never_answers_does_not_hold_up_the_end() {
    // The kernel takes the connection; nobody ever reads from it.
    let deaf = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("http://{}", deaf.local_addr().expect("it is bound"));
    let (subscriber, observability) =
        assemble("rr-edge", &collector_at(&url), JSON, io::sink).expect("a plain collector");
    tracing::subscriber::with_default(subscriber, || info!("forwarded"));
    let flush = move || observability.flush_within(Duration::from_millis(50));
    assert!(!tokio::task::spawn_blocking(flush).await.expect("the flush does not panic"));
}

#[tokio::test(start_paused = true)]
async fn spans_for_a_collector_that_never_answers_come_back_as_not_sent() {
    let deaf = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("http://{}", deaf.local_addr().expect("it is bound"));
    let (_, observability) =
        assemble("rr-edge", &collector_at(&url), JSON, io::sink).expect("a plain collector");
    let spans = observability.spans().expect("a collector is named");
    let sent = tokio::time::timeout(Duration::from_secs(300), spans.send(Vec::new())).await;
    assert!(sent.expect("it does not take for ever").is_err());
    assert!(Observability::quiet("rr-edge").spans().is_none());
}

fn collector_at(url: &str) -> ObserveArgs {
    ObserveArgs { otlp_endpoint: Some(url.parse().expect("a URL")), ..ObserveArgs::default() }
}

/// The JSON lines that are written while `work` runs.
fn lines_of(args: ObserveArgs, work: impl FnOnce()) -> Vec<Json> {
    let written = Written::default();
    let writer = written.clone();
    let (subscriber, _) = assemble("rr-edge", &args, JSON, move || writer.clone()).expect("good arguments");
    tracing::subscriber::with_default(subscriber, work);
    let bytes = written.0.lock().unwrap_or_else(PoisonError::into_inner);
    serde_json::Deserializer::from_slice(&bytes).into_iter().map(|line| line.expect("JSON lines")).collect()
}

#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[derive(Debug)]
struct Item {
    signal: &'static str,
    service: String,
    name: String,
}

/// A collector that passes on the names of what it gets, in the order it comes.
#[derive(Clone)]
struct Sink(mpsc::Sender<Item>);

impl Sink {
    /// Serves on a free port until the runtime ends.
    fn start() -> (String, mpsc::Receiver<Item>) {
        let (sender, received) = mpsc::channel(16);
        let incoming = TcpIncoming::bind(([127, 0, 0, 1], 0).into()).expect("a free port");
        let url = format!("http://{}", incoming.local_addr().expect("it is bound"));
        let sink = Self(sender);
        let server = Server::builder()
            .add_service(trace::trace_service_server::TraceServiceServer::new(sink.clone()))
            .add_service(metrics::metrics_service_server::MetricsServiceServer::new(sink.clone()))
            .add_service(logs::logs_service_server::LogsServiceServer::new(sink))
            .serve_with_incoming(incoming);
        Tasks::new()
            .spawn("collector", async move { server.await.expect("the server only ends with the test") });
        (url, received)
    }

    async fn pass(&self, signal: &'static str, resource: Option<&WireResource>, name: String) {
        let item = Item { signal, service: service_name(resource), name };
        self.0.send(item).await.expect("the test still listens");
    }
}

fn service_name(resource: Option<&WireResource>) -> String {
    let attributes = resource.into_iter().flat_map(|resource| &resource.attributes);
    let mut named = attributes.filter(|attribute| attribute.key == "service.name");
    match named.next().and_then(|attribute| attribute.value.as_ref()?.value.as_ref()) {
        Some(Value::StringValue(name)) => name.clone(),
        other => panic!("no service name but {other:?}"),
    }
}

#[tonic::async_trait]
impl trace::trace_service_server::TraceService for Sink {
    async fn export(
        &self,
        request: Request<trace::ExportTraceServiceRequest>,
    ) -> Result<Response<trace::ExportTraceServiceResponse>, Status> {
        for group in request.into_inner().resource_spans {
            for span in group.scope_spans.into_iter().flat_map(|scope| scope.spans) {
                self.pass("span", group.resource.as_ref(), span.name).await;
            }
        }
        Ok(Response::new(trace::ExportTraceServiceResponse::default()))
    }
}

#[tonic::async_trait]
impl metrics::metrics_service_server::MetricsService for Sink {
    async fn export(
        &self,
        request: Request<metrics::ExportMetricsServiceRequest>,
    ) -> Result<Response<metrics::ExportMetricsServiceResponse>, Status> {
        for group in request.into_inner().resource_metrics {
            for metric in group.scope_metrics.into_iter().flat_map(|scope| scope.metrics) {
                self.pass("metric", group.resource.as_ref(), metric.name).await;
            }
        }
        Ok(Response::new(metrics::ExportMetricsServiceResponse::default()))
    }
}

#[tonic::async_trait]
impl logs::logs_service_server::LogsService for Sink {
    async fn export(
        &self,
        request: Request<logs::ExportLogsServiceRequest>,
    ) -> Result<Response<logs::ExportLogsServiceResponse>, Status> {
        for group in request.into_inner().resource_logs {
            for record in group.scope_logs.into_iter().flat_map(|scope| scope.log_records) {
                match record.body.and_then(|body| body.value) {
                    Some(Value::StringValue(line)) => self.pass("log", group.resource.as_ref(), line).await,
                    other => panic!("no text but {other:?}"),
                }
            }
        }
        Ok(Response::new(logs::ExportLogsServiceResponse::default()))
    }
}

#[test]
fn headers_for_a_collector_come_from_a_private_file_and_never_go_out_in_the_clear() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("headers");
    let said = |mode: u32, text: &str, url: Option<&str>| {
        fs::write(&path, text).expect("the folder is ours");
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("the file is ours");
        let args = ObserveArgs { otlp_headers_file: Some(path.clone()), ..ObserveArgs::default() };
        let args = ObserveArgs { otlp_endpoint: url.map(|url| url.parse().expect("a URL")), ..args };
        let fault = assemble("rr-edge", &args, JSON, io::sink).err().expect("it is refused").to_string();
        assert!(!fault.contains("s3cret"), "{fault}");
        fault
    };
    let (header, away) = ("authorization: Bearer s3cret\n", Some("http://collector.example:4317"));
    assert!(said(0o644, header, away).contains("chmod 600"));
    assert!(said(0o600, &format!("# ours\n\n{header}no header s3cret\n"), away).contains("line 4 of"));
    assert!(said(0o600, "na me: s3cret", away).contains("line 1 of"));
    assert!(said(0o600, header, away).contains("in the clear"));
    assert!(said(0o600, header, None).contains("needs --otlp-endpoint"));
    // The next that is missing is a runtime.
    for private in
        ["https://collector.example:4317", "http://127.0.0.1:4317", "http://[::1]:1", "http://localhost:1"]
    {
        assert!(said(0o600, header, Some(private)).contains("runtime"), "{private}");
    }
}

#[test]
fn the_value_of_a_header_for_a_collector_prints_as_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("headers");
    fs::write(&path, "Authorization: Bearer s3cret\nx-tenant: s3cret-too\n").expect("the folder is ours");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("the file is ours");
    let headers = headers::read(&path).expect("it is good");
    assert_eq!(headers.get("authorization").and_then(|it| it.to_str().ok()), Some("Bearer s3cret"));
    assert!(!format!("{headers:?}").contains("s3cret"), "{headers:?}");
}
