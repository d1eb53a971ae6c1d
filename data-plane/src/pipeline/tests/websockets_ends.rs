//! What a WebSocket holds while it is there, and gives back however it ends or does not begin.

use std::time::Duration;

use rr_contract::wire::fleet::{self, TunnelEnd};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::fixture::{self, Region, millis, proxy_key, target_message, target_of};

use super::edge::{Answer, Edge};
use super::websockets::{Came, Raw, open, proxy, read_head, read_rest, read_text, upgrade};
use super::{get, with_key};

const SOON: Duration = Duration::from_secs(10);
const PATH: &str = "/api/acme.proxy-1/chat";

/// A proxy that may have one request under way, and counts them.
fn resources(region: &Region, upstream: &Raw) -> Vec<fleet::Resource> {
    let mut all = open(region, &upstream.url());
    all.push(proxy(|proxy| {
        proxy.max_concurrent_requests_per_node = 1;
        proxy.limits = Some(fleet::Limits { per_day_per_node: 1_000, ..fleet::Limits::default() });
    }));
    all.push(fixture::meter(1, &fixture::meter_message(1, 1)));
    all
}

async fn asks(edge: &Edge) -> TcpStream {
    let mut caller = edge.connect().await;
    caller.write_all(upgrade(PATH, &with_key(1)).as_bytes()).await.expect("the edge reads");
    caller
}

/// Asks until it may, and until the upstream is asked.
async fn comes_in(edge: &Edge, upstream: &Raw) -> (TcpStream, Came) {
    let all = async {
        loop {
            let mut caller = asks(edge).await;
            tokio::select! {
                came = upstream.next() => return (caller, came),
                answer = Answer::read_one(&mut caller) => assert_eq!(answer.status, 429),
            }
        }
    };
    timeout(SOON, all).await.expect("there is room again")
}

async fn opens(edge: &Edge, upstream: &Raw) -> (TcpStream, Came) {
    let (mut caller, mut came) = comes_in(edge, upstream).await;
    came.switch("", "").await;
    assert!(read_head(&mut caller).await.starts_with("HTTP/1.1 101 "));
    (caller, came)
}

async fn is_full(edge: &Edge) {
    let request = upgrade(PATH, &format!("{}connection: close\r\n", with_key(1)));
    for request in [request, get(PATH, &with_key(1))] {
        let answer = edge.send(&request).await;
        assert_eq!((answer.status, answer.json()["code"].clone()), (429, "too-many-concurrent".into()));
        assert_eq!(edge.record().await.status, 429);
    }
}

/// The record of what became of it, behind those of requests that came too early.
async fn record(edge: &Edge) -> fleet::Record {
    loop {
        let record = timeout(SOON, edge.record()).await.expect("it ends");
        if record.status != 429 {
            return record;
        }
    }
}

/// What a record says of a tunnel: who ended it, whether it was cut short, bytes, and what its meter was charged.
type Ended = (TunnelEnd, bool, (u64, u64), u64);

fn ended(record: &fleet::Record) -> Ended {
    assert_eq!((record.status, record.upstream_status, &*record.code), (101, 101, "proxy-access-granted"));
    let bytes = (record.request_bytes, record.response_bytes);
    (record.tunnel_end(), record.aborted, bytes, record.meters[0].charged_millionths)
}

#[tokio::test]
async fn a_tunnel_is_under_way_until_it_ends_and_one_of_its_own_whichever_side_ends_it() {
    let upstream = Raw::new().await;
    let region = Region::new();
    let all = resources(&region, &upstream);
    let mut edge = Edge::start(region.snapshot(&all), &["127.0.0.0/8"]);

    // The caller's side first, then the other.
    let (mut caller, mut came) = opens(&edge, &upstream).await;
    is_full(&edge).await;
    caller.write_all(b"abc").await.expect("it is open");
    read_text(&mut came.stream, "abc").await;
    caller.shutdown().await.expect("it is ours");
    assert_eq!(came.rest().await, "");
    is_full(&edge).await;
    came.stream.write_all(b"de").await.expect("it is open");
    drop(came);
    assert_eq!(read_rest(&mut caller).await, "de");
    assert_eq!(ended(&record(&edge).await), (TunnelEnd::Caller, false, (3, 2), 1_000_000));

    // The upstream's side first.
    let (mut caller, mut came) = opens(&edge, &upstream).await;
    came.stream.write_all(b"bye").await.expect("it is open");
    came.stream.shutdown().await.expect("it is ours");
    assert_eq!(read_rest(&mut caller).await, "bye");
    is_full(&edge).await;
    drop(caller);
    assert_eq!(ended(&record(&edge).await), (TunnelEnd::Upstream, false, (0, 3), 1_000_000));
    drop(came);

    // Nobody says anything.
    let target = fleet::TargetResource { idle_timeout: millis(300), ..target_message(1, &upstream.url()) };
    let idle: Vec<_> = all.iter().cloned().chain([target_of(1, &target)]).collect();
    edge.activate(region.snapshot(&idle));
    let (mut caller, mut came) = opens(&edge, &upstream).await;
    assert_eq!(timeout(SOON, read_rest(&mut caller)).await.expect("it ends"), "");
    assert_eq!(came.rest().await, "");
    assert_eq!(ended(&record(&edge).await), (TunnelEnd::Idle, false, (0, 0), 1_000_000));
    edge.activate(region.snapshot(&all));

    // The configuration.
    let (mut caller, mut came) = opens(&edge, &upstream).await;
    let mut without = all.clone();
    without.push(fixture::deny_path(1, proxy_key(1), "^/chat$"));
    edge.activate(region.snapshot(&without));
    assert_eq!(timeout(SOON, read_rest(&mut caller)).await.expect("it ends"), "");
    assert_eq!(came.rest().await, "");
    let withdrawn = ended(&record(&edge).await);
    assert!(withdrawn.0 == TunnelEnd::Withdrawn && withdrawn.1, "{withdrawn:?}");
    assert_eq!(edge.tunnels(), 0);
}

