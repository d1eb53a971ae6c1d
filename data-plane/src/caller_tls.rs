//! TLS towards callers: certificates from files, read again when they change; one configuration for all workers.
//!
//! Decides nothing about requests, and trusts no client certificate: `client` proves that a caller has the key of one, and
//! nothing else. The invariants: a handshake waits for no lock that a reload holds; what is served stays as it is until
//! all of a new pair can be served; nothing is taken of a request before its handshake is complete (no 0-RTT), because
//! whoever recorded such bytes could have them done again.

mod choose;
mod client;
mod pair;
mod watch;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use rr_contract::seam::Seams;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::{NoServerSessionStorage, ProducesTickets, ResolvesServerCert};
use rustls::{ALL_VERSIONS, ServerConfig, SupportedProtocolVersion, version};

use crate::current::{PendingReader, cell};

use self::choose::ByName;
use self::client::AnyCertificate;
use self::pair::{Content, Loaded};

pub use self::pair::{CertificateError, Pair};
pub(crate) use self::watch::Watch;

/// With HTTP/2 before HTTP/1.1, where a caller offers both.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];
static TLS13_ONLY: &[&SupportedProtocolVersion] = &[&version::TLS13];
/// What is held of an answer that its caller does not read, beside what HTTP holds.
pub(crate) const BUFFER_MAX: usize = 32 * 1024;

/// The certificates of a node, and the versions of TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallerTls {
    /// At least one. The first one is for callers that ask for no name, or for one that is nobody's.
    pub pairs: Vec<Pair>,
    /// Whether TLS 1.2 is off.
    pub is_tls13_only: bool,
}

impl CallerTls {
    /// Whether it could be served.
    pub fn check(&self, seams: &Seams) -> Result<(), CertificateError> {
        load(self, seams).map(drop)
    }

    /// What workers read, one each, and what follows the files.
    pub(crate) fn start(
        self,
        workers: usize,
        seams: &Seams,
        board: CertificateBoard,
    ) -> Result<(Vec<PendingReader<ServerTls>>, Watch), CertificateError> {
        let loaded = load(&self, seams)?;
        let maker = Maker::new(self.is_tls13_only).map_err(CertificateError::Library)?;
        let certificates: Vec<Arc<Loaded>> = loaded.iter().map(|(_, loaded)| Arc::clone(loaded)).collect();
        let first = maker.make(&certificates).map_err(CertificateError::Library)?;
        let (activator, readers) = cell(first, workers);
        Ok((readers, Watch::new(self.pairs, loaded, maker, activator, seams.clone(), board)))
    }
}

fn load(tls: &CallerTls, seams: &Seams) -> Result<Vec<(blake3::Hash, Arc<Loaded>)>, CertificateError> {
    let load = |pair: &Pair| {
        let content = Content::read(pair, &*seams.disk)?;
        Ok((content.digest(), Arc::new(content.load(pair, seams.clock.now())?)))
    };
    tls.pairs.iter().map(load).collect()
}

/// What a handshake is made with.
pub(crate) struct ServerTls {
    quiet: Arc<ServerConfig>,
    asking: Arc<ServerConfig>,
}

impl ServerTls {
    /// The configuration that asks for a client certificate, or the one that does not.
    pub(crate) fn config(&self, asks: bool) -> Arc<ServerConfig> {
        Arc::clone(if asks { &self.asking } else { &self.quiet })
    }
}

/// Makes configurations that differ in their certificates alone.
struct Maker {
    provider: Arc<CryptoProvider>,
    versions: &'static [&'static SupportedProtocolVersion],
    /// Rotated by the library, and the same for all workers: a caller comes back to any of them. Only where nobody is
    /// asked for a certificate: a ticket would carry the certificate, or that there was none, from session to session
    /// without end.
    tickets: Arc<dyn ProducesTickets>,
}

impl Maker {
    fn new(is_tls13_only: bool) -> Result<Self, rustls::Error> {
        let versions = if is_tls13_only { TLS13_ONLY } else { ALL_VERSIONS };
        Ok(Self {
            provider: Arc::new(aws_lc_rs::default_provider()),
            versions,
            tickets: aws_lc_rs::Ticketer::new()?,
        })
    }

    fn make(&self, certificates: &[Arc<Loaded>]) -> Result<ServerTls, rustls::Error> {
        let resolver: Arc<dyn ResolvesServerCert> = Arc::new(ByName::new(certificates));
        let builder = || {
            ServerConfig::builder_with_provider(Arc::clone(&self.provider))
                .with_protocol_versions(self.versions)
        };
        let verifier = Arc::new(AnyCertificate::new(&self.provider));
        let quiet = builder()?.with_no_client_auth().with_cert_resolver(Arc::clone(&resolver));
        let asking = builder()?.with_client_cert_verifier(verifier).with_cert_resolver(resolver);
        Ok(ServerTls { quiet: finish(quiet, Some(&self.tickets)), asking: finish(asking, None) })
    }
}

fn finish(mut config: ServerConfig, tickets: Option<&Arc<dyn ProducesTickets>>) -> Arc<ServerConfig> {
    config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
    if let Some(tickets) = tickets {
        config.ticketer = Arc::clone(tickets);
    }
    // Tickets do; the store would be a lock that all handshakes share.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    // No 0-RTT.
    config.max_early_data_size = 0;
    Arc::new(config)
}

/// How it stands with one pair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CertificateFacts {
    /// The file, as the settings name it.
    pub(crate) certificate: PathBuf,
    /// Until when the certificate that is served is valid.
    pub(crate) expires: SystemTime,
    /// Since when what stands in the files cannot be served.
    pub(crate) refused_since: Option<SystemTime>,
}

/// How it stands with all of them, for the admin port; empty without TLS. Clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct CertificateBoard(Arc<Mutex<Vec<CertificateFacts>>>);

impl CertificateBoard {
    pub(crate) fn read(&self) -> Vec<CertificateFacts> {
        self.facts().clone()
    }

    fn write(&self, facts: Vec<CertificateFacts>) {
        *self.facts() = facts;
    }

    fn facts(&self) -> MutexGuard<'_, Vec<CertificateFacts>> {
        // Replaced whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
