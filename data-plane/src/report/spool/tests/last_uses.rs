//! Last uses of callers in the spool: they come with the records of their requests, and outlive them.

use std::sync::atomic::{AtomicU32, Ordering};

use rr_contract::model::id::{CredentialId, RequestId};

use crate::report::RawRecord;

use super::*;

fn caller(n: u32) -> CredentialId {
    let mut id = [0; 16];
    id[..4].copy_from_slice(&n.to_be_bytes());
    CredentialId::from_random(id)
}

fn used(n: u32, minute: u64) -> fleet::CallerUse {
    fleet::CallerUse { caller_credential: caller(n).to_string(), minute }
}

/// What a control plane comes to know of a caller.
fn newest(handle: &SpoolHandle, n: u32) -> Option<u64> {
    let uses = all(handle).into_iter().flat_map(|(_, batch)| batch.uses);
    uses.filter(|it| it.caller_credential == caller(n).to_string()).map(|it| it.minute).max()
}

#[test]
fn when_records_find_no_room_the_last_uses_that_came_with_them_are_written_once_more() {
    let disk = SharedDisk::default();
    let quota = 16 * KIB as u64;
    let (store, handle, _) = open(&disk, quota);
    let mut writer = writer(store, &disk, Vec::new());
    writer.append(fleet::Batch { uses: vec![used(1, 10), used(2, 10)], ..batch(1, 2 * KIB) });
    writer.append(fleet::Batch { uses: vec![used(1, 11)], ..batch(1, 2 * KIB) });
    for _ in 0..60 {
        writer.append(batch(1, 2 * KIB));
        writer.sync();
        writer.store.reclaim().expect("room");
        writer.drain();
    }
    writer.sync();
    assert!(handle.dropped() > 30, "{}", handle.dropped());
    assert_eq!([newest(&handle, 1), newest(&handle, 2)], [Some(11), Some(10)]);
    let told = all(&handle).iter().map(|(_, batch)| batch.uses.len()).sum::<usize>();
    assert_eq!(told, 2, "one of each");
    // By the next process, too.
    writer.store.mark_alive(true).expect("room");
    drop(writer);
    let (store, handle, _) = open(&disk, quota);
    let mut writer = super::writer(store, &disk, Vec::new());
    for _ in 0..60 {
        writer.append(batch(1, 2 * KIB));
        writer.sync();
        writer.store.reclaim().expect("room");
        writer.drain();
    }
    writer.sync();
    assert_eq!([newest(&handle, 1), newest(&handle, 2)], [Some(11), Some(10)]);
    // What the control plane has is not kept for it.
    assert!(handle.acknowledge(all(&handle).last().expect("there are some").0));
    for _ in 0..60 {
        writer.append(batch(1, 2 * KIB));
        writer.sync();
        writer.store.reclaim().expect("room");
        writer.drain();
    }
    writer.sync();
    assert_eq!([newest(&handle, 1), newest(&handle, 2)], [None, None]);
}

#[test]
fn a_last_use_that_was_acknowledged_is_not_written_once_more_with_one_of_its_file_that_was_not() {
    let disk = SharedDisk::default();
    let (store, handle, _) = open(&disk, 16 * KIB as u64);
    let mut writer = writer(store, &disk, Vec::new());
    writer.append(fleet::Batch { uses: vec![used(1, 10)], ..batch(1, 1) });
    writer.append(fleet::Batch { uses: vec![used(2, 10)], ..batch(1, 1) });
    writer.sync();
    let first = all(&handle).first().expect("there are two").0;
    assert!(handle.acknowledge(first));
    for _ in 0..20 {
        writer.append(batch(1, 2 * KIB));
        writer.sync();
        writer.store.reclaim().expect("room");
        writer.drain();
    }
    writer.sync();
    assert!(handle.dropped() > 0);
    assert_eq!([newest(&handle, 1), newest(&handle, 2)], [None, Some(10)]);
}

#[test]
fn a_full_disk_costs_no_last_use() {
    let disk = SharedDisk::default();
    let (store, handle, _) = open(&disk, u64::MAX);
    let mut writer = writer(store, &disk, Vec::new());
    disk.0.is_full.store(true, Ordering::Relaxed);
    writer.append(fleet::Batch { uses: vec![used(1, 10), used(2, 10)], ..batch(1, 1) });
    writer.append(fleet::Batch { uses: vec![used(1, 9)], ..batch(1, 1) });
    disk.0.is_full.store(false, Ordering::Relaxed);
    writer.drain();
    writer.sync();
    assert_eq!([newest(&handle, 1), newest(&handle, 2)], [Some(10), Some(10)]);
}

#[test]
fn last_uses_of_many_callers_come_in_batches_of_512_and_all_of_them_before_an_orderly_end() {
    let disk = SharedDisk::default();
    let (store, handle, _) = open(&disk, u64::MAX);
    let (sender, receiver) = uses();
    let worker = crate::report::Uses::new(Some(sender));
    let mut writer = Writer { uses: receiver, ..writer(store, &disk, Vec::new()) };
    (0..2_000).for_each(|n| worker.tell(caller(n), 10));
    writer.drain();
    writer.sync();
    let sizes: Vec<_> = all(&handle).iter().map(|(_, batch)| batch.uses.len()).collect();
    assert_eq!(sizes, [512, 512, 512, 464]);
    (2_000..3_000).for_each(|n| worker.tell(caller(n), 10));
    let (stop, stopped) = sync_channel(1);
    stop.send(()).expect("there is room");
    writer.run(&stopped);
    let sizes: Vec<_> = all(&handle).iter().map(|(_, batch)| batch.uses.len()).collect();
    assert!(sizes.iter().all(|size| *size <= 512), "{sizes:?}");
    assert_eq!(sizes.iter().sum::<usize>(), 3_000);
    assert_eq!([newest(&handle, 0), newest(&handle, 1_999)], [Some(10), Some(10)]);
}

#[test]
fn no_record_is_written_before_the_last_use_that_was_told_before_it() {
    const ALL: u32 = 20_000;
    let disk = SharedDisk::default();
    let (store, handle, _) = open(&disk, u64::MAX);
    let (sender, receiver) = uses();
    let worker = crate::report::Uses::new(Some(sender));
    let counters = Arc::new(Counters::default());
    let (ring, ring_end) = crate::report::ring(counters);
    let mut writer = Writer { uses: receiver, rings: vec![ring_end], ..writer(store, &disk, Vec::new()) };
    let written = &AtomicU32::new(0);
    let missing = std::thread::scope(|scope| {
        scope.spawn(move || {
            for n in 0..ALL {
                worker.tell(caller(n), 10);
                let id = RequestId::from_random([7; 16]);
                ring.push(Box::new(RawRecord::new(id, SystemClock.now(), http::Method::GET, 0)));
                // All of them fit into one batch.
                while n.saturating_sub(written.load(Ordering::Relaxed)) > 100 {
                    std::thread::yield_now();
                }
            }
        });
        let (mut uses, mut records, mut missing) = (0, 0, 0);
        let mut next = Cursor::at(1);
        while records < ALL {
            writer.drain();
            writer.sync();
            while let Some((_, body)) = next.next(&handle).expect("it reads") {
                let batch = fleet::Batch::decode(body).expect("a batch");
                (uses, records) = (uses + batch.uses.len() as u32, records + batch.records.len() as u32);
                missing = missing.max(records.saturating_sub(uses));
            }
            written.store(records, Ordering::Relaxed);
        }
        missing
    });
    assert_eq!(missing, 0);
}
