//! The resources that this node was sent, which of them run, and why the others do not.
//!
//! Two views are kept apart. *Wanted* is what was sent, and the digest is of that alone. *Running* is what
//! compiled: a refused target or proxy keeps its previous version, an upstream credential too; a refused caller
//! credential is accepted no longer; a refused rule, filter or meter closes the proxies that it bears on. Absence deletes only in a snapshot. A resource that panics or exceeds a limit affects no
//! other. Does no I/O, and is not seen by requests: they see the [`Snapshot`] that it writes.

mod held;
mod index;
mod isolate;
mod judge;
mod policies;
mod proxies;
mod recall;
mod recount;
mod restraints;
mod revocations;
mod tell;
#[cfg(test)]
pub(crate) mod tests;
mod versions;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use http::HeaderName;
use rr_contract::digest::{Digest, ViewDigest};
use rr_contract::model::id::{CredentialId, OrgId};
use rr_contract::model::resource::{Key, ResourceId};
use rr_contract::policy::pattern::Patterns;
use rr_contract::seal::attestation::Versions as Attested;
use rr_contract::wire::fleet::{Mode, Why};

use crate::quota::Quotas;
use crate::snapshot::{Snapshot, Standings, Validations, Vault};

use super::position::Position;
use super::transaction::{Change, Changes, Offered};

use self::held::{CallerPart, HeldResource, Part, Reason, Running, may_stay};
use self::index::{Index, Number};
use self::isolate::Isolation;
use self::judge::Parsed;
use self::policies::Policies;
use self::restraints::Restraints;
use self::versions::Versions;

pub(crate) use self::judge::FEATURES;
pub(crate) use self::recall::{Image, Load, Parser};
pub(crate) use self::restraints::Later;
pub(crate) use self::revocations::Revocations;
pub(crate) use self::versions::Known;

/// From this many changes on, secrets are decrypted when they are used and not when they come.
const UNSEALED_MAX: usize = 1_000;

pub(crate) struct Inventory {
    vault: Arc<Vault>,
    digest: ViewDigest,
    entries: BTreeMap<Key, HeldResource>,
    index: Index,
    refused: BTreeSet<Key>,
    /// The highest versions that were ever accepted, whether the credential is still here or not.
    versions: Versions,
    revocations: Revocations,
    restraints: Restraints,
    isolation: Isolation,
    policies: Policies,
    patterns: Patterns,
    validations: Validations,
    quotas: Quotas,
    standings: Standings,
    /// Of the caller credentials that are presented in a header of their own.
    own_headers: HashMap<(OrgId, CredentialId), HeaderName>,
    /// Of the caller credentials with user and password: how many hashes a wrong password of each costs.
    rounds: HashMap<(OrgId, CredentialId), u8>,
    /// The caller credentials that are client certificates.
    certificates: HashSet<(OrgId, CredentialId)>,
}

/// What the view would be after some changes.
pub(crate) struct Foretold {
    sum: ViewDigest,
    pub(crate) digest: Digest,
    pub(crate) count: u64,
    /// How many of the resources that are here would be gone.
    pub(crate) removals: u64,
}

/// Proxies that have to be settled, with the result of parsing where that was done ahead.
type Concerned = HashMap<Key, Option<Parsed>>;

/// The result of an upsert.
struct Upserted {
    /// The proxies that use it have to be settled.
    is_heard: bool,
    is_refused: bool,
}

/// How changes are taken.
#[derive(Clone, Copy)]
pub(crate) struct Terms<'a> {
    pub(crate) mode: Mode,
    /// Set for an adopted history: the revoked caller credentials that it restores by name.
    pub(crate) adopted: Option<&'a HashSet<CredentialId>>,
    /// Judges what did not open once more, although nothing of it changed.
    pub(crate) again: bool,
}

impl Foretold {
    pub(crate) fn leads_to(&self, position: &Position) -> bool {
        (self.digest, self.count) == (position.digest, position.count)
    }
}

