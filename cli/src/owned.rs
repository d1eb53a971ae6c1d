//! Files that decide for the user: whose they are, and who else could write them.
//!
//! Judges and reads one open file, whatever takes its place meanwhile. Secrets have a stricter rule, which is that of
//! `Disk::read_private`. Knows no file by its name.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{ErrorKind, Read as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use rr_contract::seam::{Disk as _, RealDisk};
use rustix::fs::OFlags;
use rustix::process::geteuid;

const ROOT: u32 = 0;
/// Others cannot take away in a folder what is not theirs.
const STICKY: u32 = 0o1000;

/// Refuses what another user than root could change.
pub(crate) fn judge(path: &Path, found: &Metadata) -> Result<()> {
    let (own, owner, mode) = (geteuid().as_raw(), found.uid(), found.mode() & 0o7777);
    let shown = path.display();
    if owner != own && owner != ROOT {
        bail!("{shown} belongs to user {owner}, so it is not trusted; run `chown {own} {shown}`");
    }
    let is_kept_apart = found.is_dir() && mode & STICKY != 0;
    if mode & 0o022 != 0 && !is_kept_apart {
        bail!(
            "{shown} can be written by other users (mode {mode:04o}), so it is not trusted; run `chmod go-w {shown}`"
        );
    }
    Ok(())
}

/// Refuses a folder in which another user could put a file in the place of one.
pub(crate) fn judge_folder(path: &Path) -> Result<()> {
    let folder = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    let found = std::fs::metadata(folder).with_context(|| format!("look at {}", folder.display()))?;
    judge(folder, &found)
}

/// A file that nobody else could have written, in a folder where nobody else could have put it. `None` where there is none.
pub(crate) fn read(path: &Path) -> Result<Option<Vec<u8>>> {
    let place = || format!("read {}", path.display());
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(place),
    };
    judge(path, &file.metadata().with_context(place)?)?;
    if let Some(folder) = path.parent() {
        judge_folder(folder)?;
    }
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).with_context(place)?;
    Ok(Some(bytes))
}

/// The same as text.
pub(crate) fn read_text(path: &Path) -> Result<Option<String>> {
    let text = read(path)?.map(String::from_utf8).transpose();
    text.with_context(|| format!("{} is not text", path.display()))
}

/// A secret that nobody else can read, in a folder where nobody else could have put it.
pub(crate) fn read_secret(path: &Path) -> Result<Vec<u8>> {
    let read = RealDisk.read_private(path).with_context(|| format!("read {}", path.display()))?;
    let bytes = read.map_err(|exposure| anyhow::anyhow!("{exposure}"))?;
    if let Some(folder) = path.parent() {
        judge_folder(folder)?;
    }
    Ok(bytes)
}

/// Opens a file to lock it. One that is not there is made, for its owner alone; what a link leads to is not opened, and
/// nothing is cut off.
pub(crate) fn open_to_lock(path: &Path) -> std::io::Result<File> {
    #[expect(clippy::cast_possible_wrap, reason = "the system's own number for it")]
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits() as i32;
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600).custom_flags(flags);
    let file = options.open(path)?;
    if !file.metadata()?.is_file() {
        return Err(std::io::Error::new(ErrorKind::InvalidInput, "it is no file"));
    }
    Ok(file)
}

/// Locks a file that is replaced and not written to, so that changes come one after the other. One that is not there is
/// made, empty.
pub(crate) fn lock_replaced(path: &Path) -> std::io::Result<File> {
    loop {
        let file = open_to_lock(path)?;
        file.lock()?;
        // Whoever had the lock may have put another file in the place of the one that was opened.
        let (mine, there) = (file.metadata()?, std::fs::symlink_metadata(path));
        match there {
            Ok(there) if (there.dev(), there.ino()) == (mine.dev(), mine.ino()) => return Ok(file),
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::{PermissionsExt as _, chown, symlink};

    use super::*;

    fn set(path: &Path, mode: u32) {
        std::fs::set_permissions(path, Permissions::from_mode(mode)).expect("it is ours");
    }

    #[test]
    fn a_file_that_others_could_write_or_replace_is_not_read() {
        let root = tempfile::tempdir().expect("a folder");
        let path = root.path().join("file");
        assert_eq!(read(&path).expect("is no fault"), None);
        std::fs::write(&path, "text").expect("a file");
        for (file, folder, is_fine) in [
            (0o644, 0o755, true),
            (0o600, 0o700, true),
            (0o664, 0o755, false),
            (0o646, 0o755, false),
            (0o644, 0o775, false),
            (0o644, 0o777, false),
            (0o644, 0o1777, true),
        ] {
            set(&path, file);
            set(root.path(), folder);
            let found = read(&path);
            assert_eq!(found.is_ok(), is_fine, "{file:o} in {folder:o}");
            if let Err(error) = found {
                assert!(error.to_string().contains("chmod go-w"), "{error}");
            }
        }
        set(&path, 0o600);
        set(root.path(), 0o700);
        if geteuid().is_root() {
            chown(&path, Some(12_345), None).expect("root may");
            let error = read(&path).expect_err("another's").to_string();
            assert!(error.contains("user 12345") && error.contains("chown 0"), "{error}");
            chown(&path, Some(0), None).expect("root may");
            chown(root.path(), Some(12_345), None).expect("root may");
            assert!(read(&path).expect_err("in another's folder").to_string().contains("user 12345"));
        }
    }

    #[test]
    fn a_secret_that_others_could_read_or_replace_is_not_read() {
        let root = tempfile::tempdir().expect("a folder");
        let path = root.path().join("file");
        std::fs::write(&path, "secret").expect("a file");
        for (file, folder, is_fine) in
            [(0o600, 0o755, true), (0o640, 0o700, false), (0o604, 0o700, false), (0o600, 0o777, false)]
        {
            set(&path, file);
            set(root.path(), folder);
            assert_eq!(read_secret(&path).is_ok(), is_fine, "{file:o} in {folder:o}");
        }
    }

    #[test]
    fn a_lock_is_made_for_its_owner_alone_and_neither_follows_a_link_nor_cuts_a_file() {
        let root = tempfile::tempdir().expect("a folder");
        let path = root.path().join("lock");
        let mode = open_to_lock(&path).expect("is made").metadata().expect("is there").mode() & 0o777;
        assert_eq!(mode & 0o077, 0, "{mode:o}");
        std::fs::write(&path, "42").expect("a file");
        open_to_lock(&path).expect("is there");
        assert_eq!(std::fs::read(&path).expect("reads"), b"42");
        let (target, link) = (root.path().join("key"), root.path().join("link"));
        std::fs::write(&target, "private").expect("a file");
        symlink(&target, &link).expect("links");
        assert!(open_to_lock(&link).is_err());
        assert_eq!(std::fs::read(&target).expect("reads"), b"private");
        assert!(open_to_lock(root.path()).is_err(), "a folder");
    }

    #[test]
    fn changes_that_replace_a_file_come_one_after_the_other() {
        let root = tempfile::tempdir().expect("a folder");
        let path = root.path().join("count");
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..5 {
                        let _lock = lock_replaced(&path).expect("locks");
                        let text = std::fs::read_to_string(&path).expect("reads");
                        let next = text.parse::<u32>().unwrap_or(0) + 1;
                        RealDisk.replace(&path, next.to_string().as_bytes()).expect("replaces");
                    }
                });
            }
        });
        assert_eq!(std::fs::read_to_string(&path).expect("reads"), "40");
    }
}
