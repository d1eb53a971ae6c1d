//! The state of one worker, so that a request meets no lock and no other core.

mod readings;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::SystemTime;

use rr_contract::model::id::RequestId;
use rr_contract::seam::{Clock, Entropy, Seams};
use tokio::sync::{oneshot, watch};

use crate::body::BodyBudget;
use crate::counters::Counters;
use crate::current::{Reader, View};
use crate::echo::Echoes;
use crate::jwt::Tokens;
use crate::passwords::{Checker, Passwords};
use crate::quota::QuotaClock;
use crate::report::{RawRecord, Refusals, Ring, UseSender, Uses};
use crate::snapshot::{CompiledCaller, Snapshot};
use crate::traces::Tracer;
use crate::trials::Trials;
use crate::upstream::Connections;
use crate::validations::ValidationThreads;

use self::readings::Readings;

/// What tunnels read at once.
const PIECE: usize = 16 * 1024;
/// Ticks between two looks at tunnels when the configuration changes.
const LOOK: u32 = 10;

/// The state of one worker.
pub(crate) struct Worker {
    reader: Reader<Snapshot>,
    pub(crate) connections: Connections,
    records: Ring,
    refusals: Refusals,
    uses: Uses,
    /// Who reads long documents for meters, behind their responses.
    pub(crate) readings: Readings,
    /// Tokens of callers that were verified here.
    pub(crate) tokens: Tokens,
    /// Bodies that are held whole.
    pub(crate) bodies: Rc<BodyBudget>,
    pub(crate) passwords: Checker,
    /// Where bodies are validated that take long.
    pub(crate) validations: ValidationThreads,
    /// Which requests are explained.
    pub(crate) trials: Trials,
    pub(crate) counters: Arc<Counters>,
    pub(crate) clock: Arc<dyn Clock>,
    /// The time that limits count by.
    pub(crate) quota_clock: Arc<QuotaClock>,
    random: RefCell<Drawn>,
    /// The body of `/.well-known/requestrocket`.
    pub(crate) statement: Arc<std::sync::OnceLock<String>>,
    /// The name of this node in `Via` headers.
    pub(crate) pseudonym: Arc<str>,
    /// The secrets that upstreams sent back.
    pub(crate) echoes: Echoes,
    /// `None`: no collector takes traces.
    pub(crate) tracer: Option<Tracer>,
    /// What tunnels read into, one after the other; empty before the first one.
    piece: RefCell<Vec<u8>>,
    /// Tells tunnels that the configuration has changed.
    revisions: watch::Sender<u64>,
    ticks: Cell<u32>,
    stopping: Cell<bool>,
}

/// What a worker has in common with the others.
pub(crate) struct Common {
    pub(crate) seams: Seams,
    pub(crate) passwords: Arc<Passwords>,
    pub(crate) validations: ValidationThreads,
    pub(crate) trials: Trials,
    pub(crate) quota_clock: Arc<QuotaClock>,
    pub(crate) statement: Arc<std::sync::OnceLock<String>>,
    pub(crate) pseudonym: Arc<str>,
    pub(crate) echoes: Echoes,
    /// Who is told when callers came. `None`: nobody.
    pub(crate) uses: Option<UseSender>,
    /// How many bytes of bodies each of them holds whole.
    pub(crate) bodies: usize,
}

impl Worker {
    pub(crate) fn new(
        reader: Reader<Snapshot>,
        connections: Connections,
        records: Ring,
        tracer: Option<Tracer>,
        counters: Arc<Counters>,
        common: Common,
    ) -> Self {
        let Common {
            seams,
            passwords,
            validations,
            trials,
            quota_clock,
            statement,
            pseudonym,
            echoes,
            uses,
            bodies,
        } = common;
        let bodies = BodyBudget::new(bodies, Arc::clone(&counters));
        let random = RefCell::new(Drawn::new(seams.entropy));
        let clock = seams.clock;
        let refusals = Refusals::default();
        let revisions = watch::Sender::new(reader.generation());
        Self {
            reader,
            connections,
            records,
            refusals,
            uses: Uses::new(uses),
            readings: Readings::default(),
            tokens: Tokens::default(),
            bodies,
            passwords: Checker::new(passwords),
            validations,
            trials,
            counters,
            clock,
            quota_clock,
            random,
            statement,
            pseudonym,
            echoes,
            tracer,
            piece: RefCell::default(),
            revisions,
            ticks: Cell::default(),
            stopping: Cell::default(),
        }
    }

