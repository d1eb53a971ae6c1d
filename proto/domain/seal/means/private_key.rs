//! Private keys in PEM that sign tokens of ours: which algorithm fits a key, and the signature.
//!
//! Reads no file and keeps no key longer than the value that holds it.

use std::fmt;
use std::sync::Arc;

use data_encoding::BASE64URL_NOPAD;
use rustls::SignatureScheme;
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::sign::{Signer, SigningKey};
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject as _;
use serde_json::{Map, Value, json};

use crate::secret::Secret;

/// How a token of ours is signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is the name that it has in a token's header")]
pub enum Algorithm {
    RS256,
    PS256,
    ES256,
    ES384,
    EdDSA,
}

/// A key that signs nothing for us.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPrivateKey {
    /// It is no PEM of a key.
    #[error("holds no private key in PEM, with `-----BEGIN PRIVATE KEY-----` and without a password")]
    Missing,
    /// It is of a kind that is not known.
    #[error("is a private key of an unknown kind: RSA, P-256, P-384 and Ed25519 are known")]
    Unknown,
    /// The algorithm does not fit the key.
    #[error("is a private key that does not sign with {0}")]
    Algorithm(Algorithm),
}

/// A key that signs tokens.
pub struct PrivateKey {
    signer: Box<dyn Signer>,
    algorithm: Algorithm,
}

impl Algorithm {
    const ALL: [Self; 5] = [Self::RS256, Self::PS256, Self::ES256, Self::ES384, Self::EdDSA];

