//! `rr-control restore`: for a database that was brought back from a backup.
//!
//! The history goes on under another name, so that no node takes what it had seen revoked for news, and no node is
//! told anything before a person decided. Changes nothing else.

use std::sync::Arc;
use std::time::Duration;

use rr_contract::runtime::{LockError, Shutdown, Tasks};
use rr_contract::seam::Seams;

use crate::app::control_lock;
use crate::config::Config;
use crate::store::{self, DatabaseAddress, Store, StoreError, decision};

/// As the audit has it.
const CALL: &str = "rr-control restore";
/// How long what is written may take to end.
const LAST_WRITES: Duration = Duration::from_secs(10);

/// Why nothing was done.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// A control plane runs on the state folder.
    #[error(transparent)]
    Lock(#[from] LockError),
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
    #[error("{database} holds no installation: restore the backup first")]
    Empty {
        /// Its address, without a password.
        database: String,
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
}

/// Gives the history of a restored database another name.
pub async fn restore(config: &Config, seams: &Seams) -> Result<Restored, RestoreError> {
    let database = config.database.to_string();
    let _lock = match &config.database {
        DatabaseAddress::Sqlite(path) => {
            if !path.exists() {
                return Err(RestoreError::Empty { database });
            }
            Some(control_lock(&config.state_dir)?)
        }
        DatabaseAddress::Postgres(url) => {
            if store::is_in_use(url).await? {
                return Err(RestoreError::InUse { database });
            }
            None
        }
    };
    let (shutdown, tasks) = (Shutdown::new(), Tasks::new());
    let store =
        Store::open(&config.database, Arc::clone(&seams.clock), tasks.clone(), shutdown.stop()).await?;
    let done = rename(&store, seams, database).await;
    shutdown.begin();
    tasks.wait(LAST_WRITES).await;
    store.close().await;
    done
}

async fn rename(store: &Store, seams: &Seams, database: String) -> Result<Restored, RestoreError> {
    if let Some(until) = decision::leased_until(store).await? {
        let left = u64::try_from(until - store.now()).unwrap_or_default();
        return Err(RestoreError::Leased { seconds: left.div_ceil(1_000_000) });
    }
    match store.rename_history(CALL, &*seams.entropy).await? {
        Some((before, after)) => Ok(Restored {
            was: before.lineage,
            lineage: after.lineage,
            newest: before.revision,
            revision: after.revision,
        }),
        None => Err(RestoreError::Empty { database }),
    }
}
