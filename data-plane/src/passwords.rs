//! Whether a password is a user's: Argon2id beside the traffic workers, and what is known of it already.
//!
//! Reads no request and decides nobody's access. One hash takes about 20 ms of a processor, so it is computed by
//! threads of its own, which stand behind the traffic workers: half as many as there are processors, none before the
//! first password comes, and none when there was nothing to do for a while. Attempts wait by proxy and are served in
//! turn (`turns`). An attempt that was checked is known by a keyed hash (`known`): to the worker without any lock, to
//! the node under one that nobody takes but for an attempt that the worker does not know.
//!
//! The invariants: a wrong password costs the same whether there is such a user or not; what one organization's callers
//! try makes no other's wait for more than its turn; good passwords are forgotten for other good ones alone; no password
//! is kept beyond its check, and none can be printed.

mod claimed;
mod known;
#[cfg(test)]
mod tests;
mod threads;
mod turns;

use std::cell::RefCell;
use std::sync::Arc;

use data_encoding::HEXLOWER;
use rr_contract::model::id::{CredentialId, OrgId, ProxyId};
use rr_contract::password::PasswordHash;
use rr_contract::seam::{Entropy, draw};
use zeroize::Zeroizing;

use self::known::{Known, WORKER};
use self::threads::{Asked, Shared};

pub(crate) use self::claimed::Claimed;

/// The live passwords of a credential.
pub(crate) struct Live {
    /// Changes with the credential, its version, and any of its hashes.
    mark: [u8; 32],
    hashes: Box<[PasswordHash]>,
}

impl Live {
    pub(crate) fn new(credential: CredentialId, version: u64, hashes: Vec<PasswordHash>) -> Arc<Self> {
        let mut mark = blake3::Hasher::new();
        mark.update(credential.as_bytes()).update(&version.to_le_bytes());
        for hash in &hashes {
            // Each is of one length but for its salt, which a sign ends that is in no base64.
            mark.update(hash.to_phc().as_bytes());
        }
        Arc::new(Self { mark: *mark.finalize().as_bytes(), hashes: hashes.into() })
    }

    /// Tells one from another.
    pub(crate) fn mark_text(&self) -> String {
        HEXLOWER.encode(&self.mark[..8])
    }

    pub(crate) fn hashes(&self) -> &[PasswordHash] {
        &self.hashes
    }
}

/// Where a password is presented.
#[derive(Clone, Copy)]
pub(crate) struct At {
    pub(crate) org: OrgId,
    pub(crate) proxy: ProxyId,
    /// How many hashes a wrong password costs there: as many as any of its users has.
    pub(crate) rounds: usize,
}

/// What came of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It is the live password with this number.
    Good(usize),
    Wrong,
}

/// Too many passwords wait to be checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Crowded;

/// What an attempt is known by.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Attempt([u8; 32]);

/// What all workers of a node have in common. When the last of them lets go, its threads end.
pub(crate) struct Passwords {
    /// Drawn at the start: what is known is worth nothing elsewhere, and nobody chooses where it is kept.
    key: Zeroizing<[u8; 32]>,
    shared: Arc<Shared>,
}

impl Passwords {
    pub(crate) fn new(entropy: &dyn Entropy) -> Arc<Self> {
        // Whatever the number of traffic workers is.
        let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get());
        Self::with_threads(entropy, (cores / 2).max(1))
    }

    pub(crate) fn with_threads(entropy: &dyn Entropy, threads: usize) -> Arc<Self> {
        Arc::new(Self { key: Zeroizing::new(draw(entropy)), shared: Arc::new(Shared::new(threads)) })
    }

    /// By all that an outcome depends on, and by the proxy: what is known of a user at one says nothing about who is a
    /// user of another.
    fn attempt(&self, at: At, live: Option<&Live>, claimed: &Claimed) -> Attempt {
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        hasher.update(at.proxy.as_bytes());
        hasher.update(&live.map_or([0; 32], |live| live.mark));
        // User and password with a colon between them, and no colon in a user.
        hasher.update(claimed.text());
        Attempt(*hasher.finalize().as_bytes())
    }
}

impl Drop for Passwords {
    fn drop(&mut self) {
        self.shared.end();
    }
}

/// What one worker has of it.
pub(crate) struct Checker {
    node: Arc<Passwords>,
    known: RefCell<Known>,
}

impl Checker {
    pub(crate) fn new(node: Arc<Passwords>) -> Self {
        Self { node, known: RefCell::new(Known::new(WORKER)) }
    }

    /// What this worker knows of an attempt.
    pub(crate) fn known(
        &self,
        at: At,
        live: Option<&Arc<Live>>,
        claimed: &Claimed,
    ) -> Result<Outcome, Attempt> {
        let attempt = self.node.attempt(at, live.map(Arc::as_ref), claimed);
        self.known.borrow_mut().get(&attempt).ok_or(attempt)
    }

    /// How many passwords wait on the node.
    #[cfg(test)]
    pub(crate) fn waiting(&self) -> usize {
        self.node.shared.counts().1
    }

    /// Has a password checked that this worker does not know. Whoever goes away leaves the queue.
    pub(crate) async fn check(
        &self,
        attempt: Attempt,
        at: At,
        live: Option<Arc<Live>>,
        claimed: Claimed,
    ) -> Result<Outcome, Crowded> {
        let outcome = match self.node.shared.ask(attempt, at, live, claimed) {
            Asked::Known(outcome) => outcome,
            Asked::Waits(place) => place.outcome().await?,
        };
        self.known.borrow_mut().put(attempt, outcome);
        Ok(outcome)
    }
}
