//! The relay's port: joins go through as they are, streams message by message.

use std::sync::Arc;

use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rr_contract::runtime::{Stop, Tasks};
use rr_contract::wire::fleet;
use rr_contract::wire::fleet::config_service_client::ConfigServiceClient;
use rr_contract::wire::fleet::config_service_server::{ConfigService, ConfigServiceServer};
use rr_contract::wire::fleet::enrolment_service_client::EnrolmentServiceClient;
use rr_contract::wire::fleet::enrolment_service_server::{EnrolmentService, EnrolmentServiceServer};
use rustls::ServerConfig;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::ReceiverStream;
use tonic::service::Routes;
use tonic::{Request, Response, Status, Streaming};
use tower::ServiceExt as _;

use super::tamper::{Record, Tamper};
use crate::fleet::{Connection, Counts, Identity, Place, origin};

const MESSAGE_MAX: usize = 2 * 1024 * 1024 + 64 * 1024;
const QUEUE: usize = 16;

/// The way up.
#[derive(Clone)]
pub(super) struct Upstream(Arc<Inner>);

struct Inner {
    place: Place,
    identity: Identity,
    record: Arc<Record>,
    counts: Arc<Counts>,
    tasks: Tasks,
    stop: Stop,
}

impl Upstream {
    pub(super) fn new(place: Place, identity: Identity, record: Arc<Record>, stop: Stop) -> Self {
        let (counts, tasks) = (Arc::default(), Tasks::new());
        Self(Arc::new(Inner { place, identity, record, counts, tasks, stop }))
    }
}

/// Takes connections until the stop, which cuts them.
pub(super) async fn serve(listener: TcpListener, tls: Arc<ServerConfig>, upstream: Upstream, stop: Stop) {
    let routes = Routes::new(
        ConfigServiceServer::new(upstream.clone())
            .max_decoding_message_size(MESSAGE_MAX)
            .max_encoding_message_size(MESSAGE_MAX),
    )
    .add_service(EnrolmentServiceServer::new(upstream.clone()));
    while let Some(Ok((socket, _))) = stop.cut(listener.accept()).await {
        let (tls, routes, stop) = (TlsAcceptor::from(Arc::clone(&tls)), routes.clone(), stop.clone());
        let mut cuts = upstream.0.record.cuts.subscribe();
        upstream.0.tasks.spawn("relay connection", async move {
            let connection = async {
                socket.set_nodelay(true).ok()?;
                let stream = tls.accept(socket).await.ok()?;
                let service = hyper::service::service_fn(move |request: http::Request<Incoming>| {
                    routes.clone().oneshot(request)
                });
                let mut builder = http2::Builder::new(TokioExecutor::new());
                builder.timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), service).await.ok()
            };
            tokio::select! {
                _ = stop.cut(connection) => {}
                _ = cuts.changed() => {}
            }
        });
    }
}

#[tonic::async_trait]
impl EnrolmentService for Upstream {
    async fn join(
        &self,
        request: Request<fleet::JoinRequest>,
    ) -> Result<Response<fleet::JoinResponse>, Status> {
        let tls = self.0.place.tls(None).map_err(|error| Status::internal(error.to_string()))?;
        let connection = self.0.place.connect(&tls, 0, &self.0.counts, false).await.map_err(away)?;
        let mut client = EnrolmentServiceClient::with_origin(connection.service(), origin());
        let answer = client.join(Request::new(request.into_inner())).await?;
        Ok(Response::new(answer.into_inner()))
    }

    /// Who renews is known by its certificate, which does not go through a relay.
    async fn renew(&self, _: Request<fleet::RenewRequest>) -> Result<Response<fleet::RenewResponse>, Status> {
        Err(Status::unimplemented("a relay renews no certificates"))
    }
}

#[tonic::async_trait]
impl ConfigService for Upstream {
    type SyncStream = ReceiverStream<Result<fleet::SyncResponse, Status>>;

    async fn sync(
        &self,
        request: Request<Streaming<fleet::SyncRequest>>,
    ) -> Result<Response<Self::SyncStream>, Status> {
        let inner = Arc::clone(&self.0);
        let tls = &inner.identity.tls;
        let connection = inner.place.connect(tls, 0, &inner.counts, false).await.map_err(away)?;
        let ((up, said), (down, heard)) = (mpsc::channel(QUEUE), mpsc::channel(QUEUE));
        let (mut from_below, record) = (request.into_inner(), Arc::clone(&inner.record));
        inner.tasks.spawn("relay up", async move {
            while let Some(Ok(message)) = from_below.next().await {
                message.message.as_ref().inspect(|message| record.saw(message));
                if up.send(message).await.is_err() {
                    return;
                }
            }
        });
        let (record, stop) = (Arc::clone(&inner.record), inner.stop.clone());
        inner.tasks.spawn("relay down", async move {
            if let Some(Err(status)) = stop.cut(pass_down(connection, said, &down, &record)).await {
                // Whoever it is for may have gone.
                down.send(Err(status)).await.ok();
            }
        });
        Ok(Response::new(ReceiverStream::new(heard)))
    }
}

async fn pass_down(
    connection: Connection,
    said: mpsc::Receiver<fleet::SyncRequest>,
    down: &mpsc::Sender<Result<fleet::SyncResponse, Status>>,
    record: &Record,
) -> Result<(), Status> {
    let mut client = ConfigServiceClient::with_origin(connection.service(), origin())
        .max_decoding_message_size(MESSAGE_MAX)
        .max_encoding_message_size(MESSAGE_MAX);
    let mut from_above = client.sync(ReceiverStream::new(said)).await?.into_inner();
    let mut tamper = Tamper::default();
    while let Some(message) = from_above.message().await? {
        for message in message.message.into_iter().flat_map(|message| tamper.pass(message, record)) {
            let message = fleet::SyncResponse { message: Some(message) };
            if down.send(Ok(message)).await.is_err() {
                return Ok(());
            }
        }
    }
    Ok(())
}

fn away(error: anyhow::Error) -> Status {
    Status::unavailable(format!("relay cannot reach what is above it: {error:#}"))
}
