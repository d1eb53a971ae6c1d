//! Last-known-good over torn writes, flipped bits and full disks.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use rr_contract::digest::Digest;
use rr_contract::seam::{SystemClock, SystemEntropy};
use rr_contract::wire::fleet::Mode;

mod faults;

use crate::fixture::{self, Region, SharedDisk, caller, org, position, proxy, target};
use crate::snapshot::Snapshot;

use super::*;

/// A node's configuration, changed step by step as `apply` does it.
struct Node {
    region: Region,
    inventory: Inventory,
    journal: Journal,
    revision: u64,
}

fn boot(disk: &SharedDisk, region: &Region) -> (Journal, Option<Recovered>) {
    let seams = Seams {
        clock: Arc::new(SystemClock),
        entropy: Arc::new(SystemEntropy),
        disk: Arc::new(disk.clone()),
    };
    let key = Secret::new(vec![1; 32]);
    Journal::boot(Path::new("state"), &key, seams, || region.inventory())
}

impl Node {
    fn new(disk: &SharedDisk) -> Self {
        let region = Region::new();
        let (journal, recovered) = boot(disk, &region);
        assert!(recovered.is_none());
        Self { inventory: region.inventory(), region, journal, revision: 0 }
    }

    fn step(&mut self, mode: Mode, upserts: &[fleet::Resource]) -> (Digest, io::Result<()>) {
        let body = fixture::body(upserts, &[]);
        let changes = crate::sync::changes(&body);
        self.revision += 1;
        let position = position(self.revision, self.inventory.after(mode, &changes));
        self.inventory.apply(mode, changes, &mut Snapshot::default());
        let written = if mode == Mode::Snapshot || self.journal.wants_fold() {
            self.journal.fold(&self.inventory.image(), &position)
        } else {
            self.journal.append(&[body.into()], &position)
        };
        (position.digest, written)
    }

    fn stands(&self) -> Position {
        position(self.revision, self.inventory.after(Mode::Delta, &HashMap::new()))
    }

    /// A snapshot and four changes; returns the digest of each step.
    fn history(&mut self) -> HashMap<u64, Digest> {
        let upstream = self.region.upstream(2, 1, "s", "x-key", &["https://a.example"]);
        let first = [org(false), target(1, "https://a.example"), caller(1, 1, &[1]), upstream];
        let steps = [
            (Mode::Snapshot, first.to_vec()),
            (Mode::Delta, vec![proxy(1, &[1], 1, 2)]),
            (Mode::Delta, vec![target(1, "https://b.example")]),
            (Mode::Delta, vec![org(true), caller(1, 2, &[1, 2])]),
            (Mode::Delta, vec![target(2, "https://c.example")]),
        ];
        let mut digests = HashMap::new();
        for (mode, upserts) in steps {
            let (digest, written) = self.step(mode, &upserts);
            written.expect("room");
            digests.insert(self.revision, digest);
        }
        digests
    }
}

fn only_file(disk: &SharedDisk) -> (PathBuf, Vec<u8>) {
    let files = disk.0.files();
    let mut states = files.iter().filter(|(path, _)| path.to_string_lossy().contains("state-"));
    let only = states.next();
    assert!(states.next().is_none());
    only.map(|(path, bytes)| (path.clone(), bytes.clone())).expect("one file")
}

/// What is read back is a committed state, whole, or nothing.
fn check_committed(recovered: Option<&Recovered>, digests: &HashMap<u64, Digest>) -> u64 {
    let Some(recovered) = recovered else { return 0 };
    let position = recovered.position;
    assert_eq!(digests.get(&position.revision), Some(&position.digest));
    assert_eq!(recovered.inventory.after(Mode::Delta, &HashMap::new()).0, position.digest);
    assert_eq!(position.audit, Some(fixture::audit(position.revision)), "the head of that very revision");
    position.revision
}

#[test]
fn a_restart_stands_where_the_node_stood() {
    let disk = SharedDisk::default();
    let mut node = Node::new(&disk);
    let digests = node.history();
    let (_, recovered) = boot(&disk, &node.region);
    assert_eq!(check_committed(recovered.as_ref(), &digests), 5);
    let snapshot = recovered.expect("it is there").snapshot;
    let proxy = snapshot.proxy("acme.proxy-1").expect("it was configured");
    assert!(proxy.route.as_ref().is_some_and(|route| route.org.suspended));
    assert!(snapshot.ready && snapshot.revision == 5);
}

