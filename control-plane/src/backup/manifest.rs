//! What a backup says of itself: from which database and state it is, and which files belong to it.
//!
//! Reads and hashes files; changes none. A name in a manifest is one of ours or the manifest is refused, so that it leads
//! to no other folder.

use std::io;
use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER;
use rr_contract::seam::Disk;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// The only form so far.
pub(super) const FORMAT: u32 = 1;
/// Name of the file with the manifest.
pub(super) const FILE: &str = "backup.json";
/// The largest file of a backup besides its database.
const SMALL: u64 = 1 << 20;
/// How much of a file is in memory at once.
const PART: usize = 1 << 20;

/// An engine of the central database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Engine {
    Sqlite,
    Postgresql,
}

impl Engine {
    /// Name of the file with the database.
    pub(super) const fn file(self) -> &'static str {
        match self {
            Self::Sqlite => "control.db",
            Self::Postgresql => "control.dump",
        }
    }

    pub(super) const fn text(self) -> &'static str {
        match self {
            Self::Sqlite => "SQLite",
            Self::Postgresql => "PostgreSQL",
        }
    }
}

/// `backup.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Manifest {
    pub(super) format: u32,
    /// Of the program that made it.
    pub(super) version: String,
    /// RFC 3339.
    pub(super) made_at: String,
    pub(super) engine: Engine,
    /// Names of the migrations that made the schema.
    pub(super) schema: Vec<String>,
    pub(super) installation: String,
    /// In hex.
    pub(super) lineage: String,
    pub(super) revision: u64,
    /// Head of the audit chain at that revision, in hex.
    pub(super) audit: String,
    pub(super) files: Vec<Part>,
}

/// A file of a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Part {
    pub(super) name: String,
    pub(super) bytes: u64,
    /// In hex.
    pub(super) sha256: String,
}

/// A folder that is no whole backup.
#[derive(Debug, thiserror::Error)]
pub enum NotWhole {
    /// There is no manifest, or it is none of ours.
    #[error("{} is no backup: {why}", folder.display())]
    Manifest {
        /// The folder.
        folder: PathBuf,
        /// What is wrong with its manifest.
        why: String,
    },
    /// A file is another than the manifest says.
    #[error("the backup is damaged: {} {why}; use another backup", file.display())]
    File {
        /// The file.
        file: PathBuf,
        /// How it differs.
        why: &'static str,
    },
}

impl Manifest {
    /// Reads the manifest of a backup, and compares every file of it. Returns the digest of the manifest, too.
    pub(super) fn read(disk: &dyn Disk, folder: &Path) -> Result<(Self, String), NotWhole> {
        let wrong = |why: String| NotWhole::Manifest { folder: folder.to_owned(), why };
        size_of(&folder.join(FILE), SMALL).map_err(|why| wrong(format!("{FILE} {why}")))?;
        let bytes = disk.read(&folder.join(FILE)).map_err(|error| wrong(format!("{FILE}: {error}")))?;
        let manifest: Self =
            serde_json::from_slice(&bytes).map_err(|error| wrong(format!("{FILE}: {error}")))?;
        if manifest.format != FORMAT {
            return Err(wrong(format!(
                "{FILE} has format {}, and this rr-control reads {FORMAT}: restore with rr-control {}",
                manifest.format, manifest.version
            )));
        }
        if !manifest.has(manifest.engine.file()) {
            return Err(wrong(format!("{FILE} names no {}", manifest.engine.file())));
        }
        for part in &manifest.files {
            if ![manifest.engine.file(), super::AUTHORITY[0], super::AUTHORITY[1]]
                .contains(&part.name.as_str())
            {
                return Err(wrong(format!("{FILE} names {:?}, which is no file of a backup", part.name)));
            }
            let file = folder.join(&part.name);
            // Before it is read: what is no file may have no end.
            let most = if part.name == manifest.engine.file() { u64::MAX } else { SMALL };
            let bytes = size_of(&file, most).map_err(|why| NotWhole::File { file: file.clone(), why })?;
            if bytes != part.bytes {
                return Err(NotWhole::File { file, why: OTHER_SIZE });
            }
            let why = match Part::of(disk, folder, &part.name) {
                Err(_) => UNREADABLE,
                Ok(found) if found.bytes != part.bytes => OTHER_SIZE,
                Ok(found) if found.sha256 != part.sha256 => "has another SHA-256 than the manifest says",
                Ok(_) => continue,
            };
            return Err(NotWhole::File { file, why });
        }
        Ok((manifest, digest(&bytes)))
    }

    /// Whether a file belongs to it.
    pub(super) fn has(&self, name: &str) -> bool {
        self.files.iter().any(|part| part.name == name)
    }
}

const UNREADABLE: &str = "cannot be read";
const OTHER_SIZE: &str = "has another size than the manifest says";

/// The digest of a manifest, in hex: SHA-256 of its bytes.
pub(super) fn digest(manifest: &[u8]) -> String {
    HEXLOWER.encode(&Sha256::digest(manifest))
}

/// The size of a file that is one, and no link to something else.
fn size_of(path: &Path, most: u64) -> Result<u64, &'static str> {
    let found = path.symlink_metadata().map_err(|_| UNREADABLE)?;
    if !found.is_file() {
        return Err("is no regular file");
    }
    if found.len() > most {
        return Err("is larger than such a file can be");
    }
    Ok(found.len())
}

impl Part {
    /// A file of a folder as it is.
    pub(super) fn of(disk: &dyn Disk, folder: &Path, name: &str) -> io::Result<Self> {
        let (mut hash, mut bytes) = (Sha256::new(), 0);
        parts(disk, &folder.join(name), |part| {
            hash.update(part);
            bytes += part.len() as u64;
            Ok(())
        })?;
        Ok(Self { name: name.to_owned(), bytes, sha256: HEXLOWER.encode(&hash.finalize()) })
    }
}

/// Copies a file into one that is not there yet, and syncs it.
pub(super) fn copy(disk: &dyn Disk, from: &Path, to: &Path) -> io::Result<()> {
    if to.exists() {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    let mut file = disk.append(to)?;
    parts(disk, from, |part| file.write_all(part))?;
    file.sync()
}

fn parts(disk: &dyn Disk, path: &Path, mut each: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
    let mut offset = 0;
    loop {
        let part = disk.read_part(path, offset, PART)?;
        if part.is_empty() {
            return Ok(());
        }
        each(&part)?;
        offset += part.len() as u64;
    }
}
