//! The other way: from the folder of a backup to where the settings say.
//!
//! Judges no history: who restores does, between the two steps. The invariant: nothing starts on what was brought until it
//! is in its place. A file of SQLite comes there as the last step, behind the authority's files; a database on a server
//! bears a mark until then.

use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER;
use rr_contract::seam::{Disk, Seams, draw};

use super::manifest::{self, Manifest, NotWhole};
use super::postgres::Program;
use super::{AUTHORITY, BackupError, beside, engine_of, failed, is_known, leftover};
use crate::config::Config;
use crate::store::{DatabaseAddress, Head, Offline, unfinished};

/// What belongs to a database of SQLite beside its file.
const ENDS: [&str; 4] = ["", "-wal", "-shm", "-journal"];

/// Why a backup was not brought back.
#[derive(Debug, thiserror::Error)]
pub enum BringBackError {
    /// The backup is not whole.
    #[error(transparent)]
    NotWhole(#[from] NotWhole),
    /// It is another backup.
    #[error(
        "the digest of the backup is {found}, and --expect-digest says {said}: it was changed, or is another one; use the backup whose digest that is"
    )]
    Digest {
        /// What was expected.
        said: String,
        /// What its manifest has.
        found: String,
    },
    /// It is of another engine than the settings name.
    #[error(
        "the backup is of {backup}, and the settings name {database}: give --database with an address of {backup}"
    )]
    Engine {
        /// The engine of the backup.
        backup: &'static str,
        /// Address of the database, without a password.
        database: String,
    },
    /// A newer program made it.
    #[error(
        "the backup was made by rr-control {version}, whose schema this version does not know: restore with rr-control {version}"
    )]
    Newer {
        /// The program that made it.
        version: String,
    },
    /// There is a database already.
    #[error("{database} is there already: move it away, or name an empty one")]
    Occupied {
        /// Its address, without a password.
        database: String,
    },
    /// The database in it stands elsewhere than the manifest says.
    #[error(
        "the backup is damaged: its manifest names revision {said}, and its database ends with {found} or with another audit head; use another backup"
    )]
    Elsewhere {
        /// In the manifest.
        said: u64,
        /// In the database.
        found: u64,
    },
    /// The state folder has another authority.
    #[error("{} differs from the one in the backup: move it away, or restore into another state folder", file.display())]
    Authority {
        /// The file.
        file: PathBuf,
    },
    /// A step of it failed.
    #[error(transparent)]
    Step(#[from] BackupError),
}

/// A backup, and what it is brought back with.
pub(crate) struct Source<'a> {
    /// Its folder.
    pub(crate) folder: &'a Path,
    /// The digest that its manifest has to have, in hex; whichever where there is none.
    pub(crate) digest: Option<&'a str>,
    /// The program that fills a database on a server.
    pub(crate) pg_restore: &'a Path,
}

/// The database of a backup before it is in its place, as its manifest describes it.
pub(crate) struct Staged {
    manifest: Manifest,
    folder: PathBuf,
    address: DatabaseAddress,
}

