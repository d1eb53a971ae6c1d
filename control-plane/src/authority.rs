//! The installation's certificate authority: who may speak on the fleet port, and as whom.
//!
//! Names in certificates come from tokens, never from who asks for them. The key lies in the state folder, or where the
//! settings say; it signs identities and nothing else, and no secret is protected by it.

mod error;
mod key_source;
mod program;
mod serial;
mod sign_error;
mod signer;
mod verifier;

use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use data_encoding::BASE64;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose, PublicKeyData as _, SanType, SerialNumber,
};
use rr_contract::model::id::{InstallationId, NodeId, RegionId};
use rr_contract::seam::{Seams, draw};
use rustls::RootCertStore;
use rustls::server::WebPkiClientVerifier;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, CertificateSigningRequestDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};
use zeroize::Zeroizing;

use program::{LIMIT, Program};
use signer::{Local, Signer, self_signed, signed};
use verifier::{Renewable, Time};

pub use error::AuthorityError;
pub use key_source::{InvalidKeySource, KeySource};
pub(crate) use serial::{Serial, Shown};
pub use sign_error::{ProgramFault, SignError};
pub(crate) use verifier::RENEWABLE;

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

/// The authority.
pub struct Authority {
    signer: Arc<dyn Signer>,
    /// Turns of a signer that is elsewhere.
    turns: Semaphore,
    certificate: CertificateDer<'static>,
    pin: [u8; 32],
    installation: InstallationId,
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
}

/// Who is at the other end of a fleet connection, by its certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NodeIdentity {
    pub(crate) node: NodeId,
    pub(crate) region: RegionId,
}

impl Authority {
    /// Reads the authority, whose certificate is in the state folder; makes one when nodes trust none yet.
    ///
    /// A signer that is elsewhere is waited for: not for a thread that serves.
    pub fn open(
        source: &KeySource,
        folder: &Path,
        installation: InstallationId,
        trusted: Option<[u8; 32]>,
        seams: &Seams,
    ) -> Result<Self, AuthorityError> {
        let certificate_path = folder.join(CERTIFICATE_FILE);
        let signer = match source {
            KeySource::File(path) => {
                let key = found(path, seams.disk.read_private(path))?;
                match key.transpose().map_err(AuthorityError::Public)? {
                    Some(pem) => local(source, pem)?,
                    None => {
                        if trusted.is_some() {
                            return Err(AuthorityError::Gone { path: path.clone() });
                        }
                        if found(&certificate_path, seams.disk.read(&certificate_path))?.is_some() {
                            return Err(AuthorityError::Half { path: path.clone() });
                        }
                        let key = KeyPair::generate().map_err(AuthorityError::Issue)?;
                        // The key first: a certificate can be made again for it, with the same pin.
                        write(seams, path, &Zeroizing::new(key.serialize_pem()))?;
                        Arc::new(Local::new(key).map_err(AuthorityError::Issue)?)
                    }
                }
            }
            KeySource::Descriptor(number) => {
                let path = PathBuf::from(format!("/dev/fd/{number}"));
                let pem = seams.disk.read(&path);
                local(source, pem.map_err(|cause| AuthorityError::Descriptor { number: *number, cause })?)?
            }
            KeySource::Program(path) => Arc::new(Program::open(path, LIMIT)?),
        };
        let pin = sha256(&signer.public_key().subject_public_key_info());
        let certificate = match found(&certificate_path, seams.disk.read(&certificate_path))? {
            Some(pem) => {
                let damaged = || AuthorityError::Content { path: certificate_path.clone() };
                let certificate = CertificateDer::from_pem_slice(&pem).map_err(|_| damaged())?;
                if spki_pin(&certificate).ok_or_else(damaged)? != pin {
                    let key = source.clone();
                    return Err(AuthorityError::Unlike { key, certificate: certificate_path });
                }
                Some(certificate)
            }
            None => None,
        };
        if trusted.is_some_and(|trusted| trusted != pin) {
            return Err(AuthorityError::Other { key: source.clone() });
        }
        let certificate = match certificate {
            Some(certificate) => certificate,
            None => certify(&*signer, &certificate_path, installation, seams)?,
        };
        Ok(Self { signer, turns: Semaphore::new(ELSEWHERE_MOST), certificate, pin, installation })
    }

    /// SHA-256 of its public key (SPKI): part of every node token.
    pub fn pin(&self) -> [u8; 32] {
        self.pin
    }

    /// Its certificate, for nodes to trust.
    pub(crate) fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// When a certificate that is issued now ends.
    pub(crate) fn node_not_after(now: SystemTime) -> SystemTime {
        now + NODE_VALIDITY
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
        let certificate = if self.signer.is_elsewhere() {
            // Never closed.
            let _turn = self.turns.acquire().await;
            let (signer, authority) = (Arc::clone(&self.signer), self.certificate.clone());
            let made =
                spawn_blocking(move || signed(&params, &asked.0.public_key, &authority, &*signer)).await;
            made.map_err(|_| SignError::Ended)??
        } else {
            signed(&params, &asked.0.public_key, &self.certificate, &*self.signer)?
        };
        Ok(Issued { certificate, not_after: Self::node_not_after(now) })
    }

