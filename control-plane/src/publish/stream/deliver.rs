//! Decides what a node is sent, and sends it: transactions, surveys, marks.

use std::sync::Arc;

use futures_util::{Stream, StreamExt as _};
use rr_contract::runtime::chain;
use rr_contract::seam::draw;
use rr_contract::wire::fleet;
use rr_contract::wire::fleet::sync_response::Message;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tracing::warn;

use super::{
    Asked, End, InFlight, MARK_IDLE, Outgoing, Owes, REPORT_LIMIT, Session, Talk, VERDICT_LIMIT,
    VERDICT_LIMIT_MIB,
};
use crate::publish::chunk::Encoded;
use crate::publish::survey::{Step, Survey};
use crate::publish::{Base, Next, sanitize};
use crate::store::micros;

const MIB: usize = 1024 * 1024;

impl<I> Session<I>
where
    I: Stream<Item = Result<fleet::SyncRequest, Status>> + Unpin + Send,
{
    /// Sends what the node lacks, if it lacks something and may have it.
    pub(super) async fn advance(&mut self, talk: &mut Talk, fence: &CancellationToken) -> Result<(), End> {
        talk.heads.mark_unchanged();
        Box::pin(self.grant(talk)).await?;
        if self.waits(talk)? {
            return self.restrain(talk).await;
        }
        let stop = self.stop.clone();
        // What takes a while for a large region: the stop and the fence do not wait for it.
        let next = tokio::select! {
            biased;
            () = stop.requested() => return Ok(()),
            () = fence.cancelled() => return Err(End::Fenced),
            next = self.publisher.next(self.region, &talk.base, talk.generation) => next,
        };
        match next {
            Next::Settled => Ok(()),
            Next::Gone => Err(End::Reloaded),
            Next::Send(encoded) => self.transmit(talk, encoded).await,
            Next::Ask => self.ask(talk).await,
        }
    }

    /// Whether the node is not to be brought to where its region is.
    fn waits(&self, talk: &mut Talk) -> Result<bool, End> {
        let current = {
            let index = self.publisher.read();
            let index = index.as_ref().filter(|index| index.generation() == talk.generation);
            let index = index.ok_or(End::Reloaded)?;
            if matches!(talk.base, Base::At(revision, _) if index.settled(self.region, revision)) {
                talk.waiting = None;
                return Ok(false);
            }
            index.position(self.region)
        };
        let waiting = self.publisher.fleet.waiting(self.node, self.region, talk.stands, &current.digest);
        if waiting != talk.waiting
            && let Some(why) = waiting
        {
            self.publisher.events.node_waits(&self.node.to_string(), current.revision, why);
        }
        talk.waiting = waiting;
        Ok(waiting.is_some())
    }

    async fn transmit(&mut self, talk: &mut Talk, encoded: Arc<Encoded>) -> Result<(), End> {
        let adopted = talk.diverged.as_ref().and_then(|diverged| diverged.adopted.clone());
        let intended_removals = self.intended(talk, &encoded, adopted.is_some()).await;
        let txn = draw::<8>(&*self.seams.entropy);
        let mode = match &talk.base {
            _ if encoded.snapshot => fleet::Mode::Snapshot,
            Base::Nothing => fleet::Mode::Snapshot,
            Base::At(..) => fleet::Mode::Delta,
            Base::Differs(..) | Base::Unknown(_) => fleet::Mode::Reconcile,
        };
        let base = talk.base.position().filter(|_| mode != fleet::Mode::Snapshot);
        let begin = fleet::Begin {
            txn: txn.to_vec(),
            mode: mode.into(),
            base: base.map(|at| at.digest.clone()).unwrap_or_default(),
            chunks: u32::try_from(encoded.chunks.len()).unwrap_or(u32::MAX),
            intended_removals,
            adopted: adopted.is_some(),
            revived: adopted.as_ref().map(|adopted| adopted.revived.clone()).unwrap_or_default(),
        };
        let position = Some(encoded.position.clone());
        let commit = fleet::Commit { txn: txn.to_vec(), position, prove_for: None };
        self.publisher.events.sent(mode, encoded.bytes);
        self.put(Outgoing::Transaction(Box::new((begin, commit)), Arc::clone(&encoded))).await?;
        let mib = u32::try_from(encoded.bytes / MIB).unwrap_or(u32::MAX);
        talk.owes = Owes::Verdict(Box::new(InFlight {
            txn,
            encoded,
            adopted: adopted.is_some(),
            deadline: Instant::now() + VERDICT_LIMIT + VERDICT_LIMIT_MIB * mib,
            _place: talk.place.take(),
        }));
        Ok(())
    }

    /// How many removals the revisions on the way were agreed to take.
    async fn intended(&self, talk: &Talk, encoded: &Encoded, adopted: bool) -> u64 {
        if adopted {
            // Who decided that this history goes on looked at what goes with it.
            let held = talk.base.position().map_or(0, |at| at.count);
            return if encoded.snapshot { held } else { encoded.removals };
        }
        let to = encoded.position.revision;
        let from = match talk.base {
            Base::At(revision, _) => revision.min(talk.stands),
            Base::Nothing if talk.stands == 0 => return 0,
            _ => talk.stands,
        };
        let known = self.publisher.read().as_ref().and_then(|index| index.removals(from));
        if let Some(known) = known {
            return known;
        }
        match self.publisher.log.removals(from, to).await {
            Ok(count) => count,
            Err(error) => {
                // A node that this is too little for says so, and is asked again.
                warn!(error = %chain(&error), "cannot read how many removals were agreed to, the transaction is sent with none");
                0
            }
        }
    }

    /// Asks the node what it holds.
    pub(super) async fn ask(&mut self, talk: &mut Talk) -> Result<(), End> {
        let query = draw::<8>(&*self.seams.entropy);
        let holds = talk.base.position().map_or(0, |at| at.count);
        let (survey, question) = {
            let index = self.publisher.read();
            let index = index.as_ref().filter(|index| index.generation() == talk.generation);
            Survey::open(query, index.ok_or(End::Reloaded)?, self.region, holds)
        };
        self.publisher.events.asked(&self.node.to_string());
        self.send(Message::BucketQuery(question)).await?;
        let deadline = Instant::now() + REPORT_LIMIT;
        talk.owes = Owes::Report(Box::new(Asked { survey, deadline, place: None }));
        Ok(())
    }

    /// Takes a report in, and goes on with the survey or with what it found.
    pub(super) async fn ask_on(
        &mut self,
        talk: &mut Talk,
        asked: Asked,
        report: fleet::BucketReport,
    ) -> Result<(), End> {
        let at = report.at.clone();
        let Asked { survey, deadline, place } = asked;
        match survey.take(&self.publisher, (self.region, talk.generation), report).await {
            Ok(Step::Wait(survey)) => {
                talk.owes = Owes::Report(Box::new(Asked { survey, deadline, place }));
            }
            Ok(Step::Ask(survey, question)) => {
                let Some(place) = self.place_among_surveys(talk).await? else { return Ok(()) };
                // Another node from the same place may have been brought into step meanwhile.
                talk.base = Base::Unknown(at);
                if self.learnt(talk) {
                    return Ok(());
                }
                self.send(Message::BucketQuery(question)).await?;
                let deadline = Instant::now() + REPORT_LIMIT;
                talk.owes = Owes::Report(Box::new(Asked { survey, deadline, place: Some(place) }));
            }
            Ok(Step::Known(base)) => {
                if let Some(at) = base.position() {
                    talk.stands = at.revision;
                }
                talk.base = match base {
                    // In step after all. Who was adopted has to hear of it.
                    Base::Differs(at, keys, revision) if keys.is_empty() && talk.diverged.is_none() => {
                        Base::At(revision, at)
                    }
                    base => base,
                };
                talk.place = place;
            }
            Ok(Step::Gone) => return Err(End::Reloaded),
            Err(odd) => {
                warn!(node.id = %self.node, reason = %odd, "node sent an invalid report of what it holds");
                talk.refusals += 1;
                if talk.refusals >= super::REFUSALS_MOST {
                    return Err(End::InvalidAnswer);
                }
                talk.base = Base::Unknown(None);
            }
        }
        Ok(())
    }

    /// Waits for a place among those that list what they hold; none at the stop. A node that is asked meanwhile whether
    /// it is there can say so: others may be in front of it for long.
    async fn place_among_surveys(&mut self, talk: &Talk) -> Result<Option<OwnedSemaphorePermit>, End> {
        let stop = self.stop.clone();
        let fence = talk.seat.fence().clone();
        let mut place = std::pin::pin!(Arc::clone(&self.publisher.surveys).acquire_owned());
        loop {
            tokio::select! {
                biased;
                () = stop.requested() => return Ok(None),
                () = fence.cancelled() => return Err(End::Fenced),
                place = &mut place => return Ok(place.ok()),
                () = talk.seat.pinged() => self.ping(talk).await?,
                message = self.inbound.next() => match message {
                    Some(Ok(message)) => self.overhear(talk, message),
                    Some(Err(_)) | None => return Err(End::Left),
                },
            }
        }
    }

    /// Takes in a message of a node that owes no answer: only reports of its state are of use.
    fn overhear(&self, talk: &Talk, message: fleet::SyncRequest) {
        use fleet::sync_request::Message;

        let now = micros(self.seams.clock.now());
        talk.seat.update(|node| node.last_seen_at = now);
        match message.message {
            Some(Message::Pong(pong)) => talk.seat.answered(pong.number),
            Some(Message::Status(status)) => talk.seat.update(|node| node.status = sanitize::status(status)),
            _ => {}
        }
    }

    fn learnt(&self, talk: &Talk) -> bool {
        let index = self.publisher.read();
        index.as_ref().is_some_and(|index| talk.base.start(index, self.region).is_some())
    }

    /// Tells an idle node up to which revision nothing changed for it.
    pub(super) async fn mark(&mut self, talk: &mut Talk) -> Result<(), End> {
        let Base::At(from, _) = talk.base else { return Ok(()) };
        let position = {
            let index = self.publisher.read();
            let Some(index) = index.as_ref().filter(|index| index.generation() == talk.generation) else {
                return Err(End::Reloaded);
            };
            if !index.settled(self.region, from) {
                return Ok(());
            }
            index.position(self.region)
        };
        if position.revision == talk.marked && talk.marked_at.elapsed() < MARK_IDLE {
            return Ok(());
        }
        talk.marked = position.revision;
        talk.stands = position.revision;
        talk.marked_at = Instant::now();
        talk.base = Base::At(position.revision, position.clone());
        self.send(Message::Mark(fleet::Mark { position: Some(position) })).await
    }
}
