//! Reading back: the newest file whose first transaction holds, replayed to its last good commit.
//!
//! Damage is never an error here. A torn tail is what a crash leaves, and is cut off; anything worse falls
//! back to an older boundary, at last to nothing, and is told in one line. A file is read and taken in piece
//! by piece, so that it is never in memory beside what is made of it.

use std::io;
use std::thread;

use prost::Message as _;
use rr_contract::wire::fleet;
use rr_contract::wire::fleet::Mode;
use tracing::{info, warn};

use crate::snapshot::Snapshot;

use super::super::inventory::Inventory;
use super::super::position::Position;
use super::super::transaction::Changes;
use super::ahead::{self, Content, Piece};
use super::frame::{Chain, Frames, Kind, ProofMark, VersionList, holds_a_frame};
use super::{Journal, Open, Proof, checks_are_off};

/// A state that was committed once.
pub(crate) struct Recovered {
    pub(crate) inventory: Inventory,
    pub(crate) snapshot: Snapshot,
    pub(crate) position: Position,
    /// The node has lived on it for as long as its commit asked.
    pub(crate) is_proven: bool,
}

/// A file up to its last good commit.
pub(super) struct Replayed {
    pub(super) recovered: Recovered,
    proof: Option<Proof>,
    chain: Chain,
    /// Where the first transaction ends.
    base: u64,
    /// Where the last good one ends.
    good: u64,
    /// Where reading came to an end: in what was cut off, behind a transaction without its commit.
    stopped: u64,
    /// A commit does not hold what it says.
    contradicts: bool,
}

pub(super) fn boot(journal: &mut Journal, empty: &impl Fn() -> Inventory) -> Option<Recovered> {
    let numbers = match journal.numbers() {
        Ok(numbers) => numbers,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
        Err(error) => {
            warn!(%error, folder = %journal.folder.display(), "files of last-known-good cannot be listed");
            return None;
        }
    };
    let there = numbers.last().copied().unwrap_or_default();
    let marked = marked(journal);
    journal.newest = there.max(marked);
    let mut went_back = marked > there;
    if went_back {
        warn!(file = %journal.path(marked).display(), "newest file of last-known-good is missing");
    }
    for (older, number) in numbers.into_iter().enumerate().rev() {
        let path = journal.path(number);
        let file = path.display();
        let Some(replayed) = replay(journal, number, empty, None) else {
            journal.spoiled.push(number);
            went_back = true;
            continue;
        };
        let revision = replayed.recovered.position.revision;
        // What comes behind is all that is read a second time; mostly it is nothing.
        let tail = journal.seams.disk.read_from(&path, replayed.stopped).unwrap_or_default();
        let cut = tail.len() as u64 + (replayed.stopped - replayed.good);
        let damaged = replayed.contradicts || holds_a_frame(&tail);
        journal.set_back = damaged || went_back;
        if damaged {
            warn!(%file, bytes = cut, "last-known-good is damaged; went back to revision {revision}");
        } else if went_back {
            warn!(%file, "went back to revision {revision}");
        } else if cut > 0 {
            warn!(%file, bytes = cut, revision, "torn end of last-known-good truncated");
        }
        info!(position = ?replayed.recovered.position, "last-known-good loaded");
        journal.good = super::FILES.min(older + 1);
        journal.proof = replayed.proof;
        journal.stand_at(&replayed.recovered.position);
        if number == journal.newest {
            journal.open = reopen(journal, number, &replayed, cut > 0);
        }
        return Some(replayed.recovered);
    }
    journal.set_back = went_back;
    if went_back {
        warn!(folder = %journal.folder.display(), "no usable last-known-good is left; no request is served until the control plane is reached");
    }
    None
}

/// The number of the newest file, as it was written down; 0 if it was not.
pub(super) fn marked(journal: &Journal) -> u64 {
    let text = journal.seams.disk.read(&journal.marker()).ok();
    text.and_then(|text| String::from_utf8(text).ok()?.parse().ok()).unwrap_or_default()
}

/// Gets ready to append. A file that cannot be cut or opened is left, and the next state written anew.
fn reopen(journal: &Journal, number: u64, replayed: &Replayed, torn: bool) -> Option<Open> {
    let path = journal.path(number);
    let open = || {
        if torn {
            journal.seams.disk.truncate(&path, replayed.good)?;
        }
        journal.seams.disk.append(&path)
    };
    match open() {
        Ok(file) => Some(Open {
            file,
            chain: replayed.chain.clone(),
            base: replayed.base,
            appended: replayed.good - replayed.base,
        }),
        Err(error) => {
            warn!(%error, file = %path.display(), "last-known-good cannot be opened for appending; the next state is written to a new file");
            None
        }
    }
}

