//! Listeners: what a slow or silent peer may hold up.

use std::net::Ipv4Addr;
use std::sync::Mutex;
use std::time::SystemTime;

use bytes::Bytes;
use rr_contract::model::id::{InstallationId, NodeId, RegionId};
use rr_contract::runtime::Shutdown;
use rr_contract::runtime::observe::Observability;
use rr_contract::seam::{Seams, SystemEntropy};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::mpsc;
use tokio_rustls::TlsConnector;

use super::*;
use crate::authority::{Asked, Authority, KeySource, NodeIdentity, Order, SERVER_NAME, Serial};

const SOON: Duration = Duration::from_secs(20);

type Secured = tokio_rustls::client::TlsStream<TcpStream>;

/// The fleet's port, and what it takes to connect to it.
struct Fleet {
    authority: Arc<Authority>,
    address: SocketAddr,
    shutdown: Shutdown,
    tasks: Tasks,
    _folder: tempfile::TempDir,
}

const ENDLESS: Duration = Duration::from_secs(600);

impl Fleet {
    /// Answers nothing, ever.
    fn serve(strangers: Strangers, connections: usize) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let seams = Seams::real();
        let order = Order {
            keys: vec![KeySource::File(folder.path().join("authority.key"))],
            folder: folder.path().to_owned(),
            installation: InstallationId::from_random([1; 16]),
            names: Vec::new(),
            address: None,
        };
        let authority = Authority::open(order, Vec::new(), None, &seams).expect("opens");
        let authority = Arc::new(authority);
        let (shutdown, tasks) = (Shutdown::new(), Tasks::new());
        let bound = Bound::bind("fleet", SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).expect("binds");
        let address = bound.address();
        let silence = tower::service_fn(|_: Request<Body>| {
            std::future::pending::<Result<Response<Body>, Infallible>>()
        });
        let serving = Serving {
            router: axum::Router::new().fallback_service(silence),
            tls: Some(authority.fleet_tls().expect("is made")),
            admit: Arc::new(|_, _| {}),
            strangers: Some(strangers),
            patience: None,
            connections,
            events: Events::new(&Observability::quiet("rr-control")),
            tasks: tasks.clone(),
            stop: shutdown.stop(),
            drain: SOON,
        };
        tasks.spawn("port", bound.serve(serving));
        Self { authority, address, shutdown, tasks, _folder: folder }
    }

    fn client(&self) -> rustls::ConfigBuilder<rustls::ClientConfig, rustls::client::WantsClientCert> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(self.authority.certificate()).expect("is one");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("good")
            .with_root_certificates(roots)
    }

    async fn connect(&self, mut tls: rustls::ClientConfig) -> Secured {
        tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let stream = TcpStream::connect(self.address).await.expect("connects");
        let name = ServerName::try_from(SERVER_NAME).expect("a name");
        TlsConnector::from(Arc::new(tls)).connect(name, stream).await.expect("is let in")
    }

    /// Somebody without a certificate.
    async fn stranger(&self) -> Secured {
        self.connect(self.client().with_no_client_auth()).await
    }

    /// A node with its certificate.
    async fn node(&self) -> Secured {
        let key = rcgen::KeyPair::generate().expect("keys");
        let request = rcgen::CertificateParams::default().serialize_request(&key).expect("a request");
        let identity =
            NodeIdentity { node: NodeId::from_random([2; 16]), region: RegionId::from_random([3; 16]) };
        let asked = Asked::parse(request.der()).expect("a request");
        let serial = Serial::after(None, &SystemEntropy);
        let issued = self.authority.issue_node(asked, identity, &serial, SystemTime::now());
        let issued = issued.await.expect("is issued");
        let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
        let client = self.client().with_client_auth_cert(vec![issued.certificate], key);
        self.connect(client.expect("go together")).await
    }
}

/// A request that is never answered.
async fn ask(stream: &mut Secured) {
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.expect("writes");
    // HEADERS of a GET of / over http, with the end of the stream.
    stream.write_all(b"\0\0\x03\x01\x05\0\0\0\x01\x82\x86\x84").await.expect("writes");
}

/// Whether the other end is still there after a while.
async fn stays(stream: &mut Secured) -> bool {
    timeout(BRIEF, closed(stream)).await.is_err()
}

