//! An end of the process or of the power between any two calls to the disk.

use crate::fixture::disk::{FaultyDisk, Files, perform};

use super::damage::{Plane, named, start};
use super::*;

/// What was promised once so many calls were made.
struct Promise {
    calls: usize,
    /// Records below this are on disk.
    records: u64,
    /// Of those, the control plane has these.
    plane: Plane,
    /// Whether the end was told to be an orderly one; `None` while it is being told.
    is_closed: Option<bool>,
}

#[test]
fn after_an_end_between_any_two_calls_what_was_handed_out_is_there_and_the_end_is_told() {
    let disk = FaultyDisk::default();
    let (mut store, handle, _) = start(&disk);
    let mut plane = Plane::default();
    let mut promises = Vec::new();
    let mut promise = |records, plane: &Plane, is_closed| {
        let calls = disk.lock().calls.len();
        promises.push(Promise { calls, records, plane: plane.clone(), is_closed });
    };
    promise(0, &plane, Some(false));
    let mut records = 0;
    for round in 0..12 {
        store.append(&named(records..records + 2)).expect("room");
        records += 2;
        if round % 3 > 0 {
            store.sync().expect("room");
            promise(records, &plane, Some(false));
            plane.take(&handle, 6);
            promise(records, &plane, Some(false));
            assert!(handle.acknowledge(plane.through));
        }
        store.reclaim().expect("room");
        store.tell().expect("room");
        if round == 7 {
            store.mark_alive(false).expect("room");
        }
    }
    store.sync().expect("room");
    promise(records, &plane, None);
    store.mark_alive(true).expect("room");
    promise(records, &plane, Some(true));

    let calls = disk.lock().calls.clone();
    let mut files = Files::new();
    for at in 0..=calls.len() {
        let made = promises.iter().rev().find(|promise| promise.calls <= at);
        if let Some(promise) = made {
            judge(at, "end of the process", files.clone(), promise);
            judge(at, "power cut", FaultyDisk::cut(&files), promise);
        }
        if let Some(call) = calls.get(at) {
            // In the record are calls that found nothing to do it to.
            drop(perform(&mut files, call));
        }
    }
}

fn judge(at: usize, what: &str, files: Files, promise: &Promise) {
    let (mut store, handle, losses) = start(&FaultyDisk::holding(files));
    store.append(&fleet::Batch { dropped: losses, ..fleet::Batch::default() }).expect("room");
    store.sync().expect("room");
    let mut plane = promise.plane.clone();
    plane.take(&handle, u64::MAX);
    for record in 0..promise.records {
        assert!(plane.stored.contains(&record), "{what} before call {at}: record {record} is gone");
    }
    let told = plane.losses.iter().any(|(reason, _)| reason == "unclean");
    assert!(promise.is_closed.is_none_or(|closed| closed != told), "{what} before call {at}: told {told}");
    let damaged = plane.losses.iter().any(|(reason, records)| reason == "damaged" && *records > 0);
    assert!(!damaged || what == "power cut", "{what} before call {at}: {:?}", plane.losses);
}
