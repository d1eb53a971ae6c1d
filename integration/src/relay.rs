//! What stands between a control plane and its nodes: a relay that passes messages on, honestly or not, and a
//! switch that passes bytes on.
//!
//! A [`Relay`] is a node towards the control plane, with an identity of its own, and a control plane towards its node,
//! with a certificate that the installation's authority issued: whoever holds that key can do all that is done here. It
//! carries one node at a time. Not part of the product; it keeps the wire fit for relays, and nodes fit for bad ones.

mod server;
pub mod switch;
mod tamper;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use anyhow::Context as _;
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, Issuer, KeyPair};
use rr_contract::runtime::{Shutdown, Tasks};
use rr_contract::seal::node_token::NodeToken;
use rr_contract::wire::fleet::{Mode, Outcome, Why};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::net::TcpListener;

pub use self::tamper::Fault;

use self::server::Upstream;
use self::tamper::Record;
use crate::fleet::{Place, SERVER_NAME};

/// A relay on a port of loopback. It ends when dropped.
pub struct Relay {
    /// Where its node connects.
    pub address: SocketAddr,
    record: Arc<Record>,
    shutdown: Shutdown,
}

impl Relay {
    /// Joins, and passes on what `place` says. `state` is the folder of a control plane of the installation, whose
    /// authority issues the relay's certificate.
    pub async fn start(place: &Place, state: &Path, token: &NodeToken) -> anyhow::Result<Self> {
        let identity = crate::fleet::join(place, token, 1).await?.pop().context("one joined")?;
        Self::between(place, identity, state).await
    }

    /// The same with a certificate of another authority, of which `state` has the key: a machine in the middle.
    pub async fn start_as(
        place: &Place,
        authority: &Place,
        state: &Path,
        token: &NodeToken,
    ) -> anyhow::Result<Self> {
        let identity = crate::fleet::join(place, token, 1).await?.pop().context("one joined")?;
        Self::behind(tls(authority, state)?, place, identity).await
    }

    /// Several in a row, the first of them at the control plane. All join there.
    pub async fn row(
        place: &Place,
        state: &Path,
        token: &NodeToken,
        count: usize,
    ) -> anyhow::Result<Vec<Self>> {
        let mut relays: Vec<Self> = Vec::new();
        for identity in crate::fleet::join(place, token, count).await? {
            let above = relays.last().map(|relay| place.at(&[relay.address]));
            relays.push(Self::between(above.as_ref().unwrap_or(place), identity, state).await?);
        }
        Ok(relays)
    }

    async fn between(place: &Place, identity: crate::fleet::Identity, state: &Path) -> anyhow::Result<Self> {
        Self::behind(tls(place, state)?, place, identity).await
    }

    async fn behind(
        tls: Arc<ServerConfig>,
        place: &Place,
        identity: crate::fleet::Identity,
    ) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let (shutdown, record) = (Shutdown::new(), Arc::<Record>::default());
        let upstream = Upstream::new(place.clone(), identity, Arc::clone(&record), shutdown.stop());
        Tasks::new().spawn("relay", server::serve(listener, tls, upstream, shutdown.stop()));
        Ok(Self { address, record, shutdown })
    }

    /// What it does from the next transaction on.
    pub fn act(&self, fault: Fault) {
        *self.record.fault.lock().unwrap_or_else(PoisonError::into_inner) = fault;
    }

    /// Cuts the connection of its node, which may come back.
    pub fn cut(&self) {
        self.record.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// How many transactions it has harmed.
    pub fn harmed(&self) -> u64 {
        self.record.harmed.load(Ordering::Relaxed)
    }

    /// How many questions about buckets went down.
    pub fn questions(&self) -> u64 {
        self.record.questions.load(Ordering::Relaxed)
    }

    /// Modes of the transactions that came from above, in order.
    pub fn modes(&self) -> Vec<Mode> {
        self.record.modes.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What the node said of transactions, and why, where it took none of one.
    pub fn verdicts(&self) -> Vec<(Outcome, Option<Why>)> {
        self.record.verdicts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.shutdown.begin();
    }
}

/// TLS as the control plane has it: a certificate for the fleet's name, and clients' certificates checked where shown.
fn tls(place: &Place, state: &Path) -> anyhow::Result<Arc<ServerConfig>> {
    let authority = KeyPair::from_pem(&std::fs::read_to_string(state.join("authority.key"))?)?;
    let issuer = Issuer::from_ca_cert_der(place.root(), authority)?;
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new(vec![SERVER_NAME.to_owned()])?;
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    let leaf: CertificateDer<'static> = params.signed_by(&key, &issuer)?.der().clone();
    let mut roots = RootCertStore::empty();
    roots.add(place.root().clone())?;
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), place.provider())
        .allow_unauthenticated()
        .build()?;
    let mut tls = ServerConfig::builder_with_provider(place.provider())
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(verifier)
        .with_single_cert(
            vec![leaf, place.root().clone()],
            PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der())),
        )?;
    tls.alpn_protocols = vec![b"h2".to_vec()];
    Ok(Arc::new(tls))
}
