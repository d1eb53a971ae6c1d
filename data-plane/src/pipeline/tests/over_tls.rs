//! Upstreams over TLS: both protocols, and no way around the certificate.

use std::convert::Infallible;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http::{Request, Response, Version};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use prost::Message as _;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rr_contract::runtime::Tasks;
use rr_contract::wire::fleet;
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::fixture::{self, Region};
use crate::upstream::Trust;

use super::edge::Edge;
use super::{HEADER, SECRET, get, resources, with_key};

pub(super) struct Secure {
    port: u16,
    dials: Arc<AtomicUsize>,
    connections: Arc<AtomicUsize>,
    roots: tempfile::NamedTempFile,
}

impl Secure {
    /// Answers with the protocol that it was asked in.
    async fn start(protocol: &'static [u8]) -> Self {
        Self::serving(protocol, |stream| async move {
            let server = auto::Builder::new(TokioExecutor::new());
            // The test sees how it ended on the other side.
            server.serve_connection(TokioIo::new(stream), service_fn(answer)).await.ok();
        })
        .await
    }

    /// Does with each connection what the test says.
    pub(super) async fn serving<S, F>(protocol: &'static [u8], serve: S) -> Self
    where
        S: Fn(TlsStream<TcpStream>) -> F + Clone + Send + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        Self::speaking(&[protocol], rustls::DEFAULT_VERSIONS, serve).await
    }

    /// The same, for more protocols, and certain versions of TLS.
    pub(super) async fn speaking<S, F>(
        protocols: &[&[u8]],
        versions: &[&'static rustls::SupportedProtocolVersion],
        serve: S,
    ) -> Self
    where
        S: Fn(TlsStream<TcpStream>) -> F + Clone + Send + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let gate = Arc::new(Semaphore::new(Semaphore::MAX_PERMITS));
        Self::gated(protocols, versions, gate, serve).await
    }

    /// The same, and shakes hands only as often as the gate lets it.
    pub(super) async fn gated<S, F>(
        protocols: &[&[u8]],
        versions: &[&'static rustls::SupportedProtocolVersion],
        gate: Arc<Semaphore>,
        serve: S,
    ) -> Self
    where
        S: Fn(TlsStream<TcpStream>) -> F + Clone + Send + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority =
            CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("a root");
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
        let leaf = params.signed_by(&key, &authority).expect("a leaf");
        let roots = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(roots.path(), authority.pem()).expect("it is ours");
        let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![leaf.der().clone()], key)
            .expect("a configuration");
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("it is bound").port();
        let (dials, connections): (Arc<AtomicUsize>, Arc<AtomicUsize>) = Default::default();
        let (dialed, counted) = (Arc::clone(&dials), Arc::clone(&connections));
        let tasks = Tasks::new();
        tasks.clone().spawn("upstream", async move {
            loop {
                let (stream, _) = listener.accept().await.expect("it listens");
                dialed.fetch_add(1, Ordering::Relaxed);
                let (acceptor, counted, serve) = (acceptor.clone(), Arc::clone(&counted), serve.clone());
                let gate = Arc::clone(&gate);
                tasks.spawn("connection", async move {
                    gate.acquire().await.expect("nobody closes it").forget();
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    counted.fetch_add(1, Ordering::Relaxed);
                    serve(stream).await;
                });
            }
        });
        Self { port, dials, connections, roots }
    }

    pub(super) fn url(&self) -> String {
        format!("https://localhost:{}", self.port)
    }

    /// PEM of the authority that vouches for it.
    pub(super) fn authority(&self) -> String {
        std::fs::read_to_string(self.roots.path()).expect("it is ours")
    }

    pub(super) fn trust(&self) -> Arc<Trust> {
        Trust::new(Some(self.roots.path().to_owned()))
    }

    /// How often somebody connected, with or without a handshake.
    pub(super) fn dials(&self) -> usize {
        self.dials.load(Ordering::Relaxed)
    }

    pub(super) fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    fn edge(&self, roots: Option<&Path>, host: &str) -> Edge {
        let region = Region::new();
        let snapshot = region.snapshot(&resources(&region, &format!("https://{host}:{}/base", self.port)));
        Edge::start_trusting(snapshot, &["127.0.0.0/8", "::1/128"], Trust::new(roots.map(Path::to_owned)))
    }
}

