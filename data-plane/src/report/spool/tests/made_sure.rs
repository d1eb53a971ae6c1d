//! Requests that wait until a record of them is on disk.

use std::sync::atomic::Ordering;

use http::StatusCode;
use rr_contract::model::id::{OrgId, ProxyId, RequestId};
use tokio::sync::oneshot::error::TryRecvError;

use crate::outcome::Code;
use crate::report::{RawRecord, Ring, ring};

use super::*;

fn record(n: u8) -> RawRecord {
    RawRecord {
        org: Some(OrgId::from_random([1; 16])),
        proxy: Some(ProxyId::from_random([2; 16])),
        ..RawRecord::new(RequestId::from_random([n; 16]), SystemClock.now(), http::Method::GET, 9)
    }
}

fn fed(disk: &SharedDisk) -> (Ring, Writer, SpoolHandle) {
    let (store, handle, _) = open(disk, u64::MAX);
    let (ring, end) = ring(Arc::default());
    (ring, writer(store, disk, vec![end]), handle)
}

#[test]
fn whoever_waits_hears_of_it_once_it_is_on_disk_and_all_of_them_share_a_sync() {
    let disk = SharedDisk::default();
    let (ring, mut writer, handle) = fed(&disk);
    let mut waiting: Vec<_> = (0..3).map(|n| ring.begin(Box::new(record(n)))).collect();
    writer.drain();
    assert!(waiting.iter_mut().all(|it| it.try_recv() == Err(TryRecvError::Empty)), "nothing is on disk");
    writer.sync();
    assert!(waiting.iter_mut().all(|it| it.try_recv() == Ok(())));
    let (_, again, _) = open(&disk, u64::MAX);
    let told = all(&again);
    let begun: Vec<_> = told.iter().flat_map(|(_, batch)| &batch.begun).collect();
    assert_eq!((begun.len(), begun[0].code.as_str(), begun[0].aborted), (3, "under-way", true));
    assert_eq!(told.iter().filter(|(_, batch)| !batch.begun.is_empty()).count(), 1);
    // They stand for no request, and are none that could be lost.
    let counts = |batch: &fleet::Batch| (batch.records.len(), batch.sums.len(), batch.dropped.len());
    let kept = all(&handle);
    assert_eq!(counts(&kept[0].1), (0, 0, 0));
    assert_eq!(segment::Content::of(&kept[0].1).weight, 0);
    let mut end = record(1);
    (end.code, end.status, end.has_begun) = (Some(Code::Granted), Some(StatusCode::OK), true);
    ring.push(Box::new(end));
    writer.drain();
    writer.sync();
    let (_, last) = all(&handle).pop().expect("it is there");
    assert_eq!((last.ended.len(), last.records.len(), last.sums.len()), (1, 1, 1));
    assert_eq!(last.ended[0], last.records[0].id);
    assert_eq!(last.ended[0], begun[1].id);
}

#[test]
fn where_the_disk_takes_nothing_whoever_waits_is_let_go_at_once() {
    let disk = SharedDisk::default();
    let (ring, mut writer, handle) = fed(&disk);
    disk.0.is_full.store(true, Ordering::Relaxed);
    let mut waiting = ring.begin(Box::new(record(1)));
    writer.drain();
    writer.sync();
    assert_eq!(waiting.try_recv(), Err(TryRecvError::Closed));
    disk.0.is_full.store(false, Ordering::Relaxed);
    let mut again = ring.begin(Box::new(record(2)));
    writer.drain();
    writer.sync();
    assert_eq!(again.try_recv(), Ok(()));
    assert_eq!(all(&handle).iter().map(|(_, batch)| batch.begun.len()).sum::<usize>(), 1);
    assert_eq!(handle.dropped(), 0, "that they have begun is no record that could be lost");
}

/// Where the write went well and the sync did not.
#[test]
fn what_was_written_and_not_made_sure_of_is_not_told_as_sure() {
    let disk = SharedDisk::default();
    let (ring, mut writer, _) = fed(&disk);
    let mut waiting = ring.begin(Box::new(record(1)));
    writer.drain();
    writer.append_next();
    disk.0.is_full.store(true, Ordering::Relaxed);
    writer.sync();
    assert_eq!(waiting.try_recv(), Err(TryRecvError::Closed));
}

#[test]
fn memory_is_no_disk_and_a_full_ring_no_place_to_wait() {
    let disk = SharedDisk::default();
    let (ring, mut writer, _) = fed(&disk);
    writer.is_volatile = true;
    let mut waiting = ring.begin(Box::new(record(1)));
    writer.drain();
    assert_eq!(waiting.try_recv(), Err(TryRecvError::Closed));
    while ring.has_room() {
        ring.push(Box::new(record(2)));
    }
    assert_eq!(ring.begin(Box::new(record(3))).try_recv(), Err(TryRecvError::Closed));
}

#[tokio::test]
async fn the_thread_makes_sure_without_waiting_for_the_next_tenth_of_a_second() {
    let disk = SharedDisk::default();
    let (ring, end) = ring(Arc::default());
    let key = Secret::new(vec![1; 32]);
    let (spool, _) = Spool::start("spool".into(), &key, u64::MAX, vec![end], uses().1, None, seams(&disk))
        .expect("it starts");
    let mut durations = Vec::new();
    for n in 0..9 {
        let begun = std::time::Instant::now();
        ring.begin(Box::new(record(n))).await.expect("it is on disk");
        durations.push(begun.elapsed());
    }
    durations.sort();
    assert!(durations[4] < SYNC_EVERY * 4 / 5, "{durations:?}");
    spool.close();
}

#[test]
fn a_batch_of_beginnings_has_the_bound_that_one_of_records_has() {
    let disk = SharedDisk::default();
    let (ring, mut writer, handle) = fed(&disk);
    let mut waiting: Vec<_> = (0..=2 * BATCH_RECORDS).map(|_| ring.begin(Box::new(record(1)))).collect();
    writer.drain();
    writer.sync();
    assert!(waiting.iter_mut().all(|it| it.try_recv() == Ok(())));
    let sizes: Vec<_> = all(&handle).iter().map(|(_, batch)| batch.begun.len()).collect();
    assert_eq!(sizes, [BATCH_RECORDS, BATCH_RECORDS, 1]);
}
