//! Bodies that rules and filters have to see whole: however many come at once, the memory of a node has a bound.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{Empty, Full};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rr_contract::runtime::Tasks;
use rr_integration::caller::Caller;
use rr_integration::standalone::{Behind, Standalone};
use rr_integration::upstream::Upstream;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Long for whatever has to happen; a test that waits for it has failed.
const FAILED: Duration = Duration::from_secs(60);
const MIB: usize = 1024 * 1024;
/// Together they are far more than the node may hold.
const COUNT: usize = 40;
const LONG: usize = 7 * MIB;
/// Of 32 MiB for bodies an organization has half; as much again is for connections and what they buffer.
const MEMORY: u64 = 48 * 1024 * 1024;

const POLICY: &str = "---
kind: filter
name: takes
proxy: filtered
action: destroy
paths: [secret]
---
kind: rule
name: looks
proxy: ruled
effect: deny
when:
  body:
    - path: m
      value: { regex: '^no$' }
";

/// A node in front of an upstream that answers with a long document, and with a short one for `/plain`.
async fn node() -> (Upstream, Standalone) {
    let long = Bytes::from(format!(r#"{{"secret":1,"kept":"{}"}}"#, "x".repeat(LONG)));
    let upstream = Upstream::start_with(move |seen| {
        let is_long = seen.uri.path() == "/long";
        let mut response = Response::new(Full::new(if is_long { long.clone() } else { "{}".into() }));
        response.headers_mut().insert("content-type", http::HeaderValue::from_static("application/json"));
        response
    })
    .await;
    let behind = ["filtered", "ruled", "plain"].map(|name| Behind::new(name, &upstream.url()));
    let node = Standalone::start_with(&behind, POLICY, &["--gathered-bodies-mib", "32"]).await;
    (upstream, node)
}

async fn serves_others(node: &Standalone) {
    let others = Caller::new(node.listen(), "local.plain", node.key());
    for _ in 0..30 {
        assert_eq!(others.get("/plain").await.status, 200);
    }
}

#[tokio::test]
async fn answers_that_a_filter_goes_over_take_no_more_memory_than_there_is_for_them() {
    let ((_upstream, node), tasks) = (node().await, Tasks::new());
    let before = node.process.resident().expect("it runs");
    let (sender, connection) = http2::Builder::new(TokioExecutor::new())
        .initial_stream_window_size(65_535)
        .handshake(TokioIo::new(node.connect().await))
        .await
        .expect("it speaks HTTP/2");
    tasks.spawn("caller", connection);
    let asked = (0..COUNT).map(|_| {
        let mut sender = sender.clone();
        let request = Request::get("http://edge/api/local.filtered/long")
            .header("authorization", node.key())
            .body(Empty::<Bytes>::new())
            .expect("a request");
        tasks.spawn("request", async move { sender.send_request(request).await.expect("an answer") })
    });
    let mut answers = Vec::new();
    for asked in asked.collect::<Vec<_>>() {
        answers.push(timeout(FAILED, asked).await.expect("in time").expect("no panic"));
    }
    serves_others(&node).await;
    let grown = node.process.peak().expect("it runs").saturating_sub(before);
    assert!(grown < MEMORY, "{grown} bytes more");
    let granted = answers.iter().filter(|answer| answer.status() == StatusCode::OK).count();
    let refused = answers.iter().filter(|answer| {
        answer.status() == StatusCode::SERVICE_UNAVAILABLE
            && answer.headers()["requestrocket-proxy-code"] == "too-many-bodies"
    });
    // Nobody reads them: two are all that there is room for.
    assert!((1..=2).contains(&granted), "{granted}");
    assert_eq!(refused.count(), COUNT - granted);
    drop(answers);
    tasks.abort();
}

/// Sends all of an upload but its end.
async fn upload(mut stream: TcpStream, head: String) -> TcpStream {
    // It may be refused meanwhile.
    let mut goes_on = stream.write_all(head.as_bytes()).await.is_ok();
    let piece = [format!("{MIB:x}\r\n").as_bytes(), &vec![b' '; MIB], b"\r\n"].concat();
    for _ in 0..LONG / MIB {
        goes_on = goes_on && stream.write_all(&piece).await.is_ok();
    }
    stream
}

#[tokio::test]
async fn uploads_that_a_rule_looks_at_take_no_more_memory_than_there_is_for_them() {
    let ((_upstream, node), tasks) = (node().await, Tasks::new());
    let before = node.process.resident().expect("it runs");
    let head = format!(
        "POST /api/local.ruled/plain HTTP/1.1\r\nhost: edge\r\nauthorization: {}\r\ntransfer-encoding: chunked\r\n\r\n",
        node.key()
    );
    let mut uploads = Vec::new();
    for _ in 0..COUNT {
        uploads.push(tasks.spawn("upload", upload(node.connect().await, head.clone())));
    }
    let mut streams = Vec::new();
    for upload in uploads {
        streams.push(timeout(FAILED, upload).await.expect("in time").expect("no panic"));
    }
    serves_others(&node).await;
    let grown = node.process.peak().expect("it runs").saturating_sub(before);
    assert!(grown < MEMORY, "{grown} bytes more");
    for mut stream in streams {
        // Whoever was refused may find the connection closed.
        drop(stream.write_all(b"2\r\n{}\r\n0\r\n\r\n").await);
        let mut status = [0; 12];
        drop(timeout(FAILED, stream.read_exact(&mut status)).await.expect("in time"));
    }
    let records = node.records(COUNT + 30).await;
    let of = |code: &str| records.iter().filter(|record| record["code"] == code).count();
    let (granted, refused) = (of("proxy-access-granted") - 30, of("too-many-bodies"));
    assert!((1..=2).contains(&granted) && granted + refused == COUNT, "{granted} and {refused}");
    tasks.abort();
}
