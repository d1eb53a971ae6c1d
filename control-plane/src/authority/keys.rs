//! The keys that this process was given, and the certificates that they make of themselves and of each other.
//!
//! Decides nothing: which of them issues, all replicas agree on in the database.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use data_encoding::BASE64;
use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair, KeyUsagePurpose, PublicKeyData as _};
use rr_contract::model::id::InstallationId;
use rr_contract::seam::Seams;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use zeroize::Zeroizing;

use super::error::AuthorityError;
use super::key_source::KeySource;
use super::program::{LIMIT, Program};
use super::sign_error::SignError;
use super::signer::{Local, Signer, self_signed, signed};
use super::{AUTHORITY_VALIDITY, name, params, random_serial, sha256, spki_pin};

/// A key that this process was given.
pub(super) struct Held {
    pub(super) source: KeySource,
    pub(super) pin: [u8; 32],
    pub(super) signer: Arc<dyn Signer>,
}

impl Held {
    /// Reads a key; none where its file is missing.
    pub(super) fn read(source: &KeySource, seams: &Seams) -> Result<Option<Self>, AuthorityError> {
        let signer = match source {
            KeySource::File(path) => {
                let key = found(path, seams.disk.read_private(path))?;
                let Some(pem) = key.transpose().map_err(AuthorityError::Public)? else { return Ok(None) };
                local(source, pem)?
            }
            KeySource::Descriptor(number) => {
                let path = PathBuf::from(format!("/dev/fd/{number}"));
                let pem = seams.disk.read(&path);
                local(source, pem.map_err(|cause| AuthorityError::Descriptor { number: *number, cause })?)?
            }
            KeySource::Program(path) => Arc::new(Program::open(path, LIMIT)?),
        };
        Ok(Some(Self::of(source, signer)))
    }

    /// Makes the key of a file that is missing.
    pub(super) fn make(source: &KeySource, path: &Path, seams: &Seams) -> Result<Self, AuthorityError> {
        let key = KeyPair::generate().map_err(AuthorityError::Issue)?;
        write(seams, path, &Zeroizing::new(key.serialize_pem()))?;
        let signer = Arc::new(Local::new(key).map_err(AuthorityError::Issue)?);
        Ok(Self::of(source, signer))
    }

    fn of(source: &KeySource, signer: Arc<dyn Signer>) -> Self {
        let pin = sha256(&signer.public_key().subject_public_key_info());
        Self { source: source.clone(), pin, signer }
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

/// The certificate that lies in the state folder, if it is this key's.
pub(super) fn certificate_of(
    held: &Held,
    path: &Path,
    seams: &Seams,
) -> Result<Option<CertificateDer<'static>>, AuthorityError> {
    let Some(pem) = found(path, seams.disk.read(path))? else { return Ok(None) };
    let damaged = || AuthorityError::Content { path: path.to_owned() };
    let certificate = CertificateDer::from_pem_slice(&pem).map_err(|_| damaged())?;
    if spki_pin(&certificate).ok_or_else(damaged)? != held.pin {
        let (key, certificate) = (held.source.clone(), path.to_owned());
        return Err(AuthorityError::Unlike { key, certificate });
    }
    Ok(Some(certificate))
}

/// The certificate of the first root of an installation. Made again of the same key, it has the same name.
pub(super) fn certify_first(
    held: &Held,
    installation: InstallationId,
    seams: &Seams,
) -> Result<CertificateDer<'static>, SignError> {
    self_signed(&of_root(&format!("RequestRocket {installation}"), 0, seams), &*held.signer)
}

/// What the next root of an installation and the present one say of each other.
pub(super) struct Crossed {
    /// The next one by itself.
    pub(super) certificate: CertificateDer<'static>,
    /// The next one by the present one.
    pub(super) by_present: CertificateDer<'static>,
    /// The present one by the next one.
    pub(super) of_present: CertificateDer<'static>,
}

/// Has the next root and the present one vouch for each other.
pub(super) fn cross(
    next: &Held,
    present: &Held,
    present_certificate: &CertificateDer<'static>,
    installation: InstallationId,
    seams: &Seams,
) -> Result<Crossed, SignError> {
    // Of a name of its own, so that no program takes one for the other.
    let own = format!("RequestRocket {installation} {}", &data_encoding::HEXLOWER.encode(&next.pin)[..8]);
    // One below: the other root, until it is removed.
    let certificate = self_signed(&of_root(&own, 1, seams), &*next.signer)?;
    let by_present =
        signed(&of_root(&own, 0, seams), next.signer.public_key(), present_certificate, &*present.signer)?;
    let mut params = of_root("", 0, seams);
    params.distinguished_name = super::subject(present_certificate).map_err(SignError::Certificate)?;
    let of_present = signed(&params, present.signer.public_key(), &certificate, &*next.signer)?;
    Ok(Crossed { certificate, by_present, of_present })
}

fn of_root(common: &str, below: u8, seams: &Seams) -> CertificateParams {
    let mut params = params(&random_serial(seams), seams.clock.now(), AUTHORITY_VALIDITY);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(below));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.distinguished_name = name(common);
    params
}

/// A certificate as PEM.
pub(crate) fn pem(certificate: &[u8]) -> String {
    let mut text = String::from("-----BEGIN CERTIFICATE-----\n");
    for line in BASE64.encode(certificate).as_bytes().chunks(64) {
        // Base64 is ASCII.
        text.push_str(&String::from_utf8_lossy(line));
        text.push('\n');
    }
    text.push_str("-----END CERTIFICATE-----\n");
    text
}

pub(super) fn write(seams: &Seams, path: &Path, pem: &str) -> Result<(), AuthorityError> {
    seams.disk.replace(path, pem.as_bytes()).map_err(|source| AuthorityError::File {
        action: "write",
        path: path.to_owned(),
        source,
    })
}

/// What was read; `None`: there is no such file.
pub(super) fn found<T>(path: &Path, read: io::Result<T>) -> Result<Option<T>, AuthorityError> {
    match read {
        Ok(content) => Ok(Some(content)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(AuthorityError::File { action: "read", path: path.to_owned(), source }),
    }
}
