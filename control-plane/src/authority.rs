//! The installation's certificate authority: who may speak on the fleet port, and as whom.
//!
//! Names in certificates come from tokens, never from who asks for them. The key lies in the state folder, or where the
//! settings say; it signs identities, and permissions to have a request explained, and no secret is protected by it.

mod error;
mod key_source;
mod keys;
mod present;
mod program;
mod rollover;
mod serial;
mod sign_error;
mod signer;
mod verifier;

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use rcgen::{
    CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    KeyUsagePurpose, SanType, SerialNumber,
};
use rr_contract::model::id::{InstallationId, NodeId, RegionId};
use rr_contract::seam::{Seams, draw};
use rr_contract::trial;
use rr_contract::wire::fleet;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::{CertificateDer, CertificateSigningRequestDer};
use tokio::sync::{Mutex, Semaphore, watch};
use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;
use x509_parser::prelude::{FromDer as _, GeneralName, ParsedExtension, X509Certificate};

use keys::Held;
use present::{Present, Root};
use signer::signed;
use verifier::{Renewable, Time};

pub use error::AuthorityError;
pub use key_source::{InvalidKeySource, KeySource};
pub(crate) use keys::pem;
pub(crate) use rollover::Vouched;
pub(crate) use serial::{Serial, Shown};
pub use sign_error::{ProgramFault, SignError};
pub(crate) use verifier::RENEWABLE;

use crate::store::authority_root::Model as RootRow;

/// The name that nodes expect on the fleet port, whatever address they dial.
pub const SERVER_NAME: &str = "control-plane.requestrocket.internal";

/// Where the key is, in the state folder, unless the settings say otherwise.
pub(crate) const KEY_FILE: &str = "authority.key";
const CERTIFICATE_FILE: &str = "authority.crt";
/// Nodes renew theirs at half of it.
const NODE_VALIDITY: Duration = Duration::from_secs(86_400);
/// A new one is made at each start.
const SERVER_VALIDITY: Duration = Duration::from_secs(397 * 86_400);
const AUTHORITY_VALIDITY: Duration = Duration::from_secs(3650 * 86_400);
/// Clocks of nodes may be behind ours.
const SKEW: Duration = Duration::from_secs(300);
/// How many certificates are signed elsewhere at once.
const ELSEWHERE_MOST: usize = 8;

/// The authority: its roots as all replicas agree on them, and the keys that this one was given.
pub struct Authority {
    installation: InstallationId,
    held: Vec<Held>,
    folder: PathBuf,
    names: Vec<SanType>,
    seams: Seams,
    /// Turns of a signer that is elsewhere.
    turns: Semaphore,
    /// One changes the roots at a time.
    turn: Mutex<()>,
    present: RwLock<Arc<Present>>,
    /// What nodes are told, and the pins of the roots in it.
    told: watch::Sender<Arc<(fleet::Authorities, Vec<Vec<u8>>)>>,
}

/// What an authority is opened with.
pub(crate) struct Order {
    /// Where its keys are; at least one.
    pub(crate) keys: Vec<KeySource>,
    /// Where its certificates are written to, for people.
    pub(crate) folder: PathBuf,
    pub(crate) installation: InstallationId,
    /// Names of the management port, for the certificate of both ports.
    pub(crate) names: Vec<String>,
    pub(crate) address: Option<IpAddr>,
}

/// The port's certificate, whichever it is by now.
struct ShownNow(Arc<Authority>);

impl std::fmt::Debug for ShownNow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ShownNow")
    }
}

impl ResolvesServerCert for ShownNow {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.present().server))
    }
}

/// A machine's certificate.
pub(crate) struct Issued {
    pub(crate) certificate: CertificateDer<'static>,
    pub(crate) not_after: SystemTime,
}

/// A request for a certificate that was read. Only its public key counts.
pub(crate) struct Asked(CertificateSigningRequestParams);

impl Asked {
    /// Reads a request, whose signature proves that the machine has the key.
    pub(crate) fn parse(request: &[u8]) -> Result<Self, InvalidRequest> {
        let der = CertificateSigningRequestDer::from(request);
        Ok(Self(CertificateSigningRequestParams::from_der(&der).map_err(InvalidRequest)?))
    }
}

