//! Where a worker leaves its records: bounded, and never waited for.
//!
//! Full means that the spool's thread is behind; then a record is dropped and counted, and the request that
//! it is about never notices.

use std::sync::Arc;

use tokio::sync::mpsc::{self, Receiver, Sender};

use crate::listen::Counters;

use super::Entry;

/// About four seconds of the spool's thread being stuck, at 1,000 requests a second a worker. Memory is
/// taken as it fills.
const CAPACITY: usize = 4096;

/// The worker's end.
pub(crate) struct Ring {
    sender: Sender<Entry>,
    counters: Arc<Counters>,
}

/// Makes a ring for a worker whose losses `counters` count.
pub(crate) fn ring(counters: Arc<Counters>) -> (Ring, Receiver<Entry>) {
    let (sender, receiver) = mpsc::channel(CAPACITY);
    (Ring { sender, counters }, receiver)
}

impl Ring {
    pub(crate) fn push(&self, entry: Entry) {
        if self.sender.try_send(entry).is_err() {
            self.counters.record_dropped();
        }
    }
}
