//! Nodes renew their certificates: while they run, after they were away for days, and when they were away for too long.
//!
//! Both planes share a clock that is set forward by days; traffic goes on meanwhile.

use std::time::Duration;

use rr_contract::seam::Clock as _;
use rr_integration::process::admin;
use rr_integration::wait::eventually;
use rr_integration::world::{ORG, REGION, World};

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);

/// When the certificate of the node ends, as the control plane knows it; seconds since 1970.
async fn ends(world: &World) -> i64 {
    let node = world.api.nodes().await.expect("are listed").pop().expect("it joined");
    node.certificate_not_after.expect("it has one").seconds
}

async fn config(world: &World) -> serde_json::Value {
    let reply = admin(world.node.admin, "/config").await.expect("it answers");
    serde_json::from_slice(&reply.body).expect("JSON")
}

async fn readiness(world: &World) -> String {
    let reply = admin(world.node.admin, "/readyz").await.expect("it answers");
    String::from_utf8(reply.body.to_vec()).expect("text")
}

/// What comes of a clock that is set forward.
fn announce(world: &World) {
    for part in [
        "wall clock jumped against the monotonic clock",
        "stream to the control plane lost",
        "control plane cannot be reached",
        "has ended and is not renewed yet",
        // Its guard against a clock that leaps: nothing is removed by age.
        "the clock of this machine says",
    ] {
        world.log.announce(part);
    }
}

async fn is_renewed(world: &World, before: i64) {
    eventually("the certificate is renewed", || async move { (ends(world).await > before).then_some(()) })
        .await;
}

/// A change that reaches the node, and a request that it serves.
async fn goes_on(world: &World, name: &str) {
    world.api.target(ORG, name, &world.upstream.url()).await.expect("make a target");
    world.in_step().await;
    assert_eq!(world.caller_of("echo").get("/").await.status, 200);
}

#[tokio::test]
async fn a_node_renews_at_half_of_the_life_of_its_certificate_and_its_stream_goes_on() {
    let world = World::start().await;
    announce(&world);
    let before = ends(&world).await;
    world.later.set(11 * HOUR);
    goes_on(&world, "early").await;
    assert_eq!(ends(&world).await, before, "it is not time yet");
    world.later.set(15 * HOUR);
    is_renewed(&world, before).await;
    goes_on(&world, "late").await;
    assert_eq!(config(&world).await["renewal_fault"], serde_json::Value::Null);
    world.end().await;
}

#[tokio::test]
async fn a_node_that_was_away_for_three_days_comes_back_by_itself_and_callers_notice_nothing() {
    let mut world = World::start().await;
    announce(&world);
    let before = ends(&world).await;
    world.control_plane.stop().await;
    for hours in (0..=72).step_by(6) {
        world.later.set(HOUR * hours);
        assert_eq!(world.caller_of("echo").get("/").await.status, 200);
    }
    world.control_plane.restart().await;
    is_renewed(&world, before).await;
    goes_on(&world, "after").await;
    // The same for one that was switched off.
    world.node.stop().await;
    world.later.set(6 * DAY);
    let before = ends(&world).await;
    world.node.restart().await;
    assert_eq!(world.caller_of("echo").get("/").await.status, 200, "it serves before it has renewed");
    is_renewed(&world, before).await;
    goes_on(&world, "again").await;
    world.end().await;
}

#[tokio::test]
async fn a_node_that_was_away_for_31_days_serves_on_says_what_to_do_and_joins_anew_with_a_token() {
    let mut world = World::start().await;
    announce(&world);
    world.log.announce("ended more than 30 days ago");
    let first = world.api.nodes().await.expect("are listed").pop().expect("it joined");
    world.control_plane.stop().await;
    world.later.set(32 * DAY + HOUR);
    world.control_plane.restart().await;
    {
        let world = &world;
        eventually("the node says what to do", || async move {
            let fault = config(world).await["renewal_fault"].as_str()?.to_owned();
            fault.contains("restart the node with a new token").then_some(())
        })
        .await;
        assert_eq!(readiness(world).await, "ready (certificate-too-old)\n");
        assert_eq!(world.caller_of("echo").get("/").await.status, 200);
        let why = world.api.nodes().await.expect("are listed").pop().expect("it joined").why;
        assert!(why.contains("new token"), "{why}");
    }
    // A restart changes nothing of it.
    world.node.restart().await;
    assert_eq!(world.caller_of("echo").get("/").await.status, 200);
    let end = world.later.now() + DAY;
    let token = world.api.node_token_until(REGION, &world.keys, 1, end).await.expect("make a node token");
    world.node.restart_with(token).await;
    assert_eq!(world.caller_of("echo").get("/").await.status, 200);
    world.in_step().await;
    goes_on(&world, "anew").await;
    let nodes = world.api.nodes().await.expect("are listed");
    assert_eq!(nodes.len(), 2);
    assert!(nodes.iter().any(|node| node.id != first.id && node.connected));
    world.end().await;
}