/// I13.
#[test]
fn torn_at_any_byte_the_file_gives_a_committed_state_or_none() {
    let disk = SharedDisk::default();
    let mut node = Node::new(&disk);
    let digests = node.history();
    let (path, whole) = only_file(&disk);
    let mut newest = 0;
    for length in 0..=whole.len() {
        disk.0.files().insert(path.clone(), whole[..length].to_vec());
        let (_, recovered) = boot(&disk, &node.region);
        let revision = check_committed(recovered.as_ref(), &digests);
        assert!(revision >= newest, "more bytes never give less");
        newest = revision;
    }
    assert_eq!(newest, 5);
}

#[test]
fn with_any_byte_bent_the_file_gives_a_committed_state_or_none() {
    let disk = SharedDisk::default();
    let mut node = Node::new(&disk);
    let digests = node.history();
    let (path, whole) = only_file(&disk);
    for at in 0..whole.len() {
        let mut bent = whole.clone();
        bent[at] ^= 1 << (at % 8);
        disk.0.files().insert(path.clone(), bent);
        let (_, recovered) = boot(&disk, &node.region);
        assert!(check_committed(recovered.as_ref(), &digests) < 5);
    }
}

#[test]
fn a_torn_mark_falls_back_to_the_boundary_before_it_and_the_audit_head_of_that() {
    let disk = SharedDisk::default();
    let mut node = Node::new(&disk);
    let mut digests = node.history();
    let mark = position(9, node.inventory.after(Mode::Delta, &HashMap::new()));
    let (path, before) = only_file(&disk);
    node.journal.append(&[], &mark).expect("room");
    digests.insert(9, mark.digest);
    let whole = only_file(&disk).1;
    let standing = |length: usize| {
        disk.0.files().insert(path.clone(), whole[..length].to_vec());
        let recovered = boot(&disk, &node.region).1;
        check_committed(recovered.as_ref(), &digests);
        let position = recovered.expect("a boundary is left").position;
        (position.revision, position.audit)
    };
    for length in before.len()..whole.len() {
        assert_eq!(standing(length), (5, Some(fixture::audit(5))));
    }
    assert_eq!(standing(whole.len()), (9, Some(fixture::audit(9))));
}

#[test]
fn an_audit_head_that_is_not_known_is_not_known_after_a_restart_either() {
    let disk = SharedDisk::default();
    let mut node = Node::new(&disk);
    node.history();
    let at = position(6, node.inventory.after(Mode::Delta, &HashMap::new()));
    node.journal.append(&[], &Position { audit: None, ..at }).expect("room");
    let position = boot(&disk, &node.region).1.expect("it is there").position;
    assert_eq!((position.revision, position.audit), (6, None));
}

#[test]
fn after_a_torn_end_the_node_goes_on_and_both_are_read_back() {
    let disk = SharedDisk::default();
    let mut node = Node::new(&disk);
    node.history();
    let (path, whole) = only_file(&disk);
    disk.0.files().insert(path, whole[..whole.len() - 5].to_vec());
    let (journal, recovered) = boot(&disk, &node.region);
    let recovered = recovered.expect("four steps are left");
    (node.journal, node.inventory, node.revision) =
        (journal, recovered.inventory, recovered.position.revision);
    let (digest, written) = node.step(Mode::Delta, &[target(3, "https://d.example")]);
    written.expect("room");
    let (_, recovered) = boot(&disk, &node.region);
    assert_eq!(recovered.expect("it is there").position.digest, digest);
}

#[test]
fn a_damaged_newest_file_falls_back_to_the_one_before() {
    let disk = SharedDisk::default();
    let mut node = Node::new(&disk);
    let digests = node.history();
    let all: Vec<_> = node.inventory.wanted().map(|(key, offered)| offered.to_wire(key)).collect();
    node.step(Mode::Snapshot, &all).1.expect("room");
    node.step(Mode::Snapshot, &all).1.expect("room");
    assert_eq!(node.journal.numbers().expect("they are listed").len(), FILES);
    let last = node.journal.path(node.journal.newest);
    if let Some(file) = disk.0.files().get_mut(&last) {
        file.truncate(100);
    }
    let (journal, recovered) = boot(&disk, &node.region);
    assert!(journal.is_set_back());
    let position = recovered.expect("the older one").position;
    assert_eq!((position.revision, position.digest), (6, digests[&5]));
}

/// Writes the state a second time, as `apply` does at an idle moment.
fn spare(journal: &mut Journal, inventory: &Inventory, revision: u64) {
    assert!(journal.wants_spare());
    let at = position(revision, inventory.after(Mode::Delta, &HashMap::new()));
    journal.spare(&inventory.image(), &at).expect("room");
    assert!(!journal.wants_spare());
}