impl Inventory {
    pub(crate) fn new(vault: Arc<Vault>, quotas: Quotas, standings: Standings) -> Self {
        Self {
            vault,
            digest: ViewDigest::default(),
            entries: BTreeMap::new(),
            index: Index::default(),
            refused: BTreeSet::new(),
            versions: Versions::default(),
            revocations: Revocations::default(),
            restraints: Restraints::default(),
            isolation: Isolation::default(),
            policies: Policies::default(),
            patterns: Patterns::default(),
            validations: Validations::default(),
            quotas,
            standings,
            own_headers: HashMap::new(),
            rounds: HashMap::new(),
            certificates: HashSet::new(),
        }
    }

    /// The same, with what the region attested: no older secret is taken.
    pub(crate) fn attested(mut self, versions: Arc<Attested>) -> Self {
        self.versions.attested(versions);
        self
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
        self.take(Terms { mode, adopted: None, again: false }, foretold, changes, snapshot);
    }

    /// Takes in changes with their foretold result. Returns the keys that are refused now.
    pub(crate) fn take(
        &mut self,
        terms: Terms<'_>,
        foretold: Foretold,
        mut changes: Changes,
        snapshot: &mut Snapshot,
    ) -> Vec<Key> {
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
        let changes = changes.into_iter().map(|(key, change)| (key, change, None));
        self.take_each(terms, unseal, changes, snapshot, foretold.sum)
    }

    /// Takes in changes, some of which were parsed ahead, that lead to a digest.
    fn take_each(
        &mut self,
        terms: Terms<'_>,
        unseal: bool,
        changes: impl Iterator<Item = (Key, Change, Option<Parsed>)>,
        snapshot: &mut Snapshot,
        digest: ViewDigest,
    ) -> Vec<Key> {
        let (mut proxies, mut refused) = (Concerned::new(), Vec::new());
        for (key, change, parsed) in changes {
            // Before and after: on what it bore, and on what it will.
            if index::is_policy(&key) {
                self.concerned(&key, &mut proxies);
            }
            if let ResourceId::Proxy(_) = key.id {
                proxies.insert(key, parsed.filter(|_| matches!(change, Change::Upsert(_))));
                match change {
                    Change::Upsert(offered) => self.upsert_proxy(key, offered),
                    Change::Removal => _ = self.remove(&key, snapshot),
                }
                continue;
            }
            let is_heard = match change {
                Change::Upsert(offered) => {
                    let upserted = self.upsert(key, offered, parsed, terms, unseal, snapshot);
                    refused.extend(upserted.is_refused.then_some(key));
                    upserted.is_heard
                }
                Change::Removal => self.remove(&key, snapshot),
            };
            if is_heard {
                self.concerned(&key, &mut proxies);
            }
        }
        self.compile_policies(snapshot);
        for (key, parsed) in proxies {
            if self.settle_proxy(key, parsed, snapshot) {
                refused.push(key);
            }
        }
        self.digest = digest;
        refused
    }

    /// What opens secrets.
    pub(crate) fn vault(&self) -> &Vault {
        &self.vault
    }

    /// Judges anew what did not open, because another key came. Returns whether there was something.
    pub(crate) fn open_again(&mut self, snapshot: &mut Snapshot) -> bool {
        let sealed = self.refused.iter().filter_map(|key| {
            let entry = self.entries.get(key).filter(|entry| entry.is_sealed_off())?;
            Some((*key, Change::Upsert(entry.wanted.clone())))
        });
        let changes: Changes = sealed.collect();
        if changes.is_empty() {
            return false;
        }
        let foretold = self.foretell(Mode::Delta, &changes);
        self.take(Terms { mode: Mode::Delta, adopted: None, again: true }, foretold, changes, snapshot);
        true
    }

