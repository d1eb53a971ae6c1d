//! One stream with the control plane, from Hello to its end.
//!
//! Connects nothing and waits for no next try: that is `sync`. Whatever ends a stream, what was configured
//! stays.

use std::time::Duration;

use rr_contract::model::time;
use rr_contract::wire::fleet;
use rr_contract::wire::fleet::config_service_client::ConfigServiceClient;
use rr_contract::wire::fleet::sync_request::Message as Said;
use rr_contract::wire::fleet::sync_response::Message as Heard;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;
use tonic::transport::Channel;
use tracing::{info, warn};

use crate::identity::Revoked;

use super::Sync;
use super::apply::{Answer, RefusedMark};
use super::compare;
use super::inventory::FEATURES;
use super::position::InvalidPosition;
use super::transaction::CHUNK_MAX;

const PROTOCOL: u32 = 1;
/// Maximum size of a message: a chunk and its envelope.
const MESSAGE_MAX: usize = CHUNK_MAX + 64 * 1024;
/// Capacity for outgoing verdicts and statuses.
const OUTBOUND: usize = 16;
/// How often the workers are checked.
const LOOK: Duration = Duration::from_millis(50);
/// Time for the response head. A peer may be alive and still not serve.
const ANSWER: Duration = Duration::from_secs(15);
const STATUS_EVERY: Duration = Duration::from_secs(10);
const STATUS_EVERY_MIN: Duration = Duration::from_millis(100);
/// After a mark: soon, but not once for each change of another region.
const STATUS_AFTER_MARK: Duration = Duration::from_secs(1);
/// How long marks for another state are tolerated.
const ASTRAY_MAX: Duration = Duration::from_secs(10);

/// How a stream ended.
#[derive(Debug)]
pub(crate) enum Ended {
    /// The control plane asks to come back within this time.
    Goaway(Duration),
    /// The control plane closed the stream.
    Closed,
    /// An operator revoked this node.
    Revoked(Revoked),
}

/// Why a stream broke.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SessionError {
    #[error("stream to the control plane broke")]
    Stream(#[source] tonic::Status),
    #[error("control plane did not answer the stream request in time")]
    Silent,
    #[error("control plane no longer reads from the stream")]
    Deaf,
    #[error("control plane keeps sending marks for a state that this node does not hold")]
    Diverged,
    #[error("control plane sent a malformed mark")]
    Mark(#[source] InvalidPosition),
}

impl SessionError {
    /// Whether the control plane wants another certificate.
    pub(super) fn is_about_certificate(&self) -> bool {
        matches!(self, Self::Stream(status) if status.code() == Code::Unauthenticated)
    }
}

/// One stream.
pub(crate) struct Session<'a> {
    sync: &'a mut Sync,
    outbound: mpsc::Sender<fleet::SyncRequest>,
    /// For what comes of tests. They end by themselves, and without a reader their answers are lost.
    tested: mpsc::Sender<fleet::TargetTested>,
    status_every: Duration,
    last_status: Instant,
    /// The revision has moved since, or history was found rewritten.
    moved: bool,
    /// Since when the control plane has sent marks for a state that this node does not hold.
    astray_since: Option<Instant>,
}

