//! What is left of a request once it ended: its connection, its record, and a second try where nothing went out.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use super::edge::{Answer, Edge};
use super::origin::Upstream;
use super::{edge_to, get, with_key};

const SOON: Duration = Duration::from_secs(20);

fn keep_alive() -> String {
    get("/api/acme.proxy-1/", &with_key(1)).replace("connection: close\r\n", "")
}

/// An edge whose upstream is the test.
async fn edge_to_the_test() -> (Edge, TcpListener) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("it is bound"));
    (edge_to(&url).await, listener)
}

async fn accepted(listener: &TcpListener) -> TcpStream {
    timeout(SOON, listener.accept()).await.expect("the edge connects").expect("it listens").0
}

/// Reads up to and with this.
async fn read_until(stream: &mut TcpStream, end: &[u8]) {
    let mut seen = Vec::new();
    while !seen.ends_with(end) {
        seen.push(timeout(SOON, stream.read_u8()).await.expect("in time").expect("the other side sends"));
    }
}

#[tokio::test]
async fn a_connection_is_handed_on_when_its_response_has_ended_and_not_before() {
    let (edge, listener) = edge_to_the_test().await;
    let (mut first, mut second) = (edge.connect().await, edge.connect().await);
    first.write_all(keep_alive().as_bytes()).await.expect("the edge reads");
    let mut streaming = accepted(&listener).await;
    read_until(&mut streaming, b"\r\n\r\n").await;
    streaming.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nbegin").await.expect("the edge reads");
    read_until(&mut first, b"begin").await;
    assert_eq!(edge.idle_upstreams().await, 0, "its response has not ended");

    second.write_all(keep_alive().as_bytes()).await.expect("the edge reads");
    let mut other = accepted(&listener).await;
    read_until(&mut other, b"\r\n\r\n").await;
    other.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.expect("the edge reads");
    assert_eq!(timeout(SOON, Answer::read_one(&mut second)).await.expect("an answer").status, 200);

    streaming.write_all(b"-ends").await.expect("the edge reads");
    read_until(&mut first, b"-ends").await;
    // Both are free now.
    for caller in [&mut first, &mut second] {
        caller.write_all(keep_alive().as_bytes()).await.expect("the edge reads");
    }
    for upstream in [&mut streaming, &mut other] {
        read_until(upstream, b"\r\n\r\n").await;
        upstream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.expect("the edge reads");
    }
    for caller in [&mut first, &mut second] {
        read_until(caller, b"\r\n\r\n").await;
    }
}

#[tokio::test]
async fn a_caller_that_leaves_in_the_middle_of_an_answer_leaves_no_connection_and_a_record_that_says_so() {
    let (edge, listener) = edge_to_the_test().await;
    let mut caller = edge.connect().await;
    caller.write_all(keep_alive().as_bytes()).await.expect("the edge reads");
    let mut upstream = accepted(&listener).await;
    read_until(&mut upstream, b"\r\n\r\n").await;
    upstream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nbegin").await.expect("the edge reads");
    read_until(&mut caller, b"begin").await;
    drop(caller);
    let record = timeout(SOON, edge.record()).await.expect("a record");
    assert_eq!((record.status, record.response_bytes, record.aborted), (200, 5, true));
    let ended = async { while upstream.read(&mut [0; 64]).await.is_ok_and(|count| count > 0) {} };
    timeout(SOON, ended).await.expect("the connection ends");
}

#[tokio::test]
async fn a_request_that_meets_a_connection_as_it_closes_goes_out_on_a_new_one() {
    let (edge, listener) = edge_to_the_test().await;
    let mut caller = edge.connect().await;
    caller.write_all(keep_alive().as_bytes()).await.expect("the edge reads");
    let mut upstream = accepted(&listener).await;
    read_until(&mut upstream, b"\r\n\r\n").await;
    upstream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.expect("the edge reads");
    read_until(&mut caller, b"\r\n\r\n").await;

    // The worker stands still while both happen, and hears of the request first.
    let held = edge.hold().await;
    caller.write_all(keep_alive().as_bytes()).await.expect("it fits");
    drop(upstream);
    drop(held);
    let mut next = accepted(&listener).await;
    read_until(&mut next, b"\r\n\r\n").await;
    next.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.expect("the edge reads");
    read_until(&mut caller, b"\r\n\r\n").await;
    // The old one was seen to have ended although nothing had read it yet: it was not even tried.
    assert_eq!(edge.checkouts(), (2, 0));
    let record = async { (edge.record().await, edge.record().await).1 };
    let record = timeout(SOON, record).await.expect("a record");
    assert_eq!((record.status, record.aborted), (204, false));
}

#[tokio::test]
async fn bytes_are_counted_to_the_last_one() {
    let upstream = Upstream::mirror().await;
    let edge = edge_to(&upstream.url("")).await;
    for length in [0, 1, 65_537, 300_000] {
        let body = "x".repeat(length);
        let post = get("/api/acme.proxy-1/", &format!("{}content-length: {length}\r\n", with_key(1)));
        let answer = edge.send(&format!("{}{body}", post.replace("GET", "POST"))).await;
        assert_eq!(answer.status, 200);
        let record = edge.record().await;
        assert_eq!((record.request_bytes, record.response_bytes), (length as u64, length as u64));
        let chunked = get("/api/acme.proxy-1/", &format!("{}transfer-encoding: chunked\r\n", with_key(1)));
        let chunk = if length == 0 { String::new() } else { format!("{length:x}\r\n{body}\r\n") };
        edge.send(&format!("{}{chunk}0\r\n\r\n", chunked.replace("GET", "POST"))).await;
        // What frames the body is no part of it.
        let record = edge.record().await;
        assert_eq!((record.request_bytes, record.response_bytes), (length as u64, length as u64));
    }
    let denied = edge.send(&get("/api/acme.proxy-1/", "")).await;
    let body = denied.text.split_once("\r\n\r\n").map(|(_, body)| body.len() as u64);
    let record = edge.record().await;
    assert_eq!((record.request_bytes, Some(record.response_bytes)), (0, body));
    let head = get("/api/acme.proxy-1/", "").replace("GET", "HEAD");
    edge.send(&head).await;
    let record = edge.record().await;
    assert_eq!((record.response_bytes, record.aborted), (0, false));
}
