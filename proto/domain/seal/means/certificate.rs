//! Client certificates: the chain that is shown, and whether a key belongs to it.

use rr_wire::fleet;
use rustls::sign::CertifiedKey;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

use super::private_key::{InvalidPrivateKey, key_of};
use crate::model::invalid::Invalid;
use crate::secret::Secret;

/// The longest chain, in bytes of PEM.
const CHAIN_MAX: usize = 64 * 1024;

/// A certificate, and those that vouch for it.
pub struct CertificateChain {
    pem: String,
    chain: Vec<CertificateDer<'static>>,
}

/// A key that shows no certificate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPair {
    /// It is no key.
    #[error(transparent)]
    Key(#[from] InvalidPrivateKey),
    /// It is another certificate's.
    #[error("is the private key of another certificate; put the certificate that it was issued for first")]
    Other,
}

impl CertificateChain {
    /// The first certificate with its key, to be shown.
    pub fn with_key(&self, key: &Secret) -> Result<CertifiedKey, InvalidPair> {
        let pair = CertifiedKey::new(self.chain.clone(), key_of(key)?);
        pair.keys_match().map_err(|_| InvalidPair::Other)?;
        Ok(pair)
    }

    pub(super) fn to_wire(&self) -> fleet::ClientCertificate {
        fleet::ClientCertificate { chain: self.pem.clone() }
    }
}

impl TryFrom<fleet::ClientCertificate> for CertificateChain {
    type Error = Invalid;

    fn try_from(wire: fleet::ClientCertificate) -> Result<Self, Invalid> {
        const PRIVATE: &str = "PRIVATE KEY-----";
        let fault = |reason: &str| Invalid::field("chain", reason);
        let pem = wire.chain;
        if pem.len() > CHAIN_MAX {
            return Err(fault("is longer than 64 KiB"));
        }
        if pem.contains(PRIVATE) {
            return Err(fault("holds a private key: that is the value, and stands apart"));
        }
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
        match chain {
            Ok(chain) if !chain.is_empty() => Ok(Self { pem, chain }),
            _ => Err(fault("holds no certificate in PEM, with `-----BEGIN CERTIFICATE-----`")),
        }
    }
}
