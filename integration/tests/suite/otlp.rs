//! Traces, metrics and logs of both programs arrive at a collector when one is named.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

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
use rr_contract::runtime::{Shutdown, Tasks};
use rr_integration::caller::Caller;
use rr_integration::process::{Control, Edge};
use rr_integration::upstream::Upstream;
use rr_integration::wait::eventually;
use tonic::{Request, Response, Status};

/// Names of what arrived, each behind its signal and service.
#[derive(Clone, Default)]
struct Sink(Arc<Mutex<BTreeSet<String>>>);

impl Sink {
    fn note(&self, signal: &str, resource: impl std::fmt::Debug, name: &str) {
        let resource = format!("{resource:?}");
        let service = ["rr-control", "rr-edge"].into_iter().find(|service| resource.contains(service));
        let line = format!("{signal} {} {name}", service.unwrap_or("nobody"));
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(line);
    }

    fn holds(&self, line: &str) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(line)
    }
}

#[tonic::async_trait]
impl TraceService for Sink {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        for resource in request.into_inner().resource_spans {
            for span in resource.scope_spans.iter().flat_map(|scope| &scope.spans) {
                self.note("span", &resource.resource, &span.name);
            }
        }
        Ok(Response::new(Default::default()))
    }
}

#[tonic::async_trait]
impl MetricsService for Sink {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        for resource in request.into_inner().resource_metrics {
            for metric in resource.scope_metrics.iter().flat_map(|scope| &scope.metrics) {
                self.note("metric", &resource.resource, &metric.name);
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
        for resource in request.into_inner().resource_logs {
            if resource.scope_logs.iter().any(|scope| !scope.log_records.is_empty()) {
                self.note("log", &resource.resource, "line");
            }
        }
        Ok(Response::new(Default::default()))
    }
}

async fn collector(sink: Sink, shutdown: &Shutdown) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    let stop = shutdown.stop();
    let serving = tonic::transport::Server::builder()
        .add_service(TraceServiceServer::new(sink.clone()))
        .add_service(MetricsServiceServer::new(sink.clone()))
        .add_service(LogsServiceServer::new(sink))
        .serve_with_incoming(tokio_stream::wrappers::TcpListenerStream::new(listener));
    Tasks::new().spawn("collector", async move { stop.cut(serving).await });
    address
}

#[tokio::test]
async fn traces_metrics_and_logs_of_both_programs_reach_a_collector() {
    let (sink, shutdown) = (Sink::default(), Shutdown::new());
    let address = collector(sink.clone(), &shutdown).await;
    let otlp = [("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://{address}"))];
    let folder = tempfile::tempdir().expect("a folder");
    let upstream = Upstream::start().await;
    let mut control = Control::start_with(&folder.path().join("control"), &otlp).await;
    let api = control.bootstrap().await;
    api.org("acme").await.expect("org");
    let keys = api.region("eu", "").await.expect("region");
    api.target("acme", "echo", &upstream.url()).await.expect("target");
    api.upstream("acme", "secret", &keys, &upstream.url(), "s3cret").await.expect("secret");
    let key = api.caller("acme", "app").await.expect("caller");
    api.proxy("acme", "echo", "app", "echo", "secret", "eu").await.expect("proxy");
    let token = api.node_token("eu", &keys, 1).await.expect("token");
    let mut edge =
        Edge::start_with(&folder.path().join("edge"), control.fleet, token.to_secret().expose(), &otlp);
    edge.ready().await;
    let caller = Caller::new(edge.listen, "acme.echo", &key);
    eventually("a call is answered", || async { (caller.get("/").await.status == 200).then_some(()) }).await;
    // What was not sent yet is sent at the end.
    assert_eq!(edge.process.terminate().await.code(), Some(0), "{}", edge.process.log());
    assert_eq!(control.process.terminate().await.code(), Some(0), "{}", control.process.log());
    for line in [
        "span rr-control management_call",
        "span rr-edge request",
        "metric rr-control requestrocket_control_calls_total",
        "metric rr-edge requestrocket_edge_requests_total",
        "log rr-control line",
        "log rr-edge line",
    ] {
        assert!(sink.holds(line), "no {line:?} in {:?}", sink.0.lock());
    }
    shutdown.begin();
}