/// Copies the database of a backup to where nothing starts on it.
pub(crate) async fn stage(
    config: &Config,
    seams: &Seams,
    source: &Source<'_>,
) -> Result<Staged, BringBackError> {
    let (disk, folder) = (&*seams.disk, source.folder);
    let (manifest, digest) = Manifest::read(disk, folder)?;
    if let Some(said) = source.digest.filter(|said| *said != digest) {
        return Err(BringBackError::Digest { said: said.to_owned(), found: digest });
    }
    let database = config.database.to_string();
    if manifest.engine != engine_of(&config.database) {
        return Err(BringBackError::Engine { backup: manifest.engine.text(), database });
    }
    if !is_known(&manifest.schema) {
        return Err(BringBackError::Newer { version: manifest.version });
    }
    for name in AUTHORITY.into_iter().filter(|name| manifest.has(name)) {
        let (theirs, ours) = (folder.join(name), config.state_dir.join(name));
        if ours.exists() && disk.read(&ours).ok() != disk.read(&theirs).ok() {
            return Err(BringBackError::Authority { file: ours });
        }
    }
    let file = folder.join(manifest.engine.file());
    let address = match &config.database {
        DatabaseAddress::Sqlite(path) => {
            // SQLite would take the log of another database for that of this one.
            for there in ENDS.map(|end| with_end(path, end)) {
                if there.symlink_metadata().is_ok() {
                    return Err(BringBackError::Occupied { database: there.display().to_string() });
                }
            }
            leftover::remove(path).map_err(failed(path))?;
            let partial = beside(path, &HEXLOWER.encode(&draw::<4>(&*seams.entropy)));
            if let Err(error) = manifest::copy(disk, &file, &partial) {
                drop(disk.remove(&partial));
                return Err(failed(path)(error).into());
            }
            DatabaseAddress::Sqlite(partial)
        }
        DatabaseAddress::Postgres(url) => {
            let opened = Offline::open(&config.database).await.map_err(BackupError::from)?;
            if !opened.schema().await.map_err(BackupError::from)?.is_empty() {
                return Err(BringBackError::Occupied { database });
            }
            let program = Program { path: source.pg_restore, flag: "pg-restore" };
            let server = opened.server().await.map_err(BackupError::from)?;
            opened.close().await.map_err(BackupError::from)?;
            program.check(server).map_err(BackupError::from)?;
            unfinished::set(&config.database).await.map_err(BackupError::from)?;
            program.restore(url, &file).map_err(BackupError::from)?;
            config.database.clone()
        }
    };
    Ok(Staged { manifest, folder: folder.to_owned(), address })
}

impl Staged {
    /// Where the database is for now.
    pub(crate) const fn address(&self) -> &DatabaseAddress {
        &self.address
    }

    /// Checks that the database stands where the manifest says.
    pub(crate) fn compare(&self, head: &Head) -> Result<(), BringBackError> {
        let manifest = &self.manifest;
        let found = (HEXLOWER.encode(&head.lineage), head.revision, HEXLOWER.encode(&head.audit));
        if found == (manifest.lineage.clone(), manifest.revision, manifest.audit.clone()) {
            return Ok(());
        }
        Err(BringBackError::Elsewhere { said: manifest.revision, found: head.revision })
    }

    /// Whether the authority came with it.
    pub(crate) fn has_authority(&self) -> bool {
        AUTHORITY.iter().all(|name| self.manifest.has(name))
    }

    /// Puts the authority, where the backup has one, and then the database to where the settings say. Nobody has it open.
    pub(crate) async fn put_in_place(&self, config: &Config, disk: &dyn Disk) -> Result<(), BringBackError> {
        if let DatabaseAddress::Sqlite(partial) = &self.address {
            let opened = Offline::open(&self.address).await.map_err(BackupError::from)?;
            opened.fold_log().await.map_err(BackupError::from)?;
            opened.close().await.map_err(BackupError::from)?;
            if with_end(partial, "-wal").exists() {
                let why = "its log stays beside it".to_owned();
                return Err(BackupError::Damaged { why }.into());
            }
            disk.append(partial).and_then(|mut file| file.sync()).map_err(failed(partial))?;
        }
        for name in AUTHORITY.into_iter().filter(|name| self.manifest.has(name)) {
            let ours = config.state_dir.join(name);
            if !ours.exists() {
                let theirs = disk.read(&self.folder.join(name));
                theirs.and_then(|bytes| disk.replace(&ours, &bytes)).map_err(failed(&ours))?;
            }
        }
        match (&self.address, &config.database) {
            (DatabaseAddress::Sqlite(partial), DatabaseAddress::Sqlite(path)) => {
                disk.rename(partial, path).map_err(failed(path))?;
            }
            _ => unfinished::clear(&self.address).await.map_err(BackupError::from)?,
        }
        Ok(())
    }

    /// Removes what is not in its place. A database on a server keeps its mark.
    pub(crate) fn discard(&self, disk: &dyn Disk) {
        if let DatabaseAddress::Sqlite(partial) = &self.address {
            for path in ENDS.map(|end| with_end(partial, end)) {
                // The error before is the one to tell; what stays is removed by the next run.
                drop(disk.remove(&path));
            }
        }
    }
}

fn with_end(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(end);
    PathBuf::from(name)
}
