//! Proof of life, and what becomes of what was not proven when the process ends.

mod back;

use std::sync::atomic::{AtomicBool, Ordering};

use rr_contract::model::resource::Key;
use rr_contract::seam::{Seams, SystemClock, SystemEntropy};
use rr_contract::secret::Secret;
use rr_contract::wire::fleet::Mode;

use crate::fixture::{self, Region, SharedDisk, org, target};
use crate::snapshot::Snapshot;
use crate::sync::inventory::Inventory;
use crate::sync::journal::{Journal, Recovered};

use super::*;

const SECOND: Duration = Duration::from_secs(1);

struct Node {
    disk: SharedDisk,
    region: Region,
    inventory: Inventory,
    journal: Journal,
    prover: Prover,
    running: Position,
    generation: u64,
    now: Instant,
}

impl Node {
    fn new() -> Self {
        let (disk, region) = (SharedDisk::default(), Region::new());
        let (mut journal, _) = start(&disk, &region);
        let mut inventory = region.inventory();
        let changes = crate::sync::changes(&fixture::body(&[org(false)], &[]));
        let running = fixture::position(1, inventory.after(Mode::Snapshot, &changes));
        inventory.apply(Mode::Snapshot, changes, &mut Snapshot::default());
        journal.fold(&inventory.image(), &running).expect("room");
        let prover = Prover::new(Some(running), &journal.view());
        let now = Instant::now();
        Self { disk, region, inventory, journal, prover, running, generation: 1, now }
    }

    /// Takes a change, on which every worker has run at once.
    fn change(&mut self, n: u8) -> Position {
        let resource = target(n, &format!("https://{}.example", self.running.revision));
        self.take(&[resource])
    }

    fn take(&mut self, upserts: &[rr_contract::wire::fleet::Resource]) -> Position {
        self.edit(upserts, &[])
    }

    fn edit(&mut self, upserts: &[rr_contract::wire::fleet::Resource], removals: &[Key]) -> Position {
        let body = fixture::body(upserts, removals);
        let changes = crate::sync::changes(&body);
        let after = self.inventory.after(Mode::Delta, &changes);
        let position = fixture::position(self.running.revision + 1, after);
        self.inventory.apply(Mode::Delta, changes, &mut Snapshot::default());
        self.journal.append(&[body.into()], &position).expect("room");
        (self.running, self.generation) = (position, self.generation + 1);
        self.prover.began(
            self.generation,
            position,
            Some(self.journal.newest()),
            &self.journal.view(),
            self.now,
        );
        position
    }

    /// Moves on without a change.
    fn mark(&mut self, revision: u64) {
        self.running = Position { revision, ..self.running };
        self.journal.append(&[], &self.running).expect("room");
    }

    fn tend(&mut self) -> Option<u64> {
        let proven = self.prover.tend(self.generation, self.now);
        self.journal.await_proof(self.prover.awaited());
        if let Some((position, file)) = proven {
            self.journal.prove(&position, file).expect("room");
        }
        self.journal.proven().map(|position| position.revision)
    }
}

fn start(disk: &SharedDisk, region: &Region) -> (Journal, Option<Recovered>) {
    let seams = Seams {
        clock: Arc::new(SystemClock),
        entropy: Arc::new(SystemEntropy),
        disk: Arc::new(disk.clone()),
    };
    let key = Secret::new(vec![1; 32]);
    let folder = std::path::Path::new("state");
    Journal::start(folder, &key, seams, fixture::REGION, || region.inventory())
}

#[test]
fn a_place_is_proven_when_its_time_has_gone_by_since_every_worker_ran_on_it() {
    let mut node = Node::new();
    node.now += 20 * SECOND;
    assert!(node.prover.tend(0, node.now).is_none(), "no worker has run on it");
    assert_eq!(node.tend(), None);
    node.now += 9 * SECOND;
    assert_eq!(node.tend(), None);
    node.now += SECOND;
    assert_eq!(node.tend(), Some(1));
    node.prover.ask(Some(2 * SECOND));
    node.change(1);
    node.tend();
    node.now += 2 * SECOND;
    assert_eq!(node.tend(), Some(2));
}

#[test]
fn what_was_proven_goes_with_marks_and_not_back_to_an_older_number() {
    let mut node = Node::new();
    node.tend();
    node.now += 10 * SECOND;
    assert_eq!(node.tend(), Some(1));
    // Revisions that do not concern the region.
    node.mark(5);
    assert_eq!(node.tend(), Some(5));
    node.change(1);
    assert_eq!(node.tend(), Some(5), "of the new content nothing is proven");
    let (journal, _) = start(&node.disk, &node.region);
    assert_eq!(journal.proven().map(|position| position.revision), Some(5), "after a restart");
    // A mark that came while the time of its content was running.
    node.mark(9);
    node.now += 10 * SECOND;
    assert_eq!(node.tend(), Some(9));
    node.journal.fold(&node.inventory.image(), &node.running).expect("room");
    node.change(2);
    assert_eq!(node.tend(), Some(9));
    let (journal, _) = start(&node.disk, &node.region);
    assert_eq!(journal.proven().map(|position| position.revision), Some(9));
}

#[test]
fn under_a_steady_stream_the_place_of_ten_seconds_ago_is_proven_and_the_list_stays_short() {
    let mut node = Node::new();
    let mut proven = Vec::new();
    for step in 0..3_000_u32 {
        node.change((step % 7) as u8);
        proven.extend(node.tend());
        assert!(node.prover.waiting.len() <= PARTS as usize + 3, "{}", node.prover.waiting.len());
        node.now += Duration::from_millis(10);
    }
    proven.dedup();
    assert!((8..=30).contains(&proven.len()), "{proven:?}");
    assert!(*proven.last().expect("some") > 1_700, "{proven:?}");
    node.now += 10 * SECOND;
    assert_eq!(node.tend(), Some(node.running.revision), "the last of all is never left out");
}

#[test]
fn nothing_is_proven_while_the_watchdog_complains_and_its_time_starts_anew() {
    let mut node = Node::new();
    let well = Arc::new(AtomicBool::new(true));
    let asked = Arc::clone(&well);
    node.prover.listen_to(Arc::new(move || asked.load(Ordering::Relaxed)), 10 * SECOND);
    node.tend();
    node.now += 9 * SECOND;
    well.store(false, Ordering::Relaxed);
    node.tend();
    node.now += 9 * SECOND;
    well.store(true, Ordering::Relaxed);
    assert_eq!(node.tend(), None);
    node.now += SECOND;
    assert_eq!(node.tend(), Some(1));
}

#[test]
fn what_was_gone_back_from_is_not_proven() {
    let mut node = Node::new();
    node.take(&[target(1, "https://a.example")]);
    node.tend();
    node.now += 10 * SECOND;
    assert_eq!(node.tend(), Some(2));
    node.take(&[target(1, "https://bad.example")]);
    node.tend();
    node.now += SECOND;
    node.take(&[target(1, "https://a.example")]);
    node.now += 60 * SECOND;
    assert_eq!(node.tend(), Some(4), "what is proven is in force again, and the rest was given up");
}
