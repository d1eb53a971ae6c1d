//! Compares the position of a node that connects with our history.
//!
//! A node that is ahead of us, or of another history, is not behind: bringing it "up to date" would undo what
//! it runs. It keeps its stream and is sent nothing, until a person decides that our history goes on there.

use std::time::Duration;

use futures_util::Stream;
use rr_contract::runtime::chain;
use rr_contract::wire::fleet;
use tokio::time::timeout;
use tonic::Status;
use tracing::warn;

use super::{Diverged, End, Session, Talk};
use crate::publish::Base;
use crate::publish::index::{Index, Standing};
use crate::store::ledger::{AHEAD, Divergence};

/// How long to wait for our own index, where another replica was quicker.
const CATCH_UP_LIMIT: Duration = Duration::from_secs(5);

impl<I> Session<I>
where
    I: Stream<Item = Result<fleet::SyncRequest, Status>> + Unpin + Send,
{
    /// Compares the position that the node reports with our history.
    pub(super) async fn place(
        &mut self,
        talk: &mut Talk,
        resume: Option<fleet::Position>,
    ) -> Result<(), End> {
        let Some(resume) = resume else {
            talk.generation = self.publisher.read().as_ref().ok_or(End::Reloaded)?.generation();
            return Ok(());
        };
        let look = |index: &Index| (index.generation(), index.standing(self.region, &resume));
        let looked = self.publisher.read().as_ref().map(look);
        let (generation, mut standing) = looked.ok_or(End::Reloaded)?;
        talk.generation = generation;
        if standing == Standing::Ahead && self.wait_for(talk, resume.revision).await? {
            let looked = self.publisher.read().as_ref().map(look);
            (talk.generation, standing) = looked.ok_or(End::Reloaded)?;
        }
        let mut why = match standing {
            Standing::Ahead => Some(AHEAD),
            Standing::Elsewhere => Some("in another history"),
            Standing::At(_) | Standing::Unknown => None,
        };
        if why.is_none() && self.is_rewritten(&resume).await {
            why = Some("with another audit head");
        }
        match (why, standing) {
            (Some(why), _) => self.diverged(talk, resume, why).await,
            (None, Standing::At(revision)) => {
                talk.base = Base::At(revision, resume);
                if let Err(error) = self.publisher.fleet.in_step(self.node).await {
                    warn!(error = %chain(&error), node.id = %self.node, "cannot note in the database that a node is in step");
                }
            }
            // What holds nothing is not worth asking.
            (None, _) if resume.count == 0 => talk.base = Base::Nothing,
            (None, _) => talk.base = Base::Unknown(Some(resume)),
        }
        Ok(())
    }

    /// Notes that the node is diverged.
    pub(super) async fn diverged(&self, talk: &mut Talk, at: fleet::Position, why: &'static str) {
        talk.seat.update(|node| node.diverged = true);
        let ours = self.publisher.read().as_ref().map_or(0, Index::head);
        self.publisher.events.node_diverged(&self.node.to_string(), at.revision, ours);
        let divergence =
            Divergence { node: self.node, region: self.region, at: at.clone(), why: why.to_owned() };
        let since = match self.publisher.fleet.note_diverged(divergence).await {
            Ok(since) => since,
            Err(error) => {
                warn!(error = %chain(&error), node.id = %self.node, "cannot note in the database that a node is diverged");
                self.publisher.fleet.now()
            }
        };
        talk.diverged = Some(Box::new(Diverged { at, since, adopted: None }));
        self.adopt(talk);
    }

    /// Takes up what a person decided about a diverged node, if somebody did.
    pub(super) fn adopt(&self, talk: &mut Talk) {
        let Some(diverged) = talk.diverged.as_mut().filter(|diverged| diverged.adopted.is_none()) else {
            return;
        };
        let ours = self.publisher.read().as_ref().map(|index| (index.lineage(), index.head()));
        let Some((lineage, head)) = ours else { return };
        diverged.adopted = self.publisher.fleet.adopted(self.region, diverged.since, &lineage, head);
        if diverged.adopted.is_some() {
            self.publisher.events.node_adopted(&self.node.to_string(), diverged.at.revision, head);
            talk.stands = 0;
            talk.base = Base::Unknown(Some(diverged.at.clone()));
        }
    }

    /// Whether the history that brought the node to its revision is another than ours: the head of the audit chain
    /// tells. Where the database does not answer, nothing is claimed.
    async fn is_rewritten(&self, resume: &fleet::Position) -> bool {
        if resume.audit.is_empty() || resume.revision == 0 {
            return false;
        }
        match self.publisher.audit(resume.revision).await {
            Ok(Some(audit)) => audit != resume.audit,
            // What is not there any more, or cannot be read, proves nothing.
            Ok(None) => false,
            Err(error) => {
                warn!(error = %chain(&error), "cannot read the audit head of a node's revision, it is not compared");
                false
            }
        }
    }

    /// A node may have been brought further by another replica than our index is: that is no divergence.
    /// True when it is worth looking again.
    async fn wait_for(&self, talk: &mut Talk, revision: u64) -> Result<bool, End> {
        match self.publisher.log.head().await {
            Ok(head) if head.revision >= revision => {}
            Ok(_) => return Ok(false),
            Err(error) => {
                // Whether it is ahead of the database cannot be told: it may come back and ask again.
                warn!(error = %chain(&error), "cannot read the newest revision");
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
