//! Opens the stream of configuration. What goes over it is `publish/stream.rs`'s.
//!
//! In the place of the generated service, whose responses copy each message for each stream and keep the buffer.

use std::convert::Infallible;
use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use http::header::CONTENT_TYPE;
use http::{Extensions, HeaderValue, Request, Response};
use rr_contract::runtime::chain;
use rr_contract::wire::fleet;
use rr_contract::wire::fleet::config_service_server::SERVICE_NAME;
use tokio::sync::mpsc;
use tonic::body::Body;
use tonic::codec::{BufferSettings, Streaming};
use tonic::server::NamedService;
use tonic::{Code, Status};
use tonic_prost::ProstDecoder;
use tower::Service;
use tracing::{debug, warn};

use super::framing::Framed;
use super::{FleetPort, MESSAGE_MOST, address, certificate, identity as not_ended};
use crate::publish::{End, Outgoing, Outgoings, Session, revoked as told_of_it};
use crate::{retry, store};

/// The one call of the service.
const SYNC: &str = "/requestrocket.fleet.v1.ConfigService/Sync";
/// Messages that wait for the transport. Small: what waits here cannot be taken back when more is known.
const WAITING: usize = 2;
/// What a stream's buffer for what the node says starts with: nearly all of that is small.
const HEARD: usize = 1024;

/// The service, on the port's router.
#[derive(Clone)]
pub(super) struct ConfigRoute(pub(super) FleetPort);

impl NamedService for ConfigRoute {
    const NAME: &'static str = SERVICE_NAME;
}

impl Service<Request<Body>> for ConfigRoute {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let port = self.0.clone();
        Box::pin(async move {
            if request.uri().path() != SYNC {
                return Ok(Status::new(Code::Unimplemented, "").into_http());
            }
            let (parts, body) = request.into_parts();
            let decoder = ProstDecoder::new(BufferSettings::new(HEARD, HEARD));
            let inbound = Streaming::new_request(decoder, body, None, Some(MESSAGE_MOST));
            Ok(match port.sync(&parts.extensions, inbound).await {
                Ok(messages) => {
                    let mut response = Response::new(Body::new(Framed::new(messages)));
                    let grpc = HeaderValue::from_static("application/grpc");
                    response.headers_mut().insert(CONTENT_TYPE, grpc);
                    response
                }
                Err(status) => status.into_http(),
            })
        })
    }
}

impl FleetPort {
    async fn sync(
        &self,
        extensions: &Extensions,
        inbound: Streaming<fleet::SyncRequest>,
    ) -> Result<Outgoings, Status> {
        let identity = certificate(extensions)?.identity;
        // Before any work.
        self.gate.enter(identity.node).map_err(|after| {
            self.events.stream_not_let_in();
            retry::unavailable("too many nodes are connecting; come again later", after)
        })?;
        let (mut proven, mut node_key) = (None, Vec::new());
        match store::node::by_id(&self.store, &identity.node.to_string()).await {
            // Read here because it is at hand: what was read of all nodes is up to three seconds old.
            Ok(Some(row)) if row.revoked_at.is_some() => return Ok(revoked(row.token)),
            Ok(Some(row)) => {
                proven = store::ledger::proven(&row);
                node_key.clone_from(&row.node_key);
                let lease = store::ledger::lease(row, self.store.now());
                self.publisher.fleet().hear_of(lease);
            }
            Ok(None) => {
                return Err(Status::permission_denied(
                    "this node is not registered in the database of this control plane; join it again with a token of `rrctl node token create`",
                ));
            }
            // What is published is in memory: the stream works without the database.
            Err(error) => {
                warn!(error = %chain(&error), node.id = %identity.node, "cannot look up a node in the database, its stream is served all the same")
            }
        }
        if let Some(token) = self.publisher.fleet().revoked(identity.node) {
            return Ok(revoked(token));
        }
        // Behind that: one that was revoked long ago is to hear of it.
        not_ended(self, extensions, self.seams.clock.now())?;
        let removed = self.trusts(extensions)?;
        if self.publisher.position(identity.region).is_none() {
            return Err(Status::unavailable(
                "the control plane is still loading the configuration; connect again in a moment",
            ));
        }
        let (out, answers) = mpsc::channel(WAITING);
        let session = Session {
            publisher: self.publisher.clone(),
            seams: self.seams.clone(),
            node: identity.node,
            region: identity.region,
            address: address(extensions),
            proven,
            node_key,
            inbound,
            out,
            stop: self.stop.clone(),
            removed,
            authorities: self.authority.told(),
        };
        // The response goes out now: a client waits for its head before it sends, and Hello is awaited there.
        self.tasks.spawn("sync", async move {
            let end = session.run().await;
            debug!(node.id = %identity.node, reason = %end, "stream ended");
        });
        Ok(Outgoings::new(answers))
    }
}

/// The stream of a node that was revoked: nothing but the word on it.
fn revoked(token: String) -> Outgoings {
    let (out, answers) = mpsc::channel(WAITING);
    let refused = Status::permission_denied(End::Revoked.to_string());
    for answer in [Ok(Outgoing::One(Box::new(told_of_it(token)))), Err(refused)] {
        // There is room for both.
        out.try_send(answer).ok();
    }
    Outgoings::new(answers)
}
