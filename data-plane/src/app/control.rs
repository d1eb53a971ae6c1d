//! The control thread: everything that is not traffic.

use std::net::TcpListener;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use futures_util::FutureExt as _;
use rr_contract::model::id::NodeId;
use rr_contract::runtime::observe::Observability;
use rr_contract::runtime::{FolderLock, Gate, Readiness, Shutdown, Stop, Tasks, chain};
use rr_contract::seal::node_token::NodeToken;
use rr_contract::seam::Seams;
use rr_contract::secret::Secret;
use serde_json::json;
use tokio::runtime::{Builder as RuntimeBuilder, LocalOptions};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, interval, sleep, timeout};
use tracing::{debug, error, info, warn};

use crate::BUILD;
use crate::admin::Admin;
use crate::backoff::Backoff;
use crate::config::Config;
use crate::control_plane::ControlPlane;
use crate::counters::Counters;
use crate::current::{self, Activator};
use crate::events;
use crate::identity::{self, Identity, IdentityFile, JoinError};
use crate::listen::{Descriptors, Limits, Notices};
use crate::quota::{QuotaLog, QuotaSaver, Quotas};
use crate::report::{self, Spool, SpoolHandle, Upload};
use crate::seats::Bounds;
use crate::snapshot::{Snapshot, Vault};
use crate::sync::apply::Applier;
use crate::sync::inventory::Inventory;
use crate::sync::journal::{self, Journal, Recovered, Scribe};
use crate::sync::{Board, Position, Sync};
use crate::upstream::address_guard::AddressGuard;
use crate::upstream::{Resolver, SystemNames, Trust};

use super::traffic::{self, WorkerSetup};
use super::watchdog::{self, Health, Pulse, Watch, Watchdog};
use super::{Hooks, StartError};

/// How long tasks may take to end once nothing is left to do.
const WIND_DOWN: Duration = Duration::from_secs(5);
/// How often this thread reports to the watchdog.
const BEAT: Duration = Duration::from_millis(100);
/// How often clocks are compared, and counts that are over let go.
const QUOTA_TICK: Duration = Duration::from_millis(500);
/// How long the disk gets to record an end of the process; the process ends either way.
const NOTING: Duration = Duration::from_secs(1);

/// What the control thread is started with.
pub(super) struct Plan {
    pub(super) config: Config,
    pub(super) seams: Seams,
    pub(super) observability: Observability,
    pub(super) hooks: Hooks,
    pub(super) listeners: Vec<TcpListener>,
    pub(super) admin: TcpListener,
    pub(super) callers: Descriptors,
    pub(super) stop: Stop,
    pub(super) readiness: Readiness,
    pub(super) board: Board,
    pub(super) node: Arc<OnceLock<NodeId>>,
}

/// Receives the outcome of the start, once.
type Started = oneshot::Sender<Result<(), StartError>>;

/// The thread's whole life.
pub(super) fn run(plan: Plan, started: Started, fail: mpsc::Sender<StartError>) {
    let _end = End { state_dir: plan.config.state_dir.clone(), seams: plan.seams.clone() };
    let runtime = RuntimeBuilder::new_current_thread().enable_all().build_local(LocalOptions::default());
    match runtime {
        Ok(runtime) => {
            runtime.block_on(live(plan, started, fail));
            // What waits for a disk is not waited for.
            runtime.shutdown_background();
        }
        Err(source) => tell(started, Err(StartError::System { what: "start the control runtime", source })),
    }
}

/// Records it on disk if the thread ends in a panic: during a start, a panic ends the process without an abort.
struct End {
    state_dir: PathBuf,
    seams: Seams,
}

impl Drop for End {
    fn drop(&mut self) {
        if thread::panicking() {
            journal::leave_mark(&self.state_dir, &self.seams);
        }
    }
}

fn tell(started: Started, outcome: Result<(), StartError>) {
    // The receiver may be gone; then the stop comes next.
    started.send(outcome).ok();
}

async fn live(plan: Plan, started: Started, fail: mpsc::Sender<StartError>) {
    let stop = plan.stop.clone();
    let (late, tasks) = (Shutdown::new(), Tasks::new());
    let (core, standing) = match build(plan, &tasks, &late) {
        Ok(built) => built,
        Err(error) => return tell(started, Err(error)),
    };
    let Standing { lock, workers, spool, saver, traffic, pulse, watch } = standing;
    let (ends, beating) = (late.stop(), pulse.clone());
    tasks.spawn_local("pulse", async move { ends.cut(beat(beating)).await });
    match Box::pin(core.make_contact(&tasks, &late.stop(), fail)).await {
        Ok(()) => {
            tell(started, Ok(()));
            stop.requested().await;
            traffic.begin();
            wind_down(workers, spool, saver, &late, &tasks).await;
            drop(lock);
        }
        Err(error) => {
            traffic.begin();
            wind_down(workers, spool, saver, &late, &tasks).await;
            drop(lock);
            tell(started, Err(error));
        }
    }
    pulse.end();
    drop(watch);
}

