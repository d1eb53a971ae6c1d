//! Who can open a key file: each by a passphrase that opens the file key.
//!
//! Knows nothing of the keys in the file.

use argon2::{Algorithm, Argon2, Params, Version};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use rr_seam::{Entropy, draw};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::model::id::RegionId;
use crate::secret::Secret;

use super::super::transcript::Transcript;
use super::{Key, KeyFileError, seal, unseal};

/// 64 MiB, three passes: about a third of a second on a small machine.
pub(super) const ARGON2: (u32, u32, u32) = (64 * 1024, 3, 1);

/// Somebody whose passphrase opens the file.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Recipient {
    pub(super) name: String,
    argon2: Argon2Header,
    nonce: String,
    /// The file key.
    key: String,
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Argon2Header {
    pub(super) salt: String,
    pub(super) kib: u32,
    pub(super) passes: u32,
    pub(super) lanes: u32,
}

impl Recipient {
    pub(super) fn new(
        name: &str,
        passphrase: &Secret,
        region: RegionId,
        file_key: &Key,
        entropy: &dyn Entropy,
    ) -> Self {
        let (kib, passes, lanes) = ARGON2;
        let argon2 = Argon2Header { salt: BASE64.encode(draw::<16>(entropy)), kib, passes, lanes };
        let stretched = stretch(passphrase, &argon2).expect("our own parameters are within Argon2's limits");
        Self::seal(name, argon2, &stretched, region, file_key, entropy)
    }

    pub(super) fn seal(
        name: &str,
        argon2: Argon2Header,
        stretched: &Key,
        region: RegionId,
        file_key: &Key,
        entropy: &dyn Entropy,
    ) -> Self {
        let (nonce, key) = seal(stretched, &**file_key, &recipient_aad(region, name), entropy);
        Self { name: name.to_owned(), argon2, nonce, key }
    }

    pub(super) fn open(&self, passphrase: &Secret, region: RegionId) -> Result<Key, KeyFileError> {
        let stretched = stretch(passphrase, &self.argon2)?;
        let plain = unseal(&stretched, &self.nonce, &self.key, &recipient_aad(region, &self.name))?;
        let key: [u8; 32] = plain.as_slice().try_into().map_err(|_| KeyFileError::Damaged("bad file key"))?;
        Ok(Zeroizing::new(key))
    }
}

/// The key that a passphrase becomes.
pub(super) fn stretch(passphrase: &Secret, header: &Argon2Header) -> Result<Key, KeyFileError> {
    // Bounds, because the header is read from a file: a hostile one must not take all memory.
    if header.kib > 1024 * 1024 || header.passes > 64 || header.lanes > 16 {
        return Err(KeyFileError::Damaged("argon2 parameters out of bounds"));
    }
    let salt = BASE64.decode(&header.salt).map_err(|_| KeyFileError::Damaged("bad salt"))?;
    let params = Params::new(header.kib, header.passes, header.lanes, Some(32))
        .map_err(|_| KeyFileError::Damaged("bad argon2 parameters"))?;
    let mut key = Zeroizing::new([0; 32]);
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into(passphrase.expose(), &salt, &mut *key)
        .map_err(|_| KeyFileError::Damaged("bad argon2 parameters"))?;
    Ok(key)
}

fn recipient_aad(region: RegionId, name: &str) -> Vec<u8> {
    Transcript::new("requestrocket region key recipient 1")
        .bytes(region.as_bytes())
        .bytes(name.as_bytes())
        .finish()
}
