//! HTTP/1.1 as callers and upstreams speak it: connections that are kept, `Expect`, interim answers.

use std::time::Duration;

use rr_integration::plain::{Said, converse, find, listen};
use rr_integration::standalone::{Behind, Standalone};
use rr_integration::strict::Strict;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

/// Long for whatever has to happen; a test that waits for it has failed.
const FAILED: Duration = Duration::from_secs(20);

/// Reads until a part has come.
async fn read_until(stream: &mut TcpStream, part: &[u8]) -> Vec<u8> {
    let mut seen = Vec::new();
    let read = async {
        while find(&seen, part).is_none() {
            seen.push(stream.read_u8().await.unwrap_or_else(|_| panic!("no {part:?} in {seen:?}")));
        }
    };
    timeout(FAILED, read).await.unwrap_or_else(|_| panic!("no {}", String::from_utf8_lossy(part)));
    seen
}

/// A node whose upstream is the test.
async fn node_to_the_test() -> (Standalone, TcpListener) {
    let upstream = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", upstream.local_addr().expect("it is bound"));
    let behind = Behind::new("test", &url).target("response_timeout: 1s").proxy("max_request_bytes: 1000");
    let open = Behind::new("open", &url).target("response_timeout: 1s");
    (Standalone::start(&[behind, open], &[]).await, upstream)
}

fn request(node: &Standalone, first: &str, lines: &str) -> String {
    format!("{first} HTTP/1.1\r\nhost: edge\r\nauthorization: {}\r\n{lines}\r\n", node.key())
}

async fn accept(listener: &TcpListener) -> TcpStream {
    timeout(FAILED, listener.accept()).await.expect("the node connects").expect("it listens").0
}

#[tokio::test]
async fn connections_are_kept_or_closed_as_callers_say() {
    let upstream = Strict::start().await;
    let node = Standalone::start(&[Behind::new("strict", &upstream.url())], &[]).await;
    let ask = |version: &str, lines: &str| {
        request(&node, "GET /api/local.strict/", lines).replace("HTTP/1.1", version)
    };
    let last = ask("HTTP/1.1", "connection: close\r\n");
    for (version, lines, answers) in [
        ("HTTP/1.1", "", 2),
        ("HTTP/1.1", "connection: keep-alive\r\n", 2),
        ("HTTP/1.1", "connection: close\r\n", 1),
        ("HTTP/1.1", "connection: Close, x\r\n", 1),
        ("HTTP/1.1", "connection: keep-alive\r\nconnection: close\r\n", 1),
        ("HTTP/1.0", "", 1),
        ("HTTP/1.0", "connection: keep-alive\r\n", 2),
    ] {
        let said = converse(node.listen(), &[ask(version, lines).as_bytes(), last.as_bytes()]).await;
        assert_eq!(said.statuses(), vec![200; answers], "{version} {lines}: {}", said.text());
    }
}

#[tokio::test]
async fn a_caller_that_waits_with_its_body_is_told_to_send_it_only_when_it_is_wanted() {
    let (node, upstream) = node_to_the_test().await;
    let expects = "expect: 100-continue\r\ncontent-length: 5\r\n";
    // Wanted: the upstream takes it, and is told nothing of the wait.
    let mut caller = node.connect().await;
    let head = request(&node, "POST /api/local.test/", expects);
    caller.write_all(head.as_bytes()).await.expect("the node reads");
    read_until(&mut caller, b"HTTP/1.1 100 Continue\r\n\r\n").await;
    caller.write_all(b"hello").await.expect("the node reads");
    let mut stream = accept(&upstream).await;
    let seen = read_until(&mut stream, b"hello").await;
    assert!(find(&seen.to_ascii_lowercase(), b"expect").is_none(), "{}", String::from_utf8_lossy(&seen));
    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.expect("the node reads");
    read_until(&mut caller, b"HTTP/1.1 200 OK").await;
    // Not wanted: whoever is refused is told so, and not to send.
    for (first, lines, status) in [
        ("POST /api/local.test/", expects.to_owned(), 401),
        ("POST /api/local.none/", expects.to_owned(), 401),
        ("TRACE /api/local.test/", expects.to_owned(), 405),
        ("POST /api/local.test/%2f", expects.to_owned(), 400),
        ("POST /api/local.test/", expects.replace("length: 5", "length: 5000"), 413),
    ] {
        let mut caller = node.connect().await;
        let head = request(&node, first, &lines);
        let head = if status == 401 { head.replace(node.key(), "nobody") } else { head };
        caller.write_all(head.as_bytes()).await.expect("the node reads");
        let seen = read_until(&mut caller, b"\r\n\r\n").await;
        let wanted = format!("HTTP/1.1 {status} ");
        assert!(seen.starts_with(wanted.as_bytes()), "{first}: {}", String::from_utf8_lossy(&seen));
        // What it sends all the same is its body, or nothing is read any more.
        let hidden = "GET /api/local.test/hidden HTTP/1.1\r\n\r\n";
        drop(caller.write_all(hidden.as_bytes()).await);
    }
    // Another expectation is nobody's here.
    let waiting = request(&node, "POST /api/local.test/", "expect: a-miracle\r\ncontent-length: 5\r\n");
    let mut caller = node.connect().await;
    caller.write_all(format!("{waiting}hello").as_bytes()).await.expect("the node reads");
    let seen = read_until(&mut stream, b"hello").await;
    assert!(find(&seen, b"/hidden").is_none() && find(&seen, b"miracle").is_none(), "{seen:?}");
}

/// What a caller gets of an upstream that answers with these bytes and leaves.
async fn answered(node: &Standalone, upstream: &TcpListener, bytes: &[u8]) -> Said {
    let mut caller = node.connect().await;
    let ask = request(node, "GET /api/local.open/", "connection: close\r\n");
    caller.write_all(ask.as_bytes()).await.expect("the node reads");
    let mut stream = accept(upstream).await;
    read_until(&mut stream, b"\r\n\r\n").await;
    stream.write_all(bytes).await.expect("the node reads");
    let said = listen(&mut caller, FAILED).await;
    assert!(said.ended);
    said
}

#[tokio::test]
async fn interim_answers_are_swallowed_and_counted_and_more_than_64_are_too_many() {
    let (node, upstream) = node_to_the_test().await;
    let answer = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok";
    let hint = "HTTP/1.1 103 Early Hints\r\nlink: </a>; rel=preload\r\n\r\n";
    let cases = [(0, 200), (1, 200), (64, 200), (65, 502)];
    for (count, status) in cases {
        let said = answered(&node, &upstream, format!("{}{answer}", hint.repeat(count)).as_bytes()).await;
        assert_eq!(said.statuses(), [status], "{count}: {}", said.text());
        assert!(find(&said.bytes, b"rel=preload").is_none());
    }
    // One that was not asked for, and one that promises more.
    let asked = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n";
    assert_eq!(answered(&node, &upstream, format!("{asked}{answer}").as_bytes()).await.statuses(), [200]);
    // After an interim answer there is still only one second for the answer.
    assert_eq!(answered(&node, &upstream, hint.as_bytes()).await.statuses(), [504]);
    let records = node.records(6).await;
    let counted: Vec<u64> =
        records.iter().map(|record| record["interim_responses"].as_u64().unwrap_or(0)).collect();
    assert_eq!(counted, [0, 1, 64, 65, 2, 1]);
}
