//! Files as a trait: just the calls that last-known-good, the spool and key files need.
//!
//! Blocking, because the calls beneath are; callers keep it off the request path. Whatever holds a secret
//! is made with mode 0600.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use signal_hook::consts::SIGABRT;
use signal_hook::{SigId, flag, low_level};

use crate::Exposure;

/// A file system.
pub trait Disk: Send + Sync + 'static {
    /// Makes a folder and those above it, readable by the owner alone where it makes one.
    fn create_dir_all(&self, path: &Path) -> io::Result<()>;
    /// The whole of a file.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;
    /// Opens a file for appending, made with mode 0600 when it is not there, and brought to it when others
    /// may read it.
    fn append(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;
    /// Puts `bytes` in the place of a file so that a reader, or a crash, sees the old or the new whole:
    /// a new file beside it (`.new` behind its name), synced, renamed, the folder synced. What a crash left
    /// of an earlier try is not written into. Two at once for one path are the caller's to keep apart.
    fn replace(&self, path: &Path, bytes: &[u8]) -> io::Result<()>;
    /// Paths of what is in a folder, sorted; after a crash with a `.new` of [`Disk::replace`] among them.
    fn list(&self, path: &Path) -> io::Result<Vec<PathBuf>>;
    /// Renames a file, and syncs both folders.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file, and syncs the folder.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Cuts a file to a length.
    fn truncate(&self, path: &Path, length: u64) -> io::Result<()>;
    /// A file from `offset` to its end; empty when it is not that long.
    fn read_from(&self, path: &Path, offset: u64) -> io::Result<Vec<u8>> {
        let mut bytes = self.read(path)?;
        let offset = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
        bytes.drain(..offset);
        Ok(bytes)
    }
    /// At most `length` bytes of a file from `offset`; fewer only at its end.
    fn read_part(&self, path: &Path, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        let mut bytes = self.read_from(path, offset)?;
        bytes.truncate(length);
        Ok(bytes)
    }
    /// The whole of a file with a secret, unless others can get at it. A file system without modes hands out each.
    fn read_private(&self, path: &Path) -> io::Result<Result<Vec<u8>, Exposure>> {
        self.read(path).map(Ok)
    }
    /// Has a byte added to a file when this process ends itself by an abort, until the mark is dropped: a watchdog, a
    /// stack that overflows, memory that is not to be had, an assertion in C. A kill from outside, SIGKILL above all, and a
    /// power cut add none, and neither does a segmentation fault in C. A file system that is not the system's
    /// adds nothing.
    fn mark_abort(&self, _path: &Path) -> io::Result<AbortMark> {
        Ok(AbortMark(Vec::new()))
    }
}

/// Stands for what is done when the process aborts; see [`Disk::mark_abort`].
#[derive(Debug)]
pub struct AbortMark(Vec<SigId>);

impl Drop for AbortMark {
    fn drop(&mut self) {
        for action in self.0.drain(..) {
            low_level::unregister(action);
        }
    }
}

/// A file open for appending.
pub trait DiskFile: Send {
    /// Appends all of `bytes`.
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// Returns once what was written would survive a power cut.
    fn sync(&mut self) -> io::Result<()>;
}

/// The system's files.
#[derive(Debug, Clone, Copy)]
pub struct RealDisk;

impl Disk for RealDisk {
    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        use std::os::unix::fs::DirBuilderExt as _;

        let made: Vec<&Path> = path.ancestors().take_while(|folder| !folder.is_dir()).collect();
        fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
        for folder in made.into_iter().rev().filter(|folder| !folder.as_os_str().is_empty()) {
            sync_folder(folder)?;
        }
        Ok(())
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        File::open(path)?.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn append(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let new = !path.exists();
        let file = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
        if file.metadata()?.permissions().mode() & 0o077 != 0 {
            file.set_permissions(fs::Permissions::from_mode(0o600))?;
        }
        if new {
            sync_folder(path)?;
        }
        Ok(Box::new(RealFile(file)))
    }

    fn replace(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut beside = path.as_os_str().to_owned();
        beside.push(".new");
        let beside = PathBuf::from(beside);
        // Made anew: one that is there already keeps its mode, and may be a link to somewhere else.
        match fs::remove_file(&beside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
        let done =
            file.write_all(bytes).and_then(|()| file.sync_all()).and_then(|()| fs::rename(&beside, path));
        if let Err(error) = done {
            // The first error is the one to tell; a file that stays is removed by the next try.
            drop(fs::remove_file(&beside));
            return Err(error);
        }
        sync_folder(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<PathBuf>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(path)? {
            names.push(entry?.path());
        }
        names.sort();
        Ok(names)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)?;
        sync_folder(to)?;
        if from.parent() == to.parent() { Ok(()) } else { sync_folder(from) }
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)?;
        sync_folder(path)
    }

