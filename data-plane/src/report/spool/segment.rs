//! Segments, and reading through them from one number on.

use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::{SpoolHandle, frame};

/// A file of batches with the numbers `first..=last`; empty when `last` is below `first`.
#[derive(Debug, Clone)]
pub(crate) struct Segment {
    pub(super) first: u64,
    pub(super) last: u64,
    /// Bytes that are on disk for good. Nothing behind them is read.
    pub(super) synced: u64,
    /// What was in it was dropped.
    pub(super) is_gap: bool,
}

impl Segment {
    pub(super) fn path(folder: &Path, first: u64) -> PathBuf {
        folder.join(format!("segment-{first:020}"))
    }

    pub(super) fn number(path: &Path) -> Option<u64> {
        path.file_name()?.to_str()?.strip_prefix("segment-")?.parse().ok()
    }
}

/// A place in the stream of batches.
pub(crate) struct Cursor {
    next: u64,
    /// The segment that `buffer` is from, and how much of the file it ends at.
    segment: Option<(u64, bool)>,
    buffer: Vec<u8>,
    offset: usize,
    read_to: u64,
    /// A gap that is being told.
    gap: Option<u64>,
}

impl Cursor {
    /// Starts with batch `next`.
    pub(crate) fn at(next: u64) -> Self {
        Self { next, segment: None, buffer: Vec::new(), offset: 0, read_to: 0, gap: None }
    }

    /// The next batch; `None` when there is none yet.
    pub(crate) fn next(&mut self, spool: &SpoolHandle) -> io::Result<Option<(u64, Bytes)>> {
        if let Some(through) = self.gap {
            if self.next <= through {
                // What was lost was said with the first of them; the others only keep their numbers.
                self.next += 1;
                return Ok(Some((self.next - 1, Bytes::new())));
            }
            self.gap = None;
        }
        let (id, segment) = {
            let state = spool.shared.state();
            if let Some(oldest) = state.segments.front().filter(|oldest| self.next < oldest.first) {
                // Acknowledged once, deleted here, and then lost there: only the numbers are left to give.
                self.gap = Some(oldest.first - 1);
                self.next += 1;
                return Ok(Some((self.next - 1, Bytes::new())));
            }
            let holds = |segment: &&Segment| segment.first <= self.next && self.next <= segment.last;
            let Some(segment) = state.segments.iter().find(holds) else { return Ok(None) };
            (state.id, segment.clone())
        };
        // A segment that became a gap is another file under the same name.
        if self.segment != Some((segment.first, segment.is_gap)) {
            *self = Self { segment: Some((segment.first, segment.is_gap)), ..Self::at(self.next) };
        }
        loop {
            if let Some(found) = frame::read(&spool.key, &id, &self.buffer, self.offset) {
                self.offset = found.end;
                if found.through < self.next {
                    continue;
                }
                self.gap = (found.through > found.first).then_some(found.through);
                self.next = self.next.max(found.first) + 1;
                return Ok(Some((self.next - 1, found.batch)));
            }
            if self.read_to >= segment.synced {
                return Ok(None);
            }
            let path = Segment::path(&spool.folder, segment.first);
            let left = self.buffer.split_off(self.offset.min(self.buffer.len()));
            self.buffer = left;
            self.offset = 0;
            let mut more = spool.seams.disk.read_from(&path, self.read_to)?;
            more.truncate(usize::try_from(segment.synced - self.read_to).unwrap_or(usize::MAX));
            if more.is_empty() {
                return Ok(None);
            }
            self.read_to += more.len() as u64;
            self.buffer.extend_from_slice(&more);
        }
    }
}
