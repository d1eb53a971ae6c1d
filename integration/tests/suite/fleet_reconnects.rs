//! Fleets that come back: what it costs, and that the gate lets everybody in.

use std::time::Duration;

use rr_contract::model::resource::ResourceId;
use rr_integration::fleet::LightNode;
use rr_integration::postgres::Postgres;
use rr_integration::relay::switch::Switch;
use rr_integration::sample::Sample;
use rr_integration::wait::eventually;
use tokio::time::{Instant, timeout};

const ORIGIN: &str = "https://upstream.example";

async fn sample() -> (tempfile::TempDir, Sample) {
    let folder = tempfile::tempdir().expect("a folder");
    let sample = Sample::start(folder.path(), ORIGIN, &[]).await.expect("starts");
    (folder, sample)
}

/// I22.
#[tokio::test(flavor = "multi_thread")]
async fn i22_two_hundred_nodes_that_drop_at_once_come_back_without_a_snapshot() {
    let (_folder, sample) = sample().await;
    let fleet = sample.fleet_in_step(200).await.expect("joins");
    fleet.down();
    eventually("all are gone", || async {
        let nodes = sample.api.nodes().await.ok()?;
        nodes.iter().all(|node| !node.connected).then_some(())
    })
    .await;
    let revision = sample.set_active("echo", false).await.expect("writes");
    fleet.up();
    fleet.in_step(revision).await;
    for node in fleet.nodes() {
        assert_eq!(node.counts().taken(), (1, 1, 0), "one delta after the first snapshot");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_missed_nothing_is_told_so_in_a_kibibyte_after_a_restart() {
    let (_folder, sample) = sample().await;
    let fleet = sample.fleet_in_step(20).await.expect("joins");
    let revision = sample.api.revision().await.expect("answers");
    fleet.down();
    let _control = sample.control.restart().await;
    let mut moves = fleet.moves();
    let above = |node: &LightNode| node.counts().bytes().0 - node.counts().of(|counts| &counts.greeting);
    let before: Vec<u64> = fleet.nodes().iter().map(above).collect();
    fleet.up();
    for _ in fleet.nodes() {
        let moved = timeout(Duration::from_secs(30), moves.recv()).await.expect("in time").expect("moves");
        assert!(!moved.taken && moved.revision >= revision, "a mark is all: {moved:?}");
        let above = above(fleet.node(moved.node)) - before[moved.node];
        assert!(above <= 1024, "{above} bytes after the handshake");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_diverged_resource_of_ten_thousand_is_repaired_within_64_kib_both_ways() {
    let (_folder, sample) = sample().await;
    sample.grow(ORIGIN, 0..5_000).await.expect("grows");
    let fleet = sample.fleet_in_step(1).await.expect("joins");
    let node = fleet.node(0);
    assert!(node.view().count() >= 10_000);
    let good = *node.view().digest();
    node.down();
    let victim = node.view().iter().map(|(key, _)| *key).find(|key| matches!(key.id, ResourceId::Target(_)));
    node.corrupt(&victim.expect("there are targets"), Some([7; 32]));
    let (read, written) = node.counts().bytes();
    let upserts = node.counts().of(|counts| &counts.upserts);
    let (deltas, snapshots, reconciles) = node.counts().taken();
    node.up();
    eventually("it is repaired", || async { (*node.view().digest() == good).then_some(()) }).await;
    let (now_read, now_written) = node.counts().bytes();
    let both = now_read - read + now_written - written;
    let repaired = (deltas, snapshots, reconciles + 1);
    assert_eq!(node.counts().taken(), repaired, "one reconcile and nothing else");
    assert_eq!(node.counts().of(|counts| &counts.upserts) - upserts, 1);
    assert!(both <= 64 * 1024, "{both} bytes both ways");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_on_one_replica_reaches_a_node_of_another_within_1200_ms() {
    let Some(server) = Postgres::start() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let variables = [("RR_CONTROL_DATABASE", server.address())];
    let sample = Sample::start(folder.path(), ORIGIN, &variables).await.expect("starts");
    let second = sample.control.replica(&folder.path().join("second")).await;
    let fleet = sample.fleet(10).await.expect("joins");
    sample.place.go_to(&[second.fleet]);
    fleet.up();
    fleet.in_step(sample.api.revision().await.expect("answers")).await;
    for n in 0..4 {
        let revision = sample.set_active("echo", n % 2 == 1).await.expect("writes");
        let started = Instant::now();
        fleet.in_step(revision).await;
        let took = started.elapsed();
        assert!(took <= Duration::from_millis(1200), "{took:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_of_a_replica_that_is_killed_go_on_at_the_other() {
    let Some(server) = Postgres::start() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let variables = [("RR_CONTROL_DATABASE", server.address())];
    let sample = Sample::start(folder.path(), ORIGIN, &variables).await.expect("starts");
    let mut second = sample.control.replica(&folder.path().join("second")).await;
    let switch = Switch::start(&[second.fleet, sample.control.fleet]).await.expect("listens");
    let fleet = sample.fleet(10).await.expect("joins");
    sample.place.go_to(&[switch.address]);
    fleet.up();
    fleet.in_step(sample.api.revision().await.expect("answers")).await;
    second.kill();
    let revision = sample.set_active("echo", false).await.expect("writes");
    fleet.in_step(revision).await;
    for node in fleet.nodes() {
        assert_eq!(node.counts().taken().1, 1, "no second snapshot");
    }
}
