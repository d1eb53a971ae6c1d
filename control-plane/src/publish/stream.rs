//! One connected node: what it has, what it is sent, what it answers.
//!
//! A slow node costs a cursor, never a queue: one transaction is in flight, and what changes meanwhile is
//! in the next. A stream that ends takes nothing back. A diverged node, which our history cannot
//! have brought to its position, is sent nothing at all until a person decides.

mod answer;
mod deliver;
mod keys;
mod listing;
mod outgoing;
mod place;
mod restrain;

use std::sync::Arc;
use std::time::Duration;

use futures_util::{Stream, StreamExt as _};
use rr_contract::model::id::{NodeId, RegionId};
use rr_contract::model::time;
use rr_contract::runtime::Stop;
use rr_contract::seam::{Seams, draw};
use rr_contract::wire::fleet;
use rr_contract::wire::fleet::sync_response::Message;
use tokio::sync::{OwnedSemaphorePermit, mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tracing::debug;

use super::chunk::Encoded;
use super::nodes::{LiveNode, Seat};
use super::survey::Survey;
use super::{Base, Publisher, sanitize};
use crate::events::{VerdictOutcome, WaitReason};
use crate::retry;
use crate::store::ledger::{Adopted, Crash};
use crate::store::micros;

pub(crate) use outgoing::{Outgoing, Outgoings};

use keys::SentKeys;
use listing::Listing;

/// How long a node may take to say Hello.
const HELLO_LIMIT: Duration = Duration::from_secs(10);
/// How long a node may take to answer a transaction, and how much longer for each MiB of it.
const VERDICT_LIMIT: Duration = Duration::from_secs(30);
const VERDICT_LIMIT_MIB: Duration = Duration::from_secs(1);
/// How long a node may take to report what it holds.
const REPORT_LIMIT: Duration = Duration::from_secs(30);
/// How long a message may wait for a node to read.
const SEND_LIMIT: Duration = Duration::from_secs(30);
/// How often an idle node is told that it is current, when the head moved and when it did not.
const MARK_MOVED: Duration = Duration::from_secs(1);
const MARK_IDLE: Duration = Duration::from_secs(5);
const STATUS_EVERY: Duration = Duration::from_secs(10);
/// Over how long nodes spread their reconnects when we stop.
const GOAWAY_SPREAD: Duration = Duration::from_secs(5);
/// After so many refusals of a whole transaction, or invalid reports, in a row the stream is ended.
const REFUSALS_MOST: u32 = 3;
/// When a process should come again that met a place which may be free soon.
const COME_AGAIN: Duration = Duration::from_secs(2);

/// A node's stream, before its Hello.
pub(crate) struct Session<I> {
    pub(crate) publisher: Arc<Publisher>,
    pub(crate) seams: Seams,
    pub(crate) node: NodeId,
    pub(crate) region: RegionId,
    pub(crate) address: String,
    /// What the node had proven, as it said last to whichever replica.
    pub(crate) proven: Option<fleet::Position>,
    /// The public key that keys of its region are sealed to; empty where it could not be read.
    pub(crate) node_key: Vec<u8>,
    pub(crate) inbound: I,
    pub(crate) out: mpsc::Sender<Result<Outgoing, Status>>,
    pub(crate) stop: Stop,
    /// Cancelled when the root of the certificate that the node showed is trusted no more.
    pub(crate) removed: CancellationToken,
    /// What nodes are told of the authorities, and the pins of those; nothing where there are none.
    pub(crate) authorities: watch::Receiver<Arc<(fleet::Authorities, Vec<Vec<u8>>)>>,
}

/// Why a stream ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum End {
    #[error("the node closed the stream")]
    Left,
    #[error("the control plane is stopping")]
    Stopping,
    #[error("a newer session of the same node took over")]
    Fenced,
    #[error(
        "another process is connected as this node, as after a copy of its disk or machine: stop one of them, empty its state folder and join it again"
    )]
    Clash,
    #[error("could not find out whether another process is connected as this node; connect again")]
    PerhapsClash,
    #[error("the root that issued the certificate of this connection was removed from the authority")]
    Removed,
    #[error("the node sent no Hello within 10 seconds")]
    NoHello,
    #[error("the node speaks another version of the protocol")]
    Protocol,
    #[error("the node does not read what it is sent")]
    Stalled,
    #[error("the node did not answer in time")]
    Silent,
    #[error("the node refused several whole transactions in a row")]
    Refusing,
    #[error("the node sent a position or a report that is not valid")]
    InvalidAnswer,
    #[error("the configuration is being loaded, connect again")]
    Reloaded,
    #[error(
        "this node was revoked: it is to remove its keys and to stop; the machine can join again as another node"
    )]
    Revoked,
}

