//! Secrets that are shown once: safe on disk before anything else happens, or on standard output for who asked for that.
//!
//! A file is made before the call that makes the secret, so that one which cannot be written stops the call. What
//! standard output does not take is put into a file all the same: a reader that went away loses nothing.

use std::fs::{File, OpenOptions};
use std::io::{Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use rr_contract::seam::{SystemEntropy, draw};
use rr_contract::secret::Secret;
use serde::Serialize;

use crate::fault;
use crate::print::{self, Printer, Row, note};

/// A file that its owner alone can read, that was not there before, and that goes again unless it is kept.
pub(crate) struct NewFile {
    path: PathBuf,
    file: File,
    kept: bool,
}

impl NewFile {
    /// Makes the file, with room for so many bytes: a disk that is full shows now.
    pub(crate) fn make(path: &Path, room: usize) -> Result<Self> {
        let file =
            OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(|error| {
                match error.kind() {
                    std::io::ErrorKind::AlreadyExists => fault::usage(
                        &format!("{} is there already", path.display()),
                        "name another file, or remove it if nothing needs what it holds",
                    ),
                    _ => anyhow::Error::new(error).context(format!("write {}", path.display())),
                }
            })?;
        let mut made = Self { path: path.to_owned(), file, kept: false };
        made.put(&vec![b'\n'; room])?;
        // The name has to outlive a power cut as well as the bytes do.
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or_else(|| Path::new("."));
        let synced = File::open(folder).and_then(|folder| folder.sync_all());
        synced.with_context(|| format!("sync folder {}", folder.display()))?;
        Ok(made)
    }

    /// Puts a secret into it; on disk when this returns.
    pub(crate) fn write(&mut self, text: &[u8]) -> Result<()> {
        self.put(text)
    }

    fn put(&mut self, text: &[u8]) -> Result<()> {
        let mut written = || {
            self.file.seek(SeekFrom::Start(0))?;
            self.file.write_all(text)?;
            self.file.set_len(text.len() as u64)?;
            self.file.sync_all()
        };
        written().with_context(|| format!("write {}", self.path.display()))
    }

    /// It stays, whatever comes.
    pub(crate) fn keep(&mut self) {
        self.kept = true;
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if !self.kept
            && let Err(error) = std::fs::remove_file(&self.path)
        {
            note(&format!("could not remove {}: {error}", self.path.display()));
        }
    }
}

/// Shows what was made. Its secret went to a file beforehand, or is the only thing on standard output, so that whoever
/// reads one line of it has it; with `whole`, programs get both in one document.
pub(crate) fn show<T: Row + Serialize>(
    print: Printer,
    made: &T,
    secret: Option<(&str, &Secret)>,
    whole: &impl Serialize,
) -> Result<()> {
    let Some((what, secret)) = secret else { return print.one(made) };
    if print.is_json() {
        let text = serde_json::to_string_pretty(whole)?;
        return out_or_aside(what, text.as_bytes(), secret.expose());
    }
    print.one_beside(made);
    note(&format!("the {what} on standard output is shown this once"));
    out_or_aside(what, secret.expose(), secret.expose())
}

/// Writes to standard output, or puts the secret into a file when that takes nothing any more.
pub(crate) fn out_or_aside(what: &str, text: &[u8], secret: &[u8]) -> Result<()> {
    let Err(error) = print::bytes_out(text) else { return Ok(()) };
    let name = format!("rrctl-{what}-{:08x}", u32::from_be_bytes(draw(&SystemEntropy)));
    let name = name.replace(' ', "-");
    let places = [PathBuf::from(&name), std::env::temp_dir().join(&name)];
    let aside = places.iter().find_map(|path| {
        let mut file = NewFile::make(path, 0).ok()?;
        file.write(secret).ok()?;
        file.keep();
        Some(path)
    });
    match aside {
        Some(path) => Err(anyhow::Error::new(error)
            .context(format!("standard output takes nothing, so the {what} was put into {}", path.display()))),
        None => Err(anyhow::Error::new(error).context(format!(
            "standard output takes nothing and no file could be made beside it: the {what} is lost; revoke it and make another with --out"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_goes_again_unless_it_is_kept_and_holds_what_was_written_last() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("token");
        drop(NewFile::make(&path, 64).expect("is made"));
        assert!(!path.exists());
        let mut file = NewFile::make(&path, 64).expect("is made");
        file.write(b"rr_token_1").expect("is written");
        file.keep();
        drop(file);
        assert_eq!(std::fs::read(&path).expect("reads"), b"rr_token_1");
        assert!(NewFile::make(&path, 64).is_err(), "it is there already");
        assert_eq!(std::fs::read(&path).expect("reads"), b"rr_token_1");
    }
}
