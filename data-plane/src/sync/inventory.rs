//! What this node was sent, what of it runs, and why the rest does not.
//!
//! Two views are kept apart. *Wanted* is what was sent, and the digest is of that alone. *Running* is what
//! compiled: a refused target or proxy keeps its previous version, an upstream credential too; a refused
//! caller credential is accepted no longer; rules, filters and meters, which this build cannot run, close
//! the proxies that they would bear on. Absence deletes only in a snapshot.
//! Does no I/O, and is not seen by requests: they see the [`Snapshot`] that it writes.

mod judge;
mod proxies;
#[cfg(test)]
pub(crate) mod tests;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use rr_contract::api_key::KeyHash;
use rr_contract::digest::{Digest, ResourceHash, ViewDigest};
use rr_contract::model::id::{CredentialId, OrgId};
use rr_contract::model::org::Org;
use rr_contract::model::proxy::Proxy;
use rr_contract::model::resource::{Key, ResourceId};
use rr_contract::wire::fleet;
use rr_contract::wire::fleet::{Mode, Why};

use crate::snapshot::{CompiledCaller, CompiledTarget, Snapshot, UpstreamCredential, Vault};

use super::transaction::{Change, Changes, Offered};

pub(crate) use self::judge::FEATURES;

pub(crate) struct Inventory {
    vault: Arc<Vault>,
    digest: ViewDigest,
    entries: HashMap<Key, Entry>,
    /// (what is used, who uses it), for proxies.
    users: BTreeSet<(Key, Key)>,
    /// (what is borne on, rule or filter or meter).
    policies: BTreeSet<(Key, Key)>,
    refused: BTreeSet<Key>,
    /// The highest version that was ever accepted, whether the credential is still here or not.
    versions: HashMap<CredentialId, u64>,
}

struct Entry {
    wanted: Offered,
    refusal: Option<Reason>,
    running: Option<Running>,
    /// What the index holds for it.
    refs: Vec<Key>,
}

struct Running {
    hash: ResourceHash,
    part: Part,
    /// The bytes, when they are not those that are wanted.
    kept: Option<Offered>,
}

/// A compiled resource.
#[derive(Clone)]
enum Part {
    Org(Arc<Org>),
    Target(Arc<CompiledTarget>),
    Caller(Arc<[KeyHash]>, CompiledCaller),
    Upstream(Arc<UpstreamCredential>),
    Proxy(Arc<Proxy>),
}

/// Why a resource was not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Reason {
    why: Why,
    detail: String,
    /// Nothing of it may run, not even the version before.
    closes: bool,
}

impl Inventory {
    pub(crate) fn new(vault: Arc<Vault>) -> Self {
        Self {
            vault,
            digest: ViewDigest::default(),
            entries: HashMap::new(),
            users: BTreeSet::new(),
            policies: BTreeSet::new(),
            refused: BTreeSet::new(),
            versions: HashMap::new(),
        }
    }

    /// What digest and count would be after these changes. Touches nothing, so that a transaction whose
    /// digest is wrong needs no undoing.
    pub(crate) fn after(&self, mode: Mode, changes: &Changes) -> (Digest, u64) {
        let whole = mode == Mode::Snapshot;
        let mut digest = if whole { ViewDigest::default() } else { self.digest.clone() };
        let mut count = if whole { 0 } else { self.entries.len() as u64 };
        for (key, change) in changes {
            if !whole && let Some(entry) = self.entries.get(key) {
                digest.remove(key, &entry.wanted.hash);
                count -= 1;
            }
            if let Change::Upsert(offered) = change {
                digest.add(key, &offered.hash);
                count += 1;
            }
        }
        (digest.digest(), count)
    }

