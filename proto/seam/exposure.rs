//! Which files are no place for a secret: those at which others can get than root and the user of this program.
//!
//! Reads no content. The rule is that of PostgreSQL: a file of the own user is open to that user alone; one of root may
//! be read by its group, in which root has put us, as volumes of Kubernetes with `fsGroup` have it; and nobody else
//! owns one.

use std::fmt;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::process::geteuid;

const ROOT: u32 = 0;

/// A file that is no place for a secret. Prints as its path, why, and the remedy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exposure {
    path: PathBuf,
    mode: u32,
    owner: u32,
    own: u32,
}

impl Exposure {
    /// `None`: the file may hold a secret.
    pub(crate) fn of(path: &Path, found: &Metadata) -> Option<Self> {
        Self::judge(path, found.mode(), found.uid(), geteuid().as_raw())
    }

    fn judge(path: &Path, mode: u32, owner: u32, own: u32) -> Option<Self> {
        let mode = mode & 0o777;
        let is_private = if owner == own { mode & 0o077 == 0 } else { owner == ROOT && mode & 0o037 == 0 };
        (!is_private).then(|| Self { path: path.to_owned(), mode, owner, own })
    }
}

impl fmt::Display for Exposure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { mode, owner, own, .. } = self;
        let path = self.path.display();
        if owner == own {
            write!(f, "{path} is open to other users (mode {mode:04o}): run `chmod 600 {path}`")
        } else if *owner == ROOT {
            write!(
                f,
                "{path} is open to more than root and its group (mode {mode:04o}): run `chmod 640 {path}`, or mount it \
                 with mode 0440"
            )
        } else {
            write!(
                f,
                "{path} belongs to user {owner} (mode {mode:04o}), who could change it: run `chown {own} {path}` and \
                 `chmod 600 {path}`"
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt as _, chown};

    use super::*;
    use crate::{Disk as _, RealDisk};

    fn remedy(mode: u32, owner: u32, own: u32) -> Option<String> {
        Exposure::judge(Path::new("a.key"), mode, owner, own).map(|exposure| exposure.to_string())
    }

    #[test]
    fn a_file_of_our_own_is_ours_alone_and_one_of_root_is_for_its_group_to_read() {
        for (mode, owner, own) in [
            (0o600, 1000, 1000),
            (0o400, 1000, 1000),
            (0o100_700, 1000, 1000),
            (0o600, 0, 0),
            (0o640, 0, 1000),
            (0o100_440, 0, 1000),
            (0o600, 0, 1000),
        ] {
            assert_eq!(remedy(mode, owner, own), None, "{mode:o} of {owner}");
        }
        for (mode, owner, own, wanted) in [
            (0o640, 1000, 1000, "chmod 600 a.key"),
            (0o604, 1000, 1000, "chmod 600 a.key"),
            (0o620, 1000, 1000, "chmod 600 a.key"),
            (0o601, 1000, 1000, "chmod 600 a.key"),
            // Root that runs as root is its own user.
            (0o640, 0, 0, "chmod 600 a.key"),
            (0o644, 0, 1000, "chmod 640 a.key"),
            (0o660, 0, 1000, "chmod 640 a.key"),
            (0o650, 0, 1000, "chmod 640 a.key"),
            (0o641, 0, 1000, "chmod 640 a.key"),
            (0o600, 1001, 1000, "chown 1000 a.key"),
            (0o600, 1001, 0, "chown 0 a.key"),
            (0o440, 1001, 1000, "chown 1000 a.key"),
        ] {
            let text = remedy(mode, owner, own).expect("it is refused");
            assert!(text.contains(wanted) && text.contains(&format!("(mode {mode:04o})")), "{text}");
        }
    }

    #[test]
    fn a_file_that_others_can_get_at_is_not_read() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.key");
        fs::write(&path, "secret").expect("it is ours");
        let read = |mode| {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("it is ours");
            RealDisk.read_private(&path).expect("it is there")
        };
        assert_eq!(read(0o600), Ok(b"secret".to_vec()));
        assert!(read(0o640).expect_err("others read it").to_string().contains("(mode 0640)"));
        if geteuid().is_root() {
            chown(&path, Some(12_345), None).expect("root may");
            assert!(read(0o600).expect_err("it is another's").to_string().contains("user 12345"));
        }
        assert!(RealDisk.read_private(Path::new("/nowhere/a.key")).is_err());
    }
}
