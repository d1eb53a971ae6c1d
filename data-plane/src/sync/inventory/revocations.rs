//! Caller credentials that were removed from this node, and those refused because they came back.
//!
//! A *tombstone* is the id of a caller credential that was removed. It bites in an adopted transaction alone:
//! one history that goes on as another may not bring back to life what was revoked here, unless it says so by
//! name. What was bitten is *revoked in force*, and stays so, over restarts too, until the same credential
//! comes with other content or is named. Judges nothing else. The invariant: no id is both.

use std::collections::{BTreeMap, HashMap, HashSet};

use prost::Message as _;
use rr_contract::digest::ResourceHash;
use rr_contract::model::id::CredentialId;

use super::restraints::{self, Restraints};

/// How many tombstones are kept: the newest.
pub(super) const TOMBSTONES_MAX: usize = 100_000;

/// All of it, as a journal keeps it.
#[derive(Clone, PartialEq, prost::Message)]
struct Record {
    /// Oldest first.
    #[prost(bytes = "vec", repeated, tag = "1")]
    tombstones: Vec<Vec<u8>>,
    #[prost(bytes = "vec", repeated, tag = "2")]
    in_force: Vec<Vec<u8>>,
    /// What those came back with.
    #[prost(bytes = "vec", repeated, tag = "3")]
    hashes: Vec<Vec<u8>>,
    #[prost(message, optional, tag = "4")]
    restraints: Option<restraints::Record>,
}

#[derive(Default)]
pub(crate) struct Revocations {
    /// By when they came, so that the oldest can go.
    order: BTreeMap<u64, CredentialId>,
    places: HashMap<CredentialId, u64>,
    next: u64,
    /// What is refused because it was revoked, and with which content it came back.
    in_force: HashMap<CredentialId, ResourceHash>,
}

impl Revocations {
    /// Notes that a caller credential is gone.
    pub(super) fn bury(&mut self, id: CredentialId) {
        self.forget(&id);
        self.order.insert(self.next, id);
        self.places.insert(id, self.next);
        self.next += 1;
        if self.order.len() > TOMBSTONES_MAX
            && let Some((_, oldest)) = self.order.pop_first()
        {
            self.places.remove(&oldest);
        }
    }

    /// Whether an ordinary change that brings this content is still the one that was revoked. Any other
    /// content is a later decision, and ends the matter.
    pub(super) fn still_bites(&mut self, id: &CredentialId, hash: &ResourceHash) -> bool {
        let bites = self.in_force.get(id) == Some(hash);
        if !bites {
            self.forget(id);
        }
        bites
    }

    /// Whether an adopted transaction brings back what this node has seen revoked.
    pub(super) fn bites(
        &mut self,
        id: &CredentialId,
        hash: &ResourceHash,
        revived: &HashSet<CredentialId>,
    ) -> bool {
        if revived.contains(id) {
            self.forget(id);
            return false;
        }
        let was_seen = self.places.contains_key(id) || self.in_force.contains_key(id);
        if was_seen {
            self.forget(id);
            self.in_force.insert(*id, *hash);
        }
        was_seen
    }

    pub(super) fn is_in_force(&self, id: &CredentialId) -> bool {
        self.in_force.contains_key(id)
    }

    /// Refuses this content from now on, as one that was revoked here.
    pub(super) fn enforce(&mut self, id: CredentialId, hash: ResourceHash) {
        self.forget(&id);
        self.in_force.insert(id, hash);
    }

    /// For a journal, with what is restrained.
    pub(super) fn record(&self, restraints: Option<restraints::Record>) -> Vec<u8> {
        let bytes = |id: &CredentialId| id.as_bytes().to_vec();
        let (in_force, hashes) = self.in_force.iter().map(|(id, hash)| (bytes(id), hash.to_vec())).unzip();
        Record { tombstones: self.order.values().map(bytes).collect(), in_force, hashes, restraints }
            .encode_to_vec()
    }

    /// Takes over what a journal kept; `None` if it is no such record. Returns what was restrained.
    pub(super) fn restore(&mut self, record: &[u8]) -> Option<Option<restraints::Record>> {
        let record = Record::decode(record).ok()?;
        let id = |bytes: &Vec<u8>| Some(CredentialId::from_random(bytes.as_slice().try_into().ok()?));
        for tombstone in &record.tombstones {
            self.bury(id(tombstone)?);
        }
        for (revoked, hash) in record.in_force.iter().zip(&record.hashes) {
            let revoked = id(revoked)?;
            self.forget(&revoked);
            self.in_force.insert(revoked, hash.as_slice().try_into().ok()?);
        }
        Some(record.restraints)
    }

    /// What a record that a journal kept says.
    pub(crate) fn read(record: &[u8]) -> Option<(Self, Restraints)> {
        let (mut read, mut restraints) = (Self::default(), Restraints::default());
        if let Some(record) = read.restore(record)? {
            restraints.restore(&record)?;
        }
        Some((read, restraints))
    }

    /// Removed ids, and what is refused with its content.
    pub(crate) fn into_parts(self) -> (Vec<CredentialId>, HashMap<CredentialId, ResourceHash>) {
        (self.order.into_values().collect(), self.in_force)
    }

    fn forget(&mut self, id: &CredentialId) {
        if let Some(place) = self.places.remove(id) {
            self.order.remove(&place);
        }
        self.in_force.remove(id);
    }
}
