//! Region key files: reading, writing, and their passphrases.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use clap::Args;
use rr_contract::seal::key_file::{self, KeyFile, KeyFileError};
use rr_contract::seal::region_key::RegionKeys;
use rr_contract::seam::{Disk as _, RealDisk};
use rr_contract::secret::Secret;

use crate::fault;
use crate::once::NewFile;
use crate::print::note;
use crate::prompt;

/// A key file and its passphrase.
#[derive(Args)]
pub(crate) struct KeyFileArgs {
    /// Key file of the region, written by `rrctl region create`.
    #[arg(long, env = "RRCTL_REGION_KEY", value_name = "FILE")]
    region_key: PathBuf,
    #[command(flatten)]
    passphrase: PassphraseArgs,
}

/// A key file and its passphrase, where one is at hand.
#[derive(Args)]
pub(crate) struct SpareKeyArgs {
    /// Key file of the region, written by `rrctl region create`: of one that secrets are sealed to. They are sealed to regions
    /// that are added, too.
    #[arg(long, env = "RRCTL_REGION_KEY", value_name = "FILE")]
    region_key: Option<PathBuf>,
    #[command(flatten)]
    passphrase: PassphraseArgs,
}

impl SpareKeyArgs {
    /// The keys; `None`: there is no file.
    pub(crate) fn open(self) -> Result<Option<RegionKeys>> {
        let Self { region_key, passphrase } = self;
        region_key.map(|region_key| KeyFileArgs { region_key, passphrase }.open()).transpose()
    }

    /// Whether there is one.
    pub(crate) const fn is_there(&self) -> bool {
        self.region_key.is_some()
    }
}

/// The source of a passphrase; a prompt when none is named.
#[derive(Args)]
pub(crate) struct PassphraseArgs {
    /// File that holds the passphrase; `-` is standard input. RRCTL_PASSPHRASE can hold the passphrase itself.
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
}

impl KeyFileArgs {
    /// The file, as it was named.
    pub(crate) fn file(&self) -> &Path {
        &self.region_key
    }

    pub(crate) fn open(&self) -> Result<RegionKeys> {
        Ok(self.open_file()?.keys)
    }

    /// The keys, with what it takes to write the file again.
    pub(crate) fn open_file(&self) -> Result<KeyFile> {
        open_with(&self.region_key, || self.passphrase.known())
    }
}

/// Opens a key file. Asks for a passphrase only when the file needs one.
pub(crate) fn open_with(path: &Path, passphrase: impl FnOnce() -> Result<Secret>) -> Result<KeyFile> {
    let text = read(path)?;
    let name = || format!("open region key file {}", path.display());
    match KeyFile::open(&text, None) {
        Err(KeyFileError::NeedsPassphrase(_)) => {}
        other => return other.with_context(name),
    }
    KeyFile::open(&text, Some(&passphrase()?)).with_context(name)
}

impl PassphraseArgs {
    /// The passphrase of an existing file.
    pub(crate) fn known(&self) -> Result<Secret> {
        match from_environment() {
            Some(text) if self.passphrase_file.is_none() => Ok(text),
            _ => prompt::read_known("passphrase", self.passphrase_file.as_deref(), "--passphrase-file"),
        }
    }

    /// The passphrase of a file that will be written.
    pub(crate) fn new_one(&self) -> Result<Secret> {
        match from_environment() {
            Some(text) if self.passphrase_file.is_none() => Ok(text),
            _ => prompt::read_new("passphrase", self.passphrase_file.as_deref(), "--passphrase-file"),
        }
    }
}

fn from_environment() -> Option<Secret> {
    std::env::var("RRCTL_PASSPHRASE").ok().filter(|text| !text.is_empty()).map(Secret::from)
}

/// Reads a key file; refuses one that other users can read.
pub(crate) fn read(path: &Path) -> Result<Secret> {
    let read =
        RealDisk.read_private(path).with_context(|| format!("read region key file {}", path.display()))?;
    read.map(Secret::new).map_err(|exposure| anyhow::anyhow!("the region key file {exposure}"))
}

