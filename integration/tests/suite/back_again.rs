//! Who was killed is back within three seconds, and a copy is not let in while the original is there.
//!
//! Real processes, killed with `kill -9`. What is measured begins where a process is up: how long that takes is the
//! machine's affair.

use std::process::Command;
use std::time::{Duration, Instant};

use rr_contract::wire::fleet::fleet_service_client::FleetServiceClient;
use rr_contract::wire::fleet::{ExplainResourceRequest, Node};
use rr_integration::postgres::Postgres;
use rr_integration::process::{Control, Edge, admin};
use rr_integration::sample::{ORG, REGION, Sample};
use rr_integration::wait::eventually;

/// What was promised.
const WITHIN: Duration = Duration::from_secs(3);
/// What a busy machine may add where most of that is a wait of ours: for silence, or between two tries.
const BUSY: Duration = Duration::from_secs(1);
const ORIGIN: &str = "https://upstream.example";
const CLASH: &str = "another process is connected as this node";

struct Setting {
    folder: tempfile::TempDir,
    sample: Sample,
    edge: Edge,
    /// A copy has it too; it is used up.
    token: Vec<u8>,
}

async fn setting(variables: &[(&str, String)]) -> Setting {
    let folder = tempfile::tempdir().expect("a folder");
    let sample = Sample::start(folder.path(), ORIGIN, variables).await.expect("starts");
    let token = sample.api.node_token(REGION, &sample.keys, 1).await.expect("a token");
    let token = token.to_secret().expose().to_vec();
    let edge = Edge::start(&folder.path().join("edge"), sample.control.fleet, &token);
    let setting = Setting { folder, sample, edge, token };
    connected(&setting.sample, "").await;
    setting
}

/// The node, once a process of it is connected that is not the one at an address.
async fn connected(sample: &Sample, not_at: &str) -> Node {
    eventually("the node is connected", || async {
        let node = sample.api.nodes().await.ok()?.pop()?;
        (node.connected && !node.address.is_empty() && node.address != not_at).then_some(node)
    })
    .await
}

/// Until it is written whose the node is, which is what keeps others out; and that it is not who it was before.
async fn written(sample: &Sample, not_at: &str) -> Node {
    eventually("the replica is written", || async {
        let node = sample.api.nodes().await.ok()?.pop()?;
        (node.connected && !node.replica.is_empty() && node.replica != not_at).then_some(node)
    })
    .await
}

/// Waits for another process than the one at an address, and says how long that took.
async fn back(sample: &Sample, edge: &Edge, not_at: &str) -> Duration {
    // Whether it can decide requests is another matter.
    eventually("the process is up", || async {
        let reply = admin(edge.admin, "/healthz").await.ok()?;
        (reply.status == 200).then_some(())
    })
    .await;
    let since = Instant::now();
    connected(sample, not_at).await;
    since.elapsed()
}

/// The node, once the list says that another process claims to be it.
async fn shown(sample: &Sample) -> Node {
    eventually("the node list says so", || async {
        let node = sample.api.nodes().await.ok()?.pop()?;
        node.clash.is_some().then_some(node)
    })
    .await
}

async fn until_log(edge: &Edge, words: &str) {
    eventually(&format!("the log says {words:?}"), || async {
        edge.process.log().contains(words).then_some(())
    })
    .await;
}

/// Another edge with everything that the first has.
fn copied(setting: &Setting, fleet: std::net::SocketAddr) -> Edge {
    let to = setting.folder.path().join("copy");
    std::fs::create_dir_all(&to).expect("a folder");
    // A picture of one moment, as of a disk.
    signal(&setting.edge, "-STOP");
    let done = Command::new("cp")
        .arg("-r")
        .arg(setting.folder.path().join("edge/state"))
        .arg(to.join("state"))
        .status()
        .expect("cp runs");
    signal(&setting.edge, "-CONT");
    assert!(done.success());
    Edge::start(&to, fleet, &setting.token)
}

fn signal(edge: &Edge, name: &str) {
    let sent = Command::new("kill").args([name, &edge.process.id().to_string()]).status().expect("kill runs");
    assert!(sent.success(), "kill {name}");
}

async fn explained(sample: &Sample) -> String {
    let ask =
        ExplainResourceRequest { org: ORG.to_owned(), kind: "proxy".to_owned(), resource: "echo".to_owned() };
    let mut stub = FleetServiceClient::new(sample.api.connection());
    stub.explain_resource(ask).await.expect("explains").into_inner().why
}

