//! What one caller may take of the management port, on real sockets.

use std::time::Duration;

use rr_contract::wire::management as wire;
use rr_contract::wire::management::org_service_client::OrgServiceClient;
use serde_json::Value;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use super::rest::get;
use super::world::{World, by, config};
use crate::Limits;

/// As many calls as a hostile caller would make.
const MANY: usize = 60;

async fn world(limits: Limits) -> World {
    let folder = tempfile::tempdir().expect("a folder");
    let mut config = config(folder.path());
    config.limits = limits;
    World::over(folder, config).await
}

async fn list(world: &World, token: &str) -> Result<(), Status> {
    let mut client = OrgServiceClient::new(world.channel.clone());
    client.list_orgs(by(token, wire::ListOrgsRequest::default())).await.map(|_| ())
}

#[tokio::test]
async fn a_token_that_calls_too_often_is_slowed_down_on_both_ways_and_others_are_not() {
    let world = world(Limits { token_rate: 1, token_burst: 20, ..Limits::default() }).await;
    let address = world.running.management();
    let grants = vec![wire::Grant { role: wire::Role::Operator.into(), ..Default::default() }];
    let other = world.token(&world.operator, "other", grants).await.expect("is made");
    list(&world, &other).await.expect("is let in");
    let mut refused = None;
    for _ in 0..MANY {
        if let Err(status) = list(&world, &world.operator).await {
            refused = Some(status);
            break;
        }
    }
    let refused = refused.expect("too many");
    assert_eq!(refused.code(), Code::ResourceExhausted);
    assert!(refused.get_error_details().retry_info().is_some());
    let refused = get(address, "/v1/orgs", &world.operator).await;
    assert_eq!((refused.status, refused.kind.as_str()), (429, "application/problem+json"));
    let problem: Value = serde_json::from_str(&refused.text).expect("JSON");
    assert_eq!(problem["code"], "rate-limited");
    list(&world, &other).await.expect("has calls of its own");
    world.running.stop().await;
}

#[tokio::test]
async fn guessing_tokens_is_slowed_down_and_does_not_slow_down_who_has_one() {
    let world = world(Limits { token_rate: 1, token_burst: 20, ..Limits::default() }).await;
    list(&world, &world.operator).await.expect("is let in");
    let mut refused = false;
    for n in 0..MANY {
        let guess = format!("rr_token_{n}");
        let status = list(&world, &guess).await.expect_err("a guess");
        refused |= status.code() == Code::ResourceExhausted;
    }
    assert!(refused);
    list(&world, &world.operator).await.expect("is not slowed down");
    world.running.stop().await;
}

/// What the tests above would show if nothing were bounded.
#[tokio::test]
async fn without_a_rate_nobody_is_slowed_down() {
    let world = world(Limits { token_rate: 0, ..Limits::default() }).await;
    for n in 0..MANY {
        list(&world, &world.operator).await.expect("is let in");
        let status = list(&world, &format!("rr_token_{n}")).await.expect_err("a guess");
        assert_eq!(status.code(), Code::Unauthenticated);
    }
    world.running.stop().await;
}

#[tokio::test]
async fn a_message_over_4_mib_is_refused() {
    let world = world(Limits { call: Duration::from_secs(60), token_rate: 0, ..Limits::default() }).await;
    let mut client = OrgServiceClient::new(world.channel.clone());
    let org = wire::Org { display_name: "x".repeat(4 * 1024 * 1024), ..Default::default() };
    let request = by(&world.operator, wire::CreateOrgRequest { org: Some(org), ..Default::default() });
    let refused = client.create_org(request).await.expect_err("too large");
    assert_eq!(refused.code(), Code::OutOfRange, "{refused}");
    world.running.stop().await;
}
