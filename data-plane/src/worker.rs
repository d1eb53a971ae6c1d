//! The state of one worker, so that a request meets no lock and no other core.

use std::cell::RefCell;
use std::sync::Arc;

use rr_contract::model::id::RequestId;
use rr_contract::seam::{Clock, Entropy, Seams};

use crate::counters::Counters;
use crate::current::{Reader, View};
use crate::quota::QuotaClock;
use crate::report::{RawRecord, Refusals, Ring};
use crate::snapshot::Snapshot;
use crate::upstream::Connections;

/// The state of one worker.
pub(crate) struct Worker {
    reader: Reader<Snapshot>,
    pub(crate) connections: Connections,
    records: Ring,
    refusals: Refusals,
    pub(crate) counters: Arc<Counters>,
    pub(crate) clock: Arc<dyn Clock>,
    /// The time that limits count by.
    pub(crate) quota_clock: Arc<QuotaClock>,
    random: RefCell<Drawn>,
    /// The body of `/.well-known/requestrocket`.
    pub(crate) statement: Arc<std::sync::OnceLock<String>>,
    /// The name of this node in `Via` headers.
    pub(crate) pseudonym: Arc<str>,
}

/// What a worker has in common with the others.
pub(crate) struct Common {
    pub(crate) seams: Seams,
    pub(crate) quota_clock: Arc<QuotaClock>,
    pub(crate) statement: Arc<std::sync::OnceLock<String>>,
    pub(crate) pseudonym: Arc<str>,
}

impl Worker {
    pub(crate) fn new(
        reader: Reader<Snapshot>,
        connections: Connections,
        records: Ring,
        counters: Arc<Counters>,
        common: Common,
    ) -> Self {
        let Common { seams, quota_clock, statement, pseudonym } = common;
        let random = RefCell::new(Drawn::new(seams.entropy));
        let clock = seams.clock;
        let refusals = Refusals::default();
        Self {
            reader,
            connections,
            records,
            refusals,
            counters,
            clock,
            quota_clock,
            random,
            statement,
            pseudonym,
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
    }

    /// Takes the record of a request that has ended. One that names no proxy of this node is counted, and not kept.
    pub(crate) fn record(&self, record: Box<RawRecord>) {
        if record.proxy.is_some() {
            self.refusals.take(record, |record| self.records.push(record));
        }
    }

    pub(crate) fn next_request_id(&self) -> RequestId {
        RequestId::from_random(self.random.borrow_mut().draw())
    }

    /// A number that nobody foresees.
    pub(crate) fn draw(&self) -> u32 {
        u32::from_ne_bytes(self.random.borrow_mut().draw())
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.refusals.flush(|record| self.records.push(record));
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
