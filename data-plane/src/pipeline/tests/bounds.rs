//! Callers that hold without asking, and that ask without reading.

use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rr_contract::runtime::Tasks;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{interval, timeout};

use crate::counters::Cut;
use crate::fixture::{self, Region, caller_key};
use crate::seats::Bounds;
use crate::upstream::Trust;

use super::edge::{Answer, Edge};
use super::origin::Upstream;
use super::{HEADER, SECRET, get, resources, with_key};

/// No test waits for longer than this, whatever the guard does.
const SOON: Duration = Duration::from_secs(20);
const BRIEF: Duration = Duration::from_millis(200);

/// A worker whose bounds are the test's.
fn edge_within(base_url: &str, bounds: Bounds) -> Edge {
    let region = Region::new();
    let snapshot = region.snapshot(&resources(&region, base_url));
    Edge::start_bounded(snapshot, &["127.0.0.0/8"], Trust::new(None), bounds)
}

/// Opens a connection and sends a part of something.
async fn says(edge: &Edge, said: &[u8]) -> TcpStream {
    let mut stream = edge.connect().await;
    // It may be closed on us while we speak: that is what is looked for.
    stream.write_all(said).await.ok();
    stream
}

/// Waits until the other end closes.
async fn closed(stream: &mut TcpStream) {
    let mut bytes = [0; 4096];
    while stream.read(&mut bytes).await.is_ok_and(|count| count > 0) {}
}

/// Waits until so many of them were closed.
async fn closed_of(streams: &mut [TcpStream], wanted: usize) {
    let all: FuturesUnordered<_> = streams.iter_mut().map(closed).collect();
    let closed = timeout(SOON, all.take(wanted).count()).await.expect("they are closed");
    assert_eq!(closed, wanted);
}

fn keep_alive(path: &str) -> String {
    get(path, &with_key(1)).replace("connection: close\r\n", "")
}

/// The upstream's side of a connection, once the request is there: what comes sooner is an answer that nobody asked for.
async fn asked(listener: &TcpListener) -> TcpStream {
    let (mut upstream, _) =
        timeout(SOON, listener.accept()).await.expect("in time").expect("the edge connects");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(timeout(SOON, upstream.read_u8()).await.expect("in time").expect("the edge sends"));
    }
    upstream
}

#[tokio::test]
async fn connections_that_ask_for_nothing_make_room_and_requests_under_way_go_on() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("it is bound"));
    let edge = edge_within(&url, Bounds { grace: Duration::ZERO, ..Bounds::of(8) });
    let mut waiting = edge.connect().await;
    waiting.write_all(keep_alive("/api/acme.proxy-1/").as_bytes()).await.expect("the edge reads");
    let mut upstream = asked(&listener).await;
    let mut flood = Vec::new();
    for _ in 0..40 {
        flood.push(says(&edge, b"G").await);
    }
    // Whoever comes now is served, and so is who waits.
    let denied = timeout(SOON, edge.send(&get("/api/acme.proxy-1/", ""))).await.expect("an answer");
    assert_eq!(denied.status, 401);
    upstream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.expect("the edge reads");
    let answer = timeout(SOON, Answer::read_one(&mut waiting)).await.expect("an answer");
    assert_eq!(answer.status, 200);
    closed_of(&mut flood, 33).await;
    assert!(edge.cut(Cut::Shed).await >= 33, "{}", edge.cut(Cut::Shed).await);
    assert_eq!(edge.cut(Cut::Full).await, 0);
}

#[tokio::test]
async fn where_all_have_requests_under_way_a_newcomer_is_turned_away() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("it is bound"));
    let edge = edge_within(&url, Bounds::of(1));
    let mut waiting = edge.connect().await;
    waiting.write_all(keep_alive("/api/acme.proxy-1/").as_bytes()).await.expect("the edge reads");
    let mut upstream = asked(&listener).await;
    let mut turned_away = says(&edge, b"G").await;
    timeout(SOON, closed(&mut turned_away)).await.expect("it is closed");
    upstream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.expect("the edge reads");
    assert_eq!(timeout(SOON, Answer::read_one(&mut waiting)).await.expect("an answer").status, 200);
    assert_eq!(edge.cut(Cut::Full).await, 1);
}

