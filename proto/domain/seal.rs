//! Sealing: the only code of the workspace that names a cipher.
//!
//! * [`envelope`]: a secret, sealed to regions so that the control plane cannot open it;
//! * [`means`]: what is done with a secret, sealed with it;
//! * [`form`]: the kinds of upstream credentials, and what people say of each;
//! * [`region_key`]: the keys of a region, made by its operator, and the signed public half;
//! * [`node_token`]: what lets a machine join a region and open its key;
//! * [`grant`]: the key of a region's next epoch, sealed to those who may have it;
//! * [`attestation`]: the region's word on which versions of its secrets are the newest;
//! * [`key_file`]: where an operator keeps a region's private keys;
//! * [`storage`]: frames of files at rest on a node.
//!
//! What it does not do: it decides nothing about who may have a secret, and keeps no key longer than the
//! value that holds it.

pub mod attestation;
pub mod envelope;
pub mod form;
pub mod grant;
pub mod key_file;
pub mod means;
pub mod node_token;
pub mod region_key;
mod rewrap;
mod slot;
pub mod storage;
mod transcript;
mod usable;

pub use envelope::{OpenError, OpenedSecret, SealContext, SealError, SecretSpec};
pub use means::Means;
pub use rewrap::RewrapError;
pub use slot::Slot;
pub use usable::Unusable;

use hpke::Kem as _;
use hpke::aead::ChaCha20Poly1305;
use hpke::kdf::HkdfSha256;
use hpke::kem::X25519HkdfSha256;
use hpke::{Deserializable as _, OpModeR, OpModeS, PskBundle, Serializable as _};

pub use crate::model::sealed::SealedSecret;
use crate::secret::Secret;

type KemPublic = <X25519HkdfSha256 as hpke::Kem>::PublicKey;
type KemPrivate = <X25519HkdfSha256 as hpke::Kem>::PrivateKey;

/// An X25519 public key that something can be sealed to.
#[derive(Clone, PartialEq, Eq)]
pub struct SealingKey(KemPublic);

impl SealingKey {
    /// The 32 bytes of it.
    pub fn to_bytes(&self) -> [u8; 32] {
        self.0.to_bytes().into()
    }
}

impl std::fmt::Debug for SealingKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SealingKey(")?;
        for byte in &self.to_bytes()[..4] {
            write!(f, "{byte:02x}")?;
        }
        f.write_str("…)")
    }
}

impl TryFrom<&[u8]> for SealingKey {
    type Error = InvalidKeyBytes;

    fn try_from(bytes: &[u8]) -> Result<Self, InvalidKeyBytes> {
        KemPublic::from_bytes(bytes).map(Self).map_err(|_| InvalidKeyBytes)
    }
}

/// The private half of a [`SealingKey`]. Cannot be printed.
#[derive(Clone)]
pub struct OpeningKey(KemPrivate);

impl OpeningKey {
    /// A new one, out of the system's random bytes.
    pub fn generate() -> Self {
        Self(X25519HkdfSha256::gen_keypair().0)
    }

    /// One that follows from key material, as in RFC 9180's DeriveKeyPair.
    fn derive(material: &[u8]) -> Self {
        Self(X25519HkdfSha256::derive_keypair(material).0)
    }

    /// The public half.
    pub fn sealing_key(&self) -> SealingKey {
        SealingKey(X25519HkdfSha256::sk_to_pk(&self.0))
    }

    /// The bytes, for a sealed message or an encrypted file.
    pub fn to_secret(&self) -> Secret {
        let mut bytes = vec![0; 32];
        self.0.write_exact(&mut bytes);
        Secret::new(bytes)
    }
}

impl TryFrom<&Secret> for OpeningKey {
    type Error = InvalidKeyBytes;

    fn try_from(bytes: &Secret) -> Result<Self, InvalidKeyBytes> {
        KemPrivate::from_bytes(bytes.expose()).map(Self).map_err(|_| InvalidKeyBytes)
    }
}

/// Bytes that are not a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a key of 32 bytes")]
pub struct InvalidKeyBytes;

/// Something sealed to one key.
struct HpkeSealed {
    encapsulated: Vec<u8>,
    ciphertext: Vec<u8>,
}

/// What both sides know and nobody else does, with its public name. Without one (base mode) everybody can
/// seal to a public key, so nothing is known about who did.
struct Shared<'a> {
    key: &'a [u8; 32],
    name: &'a [u8],
}

impl Shared<'_> {
    fn bundle(&self) -> Option<PskBundle<'_>> {
        PskBundle::new(self.key, self.name).ok()
    }
}

fn hpke_seal(
    to: &SealingKey,
    shared: Option<&Shared<'_>>,
    info: &[u8],
    aad: &[u8],
    plaintext: &[u8],
) -> Option<HpkeSealed> {
    let mode = match shared {
        Some(shared) => OpModeS::Psk(shared.bundle()?),
        None => OpModeS::Base,
    };
    let (encapsulated, ciphertext) =
        hpke::single_shot_seal::<ChaCha20Poly1305, HkdfSha256, X25519HkdfSha256>(
            &mode, &to.0, info, plaintext, aad,
        )
        .ok()?;
    Some(HpkeSealed { encapsulated: encapsulated.to_bytes().to_vec(), ciphertext })
}

fn hpke_open(
    with: &OpeningKey,
    shared: Option<&Shared<'_>>,
    info: &[u8],
    aad: &[u8],
    encapsulated: &[u8],
    ciphertext: &[u8],
) -> Option<Secret> {
    let mode = match shared {
        Some(shared) => OpModeR::Psk(shared.bundle()?),
        None => OpModeR::Base,
    };
    let encapsulated = <X25519HkdfSha256 as hpke::Kem>::EncappedKey::from_bytes(encapsulated).ok()?;
    hpke::single_shot_open::<ChaCha20Poly1305, HkdfSha256, X25519HkdfSha256>(
        &mode,
        &with.0,
        &encapsulated,
        info,
        ciphertext,
        aad,
    )
    .ok()
    .map(Secret::new)
}

#[cfg(test)]
mod frozen;
#[cfg(test)]
mod vectors;
