//! The database: SQLite or PostgreSQL, one schema, one way to write.
//!
//! Resources of every noun are documents in one table; [`write`] says how they are written and numbered. Decides
//! nothing about who may write what: that is the services' work.

pub(crate) mod account;
mod admission;
pub mod alone;
pub(crate) mod apply;
pub(crate) mod audit;
pub(crate) mod authority_root;
pub(crate) mod caller_use;
mod chain;
mod clickhouse;
pub(crate) mod clock;
pub(crate) mod cursor;
mod database_sink;
pub(crate) mod decision;
pub(crate) mod detail;
mod entity;
mod error;
mod fence;
pub(crate) mod history;
pub(crate) mod installation;
pub(crate) mod ledger;
pub(crate) mod level;
mod listen;
pub(crate) mod metrics;
mod migration;
pub(crate) mod node;
pub(crate) mod notification;
pub(crate) mod notification_seen;
mod offline;
mod outside_cursor;
mod record_address;
pub(crate) mod record_age;
mod record_database;
pub(crate) mod record_store;
pub(crate) mod record_stores;
pub(crate) mod region_attestation;
pub(crate) mod region_grant;
pub(crate) mod request;
pub(crate) mod resource;
pub(crate) mod retention;
mod row;
pub(crate) mod secret;
mod sink;
mod snapshot;
pub(crate) mod sums;
pub(crate) mod survey;
pub(crate) mod target_test;
pub(crate) mod token;
mod txn;
pub(crate) mod unfinished;
mod witness;
mod write;

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use rr_contract::runtime::{Stop, Tasks};
use rr_contract::seam::Clock;
use sea_orm::sqlx::postgres::PgConnectOptions;
use sea_orm::sqlx::sqlite::{SqliteJournalMode, SqliteSynchronous};
use sea_orm::{
    ConnectOptions, ConnectionTrait as _, Database, DatabaseBackend, DatabaseConnection, DbErr, RuntimeErr,
};
use sea_orm_migration::MigratorTrait;
use tokio::sync::watch;

pub use chain::ChainError;
pub use error::{Broken, StoreError};

pub(crate) use admission::{Admission, AgreedRemovals, Consent, Proposed};

pub(crate) use chain::{entry_of, verify as verify_chain};
pub use clickhouse::{ClickHouseAddress, InvalidClickHouse};
pub(crate) use entity::change as change_row;
pub(crate) use entity::crash as crash_row;
pub(crate) use entity::node as node_row;
pub(crate) use entity::node_token as node_token_row;
pub(crate) use entity::region_state as region_state_row;
pub(crate) use entity::request_record as request_row;
pub(crate) use entity::resource as resource_row;
pub(crate) use entity::revision as revision_row;
pub(crate) use entity::secret as secret_row;
pub(crate) use entity::token as token_row;
pub(crate) use error::{NotAdmitted, Obstacle};
pub(crate) use installation::{Head, head as head_of};
pub(crate) use offline::{Offline, known_schema};
pub use record_address::{InvalidRecordAddress, RecordAddress};
pub(crate) use record_store::RecordStore;
pub(crate) use record_stores::RecordStores;
pub(crate) use resource::Stored;
pub(crate) use row::{Reader, is_text};
pub(crate) use txn::{Put, Txn};
pub(crate) use write::{Author, Written, audit_change};

use fence::Fence;
use witness::Witness;

/// Whether another has this database open.
const IN_USE: &str = "SELECT 1 AS \"one\" FROM pg_stat_activity WHERE application_name = 'rr-control' AND datname = current_database() LIMIT 1";

/// How long a statement, or the wait for a lock, may take on PostgreSQL.
const STATEMENT_LIMIT: Duration = Duration::from_secs(10);
/// How long to wait for a connection of the pool.
const ACQUIRE_LIMIT: Duration = Duration::from_secs(10);

/// Where the database is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DatabaseAddress {
    /// A file beside us.
    Sqlite(PathBuf),
    /// A server.
    Postgres(String),
}

/// A text that is no address of a database.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a database: write sqlite://path or postgres://user@host/name")]
pub struct InvalidDatabase;

impl FromStr for DatabaseAddress {
    type Err = InvalidDatabase;

    fn from_str(text: &str) -> Result<Self, InvalidDatabase> {
        if let Some(path) = text.strip_prefix("sqlite://") {
            if path.is_empty() {
                return Err(InvalidDatabase);
            }
            return Ok(Self::Sqlite(PathBuf::from(path)));
        }
        if text.starts_with("postgres://") || text.starts_with("postgresql://") {
            return Ok(Self::Postgres(text.to_owned()));
        }
        Err(InvalidDatabase)
    }
}