/// A request for a certificate that is none.
#[derive(Debug, thiserror::Error)]
#[error("not a certificate signing request")]
pub(crate) struct InvalidRequest(#[source] rcgen::Error);

/// What a node's certificate says, once TLS has verified it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NodeCertificate {
    pub(crate) identity: NodeIdentity,
    pub(crate) serial: Serial,
    pub(crate) not_after: SystemTime,
    /// Which root issued it, by the id of its key.
    pub(crate) issuer: Vec<u8>,
}

/// Who is at the other end of a fleet connection, by its certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NodeIdentity {
    pub(crate) node: NodeId,
    pub(crate) region: RegionId,
}

impl Authority {
    /// Reads the keys, and takes up the roots that the database knows; makes the first one where nodes trust none yet.
    ///
    /// A signer that is elsewhere is waited for: not for a thread that serves.
    pub(crate) fn open(
        order: Order,
        rows: Vec<RootRow>,
        trusted: Option<[u8; 32]>,
        seams: &Seams,
    ) -> Result<Self, AuthorityError> {
        let Order { keys: sources, folder, installation, names, address } = order;
        let certificate_path = folder.join(CERTIFICATE_FILE);
        let mut roots = rollover::roots(rows).map_err(AuthorityError::Store)?;
        let issues = roots.first().map(|root| root.pin).or(trusted);
        let mut held = Vec::new();
        let mut missing = Vec::new();
        for source in &sources {
            match (Held::read(source, seams)?, source) {
                (Some(key), _) => held.push(key),
                (None, KeySource::File(path)) => missing.push((source, path)),
                (None, _) => {}
            }
        }
        let is_here = |held: &[Held], pin| held.iter().any(|key| key.pin == pin);
        match issues {
            Some(pin) if !is_here(&held, pin) => {
                // Of several, the one that is missing is what is missed.
                return Err(match (missing.first(), sources.first()) {
                    (Some((_, path)), _) => AuthorityError::Gone { path: (*path).clone() },
                    (None, Some(key)) => AuthorityError::Other { key: key.clone() },
                    (None, None) => AuthorityError::NoKey { pin },
                });
            }
            Some(_) => {}
            None if held.is_empty() => {
                if let Some((_, path)) = missing.first()
                    && keys::found(&certificate_path, seams.disk.read(&certificate_path))?.is_some()
                {
                    return Err(AuthorityError::Half { path: (*path).clone() });
                }
            }
            None => {}
        }
        // Before any certificate: that can be made again, with the same pin.
        for (source, path) in missing {
            held.push(Held::make(source, path, seams)?);
        }
        if roots.is_empty() {
            let first = issues.and_then(|pin| held.iter().find(|key| key.pin == pin)).or(held.first());
            let first = first.ok_or(AuthorityError::NoKey { pin: [0; 32] })?;
            let certificate = match keys::certificate_of(first, &certificate_path, seams)? {
                Some(certificate) => certificate,
                None => {
                    let made = keys::certify_first(first, installation, seams)?;
                    keys::write(seams, &certificate_path, &pem(&made))?;
                    made
                }
            };
            let key_id = key_id(&certificate).ok_or(AuthorityError::Content { path: certificate_path })?;
            let gone = CancellationToken::new();
            roots.push(Root { pin: first.pin, key_id, certificate, cross: None, gone });
        }
        let names = server_names(&names, address)?;
        let signer = held.iter().find(|key| key.pin == roots[0].pin).map(|key| &*key.signer);
        let is_elsewhere = signer.is_some_and(signer::Signer::is_elsewhere);
        let present = Present::new(roots, signer, None, &names, seams)?;
        let told = watch::Sender::new(Arc::new(present.told(is_elsewhere)));
        let authority = Self {
            installation,
            held,
            folder,
            names,
            seams: seams.clone(),
            turns: Semaphore::new(ELSEWHERE_MOST),
            turn: Mutex::new(()),
            present: RwLock::new(Arc::new(present)),
            told,
        };
        Ok(authority)
    }

