//! Has a diverged node list what it holds, for the person who decides about it. Compares nothing.

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::Stream;
use rr_contract::digest::ResourceHash;
use rr_contract::model::resource::Key;
use rr_contract::seam::draw;
use rr_contract::wire::fleet;
use rr_contract::wire::fleet::sync_response::Message;
use tokio::time::Instant;
use tonic::Status;
use tracing::warn;

use super::{End, Owes, REPORT_LIMIT, Session, Talk};
use crate::publish::nodes::Asker;
use crate::publish::survey::{self, InvalidReport};

/// A node that says it holds more is not listed: the control plane would have to remember it all.
const HELD_MOST: u64 = 1_000_000;

/// A list that is asked for.
pub(super) struct Listing {
    query: [u8; 8],
    at: Option<fleet::Position>,
    held: HashMap<Key, ResourceHash>,
    askers: Vec<Asker>,
    pub(super) deadline: Instant,
}

impl<I> Session<I>
where
    I: Stream<Item = Result<fleet::SyncRequest, Status>> + Unpin + Send,
{
    /// Asks the node, if somebody wants to know and it owes nothing else.
    pub(super) async fn list(&self, talk: &mut Talk) -> Result<(), End> {
        let askers = talk.seat.askers();
        if askers.is_empty() || talk.diverged.is_none() {
            return Ok(());
        }
        match &mut talk.owes {
            Owes::Nothing => {}
            Owes::Listing(listing) => {
                listing.askers.extend(askers);
                return Ok(());
            }
            Owes::Verdict(_) | Owes::Report(_) => return Ok(()),
        }
        let query = draw::<8>(&*self.seams.entropy);
        self.publisher.events.asked(&self.node.to_string());
        // All keys are in the one bucket.
        let question = fleet::BucketQuery { query: query.to_vec(), log2_buckets: 0, list: vec![0] };
        self.send(Message::BucketQuery(question)).await?;
        let deadline = Instant::now() + REPORT_LIMIT;
        talk.owes =
            Owes::Listing(Box::new(Listing { query, at: None, held: HashMap::new(), askers, deadline }));
        Ok(())
    }

    /// Takes a part of the list in.
    pub(super) fn listed(
        &self,
        talk: &mut Talk,
        mut listing: Box<Listing>,
        report: fleet::BucketReport,
    ) -> Result<(), End> {
        match listing.take(report) {
            Ok(true) => {
                let held = Arc::new(listing.held);
                for asker in listing.askers {
                    // Who does not wait any more does not need it.
                    asker.send(Arc::clone(&held)).ok();
                }
                Ok(())
            }
            Ok(false) => {
                talk.owes = Owes::Listing(listing);
                Ok(())
            }
            Err(odd) => {
                warn!(node.id = %self.node, reason = %odd, "node sent an invalid report of what it holds");
                Err(End::InvalidAnswer)
            }
        }
    }
}

impl Listing {
    /// True when that was the last part.
    fn take(&mut self, report: fleet::BucketReport) -> Result<bool, InvalidReport> {
        if report.query != self.query {
            return Ok(false);
        }
        let at = report.at.ok_or(InvalidReport::NoPosition)?;
        match &self.at {
            Some(before) if before.digest != at.digest => return Err(InvalidReport::Moved),
            _ => {}
        }
        let most = at.count.min(HELD_MOST);
        self.at = Some(at);
        for held in report.held {
            let (key, hash) = survey::read(held).ok_or(InvalidReport::Held)?;
            self.held.insert(key, hash);
            if self.held.len() as u64 > most {
                return Err(InvalidReport::Endless);
            }
        }
        Ok(!report.more)
    }
}
