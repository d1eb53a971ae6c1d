//! Limits and meters on real requests: what is counted, what is refused, and what the caller is told.

use prost::Message as _;
use rr_contract::wire::fleet::{self, LimitKind, Window};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::fixture::{self, Region, caller, deny_path, meter, meter_message, proxy_key, resource};

use super::edge::Edge;
use super::origin::Upstream;
use super::{get, resources, with_key};

fn edge_with(upstream: &Upstream, more: impl IntoIterator<Item = fleet::Resource>) -> Edge {
    let region = Region::new();
    let mut all = resources(&region, &upstream.url(""));
    all.push(caller(3, 1, &[3]));
    all.extend(more);
    Edge::start(region.snapshot(&all), &["127.0.0.0/8"])
}

fn of_proxy(change: impl FnOnce(&mut fleet::ProxyResource)) -> fleet::Resource {
    let mut message = fixture::proxy_message(1, &[1, 3], 1, 2);
    change(&mut message);
    resource(proxy_key(1), message.encode_to_vec())
}

fn a_day(limit: u64) -> Option<fleet::Limits> {
    Some(fleet::Limits { per_minute_per_node: 0, per_day_per_node: limit })
}

fn by_body(reserve: u64, on_missing: u64, limit: u64) -> fleet::Resource {
    let location = Some(fleet::meter_value::Location::BodyPath("usage.total".to_owned()));
    let value = fleet::MeterValue { location, reserve, on_missing: Some(on_missing) };
    let counts = Some(fleet::meter_resource::Counts::Value(value));
    meter(1, &fleet::MeterResource { counts, per_day_per_node: limit, ..meter_message(1, 1) })
}

const PATH: &str = "/api/acme.proxy-1/";

#[tokio::test]
async fn over_a_limit_nothing_goes_out_and_the_caller_learns_when_to_come_again() {
    let upstream = Upstream::echo().await;
    let edge = edge_with(&upstream, [of_proxy(|proxy| proxy.limits = a_day(2))]);
    for used in 1..=2 {
        let answer = edge.send(&get(PATH, &with_key(1))).await;
        assert_eq!(answer.status, 200);
        assert!(answer.header("ratelimit").is_some_and(|text| text.contains(&format!("r={}", 2 - used))));
        assert_eq!(answer.header("requestrocket-proxy-warning").is_some(), used == 2, "{answer:?}");
        let record = edge.record().await;
        let state = record.limits[0];
        assert_eq!((state.kind(), state.window()), (LimitKind::Proxy, Window::Day));
        assert_eq!((state.limit, state.used), (2, used));
    }
    let answer = edge.send(&get(PATH, &with_key(1))).await;
    assert_eq!((answer.status, answer.json()["code"].clone()), (429, "rate-limited".into()));
    let seconds: u64 = answer.header("retry-after").expect("it says when").parse().expect("seconds");
    assert!((1..=86_400).contains(&seconds));
    assert_eq!(answer.json()["limit"], json!({"of": "proxy", "window": "day", "limit": 2, "meter": null}));
    assert!(answer.header("ratelimit").is_some_and(|text| text.starts_with("\"proxy-day\";r=0;t=")));
    assert_eq!(answer.header("ratelimit-policy"), Some("\"proxy-day\";q=2;w=86400"));
    assert_eq!(upstream.count(), 2);
}

#[tokio::test]
async fn what_is_denied_or_not_authenticated_consumes_nothing() {
    let upstream = Upstream::echo().await;
    let edge = edge_with(
        &upstream,
        [of_proxy(|proxy| proxy.limits = a_day(1)), deny_path(7, proxy_key(1), "^/denied$")],
    );
    for _ in 0..3 {
        assert_eq!(edge.send(&get("/api/acme.proxy-1/denied", &with_key(1))).await.status, 400);
        assert_eq!(edge.send(&get(PATH, "")).await.status, 401);
    }
    assert_eq!(edge.send(&get(PATH, &with_key(1))).await.status, 200);
    assert_eq!(edge.send(&get(PATH, &with_key(1))).await.status, 429);
}

