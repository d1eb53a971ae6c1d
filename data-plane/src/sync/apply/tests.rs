//! Where a node stands after commits and marks, and what it does not follow.

mod adopt;
mod histories;
mod order;
mod recount;
mod removals;
mod restrain;
mod stall;
mod whole;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use rr_contract::api_key::{self, KeyKind};
use rr_contract::seam::{Seams, SystemClock, SystemEntropy};
use rr_contract::secret::Secret;

use crate::current::{PendingReader, cell};
use crate::fixture::{self, REGION, Region, SharedDisk, audit, org, target};

use rr_contract::wire::fleet::{Mode, Why};

use crate::sync::journal::Journal;
use crate::sync::position::InvalidPosition;
use crate::sync::transaction::Offered;

use super::*;

/// A node without a stream: the test says what the control plane says.
struct Node {
    disk: SharedDisk,
    region: Region,
    applier: Applier,
    /// The traffic worker's.
    readers: Vec<PendingReader<Snapshot>>,
}

impl Node {
    /// Stands at revision 5 with one resource.
    fn new() -> Self {
        let (disk, region) = (SharedDisk::default(), Region::new());
        let (applier, readers) = boot(&disk, &region);
        let mut node = Self { disk, region, applier, readers };
        let position = node.after(5, &[org(false)]);
        let verdict = node.snapshot(position.to_wire(), &[org(false)]);
        assert_eq!((verdict.outcome(), node.applier.running()), (Outcome::Active, Some(position)));
        node
    }

    /// Dies without a word and comes back.
    fn kill(&mut self) {
        (self.applier, self.readers) = boot(&self.disk, &self.region);
    }

    /// Where a snapshot of these resources would take it.
    fn after(&self, revision: u64, resources: &[fleet::Resource]) -> Position {
        let changes = crate::sync::changes(&fixture::body(resources, &[]));
        fixture::position(revision, self.applier.inventory.after(Mode::Snapshot, &changes))
    }

    fn running(&self) -> Position {
        self.applier.running().expect("it is configured")
    }

    fn snapshot(&mut self, position: fleet::Position, resources: &[fleet::Resource]) -> fleet::Verdict {
        let begin = fleet::Begin { mode: Mode::Snapshot.into(), chunks: 1, ..fleet::Begin::default() };
        self.transact(begin, position, resources)
    }

    fn transact(
        &mut self,
        begin: fleet::Begin,
        position: fleet::Position,
        resources: &[fleet::Resource],
    ) -> fleet::Verdict {
        self.say(begin, position, fixture::body(resources, &[]))
    }

    /// A transaction that leads to where the node itself would say that it leads.
    fn offer(
        &mut self,
        begin: fleet::Begin,
        revision: u64,
        upserts: &[fleet::Resource],
        removals: &[Key],
    ) -> fleet::Verdict {
        let body = fixture::body(upserts, removals);
        let foretold = self.applier.inventory.after(begin.mode(), &crate::sync::changes(&body));
        let position = fixture::position(revision, foretold).to_wire();
        let base = self.running().digest.to_vec();
        self.say(fleet::Begin { base, chunks: 1, ..begin }, position, body)
    }

    fn delta(&mut self, revision: u64, upserts: &[fleet::Resource], removals: &[Key]) -> fleet::Verdict {
        self.offer(begin(Mode::Delta), revision, upserts, removals)
    }

    fn reconcile(&mut self, revision: u64, upserts: &[fleet::Resource], removals: &[Key]) -> fleet::Verdict {
        self.offer(begin(Mode::Reconcile), revision, upserts, removals)
    }

    /// All but the journal and the position: what is held, what runs of it, and what does not.
    fn holds(&self) -> (Vec<(Key, Offered)>, String, Vec<fleet::Refusal>) {
        let held = self.applier.wanted().map(|(key, offered)| (*key, offered.clone())).collect();
        (held, self.applier.activator.current().dump(), self.applier.standing())
    }

    fn accepts(&self, n: u8) -> bool {
        let hash = api_key::hash(KeyKind::Caller, fixture::caller_key(n).as_bytes()).expect("a key");
        self.applier.activator.current().caller(fixture::ORG, &hash).is_some()
    }

    fn say(&mut self, begin: fleet::Begin, position: fleet::Position, body: Vec<u8>) -> fleet::Verdict {
        let crc32 = crc32fast::hash(&body);
        let chunk = fleet::Chunk { body: body.into(), crc32, ..fleet::Chunk::default() };
        let commit = fleet::Commit { position: Some(position), ..fleet::Commit::default() };
        let answer = self.applier.begin(begin).or_else(|| self.applier.chunk(&chunk));
        answer.or_else(|| wait(self.applier.commit(&commit))).expect("a transaction is answered").0
    }

    fn mark(&mut self, position: Position) -> Result<(), RefusedMark> {
        wait(self.applier.mark(&fleet::Mark { position: Some(position.to_wire()) }))
    }
}

