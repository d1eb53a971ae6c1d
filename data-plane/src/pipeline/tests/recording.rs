//! What records hold of what callers and upstreams write.

use prost::Message as _;
use rr_contract::wire::fleet::{self, EchoGuard, KeptPlace, PathChange};
use tokio::io::AsyncWriteExt as _;

use crate::fixture::{self, Region, proxy_key, resource};

use super::edge::Edge;
use super::origin::Upstream;
use super::websockets::{self, Raw, read_head, upgrade};
use super::{HEADER, edge_to, get, resources, with_key};

const PATH: &str = "/api/acme.proxy-1";
const KEY: &str = "sk_live_4fX92bQzT1";

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

fn edge(upstream: &Upstream, change: impl FnOnce(&mut fleet::ProxyResource)) -> Edge {
    let region = Region::new();
    let mut all = resources(&region, &upstream.url(""));
    let mut proxy = fixture::proxy_message(1, &[1], 1, 2);
    change(&mut proxy);
    all.push(resource(proxy_key(1), proxy.encode_to_vec()));
    Edge::start(region.snapshot(&all), &["127.0.0.0/8"])
}

fn recording(recording: fleet::Recording) -> impl FnOnce(&mut fleet::ProxyResource) {
    move |proxy| proxy.recording = Some(recording)
}

fn kept(record: &fleet::Record) -> Vec<(KeptPlace, &str, &str)> {
    record.kept_values.iter().map(|it| (it.place(), &*it.name, &*it.value)).collect()
}

#[tokio::test]
async fn a_proxy_that_says_nothing_keeps_paths_without_secrets_and_no_header() {
    let upstream = Upstream::echo().await;
    let edge = edge_to(&upstream.url("")).await;
    let target = format!("{PATH}/users/ann@example.com/keys/{KEY}?key={KEY}&page=7");
    let headers = format!("{}x-trace: {KEY}\r\ncookie: id={KEY}\r\n", with_key(1));
    assert_eq!(edge.send(&get(&target, &headers)).await.status, 200);
    assert!(upstream.last().target.contains(KEY), "what goes on is not changed");
    let record = edge.record().await;
    assert_eq!(record.path, "/users/{masked}/keys/{masked}");
    assert_eq!(record.path_changes, [i32::from(PathChange::Masked)]);
    assert!(record.kept_values.is_empty());
    assert!(!String::from_utf8_lossy(&record.encode_to_vec()).contains("4fX92b"));
    edge.send(&get(&format!("{PATH}/users/42"), &with_key(1))).await;
    let record = edge.record().await;
    assert_eq!((&*record.path, record.path_changes.len()), ("/users/42", 0));
}

#[tokio::test]
async fn a_path_of_a_template_leaves_nothing_of_itself_whoever_calls() {
    let upstream = Upstream::echo().await;
    let path_templates = texts(&["/users/{id}", "/users/{id}/orders/{order}"]);
    let edge = edge(&upstream, recording(fleet::Recording { path_templates, ..Default::default() }));
    for headers in [with_key(1), with_key(9), String::new()] {
        edge.send(&get(&format!("{PATH}/users/ann/orders/{KEY}"), &headers)).await;
        let record = edge.record().await;
        assert_eq!(record.path, "/users/{id}/orders/{order}");
        assert_eq!(record.path_changes, [i32::from(PathChange::Templated)]);
    }
    edge.send(&get(&format!("{PATH}/other/ann"), &with_key(1))).await;
    assert_eq!(edge.record().await.path, "/other/ann");
}

#[tokio::test]
async fn values_are_kept_of_what_the_proxy_names_alone() {
    let upstream = Upstream::echo().await;
    let names = fleet::Recording {
        request_headers: texts(&["x-trace", "user-agent", HEADER]),
        response_headers: texts(&["content-type"]),
        query_parameters: texts(&["page", "a b", "key"]),
        ..Default::default()
    };
    let edge = edge(&upstream, recording(names));
    let target = format!("{PATH}/?page=7&page=8&other=9&a+b=%31&key={KEY}&Page=5");
    let long = "ab ".repeat(200);
    let more =
        format!("x-trace: one\r\nX-Trace: two\r\nuser-agent: {long}\r\nx-other: 1\r\n{HEADER}: mine\r\n");
    assert_eq!(edge.send(&get(&target, &format!("{}{more}", with_key(1)))).await.status, 200);
    let record = edge.record().await;
    use KeptPlace::{Query, RequestHeader, ResponseHeader};
    let wanted = [
        (RequestHeader, "x-trace", "one"),
        (RequestHeader, "x-trace", "two"),
        (RequestHeader, "user-agent", &long[..256]),
        (Query, "page", "7"),
        (Query, "page", "8"),
        (Query, "a b", "1"),
        (Query, "key", ""),
    ];
    let mut said = kept(&record);
    said.retain(|(place, ..)| *place != ResponseHeader);
    assert_eq!(said, wanted, "and nothing of where the upstream's secret goes");
    assert!(record.kept_values[2].cut && record.kept_values[6].masked);
    assert_eq!(record.kept_values.iter().filter(|it| it.cut || it.masked).count(), 2);
    assert!(!String::from_utf8_lossy(&record.encode_to_vec()).contains("4fX92b"));
}