#[tokio::test]
async fn a_limit_of_one_caller_or_address_leaves_others_theirs() {
    let upstream = Upstream::echo().await;
    let edge = edge_with(&upstream, [of_proxy(|proxy| proxy.limits_per_caller = a_day(1))]);
    assert_eq!(edge.send(&get(PATH, &with_key(1))).await.status, 200);
    assert_eq!(edge.send(&get(PATH, &with_key(1))).await.status, 429);
    assert_eq!(edge.send(&get(PATH, &with_key(3))).await.status, 200);
    let edge = edge_with(&upstream, [of_proxy(|proxy| proxy.limits_per_address = a_day(1))]);
    assert_eq!(edge.send(&get(PATH, &with_key(1))).await.status, 200);
    assert_eq!(edge.send(&get(PATH, &with_key(3))).await.status, 429, "it is the same address");
}

#[tokio::test]
async fn a_request_that_a_later_limit_refuses_gives_back_what_it_took_of_earlier_ones() {
    let upstream = Upstream::echo().await;
    let edge = edge_with(
        &upstream,
        [of_proxy(|proxy| (proxy.limits, proxy.limits_per_caller) = (a_day(2), a_day(1)))],
    );
    assert_eq!(edge.send(&get(PATH, &with_key(1))).await.status, 200);
    for _ in 0..3 {
        assert_eq!(edge.send(&get(PATH, &with_key(1))).await.status, 429);
    }
    assert_eq!(edge.send(&get(PATH, &with_key(3))).await.status, 200, "one of two is left");
}

#[tokio::test]
async fn a_meter_counts_the_requests_that_it_is_about() {
    let upstream = Upstream::echo().await;
    let when = fleet::RequestMatch { methods: vec!["POST".to_owned()], ..fleet::RequestMatch::default() };
    let limited = fleet::MeterResource { only_when: Some(when), per_day_per_node: 1, ..meter_message(1, 1) };
    let edge = edge_with(&upstream, [meter(1, &limited)]);
    let post = get(PATH, &with_key(1)).replace("GET", "POST");
    for status in [200, 429] {
        let answer = edge.send(&post).await;
        assert_eq!(answer.status, status);
        assert_eq!(answer.header("ratelimit-policy"), Some("\"meter-meter-1-day\";q=1;w=86400"));
        assert!(answer.header("ratelimit").is_some_and(|text| text.contains(";r=0;t=")), "{answer:?}");
    }
    let limit = edge.send(&post).await.json()["limit"].clone();
    assert_eq!((&limit["limit"], &limit["meter"]["name"]), (&json!(1), &json!("meter-1")));
    assert_eq!(edge.send(&get(PATH, &with_key(1))).await.status, 200);
    let off = fleet::MeterResource { active: false, ..limited };
    let edge = edge_with(&upstream, [meter(1, &off)]);
    for _ in 0..2 {
        assert_eq!(edge.send(&post).await.status, 200);
    }
}

#[tokio::test]
async fn a_meter_adds_up_a_number_of_each_response_and_reserves_before_it_is_known() {
    let upstream = Upstream::mirror().await;
    let edge = edge_with(&upstream, [by_body(10, 7, 20)]);
    let send = async |body: &str| {
        let headers =
            format!("{}content-type: application/json\r\ncontent-length: {}\r\n", with_key(1), body.len());
        edge.send(&format!("{}{body}", get(PATH, &headers).replace("GET", "POST"))).await.status
    };
    // 4 of 20 are used, then 11 (the number is missing), then 20.
    let mut states = Vec::new();
    for body in [r#"{"usage":{"total":4}}"#, r#"{"usage":{}}"#] {
        assert_eq!(send(body).await, 200, "{body}");
        states.push(edge.record().await.meters[0].clone());
    }
    assert_eq!((states[0].charged_millionths, states[0].missing), (4_000_000, false));
    assert_eq!((states[1].charged_millionths, states[1].missing), (7_000_000, true));
    assert_eq!(send("{}").await, 429, "11 and a reserve of 10 are more than 20");
    let answer = edge.send(&get(PATH, &with_key(1))).await;
    assert_eq!(answer.json()["limit"]["limit"], 20);
    assert!(answer.header("ratelimit").is_some_and(|text| text.contains(";r=9;t=")), "{answer:?}");
}