fn begin(mode: Mode) -> fleet::Begin {
    fleet::Begin { mode: mode.into(), ..fleet::Begin::default() }
}

fn refusals(verdict: &fleet::Verdict) -> Vec<(String, Why)> {
    let name = |refusal: &fleet::Refusal| refusal.key.clone().map(|key| key.id).unwrap_or_default();
    verdict.refusals.iter().map(|refusal| (name(refusal), refusal.why())).collect()
}

/// Refused as a whole, for this reason.
fn is_refused(verdict: &fleet::Verdict, why: Why) -> bool {
    verdict.outcome() == Outcome::Refused && refusals(verdict) == [(String::new(), why)]
}

fn boot(disk: &SharedDisk, region: &Region) -> (Applier, Vec<PendingReader<Snapshot>>) {
    let seams = Seams {
        clock: Arc::new(SystemClock),
        entropy: Arc::new(SystemEntropy),
        disk: Arc::new(disk.clone()),
    };
    let key = Secret::new(vec![1; 32]);
    let folder = std::path::Path::new("state");
    let (journal, recovered) = Journal::boot(folder, &key, seams, || region.inventory());
    let (inventory, snapshot, position) = match recovered {
        Some(recovered) => (recovered.inventory, recovered.snapshot, Some(recovered.position)),
        None => (region.inventory(), Snapshot::default(), None),
    };
    let (activator, readers) = cell(snapshot, 1);
    // However slow the machine is, a disk that answers does not stall.
    let scribe = Scribe::start(journal).expect("a thread starts").waiting(Duration::from_secs(600));
    (Applier::new(REGION, inventory, activator, scribe, position), readers)
}

/// Runs this to its end.
fn wait<T>(work: impl Future<Output = T>) -> T {
    thread_local! {
        static RUNTIME: tokio::runtime::Runtime =
            tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime starts");
    }
    RUNTIME.with(|runtime| runtime.block_on(work))
}

/// Nothing of the node is another than it was, on disk neither.
fn check_untouched(node: &mut Node, before: Position) {
    assert_eq!((node.applier.running(), node.applier.on_disk()), (Some(before), Some(before)));
    node.kill();
    assert_eq!(node.running(), before);
}

#[test]
fn the_audit_head_of_the_newest_commit_or_mark_outlives_a_kill() {
    let mut node = Node::new();
    node.kill();
    assert_eq!((node.running().revision, node.running().audit), (5, Some(audit(5))));
    let marked = node.after(8, &[org(false)]);
    assert_eq!(node.mark(marked), Ok(()));
    node.kill();
    assert_eq!((node.running(), node.applier.on_disk()), (marked, Some(marked)));
    let resources = [org(false), target(1, "https://a.example")];
    let changed = node.after(9, &resources);
    let begin = fleet::Begin {
        mode: Mode::Delta.into(),
        base: marked.digest.to_vec(),
        chunks: 1,
        ..fleet::Begin::default()
    };
    let verdict = node.transact(begin, changed.to_wire(), &resources[1..]);
    assert_eq!((verdict.outcome(), verdict.running), (Outcome::Active, Some(changed.to_wire())));
    node.kill();
    assert_eq!(node.running(), changed);
}

#[test]
fn a_mark_that_the_disk_refuses_is_followed_and_written_later() {
    let mut node = Node::new();
    let (before, marked) = (node.running(), node.after(8, &[org(false)]));
    node.disk.0.is_full.store(true, Ordering::Relaxed);
    assert_eq!(node.mark(marked), Ok(()));
    assert_eq!((node.running(), node.applier.on_disk()), (marked, Some(before)));
    assert!(!wait(node.applier.mend()));
    node.disk.0.is_full.store(false, Ordering::Relaxed);
    assert!(wait(node.applier.mend()));
    assert_eq!(node.applier.on_disk(), Some(marked));
    node.kill();
    assert_eq!(node.running(), marked);
}

#[test]
fn a_mark_that_says_nothing_new_is_not_written() {
    let mut node = Node::new();
    let before = node.disk.0.files().clone();
    for _ in 0..3 {
        assert_eq!(node.mark(node.running()), Ok(()));
    }
    assert!(*node.disk.0.files() == before);
}

#[test]
fn a_worker_that_is_late_serves_where_marks_have_led_meanwhile() {
    let mut node = Node::new();
    let marked = node.after(6, &[org(false)]);
    assert_eq!(node.mark(marked), Ok(()));
    assert_eq!(node.applier.serving(), None);
    node.readers.remove(0).start().tick();
    assert!(wait(node.applier.tend()));
    assert_eq!(node.applier.serving(), Some(marked));
}

#[test]
fn a_view_of_another_region_is_refused_and_nothing_is_taken() {
    let mut node = Node::new();
    let before = node.running();
    let resources = [org(false), target(1, "https://a.example")];
    let other = RegionId::from_random([8; 16]);
    let theirs = Position { region: other, ..node.after(6, &resources) };
    let verdict = node.snapshot(theirs.to_wire(), &resources);
    assert!(is_refused(&verdict, Why::BaseMismatch), "{verdict:?}");
    check_untouched(&mut node, before);
}

