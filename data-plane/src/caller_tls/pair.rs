//! A certificate and its key, from two files.
//!
//! Serves nothing. The invariant: what is loaded is a certificate that is valid now, with the key that belongs to it,
//! at which nobody can get but this program, root and a group that root has chosen.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rr_contract::seam::{Disk, Exposure};
use rr_contract::secret::Secret;
use rustls::crypto::aws_lc_rs;
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::{self, PemObject as _};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use x509_parser::extensions::GeneralName;

/// The files of a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    /// PEM: the certificate, then those above it.
    pub certificate: PathBuf,
    /// PEM.
    pub key: PathBuf,
}

/// A pair that cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// A file cannot be read.
    #[error("read {flag} {path}", path = path.display())]
    Read {
        /// The flag that names it.
        flag: &'static str,
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// Others can get at the key.
    #[error("--tls-key {0}")]
    Open(Exposure),
    /// A file is not in PEM form, or holds something else.
    #[error("{flag} {path} holds no {what} in PEM form", path = path.display())]
    Pem {
        /// The flag that names it.
        flag: &'static str,
        /// The file.
        path: PathBuf,
        /// What should be in it.
        what: &'static str,
        /// The cause.
        #[source]
        source: pem::Error,
    },
    /// The certificate cannot be read.
    #[error("--tls-certificate {path} holds no X.509 certificate that can be read: issue another", path = path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
    },
    /// The two do not belong together, or the key is of an unknown kind.
    #[error(
        "--tls-certificate {certificate} cannot be served with --tls-key {key}: give the key that it was issued for, and put the node's own certificate first in its file",
        certificate = certificate.display(),
        key = key.display()
    )]
    Unusable {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// The cause.
        #[source]
        source: rustls::Error,
    },
    /// It is not valid now.
    #[error(
        "--tls-certificate {path} is valid from {from} to {until}, and not now: renew it, or set the clock of this machine right",
        path = path.display()
    )]
    OutOfDate {
        /// The file.
        path: PathBuf,
        /// Since when it is valid.
        from: String,
        /// Until when.
        until: String,
    },
    /// The library for TLS does not work on this machine.
    #[error("set up TLS for callers")]
    Library(#[source] rustls::Error),
}

/// What stands in both files.
pub(super) struct Content {
    certificate: Vec<u8>,
    key: Secret,
}

/// A pair that can be served.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) key: Arc<CertifiedKey>,
    /// The names that it is for, in lower case.
    pub(super) names: Vec<Box<str>>,
    pub(super) expires: SystemTime,
}

const CERTIFICATE: &str = "--tls-certificate";
const KEY: &str = "--tls-key";

impl Content {
    /// Blocks on the disk.
    pub(super) fn read(pair: &Pair, disk: &dyn Disk) -> Result<Self, CertificateError> {
        let failed = |flag, path: &Path| {
            let path = path.to_owned();
            move |source| CertificateError::Read { flag, path, source }
        };
        let certificate = disk.read(&pair.certificate).map_err(failed(CERTIFICATE, &pair.certificate))?;
        let key = disk.read_private(&pair.key).map_err(failed(KEY, &pair.key))?;
        let key = Secret::new(key.map_err(CertificateError::Open)?);
        Ok(Self { certificate, key })
    }

    /// Names this content. Of one node alone: nothing else is to be compared with it.
    pub(super) fn digest(&self) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&(self.certificate.len() as u64).to_le_bytes());
        hasher.update(&self.certificate).update(self.key.expose());
        hasher.finalize()
    }

    /// Checks that it can be served at `now`.
    pub(super) fn load(&self, pair: &Pair, now: SystemTime) -> Result<Loaded, CertificateError> {
        let path = || pair.certificate.clone();
        let not_pem = |flag, path: &Path, what| {
            let path = path.to_owned();
            move |source| CertificateError::Pem { flag, path, what, source }
        };
        let no_certificate = || not_pem(CERTIFICATE, &pair.certificate, "certificate");
        let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&self.certificate)
            .collect::<Result<_, _>>()
            .map_err(no_certificate())?;
        let first = chain.first().ok_or_else(|| no_certificate()(pem::Error::NoItemsFound))?;
        let key = PrivateKeyDer::from_pem_slice(self.key.expose()).map_err(not_pem(
            KEY,
            &pair.key,
            "private key",
        ))?;
        let malformed = || CertificateError::Malformed { path: path() };
        let (_, parsed) = x509_parser::parse_x509_certificate(first).map_err(|_| malformed())?;
        let validity = parsed.validity();
        let (from, until) = (moment(validity.not_before.timestamp()), moment(validity.not_after.timestamp()));
        if now < from || now > until {
            let (from, until) = (validity.not_before.to_string(), validity.not_after.to_string());
            return Err(CertificateError::OutOfDate { path: path(), from, until });
        }
        let names = parsed.subject_alternative_name().map_err(|_| malformed())?;
        let names = names.map(|names| &names.value.general_names[..]).unwrap_or_default();
        let names = names.iter().filter_map(|name| match name {
            GeneralName::DNSName(name) => Some(name.to_ascii_lowercase().into()),
            _ => None,
        });
        let names = names.collect();
        let key = CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider()).map_err(|source| {
            CertificateError::Unusable { certificate: path(), key: pair.key.clone(), source }
        })?;
        Ok(Loaded { key: Arc::new(key), names, expires: until })
    }
}

/// Before 1970 nothing was served.
fn moment(seconds: i64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
}