#[tokio::test]
async fn bodies_over_the_proxys_bounds_are_refused_both_ways() {
    let upstream = Upstream::mirror().await;
    let bounded = of_proxy(|proxy| (proxy.max_request_bytes, proxy.max_response_bytes) = (8, 6));
    let edge = edge_with(&upstream, [bounded]);
    let post = |framing: &str, body: &str| {
        format!("{}{body}", get(PATH, &format!("{}{framing}\r\n", with_key(1))).replace("GET", "POST"))
    };
    assert_eq!(edge.send(&post("content-length: 6", "123456")).await.status, 200);
    let answer = edge.send(&post("content-length: 9", "123456789")).await;
    assert_eq!((answer.status, answer.json()["code"].clone()), (413, "request-too-large".into()));
    let chunked = post("transfer-encoding: chunked", "9\r\n123456789\r\n0\r\n\r\n");
    assert_eq!(edge.send(&chunked).await.status, 413);
    let answer = edge.send(&post("content-length: 8", "12345678")).await;
    assert_eq!((answer.status, answer.json()["code"].clone()), (413, "response-too-large".into()));
}

#[tokio::test]
async fn a_caller_that_leaves_with_the_whole_document_does_not_leave_its_number() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let region = Region::new();
    let mut all = resources(&region, &format!("http://{}", listener.local_addr().expect("it is bound")));
    all.push(by_body(10, 7, 1_000));
    let edge = Edge::start(region.snapshot(&all), &["127.0.0.0/8"]);
    let mut caller = edge.connect().await;
    caller.write_all(get(PATH, &with_key(1)).as_bytes()).await.expect("the edge reads");
    let (mut upstream, _) = listener.accept().await.expect("the edge connects");
    assert_ne!(upstream.read(&mut [0; 4096]).await.expect("the edge sends"), 0);
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";
    let document = r#"{"usage":{"total":500}}"#;
    let text = format!("{head}{:x}\r\n{document}\r\n", document.len());
    upstream.write_all(text.as_bytes()).await.expect("the edge reads");
    let mut got = Vec::new();
    while !got.ends_with(b"}}\r\n") {
        assert_ne!(caller.read_buf(&mut got).await.expect("the edge answers"), 0);
    }
    drop(caller);
    let record = edge.record().await;
    assert_eq!((record.aborted, record.meters[0].charged_millionths), (true, 500_000_000));
}

#[tokio::test]
async fn a_meter_that_reserves_nothing_has_no_room_once_its_limit_is_reached() {
    let upstream = Upstream::mirror().await;
    let edge = edge_with(&upstream, [by_body(0, 1, 50)]);
    let body = r#"{"usage":{"total":50}}"#;
    let headers = format!("{}content-type: application/json\r\ncontent-length: 22\r\n", with_key(1));
    let request = format!("{}{body}", get(PATH, &headers).replace("GET", "POST"));
    assert_eq!(edge.send(&request).await.status, 200);
    assert_eq!(edge.send(&request).await.status, 429);
}

#[tokio::test]
async fn a_caller_that_leaves_before_the_answer_is_charged_what_a_missing_number_costs_and_no_less_than_is_reserved()
 {
    for (reserve, on_missing, charged) in [(1, 7, 7_000_000), (9, 7, 9_000_000)] {
        assert_eq!(charged_to_one_that_leaves(reserve, on_missing).await, (charged, true));
    }
}

/// What a meter charges a caller that leaves before the answer, and whether the number is missing.
async fn charged_to_one_that_leaves(reserve: u64, on_missing: u64) -> (u64, bool) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let region = Region::new();
    let url = format!("http://{}", listener.local_addr().expect("it is bound"));
    let mut all = resources(&region, &url);
    all.push(by_body(reserve, on_missing, 20));
    let edge = Edge::start(region.snapshot(&all), &["127.0.0.0/8"]);
    let mut caller = edge.connect().await;
    caller.write_all(get(PATH, &with_key(1)).as_bytes()).await.expect("the edge reads");
    let (mut upstream, _) = listener.accept().await.expect("the edge connects");
    let mut head = [0; 4096];
    assert_ne!(upstream.read(&mut head).await.expect("the edge sends"), 0);
    drop(caller);
    let record = edge.record().await;
    (record.meters[0].charged_millionths, record.meters[0].missing)
}
