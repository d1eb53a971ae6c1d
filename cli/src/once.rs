//! Secrets that are shown once: in a file that is on disk before the secret exists, or on standard output.
//!
//! The file is made before the call that makes the secret, so a file that cannot be written stops the call. A secret that
//! standard output does not take is written to a file, so a closed pipe loses nothing; nor does a format that leaves it out.

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

/// A new file that only its owner can read, removed when dropped unless it is kept.
pub(crate) struct NewFile {
    path: PathBuf,
    file: File,
    kept: bool,
}

impl NewFile {
    /// Makes the file and allocates `room` bytes, so that a full disk fails here.
    pub(crate) fn make(path: &Path, room: usize) -> Result<Self> {
        let file =
            OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(|error| {
                match error.kind() {
                    std::io::ErrorKind::AlreadyExists => fault::usage(
                        &format!("{} exists already", path.display()),
                        "name another file, or remove this one if nothing needs it",
                    ),
                    _ => anyhow::Error::new(error).context(format!("write {}", path.display())),
                }
            })?;
        let mut made = Self { path: path.to_owned(), file, kept: false };
        made.put(&vec![b'\n'; room])?;
        // The name has to survive a power cut as the bytes do.
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or_else(|| Path::new("."));
        let synced = File::open(folder).and_then(|folder| folder.sync_all());
        synced.with_context(|| format!("sync folder {}", folder.display()))?;
        Ok(made)
    }

    /// Writes the secret; it is on disk when this returns.
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

    /// Keeps the file.
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

/// Shows a new resource with its secret. The secret is the only line on standard output and the resource goes to standard
/// error, with what was written and as which revision; in JSON both are in one document, `whole`.
pub(crate) fn show<T: Row + Serialize>(
    print: Printer,
    made: &T,
    (what, revision): (&str, u64),
    secret: Option<(&str, &Secret)>,
    whole: &impl Serialize,
) -> Result<()> {
    let Some((secret_kind, secret)) = secret else { return print.written(made, what, revision) };
    if print.is_data() {
        let text = print.text(whole)?;
        return out_or_aside(secret_kind, text.as_bytes(), secret.expose());
    }
    print.one_beside(made);
    print.wrote(what, revision);
    note(&format!("the {secret_kind} on standard output is shown this once"));
    out_or_aside(secret_kind, secret.expose(), secret.expose())
}

/// Writes `text` to standard output. A secret that standard output does not take, or that a format leaves out, is put
/// into a file.
pub(crate) fn out_or_aside(what: &str, text: &[u8], secret: &[u8]) -> Result<()> {
    match print::bytes_out(text) {
        Ok(()) if holds(text, secret) => Ok(()),
        Ok(()) => {
            let path = aside(what, secret).ok_or_else(|| {
                anyhow::anyhow!("the output leaves the {what} out, and no file could be made for it: {LOST}")
            })?;
            note(&format!("the output leaves the {what} out, so it was put into {}", path.display()));
            Ok(())
        }
        Err(error) => Err(anyhow::Error::new(error).context(match aside(what, secret) {
            Some(path) => {
                format!("standard output could not be written, so the {what} was put into {}", path.display())
            }
            None => {
                format!(
                    "standard output could not be written, and no file could be made for the {what}: {LOST}"
                )
            }
        })),
    }
}

const LOST: &str =
    "neither in this folder nor in the temporary one. It is lost: revoke it, and make another with --out";

/// Whether a text has a secret in it, or the last word of each line of several.
fn holds(text: &[u8], secret: &[u8]) -> bool {
    let (text, secret) = (String::from_utf8_lossy(text), String::from_utf8_lossy(secret));
    secret.lines().filter_map(|line| line.split_whitespace().last()).all(|word| text.contains(word))
}

/// Writes a secret to a new file, in this folder or in the temporary one.
fn aside(what: &str, secret: &[u8]) -> Option<PathBuf> {
    let name = format!("rrctl-{what}-{:08x}", u32::from_be_bytes(draw(&SystemEntropy)));
    let name = name.replace(' ', "-");
    [PathBuf::from(&name), std::env::temp_dir().join(&name)].into_iter().find(|path| {
        let written = NewFile::make(path, 0).and_then(|mut file| {
            file.write(secret)?;
            file.keep();
            Ok(())
        });
        written.is_ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_holds_keys_when_it_has_all_of_them_in_whatever_form() {
        assert!(holds(b"{\"key\": \"rr_key_1\"}", b"rr_key_1"));
        assert!(holds(b"[rr_key_1, rr_key_2]", b"bot  rr_key_1\nother  rr_key_2\n"));
        assert!(!holds(b"bot rr_key_1", b"bot  rr_key_1\nother  rr_key_2\n"));
        assert!(!holds(b"bot", b"rr_key_1"));
    }

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
