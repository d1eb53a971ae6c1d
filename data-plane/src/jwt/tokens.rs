//! What one worker knows of tokens: those that it has verified, and how many signatures were wrong just now.
//!
//! Bounded, and of one worker, so that no request waits for another core. The invariant: what is remembered is a token,
//! whole, at one proxy, by its hash; it is forgotten when it ends, and counts for nothing once credential or keys are
//! others than those that verified it, and keeps neither of them.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::SystemTime;

use rr_contract::api_key::KeyHash;
use rr_contract::model::id::{CredentialId, ProxyId};

use super::Checks;
use super::turns::{Turn, Turns};
use crate::holder::Holder;

/// Tokens of one of two generations. With the older one, up to twice as many are remembered, some 700 KiB.
const GENERATION: usize = 2048;
/// Wrong signatures of one proxy in a second, until no further one is looked at: those of ES256 take 2 % of a worker,
/// those of the longest keys 5 %.
const WRONG_MAX: u32 = 200;
/// Proxies whose wrong signatures of one kind are counted at once.
const PROXIES: usize = 1024;

type Key = (ProxyId, KeyHash);

/// Whose signatures are counted together: callers of one kind keep nobody of the other out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Signed {
    Token,
    Certificate,
}

/// The tokens of one worker.
#[derive(Default)]
pub(crate) struct Tokens {
    seen: RefCell<Seen>,
    wrong: RefCell<Wrong>,
    turns: Turns,
    /// Those that were taken apart.
    read: Cell<u64>,
}

/// The generation that is filled, and the one before.
#[derive(Default)]
struct Seen {
    young: HashMap<Key, Verified>,
    old: HashMap<Key, Verified>,
}

/// A token that was found good.
#[derive(Clone)]
pub(crate) struct Verified {
    /// Whose it is.
    pub(crate) credential: CredentialId,
    /// What it passed. Their keys and their issuer go with the credential, however long the token is remembered.
    pub(crate) checks: Weak<Checks>,
    /// Of their keys, when it was looked at.
    pub(crate) generation: u64,
    /// When it ends.
    pub(crate) until: SystemTime,
    /// Who holds it, where its credential tells holders apart.
    pub(crate) holder: Option<Holder>,
}

impl Verified {
    /// Whether these are the checks that it passed, and no others that are alike.
    pub(crate) fn has_passed(&self, checks: &Arc<Checks>) -> bool {
        // No others are where they were, as long as they are remembered.
        std::ptr::eq(self.checks.as_ptr(), Arc::as_ptr(checks))
    }
}

/// Wrong signatures of the present second, by proxy.
#[derive(Default)]
struct Wrong {
    second: u64,
    by: HashMap<(ProxyId, Signed), u32>,
}

impl Tokens {
    /// Looks at what is known of a token at a proxy, as long as it counts. Copied, it would count on what all workers
    /// share.
    pub(crate) fn seen<T>(
        &self,
        proxy: ProxyId,
        hash: KeyHash,
        now: SystemTime,
        look: impl FnOnce(&Verified) -> Option<T>,
    ) -> Option<T> {
        let key = (proxy, hash);
        let seen = &mut *self.seen.borrow_mut();
        if let Some(verified) = seen.young.get(&key) {
            return if now < verified.until { look(verified) } else { None };
        }
        let verified = seen.old.remove(&key).filter(|verified| now < verified.until)?;
        let found = look(&verified);
        seen.put(key, verified);
        found
    }

    /// Remembers a token that was found good.
    pub(crate) fn remember(&self, proxy: ProxyId, hash: KeyHash, verified: Verified) {
        self.seen.borrow_mut().put((proxy, hash), verified);
    }

    /// Waits for the turn to look at a signature.
    pub(crate) async fn turn(&self) -> Turn<'_> {
        self.turns.next().await
    }

    /// Counts one that is taken apart.
    pub(crate) fn reads(&self) {
        self.read.set(self.read.get().wrapping_add(1));
    }

    #[cfg(test)]
    pub(crate) fn read(&self) -> u64 {
        self.read.get()
    }

    /// Whether another signature may be looked at for callers of a kind at a proxy.
    pub(crate) fn may_look(&self, whose: (ProxyId, Signed), now: SystemTime) -> bool {
        let wrong = self.wrong.borrow();
        wrong.second != second(now) || wrong.by.get(&whose).is_none_or(|count| *count < WRONG_MAX)
    }

    /// Counts what was wrong, by how many signatures were looked at for that.
    pub(crate) fn was_wrong(&self, whose: (ProxyId, Signed), looked_at: u32, now: SystemTime) {
        let wrong = &mut *self.wrong.borrow_mut();
        if wrong.second != second(now) || wrong.by.len() >= PROXIES && !wrong.by.contains_key(&whose) {
            wrong.second = second(now);
            wrong.by.clear();
        }
        let count = wrong.by.entry(whose).or_default();
        *count = count.saturating_add(looked_at);
    }
}

impl Seen {
    fn put(&mut self, key: Key, verified: Verified) {
        if self.young.len() >= GENERATION {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, verified);
    }
}

fn second(now: SystemTime) -> u64 {
    now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests;
