//! ClickHouse as the [`Sink`] that it is.

use async_trait::async_trait;

use super::ClickHouse;
use super::question::Question;
use crate::store::account::{AccountFilter, Gap, NodeAccount};
use crate::store::cursor::{Left, Spool};
use crate::store::level::Level;
use crate::store::metrics::MetricsFilter;
use crate::store::record_age::Gone;
use crate::store::request::{Ingest, Ingested, RequestFilter, Served};
use crate::store::request_row::Model as Record;
use crate::store::sink::{Exposition, Metrics, Sink};
use crate::store::survey::Loss;
use crate::store::{StoreError, outside_cursor};

#[async_trait]
impl Sink for ClickHouse {
    async fn ping(&self) -> Result<(), StoreError> {
        self.run("reach it", Question::new("SELECT 1")).await
    }

    async fn close(&self) {}

    async fn take(&self, batch: Ingest, served: Served) -> Result<Ingested, StoreError> {
        self.take_batch(batch, served).await
    }

    async fn since(&self, spool: &Spool) -> Result<Option<i64>, StoreError> {
        outside_cursor::since(&self.central, &self.place(spool)).await
    }

    async fn leave(&self, spool: &Spool, since: i64) -> Result<Left, StoreError> {
        let place = self.place(spool);
        let left = self
            .central
            .note(move |txn| Box::pin(async move { outside_cursor::leave(txn, &place, since).await }));
        left.await
    }

    async fn enter(&self, spool: &Spool, since: i64, last: i64) -> Result<(), StoreError> {
        let place = self.place(spool);
        let entered = self
            .central
            .note(move |txn| Box::pin(async move { outside_cursor::enter(txn, &place, since, last).await }));
        entered.await
    }

    async fn newest(&self) -> Result<i64, StoreError> {
        outside_cursor::newest(&self.central, &self.name, self.central.now()).await
    }

    async fn list(&self, filter: RequestFilter, limit: u64) -> Result<Vec<Record>, StoreError> {
        self.records(filter, limit).await
    }

    async fn arrived(
        &self,
        filter: RequestFilter,
        between: (i64, i64),
        limit: u64,
    ) -> Result<(Vec<Record>, u64), StoreError> {
        self.records_between(&filter, between, limit).await
    }

    async fn by_id(&self, org: &str, id: &str) -> Result<Option<Record>, StoreError> {
        self.record(org, id).await
    }

    async fn metrics(&self, filter: &MetricsFilter) -> Result<Option<Metrics>, StoreError> {
        self.sums(filter).await
    }

    async fn exposition(
        &self,
        org: &str,
        days: (i64, i64),
        since: i64,
    ) -> Result<Option<Exposition>, StoreError> {
        self.exposed(org, days, since).await
    }

    async fn accounts(
        &self,
        filter: &AccountFilter,
        most: u64,
    ) -> Result<Option<Vec<NodeAccount>>, StoreError> {
        self.counts(filter, most).await
    }

    async fn gaps(&self, nodes: &[&str], filter: &AccountFilter, most: u64) -> Result<Vec<Gap>, StoreError> {
        self.told_gaps(nodes, filter, most).await
    }

    async fn losses(&self, from: i64) -> Result<Vec<Loss>, StoreError> {
        self.told_losses(from).await
    }

    /// Its days make themselves.
    async fn make_days(&self) -> Result<(), StoreError> {
        Ok(())
    }

    async fn remove(&self, now: i64) -> Result<Gone, StoreError> {
        self.remove_old(now).await
    }

    /// Views do.
    async fn add_up(&self, _most: u64) -> Result<u64, StoreError> {
        Ok(0)
    }

    /// They go by themselves.
    async fn forget(&self, _now: i64, _level: Level, _most: u64) -> Result<bool, StoreError> {
        Ok(false)
    }
}
