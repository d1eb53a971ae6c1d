//! Bodies that are slow, cut off or broken, and who is blamed.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::fixture::{self, Region};

use super::edge::{Answer, Edge};
use super::{get, resources, with_key};

/// An edge whose upstream is the test itself, and has 100 ms for each head.
async fn edge_to_the_test() -> (Edge, TcpListener) {
    let region = Region::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let base_url = format!("http://{}", listener.local_addr().expect("it is bound"));
    let mut all = resources(&region, &base_url);
    all.push(fixture::target_with_timeouts(1, &base_url, 1_000, 100));
    (Edge::start(region.snapshot(&all), &["127.0.0.0/8"]), listener)
}

fn post(framing: &str) -> String {
    get("/api/acme.proxy-1/", &format!("{}{framing}\r\n", with_key(1))).replace("GET", "POST")
}

async fn read_until(stream: &mut TcpStream, end: &[u8]) {
    let mut seen = Vec::new();
    while !seen.ends_with(end) {
        seen.push(stream.read_u8().await.expect("the edge sends"));
    }
}

#[tokio::test]
async fn the_clock_for_an_answer_starts_at_the_end_of_a_slow_upload() {
    let (edge, listener) = edge_to_the_test().await;
    let answer = async {
        let (mut upstream, _) = listener.accept().await.expect("the edge connects");
        read_until(&mut upstream, b"end").await;
        upstream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.expect("the edge reads");
        upstream
    };
    let mut caller = edge.connect().await;
    let upload = async {
        caller.write_all(post("content-length: 13").as_bytes()).await.expect("the edge reads");
        // As slow as the caller is, it is not the upstream that is late.
        let mut pace = tokio::time::interval(Duration::from_millis(30));
        for part in [b"0", b"1", b"2", b"3", b"4", b"5", b"6", b"7", b"8", b"9"] {
            pace.tick().await;
            caller.write_all(part).await.expect("the edge reads");
        }
        caller.write_all(b"end").await.expect("the edge reads");
        Answer::read_one(&mut caller).await
    };
    let (answer, _upstream) = tokio::join!(upload, answer);
    assert_eq!(answer.status, 200, "{answer:?}");
}

#[tokio::test]
async fn an_upload_that_came_whole_and_is_not_answered_is_the_upstreams_fault() {
    let (edge, listener) = edge_to_the_test().await;
    let take = async {
        let (mut upstream, _) = listener.accept().await.expect("the edge connects");
        read_until(&mut upstream, b"end").await;
        upstream
    };
    let request = format!("{}end", post("content-length: 3"));
    let (answer, _upstream) = tokio::join!(edge.send(&request), take);
    assert_eq!((answer.status, answer.json()["code"].clone()), (504, "upstream-timeout".into()));
}

#[tokio::test]
async fn a_caller_that_goes_away_in_the_middle_of_its_body_is_not_the_upstreams_fault() {
    for framing in ["content-length: 100\r\n\r\npart", "transfer-encoding: chunked\r\n\r\n4\r\npart\r\n"] {
        let (edge, listener) = edge_to_the_test().await;
        let mut caller = edge.connect().await;
        caller.write_all(post(framing).trim_end_matches("\r\n").as_bytes()).await.expect("the edge reads");
        let (mut upstream, _) = listener.accept().await.expect("the edge connects");
        read_until(&mut upstream, b"part").await;
        drop(caller);
        let record = tokio::time::timeout(Duration::from_secs(5), edge.record()).await.expect("a record");
        assert_eq!((record.status, record.aborted, &*record.code), (0, true, "caller-gone"));
    }
}

#[tokio::test]
async fn a_body_that_is_framed_wrongly_is_a_malformed_request() {
    let (edge, _upstream) = edge_to_the_test().await;
    let request = format!("{}4\r\npart\r\nnonsense\r\n", post("transfer-encoding: chunked"));
    let answer = edge.send(&request).await;
    assert_eq!((answer.status, answer.json()["code"].clone()), (400, "malformed-request".into()));
    assert_eq!(&*edge.record().await.code, "malformed-request");
}

#[tokio::test]
async fn a_body_of_unknown_length_goes_on_whatever_the_method() {
    for method in ["GET", "HEAD", "OPTIONS", "DELETE", "PUT", "POST"] {
        let (edge, listener) = edge_to_the_test().await;
        let take = async {
            let (mut upstream, _) = listener.accept().await.expect("the edge connects");
            let whole = async { read_until(&mut upstream, b"\r\n\r\n5\r\nhello\r\n0\r\n\r\n").await };
            let is_whole = tokio::time::timeout(Duration::from_millis(90), whole).await.is_ok();
            upstream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.expect("it reads");
            is_whole
        };
        let request = format!("{}5\r\nhello\r\n0\r\n\r\n", post("transfer-encoding: chunked"));
        let request = request.replace("POST", method);
        let (answer, is_whole) = tokio::join!(edge.send(&request), take);
        assert_eq!((answer.status, is_whole), (200, true), "{method}");
    }
}
