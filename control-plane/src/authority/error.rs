//! Why there is no authority: each text names the file and, where there is one, the remedy.

use std::io;
use std::path::{Path, PathBuf};

use rr_contract::seam::Exposure;

use super::KEY_FILE;

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
        "{KEY_FILE} is gone from {folder}, but nodes trust it: bring it back from a backup",
        folder = folder.display()
    )]
    Gone {
        /// Where it should be.
        folder: PathBuf,
    },
    /// Nodes trust another.
    #[error(
        "{path} is not the authority that nodes of this database trust: restore that one from a backup",
        path = path.display()
    )]
    Other {
        /// The one that is there.
        path: PathBuf,
    },
    /// Its files are of two authorities.
    #[error(
        "{key} and {certificate} do not belong together: restore both from one backup",
        key = key.display(),
        certificate = certificate.display()
    )]
    Unlike {
        /// The key's file.
        key: PathBuf,
        /// The certificate's file.
        certificate: PathBuf,
    },
    /// Others can get at its key, who could then be any node.
    #[error("{0}")]
    Public(Exposure),
    /// Its files do not hold what they should.
    #[error("{path} holds no usable authority", path = path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: rcgen::Error,
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

impl AuthorityError {
    /// The authority of a folder is not the one that is trusted.
    pub(crate) fn other(folder: &Path) -> Self {
        Self::Other { path: folder.join(KEY_FILE) }
    }
}