/// A transaction that was sent and is not answered yet.
struct InFlight {
    txn: [u8; 8],
    encoded: Arc<Encoded>,
    /// Whether it was sent because of an adoption.
    adopted: bool,
    deadline: Instant,
    /// Held until the answer, so that what it teaches is there for those that wait for the place.
    _place: Option<OwnedSemaphorePermit>,
}

/// A survey whose report is not complete yet.
struct Asked {
    survey: Survey,
    deadline: Instant,
    place: Option<OwnedSemaphorePermit>,
}

/// The answer that the node owes.
enum Owes {
    Nothing,
    Verdict(Box<InFlight>),
    Report(Box<Asked>),
    /// What it holds, for a person: only a diverged node is asked that.
    Listing(Box<Listing>),
}

/// The position of a diverged node, and what was decided about it.
struct Diverged {
    at: fleet::Position,
    /// Microseconds since 1970.
    since: i64,
    adopted: Option<Adopted>,
}

/// The state of the conversation with one node.
struct Talk {
    seat: Seat,
    heads: watch::Receiver<u64>,
    changes: watch::Receiver<u64>,
    generation: u64,
    base: Base,
    /// The revision that the node reports.
    stands: u64,
    owes: Owes,
    diverged: Option<Box<Diverged>>,
    waiting: Option<WaitReason>,
    /// The revision up to which a waiting node was told of removals.
    restrained: u64,
    draining: bool,
    keys: SentKeys,
    /// Held since a list was asked for, until what came of it was answered.
    place: Option<OwnedSemaphorePermit>,
    refusals: u32,
    /// How often in a row it ran other content than it had taken.
    strayed: u32,
    marked: u64,
    marked_at: Instant,
}

impl Talk {
    /// Whether it owes no answer and may be sent something.
    fn idle(&self) -> bool {
        let adopted = |diverged: &Diverged| diverged.adopted.is_some();
        matches!(self.owes, Owes::Nothing) && self.diverged.as_deref().is_none_or(adopted)
    }

