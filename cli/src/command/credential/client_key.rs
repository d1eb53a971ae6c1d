//! The key of a client certificate: read from the certificate or its public key, and hashed here.
//!
//! No secret, and only its hash is sent. A private key is refused, and nothing of it is repeated.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use clap::Args;
use rr_contract::client_key::{ClientKey, TEXT_MAX};
use rr_contract::secret::Secret;

use crate::fault;

/// Which key a client certificate must have.
#[derive(Args)]
pub(super) struct OwnKey {
    /// File with the client certificate, or its public key (PEM), for --kind certificate; of several certificates the first. Every
    /// certificate with this key is accepted, whoever issued it and until when. Only the hash of the key is sent; no private
    /// key is needed, or read.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["value_from", "prompt"])]
    certificate: Option<PathBuf>,
    /// SHA-256 of the public key of the client certificate (SubjectPublicKeyInfo), 64 hexadecimal digits, as records show it.
    #[arg(long, value_name = "HEX", value_parser = ClientKey::from_hex, conflicts_with_all = ["certificate", "value_from", "prompt"])]
    spki_sha256: Option<ClientKey>,
}

impl OwnKey {
    pub(super) fn is_given(&self) -> bool {
        self.certificate.is_some() || self.spki_sha256.is_some()
    }

    /// `None` where none is given.
    pub(super) fn read(&self) -> Result<Option<ClientKey>> {
        match &self.certificate {
            None => Ok(self.spki_sha256),
            Some(path) => of_file(path).map(Some),
        }
    }
}

fn of_file(path: &Path) -> Result<ClientKey> {
    let mut text = Vec::with_capacity(TEXT_MAX + 1);
    let file = File::open(path).with_context(|| format!("read --certificate {}", path.display()))?;
    let read = file.take(TEXT_MAX as u64 + 1).read_to_end(&mut text);
    read.with_context(|| format!("read --certificate {}", path.display()))?;
    let text = Secret::new(text);
    ClientKey::from_pem(text.expose()).map_err(|error| {
        fault::usage(
            &format!("--certificate {} {error}", path.display()),
            "give the file that the caller shows, or `openssl x509 -pubkey -noout -in FILE` of it",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_private_key_is_refused_and_not_repeated() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("key.pem");
        let begin = ["-----BEGIN PRIVATE", " KEY-----"].concat();
        std::fs::write(&file, format!("{begin}\nMC4CAQAwBQYDK2VwBCIEIs3cr3t\n")).expect("is written");
        let own = OwnKey { certificate: Some(file), spki_sha256: None };
        let error = format!("{:#}", own.read().expect_err("it is refused"));
        assert!(error.contains("private key") && error.contains("key.pem"), "{error}");
        assert!(!error.contains("s3cr3t"), "{error}");
    }

    #[test]
    fn a_certificate_or_a_hash_says_which_key_is_meant() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("ca.pem");
        std::fs::write(&file, crate::authority::OURS).expect("is written");
        let own = OwnKey { certificate: Some(file.clone()), spki_sha256: None };
        let key = own.read().expect("it is read").expect("it is given");
        let said = OwnKey { certificate: None, spki_sha256: ClientKey::from_hex(&key.to_string()).ok() };
        assert_eq!(said.read().expect("it is given"), Some(key));
        assert!(said.is_given() && own.is_given());
        std::fs::write(&file, "nothing").expect("is written");
        let error = format!("{:#}", own.read().expect_err("it is refused"));
        assert!(error.contains("BEGIN CERTIFICATE") && error.contains("ca.pem"), "{error}");
    }
}