impl std::fmt::Display for DatabaseAddress {
    /// Without user and password, for logs and errors.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Sqlite(path) => write!(f, "sqlite://{}", path.display()),
            Self::Postgres(url) => {
                let rest = url.split_once("://").map_or(url.as_str(), |(_, rest)| rest);
                let rest = rest.split_once('?').map_or(rest, |(rest, _)| rest);
                write!(f, "postgres://{}", rest.rsplit_once('@').map_or(rest, |(_, host)| host))
            }
        }
    }
}

/// The database. Clones share it.
#[derive(Clone)]
pub(crate) struct Store(Arc<Inner>);

struct Inner {
    /// SQLite: one connection, so that writers queue instead of fighting for the lock.
    write: DatabaseConnection,
    read: DatabaseConnection,
    /// How many statements were read with.
    #[cfg(test)]
    reads: Arc<std::sync::atomic::AtomicU64>,
    /// What is known of the connections that write.
    witness: Witness,
    fence: Fence,
    clock: Arc<dyn Clock>,
    tasks: Tasks,
    /// The newest revision that this process committed; wakes the publisher.
    committed: watch::Sender<u64>,
    /// Where writes wait for their turn.
    queue: write::Queue,
    /// Asked before a write is flushed.
    admission: OnceLock<Weak<dyn Admission>>,
    address: DatabaseAddress,
}

/// What a database holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Schema {
    Central,
    /// The same, for who ends a restore.
    Restored,
    /// Records of requests, sums of them and cursors of spools alone.
    Records,
}

impl Store {
    /// Opens the database and brings its schema up to date.
    pub(crate) async fn open(
        address: &DatabaseAddress,
        clock: Arc<dyn Clock>,
        tasks: Tasks,
        stop: Stop,
    ) -> Result<Self, StoreError> {
        let (store, waiting) = Self::connect(address, clock, tasks.clone(), Schema::Central).await?;
        tasks.spawn("store-writes", store.clone().run_writes(waiting, stop));
        Ok(store)
    }

    /// The same of a database that a backup was brought into.
    pub(crate) async fn open_restored(
        address: &DatabaseAddress,
        clock: Arc<dyn Clock>,
        tasks: Tasks,
        stop: Stop,
    ) -> Result<Self, StoreError> {
        let (store, waiting) = Self::connect(address, clock, tasks.clone(), Schema::Restored).await?;
        tasks.spawn("store-writes", store.clone().run_writes(waiting, stop));
        Ok(store)
    }

    /// The same without the task that writes revisions.
    async fn connect(
        address: &DatabaseAddress,
        clock: Arc<dyn Clock>,
        tasks: Tasks,
        schema: Schema,
    ) -> Result<(Self, write::Waiting), StoreError> {
        let opened = |source: DbErr| StoreError::Open { database: address.to_string(), source };
        if let DatabaseAddress::Postgres(url) = address {
            // A pool only says that it waited in vain; one connection says why.
            reach(url).await.map_err(&opened)?;
        }
        let (witness, reading) = (Witness::default(), Witness::default());
        let (mut to_write, mut to_read) = (options(address, false), options(address, true));
        witness.watch(&mut to_write);
        reading.watch(&mut to_read);
        let write = Database::connect(to_write).await.map_err(&opened)?;
        migrate(address, &write, schema).await?;
        let read = Database::connect(to_read).await.map_err(&opened)?;
        #[cfg(test)]
        let (read, reads) = tests::counted(read);
        let (committed, _) = watch::channel(0);
        let (queue, waiting) = write::queue();
        let store = Self(Arc::new(Inner {
            write,
            read,
            #[cfg(test)]
            reads,
            witness,
            fence: Fence::new(address.to_string()),
            clock,
            tasks,
            committed,
            queue,
            admission: OnceLock::new(),
            address: address.clone(),
        }));
        Ok((store, waiting))
    }

    /// The newest revision that this process committed, or heard of.
    pub(crate) fn newest_committed(&self) -> u64 {
        *self.0.committed.borrow()
    }

    /// Follows the revisions that this process commits. Others' are found by asking.
    pub(crate) fn committed(&self) -> watch::Receiver<u64> {
        self.0.committed.subscribe()
    }

    /// Waits until no writes are taken any more, because the database lost what was acknowledged.
    pub(crate) async fn broken(&self) -> Broken {
        self.0.fence.broken().await
    }

    /// Who is asked before a write is flushed, from now on.
    pub(crate) fn admit_by(&self, admission: Weak<dyn Admission>) {
        if self.0.admission.set(admission).is_err() {
            tracing::error!("admission of writes was set a second time; the first stays");
        }
    }

