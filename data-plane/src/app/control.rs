//! The control thread: everything that is not traffic.

use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use data_encoding::HEXLOWER;
use rr_contract::model::id::NodeId;
use rr_contract::outbound::{AddressGuard, DnsNames, Fetch, Outbound, Resolver};
use rr_contract::runtime::observe::Observability;
use rr_contract::runtime::{AdminToken, FolderLock, Gate, Readiness, Shutdown, Stop, Tasks};
use rr_contract::seam::{Entropy, Seams};
use tokio::runtime::{Builder as RuntimeBuilder, LocalOptions};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, interval};
use tracing::warn;

use crate::access_token::{self, Answerer};
use crate::admin::Admin;
use crate::caller_tls::CertificateBoard;
use crate::config::{Callers, Config};
use crate::control_plane::ControlPlane;
use crate::counters::Counters;
use crate::current;
use crate::events::{self, Shown};
use crate::identity::{self, IdentityFile, Revoked};
use crate::jwt::{self, Sources};
use crate::listen::{Descriptors, Limits, Neighbours, Notices};
use crate::passwords::Passwords;
use crate::pipeline::Trusted;
use crate::quota::{QuotaLog, QuotaSaver};
use crate::report::{self, Lines, LinesHandle, Sink, Spool, SpoolHandle, Tally};
use crate::seats::Bounds;
use crate::shelf::Shelf;
use crate::snapshot::Standings;
use crate::standalone::{Overview, Own};
use crate::sync::{Board, journal};
use crate::target_test::TargetTests;
use crate::traces::{self, Exporter, TraceTally};
use crate::trials::Trials;
use crate::upstream::{self, Connections, Trust, health};
use crate::validations::ValidationThreads;

use super::traffic::{self, WorkerSetup};
use super::watchdog::{self, Pulse, Watch, Watchdog};
use super::{Hooks, StartError, alone, joined};

