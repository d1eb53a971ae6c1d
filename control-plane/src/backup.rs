//! `rr-control backup`: a copy of the central database in a folder, made while a control plane runs on it or not.
//!
//! The folder is there whole or not at all: it is made under another name, synced, and renamed. The invariant: what a
//! backup holds is one state, whose audit chain was followed from the first revision to the head that its manifest names.

mod bring_back;
mod leftover;
mod manifest;
mod postgres;

use std::io;
use std::path::{Path, PathBuf};

use chrono::{DateTime, SecondsFormat, Utc};
use data_encoding::HEXLOWER;
use rr_contract::runtime::{FolderLock, LockError};
use rr_contract::seam::{Seams, draw};

use crate::authority::{KEY_FILE, KeySource};
use crate::config::Config;
use crate::store::{
    ChainError, DatabaseAddress, Head, Offline, Reader, StoreError, head_of, known_schema, unfinished,
    verify_chain,
};

pub use bring_back::BringBackError;
pub(crate) use bring_back::{Source, Staged, stage};
pub use manifest::NotWhole;
pub use postgres::ProgramError;

use manifest::{Engine, FILE, FORMAT, Manifest, Part};
use postgres::Program;

/// The files of the authority, in the state folder and in a backup that has them.
const AUTHORITY: [&str; 2] = [KEY_FILE, "authority.crt"];

/// Held in the folder of a backup while that is made, so that nobody takes it for what a killed run left.
const LOCK: &str = "backup.lock";

/// What is to be copied, and where to.
#[derive(Debug, Clone)]
pub struct BackupOrder {
    /// The new folder.
    pub folder: PathBuf,
    /// Copies the authority's key and certificate too.
    pub with_authority: bool,
    /// The program that copies a database on a server.
    pub pg_dump: PathBuf,
}

/// A backup that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupMade {
    /// The newest revision in it.
    pub revision: u64,
    /// Its history.
    pub lineage: [u8; 16],
    /// The size of its database.
    pub bytes: u64,
    /// Of its manifest, in hex.
    pub digest: String,
    /// Names of record stores in the settings, which are not in it.
    pub elsewhere: Vec<String>,
}

