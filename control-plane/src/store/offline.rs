//! A database as it lies there: read by one connection, beside a control plane or without one.
//!
//! Migrates nothing, writes no row and runs no task of a store. The invariant: what it reads is one state, that of a copy
//! or of one transaction.

use std::path::Path;
use std::time::Duration;

use sea_orm::sqlx::sqlite::SqliteConnectOptions;
use sea_orm::{
    AccessMode, ConnectOptions, ConnectionTrait, Database, DatabaseBackend, DatabaseConnection,
    DatabaseTransaction, FromQueryResult, IsolationLevel, Statement, TransactionTrait as _,
};
use sea_orm_migration::{MigratorTrait as _, SchemaManager};

use super::row::Reader;
use super::{DatabaseAddress, StoreError, migration};

/// How long to wait for a writer of SQLite.
const BUSY: Duration = Duration::from_secs(60);
/// What a statement is called in an error.
const LOOK: &str = "read the schema of the database";

/// An open database.
pub(crate) struct Offline {
    db: DatabaseConnection,
}

/// One state of it, whatever others commit meanwhile.
pub(crate) struct Frozen(DatabaseTransaction);

impl Reader for Offline {
    fn conn(&self) -> &impl ConnectionTrait {
        &self.db
    }
}

impl Reader for Frozen {
    fn conn(&self) -> &impl ConnectionTrait {
        &self.0
    }
}

#[derive(FromQueryResult)]
struct Version {
    version: String,
}

#[derive(FromQueryResult)]
struct Name {
    name: String,
}

impl Offline {
    /// Opens a database that is there.
    pub(crate) async fn open(address: &DatabaseAddress) -> Result<Self, StoreError> {
        let opened = |source| StoreError::Open { database: address.to_string(), source };
        let options = match address {
            DatabaseAddress::Sqlite(path) => sqlite(path),
            DatabaseAddress::Postgres(url) => postgres(url),
        };
        Ok(Self { db: Database::connect(options).await.map_err(opened)? })
    }

    /// The migrations that made its schema, in order; none in a database without one of ours.
    pub(crate) async fn schema(&self) -> Result<Vec<String>, StoreError> {
        let manager = SchemaManager::new(&self.db);
        if !manager.has_table("seaql_migrations").await.map_err(StoreError::statement(LOOK))? {
            return Ok(Vec::new());
        }
        let statement = "SELECT version FROM seaql_migrations ORDER BY applied_at, version";
        let found = Version::find_by_statement(self.statement(statement)).all(&self.db).await;
        let found = found.map_err(StoreError::statement(LOOK))?;
        Ok(found.into_iter().map(|row| row.version).collect())
    }

    /// Writes one state of a SQLite database into an empty file.
    pub(crate) async fn copy_into(&self, file: &Path) -> Result<(), StoreError> {
        let file = file.to_string_lossy().into_owned();
        let statement =
            Statement::from_sql_and_values(DatabaseBackend::Sqlite, "VACUUM INTO ?", [file.into()]);
        self.db.execute_raw(statement).await.map_err(StoreError::statement("copy the database"))?;
        Ok(())
    }

    /// For what is looked for or marked in its schema.
    pub(super) const fn connection(&self) -> &DatabaseConnection {
        &self.db
    }

    /// Puts what is in the log of a SQLite database into its file, which is all of it then.
    pub(crate) async fn fold_log(&self) -> Result<(), StoreError> {
        let folded = self.db.execute_unprepared("PRAGMA journal_mode = DELETE").await;
        folded.map_err(StoreError::statement("fold the log of the database"))?;
        Ok(())
    }

    /// What SQLite finds wrong with its file; nothing where it is whole.
    pub(crate) async fn damage(&self) -> Result<Option<String>, StoreError> {
        let statement = "SELECT integrity_check AS name FROM pragma_integrity_check LIMIT 1";
        let found = Name::find_by_statement(self.statement(statement)).one(&self.db).await;
        let found = found.map_err(StoreError::statement("check the file of the database"))?;
        Ok(found.map(|row| row.name).filter(|said| said != "ok"))
    }

    /// One state of a database on a server, and the name by which another connection sees it.
    pub(crate) async fn freeze(&self) -> Result<(Frozen, String), StoreError> {
        let failed = "read one state of the database";
        let (isolation, access) = (Some(IsolationLevel::RepeatableRead), Some(AccessMode::ReadOnly));
        let begun = self.db.begin_with_config(isolation, access).await;
        let frozen = Frozen(begun.map_err(StoreError::statement(failed))?);
        let statement = self.statement("SELECT pg_export_snapshot() AS name");
        let found = Name::find_by_statement(statement).one(&frozen.0).await;
        let found = found.map_err(StoreError::statement(failed))?.ok_or(StoreError::Damaged("snapshot"))?;
        Ok((frozen, found.name))
    }

    /// The major version of a server.
    pub(crate) async fn server(&self) -> Result<u32, StoreError> {
        let statement = self.statement("SELECT current_setting('server_version_num') AS name");
        let found = Name::find_by_statement(statement).one(&self.db).await;
        let found = found.map_err(StoreError::statement("ask the server for its version"))?;
        let number =
            found.and_then(|row| row.name.parse::<u32>().ok()).ok_or(StoreError::Damaged("version"))?;
        Ok(number / 10_000)
    }

    pub(crate) async fn close(self) -> Result<(), StoreError> {
        self.db.close().await.map_err(StoreError::statement("close"))
    }

    fn statement(&self, text: &str) -> Statement {
        Statement::from_string(self.db.get_database_backend(), text)
    }
}

/// The migrations that this program knows.
pub(crate) fn known_schema() -> Vec<String> {
    migration::Migrator::migrations().iter().map(|migration| migration.name().to_owned()).collect()
}

fn sqlite(path: &Path) -> ConnectOptions {
    let mut options = ConnectOptions::new("sqlite://");
    let path = path.to_owned();
    options.max_connections(1).sqlx_logging(false).map_sqlx_sqlite_opts(move |_| {
        // No journal mode: a copy stays the one file that it is.
        SqliteConnectOptions::new().filename(&path).create_if_missing(false).busy_timeout(BUSY)
    });
    options
}

fn postgres(url: &str) -> ConnectOptions {
    let mut options = ConnectOptions::new(url);
    options.max_connections(1).sqlx_logging(false).map_sqlx_postgres_opts(|options| {
        // Not the name by which a running control plane is looked for. The state is held while another program reads it.
        options
            .application_name("rr-control backup")
            .options([("statement_timeout", "0"), ("idle_in_transaction_session_timeout", "0")])
    });
    options
}
