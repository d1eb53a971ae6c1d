//! The fleet port: how machines become nodes, and what nodes are told and tell.
//!
//! A machine without a certificate of this installation may join and nothing else. Serves no person.

mod config;
mod enrolment;
mod framing;
mod gate;
mod renewal;
mod telemetry;

use std::sync::Arc;
use std::time::SystemTime;

use rr_contract::runtime::{Stop, Tasks};
use rr_contract::wire::fleet::enrolment_service_server::EnrolmentServiceServer;
use rr_contract::wire::fleet::telemetry_service_server::TelemetryServiceServer;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic::{Extensions, Status};

use crate::authority::{Authority, NodeCertificate, NodeIdentity};
use crate::events::Events;
use crate::listen::Peer;
use crate::publish::Publisher;
use crate::store::{RecordStores, Store};
use rr_contract::seam::Seams;

pub(crate) use gate::Gate;
pub(crate) use telemetry::Pace;
#[cfg(test)]
pub(crate) use telemetry::{ingest, place};

use config::ConfigRoute;

/// The largest message that a node may send: a batch of records and little more.
const MESSAGE_MOST: usize = 4 * 1024 * 1024;

/// What a node is told whose certificate is of a root that was removed.
const REMOVED: &str = "the root that issued the certificate of this node was removed from the authority; join it again with a token of `rrctl node token create`";

/// What a node is told whose certificate was not signed.
const NOT_SIGNED: &str = "the authority's key does not sign, so no certificate can be issued; the control plane's log says why, try again later";

/// What the services of the port share.
#[derive(Clone)]
pub(crate) struct FleetPort {
    pub(crate) store: Store,
    pub(crate) records: RecordStores,
    pub(crate) seams: Seams,
    pub(crate) authority: Arc<Authority>,
    pub(crate) publisher: Arc<Publisher>,
    pub(crate) events: Events,
    pub(crate) tasks: Tasks,
    pub(crate) stop: Stop,
    pub(crate) gate: Arc<Gate>,
    pub(crate) pace: Arc<Pace>,
}

impl FleetPort {
    /// The port's services.
    pub(crate) fn routes(self) -> Routes {
        Routes::new(EnrolmentServiceServer::new(self.clone()).max_decoding_message_size(256 * 1024))
            .add_service(ConfigRoute(self.clone()))
            .add_service(TelemetryServiceServer::new(self).max_decoding_message_size(MESSAGE_MOST))
    }
}

/// The node at the other end, and what its certificate says.
fn certificate(extensions: &Extensions) -> Result<&NodeCertificate, Status> {
    extensions
        .get::<NodeCertificate>()
        .ok_or_else(|| Status::unauthenticated("this call needs a node's certificate of this installation"))
}

impl FleetPort {
    /// What is cancelled when the root of the certificate at the other end is trusted no more, where it is by now: a
    /// connection may be older than a removal.
    fn trusts(&self, extensions: &Extensions) -> Result<CancellationToken, Status> {
        let removed = || Status::unauthenticated(REMOVED);
        self.authority.trusts(certificate(extensions)?).ok_or_else(removed)
    }
}

/// The node at the other end, whose certificate has not ended by `now`.
fn identity(port: &FleetPort, extensions: &Extensions, now: SystemTime) -> Result<NodeIdentity, Status> {
    port.trusts(extensions)?;
    let shown = certificate(extensions)?;
    if shown.not_after < now {
        return Err(Status::unauthenticated(
            "the certificate of this node has ended; a node has to renew it before it is served",
        ));
    }
    Ok(shown.identity)
}

/// Where the other end is.
fn address(extensions: &Extensions) -> String {
    extensions.get::<Peer>().map(|peer| peer.0.to_string()).unwrap_or_default()
}
