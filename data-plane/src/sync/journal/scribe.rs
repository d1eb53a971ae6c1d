//! The thread that owns the journal, and the handle to it.
//!
//! A disk may take minutes for a write that mostly takes no time. So callers wait no longer than [`PATIENCE`]: a
//! write that takes longer is *overdue*, and until it has ended no other is requested. The invariants: one request
//! at a time, so nothing queues up behind a disk that hangs; and the result of an overdue write is reported once,
//! when it ends.

use std::io;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::Builder;
use std::time::Duration;

use rr_contract::wire::fleet;
use tokio::sync::oneshot;
use tokio::time::timeout;
use tracing::{info, warn};

use super::super::inventory::Image;
use super::super::position::Position;
use super::Journal;

/// How long a configuration waits for the disk before it comes into force without.
const PATIENCE: Duration = Duration::from_secs(1);

/// What is written.
pub(crate) enum Write {
    /// Behind what is there.
    Append(Vec<bytes::Bytes>),
    /// The whole, in place of what is there.
    Fold(Box<Image>),
    /// The whole once more.
    Spare(Box<Image>),
}

/// What is asked of the thread.
enum Ask {
    Write(Write, Position),
    Prove(Position, Option<u64>),
    Settle,
}

struct Job {
    ask: Ask,
    /// The file of the boundary that is next to be proven.
    awaited: Option<u64>,
    reply: oneshot::Sender<Done>,
}

/// The result of a request.
pub(crate) struct Done {
    pub(crate) outcome: io::Result<()>,
    /// Where a restart would stand now, if this was a write and went well.
    pub(crate) written: Option<Position>,
    view: View,
}

/// The state of the journal.
#[derive(Debug, Clone, Default)]
pub(crate) struct View {
    pub(crate) newest: u64,
    pub(crate) proven: Option<Position>,
    pub(crate) crash: Option<fleet::CrashReport>,
    pub(crate) is_set_back: bool,
    pub(crate) wants_fold: bool,
    pub(crate) wants_spare: bool,
}

/// A write that has not ended in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("disk does not answer in time")]
pub(crate) struct Stalled;

/// The handle to the thread.
pub(crate) struct Scribe {
    jobs: SyncSender<Job>,
    view: View,
    overdue: Option<oneshot::Receiver<Done>>,
    patience: Duration,
}

impl Journal {
    pub(crate) fn view(&self) -> View {
        View {
            newest: self.newest(),
            proven: self.proven(),
            crash: self.crash(),
            is_set_back: self.is_set_back(),
            wants_fold: self.wants_fold(),
            wants_spare: self.wants_spare(),
        }
    }

    fn perform(&mut self, ask: Ask) -> (io::Result<()>, Option<Position>) {
        match ask {
            Ask::Write(write, position) => {
                let outcome = match write {
                    Write::Append(bodies) => self.append(&bodies, &position),
                    Write::Fold(image) => self.fold(&image, &position),
                    Write::Spare(image) => self.spare(&image, &position),
                };
                let written = outcome.is_ok().then_some(position);
                (outcome, written)
            }
            Ask::Prove(position, file) => (self.prove(&position, file), None),
            Ask::Settle => {
                self.settle();
                (Ok(()), None)
            }
        }
    }
}

impl Scribe {
    /// Hands the journal to a thread of its own, which ends with the handle.
    pub(crate) fn start(mut journal: Journal) -> io::Result<Self> {
        let view = journal.view();
        let (jobs, queue) = sync_channel::<Job>(1);
        // It ends when the handle is dropped; its end is not awaited, as a disk that hangs would delay it for ever.
        Builder::new().name("last-good".into()).spawn(move || {
            while let Ok(Job { ask, awaited, reply }) = queue.recv() {
                journal.await_proof(awaited);
                let (outcome, written) = journal.perform(ask);
                // The requester may be gone.
                reply.send(Done { outcome, written, view: journal.view() }).ok();
            }
        })?;
        Ok(Self { jobs, view, overdue: None, patience: PATIENCE })
    }

    /// Waits for a disk for as long as this.
    #[cfg(test)]
    pub(crate) fn waiting(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    pub(crate) fn view(&self) -> &View {
        &self.view
    }

    /// Whether the disk has not come to an end yet with what was asked for.
    pub(crate) fn is_stalled(&self) -> bool {
        self.overdue.is_some()
    }

    /// Writes; where that takes too long, it goes on without us, see [`Scribe::late`].
    pub(crate) async fn write(
        &mut self,
        write: Write,
        position: Position,
        awaited: Option<u64>,
    ) -> Result<Done, Stalled> {
        self.ask(Ask::Write(write, position), awaited).await
    }

    /// Says of a boundary that the node has lived on it.
    pub(crate) async fn prove(
        &mut self,
        position: Position,
        file: Option<u64>,
        awaited: Option<u64>,
    ) -> Result<Done, Stalled> {
        self.ask(Ask::Prove(position, file), awaited).await
    }

    /// The process ends in order.
    pub(crate) async fn settle(&mut self) -> Result<(), Stalled> {
        self.ask(Ask::Settle, None).await.map(drop)
    }

    /// What came of a write that was overdue, once.
    pub(crate) fn late(&mut self) -> Option<Done> {
        let done = match self.overdue.as_mut()?.try_recv() {
            Ok(done) => done,
            Err(oneshot::error::TryRecvError::Empty) => return None,
            Err(oneshot::error::TryRecvError::Closed) => {
                // Its thread panicked (see the log). It stays overdue: nothing is written any more.
                return None;
            }
        };
        self.overdue = None;
        info!("disk answers again");
        Some(self.took(done))
    }

    async fn ask(&mut self, ask: Ask, awaited: Option<u64>) -> Result<Done, Stalled> {
        if self.overdue.is_some() {
            return Err(Stalled);
        }
        let (reply, mut answer) = oneshot::channel();
        // There is room: what was asked for before has come to an end.
        if self.jobs.try_send(Job { ask, awaited, reply }).is_err() {
            self.overdue = Some(answer);
            return Err(Stalled);
        }
        match timeout(self.patience, &mut answer).await {
            Ok(Ok(done)) => Ok(self.took(done)),
            Ok(Err(_)) | Err(_) => {
                warn!(
                    patience = ?self.patience,
                    "disk-stalled: writing last-known-good takes too long; continuing without it; check the disk under the state folder"
                );
                self.overdue = Some(answer);
                Err(Stalled)
            }
        }
    }

    fn took(&mut self, done: Done) -> Done {
        self.view = done.view.clone();
        done
    }
}
