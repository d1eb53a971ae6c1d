//! How long a response may take, as its target says, and whose silence it is.

use std::time::Duration;

use rr_contract::wire::fleet;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, interval, timeout};

use crate::fixture::{self, Region, millis};
use crate::upstream::CALLER_IDLE;

use super::edge::{Answer, Edge};
use super::{get, resources, with_key};

/// No test waits for longer than this, whatever the guard does.
const SOON: Duration = Duration::from_secs(20);
/// What the targets allow here.
const BRIEF: u64 = 500;

/// An edge whose upstream is the test itself.
async fn edge_to_the_test(change: impl FnOnce(&mut fleet::TargetResource)) -> (Edge, TcpListener) {
    let region = Region::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let base_url = format!("http://{}", listener.local_addr().expect("it is bound"));
    let mut all = resources(&region, &base_url);
    let mut target = fixture::target_message(1, &base_url);
    change(&mut target);
    all.push(fixture::target_of(1, &target));
    (Edge::start(region.snapshot(&all), &["127.0.0.0/8"]), listener)
}

fn idle(target: &mut fleet::TargetResource) {
    target.idle_timeout = millis(BRIEF);
}

fn total(target: &mut fleet::TargetResource) {
    target.total_timeout = millis(BRIEF);
}

fn keep_alive() -> String {
    get("/api/acme.proxy-1/", &with_key(1)).replace("connection: close\r\n", "")
}

async fn ask(edge: &Edge, request: &str) -> TcpStream {
    let mut caller = edge.connect().await;
    caller.write_all(request.as_bytes()).await.expect("the edge reads");
    caller
}

/// The upstream's side of a connection, once this much of a request is there.
async fn asked(listener: &TcpListener, end: &[u8]) -> TcpStream {
    let (mut upstream, _) =
        timeout(SOON, listener.accept()).await.expect("in time").expect("the edge connects");
    let mut seen = Vec::new();
    while !seen.ends_with(end) {
        seen.push(timeout(SOON, upstream.read_u8()).await.expect("in time").expect("the edge sends"));
    }
    upstream
}

async fn say(stream: &mut TcpStream, text: &str) {
    stream.write_all(text.as_bytes()).await.expect("the edge reads");
}

async fn closed(stream: &mut TcpStream) {
    let mut bytes = [0; 4096];
    let reading = async { while stream.read(&mut bytes).await.is_ok_and(|count| count > 0) {} };
    timeout(SOON, reading).await.expect("it is closed");
}

const HEAD: &str = "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n";

#[tokio::test]
async fn an_upstream_that_falls_silent_in_the_middle_of_its_answer_is_not_waited_for() {
    let (edge, listener) = edge_to_the_test(idle).await;
    let mut caller = ask(&edge, &keep_alive()).await;
    let mut upstream = asked(&listener, b"\r\n\r\n").await;
    say(&mut upstream, HEAD).await;
    // Slow, but not silent, for longer than the silence may last.
    let mut pace = interval(Duration::from_millis(BRIEF / 4));
    for _ in 0..8 {
        pace.tick().await;
        say(&mut upstream, "part").await;
    }
    closed(&mut caller).await;
    let record = edge.record().await;
    assert_eq!((record.status, record.aborted, record.response_bytes), (200, true, 32));
    assert_eq!(record.code, "upstream-idle");
    // Nor is the connection to the upstream used again.
    closed(&mut upstream).await;
}

#[tokio::test]
async fn the_silence_of_an_upstream_that_waits_for_the_caller_is_not_its_own() {
    let (edge, listener) = edge_to_the_test(idle).await;
    let upload = keep_alive().replace("GET", "POST").replacen("\r\n\r\n", "\r\ncontent-length: 6\r\n\r\n", 1);
    let mut caller = ask(&edge, &format!("{upload}up")).await;
    let mut upstream = asked(&listener, b"up").await;
    say(&mut upstream, "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nda").await;
    // It says nothing for three times as long as it may, because it has nothing to answer yet.
    let mut pace = interval(Duration::from_millis(3 * BRIEF));
    pace.tick().await;
    pace.tick().await;
    say(&mut caller, "load").await;
    upstream.read_exact(&mut [0; 4]).await.expect("the edge sends");
    say(&mut upstream, "ta").await;
    let answer = timeout(SOON, Answer::read_one(&mut caller)).await.expect("it is whole");
    assert!(answer.text.ends_with("data"), "{answer:?}");
    assert!(!edge.record().await.aborted);
}

