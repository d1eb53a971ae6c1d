//! What publishing asks of the database, as two small traits: the history, and what is known of nodes.
//!
//! The store has both; a simulation puts its own in place.

use rr_contract::model::id::{NodeId, RegionId};
use rr_contract::wire::fleet;
use tokio::sync::watch;

use super::fleet::Met;
use crate::store::history::{News, PublishedResource};
use crate::store::{self, Head, Store, StoreError};

/// The published history.
#[tonic::async_trait]
pub(crate) trait Log: Send + Sync + 'static {
    /// Follows the revisions that this process commits.
    fn committed(&self) -> watch::Receiver<u64>;

    /// Where it stands.
    async fn head(&self) -> Result<Head, StoreError>;

    /// Everything as published, and the head that it belongs to.
    async fn load(&self) -> Result<(Head, Vec<PublishedResource>), StoreError>;

    /// What came after a revision; at most about `limit` changes, always whole revisions.
    async fn since(&self, revision: u64, limit: u64) -> Result<News, StoreError>;

    /// Head of the audit chain at a revision, where that is there.
    async fn audit(&self, revision: u64) -> Result<Option<Vec<u8>>, StoreError>;

    /// How many removals the revisions behind `after` and up to `to` were agreed to take from one region.
    async fn removals(&self, after: u64, to: u64) -> Result<u64, StoreError>;
}

#[tonic::async_trait]
impl Log for Store {
    fn committed(&self) -> watch::Receiver<u64> {
        Store::committed(self)
    }

    async fn head(&self) -> Result<Head, StoreError> {
        self.newest().await
    }

    async fn load(&self) -> Result<(Head, Vec<PublishedResource>), StoreError> {
        self.published().await
    }

    async fn since(&self, revision: u64, limit: u64) -> Result<News, StoreError> {
        store::history::since(self, revision, limit).await
    }

    async fn audit(&self, revision: u64) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(store::history::revision(self, revision).await?.map(|row| row.audit))
    }

    async fn removals(&self, after: u64, to: u64) -> Result<u64, StoreError> {
        store::history::removals(self, after, to).await
    }
}

/// A node with an open stream at some replica, as it is written.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Leased {
    pub(crate) node: NodeId,
    pub(crate) region: RegionId,
    pub(crate) replica: String,
    pub(crate) boot_id: Vec<u8>,
    pub(crate) build: String,
    pub(crate) features: Vec<String>,
    pub(crate) address: String,
    pub(crate) status: fleet::Status,
    /// Microseconds since 1970.
    pub(crate) seen_at: i64,
}

/// A region, as far as it is not simply followed.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct RegionState {
    pub(crate) held: Option<Held>,
    pub(crate) adopted: Option<Adopted>,
}

/// No node that is behind this revision is sent anything, until a person releases it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Held {
    pub(crate) revision: u64,
    pub(crate) digest: Vec<u8>,
}

/// A person decided that our history goes on where nodes' histories ended.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Adopted {
    /// Ours at that time.
    pub(crate) lineage: Vec<u8>,
    pub(crate) revision: u64,
    /// Caller credentials that nodes may take although they saw them revoked.
    pub(crate) revived: Vec<String>,
    /// When, in microseconds since 1970.
    pub(crate) at: i64,
}

impl Adopted {
    /// Whether it is about a node that is diverged since then. Whoever decided looked at the nodes that were known to
    /// be: one that came later, from what may be another accident, waits for another decision.
    pub(crate) fn covers(&self, lineage: &[u8], since: i64) -> bool {
        self.lineage == lineage && since <= self.at
    }
}

/// A node ended on a place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Crash {
    pub(crate) node: NodeId,
    pub(crate) region: RegionId,
    /// Of the view that it ended on.
    pub(crate) digest: Vec<u8>,
    pub(crate) revision: u64,
}

/// A node stands where our history cannot have brought it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Divergence {
    pub(crate) node: NodeId,
    pub(crate) region: RegionId,
    pub(crate) at: fleet::Position,
    /// For people.
    pub(crate) why: String,
}

/// What is said of one that only is ahead.
pub(crate) const AHEAD: &str = "ahead of this history";

impl Divergence {
    /// It is in another history, not only ahead in ours.
    pub(crate) fn elsewhere(&self) -> bool {
        self.why != AHEAD
    }
}

/// Asked of the replica that holds a node's stream, because another process came that says it is that node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Question {
    pub(crate) id: String,
    pub(crate) node: NodeId,
    /// The replica that is asked.
    pub(crate) holder: String,
}

/// What the replica says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Nothing: it has not taken the question up.
    None,
    /// It has, and pings the process.
    Heard,
    /// The process answered.
    There,
    /// It did not, or there is no stream of it.
    Gone,
}

/// What all replicas know together of nodes.
#[derive(Debug, Clone, Default)]
pub(crate) struct Known {
    /// Those whose streams are open at other replicas.
    pub(crate) elsewhere: Vec<Leased>,
    /// Those that are out of service, connected or not.
    pub(crate) draining: Vec<NodeId>,
    pub(crate) regions: Vec<(RegionId, RegionState)>,
    pub(crate) crashes: Vec<Crash>,
    /// Diverged nodes, with when each was met first, in microseconds since 1970.
    pub(crate) diverged: Vec<(Divergence, i64)>,
}

/// What is to be written of the nodes of one replica.
#[derive(Debug, Clone, Default)]
pub(crate) struct Reports {
    pub(crate) replica: String,
    /// Until when this replica's nodes count as connected without a further word.
    pub(crate) until: i64,
    /// Nodes that came since the last time: theirs is the place, whoever had it.
    pub(crate) came: Vec<Leased>,
    /// What others of ours said since.
    pub(crate) said: Vec<Leased>,
    /// Those that went.
    pub(crate) left: Vec<NodeId>,
    /// Those that were met twice.
    pub(crate) met: Vec<Met>,
    /// All others count as connected until then as well.
    pub(crate) keep: bool,
}

/// What is known of nodes, kept for all replicas.
#[tonic::async_trait]
pub(crate) trait Ledger: Send + Sync + 'static {
    /// Microseconds since 1970.
    fn now(&self) -> i64;

    /// Whether other replicas may be there.
    fn is_shared(&self) -> bool;

    /// What all replicas know, but for what this one knows best.
    async fn known(&self, replica: &str) -> Result<Known, StoreError>;

    /// Writes what nodes here said. Returns those that meanwhile came to another replica.
    async fn report(&self, reports: Reports) -> Result<Vec<NodeId>, StoreError>;

    /// Notes a crash; where it is the second node's on one place, the region is held there.
    async fn crashed(&self, crash: Crash) -> Result<(), StoreError>;

    /// Notes a diverged node.
    async fn diverged(&self, divergence: Divergence) -> Result<(), StoreError>;

    /// A node is in step again.
    async fn in_step(&self, node: NodeId) -> Result<(), StoreError>;

    /// Asks another replica.
    async fn ask(&self, question: Question) -> Result<(), StoreError>;

    /// What a replica is asked and has not taken up.
    async fn questions(&self, holder: &str) -> Result<Vec<Question>, StoreError>;

    /// Answers a question.
    async fn answer(&self, question: &str, answer: Answer) -> Result<(), StoreError>;

    /// What was answered so far.
    async fn answered(&self, question: &str) -> Result<Answer, StoreError>;

    /// Nobody waits for an answer any more.
    async fn withdraw(&self, question: &str) -> Result<(), StoreError>;
}
