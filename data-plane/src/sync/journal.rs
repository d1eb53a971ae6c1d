//! Last-known-good on disk: with it, a node that has ever worked works again without the control plane.
//!
//! One file holds the whole state as its first transaction and grows by a transaction at a time, each ended by a
//! commit that carries the position, audit head included; a mark is a transaction without changes. Frames are
//! sealed and chained, so a file can be truncated, but not spliced from others. Once what was appended outweighs
//! what it starts from, a new file is written beside it and the one before is kept; the first is soon written
//! twice. A proof names a boundary, in this file or in an older one, on which the node has stayed alive; its file
//! is never pruned before there is a newer proof. The invariant: what is read back is a state that was committed,
//! or none.

mod ahead;
mod back;
mod boot;
mod counter;
mod frame;
mod scribe;
#[cfg(test)]
mod tests;

use std::io;
use std::path::{Path, PathBuf};

use prost::Message as _;
use rr_contract::model::resource::{Key, ResourceId};
use rr_contract::seal::storage::StorageKey;
use rr_contract::seam::{AbortMark, DiskFile, Seams, draw};
use rr_contract::secret::Secret;
use rr_contract::wire::fleet;

use super::inventory::{Image, Inventory};
use super::position::Position;
use super::transaction::Offered;

use self::counter::Counter;
use self::frame::{Chain, Kind, ProofMark, VersionList};

pub(crate) use self::boot::Recovered;
pub(crate) use self::counter::leave_mark;
pub(crate) use self::scribe::{Done, Scribe, Stalled, View, Write};

/// In the folder of state.
const FOLDER: &str = "last-good";

/// How much may be appended before the file is written anew: this, or a quarter of what it starts with.
const APPENDED_MIN: u64 = 1024 * 1024;
/// How much of the state goes into one frame.
const CHUNK: usize = 512 * 1024;
/// How many highest versions go into one frame.
const VERSIONS: usize = 50_000;
/// The one that is written to, and the one before it.
const FILES: usize = 2;

/// The files of one node.
pub(crate) struct Journal {
    folder: PathBuf,
    key: StorageKey,
    seams: Seams,
    /// Number of the newest file that was ever seen.
    newest: u64,
    /// Files that hold a state, as far as is known.
    good: usize,
    /// Numbers of files that hold none.
    spoiled: Vec<u64>,
    /// What is appended to; `None` until something was written, and after a write that failed.
    open: Option<Open>,
    /// The last proven boundary that is on disk.
    proof: Option<Proof>,
    /// The content on which the node has proven to live, on disk or not.
    lived: Option<Position>,
    /// The position that was written last.
    stands: Option<Position>,
    /// The file of the boundary that is next to be proven.
    awaited: Option<u64>,
    counter: Counter,
    /// Records an abort of the process.
    mark: Option<AbortMark>,
    /// What was committed last is damaged or missing.
    set_back: bool,
}

/// A boundary on which the node has lived, and the number of the file that holds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Proof {
    position: Position,
    file: u64,
}

impl Proof {
    /// This proof, by a later position that has the same content: what was proven does not fall behind it.
    fn carried_to(self, position: &Position) -> Self {
        let is_later =
            position.is_same_content(&self.position) && position.revision >= self.position.revision;
        if is_later { Self { position: *position, ..self } } else { self }
    }
}

struct Open {
    file: Box<dyn DiskFile>,
    chain: Chain,
    base: u64,
    appended: u64,
}

impl Journal {
    /// Reads what is there, and gets ready to go on with it.
    pub(crate) fn boot(
        state_dir: &Path,
        node_key: &Secret,
        seams: Seams,
        empty: impl Fn() -> Inventory,
    ) -> (Self, Option<Recovered>) {
        let mut journal = Self::closed(state_dir, node_key, seams);
        let recovered = boot::boot(&mut journal, &empty);
        (journal, recovered)
    }

    fn closed(state_dir: &Path, node_key: &Secret, seams: Seams) -> Self {
        Self {
            folder: state_dir.join(FOLDER),
            key: StorageKey::derive(node_key, "last known good"),
            seams,
            newest: 0,
            good: 0,
            spoiled: Vec::new(),
            open: None,
            proof: None,
            lived: None,
            stands: None,
            awaited: None,
            counter: Counter::default(),
            mark: None,
            set_back: false,
        }
    }

    /// Whether the node came up at an older position than it once stood at, as its files tell.
    pub(crate) fn is_set_back(&self) -> bool {
        self.set_back
    }

    /// Whether the next state has to be written whole.
    pub(crate) fn wants_fold(&self) -> bool {
        self.open.as_ref().is_none_or(|open| open.appended > APPENDED_MIN.max(open.base / 4))
    }

