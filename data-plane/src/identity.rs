//! Who this node is: its certificate, its keys, and the key that opens its region's secrets.
//!
//! Obtained with a node token, renewed since, and stored encrypted with the node key. The invariant: the file is there
//! whole or not at all, and nothing in it can be printed.

mod credentials;
mod file;
mod join;
mod node_key;
pub(crate) mod region_keys;
mod revoked;
pub(crate) mod roots;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rr_contract::model::id::{InstallationId, NodeId, RegionId};
use rr_contract::seal::OpeningKey;
use rr_contract::seal::attestation::Versions;
use rr_contract::seal::region_key::{Fingerprint, RegionOpeningKey};
use rr_contract::seam::Clock;
use rr_contract::secret::Secret;
use rustls::ClientConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use x509_parser::prelude::{ASN1Time, FromDer as _, X509Certificate};

use crate::control_plane::tls;

pub use self::file::IdentityFileError;
pub use self::join::JoinError;
pub use self::node_key::NodeKeyError;

pub(crate) use self::credentials::{Credentials, RenewalFault, ReplaceError, is_too_old};
pub(crate) use self::file::IdentityFile;
pub(crate) use self::join::join;
pub(crate) use self::node_key::load as load_node_key;
pub(crate) use self::region_keys::KeyRing;
pub(crate) use self::revoked::{Revoked, wipe};

/// A joined node.
pub(crate) struct Identity {
    pub(crate) node: NodeId,
    pub(crate) installation: InstallationId,
    pub(crate) region: RegionOpeningKey,
    pub(crate) fingerprint: Fingerprint,
    /// Of later epochs, which came with the answer to a join; those that came afterwards are in the [`KeyRing`].
    later: Vec<RegionOpeningKey>,
    /// What the region attested when the node joined: nothing older than this is taken.
    attested: Arc<Versions>,
    /// Later grants of region keys are sealed to it.
    own_key: OpeningKey,
    chain: Vec<CertificateDer<'static>>,
    private_key: Secret,
    trust: Vec<CertificateDer<'static>>,
}

impl Identity {
    pub(crate) fn attested(&self) -> Arc<Versions> {
        Arc::clone(&self.attested)
    }

    pub(crate) fn region_id(&self) -> RegionId {
        self.region.region()
    }

    /// TLS with the certificate of this node; `clock` decides which certificates are valid.
    pub(crate) fn tls(&self, clock: Arc<dyn Clock>) -> Result<Arc<ClientConfig>, rustls::Error> {
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(self.private_key.expose().to_vec()));
        tls::mutual(&self.trust, self.chain.clone(), key, clock)
    }

    /// The same node with another certificate, its key, and other authorities of the control plane.
    pub(crate) fn renewed(
        &self,
        chain: Vec<CertificateDer<'static>>,
        private_key: Secret,
        trust: Vec<CertificateDer<'static>>,
    ) -> Self {
        Self {
            node: self.node,
            installation: self.installation,
            region: self.region.clone(),
            fingerprint: self.fingerprint,
            later: self.later.clone(),
            attested: Arc::clone(&self.attested),
            own_key: self.own_key.clone(),
            chain,
            private_key,
            trust,
        }
    }

    /// The same node, which trusts other authorities of the control plane.
    pub(crate) fn trusting(&self, trust: Vec<CertificateDer<'static>>) -> Self {
        self.renewed(self.chain.clone(), Secret::new(self.private_key.expose().to_vec()), trust)
    }

    /// SHA-256 of the public keys of the authorities that it trusts.
    pub(crate) fn trusted(&self) -> Vec<Vec<u8>> {
        roots::pins(&self.trust)
    }

    /// Whether an authority that it trusts, the one with this pin, has signed a message.
    pub(crate) fn is_signed(&self, by: &[u8], message: &[u8], signature: &[u8]) -> bool {
        roots::is_signed(&self.trust, by, message, signature)
    }

    /// The same of the one that issued its certificate; none where it trusts that one no more.
    pub(crate) fn certified_by(&self) -> Option<Vec<u8>> {
        roots::issuer_of(self.chain.first()?, &self.trust)
    }

    /// When its certificate begins.
    pub(crate) fn not_before(&self) -> Option<SystemTime> {
        self.validity(|parsed| parsed.validity().not_before)
    }

    /// When its certificate ends. `None`: it cannot be read.
    pub(crate) fn not_after(&self) -> Option<SystemTime> {
        self.validity(|parsed| parsed.validity().not_after)
    }

    fn validity(&self, side: impl FnOnce(&X509Certificate<'_>) -> ASN1Time) -> Option<SystemTime> {
        let (_, parsed) = X509Certificate::from_der(self.chain.first()?).ok()?;
        let seconds = u64::try_from(side(&parsed).timestamp()).ok()?;
        Some(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
    }
}

/// A node of the fixture's region, which trusts these authorities.
#[cfg(test)]
pub(crate) fn fixture(
    keys: &rr_contract::seal::region_key::RegionKeys,
    trust: Vec<CertificateDer<'static>>,
) -> Identity {
    Identity {
        node: NodeId::from_random([4; 16]),
        installation: crate::fixture::INSTALLATION,
        region: keys.opening_key(),
        fingerprint: keys.fingerprint(),
        later: Vec::new(),
        attested: Arc::default(),
        own_key: OpeningKey::generate(),
        chain: Vec::new(),
        private_key: Secret::new(Vec::new()),
        trust,
    }
}
