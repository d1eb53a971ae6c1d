//! The file in which an operator keeps a region's private keys.
//!
//! A random file key seals the content (XChaCha20-Poly1305). Each recipient has a passphrase (Argon2id) that opens the file
//! key, so that several people can keep the same file, and any of them can write it again for all. Except for a file made by
//! `rrctl dev`, which has no recipient and says `dev` in its header, so that other commands can refuse it. This module turns
//! keys into text and back; who writes the file gives it mode 0600.

mod content;
mod recipient;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use chacha20poly1305::aead::{Aead as _, Payload};
use chacha20poly1305::{KeyInit as _, XChaCha20Poly1305};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::model::id::RegionId;
use crate::secret::Secret;
use rr_seam::{Entropy, draw};

use super::region_key::RegionKeys;
use super::transcript::Transcript;

use self::recipient::{Argon2Header, Recipient, stretch};

/// With one epoch and one passphrase. Read, never written.
const FIRST_FORMAT: &str = "requestrocket region key 1";
const FORMAT: &str = "requestrocket region key 2";
/// Each of them may have to be tried.
const RECIPIENTS_MAX: usize = 16;
/// Who a file is for, where nobody said.
const OWNER: &str = "owner";

type Key = Zeroizing<[u8; 32]>;

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
    /// The newest.
    epoch: u32,
    fingerprint: String,
    /// Of the first format: how its passphrase becomes the key of `keys`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    argon2: Option<Argon2Header>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    recipients: Vec<Recipient>,
    nonce: String,
    /// First format: 32 bytes to open secrets with, then 32 to sign with. Second: what `content` says.
    keys: String,
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
    /// A recipient's name is taken, or there are too many.
    #[error(
        "recipient {0:?} cannot be added: a file has at most 16, each with a name of its own of 1 to 63 characters"
    )]
    Recipient(String),
}

/// An open key file, which can be written again for everybody who could open it.
pub struct KeyFile {
    /// The keys in it.
    pub keys: RegionKeys,
    protection: Protection,
    recipients: Vec<Recipient>,
    /// Of a file of the first format: its passphrase, stretched, to become that of a recipient.
    first: Option<(Argon2Header, Key)>,
    key: Key,
}

/// The text of a key file under a passphrase.
pub fn write(keys: &RegionKeys, passphrase: &Secret, entropy: &dyn Entropy) -> Secret {
    let key = Zeroizing::new(draw::<32>(entropy));
    let owner = Recipient::new(OWNER, passphrase, keys.region(), &key, entropy);
    text(keys, Protection::Passphrase, &[owner], &key, entropy)
}

/// The text of a key file that anyone who can read it can use.
pub fn write_dev(keys: &RegionKeys, entropy: &dyn Entropy) -> Secret {
    text(keys, Protection::Dev, &[], &dev_key(), entropy)
}

/// Opens a key file under a passphrase. One made by `rrctl dev` is refused.
pub fn read(text: &Secret, passphrase: Option<&Secret>) -> Result<RegionKeys, KeyFileError> {
    KeyFile::open(text, passphrase).map(|file| file.keys)
}

/// Opens a key file made by `rrctl dev`, for `rrctl dev`.
pub fn read_dev(text: &Secret) -> Result<RegionKeys, KeyFileError> {
    KeyFile::open_dev(text).map(|file| file.keys)
}

/// What can be read of a key file without a passphrase. Only those who can open the file know whether it is true.
#[derive(Debug, PartialEq, Eq)]
pub struct Outline {
    /// Whose keys it holds.
    pub region: RegionId,
    /// Who can open it, by name.
    pub recipients: Vec<String>,
}

/// Reads the header of a key file.
pub fn outline(text: &Secret) -> Result<Outline, KeyFileError> {
    let file = parse(text)?;
    let owner = (file.format == FIRST_FORMAT).then(|| OWNER.to_owned());
    let recipients = owner.into_iter().chain(file.recipients.iter().map(|it| it.name.clone())).collect();
    Ok(Outline { region: region(&file)?, recipients })
}

