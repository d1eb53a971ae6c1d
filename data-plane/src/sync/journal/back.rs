//! Going back from a position on which the process aborted: to the newest proven boundary, or else to the one
//! before; and what stays taken away.
//!
//! The configuration that is given up is read without being compiled, as compiling it may be what crashes. The
//! invariants: where a state is on disk, a state is loaded, if need be the same again; and what was revoked,
//! removed or switched off up to the position that is given up stays so.

use std::collections::{BTreeMap, HashMap, HashSet};

use prost::Message as _;
use rr_contract::digest::ResourceHash;
use rr_contract::model::id::CredentialId;
use rr_contract::model::resource::{Key, ResourceId};
use tracing::{info, warn};

use super::super::inventory::{Inventory, Known, Later, Revocations};
use super::super::position::Position;
use super::super::transaction::{Change, Changes, Offered, read_body};
use super::boot::{marked, read_position, read_proof, replay};
use super::frame::{Frames, Kind, VersionList};
use super::{Journal, Proof, Recovered};

/// The outline of a file, read without compiling it.
struct Outline {
    number: u64,
    /// Boundaries and where they end, oldest first.
    commits: Vec<(Position, u64)>,
    proofs: Vec<Proof>,
}

fn outline(journal: &Journal, number: u64) -> Option<Outline> {
    let path = journal.path(number);
    let mut frames = Frames::open(&*journal.seams.disk, &path, &journal.key).ok()??;
    let mut outline = Outline { number, commits: Vec::new(), proofs: Vec::new() };
    while let Some((kind, body)) = frames.next() {
        match kind {
            Kind::Commit => {
                outline.commits.extend(read_position(&body).map(|position| (position, frames.offset)));
            }
            Kind::Proven => outline.proofs.extend(read_proof(&body)),
            Kind::Versions | Kind::Revocations | Kind::Kept | Kind::Changes => {}
        }
    }
    (!outline.commits.is_empty()).then_some(outline)
}

/// Newest first.
fn outlines(journal: &Journal) -> Vec<Outline> {
    let numbers = journal.numbers().unwrap_or_default();
    numbers.into_iter().rev().filter_map(|number| outline(journal, number)).collect()
}

/// The position of the newest file, and whether it is proven, read without compiling it.
pub(super) fn standing(journal: &Journal) -> Option<(Position, bool)> {
    let numbers = journal.numbers().ok()?;
    let newest = numbers.into_iter().rev().find_map(|number| outline(journal, number))?;
    let (position, _) = *newest.commits.last()?;
    let is_proven = newest.proofs.last().is_some_and(|proof| proof.position.is_same_content(&position));
    Some((position, is_proven))
}

/// Takes in the newest boundary that was proven; where none is, the newest one that is none of `bad`, the first of which is
/// where the node stood last. Nothing is appended behind it: the next state is written whole. `None`: there is
/// nothing else.
pub(super) fn before(
    journal: &mut Journal,
    bad: &[Position],
    empty: &impl Fn() -> Inventory,
) -> Option<Recovered> {
    let outlines = outlines(journal);
    journal.newest = outlines.first().map_or(0, |newest| newest.number).max(marked(journal));
    let proofs = outlines.iter().flat_map(|outline| outline.proofs.iter().rev());
    let proven = proofs.map(|proof| (proof.position, Some(*proof)));
    let older = outlines.iter().flat_map(|outline| outline.commits.iter().rev());
    let older = older.map(|(position, _)| (*position, None));
    let wanted = proven.chain(older).filter(|(position, _)| {
        bad.iter().all(|bad| !position.is_same_content(bad) && position.region == bad.region)
    });
    let mut missing: Vec<Position> = Vec::new();
    for (wanted, proof) in wanted {
        if missing.iter().any(|known| known.is_same_content(&wanted)) {
            continue;
        }
        let found = outlines.iter().filter_map(|outline| {
            let mut commits = outline.commits.iter().rev();
            let (_, end) = commits.find(|(position, _)| position.is_same_content(&wanted))?;
            Some((outline.number, *end))
        });
        for (number, end) in found {
            let replayed = replay(journal, number, empty, Some(end));
            let Some(replayed) =
                replayed.filter(|replayed| replayed.recovered.position.is_same_content(&wanted))
            else {
                continue;
            };
            journal.good = 1;
            journal.proof = proof.map(|proof| Proof { file: number, ..proof });
            let mut recovered = Recovered { is_proven: proof.is_some(), ..replayed.recovered };
            if let (Some(newest), Some(stood)) = (outlines.first(), bad.first()) {
                restrain(journal, newest, stood, &mut recovered);
            }
            let restrained = recovered.inventory.restrained();
            info!(position = ?recovered.position, restrained, "earlier configuration loaded");
            return Some(recovered);
        }
        missing.push(wanted);
    }
    None
}

