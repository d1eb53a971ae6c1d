//! When a connection to an upstream is used again, and when not: the upstream is the test itself.

use std::time::Duration;

use prost::Message as _;
use rr_contract::wire::fleet;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::timeout;

use crate::fixture::{self, Region};

use super::edge::{Answer, Edge};
use super::{get, resources, resources_of_another, with_key};

/// Long for whatever has to happen; a test that waits for it has failed.
const FAILED: Duration = Duration::from_secs(20);

async fn edge_to_the_test() -> (Edge, TcpListener) {
    let region = Region::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let base_url = format!("http://{}", listener.local_addr().expect("it is bound"));
    let mut all = resources(&region, &base_url);
    all.extend(resources_of_another(&base_url));
    (Edge::start(region.snapshot(&all), &["127.0.0.0/8"]), listener)
}

async fn accept(listener: &TcpListener) -> TcpStream {
    timeout(FAILED, listener.accept()).await.expect("the edge connects anew").expect("it listens").0
}

/// Reads a request's head, and `body` behind it.
async fn read_request(stream: &mut TcpStream, body: &[u8]) -> Vec<u8> {
    let mut seen = Vec::new();
    let read = async {
        while !(seen.windows(4).any(|window| window == b"\r\n\r\n") && seen.ends_with(body)) {
            seen.push(stream.read_u8().await.expect("the edge sends"));
        }
    };
    timeout(FAILED, read).await.expect("a request comes here");
    seen
}

async fn say(stream: &mut TcpStream, text: &str) {
    stream.write_all(text.as_bytes()).await.expect("the edge reads");
}

const CLEAR: &str = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nclear";

fn acme() -> String {
    get("/api/acme.proxy-1/", &with_key(1))
}

/// Whether a second request comes on the connection that the first was answered on.
async fn is_used_again(request: &str, body: &str, answer: &str) -> bool {
    let (edge, listener) = edge_to_the_test().await;
    let first = async {
        let mut stream = accept(&listener).await;
        read_request(&mut stream, body.as_bytes()).await;
        say(&mut stream, answer).await;
        stream
    };
    let (seen, mut stream) = tokio::join!(edge.send(request), first);
    assert!(seen.status < 300, "{seen:?}");
    let second = async {
        let mut byte = [0];
        let again = async { stream.read(&mut byte).await.is_ok_and(|count| count > 0) };
        tokio::select! {
            true = again => {
                read_request(&mut stream, b"").await;
                say(&mut stream, CLEAR).await;
                true
            }
            mut another = accept(&listener) => {
                read_request(&mut another, b"").await;
                say(&mut another, CLEAR).await;
                false
            }
        }
    };
    let request = acme();
    let (seen, again) = tokio::join!(edge.send(&request), second);
    assert!(seen.text.ends_with("clear"), "{seen:?}");
    again
}

#[tokio::test]
async fn a_response_that_can_be_read_in_two_ways_ends_its_connection() {
    assert!(is_used_again(&acme(), "", CLEAR).await, "a clear one does not");
    let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n";
    assert!(is_used_again(&acme(), "", chunked).await, "nor does one in chunks");
    let head = acme().replace("GET", "HEAD");
    assert!(is_used_again(&head, "", "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n").await);
    for answer in [
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-length: 2\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\ncontent-length: 2, 2\r\n\r\nok",
        "HTTP/1.1 204 No Content\r\ncontent-length: 2\r\n\r\n",
        "HTTP/1.1 204 No Content\r\ntransfer-encoding: chunked\r\n\r\n",
        "HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 2\r\n\r\nok",
    ] {
        assert!(!is_used_again(&acme(), "", answer).await, "{answer}");
    }
}

#[tokio::test]
async fn an_upload_behind_an_answer_of_http_1_0_arrives_whole() {
    let (edge, listener) = edge_to_the_test().await;
    let old = "HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 5\r\n\r\nclear";
    let first = async {
        let mut stream = accept(&listener).await;
        read_request(&mut stream, b"").await;
        say(&mut stream, old).await;
        stream
    };
    let request = acme();
    let (answer, mut stream) = tokio::join!(edge.send(&request), first);
    assert_eq!(answer.status, 200);
    let chunks = "5\r\nhello\r\n0\r\n\r\n";
    let upload =
        acme().replace("GET", "POST").replace("connection", "transfer-encoding: chunked\r\nconnection");
    let second = async {
        // Wherever it comes.
        let mut byte = [0];
        let again = async { stream.read(&mut byte).await.is_ok_and(|count| count > 0) };
        tokio::select! {
            true = again => {
                read_request(&mut stream, chunks.as_bytes()).await;
                say(&mut stream, CLEAR).await;
            }
            mut another = accept(&listener) => {
                read_request(&mut another, chunks.as_bytes()).await;
                say(&mut another, CLEAR).await;
            }
        }
    };
    let request = format!("{upload}{chunks}");
    let (answer, ()) = tokio::join!(edge.send(&request), second);
    assert!(answer.text.ends_with("clear"), "{answer:?}");
}