    /// Whether damage to one file could leave nothing.
    pub(crate) fn wants_spare(&self) -> bool {
        self.open.is_none() || self.good < FILES
    }

    /// Number of the file that was written to last.
    pub(crate) fn newest(&self) -> u64 {
        self.newest
    }

    /// The newest boundary on disk on which the node has proven to live.
    pub(crate) fn proven(&self) -> Option<Position> {
        self.proof.map(|proof| proof.position)
    }

    /// Keeps the file of the boundary that is next to be proven, until another is said.
    pub(crate) fn await_proof(&mut self, file: Option<u64>) {
        self.awaited = file;
    }

    /// Writes the state that the newest file holds into another one. If that fails, the newest goes on.
    pub(crate) fn spare(&mut self, image: &Image, position: &Position) -> io::Result<()> {
        let (before, newest) = (self.open.take(), self.newest);
        let written = self.fold(image, position);
        if written.is_err() && self.newest == newest {
            self.open = before;
        }
        written
    }

    /// Adds one transaction; returns once it would survive a power cut. After an error the file is not
    /// appended to again, because nothing behind a torn frame could be read.
    pub(crate) fn append(&mut self, bodies: &[bytes::Bytes], position: &Position) -> io::Result<()> {
        let Some(mut open) = self.open.take() else {
            return Err(io::Error::other("last-known-good must be written to a new file first"));
        };
        let mut bytes = Vec::new();
        for body in bodies {
            self.seal(&mut open.chain, Kind::Changes, body, &mut bytes);
        }
        self.seal(&mut open.chain, Kind::Commit, &position.to_wire().encode_to_vec(), &mut bytes);
        open.file.write_all(&bytes)?;
        open.file.sync()?;
        open.appended += bytes.len() as u64;
        self.open = Some(open);
        self.stand_at(position);
        Ok(())
    }

    /// Notes which position was written last.
    fn stand_at(&mut self, position: &Position) {
        self.stands = Some(*position);
        self.proof = self.proof.map(|proof| proof.carried_to(position));
    }

    /// Records that the node has stayed alive on a boundary; `file` is where it was written, if it was. Not synced:
    /// it goes to the disk with the next transaction, and a power cut before that costs no more than another proof.
    pub(crate) fn prove(&mut self, position: &Position, file: Option<u64>) -> io::Result<()> {
        self.lived = Some(*position);
        self.forget_crash();
        let Some(file) = file else { return Ok(()) };
        let Some(mut open) = self.open.take() else { return Ok(()) };
        let proof = Proof { position: *position, file };
        let proof = self.stands.map_or(proof, |stands| proof.carried_to(&stands));
        let mut bytes = Vec::new();
        self.seal(&mut open.chain, Kind::Proven, &proof.encode(), &mut bytes);
        open.file.write_all(&bytes)?;
        open.appended += bytes.len() as u64;
        self.open = Some(open);
        self.proof = Some(proof);
        Ok(())
    }

