//! Listeners: what a slow or silent peer may hold up.

use std::net::Ipv4Addr;

use rr_contract::model::id::InstallationId;
use rr_contract::runtime::Shutdown;
use rr_contract::runtime::observe::Observability;
use rr_contract::seam::Seams;
use rustls_pki_types::ServerName;
use tokio::io::AsyncReadExt as _;
use tokio_rustls::TlsConnector;

use super::*;
use crate::authority::{Authority, SERVER_NAME};

const SOON: Duration = Duration::from_secs(20);

/// Serves the fleet's TLS with so much patience for strangers, and connects as one.
async fn stranger(patience: Duration) -> (tokio_rustls::client::TlsStream<TcpStream>, Shutdown, Tasks) {
    let folder = tempfile::tempdir().expect("a folder");
    let seams = Seams::real();
    let authority =
        Authority::open(folder.path(), InstallationId::from_random([1; 16]), None, &seams).expect("opens");
    let (shutdown, tasks) = (Shutdown::new(), Tasks::new());
    let bound = Bound::bind("fleet", SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).expect("binds");
    let address = bound.address();
    let serving = Serving {
        router: axum::Router::new(),
        tls: Some(authority.fleet_tls(&seams).expect("is made")),
        admit: Arc::new(|_, _| {}),
        stranger: Some(patience),
        events: Events::new(&Observability::quiet("rr-control")),
        tasks: tasks.clone(),
        stop: shutdown.stop(),
        drain: SOON,
    };
    tasks.spawn("port", bound.serve(serving));
    let mut roots = rustls::RootCertStore::empty();
    roots.add(authority.certificate().clone()).expect("is one");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("good")
        .with_root_certificates(roots)
        .with_no_client_auth();
    tls.alpn_protocols = vec![b"h2".to_vec()];
    let stream = TcpStream::connect(address).await.expect("connects");
    let name = ServerName::try_from(SERVER_NAME).expect("a name");
    let stream = TlsConnector::from(Arc::new(tls)).connect(name, stream).await.expect("is let in");
    (stream, shutdown, tasks)
}

/// Reads until the other end closes, one way or the other.
async fn closed(stream: &mut tokio_rustls::client::TlsStream<TcpStream>) {
    let mut bytes = [0; 256];
    while stream.read(&mut bytes).await.is_ok_and(|length| length > 0) {}
}

#[tokio::test]
async fn a_stranger_cannot_keep_a_place_on_the_fleet_port() {
    let (mut stream, _shutdown, _tasks) = stranger(Duration::from_millis(50)).await;
    timeout(SOON, closed(&mut stream)).await.expect("is shown out");
}

#[tokio::test]
async fn a_stop_ends_idle_connections_at_once() {
    let (mut stream, shutdown, tasks) = stranger(Duration::from_secs(600)).await;
    shutdown.begin();
    timeout(SOON, closed(&mut stream)).await.expect("is closed");
    drop(stream);
    assert!(tasks.wait(SOON).await.is_empty());
}
