//! TLS to upstreams: the system's roots and those that the node was given, or the certificates of a target alone.
//!
//! Nothing is loaded before the first upstream needs it, because most of an idle node's memory would be
//! certificates. Verification cannot be switched off. The invariant: sessions are kept by worker, so that no lock is
//! shared, by organization and by the certificate that was shown, so that none is recognized by another's ticket, and by all
//! that was agreed on in them, so that a ticket never stands in for a check that it did not see.

use std::cell::RefCell;
use std::collections::HashMap;
use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rr_contract::model::id::OrgId;
use rr_contract::model::tls::{CaBundle, CaHash, HttpVersion, MinTls, Wire};
use rr_contract::outbound::LoadOnce;
use rr_contract::runtime::chain;
use rustls::client::Resumption;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::sign::SingleCertAndKey;
use rustls::version::TLS13;
use rustls::{AlertDescription, ClientConfig, RootCertStore, SupportedProtocolVersion};
use tokio::time::Instant;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tracing::debug;
use url::Host;

use crate::snapshot::{OwnCertificate, OwnCertificateId};

use super::SendError;
use super::socket::Socket;

/// Sessions of one worker, for each terms.
const SESSIONS: usize = 64;
/// Terms that one worker keeps sessions for. With more, the organization that has most pays a full handshake again for
/// those that it did not use for longest.
const TERMS_MAX: usize = 256;
/// Of these, those of one organization. An upstream decides how much a session takes up: a ticket and certificates of up to
/// 64 KiB each.
const TERMS_BY_ORG: usize = 16;
/// Terms are kept this long for a connection.
const UNUSED_MAX: Duration = Duration::from_secs(10 * 60);

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

/// What upstreams without certificates of their own are checked against. One a process, loaded when first
/// needed.
pub(crate) struct Trust {
    extra: Option<PathBuf>,
    roots: LoadOnce<Arc<RootCertStore>, TrustError>,
}

impl Trust {
    pub(crate) fn new(extra: Option<PathBuf>) -> Arc<Self> {
        Arc::new(Self { extra, roots: LoadOnce::default() })
    }

    async fn roots(&self) -> Result<Arc<RootCertStore>, Arc<TrustError>> {
        let extra = self.extra.clone();
        let load = || async {
            // Some hundred files are read and parsed: not on a traffic worker.
            let loaded = tokio::task::spawn_blocking(move || load(extra.as_deref())).await;
            loaded.unwrap_or(Err(TrustError::CutOff))
        };
        self.roots.get(load).await.cloned()
    }
}

/// Certificates of a PEM file, for a check at start.
pub(crate) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TrustError> {
    let read = |source| TrustError::Read { path: path.to_owned(), source };
    let found: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path).map_err(read)?.collect();
    let found = found.map_err(read)?;
    if found.is_empty() { Err(TrustError::Empty { path: path.to_owned() }) } else { Ok(found) }
}

fn load(extra: Option<&Path>) -> Result<Arc<RootCertStore>, TrustError> {
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
    Ok(Arc::new(roots))
}

/// Nobody but these vouches for an upstream.
fn only(ca: &CaBundle) -> Arc<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for certificate in ca.certificates() {
        roots.add(certificate.clone()).expect("the model took it as a root with the same code");
    }
    Arc::new(roots)
}

/// Whose a session is, and what is agreed on before it is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Terms {
    org: OrgId,
    ca: Option<CaHash>,
    min_tls: MinTls,
    http: HttpVersion,
    /// With a ticket, the peer takes us for who we were when it gave it.
    shown: Option<OwnCertificateId>,
}

impl Terms {
    fn of(org: OrgId, wire: &Wire, shown: Option<&OwnCertificate>) -> Self {
        let (ca, shown) = (wire.ca.as_ref().map(|ca| *ca.hash()), shown.map(OwnCertificate::id));
        Self { org, ca, min_tls: wire.min_tls, http: wire.http, shown }
    }

    fn versions(self) -> &'static [&'static SupportedProtocolVersion] {
        static ONLY_1_3: &[&SupportedProtocolVersion] = &[&TLS13];
        match self.min_tls {
            MinTls::V1_2 => rustls::DEFAULT_VERSIONS,
            MinTls::V1_3 => ONLY_1_3,
        }
    }

    fn protocols(self) -> Vec<Vec<u8>> {
        match self.http {
            HttpVersion::Agreed => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
            HttpVersion::V1_1 => vec![b"http/1.1".to_vec()],
            HttpVersion::V2 => vec![b"h2".to_vec()],
        }
    }
}

struct Kept {
    connector: TlsConnector,
    used: Instant,
}

/// TLS as one worker does it.
pub(super) struct WorkerTls {
    trust: Arc<Trust>,
    provider: Arc<CryptoProvider>,
    kept: RefCell<HashMap<Terms, Kept>>,
}

impl WorkerTls {
    pub(super) fn new(trust: Arc<Trust>) -> Self {
        Self { trust, provider: Arc::new(aws_lc_rs::default_provider()), kept: RefCell::default() }
    }

