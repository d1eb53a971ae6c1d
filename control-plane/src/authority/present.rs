//! What counts now: the roots that are trusted, and what is shown and checked by them on both ports.
//!
//! Replaced whole when the roots change, while connections go on. The invariant: the chain that is shown leads to each root
//! that is trusted, so that whoever trusts any of them gets in.

use std::sync::Arc;
use std::time::Duration;

use rcgen::{ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose, SanType};
use rr_contract::model::time;
use rr_contract::seam::Seams;
use rr_contract::wire::fleet;
use rustls::RootCertStore;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::sign::CertifiedKey;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_util::sync::CancellationToken;

use super::error::AuthorityError;
use super::signer::{Signer, signed};
use super::{SERVER_NAME, SERVER_VALIDITY, name, params, random_serial};

/// Over how long nodes spread the renewal that a switch makes them do; and where each signature is made elsewhere.
const SPREAD: Duration = Duration::from_secs(10);
const SPREAD_ELSEWHERE: Duration = Duration::from_secs(60);

/// A root that is trusted.
#[derive(Clone)]
pub(super) struct Root {
    pub(super) pin: [u8; 32],
    /// As certificates name who issued them.
    pub(super) key_id: Vec<u8>,
    pub(super) certificate: CertificateDer<'static>,
    /// The same key by the other root; none where there is none.
    pub(super) cross: Option<CertificateDer<'static>>,
    /// Cancelled when it is trusted no more.
    pub(super) gone: CancellationToken,
}

impl Root {
    pub(super) fn is(&self, other: &Self) -> bool {
        (self.pin, &self.certificate, &self.cross) == (other.pin, &other.certificate, &other.cross)
    }
}

/// What counts now.
pub(super) struct Present {
    /// The one that issues first. At least one.
    pub(super) roots: Vec<Root>,
    pub(super) verifier: Arc<dyn ClientCertVerifier>,
    pub(super) server: Arc<CertifiedKey>,
    /// The root that issued the certificate in it.
    issued_by: [u8; 32],
}

/// Names of the ports beside our own.
pub(super) type Names = [SanType];

impl Present {
    /// With these roots. `signer` has the key of the first one; without it, what was shown before is shown on.
    pub(super) fn new(
        roots: Vec<Root>,
        signer: Option<&dyn Signer>,
        before: Option<&Self>,
        names: &Names,
        seams: &Seams,
    ) -> Result<Self, AuthorityError> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut trusted = RootCertStore::empty();
        for root in &roots {
            trusted.add(root.certificate.clone()).map_err(AuthorityError::Tls)?;
        }
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(trusted), provider)
            // A machine that joins has none yet. Every other service asks for the identity itself.
            .allow_unauthenticated()
            .build()
            .map_err(AuthorityError::Verifier)?;
        let is_trusted = |pin| roots.iter().any(|root| root.pin == pin);
        let kept =
            before.filter(|it| it.issued_by == roots[0].pin || signer.is_none() && is_trusted(it.issued_by));
        let (leaf, key, issued_by) = match (kept, signer) {
            (Some(before), _) => {
                (before.server.cert[0].clone(), Arc::clone(&before.server.key), before.issued_by)
            }
            (None, Some(signer)) => {
                let (leaf, key) = issue_server(&roots[0], signer, names, seams)?;
                (leaf, key, roots[0].pin)
            }
            (None, None) => return Err(AuthorityError::NoKey { pin: roots[0].pin }),
        };
        let mut chain = vec![leaf];
        let issuer = roots.iter().find(|root| root.pin == issued_by);
        // First what leads from it to the other root, then that itself, which a node token of before names.
        chain.extend(issuer.and_then(|root| root.cross.clone()).filter(|_| roots.len() > 1));
        chain.extend(roots.iter().map(|root| root.certificate.clone()));
        let server = Arc::new(CertifiedKey::new(chain, key));
        Ok(Self { roots, verifier, server, issued_by })
    }

    /// What nodes are told.
    pub(super) fn told(&self, is_elsewhere: bool) -> (fleet::Authorities, Vec<Vec<u8>>) {
        let told = fleet::Authorities {
            trust: self.roots.iter().map(|root| root.certificate.to_vec()).collect(),
            issuer: self.roots[0].pin.to_vec(),
            spread_over: Some(time::wire_duration(if is_elsewhere { SPREAD_ELSEWHERE } else { SPREAD })),
        };
        (told, self.roots.iter().map(|root| root.pin.to_vec()).collect())
    }
}

type ServerKey = Arc<dyn rustls::sign::SigningKey>;

fn issue_server(
    root: &Root,
    signer: &dyn Signer,
    names: &Names,
    seams: &Seams,
) -> Result<(CertificateDer<'static>, ServerKey), AuthorityError> {
    let key = KeyPair::generate().map_err(AuthorityError::Issue)?;
    let mut params = params(&random_serial(seams), seams.clock.now(), SERVER_VALIDITY);
    params.distinguished_name = name(SERVER_NAME);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    let own = SERVER_NAME.try_into().map_err(AuthorityError::Issue)?;
    params.subject_alt_names.push(SanType::DnsName(own));
    params.subject_alt_names.extend_from_slice(names);
    let leaf = signed(&params, &key, &root.certificate, signer)?;
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let key = rustls::crypto::aws_lc_rs::sign::any_supported_type(&key).map_err(AuthorityError::Tls)?;
    Ok((leaf, key))
}
