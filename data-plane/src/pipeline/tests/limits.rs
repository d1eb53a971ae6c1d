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

pub(super) fn by_body(reserve: u64, on_missing: u64, limit: u64) -> fleet::Resource {
    let location = Some(fleet::meter_value::Location::BodyPath("usage.total".to_owned()));
    let value = fleet::MeterValue { location, reserve, on_missing: Some(on_missing), ..Default::default() };
    let counts = Some(fleet::meter_resource::Counts::Value(value));
    meter(1, &fleet::MeterResource { counts, per_day_per_node: limit, ..meter_message(1, 1) })
}

pub(super) const PATH: &str = "/api/acme.proxy-1/";

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
    let record = edge.record().await;
    let state = record.limits[0];
    assert_eq!(
        (state.kind(), state.window(), state.limit, state.used),
        (LimitKind::Proxy, Window::Day, 2, 2)
    );
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
async fn a_request_that_a_meter_refuses_gives_back_what_it_took_of_limits_and_other_meters() {
    let upstream = Upstream::echo().await;
    let twice = of_proxy(|proxy| {
        (proxy.limits, proxy.limits_per_caller, proxy.limits_per_address) = (a_day(9), a_day(2), a_day(2));
    });
    let of_all = fleet::MeterResource { per_day_per_node: 2, ..meter_message(1, 1) };
    let when = fleet::RequestMatch { methods: vec!["POST".to_owned()], ..fleet::RequestMatch::default() };
    let of_posts = fleet::MeterResource { only_when: Some(when), per_day_per_node: 1, ..meter_message(2, 1) };
    let edge = edge_with(&upstream, [twice, meter(1, &of_all), meter(2, &of_posts)]);
    let post = get(PATH, &with_key(1)).replace("GET", "POST");
    assert_eq!(edge.send(&post).await.status, 200);
    for _ in 0..3 {
        let answer = edge.send(&post).await;
        assert_eq!((answer.status, &answer.json()["limit"]["meter"]["name"]), (429, &json!("meter-2")));
    }
    assert_eq!(edge.send(&get(PATH, &with_key(1))).await.status, 200, "one of two is left of each");
    assert_eq!(edge.send(&get(PATH, &with_key(1))).await.status, 429);
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
    let states = [edge.record().await, edge.record().await].map(|record| record.meters[0].clone());
    assert_eq!(states.each_ref().map(|state| state.charged_millionths), [1_000_000, 0]);
    assert_eq!(states.each_ref().map(|state| state.exceeded()), [Window::Unspecified, Window::Day]);
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
async fn a_meter_reads_no_number_where_a_response_is_not_json_and_reads_it_before_filters_take_it() {
    let upstream = Upstream::mirror().await;
    let filter = fixture::filter(1, proxy_key(1), fleet::FilterAction::Destroy, &["usage"]);
    for (more, kind, left, charged, is_missing) in [
        (None, "application/json", r#"{"usage":{"total":4}}"#, 4_000_000, false),
        (None, "text/html", r#"{"usage":{"total":4}}"#, 7_000_000, true),
        (Some(filter), "application/json", "{}", 4_000_000, false),
    ] {
        let edge = edge_with(&upstream, [by_body(0, 7, 20)].into_iter().chain(more));
        let body = r#"{"usage":{"total":4}}"#;
        let headers = format!("{}content-type: {kind}\r\ncontent-length: {}\r\n", with_key(1), body.len());
        let post = get(PATH, &headers).replace("GET", "POST");
        let answer = edge.send(&format!("{post}{body}")).await;
        assert!(answer.status == 200 && answer.text.ends_with(&format!("\r\n\r\n{left}")), "{answer:?}");
        let state = edge.record().await.meters[0].clone();
        assert_eq!((state.charged_millionths, state.missing), (charged, is_missing), "{kind} {left}");
    }
}

#[tokio::test]
async fn a_meter_reads_a_number_in_a_header_whatever_the_body_is() {
    let upstream = Upstream::told().await;
    let location = Some(fleet::meter_value::Location::Header("x-cost".to_owned()));
    let value = fleet::MeterValue { location, reserve: 0, on_missing: Some(7), ..Default::default() };
    let counts = Some(fleet::meter_resource::Counts::Value(value));
    let metered = fleet::MeterResource { counts, per_day_per_node: 20, ..meter_message(1, 1) };
    let edge = edge_with(&upstream, [meter(1, &metered)]);
    for (header, charged, is_missing) in [
        ("x-answer-x-cost: 2.5\r\n", 2_500_000, false),
        ("x-answer-x-cost: 1\r\nx-answer-x-cost: 0.5\r\n", 1_500_000, false),
        ("x-answer-x-cost: -1\r\n", 7_000_000, true),
        ("", 7_000_000, true),
    ] {
        let request = get(PATH, &format!("{}x-answer-content-type: text/html\r\n{header}", with_key(1)));
        assert_eq!(edge.send(&request).await.status, 200, "{header}");
        let state = edge.record().await.meters[0].clone();
        assert_eq!((state.charged_millionths, state.missing), (charged, is_missing), "{header}");
    }
}

#[tokio::test]
async fn a_meter_counts_what_its_query_says() {
    let upstream = Upstream::echo().await;
    let pattern = |regex: &str| Some(fleet::Pattern { regex: regex.to_owned(), ..fleet::Pattern::default() });
    let check = fleet::PairCheck { name: pattern("^mode$"), value: pattern("^a b$"), absent: false };
    let when = fleet::RequestMatch { query: vec![check], ..fleet::RequestMatch::default() };
    let limited = fleet::MeterResource { only_when: Some(when), per_day_per_node: 1, ..meter_message(1, 1) };
    let edge = edge_with(&upstream, [meter(1, &limited)]);
    for (query, status) in [("?mode=a+b", 200), ("?mode=c", 200), ("?x&m%6fde=a%20b", 429), ("", 200)] {
        assert_eq!(edge.send(&get(&format!("{PATH}{query}"), &with_key(1))).await.status, status, "{query}");
    }
}

#[tokio::test]
async fn what_failed_and_has_no_number_costs_nothing_and_a_number_counts_whatever_the_status() {
    let upstream = Upstream::told().await;
    let edge = edge_with(&upstream, [by_body(10, 7, 20)]);
    for (status, body, charged, is_missing) in [
        (200, "{}", 7_000_000, true),
        (500, "{}", 0, false),
        (404, "not json", 0, false),
        (500, r#"{"usage":{"total":2}}"#, 2_000_000, false),
    ] {
        let headers = format!("{}x-status: {status}\r\ncontent-length: {}\r\n", with_key(1), body.len());
        let post = get(PATH, &headers).replace("GET", "POST");
        assert_eq!(edge.send(&format!("{post}{body}")).await.status, status);
        let state = edge.record().await.meters[0].clone();
        assert_eq!((state.charged_millionths, state.missing), (charged, is_missing), "{status} {body}");
    }
    let answer = edge.send(&get(PATH, &with_key(1))).await;
    assert!(
        answer.header("ratelimit").is_some_and(|text| text.contains(";r=1;t=")),
        "9 and a reserve: {answer:?}"
    );
    let unused = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", unused.local_addr().expect("it is bound"));
    drop(unused);
    let region = Region::new();
    let mut all = resources(&region, &url);
    all.push(by_body(10, 7, 20));
    let edge = Edge::start(region.snapshot(&all), &["127.0.0.0/8"]);
    for _ in 0..3 {
        assert_eq!(edge.send(&get(PATH, &with_key(1))).await.status, 502);
        let state = edge.record().await.meters[0].clone();
        assert_eq!((state.charged_millionths, state.missing), (0, false), "it was not reached");
    }
}

#[tokio::test]
async fn a_meter_that_has_to_look_at_a_body_reads_it_and_refuses_what_it_cannot_read() {
    let upstream = Upstream::mirror().await;
    let value = Some(fleet::Pattern { regex: "^gpt-".to_owned(), ..fleet::Pattern::default() });
    let check = fleet::BodyCheck { path: "model".to_owned(), value, absent: false };
    let when = fleet::RequestMatch { body: vec![check], ..fleet::RequestMatch::default() };
    let limited = fleet::MeterResource { only_when: Some(when), per_day_per_node: 1, ..meter_message(1, 1) };
    let edge = edge_with(&upstream, [meter(1, &limited)]);
    for (body, status) in [
        (r#"{"model":"gpt-5"}"#, 200),
        (r#"{"model":"gpt-5"}"#, 429),
        (r#"{"model":"other"}"#, 200),
        ("not json", 400),
    ] {
        let headers = format!("{}content-length: {}\r\n", with_key(1), body.len());
        let post = get(PATH, &headers).replace("GET", "POST");
        let answer = edge.send(&format!("{post}{body}")).await;
        assert_eq!(answer.status, status, "{body}");
        assert!(status != 200 || answer.text.ends_with(body), "{answer:?}");
        assert!(status != 400 || answer.json()["code"] == "request-unreadable", "{answer:?}");
    }
    assert_eq!(upstream.count(), 2);
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
    assert_eq!(edge.checkouts(), (1, 0), "it is known to be too long before a connection is taken for it");
    let chunked = post("transfer-encoding: chunked", "9\r\n123456789\r\n0\r\n\r\n");
    assert_eq!(edge.send(&chunked).await.status, 413);
    let answer = edge.send(&post("content-length: 8", "12345678")).await;
    assert_eq!((answer.status, answer.json()["code"].clone()), (413, "response-too-large".into()));
}

#[tokio::test]
async fn a_response_of_unknown_length_is_cut_off_at_the_proxys_bound() {
    let upstream = Upstream::mirror().await;
    let edge = edge_with(&upstream, [of_proxy(|proxy| proxy.max_response_bytes = 6)]);
    for (body, is_whole) in [("123456", true), ("12345678", false)] {
        let head =
            get(PATH, &format!("{}transfer-encoding: chunked\r\n", with_key(1))).replace("GET", "POST");
        let mut caller = edge.connect().await;
        let request = format!("{head}{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
        caller.write_all(request.as_bytes()).await.expect("the edge reads");
        let mut seen = Vec::new();
        // Cut off or ended: both are an end.
        caller.read_to_end(&mut seen).await.ok();
        let seen = String::from_utf8_lossy(&seen);
        assert_eq!((seen.contains(body), seen.ends_with("0\r\n\r\n")), (is_whole, is_whole), "{seen}");
        assert_eq!(edge.record().await.aborted, !is_whole);
    }
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
async fn a_record_names_sixteen_meters_however_many_there_are() {
    let upstream = Upstream::echo().await;
    let edge = edge_with(&upstream, (1..=20).map(|n| meter(n, &meter_message(n, 1))));
    assert_eq!(edge.send(&get(PATH, &with_key(1))).await.status, 200);
    assert_eq!(edge.record().await.meters.len(), 16);
}
