//! Requests through a real worker to a real upstream, on loopback.

mod access_tokens;
mod arrivals;
mod bombs;
mod bounds;
mod callers;
mod callers_tls;
mod certificate_callers;
mod certificate_connections;
mod circles;
mod circuits;
mod client_certificates;
mod closed;
mod cors;
mod dials;
mod durable;
mod echoes;
mod echoes_elsewhere;
mod edge;
mod endpoints;
mod expiry;
mod filters;
mod full;
mod gathered;
mod heads;
mod holders;
mod hostile;
mod injected;
mod inward;
mod last_uses;
mod leaving;
mod limits;
mod lingering;
mod names;
mod next_hop;
mod numbers;
mod origin;
mod over_tls;
mod parameters;
mod passwords;
mod recording;
mod records;
mod redacted;
mod retries;
mod reuse;
mod rewrites;
mod room;
mod rules;
mod script;
mod second;
mod settling;
mod shown_certificates;
mod signed_requests;
mod signed_tokens;
mod stream_filters;
mod streams;
mod timeouts;
mod token_floods;
mod token_issuers;
mod trailers;
mod trials;
mod under_way;
mod untouched;
mod uploads;
mod validation;
mod websockets;
mod websockets_cut;
mod websockets_ends;
mod websockets_http2;
mod websockets_origin;
mod websockets_refused;
mod wires;
mod withdrawn;

use std::rc::Rc;
use std::time::Duration;

use http::Request;
use hyper::body::Incoming;
use rr_contract::wire::fleet;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::fixture::{self, Region, caller, caller_key, org, proxy, proxy_id, target};
use crate::pipeline::Hop;
use crate::seats::Busy;
use crate::worker::Worker;

use self::edge::{Answer, Edge};
use self::origin::Upstream;

const SECRET: &str = "sk-live-secret";
const HEADER: &str = "x-api-key";

/// Org, caller 1 with key 1, upstream credential 2 for the target's origin, proxy 1.
fn resources(region: &Region, base_url: &str) -> Vec<fleet::Resource> {
    let url: rr_contract::model::origin::BaseUrl = base_url.parse().expect("a base URL");
    let origin = rr_contract::model::origin::Origin::of(&url).to_string();
    vec![
        org(false),
        target(1, base_url),
        caller(1, 1, &[1]),
        region.upstream(2, 1, SECRET, HEADER, &[&origin]),
        proxy(1, &[1], 1, 2),
    ]
}

/// The same for another organization, whose upstream asks for nothing: caller 11, target 11, proxy 11.
fn resources_of_another(base_url: &str) -> Vec<fleet::Resource> {
    let another = rr_contract::model::id::OrgId::from_random([33; 16]);
    let payload = fleet::OrgResource { name: "other".to_owned(), suspended: false };
    let mut all = vec![
        fixture::resource(fixture::org_key(), prost::Message::encode_to_vec(&payload)),
        target(11, base_url),
        caller(11, 1, &[11]),
        fixture::open_upstream(12),
        proxy(11, &[11], 11, 12),
    ];
    for resource in &mut all {
        let key = resource.key.as_ref().expect("each has one");
        let mut key = rr_contract::model::resource::Key::try_from(key).expect("a key");
        key.org = another;
        resource.key = Some(key.to_wire());
    }
    all
}

async fn edge_to(base_url: &str) -> Edge {
    let region = Region::new();
    let snapshot = region.snapshot(&resources(&region, base_url));
    Edge::start(snapshot, &["127.0.0.0/8"])
}

fn get(path: &str, headers: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: edge\r\nconnection: close\r\n{headers}\r\n")
}

fn with_key(n: u8) -> String {
    format!("authorization: Bearer {}\r\n", caller_key(n))
}

#[test]
fn the_state_of_a_request_is_small() {
    fn state<F>(_: impl Fn(Rc<Worker>, Request<Incoming>, Rc<Hop>, Busy) -> F) -> usize {
        size_of::<F>()
    }
    // All of it is moved to the heap when a request begins. Whether bodies are read is boxed apart.
    let bytes = state(super::handle);
    assert!(bytes <= 5_460, "{bytes} bytes");
}

#[tokio::test]
async fn the_callers_key_goes_out_and_the_upstreams_secret_goes_in() {
    let upstream = Upstream::echo().await;
    let edge = edge_to(&upstream.url("/base")).await;
    let answer = edge.send(&get("/api/acme.proxy-1/v1/../v2//x?b=2&a=1", &with_key(1))).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.header("requestrocket-proxy-code"), Some("proxy-access-granted"));
    assert!(answer.header("requestrocket-request-id").is_some_and(|id| id.starts_with("rq_")));
    let seen = upstream.last();
    assert_eq!(seen.target, "/base/v2/x?b=2&a=1");
    assert_eq!(seen.header(HEADER), Some(SECRET));
    assert_eq!(seen.header("host"), Some(&*upstream.authority()));
    assert_eq!(seen.header("authorization"), None);
    assert!(!seen.text().contains(&caller_key(1)));
}

