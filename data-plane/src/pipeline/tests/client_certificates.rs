//! Callers that show a certificate, and proxies that want one.

use std::fs;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Empty;
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message as _;
use rcgen::{CertificateParams, KeyPair, PublicKeyData as _};
use rr_contract::model::resource::Key;
use rr_contract::runtime::Tasks;
use rr_contract::seam::Seams;
use rr_contract::wire::fleet;
use rr_contract::wire::fleet::Mode;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::sign::CertifiedKey;
use rustls::{ALL_VERSIONS, ClientConfig, HandshakeKind, RootCertStore, SupportedProtocolVersion, version};
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_rustls::TlsConnector;

use crate::caller_tls::{CertificateBoard, Pair};
use crate::counters::Cut;
use crate::fixture::certificates::{Certificates, tls};
use crate::fixture::{self, Region, caller, caller_key, proxy_id};
use crate::listen::{Door, Neighbours};
use crate::seats::Bounds;
use crate::snapshot::Snapshot;
use crate::sync::changes;

use super::edge::{Answer, Edge};
use super::origin::Upstream;
use super::{resources, with_key};

/// A worker with TLS whose proxy 2 wants a certificate, if any does, and proxy 1 does not.
pub(super) struct Asking {
    pub(super) edge: Edge,
    pub(super) region: Region,
    pub(super) upstream: Upstream,
    pair: Pair,
    _files: Certificates,
}

fn snapshot(region: &Region, upstream: &Upstream, wants: bool) -> Snapshot {
    let mut all = resources(region, &upstream.url(""));
    all.extend([caller(3, 1, &[3]), wanting(2, wants)]);
    region.snapshot(&all)
}

fn wanting(n: u8, wants: bool) -> fleet::Resource {
    let proxy = fleet::ProxyResource { client_certificates: wants, ..fixture::proxy_message(n, &[1], 1, 2) };
    fixture::resource(fixture::proxy_key(n), proxy.encode_to_vec())
}

#[test]
fn callers_are_asked_as_long_as_one_proxy_wants_certificates() {
    let region = Region::new();
    let (mut inventory, mut snapshot) = (region.inventory(), Snapshot::default());
    let mut asks = |mode, upserts: &[fleet::Resource], removals: &[Key]| {
        inventory.apply(mode, changes(&fixture::body(upserts, removals)), &mut snapshot);
        snapshot.asks_for_certificates()
    };
    let base = resources(&region, "http://127.0.0.1:1");
    assert!(!asks(Mode::Snapshot, &base, &[]));
    assert!(asks(Mode::Delta, &[wanting(2, true), wanting(3, true)], &[]));
    assert!(asks(Mode::Delta, &[wanting(2, true)], &[]));
    assert!(asks(Mode::Delta, &[wanting(2, false)], &[]));
    assert!(!asks(Mode::Delta, &[], &[fixture::proxy_key(3)]));
    assert!(asks(Mode::Delta, &[wanting(2, true)], &[]));
    assert!(!asks(Mode::Delta, &[wanting(2, false)], &[]));
}

impl Asking {
    async fn start(wants: bool) -> Self {
        Self::start_bounded(wants, Bounds::of(100)).await
    }

    async fn start_bounded(wants: bool, bounds: Bounds) -> Self {
        let (upstream, region) = (Upstream::echo().await, Region::new());
        let snapshot = snapshot(&region, &upstream, wants);
        Self::serving(region, upstream, |door| Edge::start_behind(snapshot, &["127.0.0.0/8"], door, bounds))
    }

    /// A worker with TLS that serves what is said.
    pub(super) fn serving(
        region: Region,
        upstream: Upstream,
        start: impl FnOnce(Box<dyn FnOnce() -> Door + Send>) -> Edge,
    ) -> Self {
        let files = Certificates::new();
        let pair = files.write("edge", &["edge.example", "other.example", "127.0.0.1"]);
        let (mut readers, _) =
            tls(&[&pair]).start(1, &Seams::real(), CertificateBoard::default()).expect("they are good");
        let reader = readers.remove(0);
        let door = move || Door { tls: Some(reader.start()), neighbours: Neighbours::default() };
        let edge = start(Box::new(door));
        Self { edge, region, upstream, pair, _files: files }
    }
}

