//! Keeps the configuration in force as the file says: at the start, when the file changes, and on SIGHUP.
//!
//! Looks at the file each second, and loads it once it has stayed as it is for a second: an editor may be in the
//! middle of writing it. The invariants: whatever becomes of the file, what is in force stays in force until a whole
//! content takes its place; and a content on which the process ended itself is not tried again.

use std::collections::{HashMap, HashSet};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use std::{fs, io};

use prost::Message as _;
use rr_contract::model::resource::Key;
use rr_contract::runtime::{Gate, Stop, chain};
use rr_contract::seam::{Seams, draw};
use rr_contract::wire::fleet;
use rr_contract::wire::fleet::{Mode, Outcome};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, MissedTickBehavior, interval};
use tracing::{info, warn};

use crate::sync::apply::Applier;
use crate::sync::transaction::Offered;
use crate::sync::{Board, FileFacts, Position};

use super::compile::Address;
use super::fault::FileFault;
use super::load::{Held, Loaded, Loader};
use super::own::Own;

/// How often workers and old versions are checked.
const TEND_EVERY: Duration = Duration::from_millis(100);
/// How often a failed write is retried, and the second copy on disk checked.
const MEND_EVERY: Duration = Duration::from_secs(10);
/// How often the file is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Bytes of payloads in one chunk.
const CHUNK: usize = 512 * 1024;

/// What shows that a file is another than before.
type Stamp = (u64, u64, u64, (i64, i64), (i64, i64));

/// Follows the file.
pub(crate) struct Follower {
    loader: Arc<Loader>,
    applier: Applier,
    seams: Seams,
    board: Board,
    /// Held until there is a configuration.
    configured: Option<Gate>,
    /// Of the file that was loaded last; `None`: there was none.
    loaded: Option<Stamp>,
    /// Of the file when it was last looked at.
    seen: Option<Stamp>,
    last_mend: Option<Instant>,
    hangups: Option<Signal>,
}

impl Follower {
    pub(crate) fn new(
        loader: Arc<Loader>,
        applier: Applier,
        seams: Seams,
        board: Board,
        configured: Gate,
    ) -> Self {
        let configured = Some(configured);
        let (loaded, seen, last_mend, hangups) = (None, None, None, None);
        Self { loader, applier, seams, board, configured, loaded, seen, last_mend, hangups }
    }

    /// Loads the file for the first time. A file that cannot be served is a fault of the start only where there is
    /// nothing to go on with. Returns the addresses that are served, or the fault that it goes on in spite of.
    pub(crate) async fn begin(&mut self) -> Result<Result<Vec<Address>, FileFault>, FileFault> {
        // From here on it does not end the process.
        self.hangups = signal(SignalKind::hangup())
            .inspect_err(|error| warn!(%error, "SIGHUP cannot be heard; the file is looked at each second all the same"))
            .ok();
        self.loaded = stamp(&self.loader.settings().file);
        self.seen = self.loaded;
        let outcome = self.reload().await;
        match outcome {
            Err(fault) if self.applier.running().is_none() => Err(fault),
            outcome => Ok(outcome.map(|loaded| loaded.addresses)),
        }
    }

    /// Follows the file until `stop`. `on_hangup` is called for each SIGHUP, before the file is loaded again.
    pub(crate) async fn run(mut self, stop: Stop, on_hangup: impl Fn()) {
        stop.cut(self.stay(&on_hangup)).await;
        self.applier.settle().await;
    }

    async fn stay(&mut self, on_hangup: &impl Fn()) {
        let mut tends = interval(TEND_EVERY);
        tends.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut last_look = Instant::now();
        loop {
            tokio::select! {
                _ = tends.tick() => {
                    self.tend().await;
                    if last_look.elapsed() >= LOOK_EVERY {
                        last_look = Instant::now();
                        self.look().await;
                    }
                }
                () = hangup(&mut self.hangups) => {
                    info!("SIGHUP: loading the file again");
                    on_hangup();
                    self.loaded = stamp(&self.loader.settings().file);
                    drop(self.reload().await);
                }
            }
        }
    }

