//! The next certificate of a node. Which certificates a node may show for it is decided by their serials, in one write
//! with the serial of the new one: so a copy of a node, which has its key, comes to light at the second renewal of the
//! two.
//!
//! Signs after the write: an answer that is lost costs the node nothing, for it may show its old certificate again.

use std::sync::Arc;
use std::time::SystemTime;

use rr_contract::model::time;
use rr_contract::runtime::chain;
use rr_contract::seam::Entropy;
use rr_contract::wire::fleet;
use tonic::{Request, Status};
use tracing::error;

use super::{FleetPort, NOT_SIGNED, address, certificate};
use crate::authority::{Asked, Authority, NodeCertificate, RENEWABLE, Serial, Shown, SignError};
use crate::events::RenewalOutcome;
use crate::notice::{self, NodeCopy};
use crate::service::region;
use crate::store::node::Issue;
use crate::store::{self, Store, StoreError, Txn, micros, node_row, notification};

/// Why a node gets no certificate.
#[derive(Debug, thiserror::Error)]
enum RenewError {
    #[error("no certificate signing request can be read in it")]
    Request,
    #[error(
        "this node is not registered in the database of this control plane; join it again with a token of `rrctl node token create`"
    )]
    Unknown,
    #[error("this node was revoked, and its certificate is not renewed")]
    Revoked,
    #[error(
        "the certificate of this node ended more than 30 days ago; restart the node with a new token of `rrctl node token create`"
    )]
    TooOld,
    #[error(
        "another process has renewed the certificate of this node since: its disk or machine was copied; stop one of the two, empty its state folder and join it again"
    )]
    Copy,
    #[error(transparent)]
    Sign(#[from] SignError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Answers the call.
pub(super) async fn renew(
    port: &FleetPort,
    request: Request<fleet::RenewRequest>,
) -> Result<fleet::RenewResponse, Status> {
    port.trusts(request.extensions())?;
    let shown = certificate(request.extensions())?.clone();
    let from = address(request.extensions());
    let node = shown.identity.node.to_string();
    match answer(port, shown, request.get_ref(), from).await {
        Ok(response) => Ok(response),
        Err(RenewError::Store(error)) => {
            error!(error = %chain(&error), node.id = node, "certificate of a node not renewed");
            port.events.renewal(RenewalOutcome::Failed, &node, "");
            Err(Status::unavailable(
                "the database does not answer, so no certificate can be renewed; try again later",
            ))
        }
        Err(RenewError::Sign(error)) => {
            error!(error = %chain(&error), node.id = node, "certificate of a node not renewed");
            port.events.renewal(RenewalOutcome::Failed, &node, "");
            Err(Status::unavailable(NOT_SIGNED))
        }
        Err(error) => {
            port.events.renewal(RenewalOutcome::Refused, &node, &error.to_string());
            let text = error.to_string();
            Err(match error {
                RenewError::Request => Status::invalid_argument(text),
                RenewError::Unknown | RenewError::Revoked => Status::permission_denied(text),
                RenewError::TooOld | RenewError::Copy | RenewError::Sign(_) | RenewError::Store(_) => {
                    Status::failed_precondition(text)
                }
            })
        }
    }
}

async fn answer(
    port: &FleetPort,
    shown: NodeCertificate,
    request: &fleet::RenewRequest,
    from: String,
) -> Result<fleet::RenewResponse, RenewError> {
    let asked = Asked::parse(&request.csr).map_err(|_| RenewError::Request)?;
    let now = port.seams.clock.now();
    // TLS lets none in that is older; a connection may have been open since.
    if now.duration_since(shown.not_after).is_ok_and(|since| since > RENEWABLE) {
        return Err(RenewError::TooOld);
    }
    let identity = shown.identity;
    let region = region::by_reference(&port.store, &identity.region.to_string()).await?;
    let (name, owner) = region
        .map(|region| (region.row.name, region.document.dedicated_to))
        .unwrap_or_else(|| (identity.region.to_string(), String::new()));
    let order = Order {
        node: identity.node.to_string(),
        shown: shown.serial,
        from,
        now,
        entropy: Arc::clone(&port.seams.entropy),
        region: name,
        owner,
    };
    let node = order.node.clone();
    let serial = match judge(&port.store, order).await? {
        Judged::Unknown => return Err(RenewError::Unknown),
        Judged::Revoked => return Err(RenewError::Revoked),
        Judged::Copy { newest, shown, there, newcomer } => {
            port.events.node_copy(&node, [&newest, &shown], [&there, &newcomer]);
            return Err(RenewError::Copy);
        }
        Judged::Granted { serial, how } => {
            if how == Shown::Ahead {
                port.events.node_ahead(&node, &serial.to_string());
            }
            serial
        }
    };
    let issued = port.authority.issue_node(asked, identity, &serial, now).await?;
    port.events.renewal(RenewalOutcome::Granted, &node, "");
    Ok(fleet::RenewResponse {
        chain: vec![issued.certificate.to_vec()],
        trust: port.authority.trust(),
        not_after: Some(time::timestamp(issued.not_after)),
    })
}

/// What a node wants, and what it shows for it.
struct Order {
    node: String,
    shown: Serial,
    from: String,
    now: SystemTime,
    entropy: Arc<dyn Entropy>,
    /// Name of the region, and the organization that has it; empty where it is shared.
    region: String,
    owner: String,
}

/// What became of it.
enum Judged {
    Granted {
        serial: Serial,
        how: Shown,
    },
    Unknown,
    Revoked,
    /// The serial that was issued last and the one that was shown, and the addresses of both.
    Copy {
        newest: String,
        shown: String,
        there: String,
        newcomer: String,
    },
}

async fn judge(store: &Store, order: Order) -> Result<Judged, StoreError> {
    store.note(move |txn| Box::pin(async move { judge_in(txn, order).await })).await
}

async fn judge_in(txn: &Txn, order: Order) -> Result<Judged, StoreError> {
    let Some(row) = store::node::by_id_for_write(txn, &order.node).await? else {
        return Ok(Judged::Unknown);
    };
    if row.revoked_at.is_some() {
        return Ok(Judged::Revoked);
    }
    let newest = row.serial.as_deref().map(Serial::of_bytes);
    let before = row.serial_before.as_deref().map(Serial::of_bytes);
    let how = order.shown.beside(newest.as_ref(), before.as_ref());
    if how == Shown::Copy {
        return met_copy(txn, order, row, newest).await;
    }
    let last = if how == Shown::Before { newest.as_ref() } else { Some(&order.shown) };
    let serial = Serial::after(last, &*order.entropy);
    if how == Shown::Ahead {
        let known = newest.map_or_else(String::new, |newest| newest.to_string());
        let told = notice::node_ahead(
            txn.now(),
            &order.owner,
            (&order.node, &order.region),
            (&known, &order.shown.to_string()),
        );
        notification::insert(txn, &[told]).await?;
    }
    let issue = Issue {
        serial: serial.as_bytes().to_vec(),
        before: order.shown.as_bytes().to_vec(),
        to: order.from,
        not_after: micros(Authority::node_not_after(order.now)),
    };
    store::node::issued(txn, &order.node, issue).await?;
    Ok(Judged::Granted { serial, how })
}

/// Notes what both have, and tells people.
async fn met_copy(
    txn: &Txn,
    order: Order,
    row: node_row::Model,
    newest: Option<Serial>,
) -> Result<Judged, StoreError> {
    let newest = newest.map_or_else(String::new, |newest| newest.to_string());
    let shown = order.shown.to_string();
    let copy = NodeCopy {
        node: &order.node,
        region: &order.region,
        newest: (&newest, &row.issued_to, row.issued_at),
        shown: (&shown, &order.from),
    };
    notification::insert(txn, &[notice::node_copy(txn.now(), &order.owner, &copy)]).await?;
    store::node::copied(txn, &order.node, order.shown.as_bytes().to_vec(), order.from.clone()).await?;
    Ok(Judged::Copy { newest, shown, there: row.issued_to, newcomer: order.from })
}
