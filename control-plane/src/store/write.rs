//! One write: its transaction, what it publishes, and the revision that it becomes.
//!
//! The invariant: a revision, its changes and the rows behind them are committed together or not at all,
//! and no two transactions hold the same number.

use std::collections::BTreeMap;

use futures_util::future::BoxFuture;
use rr_contract::digest::resource_hash;
use rr_contract::model::resource::Key;
use sea_orm::sea_query::{Expr, ExprTrait as _, OnConflict};
use sea_orm::{
    ActiveValue::Set, ColumnTrait as _, DatabaseTransaction, EntityTrait as _, QueryFilter as _,
    SqliteTransactionMode, TransactionOptions, TransactionTrait as _,
};

use super::entity::{blob, change, head, resource, revision};
use super::{Store, StoreError};

/// Who writes, and by which call.
#[derive(Debug, Clone)]
pub(crate) struct Author {
    /// Token id.
    pub(crate) token: String,
    /// As `ProxyService.CreateProxy`.
    pub(crate) call: &'static str,
}

/// What a write answered, and the revision that it became; none when it published nothing.
#[derive(Debug)]
pub(crate) struct Written<T> {
    pub(crate) value: T,
    pub(crate) revision: Option<u64>,
}

/// An open transaction.
pub(crate) struct Txn {
    tx: DatabaseTransaction,
    staged: BTreeMap<Key, Option<Vec<u8>>>,
    now: i64,
}

impl Txn {
    /// The transaction, for queries of this module's neighbours.
    pub(super) fn tx(&self) -> &DatabaseTransaction {
        &self.tx
    }

    /// When the write began; one time for all rows of it.
    pub(crate) fn now(&self) -> i64 {
        self.now
    }

    /// Publishes a resource with this write.
    pub(crate) fn publish(&mut self, key: Key, payload: Vec<u8>) {
        self.staged.insert(key, Some(payload));
    }

    /// Takes a resource back with this write.
    pub(crate) fn withdraw(&mut self, key: Key) {
        self.staged.insert(key, None);
    }
}

impl Store {
    /// Runs `work` as one transaction, in a task that goes on when the caller does not wait any longer.
    pub(crate) async fn write<T, E, F>(&self, author: Author, work: F) -> Result<Written<T>, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
        F: for<'a> FnOnce(&'a mut Txn) -> BoxFuture<'a, Result<T, E>> + Send + 'static,
    {
        let store = self.clone();
        let task = self.0.tasks.spawn("store-write", async move { store.transact(author, work).await });
        match task.await {
            Ok(result) => result,
            Err(_gone) => Err(StoreError::Lost.into()),
        }
    }

    async fn transact<T, E, F>(&self, author: Author, work: F) -> Result<Written<T>, E>
    where
        E: From<StoreError>,
        F: for<'a> FnOnce(&'a mut Txn) -> BoxFuture<'a, Result<T, E>>,
    {
        let tx = self
            .0
            .write
            .begin_with_options(TransactionOptions {
                // A deferred transaction that reads first fails at its first write when another wrote.
                sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
                ..Default::default()
            })
            .await
            .map_err(StoreError::statement("begin"))?;
        let mut txn = Txn { tx, staged: BTreeMap::new(), now: self.now() };
        let finished = match work(&mut txn).await {
            Ok(value) => match txn.seal(&author).await {
                Ok(revision) => Ok((value, revision)),
                Err(error) => Err(error.into()),
            },
            Err(error) => Err(error),
        };
        let (value, revision) = match finished {
            Ok(finished) => finished,
            Err(error) => {
                if let Err(error) = txn.tx.rollback().await {
                    // The connection is discarded with it, so nothing of it stays.
                    tracing::debug!(%error, "rollback failed");
                }
                return Err(error);
            }
        };
        txn.tx.commit().await.map_err(StoreError::Commit)?;
        if let Some(revision) = revision {
            self.0.committed.send_if_modified(|newest| {
                let newer = revision > *newest;
                if newer {
                    *newest = revision;
                }
                newer
            });
        }
        Ok(Written { value, revision })
    }
}

