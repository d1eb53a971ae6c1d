//! Records as JSON lines: to a file, to standard output, or nowhere.
//!
//! A thread of its own writes. On a node without a control plane it empties the rings, as the spool's does; beside a
//! spool, the spool's thread hands it the lines, and never waits for it. A reader or a disk that does not keep up costs
//! lines and no request: a line says how many are missing. A file that was moved away, or SIGHUP,
//! has a new file opened at the path. Keeps nothing and syncs nothing: the lines are a log.

mod line;
mod tee;

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver as StopReceiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::Builder;
use std::time::{Duration, Instant, SystemTime};

use rr_contract::runtime::logging_alike;
use rr_contract::seam::{Clock, Seams};
use rr_contract::wire::fleet;
use tracing::{info, warn};

use super::class;
use super::loss::dropped;
use super::ring::RingEnd;

use self::tee::Pieces;
pub(crate) use self::tee::Tee;

const DRAIN_EVERY: Duration = Duration::from_millis(20);
/// How often it is looked at whether the file was moved away.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long the last lines get to be written at a stop.
const LAST: Duration = Duration::from_secs(1);
/// Bytes that are written at once.
const PIECE: usize = 64 * 1024;
const STACK: usize = 256 * 1024;

/// The file of the records cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error("open --records {path}", path = path.display())]
pub struct RecordsError {
    /// The file.
    pub path: PathBuf,
    /// The cause.
    #[source]
    pub source: io::Error,
}

/// The thread that writes.
pub(crate) struct Lines {
    stop: SyncSender<()>,
    ended: StopReceiver<()>,
}

/// The handle for its users.
#[derive(Clone, Default)]
pub(crate) struct LinesHandle(Arc<Shared>);

#[derive(Default)]
struct Shared {
    dropped: AtomicU64,
    /// Of those, what no line says yet: they did not get as far as the thread that writes.
    behind: AtomicU64,
    reopen: AtomicBool,
}

impl LinesHandle {
    /// Records lost since the start.
    pub(crate) fn dropped(&self) -> u64 {
        self.0.dropped.load(Ordering::Relaxed)
    }

    /// Has the file opened again at its path.
    pub(crate) fn reopen(&self) {
        self.0.reopen.store(true, Ordering::Relaxed);
    }
}

impl Lines {
    /// Opens `to` (`-` is standard output, `None` nowhere), and starts to empty the rings.
    pub(crate) fn start(
        to: Option<PathBuf>,
        rings: Vec<RingEnd>,
        seams: &Seams,
    ) -> Result<(Self, LinesHandle), RecordsError> {
        Self::start_with(to, rings, None, LinesHandle::default(), seams)
    }

    /// Opens `to`, and starts to write what a spool's thread hands over.
    pub(crate) fn beside_spool(to: PathBuf, seams: &Seams) -> Result<(Self, LinesHandle, Tee), RecordsError> {
        let handle = LinesHandle::default();
        let (tee, pieces) = tee::tee(Arc::clone(&handle.0));
        let (lines, handle) = Self::start_with(Some(to), Vec::new(), Some(pieces), handle, seams)?;
        Ok((lines, handle, tee))
    }

    fn start_with(
        to: Option<PathBuf>,
        rings: Vec<RingEnd>,
        pieces: Option<Pieces>,
        handle: LinesHandle,
        seams: &Seams,
    ) -> Result<(Self, LinesHandle), RecordsError> {
        let path = to.clone().unwrap_or_default();
        let failed = |source| RecordsError { path: path.clone(), source };
        let out = match to {
            None => Out::Nowhere,
            Some(path) if path == Path::new("-") => Out::Stdout,
            Some(path) => Out::File { file: open(&path).map_err(failed)?, path },
        };
        let (stop, stopped) = sync_channel(1);
        let (end, ended) = sync_channel(1);
        let clock = Arc::clone(&seams.clock);
        let mut writer = Writer {
            out,
            rings,
            pieces,
            shared: Arc::clone(&handle.0),
            last_drain: clock.now(),
            clock,
            last_look: Instant::now(),
            pending: Vec::new(),
            piece: Vec::with_capacity(PIECE),
            used: fleet::Record::default(),
            records: 0,
            is_torn: false,
            is_failing: false,
        };
        let work = move || {
            writer.run(&stopped);
            // Whoever waited may have given up.
            end.send(()).ok();
        };
        Builder::new().name("records".into()).stack_size(STACK).spawn(logging_alike(work)).map_err(failed)?;
        Ok((Self { stop, ended }, handle))
    }

    /// Writes what the rings still hold, and ends. A reader that does not read is not waited for.
    pub(crate) fn close(self) {
        // The thread may have ended by itself; then no receiver is left.
        self.stop.try_send(()).ok();
        if self.ended.recv_timeout(LAST).is_err() {
            warn!("the last records could not be written in time; nobody reads them, or the disk stalls");
        }
    }
}

/// A record as its line, without the line's end.
pub(super) fn of(record: &fleet::Record) -> String {
    let mut line = Vec::new();
    line::record(record, &mut line);
    String::from_utf8_lossy(line.trim_ascii_end()).into_owned()
}

enum Out {
    Nowhere,
    Stdout,
    File { file: File, path: PathBuf },
}

