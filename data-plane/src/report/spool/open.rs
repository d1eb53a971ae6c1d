//! Opening a spool after a crash or damage: intact frames are kept, the rest is counted and set aside.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use prost::Message as _;
use rr_contract::seal::storage::StorageKey;
use rr_contract::seam::{Seams, draw};
use rr_contract::secret::Secret;
use rr_contract::wire::fleet;
use tokio::sync::Notify;
use tracing::{info, warn};

use super::super::sums::Sums;
use super::super::uses::Newest;
use super::aside::set_aside;
use super::marks::{Marks, Reading};
use super::segment::{Content, Segment, SpoolPosition};
use super::store::{Active, RESERVE, Sizes, Store};
use super::survey::Survey;
use super::{SENT, Shared, SpoolHandle, State, dropped, frame};

/// Maximum distance of a number in the newest file from its first.
const NUMBERS_MAX: u64 = 1 << 32;

/// A file that was looked at.
struct Looked {
    first: u64,
    /// `None`: it cannot be read, or is not there.
    bytes: Option<Vec<u8>>,
    survey: Survey,
}

impl Store {
    /// Opens the spool, or creates one. Also returns losses that no segment records.
    pub(super) fn open(
        folder: PathBuf,
        node_key: &Secret,
        sizes: Sizes,
        seams: Seams,
    ) -> io::Result<(Self, SpoolHandle, Vec<fleet::Dropped>)> {
        seams.disk.create_dir_all(&folder)?;
        let key = StorageKey::derive(node_key, "spool");
        let mut numbers: Vec<u64> =
            seams.disk.list(&folder)?.iter().filter_map(|path| Segment::number(path)).collect();
        numbers.sort_unstable();
        let reading = Marks::read(&folder, &seams);
        let known = match &reading.newest {
            Some(marks) => Some(marks.id),
            None => spool_of_segments(&folder, &numbers, &key, &seams),
        };
        let mut losses = Vec::new();
        if known.is_none() && !numbers.is_empty() {
            losses.push(give_up(&folder, &numbers, &seams)?);
            numbers.clear();
        }
        let id = known.unwrap_or_else(|| draw(&*seams.entropy));
        let dropped = losses.iter().map(|loss| loss.records).sum();
        let damaged = reading.faults + losses.len() as u64;
        let state = State {
            id,
            segments: VecDeque::new(),
            acked: 0,
            acked_total: 0,
            sent: VecDeque::new(),
            handed: 0,
            given_up: None,
            skip: 0,
            dropped,
            damaged,
            doubted: None,
        };
        let handle = SpoolHandle {
            shared: Arc::new(Shared { state: Mutex::new(state), appended: Notify::new() }),
            folder: Arc::new(folder),
            quota: sizes.quota,
            key,
            seams,
        };
        let nowhere = SpoolPosition { number: 0, total: 0 };
        let mut store = Self {
            handle: handle.clone(),
            sizes,
            active: None,
            next: 1,
            total: 0,
            synced: nowhere,
            acked: nowhere,
            reserved: 0,
            serial: 0,
            copy: None,
            told: None,
            unsynced: false,
            uses: Newest::default(),
            sums: Sums::default(),
        };
        store.take_over(&numbers, &reading, &mut losses)?;
        store.go_on()?;
        store.mark_alive(false)?;
        Ok((store, handle, losses))
    }

    /// Takes over the existing files, and counts what is missing.
    fn take_over(
        &mut self,
        numbers: &[u64],
        reading: &Reading,
        losses: &mut Vec<fleet::Dropped>,
    ) -> io::Result<()> {
        let marks = reading.newest.as_ref();
        if let Some(marks) = marks {
            self.acked = SpoolPosition { number: marks.acked, total: marks.acked_total };
            (self.reserved, self.serial) = (marks.reserved, marks.serial);
        }
        let bad = self.load(numbers, reading)?;
        let now = self.now();
        let last_record = self.handle.shared.state().segments.iter().filter_map(|one| one.content.to).max();
        let mut rows = Vec::new();
        match marks {
            None if numbers.is_empty() => return Ok(()),
            None => {
                warn!("marks files of the record spool are missing; continuing from the segment files");
                // Every number that was given out is in a frame, or in the rest of one.
                self.reserved = self.next - 1 + RESERVE + (bad / frame::FRAME_MIN) as u64;
                rows.push(dropped(0, last_record.unwrap_or(now).min(now), now, "unclean"));
            }
            Some(marks) => {
                if marks.last >= self.next {
                    let from = last_record.unwrap_or(SystemTime::UNIX_EPOCH).min(marks.alive_at);
                    let lost = marks.total.saturating_sub(self.total.max(self.acked.total));
                    warn!(
                        from = self.next,
                        through = marks.last,
                        records = lost,
                        "records that were written to the spool are missing; they are counted as damaged; check the disk under the state folder"
                    );
                    self.count_damage();
                    self.count_dropped(lost);
                    rows.push(dropped(lost, from, marks.alive_at, "damaged"));
                }
                if !marks.is_closed {
                    let from = Some(marks.alive_at).max(last_record).unwrap_or(now);
                    info!(
                        "the previous process was not stopped in order: up to 100 ms of records before its end may be missing"
                    );
                    rows.push(dropped(0, from.min(now), now, "unclean"));
                }
                self.reserved = self.reserved.max(marks.last);
            }
        }
        if self.next <= self.reserved {
            return self.skip_reserved(rows);
        }
        losses.extend(rows);
        Ok(())
    }

