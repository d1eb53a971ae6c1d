//! Builds every part, wires them, and owns the order of start and stop.
//!
//! Start: sockets, keys, last-known-good, workers; only then the control plane, whose absence stops none of
//! it, or the file in its place. Stop: callers first, within the drain; then their records; then the rest. One thread carries all
//! control work; traffic has its own threads and shares nothing with it but the snapshot.

mod alone;
mod control;
mod ending;
mod joined;
#[cfg(test)]
mod tests;
mod traffic;
mod unasked;
mod watchdog;

use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use rr_contract::model::id::NodeId;
use rr_contract::runtime::observe::Observability;
use rr_contract::runtime::{AdminTokenError, LockError, Readiness, Shutdown, descriptors, logging_alike};
use rr_contract::seam::Seams;
use tokio::sync::{mpsc, oneshot};
use tracing::error;

use crate::caller_tls::CertificateError;
use crate::config::Config;
use crate::control_plane::dial::{Dial, TcpDial};
use crate::identity::{IdentityFileError, JoinError, NodeKeyError};
use crate::listen::{self, BindError, Descriptors};
use crate::report::{RecordsError, SpoolError};
use crate::standalone::{Overview, StandaloneError};
use crate::sync::{Board, PROVE_FOR, Position};

use self::control::Plan;

