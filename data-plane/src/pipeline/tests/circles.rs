//! Proxies whose upstream is an edge again.

use tokio::time::timeout;

use std::time::Duration;

use rr_contract::seal::{Means, SecretSpec, Slot};
use rr_contract::secret::Secret;

use crate::fixture::{self, Region, caller_key};
use crate::snapshot::Snapshot;

use super::edge::Edge;
use super::{get, origin::Upstream, proxy_id, resources, with_key};

const SOON: Duration = Duration::from_secs(20);

/// An edge whose proxy leads to its own address, with a key that it takes, behind whichever word.
async fn in_a_circle(value: &str) -> Edge {
    in_a_circle_by(Slot::header("authorization", "").expect("a slot"), value).await
}

/// The same with the key anywhere.
async fn in_a_circle_by(slot: Slot, value: &str) -> Edge {
    let mut edge = Edge::start(Snapshot::default(), &["127.0.0.0/8"]);
    let address = edge.connect().await.peer_addr().expect("it is connected");
    let region = Region::new();
    let mut all = resources(&region, &format!("http://{address}/api/{}", proxy_id(1)));
    let origins = vec![format!("http://{address}").parse().expect("an origin")];
    let value = Secret::from(value.to_owned());
    let spec = SecretSpec { value, means: Means::sent(slot), origins, not_after: None, ca: None };
    all.push(fixture::sealed_upstream(2, 1, &region.seal_spec(2, 1, &spec)));
    edge.activate(region.snapshot(&all));
    edge
}

#[tokio::test]
async fn a_request_that_goes_in_a_circle_passes_few_edges() {
    for value in [caller_key(1), format!("Bearer {}", caller_key(1)), format!("bearer  {}", caller_key(1))] {
        let edge = in_a_circle(&value).await;
        let forged = format!("{}requestrocket-hops: 0\r\nrequestrocket-hops: x\r\n", with_key(1));
        let answer = timeout(SOON, edge.send(&get("/api/acme.proxy-1/", &forged))).await.expect("it ends");
        assert_eq!(answer.status, 508, "{answer:?}");
        let records = edge.end().await;
        assert_eq!(records.len(), 5);
        assert_eq!(records.iter().filter(|record| record.code == "loop-detected").count(), 1);
    }
}

#[tokio::test]
async fn a_key_in_the_query_goes_in_no_circle_either() {
    let slot = Slot::query("Authorization").expect("a slot");
    let edge = in_a_circle_by(slot, &caller_key(1)).await;
    let asked = get("/api/acme.proxy-1/", &with_key(1));
    assert_eq!(timeout(SOON, edge.send(&asked)).await.expect("it ends").status, 508);
    assert_eq!(edge.end().await.len(), 5);
}

#[tokio::test]
async fn of_several_numbers_of_edges_the_highest_counts() {
    let upstream = Upstream::echo().await;
    let edge = super::edge_to(&upstream.url("")).await;
    for said in ["0\r\nrequestrocket-hops: 4", "4\r\nrequestrocket-hops: 0"] {
        let said = format!("{}requestrocket-hops: {said}\r\n", with_key(1));
        assert_eq!(edge.send(&get("/api/acme.proxy-1/", &said)).await.status, 508);
    }
    assert_eq!(upstream.count(), 0);
}

#[tokio::test]
async fn an_upstream_whose_secret_is_no_key_of_a_caller_is_told_nothing_of_edges() {
    let upstream = Upstream::echo().await;
    let edge = super::edge_to(&upstream.url("")).await;
    let said = format!("{}requestrocket-hops: 3\r\n", with_key(1));
    assert_eq!(edge.send(&get("/api/acme.proxy-1/", &said)).await.status, 200);
    assert_eq!(upstream.last().header("requestrocket-hops"), None);
}