    /// Reads what there is. Returns how many bytes at the end of the newest file are no frames.
    fn load(&mut self, numbers: &[u64], reading: &Reading) -> io::Result<usize> {
        let marks = reading.newest.as_ref();
        let mut firsts: VecDeque<u64> = numbers.iter().copied().collect();
        if let Some(marks) = marks
            && reading.is_complete
            && firsts.front().is_some_and(|first| *first > marks.first.max(marks.acked + 1))
        {
            // Files that the marks know and that nobody acknowledged.
            firsts.push_front(marks.first.max(marks.acked + 1));
        }
        let mut stands = match (marks, firsts.front()) {
            (Some(marks), Some(first)) if *first == marks.acked + 1 => {
                SpoolPosition { number: marks.acked, total: marks.acked_total }
            }
            (Some(marks), Some(first)) if *first == marks.first => {
                SpoolPosition { number: first - 1, total: marks.before }
            }
            (_, Some(first)) => SpoolPosition { number: first - 1, total: 0 },
            (Some(marks), None) => {
                SpoolPosition { number: (marks.first - 1).max(marks.acked), total: marks.before }
            }
            (None, None) => SpoolPosition { number: 0, total: 0 },
        };
        let mut kept: Option<Looked> = None;
        while let Some(first) = firsts.pop_front() {
            let looked = self.look(first, firsts.front().copied());
            if let Some(before) = kept.take() {
                let end = |looked: &Looked| looked.survey.end().map(|position| position.number);
                if end(&looked).is_some() && end(&looked) <= end(&before) {
                    // The process ended between writing a gap and removing the file that it replaces.
                    self.handle.seams.disk.remove(&Segment::path(&self.handle.folder, first))?;
                    kept = Some(before);
                    continue;
                }
                let known = marks.map(|marks| SpoolPosition { number: marks.last, total: marks.total });
                let behind =
                    looked.survey.beginning().or(known).filter(|position| position.number + 1 == first);
                stands = self.keep(before, first, behind, stands)?;
            }
            kept = Some(looked);
        }
        let Some(newest) = kept else {
            self.stand_at(stands);
            return Ok(0);
        };
        let bad = newest.survey.bad();
        self.keep_newest(newest, marks, stands)?;
        Ok(bad)
    }

    fn look(&self, first: u64, following: Option<u64>) -> Looked {
        let path = Segment::path(&self.handle.folder, first);
        let bytes = self.handle.seams.disk.read(&path).map_err(|error| {
            warn!(%error, file = %path.display(), "segment of the record spool cannot be read; check the disk under the state folder");
        });
        let numbers = first..following.unwrap_or(first.saturating_add(NUMBERS_MAX));
        let survey = self.surveyor().survey(bytes.as_deref().unwrap_or_default(), numbers);
        Looked { first, bytes: bytes.ok(), survey }
    }

    /// Keeps a file that another follows. `behind`: where that one begins, if its first frame is whole.
    fn keep(
        &mut self,
        looked: Looked,
        following: u64,
        behind: Option<SpoolPosition>,
        stands: SpoolPosition,
    ) -> io::Result<SpoolPosition> {
        let Looked { first, bytes, survey } = looked;
        let is_whole = bytes.is_some() && survey.is_whole(first) && survey.bad() == 0;
        let end = survey.end().unwrap_or(SpoolPosition { number: first - 1, ..stands });
        let segment = if is_whole && end.number + 1 == following {
            whole(first, &survey, stands)
        } else {
            let numbers = first..following;
            let behind = behind.map(|position| position.total);
            let bytes = bytes.as_deref();
            let mended =
                self.surveyor().mend(bytes.unwrap_or_default(), &survey, numbers, stands.total, behind);
            if is_whole && mended.lost == 0 && behind.is_some() {
                // Numbers that were left out.
                let path = Segment::path(&self.handle.folder, first);
                self.handle.seams.disk.replace(&path, &mended.bytes)?;
                mended.segment
            } else {
                self.put_in_place(mended, bytes, 0)?
            }
        };
        let stands = SpoolPosition { number: segment.last, total: segment.end };
        self.handle.shared.state().segments.push_back(segment);
        Ok(stands)
    }

