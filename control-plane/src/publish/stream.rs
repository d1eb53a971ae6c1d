//! One connected node: what it has, what it is sent, what it answers.
//!
//! A slow node costs a cursor, never a queue: one transaction is in flight, and what changes meanwhile is
//! in the next. A stream that ends takes nothing back. A node that our history cannot have brought to
//! where it stands is sent nothing at all.

mod place;

use std::sync::Arc;
use std::time::Duration;

use futures_util::{Stream, StreamExt as _};
use rr_contract::model::id::{NodeId, RegionId};
use rr_contract::model::time;
use rr_contract::runtime::Stop;
use rr_contract::seam::{Seams, draw};
use rr_contract::wire::fleet;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout};
use tonic::Status;
use tracing::debug;

use super::chunk::Encoded;
use super::fleet::{LiveNode, Seat};
use super::{Next, Publisher};
use crate::events::VerdictOutcome;
use crate::store::micros;

/// How long a node may take to say Hello.
const HELLO_LIMIT: Duration = Duration::from_secs(10);
/// How long a node may take to answer a transaction.
const VERDICT_LIMIT: Duration = Duration::from_secs(60);
/// How long a message may wait for a node to read.
const SEND_LIMIT: Duration = Duration::from_secs(30);
/// How often an idle node is told that it is current, when the head moved and when it did not.
const MARK_MOVED: Duration = Duration::from_secs(1);
const MARK_IDLE: Duration = Duration::from_secs(5);
const STATUS_EVERY: Duration = Duration::from_secs(10);
/// Over how long nodes spread their reconnects when we stop.
const GOAWAY_SPREAD: Duration = Duration::from_secs(5);
/// Refusals of a whole transaction in a row after which the stream is given up.
const REFUSALS_MOST: u32 = 3;

/// A node's stream, before its Hello.
pub(crate) struct Session<I> {
    pub(crate) publisher: Arc<Publisher>,
    pub(crate) seams: Seams,
    pub(crate) node: NodeId,
    pub(crate) region: RegionId,
    pub(crate) address: String,
    pub(crate) inbound: I,
    pub(crate) out: mpsc::Sender<Result<fleet::SyncResponse, Status>>,
    pub(crate) stop: Stop,
}

/// Why a stream ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum End {
    #[error("node left")]
    Left,
    #[error("control plane is stopping")]
    Stopping,
    #[error("another session of the same node came")]
    Fenced,
    #[error("no Hello in time")]
    NoHello,
    #[error("node speaks another protocol")]
    Protocol,
    #[error("node does not read")]
    Stalled,
    #[error("node did not answer a transaction in time")]
    Silent,
    #[error("node keeps refusing whole transactions")]
    Refusing,
    #[error("configuration is not loaded, or was loaded anew")]
    Reloaded,
}

/// A transaction without its answer.
struct InFlight {
    txn: [u8; 16],
    encoded: Arc<Encoded>,
    deadline: Instant,
}

/// Where the conversation stands.
struct Talk {
    seat: Seat,
    heads: watch::Receiver<u64>,
    generation: u64,
    /// Where the node stands: our revision with that content, and its own position. None: send everything.
    base: Option<(u64, fleet::Position)>,
    in_flight: Option<InFlight>,
    diverged: bool,
    refusals: u32,
    marked: u64,
    marked_at: Instant,
}