#[tokio::test]
async fn a_head_that_does_not_come_whole_is_not_waited_for() {
    let upstream = Upstream::echo().await;
    let edge = edge_within(&upstream.url(""), Bounds { head: BRIEF, ..Bounds::of(100) });
    let answered = keep_alive("/api/acme.proxy-1/");
    let half = format!("{answered}GET /api/acme.proxy-1/ HTTP/1.1\r\n");
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    // HEADERS that do not end.
    let open = [&preface[..], b"\0\0\x01\x01\0\0\0\0\x01\x82"].concat();
    let said: [&[u8]; 7] =
        [b"", b"G", b"GET / HTTP/1.1\r\nx-slow: ", b"PRI * HTTP/2.0\r\n", preface, &open, half.as_bytes()];
    let mut streams = Vec::new();
    for said in said {
        streams.push(says(&edge, said).await);
    }
    // The head that is behind an answer comes after it.
    let last = streams.last_mut().expect("there are some");
    assert_eq!(Answer::read_one(last).await.status, 200);
    last.write_all(b"x-slow: ").await.expect("the edge reads");
    closed_of(&mut streams, said.len()).await;
    assert_eq!(edge.cut(Cut::Late).await, said.len() as u64);
}

#[tokio::test]
async fn unfinished_heads_hold_no_more_than_their_share() {
    let upstream = Upstream::echo().await;
    let edge = edge_within(&upstream.url(""), Bounds { heads: 256 * 1024, ..Bounds::of(100) });
    let head = format!("GET / HTTP/1.1\r\nx-long: {}", "x".repeat(60_000));
    let mut streams = Vec::new();
    for _ in 0..30 {
        streams.push(says(&edge, head.as_bytes()).await);
    }
    closed_of(&mut streams, 30 - 256 * 1024 / 60_000).await;
    assert_eq!(edge.send(&get("/api/acme.proxy-1/", &with_key(1))).await.status, 200);
}

#[tokio::test]
async fn a_caller_that_does_not_read_its_answer_is_cut_off() {
    let upstream = Upstream::endless().await;
    let edge = edge_within(&upstream.url(""), Bounds { patience: BRIEF, ..Bounds::of(100) });
    let _kept = says(&edge, keep_alive("/api/acme.proxy-1/").as_bytes()).await;
    let record = timeout(SOON, edge.record()).await.expect("it is cut off");
    assert_eq!((record.status, record.aborted), (200, true));
    assert_eq!(edge.cut(Cut::Stalled).await, 1);
}

#[tokio::test]
async fn a_caller_that_reads_slowly_but_reads_is_served() {
    let upstream = Upstream::endless().await;
    let edge = edge_within(&upstream.url(""), Bounds { patience: BRIEF * 10, ..Bounds::of(100) });
    let mut stream = says(&edge, keep_alive("/api/acme.proxy-1/").as_bytes()).await;
    let (mut bytes, mut pace) = (vec![0; 128 * 1024], interval(BRIEF / 2));
    // For longer than a caller that does not read would be suffered.
    for _ in 0..25 {
        pace.tick().await;
        timeout(SOON, stream.read_exact(&mut bytes)).await.expect("more comes").expect("it is served");
    }
    assert_eq!(edge.cut(Cut::Stalled).await, 0);
}

/// Speaks HTTP/2 with small windows. The connection lives as long as the sender.
pub(super) async fn http2_to(edge: &Edge, tasks: &Tasks) -> http2::SendRequest<Empty<Bytes>> {
    let (sender, connection) = http2::Builder::new(TokioExecutor::new())
        .initial_stream_window_size(65_535)
        .handshake(TokioIo::new(edge.connect().await))
        .await
        .expect("it speaks HTTP/2");
    tasks.spawn("client", connection);
    sender
}

pub(super) fn ask(proxy: &str) -> http::Request<Empty<Bytes>> {
    http::Request::get(format!("http://edge/api/acme.{proxy}/"))
        .header("authorization", caller_key(1))
        .body(Empty::new())
        .expect("a request")
}

async fn read_to_end(mut body: Incoming) -> Result<(), hyper::Error> {
    while let Some(frame) = body.frame().await {
        frame?;
    }
    Ok(())
}

#[tokio::test]
async fn an_http2_answer_that_is_not_read_ends_alone_and_its_neighbours_go_on() {
    let (endless, echo) = (Upstream::endless().await, Upstream::echo().await);
    let region = Region::new();
    let mut all = resources(&region, &endless.url(""));
    all.push(fixture::target(3, &echo.url("")));
    all.push(region.upstream(4, 1, SECRET, HEADER, &[&echo.url("")]));
    all.push(fixture::proxy(2, &[1], 3, 4));
    let bounds = Bounds { patience: BRIEF, ..Bounds::of(100) };
    let edge = Edge::start_bounded(region.snapshot(&all), &["127.0.0.0/8"], Trust::new(None), bounds);
    let tasks = Tasks::new();
    let mut sender = http2_to(&edge, &tasks).await;
    let unread = sender.send_request(ask("proxy-1")).await.expect("an answer");
    let record = timeout(SOON, edge.record()).await.expect("it is ended");
    assert_eq!((record.status, record.aborted), (200, true));
    let answer = timeout(SOON, sender.send_request(ask("proxy-2"))).await.expect("in time");
    assert_eq!(answer.expect("the connection lives").status(), 200);
    let rest = timeout(SOON, read_to_end(unread.into_body())).await.expect("it has an end");
    assert!(rest.is_err(), "and the caller is told that it is not the right one");
}

