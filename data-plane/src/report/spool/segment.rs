//! Segments, and reading through them from one number on.

use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use bytes::Bytes;
use prost::Message as _;
use rr_contract::model::time;
use rr_contract::wire::fleet;

use super::{SpoolHandle, frame};

/// A position in the stream of records: a batch number, and the number of records up to it.
#[derive(Debug, Clone, Copy)]
pub(super) struct SpoolPosition {
    pub(super) number: u64,
    pub(super) total: u64,
}

/// A file of batches with the numbers `first..=last`; empty when `last` is below `first`.
#[derive(Debug, Clone)]
pub(crate) struct Segment {
    pub(super) first: u64,
    pub(super) last: u64,
    /// How many records the spool was given before it, and with it.
    pub(super) before: u64,
    pub(super) end: u64,
    pub(super) content: Content,
    /// Bytes that are on disk for good. Nothing behind them is read.
    pub(super) synced: u64,
    /// What was in it was dropped.
    pub(super) is_gap: bool,
    /// Counts up whenever another file comes under the same name.
    pub(super) version: u32,
}

/// What is in batches.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Content {
    /// Records, lost ones among them.
    pub(super) weight: u64,
    /// Of those, what is in there as a loss already.
    pub(super) lost: u64,
    /// When the oldest and the newest of them were made.
    pub(super) from: Option<SystemTime>,
    pub(super) to: Option<SystemTime>,
}

impl Content {
    pub(super) fn of(batch: &fleet::Batch) -> Self {
        let lost = batch.dropped.iter().map(|dropped| dropped.records).sum();
        let mut content = Self { weight: batch.records.len() as u64 + lost, lost, ..Self::default() };
        let records = batch.records.iter().map(|record| &record.received_at);
        let ends = batch.dropped.iter().flat_map(|dropped| [&dropped.from, &dropped.to]);
        for at in records.chain(ends).flatten().filter_map(|at| time::system_time(at).ok()) {
            content.from = Some(content.from.map_or(at, |from| from.min(at)));
            content.to = content.to.max(Some(at));
        }
        content
    }

    pub(super) fn add(&mut self, more: Self) {
        self.weight += more.weight;
        self.lost += more.lost;
        self.from = [self.from, more.from].into_iter().flatten().min();
        self.to = self.to.max(more.to);
    }
}

impl Segment {
    pub(super) fn empty(first: u64, before: u64) -> Self {
        let content = Content::default();
        Self { first, last: first - 1, before, end: before, content, synced: 0, is_gap: false, version: 0 }
    }

    /// The batches that are in it and were not acknowledged, as far as it can be read. How many records the spool was given before the
    /// first of them.
    pub(super) fn each_batch(&self, spool: &SpoolHandle, mut take: impl FnMut(fleet::Batch)) -> Option<u64> {
        let read = spool.seams.disk.read(&Self::path(&spool.folder, self.first));
        let (bytes, id, acked) = (read.unwrap_or_default(), spool.id(), spool.acked());
        let (mut offset, mut before) = (frame::HEADER, None);
        while let Some(found) = frame::read(&spool.key, &id, &bytes, offset) {
            offset = found.end;
            if found.through > acked {
                before.get_or_insert(found.label.before);
                take(fleet::Batch::decode(found.batch).unwrap_or_default());
            }
        }
        before
    }

    pub(super) fn path(folder: &Path, first: u64) -> PathBuf {
        folder.join(format!("segment-{first:020}"))
    }

    pub(super) fn number(path: &Path) -> Option<u64> {
        path.file_name()?.to_str()?.strip_prefix("segment-")?.parse().ok()
    }
}

/// A reading position in the stream of batches.
pub(crate) struct Cursor {
    next: u64,
    /// The segment that `buffer` is from, and which file under its name.
    segment: Option<(u64, u32)>,
    buffer: Vec<u8>,
    offset: usize,
    read_to: u64,
    /// A gap that is being told: where it ends, and what is said there.
    gap: Option<(u64, Bytes)>,
}

impl Cursor {
    /// Starts with batch `next`.
    pub(crate) fn at(next: u64) -> Self {
        Self { next, segment: None, buffer: Vec::new(), offset: 0, read_to: frame::HEADER as u64, gap: None }
    }

    /// The next batch; `None` when there is none yet.
    pub(crate) fn next(&mut self, spool: &SpoolHandle) -> io::Result<Option<(u64, Bytes)>> {
        let found = self.find(spool);
        if found.is_err() {
            spool.doubt(self.next);
        }
        found
    }

    fn find(&mut self, spool: &SpoolHandle) -> io::Result<Option<(u64, Bytes)>> {
        let (id, segment) = {
            let mut state = spool.shared.state();
            if let Some(oldest) = state.segments.front().filter(|oldest| self.next < oldest.first) {
                // Acknowledged once, deleted here, and then lost there: only the numbers are left to give.
                *self = Self { gap: Some((oldest.first - 1, Bytes::new())), ..Self::at(self.next) };
                return Ok(self.tell_gap());
            }
            let Some(segment) = state.take_up(self.next) else { return Ok(None) };
            (state.id, segment)
        };
        if self.segment != Some((segment.first, segment.version)) {
            *self = Self { segment: Some((segment.first, segment.version)), ..Self::at(self.next) };
        }
        if self.gap.is_some() {
            return Ok(self.tell_gap());
        }
        loop {
            if let Some(found) = frame::read(&spool.key, &id, &self.buffer, self.offset) {
                self.offset = found.end;
                if found.through < self.next {
                    continue;
                }
                let total = found.label.before + found.label.weight;
                spool.shared.state().hand_out(found.through, total);
                self.gap = Some((found.through, found.batch));
                return Ok(self.tell_gap());
            }
            if self.read_to >= segment.synced {
                // It was written, and cannot be read any more.
                spool.doubt(self.next);
                return Ok(None);
            }
            let path = Segment::path(&spool.folder, segment.first);
            let left = self.buffer.split_off(self.offset.min(self.buffer.len()));
            self.buffer = left;
            self.offset = 0;
            let mut more = spool.seams.disk.read_from(&path, self.read_to)?;
            more.truncate(usize::try_from(segment.synced - self.read_to).unwrap_or(usize::MAX));
            if more.is_empty() {
                spool.doubt(self.next);
                return Ok(None);
            }
            self.read_to += more.len() as u64;
            self.buffer.extend_from_slice(&more);
        }
    }

    /// The loss is reported with the last number of a gap: a receiver that has it needs nothing of the gap, and one
    /// that lacks it may have any number before. Those only keep their numbers.
    fn tell_gap(&mut self) -> Option<(u64, Bytes)> {
        let (through, _) = self.gap.as_ref()?;
        let number = self.next;
        let batch = if number < *through { Bytes::new() } else { self.gap.take()?.1 };
        self.next = number + 1;
        Some((number, batch))
    }
}
