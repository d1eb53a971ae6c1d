//! The digest of what is held, added up anew.
//!
//! It is kept up to date by what each transaction changes. Where it comes out otherwise than a commit says, a sum over
//! all entries tells whose sum was wrong.

use rr_contract::digest::{Digest, ViewDigest};

use super::Inventory;

impl Inventory {
    /// Adds the digest up anew. Returns it if it differs from the one that was kept.
    pub(crate) fn recount(&mut self) -> Option<Digest> {
        let mut sum = ViewDigest::default();
        for (key, entry) in &self.entries {
            sum.add(key, &entry.wanted.hash);
        }
        let before = std::mem::replace(&mut self.digest, sum);
        (before != self.digest).then(|| self.digest.digest())
    }

    /// Has the digest be that of nothing.
    #[cfg(test)]
    pub(crate) fn lose_digest(&mut self) {
        self.digest = ViewDigest::default();
    }
}