#[tokio::test]
async fn a_key_in_the_query_is_taken_and_taken_out() {
    let upstream = Upstream::echo().await;
    let edge = edge_to(&upstream.url("")).await;
    for query in [
        "Authorization={}&a=1",
        "AUTHORIZATION={}&a=1",
        "a=1&authorization=Bearer%20{}",
        "a=1&%41uthorization=Bearer+{}",
    ] {
        let path = format!("/api/{}/x?{}", proxy_id(1), query.replace("{}", &caller_key(1)));
        assert_eq!(edge.send(&get(&path, "")).await.status, 200, "{query}");
        assert_eq!(upstream.last().target, "/x?a=1");
        assert!(!upstream.last().text().contains(&caller_key(1)));
    }
}

#[tokio::test]
async fn a_callers_header_of_the_secrets_name_does_not_arrive() {
    let upstream = Upstream::echo().await;
    let edge = edge_to(&upstream.url("")).await;
    let headers = format!("{}X-Api-Key: mine\r\nx-api-key: also mine\r\n", with_key(1));
    assert_eq!(edge.send(&get("/api/acme.proxy-1/", &headers)).await.status, 200);
    assert_eq!(upstream.last().all(HEADER), [SECRET]);
}

#[tokio::test]
async fn every_failed_authentication_answers_alike() {
    let upstream = Upstream::echo().await;
    let region = Region::new();
    let mut all = resources(&region, &upstream.url(""));
    let mut expired = fixture::caller_message(3, 1, &[3]);
    expired.not_after = Some(rr_contract::model::time::timestamp(std::time::UNIX_EPOCH));
    all.push(fixture::resource(fixture::credential_key(3), prost::Message::encode_to_vec(&expired)));
    all.push(caller(4, 1, &[4]));
    all.push(proxy(2, &[1, 3], 1, 2));
    let edge = Edge::start(region.snapshot(&all), &["127.0.0.0/8"]);
    let known = "/api/acme.proxy-2/x";
    let cases = [
        get(known, ""),
        get(known, "authorization: Bearer nonsense\r\n"),
        get(known, &with_key(9)),
        get(known, &with_key(3)),
        get(known, &with_key(4)),
        get(known, &format!("{}{}", with_key(1), with_key(1))),
        get("/api/acme.nobody/x", &with_key(1)),
        get("/api/nobody/x", &with_key(1)),
        get(&format!("/api/{}/x", proxy_id(99)), &with_key(1)),
        get("/api/px_short/x", ""),
        get("/api/", ""),
    ];
    let mut answers = Vec::new();
    for case in &cases {
        answers.push(edge.send(case).await.without_id_and_date());
    }
    assert!(answers[0].starts_with("HTTP/1.1 401 Unauthorized\r\n"), "{}", answers[0]);
    for (case, answer) in cases.iter().zip(&answers) {
        assert_eq!(answer, &answers[0], "{case}");
    }
    assert_eq!(upstream.count(), 0);
}

#[tokio::test]
async fn a_proxy_that_is_off_suspended_or_closed_says_so_to_its_callers_only() {
    let upstream = Upstream::echo().await;
    let region = Region::new();
    let check = async |change: fleet::Resource, status: u16, code: &str| {
        let mut all = resources(&region, &upstream.url(""));
        all.push(change);
        let edge = Edge::start(region.snapshot(&all), &["127.0.0.0/8"]);
        let answer = edge.send(&get("/api/acme.proxy-1/", &with_key(1))).await;
        assert_eq!((answer.status, answer.header("requestrocket-proxy-code")), (status, Some(code)));
        assert_eq!(answer.json()["code"], code);
        assert_eq!(edge.send(&get("/api/acme.proxy-1/", "")).await.status, 401);
    };
    let off = fleet::ProxyResource { active: false, ..fixture::proxy_message(1, &[1], 1, 2) };
    let off = fixture::resource(fixture::proxy_key(1), prost::Message::encode_to_vec(&off));
    check(off, 403, "proxy-inactive").await;
    check(org(true), 402, "billing-suspended").await;
    check(fixture::future_rule(1, fixture::proxy_key(1)), 503, "proxy-closed").await;
    assert_eq!(upstream.count(), 0);
}

