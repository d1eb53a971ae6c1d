//! A bounded queue of records from a worker to the spool; the worker never waits.
//!
//! When it is full, the spool's thread is behind; then records are dropped and counted, and requests are not
//! affected.

use std::sync::Arc;

use tokio::sync::mpsc::{self, Receiver, Sender};

use crate::counters::Counters;

use super::RawRecord;

/// About four seconds without the spool's thread, at 1,000 requests a second for each worker. Memory is taken as it
/// fills.
const CAPACITY: usize = 4096;

/// The sending end.
pub(crate) struct Ring {
    sender: Sender<Box<RawRecord>>,
    counters: Arc<Counters>,
}

/// Creates a ring whose losses `counters` counts.
pub(crate) fn ring(counters: Arc<Counters>) -> (Ring, Receiver<Box<RawRecord>>) {
    let (sender, receiver) = mpsc::channel(CAPACITY);
    (Ring { sender, counters }, receiver)
}

impl Ring {
    pub(crate) fn push(&self, record: Box<RawRecord>) {
        if self.sender.try_send(record).is_err() {
            self.counters.record_dropped();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use rr_contract::model::id::RequestId;

    use super::*;

    fn record() -> Box<RawRecord> {
        let id = RequestId::from_random([7; 16]);
        Box::new(RawRecord::new(id, SystemTime::UNIX_EPOCH, http::Method::GET, 0))
    }

    #[test]
    fn each_record_more_than_fits_is_counted_and_room_takes_records_again() {
        let counters = Arc::new(Counters::default());
        let (ring, mut receiver) = ring(Arc::clone(&counters));
        for _ in 0..CAPACITY {
            ring.push(record());
        }
        assert_eq!(counters.records_lost(), 0, "all of these fit");
        for lost in 1..=3 {
            ring.push(record());
            assert_eq!(counters.records_lost(), lost);
        }
        assert!(receiver.try_recv().is_ok());
        ring.push(record());
        assert_eq!(counters.records_lost(), 3);
        drop(receiver);
        ring.push(record());
        assert_eq!(counters.records_lost(), 4, "a spool that is gone loses records too");
    }
}
