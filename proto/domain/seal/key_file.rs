//! The file in which an operator keeps a region's private keys.
//!
//! Under a passphrase (Argon2id, XChaCha20-Poly1305), except for a file made by `rrctl dev`, which has
//! none and says `dev` in its header, so that other commands can refuse it. This module turns keys into
//! text and back; who writes the file gives it mode 0600.

use argon2::{Algorithm, Argon2, Params, Version};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use chacha20poly1305::aead::{Aead as _, Payload};
use chacha20poly1305::{KeyInit as _, XChaCha20Poly1305};
use ed25519_dalek::SigningKey;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::model::id::RegionId;
use crate::secret::Secret;
use rr_seam::{Entropy, draw};

use super::OpeningKey;
use super::region_key::RegionKeys;

const FORMAT: &str = "requestrocket region key 1";
/// 64 MiB, three passes: about a third of a second on a small machine.
const ARGON2: (u32, u32, u32) = (64 * 1024, 3, 1);

/// How a key file is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protection {
    /// By a passphrase.
    Passphrase,
    /// Not at all: made by `rrctl dev`, refused elsewhere.
    Dev,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    format: String,
    protection: Protection,
    region: String,
    epoch: u32,
    fingerprint: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    argon2: Option<Argon2Header>,
    nonce: String,
    /// 32 bytes to open secrets with, then 32 to sign with.
    keys: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Argon2Header {
    salt: String,
    kib: u32,
    passes: u32,
    lanes: u32,
}

/// A key file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// It is no key file.
    #[error("not a region key file")]
    Syntax(#[source] serde_json::Error),
    /// Its header or body is damaged.
    #[error("region key file is damaged: {0}")]
    Damaged(&'static str),
    /// The passphrase is another, or the file was changed.
    #[error("region key file does not open: wrong passphrase, or changed")]
    Passphrase,
    /// It wants a passphrase and none was given.
    #[error("region key file of {0} is protected by a passphrase")]
    NeedsPassphrase(RegionId),
    /// It was made by `rrctl dev`.
    #[error(
        "region key file of {0} was made by `rrctl dev` and is not protected; make a region with `rrctl region create`"
    )]
    Dev(RegionId),
}

/// The text of a key file under a passphrase.
pub fn write(keys: &RegionKeys, passphrase: &Secret, entropy: &dyn Entropy) -> Secret {
    let (kib, passes, lanes) = ARGON2;
    let header = Argon2Header { salt: BASE64.encode(draw::<16>(entropy)), kib, passes, lanes };
    let key = stretch(passphrase, &header).expect("our own parameters are within Argon2's limits");
    text(keys, Protection::Passphrase, Some(header), &key, entropy)
}

/// The text of a key file that anyone who can read it can use.
pub fn write_dev(keys: &RegionKeys, entropy: &dyn Entropy) -> Secret {
    text(keys, Protection::Dev, None, &dev_key(), entropy)
}

/// Opens a key file under a passphrase. One made by `rrctl dev` is refused.
pub fn read(text: &Secret, passphrase: Option<&Secret>) -> Result<RegionKeys, KeyFileError> {
    let file = parse(text)?;
    let region = region(&file)?;
    if file.protection == Protection::Dev {
        return Err(KeyFileError::Dev(region));
    }
    let passphrase = passphrase.ok_or(KeyFileError::NeedsPassphrase(region))?;
    let header = file.argon2.as_ref().ok_or(KeyFileError::Damaged("no argon2 header"))?;
    let key = stretch(passphrase, header)?;
    open(&file, region, &key)
}

/// Opens a key file made by `rrctl dev`, for `rrctl dev`.
pub fn read_dev(text: &Secret) -> Result<RegionKeys, KeyFileError> {
    let file = parse(text)?;
    let region = region(&file)?;
    if file.protection != Protection::Dev {
        return Err(KeyFileError::NeedsPassphrase(region));
    }
    open(&file, region, &dev_key())
}

fn parse(text: &Secret) -> Result<File, KeyFileError> {
    let file: File =
        serde_json::from_slice(text.expose()).map_err(|error| KeyFileError::Syntax(place(&error)))?;
    if file.format != FORMAT {
        return Err(KeyFileError::Damaged("another format"));
    }
    Ok(file)
}

/// Where the fault is, without what stands there: the file may be another one, and hold a secret.
fn place(error: &serde_json::Error) -> serde_json::Error {
    serde::de::Error::custom(format!("line {} column {}", error.line(), error.column()))
}

fn region(file: &File) -> Result<RegionId, KeyFileError> {
    file.region.parse().map_err(|_| KeyFileError::Damaged("bad region id"))
}

fn text(
    keys: &RegionKeys,
    protection: Protection,
    argon2: Option<Argon2Header>,
    key: &[u8; 32],
    entropy: &dyn Entropy,
) -> Secret {
    // Sized once: a buffer that grows leaves its bytes behind.
    let mut plain = Zeroizing::new(Vec::with_capacity(64));
    plain.extend_from_slice(keys.opening.to_secret().expose());
    plain.extend_from_slice(keys.signing.as_bytes());
    let nonce = draw::<24>(entropy);
    let aad = aad(keys.region, keys.epoch);
    let sealed = XChaCha20Poly1305::new(key.into())
        .encrypt((&nonce).into(), Payload { msg: &plain, aad: &aad })
        .expect("64 bytes are below the cipher's limit");
    let file = File {
        format: FORMAT.to_owned(),
        protection,
        region: keys.region.to_string(),
        epoch: keys.epoch,
        fingerprint: keys.fingerprint().to_string(),
        argon2,
        nonce: BASE64.encode(nonce),
        keys: BASE64.encode(sealed),
    };
    let mut out = serde_json::to_vec_pretty(&file).expect("strings and numbers serialize");
    out.push(b'\n');
    Secret::new(out)
}

