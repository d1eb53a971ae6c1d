//! A disk in memory, gone with the process. It has no limit of its own: its users bound what they write.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::{Disk, DiskFile};

type Files = BTreeMap<PathBuf, Vec<u8>>;

/// Files in memory. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Volatile(Arc<Mutex<Files>>);

impl Volatile {
    /// The files by path, for tests that look at them or damage them.
    pub fn files(&self) -> MutexGuard<'_, Files> {
        // Held for a copy and never over anything that waits.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Open(Volatile, PathBuf);

impl DiskFile for Open {
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.files().entry(self.1.clone()).or_default().extend_from_slice(bytes);
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Disk for Volatile {
    fn create_dir_all(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.files().get(path).cloned().ok_or_else(|| ErrorKind::NotFound.into())
    }

    fn append(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.files().entry(path.to_owned()).or_default();
        Ok(Box::new(Open(self.clone(), path.to_owned())))
    }

    fn replace(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.files().insert(path.to_owned(), bytes.to_vec());
        Ok(())
    }

    fn list(&self, path: &Path) -> io::Result<Vec<PathBuf>> {
        Ok(self.files().keys().filter(|file| file.parent() == Some(path)).cloned().collect())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut files = self.files();
        let bytes = files.remove(from).ok_or(ErrorKind::NotFound)?;
        files.insert(to.to_owned(), bytes);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.files().remove(path).map(|_| ()).ok_or_else(|| ErrorKind::NotFound.into())
    }

    fn truncate(&self, path: &Path, length: u64) -> io::Result<()> {
        let mut files = self.files();
        let file = files.get_mut(path).ok_or(ErrorKind::NotFound)?;
        file.truncate(usize::try_from(length).unwrap_or(usize::MAX));
        Ok(())
    }
}