/// Writes a new file that only its owner can read.
pub(crate) fn write_new(path: &Path, text: &Secret) -> Result<()> {
    let mut file = NewFile::make(path, 0)?;
    file.write(text.expose())?;
    file.keep();
    Ok(())
}

/// Copies of a key file that are there: one that is not would be noticed when it is too late. They are written over, so
/// each has to be of the same region and for the same people.
pub(crate) fn copies<'a>(paths: &'a [PathBuf], of: &KeyFileArgs, file: &KeyFile) -> Result<Vec<&'a Path>> {
    let whole = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    for path in paths {
        let found = key_file::outline(&read(path)?);
        let found = found.with_context(|| format!("read region key file {}", path.display()))?;
        let refused = |what: &str, remedy: &str| {
            Err(fault::usage(
                &format!("--recovery-copy {} {what}: nothing was changed", path.display()),
                remedy,
            ))
        };
        if whole(path) == whole(of.file()) {
            return refused(
                "is the key file itself",
                "name a copy that lies elsewhere, or leave --recovery-copy out",
            );
        }
        if found.region != file.keys.region() {
            return refused(
                &format!("holds the keys of region {}, which would be gone", found.region),
                "name a copy of the key file of this region",
            );
        }
        if !found.recipients.iter().map(String::as_str).eq(file.recipients()) {
            return refused(
                &format!("is for {}, who could not open it any more", found.recipients.join(", ")),
                "name a copy of this key file; `rrctl region export-key` writes the new keys for others",
            );
        }
    }
    Ok(paths.iter().map(PathBuf::as_path).collect())
}

/// Writes a key file and its copies again.
pub(crate) fn write_again(file: &Path, copies: &[&Path], text: &Secret) -> Result<()> {
    for path in std::iter::once(file).chain(copies.iter().copied()) {
        RealDisk
            .replace(path, text.expose())
            .with_context(|| format!("write region key file {}", path.display()))?;
    }
    for path in copies {
        note(&format!("wrote the recovery copy {} again", path.display()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use rr_contract::model::id::RegionId;
    use rr_contract::seam::SystemEntropy;

    use super::*;

    /// A key file of a region, for this person.
    fn made(folder: &Path, name: &str, region: u8, person: &str) -> PathBuf {
        let passphrase = Secret::from("correct horse".to_owned());
        let keys = RegionKeys::generate(RegionId::from_random([region; 16]), &SystemEntropy);
        let text = key_file::write(&keys, &passphrase, &SystemEntropy);
        let file = KeyFile::open(&text, Some(&passphrase)).expect("opens");
        let file = file.export(person, &passphrase, &SystemEntropy).expect("is exported");
        let path = folder.join(name);
        write_new(&path, &file.text(&SystemEntropy)).expect("is written");
        path
    }

    #[test]
    fn a_recovery_copy_that_is_no_copy_of_the_key_file_is_not_written_over() {
        let folder = tempfile::tempdir().expect("a folder");
        let [own, copy, other_region, other_people] =
            [("eu.key", 1, "ann"), ("copy.key", 1, "ann"), ("us.key", 2, "ann"), ("team.key", 1, "bob")]
                .map(|(name, region, person)| made(folder.path(), name, region, person));
        let of =
            KeyFileArgs { region_key: own.clone(), passphrase: PassphraseArgs { passphrase_file: None } };
        let file = open_with(&own, || Ok(Secret::from("correct horse".to_owned()))).expect("opens");
        let judge = |path: &PathBuf| {
            let paths = [path.clone()];
            copies(&paths, &of, &file).map(|copies| copies.len()).map_err(|error| format!("{error:#}"))
        };
        assert_eq!(judge(&copy), Ok(1));
        std::os::unix::fs::symlink(&own, folder.path().join("link")).expect("is made");
        for (path, word) in [
            (own.clone(), "is the key file itself"),
            (folder.path().join("link"), "is the key file itself"),
            (other_region, "holds the keys of region"),
            (other_people, "is for bob, who could not open it any more"),
        ] {
            let said = judge(&path).expect_err("is refused");
            assert!(said.contains(word) && said.contains("nothing was changed"), "{said}");
        }
    }
}
