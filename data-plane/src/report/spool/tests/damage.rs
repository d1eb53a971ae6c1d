//! Damage to each byte of each file of the spool, each cut and each error of the device: every record that waits
//! arrives, or is counted exactly; no number is given out twice.

use std::collections::BTreeSet;
use std::path::PathBuf;

use crate::fixture::disk::{FaultyDisk, Files};

use super::*;
use crate::report::spool::segment::Segment;

const KEY: [u8; 32] = [1; 32];

pub(super) fn start(disk: &FaultyDisk) -> (Store, SpoolHandle, Vec<fleet::Dropped>) {
    let seams = Seams {
        clock: Arc::new(SystemClock),
        entropy: Arc::new(SystemEntropy),
        disk: Arc::new(disk.clone()),
    };
    let sizes = Sizes { quota: u64::MAX, segment: 600 };
    Store::open("spool".into(), &Secret::new(KEY.to_vec()), sizes, seams).expect("damage stops no start")
}

/// So many records, named by a number of the test.
pub(super) fn named(names: std::ops::Range<u64>) -> fleet::Batch {
    let record = |name: u64| fleet::Record {
        id: name.to_string(),
        received_at: Some(timestamp(SystemClock.now())),
        ..fleet::Record::default()
    };
    fleet::Batch { records: names.map(record).collect(), ..fleet::Batch::default() }
}

/// A control plane: what it stored, each number once.
#[derive(Clone, Default)]
pub(super) struct Plane {
    pub(super) through: u64,
    pub(super) stored: BTreeSet<u64>,
    pub(super) losses: Vec<(String, u64)>,
}

impl Plane {
    /// Takes what there is, up to a number. Numbers that it has, it has.
    pub(super) fn take(&mut self, handle: &SpoolHandle, until: u64) {
        let mut cursor = Cursor::at(handle.acked() + 1);
        while let Ok(Some((number, body))) = cursor.next(handle) {
            if number > until {
                return;
            }
            if number <= self.through {
                continue;
            }
            assert_eq!(number, self.through + 1, "numbers have no gap");
            self.through = number;
            let batch = fleet::Batch::decode(body).expect("a batch");
            for record in batch.records {
                assert!(self.stored.insert(record.id.parse().expect("a name")), "twice: {}", record.id);
            }
            self.losses.extend(batch.dropped.into_iter().map(|lost| (lost.reason, lost.records)));
        }
    }

    fn lost(&self) -> u64 {
        self.losses.iter().map(|(_, records)| records).sum()
    }
}

/// A spool of several files of which two batches are acknowledged, and what the control plane has.
fn life(closed: bool) -> (Files, Plane, u64) {
    let disk = FaultyDisk::default();
    let (mut store, handle, _) = start(&disk);
    let mut records = 0;
    for count in [1, 2, 3, 1, 2, 3, 2, 1, 3, 2, 1, 2, 3, 1, 2] {
        store.append(&named(records..records + count)).expect("room");
        records += count;
        store.sync().expect("room");
        store.reclaim().expect("room");
        store.tell().expect("room");
    }
    let mut plane = Plane::default();
    plane.take(&handle, 2);
    assert!(handle.acknowledge(2));
    store.tell().expect("room");
    if closed {
        store.mark_alive(true).expect("room");
    }
    let files = disk.lock().files.clone();
    assert!(files.len() >= 5, "{:?}", files.keys());
    (files, plane, records)
}

