//! What was taken away beyond the node's position: keys that were revoked, proxies and organizations that were
//! switched off, secrets that were replaced.
//!
//! A node that went back from a configuration that crashed it, or that is held before one on which others crashed,
//! runs older content. That content must not revive a revoked key. So what the later position took away is removed
//! from what runs, while what is *wanted*, and with it the digest, stays what was sent. The invariants: a restraint
//! only ever takes away, but for a secret, of which the newer version runs; and it ends when the node reaches that
//! position or a later one, whose content includes all of it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use pbjson_types::Timestamp;
use prost::Message as _;
use rr_contract::digest::{ResourceHash, resource_hash};
use rr_contract::model::resource::{Key, ResourceId};
use rr_contract::model::time;
use rr_contract::wire::fleet;
use rr_contract::wire::fleet::caller_credential::Kind as CallerKind;
use rr_contract::wire::fleet::credential_resource::Usage;
use rr_contract::wire::fleet::{Mode, Why};

use crate::snapshot::Snapshot;

use super::super::position::Position;
use super::super::transaction::{Change, Changes, Offered};
use super::{Inventory, Reason, isolate, judge};

/// All of it, as a journal keeps it.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Record {
    #[prost(bytes = "vec", tag = "1")]
    lineage: Vec<u8>,
    #[prost(uint64, tag = "2")]
    until: u64,
    #[prost(message, repeated, tag = "3")]
    keys: Vec<fleet::Key>,
    /// What is held under those keys.
    #[prost(bytes = "vec", repeated, tag = "4")]
    hashes: Vec<Vec<u8>>,
}

/// What is restrained, with which content, and where that ends.
#[derive(Default)]
pub(crate) struct Restraints {
    lineage: [u8; 16],
    until: u64,
    keys: HashMap<Key, ResourceHash>,
}

/// What a later position has of what is held here.
pub(crate) type Later = HashMap<Key, Option<Offered>>;

/// What may still run.
enum Narrowed {
    /// All that ran before.
    Same,
    /// This in its place.
    Less(Offered),
    Nothing,
}

impl Restraints {
    /// Why wanted content must not run unchanged, if so.
    pub(super) fn bites(&self, key: &Key, hash: &ResourceHash) -> Option<Reason> {
        (self.keys.get(key) == Some(hash)).then(|| {
            let detail = format!(
                "revision {}, which this node does not run, takes this resource or a part of it away",
                self.until
            );
            Reason::new(Why::Revoked, detail)
        })
    }

    fn hold(&mut self, until: &Position, held: impl Iterator<Item = (Key, ResourceHash)>) {
        let before = if self.lineage == until.lineage { self.until } else { 0 };
        (self.lineage, self.until) = (until.lineage, before.max(until.revision));
        self.keys.extend(held);
    }

    /// The revision at which it ends, and what is restrained.
    pub(crate) fn into_parts(self) -> (u64, Vec<(Key, ResourceHash)>) {
        (self.until, self.keys.into_iter().collect())
    }

    pub(super) fn record(&self) -> Option<Record> {
        if self.keys.is_empty() {
            return None;
        }
        let (keys, hashes) = self.keys.iter().map(|(key, hash)| (key.to_wire(), hash.to_vec())).unzip();
        Some(Record { lineage: self.lineage.to_vec(), until: self.until, keys, hashes })
    }

    /// `None`: it is no such record.
    pub(super) fn restore(&mut self, record: &Record) -> Option<()> {
        self.lineage = record.lineage.as_slice().try_into().ok()?;
        self.until = record.until;
        for (key, hash) in record.keys.iter().zip(&record.hashes) {
            self.keys.insert(Key::try_from(key).ok()?, hash.as_slice().try_into().ok()?);
        }
        Some(())
    }
}

