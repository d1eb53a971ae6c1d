//! A node: it holds what it was sent, checks it, answers, and has faults.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use futures_util::{FutureExt as _, StreamExt as _};
use prost::Message as _;
use rr_contract::digest::{ResourceHash, ViewDigest, bucket, locator, resource_hash};
use rr_contract::model::id::NodeId;
use rr_contract::model::resource::Key;
use rr_contract::runtime::{Shutdown, Tasks};
use rr_contract::seam::Seams;
use rr_contract::wire::fleet;
use rr_contract::wire::fleet::sync_request::Message as Up;
use rr_contract::wire::fleet::sync_response::Message as Down;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status};

use super::{REGION, World, seams};
use crate::publish::{Outgoings, Publisher, Session};

/// What a node does wrong.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Faults {
    /// It compares the digest at the commit.
    pub(super) checks: bool,
    /// It refuses the next transaction, whatever it is.
    pub(super) refuse_next: bool,
    /// It refuses one resource of each transaction.
    pub(super) poison: bool,
    /// It answers twice.
    pub(super) twice: bool,
    /// It does not see the upserts of the next chunk.
    pub(super) lose_next_chunk: bool,
    /// It does not answer the next transaction.
    pub(super) silent_next: bool,
    /// It says after each transaction, and when it is asked, that it runs something else.
    pub(super) lies: bool,
    /// How long it takes to answer.
    pub(super) slow: Duration,
    /// It is gone, and nobody closed its stream.
    pub(super) deaf: bool,
}

/// What went over its streams.
#[derive(Debug, Clone, Default)]
pub(super) struct Sent {
    pub(super) resources: usize,
    /// Bytes of messages down and up, and of the messages of transactions alone.
    pub(super) down: usize,
    pub(super) up: usize,
    pub(super) transactions: usize,
    pub(super) modes: Vec<fleet::Mode>,
    pub(super) revived: Vec<String>,
    /// What it was told while it was held back: keys that went, and those that are other than before.
    pub(super) gone: BTreeSet<Key>,
    pub(super) narrowed: BTreeSet<Key>,
    /// When it heard what, in milliseconds since it was made.
    pub(super) heard: Vec<(u128, String)>,
}

#[derive(Default)]
struct State {
    held: BTreeMap<Key, ResourceHash>,
    at: Option<fleet::Position>,
    boot_id: Vec<u8>,
    crash: Option<fleet::Position>,
    refused: HashMap<Key, ResourceHash>,
    faults: Faults,
    sent: Sent,
    stream: Option<CancellationToken>,
    ended: Option<Code>,
    wrong: Vec<String>,
}

#[derive(Clone)]
pub(super) struct Node {
    id: NodeId,
    made: Instant,
    seams: Seams,
    state: Arc<Mutex<State>>,
}

/// A transaction that is open.
struct Open {
    begin: fleet::Begin,
    held: BTreeMap<Key, ResourceHash>,
    upserts: Vec<Key>,
    fits: bool,
}

