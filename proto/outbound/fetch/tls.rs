//! TLS of fetches: the system's roots and the caller's, loaded at the first fetch.
//!
//! Verification cannot be switched off. TLS 1.2 is the least.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tracing::debug;
use url::Host;

use super::super::load_once::LoadOnce;
use super::FetchError;

/// Roots that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RootsError {
    /// One of the caller's is no certificate.
    #[error("certificate cannot be used as a root")]
    Root(#[source] rustls::Error),
    /// There is none.
    #[error("system has no usable root certificates")]
    None,
    /// The library has no protocol version.
    #[error("TLS library offers no protocol version")]
    Provider(#[source] rustls::Error),
    /// The process ends.
    #[error("loading the root certificates was interrupted")]
    CutOff,
}

pub(super) struct Tls {
    roots: Vec<CertificateDer<'static>>,
    connector: LoadOnce<TlsConnector, RootsError>,
}

impl Tls {
    pub(super) fn new(roots: Vec<CertificateDer<'static>>) -> Self {
        Self { roots, connector: LoadOnce::default() }
    }

    /// A connection to a peer that showed a certificate for this host.
    pub(super) async fn connect(
        &self,
        host: &Host,
        stream: TcpStream,
    ) -> Result<TlsStream<TcpStream>, FetchError> {
        let name = match host {
            // A certificate names no dot at the end of a name.
            Host::Domain(name) => ServerName::try_from(name.trim_end_matches('.').to_owned())
                .map_err(|error| FetchError::Tls(io::Error::new(io::ErrorKind::InvalidInput, error)))?,
            Host::Ipv4(ip) => ServerName::from(IpAddr::from(*ip)),
            Host::Ipv6(ip) => ServerName::from(IpAddr::from(*ip)),
        };
        let connector = self.connector.get(|| self.load()).await.map_err(FetchError::Roots)?;
        connector.connect(name, stream).await.map_err(FetchError::Tls)
    }

    async fn load(&self) -> Result<TlsConnector, RootsError> {
        let roots = self.roots.clone();
        // Some hundred files are read and parsed.
        let loaded = tokio::task::spawn_blocking(move || load(roots)).await;
        loaded.unwrap_or(Err(RootsError::CutOff))
    }
}

fn load(extra: Vec<CertificateDer<'static>>) -> Result<TlsConnector, RootsError> {
    let mut roots = RootCertStore::empty();
    let native = rustls_native_certs::load_native_certs();
    let (taken, left) = roots.add_parsable_certificates(native.certs);
    debug!(taken, left, "system roots loaded");
    for certificate in extra {
        roots.add(certificate).map_err(RootsError::Root)?;
    }
    if roots.is_empty() {
        return Err(RootsError::None);
    }
    let mut config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(RootsError::Provider)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsConnector::from(Arc::new(config)))
}