    /// Writes the whole state into a new file.
    pub(crate) fn fold(&mut self, image: &Image, position: &Position) -> io::Result<()> {
        self.open = None;
        self.seams.disk.create_dir_all(&self.folder)?;
        let number = self.newest + 1;
        let path = self.path(number);
        let beside = self.folder.join(format!("state-{number:012}.new"));
        // What a crash left of an earlier try is not written into.
        match self.seams.disk.remove(&beside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let lived = [self.lived, self.proven()].into_iter().flatten();
        let mut proof = self.proof;
        if lived.into_iter().any(|lived| lived.is_same_content(position)) {
            proof = Some(Proof { position: *position, file: number });
        }
        let written = self.write_whole(&beside, image, position, proof).and_then(|whole| {
            self.seams.disk.rename(&beside, &path)?;
            Ok(whole)
        });
        let (chain, base) = written.inspect_err(|_| {
            // The first error is the one to tell; a file that stays is removed by the next try.
            drop(self.seams.disk.remove(&beside));
        })?;
        (self.newest, self.proof) = (number, proof);
        self.stand_at(position);
        self.good = FILES.min(self.good + 1);
        self.seams.disk.replace(&self.marker(), number.to_string().as_bytes())?;
        let file = self.seams.disk.append(&path)?;
        self.open = Some(Open { file, chain, base, appended: 0 });
        self.is_written();
        self.prune()
    }

    /// A frame at a time: the whole is not in memory twice.
    fn write_whole(
        &self,
        path: &Path,
        image: &Image,
        position: &Position,
        proof: Option<Proof>,
    ) -> io::Result<(Chain, u64)> {
        let chain = Chain::start(draw(&*self.seams.entropy));
        let bytes = chain.header();
        let mut out = Whole { journal: self, file: self.seams.disk.append(path)?, chain, bytes, written: 0 };
        for versions in image.versions.chunks(VERSIONS) {
            let list = VersionList::of(versions);
            out.frame(Kind::Versions, &list.encode_to_vec())?;
        }
        out.frame(Kind::Revocations, &image.revocations)?;
        // Proxies last, so that each finds what it names when it is taken in. What runs in place of a refused
        // version comes before that.
        for proxies in [false, true] {
            let now = |key: &Key| matches!(key.id, ResourceId::Proxy(_)) == proxies;
            let wire = |(key, offered): &(Key, Offered)| now(key).then(|| offered.to_wire(key));
            out.resources(Kind::Kept, image.kept.iter().filter_map(wire))?;
            out.resources(Kind::Changes, image.wanted.iter().filter_map(wire))?;
        }
        out.frame(Kind::Commit, &position.to_wire().encode_to_vec())?;
        if let Some(proof) = proof {
            out.frame(Kind::Proven, &proof.encode())?;
        }
        out.file.sync()?;
        Ok((out.chain, out.written))
    }

    fn seal(&self, chain: &mut Chain, kind: Kind, body: &[u8], bytes: &mut Vec<u8>) {
        chain.seal(&self.key, kind, body, &*self.seams.entropy, bytes);
    }

    fn prune(&mut self) -> io::Result<()> {
        let mut numbers = self.numbers()?;
        // They must not push out one that is good.
        numbers.retain(|number| !self.spoiled.contains(number));
        while let Some(number) = self.spoiled.pop() {
            self.seams.disk.remove(&self.path(number))?;
        }
        // The newest that holds a proven boundary, and that of the boundary that is next to be proven.
        let held = [self.proof.map(|proof| proof.file), self.awaited];
        for number in numbers.iter().rev().skip(FILES) {
            if !held.contains(&Some(*number)) {
                self.seams.disk.remove(&self.path(*number))?;
            }
        }
        Ok(())
    }

    /// Numbers of the files that are there, oldest first.
    fn numbers(&self) -> io::Result<Vec<u64>> {
        let number = |path: PathBuf| path.file_name()?.to_str()?.strip_prefix("state-")?.parse().ok();
        let mut numbers: Vec<u64> =
            self.seams.disk.list(&self.folder)?.into_iter().filter_map(number).collect();
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// Says which file was the newest, for the case that it is gone.
    fn marker(&self) -> PathBuf {
        self.folder.join("newest")
    }

    fn path(&self, number: u64) -> PathBuf {
        self.folder.join(format!("state-{number:012}"))
    }
}

impl Proof {
    fn encode(&self) -> Vec<u8> {
        ProofMark { position: Some(self.position.to_wire()), file: self.file }.encode_to_vec()
    }
}

/// A file that is being written whole.
struct Whole<'a> {
    journal: &'a Journal,
    file: Box<dyn DiskFile>,
    chain: Chain,
    /// Sealed and not yet written.
    bytes: Vec<u8>,
    written: u64,
}

impl Whole<'_> {
    fn frame(&mut self, kind: Kind, body: &[u8]) -> io::Result<()> {
        self.journal.seal(&mut self.chain, kind, body, &mut self.bytes);
        self.file.write_all(&self.bytes)?;
        self.written += self.bytes.len() as u64;
        self.bytes.clear();
        Ok(())
    }

    fn resources(&mut self, kind: Kind, resources: impl Iterator<Item = fleet::Resource>) -> io::Result<()> {
        let mut body = fleet::ChunkBody::default();
        let mut size = 0;
        for resource in resources {
            size += resource.payload.len();
            body.upserts.push(resource);
            if size >= CHUNK {
                self.frame(kind, &std::mem::take(&mut body).encode_to_vec())?;
                size = 0;
            }
        }
        if body.upserts.is_empty() { Ok(()) } else { self.frame(kind, &body.encode_to_vec()) }
    }
}

#[cfg(test)]
thread_local! {
    /// The negative control: frames are bound to no position, and no digest is compared.
    static CHECKS_OFF: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

/// Whether a test has switched off what keeps frames in their place and states whole: the negative control.
#[cfg(test)]
fn checks_are_off() -> bool {
    CHECKS_OFF.get()
}

#[cfg(not(test))]
const fn checks_are_off() -> bool {
    false
}

/// On a thread that works for another.
#[cfg(test)]
fn switch_checks(off: bool) {
    CHECKS_OFF.set(off);
}

#[cfg(not(test))]
const fn switch_checks(_: bool) {}
