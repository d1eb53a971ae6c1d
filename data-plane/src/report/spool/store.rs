//! Segment files: appended to, deleted when acknowledged or too large, mended where they turn out damaged.

use std::io;
use std::time::SystemTime;

use prost::Message as _;
use rr_contract::seam::DiskFile;
use rr_contract::wire::fleet;
use tracing::warn;

use super::super::sums::{self, Sums};
use super::super::uses::Newest;
use super::aside::set_aside;
use super::marks::Marks;
use super::segment::{Content, Cursor, Segment, SpoolPosition};
use super::survey::{Mended, Surveyor};
use super::{SPOOL_FULL, SpoolHandle, add_loss, dropped, frame};

/// Maximum sizes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sizes {
    /// All files together.
    pub(super) quota: u64,
    /// Where a new file is begun. Small enough that an acknowledged one goes soon.
    pub(super) segment: u64,
}

impl Sizes {
    /// A small quota has small files: the newest always stays, and the oldest may have to.
    pub(super) fn with_quota(quota: u64) -> Self {
        Self { quota, segment: (quota / 8).clamp(64 * 1024, 4 * 1024 * 1024) }
    }

    /// A fully acknowledged file is replaced by an empty one only when that frees something.
    fn worth_freeing(self) -> u64 {
        self.segment / 64
    }
}

/// How many numbers are set aside at once; each time costs two files.
pub(super) const RESERVE: u64 = 256;

pub(super) struct Store {
    pub(super) handle: SpoolHandle,
    pub(super) sizes: Sizes,
    pub(super) active: Option<Active>,
    /// The number of the next batch, and how many records the spool was given before it.
    pub(super) next: u64,
    pub(super) total: u64,
    /// What of it would survive a power cut.
    pub(super) synced: SpoolPosition,
    /// What was acknowledged, in this life or the one before.
    pub(super) acked: SpoolPosition,
    /// The marks say that numbers up to here may be in use. None above it ever was.
    pub(super) reserved: u64,
    /// Of the newest entry of the marks.
    pub(super) serial: u64,
    /// The copy of the marks, where it is open.
    pub(super) copy: Option<Box<dyn DiskFile>>,
    /// What the newest entry says: the oldest number, the newest, and the newest acknowledged.
    pub(super) told: Option<[u64; 3]>,
    pub(super) unsynced: bool,
    /// Last uses that are to be written.
    pub(super) uses: Newest,
    /// Sums that are to be written.
    pub(super) sums: Sums,
}

pub(super) struct Active {
    file: Box<dyn DiskFile>,
    first: u64,
    before: u64,
    written: u64,
    /// What was written and is not in the segment yet.
    unsynced: Content,
    /// Something behind `written` may be torn.
    torn: bool,
}

impl Store {
    pub(super) fn id(&self) -> [u8; 16] {
        self.handle.id()
    }

    pub(super) fn now(&self) -> SystemTime {
        self.handle.seams.clock.now()
    }

    /// Records that were acknowledged.
    pub(super) fn acked_total(&self) -> u64 {
        self.handle.acked_total(self.acked)
    }

    pub(super) fn frame(&self, place: (frame::Label, u64), batch: &[u8]) -> Vec<u8> {
        self.handle.frame(place, batch)
    }

