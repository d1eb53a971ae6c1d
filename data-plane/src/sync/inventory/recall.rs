//! What a journal writes down of an inventory beyond what was sent, and gives back.
//!
//! Writes nothing itself. What is restored comes before what is wanted, so that this meets it as it did.

use rr_contract::model::id::CredentialId;
use rr_contract::model::resource::Key;

use super::super::transaction::Offered;
use super::Inventory;

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

    /// What was revoked here, for the journal.
    pub(crate) fn revocations(&self) -> Vec<u8> {
        self.revocations.record()
    }

    /// Takes over what a journal knows of revocations, before what is wanted. `None`: it is no such record.
    pub(crate) fn restore_revocations(&mut self, record: &[u8]) -> Option<()> {
        self.revocations.restore(record)
    }
}
