//! The certificate authorities of the control plane that this node trusts: at first those that came with the answer to its
//! join, then whatever the control plane, known by one of them, puts in their place.
//!
//! Verifies no chain: TLS does. The invariant: a node trusts at least one, and each can be read.

use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use sha2::{Digest as _, Sha256};
use x509_parser::prelude::{FromDer as _, ParsedExtension, X509Certificate};

/// How many a node trusts at most: two are replaced one by the other.
const MOST: usize = 8;

/// Authorities that a node does not take.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RootsRefused {
    #[error("the control plane names no authority, or more than 8")]
    Count,
    #[error("an authority of the control plane cannot be read")]
    Unreadable,
    #[error("an authority of the control plane is none that TLS takes")]
    Tls(#[source] rustls::Error),
}

/// Those that were told.
pub(crate) fn read(told: Vec<Vec<u8>>) -> Result<Vec<CertificateDer<'static>>, RootsRefused> {
    if told.is_empty() || told.len() > MOST {
        return Err(RootsRefused::Count);
    }
    let trust: Vec<CertificateDer<'static>> = told.into_iter().map(CertificateDer::from).collect();
    let mut roots = RootCertStore::empty();
    for root in &trust {
        pin(root).ok_or(RootsRefused::Unreadable)?;
        roots.add(root.clone()).map_err(RootsRefused::Tls)?;
    }
    Ok(trust)
}

/// SHA-256 of the public key of each.
pub(super) fn pins(trust: &[CertificateDer<'_>]) -> Vec<Vec<u8>> {
    trust.iter().filter_map(pin).collect()
}

/// That of the one which says that it issued a certificate; none of them says so.
pub(super) fn issuer_of(leaf: &CertificateDer<'_>, trust: &[CertificateDer<'_>]) -> Option<Vec<u8>> {
    let (_, leaf) = X509Certificate::from_der(leaf).ok()?;
    let issued_by = leaf.iter_extensions().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::AuthorityKeyIdentifier(id) => id.key_identifier.as_ref().map(|id| id.0.to_vec()),
        _ => None,
    })?;
    let is_it = |root: &&CertificateDer<'_>| {
        X509Certificate::from_der(root).is_ok_and(|(_, root)| {
            root.iter_extensions().any(|extension| {
                matches!(extension.parsed_extension(), ParsedExtension::SubjectKeyIdentifier(id) if id.0 == issued_by)
            })
        })
    };
    trust.iter().find(is_it).and_then(pin)
}

/// Whether the one with this pin has signed a message: ECDSA with P-256 and SHA-256, in DER.
pub(super) fn is_signed(trust: &[CertificateDer<'_>], by: &[u8], message: &[u8], signature: &[u8]) -> bool {
    let root = trust.iter().find(|root| pin(root).is_some_and(|pin| pin == by));
    root.and_then(|root| X509Certificate::from_der(root).ok()).is_some_and(|(_, root)| {
        let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, &root.public_key().subject_public_key.data);
        key.verify(message, signature).is_ok()
    })
}

fn pin(certificate: &CertificateDer<'_>) -> Option<Vec<u8>> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    Some(Sha256::digest(parsed.public_key().raw).to_vec())
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

    use super::*;

    fn root() -> CertifiedIssuer<'static, KeyPair> {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.use_authority_key_identifier_extension = true;
        CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("a certificate")
    }

    #[test]
    fn the_root_that_issued_a_certificate_is_found_among_those_that_are_trusted() {
        let (first, second) = (root(), root());
        let mut params = CertificateParams::default();
        params.use_authority_key_identifier_extension = true;
        let leaf = params.signed_by(&KeyPair::generate().expect("a key"), &second).expect("a certificate");
        let trust = [first.der().clone(), second.der().clone()];
        let pins = pins(&trust);
        assert_eq!(issuer_of(leaf.der(), &trust).as_ref(), pins.get(1));
        assert_eq!(issuer_of(leaf.der(), &trust[..1]), None);
    }

    /// A node that took none would be cut off for good.
    #[test]
    fn none_too_many_and_what_is_no_certificate_are_refused() {
        let one = root().der().to_vec();
        assert!(read(vec![one.clone()]).is_ok());
        for told in [vec![], vec![one.clone(); MOST + 1], vec![one, b"junk".to_vec()]] {
            assert!(read(told).is_err());
        }
    }
}