struct Writer {
    out: Out,
    rings: Vec<RingEnd>,
    /// Set beside a spool, which then has the rings.
    pieces: Option<Pieces>,
    shared: Arc<Shared>,
    clock: Arc<dyn Clock>,
    last_drain: SystemTime,
    last_look: Instant,
    /// Losses that no line says yet.
    pending: Vec<fleet::Dropped>,
    /// Lines that are not written yet, and how many of them are records.
    piece: Vec<u8>,
    /// The record before, to be written over.
    used: fleet::Record,
    records: u64,
    /// A line was written in part.
    is_torn: bool,
    is_failing: bool,
}

impl Writer {
    fn run(&mut self, stopped: &StopReceiver<()>) {
        loop {
            let stopping = !matches!(stopped.recv_timeout(DRAIN_EVERY), Err(RecvTimeoutError::Timeout));
            self.look();
            self.drain();
            if stopping {
                return;
            }
        }
    }

    fn drain(&mut self) {
        let now = self.clock.now();
        for ring in &mut self.rings {
            // Nobody adds up here.
            drop(ring.sums.take());
            let lost = ring.lost();
            if lost > 0 {
                self.shared.dropped.fetch_add(lost, Ordering::Relaxed);
                self.pending.push(dropped(lost, self.last_drain, now, "ring-full"));
            }
        }
        if matches!(self.out, Out::Nowhere) {
            self.pending.clear();
            for ring in &mut self.rings {
                while ring.receiver.try_recv().is_ok() {}
            }
            return;
        }
        for at in 0..self.rings.len() {
            while let Ok(record) = self.rings[at].receiver.try_recv() {
                // Nothing is made sure of here, so whoever would wait for that is let go.
                if record.waiting.0.is_some() || class::left_out(&record, false).is_some() {
                    continue;
                }
                self.lead();
                record.replace(&mut self.used);
                line::record(&self.used, &mut self.piece);
                self.records += 1;
                if self.piece.len() >= PIECE {
                    self.write();
                }
            }
        }
        let behind = self.shared.behind.swap(0, Ordering::Relaxed);
        if behind > 0 {
            self.pending.push(dropped(behind, self.last_drain, now, "ring-full"));
        }
        while let Some(piece) = self.pieces.as_ref().and_then(|pieces| pieces.try_recv().ok()) {
            self.lead();
            self.piece.extend_from_slice(&piece.lines);
            self.records += piece.records;
            self.write();
        }
        if !self.pending.is_empty() {
            self.lead();
        }
        self.write();
        self.last_drain = now;
    }

    /// Begins a piece with what is missing before it.
    fn lead(&mut self) {
        if !self.piece.is_empty() {
            return;
        }
        if self.is_torn {
            self.piece.push(b'\n');
        }
        for dropped in &self.pending {
            line::dropped(dropped, &mut self.piece);
        }
    }

    fn write(&mut self) {
        if self.piece.is_empty() {
            return;
        }
        let written = match &mut self.out {
            Out::Nowhere => Ok(()),
            Out::Stdout => {
                let mut out = io::stdout().lock();
                out.write_all(&self.piece).and_then(|()| out.flush())
            }
            Out::File { file, .. } => file.write_all(&self.piece),
        };
        let records = std::mem::take(&mut self.records);
        self.piece.clear();
        match written {
            Ok(()) => {
                self.is_torn = false;
                self.pending.clear();
                if std::mem::take(&mut self.is_failing) {
                    info!("records are written again");
                }
            }
            Err(error) => {
                self.is_torn = true;
                self.lose(records);
                if !std::mem::replace(&mut self.is_failing, true) {
                    warn!(%error, "records cannot be written; they are dropped and counted; check the place that --records names");
                }
            }
        }
    }

    fn lose(&mut self, records: u64) {
        if records == 0 {
            return;
        }
        self.shared.dropped.fetch_add(records, Ordering::Relaxed);
        let now = self.clock.now();
        // One count for as long as nothing can be written.
        match self.pending.iter_mut().find(|dropped| dropped.reason == "not-written") {
            Some(dropped) => {
                dropped.records += records;
                dropped.to = Some(rr_contract::model::time::timestamp(now));
            }
            None => self.pending.push(dropped(records, self.last_drain, now, "not-written")),
        }
    }

    /// Opens the file again if it was moved away, or if that was asked for.
    fn look(&mut self) {
        let is_asked = self.shared.reopen.swap(false, Ordering::Relaxed);
        if !is_asked && self.last_look.elapsed() < LOOK_EVERY {
            return;
        }
        self.last_look = Instant::now();
        let Out::File { file, path } = &mut self.out else { return };
        if !is_asked && is_there(file, path) {
            return;
        }
        match open(path) {
            Ok(opened) => {
                *file = opened;
                self.is_torn = false;
            }
            Err(error) => {
                warn!(%error, path = %path.display(), "the file of the records cannot be opened again; records go on to the one before")
            }
        }
    }
}

/// Whether a path still leads to an open file.
fn is_there(file: &File, path: &Path) -> bool {
    match (file.metadata(), std::fs::metadata(path)) {
        (Ok(ours), Ok(theirs)) => (ours.dev(), ours.ino()) == (theirs.dev(), theirs.ino()),
        _ => false,
    }
}

/// For appending, made with mode 0600: records say who called what.
fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o600).open(path)
}

#[cfg(test)]
mod tests;
