//! Whether what lies in memory still is what was sent, and that the digest tells the truth about it.
//!
//! Repairs nothing: the control plane sees another digest and sends what differs. Meanwhile what was compiled
//! before goes on, and nothing is compiled from damaged bytes.

use std::ops::Bound;

use rr_contract::digest::{Digest, ViewDigest, resource_hash};
use tracing::error;

use super::Inventory;

/// How much is looked at in one go, whichever comes first.
const SLICE: usize = 64;
const SLICE_BYTES: usize = 256 * 1024;

impl Inventory {
    /// Hashes the next few payloads again. Returns the digest of what is really here, if that is not what was
    /// thought.
    pub(crate) fn check_slice(&mut self) -> Option<Digest> {
        let from = self.checked.take().map_or(Bound::Unbounded, Bound::Excluded);
        let (mut bytes, mut wrong) = (0, Vec::new());
        for (count, (key, entry)) in self.entries.range((from, Bound::Unbounded)).enumerate() {
            if count == SLICE || bytes >= SLICE_BYTES {
                break;
            }
            self.checked = Some(*key);
            bytes += entry.wanted.payload.len();
            let hash = resource_hash(&entry.wanted.payload);
            if hash != entry.wanted.hash {
                wrong.push((*key, hash));
            }
        }
        if self.checked.as_ref() == self.entries.last_key_value().map(|(key, _)| key) {
            self.checked = None;
        }
        if wrong.is_empty() {
            return None;
        }
        for (key, hash) in &wrong {
            error!(%key, "memory is damaged: the configuration held for this key is not what was sent");
            if let Some(entry) = self.entries.get_mut(key) {
                entry.wanted.hash = *hash;
            }
        }
        // The same digest as before: it was the hashes that were damaged, and now they are right again.
        let digest = self.recount()?;
        self.damaged.extend(wrong.into_iter().map(|(key, _)| key));
        Some(digest)
    }

    /// Adds the digest up anew. Returns it if it is another one than was thought.
    pub(crate) fn recount(&mut self) -> Option<Digest> {
        let mut sum = ViewDigest::default();
        for (key, entry) in &self.entries {
            sum.add(key, &entry.wanted.hash);
        }
        let before = std::mem::replace(&mut self.digest, sum);
        (before != self.digest).then(|| self.digest.digest())
    }

    /// Whether something in here is not what was sent. Such a state is not written down.
    pub(crate) fn is_damaged(&self) -> bool {
        !self.damaged.is_empty()
    }

    /// Turns a bit over, as memory that fails does.
    #[cfg(test)]
    pub(crate) fn flip_bit(&mut self, key: &rr_contract::model::resource::Key) {
        let entry = self.entries.get_mut(key).expect("it is there");
        let mut bytes = entry.wanted.payload.to_vec();
        *bytes.last_mut().expect("it is not empty") ^= 1;
        entry.wanted.payload = bytes.into();
    }
}
