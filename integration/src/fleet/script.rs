//! What a light node is told to do wrong, and what it counts.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rr_contract::model::resource::Key;
use rr_contract::wire::fleet;
use rr_contract::wire::fleet::Why;

/// How a node behaves. By default: as it should, once it is up.
#[derive(Debug, Clone, Default)]
pub struct Script {
    /// It connects. Taking it down cuts the connection as `kill -9` does.
    pub up: bool,
    /// Resources that it refuses once they change, and why. What ran before stays.
    pub refuse: BTreeMap<Key, Why>,
    /// Whole transactions that it refuses, and why, whatever is in them.
    pub refuse_all: Option<Why>,
    /// It hears everything and says nothing after its Hello.
    pub silent: bool,
    /// It waits so long before each message that it reads, and takes next to nothing ahead.
    pub pace: Option<Duration>,
    /// What its Hello says of a crash.
    pub crash: Option<fleet::CrashReport>,
    /// It says each verdict so many times more than once.
    pub echoes: u32,
    /// It cuts each connection once it has heard so many messages.
    pub cut_at: Option<u64>,
    /// Features that it says it has.
    pub features: Vec<String>,
}

/// What a node did since it was made.
#[derive(Debug, Default)]
pub struct Counts {
    /// Bytes read from sockets, TLS and all.
    pub read: AtomicU64,
    /// Bytes written to sockets, TLS and all.
    pub written: AtomicU64,
    /// Those of `read` that were read before TLS was up.
    pub greeting: AtomicU64,
    /// TLS connections that came about.
    pub connections: AtomicU64,
    /// Streams that were welcomed.
    pub sessions: AtomicU64,
    /// Transactions taken, by mode.
    pub deltas: AtomicU64,
    /// See `deltas`.
    pub snapshots: AtomicU64,
    /// See `deltas`.
    pub reconciles: AtomicU64,
    /// Resources sent in transactions that were taken.
    pub upserts: AtomicU64,
    /// Bytes of payload of these resources.
    pub payload: AtomicU64,
    /// Removals in them.
    pub removals: AtomicU64,
    /// Transactions that were not taken.
    pub refused: AtomicU64,
    /// Questions about buckets.
    pub questions: AtomicU64,
    /// Marks.
    pub marks: AtomicU64,
    /// Messages of any kind.
    pub heard: AtomicU64,
    /// Streams that the control plane did not take on, with `UNAVAILABLE`.
    pub turned_away: AtomicU64,
    last: Mutex<Option<tonic::Status>>,
}

impl Counts {
    pub(super) fn ended(&self, status: tonic::Status) {
        if status.code() == tonic::Code::Unavailable {
            add(&self.turned_away, 1);
        }
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(status);
    }

    /// How the last stream ended that the control plane ended with a reason.
    pub fn last_end(&self) -> Option<tonic::Status> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Bytes read and written.
    pub fn bytes(&self) -> (u64, u64) {
        (self.read.load(Ordering::Relaxed), self.written.load(Ordering::Relaxed))
    }

    /// Deltas, snapshots and reconciles that were taken.
    pub fn taken(&self) -> (u64, u64, u64) {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        (of(&self.deltas), of(&self.snapshots), of(&self.reconciles))
    }

    /// A count as it is now.
    pub fn of(&self, pick: impl Fn(&Self) -> &AtomicU64) -> u64 {
        pick(self).load(Ordering::Relaxed)
    }
}

pub(super) fn add(count: &AtomicU64, more: u64) {
    count.fetch_add(more, Ordering::Relaxed);
}
