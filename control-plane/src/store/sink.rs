//! What a store of records does, whichever engine it is: takes batches, answers questions, and lets go of what is old.
//!
//! Knows neither names nor rights. The invariants, which every engine holds: a batch is taken exactly once, for the cursor of its
//! spool goes with it; and the answers to the same batches and questions are the same.

use async_trait::async_trait;

use super::StoreError;
use super::account::{AccountFilter, Gap, NodeAccount};
use super::cursor::{Left, Spool};
use super::level::Level;
use super::metrics::exposition::Exposed;
use super::metrics::{Cell, Measures, Metered, MetricsFilter};
use super::record_age::Gone;
use super::request::{Ingest, Ingested, RequestFilter, Served};
use super::request_row::Model as Record;
use super::survey::Loss;

/// What metrics are made of: requests by series and step, and what meters counted of them.
pub(crate) type Metrics = (Vec<Cell<Measures>>, Vec<Cell<(String, Metered)>>);

/// What an organization's exposition is made of: requests of each proxy before today, and sums since the month began.
pub(crate) type Exposition = (Vec<(String, i64)>, Vec<Exposed>);

/// A store of records.
#[async_trait]
pub(crate) trait Sink: Send + Sync {
    /// Whether it answers.
    async fn ping(&self) -> Result<(), StoreError>;

    /// Closes it. The central one is closed by who opened it.
    async fn close(&self);

    /// Takes a batch if it is the next of its spool: all but last uses of callers. `served`: the proxies that its region serves.
    async fn take(&self, batch: Ingest, served: Served) -> Result<Ingested, StoreError>;

    /// Since when the region of a spool is here, as its cursor has it; `None` where there is none.
    async fn since(&self, spool: &Spool) -> Result<Option<i64>, StoreError>;

    /// From now on nothing is stored here of a spool.
    async fn leave(&self, spool: &Spool, since: i64) -> Result<Left, StoreError>;

    /// From now on a spool is stored here, behind a sequence or what is stored here already.
    async fn enter(&self, spool: &Spool, since: i64, last: i64) -> Result<(), StoreError>;

    /// The number of the record that came last, below which none comes any more.
    async fn newest(&self) -> Result<i64, StoreError>;

    /// Records, newest first.
    async fn list(&self, filter: RequestFilter, limit: u64) -> Result<Vec<Record>, StoreError>;

    /// Those that came behind one and not behind another, by their numbers: the last so many, in their order, and how many
    /// there are.
    async fn arrived(
        &self,
        filter: RequestFilter,
        between: (i64, i64),
        limit: u64,
    ) -> Result<(Vec<Record>, u64), StoreError>;

    /// One record, by id.
    async fn by_id(&self, org: &str, id: &str) -> Result<Option<Record>, StoreError>;

    /// Of one moment; `None` where that is more than one query answers with.
    async fn metrics(&self, filter: &MetricsFilter) -> Result<Option<Metrics>, StoreError>;

    /// Of one moment, with every proxy told apart, those that are gone included: counts since the first time and before
    /// today, sums since the last. `None` where that is more than one query answers with.
    async fn exposition(
        &self,
        org: &str,
        days: (i64, i64),
        since: i64,
    ) -> Result<Option<Exposition>, StoreError>;

    /// By region, node and hour; `None` where that is more than so many counts.
    async fn accounts(
        &self,
        filter: &AccountFilter,
        most: u64,
    ) -> Result<Option<Vec<NodeAccount>>, StoreError>;

    /// What nodes said to have lost, as it was told in a time, the newest first.
    async fn gaps(&self, nodes: &[&str], filter: &AccountFilter, most: u64) -> Result<Vec<Gap>, StoreError>;

    /// What nodes reported since a time that they lost, by reason.
    async fn losses(&self, from: i64) -> Result<Vec<Loss>, StoreError>;

    /// Makes the days that records to come belong to.
    async fn make_days(&self) -> Result<(), StoreError>;

    /// Removes records that are older at a time than their organizations keep them.
    async fn remove(&self, now: i64) -> Result<Gone, StoreError>;

    /// Adds up to so many batches of sums to the rollups; how many there were.
    async fn add_up(&self, most: u64) -> Result<u64, StoreError>;

    /// Lets go of up to so many lengths of rollups that are older than they are kept; whether there may be more.
    async fn forget(&self, now: i64, level: Level, most: u64) -> Result<bool, StoreError>;
}
