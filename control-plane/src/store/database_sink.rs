//! A database as the [`Sink`] that it is: each question is one of those that the modules of the store answer.

use async_trait::async_trait;
use sea_orm::ConnectionTrait as _;

use super::record_database::RecordDatabase;
use crate::store::account::{self, AccountFilter, Gap, NodeAccount};
use crate::store::cursor::{self, Left, Spool};
use crate::store::level::Level;
use crate::store::metrics::exposition::{counted, exposed};
use crate::store::metrics::{self, MetricsFilter};
use crate::store::record_age::{self, Gone};
use crate::store::request::{self, Ingest, Ingested, RequestFilter, Served};
use crate::store::request_row::Model as Record;
use crate::store::row::Reader as _;
use crate::store::sink::{Exposition, Metrics, Sink};
use crate::store::survey::{self, Loss};
use crate::store::{StoreError, sums};

#[async_trait]
impl Sink for RecordDatabase {
    async fn ping(&self) -> Result<(), StoreError> {
        let asked = self.conn().execute_unprepared("SELECT 1").await;
        asked.map(drop).map_err(StoreError::statement("reach it")).map_err(|error| self.blamed(error))
    }

    async fn close(&self) {
        // Its own, not this.
        Self::close(self).await;
    }

    async fn take(&self, batch: Ingest, served: Served) -> Result<Ingested, StoreError> {
        self.note(move |txn| Box::pin(async move { Ok(request::store(txn, batch, &served).await?.outcome) }))
            .await
    }

    async fn since(&self, spool: &Spool) -> Result<Option<i64>, StoreError> {
        cursor::since(self, spool).await.map_err(|error| self.blamed(error))
    }

    async fn leave(&self, spool: &Spool, since: i64) -> Result<Left, StoreError> {
        let spool = spool.clone();
        let last = self.note(move |txn| Box::pin(async move { cursor::leave(txn, &spool, since).await }));
        last.await.map(Left::At)
    }

    async fn enter(&self, spool: &Spool, since: i64, last: i64) -> Result<(), StoreError> {
        let spool = spool.clone();
        self.note(move |txn| Box::pin(async move { cursor::enter(txn, &spool, since, last).await })).await
    }

    async fn newest(&self) -> Result<i64, StoreError> {
        request::newest(self).await
    }

    async fn list(&self, filter: RequestFilter, limit: u64) -> Result<Vec<Record>, StoreError> {
        request::list(self, filter, limit).await
    }

    async fn arrived(
        &self,
        filter: RequestFilter,
        between: (i64, i64),
        limit: u64,
    ) -> Result<(Vec<Record>, u64), StoreError> {
        request::arrived(self, filter, between, limit).await
    }

    async fn by_id(&self, org: &str, id: &str) -> Result<Option<Record>, StoreError> {
        request::by_id(self, org, id).await
    }

    async fn metrics(&self, filter: &MetricsFilter) -> Result<Option<Metrics>, StoreError> {
        let snapshot = self.snapshot().await?;
        let requests = metrics::requests(&snapshot, filter).await?;
        let meters = metrics::meters(&snapshot, filter).await?;
        snapshot.end().await?;
        Ok(requests.zip(meters))
    }

    async fn exposition(
        &self,
        org: &str,
        days: (i64, i64),
        since: i64,
    ) -> Result<Option<Exposition>, StoreError> {
        let snapshot = self.snapshot().await?;
        let counts = counted(&snapshot, org, days).await?;
        let rows = exposed(&snapshot, org, since, None).await?;
        snapshot.end().await?;
        Ok(rows.map(|rows| (counts, rows)))
    }

    async fn accounts(
        &self,
        filter: &AccountFilter,
        most: u64,
    ) -> Result<Option<Vec<NodeAccount>>, StoreError> {
        account::list(self, filter, most).await
    }

    async fn gaps(&self, nodes: &[&str], filter: &AccountFilter, most: u64) -> Result<Vec<Gap>, StoreError> {
        account::gaps(self, nodes, filter, most).await
    }

    async fn losses(&self, from: i64) -> Result<Vec<Loss>, StoreError> {
        survey::losses(self, from).await
    }

    async fn make_days(&self) -> Result<(), StoreError> {
        record_age::make_days(self).await
    }

    async fn remove(&self, now: i64) -> Result<Gone, StoreError> {
        record_age::remove(self, now).await
    }

    async fn add_up(&self, most: u64) -> Result<u64, StoreError> {
        self.note(move |txn| Box::pin(async move { sums::fold(txn, most).await })).await
    }

    async fn forget(&self, now: i64, level: Level, most: u64) -> Result<bool, StoreError> {
        self.note(move |txn| Box::pin(async move { sums::forget(txn, now, level, most).await })).await
    }
}