/// Reports to the watchdog that this thread makes progress.
async fn beat(pulse: Pulse) {
    let mut beats = interval(BEAT);
    loop {
        beats.tick().await;
        pulse.beat();
    }
}

/// Callers first, then their records, then the rest.
async fn wind_down(
    workers: Vec<JoinHandle<()>>,
    spool: Spool,
    saver: QuotaSaver,
    late: &Shutdown,
    tasks: &Tasks,
) {
    let blocking = tokio::task::spawn_blocking(move || {
        let panicked = workers.into_iter().filter_map(|worker| worker.join().err()).count();
        spool.close();
        saver.close();
        panicked
    });
    match blocking.await {
        Ok(0) => {}
        Ok(panicked) => warn!(panicked, "workers panicked"),
        Err(error) => warn!(%error, "failed to wait for the workers and the record spool to end"),
    }
    late.begin();
    let left = tasks.wait(WIND_DOWN).await;
    if !left.is_empty() {
        warn!(?left, "tasks did not end in time");
        tasks.abort();
    }
}

/// Ends the process, callers first, after a panic in the synchronization with the control plane. Its state may be
/// half changed, so it is not used further; and without synchronization a node would serve what it has for good,
/// revoked keys included.
async fn give_up(state_dir: PathBuf, seams: Seams, fail: &mpsc::Sender<StartError>) {
    error!("the task that synchronizes with the control plane panicked; exiting");
    let marked = tokio::task::spawn_blocking(move || journal::leave_mark(&state_dir, &seams));
    if timeout(NOTING, marked).await.is_err() {
        warn!("disk does not answer; the end of the process is not recorded on it");
    }
    // The process may be stopping already.
    fail.try_send(StartError::Panicked).ok();
}

/// What is up, whatever becomes of the control plane.
struct Standing {
    /// Lock of the state folder; released last.
    lock: FolderLock,
    workers: Vec<JoinHandle<()>>,
    spool: Spool,
    saver: QuotaSaver,
    /// Ends the workers.
    traffic: Shutdown,
    /// Of this thread.
    pulse: Pulse,
    watch: Watch,
}

/// What the connection to the control plane needs.
struct Core {
    control_plane: ControlPlane,
    seams: Seams,
    quotas: Quotas,
    state_dir: PathBuf,
    node_key: Secret,
    identity_file: IdentityFile,
    token: Option<NodeToken>,
    stored: Option<Stored>,
    activator: Activator<Snapshot>,
    configured: Gate,
    board: Board,
    spool: SpoolHandle,
    node: Arc<OnceLock<NodeId>>,
    statement: Arc<OnceLock<String>>,
    health: Health,
    prove_for: Duration,
}

/// A node that has joined before, and what it has on disk.
struct Stored {
    identity: Identity,
    journal: Journal,
    inventory: Inventory,
    position: Option<Position>,
}

