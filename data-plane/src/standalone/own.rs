//! What a standalone node keeps of itself: the key that its values are sealed to, the name of its history, and which
//! file its last-known-good is of.
//!
//! Sealed with the node key, in the state folder. Where it is, the folder is a standalone node's. The invariant: the
//! file is there whole or not at all, and nothing secret in it can be printed.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use prost::Message as _;
use rr_contract::model::id::{InstallationId, RegionId};
use rr_contract::seal::OpeningKey;
use rr_contract::seal::region_key::{RegionKeys, RegionOpeningKey, RegionStatement};
use rr_contract::seal::storage::StorageKey;
use rr_contract::seam::{Seams, draw};
use rr_contract::secret::Secret;
use rr_contract::wire::fleet;
use zeroize::{Zeroize as _, Zeroizing};

const CONTEXT: &[u8] = b"requestrocket standalone 1";
/// The key is of one folder and ends with it.
const FOR_GOOD: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// What cannot be read or kept.
#[derive(Debug, thiserror::Error)]
pub enum OwnKeyError {
    /// The disk failed.
    #[error("read {path}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The disk failed.
    #[error("write {path}", path = path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// It was sealed with another key, or is damaged.
    #[error("{path} cannot be decrypted with this node key: pass the key that it was written with, or another --state-dir", path = path.display())]
    Sealed {
        /// The file.
        path: PathBuf,
    },
}

/// The key of this node's own, and what it is for.
pub(crate) struct Own {
    pub(super) installation: InstallationId,
    pub(super) lineage: [u8; 16],
    pub(super) statement: RegionStatement,
    pub(super) opening: RegionOpeningKey,
    /// The file and the organization that last-known-good is of.
    pub(super) subject: String,
}

#[derive(Clone, PartialEq, prost::Message)]
#[prost(skip_debug)]
struct Stored {
    #[prost(string, tag = "1")]
    installation: String,
    #[prost(bytes = "vec", tag = "2")]
    lineage: Vec<u8>,
    #[prost(message, optional, tag = "3")]
    statement: Option<fleet::RegionKeyStatement>,
    #[prost(bytes = "vec", tag = "4")]
    opening: Vec<u8>,
    #[prost(string, tag = "5")]
    subject: String,
}

impl Drop for Stored {
    fn drop(&mut self) {
        self.opening.zeroize();
    }
}

impl Own {
    pub(crate) fn path(state_dir: &Path) -> PathBuf {
        state_dir.join("standalone")
    }

    /// Whether the folder is a standalone node's.
    pub(crate) fn is_there(state_dir: &Path, seams: &Seams) -> bool {
        let read = seams.disk.read(&Self::path(state_dir));
        !matches!(read, Err(error) if error.kind() == io::ErrorKind::NotFound)
    }

    /// A new one, which is on no disk yet.
    pub(crate) fn generate(subject: String, seams: &Seams) -> Self {
        let entropy = &*seams.entropy;
        let keys = RegionKeys::generate(RegionId::from_random(draw(entropy)), entropy);
        let now = seams.clock.now().max(SystemTime::UNIX_EPOCH);
        Self {
            installation: InstallationId::from_random(draw(entropy)),
            lineage: draw(entropy),
            statement: keys.statement(now, now + FOR_GOOD),
            opening: keys.opening_key(),
            subject,
        }
    }

    pub(crate) fn read(state_dir: &Path, node_key: &Secret, seams: &Seams) -> Result<Self, OwnKeyError> {
        let path = Self::path(state_dir);
        let sealed =
            seams.disk.read(&path).map_err(|source| OwnKeyError::Read { path: path.clone(), source })?;
        let plain = StorageKey::derive(node_key, "standalone").open(CONTEXT, &sealed).ok();
        let stored = plain.and_then(|plain| Stored::decode(plain.as_slice()).ok());
        stored.and_then(|stored| stored.parse()).ok_or(OwnKeyError::Sealed { path })
    }

    pub(crate) fn write(
        &self,
        state_dir: &Path,
        node_key: &Secret,
        seams: &Seams,
    ) -> Result<(), OwnKeyError> {
        let stored = Stored {
            installation: self.installation.to_string(),
            lineage: self.lineage.to_vec(),
            statement: Some(self.statement.to_wire()),
            opening: self.opening.key().to_secret().expose().to_vec(),
            subject: self.subject.clone(),
        };
        let plain = Zeroizing::new(stored.encode_to_vec());
        let sealed = StorageKey::derive(node_key, "standalone").seal(CONTEXT, &plain, &*seams.entropy);
        let path = Self::path(state_dir);
        seams.disk.replace(&path, &sealed).map_err(|source| OwnKeyError::Write { path, source })
    }

    /// Whether last-known-good is of this file and organization.
    pub(crate) fn is_of(&self, subject: &str) -> bool {
        self.subject == subject
    }

    /// The same key for another file.
    pub(crate) fn with(self, subject: String) -> Self {
        Self { subject, ..self }
    }

    /// The region that this node is alone in.
    pub(crate) fn region(&self) -> RegionId {
        self.statement.region()
    }
}

impl Stored {
    fn parse(&self) -> Option<Own> {
        let statement = RegionStatement::try_from(self.statement.clone()?).ok()?;
        let key = OpeningKey::try_from(&Secret::new(self.opening.clone())).ok()?;
        Some(Own {
            installation: self.installation.parse().ok()?,
            lineage: self.lineage.as_slice().try_into().ok()?,
            opening: RegionOpeningKey::new(statement.region(), statement.epoch(), key),
            statement,
            subject: self.subject.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_back_with_the_same_node_key_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let (state, seams) = (folder.path(), Seams::real());
        assert!(!Own::is_there(state, &seams));
        let own = Own::generate("a file".to_owned(), &seams);
        let key = Secret::new(vec![1; 32]);
        own.write(state, &key, &seams).expect("it is written");
        assert!(Own::is_there(state, &seams));
        let read = Own::read(state, &key, &seams).expect("it is read");
        assert_eq!((read.region(), read.installation), (own.region(), own.installation));
        assert_eq!((read.lineage, &*read.subject), (own.lineage, "a file"));
        assert_eq!(read.opening.key().to_secret().expose(), own.opening.key().to_secret().expose());
        let other = Own::read(state, &Secret::new(vec![2; 32]), &seams).err().expect("another key");
        assert!(other.to_string().contains("--state-dir"), "{other}");
    }
}
