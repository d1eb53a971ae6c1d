//! Renews the node's certificate, at half of its life and with a jitter, so that a fleet does not come at once.
//!
//! No connection is touched: those that are open go on, and the next is made with the new certificate. When to renew
//! is reckoned from the moment in which a certificate came, by the clock of this machine; so one that is wrong by days
//! renews no oftener than others. Whatever fails, the certificate in use stays so.

use std::time::{Duration, SystemTime};

use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256};
use rr_contract::runtime::{Stop, chain};
use rr_contract::seam::Seams;
use rr_contract::secret::Secret;
use rr_contract::wire::fleet;
use rr_contract::wire::fleet::enrolment_service_client::EnrolmentServiceClient;
use rustls::pki_types::CertificateDer;
use tokio::time::{Instant, sleep, timeout};
use tonic::Code;
use tracing::{debug, error, info, warn};

use crate::BUILD;
use crate::backoff::{self, Backoff};
use crate::control_plane::ControlPlane;
use crate::identity::roots::{self, RootsRefused};
use crate::identity::{Credentials, RenewalFault, ReplaceError};
use crate::sync::{Board, certificate_error};

const TIMEOUT: Duration = Duration::from_secs(15);
/// How often the clock is looked at: it may be set, and a machine may sleep.
const LOOK: Duration = Duration::from_millis(500);
/// How long to wait for the next try when a person has to do something first, or the control plane is one of before.
const RARELY: Duration = Duration::from_secs(3600);
/// When to try again while the certificate is good.
const AGAIN: Duration = Duration::from_secs(300);
/// Over how long nodes that start with a certificate that has ended spread their first try.
const SPREAD: Duration = Duration::from_secs(2);