impl KeyFile {
    /// Opens a key file under the passphrase of any recipient. One made by `rrctl dev` is refused.
    pub fn open(text: &Secret, passphrase: Option<&Secret>) -> Result<Self, KeyFileError> {
        let file = parse(text)?;
        let region = region(&file)?;
        if file.protection == Protection::Dev {
            return Err(KeyFileError::Dev(region));
        }
        let passphrase = passphrase.ok_or(KeyFileError::NeedsPassphrase(region))?;
        if file.format == FIRST_FORMAT {
            let header = file.argon2.clone().ok_or(KeyFileError::Damaged("no argon2 header"))?;
            let stretched = stretch(passphrase, &header)?;
            let keys = open_first(&file, region, &stretched)?;
            // Written again, it has the second format.
            let key = Zeroizing::new(blake3::derive_key("requestrocket region key file key 1", &*stretched));
            let (recipients, first) = (Vec::new(), Some((header, stretched)));
            return Ok(Self { keys, protection: file.protection, recipients, first, key });
        }
        if file.recipients.is_empty() {
            return Err(KeyFileError::Damaged("no recipient"));
        }
        let mut opened = Err(KeyFileError::Passphrase);
        for recipient in &file.recipients {
            match recipient.open(passphrase, region) {
                Err(KeyFileError::Passphrase) => {}
                other => {
                    opened = other;
                    break;
                }
            }
        }
        Self::of(file, region, opened?)
    }

    /// Opens a key file made by `rrctl dev`, for `rrctl dev`.
    pub fn open_dev(text: &Secret) -> Result<Self, KeyFileError> {
        let file = parse(text)?;
        let region = region(&file)?;
        if file.protection != Protection::Dev {
            return Err(KeyFileError::NeedsPassphrase(region));
        }
        if file.format == FIRST_FORMAT {
            let keys = open_first(&file, region, &dev_key())?;
            let recipients = Vec::new();
            return Ok(Self { keys, protection: file.protection, recipients, first: None, key: dev_key() });
        }
        Self::of(file, region, dev_key())
    }

    fn of(file: File, region: RegionId, key: Key) -> Result<Self, KeyFileError> {
        let aad = aad(region, file.epoch, &file.fingerprint);
        let plain = unseal(&key, &file.nonce, &file.keys, &aad)?;
        let keys = content::decode(region, &plain).ok_or(KeyFileError::Damaged("bad keys"))?;
        if keys.epoch() != file.epoch || keys.fingerprint().to_string() != file.fingerprint {
            return Err(KeyFileError::Damaged("its header is not that of the keys"));
        }
        Ok(Self { keys, protection: file.protection, recipients: file.recipients, first: None, key })
    }

    /// Who can open it, by name.
    pub fn recipients(&self) -> impl Iterator<Item = &str> {
        let first = self.first.as_ref().map(|_| OWNER);
        first.into_iter().chain(self.recipients.iter().map(|recipient| recipient.name.as_str()))
    }

    /// Lets one more open it, with a passphrase of their own.
    pub fn add(
        &mut self,
        name: &str,
        passphrase: &Secret,
        entropy: &dyn Entropy,
    ) -> Result<(), KeyFileError> {
        let is_taken = self.recipients().any(|taken| taken == name);
        if is_taken || self.recipients().count() >= RECIPIENTS_MAX || name.is_empty() || name.len() > 63 {
            return Err(KeyFileError::Recipient(name.to_owned()));
        }
        self.recipients.push(Recipient::new(name, passphrase, self.keys.region(), &self.key, entropy));
        Ok(())
    }

    /// The same keys in a file for somebody else, and for whoever is added: no recipient of this file opens it.
    pub fn export(
        self,
        name: &str,
        passphrase: &Secret,
        entropy: &dyn Entropy,
    ) -> Result<Self, KeyFileError> {
        let key = Zeroizing::new(draw::<32>(entropy));
        let (protection, recipients) = (Protection::Passphrase, Vec::new());
        let mut file = Self { keys: self.keys, protection, recipients, first: None, key };
        file.add(name, passphrase, entropy)?;
        Ok(file)
    }

