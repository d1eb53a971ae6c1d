//! Records, sums of requests and last uses of callers on disk, until the control plane has them.
//!
//! A thread of its own empties the rings, writes batches into segment files, syncs at most each 100 ms, and
//! deletes what was acknowledged. The invariants: a batch keeps its number for good, a number that was ever
//! given out is never given out again, numbers have no gap, and whatever is lost (a full ring, a full disk, a kill,
//! damage, a share that a proxy asked for, what gave way to denials and errors) is in the stream as a count. A record and its sum are in one batch, so that a kill takes both or none. Sums and last
//! uses outlive records that have to go for want of room. No damage deletes anything: what is whole is sent, the rest set aside.

mod aside;
mod frame;
mod marks;
mod open;
mod segment;
mod store;
mod survey;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::mpsc::{Receiver as StopReceiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, SystemTime};
use std::{io, mem};

use rr_contract::runtime::logging_alike;
use rr_contract::seam::{Seams, Volatile};
use rr_contract::secret::Secret;
use rr_contract::wire::fleet;
use tokio::sync::{Notify, oneshot};
use tracing::{info, warn};

use super::loss::dropped;
use super::ring::RingEnd;
use super::{RawRecord, Tee, UseReceiver, class, sums};

pub(crate) use self::segment::Cursor;
use self::segment::SpoolPosition;
use self::store::{Sizes, Store};

const DRAIN_EVERY: Duration = Duration::from_millis(20);
const SYNC_EVERY: Duration = Duration::from_millis(100);
/// Precision of the start of a gap after a kill.
const ALIVE_EVERY: Duration = Duration::from_secs(10);
const BATCH_RECORDS: usize = 512;
/// Last uses in one batch, and of one pass through the rings.
const BATCH_USES: usize = 512;
/// Sums in one batch.
const BATCH_SUMS: usize = sums::MOST;
const STACK: usize = 256 * 1024;
/// Of its quota, how much may wait before records of requests that were granted give way to others: in fifths.
const NEAR_FIFTHS: u64 = 4;
/// The code of a request of which nothing is known yet but that it was let in.
const UNDER_WAY: &str = "under-way";
/// Bytes of records kept in memory when the disk takes none.
const VOLATILE_QUOTA: u64 = 8 * 1024 * 1024;

/// Reasons, as `Dropped` has them.
const RING_FULL: &str = "ring-full";
const SPOOL_FULL: &str = "spool-full";

/// A spool that cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error("open the record spool in {folder}", folder = folder.display())]
pub struct SpoolError {
    /// The folder of the spool.
    pub folder: PathBuf,
    /// The cause.
    #[source]
    pub source: io::Error,
}

/// Whether the disk is full or read-only: a node continues without it.
fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::ReadOnlyFilesystem
    )
}

/// What the thread, the upload and the status share. No worker touches it.
pub(super) struct Shared {
    state: Mutex<State>,
    appended: Notify,
}

/// What is on disk and may be read.
pub(super) struct State {
    pub(super) id: [u8; 16],
    pub(super) segments: std::collections::VecDeque<segment::Segment>,
    pub(super) acked: u64,
    /// The number of records up to there.
    pub(super) acked_total: u64,
    /// The newest batches read for upload, each with the number of records up to it.
    pub(super) sent: std::collections::VecDeque<(u64, u64)>,
    /// Batches up to here may be stored at the control plane, acknowledged or not: by this process or the one before.
    pub(super) handed: u64,
    /// These batches are being given up for room. None of them is read for upload meanwhile.
    pub(super) given_up: Option<std::ops::RangeInclusive<u64>>,
    /// Numbers up to here are in use at the control plane.
    pub(super) skip: u64,
    dropped: u64,
    /// Damaged parts found.
    damaged: u64,
    /// The batch with this number could not be read.
    doubted: Option<u64>,
}

/// How many of the batches that were read are remembered: some more than are ever under way.
pub(super) const SENT: usize = 64;

impl State {
    /// The segment from which batch `next` is read; `None`: there is none yet, or it is being given up. From here on it is
    /// taken for one that may be stored, so that it is not given up between this and the reading.
    fn take_up(&mut self, next: u64) -> Option<segment::Segment> {
        let holds = |segment: &&segment::Segment| segment.first <= next && next <= segment.last;
        let segment = self.segments.iter().find(holds)?.clone();
        if self.given_up.as_ref().is_some_and(|given_up| given_up.contains(&segment.first)) {
            return None;
        }
        self.handed = self.handed.max(segment.first);
        Some(segment)
    }

