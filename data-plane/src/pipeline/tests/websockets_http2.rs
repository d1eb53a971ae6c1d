//! WebSockets over one stream of HTTP/2 (RFC 8441): the same upgrade towards the upstream.

use std::time::Duration;

use bytes::Bytes;
use h2::client::{self, ResponseFuture, SendRequest};
use h2::ext::Protocol;
use h2::{Reason, RecvStream, SendStream};
use http::{Method, Request, StatusCode};
use rr_contract::runtime::Tasks;
use rr_contract::wire::fleet;
use tokio::io::AsyncWriteExt as _;
use tokio::time::timeout;

use crate::counters::Cut;
use crate::fixture::{Region, caller_key};
use crate::seats::Bounds;
use crate::upstream::Trust;

use super::edge::Edge;
use super::websockets::{Came, Raw, edge_of, open, proxy, read_text};

/// A test that waits for longer has failed.
const FAILED: Duration = Duration::from_secs(20);

type Stream = (SendStream<Bytes>, RecvStream);

pub(super) async fn connect(edge: &Edge) -> SendRequest<Bytes> {
    let (sender, connection) = client::handshake(edge.connect().await).await.expect("it speaks HTTP/2");
    Tasks::new().spawn("h2", connection);
    let mut sender = sender.ready().await.expect("it is open");
    // The settings may come behind the first answer.
    while !sender.is_extended_connect_protocol_enabled() {
        let request = Request::get("https://edge/elsewhere").body(()).expect("a request");
        let (answer, _) = sender.send_request(request, true).expect("it is open");
        assert_eq!(answer.await.expect("an answer").status(), 404);
        sender = sender.ready().await.expect("it is open");
    }
    sender
}

pub(super) fn connect_request(protocol: Option<&'static str>) -> Request<()> {
    let mut request = Request::builder()
        .method(Method::CONNECT)
        .uri("https://edge/api/acme.proxy-1/chat?q=1")
        .header("authorization", format!("Bearer {}", caller_key(1)))
        .header("sec-websocket-version", "13")
        .header("sec-websocket-protocol", "a, b")
        .body(())
        .expect("a request");
    if let Some(protocol) = protocol {
        request.extensions_mut().insert(Protocol::from_static(protocol));
    }
    request
}

pub(super) fn ask(
    sender: &mut SendRequest<Bytes>,
    request: Request<()>,
) -> (ResponseFuture, SendStream<Bytes>) {
    sender.send_request(request, false).expect("it is open")
}

async fn tunnel(sender: &mut SendRequest<Bytes>, upstream: &Raw, early: &str) -> (Stream, Came) {
    let (answer, to) = ask(sender, connect_request(Some("websocket")));
    let mut came = upstream.next().await;
    came.switch("sec-websocket-protocol: b\r\n", early).await;
    let answer = timeout(FAILED, answer).await.expect("it comes").expect("an answer");
    assert_eq!(answer.status(), StatusCode::OK);
    for name in ["connection", "upgrade", "sec-websocket-accept", "content-length"] {
        assert!(!answer.headers().contains_key(name), "{name}");
    }
    assert_eq!(answer.headers()["sec-websocket-protocol"], "b");
    assert_eq!(answer.headers()["requestrocket-proxy-code"], "proxy-access-granted");
    ((to, answer.into_body()), came)
}

async fn read(from: &mut RecvStream, text: &str) {
    let mut bytes = Vec::new();
    while bytes.len() < text.len() {
        let data = timeout(FAILED, from.data()).await.expect("it comes").expect("it is open").expect("data");
        from.flow_control().release_capacity(data.len()).expect("it was received");
        bytes.extend_from_slice(&data);
    }
    assert_eq!(String::from_utf8_lossy(&bytes), text);
}