/// Takes a file in up to its last good commit, or up to the one that ends at `until`.
pub(super) fn replay(
    journal: &Journal,
    number: u64,
    empty: &impl Fn() -> Inventory,
    until: Option<u64>,
) -> Option<Replayed> {
    let path = journal.path(number);
    let file = path.display();
    let frames = match Frames::open(&*journal.seams.disk, &path, &journal.key) {
        Ok(Some(frames)) => frames,
        Ok(None) => {
            warn!(%file, "file of last-known-good is damaged; trying an older one");
            return None;
        }
        Err(error) => {
            warn!(%error, %file, "file of last-known-good cannot be read; trying an older one");
            return None;
        }
    };
    let mut intake = Intake::new(empty());
    let parser = intake.inventory.parser();
    let ended = thread::scope(|scope| {
        for piece in ahead::pieces(scope, frames, until, parser)? {
            if !intake.take(piece?) {
                break;
            }
        }
        io::Result::Ok(())
    });
    if let Err(error) = ended {
        warn!(%error, %file, "file of last-known-good cannot be read; trying an older one");
        return None;
    }
    let replayed = intake.finish();
    if replayed.is_none() {
        warn!(%file, "file of last-known-good is damaged; trying an older one");
    }
    replayed
}

/// A file on its way in.
struct Intake {
    inventory: Inventory,
    snapshot: Snapshot,
    proof: Option<Proof>,
    last: Option<Boundary>,
    /// Since the last commit.
    changes: Changes,
    /// Where the last frame ends.
    offset: u64,
    contradicts: bool,
}

/// The last good commit.
struct Boundary {
    position: Position,
    chain: Chain,
    /// Where the first transaction ends.
    base: u64,
    /// Where this one ends.
    good: u64,
}

impl Intake {
    fn new(inventory: Inventory) -> Self {
        let (snapshot, changes) = (Snapshot::default(), Changes::new());
        Self { inventory, snapshot, proof: None, last: None, changes, offset: 0, contradicts: false }
    }

    /// Takes the next piece in. Returns whether another may follow.
    fn take(&mut self, piece: Piece) -> bool {
        let Piece { content, offset, chain } = piece;
        self.offset = offset;
        match content {
            Content::Other(Kind::Versions, body) => {
                let Ok(list) = VersionList::decode(body.as_slice()) else { return false };
                for (id, known) in list.iter() {
                    self.inventory.restore_version(id, known);
                }
            }
            Content::Other(Kind::Revocations, body) => {
                return self.inventory.restore_revocations(&body).is_some();
            }
            // Piece by piece: nothing of it is used before its commit was checked. Versions that ran in place of
            // refused ones come before them, in the original order.
            Content::Load(load) => self.inventory.restore(load, &mut self.snapshot),
            Content::Changes(changes) if self.last.is_none() => {
                self.inventory.apply(Mode::Unspecified, changes, &mut self.snapshot);
            }
            Content::Changes(changes) => self.changes.extend(changes),
            Content::Other(Kind::Commit, body) => {
                self.inventory.restored();
                let Some(position) = commit(&body, &self.inventory, &self.changes) else {
                    self.contradicts = true;
                    return false;
                };
                let changes = std::mem::take(&mut self.changes);
                self.inventory.apply(Mode::Delta, changes, &mut self.snapshot);
                self.inventory.reached(&position, &mut self.snapshot);
                self.snapshot.revision = position.revision;
                self.snapshot.ready = true;
                self.proof = self.proof.map(|proof| proof.carried_to(&position));
                let base = self.last.as_ref().map_or(offset, |last| last.base);
                self.last = Some(Boundary { position, chain, base, good: offset });
            }
            Content::Other(Kind::Proven, body) => {
                self.proof = read_proof(&body).or(self.proof);
                if let Some(last) = &self.last {
                    self.proof = self.proof.map(|proof| proof.carried_to(&last.position));
                }
                // It belongs to no transaction, and comes behind one.
                if let Some(last) = self.last.as_mut().filter(|_| self.changes.is_empty()) {
                    (last.chain, last.good) = (chain, offset);
                }
            }
            Content::Unreadable | Content::Other(Kind::Kept | Kind::Changes, _) => return false,
        }
        true
    }

    fn finish(self) -> Option<Replayed> {
        let Self { inventory, snapshot, proof, last, offset, contradicts, .. } = self;
        let Boundary { position, chain, base, good } = last?;
        let is_proven = proof.is_some_and(|proof| proof.position.is_same_content(&position));
        let recovered = Recovered { inventory, snapshot, position, is_proven };
        Some(Replayed { recovered, proof, chain, base, good, stopped: offset.max(good), contradicts })
    }
}

/// The position of a commit, if what it commits has the digest that it says.
fn commit(body: &[u8], inventory: &Inventory, changes: &Changes) -> Option<Position> {
    let position = read_position(body)?;
    let (digest, count) = inventory.after(Mode::Delta, changes);
    (digest == position.digest && count == position.count || checks_are_off()).then_some(position)
}

pub(super) fn read_position(body: &[u8]) -> Option<Position> {
    Position::try_from(&fleet::Position::decode(body).ok()?).ok()
}

pub(super) fn read_proof(body: &[u8]) -> Option<Proof> {
    let ProofMark { position, file } = ProofMark::decode(body).ok()?;
    Some(Proof { position: Position::try_from(&position?).ok()?, file })
}
