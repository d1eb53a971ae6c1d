//! A disk in memory that notes what is done to it, refuses what it is told to, and knows what a power cut would leave.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rr_contract::seam::{Disk, DiskFile};

/// A call that changes something.
#[derive(Debug, Clone)]
pub(crate) enum Call {
    Write(PathBuf, Vec<u8>),
    Sync(PathBuf),
    Rename(PathBuf, PathBuf),
    Remove(PathBuf),
    Truncate(PathBuf, usize),
}

#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Stored {
    pub(crate) bytes: Vec<u8>,
    /// How much of it would survive a power cut.
    pub(crate) synced: usize,
}

pub(crate) type Files = BTreeMap<PathBuf, Stored>;

#[derive(Default)]
pub(crate) struct Recorded {
    pub(crate) files: Files,
    pub(crate) calls: Vec<Call>,
    /// From this call on, the disk refuses so many.
    pub(crate) refuses: Option<(usize, usize)>,
    /// Files that give an error of the device to whoever reads them.
    pub(crate) unreadable: BTreeSet<PathBuf>,
}

#[derive(Clone, Default)]
pub(crate) struct FaultyDisk(Arc<Mutex<Recorded>>);

impl FaultyDisk {
    pub(crate) fn holding(files: Files) -> Self {
        Self(Arc::new(Mutex::new(Recorded { files, ..Recorded::default() })))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Recorded> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn call(&self, call: Call) -> io::Result<()> {
        let mut recorded = self.lock();
        let at = recorded.calls.len();
        recorded.calls.push(call.clone());
        if recorded.refuses.is_some_and(|(from, count)| (from..from.saturating_add(count)).contains(&at)) {
            // A full disk takes some of it.
            if let Call::Write(path, bytes) = &call {
                let half = Call::Write(path.clone(), bytes[..bytes.len() / 2].to_vec());
                perform(&mut recorded.files, &half)?;
            }
            return Err(io::ErrorKind::StorageFull.into());
        }
        perform(&mut recorded.files, &call)?;
        if let Call::Rename(from, to) = call {
            // What is wrong with a file goes with it.
            match recorded.unreadable.remove(&from) {
                true => recorded.unreadable.insert(to),
                false => recorded.unreadable.remove(&to),
            };
        }
        Ok(())
    }

    /// What a power cut would leave.
    pub(crate) fn cut(files: &Files) -> Files {
        let mut files = files.clone();
        for file in files.values_mut() {
            file.bytes.truncate(file.synced);
        }
        files
    }
}

pub(crate) fn perform(files: &mut Files, call: &Call) -> io::Result<()> {
    let there =
        |files: &Files, path: &Path| files.contains_key(path).then_some(()).ok_or(io::ErrorKind::NotFound);
    match call {
        Call::Write(path, bytes) => files.entry(path.clone()).or_default().bytes.extend_from_slice(bytes),
        Call::Sync(path) => {
            let file = files.entry(path.clone()).or_default();
            file.synced = file.bytes.len();
        }
        Call::Rename(from, to) => {
            let file = files.remove(from).ok_or(io::ErrorKind::NotFound)?;
            files.insert(to.clone(), file);
        }
        Call::Remove(path) => {
            there(files, path)?;
            files.remove(path);
        }
        Call::Truncate(path, length) => {
            there(files, path)?;
            let file = files.entry(path.clone()).or_default();
            file.bytes.truncate(*length);
            file.synced = file.bytes.len();
        }
    }
    Ok(())
}

struct FaultyFile(FaultyDisk, PathBuf);

impl DiskFile for FaultyFile {
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.call(Call::Write(self.1.clone(), bytes.to_vec()))
    }

    fn sync(&mut self) -> io::Result<()> {
        self.0.call(Call::Sync(self.1.clone()))
    }
}

impl Disk for FaultyDisk {
    fn create_dir_all(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let recorded = self.lock();
        if recorded.unreadable.contains(path) {
            return Err(io::Error::other("error of the device"));
        }
        let file = recorded.files.get(path).map(|file| file.bytes.clone());
        file.ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn append(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.call(Call::Write(path.to_owned(), Vec::new()))?;
        Ok(Box::new(FaultyFile(self.clone(), path.to_owned())))
    }

    fn replace(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut beside = path.as_os_str().to_owned();
        beside.push(".new");
        let beside = PathBuf::from(beside);
        if self.lock().files.contains_key(&beside) {
            self.remove(&beside)?;
        }
        self.call(Call::Write(beside.clone(), bytes.to_vec()))?;
        self.call(Call::Sync(beside.clone()))?;
        self.call(Call::Rename(beside, path.to_owned()))
    }

    fn list(&self, path: &Path) -> io::Result<Vec<PathBuf>> {
        Ok(self.lock().files.keys().filter(|file| file.parent() == Some(path)).cloned().collect())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.call(Call::Rename(from.to_owned(), to.to_owned()))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        if !self.lock().files.contains_key(path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        self.call(Call::Remove(path.to_owned()))
    }

    fn truncate(&self, path: &Path, length: u64) -> io::Result<()> {
        self.call(Call::Truncate(path.to_owned(), usize::try_from(length).unwrap_or(usize::MAX)))
    }
}
