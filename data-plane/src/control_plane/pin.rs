//! Trust for the first contact: the authority whose public key the node token names.
//!
//! Takes that authority from the chain that the peer sends, and then checks the chain like any other. It
//! trusts nothing else, and nothing for longer than the join.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use sha2::{Digest as _, Sha256};
use x509_parser::prelude::{FromDer as _, X509Certificate};

/// Verifies against the one authority with this pin.
#[derive(Debug)]
pub(crate) struct PinnedAuthority {
    pin: [u8; 32],
    provider: Arc<CryptoProvider>,
    /// Set when a peer's chain held no such authority: it is another installation, or a stranger.
    stranger: AtomicBool,
}

impl PinnedAuthority {
    pub(crate) fn new(pin: [u8; 32], provider: Arc<CryptoProvider>) -> Self {
        Self { pin, provider, stranger: AtomicBool::new(false) }
    }

    /// Whether a peer was met that the token was not made for.
    pub(crate) fn met_a_stranger(&self) -> bool {
        self.stranger.load(Ordering::Relaxed)
    }

    fn is_pinned(&self, certificate: &CertificateDer<'_>) -> bool {
        X509Certificate::from_der(certificate)
            .is_ok_and(|(_, parsed)| Sha256::digest(parsed.tbs_certificate.subject_pki.raw)[..] == self.pin)
    }
}

impl ServerCertVerifier for PinnedAuthority {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(authority) = intermediates.iter().find(|certificate| self.is_pinned(certificate)) else {
            self.stranger.store(true, Ordering::Relaxed);
            return Err(CertificateError::UnknownIssuer.into());
        };
        let mut roots = RootCertStore::empty();
        roots.add(authority.clone().into_owned())?;
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&self.provider))
            .build()
            .map_err(|error| Error::General(error.to_string()))?
            .verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
    use rustls::crypto::aws_lc_rs;

    use super::*;

    const NAME: &str = "control-plane.requestrocket.internal";

    fn authority() -> CertifiedIssuer<'static, KeyPair> {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("a certificate")
    }

    fn leaf(of: &CertifiedIssuer<'static, KeyPair>, name: &str) -> CertificateDer<'static> {
        let params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
        let key = KeyPair::generate().expect("a key");
        params.signed_by(&key, of).expect("a certificate").der().clone()
    }

    fn verifier(of: &CertificateDer<'_>) -> PinnedAuthority {
        let (_, parsed) = X509Certificate::from_der(of).expect("a certificate");
        let pin = Sha256::digest(parsed.tbs_certificate.subject_pki.raw).into();
        PinnedAuthority::new(pin, Arc::new(aws_lc_rs::default_provider()))
    }

    fn verify(verifier: &PinnedAuthority, leaf: &CertificateDer<'_>, chain: &[CertificateDer<'_>]) -> bool {
        let name = ServerName::try_from(NAME).expect("a name");
        verifier.verify_server_cert(leaf, chain, &name, &[], UnixTime::now()).is_ok()
    }

    #[test]
    fn only_a_leaf_of_the_pinned_authority_with_the_right_name_is_believed() {
        let (ours, theirs) = (authority(), authority());
        let (our_ca, their_ca) = (ours.der().clone(), theirs.der().clone());
        let verifier = verifier(&our_ca);
        assert!(verify(&verifier, &leaf(&ours, NAME), std::slice::from_ref(&our_ca)));
        assert!(!verify(&verifier, &leaf(&ours, "other.example"), std::slice::from_ref(&our_ca)));
        // The pinned authority is public: showing it does not make a leaf of another one ours.
        assert!(!verify(&verifier, &leaf(&theirs, NAME), std::slice::from_ref(&our_ca)));
        assert!(!verifier.met_a_stranger());
        assert!(!verify(&verifier, &leaf(&theirs, NAME), &[their_ca]));
        assert!(verifier.met_a_stranger());
    }
}