/// Why the edge did not start, or cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address is not to be had.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The machine refuses something basic.
    #[error("{what}")]
    System {
        /// What was tried.
        what: &'static str,
        /// The error of the operating system.
        #[source]
        source: io::Error,
    },
    /// The state folder is another's.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The node key.
    #[error(transparent)]
    NodeKey(#[from] NodeKeyError),
    /// The identity at rest.
    #[error(transparent)]
    Identity(#[from] IdentityFileError),
    /// The identity cannot be used.
    #[error("set up TLS with the certificate of this node")]
    Certificate(#[source] rustls::Error),
    /// The token of the admin port.
    #[error(transparent)]
    AdminToken(#[from] AdminTokenError),
    /// The roots for upstreams, which were there a moment ago.
    #[error("load --upstream-ca")]
    UpstreamCa(#[source] Box<dyn Error + Send + Sync>),
    /// The certificates for callers.
    #[error(transparent)]
    CallerTls(#[from] CertificateError),
    /// The first start of a machine needs a token.
    #[error("this machine has not joined yet: pass a token from `rrctl node token` with --node-token-file")]
    NoToken,
    /// An operator revoked this node.
    #[error(
        "this node was revoked ({reason}); its state folder is emptied, and the machine can join as another node with a new token of `rrctl node token create`"
    )]
    Revoked {
        /// What the control plane said.
        reason: String,
    },
    /// The folder is of a node that has joined.
    #[error(
        "the state folder {folder} belongs to a node that has joined a control plane: choose another with --state-dir, or start without --standalone",
        folder = folder.display()
    )]
    HasJoined {
        /// The folder.
        folder: PathBuf,
    },
    /// The folder is of a standalone node.
    #[error(
        "the state folder {folder} belongs to a standalone node: choose another with --state-dir, or start with --standalone",
        folder = folder.display()
    )]
    IsStandalone {
        /// The folder.
        folder: PathBuf,
    },
    /// The file of a standalone node.
    #[error(transparent)]
    Standalone(#[from] StandaloneError),
    /// The file of its records.
    #[error(transparent)]
    Records(#[from] RecordsError),
    /// The control plane does not want this machine, or is not the right one.
    #[error(transparent)]
    Join(#[from] JoinError),
    /// The records' folder.
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// The control thread ended without a word.
    #[error("control thread ended unexpectedly")]
    Ended,
    /// What follows the control plane or the file ended in a panic: nothing would come into force any more, revocations
    /// neither.
    #[error("the task that follows the configuration panicked (see the log): restart rr-edge")]
    Panicked,
}

/// A running edge.
pub struct Running {
    listen: SocketAddr,
    admin: SocketAddr,
    node: Arc<OnceLock<NodeId>>,
    overview: Arc<OnceLock<Overview>>,
    board: Board,
    readiness: Readiness,
    shutdown: Shutdown,
    failed: mpsc::Receiver<StartError>,
    thread: JoinHandle<()>,
}

/// Starts an edge. Returns once it serves what it has; that may be nothing yet, see [`Running::readiness`].
pub async fn start(
    config: Config,
    seams: Seams,
    observability: Observability,
) -> Result<Running, StartError> {
    start_with(config, seams, observability, Hooks::default()).await
}

/// Looks on while traffic workers go over to another configuration, so that a test can end or hold up one of
/// them. Costs no request anything.
pub trait Probe: Send + Sync + 'static {
    /// On a worker's own thread, before it decides the first request by `revision`; once at the start too.
    /// `is_there` says whether some proxy has this text in its address.
    fn first_run(&self, worker: usize, revision: u64, is_there: &dyn Fn(&str) -> bool);
}

/// What a simulation or a test puts in the place of the real thing.
pub struct Hooks {
    /// Sockets to the control plane.
    pub dial: Arc<dyn Dial>,
    /// Looks on at the workers.
    pub probe: Arc<dyn Probe>,
    /// How long the node must live on a configuration that does not say, until it counts as proven.
    pub prove_for: Duration,
}

impl Default for Hooks {
    fn default() -> Self {
        struct Nobody;

        impl Probe for Nobody {
            fn first_run(&self, _: usize, _: u64, _: &dyn Fn(&str) -> bool) {}
        }

        Self { dial: Arc::new(TcpDial), probe: Arc::new(Nobody), prove_for: PROVE_FOR }
    }
}

/// As [`start`], with parts from elsewhere.
pub async fn start_with(
    config: Config,
    seams: Seams,
    observability: Observability,
    hooks: Hooks,
) -> Result<Running, StartError> {
    // Before anything is written: a second start on the same port must leave the first one's state alone.
    let listeners = listen::proxy(config.listen, config.workers)?;
    let admin_listener = listen::admin(config.admin)?;
    let system = |what| move |source| StartError::System { what, source };
    let listen = listeners[0].local_addr().map_err(system("read the address of the listener"))?;
    let admin = admin_listener.local_addr().map_err(system("read the address of the admin port"))?;

    let callers = Descriptors::share(descriptors::raise(), config.workers, config.connections);

    let shutdown = Shutdown::new();
    let readiness = Readiness::new();
    let board = Board::default();
    let node = Arc::new(OnceLock::new());
    let overview = Arc::new(OnceLock::new());
    let (started, starting) = oneshot::channel();
    let (fail, failed) = mpsc::channel(1);
    let plan = Plan {
        config,
        seams,
        observability,
        hooks,
        listeners,
        admin: admin_listener,
        callers,
        stop: shutdown.stop(),
        readiness: readiness.clone(),
        board: board.clone(),
        node: Arc::clone(&node),
        overview: Arc::clone(&overview),
    };
    let thread = Builder::new()
        .name("control".into())
        .spawn(logging_alike(move || control::run(plan, started, fail)))
        .map_err(system("start the control thread"))?;
    match starting.await {
        Ok(Ok(())) => {
            callers.tell();
            Ok(Running { listen, admin, node, overview, board, readiness, shutdown, failed, thread })
        }
        Ok(Err(error)) => Err(error),
        Err(_) => Err(StartError::Ended),
    }
}

impl Running {
    /// Where callers are served.
    pub fn listen(&self) -> SocketAddr {
        self.listen
    }

    /// Where operators look.
    pub fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// The id of this node, once it has joined.
    pub fn node_id(&self) -> Option<NodeId> {
        self.node.get().copied()
    }

    /// What a node without a control plane served at its start.
    pub fn overview(&self) -> Option<&Overview> {
        self.overview.get()
    }

    /// Where the configuration stands that requests are decided by.
    pub fn position(&self) -> Option<Position> {
        self.board.read().running
    }

    /// Where the configuration stands that every traffic worker has run on.
    pub fn serving(&self) -> Option<Position> {
        self.board.read().serving
    }

    /// What is still waited for.
    pub fn readiness(&self) -> Readiness {
        self.readiness.clone()
    }

    /// Waits for a fault that the node cannot continue after, such as a token that is refused later. The caller
    /// stops the edge and has it restarted.
    pub async fn failed(&mut self) -> StartError {
        match self.failed.recv().await {
            Some(error) => error,
            // Whatever could fail has ended.
            None => std::future::pending().await,
        }
    }

    /// Stops: callers are drained, their records written, then the rest ends.
    pub async fn stop(self) {
        self.shutdown.begin();
        let thread = self.thread;
        let joined = tokio::task::spawn_blocking(move || thread.join().is_ok()).await;
        if !matches!(joined, Ok(true)) {
            error!("control thread panicked");
        }
    }
}
