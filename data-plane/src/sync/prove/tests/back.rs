//! Ends of the process: which of them count, where they lead back to, and what stays taken away all the same.

use prost::Message as _;
use rr_contract::api_key::{self, KeyKind};
use rr_contract::model::id::CredentialId;
use rr_contract::model::resource::Key;
use rr_contract::wire::fleet;

use crate::fixture::{caller, caller_key, credential_key, proxy, proxy_key};
use crate::sync::journal::leave_mark;

use super::*;

type Started = (Journal, Option<Recovered>);

/// The process ended itself, and left its mark.
fn ends(disk: &SharedDisk) {
    let path = std::path::Path::new("state/last-good/ended");
    let mut files = disk.0.files();
    files.get_mut(path).expect("a process that runs has made one").push(b'X');
}

impl Node {
    /// With a configuration of one proxy, of which nothing is proven.
    fn serving() -> Self {
        let mut node = Self::new();
        let upstream = node.region.upstream(2, 1, "old", "x-key", &["https://a.example"]);
        let parts = [target(1, "https://a.example"), caller(1, 1, &[1, 2]), caller(3, 1, &[3]), upstream];
        node.take(&parts);
        node.take(&[proxy(1, &[1, 3], 1, 2)]);
        node
    }

    fn prove(&mut self) {
        self.tend();
        self.now += 10 * SECOND;
        assert_eq!(self.tend(), Some(self.running.revision));
    }

    fn start(&self) -> Started {
        start(&self.disk, &self.region)
    }

    /// The process ended itself, and is started again.
    fn start_after_an_end(&self) -> Started {
        ends(&self.disk);
        self.start()
    }

    /// Goes on with what a start came back with.
    fn go_on(&mut self, (journal, recovered): Started) {
        let recovered = recovered.expect("something is there");
        (self.journal, self.running, self.inventory) = (journal, recovered.position, recovered.inventory);
        self.prover = Prover::new(Some(self.running), &self.journal.view());
        self.generation = 1;
    }
}

fn revision((_, recovered): &Started) -> Option<u64> {
    recovered.as_ref().map(|recovered| recovered.position.revision)
}

fn crash((journal, _): &Started) -> Option<(u32, Option<u64>, Option<u64>)> {
    let revision = |at: Option<fleet::Position>| at.map(|at| at.revision);
    journal.crash().map(|crash| (crash.boots, revision(crash.tried), revision(crash.running)))
}

/// Whether a key is one of the proxy's callers in what was recovered.
fn accepts(recovered: &Recovered, key: u8) -> bool {
    let hash = api_key::hash(KeyKind::Caller, caller_key(key).as_bytes()).expect("a good key");
    recovered.snapshot.caller(fixture::ORG, &hash).is_some()
}

#[test]
fn however_often_it_is_killed_from_outside_a_node_comes_back_on_what_it_ran() {
    let node = Node::serving();
    for _ in 0..10 {
        let started = node.start();
        assert_eq!((revision(&started), crash(&started)), (Some(3), None));
    }
}

#[test]
fn a_key_that_was_revoked_is_not_alive_again_after_two_kills() {
    let mut node = Node::serving();
    node.prove();
    node.edit(&[proxy(1, &[3], 1, 2)], &[credential_key(1)]);
    for _ in 0..3 {
        let (_, recovered) = node.start();
        assert!(!accepts(&recovered.expect("it is there"), 1));
    }
}

#[test]
fn the_second_end_of_its_own_on_what_is_not_proven_leads_back_to_what_is_until_something_newer_is() {
    let mut node = Node::new();
    node.prove();
    drop(node.start());
    let tried = node.change(1);
    let first = node.start_after_an_end();
    assert_eq!((revision(&first), crash(&first)), (Some(tried.revision), None));
    // A kill in between is none, and takes nothing back.
    assert_eq!(revision(&node.start()), Some(tried.revision));
    let second = node.start_after_an_end();
    assert_eq!((revision(&second), crash(&second)), (Some(1), Some((2, Some(2), Some(1)))));
    for _ in 0..2 {
        let again = node.start();
        assert_eq!((revision(&again), crash(&again)), (Some(1), Some((2, Some(2), Some(1)))));
    }
    // Sent once more, and it ends the process once more: the first start goes back.
    node.go_on(second);
    let resource = target(1, "https://1.example");
    assert!(node.take(&[resource]).is_same_content(&tried));
    assert_eq!(revision(&node.start()), Some(2), "a kill says nothing");
    let third = node.start_after_an_end();
    assert_eq!((revision(&third), crash(&third)), (Some(1), Some((3, Some(2), Some(1)))));
    // Something else comes, and lives.
    node.go_on(third);
    node.running.revision = 3;
    node.change(9);
    node.prove();
    assert_eq!(node.journal.crash(), None);
    let last = node.start_after_an_end();
    assert_eq!((revision(&last), crash(&last)), (Some(4), None));
}

