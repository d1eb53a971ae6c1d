//! Segment files: opened after whatever happened, appended to, deleted when acknowledged or too large.

use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use prost::Message as _;
use rr_contract::model::time;
use rr_contract::seal::storage::StorageKey;
use rr_contract::seam::{DiskFile, Seams, draw};
use rr_contract::secret::Secret;
use rr_contract::wire::fleet;
use tokio::sync::Notify;
use tracing::{info, warn};

use super::meta::Meta;
use super::segment::{Cursor, Segment};
use super::{Shared, SpoolHandle, State, dropped, frame};

/// How large what may become.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sizes {
    /// All files together.
    pub(super) quota: u64,
    /// Where a new file is begun. Small enough that an acknowledged one goes soon.
    pub(super) segment: u64,
}

impl Sizes {
    pub(super) fn with_quota(quota: u64) -> Self {
        Self { quota, segment: 4 * 1024 * 1024 }
    }

    /// A fully acknowledged file is replaced by an empty one only when that frees something.
    fn worth_freeing(self) -> u64 {
        self.segment / 64
    }
}

/// How many numbers are set aside at once; each time costs a file.
const RESERVE: u64 = 256;

pub(super) struct Store {
    handle: SpoolHandle,
    id: [u8; 16],
    sizes: Sizes,
    active: Option<Active>,
    next: u64,
    /// The meta file says that numbers up to here may be in use. None above it ever was.
    reserved: u64,
    unsynced: bool,
}

struct Active {
    file: Box<dyn DiskFile>,
    first: u64,
    written: u64,
    /// Something behind `written` may be torn.
    torn: bool,
}

/// What one file holds.
struct Scan {
    last: Option<u64>,
    good: usize,
    records: u64,
    from: Option<SystemTime>,
    to: Option<SystemTime>,
    is_gap: bool,
}

impl Store {
    /// Opens the spool, or makes one. The loss that an unclean end may have caused comes along.
    pub(super) fn open(
        folder: PathBuf,
        node_key: &Secret,
        sizes: Sizes,
        seams: Seams,
    ) -> io::Result<(Self, SpoolHandle, Option<fleet::Dropped>)> {
        seams.disk.create_dir_all(&folder)?;
        let key = StorageKey::derive(node_key, "spool");
        let files: Vec<PathBuf> = seams.disk.list(&folder)?;
        let mut numbers: Vec<u64> = files.iter().filter_map(|path| Segment::number(path)).collect();
        numbers.sort_unstable();
        let now = seams.clock.now();
        let meta = Meta::read(&folder, &seams).filter(|_| !numbers.is_empty());
        let (id, fresh) = match meta.as_ref().and_then(Meta::id) {
            Some(id) => (id, false),
            // Numbers of another spool mean nothing in this one.
            None => (draw(&*seams.entropy), true),
        };
        if fresh {
            for number in numbers.drain(..) {
                seams.disk.remove(&Segment::path(&folder, number))?;
            }
        }
        let state = State { id, segments: VecDeque::new(), acked: 0, skip: 0, dropped: 0, damaged: 0 };
        let handle = SpoolHandle {
            shared: Arc::new(Shared { state: Mutex::new(state), appended: Notify::new() }),
            folder: Arc::new(folder),
            key,
            seams,
        };
        let reserved = meta.as_ref().map_or(0, Meta::reserved);
        let mut store =
            Self { handle: handle.clone(), id, sizes, active: None, next: 1, reserved, unsynced: false };
        let last_record = store.load(&numbers)?;
        let mut lost = meta.as_ref().filter(|meta| !meta.was_closed()).map(|meta| {
            let from = meta.alive_at().max(last_record).unwrap_or(now);
            info!("records of the last moments before the end are missing: it was not an orderly one");
            dropped(0, from.min(now), now, "unclean")
        });
        if store.next <= reserved {
            if lost.is_none() {
                warn!(from = store.next, through = reserved, "records that were written are gone");
                store.count_damage();
            }
            let from = last_record.unwrap_or(now).min(now);
            store.skip_reserved(lost.take().unwrap_or_else(|| dropped(0, from, now, "damaged")))?;
        }
        store.go_on()?;
        store.mark_alive(false)?;
        Ok((store, handle, lost))
    }

