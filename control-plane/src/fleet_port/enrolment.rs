//! Machines become nodes here, by a token whose secret they never show, and nodes come for their next certificates.
//!
//! Every refusal to join looks alike: who guesses learns nothing of which part was wrong. What a renewal is judged by is
//! in [`renewal`].

use rr_contract::model::id::{NodeId, NodeTokenId};
use rr_contract::model::time;
use rr_contract::runtime::chain;
use rr_contract::seal::SealingKey;
use rr_contract::seal::node_token::{NodeTokenStatement, csr_hash};
use rr_contract::seam::draw;
use rr_contract::wire::fleet::{self, enrolment_service_server::EnrolmentService};
use tonic::{Request, Response, Status};
use tracing::{error, warn};

use super::{FleetPort, NOT_SIGNED, address, renewal};
use crate::authority::{Asked, NodeIdentity, Serial, SignError};
use crate::events::JoinOutcome;
use crate::service::region;
use crate::store::node::Redeemed;
use crate::store::{self, StoreError, micros, node_row};

/// Why a machine did not become a node; for our log alone.
#[derive(Debug, thiserror::Error)]
enum JoinError {
    #[error("no such token")]
    UnknownToken,
    #[error("the proof of the node token's secret is wrong")]
    Auth,
    #[error("the node token does not vouch for the keys in the request")]
    Vouch,
    #[error("the certificate signing request cannot be read")]
    Request,
    #[error("token is used up or too old")]
    Spent,
    #[error("the stored statement of the node token is damaged")]
    Statement,
    #[error(transparent)]
    Sign(#[from] SignError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

#[tonic::async_trait]
impl EnrolmentService for FleetPort {
    async fn join(
        &self,
        request: Request<fleet::JoinRequest>,
    ) -> Result<Response<fleet::JoinResponse>, Status> {
        let from = address(request.extensions());
        let request = request.into_inner();
        let node = NodeId::from_random(draw(&*self.seams.entropy));
        // Printed only where it has the form of an id: it may be anything.
        let token = request.token.parse::<NodeTokenId>().map(|id| id.to_string()).unwrap_or_default();
        match self.admit(node, request, from).await {
            Ok(response) => {
                self.events.join(JoinOutcome::Admitted, &token, &node.to_string());
                Ok(Response::new(response))
            }
            Err(JoinError::Store(error)) => {
                error!(error = %chain(&error), "join failed");
                self.events.join(JoinOutcome::Failed, &token, "");
                Err(Status::unavailable("the database does not answer, so no node can join; try again later"))
            }
            Err(JoinError::Sign(error)) => {
                error!(error = %chain(&error), "join failed");
                self.events.join(JoinOutcome::Failed, &token, "");
                Err(Status::unavailable(NOT_SIGNED))
            }
            Err(error) => {
                warn!(reason = %error, node_token.id = token, "join refused");
                self.events.join(JoinOutcome::Refused, &token, "");
                Err(Status::unauthenticated(
                    "the node token was refused: it is unknown, used up, expired, revoked, or its proof is wrong; \
                     make a new one with `rrctl node token create`",
                ))
            }
        }
    }

    async fn renew(
        &self,
        request: Request<fleet::RenewRequest>,
    ) -> Result<Response<fleet::RenewResponse>, Status> {
        renewal::renew(self, request).await.map(Response::new)
    }
}

impl FleetPort {
    async fn admit(
        &self,
        node: NodeId,
        request: fleet::JoinRequest,
        from: String,
    ) -> Result<fleet::JoinResponse, JoinError> {
        let id: NodeTokenId = request.token.parse().map_err(|_| JoinError::UnknownToken)?;
        let entry = store::node::token_by_id(&self.store, id).await?.ok_or(JoinError::UnknownToken)?;
        let region = region::by_reference(&self.store, &entry.region).await?.ok_or(JoinError::Statement)?;
        let key = region::statement(&region.document)?;
        let statement = NodeTokenStatement::parse(entry.statement, &key).map_err(|_| JoinError::Statement)?;
        if !statement.admits(&request.auth) {
            return Err(JoinError::Auth);
        }
        if SealingKey::try_from(request.node_key.as_slice()).is_err()
            || !statement.vouches(&request.node_key, &request.csr, &request.vouch)
        {
            return Err(JoinError::Vouch);
        }
        let identity = NodeIdentity { node, region: statement.region() };
        let asked = Asked::parse(&request.csr).map_err(|_| JoinError::Request)?;
        let serial = Serial::after(None, &*self.seams.entropy);
        let now = self.seams.clock.now();
        let issued = self.authority.issue_node(asked, identity, &serial, now).await?;
        let open_key = statement.to_wire().open_key;
        let later_keys =
            store::region_grant::later_keys(&self.store, &region.document, &open_key, statement.epoch())
                .await?;
        let attested = store::region_attestation::of_region(&self.store, &region.row.id).await?;
        self.redeem(node_row::Model {
            certificate_not_after: micros(issued.not_after),
            serial: Some(serial.as_bytes().to_vec()),
            ..joined(&statement, identity, &request, from)
        })
        .await?;
        let (attestation, versions) = attested.unzip();
        Ok(fleet::JoinResponse {
            node: node.to_string(),
            chain: vec![issued.certificate.to_vec()],
            trust: self.authority.trust(),
            statement: Some(statement.to_wire()),
            not_after: Some(time::timestamp(issued.not_after)),
            later_keys,
            attestation,
            attested_versions: versions.map(|versions| versions.to_bytes()).unwrap_or_default(),
        })
    }

    /// Counts the use and writes the node, or neither.
    async fn redeem(&self, row: node_row::Model) -> Result<(), JoinError> {
        self.store
            .note(move |txn| {
                Box::pin(async move {
                    match store::node::token_redeem(txn, &row.token).await? {
                        Redeemed::Spent => return Err(JoinError::Spent),
                        Redeemed::Admitted => {}
                    }
                    let now = txn.now();
                    let row = node_row::Model { joined_at: now, last_seen_at: now, issued_at: now, ..row };
                    store::node::create(txn, row).await?;
                    Ok(())
                })
            })
            .await?;
        Ok(())
    }
}

/// The row of a node that is about to join, without its certificate.
fn joined(
    statement: &NodeTokenStatement,
    identity: NodeIdentity,
    request: &fleet::JoinRequest,
    from: String,
) -> node_row::Model {
    node_row::Model {
        id: identity.node.to_string(),
        region: identity.region.to_string(),
        token: statement.id().to_string(),
        build: crate::publish::text(&request.build, 64),
        node_key: request.node_key.clone(),
        joined_at: 0,
        last_seen_at: 0,
        certificate_not_after: 0,
        status: Vec::new(),
        replica: String::new(),
        boot_id: String::new(),
        features: String::new(),
        leased_until: 0,
        address: String::new(),
        draining: false,
        csr_hash: Some(csr_hash(&request.csr).to_vec()),
        vouch: Some(request.vouch.clone()),
        serial: None,
        serial_before: None,
        issued_at: 0,
        issued_to: from,
        copy_serial: None,
        copy_from: String::new(),
        copy_at: 0,
        revoked_at: None,
    }
}