fn open(file: &File, region: RegionId, key: &[u8; 32]) -> Result<RegionKeys, KeyFileError> {
    let damaged = |_| KeyFileError::Damaged("bad base64");
    let nonce: [u8; 24] = BASE64
        .decode(&file.nonce)
        .map_err(damaged)?
        .try_into()
        .map_err(|_| KeyFileError::Damaged("bad nonce"))?;
    let sealed = BASE64.decode(&file.keys).map_err(damaged)?;
    let plain = XChaCha20Poly1305::new(key.into())
        .decrypt((&nonce).into(), Payload { msg: &sealed, aad: &aad(region, file.epoch) })
        .map(Zeroizing::new)
        .map_err(|_| KeyFileError::Passphrase)?;
    let (opening, signing) = plain.split_at_checked(32).ok_or(KeyFileError::Damaged("bad keys"))?;
    let signing: Zeroizing<[u8; 32]> =
        Zeroizing::new(signing.try_into().map_err(|_| KeyFileError::Damaged("bad keys"))?);
    let keys = RegionKeys {
        region,
        epoch: file.epoch,
        opening: OpeningKey::try_from(&Secret::new(opening.to_vec()))
            .map_err(|_| KeyFileError::Damaged("bad keys"))?,
        signing: SigningKey::from_bytes(&signing),
    };
    // The cipher does not cover it, and people read it there and trust it.
    if keys.fingerprint().to_string() != file.fingerprint {
        return Err(KeyFileError::Damaged("fingerprint is not that of the keys"));
    }
    Ok(keys)
}

fn stretch(passphrase: &Secret, header: &Argon2Header) -> Result<Zeroizing<[u8; 32]>, KeyFileError> {
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

fn dev_key() -> [u8; 32] {
    blake3::derive_key("requestrocket dev region key file 1", b"not a secret")
}

fn aad(region: RegionId, epoch: u32) -> Vec<u8> {
    super::transcript::Transcript::new(FORMAT).bytes(region.as_bytes()).number(epoch.into()).finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rr_seam::SystemEntropy;

    fn keys() -> RegionKeys {
        RegionKeys::generate(RegionId::from_random([3; 16]), &SystemEntropy)
    }

    #[test]
    fn a_file_opens_with_its_passphrase_and_with_no_other() {
        let keys = keys();
        let text = write(&keys, &Secret::from("correct horse".to_owned()), &SystemEntropy);
        let opened = read(&text, Some(&Secret::from("correct horse".to_owned()))).expect("opens");
        assert_eq!(opened.fingerprint(), keys.fingerprint());
        assert!(matches!(
            read(&text, Some(&Secret::from("wrong".to_owned()))),
            Err(KeyFileError::Passphrase)
        ));
        assert!(matches!(read(&text, None), Err(KeyFileError::NeedsPassphrase(_))));
    }

    #[test]
    fn a_dev_file_opens_for_dev_and_is_refused_elsewhere() {
        let keys = keys();
        let text = write_dev(&keys, &SystemEntropy);
        assert_eq!(read_dev(&text).expect("opens").fingerprint(), keys.fingerprint());
        assert!(matches!(read(&text, None), Err(KeyFileError::Dev(_))));
    }

    #[test]
    fn a_header_that_was_changed_is_seen() {
        let text = write_dev(&keys(), &SystemEntropy);
        let text = std::str::from_utf8(text.expose()).expect("JSON");
        let fingerprint = keys().fingerprint().to_string();
        let other = RegionId::from_random([4; 16]).to_string();
        let file: File = serde_json::from_str(text).expect("a file");
        for (from, to) in [
            (file.fingerprint.as_str(), fingerprint.as_str()),
            (file.region.as_str(), other.as_str()),
            ("\"epoch\": 1", "\"epoch\": 2"),
        ] {
            let changed = text.replace(from, to);
            assert_ne!(changed, text);
            assert!(read_dev(&Secret::from(changed)).is_err(), "{to}");
        }
    }

    #[test]
    fn a_file_that_is_none_is_not_repeated_in_the_error() {
        use std::error::Error as _;
        for text in [
            "\"s3cr3t\"",
            "{\"s3cr3t\": 1}",
            "[\"s3cr3t\"]",
            "{\"format\": \"x\", \"protection\": \"s3cr3t\"}",
        ] {
            let error = read(&Secret::from(text.to_owned()), None).map(drop).expect_err("no key file");
            let source = error.source().map(ToString::to_string).unwrap_or_default();
            assert!(!format!("{error} {error:?} {source}").contains("s3cr3t"), "{text}");
            assert!(source.contains("line 1"), "{source}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_file_panics(text in "\\PC{0,80}", salt in "[A-Za-z0-9+/=]{0,40}", kib: u32, passes: u32, lanes: u32) {
            proptest::prop_assert!(read_dev(&Secret::from(text)).is_err());
            // Sizes that would really be computed are left out: they are slow, not dangerous.
            let header = Argon2Header { salt, kib: kib | 1 << 21, passes, lanes };
            proptest::prop_assert!(stretch(&Secret::from("x".to_owned()), &header).is_err());
        }
    }
}
