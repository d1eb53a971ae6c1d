//! The spool over ends of every kind.

mod damage;
mod ends;
mod given_up;
mod kept;
mod last_uses;
mod made_sure;
mod sums;

use std::path::Path;
use std::sync::Arc;

use prost::Message as _;
use rr_contract::model::time::timestamp;
use rr_contract::seam::{Clock, SystemClock, SystemEntropy};

use crate::counters::Counters;
use crate::fixture::SharedDisk;
use crate::report::uses;

use super::*;

const KIB: usize = 1024;

fn seams(disk: &SharedDisk) -> Seams {
    Seams { clock: Arc::new(SystemClock), entropy: Arc::new(SystemEntropy), disk: Arc::new(disk.clone()) }
}

fn open(disk: &SharedDisk, quota: u64) -> (Store, SpoolHandle, Vec<fleet::Dropped>) {
    let key = Secret::new(vec![1; 32]);
    Store::open("spool".into(), &key, Sizes { quota, segment: 4 * KIB as u64 }, seams(disk))
        .expect("it opens")
}

fn batch(records: u64, size: usize) -> fleet::Batch {
    let record = fleet::Record {
        path: "x".repeat(size),
        received_at: Some(timestamp(SystemClock.now())),
        ..fleet::Record::default()
    };
    let records = (0..records).map(|_| record.clone()).collect();
    fleet::Batch { records, ..fleet::Batch::default() }
}

/// Everything that can be read, as number and batch.
fn all(handle: &SpoolHandle) -> Vec<(u64, fleet::Batch)> {
    let mut cursor = Cursor::at(handle.acked() + 1);
    std::iter::from_fn(|| cursor.next(handle).expect("it reads"))
        .map(|(sequence, body)| (sequence, fleet::Batch::decode(body).expect("a batch")))
        .collect()
}

fn files(disk: &SharedDisk) -> usize {
    disk.0.files().keys().filter(|path| segment::Segment::number(path).is_some()).count()
}

#[test]
fn what_was_synced_is_there_after_a_kill_and_the_gap_has_both_ends() {
    let disk = SharedDisk::default();
    let (mut store, handle, lost) = open(&disk, u64::MAX);
    assert!(lost.is_empty());
    store.append(&batch(1, 1)).expect("room");
    assert!(all(&handle).is_empty(), "nothing is sent that a power cut could take back");
    store.sync().expect("room");
    store.append(&batch(1, 1)).expect("room");
    drop(store);
    // The second one tore.
    {
        let mut files = disk.0.files();
        let file = files.get_mut(&segment::Segment::path(Path::new("spool"), 1)).expect("the segment");
        let length = file.len() - 3;
        file.truncate(length);
    }
    let (mut store, again, _) = open(&disk, u64::MAX);
    assert_eq!(again.id(), handle.id());
    let found = all(&again);
    let lost: Vec<_> = found.iter().flat_map(|(_, batch)| &batch.dropped).collect();
    assert_eq!((lost.len(), &*lost[0].reason, lost[0].records), (1, "unclean", 0));
    assert!(lost[0].from.is_some() && lost[0].to.is_some());
    assert_eq!(found.iter().map(|(_, batch)| batch.records.len()).sum::<usize>(), 1);
    store.append(&batch(2, 1)).expect("room");
    store.sync().expect("room");
    let last = found.last().expect("a gap").0;
    let numbers: Vec<u64> = all(&again).iter().map(|(sequence, _)| *sequence).collect();
    assert_eq!(numbers, (1..=last + 1).collect::<Vec<_>>());
    store.mark_alive(true).expect("room");
    drop(store);
    let (_, again, lost) = open(&disk, u64::MAX);
    assert!(lost.is_empty() && all(&again).len() as u64 == last + 1, "this time it was closed");
}