#[tokio::test(flavor = "multi_thread")]
async fn after_kill_nine_of_node_control_plane_or_both_a_node_is_back_within_three_seconds() {
    let Setting { folder, mut sample, mut edge, .. } = setting(&[]).await;
    let was = written(&sample, "").await;

    edge.kill();
    edge = edge.restart();
    let took = back(&sample, &edge, &was.address).await;
    assert!(took <= WITHIN, "node alone: {took:?}");

    let was = connected(&sample, "").await;
    sample.control.kill();
    sample.control = sample.control.restart().await;
    let since = Instant::now();
    connected(&sample, &was.address).await;
    assert!(since.elapsed() <= WITHIN + BUSY, "control plane alone: {:?}", since.elapsed());

    let was = written(&sample, &was.replica).await;
    sample.control.kill();
    edge.kill();
    sample.control = sample.control.restart().await;
    // What the control plane of before wrote of its nodes is over.
    let node = sample.api.nodes().await.expect("lists").remove(0);
    assert!(!node.connected, "{}", node.why);
    edge = edge.restart();
    let took = back(&sample, &edge, &was.address).await;
    assert!(took <= WITHIN, "both: {took:?}");
    assert!(!edge.process.log().contains("another process"), "{}", edge.process.log());
    drop((edge, sample, folder));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_is_not_let_in_while_the_original_is_there_and_people_see_why() {
    let setting = setting(&[]).await;
    let was = connected(&setting.sample, "").await;
    let copy = copied(&setting, setting.sample.control.fleet);
    until_log(&copy, CLASH).await;
    let sample = &setting.sample;
    let node = shown(sample).await;
    assert!(node.why.contains("another process with its key connected from 127.0.0.1"), "{}", node.why);
    assert_eq!((node.connected, &node.address), (true, &was.address), "the original is where it was");
    assert!(explained(sample).await.contains("another process claims to be"), "{}", explained(sample).await);
}

/// A machine that hangs, not a process that ended: nobody closes its stream.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_comes_in_the_place_of_a_process_that_hangs_is_in_within_three_seconds() {
    let setting = setting(&[]).await;
    let was = connected(&setting.sample, "").await;
    let copy = copied(&setting, setting.sample.control.fleet);
    // The copy was refused while the original answered; now it does not.
    until_log(&copy, CLASH).await;
    drop(copy);
    signal(&setting.edge, "-STOP");
    let folder = setting.folder.path().join("copy");
    let copy = Edge::start(&folder, setting.sample.control.fleet, &setting.token);
    let took = back(&setting.sample, &copy, &was.address).await;
    assert!(took <= WITHIN + BUSY, "{took:?}");
    // The one that hung finds the place taken, and both are shown.
    signal(&setting.edge, "-CONT");
    until_log(&setting.edge, CLASH).await;
    shown(&setting.sample).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_two_replicas_a_node_is_back_whichever_of_them_died_and_a_copy_is_not_let_in() {
    let Some(server) = Postgres::start() else { return };
    let mut setting = setting(&[("RR_CONTROL_DATABASE", server.address())]).await;
    let other = setting.sample.control.replica(&setting.folder.path().join("other")).await;
    let was = written(&setting.sample, "").await;

    // The replica lives, and the node is killed and comes to the other.
    setting.edge.kill();
    let mut edge = setting.edge.restart_at(other.fleet);
    let took = back(&setting.sample, &edge, &was.address).await;
    assert!(took <= WITHIN, "replica alive: {took:?}");

    // A copy comes to the first one, while the original is at the other.
    let was = written(&setting.sample, &was.replica).await;
    setting.edge = edge;
    let copy = copied(&setting, setting.sample.control.fleet);
    until_log(&copy, CLASH).await;
    drop(copy);
    edge = setting.edge;
    shown(&setting.sample).await;

    // Its replica and the node are killed, and it comes to the one that lives.
    kill(other, &mut edge);
    let edge = edge.restart_at(setting.sample.control.fleet);
    let took = back(&setting.sample, &edge, &was.address).await;
    assert!(took <= WITHIN + BUSY, "replica dead: {took:?}");
}

fn kill(mut control: Control, edge: &mut Edge) {
    control.kill();
    edge.kill();
}