    fn present(&self) -> Arc<Present> {
        Arc::clone(&self.present.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn put(&self, present: Present) {
        let signer = self.held(&present.roots[0].pin).map(|held| &*held.signer);
        let told = present.told(signer.is_some_and(signer::Signer::is_elsewhere));
        *self.present.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(present);
        // Behind it: who is told comes back, and is to be known then.
        self.told.send_replace(Arc::new(told));
    }

    fn held(&self, pin: &[u8; 32]) -> Option<&Held> {
        self.held.iter().find(|held| held.pin == *pin)
    }

    /// SHA-256 of the public key (SPKI) of the root that issues: part of every node token.
    pub fn pin(&self) -> [u8; 32] {
        self.present().roots[0].pin
    }

    /// Its certificate.
    pub(crate) fn certificate(&self) -> CertificateDer<'static> {
        self.present().roots[0].certificate.clone()
    }

    /// Certificates for nodes to trust.
    pub(crate) fn trust(&self) -> Vec<Vec<u8>> {
        self.present().roots.iter().map(|root| root.certificate.to_vec()).collect()
    }

    /// What nodes are told of the roots, now and when they change.
    pub(crate) fn told(&self) -> watch::Receiver<Arc<(fleet::Authorities, Vec<Vec<u8>>)>> {
        self.told.subscribe()
    }

    /// What is cancelled when the root of a certificate is trusted no more; none: it is not by now.
    pub(crate) fn trusts(&self, shown: &NodeCertificate) -> Option<CancellationToken> {
        let present = self.present();
        present.roots.iter().find(|root| root.key_id == shown.issuer).map(|root| root.gone.clone())
    }

    /// When a certificate that is issued now ends.
    pub(crate) fn node_not_after(now: SystemTime) -> SystemTime {
        now + NODE_VALIDITY
    }

    /// A permission for a trial, as the root signs it that issues.
    pub(crate) async fn sign_trial(&self, claims: &trial::Claims) -> Result<String, SignError> {
        let (encoded, pin) = (claims.encode(), self.pin());
        let held = self.held(&pin).ok_or(SignError::NoKey)?;
        let message = trial::signed(&encoded);
        let signature = if held.signer.is_elsewhere() {
            // Never closed.
            let _turn = self.turns.acquire().await;
            let signer = Arc::clone(&held.signer);
            spawn_blocking(move || signer.sign(&message)).await.map_err(|_| SignError::Ended)??
        } else {
            held.signer.sign(&message)?
        };
        Ok(trial::text(encoded, signature, pin.to_vec()))
    }

    /// Whose authority it is.
    pub(crate) fn installation(&self) -> InstallationId {
        self.installation
    }

    /// A certificate for a machine that joined or renews. Only the public key is taken from its request.
    pub(crate) async fn issue_node(
        &self,
        asked: Asked,
        node: NodeIdentity,
        serial: &Serial,
        now: SystemTime,
    ) -> Result<Issued, SignError> {
        let mut params = params(serial.as_bytes(), now, NODE_VALIDITY);
        params.distinguished_name = name(&node.node.to_string());
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        let uri = spiffe(self.installation, node).try_into().map_err(SignError::Certificate)?;
        params.subject_alt_names = vec![SanType::URI(uri)];
        let present = self.present();
        let root = &present.roots[0];
        let held = self.held(&root.pin).ok_or(SignError::NoKey)?;
        let certificate = if held.signer.is_elsewhere() {
            // Never closed.
            let _turn = self.turns.acquire().await;
            let (signer, authority) = (Arc::clone(&held.signer), root.certificate.clone());
            let made =
                spawn_blocking(move || signed(&params, &asked.0.public_key, &authority, &*signer)).await;
            made.map_err(|_| SignError::Ended)??
        } else {
            signed(&params, &asked.0.public_key, &root.certificate, &*held.signer)?
        };
        Ok(Issued { certificate, not_after: Self::node_not_after(now) })
    }

    /// TLS for the fleet port: our certificate, and theirs checked where they show one.
    pub(crate) fn fleet_tls(self: &Arc<Self>) -> Result<Arc<rustls::ServerConfig>, AuthorityError> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let time = Arc::new(Time(Arc::clone(&self.seams.clock)));
        let authority = Arc::clone(self);
        let verifier = Renewable(Arc::new(move || Arc::clone(&authority.present().verifier)));
        let mut config = rustls::ServerConfig::builder_with_details(provider, time)
            .with_safe_default_protocol_versions()
            .map_err(AuthorityError::Tls)?
            .with_client_cert_verifier(Arc::new(verifier))
            .with_cert_resolver(Arc::new(ShownNow(Arc::clone(self))));
        config.alpn_protocols = vec![b"h2".to_vec()];
        // A node proves who it is each time that it comes; tickets would be bytes that nobody uses.
        config.send_tls13_tickets = 0;
        config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
        Ok(Arc::new(config))
    }

