//! Accounts of nodes: requests, and what became of their records, for those who operate the nodes alone.

use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use prost::Message as _;
use rr_contract::wire::fleet;
use rr_contract::wire::fleet::telemetry_service_client::TelemetryServiceClient;
use rr_contract::wire::management::Role;
use serde_json::{Value, json};

use super::machine::Node;
use super::stream::joined;
use super::world::World;

const SOON: Duration = Duration::from_secs(30);

async fn tell(node: &Node, sequence: u64, batch: fleet::Batch) {
    let body = batch.encode_to_vec();
    let crc32 = crc32fast::hash(&body);
    let upload = fleet::UploadRequest { spool: vec![8; 16], sequence, body, crc32, ..Default::default() };
    let mut client = TelemetryServiceClient::new(node.channel.clone());
    let mut answers = client.upload(tokio_stream::iter([upload])).await.expect("opens").into_inner();
    let answer = answers.next().await.expect("is answered").expect("is good");
    assert_eq!((answer.through, answer.poison.len()), (sequence, 0));
}

#[tokio::test]
async fn what_nodes_made_is_stored_refused_lost_or_open_and_nothing_is_left() {
    let world = World::start().await;
    let node = joined(&world).await;
    let operator = world.operator();
    let proxy = operator.get("/v1/orgs/acme/proxies/echo").await.good()["proxy"].clone();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (org, id) = (text(&proxy["org"]), text(&proxy["id"]));
    let record = |name: &str, proxy: &str, count| fleet::Record {
        id: name.to_owned(),
        org: org.clone(),
        proxy: proxy.to_owned(),
        count,
        ..Default::default()
    };
    let sum = |proxy: &str, requests| fleet::Sum {
        org: org.clone(),
        proxy: proxy.to_owned(),
        requests,
        ..Default::default()
    };
    let lost =
        |records, reason: &str| fleet::Dropped { records, reason: reason.to_owned(), ..Default::default() };
    let batch = fleet::Batch {
        records: vec![record("rq_1", &id, 0), record("rq_2", &id, 9), record("rq_3", "px_other", 0)],
        sums: vec![sum(&id, 25), sum("px_other", 1)],
        dropped: vec![lost(4, "ring-full"), lost(0, "unclean"), lost(5, "sampled")],
        ..Default::default()
    };
    tell(&node, 1, batch.clone()).await;
    tell(&node, 1, batch).await;
    // One whose id is in use.
    let again =
        fleet::Batch { records: vec![record("rq_1", &id, 0)], sums: vec![sum(&id, 1)], ..Default::default() };
    tell(&node, 2, again).await;
    let begun = Instant::now();
    let answer = loop {
        let answer = operator.get("/v1/nodeAccounts").await.good();
        if answer["all"]["requests"] == "27" {
            break answer;
        }
        assert!(begun.elapsed() < SOON, "{answer}");
    };
    let all = &answer["all"];
    assert_eq!((&all["stored"], &all["refused"], &all["open"]), (&json!("10"), &json!("2"), &json!("6")));
    assert_eq!(all["sampled"], "5", "which is no loss, and no gap");
    assert_eq!(all["lost"], json!([{"reason": "ring-full", "records": "4"}]));
    assert_eq!(
        (&answer["accounts"][0]["node"], answer["accounts"].as_array().map(Vec::len)),
        (&json!(node.id), Some(1))
    );
    let mut reasons: Vec<_> =
        answer["gaps"].as_array().into_iter().flatten().map(|it| text(&it["reason"])).collect();
    reasons.sort();
    assert_eq!(reasons, ["ring-full", "unclean"]);
    let hours = operator.get("/v1/nodeAccounts?step=3600s&region=eu").await.good();
    assert_eq!(hours["all"], *all);
    assert_eq!(operator.get("/v1/nodeAccounts?node=nd_other").await.good()["all"]["requests"], Value::Null);
    for (query, said) in [
        ("step=60s", "whole hours"),
        ("after=2020-01-01T00:00:00Z", "400 days"),
        ("after=2030-01-01T00:00:00Z", "earlier than `before`"),
    ] {
        let problem = operator.get(&format!("/v1/nodeAccounts?{query}")).await.refused(400, "invalid");
        assert!(problem.to_string().contains(said), "{problem}");
    }
    let scraped = world.running.observability().scrape();
    let lost = scraped.lines().find(|it| it.contains(r#"control_records_total"#) && it.contains(r#""lost""#));
    assert!(
        lost.is_some_and(|line| line.ends_with(" 4")),
        "{lost:?}: what a proxy wants no record of is none"
    );
    // A member of an organization operates no shared region.
    let owner = world.service(Role::Owner, "acme").await;
    owner.get("/v1/nodeAccounts").await.refused(403, "role-missing");
    owner.get("/v1/nodeAccounts?region=eu").await.refused(403, "role-missing");
    world.running.stop().await;
}
