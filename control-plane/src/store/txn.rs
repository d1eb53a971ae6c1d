//! One transaction on a connection that writes: its begin, what it stages, and whether its commit was made.
//!
//! Knows nothing of groups and revisions. The invariant: a commit that is reported was made.

mod staged;

use std::sync::atomic::{AtomicBool, Ordering};

use sea_orm::{
    ConnectionTrait as _, DatabaseBackend, DatabaseTransaction, DbErr, SqliteTransactionMode,
    TransactionOptions, TransactionTrait as _,
};

use super::fence::Fence;
use super::witness::Watched;
use super::{Store, StoreError};

pub(crate) use staged::Put;
pub(super) use staged::{Staged, StagedChange};

/// An open transaction.
pub(crate) struct Txn {
    /// Dropped before the transaction lets go of its connection.
    watched: Watched,
    tx: DatabaseTransaction,
    pub(super) staged: Staged,
    now: i64,
    /// The newest revision; 0 where the head row is not held.
    head: u64,
    /// A statement was run since a write got its turn.
    asked: AtomicBool,
}

impl Store {
    pub(super) async fn begin(&self) -> Result<Txn, StoreError> {
        let tx = self
            .0
            .write
            .begin_with_options(TransactionOptions {
                // A deferred transaction that reads first fails at its first write when another wrote.
                sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
                ..Default::default()
            })
            .await
            .map_err(|error| {
                // Whatever is open on it, it is not ours to go on with. Where no connection was free, none is at fault,
                // and to open all of them anew would add to the load.
                if !matches!(error, DbErr::ConnectionAcquire(_)) {
                    self.0.witness.discard();
                }
                StoreError::statement("begin")(error)
            })?;
        let watched = self.0.witness.begun(tx.get_database_backend());
        let (staged, asked) = (Staged::default(), AtomicBool::new(false));
        Ok(Txn { watched, tx, staged, now: self.now(), head: 0, asked })
    }
}

impl Txn {
    /// The transaction, for queries of this module's neighbours.
    pub(super) fn tx(&self) -> &DatabaseTransaction {
        self.asked.store(true, Ordering::Relaxed);
        &self.tx
    }

    /// A write gets its turn, on top of a revision.
    pub(super) fn turn(&mut self, now: i64, head: u64) {
        (self.now, self.head) = (now, head);
        self.asked.store(false, Ordering::Relaxed);
    }

    /// When the write began; one time for all rows of it.
    pub(crate) fn now(&self) -> i64 {
        self.now
    }

    /// The newest revision before this write.
    pub(crate) fn head(&self) -> u64 {
        self.head
    }

    /// Whether the transaction can go on. Where a statement failed, PostgreSQL takes no further one of the transaction, and
    /// SQLite may have undone it.
    pub(super) async fn still_goes(&self) -> Result<(), StoreError> {
        if self.watched.is_undone() {
            return Err(StoreError::Undone);
        }
        if self.asked.load(Ordering::Relaxed) && self.tx.get_database_backend() == DatabaseBackend::Postgres {
            self.tx.execute_unprepared("SELECT 1").await.map_err(StoreError::statement("go on"))?;
        }
        Ok(())
    }

    /// Commits; an error where the database was not seen to do it.
    pub(super) async fn commit(self, fence: &Fence) -> Result<(), StoreError> {
        if self.watched.is_undone() {
            return Err(StoreError::Undone);
        }
        let Self { watched, tx, .. } = self;
        watched.commits();
        tx.commit().await.map_err(StoreError::Commit)?;
        if watched.committed() { Ok(()) } else { Err(fence.not_committed()) }
    }

    pub(super) async fn rollback(self) {
        let Self { watched, tx, .. } = self;
        match tx.rollback().await {
            Ok(()) => watched.ended(),
            // The connection is discarded with it, so nothing of it stays.
            Err(error) => tracing::debug!(%error, "rollback failed"),
        }
    }
}
