//! Who is let in at the fleet port: nodes of this installation, with a certificate that has not ended, or has within the
//! time in which it can be renewed.
//!
//! A connection with one that has ended is good for nothing but its renewal: `fleet_port` sees to that.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rr_contract::seam::Clock;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::time_provider::TimeProvider;
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};
use rustls_pki_types::{CertificateDer, UnixTime};

/// How long after its end a certificate can still be renewed.
pub(crate) const RENEWABLE: Duration = Duration::from_secs(30 * 86_400);

/// The clock that certificates are judged by.
pub(super) struct Time(pub(super) Arc<dyn Clock>);

impl std::fmt::Debug for Time {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Time")
    }
}

impl TimeProvider for Time {
    fn current_time(&self) -> Option<UnixTime> {
        self.0.now().duration_since(SystemTime::UNIX_EPOCH).ok().map(UnixTime::since_unix_epoch)
    }
}

/// Verifies as webpki does, but for the end of a certificate, by the roots that are trusted at that moment.
pub(super) struct Renewable(pub(super) Arc<dyn Fn() -> Arc<dyn ClientCertVerifier> + Send + Sync>);

impl std::fmt::Debug for Renewable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Renewable")
    }
}

impl ClientCertVerifier for Renewable {
    fn verify_client_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verifier = (self.0)();
        let refused = match verifier.verify_client_cert(certificate, intermediates, now) {
            Err(Error::InvalidCertificate(CertificateError::ExpiredContext { not_after, time })) => {
                (not_after, Error::InvalidCertificate(CertificateError::ExpiredContext { not_after, time }))
            }
            other => return other,
        };
        let (not_after, error) = refused;
        if now.as_secs().saturating_sub(not_after.as_secs()) > RENEWABLE.as_secs() {
            return Err(error);
        }
        // All else has to hold, as it did on its last day.
        verifier.verify_client_cert(certificate, intermediates, not_after)
    }

    /// None: they may change, and nodes have one certificate to show.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        (self.0)().verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        (self.0)().verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        (self.0)().supported_verify_schemes()
    }
}
