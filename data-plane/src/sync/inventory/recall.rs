//! What the journal stores of an inventory beyond what was sent, and restores.
//!
//! Writes nothing itself. Versions that ran are restored before wanted ones, in the original order.

use std::collections::HashSet;

use rr_contract::digest::ViewDigest;
use rr_contract::model::id::CredentialId;
use rr_contract::model::resource::{Key, ResourceId};
use rr_contract::wire::fleet::Mode;

use crate::snapshot::Snapshot;

use super::super::transaction::{Change, Changes, Offered};
use super::isolate::Isolation;
use super::judge::{self, Parsed};
use super::versions::Known;
use super::{Inventory, Terms};

/// A part of what a journal kept: each key once, parsed, and the digest of a view that holds just that.
pub(crate) struct Load {
    resources: Vec<(Key, Offered, Parsed)>,
    digest: ViewDigest,
}

/// All that a journal writes of an inventory. Shares its bytes, so that another thread can write it.
pub(crate) struct Image {
    pub(crate) versions: Vec<(CredentialId, Known)>,
    pub(crate) revocations: Vec<u8>,
    /// Versions that run in place of wanted ones.
    pub(crate) kept: Vec<(Key, Offered)>,
    pub(crate) wanted: Vec<(Key, Offered)>,
}

/// Parses one resource as the inventory would, in the same isolation.
pub(crate) struct Parser(Isolation);

impl Parser {
    /// Prepares changes for [`Inventory::restore`]; gives them back where one is a removal.
    pub(crate) fn load(&self, changes: Changes) -> Result<Load, Changes> {
        if changes.values().any(|change| matches!(change, Change::Removal)) {
            return Err(changes);
        }
        let mut load = Load { resources: Vec::with_capacity(changes.len()), digest: ViewDigest::default() };
        for (key, change) in changes {
            let Change::Upsert(offered) = change else { continue };
            load.digest.add(&key, &offered.hash);
            let parsed = self.0.run(&key, &offered, || judge::parse(&key, &offered));
            load.resources.push((key, offered, parsed));
        }
        Ok(load)
    }
}

fn credential(key: &Key) -> Option<CredentialId> {
    if let ResourceId::Credential(id) = key.id { Some(id) } else { None }
}

impl Inventory {
    /// For a journal.
    pub(crate) fn image(&self) -> Image {
        let owned = |(key, offered): (&Key, &Offered)| (*key, offered.clone());
        Image {
            versions: self.versions().collect(),
            revocations: self.revocations(),
            kept: self.kept().map(owned).collect(),
            wanted: self.wanted().map(owned).collect(),
        }
    }

    /// Versions that run in place of wanted ones, for the journal.
    pub(crate) fn kept(&self) -> impl Iterator<Item = (&Key, &Offered)> {
        self.refused.iter().filter_map(|key| {
            let running = self.entries.get(key)?.running.as_ref()?;
            Some((key, &**running.kept.as_ref()?))
        })
    }

    /// All that is wanted, for the journal.
    pub(crate) fn wanted(&self) -> impl Iterator<Item = (&Key, &Offered)> {
        self.entries.iter().map(|(key, entry)| (key, &entry.wanted))
    }

    /// Highest versions, for the journal.
    pub(crate) fn versions(&self) -> impl Iterator<Item = (CredentialId, Known)> {
        self.versions.iter()
    }

    /// Takes over what a journal knows of highest versions, before what is wanted.
    pub(crate) fn restore_version(&mut self, id: CredentialId, known: Known) {
        self.versions.accept(id, known);
        // Until it comes.
        self.versions.leave(id);
    }

    /// Takes over what a later position knows of highest versions.
    pub(crate) fn raise_versions(&mut self, versions: &[(CredentialId, Known)]) {
        let here: HashSet<CredentialId> = self.entries.keys().filter_map(credential).collect();
        for (id, known) in versions {
            self.versions.accept(*id, *known);
            if !here.contains(id) {
                self.versions.leave(*id);
            }
        }
    }

    /// What parses resources as this inventory would, on another thread.
    pub(crate) fn parser(&self) -> Parser {
        Parser(self.isolation.clone())
    }

    /// Takes over what a journal kept, with the digest of all that comes in it. Of no mode of the wire: a seal is
    /// not opened before it is used.
    pub(crate) fn restore(&mut self, load: Load, snapshot: &mut Snapshot) {
        self.index.fill();
        let (resources, mut digest) = (load.resources, load.digest);
        if resources.iter().any(|(key, ..)| self.entries.contains_key(key)) {
            let changes = resources.into_iter().map(|(key, offered, _)| (key, Change::Upsert(offered)));
            return self.apply(Mode::Unspecified, changes.collect(), snapshot);
        }
        digest.join(&self.digest);
        let changes =
            resources.into_iter().map(|(key, offered, parsed)| (key, Change::Upsert(offered), Some(parsed)));
        let terms = Terms { mode: Mode::Unspecified, adopted: None, again: false };
        self.take_each(terms, false, changes, snapshot, digest);
    }

    /// The end of what a journal kept.
    pub(crate) fn restored(&mut self) {
        self.index.is_full();
    }

    /// What was revoked here, for the journal.
    pub(crate) fn revocations(&self) -> Vec<u8> {
        self.revocations.record(self.restraints.record())
    }

    /// Takes over what a journal knows of revocations, before what is wanted. `None`: it is no such record.
    pub(crate) fn restore_revocations(&mut self, record: &[u8]) -> Option<()> {
        match self.revocations.restore(record)? {
            Some(restraints) => self.restraints.restore(&restraints),
            None => Some(()),
        }
    }

    /// Takes over which caller credentials were removed or refused at a later position that was gone back from.
    pub(crate) fn bury(&mut self, removed: impl Iterator<Item = CredentialId>) {
        for id in removed {
            if !self.revocations.is_in_force(&id) {
                self.revocations.bury(id);
            }
        }
    }
}