#[test]
fn after_the_first_configuration_a_second_file_soon_survives_the_loss_of_the_newest() {
    let disk = SharedDisk::default();
    let mut node = Node::new(&disk);
    let digests = node.history();
    spare(&mut node.journal, &node.inventory, node.revision);
    node.step(Mode::Delta, &[target(3, "https://d.example")]).1.expect("room");
    let newest = node.journal.path(node.journal.newest);
    disk.0.files().remove(&newest);
    let (mut journal, recovered) = boot(&disk, &node.region);
    assert_eq!(check_committed(recovered.as_ref(), &digests), 5);
    assert!(journal.wants_fold(), "an older file is not appended to");
    // The only file that is left, and then there are two again.
    spare(&mut journal, &recovered.expect("it is there").inventory, 5);
    assert_eq!(journal.numbers().expect("they are listed").len(), FILES);
    let newest = journal.path(journal.newest);
    disk.0.files().remove(&newest);
    assert_eq!(check_committed(boot(&disk, &node.region).1.as_ref(), &digests), 5);
}

#[test]
fn a_file_that_is_no_good_does_not_push_out_the_one_that_is() {
    let disk = SharedDisk::default();
    let mut node = Node::new(&disk);
    let digests = node.history();
    spare(&mut node.journal, &node.inventory, node.revision);
    let newest = node.journal.path(node.journal.newest);
    disk.0.files().insert(newest, vec![0; 500]);
    let (mut journal, recovered) = boot(&disk, &node.region);
    spare(&mut journal, &recovered.expect("the older one").inventory, 5);
    let newest = journal.path(journal.newest);
    disk.0.files().remove(&newest);
    assert_eq!(check_committed(boot(&disk, &node.region).1.as_ref(), &digests), 5);
}

#[test]
fn a_disk_that_refuses_a_second_file_leaves_the_first_in_use() {
    let disk = SharedDisk::default();
    let mut node = Node::new(&disk);
    node.history();
    disk.0.is_full.store(true, Ordering::Relaxed);
    let at = position(node.revision, node.inventory.after(Mode::Delta, &HashMap::new()));
    assert!(node.journal.spare(&node.inventory.image(), &at).is_err());
    disk.0.is_full.store(false, Ordering::Relaxed);
    assert!(!node.journal.wants_fold());
    let (digest, written) = node.step(Mode::Delta, &[target(3, "https://d.example")]);
    written.expect("room");
    assert_eq!(boot(&disk, &node.region).1.expect("it is there").position.digest, digest);
}

#[test]
fn damage_is_told_from_a_torn_end_and_says_where_it_went_back_to() {
    let disk = SharedDisk::default();
    let mut node = Node::new(&disk);
    node.history();
    let (path, whole) = only_file(&disk);
    let logged = |bytes: Vec<u8>| {
        disk.0.files().insert(path.clone(), bytes);
        let set_back = std::cell::Cell::new(false);
        let log = fixture::log_of(|| set_back.set(boot(&disk, &node.region).0.is_set_back()));
        // What is told to people is told to the control plane.
        assert_eq!(set_back.get(), log.contains("went back"), "{log}");
        log
    };
    let torn = logged(whole[..whole.len() - 5].to_vec());
    assert!(torn.contains("WARN") && torn.contains("torn end"), "{torn}");
    // In the middle of the last transactions: those before it stand. What was hit, length or content, is open.
    for back in [400, 401, 402, 403, 450] {
        let mut bent = whole.clone();
        let at = bent.len() - back;
        bent[at] ^= 0x55;
        let damaged = logged(bent);
        assert!(
            damaged.contains("WARN") && damaged.contains("is damaged; went back to revision"),
            "{damaged}"
        );
    }
    disk.0.files().insert(path.clone(), whole);
    spare(&mut node.journal, &node.inventory, node.revision);
    disk.0.files().remove(&node.journal.path(node.journal.newest));
    let missing = fixture::log_of(|| drop(boot(&disk, &node.region)));
    assert!(missing.contains("is missing") && missing.contains("went back to revision 5"), "{missing}");
}

