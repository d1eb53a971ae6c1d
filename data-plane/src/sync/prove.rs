//! Proof of life: which configuration the process has lived on for long enough to come back to after a crash.
//!
//! A place counts from the moment at which every worker has run on it. It is proven once the time that its
//! commit asked for has gone by since, the process is still there, and the watchdog has nothing to say. What came
//! in between does not set it back: a region that changes 200 times a second never stands on one place for ten
//! seconds, and would never have anything to come back to. So what is proven there is the place that was in force
//! ten seconds ago; nearly all of it is in force still, and what it set off would have ended the process by now. A
//! later commit has a clock of its own. To go back to what is proven already ends every clock: what was gone
//! back from is not to be proven behind its back.
//!
//! Of places that follow each other faster than an eighth of their time, only some are kept, so that the list is
//! short and a proof is written about once in an eighth. The invariant: no place is proven earlier than its time
//! after every worker ran on it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tracing::{info, warn};

use super::journal::Journal;
use super::position::Position;

/// Where a commit does not say.
pub(crate) const PROVE_FOR: Duration = Duration::from_secs(10);
/// Into so many parts the time is divided, of which one place each is kept.
const PARTS: u32 = 8;

/// Says whether the watchdog has nothing to say.
pub(crate) type Vitals = Arc<dyn Fn() -> bool + Send + Sync>;

/// The places that are not proven yet.
pub(crate) struct Prover {
    waiting: VecDeque<Waiting>,
    vitals: Vitals,
    unless_said: Duration,
    /// For the next place.
    asked: Duration,
}

struct Waiting {
    generation: u64,
    position: Position,
    /// The file that it was written to, if it was.
    file: Option<u64>,
    takes: Duration,
    began: Instant,
    /// Since when every worker has run on it.
    since: Option<Instant>,
}

impl Prover {
    /// For a process that starts on `position`, if on anything.
    pub(crate) fn new(position: Option<Position>, journal: &Journal) -> Self {
        let mut prover = Self {
            waiting: VecDeque::new(),
            vitals: Arc::new(|| true),
            unless_said: PROVE_FOR,
            asked: PROVE_FOR,
        };
        if let Some(position) = position {
            prover.began(0, position, Some(journal.newest()), journal, Instant::now());
        }
        prover
    }

    /// Asks `vitals` before anything is proven, and gives a place that does not say `unless_said` of time.
    pub(crate) fn listen_to(&mut self, vitals: Vitals, unless_said: Duration) {
        (self.vitals, self.unless_said) = (vitals, unless_said);
        for waiting in &mut self.waiting {
            waiting.takes = unless_said;
        }
    }

    /// What the next place asks for.
    pub(crate) fn ask(&mut self, takes: Option<Duration>) {
        self.asked = takes.unwrap_or(self.unless_said);
    }

    /// A place has come in force, though no worker may have run on it yet.
    pub(crate) fn began(
        &mut self,
        generation: u64,
        position: Position,
        file: Option<u64>,
        journal: &Journal,
        began: Instant,
    ) {
        if journal.proven().is_some_and(|proven| proven.is_same_content(&position)) {
            self.waiting.clear();
            return;
        }
        if let [.., before, last] = self.waiting.make_contiguous()
            && last.began - before.began < last.takes / PARTS
        {
            self.waiting.pop_back();
        }
        let takes = self.asked;
        self.waiting.push_back(Waiting { generation, position, file, takes, began, since: None });
    }

    /// Looks which place has had its time. `serving` is the newest generation that every worker has run on.
    /// Returns whether something is to be told.
    pub(crate) fn tend(
        &mut self,
        serving: u64,
        on_disk: Option<Position>,
        journal: &mut Journal,
        now: Instant,
    ) -> bool {
        if self.waiting.is_empty() {
            journal.await_proof(None);
            return false;
        }
        let is_well = (self.vitals)();
        for waiting in &mut self.waiting {
            let has_run = serving > 0 && waiting.generation <= serving;
            if has_run && (waiting.since.is_none() || !is_well) {
                waiting.since = Some(now);
            }
        }
        let is_due = |waiting: &Waiting| waiting.since.is_some_and(|since| now - since >= waiting.takes);
        let due = if is_well { self.waiting.iter().rposition(is_due) } else { None };
        let proven = due.and_then(|due| self.waiting.drain(..=due).next_back());
        journal.await_proof(self.waiting.front().and_then(|waiting| waiting.file));
        let Some(Waiting { position, file, .. }) = proven else { return false };
        // What the disk refused first may have been written since.
        let is_there = on_disk.is_some_and(|on_disk| on_disk.is_same_content(&position));
        let file = file.or_else(|| is_there.then(|| journal.newest()));
        info!(?position, "configuration proven");
        if let Err(error) = journal.prove(&position, file) {
            warn!(%error, "proof not written, the next file has it");
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use rr_contract::seam::{Seams, SystemClock, SystemEntropy};
    use rr_contract::secret::Secret;
    use rr_contract::wire::fleet::Mode;

    use crate::fixture::{self, Region, SharedDisk, org, target};
    use crate::snapshot::Snapshot;
    use crate::sync::inventory::Inventory;

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
            journal.fold(&inventory, &running).expect("room");
            let prover = Prover::new(Some(running), &journal);
            let now = Instant::now();
            Self { disk, region, inventory, journal, prover, running, generation: 1, now }
        }

        /// Takes a change, on which every worker has run at once.
        fn change(&mut self, n: u8) -> Position {
            let resource = target(n, &format!("https://{}.example", self.running.revision));
            self.take(&[resource])
        }

        fn take(&mut self, upserts: &[rr_contract::wire::fleet::Resource]) -> Position {
            let body = fixture::body(upserts, &[]);
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
                &self.journal,
                self.now,
            );
            position
        }