    /// Loads the file if it changed and has stayed so since the last look.
    pub(super) async fn look(&mut self) {
        let path = self.loader.settings().file.clone();
        // A disk may hang; the admin port goes on meanwhile.
        let Ok(now) = tokio::task::spawn_blocking(move || stamp(&path)).await else { return };
        let is_settled = self.seen == now;
        self.seen = now;
        if is_settled && self.loaded != now {
            self.loaded = now;
            // Said already.
            drop(self.reload().await);
        }
    }

    /// Loads the file, and puts it in force if it can be served. Says which.
    async fn reload(&mut self) -> Result<Loaded, FileFault> {
        let held: Held =
            self.applier.wanted().map(|(key, offered)| (*key, Arc::clone(&offered.payload))).collect();
        let loader = Arc::clone(&self.loader);
        let loaded = tokio::task::spawn_blocking(move || loader.load(&held)).await;
        let loaded = loaded.unwrap_or_else(|error| {
            let path = self.loader.settings().file.clone();
            Err(FileFault::Read { path, source: io::Error::other(error) })
        });
        let outcome = match loaded {
            Ok(loaded) => self.take(&loaded).await.map(|is_new| (loaded, is_new)),
            Err(fault) => Err(fault),
        };
        let now = self.seams.clock.now();
        match &outcome {
            Ok((_, is_new)) => self.board.write(|facts| {
                let before = facts.file.and_then(|file| file.loaded_at).filter(|_| !is_new);
                let loaded_at = Some(before.unwrap_or(now));
                facts.file = Some(FileFacts { loaded_at, refused_since: None, refused_line: None });
            }),
            Err(fault) => {
                self.board.write(|facts| {
                    let file = facts.file.get_or_insert_default();
                    file.refused_since.get_or_insert(now);
                    file.refused_line = fault.line();
                });
                if self.applier.running().is_some() {
                    warn!(error = %chain(fault), "the file cannot be served; the content before it stays in force");
                }
            }
        }
        self.note();
        outcome.map(|(loaded, _)| loaded)
    }

    /// Puts a content in force, as one transaction. Returns whether it was not in force already.
    async fn take(&mut self, loaded: &Loaded) -> Result<bool, FileFault> {
        let path = || self.loader.settings().file.clone();
        let running = self.applier.running();
        if running.is_some_and(|running| (running.digest, running.count) == (loaded.digest, loaded.count)) {
            info!(file = %path().display(), "the file says what is in force already");
            return Ok(false);
        }
        let tried = self.applier.crash().and_then(|crash| Position::try_from(&crash.tried?).ok());
        if tried.is_some_and(|tried| (tried.digest, tried.count) == (loaded.digest, loaded.count)) {
            return Err(FileFault::Crashed { path: path() });
        }
        let transaction = Transaction::new(loaded, &self.applier, self.loader.own(), &self.seams);
        let answer = transaction.play(&mut self.applier).await;
        let verdict = answer.ok_or_else(|| FileFault::Refused {
            path: path(),
            reason: "the transaction was given up".to_owned(),
        })?;
        for refusal in &verdict.refusals {
            let key = refusal.key.as_ref().map(|key| key.id.as_str()).unwrap_or_default();
            warn!(key, detail = refusal.detail, "resource refused");
        }
        match verdict.outcome() {
            Outcome::Active | Outcome::ActivePartial => {
                let counts = loaded.counts;
                info!(file = %path().display(), %counts, "the file is in force");
                Ok(true)
            }
            Outcome::Refused | Outcome::Unspecified => {
                let reason = verdict.refusals.into_iter().map(|refusal| refusal.detail).next();
                Err(FileFault::Refused { path: path(), reason: reason.unwrap_or_default() })
            }
        }
    }