    /// Batch `number` was read, to be sent; with it, the spool had been given `total` records.
    pub(super) fn hand_out(&mut self, number: u64, total: u64) {
        self.handed = self.handed.max(number);
        while self.sent.pop_back_if(|(before, _)| *before >= number).is_some() {}
        if self.sent.len() == SENT {
            self.sent.pop_front();
        }
        self.sent.push_back((number, total));
    }
}

impl Shared {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The thread that writes.
pub(crate) struct Spool {
    stop: SyncSender<()>,
    thread: JoinHandle<()>,
}

/// The handle to the spool for its users.
#[derive(Clone)]
pub(crate) struct SpoolHandle {
    pub(super) shared: Arc<Shared>,
    pub(super) folder: Arc<PathBuf>,
    pub(super) quota: u64,
    pub(super) key: rr_contract::seal::storage::StorageKey,
    pub(super) seams: Seams,
}

impl Spool {
    /// Opens what is on disk and starts to empty the rings.
    pub(crate) fn start(
        folder: PathBuf,
        node_key: &Secret,
        quota: u64,
        rings: Vec<RingEnd>,
        uses: UseReceiver,
        tee: Option<Tee>,
        mut seams: Seams,
    ) -> Result<(Self, SpoolHandle), SpoolError> {
        let failed = |source| SpoolError { folder: folder.clone(), source };
        let open = |quota, seams| Store::open(folder.clone(), node_key, Sizes::with_quota(quota), seams);
        let mut is_volatile = false;
        let opened = match open(quota, seams.clone()) {
            Err(error) if is_full(&error) => {
                let folder = folder.display();
                warn!(%error, %folder, "the record spool cannot be written; keeping records in memory only until the next start");
                // The files on disk stay there for a start that finds room.
                seams.disk = Arc::new(Volatile::default());
                is_volatile = true;
                open(quota.min(VOLATILE_QUOTA), seams.clone())
            }
            opened => opened,
        };
        let (store, handle, found) = opened.map_err(failed)?;
        let (stop, stopped) = sync_channel(1);
        let mut writer = Writer {
            store,
            rings,
            uses,
            tee,
            pending: found,
            records: Vec::new(),
            begun: Vec::new(),
            waiting: Vec::new(),
            ended: Vec::new(),
            is_volatile,
            used: Vec::new(),
            last_drain: seams.clock.now(),
            last_sync: tokio::time::Instant::now(),
            last_alive: tokio::time::Instant::now(),
            failing: false,
            seams,
        };
        let thread = Builder::new()
            .name("spool".into())
            .stack_size(STACK)
            .spawn(logging_alike(move || writer.run(&stopped)))
            .map_err(failed)?;
        Ok((Self { stop, thread }, handle))
    }

    /// Writes what the rings still hold, and ends. Blocks until then.
    pub(crate) fn close(self) {
        // The thread may have ended by itself; then no receiver is left.
        self.stop.try_send(()).ok();
        if self.thread.join().is_err() {
            warn!("spool's thread panicked");
        }
    }
}

impl SpoolHandle {
    /// Bytes waiting for upload.
    pub(crate) fn bytes(&self) -> u64 {
        let state = self.shared.state();
        let waiting = state.segments.iter().filter(|segment| segment.last > state.acked);
        waiting.map(|segment| segment.synced).sum()
    }

    /// Whether there is so little room left that it is kept for records of requests that were refused or that failed.
    fn is_nearly_full(&self) -> bool {
        self.bytes() > self.quota / 5 * NEAR_FIFTHS
    }

    /// How many bytes may wait.
    pub(crate) fn quota(&self) -> u64 {
        self.quota
    }

    /// Records lost since the start.
    pub(crate) fn dropped(&self) -> u64 {
        self.shared.state().dropped
    }

    /// Damaged parts found since the start.
    pub(crate) fn damaged(&self) -> u64 {
        self.shared.state().damaged
    }

    /// Waits until something was added; at once if it was since the last time.
    pub(super) async fn appended(&self) {
        self.shared.appended.notified().await;
    }

    pub(super) fn id(&self) -> [u8; 16] {
        self.shared.state().id
    }

    pub(super) fn acked(&self) -> u64 {
        self.shared.state().acked
    }

    /// Records that were acknowledged, by the marks or since.
    fn acked_total(&self, marked: SpoolPosition) -> u64 {
        let state = self.shared.state();
        if state.acked > marked.number { state.acked_total } else { marked.total }
    }

