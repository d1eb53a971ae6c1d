//! What signs certificates: a key in memory, or a program that has it elsewhere.
//!
//! Knows nothing of what is signed. The invariant: a certificate that was made bears a signature that its authority's
//! public key verifies.

use std::sync::{Mutex, PoisonError};

use rcgen::{
    CertificateParams, Issuer, KeyPair, PublicKeyData, SignatureAlgorithm, SigningKey, SubjectPublicKeyInfo,
};
use rustls_pki_types::CertificateDer;

use super::sign_error::SignError;

/// An authority's key, wherever it is.
pub(crate) trait Signer: Send + Sync {
    /// Its public half.
    fn public_key(&self) -> &SubjectPublicKeyInfo;

    /// Signs these bytes.
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError>;

    /// Whether that is done by somebody else, so that it may take long.
    fn is_elsewhere(&self) -> bool;
}

/// A key in memory.
pub(super) struct Local {
    key: KeyPair,
    public_key: SubjectPublicKeyInfo,
}

impl Local {
    pub(super) fn new(key: KeyPair) -> Result<Self, rcgen::Error> {
        let public_key = SubjectPublicKeyInfo::from_der(&key.subject_public_key_info())?;
        Ok(Self { key, public_key })
    }
}

impl Signer for Local {
    fn public_key(&self) -> &SubjectPublicKeyInfo {
        &self.public_key
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
        SigningKey::sign(&self.key, message).map_err(SignError::Certificate)
    }

    fn is_elsewhere(&self) -> bool {
        false
    }
}

/// One signature, as the library asks for it. It takes only errors of its own, so ours waits here.
struct Once<'a> {
    signer: &'a dyn Signer,
    failed: Mutex<Option<SignError>>,
}

impl PublicKeyData for Once<'_> {
    fn der_bytes(&self) -> &[u8] {
        self.signer.public_key().der_bytes()
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        self.signer.public_key().algorithm()
    }
}

impl SigningKey for Once<'_> {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        self.signer.sign(message).map_err(|error| {
            *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
            rcgen::Error::RemoteKeyError
        })
    }
}

impl<'a> Once<'a> {
    fn new(signer: &'a dyn Signer) -> Self {
        Self { signer, failed: Mutex::new(None) }
    }

    fn done(
        self,
        made: Result<rcgen::Certificate, rcgen::Error>,
    ) -> Result<CertificateDer<'static>, SignError> {
        let failed = self.failed.into_inner().unwrap_or_else(PoisonError::into_inner);
        made.map(|made| made.der().clone()).map_err(|error| failed.unwrap_or(SignError::Certificate(error)))
    }
}

/// A certificate that vouches for itself.
pub(super) fn self_signed(
    params: &CertificateParams,
    signer: &dyn Signer,
) -> Result<CertificateDer<'static>, SignError> {
    let once = Once::new(signer);
    let made = params.self_signed(&once);
    once.done(made)
}

/// A certificate for this public key, by the authority with this certificate, whose key the signer has.
pub(super) fn signed(
    params: &CertificateParams,
    public_key: &impl PublicKeyData,
    authority: &CertificateDer<'_>,
    signer: &dyn Signer,
) -> Result<CertificateDer<'static>, SignError> {
    let once = Once::new(signer);
    let made =
        Issuer::from_ca_cert_der(authority, &once).and_then(|issuer| params.signed_by(public_key, &issuer));
    once.done(made)
}
