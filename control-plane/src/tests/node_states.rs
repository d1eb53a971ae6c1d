//! What is said of nodes and regions: in one word, by the revisions that concern them, to who may hear it.

use rr_contract::wire::fleet::fleet_service_client::FleetServiceClient;
use rr_contract::wire::fleet::{self, NodeState};
use rr_contract::wire::management as wire;
use serde_json::json;
use tokio::time::Instant;
use tonic::Code;

use super::stream::{Edge, SOON, joined};
use super::world::{World, by};

/// Until the one node is so.
async fn node(world: &World, what: &str, so: impl Fn(&fleet::Node) -> bool) -> fleet::Node {
    let deadline = Instant::now() + SOON;
    let mut client = FleetServiceClient::new(world.channel.clone());
    loop {
        let request = by(&world.operator, fleet::ListNodesRequest::default());
        let node = client.list_nodes(request).await.expect("lists").into_inner().nodes.remove(0);
        if so(&node) {
            return node;
        }
        assert!(Instant::now() < deadline, "never {what}: {node:?}");
        tokio::task::yield_now().await;
    }
}

async fn behind(world: &World) -> usize {
    let mut client = FleetServiceClient::new(world.channel.clone());
    let request = by(&world.operator, fleet::ListNodesRequest { behind: true, ..Default::default() });
    client.list_nodes(request).await.expect("lists").into_inner().nodes.len()
}

async fn region(world: &World) -> fleet::RegionState {
    let mut client = FleetServiceClient::new(world.channel.clone());
    let request = by(&world.operator, fleet::ListRegionStatesRequest {});
    client.list_region_states(request).await.expect("lists").into_inner().regions.remove(0)
}

#[tokio::test]
async fn a_revision_that_does_not_concern_a_region_leaves_its_node_in_step_and_no_number_behind() {
    let world = World::start().await;
    let joined = joined(&world).await;
    let mut edge = Edge::open(&joined, None).await;
    let first = edge.take_well().await.position;
    let status = fleet::Status {
        running: Some(first.clone()),
        serving: Some(first.clone()),
        on_disk: Some(first.clone()),
        proven: Some(first.clone()),
        ..fleet::Status::default()
    };
    edge.say(status).await;
    world.org("elsewhere").await;
    let head = world.installation().await.revision;
    let shown = node(&world, "in step", |it| {
        it.desired.as_ref().is_some_and(|at| at.revision == head) && it.proven.is_some()
    })
    .await;
    assert_eq!(shown.state(), NodeState::InStep);
    assert!(shown.why.is_empty(), "{}", shown.why);
    let told = shown.running.as_ref().map(|at| at.revision);
    assert_eq!(told, Some(first.revision), "its position is what it said itself");
    let all = fleet::NodeRevisions { running: head, serving: head, on_disk: head, proven: head };
    assert_eq!(shown.revisions, Some(all));
    assert_eq!(behind(&world).await, 0);
    // What was proven stays at the last revision with its content, and goes to no older number.
    let second = world.suspend("acme", true).await;
    let shown = node(&world, "behind", |it| it.state() == NodeState::Behind).await;
    let stays = fleet::NodeRevisions {
        running: second - 1,
        serving: second - 1,
        on_disk: second - 1,
        proven: second - 1,
    };
    assert_eq!(shown.revisions, Some(stays));
    assert_eq!((behind(&world).await, region(&world).await.behind), (1, 1));
    world.running.stop().await;
}

#[tokio::test]
async fn a_node_that_refuses_something_is_not_in_step_and_its_region_says_so() {
    let world = World::start().await;
    let joined = joined(&world).await;
    let mut edge = Edge::open(&joined, None).await;
    let taken = edge.take().await;
    let key = edge.held.keys().next().expect("there is one").to_wire();
    let refusal = fleet::Refusal { key: Some(key), why: fleet::Why::Unseal.into(), ..Default::default() };
    edge.answer(&taken, fleet::Outcome::ActivePartial, vec![refusal]).await;
    let shown = node(&world, "refusing", |it| it.state() == NodeState::Refusing).await;
    assert!(shown.connected && shown.running.as_ref() == Some(&taken.position));
    let state = region(&world).await;
    assert_eq!((state.connected, state.in_step, state.refusing, state.behind), (1, 0, 1, 0));
    assert_eq!(state.why, "1 of 1 connected nodes refuse something");
    world.running.stop().await;
}

#[tokio::test]
async fn what_a_node_had_proven_is_said_while_it_comes_back_and_has_not_said_it_again() {
    let world = World::start().await;
    let joined = joined(&world).await;
    let mut edge = Edge::open(&joined, None).await;
    let first = edge.take_well().await.position;
    let running = Some(first.clone());
    edge.say(fleet::Status { running: running.clone(), proven: running, ..Default::default() }).await;
    // The replica is told once its place was written.
    node(&world, "proven", |it| it.proven.is_some() && !it.replica.is_empty()).await;
    drop(edge);
    node(&world, "gone", |it| it.state() == NodeState::Disconnected && it.proven.is_some()).await;
    let edge = Edge::open(&joined, Some(first.clone())).await;
    let shown = node(&world, "back", |it| it.connected).await;
    assert_eq!(shown.proven, Some(first));
    drop(edge);
    world.running.stop().await;
}

#[tokio::test]
async fn who_operates_no_region_is_told_which_role_it_takes_and_not_that_there_is_no_node() {
    let world = World::start().await;
    joined(&world).await;
    for role in [wire::Role::Editor, wire::Role::Owner] {
        let client = world.service(role, "acme").await;
        for path in ["/v1/nodes", "/v1/nodes:watch", "/v1/regionStates", "/v1/nodeAccounts"] {
            let refused = client.get(path).await.refused(403, "role-missing");
            assert!(refused["detail"].as_str().is_some_and(|it| it.contains("region-operator")), "{path}");
        }
        let mut stub = FleetServiceClient::new(world.channel.clone());
        let request = by(&client.token, fleet::ListNodesRequest::default());
        assert_eq!(stub.list_nodes(request).await.expect_err("is refused").code(), Code::PermissionDenied);
    }
    // An admin of the organization that a region is dedicated to sees that region's nodes, also while it has none.
    world.dedicated_region("own", "acme").await;
    let admin = world.service(wire::Role::Admin, "acme").await;
    assert_eq!(admin.get("/v1/nodes").await.good(), json!({}));
    world.running.stop().await;
}
