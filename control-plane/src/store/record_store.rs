//! A store that holds records of requests and what they add up to: the central database, or one that a setting names.
//!
//! Knows no regions: [`record_stores`](super::record_stores) says whose records lie where; and no engine: [`Sink`] is what each of
//! them does. The invariant: an error of a store that a setting names says which store it is.

use std::ops::Deref;
use std::sync::Arc;

use futures_util::future::try_join_all;

use super::clickhouse::ClickHouse;
use super::record_address::RecordAddress;
use super::record_database::RecordDatabase;
use super::sink::Sink;
use super::{Store, StoreError};

/// One store of records, asked as the [`Sink`] that it is. Clones share it.
#[derive(Clone)]
pub(crate) struct RecordStore {
    name: Arc<str>,
    /// Where organizations are.
    central: Store,
    is_central: bool,
    sink: Arc<dyn Sink>,
}

impl RecordStore {
    /// Opens a store that holds records alone, and brings its schema up to date. Refuses one of another installation or under
    /// another name.
    pub(crate) async fn open(
        name: &str,
        address: &RecordAddress,
        installation: &[u8],
        central: &Store,
    ) -> Result<Self, StoreError> {
        let sink: Arc<dyn Sink> = match address {
            RecordAddress::Database(address) => {
                Arc::new(RecordDatabase::open(name, address, installation, central).await?)
            }
            RecordAddress::ClickHouse(address) => {
                Arc::new(ClickHouse::open(name, address, installation, central).await?)
            }
        };
        Ok(Self { name: Arc::from(name), central: central.clone(), is_central: false, sink })
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn is_central(&self) -> bool {
        self.is_central
    }

    /// The central database, where organizations are.
    pub(crate) fn central(&self) -> &Store {
        &self.central
    }

    /// An error of it, with its name.
    pub(crate) fn blamed(&self, error: StoreError) -> StoreError {
        if self.is_central { error } else { error.of_record_store(&self.name) }
    }
}

impl From<RecordDatabase> for RecordStore {
    fn from(database: RecordDatabase) -> Self {
        Self {
            name: Arc::from(database.name()),
            central: database.central().clone(),
            is_central: database.is_central(),
            sink: Arc::new(database),
        }
    }
}

impl Deref for RecordStore {
    type Target = dyn Sink;

    fn deref(&self) -> &Self::Target {
        &*self.sink
    }
}

/// Asks several stores at once. What one does not answer is missing, so its error is the answer.
pub(crate) async fn each<'a, T, F>(
    stores: &'a [RecordStore],
    ask: impl Fn(&'a RecordStore) -> F,
) -> Result<Vec<T>, StoreError>
where
    F: Future<Output = Result<T, StoreError>> + Send + 'a,
    T: Send,
{
    let asked = stores.iter().map(|store| {
        let answer = ask(store);
        async move { answer.await.map_err(|error| store.blamed(error)) }
    });
    try_join_all(asked).await
}
