//! One stream of a light node: what the wire asks of every node, and what its script makes of it.
//!
//! The invariant: nothing is taken whose digest, base, order or checksum is not right.

use std::time::Duration;

use bytes::Bytes;
use rr_contract::model::resource::Key;
use rr_contract::model::time;
use rr_contract::wire::fleet;
use rr_contract::wire::fleet::config_service_client::ConfigServiceClient;
use rr_contract::wire::fleet::sync_request::Message as Said;
use rr_contract::wire::fleet::sync_response::Message as Heard;
use rr_contract::wire::fleet::{Mode, Outcome, Why};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic_types::StatusExt as _;

use super::place::{Connection, origin};
use super::script::{Script, add};
use super::state::{Inner, State};

/// As the edge does.
const MESSAGE_MAX: usize = 2 * 1024 * 1024 + 64 * 1024;
const OUTBOUND: usize = 16;
const ANSWER: Duration = Duration::from_secs(15);
const LOOK: Duration = Duration::from_millis(50);
const STATUS_EVERY: Duration = Duration::from_secs(10);
const PROVE_FOR: Duration = Duration::from_secs(10);
/// Resources of one report: well under 512 KiB.
const LISTED: usize = 3000;
const DAY: Duration = Duration::from_secs(86_400);

/// How a stream ended.
#[derive(Debug)]
pub(super) enum Ended {
    /// The control plane asks to come back within this time.
    Goaway(Duration),
    /// Some other way; not to come back sooner than this.
    Away(Duration),
}

/// A transaction that is open.
struct Open {
    begin: fleet::Begin,
    bodies: Vec<Bytes>,
}

struct Session<'a> {
    node: &'a Inner,
    script: watch::Receiver<Script>,
    outbound: mpsc::Sender<fleet::SyncRequest>,
    open: Option<Open>,
    status_every: Duration,
    status_at: Instant,
    prove_at: Option<Instant>,
}

/// Opens a stream on a connection and serves it until it ends.
pub(super) async fn run(node: &Inner, connection: Connection) -> Ended {
    let (outbound, queue) = mpsc::channel(OUTBOUND);
    let mut session = Session {
        node,
        script: node.script.subscribe(),
        outbound,
        open: None,
        status_every: STATUS_EVERY,
        status_at: Instant::now() + STATUS_EVERY,
        prove_at: None,
    };
    match session.serve(&connection, queue).await {
        Ok(ended) => ended,
        Err(status) => {
            let details = status.get_error_details();
            let least = details.retry_info().and_then(|info| info.retry_delay).unwrap_or_default();
            node.counts.ended(status);
            Ended::Away(least)
        }
    }
}

