//! The certificate that upstreams are shown, with its key.
//!
//! Shows nothing itself. The invariant: two that differ in organization, credential, version or certificate have different
//! ids, so whatever is kept by id is shared by none of them. Cannot be printed.

use std::sync::Arc;

use rr_contract::seal::SealContext;
use rustls::sign::CertifiedKey;

/// What tells certificates apart.
pub(crate) type OwnCertificateId = [u8; 32];

/// A client certificate of one version of a credential.
pub(crate) struct OwnCertificate {
    id: OwnCertificateId,
    pair: Arc<CertifiedKey>,
}

impl OwnCertificate {
    /// The certificate that was sealed in this context.
    pub(super) fn new(context: &SealContext, pair: CertifiedKey) -> Arc<Self> {
        let mut id = blake3::Hasher::new();
        id.update(context.org.as_bytes()).update(context.credential.as_bytes());
        id.update(&context.version.to_be_bytes());
        for certificate in &pair.cert {
            id.update(&(certificate.len() as u64).to_be_bytes()).update(certificate);
        }
        Arc::new(Self { id: id.finalize().into(), pair: Arc::new(pair) })
    }

    pub(crate) fn id(&self) -> OwnCertificateId {
        self.id
    }

    /// With its key, for a handshake.
    pub(crate) fn pair(&self) -> &Arc<CertifiedKey> {
        &self.pair
    }
}