#[tokio::test]
async fn lengths_that_came_twice_do_not_go_on_twice() {
    let (edge, listener) = edge_to_the_test().await;
    let upstream = async {
        let mut stream = accept(&listener).await;
        read_request(&mut stream, b"").await;
        say(&mut stream, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 2\r\n\r\n").await;
        stream
    };
    // Nobody but the headers says how long a body would be that is not sent.
    let request = acme().replace("GET", "HEAD");
    let (answer, _upstream) = tokio::join!(edge.send(&request), upstream);
    assert!(answer.status == 200 && answer.all("content-length").len() <= 1, "{answer:?}");
}

#[tokio::test]
async fn an_answer_before_the_request_was_whole_ends_its_connection() {
    let (edge, listener) = edge_to_the_test().await;
    let mut caller = edge.connect().await;
    let upload = acme().replace("GET", "POST").replace("connection: close", "content-length: 8");
    caller.write_all(format!("{upload}half").as_bytes()).await.expect("the edge reads");
    let mut first = accept(&listener).await;
    read_request(&mut first, b"half").await;
    say(&mut first, CLEAR).await;
    let early = timeout(FAILED, Answer::read_one(&mut caller)).await.expect("it is passed on");
    assert_eq!(early.status, 200);
    // What the upstream may take for the next request.
    caller.write_all(b"rest").await.expect("the edge reads");
    let rest = timeout(FAILED, first.read_exact(&mut [0; 4])).await;
    // Passed on or not, it is no reason to use the connection again.
    drop(rest);
    let second = async {
        let mut another = accept(&listener).await;
        read_request(&mut another, b"").await;
        say(&mut another, CLEAR).await;
    };
    let request = acme();
    let (answer, ()) = tokio::join!(edge.send(&request), second);
    assert_eq!(answer.status, 200);
}

#[tokio::test]
async fn an_answer_to_a_request_that_is_still_being_written_ends_its_connection() {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4096).expect("it takes less");
    socket.bind(([127, 0, 0, 1], 0).into()).expect("a free port");
    let listener = socket.listen(8).expect("it is bound");
    let base_url = format!("http://{}", listener.local_addr().expect("it is bound"));
    // A rule has the node read the body first.
    let check = fleet::BodyCheck { path: "a".to_owned(), value: None, absent: false };
    let when = fleet::RequestMatch { body: vec![check], ..fleet::RequestMatch::default() };
    let rule = fixture::rule_message(7, fixture::proxy_key(1));
    let rule = fleet::RuleResource { effect: fleet::Effect::Deny.into(), when: Some(when), ..rule };
    let region = Region::new();
    let mut all = resources(&region, &base_url);
    all.push(fixture::resource(fixture::rule_key(7), rule.encode_to_vec()));
    let edge = Edge::start(region.snapshot(&all), &["127.0.0.0/8"]);
    // More than the system takes of it at once.
    let body = format!("[\"{}\"]", "x".repeat(7 * 1024 * 1024));
    let upload = acme().replace("GET", "POST").replacen(
        "\r\n\r\n",
        &format!("\r\ncontent-length: {}\r\n\r\n{body}", body.len()),
        1,
    );
    let first = async {
        let mut stream = accept(&listener).await;
        while stream.read_u8().await.expect("the edge sends") != b'[' {}
        say(&mut stream, CLEAR).await;
        stream
    };
    let (answer, _first) = tokio::join!(edge.send(&upload), first);
    assert_eq!(answer.status, 200, "{answer:?}");
    let second = async {
        let mut another = accept(&listener).await;
        read_request(&mut another, b"").await;
        say(&mut another, CLEAR).await;
    };
    let request = acme();
    let (answer, ()) = tokio::join!(edge.send(&request), second);
    assert_eq!(answer.status, 200);
}

#[tokio::test]
async fn an_answer_that_nobody_asked_for_is_nobodys() {
    // In one piece with the answer that was asked for, or once that has been read.
    for at_once in [true, false] {
        for next in [acme(), get("/api/other.proxy-11/", &with_key(11))] {
            let (edge, listener) = edge_to_the_test().await;
            let evil = "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil";
            let first = async {
                let mut stream = accept(&listener).await;
                read_request(&mut stream, b"").await;
                say(&mut stream, &if at_once { format!("{CLEAR}{evil}") } else { CLEAR.to_owned() }).await;
                stream
            };
            let request = acme();
            let (answer, mut first) = tokio::join!(edge.send(&request), first);
            assert!(answer.text.ends_with("clear"), "{answer:?}");
            if !at_once {
                say(&mut first, evil).await;
            }
            let second = async {
                let mut another = accept(&listener).await;
                read_request(&mut another, b"").await;
                say(&mut another, CLEAR).await;
            };
            let (answer, ()) = tokio::join!(edge.send(&next), second);
            assert!(answer.text.ends_with("clear"), "{answer:?}");
        }
    }
}

