//! Sums of requests in the spool: in one batch with the records, and kept where those have to go.

use std::sync::atomic::Ordering;
use std::time::Duration;

use rr_contract::model::id::{OrgId, ProxyId, RequestId};
use rr_contract::seam::Disk as _;

use crate::report::{RawRecord, Ring, ring};
use crate::scrub;

use super::*;

fn record(minute: u64) -> Box<RawRecord> {
    let at = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000 + minute * 60);
    Box::new(RawRecord {
        org: Some(OrgId::from_random([1; 16])),
        proxy: Some(ProxyId::from_random([2; 16])),
        path: scrub::Path::of(&"x".repeat(100)),
        ..RawRecord::new(RequestId::from_random([7; 16]), at, http::Method::GET, 9)
    })
}

fn fed(disk: &SharedDisk, quota: u64) -> (Ring, Writer, SpoolHandle) {
    let (store, handle, _) = open(disk, quota);
    let (ring, end) = ring(Arc::default());
    (ring, writer(store, disk, vec![end]), handle)
}

/// What a control plane comes to know: records, those lost among them, and requests in sums.
fn known(handle: &SpoolHandle) -> (u64, u64) {
    all(handle).iter().fold((0, 0), |(records, requests), (_, batch)| {
        let lost: u64 = batch.dropped.iter().map(|dropped| dropped.records).sum();
        let summed: u64 = batch.sums.iter().map(|sum| sum.requests).sum();
        (records + batch.records.len() as u64 + lost, requests + summed)
    })
}

#[test]
fn a_record_and_its_sum_are_in_one_batch_and_those_of_a_tenth_of_a_second_share_it() {
    let disk = SharedDisk::default();
    let (ring, mut writer, handle) = fed(&disk, u64::MAX);
    for _ in 0..3 {
        ring.push(record(0));
        writer.drain();
    }
    ring.push(record(1));
    ring.count(&record(0));
    writer.drain();
    assert!(all(&handle).is_empty(), "nothing was made sure of");
    writer.sync();
    let told = all(&handle);
    assert_eq!(told.len(), 1);
    let (_, batch) = &told[0];
    let mut requests: Vec<_> = batch.sums.iter().map(|sum| sum.requests).collect();
    requests.sort_unstable();
    assert_eq!((batch.records.len(), requests), (4, vec![1, 4]));
    writer.sync();
    assert_eq!(all(&handle).len(), 1, "where nothing came nothing is written");
    // More than one batch holds: each has the sums of its own records at least.
    (0..BATCH_RECORDS + 1).for_each(|_| ring.push(record(2)));
    writer.drain();
    writer.sync();
    let sizes: Vec<_> = all(&handle)[1..]
        .iter()
        .map(|(_, batch)| {
            (batch.records.len() as u64, batch.sums.iter().map(|sum| sum.requests).sum::<u64>())
        })
        .collect();
    assert_eq!(sizes, [(BATCH_RECORDS as u64, BATCH_RECORDS as u64), (1, 1)]);
}

#[test]
fn a_kill_at_any_time_takes_a_record_and_its_sum_or_none_of_both() {
    let disk = SharedDisk::default();
    let (ring, mut writer, _) = fed(&disk, u64::MAX);
    for n in 0..40 {
        ring.push(record(n % 3));
        if n % 3 == 0 {
            writer.drain();
        }
        if n % 7 == 0 {
            writer.sync();
        }
    }
    drop(writer);
    let path = segment::Segment::path(Path::new("spool"), 1);
    let whole = disk.0.files().get(&path).expect("a segment").clone();
    let mut known_before = 0;
    for length in (0..=whole.len()).step_by(13) {
        let torn = SharedDisk::default();
        for (path, bytes) in disk.0.files().iter() {
            torn.replace(path, bytes).expect("room");
        }
        torn.truncate(&path, length as u64).expect("it is there");
        let (_, handle, _) = open(&torn, u64::MAX);
        let kept = all(&handle);
        let records: u64 = kept.iter().map(|(_, batch)| batch.records.len() as u64).sum();
        let requests: u64 = kept.iter().flat_map(|(_, batch)| &batch.sums).map(|sum| sum.requests).sum();
        assert_eq!(records, requests, "cut at {length}");
        known_before = known_before.max(requests);
    }
    assert!(known_before >= 20, "{known_before}");
}

