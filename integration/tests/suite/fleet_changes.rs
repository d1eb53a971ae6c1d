//! Changes and faults over a fleet of light nodes.

use std::time::Duration;

use rr_contract::model::resource::{Key, ResourceId};
use rr_contract::wire::fleet::Why;
use rr_integration::fleet::LightNode;
use rr_integration::sample::Sample;
use rr_integration::wait::eventually;
use tonic::Code;

const ORIGIN: &str = "https://upstream.example";

async fn sample() -> (tempfile::TempDir, Sample) {
    let folder = tempfile::tempdir().expect("a folder");
    let sample = Sample::start(folder.path(), ORIGIN, &[]).await.expect("starts");
    (folder, sample)
}

fn key_of(node: &LightNode, kind: impl Fn(&ResourceId) -> bool) -> Key {
    let view = node.view();
    let found = view.iter().map(|(key, _)| *key).find(|key| kind(&key.id));
    found.expect("the view holds one")
}

#[tokio::test(flavor = "multi_thread")]
async fn every_change_reaches_fifty_nodes_as_a_delta_and_all_hold_the_same() {
    let (_folder, sample) = sample().await;
    let fleet = sample.fleet_in_step(50).await.expect("joins");
    for n in 0..10 {
        let revision = sample.set_active("echo", n % 2 == 1).await.expect("writes");
        fleet.in_step(revision).await;
    }
    let digest = *fleet.node(0).view().digest();
    for node in fleet.nodes() {
        let (deltas, snapshots, reconciles) = node.counts().taken();
        assert_eq!((snapshots, reconciles), (1, 0), "{}", node.id());
        assert!((1..=10).contains(&deltas), "changes may share a transaction: {deltas}");
        assert_eq!((*node.view().digest(), node.counts().of(|counts| &counts.refused)), (digest, 0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_node_refuses_reaches_the_others_and_is_not_sent_to_it_again() {
    let (_folder, sample) = sample().await;
    let fleet = sample.fleet_in_step(4).await.expect("joins");
    let (bad, good) = (fleet.node(0), fleet.node(1));
    let key = key_of(bad, |id| matches!(id, ResourceId::Proxy(_)));
    bad.script(|script| script.refuse = [(key, Why::Invalid)].into());
    let revision = sample.set_active("echo", false).await.expect("writes");
    fleet.in_step(revision).await;
    assert_eq!((bad.standing().len(), good.standing().len()), (1, 0));
    let shown = eventually("the refusal is listed", || async {
        let nodes = sample.api.nodes().await.ok()?;
        nodes.into_iter().find(|node| node.id == bad.id() && !node.standing.is_empty())
    })
    .await;
    assert_eq!(shown.standing[0].key, Some(key.to_wire()));
    let before = bad.counts().of(|counts| &counts.upserts);
    let revision = sample.suspend(true).await.expect("writes");
    fleet.in_step(revision).await;
    assert_eq!(bad.counts().of(|counts| &counts.upserts), before + 1, "the organization and nothing else");
    assert_eq!(bad.standing().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_hears_verdicts_twice_or_is_cut_in_the_middle_ends_in_step() {
    let (_folder, sample) = sample().await;
    let fleet = sample.fleet_in_step(4).await.expect("joins");
    fleet.node(0).script(|script| script.echoes = 2);
    // In the middle of its first transaction: Welcome, Begin, Chunk, Commit.
    fleet.node(1).down();
    fleet.node(1).forget();
    fleet.node(1).script(|script| (script.up, script.cut_at) = (true, Some(3)));
    eventually("it was cut", || async {
        (fleet.node(1).counts().of(|counts| &counts.connections) >= 3).then_some(())
    })
    .await;
    assert_eq!(fleet.node(1).revision(), 0, "nothing is taken before the commit");
    fleet.node(1).script(|script| script.cut_at = None);
    for n in 0..4 {
        fleet.in_step(sample.set_active("echo", n % 2 == 1).await.expect("writes")).await;
    }
    let refused: u64 = fleet.nodes().iter().map(|node| node.counts().of(|counts| &counts.refused)).sum();
    assert_eq!(refused, 0);
}

/// I23.
#[tokio::test(flavor = "multi_thread")]
async fn i23_a_node_that_reads_slowly_holds_up_nobody_and_gets_the_newest_not_the_queue() {
    let (_folder, sample) = sample().await;
    let fleet = sample.fleet_in_step(10).await.expect("joins");
    let slow = fleet.node(0);
    slow.script(|script| script.pace = Some(Duration::from_secs(1)));
    let before = slow.counts().taken().0;
    let mut revision = 0;
    for n in 0..100 {
        revision = sample.set_active("echo", n % 2 == 1).await.expect("writes");
    }
    eventually("the others are in step", || async {
        fleet.nodes()[1..].iter().all(|node| node.revision() >= revision).then_some(())
    })
    .await;
    slow.script(|script| script.pace = None);
    fleet.in_step(revision).await;
    let deltas = slow.counts().taken().0 - before;
    assert!(deltas <= 20, "a cursor and not a queue: {deltas} transactions for 100 changes");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_process_with_the_same_identity_does_not_take_the_first_ones_place() {
    let (_folder, sample) = sample().await;
    let fleet = sample.fleet_in_step(1).await.expect("joins");
    let twin = fleet.twin(fleet.node(0));
    twin.up();
    let told = eventually("the newcomer is refused", || async { twin.counts().last_end() }).await;
    assert!(!told.message().is_empty() && told.code() != Code::Unavailable, "{told:?}");
    fleet.in_step(sample.set_active("echo", false).await.expect("writes")).await;
    assert_eq!(fleet.node(0).counts().of(|counts| &counts.sessions), 1, "the first was left alone");
    twin.down();
}