    /// Reads what there is; returns when the last record was made.
    fn load(&mut self, numbers: &[u64]) -> io::Result<Option<SystemTime>> {
        let seams = self.handle.seams.clone();
        let mut latest = None;
        for (at, &first) in numbers.iter().enumerate() {
            let path = Segment::path(&self.handle.folder, first);
            let bytes = seams.disk.read(&path)?;
            let scan = self.scan(&bytes, first);
            latest = latest.max(scan.to);
            let mut last = scan.last.unwrap_or(first - 1);
            let mut synced = scan.good as u64;
            let before = self.handle.shared.state().segments.back().map(|segment| segment.last);
            // A file whose numbers are in the one before: the end came between making a gap and removing it.
            if before.is_some_and(|before| last <= before && scan.last.is_some()) {
                seams.disk.remove(&path)?;
                continue;
            }
            if scan.good < bytes.len() {
                let cut = bytes.len() - scan.good;
                warn!(file = %path.display(), bytes = cut, "segment of records is torn or damaged, end cut off");
                self.count_damage();
                seams.disk.truncate(&path, synced)?;
            }
            if let Some(&following) = numbers.get(at + 1) {
                if last + 1 < following {
                    warn!(file = %path.display(), from = last + 1, through = following - 1, "batches of records are gone");
                    self.count_damage();
                    let from = scan.to.unwrap_or(SystemTime::UNIX_EPOCH);
                    let lost = fleet::Batch {
                        dropped: vec![dropped(0, from, seams.clock.now(), "damaged")],
                        ..fleet::Batch::default()
                    };
                    let range = (last + 1, following - 1);
                    let gap = frame::write(
                        &self.handle.key,
                        &self.id,
                        range,
                        &lost.encode_to_vec(),
                        &*seams.entropy,
                    );
                    let mut file = seams.disk.append(&path)?;
                    file.write_all(&gap)?;
                    file.sync()?;
                    synced += gap.len() as u64;
                }
                last = following - 1;
            }
            self.handle.shared.state().segments.push_back(Segment {
                first,
                last,
                synced,
                is_gap: scan.is_gap,
            });
        }
        let state = self.handle.shared.state();
        self.next = state.segments.back().map_or(1, |segment| segment.last + 1);
        drop(state);
        Ok(latest)
    }

    /// Leaves out every number that may have been given to a batch that is gone: where it was sent, another
    /// batch under it would be taken for that one.
    fn skip_reserved(&mut self, lost: fleet::Dropped) -> io::Result<()> {
        let seams = &self.handle.seams;
        let batch = fleet::Batch { dropped: vec![lost], ..fleet::Batch::default() }.encode_to_vec();
        let range = (self.next, self.reserved);
        let gap = frame::write(&self.handle.key, &self.id, range, &batch, &*seams.entropy);
        // A newest file without a frame has this name already.
        seams.disk.replace(&Segment::path(&self.handle.folder, self.next), &gap)?;
        let (first, last) = range;
        let mut state = self.handle.shared.state();
        state.segments.pop_back_if(|newest| newest.first == first);
        let synced = gap.len() as u64;
        state.segments.push_back(Segment { first, last, synced, is_gap: last > first });
        self.next = last + 1;
        Ok(())
    }

    /// Gets ready to append to the newest file.
    fn go_on(&mut self) -> io::Result<()> {
        let mut state = self.handle.shared.state();
        if let Some(newest) = state.segments.back().filter(|newest| !newest.is_gap) {
            let (first, written) = (newest.first, newest.synced);
            let file = self.handle.seams.disk.append(&Segment::path(&self.handle.folder, first))?;
            self.active = Some(Active { file, first, written, torn: false });
        }
        // Acknowledgements are not on disk: what is still here is sent again, and known there by its number.
        state.acked = state.segments.front().map_or(0, |segment| segment.first - 1);
        Ok(())
    }

    fn scan(&self, bytes: &[u8], first: u64) -> Scan {
        let mut scan = Scan { last: None, good: 0, records: 0, from: None, to: None, is_gap: false };
        let mut expected = first;
        while let Some(found) = frame::read(&self.handle.key, &self.id, bytes, scan.good) {
            if found.first != expected {
                break;
            }
            if let Ok(batch) = fleet::Batch::decode(found.batch) {
                scan.records += batch.records.len() as u64;
                let lost = batch.dropped.iter();
                scan.records += lost.clone().map(|dropped| dropped.records).sum::<u64>();
                let records = batch.records.iter().map(|record| &record.received_at);
                let ends = lost.flat_map(|dropped| [&dropped.from, &dropped.to]);
                for at in records.chain(ends).flatten().filter_map(|at| time::system_time(at).ok()) {
                    scan.from = Some(scan.from.map_or(at, |from| from.min(at)));
                    scan.to = scan.to.max(Some(at));
                }
            }
            scan.is_gap |= found.through > found.first && found.first == first;
            scan.last = Some(found.through);
            scan.good = found.end;
            expected = found.through + 1;
        }
        scan
    }

    pub(super) fn count_dropped(&self, records: u64) {
        self.handle.shared.state().dropped += records;
    }

    fn count_damage(&self) {
        self.handle.shared.state().damaged += 1;
    }

