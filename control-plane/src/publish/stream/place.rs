//! Where a node that comes stands in our history, by its own word.
//!
//! A node ahead of us, or of another history, is no node behind: bringing it "up to date" would undo what
//! it runs. It keeps its stream and is sent nothing.

use std::time::Duration;

use futures_util::Stream;
use rr_contract::runtime::chain;
use rr_contract::wire::fleet;
use tokio::time::timeout;
use tonic::Status;
use tracing::warn;

use super::{End, Session, Talk};
use crate::publish::index::{Index, Standing};
use crate::store;

/// How long to wait for our own index, where another replica was quicker.
const CATCH_UP_LIMIT: Duration = Duration::from_secs(5);

impl<I> Session<I>
where
    I: Stream<Item = Result<fleet::SyncRequest, Status>> + Unpin + Send,
{
    /// Compares where the node says it stands with our history.
    pub(super) async fn place(
        &mut self,
        talk: &mut Talk,
        resume: Option<&fleet::Position>,
    ) -> Result<(), End> {
        let look = |index: &Index| {
            (index.generation(), index.head(), resume.map(|at| index.standing(self.region, at)))
        };
        let looked = self.publisher.read().as_ref().map(look);
        let (generation, mut ours, mut standing) = looked.ok_or(End::Reloaded)?;
        talk.generation = generation;
        if standing == Some(Standing::Ahead)
            && let Some(resume) = resume
            && self.wait_for(talk, resume.revision).await?
        {
            let looked = self.publisher.read().as_ref().map(look);
            (talk.generation, ours, standing) = looked.ok_or(End::Reloaded)?;
        }
        if let Some(resume) = resume
            && matches!(standing, Some(Standing::At(_) | Standing::Unknown))
            && self.is_rewritten(resume).await
        {
            standing = Some(Standing::Elsewhere);
        }
        match (standing, resume) {
            (Some(Standing::At(revision)), Some(resume)) => talk.base = Some((revision, resume.clone())),
            (Some(Standing::Ahead | Standing::Elsewhere), Some(resume)) => {
                talk.diverged = true;
                talk.seat.update(|node| node.diverged = true);
                self.publisher.events.node_diverged(&self.node.to_string(), resume.revision, ours);
            }
            _ => {}
        }
        Ok(())
    }

    /// Whether the history that brought the node to its revision is another than ours: the head of the audit chain
    /// tells. Where the database does not answer, nothing is claimed.
    async fn is_rewritten(&self, resume: &fleet::Position) -> bool {
        if resume.audit.is_empty() || resume.revision == 0 {
            return false;
        }
        match store::history::revision(&self.publisher.store, resume.revision).await {
            Ok(Some(row)) => row.audit != resume.audit,
            // What is not there any more, or cannot be read, proves nothing.
            Ok(None) => false,
            Err(error) => {
                warn!(error = %chain(&error), "audit of a node's revision not compared");
                false
            }
        }
    }

    /// A node may have been brought further by another replica than our index is: that is no divergence.
    /// True when it is worth looking again.
    async fn wait_for(&self, talk: &mut Talk, revision: u64) -> Result<bool, End> {
        match store::installation::head(&self.publisher.store).await {
            Ok(Some(head)) if head.revision >= revision => {}
            Ok(_) => return Ok(false),
            Err(error) => {
                // Whether it is ahead of the database cannot be told: it may come back and ask again.
                warn!(error = %chain(&error), "head not read");
                return Err(End::Reloaded);
            }
        }
        let caught_up = timeout(CATCH_UP_LIMIT, talk.heads.wait_for(|head| *head >= revision)).await;
        match caught_up {
            Ok(Ok(_)) => Ok(true),
            _ => Err(End::Reloaded),
        }
    }
}
