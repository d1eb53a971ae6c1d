//! Keys of later epochs of the region than the one that the node joined with, and from whom it takes them.
//!
//! A key comes sealed to this node, with a statement by the region's own signing key, whose fingerprint the node learned from
//! its token. The invariant: a key is on disk before the control plane is told that the node has it, for then secrets are
//! sealed to it alone.

use std::io;
use std::path::{Path, PathBuf};

use prost::Message as _;
use rr_contract::model::id::RegionId;
use rr_contract::model::invalid::Invalid;
use rr_contract::seal::OpeningKey;
use rr_contract::seal::grant::{self, GrantRefused};
use rr_contract::seal::region_key::{Fingerprint, RegionOpeningKey, RegionStatement};
use rr_contract::seal::storage::StorageKey;
use rr_contract::seam::Seams;
use rr_contract::secret::Secret;
use rr_contract::wire::fleet;
use zeroize::{Zeroize as _, Zeroizing};

use super::{Identity, IdentityFileError};

const CONTEXT: &[u8] = b"requestrocket later region keys 1";

/// The keys of a region that a node has.
pub(crate) struct KeyRing {
    path: PathBuf,
    storage: StorageKey,
    seams: Seams,
    fingerprint: Fingerprint,
    own_key: OpeningKey,
    /// By epoch; the first is that of the identity.
    keys: Vec<RegionOpeningKey>,
    /// The newest that is on disk.
    kept: u32,
}

/// A key that the node does not take.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeyRefused {
    #[error("the statement of the new key is missing")]
    Missing,
    #[error("the statement of the new key is not valid")]
    Statement(#[source] Invalid),
    #[error("the new key was not accepted")]
    Grant(#[source] GrantRefused),
}

#[derive(Clone, PartialEq, prost::Message)]
#[prost(skip_debug)]
struct Stored {
    /// Of the node's own key, so that keys of another identity are not taken for this one's.
    #[prost(bytes = "vec", tag = "1")]
    node_key: Vec<u8>,
    #[prost(message, repeated, tag = "2")]
    keys: Vec<StoredKey>,
}

#[derive(Clone, PartialEq, prost::Message)]
#[prost(skip_debug)]
struct StoredKey {
    #[prost(uint32, tag = "1")]
    epoch: u32,
    #[prost(bytes = "vec", tag = "2")]
    key: Vec<u8>,
}

impl Drop for StoredKey {
    fn drop(&mut self) {
        self.key.zeroize();
    }
}

/// Opens a key that was given, and checks that the region signed for it. `newest` is the latest that is there already.
pub(super) fn opened(
    given: &fleet::RegionKey,
    region: RegionId,
    fingerprint: Fingerprint,
    with: &OpeningKey,
    newest: u32,
) -> Result<RegionOpeningKey, KeyRefused> {
    let statement = given.statement.clone().ok_or(KeyRefused::Missing)?;
    let statement = RegionStatement::try_from(statement).map_err(KeyRefused::Statement)?;
    if statement.region() != region || statement.fingerprint() != fingerprint {
        return Err(KeyRefused::Grant(GrantRefused::Stranger));
    }
    let sealed = given.grant.as_ref().ok_or(KeyRefused::Missing)?;
    grant::open(sealed, &statement, with, newest).map_err(KeyRefused::Grant)
}

impl KeyRing {
    /// The keys of an identity: that which it joined with, and those that came later.
    pub(crate) fn of(
        identity: &Identity,
        state_dir: &Path,
        node_key: &Secret,
        seams: Seams,
    ) -> Result<Self, IdentityFileError> {
        let mut ring = Self {
            path: Self::path(state_dir),
            storage: StorageKey::derive(node_key, "region keys"),
            seams,
            fingerprint: identity.fingerprint,
            own_key: identity.own_key.clone(),
            keys: vec![identity.region.clone()],
            kept: identity.region.epoch(),
        };
        let later = if identity.later.is_empty() { ring.read()? } else { identity.later.clone() };
        ring.keys.extend(later);
        ring.keys.sort_by_key(RegionOpeningKey::epoch);
        ring.kept = ring.newest();
        Ok(ring)
    }

    /// Where later keys lie in a state folder.
    pub(crate) fn path(state_dir: &Path) -> PathBuf {
        state_dir.join("region-keys")
    }

    /// Everything that opens.
    pub(crate) fn keys(&self) -> Vec<RegionOpeningKey> {
        self.keys.clone()
    }

    /// The newest epoch.
    pub(crate) fn newest(&self) -> u32 {
        self.keys.last().map_or(0, RegionOpeningKey::epoch)
    }

    /// The newest epoch that would be there after a restart.
    pub(crate) fn kept(&self) -> u32 {
        self.kept
    }

    /// Takes a key that was given. Nothing where it is there already.
    pub(crate) fn take(&mut self, given: &fleet::RegionKey) -> Result<Option<RegionOpeningKey>, KeyRefused> {
        let region = self.keys[0].region();
        let key = opened(given, region, self.fingerprint, &self.own_key, self.newest())?;
        if key.epoch() == self.newest() {
            return Ok(None);
        }
        self.keys.push(key.clone());
        Ok(Some(key))
    }

    /// Writes the keys down. What failed is tried again with the next key, or when the node connects anew.
    pub(crate) fn keep(&mut self) -> Result<(), IdentityFileError> {
        let stored = Stored {
            node_key: self.own_key.sealing_key().to_bytes().to_vec(),
            keys: self.keys[1..].iter().map(StoredKey::of).collect(),
        };
        let plain = Zeroizing::new(stored.encode_to_vec());
        let sealed = self.storage.seal(CONTEXT, &plain, &*self.seams.entropy);
        let written = self.seams.disk.replace(&self.path, &sealed);
        written.map_err(|source| IdentityFileError::Write { path: self.path.clone(), source })?;
        self.kept = self.newest();
        Ok(())
    }

    fn read(&self) -> Result<Vec<RegionOpeningKey>, IdentityFileError> {
        let path = || self.path.clone();
        let sealed = match self.seams.disk.read(&self.path) {
            Ok(sealed) => sealed,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(source) => return Err(IdentityFileError::Read { path: path(), source }),
        };
        let plain =
            self.storage.open(CONTEXT, &sealed).map_err(|_| IdentityFileError::Sealed { path: path() })?;
        let content = || IdentityFileError::Content { path: path() };
        let stored = Stored::decode(plain.as_slice()).map_err(|_| content())?;
        if stored.node_key != self.own_key.sealing_key().to_bytes() {
            // Of an identity that was there before.
            return Ok(Vec::new());
        }
        let region = self.keys[0].region();
        let keys = stored.keys.iter().map(|key| key.parse(region));
        keys.collect::<Option<_>>().ok_or_else(content)
    }
}

impl StoredKey {
    fn of(key: &RegionOpeningKey) -> Self {
        Self { epoch: key.epoch(), key: key.key().to_secret().expose().to_vec() }
    }

    fn parse(&self, region: RegionId) -> Option<RegionOpeningKey> {
        let key = OpeningKey::try_from(&Secret::new(self.key.clone())).ok()?;
        Some(RegionOpeningKey::new(region, self.epoch, key))
    }
}

#[cfg(test)]
mod tests;