#[test]
fn acknowledged_segments_go_and_numbers_never_begin_again() {
    let disk = SharedDisk::default();
    let (mut store, handle, _) = open(&disk, u64::MAX);
    for _ in 0..5 {
        store.append(&batch(1, 3 * KIB)).expect("room");
    }
    store.sync().expect("room");
    assert_eq!(all(&handle).len(), 5);
    assert_eq!(files(&disk), 3);
    assert!(handle.acknowledge(5));
    store.reclaim().expect("it deletes");
    store.reclaim().expect("it deletes");
    assert_eq!((files(&disk), handle.bytes(), all(&handle).len()), (1, 0, 0));
    store.mark_alive(true).expect("room");
    drop(store);
    let (mut store, handle, _) = open(&disk, u64::MAX);
    store.append(&batch(1, 1)).expect("room");
    store.sync().expect("room");
    assert_eq!(all(&handle).iter().map(|(sequence, _)| *sequence).collect::<Vec<_>>(), [6]);
}

/// Opens again and adds one batch; returns its number.
fn number_after(disk: &SharedDisk, handle: &SpoolHandle) -> u64 {
    let (mut store, again, _) = open(disk, u64::MAX);
    assert_eq!(again.id(), handle.id());
    store.append(&batch(1, 1)).expect("room");
    store.sync().expect("room");
    let found = all(&again);
    let (number, last) = found.last().expect("it was added");
    assert_eq!(last.records.len(), 1);
    *number
}

// A damaged newest segment once gave acknowledged numbers to new records, which the control plane then took
// for those it had.
#[test]
fn a_damaged_newest_segment_does_not_make_acknowledged_numbers_free_again() {
    for closed in [false, true] {
        for left in [0, 10, 3 * KIB] {
            let disk = SharedDisk::default();
            let (mut store, handle, _) = open(&disk, u64::MAX);
            for _ in 0..300 {
                store.append(&batch(1, KIB)).expect("room");
            }
            store.sync().expect("room");
            // Not reclaimed yet: the name of an empty file behind them would keep their numbers.
            assert!(handle.acknowledge(300));
            if closed {
                store.mark_alive(true).expect("room");
            }
            drop(store);
            for (path, bytes) in disk.0.files().iter_mut() {
                if segment::Segment::number(path).is_some() {
                    bytes.truncate(left);
                    bytes.iter_mut().take(1).for_each(|byte| *byte ^= 1);
                }
            }
            let number = number_after(&disk, &handle);
            assert!(number > 300, "{number}, closed {closed}, {left} bytes left");
            // The one after an unclean end again.
            assert!(number_after(&disk, &handle) > number);
        }
    }
}

#[test]
fn a_control_plane_that_knows_more_than_was_sent_gets_what_waits_under_higher_numbers() {
    let disk = SharedDisk::default();
    let (mut store, handle, _) = open(&disk, u64::MAX);
    for _ in 0..5 {
        store.append(&batch(1, 3 * KIB)).expect("room");
    }
    store.sync().expect("room");
    assert!(handle.acknowledge(2));
    assert!(!handle.acknowledge(1000));
    assert_eq!(handle.acked(), 2, "what was not sent is not acknowledged");
    store.reclaim().expect("room");
    let numbers_of_records = |handle: &SpoolHandle| -> Vec<u64> {
        all(handle).iter().filter(|(_, batch)| batch.records.len() == 1).map(|(number, _)| *number).collect()
    };
    let found = numbers_of_records(&handle);
    assert_eq!(found, [1002, 1003, 1004]);
    drop(store);
    assert!(numbers_of_records(&open(&disk, u64::MAX).1).ends_with(&found));
}

