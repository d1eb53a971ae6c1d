//! What this node was sent, what of it runs, and why the rest does not.
//!
//! Two views are kept apart. *Wanted* is what was sent, and the digest is of that alone. *Running* is what
//! compiled: a refused target or proxy keeps its previous version, an upstream credential too; a refused
//! caller credential is accepted no longer; rules, filters and meters, which this build cannot run, close
//! the proxies that they would bear on. Absence deletes only in a snapshot. Of one resource that panics or takes
//! too long to compile, no other hears.
//! Does no I/O, and is not seen by requests: they see the [`Snapshot`] that it writes.

mod entry;
mod guard;
mod judge;
mod proxies;
mod recall;
mod revocations;
#[cfg(test)]
pub(crate) mod tests;
mod upkeep;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use rr_contract::digest::{Digest, ViewDigest};
use rr_contract::model::id::{CredentialId, OrgId};
use rr_contract::model::resource::{Key, ResourceId};
use rr_contract::wire::fleet;
use rr_contract::wire::fleet::{Mode, Why};

use crate::snapshot::{Snapshot, Vault};

use super::position::Position;
use super::transaction::{Change, Changes, Offered};

use self::entry::{Entry, Part, Reason, Running, may_stay};
use self::guard::Guard;
use self::revocations::Revocations;

pub(crate) use self::judge::FEATURES;

/// With so many changes at once, seals are opened when they are used and not when they come.
const UNSEALED_MAX: usize = 1_000;

pub(crate) struct Inventory {
    vault: Arc<Vault>,
    digest: ViewDigest,
    /// Ordered, so that upkeep can go through it a slice at a time.
    entries: BTreeMap<Key, Entry>,
    /// (what is used, who uses it), for proxies.
    users: BTreeSet<(Key, Key)>,
    /// (what is borne on, rule or filter or meter).
    policies: BTreeSet<(Key, Key)>,
    refused: BTreeSet<Key>,
    /// The highest version that was ever accepted, whether the credential is still here or not.
    versions: HashMap<CredentialId, u64>,
    revocations: Revocations,
    guard: Guard,
    /// Up to where upkeep has come.
    checked: Option<Key>,
    /// Bytes in memory that are no longer what was sent. What was compiled of them before runs on.
    damaged: BTreeSet<Key>,
}

/// What the view would be after some changes.
pub(crate) struct Foretold {
    sum: ViewDigest,
    pub(crate) digest: Digest,
    pub(crate) count: u64,
    /// How many of the resources that are here would be gone.
    pub(crate) removals: u64,
}

/// How changes are taken.
#[derive(Clone, Copy)]
pub(crate) struct Terms<'a> {
    pub(crate) mode: Mode,
    /// Set where another history goes on here: which revoked caller credentials it brings back by name.
    pub(crate) adopted: Option<&'a HashSet<CredentialId>>,
}

impl Foretold {
    pub(crate) fn leads_to(&self, position: &Position) -> bool {
        (self.digest, self.count) == (position.digest, position.count)
    }
}

impl Inventory {
    pub(crate) fn new(vault: Arc<Vault>) -> Self {
        Self {
            vault,
            digest: ViewDigest::default(),
            entries: BTreeMap::new(),
            users: BTreeSet::new(),
            policies: BTreeSet::new(),
            refused: BTreeSet::new(),
            versions: HashMap::new(),
            revocations: Revocations::default(),
            guard: Guard::default(),
            checked: None,
            damaged: BTreeSet::new(),
        }
    }

    /// What the view would be after these changes. Touches nothing, so that a transaction whose digest is wrong
    /// needs no undoing.
    pub(crate) fn foretell(&self, mode: Mode, changes: &Changes) -> Foretold {
        let whole = mode == Mode::Snapshot;
        let mut sum = if whole { ViewDigest::default() } else { self.digest.clone() };
        let here = self.entries.len() as u64;
        let (mut count, mut removals) = if whole { (0, here) } else { (here, 0) };
        for (key, change) in changes {
            let entry = self.entries.get(key);
            if !whole && let Some(entry) = entry {
                sum.remove(key, &entry.wanted.hash);
                count -= 1;
            }
            match change {
                Change::Upsert(offered) => {
                    sum.add(key, &offered.hash);
                    count += 1;
                    removals -= u64::from(whole && entry.is_some());
                }
                Change::Removal => removals += u64::from(!whole && entry.is_some()),
            }
        }
        Foretold { digest: sum.digest(), sum, count, removals }
    }

