//! How a target is spoken to: whose certificates vouch for it, from which TLS version on, in which HTTP version.
//!
//! Checks that certificates can be roots, with the code by which nodes use them; not what they say, nor whether their
//! time is over. The invariant: equal certificates have an equal hash, so that a seal can name them.

use rr_wire::fleet;
use rustls::RootCertStore;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

use super::invalid::Violations;

/// The longest text with certificates.
pub const CA_MAX: usize = 64 * 1024;
/// How many certificates there can be.
const CERTIFICATES_MAX: usize = 32;

/// Certificates that alone can vouch for an upstream.
#[derive(Clone, PartialEq, Eq)]
pub struct CaBundle {
    certificates: Box<[CertificateDer<'static>]>,
    hash: CaHash,
}

/// BLAKE3-256 of the certificates of a [`CaBundle`], in their order.
pub type CaHash = [u8; 32];

/// A text that holds no certificates.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidCa {
    /// It is longer than it can be.
    #[error("is longer than {CA_MAX} bytes")]
    TooLong,
    /// It is not PEM.
    #[error("is not PEM: a block does not end, or is not base64")]
    Syntax,
    /// It holds none.
    #[error("holds no certificate: give PEM with `-----BEGIN CERTIFICATE-----`")]
    Empty,
    /// It holds a private key.
    #[error("holds a private key, which must not leave its owner: give certificates only")]
    Key,
    /// It holds too many.
    #[error("holds more than {CERTIFICATES_MAX} certificates")]
    TooMany,
    /// One of them is no certificate, or none that can vouch for others.
    #[error("certificate {number} cannot be used as a root: {why}")]
    Root {
        /// Which one, from 1.
        number: usize,
        /// What is wrong with it.
        why: String,
    },
}

impl CaBundle {
    /// The certificates, in DER.
    pub fn certificates(&self) -> &[CertificateDer<'static>] {
        &self.certificates
    }

    /// What a seal names them by.
    pub fn hash(&self) -> &CaHash {
        &self.hash
    }
}

impl std::str::FromStr for CaBundle {
    type Err = InvalidCa;

    fn from_str(text: &str) -> Result<Self, InvalidCa> {
        if text.len() > CA_MAX {
            return Err(InvalidCa::TooLong);
        }
        if text.contains("PRIVATE KEY-----") {
            return Err(InvalidCa::Key);
        }
        let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
        let certificates = read.map_err(|_| InvalidCa::Syntax)?;
        if certificates.is_empty() {
            return Err(InvalidCa::Empty);
        }
        if certificates.len() > CERTIFICATES_MAX {
            return Err(InvalidCa::TooMany);
        }
        let mut roots = RootCertStore::empty();
        for (number, certificate) in (1..).zip(&certificates) {
            let why = |error: rustls::Error| InvalidCa::Root { number, why: error.to_string() };
            roots.add(certificate.clone()).map_err(why)?;
        }
        let mut hasher = blake3::Hasher::new_derive_key("requestrocket ca bundle 1");
        for certificate in &certificates {
            hasher.update(&(certificate.len() as u64).to_le_bytes()).update(certificate);
        }
        Ok(Self { certificates: certificates.into(), hash: *hasher.finalize().as_bytes() })
    }
}

impl std::fmt::Debug for CaBundle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "CaBundle({} certificates)", self.certificates.len())
    }
}

/// The lowest TLS version that is spoken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum MinTls {
    /// 1.2.
    #[default]
    V1_2,
    /// 1.3.
    V1_3,
}

/// The HTTP version that an upstream is spoken to in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum HttpVersion {
    /// What TLS agrees on; 1.1 without TLS.
    #[default]
    Agreed,
    /// 1.1.
    V1_1,
    /// 2; without TLS by prior knowledge.
    V2,
}

/// How a target is spoken to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wire {
    /// `None`: what the node trusts.
    pub ca: Option<CaBundle>,
    /// The lowest TLS version.
    pub min_tls: MinTls,
    /// The HTTP version.
    pub http: HttpVersion,
}

impl Wire {
    pub(crate) fn read(faults: &mut Violations, wire: &fleet::TargetResource) -> Self {
        let ca = if wire.ca.is_empty() { None } else { faults.take("ca", wire.ca.parse()) };
        let min_tls = match wire.min_tls.as_str() {
            "" | "1.2" => MinTls::V1_2,
            "1.3" => MinTls::V1_3,
            other => {
                faults.add("min_tls", format!("{other:?} is neither 1.2 nor 1.3"));
                MinTls::default()
            }
        };
        let http = match wire.http_version.as_str() {
            "" => HttpVersion::Agreed,
            "1.1" => HttpVersion::V1_1,
            "2" => HttpVersion::V2,
            other => {
                faults.add("http_version", format!("{other:?} is neither 1.1 nor 2"));
                HttpVersion::default()
            }
        };
        Self { ca, min_tls, http }
    }
}

#[cfg(test)]
mod tests;