impl Session<'_> {
    async fn serve(
        &mut self,
        connection: &Connection,
        queue: mpsc::Receiver<fleet::SyncRequest>,
    ) -> Result<Ended, tonic::Status> {
        let hello = self.hello();
        self.send(Said::Hello(hello)).await;
        let mut service = ConfigServiceClient::with_origin(connection.service(), origin())
            .max_decoding_message_size(MESSAGE_MAX)
            .max_encoding_message_size(MESSAGE_MAX);
        let silent = |_| tonic::Status::deadline_exceeded("no answer");
        let call = timeout(ANSWER, service.sync(ReceiverStream::new(queue))).await.map_err(silent)?;
        let mut inbound = call?.into_inner();
        let mut heard = 0;
        loop {
            let script = self.script.borrow_and_update().clone();
            let read_at = Instant::now() + script.pace.unwrap_or_default().min(DAY);
            let due = self.prove_at.map_or(self.status_at, |prove| prove.min(self.status_at));
            tokio::select! {
                biased;
                _ = self.script.changed() => {}
                message = async { sleep_until(read_at).await; inbound.message().await } => {
                    let Some(message) = message? else { return Ok(Ended::Away(Duration::ZERO)) };
                    add(&self.node.counts.heard, 1);
                    heard += 1;
                    if script.cut_at.is_some_and(|at| heard >= at) {
                        return Ok(Ended::Away(Duration::ZERO));
                    }
                    let Some(message) = message.message else { continue };
                    if let Some(ended) = self.hear(message, &script).await? {
                        return Ok(ended);
                    }
                }
                () = sleep_until(due) => self.tell(&script).await,
            }
        }
    }

    fn hello(&self) -> fleet::Hello {
        let (state, script) = (self.node.state(), self.script.borrow());
        fleet::Hello {
            protocol: 1,
            build: "light".to_owned(),
            boot_id: self.node.boot_id.to_vec(),
            features: script.features.clone(),
            resume: state.position.clone(),
            standing: state.standing.values().cloned().collect(),
            crash: script.crash.clone(),
            region_epoch: 0,
            trusted_authorities: Vec::new(),
            certified_by: Vec::new(),
        }
    }

    async fn hear(&mut self, message: Heard, script: &Script) -> Result<Option<Ended>, tonic::Status> {
        match message {
            Heard::Welcome(welcome) => {
                add(&self.node.counts.sessions, 1);
                let every = welcome.status_every.as_ref().and_then(|every| time::duration(every).ok());
                self.status_every = every.unwrap_or(STATUS_EVERY).max(LOOK);
                self.node.state().draining = welcome.draining;
                self.tell(script).await;
            }
            Heard::Begin(begin) => self.begin(begin, script).await,
            Heard::Chunk(chunk) => self.chunk(chunk, script).await,
            Heard::Commit(commit) => self.commit(&commit, script).await,
            Heard::Mark(mark) => {
                add(&self.node.counts.marks, 1);
                let position = mark.position.unwrap_or_default();
                {
                    let mut state = self.node.state();
                    let here = state.position.as_ref();
                    let same = here.is_some_and(|here| {
                        (&here.lineage, &here.digest) == (&position.lineage, &position.digest)
                    });
                    if !same {
                        return Err(tonic::Status::internal("a mark of another place"));
                    }
                    state.position = Some(position.clone());
                }
                self.node.moved(position.revision, false).await;
            }
            Heard::Goaway(goaway) => {
                let spread = goaway.spread_over.as_ref().and_then(|spread| time::duration(spread).ok());
                return Ok(Some(Ended::Goaway(spread.unwrap_or_default())));
            }
            Heard::BucketQuery(query) => self.answer(&query, script).await,
            // It does not say that it can test.
            Heard::Test(_) => {}
            // It opens nothing.
            Heard::RegionKey(_) | Heard::Authorities(_) => {}
            // It serves nobody from whom something could be taken away.
            Heard::Restrain(_) => {}
            // The stream ends with it. A light node comes again, as a dishonest one does.
            Heard::Revoked(_) => {}
            Heard::Drain(drain) => {
                self.node.state().draining = drain.drain;
                self.tell(script).await;
            }
            Heard::Ping(ping) => self.say(Said::Pong(fleet::Pong { number: ping.number }), script).await,
        }
        Ok(None)
    }

    async fn begin(&mut self, begin: fleet::Begin, script: &Script) {
        let fits = match begin.mode() {
            Mode::Snapshot => true,
            Mode::Delta | Mode::Reconcile => {
                self.node.state().position.as_ref().is_some_and(|here| here.digest == begin.base)
            }
            Mode::Unspecified => false,
        };
        let why = script.refuse_all.or((!fits).then_some(Why::BaseMismatch));
        match why {
            Some(why) => self.refuse(begin.txn, why, script).await,
            None => self.open = Some(Open { begin, bodies: Vec::new() }),
        }
    }

    async fn chunk(&mut self, chunk: fleet::Chunk, script: &Script) {
        let Some(open) = self.open.as_mut().filter(|open| open.begin.txn == chunk.txn) else { return };
        let due = open.bodies.len() as u32;
        let whole = chunk.index == due && due < open.begin.chunks;
        if whole && crc32fast::hash(&chunk.body) == chunk.crc32 {
            open.bodies.push(chunk.body);
        } else {
            self.open = None;
            self.refuse(chunk.txn, Why::Transport, script).await;
        }
    }

    async fn commit(&mut self, commit: &fleet::Commit, script: &Script) {
        let Some(open) = self.open.take_if(|open| open.begin.txn == commit.txn) else { return };
        if let Err(why) = self.take(&open, commit, script) {
            return self.refuse(open.begin.txn, why, script).await;
        }
        let prove_for = commit.prove_for.as_ref().and_then(|it| time::duration(it).ok()).unwrap_or(PROVE_FOR);
        self.prove_at = Some(Instant::now() + prove_for);
        let (verdict, revision) = {
            let state = self.node.state();
            let refusals: Vec<_> = state.standing.values().cloned().collect();
            let outcome = if refusals.is_empty() { Outcome::Active } else { Outcome::ActivePartial };
            let verdict = fleet::Verdict {
                txn: open.begin.txn,
                outcome: outcome.into(),
                running: state.position.clone(),
                durable: true,
                refusals,
                timing: Some(fleet::Timing::default()),
            };
            (verdict, state.position.as_ref().map_or(0, |position| position.revision))
        };
        self.verdict(verdict, script).await;
        self.node.moved(revision, true).await;
        // The workers of an edge run on it a moment later.
        self.status_at = self.status_at.min(Instant::now() + LOOK);
    }

    /// Checks a transaction as the edge does, and takes it.
    fn take(&self, open: &Open, commit: &fleet::Commit, script: &Script) -> Result<(), Why> {
        if open.bodies.len() as u32 != open.begin.chunks {
            return Err(Why::Transport);
        }
        let position = commit.position.clone().ok_or(Why::Transport)?;
        let mode = open.begin.mode();
        let mut state = self.node.state();
        if let Some(here) = &state.position {
            let onward = here.lineage == position.lineage && here.revision <= position.revision;
            if here.region != position.region || (!onward && !open.begin.adopted) {
                return Err(Why::BaseMismatch);
            }
        }
        let step = self.node.views.step(&state.view, mode, &open.bodies)?;
        if step.view.digest()[..] != position.digest || step.view.count() != position.count {
            return Err(Why::Digest);
        }
        let held = state.view.count();
        let removals = match mode {
            Mode::Snapshot => {
                state.view.iter().filter(|(key, _)| step.view.get(key).is_none()).count() as u64
            }
            Mode::Delta | Mode::Reconcile | Mode::Unspecified => step.removals,
        };
        let extra = removals.saturating_sub(open.begin.intended_removals);
        if extra > 50 && extra * 100 > 30 * held {
            return Err(Why::Limit);
        }
        let counts = &self.node.counts;
        let by_mode = match mode {
            Mode::Snapshot => &counts.snapshots,
            Mode::Reconcile => &counts.reconciles,
            Mode::Delta | Mode::Unspecified => &counts.deltas,
        };
        add(by_mode, 1);
        add(&counts.upserts, step.upserts);
        add(&counts.removals, step.removals);
        add(&counts.payload, step.payload);
        settle(&mut state, &step.view, script);
        state.view = step.view;
        state.position = Some(position);
        Ok(())
    }

    async fn refuse(&mut self, txn: Vec<u8>, why: Why, script: &Script) {
        add(&self.node.counts.refused, 1);
        let detail = format!("light node: {}", why.as_str_name());
        let verdict = fleet::Verdict {
            txn,
            outcome: Outcome::Refused.into(),
            running: self.node.state().position.clone(),
            durable: true,
            refusals: vec![fleet::Refusal { why: why.into(), detail, ..Default::default() }],
            timing: None,
        };
        self.verdict(verdict, script).await;
    }

    async fn verdict(&mut self, verdict: fleet::Verdict, script: &Script) {
        for _ in 0..=script.echoes {
            self.say(Said::Verdict(verdict.clone()), script).await;
        }
    }

    async fn answer(&mut self, query: &fleet::BucketQuery, script: &Script) {
        add(&self.node.counts.questions, 1);
        let (at, view) = {
            let state = self.node.state();
            (state.position.clone(), std::sync::Arc::clone(&state.view))
        };
        let report = |held, sums, more| {
            let (query, at) = (query.query.clone(), at.clone());
            Said::Buckets(fleet::BucketReport { query, at, sums, held, more })
        };
        if query.list.is_empty() {
            return self.say(report(Vec::new(), view.sums(query.log2_buckets), false), script).await;
        }
        let held: Vec<fleet::Held> =
            query.list.iter().flat_map(|bucket| view.list(query.log2_buckets, *bucket)).collect();
        let mut parts = held.chunks(LISTED).peekable();
        if parts.peek().is_none() {
            return self.say(report(Vec::new(), Vec::new(), false), script).await;
        }
        while let Some(part) = parts.next() {
            self.say(report(part.to_vec(), Vec::new(), parts.peek().is_some()), script).await;
        }
    }

    async fn tell(&mut self, script: &Script) {
        let status = {
            let mut state = self.node.state();
            if self.prove_at.is_some_and(|at| at <= Instant::now()) {
                self.prove_at = None;
                state.proven = state.position.clone();
            }
            fleet::Status {
                running: state.position.clone(),
                serving: state.position.clone(),
                on_disk: state.position.clone(),
                standing: state.standing.values().cloned().collect(),
                proven: state.proven.clone(),
                draining: state.draining,
                ..Default::default()
            }
        };
        self.status_at = Instant::now() + self.status_every;
        self.say(Said::Status(status), script).await;
    }

    async fn say(&self, message: Said, script: &Script) {
        if !script.silent {
            self.send(message).await;
        }
    }

    async fn send(&self, message: Said) {
        // Of a stream that has ended, the reading side hears.
        self.outbound.send(fleet::SyncRequest { message: Some(message) }).await.ok();
    }
}