    /// Takes changes in and brings the snapshot up to them.
    pub(crate) fn apply(&mut self, mode: Mode, mut changes: Changes, snapshot: &mut Snapshot) {
        if mode == Mode::Snapshot {
            let gone = self.entries.keys().filter(|key| !changes.contains_key(key)).copied();
            let gone: Vec<Key> = gone.collect();
            changes.extend(gone.into_iter().map(|key| (key, Change::Removal)));
        }
        let mut proxies = HashSet::new();
        for (key, change) in changes {
            // Before and after: who used it, and who will.
            self.concerned(&key, &mut proxies);
            match change {
                Change::Upsert(offered) => self.upsert(key, offered, mode, snapshot),
                Change::Removal => self.remove(&key, snapshot),
            }
            self.concerned(&key, &mut proxies);
        }
        for key in proxies {
            self.settle_proxy(key, snapshot);
        }
    }

    fn upsert(&mut self, key: Key, offered: Offered, mode: Mode, snapshot: &mut Snapshot) {
        if let Some(entry) = self.entries.get_mut(&key) {
            if entry.wanted.hash == offered.hash && entry.wanted.needs == offered.needs {
                entry.wanted.revision = offered.revision;
                return;
            }
            self.digest.remove(&key, &entry.wanted.hash);
        }
        self.digest.add(&key, &offered.hash);
        let before = self.entries.remove(&key);
        // Opening takes 200 µs. A change is opened now, so that a seal that does not open is refused with the
        // transaction; thousands that come at once are opened when they are used.
        let unseal = mode == Mode::Delta || before.is_some();
        let judged = if let ResourceId::Proxy(_) = key.id {
            // Whether a proxy runs depends on what else is in the transaction: settled at its end.
            None
        } else {
            Some(self.judge(&key, &offered, unseal))
        };
        let (running, refusal) = match judged {
            None => (before.as_ref().and_then(|entry| entry.keep()), None),
            Some(Ok(part)) => (Some(Running { hash: offered.hash, part, kept: None }), None),
            Some(Err(reason)) => {
                let kept = before.as_ref().and_then(Entry::keep);
                (kept.filter(|kept| may_stay(&kept.part, &reason)), Some(reason))
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

    fn remove(&mut self, key: &Key, snapshot: &mut Snapshot) {
        let Some(entry) = self.entries.remove(key) else { return };
        self.digest.remove(key, &entry.wanted.hash);
        self.refused.remove(key);
        for used in &entry.refs {
            self.users.remove(&(*used, *key));
            self.policies.remove(&(*used, *key));
        }
        swap_callers(entry.running.as_ref(), None, snapshot);
        if let ResourceId::Proxy(id) = key.id {
            snapshot.remove_proxy(&id);
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

    /// How many resources are refused.
    pub(crate) fn refusals(&self) -> usize {
        self.refused.len()
    }

    /// Versions that run in the place of wanted ones, for the journal.
    pub(crate) fn kept(&self) -> impl Iterator<Item = (&Key, &Offered)> {
        self.refused.iter().filter_map(|key| {
            let running = self.entries.get(key)?.running.as_ref()?;
            Some((key, running.kept.as_ref()?))
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

    fn running(&self, key: &Key) -> Option<&Part> {
        self.entries.get(key)?.running.as_ref().map(|running| &running.part)
    }
}

impl Entry {
    /// What runs, to be kept although something else is wanted now.
    fn keep(&self) -> Option<Running> {
        let running = self.running.as_ref()?;
        let kept = running.kept.as_ref().unwrap_or(&self.wanted).clone();
        Some(Running { hash: running.hash, part: running.part.clone(), kept: Some(kept) })
    }
}

/// Whether a part may go on running although a newer version of it was refused.
fn may_stay(part: &Part, reason: &Reason) -> bool {
    if reason.closes {
        return false;
    }
    match part {
        // The newer version may be the one that takes a leaked key away. An older one takes nothing away.
        Part::Caller(..) => reason.why == Why::Stale,
        Part::Org(_) | Part::Target(_) | Part::Upstream(_) | Part::Proxy(_) => true,
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