    /// The text, for everybody who could open it and for those who were added.
    pub fn text(&self, entropy: &dyn Entropy) -> Secret {
        let first = self.first.as_ref().map(|(header, stretched)| {
            Recipient::seal(OWNER, header.clone(), stretched, self.keys.region(), &self.key, entropy)
        });
        let recipients: Vec<Recipient> = first.into_iter().chain(self.recipients.iter().cloned()).collect();
        text(&self.keys, self.protection, &recipients, &self.key, entropy)
    }
}

fn parse(text: &Secret) -> Result<File, KeyFileError> {
    let file: File =
        serde_json::from_slice(text.expose()).map_err(|error| KeyFileError::Syntax(place(&error)))?;
    if file.format != FORMAT && file.format != FIRST_FORMAT {
        return Err(KeyFileError::Damaged("another format"));
    }
    if file.recipients.len() > RECIPIENTS_MAX {
        return Err(KeyFileError::Damaged("too many recipients"));
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
    recipients: &[Recipient],
    key: &Key,
    entropy: &dyn Entropy,
) -> Secret {
    let fingerprint = keys.fingerprint().to_string();
    let aad = aad(keys.region(), keys.epoch(), &fingerprint);
    let (nonce, sealed) = seal(key, &content::encode(keys), &aad, entropy);
    let file = File {
        format: FORMAT.to_owned(),
        protection,
        region: keys.region().to_string(),
        epoch: keys.epoch(),
        fingerprint,
        argon2: None,
        recipients: recipients.to_vec(),
        nonce,
        keys: sealed,
    };
    let mut out = serde_json::to_vec_pretty(&file).expect("strings and numbers serialize");
    out.push(b'\n');
    Secret::new(out)
}

fn open_first(file: &File, region: RegionId, key: &Key) -> Result<RegionKeys, KeyFileError> {
    let aad = Transcript::new(FIRST_FORMAT).bytes(region.as_bytes()).number(file.epoch.into()).finish();
    let plain = unseal(key, &file.nonce, &file.keys, &aad)?;
    let keys = content::decode_first(region, file.epoch, &plain).ok_or(KeyFileError::Damaged("bad keys"))?;
    // The cipher does not cover it, and people read it there and trust it.
    if keys.fingerprint().to_string() != file.fingerprint {
        return Err(KeyFileError::Damaged("fingerprint is not that of the keys"));
    }
    Ok(keys)
}

/// A nonce and what was sealed with it, in base64.
fn seal(key: &Key, plain: &[u8], aad: &[u8], entropy: &dyn Entropy) -> (String, String) {
    let nonce = draw::<24>(entropy);
    let sealed = XChaCha20Poly1305::new((&**key).into())
        .encrypt((&nonce).into(), Payload { msg: plain, aad })
        .expect("some keys are below the cipher's limit");
    (BASE64.encode(nonce), BASE64.encode(sealed))
}

fn unseal(key: &Key, nonce: &str, sealed: &str, aad: &[u8]) -> Result<Zeroizing<Vec<u8>>, KeyFileError> {
    let damaged = |_| KeyFileError::Damaged("bad base64");
    let nonce: [u8; 24] =
        BASE64.decode(nonce).map_err(damaged)?.try_into().map_err(|_| KeyFileError::Damaged("bad nonce"))?;
    let sealed = BASE64.decode(sealed).map_err(damaged)?;
    XChaCha20Poly1305::new((&**key).into())
        .decrypt((&nonce).into(), Payload { msg: &sealed, aad })
        .map(Zeroizing::new)
        .map_err(|_| KeyFileError::Passphrase)
}

fn dev_key() -> Key {
    Zeroizing::new(blake3::derive_key("requestrocket dev region key file 1", b"not a secret"))
}

fn aad(region: RegionId, epoch: u32, fingerprint: &str) -> Vec<u8> {
    Transcript::new(FORMAT)
        .bytes(region.as_bytes())
        .number(epoch.into())
        .bytes(fingerprint.as_bytes())
        .finish()
}

#[cfg(test)]
mod tests;