pub(super) async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let authority = match request.version() {
        Version::HTTP_2 => request.uri().authority().map(ToString::to_string),
        _ => request.headers().get("host").and_then(|host| host.to_str().ok()).map(str::to_owned),
    };
    let secret = request.headers().contains_key(HEADER);
    let text = format!("{:?} {} {secret}", request.version(), authority.unwrap_or_default());
    Ok(Response::new(Full::new(Bytes::from(text))))
}

#[tokio::test]
async fn the_protocol_is_what_tls_agrees_on_and_http2_needs_one_connection() {
    for (alpn, version) in [(&b"h2"[..], "HTTP/2.0"), (b"http/1.1", "HTTP/1.1")] {
        let upstream = Secure::start(alpn).await;
        let edge = upstream.edge(Some(upstream.roots.path()), "localhost");
        for _ in 0..3 {
            let answer = edge.send(&get("/api/acme.proxy-1/x", &with_key(1))).await;
            let wanted = format!("{version} localhost:{} true", upstream.port);
            assert!(answer.status == 200 && answer.text.ends_with(&wanted), "{answer:?}");
        }
        assert_eq!(upstream.connections.load(Ordering::Relaxed), 1, "{version}");
    }
}

#[tokio::test]
async fn a_host_of_the_proxys_own_goes_in_either_protocol_and_the_certificate_stays_the_base_urls() {
    for (alpn, version) in [(&b"h2"[..], "HTTP/2.0"), (b"http/1.1", "HTTP/1.1")] {
        let upstream = Secure::start(alpn).await;
        let region = Region::new();
        let mut all = resources(&region, &upstream.url());
        let rewrite = fleet::Rewrite { host: "api.example:8443".to_owned(), ..fleet::Rewrite::default() };
        let proxy = fleet::ProxyResource { rewrite: Some(rewrite), ..fixture::proxy_message(1, &[1], 1, 2) };
        all.push(fixture::resource(fixture::proxy_key(1), proxy.encode_to_vec()));
        let origin = format!("https://localhost:{}", upstream.port);
        all.push(region.upstream(2, 1, SECRET, HEADER, &[&origin, "https://api.example:8443"]));
        // Another one to the same upstream, over the same connection.
        all.push(fixture::proxy(2, &[1], 1, 2));
        let snapshot = region.snapshot(&all);
        let edge = Edge::start_trusting(snapshot, &["127.0.0.0/8", "::1/128"], upstream.trust());
        let own = format!("localhost:{}", upstream.port);
        for (proxy, host) in [(1, "api.example:8443"), (2, &own), (1, "api.example:8443")] {
            let answer = edge.send(&get(&format!("/api/acme.proxy-{proxy}/x"), &with_key(1))).await;
            let wanted = format!("{version} {host} true");
            assert!(answer.status == 200 && answer.text.ends_with(&wanted), "{answer:?}");
        }
        assert_eq!(upstream.connections(), 1, "{version}");
    }
}

#[tokio::test]
async fn a_certificate_of_a_stranger_or_for_another_name_gets_no_request() {
    let upstream = Secure::start(b"h2").await;
    for (roots, host) in [(None, "localhost"), (Some(upstream.roots.path()), "127.0.0.1")] {
        let answer = upstream.edge(roots, host).send(&get("/api/acme.proxy-1/x", &with_key(1))).await;
        assert_eq!((answer.status, answer.json()["code"].clone()), (502, "upstream-unreachable".into()));
    }
    assert_eq!(upstream.connections.load(Ordering::Relaxed), 0);
}