    /// The snapshot in force, for one request.
    pub(crate) fn view(&self) -> View<Snapshot> {
        self.reader.view()
    }

    /// Reports which version this worker runs on.
    pub(crate) fn tick(&self) {
        self.reader.tick();
        self.refusals.tick(self.clock.now(), |record| self.records.push(record));
        self.uses.tick();
        self.ticks.set(self.ticks.get().wrapping_add(1));
        if self.ticks.get().is_multiple_of(LOOK) {
            let newest = self.reader.generation();
            self.revisions.send_if_modified(|told| std::mem::replace(told, newest) != newest);
        }
    }

    /// Changes with the configuration, at most once a second.
    pub(crate) fn revisions(&self) -> watch::Receiver<u64> {
        self.revisions.subscribe()
    }

    /// Lends what tunnels read into.
    pub(crate) fn with_piece<T>(&self, work: impl FnOnce(&mut [u8]) -> T) -> T {
        let mut piece = self.piece.borrow_mut();
        piece.resize(PIECE, 0);
        work(&mut piece)
    }

    /// Nothing new begins from now on.
    pub(crate) fn stops(&self) {
        self.stopping.set(true);
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.get()
    }

    /// Takes the record of a request that has ended. One that names no proxy of this node is counted, and not kept.
    pub(crate) fn record(&self, record: Box<RawRecord>) {
        if record.proxy.is_some() {
            let push = |record| self.records.push(record);
            self.refusals.take(record, push, |record| self.records.count(record));
        }
    }

    /// Has it written that a request has begun. Resolves once that is on disk, and fails once it is known that it will not be.
    pub(crate) fn begin(&self, record: Box<RawRecord>) -> oneshot::Receiver<()> {
        self.records.begin(record)
    }

    /// Has refusals told now that their minute would tell together, and the next ones each by itself.
    #[cfg(test)]
    pub(crate) fn ends_minute(&self) {
        self.refusals.flush(|record| self.records.push(record));
    }

    /// The holder of a credential was let in, whatever becomes of the request.
    pub(crate) fn caller_came(&self, caller: &CompiledCaller, at: SystemTime) {
        if !self.uses.are_told() {
            return;
        }
        let minutes = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs() / 60;
        let minute = u32::try_from(minutes).unwrap_or(u32::MAX);
        if caller.last_minute.is_left_for(minute) {
            self.uses.tell(caller.credential, minute);
        }
    }

    pub(crate) fn next_request_id(&self) -> RequestId {
        RequestId::from_random(self.draw())
    }

    /// Bytes that nobody foresees.
    pub(crate) fn draw<const N: usize>(&self) -> [u8; N] {
        self.random.borrow_mut().draw()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.refusals.flush(|record| self.records.push(record));
        self.uses.tick();
    }
}

/// Random bytes without a system call for each draw.
struct Drawn {
    entropy: Arc<dyn Entropy>,
    drawn: Box<[u8; Self::BYTES]>,
    used: usize,
}

impl Drawn {
    const BYTES: usize = 4096;

    fn new(entropy: Arc<dyn Entropy>) -> Self {
        Self { entropy, drawn: Box::new([0; Self::BYTES]), used: Self::BYTES }
    }

    fn draw<const N: usize>(&mut self) -> [u8; N] {
        if self.used + N > Self::BYTES {
            self.entropy.fill(&mut *self.drawn);
            self.used = 0;
        }
        let mut drawn = [0; N];
        drawn.copy_from_slice(&self.drawn[self.used..self.used + N]);
        self.used += N;
        drawn
    }
}
