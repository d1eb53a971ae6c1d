//! Attestations: the region's word on how new its secrets are, for nodes that never had them.
//!
//! Whoever has the region's key signs the version of every secret that is sealed to the region, and which secret that is. A
//! node token carries the counter of the newest; a node that joins with it takes no attestation before that one, no secret before
//! the attested version, and no other secret under its number that would bring the one before it back. It says nothing about secrets that came later, and nothing about those that were deleted since.

use std::time::SystemTime;

use ed25519_dalek::{Signer as _, VerifyingKey};
use rr_wire::fleet;

use crate::model::id::{CredentialId, RegionId};
use crate::model::time;

use super::region_key::{RegionKeys, RegionStatement, verifies};
use super::transcript::Transcript;

/// An id, a version and a content id.
const ENTRY: usize = 16 + 8 + 32;

/// The newest secret of a credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Newest {
    /// Starts at 1.
    pub version: u64,
    /// As [`SealedSecret::content_id`](crate::model::sealed::SealedSecret::content_id) tells secrets apart.
    pub content: [u8; 32],
}

/// The newest secrets, by credential. Each credential is there once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Versions(Box<[(CredentialId, Newest)]>);

/// An attestation that nobody takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AttestationError {
    /// There is none, and one is known to exist.
    #[error("there is no attestation of the versions of secrets, and number {0} was made")]
    Missing(u64),
    /// It is older than one that is known.
    #[error("the attestation of the versions of secrets is number {found}, and number {known} was made")]
    Old {
        /// Its counter.
        found: u64,
        /// That of the newest that is known.
        known: u64,
    },
    /// It is of another region, or not understood.
    #[error("the attestation of the versions of secrets is not of this region")]
    Content,
    /// The region did not sign it.
    #[error("the attestation of the versions of secrets is not signed by the region")]
    Signature,
    /// The list beside it is not the list that was signed.
    #[error("the versions of secrets are not those that the region attested")]
    Versions,
}

impl Versions {
    /// Of some credentials. Where one comes twice, its higher version counts.
    pub fn new(list: impl IntoIterator<Item = (CredentialId, Newest)>) -> Self {
        let mut list: Vec<_> = list.into_iter().collect();
        list.sort_unstable_by_key(|(id, newest)| (*id.as_bytes(), u64::MAX - newest.version));
        list.dedup_by_key(|(id, _)| *id);
        Self(list.into())
    }

    /// The newest of one; `None`: it is not among them.
    pub fn get(&self, id: &CredentialId) -> Option<Newest> {
        let found = self.0.binary_search_by_key(id.as_bytes(), |(id, _)| *id.as_bytes());
        found.ok().map(|place| self.0[place].1)
    }

    /// The version of one; 0: it is not among them.
    pub fn version(&self, id: &CredentialId) -> u64 {
        self.get(id).map_or(0, |newest| newest.version)
    }

    /// All of them, by credential.
    pub fn iter(&self) -> impl Iterator<Item = (CredentialId, Newest)> {
        self.0.iter().copied()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// For the wire and for stores: the bytes of each id, its version, big-endian, and its content id, by id.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.0.len() * ENTRY);
        for (id, newest) in &self.0 {
            bytes.extend_from_slice(id.as_bytes());
            bytes.extend_from_slice(&newest.version.to_be_bytes());
            bytes.extend_from_slice(&newest.content);
        }
        bytes
    }

    /// Reads those bytes again; `None`: they are not in that form.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let (entries, []) = bytes.as_chunks::<ENTRY>() else { return None };
        let entry = |entry: &[u8; ENTRY]| {
            let (id, rest) = entry.split_first_chunk::<16>()?;
            let (version, content) = rest.split_first_chunk::<8>()?;
            let newest = Newest { version: u64::from_be_bytes(*version), content: content.try_into().ok()? };
            Some((CredentialId::from_random(*id), newest))
        };
        let list: Box<[_]> = entries.iter().map(entry).collect::<Option<_>>()?;
        list.is_sorted_by(|(a, _), (b, _)| a.as_bytes() < b.as_bytes()).then_some(Self(list))
    }

    /// What is signed for all of them. BLAKE3 is a tree of hashes.
    pub fn root(&self) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new_derive_key("requestrocket attested versions 1");
        hasher.update(&self.to_bytes());
        *hasher.finalize().as_bytes()
    }
}