        fn tend(&mut self) -> Option<u64> {
            self.prover.tend(self.generation, Some(self.running), &mut self.journal, self.now);
            self.journal.proven().map(|position| position.revision)
        }
    }

    fn start(disk: &SharedDisk, region: &Region) -> (Journal, Option<super::super::journal::Recovered>) {
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
        assert!(
            !node.prover.tend(0, Some(node.running), &mut node.journal, node.now),
            "no worker has run on it"
        );
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
        assert_eq!(node.tend(), Some(2));
    }

    #[test]
    fn the_second_start_on_what_is_not_proven_goes_back_to_what_is_and_says_so_until_something_newer_is() {
        let mut node = Node::new();
        node.tend();
        node.now += 10 * SECOND;
        assert_eq!(node.tend(), Some(1));
        let tried = node.change(1);
        let first = start(&node.disk, &node.region);
        assert_eq!((first.1.expect("it is there").position, first.0.crash()), (tried, None));
        for boots in [2, 2, 2] {
            let (journal, recovered) = start(&node.disk, &node.region);
            assert_eq!(recovered.expect("the proven one").position.revision, 1);
            let crash = journal.crash().expect("reported");
            assert_eq!((crash.boots, crash.tried), (boots, Some(tried.to_wire())));
            assert_eq!(crash.running.map(|running| running.revision), Some(1));
        }
        // Sent once more, and it ends the process once more: the first start goes back.
        let (journal, recovered) = start(&node.disk, &node.region);
        (node.journal, node.running.revision) = (journal, 1);
        node.inventory = recovered.expect("the proven one").inventory;
        let resource = target(1, &format!("https://{}.example", node.running.revision));
        assert!(node.take(&[resource]).is_same_content(&tried));
        let (journal, recovered) = start(&node.disk, &node.region);
        assert_eq!(recovered.as_ref().expect("the proven one").position.revision, 1);
        assert_eq!(journal.crash().expect("reported").boots, 3);
        // Something else comes, and lives.
        (node.journal, node.running.revision) = (journal, 3);
        node.inventory = recovered.expect("the proven one").inventory;
        node.change(9);
        node.tend();
        node.now += 10 * SECOND;
        assert_eq!((node.tend(), node.journal.crash()), (Some(4), None));
        let (journal, recovered) = start(&node.disk, &node.region);
        assert_eq!((recovered.expect("it is there").position.revision, journal.crash()), (4, None));
    }

    #[test]
    fn an_end_in_order_is_not_counted() {
        let mut node = Node::new();
        for _ in 0..3 {
            let (journal, recovered) = start(&node.disk, &node.region);
            assert_eq!((recovered.expect("it is there").position.revision, journal.crash()), (1, None));
            node.journal = journal;
            node.journal.settle();
        }
    }

    #[test]
    fn with_nothing_proven_the_second_start_is_on_nothing() {
        let node = Node::new();
        assert!(start(&node.disk, &node.region).1.is_some());
        for _ in 0..2 {
            let (journal, recovered) = start(&node.disk, &node.region);
            assert!(recovered.is_none());
            let crash = journal.crash().expect("reported");
            assert_eq!((crash.running, crash.tried.map(|tried| tried.revision)), (None, Some(1)));
        }
    }

    #[test]
    fn however_often_the_whole_is_written_the_last_proven_boundary_stays() {
        let mut node = Node::new();
        node.tend();
        node.now += 10 * SECOND;
        assert_eq!(node.tend(), Some(1));
        for n in 0..5 {
            let position = node.change(n);
            node.journal.fold(&node.inventory, &position).expect("room");
        }
        let files =
            node.disk.0.files().keys().filter(|path| path.to_string_lossy().contains("state-")).count();
        assert_eq!(files, 3, "two, and the one that holds it");
        drop(start(&node.disk, &node.region));
        let (_, recovered) = start(&node.disk, &node.region);
        assert_eq!(recovered.expect("the proven one").position.revision, 1);
    }

    #[test]
    fn a_start_that_did_not_come_so_far_as_to_load_counts_too() {
        let mut node = Node::new();
        node.tend();
        node.now += 10 * SECOND;
        node.tend();
        let tried = node.change(1);
        // Writing and reading go well, loading ends the process.
        let region = &node.region;
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
        let (journal, recovered) = start(&node.disk, region);
        assert_eq!(recovered.expect("the proven one").position.revision, 1);
        assert_eq!(journal.crash().and_then(|crash| crash.tried), Some(tried.to_wire()));
    }
}