    fn frame(&self, place: (frame::Label, u64), batch: &[u8]) -> Vec<u8> {
        frame::write(&self.key, &self.id(), place, batch, &*self.seams.entropy)
    }

    /// Acknowledges everything up to `through`. `false`: these numbers were never given out, so the acknowledgement
    /// is for another spool; nothing is acknowledged, and waiting batches get higher numbers.
    pub(super) fn acknowledge(&self, through: u64) -> bool {
        let mut state = self.shared.state();
        let last = state.segments.back().map_or(0, |segment| segment.last);
        if through > last {
            state.skip = state.skip.max(through);
            return false;
        }
        state.acked = state.acked.max(through);
        while let Some((_, total)) = state.sent.pop_front_if(|(number, _)| *number <= through) {
            state.acked_total = state.acked_total.max(total);
        }
        true
    }

    /// Requests a check of the file that holds batch `number`: it could not be read.
    pub(super) fn doubt(&self, number: u64) {
        self.shared.state().doubted = Some(number);
    }

    /// Keeps a batch aside that the control plane could not read.
    pub(super) fn set_aside(&self, sequence: u64, body: &[u8]) -> io::Result<()> {
        let sealed = self.key.seal(b"requestrocket poison 1", body, &*self.seams.entropy);
        self.seams.disk.replace(&self.folder.join(format!("poison-{sequence:020}")), &sealed)
    }
}

struct Writer {
    store: Store,
    rings: Vec<RingEnd>,
    uses: UseReceiver,
    /// Gets each record as well, where there is a log of lines.
    tee: Option<Tee>,
    /// Losses that are not in the stream yet.
    pending: Vec<fleet::Dropped>,
    /// Records of the next batch.
    records: Vec<fleet::Record>,
    /// The same of requests that wait until they are on disk, and who does.
    begun: Vec<fleet::Record>,
    waiting: Vec<oneshot::Sender<()>>,
    /// Ids of records that take the place of such.
    ended: Vec<String>,
    /// There is no disk.
    is_volatile: bool,
    /// Those of the batches before, to be written over: making them anew costs a dozen allocations each.
    used: Vec<fleet::Record>,
    last_drain: SystemTime,
    last_sync: tokio::time::Instant,
    last_alive: tokio::time::Instant,
    failing: bool,
    seams: Seams,
}

impl Writer {
    fn run(&mut self, stopped: &StopReceiver<()>) {
        loop {
            let stopping = !matches!(stopped.recv_timeout(DRAIN_EVERY), Err(RecvTimeoutError::Timeout));
            self.drain();
            if stopping || !self.waiting.is_empty() || self.last_sync.elapsed() >= SYNC_EVERY {
                self.sync();
            }
            let alive = stopping || self.last_alive.elapsed() >= ALIVE_EVERY;
            let reclaimed = self.store.reclaim();
            let outcome = reclaimed
                .and_then(|()| if alive { self.store.mark_alive(stopping) } else { self.store.tell() });
            self.note(outcome);
            if alive {
                self.last_alive = tokio::time::Instant::now();
            }
            if stopping {
                return;
            }
        }
    }

    /// Takes what the rings hold.
    fn drain(&mut self) {
        let (now, is_short) = (self.seams.clock.now(), self.store.handle.is_nearly_full());
        for ring in 0..self.rings.len() {
            let lost = self.rings[ring].lost();
            self.lose(lost, now, RING_FULL);
            if let Some(tee) = &self.tee {
                tee.missed(lost);
            }
        }
        for ring in 0..self.rings.len() {
            while let Ok(mut record) = self.rings[ring].receiver.try_recv() {
                if let Some(waiting) = record.waiting.0.take() {
                    self.begin(*record, waiting);
                    continue;
                }
                self.store.sums.add(&record);
                if let Some(reason) = class::left_out(&record, is_short) {
                    self.lose(record.count, now, reason);
                    // Room for lines is none of the spool's.
                    if let Some(tee) = self.tee.as_mut().filter(|_| reason != class::SAMPLED) {
                        let mut used = self.used.pop().unwrap_or_default();
                        record.replace(&mut used);
                        tee.take(&used);
                        self.used.push(used);
                    }
                    continue;
                }
                let mut used = self.used.pop().unwrap_or_default();
                let has_begun = record.has_begun;
                record.replace(&mut used);
                if has_begun {
                    self.ended.push(used.id.clone());
                }
                if let Some(tee) = &mut self.tee {
                    tee.take(&used);
                }
                self.records.push(used);
                if self.records.len() == BATCH_RECORDS {
                    self.append_next();
                }
            }
            self.store.sums.receive(&self.rings[ring].sums);
        }
        self.last_drain = now;
        if let Some(tee) = &mut self.tee {
            tee.pass_on();
        }
        // Behind the records: a use is told before its record is, so the sync that keeps the one keeps the other.
        self.store.uses.receive(&mut self.uses);
    }

