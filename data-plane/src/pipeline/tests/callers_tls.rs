//! Callers over TLS, and those who do something else at a port with TLS.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Empty;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rr_contract::runtime::Tasks;
use rr_contract::seam::Seams;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{
    ALL_VERSIONS, ClientConfig, ClientConnection, HandshakeKind, RootCertStore, SupportedProtocolVersion,
    version,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::caller_tls::{CallerTls, CertificateBoard, Pair, Watch};
use crate::counters::Cut;
use crate::fixture::certificates::{Certificates, tls};
use crate::fixture::{Region, caller_key};
use crate::listen::{Door, Neighbours};
use crate::seats::Bounds;

use super::edge::{Answer, Edge};
use super::origin::Upstream;
use super::{HEADER, SECRET, get, resources, with_key};

const SOON: Duration = Duration::from_secs(20);

/// A worker with TLS, and an upstream behind it.
pub(super) struct Secured {
    pub(super) edge: Edge,
    pub(super) upstream: Upstream,
    watch: Watch,
}

impl Secured {
    pub(super) async fn start(settings: CallerTls) -> Self {
        Self::start_bounded(settings, Bounds::of(1_000)).await
    }

    async fn start_bounded(settings: CallerTls, bounds: Bounds) -> Self {
        let upstream = Upstream::echo().await;
        let region = Region::new();
        let snapshot = region.snapshot(&resources(&region, &upstream.url("")));
        let started = settings.start(1, &Seams::real(), CertificateBoard::default());
        let (mut readers, watch) = started.expect("the certificates are good");
        let reader = readers.remove(0);
        let door = move || Door { tls: Some(reader.start()), neighbours: Neighbours::default() };
        Self { edge: Edge::start_behind(snapshot, &["127.0.0.0/8"], door, bounds), upstream, watch }
    }
}

/// What a caller trusts and offers.
#[derive(Clone)]
struct Client(ClientConfig);

impl Client {
    fn trusting(pairs: &[&Pair]) -> Self {
        Self::speaking(pairs, ALL_VERSIONS)
    }

    fn speaking(pairs: &[&Pair], versions: &[&'static SupportedProtocolVersion]) -> Self {
        let mut roots = RootCertStore::empty();
        for pair in pairs {
            let pem = fs::read(&pair.certificate).expect("it is there");
            roots.add(CertificateDer::from_pem_slice(&pem).expect("a certificate")).expect("a root");
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(versions);
        Self(builder.expect("versions").with_root_certificates(roots).with_no_client_auth())
    }

    fn offering(mut self, protocols: &[&str]) -> Self {
        self.0.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        self
    }

    async fn connect(&self, edge: &Edge, name: &str) -> std::io::Result<TlsStream<TcpStream>> {
        let name = ServerName::try_from(name.to_owned()).expect("a name");
        TlsConnector::from(Arc::new(self.0.clone())).connect(name, edge.connect().await).await
    }

    /// Sends a request over HTTP/1.1 that closes its connection.
    async fn send(&self, edge: &Edge, name: &str, request: &str) -> Answer {
        let mut stream = self.connect(edge, name).await.expect("the edge shakes hands");
        stream.write_all(request.as_bytes()).await.expect("the edge reads");
        let mut bytes = Vec::new();
        // Without a `close_notify` this fails: the end might be an attacker's.
        stream.read_to_end(&mut bytes).await.expect("the edge answers, and says that it ends");
        Answer::parse(&bytes)
    }
}

async fn http2<S>(stream: S, scheme: &str) -> http::Response<hyper::body::Incoming>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let io = TokioIo::new(stream);
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.expect("it speaks h2");
    let _driven = Tasks::new().spawn("h2", connection);
    let request = http::Request::get(format!("{scheme}://edge.example/api/acme.proxy-1/x"))
        .header("authorization", caller_key(1))
        .body(Empty::<Bytes>::new())
        .expect("a request");
    sender.send_request(request).await.expect("an answer")
}

fn request() -> String {
    get("/api/acme.proxy-1/x", &with_key(1))
}

#[tokio::test]
async fn callers_over_tls_are_served_in_both_protocols_and_told_of_the_end() {
    let files = Certificates::new();
    let pair = files.write("edge", &["edge.example"]);
    let secured = Secured::start(tls(&[&pair])).await;
    for versions in [&[&version::TLS12][..], &[&version::TLS13]] {
        let client = Client::speaking(&[&pair], versions);
        for protocols in [&["http/1.1"][..], &[]] {
            let client = client.clone().offering(protocols);
            let answer = client.send(&secured.edge, "edge.example", &request()).await;
            assert_eq!(answer.status, 200, "{answer:?}");
            assert_eq!(secured.upstream.last().header(HEADER), Some(SECRET));
        }
        let client = client.offering(&["h2", "http/1.1"]);
        let stream = client.connect(&secured.edge, "edge.example").await.expect("the edge shakes hands");
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        assert_eq!(http2(stream, "https").await.status(), 200);
    }
    assert_eq!(secured.edge.cut(Cut::Handshake).await, 0);
}

#[tokio::test]
async fn callers_get_the_certificate_for_the_name_that_they_ask_for() {
    let files = Certificates::new();
    let first = files.write("first", &["edge.example", "127.0.0.1"]);
    let second = files.write("second", &["*.example.com"]);
    let secured = Secured::start(tls(&[&first, &second])).await;
    let client = Client::trusting(&[&first, &second]);
    let shown = async |name: &str| {
        let stream = client.connect(&secured.edge, name).await.expect("the edge shakes hands");
        stream.get_ref().1.peer_certificates().expect("there is one")[0].to_vec()
    };
    let of = |pair: &Pair| {
        let pem = fs::read(&pair.certificate).expect("it is there");
        CertificateDer::from_pem_slice(&pem).expect("a certificate").to_vec()
    };
    assert_eq!(shown("edge.example").await, of(&first));
    assert_eq!(shown("a.example.com").await, of(&second));
    assert_eq!(shown("127.0.0.1").await, of(&first), "an address is no name");
    assert!(client.connect(&secured.edge, "a.b.example.com").await.is_err());
}

#[tokio::test]
async fn a_request_without_tls_is_told_so_and_decides_nothing() {
    let files = Certificates::new();
    let secured = Secured::start(tls(&[&files.write("edge", &["edge.example"])])).await;
    for request in [request(), get("/.well-known/requestrocket", ""), "POST / HTTP/1.0\r\n\r\n".to_owned()] {
        let answer = secured.edge.send(&request).await;
        assert_eq!((answer.status, answer.json()["code"].clone()), (400, "http-on-tls-port".into()));
    }
    let answer = http2(secured.edge.connect().await, "http").await;
    assert_eq!(
        (answer.status(), &answer.headers()["requestrocket-proxy-code"]),
        (
            400.try_into().expect("a status"),
            &"http-on-tls-port".parse::<http::HeaderValue>().expect("a value")
        )
    );
    assert_eq!(secured.upstream.count(), 0);
}

/// The first message of a caller that knows TLS 1.1 at the most.
fn hello_of_tls11() -> Vec<u8> {
    let mut hello = vec![3, 2];
    hello.extend_from_slice(&[7; 32]);
    hello.extend_from_slice(&[0, 0, 2, 0, 0x2f, 1, 0]);
    let message = [&[1, 0, 0, hello.len() as u8][..], &hello].concat();
    [&[0x16, 3, 1, 0, message.len() as u8][..], &message].concat()
}

#[tokio::test]
async fn whoever_does_not_agree_on_tls_is_closed_and_counted() {
    let files = Certificates::new();
    let pair = files.write("edge", &["edge.example"]);
    let settings = CallerTls { is_tls13_only: true, ..tls(&[&pair]) };
    let secured = Secured::start(settings).await;
    let garbage = [&[0x16, 3, 1, 0xff, 0xff][..], &[0xaa; 4096]].concat();
    for begin in [&hello_of_tls11()[..], &garbage, b"\0\0\0\0", b"\x16\x03\x01\0\x05hello", b"ssh-2.0\r\n"] {
        let mut stream = secured.edge.connect().await;
        stream.write_all(begin).await.expect("the edge reads");
        let mut answer = Vec::new();
        // It may be reset: not all was read.
        timeout(SOON, stream.read_to_end(&mut answer)).await.expect("it is closed").ok();
        assert!(answer.is_empty() || answer[0] == 0x15, "an alert at the most: {answer:?}");
    }
    let old = Client::speaking(&[&pair], &[&version::TLS12]);
    assert!(old.connect(&secured.edge, "edge.example").await.is_err(), "TLS 1.2 is off");
    let odd = Client::trusting(&[&pair]).offering(&["spdy/1"]);
    let error = odd.connect(&secured.edge, "edge.example").await.expect_err("no protocol in common");
    assert!(error.to_string().contains("NoApplicationProtocol"), "{error}");
    assert_eq!(Client::trusting(&[&pair]).send(&secured.edge, "edge.example", &request()).await.status, 200);
    assert_eq!(secured.edge.cut(Cut::Handshake).await, 7);
}

#[tokio::test]
async fn a_handshake_that_takes_too_long_is_a_late_head() {
    let files = Certificates::new();
    let pair = files.write("edge", &["edge.example"]);
    let bounds = Bounds { head: Duration::from_millis(100), ..Bounds::of(10) };
    let secured = Secured::start_bounded(tls(&[&pair]), bounds).await;
    let mut silent = secured.edge.connect().await;
    let mut slow = secured.edge.connect().await;
    slow.write_all(&[0x16, 3, 1]).await.expect("the edge reads");
    for stream in [&mut silent, &mut slow] {
        let read = timeout(SOON, stream.read(&mut [0; 16])).await.expect("it is closed");
        assert_eq!(read.unwrap_or(0), 0);
    }
    assert_eq!(secured.edge.cut(Cut::Late).await, 2);
}

/// Sends the end of a handshake and what stands behind it in one piece, of which `left` bytes are held back.
async fn end_with(edge: &Edge, client: &Client, early: &[u8], left: usize) -> (TcpStream, ClientConnection) {
    let mut stream = edge.connect().await;
    let name = ServerName::try_from("edge.example").expect("a name");
    let mut client = ClientConnection::new(Arc::new(client.0.clone()), name).expect("a client");
    let mut out = Vec::new();
    while client.is_handshaking() {
        while client.wants_write() {
            client.write_tls(&mut out).expect("memory takes it");
        }
        stream.write_all(&std::mem::take(&mut out)).await.expect("the edge reads");
        let mut bytes = [0; 4096];
        let read = stream.read(&mut bytes).await.expect("the edge shakes hands");
        let mut bytes = &bytes[..read];
        while !bytes.is_empty() {
            client.read_tls(&mut bytes).expect("memory gives it");
            client.process_new_packets().expect("a handshake");
        }
    }
    std::io::Write::write_all(&mut client.writer(), early).expect("memory takes it");
    while client.wants_write() {
        client.write_tls(&mut out).expect("memory takes it");
    }
    stream.write_all(&out[..out.len() - left]).await.expect("the edge reads");
    (stream, client)
}

#[tokio::test]
async fn a_head_that_begins_with_the_end_of_a_handshake_counts_like_any_other() {
    let files = Certificates::new();
    let pair = files.write("edge", &["edge.example"]);
    let client = Client::speaking(&[&pair], &[&version::TLS13]);
    let head = format!("GET /api/acme.proxy-1/x HTTP/1.1\r\nhost: edge\r\nx: {}", "a".repeat(6000));
    // In a record that is whole, and in one that is not.
    for left in [0, 1000] {
        // Room for a handshake with such a head behind it, and not for two such heads.
        let secured = Secured::start_bounded(tls(&[&pair]), Bounds { heads: 10_000, ..Bounds::of(10) }).await;
        let (mut first, _) = end_with(&secured.edge, &client, head.as_bytes(), left).await;
        // Tickets come when the handshake has ended.
        assert_ne!(first.read(&mut [0]).await.expect("the edge shakes hands"), 0);
        assert_eq!(secured.edge.cut(Cut::Heads).await, 0);
        let (mut second, _) = end_with(&secured.edge, &client, head.as_bytes(), left).await;
        let (mut one, mut other) = (Vec::new(), Vec::new());
        timeout(SOON, async {
            tokio::select! {
                // It may be reset: not all was read.
                closed = first.read_to_end(&mut one) => closed.ok(),
                closed = second.read_to_end(&mut other) => closed.ok(),
            }
        })
        .await
        .expect("one of them is closed");
        assert_eq!(secured.edge.cut(Cut::Heads).await, 1);
    }
}

#[tokio::test]
async fn a_request_that_comes_whole_with_the_end_of_a_handshake_is_answered_and_holds_nothing() {
    let files = Certificates::new();
    let pair = files.write("edge", &["edge.example"]);
    let client = Client::speaking(&[&pair], &[&version::TLS13]);
    let secured = Secured::start_bounded(tls(&[&pair]), Bounds { heads: 10_000, ..Bounds::of(10) }).await;
    let long = format!("{}x: {}\r\n", with_key(1), "a".repeat(6000));
    let request = get("/api/acme.proxy-1/x", &long).replace("connection: close\r\n", "");
    let mut open = Vec::new();
    for _ in 0..3 {
        let (mut stream, mut client) = end_with(&secured.edge, &client, request.as_bytes(), 0).await;
        let mut answer = Vec::new();
        while !answer.windows(4).any(|window| window == b"\r\n\r\n") {
            let mut bytes = [0; 4096];
            let read = timeout(SOON, stream.read(&mut bytes)).await.expect("in time").expect("an answer");
            assert_ne!(read, 0, "it is open");
            let mut bytes = &bytes[..read];
            while !bytes.is_empty() {
                client.read_tls(&mut bytes).expect("memory gives it");
                client.process_new_packets().expect("an answer");
            }
            // Ends where no more has come yet.
            std::io::Read::read_to_end(&mut client.reader(), &mut answer).ok();
        }
        assert_eq!(Answer::parse(&answer).status, 200);
        open.push(stream);
    }
    assert_eq!(secured.edge.cut(Cut::Heads).await, 0);
}

#[tokio::test]
async fn a_caller_that_comes_back_shakes_hands_in_short_and_sends_nothing_before_the_end_of_it() {
    let files = Certificates::new();
    let pair = files.write("edge", &["edge.example"]);
    let secured = Secured::start(tls(&[&pair])).await;
    for version in [&version::TLS12, &version::TLS13] {
        let mut client = Client::speaking(&[&pair], &[version]);
        client.0.enable_early_data = true;
        assert_eq!(client.send(&secured.edge, "edge.example", &request()).await.status, 200);
        let stream = client.connect(&secured.edge, "edge.example").await.expect("the edge shakes hands");
        let (_, connection) = stream.get_ref();
        assert_eq!(connection.handshake_kind(), Some(HandshakeKind::Resumed), "{version:?}");
        assert!(!connection.is_early_data_accepted());
        let name = ServerName::try_from("edge.example").expect("a name");
        let mut next = ClientConnection::new(Arc::new(client.0), name).expect("a client");
        assert!(next.early_data().is_none(), "a ticket allows none");
    }
}

#[tokio::test]
async fn a_new_certificate_is_shown_to_the_next_caller_and_ends_no_connection() {
    let files = Certificates::new();
    let pair = files.write("edge", &["edge.example"]);
    let mut secured = Secured::start(tls(&[&pair])).await;
    let old = Client::trusting(&[&pair]);
    let mut open = old.connect(&secured.edge, "edge.example").await.expect("the edge shakes hands");
    files.write("edge", &["edge.example"]);
    secured.watch.look().await;
    secured.watch.look().await;
    let new = Client::trusting(&[&pair]);
    assert_eq!(new.send(&secured.edge, "edge.example", &request()).await.status, 200);
    assert!(Client(old.0.clone()).fresh().connect(&secured.edge, "edge.example").await.is_err());
    open.write_all(request().as_bytes()).await.expect("the edge reads");
    let mut bytes = Vec::new();
    open.read_to_end(&mut bytes).await.expect("the edge answers");
    assert_eq!(Answer::parse(&bytes).status, 200);
}

impl Client {
    /// Without what an earlier session has left.
    fn fresh(mut self) -> Self {
        self.0.resumption = rustls::client::Resumption::disabled();
        self
    }
}