    /// TLS for the management port.
    pub(crate) fn management_tls(self: &Arc<Self>) -> Result<Arc<rustls::ServerConfig>, AuthorityError> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(AuthorityError::Tls)?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(ShownNow(Arc::clone(self))));
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }

    /// What a certificate says that TLS has verified. None: not one of this installation's nodes.
    pub(crate) fn read(&self, certificate: &CertificateDer<'_>) -> Option<NodeCertificate> {
        let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
        let names = parsed.subject_alternative_name().ok()??;
        let identity = names.value.general_names.iter().find_map(|name| match name {
            GeneralName::URI(uri) => self.parse(uri),
            _ => None,
        })?;
        let seconds = u64::try_from(parsed.validity().not_after.timestamp()).ok()?;
        let not_after = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let issuer = parsed.iter_extensions().find_map(|extension| match extension.parsed_extension() {
            ParsedExtension::AuthorityKeyIdentifier(id) => id.key_identifier.as_ref().map(|id| id.0.to_vec()),
            _ => None,
        })?;
        Some(NodeCertificate { identity, serial: Serial::of(certificate)?, not_after, issuer })
    }

    fn parse(&self, uri: &str) -> Option<NodeIdentity> {
        let rest = uri.strip_prefix("spiffe://")?;
        let mut parts = rest.split('/');
        let installation: InstallationId = parts.next()?.parse().ok()?;
        if installation != self.installation || parts.next()? != "region" {
            return None;
        }
        let region = parts.next()?.parse().ok()?;
        if parts.next()? != "node" {
            return None;
        }
        let node = parts.next()?.parse().ok()?;
        parts.next().is_none().then_some(NodeIdentity { node, region })
    }
}

fn spiffe(installation: InstallationId, node: NodeIdentity) -> String {
    format!("spiffe://{installation}/region/{}/node/{}", node.region, node.node)
}

fn spki_pin(certificate: &CertificateDer<'_>) -> Option<[u8; 32]> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    let digest = sha256(parsed.public_key().raw);
    Some(digest)
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    use sha2::Digest as _;
    sha2::Sha256::digest(bytes).into()
}

fn random_serial(seams: &Seams) -> [u8; 16] {
    let mut serial: [u8; 16] = draw(&*seams.entropy);
    // A serial number is positive.
    serial[0] &= 0x7f;
    serial
}

fn params(serial: &[u8], now: SystemTime, validity: Duration) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.not_before = (now - SKEW).into();
    params.not_after = (now + validity).into();
    params.serial_number = Some(SerialNumber::from_slice(serial));
    params.use_authority_key_identifier_extension = true;
    params
}

fn name(common: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common);
    name
}

/// The id of a certificate's own key.
fn key_id(certificate: &CertificateDer<'_>) -> Option<Vec<u8>> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    parsed.iter_extensions().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::SubjectKeyIdentifier(id) => Some(id.0.to_vec()),
        _ => None,
    })
}

/// The common name of a root, which is all that their names have.
fn subject(certificate: &CertificateDer<'_>) -> Result<DistinguishedName, rcgen::Error> {
    let unreadable = || rcgen::Error::CouldNotParseCertificate;
    let (_, parsed) = X509Certificate::from_der(certificate).map_err(|_| unreadable())?;
    let common = parsed.subject().iter_common_name().next().and_then(|name| name.as_str().ok());
    Ok(name(common.ok_or_else(unreadable)?))
}

fn server_names(names: &[String], address: Option<IpAddr>) -> Result<Vec<SanType>, AuthorityError> {
    let named = names.iter().map(|name| match name.parse::<IpAddr>() {
        Ok(address) => Ok(SanType::IpAddress(address)),
        Err(_) => name.as_str().try_into().map(SanType::DnsName).map_err(AuthorityError::Issue),
    });
    named.chain(address.map(SanType::IpAddress).map(Ok)).collect()
}

/// One that is on no disk that stays, for tests of what names it and asks it nothing.
#[cfg(test)]
pub(crate) fn fixture() -> Arc<Authority> {
    let folder = tempfile::tempdir().expect("a folder");
    let order = Order {
        keys: vec![KeySource::File(folder.path().join(KEY_FILE))],
        folder: folder.path().to_owned(),
        installation: InstallationId::from_random([1; 16]),
        names: Vec::new(),
        address: None,
    };
    Arc::new(Authority::open(order, Vec::new(), None, &Seams::real()).expect("opens"))
}

#[cfg(test)]
mod tests;
