//! The user's configuration folder: the file of contexts, and copies of tokens and authorities beside it.
//!
//! What another user could have written is not read: it could name another endpoint. Changes are made under a lock and
//! replace the file whole.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use rr_contract::seam::{Disk as _, RealDisk};
use serde::{Deserialize, Serialize};

use super::Context;
use crate::print::note;
use crate::{fault, owned};

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
    pub(crate) fn of_user() -> Result<Option<Self>> {
        Self::of(|name| std::env::var_os(name))
    }

    fn of(variable: impl Fn(&str) -> Option<OsString>) -> Result<Option<Self>> {
        let set = |name: &str| variable(name).filter(|it| !it.is_empty()).map(PathBuf::from);
        if let Some(folder) = set("RRCTL_CONFIG_DIR") {
            if folder.is_relative() {
                return Err(fault::usage(
                    &format!("RRCTL_CONFIG_DIR is {}, which is no absolute path", folder.display()),
                    "give the whole path: a relative one would be another folder in each working folder",
                ));
            }
            return Ok(Some(Self(folder)));
        }
        // A relative one counts as none, as its specification says.
        let absolute = |name: &str| set(name).filter(|it| it.is_absolute());
        let base = absolute("XDG_CONFIG_HOME").or_else(|| Some(absolute("HOME")?.join(".config")));
        Ok(base.map(|base| Self(base.join("requestrocket"))))
    }

    /// The same, or an error that says how to name one.
    pub(crate) fn needed() -> Result<Self> {
        Self::of_user()?.ok_or_else(|| {
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
        let text = owned::read_text(&path)?;
        let Some(text) = text else { return Ok(Contexts::default()) };
        toml::from_str(&text).map_err(|error| fault::toml(&path, &text, &error))
    }

    /// Changes the contexts. Two changes at once come one after the other.
    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut Contexts) -> Result<T>) -> Result<T> {
        let _lock = self.lock()?;
        let mut contexts = self.read()?;
        let done = change(&mut contexts)?;
        let path = self.contexts_file();
        RealDisk
            .replace(&path, toml::to_string(&contexts)?.as_bytes())
            .with_context(|| format!("write {}", path.display()))?;
        Ok(done)
    }

    /// Makes the folder where it is not there, and locks it until the answer is dropped.
    pub(super) fn lock(&self) -> Result<File> {
        self.make(&self.0)?;
        let path = self.0.join("lock");
        let lock = owned::open_to_lock(&path).with_context(|| format!("open {}", path.display()))?;
        lock.lock().with_context(|| format!("lock {}", path.display()))?;
        Ok(lock)
    }

    /// Writes a file into the folder that only its owner can read, below a folder of its own kind.
    pub(crate) fn keep(&self, kind: &str, name: &str, bytes: &[u8]) -> Result<PathBuf> {
        let folder = self.0.join(kind);
        self.make(&self.0)?;
        self.make(&folder)?;
        let path = folder.join(name);
        RealDisk.replace(&path, bytes).with_context(|| format!("write {}", path.display()))?;
        Ok(path)
    }

    /// Removes the copies of the token and of the authority that a context had here.
    pub(crate) fn remove_files_of(&self, context: &Context) {
        for path in [&context.token_file, &context.ca_file].into_iter().flatten() {
            if self.holds(path)
                && let Err(error) = std::fs::remove_file(path)
                && error.kind() != std::io::ErrorKind::NotFound
            {
                note(&format!("could not remove {}: {error}", path.display()));
            }
        }
    }

    /// Whether a file lies in the folder, so that it goes with the context that names it.
    pub(crate) fn holds(&self, path: &Path) -> bool {
        path.starts_with(&self.0)
    }

    /// A folder that a test names.
    #[cfg(test)]
    pub(super) fn at(path: PathBuf) -> Self {
        Self(path)
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// The file of contexts, whether it is there or not.
    pub(crate) fn contexts_file(&self) -> PathBuf {
        self.0.join("contexts.toml")
    }

    /// Makes a folder for its owner alone. One that is there already has to be the user's.
    pub(super) fn make(&self, folder: &Path) -> Result<()> {
        RealDisk.create_dir_all(folder).with_context(|| format!("make folder {}", folder.display()))?;
        owned::judge_folder(folder)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use anyhow::bail;

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
            let error = format!("{:#}", folder.read().expect_err("others can write"));
            assert!(error.contains("chmod go-w"), "{error}");
            std::fs::set_permissions(&place, was).expect("a mode");
        }
        assert!(folder.read().is_ok());
    }

    #[test]
    fn a_change_writes_through_no_link_and_into_no_folder_that_others_can_write() {
        let temporary = tempfile::tempdir().expect("a folder");
        let folder = Folder(temporary.path().join("config"));
        std::fs::create_dir(&folder.0).expect("a folder");
        let key = temporary.path().join("key");
        std::fs::write(&key, "private").expect("a file");
        symlink(&key, folder.0.join("lock")).expect("links");
        assert!(folder.change(|_| Ok(())).is_err(), "the lock is a link");
        assert_eq!(std::fs::read(&key).expect("reads"), b"private");
        std::fs::remove_file(folder.0.join("lock")).expect("is there");
        std::fs::set_permissions(&folder.0, std::fs::Permissions::from_mode(0o777)).expect("a mode");
        assert!(folder.change(|_| Ok(())).is_err());
        assert!(folder.keep("tokens", "a", b"t").is_err());
        assert!(!folder.0.join("lock").exists() && !folder.contexts_file().exists());
    }

    #[test]
    fn a_configuration_folder_has_a_whole_path() {
        let of = |set: &[(&str, &str)]| {
            let set: BTreeMap<&str, &str> = set.iter().copied().collect();
            Folder::of(|name| set.get(name).map(OsString::from))
                .map(|it| it.map(|it| it.0.display().to_string()))
        };
        let is = |path: &str| Some(path.to_owned());
        assert_eq!(of(&[("HOME", "/h")]).expect("good"), is("/h/.config/requestrocket"));
        assert_eq!(of(&[("HOME", "/h"), ("XDG_CONFIG_HOME", "/x")]).expect("good"), is("/x/requestrocket"));
        assert_eq!(
            of(&[("HOME", "/h"), ("XDG_CONFIG_HOME", "x")]).expect("good"),
            is("/h/.config/requestrocket")
        );
        assert_eq!(of(&[("HOME", "h")]).expect("no fault"), None);
        assert_eq!(of(&[("HOME", "/h"), ("RRCTL_CONFIG_DIR", "/c")]).expect("good"), is("/c"));
        let error = of(&[("HOME", "/h"), ("RRCTL_CONFIG_DIR", "cfg")]).expect_err("relative").to_string();
        assert!(error.contains("RRCTL_CONFIG_DIR is cfg") && !error.contains("HOME"), "{error}");
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