/// How long tasks may take to end once nothing is left to do.
const WIND_DOWN: Duration = Duration::from_secs(5);
/// How often this thread reports to the watchdog.
const BEAT: Duration = Duration::from_millis(100);
/// How often clocks are compared, and counts that are over let go.
const QUOTA_TICK: Duration = Duration::from_millis(500);

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
    /// For a node without a control plane.
    pub(super) overview: Arc<OnceLock<Overview>>,
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
    let (state_dir, seams) = (plan.config.state_dir.clone(), plan.seams.clone());
    let (side, standing) = match build(plan, &tasks, &late) {
        Ok(built) => built,
        Err(error) => return tell(started, Err(error)),
    };
    let Standing { lock, workers, sink, saver, traffic, pulse, watch } = standing;
    let (ends, beating) = (late.stop(), pulse.clone());
    tasks.spawn_local("pulse", async move { ends.cut(beat(beating)).await });
    match side.begin(&tasks, &late.stop(), fail).await {
        Ok(()) => {
            tell(started, Ok(()));
            stop.requested().await;
            traffic.begin();
            wind_down(workers, sink, saver, &late, &tasks).await;
            if Revoked::read(&state_dir, &seams).is_some() {
                identity::wipe(&state_dir, &seams);
            }
            drop(lock);
        }
        Err(error) => {
            traffic.begin();
            wind_down(workers, sink, saver, &late, &tasks).await;
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
    sink: Sink,
    saver: QuotaSaver,
    late: &Shutdown,
    tasks: &Tasks,
) {
    let blocking = tokio::task::spawn_blocking(move || {
        let panicked = workers.into_iter().filter_map(|worker| worker.join().err()).count();
        sink.close();
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

/// What is up, whatever becomes of the control plane.
struct Standing {
    /// Lock of the state folder; released last.
    lock: FolderLock,
    workers: Vec<JoinHandle<()>>,
    sink: Sink,
    saver: QuotaSaver,
    /// Ends the workers.
    traffic: Shutdown,
    /// Of this thread.
    pulse: Pulse,
    watch: Watch,
}

fn build(plan: Plan, tasks: &Tasks, late: &Shutdown) -> Result<(Side, Standing), StartError> {
    let Plan { config, seams, observability, hooks, listeners, admin, stop, .. } = plan;
    let Plan { readiness, board, node, overview, callers, .. } = plan;
    let configured = readiness.register("configuration");
    let gates: Vec<Gate> = listeners.iter().map(|_| readiness.register("workers")).collect();

    let look = match config.standalone {
        Some(settings) => Some(alone::look(settings, &config.state_dir, &seams)?),
        None => {
            joined::look(config.node_token.as_ref(), &config.state_dir, &seams)?;
            None
        }
    };
    let token =
        config.admin_token_file.as_deref().map(|path| AdminToken::open(path, Arc::clone(&seams.disk)));
    let token = token.transpose()?;
    let certificates = CertificateBoard::default();
    let Callers { tls, proxy_protocol_from, trusted_proxies, trusted_header } = config.callers;
    let tls = tls.map(|tls| tls.start(listeners.len(), &seams, certificates.clone())).transpose()?;
    let (tls_readers, tls_watch) = tls.unzip();
    seams
        .disk
        .create_dir_all(&config.state_dir)
        .map_err(|source| StartError::System { what: "make the state folder", source })?;
    // Two processes on one folder would overwrite each other's records and last-known-good.
    let lock = FolderLock::take(&config.state_dir, "edge.lock", "edge node")?;
    if look.is_none() {
        joined::finish_revocation(config.node_token.as_ref(), &config.state_dir, &seams)?;
    }
    let sealed = match look {
        Some(_) => Own::path(&config.state_dir),
        None => IdentityFile::path(&config.state_dir),
    };
    let node_key =
        identity::load_node_key(config.node_key_file.as_deref(), &config.state_dir, &sealed, &seams)?;
    let (quotas, quota_log) = QuotaLog::open(&config.state_dir, seams.clone(), Instant::now());
    let standings = Standings::default();
    let counters: Vec<Arc<Counters>> = listeners.iter().map(|_| Arc::default()).collect();
    let (senders, rings): (Vec<_>, Vec<_>) =
        counters.iter().map(|counters| report::ring(Arc::clone(counters))).unzip();
    let (memory, first, sink, tally, uses, lines) = match look {
        Some(look) => {
            let (stored, first) =
                alone::recall(look, &config.state_dir, &node_key, &seams, &quotas, &standings)?;
            let (lines, handle) = Lines::start(config.records, rings, &seams)?;
            let memory = Memory::Alone(Box::new(stored), handle.clone());
            (memory, first, Sink::Lines(lines), Tally::Lines(handle.clone()), None, Some(handle))
        }
        None => {
            let identity_file = IdentityFile::new(&config.state_dir, &node_key, seams.clone());
            let (stored, first) =
                joined::recall(&identity_file, &config.state_dir, &node_key, &seams, &quotas, &standings)?;
            let folder = config.state_dir.join("spool");
            let (uses, told) = report::uses();
            let beside = config.records.map(|to| Lines::beside_spool(to, &seams)).transpose()?;
            let (lines, of_lines, tee) = match beside {
                Some((lines, handle, tee)) => (Some(lines), Some(handle), Some(tee)),
                None => (None, None, None),
            };
            let (spool, handle) =
                Spool::start(folder, &node_key, config.spool_quota, rings, told, tee, seams.clone())?;
            let memory = Memory::Joined(identity_file, stored.map(Box::new), handle.clone());
            if let Some(handle) = of_lines.clone() {
                tasks.spawn_local("SIGHUP", reopen(handle, late.stop()));
            }
            (memory, first, Sink::Spool(spool, lines), Tally::Spool(handle), Some(uses), of_lines)
        }
    };
    let (activator, readers) = current::cell(first, listeners.len());
    events::log_lines(&observability);
    let meter = observability.meter("rr-edge");
    let spool_quota = matches!(tally, Tally::Spool(_)).then_some(config.spool_quota);
    let shown = Shown {
        board: board.clone(),
        quotas: quotas.clone(),
        standings: standings.clone(),
        tally,
        spool_quota,
    };
    events::register(&meter, counters.clone(), shown);
    events::lines(&meter, lines);
    events::certificates(&meter, certificates.clone());
    let (region, traced) = (Arc::new(OnceLock::new()), Arc::new(TraceTally::default()));
    let mut tracers = Vec::new();
    if let Some(spans) = observability.spans() {
        let made = counters.iter().map(|of| traces::tracer(config.traces, counters.len(), Arc::clone(of)));
        let (ends, queues) = made.unzip();
        tracers = ends;
        let (node, region) = (Arc::clone(&node), Arc::clone(&region));
        let exporter = Exporter { spans, queues, tally: Arc::clone(&traced), node, region };
        tasks.spawn_local("traces", exporter.run(late.stop()));
    }
    let mut tracers = tracers.into_iter();
    events::traces(&meter, counters.clone(), traced);

    let saver = QuotaSaver::start(quota_log)
        .map_err(|source| StartError::System { what: "start the thread of counts", source })?;
    let (counted, clock, ends) = (quotas.clone(), Arc::clone(&seams.clock), late.stop());
    tasks.spawn_local("quota", async move {
        let mut ticks = interval(QUOTA_TICK);
        while ends.cut(ticks.tick()).await.is_some() {
            counted.tick(clock.now(), Instant::now());
        }
    });
    if let Some(watch) = tls_watch {
        tasks.spawn_local("certificates", watch.run(late.stop()));
    }
    let traffic = Shutdown::new();
    let trials = Trials::new(Arc::clone(&seams.clock));
    let statement = Arc::new(OnceLock::new());
    let shared = traffic::Shared {
        outbound: Outbound::new(
            AddressGuard::new(config.allow_upstream),
            Resolver::new(Arc::new(DnsNames::system())),
            config.next_hop,
        ),
        trust: Trust::new(config.upstream_ca.clone()),
        seams: seams.clone(),
        passwords: Passwords::new(&*seams.entropy),
        validations: ValidationThreads::default(),
        trials: trials.clone(),
        quota_clock: Arc::clone(quotas.clock()),
        statement: Arc::clone(&statement),
        pseudonym: pseudonym(&*seams.entropy),
        echoes: standings.echoes().clone(),
        uses,
        neighbours: Neighbours {
            proxy_protocol_from: proxy_protocol_from.into(),
            trusted: Trusted { proxies: trusted_proxies.into(), header: trusted_header },
        },
        limits: Limits {
            drain: config.drain,
            bounds: Bounds::of(callers.a_worker),
            notices: Notices::new(&callers),
        },
        upstreams: callers.upstreams_a_worker,
        bodies: config.gathered_bodies,
        stop: traffic.stop(),
        probe: hooks.probe,
    };
    let checker = Connections::new(
        Arc::clone(&shared.outbound),
        Arc::clone(&shared.trust),
        Arc::default(),
        tasks.clone(),
        health::SOCKETS,
    );
    let roots = config.upstream_ca.as_deref().map(upstream::certificates).transpose();
    let roots = roots.map_err(|source| StartError::UpstreamCa(Box::new(source)))?.unwrap_or_default();
    // Plain HTTP to loopback alone: the model takes no other URL without TLS.
    let fetch = Arc::new(Fetch::new(Arc::clone(&shared.outbound), roots).in_plaintext_too());
    let answerer = Answerer {
        fetch: Arc::clone(&fetch),
        shelf: Shelf::new(&config.state_dir, &node_key, &access_token::SHELF, seams.clone()),
        seams: seams.clone(),
    };
    let sources = Sources {
        fetch,
        shelf: Shelf::new(&config.state_dir, &node_key, &jwt::SHELF, seams.clone()),
        seams: seams.clone(),
        lasts: config.issuer_keys_last,
    };
    let tests = TargetTests::new(
        Arc::clone(&shared.outbound),
        Arc::clone(&shared.trust),
        seams.clone(),
        tasks.clone(),
        late.stop(),
    );
    let keys = standings.issuers().clone().follow(sources, tasks.clone(), late.stop());
    tasks.spawn_local("issuers", keys);
    let opened = standings.tokens().opened().clone().follow(Arc::clone(&seams.clock), late.stop());
    tasks.spawn_local("open secrets", opened);
    let upstream_tokens = standings.tokens().clone().follow(answerer, tasks.clone(), late.stop());
    tasks.spawn_local("tokens for upstreams", upstream_tokens);
    let entropy = Arc::clone(&seams.entropy);
    let checks = health::run(standings.clone(), checker, entropy, tasks.clone(), late.stop());
    tasks.spawn_local("health checks", checks);
    let mut watchdog = Watchdog::default();
    let pulse = watchdog.watch("control", watchdog::CONTROL);
    let mut workers = Vec::with_capacity(listeners.len());
    let mut tls_readers = tls_readers.unwrap_or_default().into_iter();
    let setups = listeners.into_iter().zip(readers).zip(senders).zip(counters).zip(gates);
    for (index, ((((listener, reader), records), counters), up)) in setups.enumerate() {
        let (tls, tracer) = (tls_readers.next(), tracers.next());
        let worker_pulse = watchdog.watch(format!("worker-{index}"), watchdog::WORKER);
        let setup =
            WorkerSetup { index, listener, reader, tls, records, tracer, counters, up, pulse: worker_pulse };
        let worker = traffic::start(setup, shared.clone());
        workers.push(worker.map_err(|source| StartError::System { what: "start a worker", source })?);
    }
    let health = watchdog.health();
    let watch =
        watchdog.start().map_err(|source| StartError::System { what: "start the watchdog", source })?;
    if let Some(token) = token.clone() {
        tasks.spawn_local("admin token", token.follow(late.stop()));
    }
    let admin_port =
        Admin { observability, readiness, board: board.clone(), certificates, token, draining: stop };
    tasks.spawn_local("admin", admin_port.run(admin, tasks.clone(), late.stop()));
    let (state_dir, prove_for) = (config.state_dir, hooks.prove_for);
    let side = match memory {
        Memory::Alone(stored, lines) => {
            let stored = *stored;
            let core = alone::Core {
                stored,
                seams,
                state_dir,
                activator,
                configured,
                board,
                lines,
                overview,
                health,
                prove_for,
            };
            Side::Alone(Box::new(core))
        }
        Memory::Joined(identity_file, stored, spool) => Side::Joined(Box::new(joined::Core {
            quotas,
            standings,
            control_plane: ControlPlane::new(config.control_plane, hooks.dial, &*seams.entropy),
            seams,
            state_dir,
            node_key,
            identity_file,
            token: config.node_token,
            stored: stored.map(|stored| *stored),
            activator,
            configured,
            board,
            spool,
            node,
            region,
            statement,
            health,
            prove_for,
            tests,
            trials,
        })),
    };
    Ok((side, Standing { lock, workers, sink, saver, traffic, pulse, watch }))
}

/// Has the log of lines opened anew at each SIGHUP. A node without a control plane reads its file again then, too.
async fn reopen(lines: LinesHandle, stop: Stop) {
    let mut hangups = match signal(SignalKind::hangup()) {
        Ok(hangups) => hangups,
        Err(error) => {
            return warn!(%error, "SIGHUP cannot be heard; a file that is moved away is noticed all the same");
        }
    };
    while stop.cut(hangups.recv()).await.flatten().is_some() {
        lines.reopen();
    }
}

/// How this node calls itself in `Via` headers until it ends. Drawn, so that it says nothing of the machine; the node's
/// id is not known before it has joined, and requests may be served before that.
fn pseudonym(entropy: &dyn Entropy) -> Arc<str> {
    let mut bytes = [0; 4];
    entropy.fill(&mut bytes);
    format!("rr-{}", HEXLOWER.encode(&bytes)).into()
}

/// What is on disk, and where records go.
enum Memory {
    Joined(IdentityFile, Option<Box<joined::Stored>>, SpoolHandle),
    Alone(Box<alone::Stored>, LinesHandle),
}

/// Where the configuration comes from.
enum Side {
    Joined(Box<joined::Core>),
    Alone(Box<alone::Core>),
}

impl Side {
    /// Begins to follow the configuration.
    async fn begin(
        self,
        tasks: &Tasks,
        late: &Stop,
        fail: mpsc::Sender<StartError>,
    ) -> Result<(), StartError> {
        match self {
            Self::Joined(core) => Box::pin(core.make_contact(tasks, late, fail)).await,
            Self::Alone(core) => Box::pin(core.begin(tasks, late, fail)).await,
        }
    }
}
