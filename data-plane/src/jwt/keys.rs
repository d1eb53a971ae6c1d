//! Keys that verify signatures of tokens, one family each.
//!
//! Chooses no algorithm: who asks has taken it from the credential. The invariant: a key verifies nothing of another
//! family than its own, a public one no HMAC and a secret nothing else.

use aws_lc_rs::hmac;
use aws_lc_rs::rsa::PublicKeyComponents;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256,
    RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512, RSA_PSS_2048_8192_SHA256,
    RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512, RsaParameters,
};
use rr_contract::model::caller::jwt::Algorithm;
use rr_contract::policy::key_set::{KeySet, Material, PublishedKey};
use rr_contract::policy::token::Token;

use super::Fault;

/// How many keys of a set a token is tried with: those of its name, or all that could be meant where it names none.
const TRIES_MAX: usize = 4;

/// The published keys of an issuer.
pub(crate) struct PublicKeys(Box<[PublicKey]>);

struct PublicKey {
    kid: Option<Box<str>>,
    /// `None`: any of its family.
    algorithm: Option<Algorithm>,
    material: Verifier,
}

/// A key as it verifies.
enum Verifier {
    Rsa(PublicKeyComponents<Box<[u8]>>),
    P256(ParsedPublicKey),
    P384(ParsedPublicKey),
    Ed25519(ParsedPublicKey),
}

impl PublicKeys {
    /// The keys of a set; those that are no points of their curves are left out. `None`: no key is left.
    pub(crate) fn of(set: KeySet) -> Option<Self> {
        let keys: Box<[PublicKey]> = set.keys.into_iter().filter_map(PublicKey::of).collect();
        (!keys.is_empty()).then_some(Self(keys))
    }

    /// Whether one of the keys that a token can mean made its signature.
    pub(super) fn verify(&self, token: &Token<'_>, algorithm: Algorithm) -> Result<(), Fault> {
        let mut keys = self.meant(token, algorithm).peekable();
        if keys.peek().is_none() {
            return Err(Fault::Key);
        }
        let is_good = keys.any(|key| key.material.verify(algorithm, token.signed, &token.signature));
        if is_good { Ok(()) } else { Err(Fault::Signature) }
    }

    /// How many keys a token is tried with whose signature none of them made.
    pub(super) fn tries(&self, token: &Token<'_>, algorithm: Algorithm) -> u32 {
        self.meant(token, algorithm).fold(0, |count, _| count + 1)
    }

    /// The keys that a token can mean, and no more than are tried.
    fn meant<'k>(
        &'k self,
        token: &'k Token<'_>,
        algorithm: Algorithm,
    ) -> impl Iterator<Item = &'k PublicKey> {
        let fits = move |key: &&PublicKey| {
            key.material.fits(algorithm) && key.algorithm.is_none_or(|only| only == algorithm)
        };
        let said = token.kid.as_deref();
        let is_named = said.is_some() && self.0.iter().any(|key| key.kid.as_deref() == said);
        // A key without a name can be meant by any token, but where another has the very name.
        let is_meant = move |key: &&PublicKey| match (said, key.kid.as_deref()) {
            (None, _) => true,
            (Some(said), Some(name)) => said == name,
            (Some(_), None) => !is_named,
        };
        self.0.iter().filter(fits).filter(is_meant).take(TRIES_MAX)
    }
}

impl PublicKey {
    fn of(key: PublishedKey) -> Option<Self> {
        let material = match key.material {
            Material::Rsa { n, e } => Verifier::Rsa(PublicKeyComponents { n: n.into(), e: e.into() }),
            Material::P256(point) => {
                Verifier::P256(ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).ok()?)
            }
            Material::P384(point) => {
                Verifier::P384(ParsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, point).ok()?)
            }
            Material::Ed25519(bytes) => Verifier::Ed25519(ParsedPublicKey::new(&ED25519, bytes).ok()?),
        };
        Some(Self { kid: key.kid.map(Into::into), algorithm: key.algorithm, material })
    }
}

impl Verifier {
    fn fits(&self, algorithm: Algorithm) -> bool {
        match self {
            Self::Rsa(_) => rsa(algorithm).is_some(),
            Self::P256(_) => algorithm == Algorithm::ES256,
            Self::P384(_) => algorithm == Algorithm::ES384,
            Self::Ed25519(_) => algorithm == Algorithm::EdDSA,
        }
    }

    fn verify(&self, algorithm: Algorithm, signed: &[u8], signature: &[u8]) -> bool {
        if !self.fits(algorithm) {
            return false;
        }
        match self {
            Self::Rsa(key) => rsa(algorithm).is_some_and(|how| key.verify(how, signed, signature).is_ok()),
            Self::P256(key) | Self::P384(key) | Self::Ed25519(key) => {
                key.verify_sig(signed, signature).is_ok()
            }
        }
    }
}

/// How an algorithm verifies with RSA, if it does. Each takes keys of 2048 to 8192 bits alone.
fn rsa(algorithm: Algorithm) -> Option<&'static RsaParameters> {
    Some(match algorithm {
        Algorithm::RS256 => &RSA_PKCS1_2048_8192_SHA256,
        Algorithm::RS384 => &RSA_PKCS1_2048_8192_SHA384,
        Algorithm::RS512 => &RSA_PKCS1_2048_8192_SHA512,
        Algorithm::PS256 => &RSA_PSS_2048_8192_SHA256,
        Algorithm::PS384 => &RSA_PSS_2048_8192_SHA384,
        Algorithm::PS512 => &RSA_PSS_2048_8192_SHA512,
        Algorithm::HS256
        | Algorithm::HS384
        | Algorithm::HS512
        | Algorithm::ES256
        | Algorithm::ES384
        | Algorithm::EdDSA => return None,
    })
}

/// A secret that issuer and node share. Its bytes are not kept.
pub(super) struct SharedKey {
    sha256: hmac::Key,
    sha384: hmac::Key,
    sha512: hmac::Key,
}

impl SharedKey {
    pub(super) fn of(secret: &[u8]) -> Self {
        let key = |algorithm| hmac::Key::new(algorithm, secret);
        Self {
            sha256: key(hmac::HMAC_SHA256),
            sha384: key(hmac::HMAC_SHA384),
            sha512: key(hmac::HMAC_SHA512),
        }
    }

    pub(super) fn verify(&self, token: &Token<'_>, algorithm: Algorithm) -> Result<(), Fault> {
        let key = match algorithm {
            Algorithm::HS256 => &self.sha256,
            Algorithm::HS384 => &self.sha384,
            Algorithm::HS512 => &self.sha512,
            Algorithm::RS256
            | Algorithm::RS384
            | Algorithm::RS512
            | Algorithm::PS256
            | Algorithm::PS384
            | Algorithm::PS512
            | Algorithm::ES256
            | Algorithm::ES384
            | Algorithm::EdDSA => return Err(Fault::Key),
        };
        hmac::verify(key, token.signed, &token.signature).map_err(|_| Fault::Signature)
    }
}
