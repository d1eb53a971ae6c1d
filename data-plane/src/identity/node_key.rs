//! The node key: 32 bytes that encrypt everything at rest on this node.
//!
//! Given by a file, so that it need not lie on the disk that it protects; else made once in the state
//! folder. Refused when others can read it.

use std::io;
use std::path::{Path, PathBuf};

use rr_contract::seam::{Exposure, Seams, draw};
use rr_contract::secret::Secret;
use zeroize::Zeroizing;

const LENGTH: usize = 32;

/// A node key that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum NodeKeyError {
    /// It is missing or cannot be read.
    #[error("read node key {path}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The given key file cannot be read.
    #[error("read the node key given with --node-key-file {path}", path = path.display())]
    Given {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// It could not be written.
    #[error("write node key {path}", path = path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// Others can get at it.
    #[error("node key {0}")]
    Open(Exposure),
    /// It has the wrong length.
    #[error("node key {path} has {length} bytes, but must have {LENGTH}", path = path.display())]
    Length {
        /// The file.
        path: PathBuf,
        /// Its length in bytes.
        length: usize,
    },
    /// What was sealed with it would be lost.
    #[error("node key {path} is missing, and {identity} is encrypted with it: restore the key, or remove the state folder and start anew", path = path.display(), identity = identity.display())]
    Lost {
        /// The file.
        path: PathBuf,
        /// What it protects.
        identity: PathBuf,
    },
}

/// Reads the key, or creates it where no file was given.
pub(crate) fn load(
    given: Option<&Path>,
    state_dir: &Path,
    identity: &Path,
    seams: &Seams,
) -> Result<Secret, NodeKeyError> {
    let own = state_dir.join("node.key");
    let path = given.unwrap_or(&own);
    match read(path, seams) {
        Err(NodeKeyError::Read { source, .. })
            if given.is_none() && source.kind() == io::ErrorKind::NotFound =>
        {
            // A new key would make what is there unreadable for good, without anybody having asked for it.
            if seams.disk.read(identity).is_ok() {
                return Err(NodeKeyError::Lost { path: own, identity: identity.to_owned() });
            }
            let key = Zeroizing::new(draw::<LENGTH>(&*seams.entropy));
            seams
                .disk
                .create_dir_all(state_dir)
                .and_then(|()| seams.disk.replace(&own, &*key))
                .map_err(|source| NodeKeyError::Write { path: own.clone(), source })?;
            Ok(Secret::new(key.to_vec()))
        }
        Err(NodeKeyError::Read { path, source }) if given.is_some() => {
            Err(NodeKeyError::Given { path, source })
        }
        other => other,
    }
}

fn read(path: &Path, seams: &Seams) -> Result<Secret, NodeKeyError> {
    let failed = |source| NodeKeyError::Read { path: path.to_owned(), source };
    let key = seams.disk.read_private(path).map_err(failed)?;
    let key = Secret::new(key.map_err(NodeKeyError::Open)?);
    if key.len() != LENGTH {
        return Err(NodeKeyError::Length { path: path.to_owned(), length: key.len() });
    }
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_file_that_was_asked_for_and_is_not_there_is_named_with_its_flag() {
        let seams =
            Seams { disk: std::sync::Arc::new(crate::fixture::SharedDisk::default()), ..Seams::real() };
        let missing = Path::new("missing");
        let refused = load(Some(missing), Path::new("state"), Path::new("state/identity"), &seams);
        let error = refused.err().expect("it is not there");
        assert_eq!(error.to_string(), "read the node key given with --node-key-file missing");
    }
}
