//! The key of a client certificate, as callers' credentials name it: SHA-256 of its SubjectPublicKeyInfo.
//!
//! No secret: whoever shows the certificate shows the key. The invariant: a text that holds a private key is not read further,
//! and nothing of it is repeated.

use std::fmt;

use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};
use rustls::server::ParsedCertificate;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, SubjectPublicKeyInfoDer};
use sha2::{Digest as _, Sha256};

use crate::api_key::{KeyHash, hash_client_key};

/// The longest text that is read. A chain fits in.
pub const TEXT_MAX: usize = 64 * 1024;

/// SHA-256 of a SubjectPublicKeyInfo.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientKey([u8; 32]);

/// What names no key of a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidClientKey {
    /// Bytes that are no hash.
    #[error("is no SHA-256 of a public key, which has 32 bytes")]
    Bytes,
    /// A text that is no hash.
    #[error("is no SHA-256 of a public key: 64 hexadecimal digits, without colons")]
    Hex,
    /// It holds a private key.
    #[error("holds a private key, which must not leave its owner: give the certificate, or its public key")]
    Private,
    /// It is too long.
    #[error("is longer than {TEXT_MAX} bytes")]
    TooLong,
    /// It is no PEM of one.
    #[error(
        "holds no certificate and no public key in PEM, with `-----BEGIN CERTIFICATE-----` or `-----BEGIN PUBLIC KEY-----`"
    )]
    Missing,
    /// It is PEM of something else.
    #[error("holds a certificate that cannot be read")]
    Unreadable,
}

impl ClientKey {
    /// Of a certificate in PEM, the first one where there are several, or of a public key.
    pub fn from_pem(text: &[u8]) -> Result<Self, InvalidClientKey> {
        const PRIVATE: &[u8] = b"PRIVATE KEY-----";
        if text.len() > TEXT_MAX {
            return Err(InvalidClientKey::TooLong);
        }
        if text.windows(PRIVATE.len()).any(|part| part == PRIVATE) {
            return Err(InvalidClientKey::Private);
        }
        if let Ok(certificate) = CertificateDer::from_pem_slice(text) {
            return Self::of(&certificate).ok_or(InvalidClientKey::Unreadable);
        }
        let key = SubjectPublicKeyInfoDer::from_pem_slice(text).map_err(|_| InvalidClientKey::Missing)?;
        Ok(Self(Sha256::digest(&key).into()))
    }

    /// Of a certificate; `None` where it cannot be read.
    pub fn of(certificate: &CertificateDer<'_>) -> Option<Self> {
        // Read by the code that checks signatures of handshakes, so that both see one key.
        let parsed = ParsedCertificate::try_from(certificate).ok()?;
        Some(Self(Sha256::digest(parsed.subject_public_key_info()).into()))
    }

    /// From its hexadecimal form.
    pub fn from_hex(text: &str) -> Result<Self, InvalidClientKey> {
        let bytes = HEXLOWER_PERMISSIVE.decode(text.as_bytes()).map_err(|_| InvalidClientKey::Hex)?;
        bytes.as_slice().try_into().map_err(|_| InvalidClientKey::Hex)
    }

    /// The hash.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// What it is looked up by.
    pub fn hash(&self) -> KeyHash {
        hash_client_key(&self.0)
    }
}

impl TryFrom<&[u8]> for ClientKey {
    type Error = InvalidClientKey;

    fn try_from(bytes: &[u8]) -> Result<Self, InvalidClientKey> {
        bytes.try_into().map(Self).map_err(|_| InvalidClientKey::Bytes)
    }
}

impl fmt::Display for ClientKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, PublicKeyData as _};

    use super::*;

    #[test]
    fn a_certificate_and_its_public_key_name_the_same_key() {
        let key = KeyPair::generate().expect("a key");
        let certificate = CertificateParams::default().self_signed(&key).expect("a certificate");
        let hash = Sha256::digest(key.subject_public_key_info());
        let of_certificate = ClientKey::from_pem(certificate.pem().as_bytes()).expect("a key");
        assert_eq!(of_certificate.as_bytes()[..], hash[..]);
        let of_key = ClientKey::from_pem(key.public_key_pem().as_bytes()).expect("a key");
        assert_eq!(of_key, of_certificate);
        for text in [of_key.to_string(), of_key.to_string().to_uppercase()] {
            assert_eq!(ClientKey::from_hex(&text), Ok(of_key));
        }
        assert_eq!(of_key.hash(), hash_client_key(&hash.into()));
    }

    #[test]
    fn the_first_certificate_of_a_chain_is_meant() {
        let make = || {
            let key = KeyPair::generate().expect("a key");
            CertificateParams::default().self_signed(&key).expect("a certificate").pem()
        };
        let (leaf, above) = (make(), make());
        assert_eq!(
            ClientKey::from_pem(format!("{leaf}{above}").as_bytes()),
            ClientKey::from_pem(leaf.as_bytes())
        );
    }

    #[test]
    fn what_names_no_key_is_refused_and_not_repeated() {
        let key = KeyPair::generate().expect("a key");
        let private = key.serialize_pem();
        let certificate = CertificateParams::default().self_signed(&key).expect("a certificate").pem();
        let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        for (text, why) in [
            (private.clone(), InvalidClientKey::Private),
            (format!("{certificate}{private}"), InvalidClientKey::Private),
            (String::new(), InvalidClientKey::Missing),
            ("hunter2".to_owned(), InvalidClientKey::Missing),
            (broken.to_owned(), InvalidClientKey::Unreadable),
            ("x".repeat(TEXT_MAX + 1), InvalidClientKey::TooLong),
        ] {
            assert_eq!(ClientKey::from_pem(text.as_bytes()), Err(why));
        }
        for text in ["", "00", &"0".repeat(63), &"g".repeat(64), &"00:".repeat(32)] {
            assert_eq!(ClientKey::from_hex(text), Err(InvalidClientKey::Hex), "{text}");
        }
    }
}
