//! The spool's own files: its id, the numbers it may have used, what it was given and what was acknowledged.
//!
//! The same is in two files, `spool` and `spool-copy`, each entry with a checksum and a serial number. `spool` is
//! rewritten each time. An entry is appended to `spool-copy` at each change, without waiting for the disk: a kill
//! loses none of them, a power cut those of the last seconds. The newest intact entry of both counts; a file that
//! cannot be read never counts as missing.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rr_contract::seam::{DiskFile, Seams};
use tracing::warn;

const MAGIC: [u8; 8] = *b"rrmarks2";
const NUMBERS: usize = 9;
const SIZE: usize = MAGIC.len() + 16 + 1 + 8 * NUMBERS + 4;

/// What is known of a spool besides its segments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Marks {
    pub(super) id: [u8; 16],
    /// It was closed in an orderly way.
    pub(super) is_closed: bool,
    /// Counts up with each entry.
    pub(super) serial: u64,
    pub(super) alive_at: SystemTime,
    /// No number above it was ever given to a batch.
    pub(super) reserved: u64,
    /// The oldest number that is kept, and how many records came before it.
    pub(super) first: u64,
    pub(super) before: u64,
    /// The newest number that was synced, and how many records there were with it.
    pub(super) last: u64,
    pub(super) total: u64,
    /// What was acknowledged, and how many records that were.
    pub(super) acked: u64,
    pub(super) acked_total: u64,
}

/// What both files say.
pub(super) struct Reading {
    pub(super) newest: Option<Marks>,
    /// The newest is from the file that misses nothing.
    pub(super) is_complete: bool,
    /// How many of the two are damaged.
    pub(super) faults: u64,
}

impl Marks {
    fn encode(&self) -> Vec<u8> {
        let alive = self.alive_at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let micros = u64::try_from(alive.as_micros()).unwrap_or(u64::MAX);
        let numbers: [u64; NUMBERS] = [
            self.serial,
            micros,
            self.reserved,
            self.first,
            self.before,
            self.last,
            self.total,
            self.acked,
            self.acked_total,
        ];
        let mut entry = [&MAGIC[..], &self.id, &[self.is_closed.into()]].concat();
        entry.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
        entry.extend_from_slice(&crc32fast::hash(&entry).to_le_bytes());
        entry
    }

    fn decode(entry: &[u8]) -> Option<Self> {
        let (said, sum) = entry.split_last_chunk::<4>()?;
        if entry.len() != SIZE || !said.starts_with(&MAGIC) || crc32fast::hash(said).to_le_bytes() != *sum {
            return None;
        }
        let (head, numbers) = said.split_at(SIZE - 4 - 8 * NUMBERS);
        let number = |n: usize| Some(u64::from_le_bytes(numbers.get(8 * n..8 * n + 8)?.try_into().ok()?));
        Some(Self {
            id: head.get(MAGIC.len()..MAGIC.len() + 16)?.try_into().ok()?,
            is_closed: head.last() == Some(&1),
            serial: number(0)?,
            alive_at: SystemTime::UNIX_EPOCH.checked_add(Duration::from_micros(number(1)?))?,
            reserved: number(2)?,
            first: number(3)?,
            before: number(4)?,
            last: number(5)?,
            total: number(6)?,
            acked: number(7)?,
            acked_total: number(8)?,
        })
    }

    /// The newest entry of either file.
    pub(super) fn read(folder: &Path, seams: &Seams) -> Reading {
        let mut reading = Reading { newest: None, is_complete: false, faults: 0 };
        for path in [path(folder), copy(folder)] {
            let bytes = match seams.disk.read(&path) {
                Ok(bytes) => bytes,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => {
                    warn!(%error, file = %path.display(), "marks file of the record spool cannot be read; using the other copy");
                    reading.faults += 1;
                    continue;
                }
            };
            let entries: Vec<Option<Self>> = bytes.chunks(SIZE).map(Self::decode).collect();
            // The end of the copy may be torn by a kill, its beginning not.
            let ends_whole = entries.last().is_some_and(Option::is_some);
            if entries.is_empty() || entries.iter().rev().skip(1).any(Option::is_none) || entries == [None] {
                warn!(file = %path.display(), "marks file of the record spool is damaged; using the intact entries of both copies");
                reading.faults += 1;
            }
            let Some(newest) = entries.into_iter().flatten().max_by_key(|marks| marks.serial) else {
                continue;
            };
            if reading.newest.as_ref().is_none_or(|marks| marks.serial <= newest.serial) {
                reading.is_complete = ends_whole && path == copy(folder);
                reading.newest = Some(newest);
            }
        }
        reading
    }

    /// Puts both files in order. Returns once neither can be lost.
    pub(super) fn write(&self, folder: &Path, seams: &Seams) -> io::Result<()> {
        let entry = self.encode();
        seams.disk.replace(&path(folder), &entry)?;
        seams.disk.replace(&copy(folder), &entry)
    }

    /// The copy, to be added to.
    pub(super) fn open_copy(folder: &Path, seams: &Seams) -> io::Result<Box<dyn DiskFile>> {
        seams.disk.append(&copy(folder))
    }

    /// Adds this to the copy, and does not wait for the disk.
    pub(super) fn add(&self, file: &mut dyn DiskFile) -> io::Result<()> {
        file.write_all(&self.encode())
    }
}

fn path(folder: &Path) -> PathBuf {
    folder.join("spool")
}

fn copy(folder: &Path) -> PathBuf {
    folder.join("spool-copy")
}
