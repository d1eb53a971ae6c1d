//! TLS to upstreams: the system's roots, and those that the node was given.
//!
//! Nothing is loaded before the first upstream needs it, because most of an idle node's memory would be
//! certificates. Verification cannot be switched off. Sessions are kept by worker, so that no lock is shared.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::sync::OnceCell;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tracing::debug;
use url::Host;

use super::SendError;
use super::socket::Socket;

const SESSIONS: usize = 64;

/// Roots that cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TrustError {
    #[error("read certificates from {path}", path = path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: rustls::pki_types::pem::Error,
    },
    #[error("certificate in {path} cannot be used as a root", path = path.display())]
    Root {
        path: PathBuf,
        #[source]
        source: rustls::Error,
    },
    #[error("{path} contains no certificate", path = path.display())]
    Empty { path: PathBuf },
    #[error("system has no usable root certificates")]
    NoRoots,
    #[error("TLS library offers no protocol version")]
    Provider(#[source] rustls::Error),
    #[error("loading the root certificates was interrupted")]
    CutOff,
}

/// What upstreams are checked against. One a process, loaded when first needed.
pub(crate) struct Trust {
    extra: Option<PathBuf>,
    config: OnceCell<Result<Arc<ClientConfig>, Arc<TrustError>>>,
}

impl Trust {
    pub(crate) fn new(extra: Option<PathBuf>) -> Arc<Self> {
        Arc::new(Self { extra, config: OnceCell::new() })
    }

    async fn config(&self) -> Result<Arc<ClientConfig>, Arc<TrustError>> {
        let extra = self.extra.clone();
        let load = || async {
            // Some hundred files are read and parsed: not on a traffic worker.
            let loaded = tokio::task::spawn_blocking(move || load(extra.as_deref())).await;
            loaded.unwrap_or(Err(TrustError::CutOff)).map_err(Arc::new)
        };
        self.config.get_or_init(load).await.clone()
    }
}

/// Certificates of a PEM file, for a check at start.
pub(crate) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TrustError> {
    let read = |source| TrustError::Read { path: path.to_owned(), source };
    let found: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path).map_err(read)?.collect();
    let found = found.map_err(read)?;
    if found.is_empty() { Err(TrustError::Empty { path: path.to_owned() }) } else { Ok(found) }
}

fn load(extra: Option<&Path>) -> Result<Arc<ClientConfig>, TrustError> {
    let mut roots = RootCertStore::empty();
    let native = rustls_native_certs::load_native_certs();
    let (taken, left) = roots.add_parsable_certificates(native.certs);
    debug!(taken, left, "system roots loaded");
    if let Some(path) = extra {
        for certificate in certificates(path)? {
            roots.add(certificate).map_err(|source| TrustError::Root { path: path.to_owned(), source })?;
        }
    }
    if roots.is_empty() {
        return Err(TrustError::NoRoots);
    }
    let mut config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(TrustError::Provider)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// TLS as one worker does it.
pub(super) struct WorkerTls {
    trust: Arc<Trust>,
    connector: OnceCell<TlsConnector>,
}

impl WorkerTls {
    pub(super) fn new(trust: Arc<Trust>) -> Self {
        Self { trust, connector: OnceCell::new() }
    }

    pub(super) async fn connect(&self, host: &Host, stream: Socket) -> Result<TlsStream<Socket>, SendError> {
        let connector = self.connector.get_or_try_init(|| self.connector()).await?;
        handshake(connector, host, stream).await
    }

    /// The same, offering HTTP/1.1 alone. Too seldom to keep sessions for.
    pub(super) async fn connect_http1(
        &self,
        host: &Host,
        stream: Socket,
    ) -> Result<TlsStream<Socket>, SendError> {
        let mut config = (*self.trust.config().await.map_err(SendError::Trust)?).clone();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        config.resumption = Resumption::disabled();
        handshake(&TlsConnector::from(Arc::new(config)), host, stream).await
    }

    async fn connector(&self) -> Result<TlsConnector, SendError> {
        let mut config = (*self.trust.config().await.map_err(SendError::Trust)?).clone();
        config.resumption = Resumption::in_memory_sessions(SESSIONS);
        Ok(TlsConnector::from(Arc::new(config)))
    }
}

async fn handshake(
    connector: &TlsConnector,
    host: &Host,
    stream: Socket,
) -> Result<TlsStream<Socket>, SendError> {
    let name = match host {
        Host::Domain(name) => ServerName::try_from(name.clone())
            .map_err(|error| SendError::Tls(io::Error::new(io::ErrorKind::InvalidInput, error)))?,
        Host::Ipv4(ip) => ServerName::from(std::net::IpAddr::from(*ip)),
        Host::Ipv6(ip) => ServerName::from(std::net::IpAddr::from(*ip)),
    };
    connector.connect(name, stream).await.map_err(SendError::Tls)
}

pub(super) fn agreed_on_http2(stream: &TlsStream<Socket>) -> bool {
    stream.get_ref().1.alpn_protocol() == Some(b"h2")
}
