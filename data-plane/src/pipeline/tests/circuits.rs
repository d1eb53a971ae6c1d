//! Circuit breakers: what opens them, what callers see, and what costs nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rr_contract::wire::fleet;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};

use crate::fixture::{self, Region, millis};
use crate::snapshot::Snapshot;
use crate::upstream::CALLER_SLOW;

use super::edge::{Answer, Edge};
use super::script::{Script, says};
use super::websockets::{self, upgrade};
use super::{get, resources, with_key};

const SOON: Duration = Duration::from_secs(20);

fn snapshot_to(
    region: &Region,
    url: &str,
    open_for: u64,
    change: impl FnOnce(&mut Vec<fleet::Resource>),
) -> Snapshot {
    let mut all = resources(region, url);
    let breaker = fleet::CircuitBreaker { consecutive_failures: 3, open_for: millis(open_for) };
    let target = fleet::TargetResource { circuit_breaker: Some(breaker), ..fixture::target_message(1, url) };
    all.push(fixture::target_of(1, &target));
    change(&mut all);
    region.snapshot(&all)
}

fn edge_to(
    region: &Region,
    url: &str,
    open_for: u64,
    change: impl FnOnce(&mut Vec<fleet::Resource>),
) -> Edge {
    Edge::start(snapshot_to(region, url, open_for, change), &["127.0.0.0/8"])
}

fn ask() -> String {
    get("/api/acme.proxy-1/", &with_key(1))
}

#[tokio::test]
async fn an_open_circuit_answers_for_the_upstream_and_closes_once_that_works() {
    let works = Arc::new(AtomicBool::new(false));
    let asked = Arc::clone(&works);
    let upstream =
        Script::start(move |_| says(if asked.load(Ordering::Relaxed) { 200 } else { 504 }, "")).await;
    let region = Region::new();
    let edge = edge_to(&region, &upstream.url(), 1_500, |_| {});
    for _ in 0..3 {
        assert_eq!(edge.send(&ask()).await.status, 504);
        assert_eq!(edge.record().await.code, "proxy-access-granted");
    }
    let answer = edge.send(&ask()).await;
    assert_eq!((answer.status, answer.json()["code"].clone()), (503, "circuit-open".into()));
    let rest: u64 = answer.header("retry-after").and_then(|text| text.parse().ok()).expect("seconds");
    assert!((1..=2).contains(&rest), "{rest}");
    let record = edge.record().await;
    assert_eq!((record.status, record.upstream_status, &*record.code), (503, 0, "circuit-open"));
    assert_eq!(upstream.count(), 3);
    assert_eq!(region.standings.numbers().circuits_open, 1);
    // Half open, and it fails again; then it works.
    sleep(Duration::from_millis(1_600)).await;
    assert_eq!(edge.send(&ask()).await.status, 504);
    assert_eq!(edge.send(&ask()).await.status, 503);
    works.store(true, Ordering::Relaxed);
    sleep(Duration::from_millis(1_600)).await;
    for _ in 0..4 {
        assert_eq!(edge.send(&ask()).await.status, 200);
    }
    let numbers = region.standings.numbers();
    assert_eq!((numbers.circuits_open, numbers.openings), (0, 2));
}

#[tokio::test]
async fn a_circuit_stays_open_for_no_longer_than_the_configuration_in_force_says() {
    let upstream = Script::start(|n| says(if n < 3 { 503 } else { 200 }, "")).await;
    let region = Region::new();
    let mut edge = edge_to(&region, &upstream.url(), 3_600_000, |_| {});
    for _ in 0..3 {
        edge.send(&ask()).await;
    }
    assert_eq!(edge.send(&ask()).await.json()["code"], "circuit-open");
    // An hour was too long, and whoever says so waits for no hour.
    edge.activate(snapshot_to(&region, &upstream.url(), 1, |_| {}));
    let closes = async { while edge.send(&ask()).await.status != 200 {} };
    timeout(SOON, closes).await.expect("it is tried again");
    assert_eq!(region.standings.numbers().circuits_open, 0);
}

#[tokio::test]
async fn a_websocket_that_cannot_be_opened_counts_and_an_open_circuit_stops_the_next() {
    let upstream = Script::always(503).await;
    let region = Region::new();
    let edge = edge_to(&region, &upstream.url(), 60_000, |all| all.push(websockets::proxy(|_| {})));
    let mut seen = Vec::new();
    for _ in 0..5 {
        let mut caller = edge.connect().await;
        let request = upgrade("/api/acme.proxy-1/chat", &with_key(1));
        caller.write_all(request.as_bytes()).await.expect("the edge reads");
        seen.push(timeout(SOON, Answer::read_one(&mut caller)).await.expect("it is answered").status);
    }
    assert_eq!((seen, upstream.count()), (vec![503; 5], 3));
    let mut codes = Vec::new();
    for _ in 0..5 {
        codes.push(edge.record().await.code);
    }
    assert_eq!(
        (&*codes[2], &*codes[3], &*codes[4]),
        ("proxy-access-granted", "circuit-open", "circuit-open")
    );
    assert_eq!(edge.send(&ask()).await.json()["code"], "circuit-open");
}