/// An attestation that the region signed.
#[derive(Debug, Clone)]
pub struct Attestation {
    counter: u64,
    made_at: SystemTime,
    root: [u8; 32],
    wire: fleet::RegionAttestation,
}

impl RegionKeys {
    /// The counter of the newest attestation that these keys are known to have made; 0: there was none.
    pub fn attested(&self) -> u64 {
        self.attested
    }

    /// Checks an attestation that was made with these keys or a copy of them, and takes note of it.
    pub fn saw_attestation(
        &mut self,
        wire: fleet::RegionAttestation,
    ) -> Result<Attestation, AttestationError> {
        let attestation = Attestation::read(wire, self.region, &self.signing.verifying_key())?;
        self.attested = self.attested.max(attestation.counter);
        Ok(attestation)
    }

    /// Signs versions, with the next counter. The keys have to be written down before it is shown to anybody, so that no
    /// counter is used twice.
    pub fn attest(&mut self, versions: &Versions, made_at: SystemTime) -> Attestation {
        self.attested += 1;
        let mut wire = fleet::RegionAttestation {
            region: self.region.to_string(),
            counter: self.attested,
            made_at: Some(time::timestamp(made_at)),
            root: versions.root().to_vec(),
            signature: Vec::new(),
        };
        wire.signature = self.signing.sign(&bytes(&wire)).to_bytes().to_vec();
        Attestation::read(wire, self.region, &self.signing.verifying_key())
            .expect("an attestation just signed verifies")
    }
}

impl Attestation {
    /// Checks form and signature.
    pub fn parse(wire: fleet::RegionAttestation, region: &RegionStatement) -> Result<Self, AttestationError> {
        Self::read(wire, region.region(), region.signing_key())
    }

    pub(super) fn read(
        wire: fleet::RegionAttestation,
        region: RegionId,
        key: &VerifyingKey,
    ) -> Result<Self, AttestationError> {
        if !verifies(key, &bytes(&wire), &wire.signature) {
            return Err(AttestationError::Signature);
        }
        let made_at = wire.made_at.as_ref().and_then(|at| time::system_time(at).ok());
        let root = wire.root.as_slice().try_into().ok();
        let is_ours = wire.region == region.to_string() && wire.counter > 0;
        match (made_at, root) {
            (Some(made_at), Some(root)) if is_ours => Ok(Self { counter: wire.counter, made_at, root, wire }),
            _ => Err(AttestationError::Content),
        }
    }

    /// Counts up with each attestation of the region; starts at 1.
    pub fn counter(&self) -> u64 {
        self.counter
    }

    /// When it was made, by the clock of whoever made it.
    pub fn made_at(&self) -> SystemTime {
        self.made_at
    }

    /// Whether these are the versions that were signed.
    pub fn covers(&self, versions: &Versions) -> bool {
        versions.root() == self.root
    }

    /// For the wire, and for the store.
    pub fn to_wire(&self) -> fleet::RegionAttestation {
        self.wire.clone()
    }
}

/// What a node was given when it joined, held against what its token says. `known` is the counter that the token carries.
pub(super) fn given(
    wire: Option<fleet::RegionAttestation>,
    versions: &[u8],
    known: u64,
    region: RegionId,
    key: &VerifyingKey,
) -> Result<Versions, AttestationError> {
    let Some(wire) = wire else {
        return if known == 0 { Ok(Versions::default()) } else { Err(AttestationError::Missing(known)) };
    };
    let attestation = Attestation::read(wire, region, key)?;
    if attestation.counter < known {
        return Err(AttestationError::Old { found: attestation.counter, known });
    }
    let versions = Versions::parse(versions).ok_or(AttestationError::Versions)?;
    attestation.covers(&versions).then_some(versions).ok_or(AttestationError::Versions)
}

fn bytes(wire: &fleet::RegionAttestation) -> Vec<u8> {
    let made_at = wire.made_at.unwrap_or_default();
    Transcript::new("requestrocket region attestation 1")
        .bytes(wire.region.as_bytes())
        .number(wire.counter)
        .number(made_at.seconds as u64)
        .number(made_at.nanos as u64)
        .bytes(&wire.root)
        .finish()
}

#[cfg(test)]
mod tests;
