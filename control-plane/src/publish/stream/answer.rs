//! Messages of a node, and what follows from them.

use futures_util::Stream;
use rr_contract::runtime::chain;
use rr_contract::wire::fleet;
use rr_contract::wire::fleet::sync_response::Message;
use tokio::time::Instant;
use tonic::Status;
use tracing::warn;

use super::{End, InFlight, Owes, REFUSALS_MOST, Session, Talk};
use crate::events::VerdictOutcome;
use crate::publish::{Base, sanitize};
use crate::store::micros;

impl<I> Session<I>
where
    I: Stream<Item = Result<fleet::SyncRequest, Status>> + Unpin + Send,
{
    pub(super) async fn hear(&mut self, talk: &mut Talk, message: fleet::SyncRequest) -> Result<(), End> {
        use fleet::sync_request::Message;

        let now = micros(self.seams.clock.now());
        match message.message {
            Some(Message::Status(status)) => {
                let status = sanitize::status(status);
                if let Some(running) = &status.running {
                    self.compare(talk, running)?;
                }
                talk.seat.update(|node| {
                    node.last_seen_at = now;
                    node.status = status;
                });
            }
            Some(Message::Verdict(verdict)) => {
                let verdict = sanitize::verdict(verdict);
                talk.seat.update(|node| node.last_seen_at = now);
                return self.judge(talk, verdict).await;
            }
            Some(Message::Buckets(report)) => {
                talk.seat.update(|node| node.last_seen_at = now);
                match std::mem::replace(&mut talk.owes, Owes::Nothing) {
                    Owes::Report(asked) => return self.ask_on(talk, *asked, report).await,
                    Owes::Listing(listing) => return self.listed(talk, listing, report),
                    // Nobody asked.
                    owes => talk.owes = owes,
                }
            }
            Some(Message::Pong(pong)) => {
                talk.seat.update(|node| node.last_seen_at = now);
                talk.seat.answered(pong.number);
            }
            Some(Message::Tested(tested)) => {
                talk.seat.update(|node| node.last_seen_at = now);
                talk.seat.tested(sanitize::tested(tested));
            }
            // A second Hello means nothing within a stream; what we do not know, we pass over.
            Some(Message::Hello(_)) | None => {}
        }
        Ok(())
    }

    /// Asks a node what it holds where it runs other content than it took. After several times in a row the stream is
    /// ended: the node comes again later, and slower.
    fn compare(&self, talk: &mut Talk, running: &fleet::Position) -> Result<(), End> {
        if matches!(&talk.base, Base::At(_, at) if at.digest == running.digest) {
            talk.strayed = 0;
        } else if self.contradicts(talk, running) {
            talk.strayed += 1;
            if talk.strayed >= REFUSALS_MOST {
                return Err(End::Refusing);
            }
            self.publisher.events.node_strayed(&self.node.to_string(), running.revision);
            talk.base = Base::Unknown(Some(running.clone()));
        }
        Ok(())
    }

    /// Whether a node runs other content than our history has at the revision that it reports.
    fn contradicts(&self, talk: &Talk, running: &fleet::Position) -> bool {
        let Base::At(_, at) = &talk.base else { return false };
        if !talk.idle() || running.digest == at.digest {
            return false;
        }
        if running.revision == at.revision {
            return true;
        }
        let index = self.publisher.read();
        let view = index.as_ref().and_then(|index| index.view(self.region));
        let ours = view.and_then(|view| view.digest_at(running.revision));
        ours.is_some_and(|ours| ours[..] != running.digest)
    }

    async fn judge(&mut self, talk: &mut Talk, verdict: fleet::Verdict) -> Result<(), End> {
        let in_flight = match std::mem::replace(&mut talk.owes, Owes::Nothing) {
            Owes::Verdict(in_flight) if in_flight.txn.as_slice() == verdict.txn => in_flight,
            // About a transaction of an older session, or of none.
            owes => {
                talk.owes = owes;
                return Ok(());
            }
        };
        let revision = in_flight.encoded.position.revision;
        let outcome = match verdict.outcome() {
            fleet::Outcome::Active => VerdictOutcome::Active,
            fleet::Outcome::ActivePartial => VerdictOutcome::Partial,
            fleet::Outcome::Refused | fleet::Outcome::Unspecified => VerdictOutcome::Refused,
        };
        let refused = verdict.refusals.len();
        self.publisher.events.verdict(outcome, &self.node.to_string(), revision, refused);
        match outcome {
            VerdictOutcome::Active | VerdictOutcome::Partial => self.taken(talk, *in_flight, verdict).await,
            VerdictOutcome::Refused | VerdictOutcome::Silent => {
                self.refused(talk, *in_flight, verdict).await?
            }
        }
        Ok(())
    }

    async fn taken(&self, talk: &mut Talk, in_flight: InFlight, verdict: fleet::Verdict) {
        let InFlight { encoded, adopted, .. } = in_flight;
        let position = encoded.position.clone();
        talk.refusals = 0;
        talk.stands = position.revision;
        talk.marked = position.revision;
        talk.marked_at = Instant::now();
        let before = std::mem::replace(&mut talk.base, Base::At(position.revision, position));
        if let Base::Differs(at, keys, _) = &before
            && !keys.is_empty()
        {
            // Proven by the digest at the commit: other nodes from there need not be asked.
            self.publisher.learn(self.region, at, &encoded);
        }
        let touched = (!encoded.snapshot).then_some(&*encoded.touched);
        talk.seat.update(|node| {
            node.refused(&verdict.refusals, touched);
            node.status.running = verdict.running;
            node.diverged &= !adopted;
        });
        if adopted {
            talk.diverged = None;
        }
        if let Err(error) = self.publisher.fleet.in_step(self.node).await {
            warn!(error = %chain(&error), node.id = %self.node, "cannot note in the database that a node is in step");
        }
    }

    /// Takes in that a whole transaction was refused: the node is asked what it holds, and sent what differs.
    async fn refused(
        &self,
        talk: &mut Talk,
        in_flight: InFlight,
        verdict: fleet::Verdict,
    ) -> Result<(), End> {
        talk.seat.update(|node| node.refused_whole(&verdict.refusals));
        if let Base::Differs(at, ..) | Base::Unknown(Some(at)) = &talk.base {
            // It was sent from what another node said of this place, or this one itself.
            self.publisher.forget(self.region, at);
        }
        drop(in_flight);
        let audit = verdict.refusals.iter().any(|it| it.key.is_none() && it.why() == fleet::Why::Audit);
        if audit && let Some(running) = verdict.running {
            self.diverged(talk, running, "with another audit head").await;
            return Ok(());
        }
        talk.refusals += 1;
        if talk.refusals >= REFUSALS_MOST {
            return Err(End::Refusing);
        }
        talk.stands = verdict.running.as_ref().map_or(0, |at| at.revision);
        talk.base = match verdict.running {
            None => Base::Nothing,
            // Asked anew whatever is remembered of the place.
            Some(_) => Base::Unknown(None),
        };
        Ok(())
    }

    /// Looks again at what was decided about the node.
    pub(super) async fn review(&mut self, talk: &mut Talk) -> Result<(), End> {
        self.not_revoked().await?;
        let draining = self.publisher.fleet.is_draining(self.node);
        if draining != talk.draining {
            talk.draining = draining;
            self.send(Message::Drain(fleet::Drain { drain: draining })).await?;
        }
        self.adopt(talk);
        self.list(talk).await
    }
}
