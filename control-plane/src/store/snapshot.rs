//! One consistent reading by several queries: what others commit meanwhile is in none of them.
//!
//! Writes nothing. The invariant: every query of a snapshot sees the database as its first query found it.

use sea_orm::{
    ConnectionTrait, DatabaseBackend, DatabaseTransaction, IsolationLevel, TransactionOptions,
    TransactionTrait as _,
};

use super::row::Reader;
use super::{Store, StoreError};

/// Holds a connection of the pool for reading; ends when it is dropped.
pub(crate) struct Snapshot(DatabaseTransaction);

impl Store {
    pub(crate) async fn snapshot(&self) -> Result<Snapshot, StoreError> {
        let postgres = self.reader().get_database_backend() == DatabaseBackend::Postgres;
        let options = TransactionOptions {
            // SQLite reads one snapshot anyway.
            isolation_level: postgres.then_some(IsolationLevel::RepeatableRead),
            ..TransactionOptions::default()
        };
        let tx = self.reader().begin_with_options(options).await.map_err(StoreError::statement("begin"))?;
        Ok(Snapshot(tx))
    }
}

impl Snapshot {
    /// Gives the connection back now, and says whether that went well.
    pub(crate) async fn end(self) -> Result<(), StoreError> {
        self.0.rollback().await.map_err(StoreError::statement("end reading"))
    }
}

impl Reader for Snapshot {
    fn conn(&self) -> &impl ConnectionTrait {
        &self.0
    }
}
