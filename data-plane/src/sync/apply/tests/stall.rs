//! A disk that hangs, or is full.

use tokio::time::{sleep, timeout};

use super::*;

/// How long the disk hangs, in time that only waiting makes go by.
const HANGS: Duration = Duration::from_secs(120);
const PATIENCE: Duration = Duration::from_secs(1);
const SECOND: Duration = Duration::from_secs(1);

/// A change at each second, and what a worker does.
async fn change(node: &mut Node, revision: u64) -> fleet::Verdict {
    let resource = target(1, &format!("https://v{revision}.example"));
    let body = fixture::body(&[resource], &[]);
    let foretold = node.applier.inventory.after(Mode::Delta, &crate::sync::changes(&body));
    let position = fixture::position(revision, foretold).to_wire();
    let base = node.running().digest.to_vec();
    let crc32 = crc32fast::hash(&body);
    assert!(node.applier.begin(fleet::Begin { base, chunks: 1, ..begin(Mode::Delta) }).is_none());
    assert!(
        node.applier.chunk(&fleet::Chunk { body: body.into(), crc32, ..fleet::Chunk::default() }).is_none()
    );
    let commit = fleet::Commit { position: Some(position), ..fleet::Commit::default() };
    node.applier.commit(&commit).await.expect("a transaction is answered").0
}

/// Number of the file that was written to last.
fn newest(node: &Node) -> u64 {
    node.applier.scribe.view().newest
}

/// Until the disk has all that runs, which it is given as soon as it answers. Returns whether that was told. Time stands
/// still for it, so this is bounded by the machine's own.
async fn durable(node: &mut Node) -> bool {
    let began = std::time::Instant::now();
    let mut told = false;
    while node.applier.on_disk() != node.applier.running() || node.applier.is_disk_stalled() {
        assert!(began.elapsed() < Duration::from_secs(60), "the disk answers, and nothing is written");
        told |= node.applier.tend().await;
        std::thread::yield_now();
    }
    told
}

#[tokio::test(start_paused = true)]
async fn while_the_disk_hangs_changes_come_into_force_not_durable_and_all_is_written_afterwards() {
    let (disk, region) = (SharedDisk::default(), Region::new());
    let (mut applier, readers) = boot(&disk, &region);
    applier.scribe = applier.scribe.waiting(PATIENCE);
    let mut node = Node { disk, region, applier, readers };
    let position = node.after(5, &[org(false)]).to_wire();
    let body = fixture::body(&[org(false)], &[]);
    let crc32 = crc32fast::hash(&body);
    let first = fleet::Begin { chunks: 1, ..begin(Mode::Snapshot) };
    assert!(node.applier.begin(first).is_none());
    assert!(
        node.applier.chunk(&fleet::Chunk { body: body.into(), crc32, ..fleet::Chunk::default() }).is_none()
    );
    node.applier.commit(&fleet::Commit { position: Some(position), ..fleet::Commit::default() }).await;
    durable(&mut node).await;
    assert!(!node.applier.is_disk_stalled());
    let before = node.running();

    node.disk.0.stall(true);
    let began = Instant::now();
    let (mut revision, mut waits, mut told) = (5, 0, 0);
    while began.elapsed() < HANGS {
        revision += 1;
        let asked = Instant::now();
        let changed = timeout(10 * PATIENCE, change(&mut node, revision)).await;
        let verdict = changed.expect("nobody waits for a disk that hangs");
        assert_eq!((verdict.outcome(), verdict.durable), (Outcome::Active, false));
        let waited = asked.elapsed();
        // The first waits for the disk; whoever comes behind knows that it hangs.
        waits += u32::from(waited > Duration::ZERO);
        assert!(waited <= PATIENCE);
        assert_eq!(node.running().revision, revision);
        told += u32::from(node.applier.tend().await);
        node.applier.mend().await;
        sleep(SECOND).await;
    }
    assert_eq!((waits, told), (1, 1), "one change alone waited, and it is told once");
    assert!(node.applier.is_disk_stalled() && node.applier.on_disk() == Some(before));

    node.disk.0.stall(false);
    assert!(durable(&mut node).await, "that it answers is told");
    assert!(revision > 5 && node.running().revision == revision);
    let running = node.running();
    // What is appended now follows what is there.
    let verdict = change(&mut node, revision + 1).await;
    durable(&mut node).await;
    assert_eq!(verdict.outcome(), Outcome::Active);
    let changed = node.running();
    assert!(changed.revision > running.revision);
    node.kill();
    assert_eq!(node.running(), changed);
}

#[tokio::test(start_paused = true)]
async fn a_disk_that_hangs_does_not_hold_up_the_end() {
    let (disk, region) = (SharedDisk::default(), Region::new());
    let (mut applier, _seats) = boot(&disk, &region);
    applier.scribe = applier.scribe.waiting(PATIENCE);
    disk.0.stall(true);
    let began = Instant::now();
    timeout(10 * PATIENCE, applier.settle()).await.expect("nobody waits for a disk that hangs");
    // Nothing was to be written.
    assert!(began.elapsed() <= PATIENCE);
    disk.0.stall(false);
}

#[test]
fn what_a_full_disk_refuses_is_in_force_not_called_durable_and_written_afterwards() {
    let mut node = Node::new();
    let before = node.running();
    node.disk.0.is_full.store(true, Ordering::Relaxed);
    let verdict = node.delta(6, &[target(1, "https://a.example")], &[]);
    assert_eq!((verdict.outcome(), verdict.durable), (Outcome::Active, false));
    assert_eq!((node.running().revision, node.applier.on_disk()), (6, Some(before)));
    node.disk.0.is_full.store(false, Ordering::Relaxed);
    assert!(wait(node.applier.mend()));
    let running = node.running();
    assert_eq!(node.applier.on_disk(), Some(running));
    node.kill();
    assert_eq!(node.running(), running);
}

#[test]
fn what_does_not_follow_what_is_on_disk_is_written_whole() {
    let mut node = Node::new();
    let before = node.running();
    let file = newest(&node);
    node.delta(6, &[target(1, "https://a.example")], &[]);
    assert_eq!(newest(&node), file, "appended");
    // As after a write that was overdue: others came into force meanwhile.
    node.applier.on_disk = Some(before);
    assert!(node.delta(7, &[target(2, "https://b.example")], &[]).durable);
    assert!(newest(&node) > file);
    let running = node.running();
    node.kill();
    assert_eq!(node.running(), running);
}

#[test]
fn what_was_overdue_is_known_to_be_there_once_the_disk_answers_and_not_written_again() {
    let mut node = Node::new();
    wait(node.applier.mend());
    let file = newest(&node);
    node.applier.scribe = node.applier.scribe.waiting(Duration::ZERO);
    node.disk.0.stall(true);
    assert!(!node.delta(6, &[target(1, "https://a.example")], &[]).durable);
    node.disk.0.stall(false);
    node.applier.scribe = node.applier.scribe.waiting(Duration::from_secs(600));
    let began = std::time::Instant::now();
    while node.applier.is_disk_stalled() {
        assert!(began.elapsed() < Duration::from_secs(60), "the disk answers, and nobody hears of it");
        wait(node.applier.tend());
        std::thread::yield_now();
    }
    assert_eq!((node.applier.on_disk(), newest(&node)), (Some(node.running()), file));
}
