//! Batches that are read for upload while the quota takes its own: each is sent or lost, never both.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use rr_contract::seam::{Disk, DiskFile};

use super::*;

type Hook = Box<dyn FnMut() + Send>;

/// A disk that lets something else happen just before it replaces a file, or just after it read one for upload.
#[derive(Clone, Default)]
struct Interrupted {
    disk: SharedDisk,
    on_replace: Arc<Mutex<Option<Hook>>>,
    on_read: Arc<Mutex<Option<Hook>>>,
}

/// Once: what happens meanwhile may come here again.
fn interrupt(hook: &Mutex<Option<Hook>>) {
    let taken = hook.lock().expect("no hook panics").take();
    if let Some(mut hook) = taken {
        hook();
    }
}

impl Disk for Interrupted {
    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.disk.create_dir_all(path)
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.disk.read(path)
    }

    fn append(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.disk.append(path)
    }

    fn replace(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        if segment::Segment::number(path).is_some() {
            interrupt(&self.on_replace);
        }
        self.disk.replace(path, bytes)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<PathBuf>> {
        self.disk.list(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.disk.remove(path)
    }

    fn truncate(&self, path: &Path, length: u64) -> io::Result<()> {
        self.disk.truncate(path, length)
    }

    fn read_from(&self, path: &Path, offset: u64) -> io::Result<Vec<u8>> {
        let read = self.disk.read_from(path, offset);
        interrupt(&self.on_read);
        read
    }
}

/// A spool above its quota, of 12 batches with 3 records each.
fn full(disk: &Interrupted) -> (Store, SpoolHandle) {
    let key = Secret::new(vec![1; 32]);
    let seams = Seams { disk: Arc::new(disk.clone()), ..seams(&disk.disk) };
    let sizes = Sizes { quota: 9 * KIB as u64, segment: 4 * KIB as u64 };
    let (mut store, handle, _) = Store::open("spool".into(), &key, sizes, seams).expect("it opens");
    for _ in 0..12 {
        store.append(&batch(3, KIB)).expect("room");
        store.sync().expect("room");
    }
    (store, handle)
}

/// Records that were read, and lost ones of which was read, by one reader from beginning to end.
fn records(read: &[(u64, Bytes)]) -> (u64, u64) {
    let numbers: Vec<u64> = read.iter().map(|(number, _)| *number).collect();
    assert_eq!(numbers, (1..=12).collect::<Vec<_>>());
    let batches: Vec<_> =
        read.iter().map(|(_, body)| fleet::Batch::decode(body.clone()).expect("a batch")).collect();
    let kept = batches.iter().map(|batch| batch.records.len() as u64).sum();
    let lost = batches.iter().flat_map(|batch| &batch.dropped).map(|dropped| dropped.records).sum();
    (kept, lost)
}

#[test]
fn what_is_being_given_up_is_not_read_before_it_is_gone() {
    let disk = Interrupted::default();
    let (mut store, handle) = full(&disk);
    let cursor = Arc::new(Mutex::new(Cursor::at(1)));
    let read = Arc::new(Mutex::new(Vec::new()));
    let was_asked = Arc::new(Mutex::new(false));
    let (handed, spool) = ((Arc::clone(&cursor), Arc::clone(&read), Arc::clone(&was_asked)), handle.clone());
    *disk.on_replace.lock().expect("no hook panics") = Some(Box::new(move || {
        let (cursor, read, was_asked) = &handed;
        *was_asked.lock().expect("nobody panics") = true;
        let found = cursor.lock().expect("nobody panics").next(&spool).expect("it reads");
        read.lock().expect("nobody panics").extend(found);
    }));
    for _ in 0..12 {
        store.reclaim().expect("it deletes");
    }
    assert!(*was_asked.lock().expect("nobody panics"), "the quota took nothing");
    let mut read = read.lock().expect("nobody panics");
    let mut cursor = cursor.lock().expect("nobody panics");
    read.extend(std::iter::from_fn(|| cursor.next(&handle).expect("it reads")));
    let (kept, lost) = records(&read);
    assert!(lost > 0 && kept + lost == 36, "{kept} kept, {lost} lost");
    assert_eq!(handle.dropped(), lost, "the metric says what the stream says");
}

#[test]
fn what_is_being_read_is_not_given_up() {
    let disk = Interrupted::default();
    let (store, handle) = full(&disk);
    let store = Arc::new(Mutex::new(store));
    let writer = Arc::clone(&store);
    *disk.on_read.lock().expect("no hook panics") = Some(Box::new(move || {
        for _ in 0..12 {
            writer.lock().expect("nobody panics").reclaim().expect("it deletes");
        }
    }));
    let mut cursor = Cursor::at(1);
    let read: Vec<_> = std::iter::from_fn(|| cursor.next(&handle).expect("it reads")).collect();
    let (kept, lost) = records(&read);
    assert!(lost > 0 && kept + lost == 36, "{kept} kept, {lost} lost");
    assert_eq!(handle.dropped(), lost, "the metric says what the stream says");
}
