//! Records, sums of requests and last uses of callers on disk, until the control plane has them.
//!
//! A thread of its own empties the rings, writes batches into segment files, syncs at most each 100 ms, and
//! deletes what was acknowledged. The invariants: a batch keeps its number for good, a number that was ever
//! given out is never given out again, numbers have no gap, and whatever is lost (a full ring, a full disk, a kill,
//! damage) is in the stream as a count. A record and its sum are in one batch, so that a kill takes both or none. Sums and last
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

use rr_contract::model::time::timestamp;
use rr_contract::runtime::logging_alike;
use rr_contract::seam::{Seams, Volatile};
use rr_contract::secret::Secret;
use rr_contract::wire::fleet;
use tokio::sync::Notify;
use tracing::{info, warn};

use super::ring::RingEnd;
use super::{UseReceiver, sums};

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
/// Bytes of records kept in memory when the disk takes none.
const VOLATILE_QUOTA: u64 = 8 * 1024 * 1024;

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
        mut seams: Seams,
    ) -> Result<(Self, SpoolHandle), SpoolError> {
        let failed = |source| SpoolError { folder: folder.clone(), source };
        let open = |quota, seams| Store::open(folder.clone(), node_key, Sizes::with_quota(quota), seams);
        let opened = match open(quota, seams.clone()) {
            Err(error) if is_full(&error) => {
                let folder = folder.display();
                warn!(%error, %folder, "the record spool cannot be written; keeping records in memory only until the next start");
                // The files on disk stay there for a start that finds room.
                seams.disk = Arc::new(Volatile::default());
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
            pending: found,
            records: Vec::new(),
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
    /// Losses that are not in the stream yet.
    pending: Vec<fleet::Dropped>,
    /// Records of the next batch.
    records: Vec<fleet::Record>,
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
            if stopping || self.last_sync.elapsed() >= SYNC_EVERY {
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
        let now = self.seams.clock.now();
        for ring in &mut self.rings {
            let lost = ring.lost();
            if lost > 0 {
                self.pending.push(dropped(lost, self.last_drain, now, "ring-full"));
                self.store.count_dropped(lost);
            }
        }
        self.last_drain = now;
        for ring in 0..self.rings.len() {
            while let Ok(record) = self.rings[ring].receiver.try_recv() {
                self.store.sums.add(&record);
                let mut used = self.used.pop().unwrap_or_default();
                record.replace(&mut used);
                self.records.push(used);
                if self.records.len() == BATCH_RECORDS {
                    self.append_next();
                }
            }
            self.store.sums.receive(&self.rings[ring].sums);
        }
        // Behind the records: a use is told before its record is, so the sync that keeps the one keeps the other.
        self.store.uses.receive(&mut self.uses);
    }

    /// Writes what was taken, as one batch at the most.
    fn append_next(&mut self) {
        let batch = fleet::Batch {
            records: mem::take(&mut self.records),
            dropped: mem::take(&mut self.pending),
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
            let lost = batch.records.len() as u64;
            self.pending.extend(batch.dropped);
            batch.uses.drain(..).for_each(|used| self.store.uses.put(used));
            batch.sums.iter().for_each(|sum| self.store.sums.put_back(sum));
            if lost > 0 {
                self.store.count_dropped(lost);
                // One count for as long as the disk refuses, for any number of batches.
                match self.pending.iter_mut().find(|dropped| dropped.reason == "spool-full") {
                    Some(dropped) => {
                        dropped.records += lost;
                        dropped.to = Some(timestamp(now));
                    }
                    None => self.pending.push(dropped(lost, self.last_drain, now, "spool-full")),
                }
            }
        }
        self.note(outcome);
        self.used.append(&mut batch.records);
    }

    /// Writes all that was taken, and makes sure of it.
    fn sync(&mut self) {
        // Each batch takes some of them; where the disk refuses, there is an end all the same.
        let batches = 1 + (self.store.uses.len() / BATCH_USES).max(self.store.sums.len() / BATCH_SUMS);
        (0..batches).for_each(|_| self.append_next());
        let outcome = self.store.sync();
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

pub(super) fn dropped(records: u64, from: SystemTime, to: SystemTime, reason: &str) -> fleet::Dropped {
    fleet::Dropped {
        records,
        from: Some(timestamp(from)),
        to: Some(timestamp(to)),
        reason: reason.to_owned(),
    }
}
