//! Opens the stream of configuration. What goes over it is `publish/stream.rs`'s.

use std::pin::Pin;

use futures_util::Stream;
use rr_contract::runtime::chain;
use rr_contract::wire::fleet;
use rr_contract::wire::fleet::config_service_server::ConfigService;
use tokio::sync::mpsc;
use tonic::{Request, Response, Status, Streaming};
use tracing::{debug, warn};

use super::{FleetPort, address, identity};
use crate::publish::{Outgoings, Session};
use crate::{retry, store};

/// Messages that wait for the transport. Small: what waits here cannot be taken back when more is known.
const WAITING: usize = 2;

#[tonic::async_trait]
impl ConfigService for FleetPort {
    type SyncStream = Pin<Box<dyn Stream<Item = Result<fleet::SyncResponse, Status>> + Send>>;

    async fn sync(
        &self,
        request: Request<Streaming<fleet::SyncRequest>>,
    ) -> Result<Response<Self::SyncStream>, Status> {
        let identity = identity(request.extensions())?;
        // Before any work.
        self.gate.enter().map_err(|after| {
            self.events.stream_not_let_in();
            retry::unavailable("too many nodes are connecting; come again later", after)
        })?;
        match store::node::by_id(&self.store, &identity.node.to_string()).await {
            Ok(Some(_)) => {}
            Ok(None) => {
                return Err(Status::permission_denied("this node is not known here; let it join anew"));
            }
            // What is published is in memory: the stream works without the database.
            Err(error) => warn!(error = %chain(&error), node.id = %identity.node, "node not looked up"),
        }
        if self.publisher.position(identity.region).is_none() {
            return Err(Status::unavailable("the configuration is still being loaded"));
        }
        let (out, answers) = mpsc::channel(WAITING);
        let address = address(request.extensions());
        let session = Session {
            publisher: self.publisher.clone(),
            seams: self.seams.clone(),
            node: identity.node,
            region: identity.region,
            address,
            inbound: request.into_inner(),
            out,
            stop: self.stop.clone(),
        };
        // The response goes out now: a client waits for its head before it sends, and Hello is awaited there.
        self.tasks.spawn("sync", async move {
            let end = session.run().await;
            debug!(node.id = %identity.node, reason = %end, "stream ended");
        });
        Ok(Response::new(Box::pin(Outgoings::new(answers))))
    }
}