    /// Revoked credentials that are held and restored by name; they need not be sent again.
    fn named(&self, terms: Terms<'_>) -> Vec<(Key, Offered)> {
        let Some(revived) = terms.adopted.filter(|revived| !revived.is_empty()) else { return Vec::new() };
        let named = self.refused.iter().filter_map(|key| {
            let ResourceId::Credential(id) = key.id else { return None };
            let is_named = revived.contains(&id) && self.revocations.is_in_force(&id);
            is_named.then(|| Some((*key, self.entries.get(key)?.wanted.clone())))?
        });
        named.collect()
    }

    /// Whether a proxy runs depends on what else is in the transaction: settled at its end.
    fn upsert_proxy(&mut self, key: Key, offered: Offered) {
        if let Some(entry) = self.entries.get_mut(&key)
            && entry.has(&offered)
        {
            entry.wanted.revision = offered.revision;
            return;
        }
        let before = self.entries.remove(&key);
        let running = before.as_ref().and_then(HeldResource::keep);
        self.put(key, offered, before, running, None);
    }

    fn upsert(
        &mut self,
        key: Key,
        offered: Offered,
        parsed: Option<Parsed>,
        terms: Terms<'_>,
        unseal: bool,
        snapshot: &mut Snapshot,
    ) -> Upserted {
        let revoked = self.revoked(&key, &offered, terms);
        if let Some(entry) = self.entries.get_mut(&key)
            && entry.has(&offered)
            && entry.is_revoked() == revoked.is_some()
            && !(terms.again && entry.is_sealed_off())
        {
            entry.wanted.revision = offered.revision;
            return Upserted { is_heard: false, is_refused: entry.refusal.is_some() };
        }
        let before = self.entries.remove(&key);
        // Opening takes 200 µs. A change is opened now, so that a seal that does not open is refused with the
        // transaction; thousands that come at once are opened when they are used.
        let unseal = unseal || before.is_some();
        let judged = match revoked {
            Some(reason) => Err(reason),
            None => self.judge(&key, &offered, parsed, unseal),
        };
        let (running, refusal) = match judged {
            Ok(part) => (Some(Running { hash: offered.hash, part, kept: None }), None),
            Err(reason) => {
                let kept = before.as_ref().and_then(HeldResource::keep);
                (kept.filter(|kept| may_stay(&kept.part, &reason)), Some(Box::new(reason)))
            }
        };
        // Proxies do not depend on the keys of a caller, but for the header that carries them, for what a wrong
        // password costs, and for whether they are those of certificates.
        let is_bare = |running: Option<&Running>| match running {
            None => matches!(key.id, ResourceId::Credential(_)),
            Some(running) => matches!(running.part, Part::Caller(_)),
        };
        let was_bare = before.as_ref().is_some_and(|before| is_bare(before.running.as_ref()));
        let is_bare = was_bare && is_bare(running.as_ref());
        let is_refused = refusal.is_some();
        let callers = before.as_ref().and_then(HeldResource::callers);
        self.policies.parent_changed(&key);
        self.put(key, offered, before, running, refusal);
        let stays = self.swap_callers(&key, callers, snapshot);
        Upserted { is_heard: !(is_bare && stays), is_refused }
    }

    /// Inserts a resource in place of its earlier version, which was taken out.
    fn put(
        &mut self,
        key: Key,
        wanted: Offered,
        before: Option<HeldResource>,
        running: Option<Running>,
        refusal: Option<Box<Reason>>,
    ) {
        if let ResourceId::Credential(id) = &key.id {
            self.versions.arrive(id);
        }
        let was_refused = before.as_ref().is_some_and(|before| before.refusal.is_some());
        self.note_refusal(key, was_refused, refusal.is_some());
        let (number, refs) = match before {
            Some(before) => (before.number, before.refs),
            None => (self.index.arrive(key), Box::default()),
        };
        let refs = match policy_parents(&key, &wanted) {
            Some(parents) => {
                let before: Vec<Key> = refs.iter().map(|parent| self.index.key(*parent)).collect();
                self.policies.bear(key, &before, &parents);
                self.point(number, &refs, &parents)
            }
            None => refs,
        };
        self.entries.insert(key, HeldResource { wanted, refusal, running, number, refs });
    }