#[tokio::test]
async fn a_caller_over_http2_that_answers_no_ping_is_closed() {
    let bounds = Bounds { pings: BRIEF, head: 2 * SOON, ..Bounds::of(100) };
    let edge = edge_within("http://127.0.0.1:1", bounds);
    let mut silent = says(&edge, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await;
    timeout(SOON, closed(&mut silent)).await.expect("it is closed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_waits_for_no_connection_without_a_request() {
    let (upstream, region) = (Upstream::echo().await, Region::new());
    let snapshot = region.snapshot(&resources(&region, &upstream.url("")));
    // Whoever has not asked is not ended for that.
    let bounds = Bounds { head: 2 * SOON, ..Bounds::of(100) };
    let edge = Edge::start_draining(snapshot, &["127.0.0.0/8"], bounds, SOON);
    let tasks = Tasks::new();
    let _silent = edge.connect().await;
    let mut over_http1 = edge.connect().await;
    over_http1.write_all(keep_alive("/api/acme.proxy-1/").as_bytes()).await.expect("the edge reads");
    assert_eq!(Answer::read_one(&mut over_http1).await.status, 200);
    let mut over_http2 = http2_to(&edge, &tasks).await;
    let answer = over_http2.send_request(ask("proxy-1")).await.expect("an answer");
    read_to_end(answer.into_body()).await.expect("it is whole");
    let began = std::time::Instant::now();
    edge.end().await;
    assert!(began.elapsed() < SOON, "it took {:?}", began.elapsed());
}

#[tokio::test]
async fn a_host_is_named_once() {
    let upstream = Upstream::echo().await;
    let edge = super::edge_to(&upstream.url("")).await;
    let good = get("/api/acme.proxy-1/", &with_key(1));
    let cases = [
        (good.clone(), 200),
        (good.replace("host: edge\r\n", "host: edge\r\nhost: edge\r\n"), 400),
        (good.replace("host: edge\r\n", "host: edge\r\nHost: other\r\n"), 400),
        (good.replace("host: edge\r\n", ""), 400),
        (good.replace("HTTP/1.1\r\nhost: edge\r\n", "HTTP/1.0\r\n"), 200),
        (good.replace("HTTP/1.1\r\nhost: edge\r\n", "HTTP/1.0\r\nhost: a\r\nhost: b\r\n"), 400),
    ];
    for (request, status) in cases {
        let answer = edge.send(&request).await;
        assert_eq!(answer.status, status, "{request}");
        let code = if status == 200 { "proxy-access-granted" } else { "malformed-request" };
        assert_eq!(answer.header("requestrocket-proxy-code"), Some(code), "{request}");
    }
    assert_eq!(upstream.count(), 2);
    let tasks = Tasks::new();
    let mut sender = http2_to(&edge, &tasks).await;
    for (hosts, status) in [(&["edge"][..], 200), (&["other"], 400), (&["edge", "other"], 400)] {
        let mut request = ask("proxy-1");
        for host in hosts {
            request.headers_mut().append("host", http::HeaderValue::from_static(host));
        }
        assert_eq!(sender.send_request(request).await.expect("an answer").status(), status, "{hosts:?}");
    }
}

#[tokio::test]
async fn a_request_has_as_many_headers_over_http2_as_over_http1() {
    let upstream = Upstream::echo().await;
    let edge = super::edge_to(&upstream.url("")).await;
    let tasks = Tasks::new();
    let mut sender = http2_to(&edge, &tasks).await;
    for (count, status) in [(100, 200), (127, 200), (128, 431), (500, 431)] {
        // Beside them there is the key, and over HTTP/1.1 the host and how the connection goes on.
        let mut request = ask("proxy-1");
        for n in 0..count {
            request.headers_mut().append("x-many", http::HeaderValue::from(n));
        }
        assert_eq!(sender.send_request(request).await.expect("an answer").status(), status, "{count}");
        let many: String = (0..count - 2).map(|n| format!("x-many: {n}\r\n")).collect();
        let answer = edge.send(&get("/api/acme.proxy-1/", &format!("{}{many}", with_key(1)))).await;
        assert_eq!(answer.status, status, "{count}");
    }
}