/// Brings refusals up to what a node is about to hold. What it runs in place of a version, it takes.
fn settle(state: &mut State, next: &super::view::View, script: &Script) {
    let stood = std::mem::take(&mut state.standing);
    for (key, why) in &script.refuse {
        let (Some(wanted), held) = (next.get(key), state.view.get(key)) else { continue };
        let runs = match stood.get(key) {
            Some(refusal) => <[u8; 32]>::try_from(refusal.running.as_slice()).ok(),
            None => held.copied(),
        };
        if held != Some(wanted) && runs.as_ref() != Some(wanted) {
            state.standing.insert(*key, refusal(key, wanted, runs.as_ref(), *why));
        }
    }
    let still =
        |key: &Key, refusal: &fleet::Refusal| next.get(key).is_some_and(|hash| hash[..] == refusal.wanted);
    for (key, refusal) in stood.into_iter().filter(|(key, refusal)| still(key, refusal)) {
        state.standing.entry(key).or_insert(refusal);
    }
}

fn refusal(key: &Key, wanted: &[u8; 32], running: Option<&[u8; 32]>, why: Why) -> fleet::Refusal {
    fleet::Refusal {
        key: Some(key.to_wire()),
        wanted: wanted.to_vec(),
        running: running.map(|hash| hash.to_vec()).unwrap_or_default(),
        why: why.into(),
        detail: "light node: told so".to_owned(),
        fails_closed: running.is_none(),
    }
}
