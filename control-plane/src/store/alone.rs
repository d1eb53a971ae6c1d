//! The store without the rest of the plane, for programs that measure it.
//!
//! It writes and follows revisions as the plane does. Nobody is authorized and nothing is checked.

use std::sync::Arc;
use std::time::Duration;

use prost::Message as _;
use rr_contract::runtime::{Shutdown, Tasks};
use rr_contract::seam::{SystemClock, SystemEntropy};
use rr_contract::wire::management::{Document, Target, document};
use sea_orm::ConnectOptions;
use tokio::sync::watch;

use super::{Author, DatabaseAddress, Put, Store, StoreError, history, installation};
use crate::noun::Noun;
use crate::payload::{Hashed, Payload};

/// How long what runs may take to end.
const STOP_LIMIT: Duration = Duration::from_secs(120);

/// An open store.
pub struct StoreAlone {
    store: Store,
    tasks: Tasks,
    shutdown: Shutdown,
}

/// What came after a revision.
#[derive(Debug, Clone, Default)]
pub struct Followed {
    /// The revision of each change, in order.
    pub revisions: Vec<u64>,
    /// The newest revision that was read; none where nothing came.
    pub to: Option<u64>,
}

/// How the store makes a connection that writes.
pub fn connect_options(address: &DatabaseAddress) -> ConnectOptions {
    super::options(address, false)
}

impl StoreAlone {
    /// Opens a database, which is made when it is not there.
    pub async fn open(address: &DatabaseAddress) -> Result<Self, StoreError> {
        let (tasks, shutdown) = (Tasks::new(), Shutdown::new());
        let store = Store::open(address, Arc::new(SystemClock), tasks.clone(), shutdown.stop()).await?;
        store.installation(&SystemEntropy).await?;
        Ok(Self { store, tasks, shutdown })
    }

    /// The newest revision.
    pub async fn head(&self) -> Result<u64, StoreError> {
        Ok(installation::head(&self.store).await?.ok_or(StoreError::Damaged("head"))?.revision)
    }

    /// Follows the revisions that this process commits.
    pub fn committed(&self) -> watch::Receiver<u64> {
        self.store.committed()
    }

    /// What came after a revision: about so many changes at the most.
    pub async fn since(&self, revision: u64, limit: u64) -> Result<Followed, StoreError> {
        let news = history::since(&self.store, revision, limit).await?;
        Ok(Followed {
            revisions: news.changes.iter().map(|change| change.revision).collect(),
            to: news.to.map(|(to, _)| to),
        })
    }

    /// Publishes a new target as a revision of its own, in the name of a token. Where `outcome` is an error, the write is
    /// given up after it staged.
    pub async fn publish(
        &self,
        token: &str,
        target: Target,
        payload: Vec<u8>,
        outcome: Result<(), StoreError>,
    ) -> Result<Option<u64>, StoreError> {
        let author =
            Author { token: token.to_owned(), call: "TargetService.CreateTarget", ..Author::default() };
        let put = Put {
            noun: Noun::Target,
            id: target.id.clone(),
            org: target.org.clone(),
            name: target.name.clone(),
            owner: String::new(),
            document: Hashed::of(
                Document { resource: Some(document::Resource::Target(target)) }.encode_to_vec(),
            ),
            payload: Some(Payload::opaque(payload)),
            links: Vec::new(),
            labels: Vec::new(),
            before: None,
            created_by: token.to_owned(),
        };
        let written = self.store.write(author, move |txn| {
            Box::pin(async move {
                txn.put(put);
                outcome
            })
        });
        Ok(written.await?.revision)
    }

    /// Writes what waits, and closes the database.
    pub async fn close(&self) {
        self.shutdown.begin();
        self.tasks.wait(STOP_LIMIT).await;
        self.store.close().await;
    }
}