/// A client certificate that nobody has signed but its own key.
pub(super) struct Identity {
    pub(super) key: KeyPair,
    /// Its own certificate first.
    pub(super) chain: Vec<CertificateDer<'static>>,
}

impl Identity {
    pub(super) fn new() -> Self {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(vec!["whoever".to_owned()]).expect("a name");
        let certificate = params.self_signed(&key).expect("a certificate").der().clone();
        Self { key, chain: vec![certificate] }
    }

    pub(super) fn hash(&self) -> Vec<u8> {
        Sha256::digest(self.key.subject_public_key_info()).to_vec()
    }
}

fn roots(asking: &Asking) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    let pem = fs::read(&asking.pair.certificate).expect("it is there");
    roots.add(CertificateDer::from_pem_slice(&pem).expect("a certificate")).expect("a root");
    roots
}

pub(super) fn client(
    asking: &Asking,
    versions: &[&'static SupportedProtocolVersion],
    identity: Option<&Identity>,
) -> Arc<ClientConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(versions);
    let builder = builder.expect("versions").with_root_certificates(roots(asking));
    Arc::new(match identity {
        None => builder.with_no_client_auth(),
        Some(Identity { key, chain }) => {
            let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
            builder.with_client_auth_cert(chain.clone(), key).expect("they go together")
        }
    })
}

/// The answer to a request to a proxy for this host, over a handshake for that name.
async fn ask(
    asking: &Asking,
    client: &Arc<ClientConfig>,
    proxy: u8,
    key: u8,
    name: &str,
    host: &str,
) -> Answer {
    let (answer, _) = ask_how(asking, client, proxy, key, name, host).await;
    answer
}

async fn ask_how(
    asking: &Asking,
    client: &Arc<ClientConfig>,
    proxy: u8,
    key: u8,
    name: &str,
    host: &str,
) -> (Answer, Option<HandshakeKind>) {
    ask_with(asking, client, &format!("/api/{}/x", proxy_id(proxy)), &with_key(key), name, host).await
}

/// The same for a path, with these headers.
pub(super) async fn ask_with(
    asking: &Asking,
    client: &Arc<ClientConfig>,
    path: &str,
    headers: &str,
    name: &str,
    host: &str,
) -> (Answer, Option<HandshakeKind>) {
    let name = ServerName::try_from(name.to_owned()).expect("a name");
    let connecting = TlsConnector::from(Arc::clone(client)).connect(name, asking.edge.connect().await);
    let mut stream = connecting.await.expect("the edge shakes hands");
    let head = format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n{headers}\r\n");
    stream.write_all(head.as_bytes()).await.expect("the edge reads");
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await.expect("the edge answers");
    (Answer::parse(&bytes), stream.get_ref().1.handshake_kind())
}

#[tokio::test]
async fn whoever_was_not_asked_is_sent_to_a_connection_on_which_it_is() {
    let mut asking = Asking::start(false).await;
    let identity = Identity::new();
    let client = client(&asking, ALL_VERSIONS, Some(&identity));
    // It leaves tickets.
    assert_eq!(ask(&asking, &client, 2, 1, EDGE, EDGE).await.status, 200);
    let name = ServerName::try_from(EDGE).expect("a name");
    let connecting = TlsConnector::from(Arc::clone(&client)).connect(name, asking.edge.connect().await);
    let mut open = connecting.await.expect("the edge shakes hands");
    let next = snapshot(&asking.region, &asking.upstream, true);
    asking.edge.activate(next);
    let head = format!("GET /api/acme.proxy-2/x HTTP/1.1\r\nhost: {EDGE}\r\n{}\r\n", with_key(1));
    open.write_all(head.as_bytes()).await.expect("the edge reads");
    let mut bytes = Vec::new();
    // It is closed: its caller would never get off it.
    open.read_to_end(&mut bytes).await.expect("the edge answers");
    let answer = Answer::parse(&bytes);
    assert_eq!((answer.status, answer.json()["code"].clone()), (421, "misdirected".into()));
    // A session that was begun without a certificate is not gone on with.
    let (answer, handshake) = ask_how(&asking, &client, 2, 1, EDGE, EDGE).await;
    assert_eq!((answer.status, handshake), (200, Some(HandshakeKind::Full)));
}