/// Starts on it twice, and adds a record each time.
fn judge(what: &str, disk: &FaultyDisk, before: &Plane, records: u64) {
    let mut number = before.through;
    for round in 1..=2 {
        let (mut store, handle, losses) = start(disk);
        let new = records + round;
        let mut batch = named(new..new + 1);
        batch.dropped = losses;
        store.append(&batch).expect("room");
        store.sync().expect("room");
        assert!(store.next - 1 > number, "{what}: number {number} again");
        number = store.next - 1;
        let mut plane = before.clone();
        plane.take(&handle, u64::MAX);
        assert!(plane.stored.contains(&new), "{what}: what is written afterwards does not arrive");
        let stored = plane.stored.len() as u64 - round;
        assert_eq!(stored + plane.lost(), records, "{what}, start {round}: {:?}", plane.losses);
        if round == 1 {
            assert_eq!(handle.dropped(), plane.lost(), "{what}: the metric says what the stream says");
        }
        store.mark_alive(true).expect("room");
    }
}

fn each_fault(files: &Files, path: &PathBuf, mut judge: impl FnMut(&str, FaultyDisk)) {
    let length = files[path].bytes.len();
    let name = path.display();
    // Each byte of heads, of the first frame among them; of what is alike behind them, some.
    for at in
        (0..length).filter(|at| *at < frame::HEADER + frame::FRAME_MIN || at % 31 == 0 || at + 8 > length)
    {
        let mut bent = files.clone();
        bent.entry(path.clone()).or_default().bytes[at] ^= 1 << (at % 8);
        judge(&format!("{name}, byte {at} bent"), FaultyDisk::holding(bent));
        let mut cut = files.clone();
        cut.entry(path.clone()).or_default().bytes.truncate(at);
        judge(&format!("{name}, cut to {at}"), FaultyDisk::holding(cut));
    }
    let mut gone = files.clone();
    gone.remove(path);
    judge(&format!("{name} gone"), FaultyDisk::holding(gone));
    let disk = FaultyDisk::holding(files.clone());
    disk.lock().unreadable.insert(path.clone());
    judge(&format!("{name} unreadable"), disk);
}

// A bent bit in the 35 bytes of `spool` once deleted every record that waited, without a word.
#[test]
fn whatever_is_wrong_with_one_file_all_that_waits_arrives_or_is_counted_exactly() {
    for closed in [true, false] {
        let (files, plane, records) = life(closed);
        judge("nothing wrong", &FaultyDisk::holding(files.clone()), &plane, records);
        for path in files.keys() {
            each_fault(&files, path, |what, disk| {
                judge(&format!("{what}, closed {closed}"), &disk, &plane, records)
            });
        }
    }
}

#[test]
fn without_both_files_of_marks_the_segments_say_which_spool_they_are_of_and_no_record_is_lost() {
    for closed in [true, false] {
        let (files, plane, records) = life(closed);
        let marks = ["spool/spool", "spool/spool-copy"].map(PathBuf::from);
        let mut bent = files.clone();
        for path in &marks {
            bent.entry(path.clone()).or_default().bytes.iter_mut().for_each(|byte| *byte ^= 1);
        }
        judge("both bent", &FaultyDisk::holding(bent), &plane, records);
        let mut gone = files.clone();
        marks.iter().for_each(|path| drop(gone.remove(path)));
        judge("both gone", &FaultyDisk::holding(gone), &plane, records);
        let disk = FaultyDisk::holding(files);
        disk.lock().unreadable.extend(marks);
        judge("both unreadable", &disk, &plane, records);
    }
}

#[test]
fn segments_of_a_spool_that_nothing_names_are_set_aside_and_counted_by_their_labels() {
    let (mut files, _, records) = life(true);
    for (path, file) in &mut files {
        let head = if Segment::number(path).is_some() { frame::HEADER } else { usize::MAX };
        file.bytes.iter_mut().take(head).for_each(|byte| *byte ^= 1);
    }
    let disk = FaultyDisk::holding(files);
    let (_, handle, losses) = start(&disk);
    assert_eq!(
        losses.iter().map(|lost| (&*lost.reason, lost.records)).collect::<Vec<_>>(),
        [("damaged", records)]
    );
    assert_eq!(handle.dropped(), records);
    let kept =
        disk.lock().files.keys().filter(|path| path.to_string_lossy().contains("set-aside-segment")).count();
    assert_eq!(kept, 0, "the number comes before the name");
    let kept = disk.lock().files.keys().filter(|path| path.to_string_lossy().contains("/set-aside-")).count();
    assert!(kept >= 3, "{kept} files are kept for a person");
}

