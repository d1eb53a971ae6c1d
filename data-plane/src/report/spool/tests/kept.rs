//! What is kept where not all is: shares that proxies want, room near the quota, and what stays above it.

use std::collections::BTreeMap;
use std::time::Duration;

use http::StatusCode;
use rr_contract::model::id::{OrgId, ProxyId, RequestId};

use crate::outcome::Code;
use crate::report::{Lines, RawRecord, Ring, ring};

use super::*;

fn denied(n: u64) -> Box<RawRecord> {
    let at = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    let mut id = [0; 16];
    id[8..].copy_from_slice(&n.to_be_bytes());
    Box::new(RawRecord {
        org: Some(OrgId::from_random([1; 16])),
        proxy: Some(ProxyId::from_random([2; 16])),
        path: crate::scrub::Path::of(&"x".repeat(100)),
        code: Some(Code::RuleDenied),
        status: Some(StatusCode::FORBIDDEN),
        aborted: false,
        ..RawRecord::new(RequestId::from_random(id), at, http::Method::GET, 9)
    })
}

fn granted(n: u64) -> Box<RawRecord> {
    let mut record = denied(n);
    (record.code, record.status) = (Some(Code::Granted), Some(StatusCode::OK));
    record
}

fn fed(disk: &SharedDisk, quota: u64) -> (Ring, Writer, SpoolHandle) {
    let (store, handle, _) = open(disk, quota);
    let (ring, end) = ring(Arc::default());
    (ring, writer(store, disk, vec![end]), handle)
}

/// What a control plane comes to know.
#[derive(Debug, Default, PartialEq, Eq)]
struct Known {
    granted: u64,
    denied: u64,
    lost: BTreeMap<String, u64>,
    requests: u64,
}

impl Known {
    fn of(handle: &SpoolHandle) -> Self {
        let mut known = Self::default();
        for (_, batch) in all(handle) {
            for record in &batch.records {
                if record.code == "rule-denied" { known.denied += 1 } else { known.granted += 1 }
            }
            for lost in batch.dropped {
                *known.lost.entry(lost.reason).or_default() += lost.records;
            }
            known.requests += batch.sums.iter().map(|sum| sum.requests).sum::<u64>();
        }
        known
    }

    fn lost(&self, reason: &str) -> u64 {
        self.lost.get(reason).copied().unwrap_or_default()
    }

    /// Records, kept or not.
    fn all(&self) -> u64 {
        self.granted + self.denied + self.lost.values().sum::<u64>()
    }
}

fn step(writer: &mut Writer) {
    writer.drain();
    writer.sync();
    writer.store.reclaim().expect("room");
}

#[test]
fn what_a_proxy_samples_away_is_counted_beside_its_sums_and_is_no_loss() {
    let disk = SharedDisk::default();
    let (ring, mut writer, handle) = fed(&disk, u64::MAX);
    for n in 0..100 {
        let mut record = granted(n);
        record.sample = Some(0);
        ring.push(record);
        if n % 10 == 0 {
            let mut record = denied(n);
            record.sample = Some(0);
            ring.push(record);
        }
    }
    step(&mut writer);
    let told = all(&handle);
    assert_eq!((told.len(), told[0].1.dropped.len()), (1, 1), "one row of one batch");
    let known = Known::of(&handle);
    assert_eq!((known.granted, known.denied, known.requests), (0, 10, 110));
    assert_eq!(known.lost, BTreeMap::from([("sampled".to_owned(), 100)]));
    assert_eq!(handle.dropped(), 0);
}