#[test]
fn a_panic_that_ends_the_process_counts_as_an_abort_does() {
    let mut node = Node::new();
    node.prove();
    drop(node.start());
    node.change(1);
    for stands in [2, 1] {
        let seams = Seams {
            clock: Arc::new(SystemClock),
            entropy: Arc::new(SystemEntropy),
            disk: Arc::new(node.disk.clone()),
        };
        leave_mark(std::path::Path::new("state"), &seams);
        assert_eq!(revision(&node.start()), Some(stands));
    }
}

#[test]
fn an_end_in_order_takes_back_what_was_counted_and_one_end_is_counted_once() {
    let mut node = Node::new();
    drop(node.start());
    for _ in 0..3 {
        let (journal, recovered) = node.start_after_an_end();
        assert_eq!((recovered.expect("it is there").position.revision, journal.crash()), (1, None));
        node.journal = journal;
        node.journal.settle();
    }
    drop(node.start_after_an_end());
    // Killed before it could make a mark of its own: the old one is there again.
    ends(&node.disk);
    let mark = node.disk.0.files()[std::path::Path::new("state/last-good/ended")].clone();
    drop(node.start());
    node.disk.0.files().insert("state/last-good/ended".into(), mark);
    let started = node.start();
    assert_eq!(crash(&started).map(|(boots, ..)| boots), Some(2));
}

#[test]
fn with_nothing_to_go_back_to_a_node_runs_what_it_has_and_says_so() {
    let node = Node::new();
    drop(node.start());
    node.start_after_an_end();
    for boots in 2..5 {
        let started = node.start_after_an_end();
        assert_eq!((revision(&started), crash(&started)), (Some(1), Some((boots, Some(1), Some(1)))));
    }
}

#[test]
fn with_nothing_proven_a_node_goes_back_to_the_place_before_and_not_to_and_fro() {
    let mut node = Node::new();
    drop(node.start());
    node.change(1);
    node.start_after_an_end();
    let started = node.start_after_an_end();
    assert_eq!((revision(&started), crash(&started)), (Some(1), Some((2, Some(2), Some(1)))));
    // That one ends the process as well.
    node.start_after_an_end();
    let started = node.start_after_an_end();
    assert_eq!(revision(&started), Some(1));
}

#[test]
fn going_back_brings_no_revoked_key_no_switched_off_proxy_and_no_old_secret_back() {
    let mut node = Node::serving();
    node.prove();
    drop(node.start());
    let before = node.running;
    // One key of two is taken away, a caller is removed, and the secret is replaced.
    let newer = node.region.upstream(2, 2, "new", "x-key", &["https://a.example"]);
    node.edit(&[caller(1, 1, &[2, 7]), newer, proxy(1, &[1], 1, 2)], &[credential_key(3)]);
    node.start_after_an_end();
    let started = node.start_after_an_end();
    assert_eq!(revision(&started), Some(before.revision));
    let again = node.start();
    for recovered in [&started.1, &again.1].map(|recovered| recovered.as_ref().expect("it is there")) {
        assert!(recovered.position.is_same_content(&before));
        let accepted: Vec<u8> = [1, 2, 3, 7].into_iter().filter(|key| accepts(recovered, *key)).collect();
        assert_eq!(accepted, [2], "only what both have");
        let secret = recovered.inventory.kept().find(|(key, _)| **key == credential_key(2));
        let (_, secret) = secret.expect("another version than the wanted runs");
        let secret = fleet::CredentialResource::decode(&*secret.payload).expect("it decodes");
        assert_eq!(secret.version, 2);
    }
    // What comes behind the place that was gone back from says all of that itself.
    node.go_on(again);
    node.running.revision = 9;
    let position = node.edit(&[caller(1, 1, &[1])], &[]);
    let mut snapshot = Snapshot::default();
    assert!(node.inventory.reached(&position, &mut snapshot));
    assert_eq!(node.inventory.restrained(), 0);
}

#[test]
fn a_tombstone_of_what_was_gone_back_from_is_kept() {
    let mut node = Node::serving();
    node.prove();
    drop(node.start());
    node.edit(&[proxy(1, &[1], 1, 2)], &[credential_key(3)]);
    node.start_after_an_end();
    let started = node.start_after_an_end();
    let record = started.1.expect("it is there").inventory.revocations();
    let (revocations, _) = crate::sync::inventory::Revocations::read(&record).expect("a record");
    assert_eq!(revocations.into_parts().0, [CredentialId::from_random([3; 16])]);
}

