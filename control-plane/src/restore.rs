//! `rr-control restore`: brings a backup back, or takes a database that was brought back by other means.
//!
//! The history goes on under another name, so that no node takes what it had seen revoked for news, and no node is
//! told anything before a person decided. Changes nothing else. The invariant: no history gets another name whose audit
//! chain does not hold, unless a person said so; and until it has that name, no control plane starts on a backup.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rr_contract::runtime::{LockError, Shutdown, Tasks};
use rr_contract::seam::Seams;

use crate::app::control_lock;
use crate::backup::{BringBackError, Source, Staged, stage};
use crate::config::Config;
use crate::store::{
    self, ChainError, DatabaseAddress, Offline, Store, StoreError, decision, head_of, unfinished,
    verify_chain,
};

/// As the audit has it.
const CALL: &str = "rr-control restore";
/// How long what is written may take to end.
const LAST_WRITES: Duration = Duration::from_secs(10);

/// What is restored.
#[derive(Debug, Clone, Default)]
pub struct RestoreOrder {
    /// The folder of a backup; none where the database is there already.
    pub folder: Option<PathBuf>,
    /// The program that fills a database on a server.
    pub pg_restore: PathBuf,
    /// Goes on although the audit chain does not hold.
    pub accept_audit: bool,
    /// The digest that the manifest of the backup has to have, in hex.
    pub expect_digest: Option<String>,
}

/// Why nothing was done.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// A control plane runs on the state folder.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The state folder cannot be made.
    #[error("cannot make the state folder {}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// A control plane runs on the database.
    #[error("a control plane is connected to {database}; stop every replica first")]
    InUse {
        /// Its address, without a password.
        database: String,
    },
    /// A control plane may still be running on the database: it was a moment ago.
    #[error(
        "a control plane served nodes from this database a moment ago; stop every replica, and try again in {seconds} s"
    )]
    Leased {
        /// After which its word on them has ended.
        seconds: u64,
    },
    /// There is no database, or none of ours.
    #[error("{database} holds no installation: restore the backup first, or name its folder")]
    Empty {
        /// Its address, without a password.
        database: String,
    },
    /// The backup cannot be brought back.
    #[error(transparent)]
    Backup(#[from] BringBackError),
    /// The history in the database was changed, or a part of it is missing.
    #[error("{cause}; use another backup, or give --accept-audit to go on with this history as it is")]
    Audit {
        /// Where; part of the text, so no source.
        cause: ChainError,
    },
    /// The database cannot be used.
    #[error("cannot use the database")]
    Store(#[from] StoreError),
}

/// What was and what is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Restored {
    /// The lineage before.
    pub was: [u8; 16],
    /// The lineage from now on.
    pub lineage: [u8; 16],
    /// The newest revision of the backup.
    pub newest: u64,
    /// The revision that this became.
    pub revision: u64,
    /// The authority came with the backup. None where no folder of one was named.
    pub authority: Option<bool>,
}

/// Brings a database back where a backup was named, and gives its history another name.
pub async fn restore(config: &Config, seams: &Seams, order: &RestoreOrder) -> Result<Restored, RestoreError> {
    let database = config.database.to_string();
    let _lock = match &config.database {
        DatabaseAddress::Sqlite(path) => {
            if order.folder.is_none() && !path.exists() {
                return Err(RestoreError::Empty { database });
            }
            make_state_folder(config, seams)?;
            Some(control_lock(&config.state_dir)?)
        }
        DatabaseAddress::Postgres(url) => {
            if store::is_in_use(url).await? {
                return Err(RestoreError::InUse { database });
            }
            make_state_folder(config, seams)?;
            None
        }
    };
    let staged = match &order.folder {
        Some(folder) => {
            let (digest, pg_restore) = (order.expect_digest.as_deref(), order.pg_restore.as_path());
            Some(stage(config, seams, &Source { folder, digest, pg_restore }).await?)
        }
        None => None,
    };
    let address = staged.as_ref().map_or(&config.database, Staged::address);
    let is_kept = match (&staged, address) {
        (None, DatabaseAddress::Postgres(_)) => {
            let opened = Offline::open(address).await?;
            let is_unfinished = unfinished::is_on(&opened).await?;
            opened.close().await?;
            is_unfinished
        }
        (staged, _) => staged.is_some(),
    };
    let done = go_on((address, is_kept), seams, order, staged.as_ref(), database).await;
    let done = match (done, &staged) {
        (Ok(done), Some(staged)) => {
            let placed = staged.put_in_place(config, &*seams.disk).await;
            placed.map(|()| done).map_err(RestoreError::from)
        }
        (Ok(done), None) => {
            if matches!(address, DatabaseAddress::Postgres(_)) {
                unfinished::clear(address).await?;
            }
            Ok(done)
        }
        (Err(error), _) => Err(error),
    };
    if let (Err(_), Some(staged)) = (&done, &staged) {
        staged.discard(&*seams.disk);
    }
    done
}

/// Checks a database and gives its history another name, where it lies now. `is_kept`: control planes were kept out since it
/// was put there.
async fn go_on(
    (address, is_kept): (&DatabaseAddress, bool),
    seams: &Seams,
    order: &RestoreOrder,
    staged: Option<&Staged>,
    database: String,
) -> Result<Restored, RestoreError> {
    let (shutdown, tasks) = (Shutdown::new(), Tasks::new());
    let clock = Arc::clone(&seams.clock);
    let store = Store::open_restored(address, clock, tasks.clone(), shutdown.stop()).await?;
    if is_kept {
        // Nobody runs on what was put there just now, whatever it says of those that ran when it was copied.
        decision::end_leases(&store).await?;
    }
    let done = rename(&store, seams, order, staged, database).await;
    shutdown.begin();
    tasks.wait(LAST_WRITES).await;
    store.close().await;
    done
}

fn make_state_folder(config: &Config, seams: &Seams) -> Result<(), RestoreError> {
    let path = &config.state_dir;
    let failed = |source| RestoreError::Folder { path: path.clone(), source };
    seams.disk.create_dir_all(path).map_err(failed)
}

async fn rename(
    store: &Store,
    seams: &Seams,
    order: &RestoreOrder,
    brought: Option<&Staged>,
    database: String,
) -> Result<Restored, RestoreError> {
    let Some(head) = head_of(store).await? else { return Err(RestoreError::Empty { database }) };
    match brought {
        Some(brought) => brought.compare(&head)?,
        None => {
            if let Some(until) = decision::leased_until(store).await? {
                let left = u64::try_from(until - store.now()).unwrap_or_default();
                return Err(RestoreError::Leased { seconds: left.div_ceil(1_000_000) });
            }
        }
    }
    if !order.accept_audit {
        match verify_chain(store, &head).await {
            Ok(()) => {}
            Err(ChainError::Store(error)) => return Err(error.into()),
            Err(cause) => return Err(RestoreError::Audit { cause }),
        }
    }
    match store.rename_history(CALL, &*seams.entropy).await? {
        Some((before, after)) => Ok(Restored {
            was: before.lineage,
            lineage: after.lineage,
            newest: before.revision,
            revision: after.revision,
            authority: brought.map(Staged::has_authority),
        }),
        None => Err(RestoreError::Empty { database }),
    }
}
