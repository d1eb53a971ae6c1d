//! Filters that redact, on real requests and responses.

use prost::Message as _;
use rr_contract::wire::fleet::{self, Detector, FilterAction, FilterDirection};

use crate::fixture::{
    filter, filter_of, filter_paths, proxy_key, proxy_message, redacts, resource, target_key,
};

use super::edge::Answer;
use super::filters::{JSON, answer, body, edge_with};
use super::origin::Upstream;
use super::{get, with_key};

const SAID: &[u8] = br#"{"to":"ann@example.com","card":4111111111111111,"n":1.10}"#;
const LEFT: &str = r#"{"to":"***","card":"***","n":1.10}"#;

fn both(direction: FilterDirection) -> fleet::Resource {
    redacts(9, proxy_key(1), direction, &[Detector::Email, Detector::Card])
}

fn code(answer: &Answer) -> (u16, serde_json::Value) {
    (answer.status, answer.json()["code"].clone())
}

#[tokio::test]
async fn an_answer_is_redacted_whatever_its_status_and_one_that_cannot_be_read_does_not_go_out() {
    let upstream = Upstream::told().await;
    let destroys = filter(1, target_key(1), FilterAction::Destroy, &["n"]);
    let edge = edge_with(&upstream, [both(FilterDirection::Response), destroys]);
    for status in [200, 302, 404, 500] {
        let got = answer(&edge, &format!("x-status: {status}\r\n"), SAID).await;
        let left = if status == 200 { r#"{"to":"***","card":"***"}"# } else { LEFT };
        assert_eq!((got.status, body(&got)), (status, left), "{got:?}");
    }
    let got = answer(&edge, "x-status: 404\r\nx-answer-content-type: text/html\r\n", b"<p>a@b.de").await;
    assert_eq!(code(&got), (422, "response-not-json".into()));
    assert!(!got.text.contains("a@b.de"));
    let got = answer(&edge, "x-status: 404\r\n", b"").await;
    assert_eq!((got.status, body(&got)), (404, ""), "there is nothing to read");
}

#[tokio::test]
async fn the_upstream_gets_a_request_redacted_and_the_record_says_what_went() {
    let upstream = Upstream::mirror().await;
    let edge = edge_with(&upstream, [both(FilterDirection::Request)]);
    let headers = format!("{JSON}content-md5: x\r\n");
    let got = answer(&edge, &headers, SAID).await;
    assert_eq!((got.status, body(&got)), (200, LEFT), "the mirror had it so");
    let seen = upstream.last();
    assert_eq!(seen.header("content-length"), Some(&*LEFT.len().to_string()));
    assert_eq!((seen.header("content-md5"), seen.header("content-encoding")), (None, None));
    let record = edge.record().await;
    let effect = record.filters.expect("they ran");
    assert_eq!((effect.filters, effect.values, effect.bytes_before), (1, 2, 0));
    assert!(record.filter_duration.is_some());
}

#[tokio::test]
async fn a_request_in_which_nothing_is_found_goes_out_as_it_came() {
    let upstream = Upstream::mirror().await;
    let edge = edge_with(&upstream, [both(FilterDirection::Request)]);
    for text in ["{ \"a\" : \"@\" }", ""] {
        let headers = format!("{JSON}content-md5: x\r\n");
        let got = answer(&edge, &headers, text.as_bytes()).await;
        assert_eq!((got.status, body(&got)), (200, text));
        assert_eq!(upstream.last().header("content-md5"), Some("x"));
    }
    let got = edge.send(&get("/api/acme.proxy-1/", &with_key(1))).await;
    assert_eq!(got.status, 200, "it has no body");
}

#[tokio::test]
async fn a_request_that_cannot_be_read_is_refused_and_the_upstream_sees_nothing_of_it() {
    let upstream = Upstream::mirror().await;
    let edge = edge_with(&upstream, [both(FilterDirection::Request)]);
    for (headers, text) in [
        ("content-type: text/plain\r\n", "ann@example.com"),
        ("content-type: application/x-www-form-urlencoded\r\n", "a=ann@example.com"),
        (JSON, "{\"to\":\"ann@example.com\""),
        ("content-type: application/json\r\ncontent-encoding: rot13\r\n", "{}"),
        ("content-type: application/json\r\ncontent-encoding: gzip\r\n", "{}"),
    ] {
        let got = answer(&edge, headers, text.as_bytes()).await;
        assert_eq!(code(&got), (415, "request-not-json".into()), "{text}");
    }
    assert_eq!(upstream.count(), 0);
}

#[tokio::test]
async fn other_filters_go_over_requests_as_well_and_only_over_those_that_are_theirs() {
    let upstream = Upstream::mirror().await;
    let of_requests = fleet::FilterResource {
        action: FilterAction::Destroy.into(),
        direction: FilterDirection::Request.into(),
        ..filter_paths(&["n"])
    };
    let of_responses = filter(2, proxy_key(1), FilterAction::Destroy, &["to"]);
    let edge = edge_with(&upstream, [filter_of(1, proxy_key(1), of_requests), of_responses]);
    let got = answer(&edge, JSON, SAID).await;
    assert_eq!((got.status, body(&got)), (200, r#"{"card":4111111111111111}"#));
    assert_eq!(upstream.last().header("content-length"), Some("48"), "`to` was still in it");
    let effect = edge.record().await.filters.expect("they ran");
    assert_eq!((effect.filters, effect.values, effect.bytes_before), (2, 2, 48));
}

#[tokio::test]
async fn a_tunnel_would_pass_filters_of_requests_by() {
    let upstream = Upstream::mirror().await;
    let proxy = fleet::ProxyResource { websocket: true, ..proxy_message(1, &[1], 1, 2) };
    let proxy = resource(proxy_key(1), proxy.encode_to_vec());
    let edge = edge_with(&upstream, [both(FilterDirection::Request), proxy]);
    let upgrade = "connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
                   sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let got = edge.send(&get("/api/acme.proxy-1/", &format!("{}{upgrade}", with_key(1)))).await;
    assert_eq!(code(&got), (403, "tunnel-unread".into()));
}
