//! Region key files: reading, writing, and their passphrases.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use clap::Args;
use rr_contract::seal::key_file::{KeyFile, KeyFileError};
use rr_contract::seal::region_key::RegionKeys;
use rr_contract::seam::{Disk as _, RealDisk};
use rr_contract::secret::Secret;

use crate::once::NewFile;
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

/// Copies of a key file that are there: one that is not would be noticed when it is too late.
pub(crate) fn copies(paths: &[PathBuf]) -> Result<Vec<&Path>> {
    for path in paths {
        read(path)?;
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
    Ok(())
}
