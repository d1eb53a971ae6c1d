//! Which files and variables documents may name: files below the folders that were given, and no setting of `rrctl`.
//!
//! Reads nothing. The invariant: what somebody else wrote into a document brings no file from elsewhere on this machine,
//! nor the token of whoever applies it, into a secret that goes where the document says.

use std::io::ErrorKind;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::fault;

/// Variables that begin so are settings of `rrctl`: its token, its passphrase.
const SETTINGS: &str = "RRCTL_";

/// Folders below which documents may name files, without symbolic links.
#[derive(Debug, Clone, Default)]
pub(in crate::command) struct Reach(Vec<PathBuf>);

impl Reach {
    /// Of what was given with `--file`, and of `more` folders.
    pub(super) fn of(given: &[PathBuf], more: &[PathBuf]) -> Result<Self> {
        let folders = given.iter().map(|path| match path.is_dir() {
            true => path.as_path(),
            // So is standard input.
            false => path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new(".")),
        });
        // A file that is not there is told when it is read.
        let mut found: Vec<PathBuf> = folders.filter_map(|folder| folder.canonicalize().ok()).collect();
        for folder in more {
            found.push(
                folder.canonicalize().with_context(|| format!("--read-from: folder {}", folder.display()))?,
            );
        }
        Ok(Self(found))
    }

    /// The same path, if it leads to a file below one of the folders.
    pub(super) fn file(&self, path: &Path) -> Result<PathBuf> {
        let real = match path.canonicalize() {
            Ok(real) => real,
            Err(error) if error.kind() == ErrorKind::NotFound => plain(&std::path::absolute(path)?),
            Err(error) => return Err(error).with_context(|| path.display().to_string()),
        };
        if self.holds(&real) {
            return Ok(path.to_owned());
        }
        Err(fault::usage(
            &format!(
                "{} is not below the folder of the files, and a document may name no other",
                path.display()
            ),
            "give --read-from FOLDER if you trust what the files do with it",
        ))
    }

    /// Whether a path without symbolic links is below one of the folders.
    pub(super) fn holds(&self, real: &Path) -> bool {
        self.0.iter().any(|folder| real.starts_with(folder))
    }
}

/// An absolute path without `.` and `..`.
fn plain(path: &Path) -> PathBuf {
    let mut found = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => drop(found.pop()),
            Component::CurDir => {}
            part => found.push(part),
        }
    }
    found
}

/// Refuses a variable that is a setting of `rrctl`.
pub(in crate::command) fn variable(name: &str) -> Result<(), String> {
    if name.starts_with(SETTINGS) {
        return Err(format!(
            "environment variable {name} is a setting of rrctl, which no document may name; use another name"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn files_below_the_folder_are_reached_and_no_other_by_any_path() {
        let folder = tempfile::tempdir().expect("a folder");
        let set = folder.path().join("set");
        std::fs::create_dir_all(set.join("below")).expect("a folder");
        for file in ["secret", "set/a.yaml", "set/value", "set/below/value"] {
            std::fs::write(folder.path().join(file), "x").expect("a file");
        }
        symlink("../secret", set.join("link")).expect("a link");
        symlink("value", set.join("inside")).expect("a link");
        for given in [set.clone(), set.join("a.yaml")] {
            let reach = Reach::of(&[given], &[]).expect("it is there");
            for good in ["value", "below/value", "below/../value", "inside", "not-there", "below/none/x"] {
                assert!(reach.file(&set.join(good)).is_ok(), "{good}");
            }
            for outside in ["../secret", "link", "below/../../secret", "../not-there", "/etc/hostname"] {
                let error = reach.file(&set.join(outside)).expect_err(outside).to_string();
                assert!(error.contains("not below the folder of the files"), "{error}");
            }
        }
        let reach =
            Reach::of(std::slice::from_ref(&set), &[folder.path().to_owned()]).expect("they are there");
        assert!(reach.file(&set.join("../secret")).is_ok() && reach.file(&set.join("link")).is_ok());
    }

    #[test]
    fn settings_of_rrctl_are_no_values() {
        assert!(variable("RRCTL_TOKEN").is_err_and(|error| error.contains("RRCTL_TOKEN")));
        assert_eq!(variable("API_KEY"), Ok(()));
    }
}