/// Why a certificate was not renewed.
#[derive(Debug, thiserror::Error)]
enum RenewError {
    #[error("connect to the control plane")]
    Connect(#[source] tonic::transport::Error),
    #[error("the control plane did not answer the request for a new certificate in time")]
    Timeout,
    #[error("the control plane could not renew the certificate")]
    Failed(#[source] tonic::Status),
    #[error("the control plane refused to renew the certificate: {}", .0.message())]
    Refused(tonic::Status),
    #[error("the control plane does not renew certificates: it is of an older version")]
    Unknown,
    #[error("the control plane's answer to the request for a new certificate holds none")]
    Answer,
    #[error(
        "the control plane's answer to the request for a new certificate names authorities that are none"
    )]
    Roots(#[from] RootsRefused),
    #[error("generate keys for the node certificate")]
    Keys(#[source] rcgen::Error),
    #[error(transparent)]
    Replace(#[from] ReplaceError),
}

/// The loop that renews.
pub(crate) struct Renewal {
    control_plane: ControlPlane,
    credentials: Credentials,
    seams: Seams,
    board: Board,
}

/// When the next try is due: at a time of this machine's clock, or after so long, whichever comes first.
struct Due {
    at: SystemTime,
    within: Instant,
}

impl Renewal {
    pub(crate) fn new(
        control_plane: ControlPlane,
        credentials: Credentials,
        seams: Seams,
        board: Board,
    ) -> Self {
        Self { control_plane, credentials, seams, board }
    }

    /// Renews until `stop`.
    pub(crate) async fn run(self, stop: Stop) {
        stop.cut(self.stay()).await;
    }

    async fn stay(&self) {
        let mut backoff = Backoff::default();
        let mut due = self.first();
        loop {
            self.tell();
            self.wait(&due).await;
            let tried = self.once().await;
            self.credentials.was_tried();
            due = match tried {
                Ok(life) => {
                    backoff = Backoff::default();
                    info!("certificate of this node renewed");
                    self.board.write(|facts| facts.renewal_fault = None);
                    self.in_time(half(life, &self.seams))
                }
                Err(error) => self.failed(&error, &mut backoff),
            };
        }
    }

    /// What the certificate says that was found on disk.
    fn first(&self) -> Due {
        let identity = self.credentials.identity();
        let (Some(from), Some(to)) = (identity.not_before(), identity.not_after()) else {
            return self.in_time(SPREAD);
        };
        let now = self.seams.clock.now();
        if to < now {
            return self.in_time(backoff::part(SPREAD, &*self.seams.entropy));
        }
        let half = from + half(to.duration_since(from).unwrap_or_default(), &self.seams);
        self.in_time(half.duration_since(now).unwrap_or_default())
    }

    fn in_time(&self, wait: Duration) -> Due {
        Due { at: self.seams.clock.now() + wait, within: Instant::now() + wait }
    }

    async fn wait(&self, due: &Due) {
        let time = async {
            while Instant::now() < due.within && self.seams.clock.now() < due.at {
                sleep(LOOK.min(due.within - Instant::now())).await;
            }
        };
        tokio::select! {
            () = time => {}
            () = self.credentials.wanted() => {}
        }
    }

    /// One try. Returns how long the new certificate is good for.
    async fn once(&self) -> Result<Duration, RenewError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(RenewError::Keys)?;
        let csr = CertificateParams::default().serialize_request(&key).map_err(RenewError::Keys)?;
        let request = fleet::RenewRequest { csr: csr.der().to_vec(), build: BUILD.to_owned() };
        let call = async {
            let channel = self.control_plane.connect(self.credentials.tls()).await;
            let mut service = EnrolmentServiceClient::new(channel.map_err(RenewError::Connect)?);
            service.renew(request).await.map_err(refusal)
        };
        let answer = timeout(TIMEOUT, call).await.map_err(|_| RenewError::Timeout)??.into_inner();
        if answer.chain.is_empty() {
            return Err(RenewError::Answer);
        }
        let certificates =
            |list: Vec<Vec<u8>>| list.into_iter().map(CertificateDer::from).collect::<Vec<_>>();
        let chain = certificates(answer.chain);
        let trust = roots::read(answer.trust)?;
        let key = Secret::new(key.serialize_der());
        self.credentials.replace(|identity| identity.renewed(chain, key, trust)).await?;
        let identity = self.credentials.identity();
        let life = identity.not_before().zip(identity.not_after());
        let life = life.and_then(|(from, to)| to.duration_since(from).ok());
        // One without an end is not renewed soon.
        Ok(life.unwrap_or(RARELY * 24))
    }

    /// Says what came of a try that failed, and when the next one is due.
    fn failed(&self, error: &RenewError, backoff: &mut Backoff) -> Due {
        if matches!(error, RenewError::Connect(error) if certificate_error(error).is_some()) {
            // The clock of this machine is wrong, and with it what it thinks of its own certificate.
            self.control_plane.pass_on();
            debug!(error = %chain(error), "certificate not renewed yet; retrying");
            return self.soon(backoff);
        }
        if self.credentials.is_too_old() {
            error!(
                error = %chain(error),
                "the certificate of this node ended more than 30 days ago and cannot be renewed; the node goes on with the configuration that it has: restart it with a new token of `rrctl node token create` (--node-token-file)"
            );
            self.fault(RenewalFault::TooOld);
            return self.in_time(RARELY);
        }
        let fault = match error {
            RenewError::Refused(_) => {
                error!(error = %chain(error), "the certificate of this node was not renewed; the node goes on with the configuration that it has");
                Some(RenewalFault::Refused)
            }
            RenewError::Unknown => {
                info!("the control plane is of a version that does not renew certificates");
                None
            }
            RenewError::Connect(_) | RenewError::Timeout | RenewError::Failed(_) => {
                self.control_plane.pass_on();
                if self.credentials.has_ended() {
                    warn!(error = %chain(error), "the certificate of this node has ended and is not renewed yet; retrying");
                } else {
                    debug!(error = %chain(error), "certificate not renewed yet; retrying");
                }
                return self.soon(backoff);
            }
            RenewError::Answer | RenewError::Roots(_) | RenewError::Keys(_) | RenewError::Replace(_) => {
                warn!(error = %chain(error), "the certificate of this node is not renewed yet and the one before stays in use; retrying");
                return self.soon(backoff);
            }
        };
        if let Some(fault) = fault {
            self.fault(fault);
        }
        self.in_time(RARELY)
    }

    fn soon(&self, backoff: &mut Backoff) -> Due {
        let wait = backoff.next(Instant::now(), &*self.seams.entropy);
        self.in_time(if self.credentials.has_ended() { wait } else { wait.max(AGAIN) })
    }

    fn fault(&self, fault: RenewalFault) {
        self.board.write(|facts| facts.renewal_fault = Some(fault));
    }

    /// How it stands, for operators.
    fn tell(&self) {
        let end = self.credentials.identity().not_after();
        self.board.write(|facts| facts.certificate_not_after = end);
    }
}

/// Half of a life, and up to a tenth of it more.
fn half(life: Duration, seams: &Seams) -> Duration {
    life / 2 + backoff::part(life / 10, &*seams.entropy)
}

fn refusal(status: tonic::Status) -> RenewError {
    match status.code() {
        Code::Unimplemented => RenewError::Unknown,
        Code::InvalidArgument | Code::FailedPrecondition | Code::PermissionDenied | Code::Unauthenticated => {
            RenewError::Refused(status)
        }
        _ => RenewError::Failed(status),
    }
}