#[tokio::test]
async fn a_caller_that_stops_in_its_upload_is_not_waited_for_long_while_its_answer_waits_for_it() {
    let (edge, listener) = edge_to_the_test(idle).await;
    let upload = keep_alive().replace("GET", "POST").replacen("\r\n\r\n", "\r\ncontent-length: 6\r\n\r\n", 1);
    let mut caller = ask(&edge, &format!("{upload}up")).await;
    let mut upstream = asked(&listener, b"up").await;
    say(&mut upstream, "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nda").await;
    let mut seen = Vec::new();
    while !seen.ends_with(b"\r\n\r\nda") {
        seen.push(timeout(SOON, caller.read_u8()).await.expect("in time").expect("the edge answers"));
    }
    edge.skips(CALLER_IDLE - Duration::from_secs(2)).await;
    assert!(caller.try_read(&mut [0]).is_err(), "it is still open");
    edge.skips(Duration::from_secs(4)).await;
    closed(&mut caller).await;
    let record = edge.record().await;
    assert_eq!(
        (record.aborted, &*record.code),
        (true, "request-timeout"),
        "it is not the upstream's silence"
    );
}

#[tokio::test]
async fn once_the_upload_is_whole_silence_is_the_upstreams() {
    let (edge, listener) = edge_to_the_test(idle).await;
    let upload = keep_alive().replace("GET", "POST").replacen("\r\n\r\n", "\r\ncontent-length: 6\r\n\r\n", 1);
    let mut caller = ask(&edge, &format!("{upload}up")).await;
    let mut upstream = asked(&listener, b"up").await;
    say(&mut upstream, HEAD).await;
    say(&mut caller, "load").await;
    closed(&mut caller).await;
    assert_eq!(edge.record().await.code, "upstream-idle");
}

#[tokio::test]
async fn a_request_takes_no_longer_than_its_target_allows_in_all() {
    // Before the head: the caller is told.
    let (edge, listener) = edge_to_the_test(total).await;
    let began = Instant::now();
    let request = get("/api/acme.proxy-1/", &with_key(1));
    let (answer, upstream) = tokio::join!(edge.send(&request), asked(&listener, b"\r\n\r\n"));
    assert_eq!((answer.status, answer.json()["code"].clone()), (504, "upstream-total-timeout".into()));
    assert!(began.elapsed() >= Duration::from_millis(BRIEF), "{:?}", began.elapsed());
    drop(upstream);
    assert_eq!(edge.record().await.code, "upstream-total-timeout");
    // After it: the answer is broken off, however much of it comes.
    let mut caller = ask(&edge, &keep_alive()).await;
    let mut upstream = asked(&listener, b"\r\n\r\n").await;
    say(&mut upstream, "HTTP/1.1 200 OK\r\ncontent-length: 1000000000000\r\n\r\n").await;
    let part = vec![b'x'; 64 * 1024];
    let flood = async { while upstream.write_all(&part).await.is_ok() {} };
    timeout(SOON, async { tokio::join!(flood, closed(&mut caller)) }).await.expect("it is cut off");
    let record = edge.record().await;
    assert_eq!((record.status, record.aborted, &*record.code), (200, true, "upstream-total-timeout"));
}

#[tokio::test]
async fn a_target_that_sets_no_limit_in_all_has_none() {
    let (edge, listener) = edge_to_the_test(|_| {}).await;
    let mut caller = ask(&edge, &keep_alive()).await;
    let mut upstream = asked(&listener, b"\r\n\r\n").await;
    let mut pace = interval(Duration::from_millis(2 * BRIEF));
    pace.tick().await;
    pace.tick().await;
    say(&mut upstream, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
    let answer = timeout(SOON, Answer::read_one(&mut caller)).await.expect("it is whole");
    assert_eq!(answer.status, 200);
}
