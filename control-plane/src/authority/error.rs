//! Why there is no authority: each text names the file and, where there is one, the remedy.

use std::io;
use std::path::PathBuf;

use rr_contract::seam::Exposure;

use super::key_source::{FLAG, KeySource};
use super::sign_error::{ProgramFault, SignError};
use crate::store::StoreError;

/// Why there is no authority.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// Its files cannot be read or written.
    #[error("cannot {action} {path}", path = path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// Its certificate is there without the key.
    #[error(
        "{path} is missing but its certificate is there: restore the key from a backup",
        path = path.display()
    )]
    Half {
        /// The missing file.
        path: PathBuf,
    },
    /// Nodes trust one that is not there.
    #[error(
        "{name} is gone from {folder}, but nodes trust it: bring it back from a backup",
        name = path.file_name().unwrap_or_default().display(),
        folder = path.parent().unwrap_or(path).display()
    )]
    Gone {
        /// Where its key should be.
        path: PathBuf,
    },
    /// Nodes trust another.
    #[error(
        "{key} is not the authority that nodes of this database trust: give that one ({FLAG}), from a backup where it is lost"
    )]
    Other {
        /// The one that is there.
        key: KeySource,
    },
    /// Its key and its certificate are of two authorities.
    #[error(
        "{key} and {certificate} do not belong together: restore both from one backup",
        certificate = certificate.display()
    )]
    Unlike {
        /// Where the key is.
        key: KeySource,
        /// The certificate's file.
        certificate: PathBuf,
    },
    /// There is nothing behind the descriptor.
    #[error(
        "cannot read the authority's key from descriptor {number} ({FLAG} fd:{number}): {cause}; is it opened where this program is started (`{number}<FILE`)?"
    )]
    Descriptor {
        /// Its number.
        number: u32,
        /// The system's error; part of the text, so no source.
        cause: io::Error,
    },
    /// What is there is no key. What it is instead is not said: it may be a part of one.
    #[error(
        "{key} holds no private key in PEM (PKCS#8) that can sign: `openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256` makes one"
    )]
    Key {
        /// Where it was looked for.
        key: KeySource,
    },
    /// The program that is to have it does not work.
    #[error(transparent)]
    Program(#[from] ProgramFault),
    /// It has another key than those that this process was given.
    #[error("the key of the root {pin} was not given to this control plane ({FLAG})", pin = data_encoding::HEXLOWER.encode(pin))]
    NoKey {
        /// SHA-256 of its public key.
        pin: [u8; 32],
    },
    /// The database cannot be read.
    #[error("cannot read the roots of the authority")]
    Store(#[source] StoreError),
    /// Nothing is signed with it.
    #[error(transparent)]
    Sign(#[from] SignError),
    /// Others can get at its key, who could then be any node.
    #[error("{0}")]
    Public(Exposure),
    /// The file of its certificate does not hold one.
    #[error("{path} holds no usable certificate of the authority: restore it from a backup", path = path.display())]
    Content {
        /// The file.
        path: PathBuf,
    },
    /// A certificate could not be made.
    #[error("cannot make a certificate")]
    Issue(#[source] rcgen::Error),
    /// The TLS library refuses what was made.
    #[error("cannot set up TLS with the authority's certificate")]
    Tls(#[source] rustls::Error),
    /// It could not be set up to check nodes.
    #[error("cannot set up the verification of client certificates")]
    Verifier(#[source] rustls::server::VerifierBuilderError),
}