#[test]
fn near_the_quota_what_was_granted_gives_way_and_denials_find_room() {
    let disk = SharedDisk::default();
    let quota = 20 * KIB as u64;
    let (ring, mut writer, handle) = fed(&disk, quota);
    let mut count = 0;
    while !handle.is_nearly_full() {
        ring.push(granted(count));
        count += 1;
        step(&mut writer);
        assert!(count < 1_000, "it fills up");
    }
    let before = Known::of(&handle);
    assert_eq!((before.granted, &before.lost), (count, &BTreeMap::new()), "below it all are written");
    assert!(handle.bytes() > quota / 5 * 4 && handle.bytes() < quota, "{}", handle.bytes());
    // A third of a kilobyte each: what is left would hold a few of either.
    for n in 0..4 {
        (0..50).for_each(|m| ring.push(granted(1_000 + n * 50 + m)));
        ring.push(denied(n));
        step(&mut writer);
    }
    let known = Known::of(&handle);
    assert_eq!((known.granted, known.denied, known.lost("spool-near-full")), (count, 4, 200));
    assert_eq!((known.all(), known.requests, handle.dropped()), (count + 204, count + 204, 200));
    // Once it was uploaded, there is room for all again.
    let last = all(&handle).last().expect("there are some").0;
    assert!(handle.acknowledge(last));
    writer.store.reclaim().expect("room");
    ring.push(granted(9_000));
    step(&mut writer);
    assert_eq!(Known::of(&handle).granted, 1);
}

#[test]
fn losses_keep_their_reasons_when_room_is_made_over_restarts_too() {
    let disk = SharedDisk::default();
    let quota = 20 * KIB as u64;
    let (mut pushed, mut sampled) = (0, 0);
    for life in 0..3 {
        let (ring, mut writer, handle) = fed(&disk, quota);
        for n in 0..200 {
            ring.push(denied(n));
            let mut record = granted(n);
            record.sample = Some(0);
            ring.push(record);
            (pushed, sampled) = (pushed + 2, sampled + 1);
            if n % 5 == 0 {
                step(&mut writer);
            }
        }
        step(&mut writer);
        step(&mut writer);
        let known = Known::of(&handle);
        assert_eq!(known.lost("sampled"), sampled, "life {life}: {known:?}");
        assert!(known.lost("spool-full") > 100, "{known:?}");
        assert_eq!((known.all(), known.requests), (pushed, pushed), "life {life}: {known:?}");
    }
}

#[test]
fn what_was_acknowledged_of_a_file_that_goes_is_neither_lost_nor_told_again() {
    let disk = SharedDisk::default();
    let (ring, mut writer, handle) = fed(&disk, 8 * KIB as u64);
    for n in 0..3 {
        ring.push(denied(n));
        writer.drain();
        writer.sync();
    }
    assert_eq!(files(&disk), 1);
    // A control plane that has more of this spool than this process has sent.
    assert!(handle.acknowledge(2));
    for n in 3..60 {
        ring.push(denied(n));
        step(&mut writer);
    }
    step(&mut writer);
    let known = Known::of(&handle);
    assert!(known.lost("spool-full") > 20, "{known:?}");
    assert_eq!((known.all(), known.requests, handle.dropped()), (58, 58, known.lost("spool-full")));
}

#[test]
fn after_a_start_no_more_than_64_batches_stay_above_the_quota() {
    let disk = SharedDisk::default();
    let (mut store, ..) = open(&disk, u64::MAX);
    for _ in 0..200 {
        store.append(&batch(1, KIB)).expect("room");
    }
    store.sync().expect("room");
    drop(store);
    let (mut store, handle, _) = open(&disk, 9 * KIB as u64);
    for _ in 0..300 {
        store.reclaim().expect("room");
    }
    let kept: Vec<u64> = all(&handle)
        .iter()
        .filter(|(_, batch)| !batch.records.is_empty())
        .map(|(number, _)| *number)
        .collect();
    // Some four are in one file, and the newest file stays in any case.
    assert!(kept.iter().filter(|number| **number <= 64).count() == 64, "{kept:?}");
    assert!(kept.iter().filter(|number| (65..=70).contains(*number)).count() <= 4, "{kept:?}");
    assert!(kept.iter().all(|number| *number <= 70 || *number > 190), "{kept:?}");
    let lost: u64 = all(&handle).iter().flat_map(|(_, batch)| &batch.dropped).map(|lost| lost.records).sum();
    assert_eq!((kept.len() as u64 + lost, handle.dropped()), (200, lost));
}

