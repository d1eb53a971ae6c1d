//! The traffic threads: one worker each.

use std::io;
use std::net::TcpListener;
use std::rc::Rc;
use std::sync::{Arc, OnceLock};
use std::thread::{Builder, JoinHandle};

use rr_contract::outbound::Outbound;
use rr_contract::runtime::{Gate, Stop, Tasks, logging_alike};
use rr_contract::seam::Seams;
use tokio::runtime::{Builder as RuntimeBuilder, LocalOptions};
use tracing::error;

use crate::caller_tls::ServerTls;
use crate::counters::Counters;
use crate::current::{Follower, PendingReader};
use crate::echo::Echoes;
use crate::listen::{self, Door, Limits, Neighbours};
use crate::passwords::Passwords;
use crate::quota::QuotaClock;
use crate::report::{Ring, UseSender};
use crate::snapshot::Snapshot;
use crate::traces::Tracer;
use crate::trials::Trials;
use crate::upstream::{Connections, Trust};
use crate::validations::ValidationThreads;
use crate::worker::{Common, Worker};

use super::Probe;
use super::unasked::Unasked;
use super::watchdog::Pulse;

/// Futures live on the heap; the stack holds one poll.
const STACK: usize = 1024 * 1024;
/// Threads of a worker for blocking work: reading root certificates. They end when idle.
const BLOCKING_THREADS: usize = 1;

/// What all workers have in common.
#[derive(Clone)]
pub(super) struct Shared {
    pub(super) outbound: Arc<Outbound>,
    pub(super) trust: Arc<Trust>,
    pub(super) seams: Seams,
    pub(super) passwords: Arc<Passwords>,
    pub(super) validations: ValidationThreads,
    pub(super) trials: Trials,
    pub(super) quota_clock: Arc<QuotaClock>,
    pub(super) statement: Arc<OnceLock<String>>,
    pub(super) pseudonym: Arc<str>,
    pub(super) echoes: Echoes,
    /// `None`: nobody is told when callers came.
    pub(super) uses: Option<UseSender>,
    pub(super) neighbours: Neighbours,
    pub(super) limits: Limits,
    /// Sockets of each to upstreams.
    pub(super) upstreams: usize,
    /// Bytes of bodies that each holds whole.
    pub(super) bodies: usize,
    pub(super) stop: Stop,
    pub(super) probe: Arc<dyn Probe>,
}

/// What one worker has for itself.
pub(super) struct WorkerSetup {
    pub(super) index: usize,
    pub(super) listener: TcpListener,
    pub(super) reader: PendingReader<Snapshot>,
    /// `None`: no TLS.
    pub(super) tls: Option<PendingReader<ServerTls>>,
    pub(super) records: Ring,
    /// `None`: no collector takes traces.
    pub(super) tracer: Option<Tracer>,
    pub(super) counters: Arc<Counters>,
    pub(super) up: Gate,
    pub(super) pulse: Pulse,
}

/// Reports to the watchdog and the probe what a worker does.
struct Observer {
    worker: usize,
    pulse: Pulse,
    probe: Arc<dyn Probe>,
    /// There at one worker, where callers are spoken to without TLS.
    unasked: Option<Unasked>,
}

impl Follower<Snapshot> for Observer {
    fn first_run(&self, snapshot: &Snapshot) {
        self.pulse.runs_on(snapshot.revision);
        if let Some(unasked) = &self.unasked {
            unasked.look(snapshot);
        }
        let is_there = |text: &str| snapshot.addresses().any(|address| address.contains(text));
        self.probe.first_run(self.worker, snapshot.revision, &is_there);
    }

    fn tick(&self) {
        self.pulse.beat();
    }
}

/// Starts a worker.
pub(super) fn start(setup: WorkerSetup, shared: Shared) -> io::Result<JoinHandle<()>> {
    let name = format!("worker-{}", setup.index);
    let work = logging_alike(move || {
        let pulse = setup.pulse.clone();
        match work(setup, shared) {
            Ok(()) => pulse.end(),
            // The watchdog treats it like a hang: no other worker would take its callers.
            Err(error) => error!(%error, "worker ended"),
        }
    });
    Builder::new().name(name).stack_size(STACK).spawn(work)
}

fn work(setup: WorkerSetup, shared: Shared) -> io::Result<()> {
    let runtime = RuntimeBuilder::new_current_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING_THREADS)
        .thread_stack_size(STACK)
        .build_local(LocalOptions::default())?;
    let Shared {
        outbound,
        trust,
        seams,
        passwords,
        validations,
        trials,
        quota_clock,
        statement,
        pseudonym,
        echoes,
        uses,
        neighbours,
        limits,
        upstreams,
        bodies,
        stop,
        probe,
    } = shared;
    runtime.block_on(async move {
        let tasks = Tasks::new();
        let counters = Arc::clone(&setup.counters);
        let connections = Connections::new(outbound, trust, counters, tasks.clone(), upstreams);
        let unasked = (setup.index == 0 && setup.tls.is_none()).then(Unasked::new);
        let observer = Observer { worker: setup.index, pulse: setup.pulse, probe, unasked };
        let reader = setup.reader.start_with(Box::new(observer));
        let worker = Worker::new(
            reader,
            connections,
            setup.records,
            setup.tracer,
            setup.counters,
            Common {
                seams,
                passwords,
                validations,
                trials,
                quota_clock,
                statement,
                pseudonym,
                echoes,
                uses,
                bodies,
            },
        );
        let door = Door { tls: setup.tls.map(PendingReader::start), neighbours };
        setup.up.done();
        listen::run(Rc::new(worker), setup.listener, door, tasks, limits, stop).await
    })
}