    /// Checks workers and disk.
    pub(super) async fn tend(&mut self) {
        let mut news = self.applier.tend().await;
        if self.last_mend.is_none_or(|at| at.elapsed() >= MEND_EVERY) {
            self.last_mend = Some(Instant::now());
            news |= self.applier.mend().await;
        }
        if news {
            self.note();
        }
    }

    fn note(&mut self) {
        self.board.note(&self.applier);
        if self.applier.running().is_some()
            && let Some(gate) = self.configured.take()
        {
            gate.done();
        }
    }
}

async fn hangup(signals: &mut Option<Signal>) {
    match signals {
        Some(signals) => _ = signals.recv().await,
        None => std::future::pending().await,
    }
}

/// Device, number, size, and the times of content and of mode; `None`: there is no file to be read.
fn stamp(path: &Path) -> Option<Stamp> {
    let file = fs::metadata(path).ok()?;
    let times = ((file.mtime(), file.mtime_nsec()), (file.ctime(), file.ctime_nsec()));
    Some((file.dev(), file.ino(), file.size(), times.0, times.1))
}

/// The way from what runs to a content, as a control plane would send it.
struct Transaction {
    begin: fleet::Begin,
    chunks: Vec<fleet::Chunk>,
    position: Position,
}

impl Transaction {
    fn new(loaded: &Loaded, applier: &Applier, own: &Own, seams: &Seams) -> Self {
        let txn = draw::<8>(&*seams.entropy).to_vec();
        let running = applier.running();
        let revision = running.map_or(0, |running| running.revision) + 1;
        let held: HashMap<Key, [u8; 32]> =
            applier.wanted().map(|(key, offered)| (*key, offered.hash)).collect();
        let is_new = |(key, offered): &&(Key, Offered)| {
            running.is_none() || held.get(key).is_none_or(|hash| *hash != offered.hash)
        };
        let mut bodies = Vec::new();
        let (mut body, mut size) = (fleet::ChunkBody::default(), 0);
        for (key, offered) in loaded.resources.iter().filter(is_new) {
            size += offered.payload.len();
            body.upserts.push(Offered { revision, ..offered.clone() }.to_wire(key));
            if size >= CHUNK {
                bodies.push(std::mem::take(&mut body).encode_to_vec());
                size = 0;
            }
        }
        let wanted: HashSet<Key> = loaded.resources.iter().map(|(key, _)| *key).collect();
        let gone = held.keys().filter(|key| running.is_some() && !wanted.contains(*key));
        body.removals.extend(gone.map(Key::to_wire));
        // Whoever wrote the file left them out.
        let intended_removals = body.removals.len() as u64;
        bodies.push(body.encode_to_vec());
        let mode = if running.is_some() { Mode::Delta } else { Mode::Snapshot };
        let begin = fleet::Begin {
            txn: txn.clone(),
            mode: mode.into(),
            base: running.map(|running| running.digest.to_vec()).unwrap_or_default(),
            chunks: u32::try_from(bodies.len()).unwrap_or(u32::MAX),
            intended_removals,
            ..fleet::Begin::default()
        };
        let chunk = |(index, body): (u32, Vec<u8>)| fleet::Chunk {
            txn: txn.clone(),
            index,
            crc32: crc32fast::hash(&body),
            body: body.into(),
        };
        let chunks = (0..).zip(bodies).map(chunk).collect();
        let (lineage, region) = (own.lineage, own.region());
        let (digest, count) = (loaded.digest, loaded.count);
        let position = Position { lineage, revision, region, digest, count, audit: None };
        Self { begin, chunks, position }
    }

    async fn play(self, applier: &mut Applier) -> Option<fleet::Verdict> {
        let txn = self.begin.txn.clone();
        if let Some(answer) = applier.begin(self.begin) {
            return Some(answer.0);
        }
        for chunk in &self.chunks {
            if let Some(answer) = applier.chunk(chunk) {
                return Some(answer.0);
            }
        }
        let commit = fleet::Commit { txn, position: Some(self.position.to_wire()), prove_for: None };
        applier.commit(&commit).await.map(|answer| answer.0)
    }
}