impl<'a> Session<'a> {
    /// Opens a stream and serves it until it ends. `heard` is set once a message has come.
    pub(crate) async fn run(
        sync: &'a mut Sync,
        channel: Channel,
        heard: &mut bool,
    ) -> Result<Ended, SessionError> {
        let (outbound, queue) = mpsc::channel(OUTBOUND);
        let (tested, mut tests) = mpsc::channel(OUTBOUND);
        let mut session = Session {
            sync,
            outbound,
            tested,
            status_every: STATUS_EVERY,
            last_status: Instant::now(),
            moved: false,
            astray_since: None,
        };
        // Before the call: a server that answers with its first message waits for ours, and the call for it.
        session.say(Said::Hello(session.hello())).await?;
        let mut service = ConfigServiceClient::new(channel)
            .max_decoding_message_size(MESSAGE_MAX)
            .max_encoding_message_size(MESSAGE_MAX);
        let call = timeout(ANSWER, service.sync(ReceiverStream::new(queue))).await;
        let mut inbound = call.map_err(|_| SessionError::Silent)?.map_err(SessionError::Stream)?.into_inner();
        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                message = inbound.message() => {
                    let Some(message) = message.map_err(SessionError::Stream)? else {
                        return Ok(Ended::Closed);
                    };
                    *heard = true;
                    if let Some(ended) = session.hear(message).await? {
                        return Ok(ended);
                    }
                }
                Some(tested) = tests.recv() => session.say(Said::Tested(tested)).await?,
                _ = looks.tick() => session.look().await?,
            }
        }
    }

    fn hello(&self) -> fleet::Hello {
        let (trusted_authorities, certified_by) = self.sync.authorities();
        fleet::Hello {
            protocol: PROTOCOL,
            build: crate::BUILD.to_owned(),
            boot_id: self.sync.boot_id.to_vec(),
            features: FEATURES.iter().map(|feature| (*feature).to_owned()).collect(),
            resume: self.sync.applier.running().map(super::Position::to_wire),
            standing: self.sync.applier.standing(),
            crash: self.sync.applier.crash(),
            region_epoch: self.sync.region_epoch(),
            trusted_authorities,
            certified_by,
        }
    }

    async fn hear(&mut self, message: fleet::SyncResponse) -> Result<Option<Ended>, SessionError> {
        match message.message {
            Some(Heard::Welcome(welcome)) => {
                self.welcome(&welcome);
                // The control plane's knowledge of this node may be outdated.
                self.tell().await?;
            }
            Some(Heard::Begin(begin)) => {
                self.astray_since = None;
                let answer = self.sync.applier.begin(begin);
                self.answer(answer).await?;
            }
            Some(Heard::Chunk(chunk)) => {
                let answer = self.sync.applier.chunk(&chunk);
                self.answer(answer).await?;
            }
            Some(Heard::Commit(commit)) => {
                let answer = self.sync.applier.commit(&commit).await;
                self.sync.note_position();
                self.moved |= self.sync.applier.is_history_rewritten();
                self.answer(answer).await?;
            }
            Some(Heard::Mark(mark)) => {
                match self.sync.applier.mark(&mark).await {
                    // A new stream would not change it: the status reports it.
                    Ok(()) | Err(RefusedMark::Rewritten) => {}
                    Err(RefusedMark::Elsewhere) => return self.astray().await.map(|()| None),
                    Err(RefusedMark::Invalid(invalid)) => return Err(SessionError::Mark(invalid)),
                }
                self.astray_since = None;
                self.sync.note_position();
                self.moved = true;
            }
            Some(Heard::Goaway(goaway)) => {
                info!(reason = goaway.reason, "control plane asked this node to reconnect");
                let spread = goaway.spread_over.as_ref().and_then(|spread| time::duration(spread).ok());
                return Ok(Some(Ended::Goaway(spread.unwrap_or_default())));
            }
            Some(Heard::Revoked(revoked)) => {
                let fleet::Revoked { reason, node_token } = revoked;
                return Ok(Some(Ended::Revoked(Revoked { reason, node_token })));
            }
            Some(Heard::BucketQuery(query)) => self.report(&query).await?,
            Some(Heard::Drain(drain)) => {
                self.sync.set_draining(drain.drain);
                self.tell().await?;
            }
            Some(Heard::Test(asked)) => {
                if let Some(tests) = &self.sync.tests {
                    tests.start(self.sync.applier.snapshot(), asked, self.tested.clone());
                }
            }
            // Boxed: rare, and what it holds would make every stream larger.
            Some(Heard::RegionKey(given)) => Box::pin(self.take_region_key(given)).await?,
            Some(Heard::Authorities(told)) => {
                Box::pin(self.sync.take_authorities(told)).await;
                self.tell().await?;
            }
            Some(Heard::Ping(ping)) => self.say(Said::Pong(fleet::Pong { number: ping.number })).await?,
            Some(Heard::Restrain(restrain)) => match self.sync.applier.restrain(&restrain).await {
                Ok(false) => {}
                Ok(true) => {
                    self.sync.note_position();
                    self.tell().await?;
                }
                Err(fault) => {
                    warn!(%fault, "control plane sent an unreadable message about resources to withhold")
                }
            },
            // A message kind of a later protocol version: ignored.
            None => {}
        }
        Ok(None)
    }

    async fn take_region_key(&mut self, given: fleet::RegionKey) -> Result<(), SessionError> {
        if !self.sync.take_region_key(given).await {
            return Ok(());
        }
        self.sync.note_position();
        self.tell().await
    }

    fn welcome(&mut self, welcome: &fleet::Welcome) {
        if let Some(every) = welcome.status_every.as_ref().and_then(|every| time::duration(every).ok()) {
            self.status_every = every.max(STATUS_EVERY_MIN);
        }
        if let Some(theirs) = welcome.now.as_ref().and_then(|now| time::system_time(now).ok()) {
            self.sync.skew.measure((self.sync.seams.clock.now(), Instant::now()), theirs);
        }
        self.sync.set_draining(welcome.draining);
        self.sync.note_connected();
    }

    /// Reports this node's real position, so that the difference is sent. If the control plane keeps assuming
    /// another one, the stream is broken off.
    async fn astray(&mut self) -> Result<(), SessionError> {
        match self.astray_since {
            None => {
                self.astray_since = Some(Instant::now());
                self.tell().await
            }
            Some(since) if since.elapsed() < ASTRAY_MAX => Ok(()),
            Some(_) => Err(SessionError::Diverged),
        }
    }

    async fn report(&self, query: &fleet::BucketQuery) -> Result<(), SessionError> {
        let applier = &self.sync.applier;
        let at = applier.running().map(super::Position::to_wire);
        compare::answer(query, at, applier.wanted(), async |report| self.say(Said::Buckets(report)).await)
            .await
    }

    async fn answer(&mut self, answer: Option<Answer>) -> Result<(), SessionError> {
        match answer {
            Some(Answer(verdict)) => self.say(Said::Verdict(verdict)).await,
            None => Ok(()),
        }
    }

    /// Checks workers and disk, and sends a status when there is news or one is due.
    async fn look(&mut self) -> Result<(), SessionError> {
        let news = self.sync.tend().await;
        let every = if self.moved { self.status_every.min(STATUS_AFTER_MARK) } else { self.status_every };
        if news || self.last_status.elapsed() >= every { self.tell().await } else { Ok(()) }
    }

    async fn tell(&mut self) -> Result<(), SessionError> {
        let status = self.sync.status();
        self.sync.note_skew();
        (self.last_status, self.moved) = (Instant::now(), false);
        self.say(Said::Status(status)).await
    }

    async fn say(&self, message: Said) -> Result<(), SessionError> {
        // A peer that vanished is found by the keep-alive, which ends the stream and with it this wait.
        let message = fleet::SyncRequest { message: Some(message) };
        self.outbound.send(message).await.map_err(|_| SessionError::Deaf)
    }
}