    /// Shakes hands as `wire` says, for an organization, and shows this certificate if the peer asks for one.
    pub(super) async fn connect(
        &self,
        org: OrgId,
        host: &Host,
        wire: &Wire,
        shown: Option<&Arc<OwnCertificate>>,
        stream: Socket,
    ) -> Result<TlsStream<Socket>, SendError> {
        let name = match host {
            Host::Domain(name) => ServerName::try_from(name.clone())
                .map_err(|error| SendError::Tls(io::Error::new(io::ErrorKind::InvalidInput, error)))?,
            Host::Ipv4(ip) => ServerName::from(std::net::IpAddr::from(*ip)),
            Host::Ipv6(ip) => ServerName::from(std::net::IpAddr::from(*ip)),
        };
        let connector = self.connector(org, wire, shown).await?;
        let stream = connector.connect(name, stream).await.map_err(|error| {
            if no_protocol(&error) {
                return SendError::Version(version(wire.http));
            }
            certificate_refused(&error).map_or(SendError::Tls(error), SendError::ClientCertificate)
        })?;
        if wire.http == HttpVersion::V2 && !agreed_on_http2(&stream) {
            return Err(SendError::Version(version(wire.http)));
        }
        Ok(stream)
    }

    async fn connector(
        &self,
        org: OrgId,
        wire: &Wire,
        shown: Option<&Arc<OwnCertificate>>,
    ) -> Result<TlsConnector, SendError> {
        let terms = Terms::of(org, wire, shown.map(|shown| &**shown));
        if let Some(kept) = self.kept.borrow_mut().get_mut(&terms) {
            kept.used = Instant::now();
            return Ok(kept.connector.clone());
        }
        let roots = match &wire.ca {
            Some(ca) => Ok(only(ca)),
            None => self.trust.roots().await,
        };
        let connector = roots.and_then(|roots| self.make(terms, roots, shown).map_err(Arc::new));
        let connector = connector.map_err(SendError::Trust)?;
        let mut kept = self.kept.borrow_mut();
        if !kept.contains_key(&terms)
            && let Some(oldest) = in_the_way(&kept, org)
        {
            kept.remove(&oldest);
        }
        // Another may have made it meanwhile: one of them keeps the sessions of both.
        let kept = kept.entry(terms).or_insert(Kept { connector, used: Instant::now() });
        Ok(kept.connector.clone())
    }

    fn make(
        &self,
        terms: Terms,
        roots: Arc<RootCertStore>,
        shown: Option<&Arc<OwnCertificate>>,
    ) -> Result<TlsConnector, TrustError> {
        let config = ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(terms.versions())
            .map_err(TrustError::Provider)?
            .with_root_certificates(roots);
        let mut config = match shown {
            None => config.with_no_client_auth(),
            Some(shown) => {
                config.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(Arc::clone(shown.pair()))))
            }
        };
        config.alpn_protocols = terms.protocols();
        config.resumption = Resumption::in_memory_sessions(SESSIONS);
        Ok(TlsConnector::from(Arc::new(config)))
    }

    /// Lets go of what was not used for long.
    pub(super) fn sweep(&self) {
        self.kept.borrow_mut().retain(|_, kept| kept.used.elapsed() < UNUSED_MAX);
    }
}

/// What has to go before further terms of an organization are kept: what it did not use for longest itself, where it has as
/// many as it may; the same of the organization that has most, where there are too many in all.
fn in_the_way(kept: &HashMap<Terms, Kept>, org: OrgId) -> Option<Terms> {
    let mut counts: HashMap<OrgId, usize> = HashMap::new();
    kept.keys().for_each(|terms| *counts.entry(terms.org).or_default() += 1);
    let own = counts.get(&org).copied().unwrap_or_default();
    let most = match own {
        own if own >= TERMS_BY_ORG => None,
        _ if kept.len() >= TERMS_MAX => counts.values().max().copied(),
        _ => return None,
    };
    let goes = |terms: &Terms| most.map_or(terms.org == org, |most| counts[&terms.org] == most);
    let oldest = kept.iter().filter(|(terms, _)| goes(terms)).min_by_key(|(_, kept)| kept.used);
    oldest.map(|(terms, _)| *terms)
}

fn version(http: HttpVersion) -> &'static str {
    match http {
        HttpVersion::Agreed => "1.1 or 2",
        HttpVersion::V1_1 => "1.1",
        HttpVersion::V2 => "2",
    }
}

/// Whether the peer speaks nothing of what it was offered.
fn no_protocol(error: &io::Error) -> bool {
    let cause = error.get_ref().and_then(|cause| cause.downcast_ref::<rustls::Error>());
    matches!(cause, Some(rustls::Error::AlertReceived(AlertDescription::NoApplicationProtocol)))
}

/// What the peer said of the client certificate, if that is what a connection ended with. HTTP/2 hands on no more than the
/// text of it.
pub(super) fn certificate_refused(error: &(dyn Error + 'static)) -> Option<AlertDescription> {
    use AlertDescription as Alert;
    let text = chain(error).to_string();
    let all = [
        Alert::CertificateRequired,
        Alert::UnknownCA,
        Alert::BadCertificate,
        Alert::UnsupportedCertificate,
        Alert::CertificateRevoked,
        Alert::CertificateExpired,
        Alert::CertificateUnknown,
        Alert::AccessDenied,
        // Its signature is another's.
        Alert::DecryptError,
    ];
    let is_said = |alert: &Alert| {
        let said = rustls::Error::AlertReceived(*alert).to_string();
        text.contains(&said)
    };
    all.into_iter().find(is_said)
}

pub(super) fn agreed_on_http2(stream: &TlsStream<Socket>) -> bool {
    stream.get_ref().1.alpn_protocol() == Some(b"h2")
}

#[cfg(test)]
mod tests;