#[test]
fn a_commit_with_another_audit_head_for_the_same_revision_is_refused_and_nothing_is_taken() {
    let mut node = Node::new();
    let before = node.running();
    let resources = [org(true)];
    let rewritten = Position { audit: Some(audit(4)), ..node.after(5, &resources) };
    let verdict = node.snapshot(rewritten.to_wire(), &resources);
    assert_eq!((verdict.outcome(), verdict.refusals[0].why()), (Outcome::Refused, Why::Audit));
    assert_eq!((verdict.refusals[0].key.as_ref(), verdict.running), (None, Some(before.to_wire())));
    let detail = &verdict.refusals[0].detail;
    assert!(detail.contains(&audit(5).to_string()) && detail.contains(&audit(4).to_string()), "{detail}");
    assert!(node.applier.is_history_rewritten());
    check_untouched(&mut node, before);
}

#[test]
fn a_mark_with_another_audit_head_for_the_same_revision_is_not_followed() {
    let mut node = Node::new();
    let before = node.running();
    let rewritten = Position { audit: Some(audit(4)), ..before };
    let log = fixture::log_of(|| {
        for _ in 0..3 {
            assert_eq!(node.mark(rewritten), Err(RefusedMark::Rewritten));
        }
    });
    assert!(node.applier.is_history_rewritten());
    assert_eq!(log.matches("ERROR").count(), 1, "{log}");
    assert!(log.contains(&audit(5).to_string()) && log.contains(&audit(4).to_string()), "{log}");
    // It goes on from there, and what was seen stays said.
    assert_eq!(node.mark(node.after(6, &[org(false)])), Ok(()));
    assert!(node.applier.is_history_rewritten());
}

#[test]
fn the_guard_holds_after_a_kill() {
    let mut node = Node::new();
    node.kill();
    assert!(!node.applier.is_history_rewritten());
    let before = node.running();
    assert_eq!(node.mark(Position { audit: Some(audit(4)), ..before }), Err(RefusedMark::Rewritten));
    assert!(node.applier.is_history_rewritten());
    check_untouched(&mut node, before);
}

#[test]
fn the_same_head_no_head_another_revision_and_another_history_are_no_rewriting() {
    let mut node = Node::new();
    let resources = [org(false)];
    let same = node.running();
    assert_eq!(node.snapshot(same.to_wire(), &resources).outcome(), Outcome::Active);
    assert_eq!(node.mark(same), Ok(()));
    // A later revision has a head of its own.
    let later = node.after(6, &resources);
    assert_eq!(node.mark(later), Ok(()));
    assert_eq!(node.running(), later);
    // An older one is long past.
    assert_eq!(node.mark(Position { audit: Some(audit(1)), ..same }), Ok(()));
    assert_eq!(node.running(), later);
    // Not known there: what is known here stays, or it could be talked away.
    let unknown = Position { audit: None, ..later };
    assert_eq!(node.mark(unknown), Ok(()));
    assert_eq!(node.snapshot(unknown.to_wire(), &resources).outcome(), Outcome::Active);
    assert_eq!(node.running(), later);
    // Not known here: it is now.
    let next = node.after(7, &resources);
    assert_eq!(node.mark(Position { audit: None, ..next }), Ok(()));
    assert_eq!(node.running().audit, None);
    assert_eq!(node.mark(next), Ok(()));
    assert_eq!(node.running(), next);
    // Another lineage has another chain.
    let elsewhere = Position { lineage: [8; 16], audit: Some(audit(1)), ..next };
    let adopting =
        fleet::Begin { mode: Mode::Snapshot.into(), chunks: 1, adopted: true, ..fleet::Begin::default() };
    assert_eq!(node.transact(adopting, elsewhere.to_wire(), &resources).outcome(), Outcome::Active);
    assert_eq!(node.running(), elsewhere);
    assert!(!node.applier.is_history_rewritten());
}

#[test]
fn an_audit_head_of_another_length_is_refused() {
    for length in [1, 31, 33] {
        let mut node = Node::new();
        let before = node.running();
        let odd = fleet::Position { audit: vec![1; length], ..node.after(6, &[org(false)]).to_wire() };
        let verdict = node.snapshot(odd.clone(), &[org(false)]);
        assert_eq!((verdict.outcome(), verdict.refusals[0].why()), (Outcome::Refused, Why::Audit));
        let marked = wait(node.applier.mark(&fleet::Mark { position: Some(odd) }));
        assert_eq!(marked, Err(RefusedMark::Invalid(InvalidPosition::Audit(length))));
        assert!(!node.applier.is_history_rewritten(), "nothing is known of another history");
        check_untouched(&mut node, before);
    }
}