#[tokio::test]
async fn what_cannot_be_read_in_one_way_is_refused() {
    let upstream = Upstream::echo().await;
    let edge = edge_to(&upstream.url("")).await;
    for path in ["/api/acme.proxy-1/a%2fb", "/api/acme.proxy-1/%zz", "/api/acme.proxy-1/..;/a"] {
        let answer = edge.send(&get(path, &with_key(1))).await;
        assert_eq!((answer.status, answer.json()["code"].clone()), (400, "malformed-request".into()));
    }
    assert_eq!(edge.send(&get("/elsewhere", &with_key(1))).await.status, 404);
    assert_eq!(edge.send(&get("/api/acme.proxy-1/", &with_key(1)).replace("GET", "TRACE")).await.status, 405);
    assert_eq!(upstream.count(), 0);
}

#[tokio::test]
async fn without_a_configuration_nobody_is_told_that_he_is_unknown() {
    let edge = Edge::start(crate::snapshot::Snapshot::default(), &[]);
    let answer = edge.send(&get("/api/acme.proxy-1/", &with_key(1))).await;
    assert_eq!((answer.status, answer.json()["code"].clone()), (503, "not-ready".into()));
}

#[tokio::test]
async fn an_address_that_is_not_public_is_refused_unless_the_node_opens_it() {
    let upstream = Upstream::echo().await;
    let region = Region::new();
    for base in [upstream.url(""), upstream.url("").replace("127.0.0.1", "localhost")] {
        let snapshot = region.snapshot(&resources(&region, &base));
        let edge = Edge::start(snapshot, &["10.0.0.0/8"]);
        let answer = edge.send(&get("/api/acme.proxy-1/", &with_key(1))).await;
        assert_eq!(
            (answer.status, answer.json()["code"].clone()),
            (502, "upstream-refused".into()),
            "{base}"
        );
    }
    assert_eq!(upstream.connections(), 0);
}

#[tokio::test]
async fn a_secret_goes_to_no_origin_that_it_was_not_sealed_for() {
    let (meant, other) = (Upstream::echo().await, Upstream::echo().await);
    let region = Region::new();
    let mut all = resources(&region, &meant.url(""));
    // Whoever edits the database points the target elsewhere.
    all.push(target(1, &other.url("")));
    let edge = Edge::start(region.snapshot(&all), &["127.0.0.0/8"]);
    let answer = edge.send(&get("/api/acme.proxy-1/", &with_key(1))).await;
    assert_eq!((answer.status, answer.json()["code"].clone()), (502, "credential-unusable".into()));
    assert!(!answer.text.contains(SECRET) && !answer.text.contains("other-origin"));
    assert_eq!(edge.record().await.reason, "other-origin");
    assert_eq!((meant.connections(), other.connections()), (0, 0));
}

#[tokio::test]
async fn a_secret_sealed_to_another_region_is_unusable() {
    let upstream = Upstream::echo().await;
    let (region, another) = (Region::new(), Region::new());
    let mut all = resources(&region, &upstream.url(""));
    all.push(another.upstream(2, 1, SECRET, HEADER, &[&upstream.url("")]));
    let edge = Edge::start(region.snapshot(&all), &["127.0.0.0/8"]);
    let answer = edge.send(&get("/api/acme.proxy-1/", &with_key(1))).await;
    assert_eq!((answer.status, answer.json()["code"].clone()), (502, "credential-unusable".into()));
    // Each has a record of its own, however many there are.
    for _ in 0..15 {
        edge.send(&get("/api/acme.proxy-1/", &with_key(1))).await;
    }
    for _ in 0..16 {
        let record = edge.record().await;
        assert_eq!((&*record.code, &*record.reason, record.count), ("credential-unusable", "sealed", 0));
    }
    assert_eq!(upstream.connections(), 0);
}

#[tokio::test]
async fn connections_on_both_sides_are_used_again() {
    let upstream = Upstream::echo().await;
    let edge = edge_to(&upstream.url("")).await;
    let mut caller = edge.connect().await;
    for _ in 0..5 {
        let request = get("/api/acme.proxy-1/", &with_key(1)).replace("connection: close\r\n", "");
        caller.write_all(request.as_bytes()).await.expect("the edge reads");
        let answer = Answer::read_one(&mut caller).await;
        assert_eq!(answer.status, 200);
    }
    assert_eq!((upstream.count(), upstream.connections()), (5, 1));
}