#[test]
fn frames_of_another_file_or_in_another_order_are_not_believed() {
    let disk = SharedDisk::default();
    let mut node = Node::new(&disk);
    node.history();
    let (path, whole) = only_file(&disk);
    // The last frame once more: the same bytes, at another place.
    let mut doubled = whole.clone();
    doubled.extend_from_slice(&whole[whole.len() - 200..]);
    disk.0.files().insert(path.clone(), doubled);
    assert_eq!(boot(&disk, &node.region).1.expect("it is there").position.revision, 5);
    let other = SharedDisk::default();
    let mut another = Node::new(&other);
    another.history();
    let (_, theirs) = only_file(&other);
    let mut mixed = whole[..24].to_vec();
    mixed.extend_from_slice(&theirs[24..]);
    disk.0.files().insert(path, mixed);
    assert!(boot(&disk, &node.region).1.is_none());
}

#[test]
fn a_full_disk_is_said_and_mended_by_writing_the_whole_again() {
    let disk = SharedDisk::default();
    let mut node = Node::new(&disk);
    node.history();
    disk.0.is_full.store(true, Ordering::Relaxed);
    assert!(node.step(Mode::Delta, &[target(3, "https://d.example")]).1.is_err());
    disk.0.is_full.store(false, Ordering::Relaxed);
    assert!(node.journal.wants_fold());
    let (digest, written) = node.step(Mode::Delta, &[target(4, "https://e.example")]);
    written.expect("room");
    assert_eq!(boot(&disk, &node.region).1.expect("it is there").position.digest, digest);
}

#[test]
fn what_was_appended_outgrows_its_base_and_is_folded() {
    let disk = SharedDisk::default();
    let mut node = Node::new(&disk);
    node.history();
    let mut steps = 0;
    while !node.journal.wants_fold() {
        let wide: Vec<_> =
            (0..200).map(|n| target(n, &format!("https://{steps}.example/{}", "x".repeat(1900)))).collect();
        node.step(Mode::Delta, &wide).1.expect("room");
        steps += 1;
    }
    let before: usize = disk.0.files().values().map(Vec::len).sum();
    let (digest, written) = node.step(Mode::Delta, &[target(4, "https://e.example")]);
    written.expect("room");
    let newest = disk.0.files().values().last().map(Vec::len).expect("a file");
    assert!(newest < before / 2, "{newest} of {before}");
    assert_eq!(boot(&disk, &node.region).1.expect("it is there").position.digest, digest);
}

#[test]
fn a_refused_version_is_refused_again_after_a_restart_and_the_one_before_runs() {
    let disk = SharedDisk::default();
    let mut node = Node::new(&disk);
    node.history();
    let stranger = Region::new();
    let unopenable = stranger.upstream(2, 2, "s2", "x-key", &["https://a.example"]);
    node.step(Mode::Delta, &[unopenable]).1.expect("room");
    let standing = node.inventory.standing();
    assert_eq!(standing.len(), 1);
    for fold in [false, true] {
        if fold {
            let at = position(node.revision, node.inventory.after(Mode::Delta, &HashMap::new()));
            node.journal.fold(&node.inventory.image(), &at).expect("room");
        }
        let (_, recovered) = boot(&disk, &node.region);
        let recovered = recovered.expect("it is there");
        assert_eq!(recovered.inventory.standing(), standing);
        let proxy = recovered.snapshot.proxy("acme.proxy-1").expect("it runs");
        assert!(proxy.route.as_ref().is_some_and(|route| route.upstream.is_some()));
        let versions: Vec<u64> = recovered.inventory.versions().map(|(_, known)| known.version).collect();
        assert!(versions.contains(&1) && versions.contains(&2));
    }
}

#[test]
fn an_end_from_another_continuation_of_the_same_file_is_not_believed() {
    let disk = SharedDisk::default();
    let mut node = Node::new(&disk);
    node.history();
    let before = node.stands();
    drop(node.journal);
    // Twice on from the same place, as after a disk was copied back: the same file, the same places in it.
    let continued = |first: u64, second: u64| {
        let copy = SharedDisk::default();
        *copy.0.files() = disk.0.files().clone();
        let (mut journal, _) = boot(&copy, &node.region);
        let marks = [first, second].map(|revision| Position { revision, ..before });
        for mark in &marks {
            journal.append(&[], mark).expect("room");
        }
        let (path, bytes) = only_file(&copy);
        (marks, path, faults::frames(&bytes))
    };
    let ((ours, path, one), (_, _, other)) = (continued(10, 11), continued(20, 21));
    assert_eq!(one.len(), other.len());
    let mut spliced = one[..one.len() - 1].to_vec();
    spliced.extend(other.last().cloned());
    disk.0.files().insert(path, spliced.concat());
    let (_, recovered) = boot(&disk, &node.region);
    assert_eq!(recovered.expect("it is there").position, ours[0]);
}