#[test]
fn a_file_that_goes_keeps_all_of_its_sums_in_as_many_batches_as_it_had_over_a_kill_too() {
    let disk = SharedDisk::default();
    let quota = 64 * KIB as u64;
    let (ring, mut writer, handle) = fed(&disk, quota);
    let of_proxy = |n: u32| {
        let mut record = denied(n.into());
        let mut id = [0; 16];
        id[..4].copy_from_slice(&n.to_be_bytes());
        record.proxy = Some(ProxyId::from_random(id));
        record
    };
    let proxies = 5 * 3_000;
    for n in 0..proxies {
        ring.count(&of_proxy(n));
        if n % 3_000 == 2_999 {
            step(&mut writer);
        }
    }
    let check = |handle: &SpoolHandle| {
        let told = all(handle);
        let numbers: Vec<u64> = told.iter().map(|(number, _)| *number).collect();
        assert_eq!(numbers, (1..=numbers.len() as u64).collect::<Vec<_>>());
        assert!(told.iter().all(|(_, batch)| batch.sums.len() <= BATCH_SUMS));
        let mut found: Vec<&str> =
            told.iter().flat_map(|(_, batch)| &batch.sums).map(|sum| sum.proxy.as_str()).collect();
        found.sort_unstable();
        found.dedup();
        assert_eq!(found.len(), proxies as usize);
        assert_eq!(Known::of(handle).requests, u64::from(proxies));
    };
    for _ in 0..20 {
        writer.store.reclaim().expect("room");
    }
    // Four files with 3,000 each are one by now, beside the newest.
    assert_eq!((files(&disk), writer.store.sums.len()), (2, 0));
    check(&handle);
    drop(writer);
    let (mut store, handle, _) = open(&disk, quota);
    check(&handle);
    for _ in 0..20 {
        store.reclaim().expect("room");
    }
    check(&handle);
}

#[test]
fn what_was_acknowledged_waits_no_more_though_its_file_is_there() {
    let disk = SharedDisk::default();
    let (mut store, handle, _) = open(&disk, u64::MAX);
    store.append(&batch(1, KIB)).expect("room");
    store.sync().expect("room");
    assert!(handle.bytes() > KIB as u64);
    assert!(handle.acknowledge(1));
    assert_eq!((handle.bytes(), files(&disk)), (0, 1));
}

#[test]
fn a_log_of_lines_has_what_the_spool_has_no_room_for_and_nothing_that_a_proxy_samples_away() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("records");
    let (lines, told, tee) = Lines::beside_spool(path.clone(), &Seams::real()).expect("it opens");
    let disk = SharedDisk::default();
    let (store, handle, _) = open(&disk, 20 * KIB as u64);
    let counters = Arc::new(Counters::default());
    let (ring, end) = ring(Arc::clone(&counters));
    let mut writer = writer(store, &disk, vec![end]);
    writer.tee = Some(tee);
    let mut count = 0;
    while !handle.is_nearly_full() {
        ring.push(granted(count));
        count += 1;
        step(&mut writer);
        assert!(count < 1_000, "it fills up");
    }
    for n in 0..7 {
        ring.push(granted(1_000 + n));
        let mut record = granted(2_000 + n);
        record.sample = Some(0);
        ring.push(record);
    }
    (0..3).for_each(|_| counters.record_dropped());
    step(&mut writer);
    let known = Known::of(&handle);
    let lost = ["spool-near-full", "sampled", "ring-full"].map(|reason| known.lost(reason));
    assert_eq!((known.granted, lost), (count, [7, 7, 3]));
    drop(writer);
    lines.close();
    let text = std::fs::read_to_string(path).expect("a file");
    let of = |part: &str| text.lines().filter(|line| line.contains(part)).count() as u64;
    assert_eq!((of("\"path\""), of("\"dropped\""), told.dropped()), (count + 7, 1, 3), "{text}");
}
