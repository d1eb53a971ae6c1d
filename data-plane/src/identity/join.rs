//! From a node token to an identity.
//!
//! The token's secret stays here: what is sent follows from it and would not let anybody join again. Distinguishes
//! a refusal from a control plane that cannot be reached, because only the second is worth another try.

use std::sync::Arc;
use std::time::Duration;

use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256};
use rr_contract::seal::OpeningKey;
use rr_contract::seal::attestation::AttestationError;
use rr_contract::seal::node_token::{GrantError, NodeToken};
use rr_contract::seam::Clock;
use rr_contract::secret::Secret;
use rr_contract::wire::fleet;
use rr_contract::wire::fleet::enrolment_service_client::EnrolmentServiceClient;
use rustls::pki_types::CertificateDer;
use tokio::time::timeout;
use tonic::Code;

use crate::control_plane::{ControlPlane, ControlPlaneAddress, tls};

use super::{Identity, region_keys};

const TIMEOUT: Duration = Duration::from_secs(15);
/// The answer holds 56 bytes for each secret that was attested.
const ANSWER_MAX: usize = 64 << 20;

/// Why a machine could not join.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// The control plane could not be reached, or failed.
    #[error("connect to the control plane at {address}")]
    Unreachable {
        /// The address.
        address: ControlPlaneAddress,
        /// The cause.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// It took too long.
    #[error("the control plane at {address} did not answer the join request in time")]
    Timeout {
        /// The address.
        address: ControlPlaneAddress,
    },
    /// The control plane belongs to another installation.
    #[error(
        "the control plane at {address} is not the one that the node token was made for; check --control-plane and the token"
    )]
    Stranger {
        /// The address.
        address: ControlPlaneAddress,
    },
    /// The control plane refused the token.
    #[error(
        "the control plane refused the node token ({reason}); create a new token with `rrctl node token`"
    )]
    Refused {
        /// The reason that the control plane gave.
        reason: String,
    },
    /// The answer is not what the issuer of the token signed.
    #[error("the control plane's answer to the join request failed verification")]
    Grant(#[source] GrantError),
    /// The control plane has older secrets for us than the token knows of.
    #[error(
        "the control plane does not show that its secrets are as new as the node token; where it was restored from a backup, the holder of the region's key runs `rrctl region attest REGION --after-restore`"
    )]
    Attestation(#[source] AttestationError),
    /// The answer is incomplete or malformed.
    #[error("the control plane's answer to the join request is incomplete: {0}")]
    Answer(&'static str),
    /// Keys could not be made.
    #[error("generate keys for the node certificate")]
    Keys(#[source] rcgen::Error),
    /// TLS could not be set up.
    #[error("set up TLS")]
    Tls(#[source] rustls::Error),
}

impl JoinError {
    /// Whether the same token may succeed later.
    pub(crate) fn is_worth_another_try(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::Timeout { .. })
    }
}

/// Redeems a token. Leaves nothing behind unless it succeeds.
pub(crate) async fn join(
    control_plane: &ControlPlane,
    token: &NodeToken,
    build: &str,
    clock: &Arc<dyn Clock>,
) -> Result<Identity, JoinError> {
    let address = || control_plane.address().clone();
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(JoinError::Keys)?;
    let csr = CertificateParams::default().serialize_request(&key).map_err(JoinError::Keys)?;
    let csr = csr.der().to_vec();
    let own_key = OpeningKey::generate();
    let node_key = own_key.sealing_key();
    let keys = token.keys();
    let request = fleet::JoinRequest {
        token: token.id().to_string(),
        auth: keys.auth().to_vec(),
        node_key: node_key.to_bytes().to_vec(),
        vouch: keys.vouch(&node_key, &csr),
        csr,
        build: build.to_owned(),
    };

    let (tls, verifier) = tls::pinned(*token.authority_pin(), Arc::clone(clock)).map_err(JoinError::Tls)?;
    let call = async {
        let channel = control_plane.connect(tls).await.map_err(|source| {
            if verifier.met_a_stranger() {
                JoinError::Stranger { address: address() }
            } else {
                JoinError::Unreachable { address: address(), source: source.into() }
            }
        })?;
        let mut service = EnrolmentServiceClient::new(channel).max_decoding_message_size(ANSWER_MAX);
        service.join(request).await.map_err(|status| refusal(status, address()))
    };
    let answer = timeout(TIMEOUT, call).await.map_err(|_| JoinError::Timeout { address: address() })??;
    let answer = answer.into_inner();

    let statement = answer.statement.as_ref().ok_or(JoinError::Answer("no statement"))?;
    let grant = keys.open(statement).map_err(JoinError::Grant)?;
    if answer.chain.is_empty() || answer.trust.is_empty() {
        return Err(JoinError::Answer("no certificate"));
    }
    let attested =
        grant.attested(answer.attestation, &answer.attested_versions).map_err(JoinError::Attestation)?;
    let mut later = Vec::with_capacity(answer.later_keys.len());
    let mut newest = grant.key.epoch();
    for given in &answer.later_keys {
        let region = grant.key.region();
        let key = region_keys::opened(given, region, grant.fingerprint, keys.open_key(), newest)
            .map_err(|_| JoinError::Answer("a later key of the region that is not what the region signed"))?;
        newest = key.epoch();
        later.push(key);
    }
    let identity = Identity {
        node: answer.node.parse().map_err(|_| JoinError::Answer("no node id"))?,
        installation: grant.installation,
        region: grant.key,
        fingerprint: grant.fingerprint,
        later,
        attested: Arc::new(attested),
        own_key,
        chain: answer.chain.into_iter().map(CertificateDer::from).collect(),
        private_key: Secret::new(key.serialize_der()),
        trust: answer.trust.into_iter().map(CertificateDer::from).collect(),
    };
    // A certificate that TLS would refuse must fail now, while the token can still be replaced.
    let _config: Arc<rustls::ClientConfig> = identity.tls(Arc::clone(clock)).map_err(JoinError::Tls)?;
    Ok(identity)
}

fn refusal(status: tonic::Status, address: ControlPlaneAddress) -> JoinError {
    match status.code() {
        Code::InvalidArgument
        | Code::NotFound
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::FailedPrecondition
        | Code::Unauthenticated
        | Code::Unimplemented => JoinError::Refused { reason: status.message().to_owned() },
        _ => JoinError::Unreachable { address, source: Box::new(status) },
    }
}