    fn truncate(&self, path: &Path, length: u64) -> io::Result<()> {
        let file = OpenOptions::new().write(true).open(path)?;
        file.set_len(length)?;
        file.sync_all()
    }

    fn read_from(&self, path: &Path, offset: u64) -> io::Result<Vec<u8>> {
        let mut file = File::open(path)?;
        file.seek(SeekFrom::Start(offset))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn read_part(&self, path: &Path, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        let mut file = File::open(path)?;
        file.seek(SeekFrom::Start(offset))?;
        let mut bytes = Vec::with_capacity(length);
        file.take(length as u64).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn read_private(&self, path: &Path) -> io::Result<Result<Vec<u8>, Exposure>> {
        // One file is judged and read, whatever takes its place meanwhile.
        let mut file = File::open(path)?;
        if let Some(exposure) = Exposure::of(path, &file.metadata()?) {
            return Ok(Err(exposure));
        }
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(Ok(bytes))
    }

    fn mark_abort(&self, path: &Path) -> io::Result<AbortMark> {
        let file = OpenOptions::new().append(true).open(path)?;
        let mut mark = AbortMark(vec![low_level::pipe::register(SIGABRT, file)?]);
        // Behind it. Any handler takes the place of what the signal does by itself: one from outside would write a mark,
        // and the process would go on.
        mark.0.push(flag::register_conditional_default(SIGABRT, Arc::new(AtomicBool::new(true)))?);
        Ok(mark)
    }
}

struct RealFile(File);

impl DiskFile for RealFile {
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.0.sync_data()
    }
}

fn sync_folder(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => File::open(folder)?.sync_all(),
        _ => File::open(".")?.sync_all(),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).expect("is there").permissions().mode() & 0o777
    }

    fn loose(path: &Path) {
        fs::write(path, "old").expect("writes");
        fs::set_permissions(path, fs::Permissions::from_mode(0o644)).expect("sets");
    }

    #[test]
    fn every_folder_that_is_made_is_the_owners_alone() {
        let root = tempfile::tempdir().expect("a folder");
        let deep = root.path().join("one/two/three");
        RealDisk.create_dir_all(&deep).expect("makes");
        for folder in deep.ancestors().take(3) {
            assert_eq!(mode(folder), 0o700, "{}", folder.display());
        }
        RealDisk.create_dir_all(&deep).expect("is there already");
        fs::write(root.path().join("file"), "").expect("writes");
        assert!(RealDisk.create_dir_all(&root.path().join("file")).is_err());
    }

    #[test]
    fn what_a_crash_or_a_stranger_left_beside_a_file_does_not_get_its_content() {
        let root = tempfile::tempdir().expect("a folder");
        let (path, beside) = (root.path().join("key"), root.path().join("key.new"));
        loose(&beside);
        RealDisk.replace(&path, b"first").expect("replaces");
        assert_eq!((mode(&path), RealDisk.read(&path).expect("reads")), (0o600, b"first".to_vec()));
        let elsewhere = root.path().join("elsewhere");
        loose(&elsewhere);
        symlink(&elsewhere, &beside).expect("links");
        RealDisk.replace(&path, b"second").expect("replaces");
        assert_eq!(RealDisk.read(&path).expect("reads"), b"second");
        assert_eq!(fs::read(&elsewhere).expect("reads"), b"old");
        assert!(!path.symlink_metadata().expect("is there").is_symlink());
    }

    #[test]
    fn a_replacement_that_fails_leaves_nothing_beside() {
        let root = tempfile::tempdir().expect("a folder");
        let path = root.path().join("key");
        fs::create_dir(&path).expect("makes");
        fs::write(path.join("full"), "").expect("writes");
        assert!(RealDisk.replace(&path, b"secret").is_err());
        assert_eq!(RealDisk.list(root.path()).expect("lists"), [path]);
    }

    #[test]
    fn appending_to_a_file_that_others_may_read_closes_it_first() {
        let root = tempfile::tempdir().expect("a folder");
        let path = root.path().join("spool");
        loose(&path);
        let mut file = RealDisk.append(&path).expect("opens");
        file.write_all(b"+new").expect("writes");
        file.sync().expect("syncs");
        assert_eq!((mode(&path), fs::read(&path).expect("reads")), (0o600, b"old+new".to_vec()));
    }
}
