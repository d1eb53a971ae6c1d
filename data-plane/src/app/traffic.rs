//! The traffic threads: one worker each.

use std::io;
use std::net::TcpListener;
use std::rc::Rc;
use std::sync::{Arc, OnceLock};
use std::thread::{Builder, JoinHandle};

use rr_contract::runtime::{Gate, Stop, Tasks};
use rr_contract::seam::Seams;
use tokio::runtime::{Builder as RuntimeBuilder, LocalOptions};
use tracing::error;

use crate::current::ReaderSeat;
use crate::listen::{self, Counters, Limits, Worker};
use crate::report::Ring;
use crate::snapshot::Snapshot;
use crate::upstream::guard::Guard;
use crate::upstream::{Connections, Trust};

/// Futures live on the heap; what is left for the stack is one poll.
const STACK: usize = 1024 * 1024;
/// Threads of a worker for name look-ups, which block. They end when idle.
const BLOCKING_THREADS: usize = 16;

/// What all workers have in common.
#[derive(Clone)]
pub(super) struct Shared {
    pub(super) guard: Arc<Guard>,
    pub(super) trust: Arc<Trust>,
    pub(super) seams: Seams,
    pub(super) statement: Arc<OnceLock<String>>,
    pub(super) limits: Limits,
    pub(super) stop: Stop,
}

/// What one worker has for itself.
pub(super) struct Seat {
    pub(super) index: usize,
    pub(super) listener: TcpListener,
    pub(super) reader: ReaderSeat<Snapshot>,
    pub(super) records: Ring,
    pub(super) counters: Arc<Counters>,
    pub(super) up: Gate,
}

/// Starts a worker.
pub(super) fn start(seat: Seat, shared: Shared) -> io::Result<JoinHandle<()>> {
    let name = format!("worker-{}", seat.index);
    Builder::new().name(name).stack_size(STACK).spawn(move || {
        if let Err(error) = work(seat, shared) {
            error!(%error, "worker ended");
        }
    })
}

fn work(seat: Seat, shared: Shared) -> io::Result<()> {
    let runtime = RuntimeBuilder::new_current_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING_THREADS)
        .thread_stack_size(STACK)
        .build_local(LocalOptions::default())?;
    let Shared { guard, trust, seams, statement, limits, stop } = shared;
    runtime.block_on(async move {
        let tasks = Tasks::new();
        let connections = Connections::new(guard, trust, Arc::clone(&seat.counters), tasks.clone());
        let reader = seat.reader.sit();
        let worker = Worker::new(reader, connections, seat.records, seat.counters, &seams, statement);
        seat.up.done();
        listen::run(Rc::new(worker), seat.listener, tasks, limits, stop).await
    })
}
