//! Keeps a second control plane out of a state folder whose database is SQLite.
//!
//! Two on one file would each hand out revisions to their own nodes alone. Replicas share a PostgreSQL
//! database; they may share a folder as well, so there is no lock then. The system lets go of the lock when
//! the process ends, however it ends; the file stays and means nothing by itself.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

const FILE: &str = "control.lock";

/// Why a folder could not be locked.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another has it.
    #[error(
        "the state folder {} is in use by another control plane; stop that one, or choose another with --state-dir",
        path.display()
    )]
    Taken {
        /// The folder.
        path: PathBuf,
    },
    /// The file cannot be made or locked.
    #[error("cannot lock {}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Held as long as this, or a clone of its `Arc`, lives.
pub(crate) struct FolderLock {
    /// Locked through its open file; never read or written.
    _file: File,
}

impl FolderLock {
    /// Takes the folder at once, or not at all.
    pub(crate) fn take(folder: &Path) -> Result<Self, LockError> {
        let path = folder.join(FILE);
        let failed = |source| LockError::File { path: path.clone(), source };
        let mut options = OpenOptions::new();
        let file =
            options.write(true).create(true).truncate(false).mode(0o600).open(&path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => Ok(Self { _file: file }),
            Err(TryLockError::WouldBlock) => Err(LockError::Taken { path: folder.to_owned() }),
            Err(TryLockError::Error(source)) => Err(failed(source)),
        }
    }
}
