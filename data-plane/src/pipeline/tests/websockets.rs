//! WebSockets over HTTP/1.1: how they are opened, and every way in which they are not.

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use data_encoding::BASE64;
use prost::Message as _;
use rr_contract::wire::fleet;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use crate::fixture::{self, Region, caller_key, filter, proxy_key};
use crate::seats::Bounds;
use crate::upstream::Trust;

use super::edge::{Answer, Edge};
use super::{HEADER, SECRET, resources, with_key};

/// The key and the answer of RFC 6455, 1.3.
pub(super) const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
pub(super) const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
/// A test that waits for longer has failed.
const FAILED: std::time::Duration = std::time::Duration::from_secs(20);

/// An upstream that is the test itself.
pub(super) struct Raw(TcpListener);

/// A request's head as it came, and its connection.
pub(super) struct Came {
    pub(super) head: Answer,
    pub(super) stream: TcpStream,
}

impl Raw {
    pub(super) async fn new() -> Self {
        Self(TcpListener::bind("127.0.0.1:0").await.expect("a free port"))
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.0.local_addr().expect("it is bound"))
    }

    /// Waits for a request.
    pub(super) async fn next(&self) -> Came {
        let (mut stream, _) = timeout(FAILED, self.0.accept()).await.expect("it comes").expect("it listens");
        let head = read_head(&mut stream).await;
        // A status, so that it parses.
        let head = Answer::parse(head.replacen("GET ", "HTTP/1.1 200 GET ", 1).as_bytes());
        Came { head, stream }
    }
}

impl Came {
    /// What proves that this request was read.
    pub(super) fn accept(&self) -> String {
        let key = self.head.header("sec-websocket-key").expect("it has a key");
        let text = format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
        BASE64.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, text.as_bytes()).as_ref())
    }

    /// Switches, and sends these bytes behind the head, in one piece with it.
    pub(super) async fn switch(&mut self, headers: &str, early: &str) {
        let accept = self.accept();
        let text = format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {accept}\r\n{headers}\r\n{early}"
        );
        self.stream.write_all(text.as_bytes()).await.expect("the edge reads");
    }

    /// All that comes until the end.
    pub(super) async fn rest(&mut self) -> String {
        read_rest(&mut self.stream).await
    }
}

pub(super) async fn read_head(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        let byte = timeout(FAILED, stream.read_u8()).await.expect("it comes");
        bytes.push(byte.expect("the head is whole"));
    }
    String::from_utf8(bytes).expect("text")
}

pub(super) async fn read_rest(stream: &mut TcpStream) -> String {
    let mut text = Vec::new();
    // A reset is an end, too.
    timeout(FAILED, stream.read_to_end(&mut text)).await.expect("it ends").ok();
    String::from_utf8(text).expect("text")
}

pub(super) async fn read_text(stream: &mut TcpStream, text: &str) {
    let mut bytes = vec![0; text.len()];
    timeout(FAILED, stream.read_exact(&mut bytes)).await.expect("it comes").expect("it is open");
    assert_eq!(String::from_utf8_lossy(&bytes), text);
}

/// The usual resources, with a proxy that takes WebSockets.
pub(super) fn open(region: &Region, url: &str) -> Vec<fleet::Resource> {
    let mut all = resources(region, url);
    all.push(proxy(|_| {}));
    all
}

/// That proxy, changed.
pub(super) fn proxy(change: impl FnOnce(&mut fleet::ProxyResource)) -> fleet::Resource {
    let mut message = fleet::ProxyResource { websocket: true, ..fixture::proxy_message(1, &[1], 1, 2) };
    change(&mut message);
    fixture::resource(proxy_key(1), message.encode_to_vec())
}

pub(super) fn edge_of(url: &str, more: impl IntoIterator<Item = fleet::Resource>) -> Edge {
    let region = Region::new();
    let mut all = open(&region, url);
    all.extend(more);
    Edge::start(region.snapshot(&all), &["127.0.0.0/8"])
}

pub(super) fn upgrade(path: &str, headers: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nhost: edge\r\nupgrade: websocket\r\nconnection: Upgrade\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: {KEY}\r\n{headers}\r\n"
    )
}

/// Both ends of a tunnel.
pub(super) async fn tunnel(edge: &Edge, upstream: &Raw) -> (TcpStream, TcpStream) {
    tunnel_of(edge, upstream, &with_key(1)).await
}

/// Both ends of a tunnel of the caller that these headers show.
pub(super) async fn tunnel_of(edge: &Edge, upstream: &Raw, headers: &str) -> (TcpStream, TcpStream) {
    let mut caller = edge.connect().await;
    let request = upgrade("/api/acme.proxy-1/chat", headers);
    caller.write_all(request.as_bytes()).await.expect("the edge reads");
    let mut came = upstream.next().await;
    came.switch("", "").await;
    let answer = read_head(&mut caller).await;
    assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
    (caller, came.stream)
}