/// Serves answers that have no end, without TLS. The receiver ends when the last answer was dropped.
fn endless(patience: Option<Duration>, connections: usize) -> (SocketAddr, mpsc::Receiver<()>, Tasks) {
    let (held, dropped) = mpsc::channel::<()>(1);
    let held = Arc::new(Mutex::new(Some(held)));
    let answer = tower::service_fn(move |_: Request<Body>| {
        // The first answer has the only one.
        let held = held.lock().expect("whole").take();
        let endless = futures_util::stream::repeat_with(move || {
            let _held = &held;
            Ok::<_, Infallible>(Bytes::from_static(&[b'x'; 65_536]))
        });
        async move { Ok::<_, Infallible>(Response::new(Body::from_stream(endless))) }
    });
    let tasks = Tasks::new();
    let bound = Bound::bind("management", SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).expect("binds");
    let address = bound.address();
    let serving = Serving {
        router: axum::Router::new().fallback_service(answer),
        tls: None,
        admit: Arc::new(|_, _| {}),
        strangers: None,
        patience,
        connections,
        events: Events::new(&Observability::quiet("rr-control")),
        tasks: tasks.clone(),
        stop: Shutdown::new().stop(),
        drain: SOON,
    };
    tasks.spawn("port", bound.serve(serving));
    (address, dropped, tasks)
}

/// Asks for an answer without end over HTTP/1 and reads none of it.
async fn asks_and_does_not_read(address: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.expect("connects");
    stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.expect("writes");
    stream
}

/// The same over HTTP/2, where the connection lives on and answers pings.
async fn asks_and_opens_no_window(address: SocketAddr, tasks: &Tasks) -> Response<Incoming> {
    let stream = TcpStream::connect(address).await.expect("connects");
    let (mut sender, connection) = hyper::client::conn::http2::Builder::new(TokioExecutor::new())
        .handshake(TokioIo::new(stream))
        .await
        .expect("speaks HTTP/2");
    tasks.spawn("client", connection);
    let request = Request::get("http://x/").body(Body::empty()).expect("a request");
    let response = sender.send_request(request).await.expect("answers");
    // Kept, or the connection would close by itself.
    std::mem::forget(sender);
    response
}

const BRIEF: Duration = Duration::from_millis(100);

#[tokio::test]
async fn a_caller_that_does_not_read_is_cut_off() {
    let (address, mut dropped, _tasks) = endless(Some(BRIEF), 8);
    let _kept = asks_and_does_not_read(address).await;
    assert!(timeout(SOON, dropped.recv()).await.expect("is cut off").is_none());
}

#[tokio::test]
async fn a_caller_that_opens_no_window_is_cut_off_though_its_connection_lives() {
    let (address, mut dropped, tasks) = endless(Some(BRIEF), 8);
    let _kept = asks_and_opens_no_window(address, &tasks).await;
    assert!(timeout(SOON, dropped.recv()).await.expect("is cut off").is_none());
}

/// What the two tests above would show if nothing were bounded.
#[tokio::test]
async fn without_a_bound_both_of_them_keep_their_place() {
    let (address, mut dropped, _tasks) = endless(None, 8);
    let _kept = asks_and_does_not_read(address).await;
    assert!(timeout(BRIEF * 5, dropped.recv()).await.is_err());
    let (address, mut dropped, tasks) = endless(None, 8);
    let _kept = asks_and_opens_no_window(address, &tasks).await;
    assert!(timeout(BRIEF * 5, dropped.recv()).await.is_err());
}

#[tokio::test]
async fn a_caller_that_reads_slowly_but_reads_is_served() {
    let (address, _dropped, _tasks) = endless(Some(BRIEF * 20), 8);
    let mut stream = asks_and_does_not_read(address).await;
    let (mut bytes, mut read) = (vec![0; 1 << 20], 0);
    let start = tokio::time::Instant::now();
    // Longer than a caller that does not read would be suffered.
    while start.elapsed() < BRIEF * 25 {
        let length = stream.read(&mut bytes).await.expect("is served");
        assert!(length > 0, "closed after {read}");
        read += length;
    }
}

#[tokio::test]
async fn a_caller_that_says_nothing_is_shown_out() {
    let (address, _dropped, _tasks) = endless(Some(BRIEF), 8);
    for said in [&b""[..], b"PRI * HTTP/2.0\r\n", b"GET / HT"] {
        let mut stream = TcpStream::connect(address).await.expect("connects");
        stream.write_all(said).await.expect("writes");
        let mut bytes = [0; 256];
        let read = async { while stream.read(&mut bytes).await.is_ok_and(|length| length > 0) {} };
        timeout(SOON, read).await.expect("is shown out");
    }
}

