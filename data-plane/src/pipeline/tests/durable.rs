//! Proxies that want a record of each request on disk before it goes on.

use prost::Message as _;
use rr_contract::wire::fleet;
use tokio::sync::oneshot;

use crate::fixture::{Region, deny_path, proxy_key, proxy_message, resource};

use super::edge::{Answer, Edge};
use super::origin::Upstream;
use super::{get, resources, with_key};

const PATH: &str = "/api/acme.proxy-1/x";

async fn edge(upstream: &Upstream, durable: bool, more: &[fleet::Resource]) -> Edge {
    let region = Region::new();
    let mut all = resources(&region, &upstream.url(""));
    let recording = Some(fleet::Recording { durable, ..Default::default() });
    let proxy = fleet::ProxyResource { recording, ..proxy_message(1, &[1], 1, 2) };
    all[4] = resource(proxy_key(1), proxy.encode_to_vec());
    all.extend_from_slice(more);
    Edge::start(region.snapshot(&all), &["127.0.0.0/8"])
}

/// Calls, and does with who waits as told.
async fn call(edge: &Edge, then: impl FnOnce(oneshot::Sender<()>)) -> (Answer, fleet::Record) {
    let request = get(PATH, &with_key(1));
    let (answer, begun) = tokio::join!(edge.send(&request), async {
        let (begun, waiting) = edge.begun().await;
        then(waiting);
        begun
    });
    (answer, begun)
}

#[tokio::test]
async fn a_request_goes_to_the_upstream_once_a_record_of_it_is_on_disk() {
    let upstream = Upstream::echo().await;
    let edge = edge(&upstream, true, &[]).await;
    let request = get(PATH, &with_key(1));
    let called = async {
        let (begun, waiting) = edge.begun().await;
        assert_eq!(upstream.count(), 0, "it was not asked");
        waiting.send(()).expect("somebody waits");
        begun
    };
    let (answer, begun) = tokio::join!(edge.send(&request), called);
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(
        !begun.caller_credential.is_empty() && !begun.target.is_empty() && begun.path == "/x",
        "{begun:?}"
    );
    let end = edge.record().await;
    assert_eq!((&end.id, end.code.as_str(), end.status), (&begun.id, "proxy-access-granted", 200));
    assert_eq!(answer.header("requestrocket-request-id"), Some(&*end.id));
}

#[tokio::test]
async fn where_nothing_is_on_disk_the_answer_is_503_and_the_upstream_is_not_asked() {
    let upstream = Upstream::echo().await;
    let edge = edge(&upstream, true, &[]).await;
    // Told at once that it will not be; and, the second time, told nothing.
    for says in [true, false] {
        let mut held = None;
        let begun = std::time::Instant::now();
        let (answer, _) = call(&edge, |waiting| held = (!says).then_some(waiting)).await;
        assert_eq!((answer.status, answer.header("retry-after")), (503, Some("1")), "{answer:?}");
        assert_eq!(answer.header("requestrocket-proxy-code"), Some("record-unsure"));
        let took = begun.elapsed();
        assert_eq!(took.as_millis() >= 1000, !says, "{took:?}");
        assert!(took.as_secs() < 5, "{took:?}");
        drop(held);
        let end = edge.record().await;
        assert_eq!((end.code.as_str(), end.status), ("record-unsure", 503));
    }
    assert_eq!(upstream.count(), 0);
}

#[tokio::test]
async fn a_refusal_of_somebody_who_was_let_in_waits_and_one_of_a_stranger_does_not() {
    let upstream = Upstream::echo().await;
    let deny = deny_path(1, proxy_key(1), "^/");
    let edge = edge(&upstream, true, &[deny]).await;
    let (answer, begun) = call(&edge, |waiting| waiting.send(()).expect("somebody waits")).await;
    assert_eq!((answer.status, begun.code.as_str()), (400, "rule-denied"), "{answer:?}");
    let end = edge.record().await;
    assert_eq!((&end.id, end.code.as_str()), (&begun.id, "rule-denied"));
    let (answer, _) = call(&edge, drop).await;
    assert_eq!(answer.header("requestrocket-proxy-code"), Some("record-unsure"));
    assert_eq!(edge.record().await.code, "record-unsure");
    assert_eq!(edge.send(&get(PATH, &with_key(9))).await.status, 401);
    assert_eq!(edge.record().await.code, "proxy-access-denied");
}

#[tokio::test]
async fn other_proxies_wait_for_no_disk() {
    let upstream = Upstream::echo().await;
    let edge = edge(&upstream, false, &[]).await;
    assert_eq!(edge.send(&get(PATH, &with_key(1))).await.status, 200);
    assert_eq!(edge.record().await.code, "proxy-access-granted");
}
