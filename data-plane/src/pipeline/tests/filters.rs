//! Filters on real responses: what goes out, and what does not.

use rr_contract::wire::fleet::{self, FilterAction};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::fixture::{Region, credential_key, filter, proxy_key, target_key};

use super::edge::{Answer, Edge};
use super::origin::Upstream;
use super::{get, resources, with_key};

fn edge_with(upstream: &Upstream, more: impl IntoIterator<Item = fleet::Resource>) -> Edge {
    let region = Region::new();
    let mut all = resources(&region, &upstream.url(""));
    all.extend(more);
    Edge::start(region.snapshot(&all), &["127.0.0.0/8"])
}

/// Has the upstream answer with this body under these headers.
async fn answer(edge: &Edge, headers: &str, body: &[u8]) -> Answer {
    let headers = format!("{}{headers}content-length: {}\r\n", with_key(1), body.len());
    let head = get("/api/acme.proxy-1/", &headers).replace("GET", "POST");
    let mut stream = edge.connect().await;
    stream.write_all(&[head.as_bytes(), body].concat()).await.expect("the edge reads");
    Answer::read_one(&mut stream).await
}

const JSON: &str = "content-type: application/json\r\n";

fn body(answer: &Answer) -> &str {
    answer.text.split_once("\r\n\r\n").expect("a head").1
}

#[tokio::test]
async fn the_filters_of_all_four_parents_run_and_nothing_comes_back() {
    let upstream = Upstream::mirror().await;
    let filters = [
        filter(1, credential_key(2), FilterAction::Destroy, &["a"]),
        filter(2, target_key(1), FilterAction::Destroy, &["b"]),
        filter(3, credential_key(1), FilterAction::Mask, &["c"]),
        filter(4, proxy_key(1), FilterAction::Retain, &["a", "c", "d"]),
    ];
    let edge = edge_with(&upstream, filters);
    let got = answer(&edge, JSON, br#"{"a":1,"b":2,"c":3,"d":4.0,"e":5}"#).await;
    assert_eq!((got.status, body(&got)), (200, r#"{"c":"***","d":4.0}"#), "{got:?}");
    let effect = edge.record().await.filters.expect("they ran");
    assert_eq!((effect.filters, effect.bytes_before), (4, 33));
}

#[tokio::test]
async fn a_response_that_filters_cannot_go_over_does_not_go_out() {
    let upstream = Upstream::mirror().await;
    let edge = edge_with(&upstream, [filter(1, proxy_key(1), FilterAction::Destroy, &["secret"])]);
    for (headers, text) in [
        ("content-type: text/html\r\n", "<secret>"),
        (JSON, "{\"secret\":1"),
        ("content-type: application/json\r\ncontent-encoding: rot13\r\n", "{}"),
        ("content-type: application/json\r\ncontent-encoding: gzip\r\n", "{}"),
    ] {
        let got = answer(&edge, headers, text.as_bytes()).await;
        assert_eq!((got.status, got.json()["code"].clone()), (422, "response-not-json".into()), "{text}");
        assert!(!got.text.contains("secret\":1"));
    }
    let endless = Upstream::endless().await;
    let edge = edge_with(&endless, [filter(1, proxy_key(1), FilterAction::Destroy, &["secret"])]);
    let got = edge.send(&get("/api/acme.proxy-1/", &with_key(1))).await;
    assert_eq!((got.status, got.json()["code"].clone()), (413, "response-too-large".into()));
}

#[tokio::test]
async fn a_body_under_a_status_that_has_none_is_filtered_all_the_same() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let region = Region::new();
    let url = format!("http://{}", listener.local_addr().expect("it is bound"));
    let mut all = resources(&region, &url);
    all.push(filter(1, proxy_key(1), FilterAction::Destroy, &["secret"]));
    let edge = Edge::start(region.snapshot(&all), &["127.0.0.0/8"]);
    let answering = async {
        let (mut stream, _) = listener.accept().await.expect("the edge connects");
        assert_ne!(stream.read(&mut [0; 4096]).await.expect("the edge sends"), 0);
        let head = "HTTP/1.1 205 X\r\ncontent-type: application/json\r\ncontent-length: 22\r\n\r\n";
        let text = format!(r#"{head}{{"secret":1,"kept":22}}"#);
        stream.write_all(text.as_bytes()).await.expect("the edge reads");
    };
    let request = get("/api/acme.proxy-1/", &with_key(1));
    let (got, ()) = tokio::join!(edge.send(&request), answering);
    assert!(!got.text.contains("secret"), "{got:?}");
    assert_eq!(got.status, 205);
    assert!(edge.record().await.filters.is_some());
}

#[tokio::test]
async fn a_compressed_response_is_filtered_and_goes_out_compressed_to_a_caller_that_takes_it() {
    let upstream = Upstream::mirror().await;
    let edge = edge_with(&upstream, [filter(1, proxy_key(1), FilterAction::Destroy, &["secret"])]);
    let coded = crate::body::gzip(br#"{"secret":1,"kept":2}"#);
    let got = answer(&edge, "content-type: application/json\r\ncontent-encoding: gzip\r\n", &coded).await;
    assert_eq!((got.status, body(&got), got.header("content-encoding")), (200, r#"{"kept":2}"#, None));
    assert_eq!(upstream.last().header("accept-encoding"), Some("identity"));
    let headers = "content-type: application/json\r\ncontent-encoding: gzip\r\naccept-encoding: br, gzip\r\n";
    let got = answer(&edge, headers, &coded).await;
    assert_eq!((got.status, got.header("content-encoding")), (200, Some("gzip")));
    assert_eq!(upstream.last().header("accept-encoding"), Some("gzip"));
}

#[tokio::test]
async fn a_part_of_a_document_is_neither_asked_for_nor_let_through() {
    let upstream = Upstream::mirror().await;
    let edge = edge_with(&upstream, [filter(1, proxy_key(1), FilterAction::Destroy, &["secret"])]);
    let got = answer(&edge, "content-type: application/json\r\nrange: bytes=10-20\r\n", b"{}").await;
    assert_eq!(got.status, 200);
    assert_eq!(upstream.last().header("range"), None);
}