pub(super) const EDGE: &str = "edge.example";

#[tokio::test]
async fn the_key_of_a_certificate_goes_into_the_record_and_opens_a_proxy_that_wants_one() {
    let asking = Asking::start(true).await;
    for versions in [&[&version::TLS12][..], &[&version::TLS13]] {
        let identity = Identity::new();
        let client = client(&asking, versions, Some(&identity));
        // The second time, too, it proves that it has the key: no session is resumed.
        for _ in 0..2 {
            let (answer, handshake) = ask_how(&asking, &client, 2, 1, EDGE, EDGE).await;
            let is_full =
                matches!(handshake, Some(HandshakeKind::Full | HandshakeKind::FullWithHelloRetryRequest));
            assert!(answer.status == 200 && is_full, "{handshake:?} {answer:?}");
            assert_eq!(asking.edge.record().await.client_key, identity.hash());
        }
    }
    let shown = asking.upstream.count();
    let bare = client(&asking, ALL_VERSIONS, None);
    assert_eq!(ask(&asking, &bare, 1, 1, EDGE, EDGE).await.status, 200, "this one wants none");
    assert!(asking.edge.record().await.client_key.is_empty());
    let refused = ask(&asking, &bare, 2, 1, EDGE, EDGE).await;
    let record = asking.edge.record().await;
    assert_eq!((&*record.reason, &*record.code), ("no-certificate", "proxy-access-denied"));
    // Alike: nobody learns which proxies want a certificate.
    for (proxy, key) in [(2, 9), (2, 3), (99, 1), (1, 9)] {
        let answer = ask(&asking, &bare, proxy, key, EDGE, EDGE).await;
        assert_eq!(answer.without_id_and_date(), refused.without_id_and_date(), "{proxy} {key}");
    }
    assert_eq!(asking.upstream.count(), shown + 1);
}

#[tokio::test]
async fn certificates_that_callers_show_are_no_heads_that_wait_for_their_end() {
    let bounds = Bounds { heads: 16 * 1024, ..Bounds::of(100) };
    let asking = Asking::start_bounded(true, bounds).await;
    let identity = Identity::new();
    let key = PrivateKeyDer::try_from(identity.key.serialize_der()).expect("a key");
    let chain = vec![identity.chain[0].clone(); 8];
    let length: usize = chain.iter().map(|certificate| certificate.len()).sum();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    // With TLS 1.2 the node's side ends before the caller's.
    let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(&[&version::TLS12]);
    let builder = builder.expect("versions").with_root_certificates(roots(&asking));
    let shows = builder.with_client_auth_cert(chain, key).expect("they go together");
    let connector = TlsConnector::from(Arc::new(shows));
    let mut open = Vec::new();
    for _ in 0..=bounds.heads / length {
        let name = ServerName::try_from(EDGE).expect("a name");
        open.push(connector.connect(name, asking.edge.connect().await).await.expect("it is taken"));
    }
    assert_eq!(asking.edge.cut(Cut::Heads).await, 0);
}

#[tokio::test]
async fn nobody_is_asked_where_no_proxy_wants_a_certificate() {
    let asking = Asking::start(false).await;
    let identity = Identity::new();
    let client = client(&asking, ALL_VERSIONS, Some(&identity));
    assert_eq!(ask(&asking, &client, 2, 1, EDGE, "anything.example").await.status, 200);
    assert!(asking.edge.record().await.client_key.is_empty());
}