    /// Keeps the newest file. A torn end after a kill is no damage.
    fn keep_newest(
        &mut self,
        looked: Looked,
        marks: Option<&Marks>,
        stands: SpoolPosition,
    ) -> io::Result<()> {
        let Looked { first, bytes, survey } = looked;
        let path = Segment::path(&self.handle.folder, first);
        let disk = &*self.handle.seams.disk;
        let Some(bytes) = bytes else {
            self.count_damage();
            set_aside(disk, &path, None)?;
            self.stand_at(stands);
            return Ok(());
        };
        let end = survey.end().unwrap_or(SpoolPosition { number: first - 1, ..stands });
        let segment = if survey.is_whole(first) {
            if survey.bad() > 0 {
                let (bytes_bad, is_torn) =
                    (survey.bad(), marks.is_some_and(|marks| !marks.is_closed && marks.last <= end.number));
                warn!(file = %path.display(), bytes = bytes_bad, is_torn, "the newest segment of the record spool ends in an incomplete record; truncated");
                if !is_torn {
                    self.count_damage();
                    set_aside(disk, &path, Some(&bytes))?;
                }
                disk.truncate(&path, survey.good())?;
            }
            whole(first, &survey, stands)
        } else {
            let numbers = first..end.number + 1;
            let mended = self.surveyor().mend(&bytes, &survey, numbers, stands.total, Some(end.total));
            self.put_in_place(mended, Some(&bytes), 0)?
        };
        self.stand_at(SpoolPosition { number: segment.last, total: segment.end });
        self.handle.shared.state().segments.push_back(segment);
        Ok(())
    }

    fn stand_at(&mut self, place: SpoolPosition) {
        (self.next, self.total, self.synced) = (place.number + 1, place.total, place);
    }

    /// Leaves out every number that may have been given to a batch that is gone: where it was sent, another
    /// batch under it would be taken for that one.
    fn skip_reserved(&mut self, rows: Vec<fleet::Dropped>) -> io::Result<()> {
        let weight = rows.iter().map(|row| row.records).sum();
        let before = if weight > 0 { self.total.max(self.acked.total) } else { self.total };
        let batch = fleet::Batch { dropped: rows, ..fleet::Batch::default() };
        let (first, last) = (self.next, self.reserved);
        let mut bytes = frame::header(&self.id());
        bytes.extend(self.frame((frame::Label { first, before, weight }, last), &batch.encode_to_vec()));
        // A newest file without a frame has this name already.
        self.handle.seams.disk.replace(&Segment::path(&self.handle.folder, first), &bytes)?;
        let end = before + weight;
        let mut state = self.handle.shared.state();
        state.segments.pop_back_if(|newest| newest.first == first);
        state.segments.push_back(Segment {
            last,
            end,
            content: Content::of(&batch),
            synced: bytes.len() as u64,
            is_gap: last > first,
            ..Segment::empty(first, before)
        });
        drop(state);
        self.stand_at(SpoolPosition { number: last, total: end });
        Ok(())
    }

    /// Gets ready to append to the newest file.
    fn go_on(&mut self) -> io::Result<()> {
        let mut state = self.handle.shared.state();
        if let Some(newest) = state.segments.back().filter(|newest| !newest.is_gap) {
            let path = Segment::path(&self.handle.folder, newest.first);
            let file = self.handle.seams.disk.append(&path)?;
            self.active = Some(Active::new(file, newest.first, newest.before, newest.synced));
        }
        // What is still here is sent again, and known there by its number: a control plane that was put back from a
        // backup may lack what it once acknowledged.
        if let Some(oldest) = state.segments.front() {
            (state.acked, state.acked_total) = (oldest.first - 1, oldest.before);
        }
        // The marks may not say yet what was acknowledged last.
        state.handed = (self.acked.number + SENT as u64).min(self.next - 1);
        Ok(())
    }
}

fn whole(first: u64, survey: &Survey, stands: SpoolPosition) -> Segment {
    let beginning = survey.beginning().unwrap_or(stands);
    let end = survey.end().unwrap_or(SpoolPosition { number: first - 1, ..stands });
    Segment {
        last: end.number,
        end: end.total,
        content: survey.content(),
        synced: survey.good(),
        is_gap: survey.is_gap(),
        ..Segment::empty(first, beginning.total)
    }
}

/// The spool id from the segments: one for which a frame can be decrypted.
fn spool_of_segments(folder: &Path, numbers: &[u64], key: &StorageKey, seams: &Seams) -> Option<[u8; 16]> {
    numbers.iter().rev().find_map(|first| {
        let bytes = seams.disk.read(&Segment::path(folder, *first)).ok()?;
        let spool = frame::spool_of(&bytes)?;
        let numbers = *first..first.saturating_add(NUMBERS_MAX);
        frame::find(key, &spool, &bytes, frame::HEADER, numbers).map(|_| spool)
    })
}

/// Sets aside the segments of an unidentified spool; their numbers mean nothing in another.
fn give_up(folder: &Path, numbers: &[u64], seams: &Seams) -> io::Result<fleet::Dropped> {
    let mut records = 0;
    for first in numbers {
        let path = Segment::path(folder, *first);
        records += seams.disk.read(&path).map_or(0, |bytes| frame::weigh(&bytes));
        set_aside(&*seams.disk, &path, None)?;
    }
    warn!(
        records,
        "neither the marks nor the segments identify the record spool; the segments are set aside and a new spool is started"
    );
    Ok(dropped(records, SystemTime::UNIX_EPOCH, seams.clock.now(), "damaged"))
}