/// Why there is no backup.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// Something is there already.
    #[error("{} is there already: name a new folder", folder.display())]
    Exists {
        /// The folder.
        folder: PathBuf,
    },
    /// There is no database, or none of ours.
    #[error("{database} holds no installation: give the settings of the control plane")]
    Empty {
        /// Its address, without a password.
        database: String,
    },
    /// The authority's key is not in the state folder.
    #[error(
        "the authority's key is {key} (--authority-key), which this does not copy: leave --with-authority out, and back it up where it is"
    )]
    AuthorityElsewhere {
        /// Where it is.
        key: KeySource,
    },
    /// The schema is of another version.
    #[error(
        "the schema of {database} is of another version of rr-control: make the backup with the version that runs on it"
    )]
    Schema {
        /// Its address, without a password.
        database: String,
    },
    /// The copy is not what was read.
    #[error("the copy of the database is damaged: {why}; check the disk")]
    Damaged {
        /// What SQLite says.
        why: String,
    },
    /// A file cannot be read or written.
    #[error("cannot write {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The new folder cannot be locked.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// A program of PostgreSQL's did not do its work.
    #[error(transparent)]
    Program(#[from] ProgramError),
    /// The audit chain of the database does not hold.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// The database cannot be read.
    #[error("cannot read the database")]
    Store(#[from] StoreError),
}

/// Makes a backup.
pub async fn backup(config: &Config, seams: &Seams, order: &BackupOrder) -> Result<BackupMade, BackupError> {
    // Without a slash at its end, behind which a name beside it would be one in it.
    let folder: PathBuf = order.folder.components().collect();
    let folder = folder.as_path();
    if folder.symlink_metadata().is_ok() {
        return Err(BackupError::Exists { folder: folder.to_owned() });
    }
    let in_folder = KeySource::File(config.state_dir.join(KEY_FILE));
    let elsewhere = config.authority_keys.iter().find(|key| **key != in_folder);
    if let Some(key) = elsewhere.filter(|_| order.with_authority) {
        return Err(BackupError::AuthorityElsewhere { key: key.clone() });
    }
    let database = config.database.to_string();
    if let DatabaseAddress::Sqlite(path) = &config.database
        && !path.exists()
    {
        return Err(BackupError::Empty { database });
    }
    let opened = Offline::open(&config.database).await?;
    let schema = opened.schema().await?;
    if schema.is_empty() {
        return Err(BackupError::Empty { database });
    }
    if !is_known(&schema) || schema.len() != known_schema().len() {
        return Err(BackupError::Schema { database });
    }
    if unfinished::is_on(&opened).await? {
        return Err(StoreError::Unfinished { database }.into());
    }
    leftover::remove(folder).map_err(failed(folder))?;
    let partial = beside(folder, &HEXLOWER.encode(&draw::<4>(&*seams.entropy)));
    let made = fill(config, seams, order, &opened, (&partial, schema)).await;
    let made = match made {
        Ok((made, lock)) => seams.disk.rename(&partial, folder).map_err(failed(folder)).map(|()| {
            // A backup is whole with it, too.
            drop((seams.disk.remove(&folder.join(LOCK)), lock));
            made
        }),
        Err(error) => Err(error),
    };
    if made.is_err() {
        // The first error is the one to tell.
        drop(std::fs::remove_dir_all(&partial));
    }
    opened.close().await?;
    made
}

/// Writes all files of a backup into a folder that nobody takes for one yet.
async fn fill(
    config: &Config,
    seams: &Seams,
    order: &BackupOrder,
    opened: &Offline,
    (partial, schema): (&Path, Vec<String>),
) -> Result<(BackupMade, FolderLock), BackupError> {
    let disk = &*seams.disk;
    disk.create_dir_all(partial).map_err(failed(partial))?;
    let lock = FolderLock::take(partial, LOCK, "backup")?;
    let engine = engine_of(&config.database);
    let file = partial.join(engine.file());
    // Made here, so that nobody else ever reads it.
    drop(disk.append(&file).map_err(failed(&file))?);
    let head = match &config.database {
        DatabaseAddress::Sqlite(_) => {
            opened.copy_into(&file).await?;
            whole(&file).await?
        }
        DatabaseAddress::Postgres(url) => {
            let program = Program { path: &order.pg_dump, flag: "pg-dump" };
            program.check(opened.server().await?)?;
            let (frozen, name) = opened.freeze().await?;
            let head = head_of(&frozen).await?.ok_or(StoreError::Damaged("head"))?;
            verify_chain(&frozen, &head).await?;
            let snapshot = format!("--snapshot={name}");
            let args = ["--format=custom", "--no-owner", "--no-privileges", &snapshot];
            program.dump(url, &args, &file)?;
            head
        }
    };
    disk.append(&file).and_then(|mut file| file.sync()).map_err(failed(&file))?;
    let mut names = vec![engine.file()];
    if order.with_authority {
        for name in AUTHORITY {
            let to = partial.join(name);
            manifest::copy(disk, &config.state_dir.join(name), &to).map_err(failed(&to))?;
            names.push(name);
        }
    }
    let files: Vec<Part> = names
        .into_iter()
        .map(|name| Part::of(disk, partial, name).map_err(failed(&partial.join(name))))
        .collect::<Result<_, _>>()?;
    let bytes = files.first().map_or(0, |part| part.bytes);
    let manifest = Manifest {
        format: FORMAT,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        made_at: DateTime::<Utc>::from(seams.clock.now()).to_rfc3339_opts(SecondsFormat::Secs, true),
        engine,
        schema,
        installation: head.installation.to_string(),
        lineage: HEXLOWER.encode(&head.lineage),
        revision: head.revision,
        audit: HEXLOWER.encode(&head.audit),
        files,
    };
    let path = partial.join(FILE);
    let text = serde_json::to_vec_pretty(&manifest).map_err(io::Error::from).map_err(failed(&path))?;
    disk.replace(&path, &text).map_err(failed(&path))?;
    let elsewhere = config.record_stores.keys().cloned().collect();
    let (lineage, digest) = (head.lineage, manifest::digest(&text));
    Ok((BackupMade { revision: head.revision, lineage, bytes, digest, elsewhere }, lock))
}

/// The head of a SQLite database in a file, once the file and the audit chain in it were checked.
async fn whole(file: &Path) -> Result<Head, BackupError> {
    let copy = Offline::open(&DatabaseAddress::Sqlite(file.to_owned())).await?;
    if let Some(why) = copy.damage().await? {
        return Err(BackupError::Damaged { why });
    }
    let head = checked(&copy).await?;
    copy.close().await?;
    Ok(head)
}

async fn checked(db: &impl Reader) -> Result<Head, BackupError> {
    let head = head_of(db).await?.ok_or(StoreError::Damaged("head"))?;
    verify_chain(db, &head).await?;
    Ok(head)
}

fn engine_of(database: &DatabaseAddress) -> Engine {
    match database {
        DatabaseAddress::Sqlite(_) => Engine::Sqlite,
        DatabaseAddress::Postgres(_) => Engine::Postgresql,
    }
}

/// A name beside a folder's that is no backup's.
fn beside(folder: &Path, random: &str) -> PathBuf {
    let mut name = folder.as_os_str().to_owned();
    name.push(format!("{}{random}", leftover::MARK));
    PathBuf::from(name)
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> BackupError {
    let path = path.to_owned();
    move |source| BackupError::File { path, source }
}

/// Whether this program knows each of these migrations.
fn is_known(schema: &[String]) -> bool {
    let known = known_schema();
    schema.iter().all(|it| known.contains(it))
}
