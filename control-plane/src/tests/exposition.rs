//! Metrics for Prometheus: who is answered, and with what.

use std::time::{Duration, Instant};

use bytes::Bytes;
use rr_contract::wire::fleet;
use rr_contract::wire::management as wire;
use serde_json::json;

use super::metrics::{Maker, tell};
use super::rest::send;
use super::stream::joined;
use super::world::World;

const PATH: &str = "/metrics/orgs/acme";
const SOON: Duration = Duration::from_secs(30);

#[tokio::test]
async fn a_viewer_reads_what_requests_of_each_proxy_add_up_to() {
    let world = World::start().await;
    let node = joined(&world).await;
    let operator = world.operator();
    let maker = Maker::of(&operator).await;
    let viewer = world.service(wire::Role::Viewer, "acme").await;
    let empty = viewer.get(PATH).await;
    assert_eq!((empty.status, &*empty.kind), (200, "text/plain; version=0.0.4"), "{}", empty.text);
    assert!(!empty.text.contains("requests_total"), "{}", empty.text);

    // What says that it is of later counts as of now.
    let now = |status, requests| fleet::Sum { minute: u64::MAX, ..maker.sum(0, status, requests) };
    let caller =
        fleet::Sum { caller_credential: "Robert'); --".to_owned(), code: "x\"y".to_owned(), ..now(200, 3) };
    assert_eq!(tell(&node, 1, vec![now(200, 8), now(503, 2), now(0, 1), caller]).await, 0);
    let begun = Instant::now();
    let text = loop {
        let answer = viewer.get(PATH).await;
        if answer.text.contains("requestrocket_proxy_requests_total") {
            break answer.text;
        }
        assert!(begun.elapsed() < SOON, "{}", answer.text);
    };
    let of = r#"{proxy="echo",region="eu""#;
    for line in [
        format!("requestrocket_proxy_requests_total{of},status_class=\"2xx\"}} 11"),
        format!("requestrocket_proxy_requests_total{of},status_class=\"5xx\"}} 2"),
        format!("requestrocket_proxy_requests_total{of},status_class=\"none\"}} 1"),
        format!("requestrocket_proxy_errors_total{of}}} 2"),
        format!("requestrocket_proxy_response_bytes_total{of}}} 1400"),
        format!("requestrocket_proxy_duration_seconds_bucket{of},le=\"0.01\"}} 0"),
        format!("requestrocket_proxy_duration_seconds_bucket{of},le=\"0.025\"}} 14"),
        format!("requestrocket_proxy_duration_seconds_sum{of}}} 0.229600"),
        format!("requestrocket_proxy_duration_seconds_count{of}}} 14"),
    ] {
        assert!(text.lines().any(|it| it == line), "{line} is not in\n{text}");
    }
    assert!(!text.contains("Robert") && !text.contains("x\\\"y"), "{text}");
    // By id, too. Gone with the proxy.
    let org = operator.get("/v1/orgs/acme").await.good()["org"]["id"].as_str().expect("an id").to_owned();
    assert_eq!(viewer.get(&format!("/metrics/orgs/{org}")).await.text, text);
    operator.delete("/v1/orgs/acme/proxies/echo").await.good();
    assert!(!viewer.get(PATH).await.text.contains("echo"));
    world.running.stop().await;
}

#[tokio::test]
async fn strangers_and_members_of_other_organizations_are_told_nothing() {
    let world = World::start().await;
    joined(&world).await;
    let operator = world.operator();
    operator.post("/v1/orgs", json!({"name": "other"})).await.good();
    let address = world.running.management();
    for token in ["", "rr_token_made-up"] {
        let refused = send(address, "GET", PATH, token, "", Bytes::new()).await;
        assert_eq!((refused.status, &*refused.kind), (401, "application/problem+json"), "{}", refused.text);
    }
    let other = world.service(wire::Role::Owner, "other").await;
    let hidden = other.get(PATH).await;
    let missing = other.get("/metrics/orgs/nobody").await;
    assert_eq!((hidden.status, missing.status), (404, 404));
    assert_eq!(hidden.text.replace("acme", "nobody"), missing.text);
    let own = other.get("/metrics/orgs/other").await;
    assert!(own.status == 200 && !own.text.contains("echo"), "{}", own.text);
    assert_eq!(operator.post(PATH, json!({})).await.status, 405);
    for path in ["/metrics", "/metrics/orgs/", "/metrics/orgs/acme/", "/v1/metrics/orgs/acme"] {
        assert_eq!(operator.get(path).await.status, 404, "{path}");
    }
    world.running.stop().await;
}
