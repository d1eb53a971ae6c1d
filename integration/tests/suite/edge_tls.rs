//! Callers over TLS at the real program: certificates that change under load, and an admin port with a token.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Empty, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rr_contract::runtime::Tasks;
use rr_integration::caller;
use rr_integration::process::admin;
use rr_integration::wait::eventually;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::standalone::Place;

const NAME: &str = "edge.example";

/// Issues the certificates of the node.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("a root"))
    }

    /// Writes a new certificate and key, one after the other, as a person would. Returns the certificate.
    fn issue(&self, place: &Place) -> CertificateDer<'static> {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(vec![NAME.to_owned()]).expect("a name");
        let leaf = params.signed_by(&key, &self.0).expect("a leaf");
        write(&place.path("edge.crt"), &leaf.pem());
        write(&place.path("edge.key"), &key.serialize_pem());
        leaf.der().clone()
    }

    /// A caller that trusts it and shakes hands in full each time.
    fn caller(&self) -> TlsConnector {
        let mut config = self.client();
        config.resumption = rustls::client::Resumption::disabled();
        TlsConnector::from(Arc::new(config))
    }

    /// A caller that trusts it.
    fn client(&self) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone()).expect("a root");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        builder.expect("versions").with_root_certificates(roots).with_no_client_auth()
    }
}

fn write(path: &Path, text: &str) {
    fs::write(path, text).expect("it is ours");
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).expect("it is ours");
}

/// One request on a connection of its own: its status, and the certificate that was shown.
async fn get(
    edge: SocketAddr,
    caller: &TlsConnector,
    key: &str,
) -> anyhow::Result<(u16, CertificateDer<'static>)> {
    let name = ServerName::try_from(NAME)?;
    let stream = caller.connect(name, TcpStream::connect(edge).await?).await?;
    let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first).cloned();
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    Tasks::new().spawn("caller", connection);
    let request = Request::get("/api/local.echo/hello")
        .header("host", NAME)
        .header("authorization", key)
        .body(Empty::<Bytes>::new())?;
    let (head, body) = sender.send_request(request).await?.into_parts();
    #[expect(clippy::disallowed_methods, reason = "tests know what they are sent")]
    body.collect().await?;
    Ok((head.status.as_u16(), shown.ok_or_else(|| anyhow::anyhow!("no certificate"))?))
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_are_replaced_under_load_without_a_failed_request() {
    let (place, authority) = (Place::new().await, Authority::new());
    let first = authority.issue(&place);
    let mut edge = place.start_with(&["--tls-certificate", "edge.crt", "--tls-key", "edge.key"]).await;
    eventually("it says where it is", || async { edge.log().contains("https://").then_some(()) }).await;
    let (caller, key, listen) = (authority.caller(), place.key(), place.listen());
    let (status, shown) = get(listen, &caller, &key).await.expect("it answers");
    assert_eq!((status, &shown), (200, &first));

    let ends = Arc::new(AtomicBool::new(false));
    let calls = Arc::new(AtomicUsize::new(0));
    let tasks = Tasks::new();
    let load: Vec<_> = (0..4)
        .map(|_| {
            let (caller, key, ends, calls) =
                (caller.clone(), key.clone(), Arc::clone(&ends), Arc::clone(&calls));
            tasks.spawn("load", async move {
                while !ends.load(Ordering::Relaxed) {
                    let (status, _) = get(listen, &caller, &key).await.expect("no request fails");
                    assert_eq!(status, 200);
                    calls.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    for _ in 0..2 {
        let next = authority.issue(&place);
        eventually("the new certificate is shown", || async {
            (get(listen, &caller, &key).await.ok()?.1 == next).then_some(())
        })
        .await;
    }
    // A key that belongs to no certificate.
    write(&place.path("edge.key"), &KeyPair::generate().expect("a key").serialize_pem());
    eventually("the mismatch is said", || async {
        let ready = admin(place.admin(), "/readyz").await.ok()?;
        (ready.status == 200 && ready.text() == "ready (certificate-refused)\n").then_some(())
    })
    .await;
    let metrics = admin(place.admin(), "/metrics").await.expect("it answers");
    let refused = "requestrocket_edge_tls_certificate_refused_timestamp_seconds{certificate=\"edge.crt\"";
    let line = metrics.text().lines().find(|line| line.starts_with(refused)).expect("there is one");
    assert!(!line.ends_with(" 0"), "{line}");
    assert!(
        metrics.text().contains("requestrocket_edge_tls_certificate_expires_timestamp_seconds{certificate=")
    );
    assert!(edge.log().contains("edge.crt") && edge.log().contains("issued for"), "{}", edge.log());
    let last = authority.issue(&place);
    eventually("it is mended", || async {
        let ready = admin(place.admin(), "/readyz").await.ok()?;
        (ready.text() == "ready\n" && get(listen, &caller, &key).await.ok()?.1 == last).then_some(())
    })
    .await;
    ends.store(true, Ordering::Relaxed);
    for task in load {
        task.await.expect("no request failed");
    }
    assert!(calls.load(Ordering::Relaxed) > 10);

    let plain = Request::get("/api/local.echo/hello").header("host", NAME).body(Full::default());
    let answer = caller::send(listen, plain.expect("a request")).await.expect("it answers");
    assert_eq!(
        (answer.status.as_u16(), answer.header("requestrocket-proxy-code")),
        (400, "http-on-tls-port")
    );
    assert_eq!(edge.terminate().await.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn no_request_goes_along_with_a_handshake() {
    let (place, authority) = (Place::new().await, Authority::new());
    authority.issue(&place);
    let edge = place.start_with(&["--tls-certificate", "edge.crt", "--tls-key", "edge.key"]).await;
    eventually("it says where it is", || async { edge.log().contains("https://").then_some(()) }).await;
    let mut config = authority.client();
    config.enable_early_data = true;
    let (config, name) = (Arc::new(config), ServerName::try_from(NAME).expect("a name"));
    let caller = TlsConnector::from(Arc::clone(&config));
    get(place.listen(), &caller, &place.key()).await.expect("it answers");
    // With what the node gave it, the caller shakes hands in short, and may send nothing before that is done.
    let mut next = rustls::ClientConnection::new(config, name.clone()).expect("a connection");
    assert!(next.early_data().is_none(), "whoever recorded it could send it again");
    get(place.listen(), &caller, &place.key()).await.expect("it answers");
    let socket = TcpStream::connect(place.listen()).await.expect("connects");
    let stream = caller.connect(name, socket).await.expect("shakes hands");
    assert_eq!(stream.get_ref().1.handshake_kind(), Some(rustls::HandshakeKind::Resumed));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_admin_port_that_others_reach_asks_for_its_token_or_does_not_open() {
    let place = Place::new().await;
    write(&place.path("admin.token"), "0123456789abcdef0123456789abcdef\n");
    let _edge = place.start_with(&["--admin-token-file", "admin.token"]).await;
    for (path, status) in [("/healthz", 200), ("/readyz", 401), ("/metrics", 401), ("/config", 401)] {
        assert_eq!(admin(place.admin(), path).await.expect("it answers").status, status, "{path}");
    }
    eventually("it is ready", || async {
        let shown = Request::get("/readyz")
            .header("host", "edge")
            .header("authorization", "Bearer 0123456789abcdef0123456789abcdef")
            .body(Full::default());
        let answer = caller::send(place.admin(), shown.expect("a request")).await.ok()?;
        (answer.status == 200).then_some(())
    })
    .await;
}