#[tokio::test]
async fn nothing_of_a_caller_who_is_not_let_in_is_kept_but_the_path() {
    let upstream = Upstream::echo().await;
    let names = fleet::Recording {
        request_headers: texts(&["x-trace"]),
        query_parameters: texts(&["page"]),
        ..Default::default()
    };
    let edge = edge(&upstream, recording(names));
    edge.send(&get(&format!("{PATH}/a?page=7"), "x-trace: one\r\n")).await;
    let record = edge.record().await;
    assert_eq!((record.status, &*record.path, kept(&record)), (401, "/a", vec![]));
}

#[tokio::test]
async fn no_more_than_sixteen_values_of_a_place_are_kept_however_many_come() {
    let upstream = Upstream::echo().await;
    let names = fleet::Recording {
        request_headers: texts(&["x-trace"]),
        query_parameters: texts(&["page"]),
        ..Default::default()
    };
    let edge = edge(&upstream, recording(names));
    let query = "page=1&".repeat(300);
    let headers = format!("{}{}", with_key(1), "x-trace: 1\r\n".repeat(60));
    assert_eq!(edge.send(&get(&format!("{PATH}/?{query}"), &headers)).await.status, 200);
    assert_eq!(edge.record().await.kept_values.len(), 32);
}

#[tokio::test]
async fn a_secret_that_comes_back_is_in_no_value_whether_the_answer_is_searched_or_not() {
    const LONG: &str = "correct-horse-battery-staple-and-so-on";
    for guard in [EchoGuard::Mask, EchoGuard::Off] {
        let upstream = Upstream::told().await;
        let region = Region::new();
        let mut all = resources(&region, &upstream.url(""));
        all[3] = region.upstream(2, 1, LONG, HEADER, &[&upstream.url("")]);
        let names = fleet::Recording { response_headers: texts(&["x-said"]), ..Default::default() };
        let proxy = fleet::ProxyResource {
            echo_guard: guard.into(),
            recording: Some(names),
            ..fixture::proxy_message(1, &[1], 1, 2)
        };
        all[4] = resource(proxy_key(1), proxy.encode_to_vec());
        let edge = Edge::start(region.snapshot(&all), &["127.0.0.0/8"]);
        for (said, is_kept) in [(LONG, false), ("fine", true)] {
            let headers = format!("{}x-answer-x-said: {said}\r\n", with_key(1));
            assert_eq!(edge.send(&get(&format!("{PATH}/"), &headers)).await.status, 200);
            let record = edge.record().await;
            let [value] = &record.kept_values[..] else { panic!("{record:?}") };
            assert_eq!((&*value.name, value.value == "fine"), ("x-said", is_kept), "{guard:?}");
            assert!(!String::from_utf8_lossy(&record.encode_to_vec()).contains("battery"), "{guard:?}");
        }
    }
}

#[tokio::test]
async fn of_a_proxy_that_cannot_be_read_no_path_is_kept() {
    let upstream = Upstream::echo().await;
    let edge = edge(&upstream, |proxy| proxy.deny_status = 999);
    edge.send(&get(&format!("{PATH}/users/ann"), &with_key(1))).await;
    let record = edge.record().await;
    assert_eq!((record.status, &*record.path), (503, "/{masked}"));
    assert_eq!(record.path_changes, [i32::from(PathChange::Masked)]);
}

#[tokio::test]
async fn the_answer_that_opens_a_tunnel_is_kept_as_others_are_and_holds_no_secret_that_came_back() {
    const LONG: &str = "correct-horse-battery-staple-and-so-on";
    let (region, upstream) = (Region::new(), Raw::new().await);
    let mut all = resources(&region, &upstream.url());
    all[3] = region.upstream(2, 1, LONG, HEADER, &[&upstream.url()]);
    let names = fleet::Recording { response_headers: texts(&["x-said", "x-fine"]), ..Default::default() };
    all.push(websockets::proxy(|proxy| {
        (proxy.echo_guard, proxy.recording) = (EchoGuard::Off.into(), Some(names));
    }));
    let edge = Edge::start(region.snapshot(&all), &["127.0.0.0/8"]);
    let mut caller = edge.connect().await;
    let request = upgrade(&format!("{PATH}/chat"), &with_key(1));
    caller.write_all(request.as_bytes()).await.expect("the edge reads");
    let mut came = upstream.next().await;
    came.switch(&format!("x-said: {LONG}\r\nx-fine: yes\r\n"), "").await;
    let answer = read_head(&mut caller).await;
    assert!(answer.starts_with("HTTP/1.1 101 ") && answer.contains(LONG), "{answer}");
    drop((caller, came));
    let record = edge.record().await;
    let wanted = [(KeptPlace::ResponseHeader, "x-said", ""), (KeptPlace::ResponseHeader, "x-fine", "yes")];
    assert_eq!(kept(&record), wanted);
    assert!(record.kept_values[0].masked);
}

#[tokio::test]
async fn the_share_that_a_proxy_wants_kept_goes_with_the_record_of_each_request() {
    let upstream = Upstream::echo().await;
    for share in [None, Some(0), Some(7)] {
        let says = fleet::Recording { sample_per_thousand: share.map(u32::from), ..Default::default() };
        let edge = edge(&upstream, recording(says));
        assert_eq!(edge.send(&get(&format!("{PATH}/"), &with_key(1))).await.status, 200);
        assert_eq!(edge.share().await, share);
    }
}
