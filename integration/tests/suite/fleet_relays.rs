//! Relays between a control plane and its nodes: three honest ones, and bad ones. I11 and I12.

use rr_contract::wire::fleet::{Mode, Outcome, Why};
use rr_integration::caller::Caller;
use rr_integration::process::Edge;
use rr_integration::relay::{Fault, Relay};
use rr_integration::sample::{ORG, REGION, Sample};
use rr_integration::upstream::Upstream;
use rr_integration::wait::eventually;

struct Relayed {
    sample: Sample,
    relay: Relay,
    caller: Caller,
    _edge: Edge,
    _upstream: Upstream,
    _folder: tempfile::TempDir,
}

/// A real edge behind a relay, and one change that it took.
async fn relayed() -> Relayed {
    let (folder, upstream) = (tempfile::tempdir().expect("a folder"), Upstream::start().await);
    let sample = Sample::start(folder.path(), &upstream.url(), &[]).await.expect("starts");
    let token = sample.api.node_token(REGION, &sample.keys, 2).await.expect("a token");
    let relay = Relay::start(&sample.place, &sample.control.state(), &token).await.expect("a relay");
    let edge = Edge::start(&folder.path().join("edge"), relay.address, token.to_secret().expose());
    edge.ready().await;
    let caller = Caller::new(edge.listen, &format!("{ORG}.echo"), &sample.key);
    let world = Relayed { sample, relay, caller, _edge: edge, _upstream: upstream, _folder: folder };
    world.answers(200).await;
    world.sample.set_active("echo", false).await.expect("writes");
    world.answers(403).await;
    world.sample.set_active("echo", true).await.expect("writes");
    world.answers(200).await;
    world
}

impl Relayed {
    async fn answers(&self, status: u16) {
        eventually(&format!("the edge answers {status}"), || async {
            (self.caller.try_get("/").await.ok()?.status == status).then_some(())
        })
        .await;
    }

    /// A harmed change is refused for `why`, nothing of it runs, and it comes once the relay is honest.
    async fn refuses(&self, fault: Fault, why: Why) {
        let seen = self.relay.verdicts().len();
        self.relay.act(fault);
        self.sample.set_active("echo", false).await.expect("writes");
        eventually(&format!("{fault:?} is refused"), || async {
            let verdicts = self.relay.verdicts();
            verdicts[seen..].contains(&(Outcome::Refused, Some(why))).then_some(())
        })
        .await;
        assert_eq!(self.caller.get("/").await.status, 200, "last known good stays in force");
        self.relay.act(Fault::None);
        self.answers(403).await;
        self.sample.set_active("echo", true).await.expect("writes");
        self.answers(200).await;
    }
}

/// I11 and I12.
#[tokio::test(flavor = "multi_thread")]
async fn i11_a_real_edge_refuses_what_a_relay_harmed_and_keeps_what_it_had() {
    let world = relayed().await;
    world.refuses(Fault::DropUpsert, Why::Digest).await;
    world.refuses(Fault::FlipPayload, Why::Digest).await;
    world.refuses(Fault::FlipBit, Why::Transport).await;
    world.refuses(Fault::Twice, Why::Transport).await;
    world.refuses(Fault::Swap, Why::Transport).await;
    world.refuses(Fault::Replay, Why::BaseMismatch).await;
    assert!(world.relay.harmed() >= 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_stalls_leaves_the_edge_on_what_it_had_and_it_catches_up_afterwards() {
    let world = relayed().await;
    world.relay.act(Fault::Stall);
    world.sample.set_active("echo", false).await.expect("writes");
    eventually("the change is held up", || async { (world.relay.harmed() > 0).then_some(()) }).await;
    assert_eq!(world.caller.get("/").await.status, 200);
    // The control plane gives up a node that says nothing to a transaction after a minute; a cut is sooner.
    let Relayed { sample, relay, caller, .. } = &world;
    relay.act(Fault::None);
    relay.cut();
    eventually("the edge has caught up", || async {
        (caller.try_get("/").await.ok()?.status == 403).then_some(())
    })
    .await;
    sample.set_active("echo", true).await.expect("writes");
    world.answers(200).await;
}

/// I12: what was harmed is repaired by what differs, not by everything.
#[tokio::test(flavor = "multi_thread")]
async fn i12_a_refused_digest_is_repaired_by_a_reconcile_on_the_same_stream() {
    let world = relayed().await;
    let before = world.relay.modes().len();
    world.refuses(Fault::DropUpsert, Why::Digest).await;
    let modes = &world.relay.modes()[before..];
    assert!(modes.contains(&Mode::Reconcile) && !modes.contains(&Mode::Snapshot), "{modes:?}");
    assert!(world.relay.questions() > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn three_relays_in_a_row_end_in_the_same_digest() {
    let (folder, upstream) = (tempfile::tempdir().expect("a folder"), Upstream::start().await);
    let sample = Sample::start(folder.path(), &upstream.url(), &[]).await.expect("starts");
    let token = sample.api.node_token(REGION, &sample.keys, 4).await.expect("a token");
    let relays = Relay::row(&sample.place, &sample.control.state(), &token, 3).await.expect("relays");
    let last = relays.last().expect("there are three").address;
    let edge = Edge::start(&folder.path().join("edge"), last, token.to_secret().expose());
    edge.ready().await;
    let direct = sample.fleet_in_step(1).await.expect("a node beside them");
    let caller = Caller::new(edge.listen, &format!("{ORG}.echo"), &sample.key);
    for (active, status) in [(false, 403), (true, 200), (false, 403)] {
        let revision = sample.set_active("echo", active).await.expect("writes");
        eventually(&format!("the leaf answers {status}"), || async {
            (caller.try_get("/").await.ok()?.status == status).then_some(())
        })
        .await;
        direct.in_step(revision).await;
        let digest = direct.node(0).position().expect("it stands somewhere").digest;
        eventually("what stands for the leaf has the digest of the node beside it", || async {
            let nodes = sample.api.nodes().await.ok()?;
            let running =
                |node: &rr_contract::wire::fleet::Node| node.running.clone().unwrap_or_default().digest;
            let leaf = nodes.iter().find(|node| node.connected && node.id != direct.node(0).id())?;
            (running(leaf) == digest).then_some(())
        })
        .await;
    }
    for relay in &relays {
        let modes = relay.modes();
        assert!(modes[1..].iter().all(|mode| *mode == Mode::Delta), "{modes:?}");
        assert!(relay.verdicts().iter().all(|(outcome, _)| *outcome == Outcome::Active));
    }
}