    fn note_refusal(&mut self, key: Key, was_refused: bool, is_refused: bool) {
        match (was_refused, is_refused) {
            (false, true) => _ = self.refused.insert(key),
            (true, false) => _ = self.refused.remove(&key),
            (true, true) | (false, false) => {}
        }
    }

    /// Refuses what a later position takes away, and a caller credential that this node has seen revoked.
    fn revoked(&mut self, key: &Key, offered: &Offered, terms: Terms<'_>) -> Option<Reason> {
        if let Some(reason) = self.restraints.bites(key, &offered.hash) {
            return Some(reason);
        }
        let ResourceId::Credential(id) = key.id else { return None };
        let bites = match terms.adopted {
            None => self.revocations.still_bites(&id, &offered.hash),
            Some(revived) => {
                !judge::is_upstream(offered) && self.revocations.bites(&id, &offered.hash, revived)
            }
        };
        bites.then(|| Reason {
            why: Why::Revoked,
            detail:
                "credential was revoked on this node, and the adopted history does not list it as restored"
                    .to_owned(),
            closes: true,
            caller: None,
        })
    }

    /// Returns whether it existed.
    fn remove(&mut self, key: &Key, snapshot: &mut Snapshot) -> bool {
        let Some(entry) = self.entries.remove(key) else { return false };
        self.refused.remove(key);
        if index::is_policy(key) {
            let parents: Vec<Key> = entry.refs.iter().map(|parent| self.index.key(*parent)).collect();
            self.policies.bear(*key, &parents, &[]);
        }
        self.index.leave(key, &entry.refs);
        self.swap_callers(key, entry.callers(), snapshot);
        if let ResourceId::Credential(id) = key.id {
            self.versions.leave(id);
        }
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
        true
    }

    /// Records in the index that `user` uses these keys instead of the earlier ones.
    fn point(&mut self, user: Number, before: &[Number], after: &[Key]) -> Box<[Number]> {
        let after: Box<[Number]> = after.iter().map(|key| self.index.number(*key)).collect();
        self.index.point(user, before, &after);
        after
    }

    /// Has requests find what there is now of a caller credential. Returns whether what proxies know of it is the same as
    /// before: its header, what a wrong password costs, and whether it is a certificate.
    fn swap_callers(&mut self, key: &Key, before: Option<Arc<CallerPart>>, snapshot: &mut Snapshot) -> bool {
        let after = self.entries.get(key).and_then(HeldResource::callers);
        if let Some(part) = before {
            part.leave(snapshot);
        }
        let ResourceId::Credential(id) = key.id else { return true };
        let own = (key.org, id);
        let header = after.as_ref().and_then(|part| part.caller.header()).cloned();
        let rounds = after.as_ref().map_or(0, |part| part.rounds());
        let is_shown = after.as_ref().is_some_and(|part| part.caller.is_shown());
        if let Some(part) = after {
            part.enter(snapshot);
        }
        let costs_the_same = match rounds {
            0 => self.rounds.remove(&own).is_none(),
            rounds => self.rounds.insert(own, rounds) == Some(rounds),
        };
        let is_in_the_same = match header {
            Some(header) => self.own_headers.insert(own, header.clone()).is_some_and(|had| had == header),
            None => self.own_headers.remove(&own).is_none(),
        };
        let is_as_shown = match is_shown {
            true => !self.certificates.insert(own),
            false => !self.certificates.remove(&own),
        };
        costs_the_same && is_in_the_same && is_as_shown
    }

    fn running(&self, key: &Key) -> Option<&Part> {
        self.entries.get(key)?.running.as_ref().map(|running| &running.part)
    }
}

/// What a rule, filter or meter bears on; `None` for everything else.
fn policy_parents(key: &Key, offered: &Offered) -> Option<Vec<Key>> {
    index::is_policy(key).then(|| {
        // If its parent cannot be read, it might concern anything of its organization.
        vec![judge::parent(key, offered).unwrap_or(Key::org(key.org))]
    })
}