#[test]
fn when_records_find_no_room_every_request_is_still_in_the_sums_over_restarts_too() {
    let disk = SharedDisk::default();
    let quota = 16 * KIB as u64;
    let mut all_requests = 0;
    for life in 0..3 {
        let (ring, mut writer, handle) = fed(&disk, quota);
        for n in 0..400 {
            ring.push(record(n / 10));
            all_requests += 1;
            writer.drain();
            if n % 5 == 0 {
                writer.sync();
                writer.store.reclaim().expect("room");
            }
        }
        writer.sync();
        let (records, requests) = known(&handle);
        assert_eq!((records, requests), (all_requests, all_requests), "life {life}");
        assert!(handle.dropped() > 100, "{}", handle.dropped());
        let lines = all(&handle).iter().map(|(_, batch)| batch.sums.len()).sum::<usize>();
        assert!(lines < 400, "those of a minute that are alike are one, not {lines}");
    }
}

#[test]
fn what_the_control_plane_may_have_stored_is_not_told_as_lost_when_room_is_made() {
    let disk = SharedDisk::default();
    let quota = 16 * KIB as u64;
    let (ring, mut writer, handle) = fed(&disk, quota);
    let fill = |writer: &mut Writer| {
        for n in 0..400 {
            ring.push(record(n / 10));
            writer.drain();
            if n % 5 == 0 {
                writer.sync();
                writer.store.reclaim().expect("room");
            }
        }
        writer.sync();
    };
    (0..20).for_each(|_| ring.push(record(0)));
    writer.drain();
    writer.sync();
    // It was sent, stored, and the acknowledgement did not come.
    let (number, stored) = Cursor::at(1).next(&handle).expect("it reads").expect("is there");
    let stored = fleet::Batch::decode(stored).expect("a batch");
    assert_eq!((number, stored.records.len()), (1, 20));
    fill(&mut writer);
    assert!(handle.dropped() > 100, "{}", handle.dropped());
    assert_eq!(all(&handle)[0], (1, stored.clone()), "it is still there to be sent again");
    assert_eq!(known(&handle), (420, 420));
    // Nor by the process after a kill, which cannot know what was sent.
    drop(writer);
    let (store, handle, _) = open(&disk, quota);
    let mut writer = super::writer(store, &disk, Vec::new());
    for _ in 0..60 {
        writer.append(batch(1, 2 * KIB));
        writer.sync();
        writer.store.reclaim().expect("room");
    }
    assert_eq!(all(&handle)[0], (1, stored));
    // Once it is acknowledged it goes, and is not told.
    assert!(handle.acknowledge(1));
    let lost_before = handle.dropped();
    writer.store.reclaim().expect("room");
    let (records, _) = known(&handle);
    assert_eq!((records, handle.dropped()), (400 + 60, lost_before));
}

#[test]
fn what_a_full_disk_refuses_is_in_the_sums_of_a_later_batch() {
    let disk = SharedDisk::default();
    let (ring, mut writer, handle) = fed(&disk, u64::MAX);
    disk.0.is_full.store(true, Ordering::Relaxed);
    for _ in 0..3 {
        ring.push(record(0));
        writer.drain();
        writer.sync();
    }
    disk.0.is_full.store(false, Ordering::Relaxed);
    ring.push(record(0));
    writer.drain();
    writer.sync();
    assert_eq!(known(&handle), (4, 4));
    assert_eq!(handle.dropped(), 3);
}