    /// Microseconds since 1970, as rows have it.
    pub(crate) fn now(&self) -> i64 {
        micros(self.0.clock.now())
    }

    /// Closes all connections, once what runs on them has ended.
    pub(crate) async fn close(&self) {
        for pool in [&self.0.write, &self.0.read] {
            if let Err(error) = pool.clone().close().await {
                tracing::warn!(%error, database = %self.0.address, "cannot close the connections of the database");
            }
        }
    }

    fn fence(&self) -> &Fence {
        &self.0.fence
    }

    fn reader(&self) -> &DatabaseConnection {
        &self.0.read
    }
}

/// Microseconds since 1970.
pub(crate) fn micros(time: std::time::SystemTime) -> i64 {
    let since = time.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

/// Microseconds since 1970, as a time.
pub(crate) fn time_of(micros: i64) -> std::time::SystemTime {
    std::time::UNIX_EPOCH + Duration::from_micros(u64::try_from(micros).unwrap_or(0))
}

/// How connections are made that write, or that only read.
fn options(address: &DatabaseAddress, reads_only: bool) -> ConnectOptions {
    match address {
        DatabaseAddress::Sqlite(path) => sqlite(path, reads_only),
        DatabaseAddress::Postgres(url) => postgres(url),
    }
}

fn sqlite(path: &Path, reads_only: bool) -> ConnectOptions {
    let mut options = ConnectOptions::new("sqlite://");
    let path = path.to_owned();
    options
        .max_connections(if reads_only { 4 } else { 1 })
        .min_connections(1)
        .acquire_timeout(ACQUIRE_LIMIT)
        .sqlx_logging(false)
        .map_sqlx_sqlite_opts(move |options| {
            options
                // Not in the URL, which would read a `?` or `%` in a path as its own.
                .filename(&path)
                .create_if_missing(true)
                .journal_mode(SqliteJournalMode::Wal)
                .synchronous(SqliteSynchronous::Full)
                .foreign_keys(true)
                .busy_timeout(Duration::from_secs(5))
                .pragma("query_only", if reads_only { "1" } else { "0" })
        });
    options
}

fn postgres(url: &str) -> ConnectOptions {
    let mut options = ConnectOptions::new(url);
    let limit = STATEMENT_LIMIT.as_millis().to_string();
    options.max_connections(8).acquire_timeout(ACQUIRE_LIMIT).sqlx_logging(false).map_sqlx_postgres_opts(
        move |options| {
            options.application_name("rr-control").options([
                ("statement_timeout", limit.as_str()),
                ("lock_timeout", limit.as_str()),
                // A write is acknowledged after its commit is on the server's disk, whatever the server's default.
                ("synchronous_commit", "on"),
                // Compiling takes longer than any of these statements gains by it.
                ("jit", "off"),
            ])
        },
    );
    options
}

async fn reach(url: &str) -> Result<(), DbErr> {
    use sea_orm::sqlx::{ConnectOptions as _, Connection as _};

    let failed = |error| DbErr::Conn(RuntimeErr::SqlxError(Arc::new(error)));
    let options: PgConnectOptions = url.parse().map_err(failed)?;
    options.connect().await.map_err(failed)?.close().await.map_err(failed)
}

/// Whether a control plane is connected to a database on a server.
pub(crate) async fn is_in_use(url: &str) -> Result<bool, StoreError> {
    let opened =
        |source| StoreError::Open { database: DatabaseAddress::Postgres(url.to_owned()).to_string(), source };
    let mut options = ConnectOptions::new(url);
    options.max_connections(1).acquire_timeout(ACQUIRE_LIMIT).sqlx_logging(false).map_sqlx_postgres_opts(
        // Not the name that is looked for.
        |options| options.application_name("rr-control restore"),
    );
    let database = Database::connect(options).await.map_err(opened)?;
    let statement = sea_orm::Statement::from_string(DatabaseBackend::Postgres, IN_USE);
    let found = database.query_one_raw(statement).await.map_err(StoreError::statement("look for others"));
    database.close().await.map_err(StoreError::statement("close"))?;
    Ok(found?.is_some())
}

async fn migrate(
    address: &DatabaseAddress,
    write: &DatabaseConnection,
    schema: Schema,
) -> Result<(), StoreError> {
    if schema == Schema::Central && unfinished::is_set(write).await? {
        return Err(StoreError::Unfinished { database: address.to_string() });
    }
    let migrated = match schema {
        Schema::Central | Schema::Restored => migration::Migrator::up(write, None).await,
        Schema::Records => migration::RecordMigrator::up(write, None).await,
    };
    migrated.map_err(|source| StoreError::Migrate { database: address.to_string(), source })
}

#[cfg(test)]
mod tests;