    /// Adds a batch under the next number. After an error the number is still free.
    pub(super) fn append(&mut self, batch: &[u8]) -> io::Result<()> {
        if self.next > self.reserved {
            // On disk before it is used: not even the loss of every segment may make it free again.
            self.write_meta(false, self.next + RESERVE - 1)?;
        }
        if self.active.as_ref().is_some_and(|active| active.written >= self.sizes.segment) {
            // Before the next file is begun, or a crash could leave a hole between the two.
            self.sync()?;
            self.active = None;
        }
        let seams = &self.handle.seams;
        let frame = frame::write(&self.handle.key, &self.id, (self.next, self.next), batch, &*seams.entropy);
        let active = match &mut self.active {
            Some(active) => active,
            none => {
                let file = seams.disk.append(&Segment::path(&self.handle.folder, self.next))?;
                none.insert(Active { file, first: self.next, written: 0, torn: false })
            }
        };
        if active.torn {
            // Nothing behind a torn frame could be read.
            seams.disk.truncate(&Segment::path(&self.handle.folder, active.first), active.written)?;
        }
        active.torn = true;
        active.file.write_all(&frame)?;
        active.torn = false;
        active.written += frame.len() as u64;
        self.next += 1;
        self.unsynced = true;
        Ok(())
    }

    /// Makes sure of what was appended, and lets it be read. `false`: there was nothing.
    pub(super) fn sync(&mut self) -> io::Result<bool> {
        let Some(active) = self.active.as_mut().filter(|_| self.unsynced) else { return Ok(false) };
        active.file.sync()?;
        self.unsynced = false;
        let mut state = self.handle.shared.state();
        let (first, last, synced) = (active.first, self.next - 1, active.written);
        match state.segments.iter_mut().find(|segment| segment.first == first) {
            Some(segment) => (segment.last, segment.synced) = (last, synced),
            None => state.segments.push_back(Segment { first, last, synced, is_gap: false }),
        }
        drop(state);
        self.handle.shared.appended.notify_one();
        Ok(true)
    }

    /// Deletes what was acknowledged, and the oldest when the quota is full.
    pub(super) fn reclaim(&mut self) -> io::Result<()> {
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
        let mut cursor = Cursor::at(acked + 1);
        // One that is empty keeps the number, should nothing wait.
        self.append(&[])?;
        while let Some((number, batch)) = cursor.next(&self.handle)? {
            if !batch.is_empty() {
                self.append(&batch)?;
            }
            if number >= last {
                break;
            }
        }
        self.sync()?;
        warn!(from = last + 1, through = skip, "skipped numbers of records that are in use elsewhere");
        self.handle.shared.state().acked = skip;
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
        self.active = Some(Active { file, first: self.next, written: 0, torn: false });
        let empty = Segment { first: self.next, last: newest.last, synced: 0, is_gap: false };
        self.handle.shared.state().segments.push_back(empty);
        Ok(())
    }

    /// Turns the two oldest files into one that says what is gone.
    fn make_room(&mut self) -> io::Result<()> {
        let seams = self.handle.seams.clone();
        let (oldest, following) = {
            let state = self.handle.shared.state();
            let mut segments = state.segments.iter();
            (segments.next().cloned(), segments.next().cloned())
        };
        let (Some(oldest), Some(following)) = (oldest, following) else { return Ok(()) };
        let active = self.active.as_ref().map(|active| active.first);
        // A gap takes the next file in; a file becomes a gap by itself.
        let through = if oldest.is_gap { &following } else { &oldest };
        if Some(through.first) == active {
            return Ok(());
        }
        let mut lost = self.loss_of(oldest.first)?;
        if oldest.is_gap {
            let more = self.loss_of(following.first)?;
            self.count_dropped(more.records);
            lost.records += more.records;
            lost.to = more.to.or(lost.to);
        } else {
            self.count_dropped(lost.records);
        }
        let batch = fleet::Batch { dropped: vec![lost], ..fleet::Batch::default() };
        let range = (oldest.first, through.last);
        let gap = frame::write(&self.handle.key, &self.id, range, &batch.encode_to_vec(), &*seams.entropy);
        seams.disk.replace(&Segment::path(&self.handle.folder, oldest.first), &gap)?;
        {
            let mut state = self.handle.shared.state();
            if let Some(front) = state.segments.front_mut() {
                (front.last, front.synced, front.is_gap) = (through.last, gap.len() as u64, true);
            }
            if oldest.is_gap {
                state.segments.remove(1);
            }
        }
        if oldest.is_gap {
            seams.disk.remove(&Segment::path(&self.handle.folder, following.first))?;
        }
        Ok(())
    }

    fn loss_of(&self, first: u64) -> io::Result<fleet::Dropped> {
        let bytes = self.handle.seams.disk.read(&Segment::path(&self.handle.folder, first))?;
        let scan = self.scan(&bytes, first);
        let now = self.handle.seams.clock.now();
        Ok(dropped(scan.records, scan.from.unwrap_or(now), scan.to.unwrap_or(now), "spool-full"))
    }

    /// Writes down that this spool is in use now, or that it was closed.
    pub(super) fn mark_alive(&mut self, closed: bool) -> io::Result<()> {
        // After an orderly end no number is in doubt.
        let reserved = if closed { self.next - 1 } else { self.reserved };
        self.write_meta(closed, reserved)
    }

    fn write_meta(&mut self, closed: bool, reserved: u64) -> io::Result<()> {
        let seams = &self.handle.seams;
        Meta::new(self.id, closed, seams.clock.now(), reserved).write(&self.handle.folder, seams)?;
        self.reserved = reserved;
        Ok(())
    }
}
