//! Reading back: the newest file whose first transaction holds, replayed to its last good commit.
//!
//! Damage is never an error here. A torn tail is what a crash leaves, and is cut off; anything worse falls
//! back to an older boundary, at last to nothing, and is told in one line.

use std::io;

use prost::Message as _;
use rr_contract::wire::fleet;
use rr_contract::wire::fleet::Mode;
use tracing::{info, warn};

use crate::snapshot::Snapshot;

use super::super::inventory::Inventory;
use super::super::position::Position;
use super::super::transaction::{Changes, read_body};
use super::frame::{Chain, Frames, Kind, VersionList};
use super::{Journal, Open};

/// A state that was committed once.
pub(crate) struct Recovered {
    pub(crate) inventory: Inventory,
    pub(crate) snapshot: Snapshot,
    pub(crate) position: Position,
}

/// A file up to its last good commit.
struct Replayed {
    recovered: Recovered,
    chain: Chain,
    /// Where the first transaction ends.
    base: usize,
    /// Where the last good one ends.
    good: usize,
    /// What comes behind is more than writing that was cut off.
    damaged: bool,
}

pub(super) fn boot(journal: &mut Journal, empty: impl Fn() -> Inventory) -> Option<Recovered> {
    let numbers = match journal.numbers() {
        Ok(numbers) => numbers,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
        Err(error) => {
            warn!(%error, folder = %journal.folder.display(), "last-known-good cannot be listed");
            return None;
        }
    };
    let there = numbers.last().copied().unwrap_or_default();
    let marked = marked(journal);
    journal.newest = there.max(marked);
    let mut went_back = marked > there;
    if went_back {
        warn!(file = %journal.path(marked).display(), "newest last-known-good is missing");
    }
    for (older, number) in numbers.into_iter().enumerate().rev() {
        let path = journal.path(number);
        let file = path.display();
        let replayed = match journal.seams.disk.read(&path) {
            Ok(bytes) => {
                let replayed = replay(&bytes, journal, &empty);
                if replayed.is_none() {
                    warn!(%file, "last-known-good is damaged, trying an older one");
                }
                replayed.map(|replayed| (bytes.len() - replayed.good, replayed))
            }
            Err(error) => {
                warn!(%error, %file, "last-known-good cannot be read, trying an older one");
                None
            }
        };
        let Some((cut, replayed)) = replayed else {
            journal.spoiled.push(number);
            went_back = true;
            continue;
        };
        let revision = replayed.recovered.position.revision;
        if replayed.damaged {
            warn!(%file, bytes = cut, "last-known-good is damaged, went back to revision {revision}");
        } else if went_back {
            warn!(%file, "went back to revision {revision}");
        } else if cut > 0 {
            warn!(%file, bytes = cut, revision, "torn end of last-known-good cut off");
        }
        info!(position = ?replayed.recovered.position, "last-known-good loaded");
        journal.good = super::FILES.min(older + 1);
        if number == journal.newest {
            journal.open = reopen(journal, number, &replayed, cut > 0);
        }
        return Some(replayed.recovered);
    }
    if went_back {
        warn!(folder = %journal.folder.display(), "no last-known-good is left, nothing is served before the control plane is reached");
    }
    None
}

/// The number of the newest file, as it was written down; 0 if it was not.
fn marked(journal: &Journal) -> u64 {
    let text = journal.seams.disk.read(&journal.marker()).ok();
    text.and_then(|text| String::from_utf8(text).ok()?.parse().ok()).unwrap_or_default()
}

/// Gets ready to append. A file that cannot be cut or opened is left, and the next state written anew.
fn reopen(journal: &Journal, number: u64, replayed: &Replayed, torn: bool) -> Option<Open> {
    let path = journal.path(number);
    let open = || {
        if torn {
            journal.seams.disk.truncate(&path, replayed.good as u64)?;
        }
        journal.seams.disk.append(&path)
    };
    match open() {
        Ok(file) => Some(Open {
            file,
            chain: replayed.chain.clone(),
            base: replayed.base as u64,
            appended: (replayed.good - replayed.base) as u64,
        }),
        Err(error) => {
            warn!(%error, file = %path.display(), "last-known-good cannot be appended to");
            None
        }
    }
}

fn replay(bytes: &[u8], journal: &Journal, empty: &impl Fn() -> Inventory) -> Option<Replayed> {
    let mut frames = Frames::of(bytes, &journal.key)?;
    let mut inventory = empty();
    let mut snapshot = Snapshot::default();
    let mut last: Option<(Position, Chain, usize, usize)> = None;
    let (mut kept, mut changes) = (Changes::new(), Changes::new());
    let mut contradicts = false;
    while let Some((kind, body)) = frames.next() {
        match kind {
            Kind::Versions => {
                for (id, version) in VersionList::decode(body.as_slice()).ok()?.iter() {
                    inventory.restore_version(id, version);
                }
            }
            Kind::Kept => {
                if read_body(&body, &mut kept).is_err() {
                    break;
                }
            }
            Kind::Changes => {
                if read_body(&body, &mut changes).is_err() {
                    break;
                }
            }
            Kind::Commit => {
                let mode = if last.is_none() { Mode::Snapshot } else { Mode::Delta };
                let Some(position) = commit(&body, mode, &inventory, &changes) else {
                    contradicts = true;
                    break;
                };
                // First what ran in the place of refused versions, so that those meet it as they did.
                if mode == Mode::Snapshot {
                    inventory.apply(mode, std::mem::take(&mut kept), &mut snapshot);
                }
                inventory.apply(mode, std::mem::take(&mut changes), &mut snapshot);
                snapshot.revision = position.revision;
                snapshot.ready = true;
                let base = last.as_ref().map_or(frames.offset, |(_, _, base, _)| *base);
                last = Some((position, frames.chain.clone(), base, frames.offset));
            }
        }
    }
    let (position, chain, base, good) = last?;
    let damaged = contradicts || frames.is_followed();
    Some(Replayed { recovered: Recovered { inventory, snapshot, position }, chain, base, good, damaged })
}

/// The position of a commit, if what it commits has the digest that it says.
fn commit(body: &[u8], mode: Mode, inventory: &Inventory, changes: &Changes) -> Option<Position> {
    let position = Position::try_from(&fleet::Position::decode(body).ok()?).ok()?;
    let (digest, count) = inventory.after(mode, changes);
    (digest == position.digest && count == position.count).then_some(position)
}