    fn deadline(&self) -> Option<Instant> {
        match &self.owes {
            Owes::Nothing => None,
            Owes::Verdict(in_flight) => Some(in_flight.deadline),
            Owes::Report(asked) => Some(asked.deadline),
            Owes::Listing(listing) => Some(listing.deadline),
        }
    }
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
            biased;
            () = stop.requested() => None,
            hello = timeout(HELLO_LIMIT, self.inbound.next()) => hello.ok(),
        };
        let Some(Some(Ok(fleet::SyncRequest { message: Some(fleet::sync_request::Message::Hello(hello)) }))) =
            hello
        else {
            self.fail(Status::invalid_argument("the first message must be Hello, within 10 seconds"));
            return End::NoHello;
        };
        if hello.protocol != 1 {
            self.fail(Status::failed_precondition("this control plane speaks protocol 1"));
            return End::Protocol;
        }
        let end = self.converse(hello).await;
        match end {
            End::Left | End::Stopping | End::Removed => {}
            End::Fenced => self.fail(Status::aborted(end.to_string())),
            End::Clash => self.fail(Status::already_exists(end.to_string())),
            End::Revoked => self.fail(Status::permission_denied(end.to_string())),
            End::PerhapsClash => self.fail(retry::unavailable(&end.to_string(), COME_AGAIN)),
            End::Reloaded => self.fail(Status::unavailable(end.to_string())),
            End::NoHello | End::Protocol | End::InvalidAnswer => {
                self.fail(Status::invalid_argument(end.to_string()));
            }
            End::Stalled | End::Silent | End::Refusing => {
                self.fail(Status::deadline_exceeded(end.to_string()));
            }
        }
        end
    }

    async fn converse(&mut self, hello: fleet::Hello) -> End {
        let build = sanitize::text(&hello.build, 64);
        // Boxed, like all that is rare: what an idle node costs is the size of what may run next.
        let mut talk = match Box::pin(self.begin(hello)).await {
            Ok(talk) => talk,
            Err(end) => return end,
        };
        let id = self.node.to_string();
        self.publisher.events.node_connected(&id, &self.region.to_string(), &self.address, &build);
        let end = match self.serve(&mut talk).await {
            Ok(never) => match never {},
            Err(end) => end,
        };
        self.publisher.events.node_gone(&self.node.to_string(), &end.to_string());
        end
    }

    async fn begin(&mut self, mut hello: fleet::Hello) -> Result<Box<Talk>, End> {
        if let Some(resume) = hello.resume.take() {
            hello.resume = Some(sanitize::position(resume).ok_or(End::InvalidAnswer)?);
        }
        let heads = self.publisher.announced.subscribe();
        let changes = self.publisher.fleet.changes();
        let lacks = self.lacks(&hello);
        let mut node = LiveNode {
            region: self.region,
            address: self.address.clone(),
            build: sanitize::text(&hello.build, 64),
            boot_id: hello.boot_id.iter().copied().take(16).collect(),
            features: features(hello.features),
            status: fleet::Status {
                running: hello.resume.clone(),
                standing: sanitize::refusals(hello.standing),
                region_epoch: hello.region_epoch,
                trusted_authorities: sanitize::pins(hello.trusted_authorities.clone()),
                certified_by: sanitize::pin(hello.certified_by.clone()),
                ..Default::default()
            },
            last_seen_at: micros(self.seams.clock.now()),
            diverged: false,
        };
        if let Some(proven) = self.proven.take() {
            node.had_proven(proven);
        }
        let boot_id = node.boot_id.clone();
        let entered = tokio::select! {
            biased;
            // Who went meanwhile takes nobody's place.
            () = self.out.closed() => return Err(End::Left),
            entered = self.publisher.fleet.enter(self.node, node) => entered,
        };
        let seat = entered.map_err(|clash| {
            if clash.perhaps {
                return End::PerhapsClash;
            }
            self.publisher.events.node_clash(&self.node.to_string(), &clash.there, &clash.newcomer);
            End::Clash
        })?;
        self.not_revoked().await?;
        let draining = self.publisher.fleet.is_draining(self.node);
        let welcome = fleet::Welcome {
            session: draw::<16>(&*self.seams.entropy).to_vec(),
            now: Some(time::timestamp(self.seams.clock.now())),
            status_every: Some(time::wire_duration(STATUS_EVERY)),
            draining,
        };
        self.send(Message::Welcome(welcome)).await?;
        if lacks {
            self.tell_authorities().await?;
        }
        let mut talk = Box::new(Talk {
            seat,
            heads,
            changes,
            generation: 0,
            base: Base::Nothing,
            stands: hello.resume.as_ref().map_or(0, |at| at.revision),
            owes: Owes::Nothing,
            diverged: None,
            waiting: None,
            restrained: 0,
            draining,
            keys: SentKeys::new(hello.region_epoch),
            place: None,
            refusals: 0,
            strayed: 0,
            marked: 0,
            marked_at: Instant::now(),
        });
        self.place(&mut talk, hello.resume).await?;
        if let Some(tried) = hello.crash.and_then(|crash| crash.tried).and_then(sanitize::position)
            && talk.diverged.is_none()
        {
            self.crashed(tried, &boot_id).await;
        }
        Ok(talk)
    }

    /// Whether a node trusts or shows something else than what is issued and trusted now.
    fn lacks(&mut self, hello: &fleet::Hello) -> bool {
        let (now, pins) = &**self.authorities.borrow_and_update();
        let trusts = &hello.trusted_authorities;
        let all = trusts.len() == pins.len() && pins.iter().all(|pin| trusts.contains(pin));
        // One that says nothing is of a version that takes none.
        !(pins.is_empty() || trusts.is_empty() || all && hello.certified_by == now.issuer)
    }

    /// Tells the node which authorities it is to trust from now on.
    async fn tell_authorities(&mut self) -> Result<(), End> {
        let now = self.authorities.borrow_and_update().0.clone();
        if now.trust.is_empty() { Ok(()) } else { self.send(Message::Authorities(now)).await }
    }

    /// Ends the stream of a node that was revoked, with a word on it.
    async fn not_revoked(&self) -> Result<(), End> {
        let Some(node_token) = self.publisher.fleet.revoked(self.node) else { return Ok(()) };
        self.send(revoked(node_token)).await?;
        Err(End::Revoked)
    }

    /// Notes that the node crashed on a content.
    async fn crashed(&self, tried: fleet::Position, boot_id: &[u8]) {
        let revision = tried.revision;
        // What was never published here, nobody can have been sent: it would hold the region for nothing.
        let is_ours = {
            let index = self.publisher.read();
            let view = index.as_ref().and_then(|index| index.view(self.region));
            view.is_some_and(|view| view.revision_of(&tried).is_some())
        };
        if !is_ours {
            debug!(node.id = %self.node, revision, "node says that it ended on what is not known here");
            return;
        }
        let crash = Crash { node: self.node, region: self.region, digest: tried.digest, revision };
        if self.publisher.fleet.crashed(crash, boot_id).await {
            self.publisher.events.node_crashed(&self.node.to_string(), revision);
        }
    }

    async fn serve(&mut self, talk: &mut Talk) -> Result<std::convert::Infallible, End> {
        let stop = self.stop.clone();
        let fence = talk.seat.fence().clone();
        let removed = self.removed.clone();
        let mut marks = interval(MARK_MOVED);
        marks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            if talk.idle() {
                Box::pin(self.advance(talk, &fence)).await?;
            }
            let (idle, owed_until) = (talk.idle(), talk.deadline());
            let waits = talk.diverged.as_ref().is_some_and(|diverged| diverged.adopted.is_none());
            // In this order: a node that talks without end puts off nothing but its own marks.
            tokio::select! {
                biased;
                () = stop.requested() => {
                    let goaway = fleet::Goaway {
                        reason: End::Stopping.to_string(),
                        spread_over: Some(time::wire_duration(GOAWAY_SPREAD)),
                    };
                    self.send(Message::Goaway(goaway)).await?;
                    return Err(End::Stopping);
                }
                () = fence.cancelled() => return Err(End::Fenced),
                () = removed.cancelled() => {
                    // With the certificate that it has by now it is let in.
                    let goaway = fleet::Goaway {
                        reason: End::Removed.to_string(),
                        spread_over: Some(time::wire_duration(GOAWAY_SPREAD)),
                    };
                    self.send(Message::Goaway(goaway)).await?;
                    return Err(End::Removed);
                }
                Ok(()) = self.authorities.changed() => self.tell_authorities().await?,
                () = sleep_until(owed_until.unwrap_or_else(Instant::now)), if owed_until.is_some() => {
                    if let Owes::Verdict(in_flight) = &talk.owes {
                        let revision = in_flight.encoded.position.revision;
                        let silent = VerdictOutcome::Silent;
                        self.publisher.events.verdict(silent, &self.node.to_string(), revision, 0);
                    }
                    return Err(End::Silent);
                }
                // Fails only when the publisher is gone, and then the stop comes too.
                // An adoption holds from its own revision on, which our index may see after the decision itself.
                _ = talk.heads.changed(), if idle || waits => if waits { self.adopt(talk) },
                _ = talk.changes.changed() => Box::pin(self.review(talk)).await?,
                () = talk.seat.pinged() => self.ping(talk).await?,
                () = talk.seat.asked_to_test() => self.test(talk).await?,
                message = self.inbound.next() => match message {
                    Some(Ok(message)) => Box::pin(self.hear(talk, message)).await?,
                    Some(Err(status)) => {
                        debug!(node.id = %self.node, code = ?status.code(), "stream broke");
                        return Err(End::Left);
                    }
                    None => return Err(End::Left),
                },
                _ = marks.tick(), if idle => self.mark(talk).await?,
            }
        }
    }

    /// Has the node test what it is to test.
    async fn test(&self, talk: &Talk) -> Result<(), End> {
        for asked in talk.seat.tests() {
            self.send(Message::Test(asked)).await?;
        }
        Ok(())
    }

    /// Asks the node whether it is there.
    async fn ping(&self, talk: &Talk) -> Result<(), End> {
        match talk.seat.ping() {
            Some(number) => self.send(Message::Ping(fleet::Ping { number })).await,
            None => Ok(()),
        }
    }

    async fn send(&self, message: Message) -> Result<(), End> {
        self.put(Outgoing::One(Box::new(message))).await
    }

    async fn put(&self, outgoing: Outgoing) -> Result<(), End> {
        match timeout(SEND_LIMIT, self.out.send(Ok(outgoing))).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_closed)) => Err(End::Left),
            Err(_elapsed) => Err(End::Stalled),
        }
    }

    fn fail(&self, status: Status) {
        // Who does not read does not learn why, and a full channel is no reason to wait.
        self.out.try_send(Err(status)).ok();
    }
}

/// Tells a node that it was revoked.
pub(crate) fn revoked(node_token: String) -> Message {
    Message::Revoked(fleet::Revoked { reason: End::Revoked.to_string(), node_token })
}

/// Names of features that can be stored with spaces between; others are none of ours.
fn features(said: Vec<String>) -> Vec<String> {
    let good = |name: &String| {
        !name.is_empty() && name.len() <= 64 && name.bytes().all(|byte| byte.is_ascii_graphic())
    };
    said.into_iter().filter(good).take(64).collect()
}