#[tokio::test]
async fn a_connection_that_the_upstream_closed_while_idle_costs_no_request() {
    let upstream = Upstream::abrupt().await;
    let edge = edge_to(&upstream.url("")).await;
    for _ in 0..20 {
        let answer = edge.send(&get("/api/acme.proxy-1/", &with_key(1))).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    assert_eq!(upstream.connections(), 20);
}

#[tokio::test]
async fn an_upstream_that_is_down_is_a_bad_gateway_and_one_that_is_silent_a_timeout() {
    let region = Region::new();
    let unused = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = unused.local_addr().expect("it is bound");
    let mut all = resources(&region, &format!("http://{address}"));
    all.push(fixture::target_with_timeouts(1, &format!("http://{address}"), 1_000, 100));
    let edge = Edge::start(region.snapshot(&all), &["127.0.0.0/8"]);
    // Connections are taken by the kernel, and nobody answers.
    let answer = edge.send(&get("/api/acme.proxy-1/", &with_key(1))).await;
    assert_eq!((answer.status, answer.json()["code"].clone()), (504, "upstream-timeout".into()));
    drop(unused);
    let answer = edge.send(&get("/api/acme.proxy-1/", &with_key(1))).await;
    assert_eq!((answer.status, answer.json()["code"].clone()), (502, "upstream-unreachable".into()));
}

#[tokio::test]
async fn bodies_stream_both_ways_without_being_gathered() {
    const PARTS: usize = 64;
    const PART: usize = 64 * 1024;
    let upstream = Upstream::mirror().await;
    let edge = edge_to(&upstream.url("")).await;
    let mut caller = edge.connect().await;
    let head = format!(
        "POST /api/acme.proxy-1/ HTTP/1.1\r\nhost: edge\r\nconnection: close\r\ncontent-length: {}\r\n{}\r\n",
        PARTS * PART,
        with_key(1)
    );
    caller.write_all(head.as_bytes()).await.expect("the edge reads");
    let part = vec![b'x'; PART];
    // The first part has to come back before the last is sent, or something in between waits for all.
    caller.write_all(&part).await.expect("the edge reads");
    let mut received = Vec::new();
    let mut buffer = vec![0; PART];
    while !received.windows(4).any(|window| window == b"xxxx") {
        let count = caller.read(&mut buffer).await.expect("the edge answers");
        assert_ne!(count, 0);
        received.extend_from_slice(&buffer[..count]);
    }
    let (mut reader, mut writer) = caller.split();
    let send = async {
        for _ in 1..PARTS {
            writer.write_all(&part).await.expect("the edge reads");
        }
    };
    let ((), rest) = tokio::join!(send, reader.read_to_end(&mut received));
    rest.expect("the edge answers");
    assert!(received.iter().filter(|byte| **byte == b'x').count() >= PARTS * PART);
    assert_eq!(upstream.connections(), 1);
}

#[tokio::test]
async fn each_request_leaves_one_record_without_key_query_or_secret() {
    let upstream = Upstream::echo().await;
    let edge = edge_to(&upstream.url("")).await;
    let path = format!("/api/acme.proxy-1/p?q=private&Authorization={}", caller_key(1));
    edge.send(&get(&path, "")).await;
    edge.send(&get("/api/acme.proxy-1/p", "")).await;
    let (granted, denied) = (edge.record().await, edge.record().await);
    assert_eq!((granted.status, granted.upstream_status, &*granted.code), (200, 200, "proxy-access-granted"));
    assert_eq!((&*granted.path, granted.revision, granted.aborted), ("/p", 7, false));
    assert!(granted.response_bytes > 0 && granted.upstream_duration.is_some());
    assert_eq!(granted.caller_credential, fixture::credential_key(1).id_text());
    assert_eq!((denied.status, denied.upstream_status, &*denied.code), (401, 0, "proxy-access-denied"));
    let text = format!("{granted:?}{denied:?}");
    for hidden in [&caller_key(1), "private", SECRET] {
        assert!(!text.contains(hidden), "{hidden}");
    }
}

#[tokio::test]
async fn a_caller_that_goes_away_leaves_a_record_that_says_so() {
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let edge = edge_to(&format!("http://{}", silent.local_addr().expect("it is bound"))).await;
    let mut caller = edge.connect().await;
    caller.write_all(get("/api/acme.proxy-1/", &with_key(1)).as_bytes()).await.expect("the edge reads");
    let (_upstream, _) = silent.accept().await.expect("the edge connects");
    drop(caller);
    let record = tokio::time::timeout(Duration::from_secs(5), edge.record()).await.expect("a record");
    assert_eq!((record.status, record.aborted, &*record.code), (0, true, "caller-gone"));
}

#[tokio::test]
async fn http2_without_tls_is_served_on_the_same_port() {
    let upstream = Upstream::echo().await;
    let edge = edge_to(&upstream.url("")).await;
    assert_eq!(edge.send_http2("/api/acme.proxy-1/x", &caller_key(1)).await, 200);
    assert_eq!(upstream.last().header(HEADER), Some(SECRET));
}