impl<I> Session<I>
where
    I: Stream<Item = Result<fleet::SyncRequest, Status>> + Unpin + Send,
{
    /// Serves the stream to its end. The answer to the caller was sent before: here the first message is
    /// waited for.
    pub(crate) async fn run(mut self) -> End {
        let stop = self.stop.clone();
        let hello = tokio::select! {
            () = stop.requested() => None,
            hello = timeout(HELLO_LIMIT, self.inbound.next()) => hello.ok(),
        };
        let Some(Some(Ok(fleet::SyncRequest { message: Some(fleet::sync_request::Message::Hello(hello)) }))) =
            hello
        else {
            self.fail(Status::invalid_argument("the first message is Hello, within 10 seconds")).await;
            return End::NoHello;
        };
        if hello.protocol != 1 {
            self.fail(Status::failed_precondition("this control plane speaks protocol 1")).await;
            return End::Protocol;
        }
        let end = self.converse(hello).await;
        match end {
            End::Left | End::Stopping => {}
            End::Fenced => self.fail(Status::aborted(end.to_string())).await,
            End::Reloaded => self.fail(Status::unavailable(end.to_string())).await,
            End::NoHello | End::Protocol | End::Stalled | End::Silent | End::Refusing => {
                self.fail(Status::deadline_exceeded(end.to_string())).await;
            }
        }
        end
    }

    async fn converse(&mut self, hello: fleet::Hello) -> End {
        let mut talk = match self.begin(&hello).await {
            Ok(talk) => talk,
            Err(end) => return end,
        };
        self.publisher.events.node_connected(
            &self.node.to_string(),
            &self.region.to_string(),
            &self.address,
            &hello.build,
        );
        let end = match self.serve(&mut talk).await {
            Ok(never) => match never {},
            Err(end) => end,
        };
        self.publisher.events.node_gone(&self.node.to_string(), &end.to_string());
        end
    }

    /// Takes the node's seat, greets it and finds out where it stands.
    async fn begin(&mut self, hello: &fleet::Hello) -> Result<Talk, End> {
        let heads = self.publisher.announced.subscribe();
        let status = fleet::Status {
            running: hello.resume.clone(),
            standing: hello.standing.clone(),
            ..Default::default()
        };
        let seat = self.publisher.fleet.enter(
            self.node,
            LiveNode {
                region: self.region,
                address: self.address.clone(),
                build: hello.build.chars().take(64).collect(),
                status,
                last_seen_at: micros(self.seams.clock.now()),
                diverged: false,
            },
        );
        let welcome = fleet::Welcome {
            session: draw::<16>(&*self.seams.entropy).to_vec(),
            now: Some(time::timestamp(self.seams.clock.now())),
            status_every: Some(time::wire_duration(STATUS_EVERY)),
            draining: false,
        };
        self.send(fleet::sync_response::Message::Welcome(welcome)).await?;
        let mut talk = Talk {
            seat,
            heads,
            generation: 0,
            base: None,
            in_flight: None,
            diverged: false,
            refusals: 0,
            marked: 0,
            marked_at: Instant::now(),
        };
        self.place(&mut talk, hello.resume.as_ref()).await?;
        Ok(talk)
    }

    async fn serve(&mut self, talk: &mut Talk) -> Result<std::convert::Infallible, End> {
        let stop = self.stop.clone();
        let fence = talk.seat.fence().clone();
        let mut marks = interval(MARK_MOVED);
        marks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let idle = talk.in_flight.is_none() && !talk.diverged;
            if idle {
                self.advance(talk, &fence).await?;
            }
            let waiting = talk.in_flight.as_ref().map(|in_flight| in_flight.deadline);
            let idle = waiting.is_none() && !talk.diverged;
            tokio::select! {
                () = stop.requested() => {
                    let goaway = fleet::Goaway {
                        reason: End::Stopping.to_string(),
                        spread_over: Some(time::wire_duration(GOAWAY_SPREAD)),
                    };
                    self.send(fleet::sync_response::Message::Goaway(goaway)).await?;
                    return Err(End::Stopping);
                }
                () = fence.cancelled() => return Err(End::Fenced),
                message = self.inbound.next() => match message {
                    Some(Ok(message)) => self.hear(talk, message)?,
                    Some(Err(status)) => {
                        debug!(node.id = %self.node, code = ?status.code(), "stream broke");
                        return Err(End::Left);
                    }
                    None => return Err(End::Left),
                },
                // Fails only when the publisher is gone, and then the stop comes too.
                _ = talk.heads.changed(), if idle => {}
                () = sleep_until(waiting.unwrap_or_else(Instant::now)), if waiting.is_some() => {
                    let revision = talk.in_flight.as_ref().map_or(0, |it| it.encoded.position.revision);
                    self.publisher.events.verdict(VerdictOutcome::Silent, &self.node.to_string(), revision, 0);
                    return Err(End::Silent);
                }
                _ = marks.tick(), if idle => self.mark(talk).await?,
            }
        }
    }

    /// Sends what the node lacks, if it lacks something.
    async fn advance(
        &mut self,
        talk: &mut Talk,
        fence: &tokio_util::sync::CancellationToken,
    ) -> Result<(), End> {
        talk.heads.mark_unchanged();
        let from = talk.base.as_ref().map(|(revision, _)| *revision);
        let encoded = match self.publisher.next(self.region, from, talk.generation).await {
            Next::Settled => return Ok(()),
            Next::Gone => return Err(End::Reloaded),
            Next::Send(encoded) => encoded,
        };
        let base = talk.base.as_ref().map(|(_, position)| position.clone());
        let txn = draw::<16>(&*self.seams.entropy);
        let stop = self.stop.clone();
        // A large snapshot takes a while to a slow node: the stop and the fence do not wait for it.
        tokio::select! {
            () = stop.requested() => return Ok(()),
            () = fence.cancelled() => return Err(End::Fenced),
            sent = self.transmit(txn, base, &encoded) => sent?,
        }
        talk.in_flight = Some(InFlight { txn, encoded, deadline: Instant::now() + VERDICT_LIMIT });
        Ok(())
    }

    async fn transmit(
        &self,
        txn: [u8; 16],
        base: Option<fleet::Position>,
        encoded: &Encoded,
    ) -> Result<(), End> {
        use fleet::sync_response::Message;

        let mode = if encoded.snapshot { fleet::Mode::Snapshot } else { fleet::Mode::Delta };
        self.send(Message::Begin(fleet::Begin {
            txn: txn.to_vec(),
            mode: mode.into(),
            base: base.filter(|_| !encoded.snapshot).map(|base| base.digest).unwrap_or_default(),
            chunks: u32::try_from(encoded.chunks.len()).unwrap_or(u32::MAX),
            ..Default::default()
        }))
        .await?;
        for (index, (body, crc32)) in (0..).zip(&encoded.chunks) {
            self.send(Message::Chunk(fleet::Chunk {
                txn: txn.to_vec(),
                index,
                body: body.clone(),
                crc32: *crc32,
            }))
            .await?;
        }
        self.send(Message::Commit(fleet::Commit {
            txn: txn.to_vec(),
            position: Some(encoded.position.clone()),
            ..Default::default()
        }))
        .await
    }

    /// Tells an idle node how far nothing changed for it.
    async fn mark(&mut self, talk: &mut Talk) -> Result<(), End> {
        let Some((from, _)) = talk.base else { return Ok(()) };
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
        talk.marked_at = Instant::now();
        talk.base = Some((position.revision, position.clone()));
        self.send(fleet::sync_response::Message::Mark(fleet::Mark { position: Some(position) })).await
    }

    fn hear(&self, talk: &mut Talk, message: fleet::SyncRequest) -> Result<(), End> {
        use fleet::sync_request::Message;

        let now = micros(self.seams.clock.now());
        match message.message {
            Some(Message::Status(status)) => talk.seat.update(|node| {
                node.last_seen_at = now;
                node.status = status;
            }),
            Some(Message::Verdict(verdict)) => {
                talk.seat.update(|node| node.last_seen_at = now);
                return self.judge(talk, verdict);
            }
            // A second Hello means nothing within a stream; what we do not know, we pass over.
            Some(Message::Hello(_) | Message::Buckets(_)) | None => {}
        }
        Ok(())
    }

    fn judge(&self, talk: &mut Talk, verdict: fleet::Verdict) -> Result<(), End> {
        let Some(in_flight) = talk.in_flight.take_if(|it| it.txn.as_slice() == verdict.txn) else {
            // About a transaction of an older session, or of none.
            return Ok(());
        };
        let position = in_flight.encoded.position.clone();
        let touched = (!in_flight.encoded.snapshot).then_some(in_flight.encoded.touched.as_slice());
        let outcome = match verdict.outcome() {
            fleet::Outcome::Active => VerdictOutcome::Active,
            fleet::Outcome::ActivePartial => VerdictOutcome::Partial,
            fleet::Outcome::Refused | fleet::Outcome::Unspecified => VerdictOutcome::Refused,
        };
        let refused = verdict.refusals.len();
        self.publisher.events.verdict(outcome, &self.node.to_string(), position.revision, refused);
        match outcome {
            VerdictOutcome::Active | VerdictOutcome::Partial => {
                talk.refusals = 0;
                talk.marked = position.revision;
                talk.marked_at = Instant::now();
                talk.base = Some((position.revision, position));
                talk.seat.update(|node| {
                    node.refused(&verdict.refusals, touched);
                    node.status.running = verdict.running;
                });
            }
            VerdictOutcome::Refused | VerdictOutcome::Silent => {
                // About the session, not about a resource: everything is sent next, and if even that is
                // not taken the node may come anew.
                talk.refusals += 1;
                talk.base = None;
                if talk.refusals >= REFUSALS_MOST {
                    return Err(End::Refusing);
                }
            }
        }
        Ok(())
    }

    async fn send(&self, message: fleet::sync_response::Message) -> Result<(), End> {
        let response = fleet::SyncResponse { message: Some(message) };
        match timeout(SEND_LIMIT, self.out.send(Ok(response))).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_closed)) => Err(End::Left),
            Err(_elapsed) => Err(End::Stalled),
        }
    }

    async fn fail(&self, status: Status) {
        // Who does not read does not learn why, and a full channel is no reason to wait.
        self.out.try_send(Err(status)).ok();
    }
}
