//! What a journal writes down of an inventory beyond what was sent, and gives back.
//!
//! Writes nothing itself. What is restored comes before what is wanted, so that this meets it as it did.

use rr_contract::digest::ViewDigest;
use rr_contract::model::id::CredentialId;
use rr_contract::model::resource::Key;
use rr_contract::wire::fleet::Mode;

use crate::snapshot::Snapshot;

use super::super::transaction::{Change, Changes, Offered};
use super::guard::Guard;
use super::judge::{self, Parsed};
use super::{Inventory, Terms};

/// A part of what a journal kept: each key once, parsed, and the digest of a view that holds just that.
pub(crate) struct Load {
    resources: Vec<(Key, Offered, Parsed)>,
    digest: ViewDigest,
}

/// Parses one resource as the inventory would, with the same guard.
pub(crate) struct Parser(Guard);

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

impl Inventory {
    /// Versions that run in the place of wanted ones, for the journal.
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
    pub(crate) fn versions(&self) -> impl Iterator<Item = (&CredentialId, u64)> {
        self.versions.iter().map(|(id, version)| (id, *version))
    }

    /// Takes over what a journal knows of highest versions.
    pub(crate) fn restore_version(&mut self, id: CredentialId, version: u64) {
        self.versions.insert(id, version);
    }

    /// What parses resources as this inventory would, on another thread.
    pub(crate) fn parser(&self) -> Parser {
        Parser(self.guard.clone())
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
        let terms = Terms { mode: Mode::Unspecified, adopted: None };
        self.take_each(terms, false, changes, snapshot, digest);
    }

    /// The end of what a journal kept.
    pub(crate) fn restored(&mut self) {
        self.index.is_full();
    }

    /// What was revoked here, for the journal.
    pub(crate) fn revocations(&self) -> Vec<u8> {
        self.revocations.record()
    }

    /// Takes over what a journal knows of revocations, before what is wanted. `None`: it is no such record.
    pub(crate) fn restore_revocations(&mut self, record: &[u8]) -> Option<()> {
        self.revocations.restore(record)
    }
}