#[tokio::test]
async fn each_side_gets_a_handshake_of_its_own_and_the_bytes_of_the_other() {
    let upstream = Raw::new().await;
    let edge = edge_of(&upstream.url(), []);
    let mut caller = edge.connect().await;
    let headers =
        format!("{}sec-websocket-protocol: a, b\r\nsec-websocket-extensions: x;y=1\r\n", with_key(1));
    let request = upgrade("/api/acme.proxy-1/chat?q=1", &headers);
    caller.write_all(request.as_bytes()).await.expect("the edge reads");
    let mut came = upstream.next().await;
    assert!(came.head.text.contains(" GET /chat?q=1 HTTP/1.1\r\n"), "{}", came.head.text);
    for (name, value) in [
        ("connection", "Upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-protocol", "a, b"),
        ("sec-websocket-extensions", "x;y=1"),
        (HEADER, SECRET),
    ] {
        assert_eq!(came.head.all(name), [value], "{name}");
    }
    let ours = came.head.header("sec-websocket-key").expect("it has a key");
    assert!(ours != KEY && BASE64.decode(ours.as_bytes()).is_ok_and(|key| key.len() == 16), "{ours}");
    assert!(!came.head.text.contains(&caller_key(1)));

    let of_the_hop = "keep-alive: timeout=5\r\nproxy-authenticate: x\r\nrequestrocket-forged: 1\r\n";
    let theirs = format!("sec-websocket-protocol: b\r\nset-cookie: a=1\r\ncontent-length: 0\r\n{of_the_hop}");
    came.switch(&theirs, "welcome").await;
    let answer = Answer::parse(read_head(&mut caller).await.as_bytes());
    assert_eq!(answer.status, 101);
    for (name, value) in [
        ("connection", "Upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-accept", ACCEPT),
        ("sec-websocket-protocol", "b"),
        ("set-cookie", "a=1"),
        ("requestrocket-proxy-code", "proxy-access-granted"),
    ] {
        assert_eq!(answer.all(name), [value], "{name}: {}", answer.text);
    }
    for name in
        ["content-length", "transfer-encoding", "keep-alive", "proxy-authenticate", "requestrocket-forged"]
    {
        assert_eq!(answer.header(name), None, "{name}");
    }
    read_text(&mut caller, "welcome").await;
    assert_eq!(edge.tunnels(), 1);

    caller.write_all(b"hello").await.expect("the edge reads");
    read_text(&mut came.stream, "hello").await;
    caller.shutdown().await.expect("it is ours");
    assert_eq!(came.rest().await, "", "the end is passed on");
    came.stream.write_all(b"late").await.expect("the edge reads");
    read_text(&mut caller, "late").await;
    drop(came);
    assert_eq!(read_rest(&mut caller).await, "");

    let record = edge.record().await;
    assert_eq!((record.status, record.upstream_status, &*record.code), (101, 101, "proxy-access-granted"));
    assert_eq!((record.request_bytes, record.response_bytes), (5, 11));
    assert_eq!((record.tunnel_end(), record.aborted), (fleet::TunnelEnd::Caller, false));
    assert_eq!((edge.tunnels(), edge.idle_upstreams().await), (0, 0), "no connection is used again");
}

#[tokio::test]
async fn a_key_in_the_query_opens_a_tunnel_because_browsers_can_send_no_other() {
    let upstream = Raw::new().await;
    let edge = edge_of(&upstream.url(), []);
    let mut caller = edge.connect().await;
    let path = format!("/api/acme.proxy-1/chat?Authorization={}&a=1", caller_key(1));
    caller.write_all(upgrade(&path, "").as_bytes()).await.expect("the edge reads");
    let mut came = upstream.next().await;
    assert!(came.head.text.contains(" GET /chat?a=1 HTTP/1.1\r\n"), "{}", came.head.text);
    came.switch("", "").await;
    assert!(read_head(&mut caller).await.starts_with("HTTP/1.1 101 "));
    // Who ends it first is written down.
    came.stream.shutdown().await.expect("it is ours");
    assert_eq!(read_rest(&mut caller).await, "");
    drop(caller);
    let record = edge.record().await;
    assert_eq!((record.tunnel_end(), record.aborted), (fleet::TunnelEnd::Upstream, false));
}

#[tokio::test]
async fn what_a_caller_sends_early_waits_until_the_upstream_has_switched() {
    let upstream = Raw::new().await;
    let edge = edge_of(&upstream.url(), []);
    let early = format!("{}frames", upgrade("/api/acme.proxy-1/", &with_key(1)));
    for switches in [true, false] {
        let mut caller = edge.connect().await;
        caller.write_all(early.as_bytes()).await.expect("the edge reads");
        let mut came = upstream.next().await;
        if switches {
            came.switch("", "").await;
            read_head(&mut caller).await;
            read_text(&mut came.stream, "frames").await;
            continue;
        }
        let answer = b"HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\n\r\nno";
        came.stream.write_all(answer).await.expect("the edge reads");
        let answer = Answer::read_one(&mut caller).await;
        assert!(answer.status == 403 && answer.text.ends_with("no"), "{answer:?}");
        drop(caller);
        assert_eq!(came.rest().await, "", "nothing came behind the request");
    }
}