impl Txn {
    /// Writes what was staged under the next revision. The head row is the last lock taken.
    async fn seal(&mut self, author: &Author) -> Result<Option<u64>, StoreError> {
        let staged = std::mem::take(&mut self.staged);
        if staged.is_empty() {
            return Ok(None);
        }
        let mut blobs = BTreeMap::new();
        let mut rows = Vec::with_capacity(staged.len());
        for (key, payload) in staged {
            let hash = payload.map(|payload| {
                let hash = resource_hash(&payload).to_vec();
                blobs.insert(hash.clone(), payload);
                hash
            });
            rows.push((key, hash));
        }
        self.put_blobs(blobs).await?;
        let rev = self.next_revision().await?;
        revision::Entity::insert(revision::ActiveModel {
            rev: Set(rev),
            at: Set(self.now),
            author: Set(author.token.clone()),
            call: Set(author.call.to_owned()),
        })
        .exec_without_returning(&self.tx)
        .await
        .map_err(StoreError::statement("write revision"))?;
        self.put_changes(rev, rows).await?;
        Ok(Some(u64::try_from(rev).map_err(|_| StoreError::Damaged("head"))?))
    }

    async fn put_blobs(&self, blobs: BTreeMap<Vec<u8>, Vec<u8>>) -> Result<(), StoreError> {
        if blobs.is_empty() {
            return Ok(());
        }
        let rows = blobs
            .into_iter()
            .map(|(hash, payload)| blob::ActiveModel { hash: Set(hash), payload: Set(payload) });
        blob::Entity::insert_many(rows)
            .on_conflict(OnConflict::column(blob::Column::Hash).do_nothing().to_owned())
            .exec_without_returning(&self.tx)
            .await
            .map_err(StoreError::statement("write payloads"))?;
        Ok(())
    }

    async fn next_revision(&self) -> Result<i64, StoreError> {
        let rows = head::Entity::update_many()
            // Typed: prepared statements are cached by their text alone.
            .col_expr(head::Column::Head, Expr::col(head::Column::Head).add(1_i64))
            .filter(head::Column::Id.eq(1_i32))
            .exec_with_returning(&self.tx)
            .await
            .map_err(StoreError::statement("take revision"))?;
        rows.first().map(|row| row.head).ok_or(StoreError::Damaged("head"))
    }

    async fn put_changes(&self, rev: i64, rows: Vec<(Key, Option<Vec<u8>>)>) -> Result<(), StoreError> {
        let failed = || StoreError::statement("write changes");
        for (key, hash) in &rows {
            match hash {
                Some(hash) => {
                    resource::Entity::insert(resource::ActiveModel {
                        kind: Set(key.kind().into()),
                        id: Set(key.id_text()),
                        org: Set(key.org.to_string()),
                        rev: Set(rev),
                        hash: Set(hash.clone()),
                    })
                    .on_conflict(
                        OnConflict::columns([resource::Column::Kind, resource::Column::Id])
                            .update_columns([resource::Column::Rev, resource::Column::Hash])
                            .to_owned(),
                    )
                    .exec_without_returning(&self.tx)
                    .await
                    .map_err(failed())?;
                }
                None => {
                    resource::Entity::delete_by_id((key.kind().into(), key.id_text()))
                        .exec(&self.tx)
                        .await
                        .map_err(failed())?;
                }
            }
        }
        change::Entity::insert_many(rows.into_iter().map(|(key, hash)| change::ActiveModel {
            rev: Set(rev),
            kind: Set(key.kind().into()),
            id: Set(key.id_text()),
            org: Set(key.org.to_string()),
            hash: Set(hash),
        }))
        .exec_without_returning(&self.tx)
        .await
        .map_err(failed())?;
        Ok(())
    }
}