#[tokio::test]
async fn connections_over_the_limit_are_closed_and_the_ones_before_live_on() {
    let (address, _dropped, _tasks) = endless(None, 1);
    let mut first = asks_and_does_not_read(address).await;
    let mut bytes = [0; 256];
    assert!(first.read(&mut bytes).await.expect("is served") > 0);
    let mut second = TcpStream::connect(address).await.expect("connects");
    let closed = timeout(SOON, second.read(&mut bytes)).await.expect("is closed");
    assert!(closed.map_or(true, |length| length == 0));
    assert!(first.read(&mut bytes).await.expect("is served") > 0);
}

#[test]
fn a_certificate_in_files_is_served_with_and_what_is_none_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let made = rcgen::generate_simple_self_signed(["control.example".to_owned()]).expect("is made");
    let (certificate, key) = (folder.path().join("c.pem"), folder.path().join("k.pem"));
    std::fs::write(&certificate, made.cert.pem()).expect("writes");
    std::fs::write(&key, made.signing_key.serialize_pem()).expect("writes");
    server_tls(&certificate, &key).expect("goes together");
    let other = folder.path().join("other.pem");
    std::fs::write(&other, rcgen::KeyPair::generate().expect("keys").serialize_pem()).expect("writes");
    for (certificate, key) in
        [(&certificate, &other), (&key, &key), (&certificate, &folder.path().join("none"))]
    {
        let refused = server_tls(certificate, key).expect_err("refused").to_string();
        assert!(refused.contains(".pem") || refused.contains("none"), "{refused}");
    }
}

/// Reads until the other end closes, one way or the other.
async fn closed(stream: &mut Secured) {
    let mut bytes = [0; 256];
    while stream.read(&mut bytes).await.is_ok_and(|length| length > 0) {}
}

#[tokio::test]
async fn a_stranger_that_asks_for_nothing_is_shown_out_and_one_that_is_in_a_call_later() {
    let idle = Fleet::serve(Strangers { lasts: ENDLESS, idle: BRIEF * 2, most: 8 }, 8);
    let (mut silent, mut calling) = (idle.stranger().await, idle.stranger().await);
    ask(&mut calling).await;
    timeout(SOON, closed(&mut silent)).await.expect("is shown out");
    assert!(stays(&mut calling).await);
    let brief = Fleet::serve(Strangers { lasts: BRIEF * 2, idle: ENDLESS, most: 8 }, 8);
    let mut calling = brief.stranger().await;
    ask(&mut calling).await;
    timeout(SOON, closed(&mut calling)).await.expect("its time is over");
}

/// Whoever knows the address took every place and kept it.
#[tokio::test]
async fn strangers_take_no_place_of_a_node_and_few_of_their_own() {
    let fleet = Fleet::serve(Strangers { lasts: ENDLESS, idle: ENDLESS, most: 2 }, 1);
    let mut crowd = Vec::new();
    for _ in 0..20 {
        crowd.push(fleet.stranger().await);
    }
    let mut node = fleet.node().await;
    ask(&mut node).await;
    let (last, first) = crowd.split_at_mut(18);
    for stranger in last {
        timeout(SOON, closed(stranger)).await.expect("made room");
    }
    for stranger in first {
        assert!(stays(stranger).await);
    }
    assert!(stays(&mut node).await);
    // Nodes are bounded among themselves.
    let mut second = fleet.node().await;
    timeout(SOON, closed(&mut second)).await.expect("is one too many");
    assert!(stays(&mut node).await);
}

/// They held a descriptor and a place each for as long as a handshake may take.
#[tokio::test]
async fn connections_that_never_shake_hands_make_room_for_those_that_do() {
    let fleet = Fleet::serve(Strangers { lasts: ENDLESS, idle: ENDLESS, most: 8 }, 4);
    let mut silent = Vec::new();
    for _ in 0..20 {
        silent.push(TcpStream::connect(fleet.address).await.expect("connects"));
    }
    let mut node = fleet.node().await;
    ask(&mut node).await;
    assert!(stays(&mut node).await);
    let mut bytes = [0; 16];
    // Long before the time for its handshake is over.
    let read = timeout(HANDSHAKE_LIMIT / 4, silent[0].read(&mut bytes)).await.expect("made room");
    assert!(read.map_or(true, |length| length == 0));
}

#[tokio::test]
async fn a_stop_ends_idle_connections_at_once() {
    let fleet = Fleet::serve(Strangers { lasts: ENDLESS, idle: ENDLESS, most: 8 }, 8);
    let mut stream = fleet.stranger().await;
    fleet.shutdown.begin();
    timeout(SOON, closed(&mut stream)).await.expect("is closed");
    drop(stream);
    assert!(fleet.tasks.wait(SOON).await.is_empty());
}
