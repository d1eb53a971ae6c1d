//! SQLite or PostgreSQL as a store of records: the central database, or one that a setting names.
//!
//! Its cursors lie beside the records, so that a batch and its cursor are one transaction. The invariants: nothing but records,
//! sums and cursors is written through it, and an error of a store that a setting names says which store it is.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use rr_contract::runtime::Tasks;
use rr_contract::seam::Clock;
use sea_orm::sea_query::OnConflict;
use sea_orm::{ActiveValue::Set, ConnectionTrait, EntityTrait as _};

use super::entity::record_owner;
use super::row::Reader;
use super::snapshot::Snapshot;
use super::{DatabaseAddress, Schema, Store, StoreError, Txn};
use crate::document::CENTRAL;

/// One store of records. Clones share it.
#[derive(Clone)]
pub(crate) struct RecordDatabase {
    name: Arc<str>,
    store: Store,
    /// The central database, where this is another.
    central: Option<Store>,
}

impl Store {
    /// The records of this database.
    pub(crate) fn records(&self) -> RecordDatabase {
        RecordDatabase { name: Arc::from(CENTRAL), store: self.clone(), central: None }
    }
}

impl RecordDatabase {
    /// Opens a database that holds records alone, and brings its schema up to date. Refuses one of another installation or
    /// under another name: cursors there would say of batches that are not stored that they are.
    pub(crate) async fn open(
        name: &str,
        address: &DatabaseAddress,
        installation: &[u8],
        central: &Store,
    ) -> Result<Self, StoreError> {
        let blamed = |source: StoreError| source.of_record_store(name);
        let (clock, tasks): (Arc<dyn Clock>, Tasks) = (Arc::clone(&central.0.clock), central.0.tasks.clone());
        let (store, _no_writes) =
            Store::connect(address, clock, tasks, Schema::Records).await.map_err(blamed)?;
        let opened = Self { name: Arc::from(name), store, central: Some(central.clone()) };
        match opened.claim(installation.to_vec()).await {
            Ok(()) => Ok(opened),
            Err(error) => {
                opened.store.close().await;
                Err(error)
            }
        }
    }

    /// Writes down whose it is, or finds that it is another's.
    async fn claim(&self, installation: Vec<u8>) -> Result<(), StoreError> {
        let ours = record_owner::Model { id: 1, installation, name: self.name.to_string() };
        let wanted = ours.clone();
        let owner = self
            .note(move |txn| {
                Box::pin(async move {
                    let row = record_owner::ActiveModel {
                        id: Set(ours.id),
                        installation: Set(ours.installation),
                        name: Set(ours.name),
                    };
                    record_owner::Entity::insert(row)
                        .on_conflict(OnConflict::column(record_owner::Column::Id).do_nothing().to_owned())
                        .exec_without_returning(txn.tx())
                        .await
                        .map_err(StoreError::statement("claim record store"))?;
                    record_owner::Entity::find_by_id(1_i32)
                        .one(txn.tx())
                        .await
                        .map_err(StoreError::statement("read owner of record store"))
                })
            })
            .await?;
        if owner.as_ref() == Some(&wanted) {
            return Ok(());
        }
        Err(StoreError::OtherRecords {
            name: self.name.to_string(),
            database: self.store.0.address.to_string(),
            found: owner.map(|row| row.name).unwrap_or_default(),
        })
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn is_central(&self) -> bool {
        self.central.is_none()
    }

    /// The central database, where organizations are.
    pub(crate) fn central(&self) -> &Store {
        self.central.as_ref().unwrap_or(&self.store)
    }

    /// As rows have it.
    pub(crate) fn now(&self) -> i64 {
        self.store.now()
    }

    /// Runs `work` as a transaction of its own.
    pub(crate) async fn note<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: for<'a> FnOnce(&'a mut Txn) -> BoxFuture<'a, Result<T, StoreError>> + Send + 'static,
    {
        self.store.note(work).await.map_err(|error| self.blamed(error))
    }

    /// One consistent reading.
    pub(crate) async fn snapshot(&self) -> Result<Snapshot, StoreError> {
        self.store.snapshot().await.map_err(|error| self.blamed(error))
    }

    /// Closes it. The central one is closed by who opened it.
    pub(super) async fn close(&self) {
        if !self.is_central() {
            self.store.close().await;
        }
    }

    /// An error of it, with its name.
    pub(crate) fn blamed(&self, error: StoreError) -> StoreError {
        if self.is_central() { error } else { error.of_record_store(&self.name) }
    }
}

impl Reader for RecordDatabase {
    fn conn(&self) -> &impl ConnectionTrait {
        self.store.reader()
    }
}