#[tokio::test]
async fn a_certificate_without_its_key_shows_nothing() {
    #[derive(Debug)]
    struct Thief(Arc<CertifiedKey>);

    impl rustls::client::ResolvesClientCert for Thief {
        fn resolve(&self, _: &[&[u8]], _: &[rustls::SignatureScheme]) -> Option<Arc<CertifiedKey>> {
            Some(Arc::clone(&self.0))
        }

        fn has_certs(&self) -> bool {
            true
        }
    }

    let asking = Asking::start(true).await;
    let (owner, thief) = (Identity::new(), Identity::new());
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let key = PrivateKeyDer::try_from(thief.key.serialize_der()).expect("a key");
    let key = provider.key_provider.load_private_key(key).expect("a key");
    let stolen = Arc::new(CertifiedKey::new(owner.chain.clone(), key));
    for versions in [&[&version::TLS12][..], &[&version::TLS13]] {
        let mut config = ClientConfig::clone(&client(&asking, versions, None));
        config.client_auth_cert_resolver = Arc::new(Thief(Arc::clone(&stolen)));
        let name = ServerName::try_from(EDGE).expect("a name");
        let connecting = TlsConnector::from(Arc::new(config)).connect(name, asking.edge.connect().await);
        // With TLS 1.3 the caller comes to its end of the handshake first.
        let failed = match connecting.await {
            Err(_) => true,
            Ok(mut stream) => stream.read(&mut [0]).await.is_err(),
        };
        assert!(failed, "{versions:?}");
    }
    assert_eq!(asking.edge.cut(Cut::Handshake).await, 2);
    // A chain that would be kept for as long as the connection lasts.
    let key = PrivateKeyDer::try_from(owner.key.serialize_der()).expect("a key");
    let key = provider.key_provider.load_private_key(key).expect("a key");
    let mut config = ClientConfig::clone(&client(&asking, &[&version::TLS12], None));
    config.client_auth_cert_resolver =
        Arc::new(Thief(Arc::new(CertifiedKey::new(vec![owner.chain[0].clone(); 100], key))));
    let name = ServerName::try_from(EDGE).expect("a name");
    let connecting = TlsConnector::from(Arc::new(config)).connect(name, asking.edge.connect().await);
    assert!(connecting.await.is_err());
}

#[tokio::test]
async fn a_connection_that_showed_a_certificate_to_one_host_carries_no_request_for_another() {
    let asking = Asking::start(true).await;
    let identity = Identity::new();
    let (known, bare) = (client(&asking, ALL_VERSIONS, Some(&identity)), client(&asking, ALL_VERSIONS, None));
    for (name, host, status) in [
        (EDGE, EDGE, 200),
        (EDGE, "Edge.Example:7430", 200),
        (EDGE, "edge.example.", 200),
        ("127.0.0.1", "127.0.0.1:7430", 200),
        (EDGE, "other.example", 421),
        (EDGE, "127.0.0.1", 421),
        ("127.0.0.1", EDGE, 421),
        (EDGE, "edge.example.evil.example", 421),
    ] {
        for proxy in [1, 2] {
            let answer = ask(&asking, &known, proxy, 1, name, host).await;
            assert_eq!(answer.status, status, "{name} {host}: {answer:?}");
            if status == 421 {
                assert_eq!(answer.json()["code"], "misdirected");
            }
        }
        // Without a certificate there is nothing that could have been meant for another host.
        assert_eq!(ask(&asking, &bare, 1, 1, name, host).await.status, 200);
        // One with a good key may do better on another connection; nobody else learns so.
        let wanted = if status == 421 { 421 } else { 401 };
        assert_eq!(ask(&asking, &bare, 2, 1, name, host).await.status, wanted);
        assert_eq!(ask(&asking, &bare, 2, 9, name, host).await.status, 401);
    }
}

#[tokio::test]
async fn over_http2_it_carries_none_either() {
    let asking = Asking::start(true).await;
    let identity = Identity::new();
    let mut known = ClientConfig::clone(&client(&asking, ALL_VERSIONS, Some(&identity)));
    known.alpn_protocols = vec![b"h2".to_vec()];
    let name = ServerName::try_from(EDGE).expect("a name");
    let connecting = TlsConnector::from(Arc::new(known)).connect(name, asking.edge.connect().await);
    let io = TokioIo::new(connecting.await.expect("the edge shakes hands"));
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.expect("it speaks h2");
    let _driven = Tasks::new().spawn("h2", connection);
    for (host, status) in [(EDGE, 200), ("other.example", 421), ("127.0.0.1", 421), (EDGE, 200)] {
        let request = http::Request::get(format!("https://{host}/api/acme.proxy-2/x"))
            .header("authorization", caller_key(1))
            .body(Empty::<Bytes>::new())
            .expect("a request");
        let answer = sender.send_request(request).await.expect("an answer");
        assert_eq!(answer.status().as_u16(), status, "{host}");
    }
}