    /// Digest and count of the view after these changes.
    pub(crate) fn after(&self, mode: Mode, changes: &Changes) -> (Digest, u64) {
        let foretold = self.foretell(mode, changes);
        (foretold.digest, foretold.count)
    }

    /// Takes ordinary changes in and brings the snapshot up to them.
    pub(crate) fn apply(&mut self, mode: Mode, changes: Changes, snapshot: &mut Snapshot) {
        let foretold = self.foretell(mode, &changes);
        self.take(Terms { mode, adopted: None }, foretold, changes, snapshot);
    }

    /// Takes in changes of which it was foretold what they lead to.
    pub(crate) fn take(
        &mut self,
        terms: Terms<'_>,
        foretold: Foretold,
        mut changes: Changes,
        snapshot: &mut Snapshot,
    ) {
        if terms.mode == Mode::Snapshot && foretold.removals > 0 {
            let gone = self.entries.keys().filter(|key| !changes.contains_key(key)).copied();
            let gone: Vec<Key> = gone.collect();
            changes.extend(gone.into_iter().map(|key| (key, Change::Removal)));
        }
        for (key, offered) in self.named(terms) {
            // The same content as is here: the digest stays what was foretold.
            changes.entry(key).or_insert(Change::Upsert(offered));
        }
        let unseal = match terms.mode {
            Mode::Delta => true,
            Mode::Reconcile => changes.len() <= UNSEALED_MAX,
            Mode::Snapshot | Mode::Unspecified => false,
        };
        let mut proxies = HashSet::new();
        for (key, change) in changes {
            // Before and after: who used it, and who will.
            self.concerned(&key, &mut proxies);
            match change {
                Change::Upsert(offered) => self.upsert(key, offered, terms, unseal, snapshot),
                Change::Removal => self.remove(&key, snapshot),
            }
            self.concerned(&key, &mut proxies);
        }
        for key in proxies {
            self.settle_proxy(key, snapshot);
        }
        self.digest = foretold.sum;
    }

    /// What is here, revoked, and named to come back, although it need not be sent for that.
    fn named(&self, terms: Terms<'_>) -> Vec<(Key, Offered)> {
        let Some(revived) = terms.adopted.filter(|revived| !revived.is_empty()) else { return Vec::new() };
        let named = self.refused.iter().filter_map(|key| {
            let ResourceId::Credential(id) = key.id else { return None };
            let is_named = revived.contains(&id) && self.revocations.is_in_force(&id);
            is_named.then(|| Some((*key, self.entries.get(key)?.wanted.clone())))?
        });
        named.collect()
    }

    fn upsert(
        &mut self,
        key: Key,
        offered: Offered,
        terms: Terms<'_>,
        unseal: bool,
        snapshot: &mut Snapshot,
    ) {
        let revoked = self.revoked(&key, &offered, terms);
        if let Some(entry) = self.entries.get_mut(&key)
            && entry.wanted.hash == offered.hash
            && entry.wanted.needs == offered.needs
            && entry.is_revoked() == revoked.is_some()
        {
            entry.wanted.revision = offered.revision;
            return;
        }
        let before = self.entries.remove(&key);
        self.damaged.remove(&key);
        // Opening takes 200 µs. A change is opened now, so that a seal that does not open is refused with the
        // transaction; thousands that come at once are opened when they are used.
        let unseal = unseal || before.is_some();
        let judged = match (revoked, key.id) {
            (Some(reason), _) => Some(Err(reason)),
            // Whether a proxy runs depends on what else is in the transaction: settled at its end.
            (None, ResourceId::Proxy(_)) => None,
            (None, _) => Some(self.judge(&key, &offered, unseal)),
        };
        let (running, refusal) = match judged {
            None => (before.as_ref().and_then(|entry| entry.keep()), None),
            Some(Ok(part)) => (Some(Running { hash: offered.hash, part, kept: None }), None),
            Some(Err(reason)) => {
                let kept = before.as_ref().and_then(Entry::keep);
                (kept.filter(|kept| may_stay(&kept.part, &reason)), Some(Box::new(reason)))
            }
        };
        self.note_version(&key, &offered, refusal.is_none());
        swap_callers(before.as_ref().and_then(|entry| entry.running.as_ref()), running.as_ref(), snapshot);
        let refs = before.map(|entry| entry.refs).unwrap_or_default();
        if refusal.is_some() {
            self.refused.insert(key);
        } else {
            self.refused.remove(&key);
        }
        let wanted_refs = policy_refs(&key, &offered);
        self.entries.insert(key, Entry { wanted: offered, refusal, running, refs });
        if let Some(refs) = wanted_refs {
            self.index_policy(key, refs);
        }
    }