#[tokio::test]
async fn a_connection_serves_nobody_else_before_its_response_has_ended() {
    let (edge, listener) = edge_to_the_test().await;
    let mut caller = edge.connect().await;
    caller.write_all(acme().as_bytes()).await.expect("the edge reads");
    let mut first = accept(&listener).await;
    read_request(&mut first, b"").await;
    say(&mut first, "HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\nhalf").await;
    let mut seen = Vec::new();
    while !seen.ends_with(b"half") {
        seen.push(timeout(FAILED, caller.read_u8()).await.expect("it streams").expect("the edge answers"));
    }
    let second = async {
        let mut another = accept(&listener).await;
        read_request(&mut another, b"").await;
        say(&mut another, CLEAR).await;
    };
    let request = acme();
    let (answer, ()) = tokio::join!(edge.send(&request), second);
    assert!(answer.text.ends_with("clear"), "{answer:?}");
    say(&mut first, "rest").await;
    let mut rest = Vec::new();
    timeout(FAILED, caller.read_to_end(&mut rest)).await.expect("it ends").expect("the edge answers");
    assert_eq!(rest, b"rest");
}

#[tokio::test]
async fn a_caller_that_leaves_in_the_middle_of_a_response_ends_its_connection_and_is_recorded_so() {
    let (edge, listener) = edge_to_the_test().await;
    let mut caller = edge.connect().await;
    caller.write_all(acme().as_bytes()).await.expect("the edge reads");
    let mut first = accept(&listener).await;
    read_request(&mut first, b"").await;
    say(&mut first, "HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\nhalf").await;
    let mut seen = Vec::new();
    while !seen.ends_with(b"half") {
        seen.push(timeout(FAILED, caller.read_u8()).await.expect("it streams").expect("the edge answers"));
    }
    drop(caller);
    let end = timeout(FAILED, first.read(&mut [0])).await.expect("the edge lets go");
    assert!(end.is_err() || end.is_ok_and(|count| count == 0));
    let record = timeout(FAILED, edge.record()).await.expect("a record");
    assert_eq!((record.aborted, record.response_bytes), (true, 4));
}

#[tokio::test]
async fn a_request_whose_bytes_went_out_is_not_sent_again() {
    let (edge, listener) = edge_to_the_test().await;
    let first = async {
        let mut stream = accept(&listener).await;
        read_request(&mut stream, b"").await;
        say(&mut stream, CLEAR).await;
        stream
    };
    let request = acme();
    let (answer, mut stream) = tokio::join!(edge.send(&request), first);
    assert_eq!(answer.status, 200);
    // It takes the second one on the same connection, and closes that.
    let take = async {
        read_request(&mut stream, b"").await;
        drop(stream);
    };
    let once = async { tokio::join!(edge.send(&request), take).0 };
    let answer = tokio::select! {
        answer = timeout(FAILED, once) => answer.expect("it is answered"),
        _ = listener.accept() => panic!("it was sent again"),
    };
    assert_eq!((answer.status, answer.json()["code"].clone()), (502, "upstream-unreachable".into()));
}

#[tokio::test]
async fn an_upstream_may_send_as_many_headers_as_a_caller() {
    for (count, status) in [(128, 200), (129, 502)] {
        let (edge, listener) = edge_to_the_test().await;
        let upstream = async {
            let mut stream = accept(&listener).await;
            read_request(&mut stream, b"").await;
            let headers: String = (1..count).map(|n| format!("x-{n}: {n}\r\n")).collect();
            say(&mut stream, &format!("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n{headers}\r\n")).await;
            stream
        };
        let request = acme();
        let (answer, _upstream) = tokio::join!(edge.send(&request), upstream);
        assert_eq!(answer.status, status, "{count}");
    }
}

#[tokio::test]
async fn a_body_that_is_coded_for_one_hop_is_not_passed_on_without_its_coding() {
    let (edge, listener) = edge_to_the_test().await;
    let coded =
        acme().replace("GET", "POST").replace("connection: close", "transfer-encoding: gzip, chunked");
    let mut caller = edge.connect().await;
    caller.write_all(format!("{coded}2\r\nzz\r\n0\r\n\r\n").as_bytes()).await.expect("the edge reads");
    let answer = timeout(FAILED, Answer::read_one(&mut caller)).await.expect("it is answered");
    assert_eq!((answer.status, answer.json()["code"].clone()), (400, "malformed-request".into()));
    let upstream = async {
        let mut stream = accept(&listener).await;
        read_request(&mut stream, b"").await;
        let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n";
        say(&mut stream, &format!("{head}2\r\nzz\r\n0\r\n\r\n")).await;
        stream
    };
    let request = acme();
    let (answer, _upstream) = tokio::join!(edge.send(&request), upstream);
    assert_eq!((answer.status, answer.json()["code"].clone()), (502, "upstream-unreachable".into()));
}
