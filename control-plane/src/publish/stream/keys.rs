//! Sends a node the keys of later epochs of its region.
//!
//! A database that does not answer holds nothing up: what is sealed to the new key alone waits on the node, and the key
//! follows.

use futures_util::Stream;
use rr_contract::runtime::chain;
use rr_contract::wire::fleet;
use rr_contract::wire::fleet::sync_response::Message;
use tonic::Status;
use tracing::warn;

use super::{End, Session, Talk};

/// Which keys a node was sent.
#[derive(Default)]
pub(super) struct SentKeys {
    /// The newest epoch that it has, or was sent.
    pub(super) epoch: u32,
    /// The revision of the region's document that was looked at; none before the first look.
    looked_at: Option<u64>,
}

impl SentKeys {
    pub(super) fn new(epoch: u32) -> Self {
        Self { epoch, looked_at: None }
    }
}

impl<I> Session<I>
where
    I: Stream<Item = Result<fleet::SyncRequest, Status>> + Unpin + Send,
{
    /// Sends what the node lacks, where the region's document has changed since the last look.
    pub(super) async fn grant(&self, talk: &mut Talk) -> Result<(), End> {
        let revision = self.publisher.key_revision(self.region);
        if talk.keys.looked_at.is_some_and(|at| at >= revision) {
            return Ok(());
        }
        let granted = match self.publisher.granted(self.region, revision).await {
            Ok(granted) => granted,
            Err(error) => {
                warn!(node.id = %self.node, error = %chain(&error), "cannot read keys of the region, the node is sent them later");
                return Ok(());
            }
        };
        talk.keys.looked_at = Some(revision);
        let keys = granted.by_recipient.get(&self.node_key).map(Vec::as_slice).unwrap_or_default();
        for key in keys {
            let epoch = key.grant.as_ref().map_or(0, |grant| grant.epoch);
            if epoch > talk.keys.epoch {
                talk.keys.epoch = epoch;
                self.send(Message::RegionKey(key.clone())).await?;
            }
        }
        if talk.keys.epoch.max(1) < granted.newest {
            warn!(
                node.id = %self.node,
                epoch = granted.newest,
                "the newest key of the region was not given to this node: it opens nothing that is sealed to it; join it anew if it is to serve on"
            );
        }
        Ok(())
    }
}