#[test]
fn damage_is_counted_and_told_in_the_stream() {
    let disk = SharedDisk::default();
    let (mut store, _, _) = open(&disk, u64::MAX);
    for _ in 0..3 {
        store.append(&batch(1, 1)).expect("room");
    }
    store.sync().expect("room");
    store.mark_alive(true).expect("room");
    drop(store);
    if let Some(file) = disk.0.files().get_mut(&segment::Segment::path(Path::new("spool"), 1)) {
        let length = file.len() - 3;
        file.truncate(length);
    }
    let (_, handle, _) = open(&disk, u64::MAX);
    assert!(handle.damaged() > 0);
    let reasons: Vec<_> = all(&handle).into_iter().flat_map(|(_, batch)| batch.dropped).collect();
    assert_eq!((reasons.len(), &*reasons[0].reason), (1, "damaged"));
}

#[test]
fn a_control_plane_that_lost_what_it_had_is_given_the_numbers_and_what_is_left() {
    let disk = SharedDisk::default();
    let (mut store, handle, _) = open(&disk, u64::MAX);
    for _ in 0..6 {
        store.append(&batch(1, 3 * KIB)).expect("room");
    }
    store.sync().expect("room");
    assert!(handle.acknowledge(4));
    store.reclaim().expect("it deletes");
    let mut cursor = Cursor::at(1);
    let sent: Vec<(u64, bool)> = std::iter::from_fn(|| cursor.next(&handle).expect("it reads"))
        .map(|(sequence, body)| (sequence, body.is_empty()))
        .collect();
    assert_eq!(sent, [(1, true), (2, true), (3, true), (4, true), (5, false), (6, false)]);
}

#[test]
fn over_the_quota_the_oldest_goes_counted_and_the_numbers_stay_whole() {
    let disk = SharedDisk::default();
    let (mut store, handle, _) = open(&disk, 9 * KIB as u64);
    for _ in 0..12 {
        store.append(&batch(3, KIB)).expect("room");
        store.sync().expect("room");
        store.reclaim().expect("it deletes");
        store.reclaim().expect("it deletes");
    }
    assert!(handle.bytes() <= 14 * KIB as u64, "{}", handle.bytes());
    assert_eq!(handle.quota(), 9 * KIB as u64, "what a node says that it may fill");
    let check = |handle: &SpoolHandle| {
        let all = all(handle);
        assert_eq!(
            all.iter().map(|(sequence, _)| *sequence).collect::<Vec<_>>(),
            (1..=12).collect::<Vec<_>>()
        );
        let kept: usize = all.iter().map(|(_, batch)| batch.records.len()).sum();
        let lost: u64 = all.iter().flat_map(|(_, batch)| &batch.dropped).map(|dropped| dropped.records).sum();
        assert!(
            lost > 0 && all.iter().flat_map(|(_, batch)| &batch.dropped).all(|d| d.reason == "spool-full")
        );
        assert_eq!(kept as u64 + lost, 36);
        lost
    };
    assert_eq!(handle.dropped(), check(&handle), "the metric says what the stream says");
    store.mark_alive(true).expect("room");
    drop(store);
    check(&open(&disk, u64::MAX).1);
}

fn writer(store: Store, disk: &SharedDisk, rings: Vec<RingEnd>) -> Writer {
    Writer {
        store,
        rings,
        uses: uses().1,
        tee: None,
        pending: Vec::new(),
        records: Vec::new(),
        begun: Vec::new(),
        waiting: Vec::new(),
        ended: Vec::new(),
        is_volatile: false,
        used: Vec::new(),
        last_drain: SystemClock.now(),
        last_sync: tokio::time::Instant::now(),
        last_alive: tokio::time::Instant::now(),
        failing: false,
        seams: seams(disk),
    }
}

#[test]
fn what_a_full_ring_lost_is_in_the_stream_exactly_and_once() {
    let disk = SharedDisk::default();
    let (store, handle, _) = open(&disk, u64::MAX);
    let counters = Arc::new(Counters::default());
    let (_ring, end) = crate::report::ring(Arc::clone(&counters));
    let mut writer = writer(store, &disk, vec![end]);
    for lost in [3, 0, 2] {
        (0..lost).for_each(|_| counters.record_dropped());
        writer.drain();
        writer.sync();
    }
    let lost: Vec<_> = all(&handle).into_iter().flat_map(|(_, batch)| batch.dropped).collect();
    assert_eq!(
        lost.iter().map(|lost| (&*lost.reason, lost.records)).collect::<Vec<_>>(),
        [("ring-full", 3), ("ring-full", 2)]
    );
    assert_eq!(handle.dropped(), 5);
}

