//! Last-known-good on disk: what lets a node that has ever worked work again without the control plane.
//!
//! One file holds the whole state as its first transaction and grows by a transaction at a time, each ended
//! by a commit that carries the position, audit head included; a mark is a transaction without changes. Frames are sealed and chained, so a file can be cut, but not mended
//! together from others. Once what was appended outweighs what it starts from, a new file is written beside it
//! and the one before is kept; the first is soon written twice. The invariant: what is read back is a state that was committed, or none.

mod boot;
mod frame;
#[cfg(test)]
mod tests;

use std::io;
use std::path::{Path, PathBuf};

use prost::Message as _;
use rr_contract::seal::storage::StorageKey;
use rr_contract::seam::{DiskFile, Seams, draw};
use rr_contract::secret::Secret;
use rr_contract::wire::fleet;

use super::inventory::Inventory;
use super::position::Position;

use self::frame::{Chain, Kind, VersionList};

pub(crate) use self::boot::Recovered;

/// How much may be appended before the file is written anew: this, or a quarter of what it starts with.
const APPENDED_MIN: u64 = 1024 * 1024;
/// How much of the state goes into one frame.
const CHUNK: usize = 512 * 1024;
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
        let key = StorageKey::derive(node_key, "last known good");
        let folder = state_dir.join("last-good");
        let mut journal = Self { folder, key, seams, newest: 0, good: 0, spoiled: Vec::new(), open: None };
        let recovered = boot::boot(&mut journal, empty);
        (journal, recovered)
    }

    /// Whether the next state has to be written whole.
    pub(crate) fn wants_fold(&self) -> bool {
        self.open.as_ref().is_none_or(|open| open.appended > APPENDED_MIN.max(open.base / 4))
    }

    /// Whether damage to one file could leave nothing.
    pub(crate) fn wants_spare(&self) -> bool {
        self.open.is_none() || self.good < FILES
    }

    /// Writes the state that the newest file holds into another one. If that fails, the newest goes on.
    pub(crate) fn spare(&mut self, inventory: &Inventory, position: &Position) -> io::Result<()> {
        let (before, newest) = (self.open.take(), self.newest);
        let written = self.fold(inventory, position);
        if written.is_err() && self.newest == newest {
            self.open = before;
        }
        written
    }

    /// Adds one transaction; returns once it would survive a power cut. After an error the file is not
    /// appended to again, because nothing behind a torn frame could be read.
    pub(crate) fn append(&mut self, bodies: &[bytes::Bytes], position: &Position) -> io::Result<()> {
        let Some(mut open) = self.open.take() else {
            return Err(io::Error::other("last-known-good has to be written whole first"));
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
        Ok(())
    }

    /// Writes the whole state into a new file.
    pub(crate) fn fold(&mut self, inventory: &Inventory, position: &Position) -> io::Result<()> {
        self.open = None;
        let mut chain = Chain::start(draw(&*self.seams.entropy));
        let mut bytes = chain.header();
        let versions = VersionList::of(inventory.versions()).encode_to_vec();
        self.seal(&mut chain, Kind::Versions, &versions, &mut bytes);
        let kept = inventory.kept().map(|(key, offered)| offered.to_wire(key));
        self.seal_all(&mut chain, Kind::Kept, kept, &mut bytes);
        let wanted = inventory.wanted().map(|(key, offered)| offered.to_wire(key));
        self.seal_all(&mut chain, Kind::Changes, wanted, &mut bytes);
        self.seal(&mut chain, Kind::Commit, &position.to_wire().encode_to_vec(), &mut bytes);

        self.seams.disk.create_dir_all(&self.folder)?;
        let number = self.newest + 1;
        let path = self.path(number);
        self.seams.disk.replace(&path, &bytes)?;
        self.newest = number;
        self.good = FILES.min(self.good + 1);
        self.seams.disk.replace(&self.marker(), number.to_string().as_bytes())?;
        let file = self.seams.disk.append(&path)?;
        self.open = Some(Open { file, chain, base: bytes.len() as u64, appended: 0 });
        self.prune()
    }

    fn seal_all(
        &self,
        chain: &mut Chain,
        kind: Kind,
        resources: impl Iterator<Item = fleet::Resource>,
        bytes: &mut Vec<u8>,
    ) {
        let mut body = fleet::ChunkBody::default();
        let mut size = 0;
        for resource in resources {
            size += resource.payload.len();
            body.upserts.push(resource);
            if size >= CHUNK {
                self.seal(chain, kind, &std::mem::take(&mut body).encode_to_vec(), bytes);
                size = 0;
            }
        }
        if !body.upserts.is_empty() {
            self.seal(chain, kind, &body.encode_to_vec(), bytes);
        }
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
        for number in numbers.iter().rev().skip(FILES) {
            self.seams.disk.remove(&self.path(*number))?;
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