fn build(plan: Plan, tasks: &Tasks, late: &Shutdown) -> Result<(Core, Standing), StartError> {
    let Plan { config, seams, observability, hooks, listeners, admin, stop, readiness, board, node, callers } =
        plan;
    let configured = readiness.register("configuration");
    let gates: Vec<Gate> = listeners.iter().map(|_| readiness.register("workers")).collect();

    let identity_path = IdentityFile::path(&config.state_dir);
    // Checked first, so that a start without a token leaves nothing behind.
    if config.node_token.is_none() && !IdentityFile::is_there(&identity_path, &seams) {
        return Err(StartError::NoToken);
    }
    seams
        .disk
        .create_dir_all(&config.state_dir)
        .map_err(|source| StartError::System { what: "make the state folder", source })?;
    // Two processes on one folder would overwrite each other's records and last-known-good.
    let lock = FolderLock::take(&config.state_dir, "edge.lock", "edge node")?;
    let node_key =
        identity::load_node_key(config.node_key_file.as_deref(), &config.state_dir, &identity_path, &seams)?;
    let identity_file = IdentityFile::new(&config.state_dir, &node_key, seams.clone());
    let identity = identity_file.read()?;
    let (quotas, quota_log) = QuotaLog::open(&config.state_dir, seams.clone(), Instant::now());
    let mut first = Snapshot::default();
    let stored = identity.map(|identity| {
        let (stored, snapshot) = recall(identity, &config.state_dir, &node_key, &seams, &quotas);
        first = snapshot;
        stored
    });

    let (activator, readers) = current::cell(first, listeners.len());
    let counters: Vec<Arc<Counters>> = listeners.iter().map(|_| Arc::default()).collect();
    let (senders, receivers): (Vec<_>, Vec<_>) =
        counters.iter().map(|counters| report::ring(Arc::clone(counters))).unzip();
    let rings = receivers.into_iter().zip(counters.iter().cloned()).collect();
    let folder = config.state_dir.join("spool");
    let (spool, spool_handle) = Spool::start(folder, &node_key, config.spool_quota, rings, seams.clone())?;
    events::log_lines(&observability);
    events::register(
        &observability.meter("rr-edge"),
        counters.clone(),
        board.clone(),
        quotas.clone(),
        spool_handle.clone(),
    );

    let saver = QuotaSaver::start(quota_log)
        .map_err(|source| StartError::System { what: "start the thread of counts", source })?;
    let (counted, clock) = (quotas.clone(), Arc::clone(&seams.clock));
    tasks.spawn_local("quota", async move {
        let mut ticks = interval(QUOTA_TICK);
        loop {
            ticks.tick().await;
            counted.tick(clock.now(), Instant::now());
        }
    });
    let traffic = Shutdown::new();
    let statement = Arc::new(OnceLock::new());
    let shared = traffic::Shared {
        guard: Arc::new(AddressGuard::new(config.allow_upstream)),
        resolver: Resolver::new(Arc::new(SystemNames)),
        trust: Trust::new(config.upstream_ca),
        seams: seams.clone(),
        quota_clock: Arc::clone(quotas.clock()),
        statement: Arc::clone(&statement),
        limits: Limits { drain: config.drain, bounds: Bounds::of(callers.a_worker), notices: Notices::new() },
        stop: traffic.stop(),
        probe: hooks.probe,
    };
    let mut watchdog = Watchdog::default();
    let pulse = watchdog.watch("control", watchdog::CONTROL);
    let mut workers = Vec::with_capacity(listeners.len());
    let setups = listeners.into_iter().zip(readers).zip(senders).zip(counters).zip(gates);
    for (index, ((((listener, reader), records), counters), up)) in setups.enumerate() {
        let worker_pulse = watchdog.watch(format!("worker-{index}"), watchdog::WORKER);
        let setup = WorkerSetup { index, listener, reader, records, counters, up, pulse: worker_pulse };
        let worker = traffic::start(setup, shared.clone());
        workers.push(worker.map_err(|source| StartError::System { what: "start a worker", source })?);
    }
    let health = watchdog.health();
    let watch =
        watchdog.start().map_err(|source| StartError::System { what: "start the watchdog", source })?;
    let admin_port = Admin { observability, readiness, board: board.clone(), draining: stop };
    tasks.spawn_local("admin", admin_port.run(admin, tasks.clone(), late.stop()));
    let core = Core {
        control_plane: ControlPlane::new(config.control_plane, hooks.dial, &*seams.entropy),
        seams,
        quotas,
        state_dir: config.state_dir,
        node_key,
        identity_file,
        token: config.node_token,
        stored,
        activator,
        configured,
        board,
        spool: spool_handle,
        node,
        statement,
        health,
        prove_for: hooks.prove_for,
    };
    Ok((core, Standing { lock, workers, spool, saver, traffic, pulse, watch }))
}

/// Reads last-known-good. What belongs to another region is left alone: its secrets would not open.
fn recall(
    identity: Identity,
    state_dir: &Path,
    node_key: &Secret,
    seams: &Seams,
    quotas: &Quotas,
) -> (Stored, Snapshot) {
    let vault = Vault::new(identity.installation, vec![identity.region.clone()]);
    let empty = || Inventory::new(Arc::clone(&vault), quotas.clone());
    let (journal, recovered) =
        Journal::start(state_dir, node_key, seams.clone(), identity.region_id(), empty);
    let (inventory, snapshot, position) = match recovered {
        Some(Recovered { inventory, snapshot, position, .. }) => (inventory, snapshot, Some(position)),
        None => (empty(), Snapshot::default(), None),
    };
    (Stored { identity, journal, inventory, position }, snapshot)
}

