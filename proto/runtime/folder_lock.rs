//! Keeps a second process out of a state folder.
//!
//! Two control planes on one SQLite file would each hand out revisions to their own nodes alone; two edge nodes on one
//! folder would write over each other's records and last-known-good. The system lets go of the lock when the process
//! ends, however it ends; the file stays and means nothing by itself.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// Why a folder could not be locked.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another has it.
    #[error(
        "the state folder {} is in use by another {program}; stop that one, or choose another with --state-dir",
        path.display()
    )]
    Taken {
        /// The folder.
        path: PathBuf,
        /// The program that has it.
        program: &'static str,
    },
    /// The file cannot be made or locked.
    #[error("cannot lock {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
}

/// Held as long as this lives.
#[derive(Debug)]
pub struct FolderLock {
    /// Locked through its open file; never read or written.
    file: File,
}

impl FolderLock {
    /// Takes the folder at once, or not at all. `name` is of the file that is locked, `program` what takes it.
    pub fn take(folder: &Path, name: &str, program: &'static str) -> Result<Self, LockError> {
        let path = folder.join(name);
        let failed = |source| LockError::File { path: path.clone(), source };
        let mut options = OpenOptions::new();
        let file =
            options.write(true).create(true).truncate(false).mode(0o600).open(&path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => Ok(Self { file }),
            Err(TryLockError::WouldBlock) => Err(LockError::Taken { path: folder.to_owned(), program }),
            Err(TryLockError::Error(source)) => Err(failed(source)),
        }
    }
}

impl Drop for FolderLock {
    /// Closing the file is not enough: a program that this process is starting has a copy of it for a moment.
    fn drop(&mut self) {
        // The end of the process lets go of it in any case.
        self.file.unlock().ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(folder: &Path) -> Result<FolderLock, LockError> {
        FolderLock::take(folder, "test.lock", "test")
    }

    #[test]
    fn a_folder_that_was_let_go_of_is_free_at_once_although_a_child_still_has_the_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let lock = take(folder.path()).expect("free");
        assert!(matches!(take(folder.path()), Err(LockError::Taken { .. })));
        // As between the fork and the start of a program.
        let _copy = lock.file.try_clone().expect("a descriptor");
        drop(lock);
        take(folder.path()).expect("free again");
    }
}
