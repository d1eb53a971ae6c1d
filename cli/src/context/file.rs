//! The user's configuration folder: the file of contexts, and copies of tokens and authorities beside it.
//!
//! A file that other users can write is not read: it could name another endpoint. Changes are made under a lock and replace
//! the file whole.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use rr_contract::seam::{Disk as _, RealDisk};
use serde::{Deserialize, Serialize};

use super::Context;
use crate::fault;

/// The contexts of a user.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Contexts {
    /// The name of the one that counts where no other does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) used: Option<String>,
    #[serde(default)]
    pub(crate) contexts: BTreeMap<String, Context>,
}

/// The user's configuration folder.
#[derive(Clone)]
pub(crate) struct Folder(PathBuf);

impl Folder {
    /// RRCTL_CONFIG_DIR, or else `requestrocket` in XDG_CONFIG_HOME, or else in `.config` of the home folder. `None` where
    /// there is no home folder.
    pub(crate) fn of_user() -> Option<Self> {
        let set = |name: &str| std::env::var_os(name).filter(|it| !it.is_empty()).map(PathBuf::from);
        let standard = || {
            let base = set("XDG_CONFIG_HOME").or_else(|| Some(set("HOME")?.join(".config")))?;
            Some(base.join("requestrocket"))
        };
        let folder = set("RRCTL_CONFIG_DIR").or_else(standard)?;
        // A relative one would be another one in each working folder.
        folder.is_absolute().then_some(Self(folder))
    }

    /// The same, or an error that says how to name one.
    pub(crate) fn needed() -> Result<Self> {
        Self::of_user().ok_or_else(|| {
            fault::usage(
                "there is no configuration folder: neither HOME nor XDG_CONFIG_HOME is an absolute path",
                "set RRCTL_CONFIG_DIR to a folder of yours",
            )
        })
    }

    /// Where fingerprints are kept for an endpoint that no context names.
    pub(crate) fn regions_of(&self, endpoint: &str) -> PathBuf {
        let place = endpoint.split_once("://").map_or(endpoint, |(_, rest)| rest);
        let name: String = place
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() || ".-".contains(c) { c } else { '_' })
            .collect();
        self.0.join("regions").join(format!("{name}.toml"))
    }

    /// The contexts; none where there is no file.
    pub(crate) fn read(&self) -> Result<Contexts> {
        let path = self.contexts_file();
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Contexts::default()),
            Err(error) => return Err(error).with_context(|| format!("read {}", path.display())),
        };
        for place in [path.as_path(), &self.0] {
            let mode = std::fs::metadata(place).with_context(|| format!("look at {}", place.display()))?;
            if mode.permissions().mode() & 0o022 != 0 {
                bail!(
                    "{0} can be written by other users, who could name another endpoint; run `chmod go-w {0}`",
                    place.display()
                );
            }
        }
        toml::from_str(&text).map_err(|error| fault::toml(&path, &text, &error))
    }

    /// Changes the contexts. Two changes at once come one after the other.
    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut Contexts) -> Result<T>) -> Result<T> {
        self.make(&self.0)?;
        let lock = self.0.join("lock");
        let lock = File::create(&lock).with_context(|| format!("make {}", lock.display()))?;
        lock.lock().context("lock the configuration folder")?;
        let mut contexts = self.read()?;
        let done = change(&mut contexts)?;
        let path = self.contexts_file();
        RealDisk
            .replace(&path, toml::to_string(&contexts)?.as_bytes())
            .with_context(|| format!("write {}", path.display()))?;
        Ok(done)
    }

    /// Writes a file into the folder that only its owner can read, below a folder of its own kind.
    pub(crate) fn keep(&self, kind: &str, name: &str, bytes: &[u8]) -> Result<PathBuf> {
        let folder = self.0.join(kind);
        self.make(&folder)?;
        let path = folder.join(name);
        RealDisk.replace(&path, bytes).with_context(|| format!("write {}", path.display()))?;
        Ok(path)
    }

    /// Whether a file lies in the folder, so that it goes with the context that names it.
    pub(crate) fn holds(&self, path: &Path) -> bool {
        path.starts_with(&self.0)
    }

    /// The file of contexts, whether it is there or not.
    pub(crate) fn contexts_file(&self) -> PathBuf {
        self.0.join("contexts.toml")
    }

    fn make(&self, folder: &Path) -> Result<()> {
        let mut builder = std::fs::DirBuilder::new();
        builder
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .with_context(|| format!("make folder {}", folder.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_there_when_it_is_read_again_and_only_for_its_owner() {
        let temporary = tempfile::tempdir().expect("a folder");
        let folder = Folder(temporary.path().join("a/b"));
        assert!(folder.read().expect("no file is no fault").contexts.is_empty());
        let context = Context { endpoint: "https://a:1".to_owned(), ..Context::default() };
        folder
            .change(|all| {
                all.used = Some("a".to_owned());
                all.contexts.insert("a".to_owned(), context.clone());
                Ok(())
            })
            .expect("is written");
        assert_eq!(folder.read().expect("reads").contexts["a"], context);
        let mode = |path: &Path| std::fs::metadata(path).expect("is there").permissions().mode() & 0o777;
        assert_eq!((mode(&folder.0), mode(&folder.contexts_file())), (0o700, 0o600));
        // A change that fails leaves the file as it was.
        let failed: Result<()> = folder.change(|all| {
            all.contexts.clear();
            bail!("no")
        });
        assert!(failed.is_err());
        assert_eq!(folder.read().expect("reads").contexts.len(), 1);
    }

    #[test]
    fn contexts_that_others_can_write_are_not_read() {
        let temporary = tempfile::tempdir().expect("a folder");
        let folder = Folder(temporary.path().join("config"));
        folder.change(|_| Ok(())).expect("is written");
        for place in [folder.contexts_file(), folder.0.clone()] {
            let was = std::fs::metadata(&place).expect("is there").permissions();
            std::fs::set_permissions(&place, std::fs::Permissions::from_mode(was.mode() | 0o020))
                .expect("a mode");
            let error = folder.read().expect_err("others can write").to_string();
            assert!(error.contains("chmod go-w"), "{error}");
            std::fs::set_permissions(&place, was).expect("a mode");
        }
        assert!(folder.read().is_ok());
    }

    #[test]
    fn fingerprints_of_two_endpoints_are_two_files() {
        let folder = Folder(PathBuf::from("/c"));
        let of = |endpoint: &str| folder.regions_of(endpoint).display().to_string();
        assert_eq!(of("https://control.example.com:7420"), "/c/regions/control.example.com_7420.toml");
        assert_eq!(of("http://[::1]:7420"), "/c/regions/___1__7420.toml");
        assert_ne!(of("https://a:1"), of("https://a:2"));
    }
}