#[test]
fn a_full_disk_costs_records_but_no_number_and_the_count_arrives() {
    let disk = SharedDisk::default();
    let (store, handle, _) = open(&disk, u64::MAX);
    let mut writer = writer(store, &disk, Vec::new());
    let record = fleet::Record::default;
    let batch = |count| fleet::Batch { records: vec![record(); count], ..fleet::Batch::default() };
    writer.append(batch(1));
    disk.0.is_full.store(true, std::sync::atomic::Ordering::Relaxed);
    writer.append(batch(2));
    writer.append(batch(3));
    disk.0.is_full.store(false, std::sync::atomic::Ordering::Relaxed);
    writer.sync();
    writer.append(batch(1));
    writer.sync();
    let all = all(&handle);
    assert_eq!(all.iter().map(|(sequence, _)| *sequence).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(all[1].1.dropped[0].records, 5);
    assert_eq!(handle.dropped(), 5);
}

#[test]
fn a_segment_damaged_in_the_middle_leaves_a_gap_that_is_told() {
    let disk = SharedDisk::default();
    let (mut store, _, _) = open(&disk, u64::MAX);
    for _ in 0..5 {
        store.append(&batch(1, 2 * KIB)).expect("room");
    }
    store.sync().expect("room");
    store.mark_alive(true).expect("room");
    drop(store);
    {
        let mut files = disk.0.files();
        let file = files.get_mut(&segment::Segment::path(Path::new("spool"), 1)).expect("the segment");
        let last = file.len() - 1;
        file[last] ^= 1;
    }
    let (_, handle, _) = open(&disk, u64::MAX);
    let all = all(&handle);
    assert_eq!(all.iter().map(|(sequence, _)| *sequence).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
    let lost = &all[1].1.dropped[0];
    assert_eq!((&*lost.reason, lost.records), ("damaged", 1));
    assert_eq!(
        all.iter().map(|(_, batch)| batch.records.len()).sum::<usize>(),
        4,
        "what lies behind it is whole"
    );
}

#[test]
fn a_wiped_disk_begins_another_spool() {
    let (one, two) = (SharedDisk::default(), SharedDisk::default());
    assert_ne!(open(&one, u64::MAX).1.id(), open(&two, u64::MAX).1.id());
}

#[test]
fn a_start_on_a_full_disk_keeps_records_in_memory_and_leaves_what_is_on_disk_for_the_next() {
    let disk = SharedDisk::default();
    let quota = 1 << 20;
    let (mut store, ..) = open(&disk, quota);
    store.append(&batch(3, 10)).expect("room");
    store.sync().expect("room");
    drop(store);
    let before = disk.0.files().clone();
    disk.0.is_full.store(true, std::sync::atomic::Ordering::Relaxed);
    let start = || {
        Spool::start(
            "spool".into(),
            &Secret::new(vec![1; 32]),
            quota,
            Vec::new(),
            uses().1,
            None,
            seams(&disk),
        )
    };
    let (spool, handle) = start().expect("it starts");
    assert!(all(&handle).iter().all(|(_, batch)| batch.records.is_empty()), "those are not its own");
    spool.close();
    assert_eq!(*disk.0.files(), before);
    disk.0.is_full.store(false, std::sync::atomic::Ordering::Relaxed);
    let (spool, handle) = start().expect("it starts");
    assert_eq!(all(&handle).iter().map(|(_, batch)| batch.records.len()).sum::<usize>(), 3);
    spool.close();
}