#[tokio::test]
async fn what_a_caller_does_opens_no_circuit() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("it is bound"));
    let edge = edge_to(&Region::new(), &url, 60_000, |all| {
        let bounded = fleet::ProxyResource { max_request_bytes: 4, ..fixture::proxy_message(1, &[1], 1, 2) };
        all.push(fixture::resource(fixture::proxy_key(1), prost::Message::encode_to_vec(&bounded)));
    });
    let mut head = [0; 4096];
    let long = ask().replace("GET", "POST").replacen("\r\n\r\n", "\r\ntransfer-encoding: chunked\r\n\r\n", 1);
    for n in 0..8 {
        // It goes away; or it sends more than it may.
        let mut caller = edge.connect().await;
        let is_long = n % 2 == 1;
        let request = if is_long { format!("{long}5\r\n12345\r\n0\r\n\r\n") } else { ask() };
        caller.write_all(request.as_bytes()).await.expect("the edge reads");
        let (mut upstream, _) =
            timeout(SOON, listener.accept()).await.expect("it is let through").expect("it listens");
        // Of one that is too long nothing may come.
        let _seen = upstream.read(&mut head).await.expect("the edge sends or ends");
        if is_long {
            let mut answer = Vec::new();
            caller.read_to_end(&mut answer).await.expect("the edge answers");
        } else {
            drop(caller);
        }
        let code = edge.record().await.code;
        assert_eq!(code, if is_long { "request-too-large" } else { "caller-gone" });
    }
}

/// Reads until this has come.
async fn read_to(upstream: &mut TcpStream, end: &[u8]) {
    let mut seen = Vec::new();
    while !seen.ends_with(end) {
        assert_ne!(upstream.read_buf(&mut seen).await.expect("the edge sends"), 0);
    }
}

/// Of three uploads that stop in the middle, the upstream waits so long for each, and then, where it goes on, for its end.
/// Then it ends the connection, or says 504.
async fn uploads_that_stop(edge: &Edge, listener: &TcpListener, wait: Duration, goes_on: bool) {
    let upload = ask().replace("GET", "POST").replacen("\r\n\r\n", "\r\ncontent-length: 8\r\n\r\npart", 1);
    for n in 0..3 {
        let mut caller = edge.connect().await;
        caller.write_all(upload.as_bytes()).await.expect("the edge reads");
        let (mut upstream, _) =
            timeout(SOON, listener.accept()).await.expect("it is let through").expect("it listens");
        read_to(&mut upstream, b"part").await;
        edge.skips(wait).await;
        if goes_on {
            caller.write_all(b"rest").await.expect("the edge reads");
            read_to(&mut upstream, b"rest").await;
        }
        let is_told = n % 2 == 1;
        if is_told {
            let late = says(504, "connection: close\r\n");
            upstream.write_all(late.as_bytes()).await.expect("the edge reads");
        }
        drop(upstream);
        let answer = timeout(SOON, Answer::read_one(&mut caller)).await.expect("in time");
        assert_eq!(answer.status, if is_told { 504 } else { 502 });
        let code = edge.record().await.code;
        assert_eq!(code, if is_told { "proxy-access-granted" } else { "upstream-unreachable" });
    }
}

#[tokio::test]
async fn an_upstream_that_gives_up_on_uploads_that_do_not_come_opens_no_circuit() {
    // One that breaks as soon as it sees a body does so by itself, and so does one that has all of it.
    for (wait, goes_on, openings) in
        [(CALLER_SLOW, false, 0), (Duration::ZERO, false, 1), (CALLER_SLOW, true, 1)]
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("it is bound"));
        let region = Region::new();
        let edge = edge_to(&region, &url, 60_000, |_| {});
        uploads_that_stop(&edge, &listener, wait, goes_on).await;
        assert_eq!(region.standings.numbers().openings, openings, "{wait:?} {goes_on}");
    }
}

#[tokio::test]
async fn a_request_that_an_open_circuit_stops_uses_limits_and_no_value_of_a_meter() {
    let upstream = Script::always(503).await;
    let edge = edge_to(&Region::new(), &upstream.url(), 60_000, |all| {
        let location = Some(fleet::meter_value::Location::BodyPath("n".to_owned()));
        let value = fleet::MeterValue { location, reserve: 5, on_missing: Some(9), ..Default::default() };
        let meter = fleet::MeterResource {
            counts: Some(fleet::meter_resource::Counts::Value(value)),
            ..fixture::meter_message(1, 1)
        };
        all.push(fixture::meter(1, &meter));
        let limits = Some(fleet::Limits { per_day_per_node: 100, ..fleet::Limits::default() });
        let limited = fleet::ProxyResource { limits, ..fixture::proxy_message(1, &[1], 1, 2) };
        all.push(fixture::resource(fixture::proxy_key(1), prost::Message::encode_to_vec(&limited)));
    });
    for _ in 0..3 {
        edge.send(&ask()).await;
        edge.record().await;
    }
    edge.send(&ask()).await;
    let record = edge.record().await;
    assert_eq!(record.code, "circuit-open");
    assert_eq!(record.limits[0].used, 4);
    assert_eq!((record.meters[0].charged_millionths, record.meters[0].missing), (0, false));
}
