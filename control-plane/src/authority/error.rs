//! Why there is no authority: each text names the file and, where there is one, the remedy.

use std::io;
use std::path::{Path, PathBuf};

use super::KEY_FILE;

/// Why there is no authority.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// Its files cannot be read or written.
    #[error("{action} {path}", path = path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Its certificate is there without the key.
    #[error(
        "{path} is missing although its certificate is there: bring it back from a backup",
        path = path.display()
    )]
    Half {
        /// The missing one.
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
        "{path} is not the authority that nodes of this database trust: bring that one back from a backup",
        path = path.display()
    )]
    Other {
        /// The one that is there.
        path: PathBuf,
    },
    /// Its files are of two authorities.
    #[error(
        "{key} and {certificate} do not belong together: bring both back from one backup",
        key = key.display(),
        certificate = certificate.display()
    )]
    Unlike {
        /// One.
        key: PathBuf,
        /// The other.
        certificate: PathBuf,
    },
    /// Whoever reads its key can be any node.
    #[error("{path} can be read by others: run `chmod 600 {path}`", path = path.display())]
    Public {
        /// The key.
        path: PathBuf,
    },
    /// Its files do not hold what they should.
    #[error("{path} holds no usable authority", path = path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// Why.
        source: rcgen::Error,
    },
    /// A certificate could not be made.
    #[error("make certificate")]
    Issue(#[source] rcgen::Error),
    /// The TLS library refuses what was made.
    #[error("set up TLS")]
    Tls(#[source] rustls::Error),
    /// It could not be set up to check nodes.
    #[error("set up the check of client certificates")]
    Verifier(#[source] rustls::server::VerifierBuilderError),
}

impl AuthorityError {
    /// The authority of a folder is not the one that is trusted.
    pub(crate) fn other(folder: &Path) -> Self {
        Self::Other { path: folder.join(KEY_FILE) }
    }
}
