//! A bounded queue of records from a worker to the spool; the worker never waits.
//!
//! When it is full, the spool's thread is behind; then records are dropped and counted, their requests go into the sums
//! all the same, and requests are not affected.

use std::sync::Arc;

use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio::sync::oneshot;

use crate::counters::Counters;

use super::sums::SharedSums;
use super::{RawRecord, class};

/// About four seconds without the spool's thread, at 1,000 requests a second for each worker. Memory is taken as it
/// fills.
const CAPACITY: usize = 4096;
/// Of it, what is left to requests that were refused or that failed.
const LAST: usize = CAPACITY / 8;

/// The sending end.
pub(crate) struct Ring {
    sender: Sender<Box<RawRecord>>,
    counters: Arc<Counters>,
    /// Of requests that have no record of their own.
    sums: SharedSums,
}

/// The receiving end.
pub(crate) struct RingEnd {
    pub(super) receiver: Receiver<Box<RawRecord>>,
    pub(super) sums: SharedSums,
    counters: Arc<Counters>,
    /// Losses that were told.
    told: u64,
}

/// Creates a ring whose losses `counters` counts.
pub(crate) fn ring(counters: Arc<Counters>) -> (Ring, RingEnd) {
    let (sender, receiver) = mpsc::channel(CAPACITY);
    let sums = SharedSums::default();
    let end = RingEnd { receiver, sums: sums.clone(), counters: Arc::clone(&counters), told: 0 };
    (Ring { sender, counters, sums }, end)
}

impl Ring {
    pub(crate) fn push(&self, record: Box<RawRecord>) {
        let refused = if self.sender.capacity() <= LAST && class::gives_way(&record) {
            Some(record)
        } else {
            let sent = self.sender.try_send(record);
            sent.map_err(|(TrySendError::Full(record) | TrySendError::Closed(record))| record).err()
        };
        if let Some(record) = refused {
            self.counters.record_dropped();
            self.sums.add(&record);
        }
    }

    /// Has the spool write that a request has begun. Resolves once that is on disk, and fails once it is known that it will not be.
    pub(crate) fn begin(&self, mut record: Box<RawRecord>) -> oneshot::Receiver<()> {
        let (waiting, written) = oneshot::channel();
        record.waiting.0 = Some(waiting);
        // Where there is no room who waits is let go with the record.
        drop(self.sender.try_send(record));
        written
    }

    /// Whether a record would find room. For the bench of the spool: a worker never waits, so it never asks.
    pub(crate) fn has_room(&self) -> bool {
        self.sender.capacity() > 0
    }

    /// A request that another's record stands for.
    pub(crate) fn count(&self, record: &RawRecord) {
        self.sums.add(record);
    }
}

impl RingEnd {
    /// Waits for the next; `None` once the worker has ended.
    #[cfg(test)]
    pub(crate) async fn received(&mut self) -> Option<Box<RawRecord>> {
        self.receiver.recv().await
    }

    /// What was added up so far of requests that have no record of their own.
    #[cfg(test)]
    pub(crate) fn counted(&self) -> Vec<rr_contract::wire::fleet::Sum> {
        self.sums.take().take(usize::MAX)
    }

    /// How many records were lost since the last time.
    pub(super) fn lost(&mut self) -> u64 {
        let lost = self.counters.records_lost() - self.told;
        self.told += lost;
        lost
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use http::StatusCode;
    use rr_contract::model::id::{OrgId, ProxyId, RequestId};

    use super::*;
    use crate::outcome::Code;

    fn record() -> Box<RawRecord> {
        let id = RequestId::from_random([7; 16]);
        Box::new(RawRecord {
            org: Some(OrgId::from_random([1; 16])),
            proxy: Some(ProxyId::from_random([2; 16])),
            ..RawRecord::new(id, SystemTime::UNIX_EPOCH, http::Method::GET, 0)
        })
    }

    #[test]
    fn the_last_places_are_for_what_was_refused_or_failed() {
        let counters = Arc::new(Counters::default());
        let (ring, end) = ring(Arc::clone(&counters));
        let granted = || {
            let mut record = record();
            (record.code, record.status, record.aborted) = (Some(Code::Granted), Some(StatusCode::OK), false);
            record
        };
        for _ in 0..CAPACITY {
            ring.push(granted());
        }
        assert_eq!(counters.records_lost(), LAST as u64);
        (0..LAST).for_each(|_| ring.push(record()));
        assert_eq!(counters.records_lost(), LAST as u64, "there is a place for each of these");
        ring.push(record());
        assert_eq!(counters.records_lost(), LAST as u64 + 1);
        drop(end);
    }

    #[test]
    fn each_record_more_than_fits_is_counted_and_in_the_sums_and_room_takes_records_again() {
        let counters = Arc::new(Counters::default());
        let (ring, end) = ring(Arc::clone(&counters));
        let RingEnd { mut receiver, sums, .. } = end;
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
        let sum = sums.take().take(9).pop().expect("there is one");
        assert_eq!(sum.requests, 4, "what has no record is in the sums");
        ring.count(&record());
        assert_eq!(sums.take().take(9)[0].requests, 1);
    }
}