    /// Refuses a caller credential that this node has seen revoked.
    fn revoked(&mut self, key: &Key, offered: &Offered, terms: Terms<'_>) -> Option<Reason> {
        let ResourceId::Credential(id) = key.id else { return None };
        let bites = match terms.adopted {
            None => self.revocations.still_bites(&id, &offered.hash),
            Some(revived) => {
                !judge::is_upstream(offered) && self.revocations.bites(&id, &offered.hash, revived)
            }
        };
        bites.then(|| Reason {
            why: Why::Revoked,
            detail: "was revoked here, and the history that brings it back does not name it".to_owned(),
            closes: true,
        })
    }

    fn remove(&mut self, key: &Key, snapshot: &mut Snapshot) {
        let Some(entry) = self.entries.remove(key) else { return };
        self.refused.remove(key);
        self.damaged.remove(key);
        for used in &entry.refs {
            self.users.remove(&(*used, *key));
            self.policies.remove(&(*used, *key));
        }
        swap_callers(entry.running.as_ref(), None, snapshot);
        match key.id {
            ResourceId::Proxy(id) => snapshot.remove_proxy(&id),
            ResourceId::Credential(id) if !judge::is_upstream(&entry.wanted) => self.revocations.bury(id),
            ResourceId::Org
            | ResourceId::Target(_)
            | ResourceId::Credential(_)
            | ResourceId::Rule(_)
            | ResourceId::Filter(_)
            | ResourceId::Meter(_) => {}
        }
    }

    fn note_version(&mut self, key: &Key, offered: &Offered, accepted: bool) {
        let ResourceId::Credential(id) = key.id else { return };
        if accepted && let Some(version) = judge::version(offered) {
            let had = self.versions.entry(id).or_default();
            *had = version.max(*had);
        }
    }

    fn index_policy(&mut self, key: Key, refs: Vec<Key>) {
        let Some(entry) = self.entries.get_mut(&key) else { return };
        for used in std::mem::replace(&mut entry.refs, refs.clone()) {
            self.policies.remove(&(used, key));
        }
        self.policies.extend(refs.into_iter().map(|used| (used, key)));
    }

    /// What is refused, for the control plane and for people.
    pub(crate) fn standing(&self) -> Vec<fleet::Refusal> {
        let refusals = self.refused.iter().filter_map(|key| {
            let entry = self.entries.get(key)?;
            let reason = entry.refusal.as_ref()?;
            Some(fleet::Refusal {
                key: Some(key.to_wire()),
                wanted: entry.wanted.hash.to_vec(),
                running: entry.running.as_ref().map(|running| running.hash.to_vec()).unwrap_or_default(),
                why: reason.why.into(),
                detail: reason.detail.clone(),
                fails_closed: entry.running.is_none(),
            })
        });
        refusals.collect()
    }

    /// How many resources are here, refused or not.
    pub(crate) fn count(&self) -> u64 {
        self.entries.len() as u64
    }

    /// How many resources are refused.
    pub(crate) fn refusals(&self) -> usize {
        self.refused.len()
    }

    fn running(&self, key: &Key) -> Option<&Part> {
        self.entries.get(key)?.running.as_ref().map(|running| &running.part)
    }
}

/// What a rule, filter or meter bears on; `None` for everything else.
fn policy_refs(key: &Key, offered: &Offered) -> Option<Vec<Key>> {
    matches!(key.id, ResourceId::Rule(_) | ResourceId::Filter(_) | ResourceId::Meter(_)).then(|| {
        // One whose parent cannot be read might bear on anything of its organization.
        vec![judge::parent(key, offered).unwrap_or(Key::org(key.org))]
    })
}

fn swap_callers(before: Option<&Running>, after: Option<&Running>, snapshot: &mut Snapshot) {
    if let Some(Running { part: Part::Caller(hashes, caller), .. }) = before {
        for hash in hashes.iter() {
            snapshot.remove_caller(hash, caller.credential);
        }
    }
    if let Some(Running { part: Part::Caller(hashes, caller), .. }) = after {
        for hash in hashes.iter() {
            snapshot.put_caller(*hash, *caller);
        }
    }
}

/// The key before all that use `key`, for a walk over an index.
fn first_of(key: Key) -> (Key, Key) {
    (key, Key::org(OrgId::from_random([0; 16])))
}
