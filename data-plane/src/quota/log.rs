//! Counts of days and months on disk, so that a restart does not grant them anew.
//!
//! One file, to which each save appends what has changed since the one before; once that outweighs what the file
//! began with, and at the first save of a process, the file is written anew beside it and renamed. A save is in the
//! file when it returns, and synced. The invariants: no request waits for a save; the file is never appended to
//! behind something torn; damage costs the counts of the frames that it lies in, and is counted.
//!
//! *What may be lost.* A kill: what changed since the last save, half a second at most. A power cut: the same, and
//! what the save under way had not synced; a disk that says it has synced and has not may lose more. A disk that
//! fails: all since then, if the node ends before a save succeeds; until then limits hold in memory.

mod frame;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, SystemTime};

use rr_contract::seam::{DiskFile, Seams};
use tokio::time::Instant;
use tracing::{error, info, warn};

use super::changed::{Id, Saved};
use super::clock::QuotaClock;
use super::moment::Moment;
use super::registry::Quotas;

/// In the folder of state.
const FOLDER: &str = "quota";
/// How much may be appended before the file is written anew: this, or as much as it began with.
const APPENDED_MIN: u64 = 1024 * 1024;
/// A disk that fails is tried again after one save, two, four, and so on up to so many: about half a minute.
const SKIPS_MAX: u32 = 64;

/// The file of counts.
pub(crate) struct QuotaLog {
    quotas: Quotas,
    seams: Seams,
    path: PathBuf,
    /// What is appended to; `None` until the file was written anew, and after a save that failed.
    open: Option<Open>,
    /// Saves to leave out, and how many were left out after the last failure; 0 while the disk works.
    skip: u32,
    skipped: u32,
    /// Kept for their room.
    ids: Vec<Id>,
    entries: Vec<(Id, Saved)>,
    bytes: Vec<u8>,
}

struct Open {
    file: Box<dyn DiskFile>,
    base: u64,
    appended: u64,
}

impl QuotaLog {
    /// Reads what is on disk. Does not fail: without counts of before, a node counts from zero.
    pub(crate) fn open(state_dir: &Path, seams: Seams, mono: Instant) -> (Quotas, Self) {
        let path = state_dir.join(FOLDER).join("counts");
        let Content { entries, latest, damaged } = Content::read(&path, &seams);
        let clock = QuotaClock::start(seams.clock.now(), mono, latest);
        let now = clock.moment(mono);
        let quotas = Quotas::new(clock);
        quotas.tally().damaged.store(damaged, Relaxed);
        for (id, saved) in entries {
            quotas.load(id, saved, &now);
        }
        let log = Self {
            quotas: quotas.clone(),
            seams,
            path,
            open: None,
            skip: 0,
            skipped: 0,
            ids: Vec::new(),
            entries: Vec::new(),
            bytes: Vec::new(),
        };
        (quotas, log)
    }

    /// Puts all that has changed since the last call on disk. To be called every half second, off the workers and off
    /// the thread that must not wait for a disk.
    pub(crate) fn save(&mut self, mono: Instant) {
        let now = self.quotas.clock().moment(mono);
        self.quotas.take_changed(&mut self.ids);
        self.entries.clear();
        for id in self.ids.drain(..) {
            // From here on, a change is told again.
            self.entries.extend(self.quotas.save(id).map(|saved| (id, saved)));
        }
        if self.open.is_none() && self.skip > 0 {
            self.skip -= 1;
            return;
        }
        if self.open.is_some() && self.entries.is_empty() {
            return;
        }
        let tally = self.quotas.tally();
        match Self::write(&mut self.open, &self.path, &self.seams, &mut self.bytes, |whole, bytes| {
            if whole {
                self.entries.clear();
                self.quotas.save_all(&now, |id, saved| self.entries.push((id, saved)));
            }
            encode(&now, &self.entries, bytes);
        }) {
            Ok(()) => {
                tally.saves.fetch_add(1, Relaxed);
                if std::mem::take(&mut self.skipped) > 0 {
                    info!("counts of limits and meters are on disk again");
                }
            }
            Err(error) => {
                self.open = None;
                tally.failed.fetch_add(1, Relaxed);
                if self.skipped == 0 {
                    error!(
                        %error,
                        file = %self.path.display(),
                        "counts of limits and meters cannot be saved; limits go on in memory, and a restart would grant the day and month anew; check the disk of the state folder"
                    );
                }
                self.skipped = (2 * self.skipped).clamp(1, SKIPS_MAX);
                self.skip = self.skipped;
            }
        }
    }

    /// Appends, or writes the file anew: then `encode` is told to encode the whole.
    fn write(
        open: &mut Option<Open>,
        path: &Path,
        seams: &Seams,
        bytes: &mut Vec<u8>,
        mut encode: impl FnMut(bool, &mut Vec<u8>),
    ) -> io::Result<()> {
        bytes.clear();
        if let Some(Open { file, base, appended }) = open
            && *appended <= APPENDED_MIN.max(*base)
        {
            encode(false, bytes);
            file.write_all(bytes)?;
            file.sync()?;
            *appended += bytes.len() as u64;
            return Ok(());
        }
        *open = None;
        bytes.extend_from_slice(&frame::MAGIC);
        encode(true, bytes);
        if let Some(folder) = path.parent() {
            seams.disk.create_dir_all(folder)?;
        }
        seams.disk.replace(path, bytes)?;
        *open = Some(Open { file: seams.disk.append(path)?, base: bytes.len() as u64, appended: 0 });
        Ok(())
    }
}

fn encode(now: &Moment, entries: &[(Id, Saved)], bytes: &mut Vec<u8>) {
    if entries.is_empty() {
        frame::write(now.seconds(), &[], bytes);
    }
    for entries in entries.chunks(frame::ENTRIES) {
        frame::write(now.seconds(), entries, bytes);
    }
}

/// What a file says.
struct Content {
    /// In the order in which they were written.
    entries: Vec<(Id, Saved)>,
    /// The latest time that it knows of.
    latest: SystemTime,
    /// Damaged parts.
    damaged: u64,
}

impl Content {
    fn read(path: &Path, seams: &Seams) -> Self {
        let mut content = Self { entries: Vec::new(), latest: SystemTime::UNIX_EPOCH, damaged: 0 };
        let bytes = match seams.disk.read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return content,
            Err(error) => {
                error!(%error, file = %path.display(), "counts of limits and meters cannot be read; counting from zero");
                content.damaged = 1;
                return content;
            }
        };
        let mut offset = 0;
        if bytes.starts_with(&frame::MAGIC) {
            offset = frame::MAGIC.len();
        }
        let mut is_whole = offset > 0;
        content.damaged += u64::from(!is_whole);
        let mut lost = 0;
        while offset < bytes.len() {
            match frame::read(&bytes, offset) {
                Some(frame) => {
                    content.entries.extend(frame.entries);
                    let latest = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(frame.seconds));
                    content.latest = content.latest.max(latest.unwrap_or(SystemTime::UNIX_EPOCH));
                    (offset, is_whole) = (frame.end, true);
                }
                None => {
                    // Once for each part, however long it is.
                    content.damaged += u64::from(is_whole);
                    (offset, is_whole, lost) = (offset + 1, false, lost + 1);
                }
            }
        }
        if content.damaged > 0 {
            warn!(
                file = %path.display(),
                parts = content.damaged,
                bytes = lost,
                "counts of limits and meters are damaged or torn; what is in those parts counts from what was saved before"
            );
        }
        content
    }
}

#[cfg(test)]
mod tests;