#[tokio::test]
async fn a_stream_becomes_a_tunnel_and_each_direction_ends_by_itself() {
    let upstream = Raw::new().await;
    let edge = edge_of(&upstream.url(), []);
    let mut sender = connect(&edge).await;
    let ((mut to, mut from), mut came) = tunnel(&mut sender, &upstream, "welcome").await;
    assert!(came.head.text.contains(" GET /chat?q=1 HTTP/1.1\r\n"), "{}", came.head.text);
    for (name, value) in [
        ("connection", "Upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-protocol", "a, b"),
    ] {
        assert_eq!(came.head.all(name), [value], "{name}");
    }
    assert!(!came.head.text.contains(&caller_key(1)) && came.head.header("sec-websocket-key").is_some());
    read(&mut from, "welcome").await;
    to.send_data(Bytes::from_static(b"hello"), false).expect("it is open");
    read_text(&mut came.stream, "hello").await;
    to.send_data(Bytes::from_static(b"bye"), true).expect("it is open");
    assert_eq!(came.rest().await, "bye");
    came.stream.write_all(b"late").await.expect("the edge reads");
    read(&mut from, "late").await;
    drop(came);
    while let Some(data) = timeout(FAILED, from.data()).await.expect("it ends") {
        assert!(data.expect("it is not reset").is_empty());
    }
    let record = loop {
        let record = edge.record().await;
        if record.status == 200 {
            break record;
        }
    };
    assert_eq!((record.upstream_status, &*record.method), (101, "CONNECT"));
    assert_eq!((record.request_bytes, record.response_bytes), (8, 11));
    assert_eq!((record.tunnel_end(), record.aborted), (fleet::TunnelEnd::Caller, false));
}

#[tokio::test]
async fn a_stream_that_is_reset_ends_its_tunnel_and_no_other() {
    let upstream = Raw::new().await;
    let edge = edge_of(&upstream.url(), []);
    let mut sender = connect(&edge).await;
    let ((mut other_to, _other), mut other) = tunnel(&mut sender, &upstream, "").await;
    for reason in [Reason::CANCEL, Reason::NO_ERROR, Reason::INTERNAL_ERROR] {
        let ((mut to, _from), mut came) = tunnel(&mut sender, &upstream, "").await;
        to.send_reset(reason);
        assert_eq!(came.rest().await, "", "{reason:?}");
        let record = loop {
            let record = timeout(FAILED, edge.record()).await.expect("the upstream need not end it");
            if record.status == 200 {
                break record;
            }
        };
        assert_eq!((record.tunnel_end(), record.aborted), (fleet::TunnelEnd::Caller, true), "{reason:?}");
    }
    other_to.send_data(Bytes::from_static(b"still"), false).expect("it is open");
    read_text(&mut other.stream, "still").await;
    assert_eq!(edge.tunnels(), 1);
}