#[tokio::test]
async fn what_does_not_become_a_tunnel_holds_nothing_either() {
    let upstream = Raw::new().await;
    let region = Region::new();
    let edge = Edge::start(region.snapshot(&resources(&region, &upstream)), &["127.0.0.0/8"]);
    let wrong = "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\
                 sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
    for (answer, status, code) in [
        ("HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\n\r\nno", 403, "proxy-access-granted"),
        ("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", 200, "proxy-access-granted"),
        (wrong, 502, "upgrade-refused"),
        ("HTTP/1.1 101 Switching", 502, "upstream-unreachable"),
        ("", 502, "upstream-unreachable"),
    ] {
        let (mut caller, mut came) = comes_in(&edge, &upstream).await;
        is_full(&edge).await;
        came.stream.write_all(answer.as_bytes()).await.expect("the edge reads");
        came.stream.shutdown().await.expect("it is ours");
        assert_eq!(Answer::read_one(&mut caller).await.status, status, "{answer}");
        let record = record(&edge).await;
        assert_eq!(
            (record.status, &*record.code, record.tunnel_end),
            (u32::from(status), code, 0),
            "{answer}"
        );
    }
    // A caller that leaves before the upstream has said anything.
    let (caller, mut came) = comes_in(&edge, &upstream).await;
    drop(caller);
    assert_eq!(timeout(SOON, came.rest()).await.expect("it is let go"), "");
    assert_eq!(&*record(&edge).await.code, "caller-gone");
    drop(opens(&edge, &upstream).await);
}

#[tokio::test]
async fn an_open_circuit_opens_no_websocket_and_handshakes_that_fail_open_it() {
    let upstream = Raw::new().await;
    let region = Region::new();
    let mut all = open(&region, &upstream.url());
    let breaker = fleet::CircuitBreaker { consecutive_failures: 3, open_for: millis(60_000) };
    let target =
        fleet::TargetResource { circuit_breaker: Some(breaker), ..target_message(1, &upstream.url()) };
    all.push(target_of(1, &target));
    let edge = Edge::start(region.snapshot(&all), &["127.0.0.0/8"]);
    let fails = async || {
        let (mut caller, mut came) = (asks(&edge).await, upstream.next().await);
        let answer = b"HTTP/1.1 503 Unavailable\r\ncontent-length: 2\r\n\r\nno";
        came.stream.write_all(answer).await.expect("the edge reads");
        assert_eq!(Answer::read_one(&mut caller).await.status, 503);
        assert_eq!(edge.record().await.upstream_status, 503);
    };
    fails().await;
    fails().await;
    // One that opens is a success, as is one of which nothing is known but that.
    let (mut caller, mut came) = (asks(&edge).await, upstream.next().await);
    came.switch("", "").await;
    assert!(read_head(&mut caller).await.starts_with("HTTP/1.1 101 "));
    for _ in 0..3 {
        fails().await;
    }
    let refused = upgrade(PATH, &format!("{}connection: close\r\n", with_key(1)));
    for request in [refused, get(PATH, &with_key(1))] {
        let answer = edge.send(&request).await;
        assert_eq!((answer.status, answer.json()["code"].clone()), (503, "circuit-open".into()));
        assert!(answer.header("retry-after").is_some());
        assert_eq!(edge.record().await.upstream_status, 0);
    }
    // A tunnel that is open was no request of now.
    caller.write_all(b"still").await.expect("it is open");
    read_text(&mut came.stream, "still").await;
}