    /// TLS for the fleet port: our certificate, and theirs checked where they show one.
    pub(crate) fn fleet_tls(&self, seams: &Seams) -> Result<Arc<rustls::ServerConfig>, AuthorityError> {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).map_err(AuthorityError::Tls)?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
            // A machine that joins has none yet. Every other service asks for the identity itself.
            .allow_unauthenticated()
            .build()
            .map_err(AuthorityError::Verifier)?;
        let time = Arc::new(Time(Arc::clone(&seams.clock)));
        let (chain, key) = self.issue_server(&[SERVER_NAME.to_owned()], &[], seams)?;
        let mut config = rustls::ServerConfig::builder_with_details(provider, time)
            .with_safe_default_protocol_versions()
            .map_err(AuthorityError::Tls)?
            .with_client_cert_verifier(Arc::new(Renewable(verifier)))
            .with_single_cert(chain, key)
            .map_err(AuthorityError::Tls)?;
        config.alpn_protocols = vec![b"h2".to_vec()];
        // A node proves who it is each time that it comes; tickets would be bytes that nobody uses.
        config.send_tls13_tickets = 0;
        config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
        Ok(Arc::new(config))
    }

    /// TLS for the management port.
    pub(crate) fn management_tls(
        &self,
        names: &[String],
        address: IpAddr,
        seams: &Seams,
    ) -> Result<Arc<rustls::ServerConfig>, AuthorityError> {
        let mut all = vec![SERVER_NAME.to_owned()];
        all.extend_from_slice(names);
        let addresses = if address.is_unspecified() { Vec::new() } else { vec![address] };
        let (chain, key) = self.issue_server(&all, &addresses, seams)?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(AuthorityError::Tls)?
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .map_err(AuthorityError::Tls)?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }

    fn issue_server(
        &self,
        names: &[String],
        addresses: &[IpAddr],
        seams: &Seams,
    ) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), AuthorityError> {
        let key = KeyPair::generate().map_err(AuthorityError::Issue)?;
        let mut params = params(&random_serial(seams), seams.clock.now(), SERVER_VALIDITY);
        params.distinguished_name = name(SERVER_NAME);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        for name in names {
            let san = match name.parse::<IpAddr>() {
                Ok(address) => SanType::IpAddress(address),
                Err(_) => SanType::DnsName(name.as_str().try_into().map_err(AuthorityError::Issue)?),
            };
            params.subject_alt_names.push(san);
        }
        params.subject_alt_names.extend(addresses.iter().copied().map(SanType::IpAddress));
        let certificate = signed(&params, &key, &self.certificate, &*self.signer)?;
        let chain = vec![certificate, self.certificate.clone()];
        Ok((chain, PrivatePkcs8KeyDer::from(key.serialize_der()).into()))
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
        Some(NodeCertificate { identity, serial: Serial::of(certificate)?, not_after })
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

/// A key that came as PEM.
fn local(source: &KeySource, pem: Vec<u8>) -> Result<Arc<dyn Signer>, AuthorityError> {
    let pem = Zeroizing::new(pem);
    let key = std::str::from_utf8(&pem).ok().and_then(|pem| KeyPair::from_pem(pem).ok());
    // What the library says of it may quote it.
    let key = key.and_then(|key| Local::new(key).ok());
    Ok(Arc::new(key.ok_or_else(|| AuthorityError::Key { key: source.clone() })?))
}

/// Makes the certificate of a key, and keeps it.
fn certify(
    signer: &dyn Signer,
    path: &Path,
    installation: InstallationId,
    seams: &Seams,
) -> Result<CertificateDer<'static>, AuthorityError> {
    let mut params = params(&random_serial(seams), seams.clock.now(), AUTHORITY_VALIDITY);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.distinguished_name = name(&format!("RequestRocket {installation}"));
    let certificate = self_signed(&params, signer)?;
    write(seams, path, &pem(&certificate))?;
    Ok(certificate)
}

fn pem(certificate: &CertificateDer<'_>) -> String {
    let mut text = String::from("-----BEGIN CERTIFICATE-----\n");
    let base64 = BASE64.encode(certificate);
    for line in base64.as_bytes().chunks(64) {
        // Base64 is ASCII.
        text.push_str(&String::from_utf8_lossy(line));
        text.push('\n');
    }
    text.push_str("-----END CERTIFICATE-----\n");
    text
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

fn write(seams: &Seams, path: &Path, pem: &str) -> Result<(), AuthorityError> {
    seams.disk.replace(path, pem.as_bytes()).map_err(|source| AuthorityError::File {
        action: "write",
        path: path.to_owned(),
        source,
    })
}

/// What was read; `None`: there is no such file.
fn found<T>(path: &Path, read: io::Result<T>) -> Result<Option<T>, AuthorityError> {
    match read {
        Ok(content) => Ok(Some(content)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(AuthorityError::File { action: "read", path: path.to_owned(), source }),
    }
}

#[cfg(test)]
mod tests;