impl Inventory {
    /// Takes from what runs what is taken away at `until`, a later position that the node is not brought to.
    /// `later` says what is there of what is held here; of keys that it does not name, nothing is known. Returns
    /// whether something else runs now.
    pub(crate) fn restrain(&mut self, until: &Position, later: &Later, snapshot: &mut Snapshot) -> bool {
        let (mut gone, mut less, mut wanted) = (Changes::new(), Changes::new(), Changes::new());
        let mut held = Vec::new();
        for (key, theirs) in later {
            let Some(entry) = self.entries.get(key) else { continue };
            let Some(running) = &entry.running else { continue };
            let own = running.kept.as_deref().unwrap_or(&entry.wanted);
            match isolate::look(|| Some(narrow(key, own, theirs.as_ref()))).unwrap_or(Narrowed::Nothing) {
                Narrowed::Same => continue,
                Narrowed::Less(offered) => _ = less.insert(*key, Change::Upsert(offered)),
                Narrowed::Nothing => {}
            }
            gone.insert(*key, Change::Removal);
            wanted.insert(*key, Change::Upsert(entry.wanted.clone()));
            held.push((*key, entry.wanted.hash));
        }
        if held.is_empty() {
            return false;
        }
        // Gone first, so that what is left of something and cannot be taken does not leave the whole. What is left
        // then stays in place of what is wanted, which is refused.
        self.apply(Mode::Delta, gone, snapshot);
        self.apply(Mode::Delta, less, snapshot);
        self.restraints.hold(until, held.into_iter());
        self.apply(Mode::Delta, wanted, snapshot);
        true
    }

    /// The node stands here now: what was taken away up to here is no longer kept in mind, because it is in
    /// what was sent. Returns whether something else runs now.
    pub(crate) fn reached(&mut self, position: &Position, snapshot: &mut Snapshot) -> bool {
        let is_elsewhere = position.lineage != self.restraints.lineage;
        if self.restraints.keys.is_empty() || (!is_elsewhere && position.revision < self.restraints.until) {
            return false;
        }
        let mut changes = Changes::new();
        for (key, hash) in std::mem::take(&mut self.restraints).keys {
            let Some(entry) = self.entries.get(&key).filter(|entry| entry.wanted.hash == hash) else {
                continue;
            };
            match key.id {
                // Another history goes on here. What was revoked stays so, until that names it.
                ResourceId::Credential(id) if is_elsewhere && !judge::is_upstream(&entry.wanted) => {
                    self.revocations.enforce(id, hash);
                }
                _ => _ = changes.insert(key, Change::Upsert(entry.wanted.clone())),
            }
        }
        self.apply(Mode::Delta, changes, snapshot);
        true
    }

    /// How many resources run otherwise than they were sent, because a later position takes something away.
    pub(crate) fn restrained(&self) -> usize {
        self.restraints.keys.len()
    }
}

/// What of `own` is left where `theirs` is published.
fn narrow(key: &Key, own: &Offered, theirs: Option<&Offered>) -> Narrowed {
    let Some(theirs) = theirs else {
        return if restricts(key, own) { Narrowed::Same } else { Narrowed::Nothing };
    };
    if own.hash == theirs.hash {
        return Narrowed::Same;
    }
    match key.id {
        ResourceId::Org => less(own, theirs, |own: &mut fleet::OrgResource, theirs| {
            own.suspended |= theirs.suspended;
            true
        }),
        ResourceId::Proxy(_) => less(own, theirs, |own: &mut fleet::ProxyResource, theirs| {
            own.active &= theirs.active;
            let left: HashSet<&String> = theirs.caller_credentials.iter().collect();
            own.caller_credentials.retain(|caller| left.contains(caller));
            true
        }),
        ResourceId::Credential(_) if judge::is_upstream(own) && judge::is_upstream(theirs) => {
            newer(own, theirs)
        }
        ResourceId::Credential(_) => less(own, theirs, |own: &mut fleet::CredentialResource, theirs| {
            if let Some(end) = theirs.not_after
                && own.not_after.is_none_or(|ours| is_earlier(&end, &ours))
            {
                own.not_after = Some(end);
            }
            keep_values(own, &theirs)
        }),
        ResourceId::Target(_) | ResourceId::Rule(_) | ResourceId::Filter(_) | ResourceId::Meter(_) => {
            Narrowed::Same
        }
    }
}