#[tokio::test]
async fn an_upstream_that_does_not_switch_is_passed_on_and_filtered() {
    let upstream = Raw::new().await;
    let change = proxy(|proxy| proxy.tunnels_unread = true);
    let edge = edge_of(
        &upstream.url(),
        [change, filter(1, proxy_key(1), fleet::FilterAction::Destroy, &["secret"])],
    );
    let request = upgrade("/api/acme.proxy-1/", &with_key(1));
    let json = "content-type: application/json\r\nconnection: close\r\n";
    let body = r#"{"secret":1,"open":2}"#;
    for (answer, status, text) in [
        (
            format!("HTTP/1.1 200 OK\r\n{json}content-length: {}\r\n\r\n{body}", body.len()),
            200,
            r#"{"open":2}"#,
        ),
        (format!("HTTP/1.1 200 OK\r\n{json}\r\n{body}"), 200, r#"{"open":2}"#),
        (
            "HTTP/1.1 426 Upgrade Required\r\nupgrade: h2c\r\ncontent-length: 2\r\n\r\nno".to_owned(),
            426,
            "no",
        ),
    ] {
        let mut caller = edge.connect().await;
        caller.write_all(request.as_bytes()).await.expect("the edge reads");
        let mut came = upstream.next().await;
        came.stream.write_all(answer.as_bytes()).await.expect("the edge reads");
        came.stream.shutdown().await.expect("it is ours");
        let answer = Answer::read_one(&mut caller).await;
        assert!(answer.status == status && answer.text.ends_with(text), "{answer:?}");
        assert!(answer.all("upgrade").is_empty());
    }
    assert_eq!(edge.idle_upstreams().await, 0);
}

#[tokio::test]
async fn a_node_that_is_being_stopped_opens_no_tunnel_and_cuts_the_others_at_the_end_of_the_drain() {
    let upstream = Raw::new().await;
    let edge = edge_of(&upstream.url(), []);
    let (mut caller, open) = tunnel(&edge, &upstream).await;
    let mut late = edge.connect().await;
    let request = upgrade("/api/acme.proxy-1/", &with_key(1));
    late.write_all(request.as_bytes()).await.expect("the edge reads");
    let mut came = upstream.next().await;
    edge.stops().await;
    came.switch("", "").await;
    let answer = Answer::read_one(&mut late).await;
    assert_eq!((answer.status, answer.json()["code"].clone()), (503, "node-stopping".into()));
    late.write_all(request.as_bytes()).await.expect("the edge reads");
    assert_eq!(Answer::read_one(&mut late).await.status, 503, "nor is the upstream asked");
    caller.write_all(b"on its way").await.expect("the edge reads");
    let records = edge.end().await;
    let record = records.iter().find(|record| record.status == 101).expect("the tunnel left a record");
    assert_eq!((record.tunnel_end(), record.aborted), (fleet::TunnelEnd::Stop, true));
    drop(open);
}

#[tokio::test]
async fn the_record_of_a_tunnel_that_ends_with_its_node_says_so() {
    let upstream = Raw::new().await;
    let edge = edge_of(&upstream.url(), []);
    let _open = tunnel(&edge, &upstream).await;
    let records = edge.end().await;
    assert_eq!((records[0].status, records[0].tunnel_end()), (101, fleet::TunnelEnd::Stop));
}

#[tokio::test]
async fn a_caller_that_does_not_read_is_bounded_and_cut_off() {
    let upstream = Raw::new().await;
    let region = Region::new();
    let patience = std::time::Duration::from_millis(300);
    let bounds = Bounds { patience, ..Bounds::of(10) };
    let snapshot = region.snapshot(&open(&region, &upstream.url()));
    let edge = Edge::start_bounded(snapshot, &["127.0.0.0/8"], Trust::new(None), bounds);
    let (caller, mut far) = tunnel(&edge, &upstream).await;
    let (piece, mut sent) = (vec![b'x'; 64 * 1024], 0);
    while let Ok(written) = timeout(FAILED, far.write(&piece)).await.expect("it is taken, or it ends") {
        sent += written;
        assert!(sent < 64 * 1024 * 1024, "it is held somewhere");
    }
    let record = edge.record().await;
    assert_eq!((record.tunnel_end(), record.aborted), (fleet::TunnelEnd::Caller, true));
    assert_eq!(edge.cut(crate::counters::Cut::Stalled).await, 1);
    drop(caller);
}