#[test]
fn of_a_credential_that_came_and_went_since_tombstone_and_version_are_kept() {
    let mut node = Node::serving();
    node.prove();
    drop(node.start());
    node.change(7);
    node.edit(&[caller(5, 3, &[5])], &[]);
    node.edit(&[], &[credential_key(5)]);
    // With the whole, highest versions are written down.
    node.journal.fold(&node.inventory.image(), &node.running).expect("room");
    node.start_after_an_end();
    let recovered = node.start_after_an_end().1.expect("it is there");
    assert_eq!(recovered.position.revision, 3);
    let inventory = recovered.inventory;
    let (revocations, _) =
        crate::sync::inventory::Revocations::read(&inventory.revocations()).expect("a record");
    let gone = CredentialId::from_random([5; 16]);
    assert_eq!(revocations.into_parts().0, [gone]);
    assert!(inventory.versions().any(|(id, known)| id == gone && known.version == 3));
}

#[test]
fn a_switched_off_or_removed_proxy_and_a_suspended_organization_stay_so() {
    let off = {
        let mut message = fixture::proxy_message(1, &[1, 3], 1, 2);
        message.active = false;
        fixture::resource(proxy_key(1), message.encode_to_vec())
    };
    type Edit = (Vec<fleet::Resource>, Vec<Key>);
    let edits: [Edit; 3] = [(vec![off], vec![]), (vec![], vec![proxy_key(1)]), (vec![org(true)], vec![])];
    for (upserts, removals) in edits {
        let mut node = Node::serving();
        node.prove();
        drop(node.start());
        node.edit(&upserts, &removals);
        node.start_after_an_end();
        let (_, recovered) = node.start_after_an_end();
        let recovered = recovered.expect("it is there");
        let proxy = recovered.snapshot.proxy("acme.proxy-1");
        let serves = proxy.is_some_and(|proxy| {
            proxy.is_active() && proxy.route.as_ref().is_some_and(|route| !route.org.suspended)
        });
        assert!(!serves, "{upserts:?} {removals:?}");
        assert_eq!(recovered.position.revision, 3);
    }
}

#[test]
fn a_disk_that_refuses_what_was_gone_back_to_leads_back_at_each_start() {
    let mut node = Node::new();
    node.prove();
    drop(node.start());
    node.change(1);
    node.start_after_an_end();
    ends(&node.disk);
    node.disk.0.refuses_states.store(true, Ordering::Relaxed);
    for _ in 0..2 {
        let started = node.start();
        assert_eq!((revision(&started), crash(&started)), (Some(1), Some((2, Some(2), Some(1)))));
    }
    node.disk.0.refuses_states.store(false, Ordering::Relaxed);
    assert_eq!(revision(&node.start()), Some(1));
    assert_eq!(revision(&node.start()), Some(1));
}

#[test]
fn however_often_the_whole_is_written_the_last_proven_boundary_stays() {
    let mut node = Node::new();
    node.prove();
    drop(node.start());
    for n in 0..5 {
        let position = node.change(n);
        node.journal.fold(&node.inventory.image(), &position).expect("room");
    }
    let files = node.disk.0.files().keys().filter(|path| path.to_string_lossy().contains("state-")).count();
    assert_eq!(files, 3, "two, and the one that holds it");
    node.start_after_an_end();
    assert_eq!(revision(&node.start_after_an_end()), Some(1));
}

#[test]
fn a_start_that_dies_before_it_has_loaded_counts_too() {
    let mut node = Node::new();
    node.prove();
    let tried = node.change(1);
    for _ in 0..2 {
        let disk = node.disk.clone();
        let died = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let seams = Seams {
                clock: Arc::new(SystemClock),
                entropy: Arc::new(SystemEntropy),
                disk: Arc::new(disk),
            };
            let key = Secret::new(vec![1; 32]);
            let folder = std::path::Path::new("state");
            drop(Journal::start(folder, &key, seams, fixture::REGION, || -> Inventory { panic!("it dies") }));
        }));
        assert!(died.is_err());
        ends(&node.disk);
    }
    let started = node.start();
    assert_eq!(revision(&started), Some(1));
    assert_eq!(started.0.crash().and_then(|crash| crash.tried), Some(tried.to_wire()));
}

#[test]
fn a_last_known_good_of_another_region_is_not_put_in_force() {
    let node = Node::new();
    let seams = Seams {
        clock: Arc::new(SystemClock),
        entropy: Arc::new(SystemEntropy),
        disk: Arc::new(node.disk.clone()),
    };
    let other = rr_contract::model::id::RegionId::from_random([8; 16]);
    let start = |seams: Seams| {
        let (folder, key) = (std::path::Path::new("state"), Secret::new(vec![1; 32]));
        Journal::start(folder, &key, seams, other, || node.region.inventory())
    };
    assert!(start(seams.clone()).1.is_none());
    ends(&node.disk);
    assert!(start(seams.clone()).1.is_none());
    ends(&node.disk);
    let (journal, recovered) = start(seams);
    assert!(recovered.is_none() && journal.crash().is_none());
    // Nor does what happened meanwhile say anything about it.
    let started = node.start();
    assert_eq!((revision(&started), crash(&started)), (Some(1), None));
}