    /// Takes what is known of a request that waits until it is on disk. It stands for no request yet: its end does.
    fn begin(&mut self, record: RawRecord, waiting: oneshot::Sender<()>) {
        if self.is_volatile {
            // Memory is no disk: who waits learns it at once.
            return;
        }
        let is_decided = record.code.is_some();
        let mut begun = fleet::Record::default();
        record.replace(&mut begun);
        if !is_decided {
            UNDER_WAY.clone_into(&mut begun.code);
        }
        self.begun.push(begun);
        self.waiting.push(waiting);
        if self.begun.len() == BATCH_RECORDS {
            self.append_next();
        }
    }

    /// Writes what was taken, as one batch at the most.
    fn append_next(&mut self) {
        let batch = fleet::Batch {
            records: mem::take(&mut self.records),
            dropped: mem::take(&mut self.pending),
            begun: mem::take(&mut self.begun),
            ended: mem::take(&mut self.ended),
            uses: self.store.uses.take(BATCH_USES),
            sums: self.store.sums.take(BATCH_SUMS),
        };
        if batch != fleet::Batch::default() {
            self.append(batch);
        }
    }

    fn append(&mut self, mut batch: fleet::Batch) {
        let outcome = self.store.append(&batch);
        if outcome.is_err() {
            let now = self.seams.clock.now();
            // Whoever waits learns that it is not on disk.
            self.waiting.clear();
            let lost = batch.records.len() as u64;
            batch.dropped.drain(..).for_each(|loss| add_loss(&mut self.pending, loss));
            batch.uses.drain(..).for_each(|used| self.store.uses.put(used));
            batch.sums.iter().for_each(|sum| self.store.sums.put_back(sum));
            self.lose(lost, now, SPOOL_FULL);
        }
        self.note(outcome);
        self.used.append(&mut batch.records);
    }

    /// Counts records that are not written: one row for each reason in a batch, and however long the disk refuses batches.
    fn lose(&mut self, records: u64, now: SystemTime, reason: &str) {
        if records == 0 {
            return;
        }
        if reason != class::SAMPLED {
            self.store.count_dropped(records);
        }
        add_loss(&mut self.pending, dropped(records, self.last_drain, now, reason));
    }

    /// Writes all that was taken, and makes sure of it.
    fn sync(&mut self) {
        // Each batch takes some of them; where the disk refuses, there is an end all the same.
        let batches = 1 + (self.store.uses.len() / BATCH_USES).max(self.store.sums.len() / BATCH_SUMS);
        (0..batches).for_each(|_| self.append_next());
        let outcome = self.store.sync();
        // One sync for all who wait. Where it failed they learn that by being let go.
        let waiting = mem::take(&mut self.waiting);
        if outcome.is_ok() {
            for waiting in waiting {
                // Whoever is gone does not hear it.
                waiting.send(()).ok();
            }
        }
        if matches!(outcome, Ok(true)) {
            self.last_sync = tokio::time::Instant::now();
            if mem::take(&mut self.failing) {
                info!("records are written again");
            }
        }
        self.note(outcome.map(|_| ()));
    }

    /// One line when the disk begins to refuse, and one when it stops.
    fn note(&mut self, outcome: io::Result<()>) {
        match outcome {
            Ok(()) => {}
            Err(error) if !self.failing => {
                self.failing = true;
                warn!(%error, "records cannot be written to the spool; they are dropped and counted; check the disk under the state folder");
            }
            Err(_) => {}
        }
    }
}

/// Adds a loss to those of the same reason.
fn add_loss(losses: &mut Vec<fleet::Dropped>, loss: fleet::Dropped) {
    let Some(there) = losses.iter_mut().find(|there| there.reason == loss.reason) else {
        return losses.push(loss);
    };
    there.records += loss.records;
    there.from = [there.from.take(), loss.from].into_iter().flatten().min_by_key(|at| (at.seconds, at.nanos));
    there.to = [there.to.take(), loss.to].into_iter().flatten().max_by_key(|at| (at.seconds, at.nanos));
}