impl Node {
    pub(super) fn new(id: NodeId, seams: Seams) -> Self {
        let faults = Faults { checks: true, ..Faults::default() };
        let state = State { boot_id: vec![1; 16], faults, ..State::default() };
        Self { id, made: Instant::now(), seams, state: Arc::new(Mutex::new(state)) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nobody panics with it")
    }

    pub(super) fn id(&self) -> NodeId {
        self.id
    }

    pub(super) fn at(&self) -> Option<fleet::Position> {
        self.state().at.clone()
    }

    pub(super) fn sent(&self) -> Sent {
        self.state().sent.clone()
    }

    pub(super) fn wrong(&self) -> Vec<String> {
        self.state().wrong.clone()
    }

    pub(super) fn ended(&self) -> Option<Code> {
        self.state().ended
    }

    /// How many resources it has.
    pub(super) fn holds(&self) -> usize {
        self.state().held.len()
    }

    /// How many of them it refuses.
    pub(super) fn refuses(&self) -> usize {
        self.state().refused.len()
    }

    /// The same content, for another world.
    pub(super) fn moved_to(&self, world: &World) -> Self {
        let other = Self::new(self.id, seams::simulated(world.seed, 0));
        let held = self.state().held.clone();
        let at = self.at();
        {
            let mut state = other.state();
            (state.held, state.at) = (held, at);
        }
        other
    }

    pub(super) fn faults(&self, faults: Faults) {
        self.state().faults = faults;
    }

    pub(super) fn boots_as(&self, boot_id: [u8; 16]) {
        self.state().boot_id = boot_id.to_vec();
    }

    pub(super) fn crash_on(&self, tried: fleet::Position) {
        self.state().crash = Some(tried);
    }

    /// Its disk loses so many resources, and it knows it.
    pub(super) fn lose(&self, count: usize) {
        let mut state = self.state();
        for _ in 0..count {
            state.held.pop_last();
        }
        state.note();
    }

    pub(super) fn stand(&self, change: impl FnOnce(&mut fleet::Position)) {
        if let Some(at) = &mut self.state().at {
            change(at);
        }
    }

    pub(super) fn is_connected(&self) -> bool {
        self.state().stream.is_some()
    }

    pub(super) fn disconnect(&self) {
        if let Some(stream) = self.state().stream.take() {
            stream.cancel();
        }
    }

    pub(super) fn connect(&self, publisher: &Arc<Publisher>, tasks: &Tasks, shutdown: &Shutdown) {
        let (up, inbound) = mpsc::channel(16);
        let (out, answers) = mpsc::channel(2);
        // There is no TLS here, and no authority.
        let (_, authorities) = watch::channel(Arc::default());
        let session = Session {
            publisher: Arc::clone(publisher),
            seams: self.seams.clone(),
            node: self.id,
            region: REGION,
            address: "192.0.2.1:1".to_owned(),
            proven: None,
            node_key: Vec::new(),
            inbound: ReceiverStream::new(inbound),
            out,
            stop: shutdown.stop(),
            removed: CancellationToken::new(),
            authorities,
        };
        tasks.spawn("session", session.run().map(drop));
        let stream = CancellationToken::new();
        {
            let mut state = self.state();
            state.stream = Some(stream.clone());
            state.ended = None;
        }
        let node = self.clone();
        tasks.spawn("node", async move {
            let ended = tokio::select! {
                biased;
                () = stream.cancelled() => None,
                ended = node.follow(up, Outgoings::new(answers)) => ended,
            };
            let mut state = node.state();
            if !stream.is_cancelled() {
                state.stream = None;
                state.ended = ended;
            }
        });
    }

    async fn follow(
        &self,
        up: mpsc::Sender<Result<fleet::SyncRequest, Status>>,
        mut down: Outgoings,
    ) -> Option<Code> {
        let hello = {
            let state = self.state();
            let crash = state.crash.clone().map(|tried| fleet::CrashReport {
                tried: Some(tried),
                running: state.at.clone(),
                boots: 2,
            });
            fleet::Hello {
                protocol: 1,
                build: "simulated".to_owned(),
                boot_id: state.boot_id.clone(),
                resume: state.at.clone(),
                crash,
                ..Default::default()
            }
        };
        self.say(&up, Up::Hello(hello)).await;
        let mut open: Option<Open> = None;
        while let Some(message) = down.next().await {
            let message = match message {
                Ok(message) => message,
                Err(status) => return Some(status.code()),
            };
            let length = message.encoded_len();
            self.state().sent.down += length;
            self.note(&message);
            let answers = match message.message? {
                Down::Begin(begin) => {
                    self.state().sent.transactions += length;
                    open = Some(self.begin(begin));
                    Vec::new()
                }
                Down::Chunk(chunk) => {
                    self.state().sent.transactions += length;
                    self.take(open.as_mut()?, &chunk);
                    Vec::new()
                }
                Down::Commit(commit) => {
                    self.state().sent.transactions += length;
                    let (slow, silent) = self.patience();
                    tokio::time::sleep(slow).await;
                    let answers = self.commit(open.take()?, commit);
                    if silent { Vec::new() } else { answers }
                }
                Down::BucketQuery(query) => vec![Up::Buckets(self.report(&query))],
                Down::Ping(_) if self.state().faults.deaf => Vec::new(),
                Down::Ping(ping) => vec![Up::Pong(fleet::Pong { number: ping.number })],
                Down::Mark(mark) => {
                    let mut state = self.state();
                    if let Some(at) = mark.position {
                        state.moves(&at);
                        state.at = Some(at);
                    }
                    Vec::new()
                }
                Down::Restrain(restrain) => {
                    self.restrain(&restrain);
                    Vec::new()
                }
                Down::Welcome(_)
                | Down::Goaway(_)
                | Down::Drain(_)
                | Down::Test(_)
                | Down::Revoked(_)
                | Down::RegionKey(_)
                | Down::Authorities(_) => Vec::new(),
            };
            for answer in answers {
                if !self.say(&up, answer).await {
                    return None;
                }
            }
        }
        None
    }

    /// How long it takes to answer, and whether it does.
    fn patience(&self) -> (Duration, bool) {
        let mut state = self.state();
        (state.faults.slow, std::mem::take(&mut state.faults.silent_next))
    }

    fn note(&self, message: &fleet::SyncResponse) {
        let heard = match &message.message {
            Some(Down::Begin(begin)) => format!("{:?} of {} chunks", begin.mode(), begin.chunks),
            Some(Down::Chunk(chunk)) => format!("chunk {} of {} bytes", chunk.index, chunk.body.len()),
            Some(Down::Commit(fleet::Commit { position: Some(at), .. })) => format!("commit {}", at.revision),
            Some(Down::Mark(fleet::Mark { position: Some(at) })) => format!("mark {}", at.revision),
            Some(Down::BucketQuery(query)) => format!("question about {} buckets", query.list.len()),
            _ => "something else".to_owned(),
        };
        self.state().sent.heard.push((self.made.elapsed().as_millis(), heard));
    }

    async fn say(&self, up: &mpsc::Sender<Result<fleet::SyncRequest, Status>>, message: Up) -> bool {
        let request = fleet::SyncRequest { message: Some(message) };
        self.state().sent.up += request.encoded_len();
        up.send(Ok(request)).await.is_ok()
    }

    fn begin(&self, begin: fleet::Begin) -> Open {
        let mut state = self.state();
        let mode = begin.mode();
        state.sent.modes.push(mode);
        state.sent.revived.clone_from(&begin.revived);
        let held = if mode == fleet::Mode::Snapshot { BTreeMap::new() } else { state.held.clone() };
        let fits =
            mode == fleet::Mode::Snapshot || state.at.as_ref().is_some_and(|at| at.digest == begin.base);
        Open { begin, held, upserts: Vec::new(), fits }
    }

    fn take(&self, open: &mut Open, chunk: &fleet::Chunk) {
        let mut state = self.state();
        let body = fleet::ChunkBody::decode(chunk.body.clone()).expect("decodes");
        let lost = std::mem::take(&mut state.faults.lose_next_chunk);
        for resource in body.upserts {
            let key = Key::try_from(&resource.key.expect("has one")).expect("good");
            let hash = resource_hash(&resource.payload);
            state.sent.resources += 1;
            let snapshot = open.begin.mode() == fleet::Mode::Snapshot;
            if !snapshot && state.refused.get(&key) == Some(&hash) && state.held.get(&key) == Some(&hash) {
                state.wrong.push("was sent what it refused".to_owned());
            }
            if !lost {
                open.held.insert(key, hash);
                open.upserts.push(key);
            }
        }
        for key in body.removals {
            open.held.remove(&Key::try_from(&key).expect("good"));
        }
    }

    fn commit(&self, open: Open, commit: fleet::Commit) -> Vec<Up> {
        let position = commit.position.expect("has one");
        let mut state = self.state();
        let mut verdict = fleet::Verdict { txn: commit.txn, durable: true, ..Default::default() };
        let same = digest(&open.held) == position.digest;
        if !open.fits || (state.faults.checks && !same) || std::mem::take(&mut state.faults.refuse_next) {
            let why = if open.fits { fleet::Why::Digest } else { fleet::Why::BaseMismatch };
            verdict.outcome = fleet::Outcome::Refused.into();
            verdict.refusals = vec![fleet::Refusal { why: why.into(), ..Default::default() }];
            verdict.running.clone_from(&state.at);
            return vec![Up::Verdict(verdict)];
        }
        if !same {
            state.wrong.push("shows what was never published".to_owned());
        }
        if !open.begin.adopted {
            state.moves(&position);
        }
        for key in &open.upserts {
            state.refused.remove(key);
        }
        if state.faults.poison
            && let Some(key) = open.upserts.first()
        {
            let hash = open.held[key];
            state.refused.insert(*key, hash);
        }
        state.held = open.held;
        state.at = Some(position);
        verdict.outcome = fleet::Outcome::Active.into();
        verdict.running.clone_from(&state.at);
        verdict.refusals = state
            .refused
            .iter()
            .map(|(key, hash)| fleet::Refusal {
                key: Some(key.to_wire()),
                wanted: hash.to_vec(),
                why: fleet::Why::Invalid.into(),
                ..Default::default()
            })
            .collect();
        let count = if state.faults.twice { 2 } else { 1 };
        let mut answers = vec![Up::Verdict(verdict); count];
        if state.faults.lies {
            answers.push(Up::Status(fleet::Status { running: state.said(), ..Default::default() }));
        }
        answers
    }

    fn restrain(&self, restrain: &fleet::Restrain) {
        let body = fleet::ChunkBody::decode(restrain.body.as_slice()).expect("decodes");
        let mut state = self.state();
        let keys = body.upserts.iter().filter_map(|resource| resource.key.as_ref());
        state.sent.narrowed.extend(keys.map(|key| Key::try_from(key).expect("good")));
        state.sent.gone.extend(body.removals.iter().map(|key| Key::try_from(key).expect("good")));
    }

    fn report(&self, query: &fleet::BucketQuery) -> fleet::BucketReport {
        let state = self.state();
        let mut report =
            fleet::BucketReport { query: query.query.clone(), at: state.said(), ..Default::default() };
        if query.list.is_empty() {
            report.sums = vec![0; 1 << query.log2_buckets];
            for (key, hash) in &state.held {
                let sum = &mut report.sums[bucket(key, query.log2_buckets) as usize];
                *sum = sum.wrapping_add(locator(key, hash));
            }
        } else {
            let listed = |key: &Key| query.list.contains(&bucket(key, query.log2_buckets));
            let held = state.held.iter().filter(|(key, _)| listed(key));
            report.held = held
                .map(|(key, hash)| fleet::Held { key: Some(key.to_wire()), hash: hash.to_vec() })
                .collect();
        }
        report
    }
}

impl State {
    /// Where it says that it stands.
    fn said(&self) -> Option<fleet::Position> {
        let mut at = self.at.clone()?;
        if self.faults.lies {
            at.digest = vec![0xee; 32];
        }
        Some(at)
    }

    /// What it has changed beneath it.
    fn note(&mut self) {
        let (digest, count) = (digest(&self.held), self.held.len() as u64);
        if let Some(at) = &mut self.at {
            (at.digest, at.count) = (digest, count);
        }
    }

    fn moves(&mut self, to: &fleet::Position) {
        if self.at.as_ref().is_some_and(|at| at.lineage == to.lineage && at.revision > to.revision) {
            self.wrong.push("went back to an older revision".to_owned());
        }
    }
}

fn digest(held: &BTreeMap<Key, ResourceHash>) -> Vec<u8> {
    let mut digest = ViewDigest::default();
    held.iter().for_each(|(key, hash)| digest.add(key, hash));
    digest.digest().to_vec()
}