#[tokio::test]
async fn other_protocols_and_a_plain_connect_are_refused() {
    let upstream = Raw::new().await;
    let edge = edge_of(&upstream.url(), []);
    let mut sender = connect(&edge).await;
    for protocol in ["connect-udp", "websocket2", "h2c"] {
        let (answer, _to) = ask(&mut sender, connect_request(Some(protocol)));
        let answer = answer.await.expect("an answer");
        assert_eq!(answer.status(), StatusCode::NOT_IMPLEMENTED, "{protocol}");
        assert_eq!(answer.headers()["requestrocket-proxy-code"], "protocol-unknown");
    }
    let mut plain = connect_request(None);
    *plain.uri_mut() = "edge:443".parse().expect("an authority");
    let (answer, _to) = ask(&mut sender, plain);
    assert_ne!(answer.await.expect("an answer").status(), StatusCode::OK);
    let mut old = connect_request(Some("websocket"));
    old.headers_mut().insert("sec-websocket-version", http::HeaderValue::from_static("8"));
    let (answer, _to) = ask(&mut sender, old);
    assert_eq!(answer.await.expect("an answer").status(), StatusCode::BAD_REQUEST);
    let mut keyless = connect_request(Some("websocket"));
    keyless.headers_mut().remove("authorization");
    let (answer, _to) = ask(&mut sender, keyless);
    assert_eq!(answer.await.expect("an answer").status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_proxy_without_websockets_refuses_the_stream_and_an_upstream_that_does_not_switch_is_passed_on() {
    let upstream = Raw::new().await;
    let closed = edge_of(&upstream.url(), [proxy(|proxy| proxy.websocket = false)]);
    let (answer, _to) = ask(&mut connect(&closed).await, connect_request(Some("websocket")));
    assert_eq!(answer.await.expect("an answer").status(), StatusCode::FORBIDDEN);
    let edge = edge_of(&upstream.url(), []);
    let (answer, _to) = ask(&mut connect(&edge).await, connect_request(Some("websocket")));
    let mut came = upstream.next().await;
    let text = b"HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\n\r\nno";
    came.stream.write_all(text).await.expect("the edge reads");
    let answer = answer.await.expect("an answer");
    assert_eq!(answer.status(), StatusCode::FORBIDDEN);
    read(&mut answer.into_body(), "no").await;
}

#[tokio::test]
async fn a_success_of_an_upstream_that_did_not_switch_opens_no_stream() {
    let upstream = Raw::new().await;
    let edge = edge_of(&upstream.url(), []);
    for status in ["200 OK", "204 No Content"] {
        let (answer, _to) = ask(&mut connect(&edge).await, connect_request(Some("websocket")));
        let mut came = upstream.next().await;
        let text = format!("HTTP/1.1 {status}\r\nconnection: close\r\n\r\n");
        came.stream.write_all(text.as_bytes()).await.expect("the edge reads");
        let answer = answer.await.expect("an answer");
        // Any success would say that the tunnel is open (RFC 8441, 5).
        assert_eq!(answer.status(), StatusCode::BAD_GATEWAY, "{status}");
        assert_eq!(answer.headers()["requestrocket-proxy-code"], "upgrade-refused");
    }
}

#[tokio::test]
async fn a_caller_that_gives_its_stream_no_window_is_bounded_and_cut_off() {
    let upstream = Raw::new().await;
    let region = Region::new();
    let bounds = Bounds { patience: Duration::from_millis(300), ..Bounds::of(10) };
    let snapshot = region.snapshot(&open(&region, &upstream.url()));
    let edge = Edge::start_bounded(snapshot, &["127.0.0.0/8"], Trust::new(None), bounds);
    let mut sender = connect(&edge).await;
    let ((_to, from), mut came) = tunnel(&mut sender, &upstream, "").await;
    let (piece, mut sent) = (vec![b'x'; 64 * 1024], 0);
    while let Ok(written) = timeout(FAILED, came.stream.write(&piece)).await.expect("it is taken, or it ends")
    {
        sent += written;
        assert!(sent < 64 * 1024 * 1024, "it is held somewhere");
    }
    let record = loop {
        let record = edge.record().await;
        if record.status == 200 {
            break record;
        }
    };
    assert_eq!((record.tunnel_end(), record.aborted), (fleet::TunnelEnd::Caller, true));
    assert_eq!(edge.cut(Cut::Stalled).await, 1);
    drop(from);
}

#[tokio::test]
async fn the_last_words_of_an_upstream_arrive_before_the_end_of_its_direction() {
    let upstream = Raw::new().await;
    let edge = edge_of(&upstream.url(), []);
    let mut sender = connect(&edge).await;
    for _ in 0..20 {
        let ((mut to, mut from), mut came) = tunnel(&mut sender, &upstream, "").await;
        to.send_data(Bytes::from_static(b"bye"), false).expect("it is open");
        read_text(&mut came.stream, "bye").await;
        came.stream.write_all(b"good bye").await.expect("the edge reads");
        came.stream.shutdown().await.expect("it is ours");
        read(&mut from, "good bye").await;
        while let Some(data) = timeout(FAILED, from.data()).await.expect("it ends") {
            assert!(data.expect("it is not reset").is_empty());
        }
        to.send_data(Bytes::from_static(b"and good bye"), true).expect("it is open");
        assert_eq!(came.rest().await, "and good bye");
    }
}
