//! Tells a node that is held back what was taken away meanwhile.
//!
//! A node that crashed on the current content of its region, or whose region is held, is sent no transaction. That must not
//! keep a revoked key alive. So it is told of callers' keys that went, and of proxies and organizations that went or
//! were switched off. The invariant: nothing that it hears can bring anything new into force; what is published now is
//! named only for the node to keep what both have.

use futures_util::Stream;
use rr_contract::model::resource::{Key, ResourceId};
use rr_contract::wire::fleet;
use rr_contract::wire::fleet::sync_response::Message;
use tonic::Status;

use super::{End, Session, Talk};
use crate::publish::Base;
use crate::publish::chunk::Encoded;
use crate::publish::index::Index;
use crate::publish::region::{Cut, Start};

/// What is to be done for a node that is held back.
enum Due {
    Nothing,
    /// It has to say what it holds.
    Question,
    /// What was taken away.
    Cut(Cut),
}

impl<I> Session<I>
where
    I: Stream<Item = Result<fleet::SyncRequest, Status>> + Unpin + Send,
{
    /// Tells a node that is held back what was taken away beyond where it stands, once for each place.
    pub(super) async fn restrain(&mut self, talk: &mut Talk) -> Result<(), End> {
        let due = {
            let index = self.publisher.read();
            let index = index.as_ref().filter(|index| index.generation() == talk.generation);
            let index = index.ok_or(End::Reloaded)?;
            if talk.restrained >= index.head() {
                return Ok(());
            }
            let due = self.due(index, &talk.base, talk.restrained);
            if !matches!(due, Due::Question) {
                talk.restrained = index.head();
            }
            due
        };
        let cut = match due {
            Due::Nothing => return Ok(()),
            Due::Question => return self.ask(talk).await,
            Due::Cut(cut) => cut,
        };
        let until = Some(cut.position.clone());
        let encoded = Encoded::of(cut);
        for (body, _) in &encoded.chunks {
            let restrain = fleet::Restrain { until: until.clone(), body: body.to_vec() };
            self.send(Message::Restrain(restrain)).await?;
        }
        Ok(())
    }

    fn due(&self, index: &Index, base: &Base, restrained: u64) -> Due {
        let start = match base {
            // It holds nothing that could be taken away.
            Base::Nothing => return Due::Nothing,
            // What came before was told.
            _ if restrained > 0 => Start::At(restrained),
            base => match base.start(index, self.region) {
                Some(start) => start,
                None => return Due::Question,
            },
        };
        let Some(mut cut) = index.cut(self.region, &start) else { return Due::Question };
        cut.upserts.retain(|(key, _)| match key.id {
            ResourceId::Org | ResourceId::Proxy(_) => true,
            ResourceId::Credential(_) => index.is_caller(key),
            ResourceId::Target(_) | ResourceId::Rule(_) | ResourceId::Filter(_) | ResourceId::Meter(_) => {
                false
            }
        });
        cut.removals.retain(takes_away);
        if cut.upserts.is_empty() && cut.removals.is_empty() { Due::Nothing } else { Due::Cut(cut) }
    }
}

/// Whether the going of a resource takes something from callers.
fn takes_away(key: &Key) -> bool {
    matches!(key.id, ResourceId::Org | ResourceId::Credential(_) | ResourceId::Proxy(_))
}
