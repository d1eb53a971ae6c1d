//! The database as the publisher needs it, as two traits: the history, and what is known of nodes.
//!
//! The store has both; the simulation of the tests has its own.

use rr_contract::model::id::{NodeId, RegionId};
use rr_contract::wire::management::Region;
use tokio::sync::watch;

use super::keys::GrantedKeys;
use crate::store::history::{News, PublishedResource};
use crate::store::ledger::{self, Answer, Crash, Divergence, KnownNodes, Question, Reports};
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

    /// Keys of later epochs of a region that its nodes can be sent.
    async fn granted_keys(&self, region: RegionId) -> Result<GrantedKeys, StoreError>;
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

    async fn granted_keys(&self, region: RegionId) -> Result<GrantedKeys, StoreError> {
        let id = region.to_string();
        let Some(found) = store::resource::read::<Region>(self, "", &id).await? else {
            return Ok(GrantedKeys::default());
        };
        let mut keys = GrantedKeys {
            newest: found.document.key.as_ref().map_or(0, |key| key.epoch),
            ..GrantedKeys::default()
        };
        let grants = store::region_grant::of_region(self, &id).await?;
        for key in store::region_grant::with_statements(&found.document, grants, 0) {
            let recipient = key.grant.as_ref().map(|grant| grant.recipient_key.clone()).unwrap_or_default();
            keys.by_recipient.entry(recipient).or_default().push(key);
        }
        Ok(keys)
    }
}

/// What is known of nodes, kept for all replicas.
#[tonic::async_trait]
pub(crate) trait Ledger: Send + Sync + 'static {
    /// Microseconds since 1970.
    fn now(&self) -> i64;

    /// Whether other replicas may be there.
    fn is_shared(&self) -> bool;

    /// What all replicas know, but for what this one knows best.
    async fn known(&self, replica: &str) -> Result<KnownNodes, StoreError>;

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

#[tonic::async_trait]
impl Ledger for Store {
    fn now(&self) -> i64 {
        Store::now(self)
    }

    fn is_shared(&self) -> bool {
        self.may_be_shared()
    }

    async fn known(&self, replica: &str) -> Result<KnownNodes, StoreError> {
        ledger::known(self, replica).await
    }

    async fn report(&self, reports: Reports) -> Result<Vec<NodeId>, StoreError> {
        ledger::report(self, reports).await
    }

    async fn crashed(&self, crash: Crash) -> Result<(), StoreError> {
        ledger::crashed(self, crash).await
    }

    async fn diverged(&self, divergence: Divergence) -> Result<(), StoreError> {
        ledger::diverged(self, divergence).await
    }

    async fn in_step(&self, node: NodeId) -> Result<(), StoreError> {
        ledger::in_step(self, node).await
    }

    async fn ask(&self, question: Question) -> Result<(), StoreError> {
        ledger::ask(self, question).await
    }

    async fn questions(&self, holder: &str) -> Result<Vec<Question>, StoreError> {
        ledger::questions(self, holder).await
    }

    async fn answer(&self, question: &str, answer: Answer) -> Result<(), StoreError> {
        ledger::answer(self, question.to_owned(), answer).await
    }

    async fn answered(&self, question: &str) -> Result<Answer, StoreError> {
        ledger::answered(self, question).await
    }

    async fn withdraw(&self, question: &str) -> Result<(), StoreError> {
        ledger::withdraw(self, question.to_owned()).await
    }
}