#[test]
fn a_segment_that_was_emptied_is_no_loss_of_the_last_moments_and_a_young_one_is_no_damage() {
    let (mut files, plane, records) = life(false);
    let (_, intact, _) = start(&FaultyDisk::holding(files.clone()));
    assert_eq!(intact.damaged(), 0, "after a kill nothing is damaged");
    let newest =
        files.keys().filter(|path| Segment::number(path).is_some()).max().expect("a segment").clone();
    files.entry(newest).or_default().bytes.clear();
    let (_, handle, _) = start(&FaultyDisk::holding(files));
    let mut after = plane.clone();
    after.take(&handle, u64::MAX);
    let damaged: u64 = after.losses.iter().filter(|(reason, _)| reason == "damaged").map(|(_, n)| n).sum();
    assert!(damaged > 0 && after.stored.len() as u64 + damaged == records, "{:?}", after.losses);
    assert!(after.losses.contains(&("unclean".to_owned(), 0)), "{:?}", after.losses);

    // All was acknowledged, and the newest file has nothing yet.
    let disk = FaultyDisk::default();
    let (mut store, handle, _) = start(&disk);
    for n in 0..6 {
        store.append(&named(n..n + 1)).expect("room");
    }
    store.sync().expect("room");
    assert!(handle.acknowledge(6));
    for _ in 0..2 {
        store.reclaim().expect("room");
        store.tell().expect("room");
    }
    let (_, handle, _) = start(&FaultyDisk::holding(FaultyDisk::cut(&disk.lock().files)));
    assert_eq!((handle.damaged(), handle.dropped()), (0, 0));
}

#[test]
fn what_goes_bad_while_the_spool_is_open_is_mended_and_the_upload_goes_on() {
    for unreadable in [false, true] {
        let disk = FaultyDisk::default();
        let (mut store, handle, _) = start(&disk);
        for n in 0..16 {
            store.append(&named(n..n + 1)).expect("room");
            store.sync().expect("room");
        }
        // The second file, and the one that is written to.
        let segments: Vec<PathBuf> =
            disk.lock().files.keys().filter(|path| Segment::number(path).is_some()).cloned().collect();
        let newest = segments.last().expect("several").clone();
        assert!(segments.len() > 2);
        for path in [segments[1].clone(), newest] {
            if unreadable {
                disk.lock().unreadable.insert(path);
            } else if let Some(file) = disk.lock().files.get_mut(&path) {
                file.bytes[frame::HEADER + 40] ^= 1;
            }
        }
        let mut plane = Plane::default();
        for _ in 0..8 {
            plane.take(&handle, u64::MAX);
            store.reclaim().expect("it is mended");
        }
        store.append(&named(16..17)).expect("room");
        store.sync().expect("room");
        plane.take(&handle, u64::MAX);
        assert!(plane.stored.contains(&16) && plane.lost() > 0, "{:?}", plane.losses);
        assert_eq!(
            plane.stored.len() as u64 + plane.lost(),
            17,
            "unreadable {unreadable}: {:?}",
            plane.losses
        );
        assert_eq!(handle.dropped(), plane.lost());
    }
}

#[test]
fn no_more_than_a_few_damaged_files_are_kept() {
    let disk = FaultyDisk::default();
    for n in 0..12 {
        let path = PathBuf::from(format!("spool/segment-{n}"));
        aside::set_aside(&disk, &path, Some(b"damaged")).expect("room");
    }
    let kept: Vec<PathBuf> = disk.lock().files.keys().cloned().collect();
    assert_eq!(kept.len(), 8);
    assert_eq!(kept.last(), Some(&PathBuf::from("spool/set-aside-000012-segment-11")));
}