/// Whether requests would be allowed more without it.
fn restricts(key: &Key, own: &Offered) -> bool {
    match key.id {
        ResourceId::Filter(_) | ResourceId::Meter(_) => true,
        ResourceId::Rule(_) => {
            let rule = fleet::RuleResource::decode(&*own.payload);
            rule.is_ok_and(|rule| rule.effect() == fleet::Effect::Deny)
        }
        ResourceId::Org | ResourceId::Target(_) | ResourceId::Credential(_) | ResourceId::Proxy(_) => false,
    }
}

/// Decodes both, and encodes what `cut` leaves of the first; nothing, where it says so.
fn less<M>(own: &Offered, theirs: &Offered, cut: impl FnOnce(&mut M, M) -> bool) -> Narrowed
where
    M: prost::Message + Default + Clone + PartialEq,
{
    let (Ok(before), Ok(theirs)) = (M::decode(&*own.payload), M::decode(&*theirs.payload)) else {
        return Narrowed::Nothing;
    };
    let mut after = before.clone();
    if !cut(&mut after, theirs) {
        return Narrowed::Nothing;
    }
    if after == before {
        return Narrowed::Same;
    }
    let payload: Arc<[u8]> = after.encode_to_vec().into();
    Narrowed::Less(Offered { hash: resource_hash(&payload), payload, ..own.clone() })
}

/// Keeps the values that both know, until they end there. Returns whether any is left.
fn keep_values(own: &mut fleet::CredentialResource, theirs: &fleet::CredentialResource) -> bool {
    let (Some(Usage::Caller(own_caller)), Some(Usage::Caller(their_caller))) =
        (&mut own.usage, &theirs.usage)
    else {
        return false;
    };
    let mut theirs = their_caller.clone();
    let (Some(ours), Some(left)) = (hashes(own_caller), hashes(&mut theirs)) else { return false };
    let had_two = ours.len() > 1;
    // The newer of what is left was the older one, or is the older one there.
    let (first, newest) = (ours.first().cloned(), left.first().cloned());
    ours.retain(|hash| left.contains(hash));
    let Some(kept) = ours.first().cloned() else { return false };
    let (has_two, own_end) = (ours.len() > 1, own_caller.previous_not_after);
    let end_there = theirs.previous_not_after;
    let mut ends = Vec::new();
    if has_two {
        own_caller.previous_not_after = earliest([own_end, end_there]);
    } else {
        own_caller.previous_not_after = None;
        ends.push(own_end.filter(|_| had_two && Some(&kept) != first.as_ref()));
    }
    ends.push(end_there.filter(|_| Some(&kept) != newest.as_ref()));
    ends.push(own.not_after);
    own.not_after = earliest(ends);
    true
}

/// The hashes of a kind that is known by them, the newest first.
fn hashes(caller: &mut fleet::CallerCredential) -> Option<&mut Vec<Vec<u8>>> {
    match caller.kind.as_mut()? {
        CallerKind::ApiKey(key) => Some(&mut key.hashes),
        CallerKind::Bearer(bearer) => Some(&mut bearer.hashes),
        CallerKind::Jwt(jwt) => Some(&mut jwt.hashes),
        CallerKind::Certificate(keys) if keys.spiffe_id.is_empty() => Some(&mut keys.hashes),
        CallerKind::Basic(_) | CallerKind::JwtVerify(_) | CallerKind::Certificate(_) => None,
    }
}

fn earliest(ends: impl IntoIterator<Item = Option<Timestamp>>) -> Option<Timestamp> {
    ends.into_iter().flatten().reduce(|one, other| if is_earlier(&other, &one) { other } else { one })
}

/// Of a secret, the newer version is what runs: the one before may have been given up where it leads to.
fn newer(own: &Offered, theirs: &Offered) -> Narrowed {
    let version = |offered: &Offered| {
        fleet::CredentialResource::decode(&*offered.payload).map(|credential| credential.version)
    };
    match (version(own), version(theirs)) {
        (Ok(ours), Ok(theirs_version)) if theirs_version > ours => Narrowed::Less(theirs.clone()),
        (Ok(_), Ok(_)) => Narrowed::Same,
        _ => Narrowed::Nothing,
    }
}

fn is_earlier(one: &Timestamp, other: &Timestamp) -> bool {
    match (time::system_time(one), time::system_time(other)) {
        (Ok(one), Ok(other)) => one < other,
        _ => true,
    }
}

#[cfg(test)]
mod tests;
