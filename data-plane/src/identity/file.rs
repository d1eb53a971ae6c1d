//! The identity at rest: one sealed frame, replaced whole.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use prost::Message as _;
use rr_contract::seal::OpeningKey;
use rr_contract::seal::attestation::Versions;
use rr_contract::seal::region_key::RegionOpeningKey;
use rr_contract::seal::storage::StorageKey;
use rr_contract::seam::Seams;
use rr_contract::secret::Secret;
use rustls::pki_types::CertificateDer;
use zeroize::{Zeroize as _, Zeroizing};

use super::Identity;

const CONTEXT: &[u8] = b"requestrocket node identity 1";

/// An identity that cannot be read or kept.
#[derive(Debug, thiserror::Error)]
pub enum IdentityFileError {
    /// The disk failed.
    #[error("read identity file {path}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The disk failed.
    #[error("write identity file {path}", path = path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// It was sealed with another key, or is damaged.
    #[error("identity file {path} cannot be decrypted with this node key: pass the key that it was written with, or remove the file and join again", path = path.display())]
    Sealed {
        /// The file.
        path: PathBuf,
    },
    /// It can be decrypted but not parsed.
    #[error("identity file {path} has a format that this version cannot read: start the version that wrote it, or remove the file and join again", path = path.display())]
    Content {
        /// The file.
        path: PathBuf,
    },
}

/// Where the identity is kept.
#[derive(Clone)]
pub(crate) struct IdentityFile {
    path: PathBuf,
    key: StorageKey,
    seams: Seams,
}

#[derive(Clone, PartialEq, prost::Message)]
#[prost(skip_debug)]
struct Stored {
    #[prost(string, tag = "1")]
    node: String,
    #[prost(string, tag = "2")]
    installation: String,
    #[prost(string, tag = "3")]
    region: String,
    #[prost(uint32, tag = "4")]
    epoch: u32,
    #[prost(bytes = "vec", tag = "5")]
    region_key: Vec<u8>,
    #[prost(string, tag = "6")]
    fingerprint: String,
    #[prost(bytes = "vec", tag = "7")]
    own_key: Vec<u8>,
    #[prost(bytes = "vec", repeated, tag = "8")]
    chain: Vec<Vec<u8>>,
    #[prost(bytes = "vec", tag = "9")]
    private_key: Vec<u8>,
    #[prost(bytes = "vec", repeated, tag = "10")]
    trust: Vec<Vec<u8>>,
    /// Empty: nothing was attested, or the version that wrote it did not know of that.
    #[prost(bytes = "vec", tag = "11")]
    attested: Vec<u8>,
}

impl Drop for Stored {
    fn drop(&mut self) {
        self.region_key.zeroize();
        self.own_key.zeroize();
        self.private_key.zeroize();
    }
}

impl IdentityFile {
    pub(crate) fn path(state_dir: &Path) -> PathBuf {
        state_dir.join("identity")
    }

    /// Whether there is one, readable or not.
    pub(crate) fn is_there(path: &Path, seams: &Seams) -> bool {
        !matches!(seams.disk.read(path), Err(error) if error.kind() == io::ErrorKind::NotFound)
    }

    pub(crate) fn new(state_dir: &Path, node_key: &Secret, seams: Seams) -> Self {
        Self { path: Self::path(state_dir), key: StorageKey::derive(node_key, "identity"), seams }
    }

    /// What is kept; `None` when this machine has never joined.
    pub(crate) fn read(&self) -> Result<Option<Identity>, IdentityFileError> {
        let path = || self.path.clone();
        let sealed = match self.seams.disk.read(&self.path) {
            Ok(sealed) => sealed,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(IdentityFileError::Read { path: path(), source }),
        };
        let plain =
            self.key.open(CONTEXT, &sealed).map_err(|_| IdentityFileError::Sealed { path: path() })?;
        let stored =
            Stored::decode(plain.as_slice()).map_err(|_| IdentityFileError::Content { path: path() })?;
        stored.parse().ok_or(IdentityFileError::Content { path: path() }).map(Some)
    }

    /// Keeps an identity, in the place of any before.
    pub(crate) fn write(&self, identity: &Identity) -> Result<(), IdentityFileError> {
        let plain = Zeroizing::new(Stored::of(identity).encode_to_vec());
        let sealed = self.key.seal(CONTEXT, &plain, &*self.seams.entropy);
        self.seams
            .disk
            .replace(&self.path, &sealed)
            .map_err(|source| IdentityFileError::Write { path: self.path.clone(), source })
    }
}

impl Stored {
    fn of(identity: &Identity) -> Self {
        Self {
            node: identity.node.to_string(),
            installation: identity.installation.to_string(),
            region: identity.region.region().to_string(),
            epoch: identity.region.epoch(),
            region_key: identity.region.key().to_secret().expose().to_vec(),
            fingerprint: identity.fingerprint.to_string(),
            own_key: identity.own_key.to_secret().expose().to_vec(),
            chain: identity.chain.iter().map(|certificate| certificate.to_vec()).collect(),
            private_key: identity.private_key.expose().to_vec(),
            trust: identity.trust.iter().map(|certificate| certificate.to_vec()).collect(),
            attested: identity.attested.to_bytes(),
        }
    }

    fn parse(&self) -> Option<Identity> {
        let key = |bytes: &[u8]| OpeningKey::try_from(&Secret::new(bytes.to_vec())).ok();
        let certificates =
            |list: &[Vec<u8>]| list.iter().map(|der| CertificateDer::from(der.clone())).collect();
        Some(Identity {
            node: self.node.parse().ok()?,
            installation: self.installation.parse().ok()?,
            region: RegionOpeningKey::new(self.region.parse().ok()?, self.epoch, key(&self.region_key)?),
            fingerprint: self.fingerprint.parse().ok()?,
            later: Vec::new(),
            attested: Arc::new(Versions::parse(&self.attested)?),
            own_key: key(&self.own_key)?,
            chain: certificates(&self.chain),
            private_key: Secret::new(self.private_key.clone()),
            trust: certificates(&self.trust),
        })
    }
}