    pub(super) fn surveyor(&self) -> Surveyor<'_> {
        Surveyor { handle: &self.handle, acked: self.acked }
    }

    pub(super) fn count_dropped(&self, records: u64) {
        self.handle.shared.state().dropped += records;
    }

    pub(super) fn count_damage(&self) {
        self.handle.shared.state().damaged += 1;
    }

    /// Adds a batch under the next number. After an error the number is still free.
    pub(super) fn append(&mut self, batch: &fleet::Batch) -> io::Result<()> {
        if self.next > self.reserved {
            // On disk before it is used: not even the loss of every segment may make it free again.
            self.write_marks(false, self.next + RESERVE - 1)?;
        }
        if self.active.as_ref().is_some_and(|active| active.written >= self.sizes.segment) {
            // Before the next file is begun, or a crash could leave a hole between the two.
            self.sync()?;
            self.active = None;
        }
        let content = Content::of(batch);
        let label = frame::Label { first: self.next, before: self.total, weight: content.weight };
        let mut bytes = self.frame((label, self.next), &batch.encode_to_vec());
        let path = |first| Segment::path(&self.handle.folder, first);
        let disk = &self.handle.seams.disk;
        let active = match &mut self.active {
            Some(active) => active,
            none => none.insert(Active::new(disk.append(&path(self.next))?, self.next, self.total, 0)),
        };
        if active.torn {
            // Nothing behind a torn frame could be read at once.
            disk.truncate(&path(active.first), active.written)?;
        }
        if active.written == 0 {
            bytes.splice(..0, frame::header(&self.handle.id()));
        }
        active.torn = true;
        active.file.write_all(&bytes)?;
        active.torn = false;
        active.written += bytes.len() as u64;
        active.unsynced.add(content);
        self.next += 1;
        self.total += content.weight;
        self.unsynced = true;
        Ok(())
    }

    /// Makes sure of what was appended, and lets it be read. `false`: there was nothing.
    pub(super) fn sync(&mut self) -> io::Result<bool> {
        let Some(active) = self.active.as_mut().filter(|_| self.unsynced) else { return Ok(false) };
        active.file.sync()?;
        self.unsynced = false;
        self.synced = SpoolPosition { number: self.next - 1, total: self.total };
        let content = std::mem::take(&mut active.unsynced);
        let mut state = self.handle.shared.state();
        if state.segments.back().is_none_or(|newest| newest.first != active.first) {
            state.segments.push_back(Segment::empty(active.first, active.before));
        }
        if let Some(segment) = state.segments.back_mut() {
            (segment.last, segment.end) = (self.synced.number, self.synced.total);
            segment.synced = active.written;
            segment.content.add(content);
        }
        drop(state);
        self.handle.shared.appended.notify_one();
        Ok(true)
    }

    /// Deletes what was acknowledged, and the oldest when the quota is full; mends what could not be read.
    pub(super) fn reclaim(&mut self) -> io::Result<()> {
        self.settle_doubt()?;
        self.skip_foreign()?;
        let (done, bytes) = {
            let mut state = self.handle.shared.state();
            let acked = state.acked;
            // The newest stays, for its number: a spool must not begin again at 1.
            let keep = state.segments.len().saturating_sub(1);
            let count = state.segments.iter().take(keep).take_while(|segment| segment.last <= acked).count();
            let done: Vec<Segment> = state.segments.drain(..count).collect();
            (done, state.segments.iter().map(|segment| segment.synced).sum::<u64>())
        };
        if !done.is_empty() {
            // Before they go, or they would look lost.
            self.tell()?;
            self.copy.as_mut().map_or(Ok(()), |copy| copy.sync())?;
        }
        for segment in done {
            self.handle.seams.disk.remove(&Segment::path(&self.handle.folder, segment.first))?;
        }
        self.renew()?;
        if bytes > self.sizes.quota { self.make_room() } else { Ok(()) }
    }

    /// Gives what waits new numbers, above all that the control plane holds for used: under those that it
    /// has, it would be taken for what is there already. A crash in between sends it under both.
    fn skip_foreign(&mut self) -> io::Result<()> {
        let (skip, acked, last) = {
            let state = self.handle.shared.state();
            (state.skip, state.acked, state.segments.back().map_or(0, |segment| segment.last))
        };
        if skip <= acked {
            return Ok(());
        }
        self.sync()?;
        self.active = None;
        self.next = self.next.max(skip + 1);
        let (mut cursor, total) = (Cursor::at(acked + 1), self.total);
        // One that is empty keeps the number, should nothing wait.
        self.append(&fleet::Batch::default())?;
        loop {
            let Some((number, batch)) = cursor.next(&self.handle)? else {
                // Damage is mended, and then there is something to read.
                if self.settle_doubt()? {
                    continue;
                }
                break;
            };
            if !batch.is_empty() {
                self.append(&fleet::Batch::decode(batch)?)?;
            }
            if number >= last {
                break;
            }
        }
        self.sync()?;
        warn!(from = last + 1, through = skip, "skipped batch numbers that the control plane holds already");
        let mut state = self.handle.shared.state();
        (state.acked, state.acked_total) = (skip, total);
        state.sent.clear();
        Ok(())
    }

    /// Begins an empty file once all of the newest was acknowledged.
    fn renew(&mut self) -> io::Result<()> {
        let state = self.handle.shared.state();
        let Some(newest) = state.segments.back().cloned() else { return Ok(()) };
        let done = newest.last <= state.acked && newest.synced >= self.sizes.worth_freeing();
        drop(state);
        if !done || self.unsynced || newest.last + 1 != self.next {
            return Ok(());
        }
        let path = Segment::path(&self.handle.folder, self.next);
        let file = self.handle.seams.disk.append(&path)?;
        self.active = Some(Active::new(file, self.next, self.total, 0));
        self.handle.shared.state().segments.push_back(Segment::empty(self.next, self.total));
        Ok(())
    }

    /// Turns the two oldest files into one that says what is gone. One with batches that the control plane may have stored
    /// stays: nobody could say whether they are lost.
    fn make_room(&mut self) -> io::Result<()> {
        let active = self.active.as_ref().map(|active| active.first);
        let (at, oldest, following) = {
            let mut state = self.handle.shared.state();
            let at = state.segments.partition_point(|segment| segment.first <= state.handed);
            let (oldest, following) = (state.segments.get(at).cloned(), state.segments.get(at + 1).cloned());
            let (Some(oldest), Some(following)) = (oldest, following) else { return Ok(()) };
            let through = if oldest.is_gap { &following } else { &oldest };
            if Some(through.first) == active {
                return Ok(());
            }
            // Whoever reads it before it is gone would send what was counted as lost.
            state.given_up = Some(oldest.first..=through.last);
            (at, oldest, following)
        };
        let done = self.give_up(at, &oldest, &following);
        self.handle.shared.state().given_up = None;
        self.handle.shared.appended.notify_one();
        done
    }

    fn give_up(&mut self, at: usize, oldest: &Segment, following: &Segment) -> io::Result<()> {
        let disk = self.handle.seams.disk.clone();
        // A gap takes the next file in; a file becomes a gap by itself.
        let through = if oldest.is_gap { following } else { oldest };
        // Last uses are written once more, behind all that waits: a caller does not look unused because records found no room.
        // Sums stay here, for they count where they come twice.
        let (mut sums, mut told) = (Sums::default(), Vec::new());
        let mut of_gap = None;
        if oldest.is_gap {
            of_gap = oldest.each_batch(&self.handle, |batch| {
                batch.sums.iter().for_each(|sum| sums.put_back(sum));
                batch.dropped.into_iter().for_each(|loss| add_loss(&mut told, loss));
            });
        }
        let of_file = through.each_batch(&self.handle, |batch| {
            batch.sums.iter().for_each(|sum| sums.put_back(sum));
            batch.uses.into_iter().for_each(|used| self.uses.put(used));
            batch.dropped.into_iter().for_each(|loss| add_loss(&mut told, loss));
        });
        let mut content = oldest.content;
        if oldest.is_gap {
            content.add(following.content);
        }
        // A control plane may have acknowledged more than this process has read, and so than it knows the records of.
        let acked = self.acked_total().max(of_gap.or(of_file).unwrap_or_default());
        let before = oldest.before.max(acked).min(through.end);
        let gone = through.end - before;
        // What was told as lost in there keeps its reason.
        let known = told.iter().map(|loss| loss.records).sum::<u64>();
        let now = self.now();
        let (from, to) = (content.from.unwrap_or(now), content.to.unwrap_or(now));
        self.count_dropped(gone.saturating_sub(known));
        if known <= gone {
            add_loss(&mut told, dropped(gone - known, from, to, SPOOL_FULL));
        } else {
            told = vec![dropped(gone, from, to, SPOOL_FULL)];
        }
        let mut bytes = frame::header(&self.id());
        let mut first = oldest.first;
        // As many numbers as there were batches, none of which had more sums than this: all find room here, and a kill takes none.
        while sums.len() > sums::MOST && first < through.last {
            let batch = fleet::Batch { sums: sums.take(sums::MOST), ..fleet::Batch::default() };
            let label = frame::Label { first, before, weight: 0 };
            bytes.extend(self.frame((label, first), &batch.encode_to_vec()));
            first += 1;
        }
        let batch = fleet::Batch { dropped: told, sums: sums.take(sums::MOST), ..fleet::Batch::default() };
        let label = frame::Label { first, before, weight: gone };
        bytes.extend(self.frame((label, through.last), &batch.encode_to_vec()));
        disk.replace(&Segment::path(&self.handle.folder, oldest.first), &bytes)?;
        {
            let mut state = self.handle.shared.state();
            if let Some(front) = state.segments.get_mut(at) {
                (front.last, front.before, front.end) = (through.last, before, through.end);
                (front.content, front.synced, front.is_gap) = (Content::of(&batch), bytes.len() as u64, true);
                front.version += 1;
            }
            if oldest.is_gap {
                state.segments.remove(at + 1);
            }
        }
        if oldest.is_gap {
            disk.remove(&Segment::path(&self.handle.folder, following.first))?;
        }
        Ok(())
    }

    /// Checks a file that could not be read to its end, and keeps its intact frames. `false`: there was none.
    fn settle_doubt(&mut self) -> io::Result<bool> {
        let Some(number) = self.handle.shared.state().doubted.take() else { return Ok(false) };
        self.sync()?;
        let holds = |segment: &&Segment| (segment.first..=segment.last).contains(&number);
        let segment = self.handle.shared.state().segments.iter().find(holds).cloned();
        let Some(segment) = segment else { return Ok(true) };
        let path = Segment::path(&self.handle.folder, segment.first);
        let read = self.handle.seams.disk.read(&path).map(|mut bytes| {
            bytes.truncate(usize::try_from(segment.synced).unwrap_or(usize::MAX));
            bytes
        });
        let bytes = read.as_deref().unwrap_or_default();
        let numbers = segment.first..segment.last + 1;
        let survey = self.surveyor().survey(bytes, numbers.clone());
        let ends = survey.end().is_some_and(|position| position.number == segment.last);
        if !(ends && survey.is_whole(segment.first)) {
            let mended = self.surveyor().mend(bytes, &survey, numbers, segment.before, Some(segment.end));
            let mended = self.put_in_place(mended, read.as_deref().ok(), segment.version + 1)?;
            if let Some(active) = self.active.as_mut().filter(|active| active.first == segment.first) {
                let file = self.handle.seams.disk.append(&path)?;
                *active = Active::new(file, segment.first, segment.before, mended.synced);
            }
            let mut state = self.handle.shared.state();
            if let Some(place) = state.segments.iter_mut().find(|position| position.first == segment.first) {
                *place = mended;
            }
        }
        self.handle.shared.appended.notify_one();
        Ok(true)
    }

    /// Replaces a damaged file by the mended one, and sets the damaged one aside.
    pub(super) fn put_in_place(
        &self,
        mended: Mended,
        original: Option<&[u8]>,
        version: u32,
    ) -> io::Result<Segment> {
        let path = Segment::path(&self.handle.folder, mended.segment.first);
        let disk = &*self.handle.seams.disk;
        let (first, last, records) = (mended.segment.first, mended.segment.last, mended.lost);
        warn!(file = %path.display(), first, last, records, "segment of the record spool is damaged; its intact part is kept");
        self.count_damage();
        if original.is_some() || disk.list(&self.handle.folder)?.contains(&path) {
            set_aside(disk, &path, original)?;
        }
        disk.replace(&path, &mended.bytes)?;
        self.count_dropped(mended.lost);
        Ok(Segment { version, ..mended.segment })
    }

    /// Writes down that this spool is in use now, or that it was closed.
    pub(super) fn mark_alive(&mut self, closed: bool) -> io::Result<()> {
        // After an orderly end no number is in doubt.
        let reserved = if closed { self.next - 1 } else { self.reserved };
        self.write_marks(closed, reserved)
    }

    fn write_marks(&mut self, closed: bool, reserved: u64) -> io::Result<()> {
        let (marks, told) = self.marks(closed, reserved);
        self.copy = None;
        self.told = None;
        marks.write(&self.handle.folder, &self.handle.seams)?;
        (self.reserved, self.told) = (reserved, Some(told));
        Ok(())
    }

    /// Adds to the copy of the marks what came into force, if anything did. Does not wait for the disk.
    pub(super) fn tell(&mut self) -> io::Result<()> {
        let (marks, told) = self.marks(false, self.reserved);
        if self.told == Some(told) {
            return Ok(());
        }
        if self.told.take().is_none() {
            // The last try may have left half an entry, behind which no other could be found.
            return self.write_marks(false, self.reserved);
        }
        let (folder, seams) = (&self.handle.folder, &self.handle.seams);
        let mut copy = self.copy.take().map_or_else(|| Marks::open_copy(folder, seams), Ok)?;
        marks.add(&mut *copy)?;
        (self.copy, self.told) = (Some(copy), Some(told));
        Ok(())
    }

    fn marks(&mut self, is_closed: bool, reserved: u64) -> (Marks, [u64; 3]) {
        let state = self.handle.shared.state();
        let oldest = state.segments.front();
        let (first, before) = oldest
            .map_or((self.synced.number + 1, self.synced.total), |oldest| (oldest.first, oldest.before));
        if state.acked > self.acked.number {
            self.acked = SpoolPosition { number: state.acked, total: state.acked_total };
        }
        drop(state);
        self.serial += 1;
        let marks = Marks {
            id: self.handle.id(),
            is_closed,
            serial: self.serial,
            alive_at: self.handle.seams.clock.now(),
            reserved,
            first,
            before,
            last: self.synced.number,
            total: self.synced.total,
            acked: self.acked.number,
            acked_total: self.acked.total,
        };
        (marks, [first, self.synced.number, self.acked.number])
    }
}

impl Active {
    pub(super) fn new(file: Box<dyn DiskFile>, first: u64, before: u64, written: u64) -> Self {
        Self { file, first, before, written, unsynced: Content::default(), torn: false }
    }
}
