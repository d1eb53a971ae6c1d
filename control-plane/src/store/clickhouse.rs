//! A ClickHouse server as a store of records: where one machine's database ends.
//!
//! Records, sums and accounts lie there; the cursors of spools lie in the central database
//! ([`outside_cursor`](super::outside_cursor)), because ClickHouse has no transactions. The invariants: every insert of a batch
//! bears a token that names the batch, so that one that comes again adds nothing; and all rows of a batch are the same each time
//! that it comes, its time included, so that it lies in the same partition.

mod accounts;
mod address;
mod metrics;
mod question;
mod records;
mod rows;
mod schema;
mod sink;
mod taken;
mod upkeep;

use std::sync::Arc;
use std::time::Duration;

use clickhouse::error::Error;
use clickhouse::{Client, Row, RowOwned, RowWrite};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

use super::outside_cursor::Place;
use super::{Store, StoreError};
use crate::store::cursor::Spool;

pub use address::{ClickHouseAddress, InvalidClickHouse};
use question::Question;

/// How long a question may take.
const QUESTION_LIMIT: Duration = Duration::from_secs(10);
/// How long a part of an insert may take to be sent, and how long its answer.
const SEND_LIMIT: Duration = Duration::from_secs(5);
const INSERT_LIMIT: Duration = Duration::from_secs(30);
/// How long an idle connection is kept: less than the server does.
const IDLE: Duration = Duration::from_secs(2);

/// One server, and one database of it. Clones share the connections.
#[derive(Clone)]
pub(super) struct ClickHouse {
    name: Arc<str>,
    client: Client,
    central: Store,
}

impl ClickHouse {
    /// Brings the schema up to date. Refuses a database of another installation or under another name.
    pub(super) async fn open(
        name: &str,
        address: &ClickHouseAddress,
        installation: &[u8],
        central: &Store,
    ) -> Result<Self, StoreError> {
        let client = client(address).map_err(|error| error.of_record_store(name))?;
        let opened = Self { name: Arc::from(name), client, central: central.clone() };
        opened.bring_up().await?;
        opened.claim(address, installation).await?;
        Ok(opened)
    }

    fn place(&self, spool: &Spool) -> Place {
        Place { store: self.name.to_string(), spool: spool.clone() }
    }

    /// Runs a statement that answers nothing.
    async fn run(&self, operation: &'static str, statement: Question) -> Result<(), StoreError> {
        let done = limited(operation, QUESTION_LIMIT, statement.of(&self.client).execute()).await;
        done.map_err(|error| error.of_record_store(&self.name))
    }

    async fn ask<T: RowOwned + clickhouse::RowRead>(
        &self,
        operation: &'static str,
        question: Question,
    ) -> Result<Vec<T>, StoreError> {
        let answer = limited(operation, QUESTION_LIMIT, question.of(&self.client).fetch_all::<T>()).await;
        answer.map_err(|error| error.of_record_store(&self.name))
    }

    /// Inserts rows once, however often it is done under one token.
    async fn insert<T>(
        &self,
        operation: &'static str,
        table: &str,
        token: &str,
        rows: &[T],
    ) -> Result<(), StoreError>
    where
        T: RowWrite + for<'a> Row<Value<'a> = T> + Sync,
    {
        if rows.is_empty() {
            return Ok(());
        }
        let work = async {
            let mut insert = self
                .client
                .insert::<T>(table)
                .await?
                .with_setting("insert_deduplication_token", token)
                // What views make of it goes by the same token.
                .with_setting("deduplicate_blocks_in_dependent_materialized_views", "1")
                // One block, whole or not at all.
                .with_setting("async_insert", "0")
                .with_timeouts(Some(SEND_LIMIT), Some(INSERT_LIMIT));
            for row in rows {
                insert.write(row).await?;
            }
            insert.end().await
        };
        let done = limited(operation, SEND_LIMIT + INSERT_LIMIT, work).await;
        done.map_err(|error| error.of_record_store(&self.name))
    }
}

fn client(address: &ClickHouseAddress) -> Result<Client, StoreError> {
    let client = if address.is_plain() {
        let http =
            legacy::Client::builder(TokioExecutor::new()).pool_idle_timeout(IDLE).build(HttpConnector::new());
        Client::with_http_client(http)
    } else {
        // The crate trusts what the machine does, and ends the process where that is nothing.
        if rustls_native_certs::load_native_certs().certs.is_empty() {
            let none = "this machine has no certificates of authorities: install them, or name a file of them in SSL_CERT_FILE";
            return Err(failed("open record store")(Error::Other(none.into())));
        }
        Client::default()
    };
    Ok(address.told(client))
}

async fn limited<T>(
    operation: &'static str,
    limit: Duration,
    work: impl Future<Output = Result<T, Error>>,
) -> Result<T, StoreError> {
    let done = tokio::time::timeout(limit, work).await.unwrap_or(Err(Error::TimedOut));
    done.map_err(failed(operation))
}

fn failed(operation: &'static str) -> impl FnOnce(Error) -> StoreError {
    move |source| StoreError::ClickHouse { operation, source: Box::new(source) }
}
