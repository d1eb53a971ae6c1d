//! How nodes join, over the real port.

use std::sync::Arc;

use rr_contract::runtime::Tasks;
use rr_contract::seal::node_token::NodeTokenStatement;
use rr_contract::wire::fleet;
use rr_contract::wire::fleet::config_service_client::ConfigServiceClient;
use rr_contract::wire::fleet::enrolment_service_client::EnrolmentServiceClient;
use tonic::Code;

use super::machine::{WINDOW, join_request};
use super::world::World;
use crate::{service, store};

#[tokio::test(flavor = "multi_thread")]
async fn a_token_for_one_node_admits_one_of_eight_that_join_at_once() {
    let world = Arc::new(World::start().await);
    let region = world.region("eu").await;
    let token = Arc::new(world.node_token(&region, 1).await);
    let tasks = Tasks::new();
    let mut joins = Vec::new();
    for _ in 0..8 {
        let (world, token) = (Arc::clone(&world), Arc::clone(&token));
        joins.push(tasks.spawn("join", async move { world.join(&token).await.map(|node| node.id) }));
    }
    let mut admitted = 0;
    for join in joins {
        match join.await.expect("no panic") {
            Ok(_) => admitted += 1,
            Err(status) => assert_eq!(status.code(), Code::Unauthenticated),
        }
    }
    assert_eq!(admitted, 1);
}

#[tokio::test]
async fn every_refusal_to_join_looks_alike() {
    let world = World::start().await;
    let region = world.region("eu").await;
    let token = world.node_token(&region, 1).await;
    let key = rcgen::KeyPair::generate().expect("keys");
    let good = || join_request(&token, &key);
    let bad = vec![
        fleet::JoinRequest { token: "nt_00000000000000000000000000".into(), ..good() },
        fleet::JoinRequest { token: "junk".into(), ..good() },
        fleet::JoinRequest { auth: vec![0; 32], ..good() },
        fleet::JoinRequest { csr: b"junk".to_vec(), ..good() },
        fleet::JoinRequest { node_key: vec![9; 32], ..good() },
        fleet::JoinRequest { vouch: vec![0; 64], ..good() },
    ];
    let mut client = EnrolmentServiceClient::new(world.fleet_channel(None, WINDOW).await);
    let mut answers = Vec::new();
    for request in bad {
        let refused = client.join(request).await.expect_err("refused");
        answers.push((refused.code(), refused.message().to_owned()));
    }
    // None of these took the token's one use.
    world.join(&token).await.expect("joins");
    let refused = client.join(good()).await.expect_err("is used up");
    answers.push((refused.code(), refused.message().to_owned()));
    answers.dedup();
    assert_eq!(answers.len(), 1, "{answers:?}");
    assert_eq!(answers[0].0, Code::Unauthenticated);
    world.running.stop().await;
}

#[tokio::test]
async fn what_a_node_joined_with_is_kept_and_leads_from_its_key_to_its_region() {
    let world = World::start().await;
    let region = world.region("eu").await;
    let token = world.node_token(&region, 2).await;
    let (node, other) = (world.join(&token).await.expect("joins"), world.join(&token).await.expect("joins"));
    let store = world.running.store();
    let row = async |node: &str| store::node::by_id(store, node).await.expect("reads").expect("is there");
    let (row, other) = (row(&node.id).await, row(&other.id).await);
    let entry = store::node::token_by_id(store, token.id()).await.expect("reads").expect("is there");
    let kept = service::region::by_reference(store, &region.name).await.expect("reads").expect("is there");
    let statement = service::region::statement(&kept.document).expect("is one");
    let statement = NodeTokenStatement::parse(entry.statement, &statement).expect("the region signed it");
    let (csr_hash, vouch) = (row.csr_hash.expect("is kept"), row.vouch.expect("is kept"));
    assert!(statement.vouched(&row.node_key, &csr_hash, &vouch));
    assert!(!statement.vouched(&other.node_key, &csr_hash, &vouch), "another node's key");
    assert!(!statement.vouched(&row.node_key, &other.csr_hash.expect("is kept"), &vouch), "another request");
    world.running.stop().await;
}

#[tokio::test]
async fn who_has_no_certificate_may_join_and_nothing_else() {
    let world = World::start().await;
    let mut client = ConfigServiceClient::new(world.fleet_channel(None, WINDOW).await);
    let refused = client.sync(tokio_stream::pending()).await.expect_err("refused");
    assert_eq!(refused.code(), Code::Unauthenticated);
    world.running.stop().await;
}