    /// By its name.
    pub fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.as_str() == name)
    }

    /// Its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RS256 => "RS256",
            Self::PS256 => "PS256",
            Self::ES256 => "ES256",
            Self::ES384 => "ES384",
            Self::EdDSA => "EdDSA",
        }
    }

    const fn scheme(self) -> SignatureScheme {
        match self {
            Self::RS256 => SignatureScheme::RSA_PKCS1_SHA256,
            Self::PS256 => SignatureScheme::RSA_PSS_SHA256,
            Self::ES256 => SignatureScheme::ECDSA_NISTP256_SHA256,
            Self::ES384 => SignatureScheme::ECDSA_NISTP384_SHA384,
            Self::EdDSA => SignatureScheme::ED25519,
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The key that a PEM text holds.
pub(super) fn key_of(pem: &Secret) -> Result<Arc<dyn SigningKey>, InvalidPrivateKey> {
    let der = PrivateKeyDer::from_pem_slice(pem.expose()).map_err(|_| InvalidPrivateKey::Missing)?;
    any_supported_type(&der).map_err(|_| InvalidPrivateKey::Unknown)
}

impl PrivateKey {
    /// The key of a PEM text, for an algorithm or for the first one that fits it.
    pub fn parse(pem: &Secret, wanted: Option<Algorithm>) -> Result<Self, InvalidPrivateKey> {
        let key = key_of(pem)?;
        let found = |algorithm: Algorithm| Some((key.choose_scheme(&[algorithm.scheme()])?, algorithm));
        let (signer, algorithm) = match wanted {
            Some(wanted) => found(wanted).ok_or(InvalidPrivateKey::Algorithm(wanted))?,
            None => Algorithm::ALL.into_iter().find_map(found).ok_or(InvalidPrivateKey::Unknown)?,
        };
        Ok(Self { signer, algorithm })
    }

    /// A signed token with these claims (RFC 7519). `None`: the key does not sign, as one does that is too short.
    pub fn token(&self, key_id: Option<&str>, claims: &Map<String, Value>) -> Option<Secret> {
        let mut header = json!({"alg": self.algorithm.as_str(), "typ": "JWT"});
        if let (Some(key_id), Some(header)) = (key_id, header.as_object_mut()) {
            header.insert("kid".to_owned(), key_id.into());
        }
        let part = |value: String| BASE64URL_NOPAD.encode(value.as_bytes());
        let claims = serde_json::to_string(claims).ok()?;
        let mut token = format!("{}.{}", part(header.to_string()), part(claims));
        let signature = self.signer.sign(token.as_bytes()).ok()?;
        let signature = match self.algorithm {
            Algorithm::ES256 => fixed(&signature, 32)?,
            Algorithm::ES384 => fixed(&signature, 48)?,
            Algorithm::RS256 | Algorithm::PS256 | Algorithm::EdDSA => signature,
        };
        token.push('.');
        token.push_str(&BASE64URL_NOPAD.encode(&signature));
        Some(Secret::from(token))
    }
}

/// An ECDSA signature as tokens have it (RFC 7518, 3.4): both numbers at their full length, and no DER.
fn fixed(der: &[u8], length: usize) -> Option<Vec<u8>> {
    let [0x30, whole, rest @ ..] = der else { return None };
    if usize::from(*whole) != rest.len() {
        return None;
    }
    let (mut out, mut rest) = (Vec::with_capacity(2 * length), rest);
    for _ in 0..2 {
        let [0x02, own, tail @ ..] = rest else { return None };
        let (number, tail) = tail.split_at_checked(usize::from(*own))?;
        let bare = number.iter().position(|byte| *byte != 0).map_or(&[][..], |at| &number[at..]);
        out.resize(out.len() + length.checked_sub(bare.len())?, 0);
        out.extend_from_slice(bare);
        rest = tail;
    }
    rest.is_empty().then_some(out)
}

#[cfg(test)]
mod tests {
    use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519};

    use super::*;

    fn pem(algorithm: &'static rcgen::SignatureAlgorithm) -> Secret {
        Secret::from(KeyPair::generate_for(algorithm).expect("a key").serialize_pem())
    }

    #[test]
    fn the_algorithm_is_that_of_the_key_and_another_one_is_refused() {
        for (algorithm, wanted, other) in [
            (&PKCS_ECDSA_P256_SHA256, Algorithm::ES256, Algorithm::ES384),
            (&PKCS_ECDSA_P384_SHA384, Algorithm::ES384, Algorithm::RS256),
            (&PKCS_ED25519, Algorithm::EdDSA, Algorithm::ES256),
        ] {
            let pem = pem(algorithm);
            let key = PrivateKey::parse(&pem, None).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(key.algorithm, wanted);
            assert!(PrivateKey::parse(&pem, Some(wanted)).is_ok());
            let error = PrivateKey::parse(&pem, Some(other)).err().expect("another algorithm");
            assert_eq!(error, InvalidPrivateKey::Algorithm(other));
            let token = key.token(Some("k"), &Map::new()).expect("a token");
            let token = String::from_utf8(token.expose().to_vec()).expect("text");
            let parts: Vec<_> = token.split('.').collect();
            let header = BASE64URL_NOPAD.decode(parts[0].as_bytes()).expect("base64");
            let header: Value = serde_json::from_slice(&header).expect("JSON");
            assert_eq!(header, json!({"alg": wanted.as_str(), "typ": "JWT", "kid": "k"}));
            let signature = BASE64URL_NOPAD.decode(parts[2].as_bytes()).expect("base64");
            assert_eq!(signature.len(), if wanted == Algorithm::ES384 { 96 } else { 64 });
        }
        let none = PrivateKey::parse(&Secret::from("a password".to_owned()), None).err();
        assert_eq!(none, Some(InvalidPrivateKey::Missing));
    }

    #[test]
    fn a_signature_of_two_numbers_has_them_at_full_length() {
        let mut wanted = vec![0; 64];
        wanted[31] = 5;
        let mut der = vec![0x30, 3 + 35, 0x02, 1, 5, 0x02, 33, 0];
        der.extend([0x89; 32]);
        wanted[32..].fill(0x89);
        assert_eq!(fixed(&der, 32), Some(wanted));
        assert_eq!(fixed(&der[..der.len() - 1], 32), None);
        assert_eq!(fixed(&[0x30, 0], 32), None);
    }
}