impl Core {
    /// Joins if necessary, and starts the loops. Returns after the first try: a control plane that cannot be
    /// reached is tried again in the background, a refusal ends the start.
    async fn make_contact(
        mut self,
        tasks: &Tasks,
        late: &Stop,
        fail: mpsc::Sender<StartError>,
    ) -> Result<(), StartError> {
        if let Some(stored) = self.stored.take() {
            return self.go_on(stored, tasks, late, fail);
        }
        let token = self.token.take().ok_or(StartError::NoToken)?;
        match late.cut(identity::join(&self.control_plane, &token, BUILD)).await {
            Some(Ok(identity)) => {
                let stored = self.settle_in(identity).await?;
                self.go_on(stored, tasks, late, fail)
            }
            Some(Err(error)) if error.is_worth_another_try() => {
                warn!(
                    address = %self.control_plane.address(),
                    error = %chain(&error),
                    "cannot join yet, retrying; check --control-plane and that the fleet port is reachable"
                );
                let (tasks, late) = (tasks.clone(), late.clone());
                tasks.clone().spawn_local("join", async move {
                    let joining = self.keep_joining(token, tasks, late.clone(), fail.clone());
                    if let Some(Err(error)) = late.cut(Box::pin(joining)).await {
                        // The process may be stopping already.
                        fail.try_send(error).ok();
                    }
                });
                Ok(())
            }
            Some(Err(error)) => Err(error.into()),
            None => Ok(()),
        }
    }

    async fn keep_joining(
        self,
        token: NodeToken,
        tasks: Tasks,
        late: Stop,
        fail: mpsc::Sender<StartError>,
    ) -> Result<(), StartError> {
        let mut backoff = Backoff::default();
        loop {
            sleep(backoff.next(Instant::now(), &*self.seams.entropy)).await;
            match identity::join(&self.control_plane, &token, BUILD).await {
                Ok(identity) => {
                    let stored = self.settle_in(identity).await?;
                    return self.go_on(stored, &tasks, &late, fail);
                }
                Err(error) if error.is_worth_another_try() => {
                    debug!(error = %chain(&error), "still cannot join");
                    self.control_plane.pass_on();
                }
                Err(error) => return Err(JoinError::into(error)),
            }
        }
    }

    /// Stores a new identity before it is used: a token may be valid for one node only. A slow disk does not block
    /// this thread.
    async fn settle_in(&self, identity: Identity) -> Result<Stored, StartError> {
        let (file, state_dir) = (self.identity_file.clone(), self.state_dir.clone());
        let (node_key, seams) = (Secret::new(self.node_key.expose().to_vec()), self.seams.clone());
        let quotas = self.quotas.clone();
        let kept = tokio::task::spawn_blocking(move || {
            file.write(&identity)?;
            info!(node = %identity.node, region = %identity.region_id(), "joined");
            let (mut stored, _) = recall(identity, &state_dir, &node_key, &seams, &quotas);
            // The files there belong to another node; the first configuration overwrites them.
            let vault = Vault::new(stored.identity.installation, vec![stored.identity.region.clone()]);
            (stored.inventory, stored.position) = (Inventory::new(vault, quotas), None);
            Ok(stored)
        });
        kept.await.map_err(|_| StartError::Ended)?
    }

    /// Starts the stream of configuration and the upload of records.
    fn go_on(
        self,
        stored: Stored,
        tasks: &Tasks,
        late: &Stop,
        fail: mpsc::Sender<StartError>,
    ) -> Result<(), StartError> {
        let Stored { identity, journal, inventory, position } = stored;
        let tls = identity.tls(Arc::clone(&self.seams.clock)).map_err(StartError::Certificate)?;
        let region = identity.region_id();
        // Each is set once: a node joins once in the life of a process.
        self.node.set(identity.node).ok();
        let statement = json!({
            "region": region.to_string(),
            "epoch": identity.region.epoch(),
            "fingerprint": identity.fingerprint.to_string(),
        });
        self.statement.set(statement.to_string()).ok();
        let health = self.health;
        let vitals = Arc::new(move || health.is_good());
        let scribe = Scribe::start(journal)
            .map_err(|source| StartError::System { what: "start the thread of last-known-good", source })?;
        let applier =
            Applier::new(region, inventory, self.activator, scribe, position).proving(vitals, self.prove_for);
        let upload = Upload {
            control_plane: self.control_plane.clone(),
            tls: Arc::clone(&tls),
            spool: self.spool.clone(),
        };
        let (state_dir, seams) = (self.state_dir, self.seams.clone());
        let sync =
            Sync::new(self.control_plane, tls, applier, self.seams, self.board, self.spool, self.configured);
        let run = Box::pin(AssertUnwindSafe(sync.run(late.clone())).catch_unwind());
        tasks.spawn_local("sync", async move {
            if run.await.is_err() {
                give_up(state_dir, seams, &fail).await;
            }
        });
        tasks.spawn_local("upload", upload.run(late.clone()));
        Ok(())
    }
}