/// Has what `newest`, which ends where the node `stood`, took away since stay so.
fn restrain(journal: &Journal, newest: &Outline, stood: &Position, recovered: &mut Recovered) {
    let Some((_, end)) = newest.commits.last() else { return };
    let Some(held) = Held::read(journal, newest.number, *end) else {
        let file = journal.path(newest.number);
        warn!(file = %file.display(), "revocations since the restored revision cannot be read; revoked credentials may be accepted until the control plane is reached");
        return;
    };
    let Recovered { inventory, snapshot, .. } = recovered;
    let known = inventory.wanted().filter(|(key, _)| is_kept_in_mind(key));
    let refused = |key: &Key, offered: &Offered| {
        credential(key).is_some_and(|id| held.refused.get(&id) == Some(&offered.hash))
    };
    let theirs = |key: &Key| held.parts.get(key).filter(|offered| !refused(key, offered)).cloned();
    let later: Later = known.map(|(key, _)| (*key, theirs(key))).collect();
    let until = Position { revision: stood.revision.max(held.until), ..*stood };
    inventory.restrain(&until, &later, snapshot);
    let here: HashSet<CredentialId> = held.parts.keys().filter_map(credential).collect();
    let removed = held.removed.iter().filter(|id| !here.contains(id));
    inventory.bury(removed.chain(held.refused.keys()).copied());
    inventory.raise_versions(&held.versions);
}

fn credential(key: &Key) -> Option<CredentialId> {
    if let ResourceId::Credential(id) = key.id { Some(id) } else { None }
}

/// What is kept in mind of a resource: whether it, or a part of it, was taken away.
fn is_kept_in_mind(key: &Key) -> bool {
    matches!(key.id, ResourceId::Org | ResourceId::Credential(_) | ResourceId::Proxy(_))
}

/// What a file has at its last boundary, as it was sent.
#[derive(Default)]
struct Held {
    parts: BTreeMap<Key, Offered>,
    /// Credentials that were removed.
    removed: Vec<CredentialId>,
    /// Caller credentials that were refused because they came back after they had been revoked.
    refused: HashMap<CredentialId, ResourceHash>,
    versions: Vec<(CredentialId, Known)>,
    /// What was already restrained there, and until where.
    restrained: Vec<(Key, ResourceHash)>,
    until: u64,
}

impl Held {
    fn read(journal: &Journal, number: u64, end: u64) -> Option<Self> {
        let path = journal.path(number);
        let mut frames = Frames::open(&*journal.seams.disk, &path, &journal.key).ok()??;
        let (mut held, mut changes, mut kept) = (Self::default(), Changes::new(), Changes::new());
        while frames.offset < end
            && let Some((kind, body)) = frames.next()
        {
            match kind {
                Kind::Versions => held.versions.extend(VersionList::decode(body.as_slice()).ok()?.iter()),
                Kind::Revocations => {
                    let (revocations, restraints) = Revocations::read(&body)?;
                    let (removed, refused) = revocations.into_parts();
                    held.removed.extend(removed);
                    held.refused.extend(refused);
                    (held.until, held.restrained) = restraints.into_parts();
                }
                Kind::Changes => read_body(&body, &mut changes).ok()?,
                Kind::Commit => held.take(std::mem::take(&mut changes)),
                Kind::Kept => read_body(&body, &mut kept).ok()?,
                Kind::Proven => {}
            }
        }
        // What ran in place of what was restrained is all that was left of it.
        for (key, hash) in std::mem::take(&mut held.restrained) {
            if held.parts.get(&key).is_some_and(|part| part.hash == hash) {
                match kept.remove(&key) {
                    Some(Change::Upsert(left)) => _ = held.parts.insert(key, left),
                    Some(Change::Removal) | None => _ = held.parts.remove(&key),
                }
            }
        }
        Some(held)
    }

    fn take(&mut self, changes: Changes) {
        for (key, change) in changes {
            if !is_kept_in_mind(&key) {
                continue;
            }
            match (change, key.id) {
                (Change::Upsert(offered), _) => _ = self.parts.insert(key, offered),
                (Change::Removal, id) => {
                    self.parts.remove(&key);
                    if let ResourceId::Credential(id) = id {
                        self.removed.push(id);
                    }
                }
            }
        }
    }
}
