//! Builds every part, and owns the order in which they start and stop.
//!
//! Start: listeners are bound before anything is written, so a start that fails leaves nothing behind.
//! Stop: unready, nodes are told to go, open calls finish or are cut off, what was reported is written, the
//! database is closed.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use data_encoding::HEXLOWER;
use rr_contract::model::id::InstallationId;
use rr_contract::runtime::observe::Observability;
use rr_contract::runtime::{
    AdminToken, AdminTokenError, FolderLock, LockError, Readiness, Shutdown, Tasks, descriptors,
};
use rr_contract::seam::Seams;
use tokio::task::spawn_blocking;
use tonic_health::server::HealthReporter;
use tracing::{info, warn};

use crate::admin;
use crate::api::{Api, HealthService, ReflectionError, unready};
use crate::attempts::Attempts;
use crate::authority::{Authority, AuthorityError, Order, SignError};
use crate::bootstrap::{self, BootstrapError};
use crate::config::Config;
use crate::events::Events;
use crate::fleet_port::{FleetPort, Gate};
use crate::jobs::Jobs;
use crate::listen::{
    Admit, BindError, Bound, CONNECTIONS, CertificateError, PATIENCE, Serving, Strangers, server_tls,
};
use crate::publish::Publisher;
use crate::service::Services;
use crate::store::{self, DatabaseAddress, RecordAddress, RecordStores, Store, StoreError};
use crate::throttle::Throttle;

/// How long what was reported may take to be written at the end.
const LAST_WRITES: Duration = Duration::from_secs(10);
/// What machines without a certificate may take of the fleet port: one joins and comes back with a certificate.
const JOINING: Strangers =
    Strangers { lasts: Duration::from_secs(60), idle: Duration::from_secs(10), most: 1024 };
/// What a drain takes beyond its limit: telling nodes to go.
const GOODBYE: Duration = Duration::from_secs(2);

/// What readiness names once no writes are taken any more.
const NOT_KEPT: &str = "a database that keeps what it acknowledged (the log says more)";

/// Why the control plane did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A port is taken.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The token of the admin port.
    #[error(transparent)]
    AdminToken(#[from] AdminTokenError),
    /// The state folder cannot be made.
    #[error("cannot make the state folder {}; choose another with --state-dir", path.display())]
    StateDir {
        /// Its path.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The state folder is another's.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The database's file cannot be made.
    #[error("cannot make the database {}; choose another with --database", path.display())]
    DatabaseFile {
        /// Its path.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The database cannot be used.
    #[error("cannot use the database; choose another with --database")]
    Store(#[from] StoreError),
    /// The management API's certificate cannot be used.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// There is no authority.
    #[error("cannot set up the certificate authority")]
    Authority(#[from] AuthorityError),
    /// There is no first token.
    #[error("cannot make the first token")]
    Bootstrap(#[from] BootstrapError),
    /// Reflection does not work.
    #[error("cannot serve the schemas")]
    Reflection(#[from] ReflectionError),
}

/// A control plane that runs. Dropping it leaves it running; [`stop`](Self::stop) ends it.
pub struct Running {
    management: SocketAddr,
    fleet: SocketAddr,
    admin: SocketAddr,
    bootstrap: Option<PathBuf>,
    installation: InstallationId,
    readiness: Readiness,
    observability: Observability,
    health: HealthReporter,
    store: Store,
    records: RecordStores,
    /// Ends first: ports, sessions.
    front: (Shutdown, Tasks),
    /// Ends when no call is open any more: publishing, reports.
    back: (Shutdown, Tasks),
    /// Ends last, so that a probe can watch the stop.
    watch: (Shutdown, Tasks),
    drain: Duration,
    /// Let go of when the database is closed.
    lock: Option<Arc<FolderLock>>,
}

/// Keeps a second control plane out. Replicas share a PostgreSQL database, and may share a folder as well: then there
/// is no lock.
pub(crate) fn control_lock(folder: &Path) -> Result<FolderLock, LockError> {
    FolderLock::take(folder, "control.lock", "control plane")
}

/// Starts a control plane and returns once its ports are served and its configuration is loaded.
pub async fn start(
    config: Config,
    seams: Seams,
    observability: Observability,
) -> Result<Running, StartError> {
    descriptors::raise();
    let management = Bound::bind("management", config.management)?;
    let fleet = Bound::bind("fleet", config.fleet)?;
    let admin = Bound::bind("admin", config.admin)?;
    let brought =
        config.management_tls.as_ref().map(|tls| server_tls(&tls.certificate, &tls.key)).transpose()?;
    let admin_token = config.admin_token_file.as_deref();
    let admin_token = admin_token.map(|path| AdminToken::open(path, Arc::clone(&seams.disk))).transpose()?;
    let (front, back, watch) = (parts(), parts(), parts());
    // A database on a server is tried before anything is written; one in a file needs its folder.
    let folder = || make_folder(&config, &seams);
    let mut lock = None;
    if let DatabaseAddress::Sqlite(path) = &config.database {
        folder()?;
        lock = Some(Arc::new(control_lock(&config.state_dir)?));
        // Made here, for SQLite would let others read it.
        let made = seams.disk.append(path);
        made.map_err(|source| StartError::DatabaseFile { path: path.clone(), source })?;
    }
    let store =
        Store::open(&config.database, Arc::clone(&seams.clock), back.1.clone(), back.0.stop()).await?;
    folder()?;
    if lock.is_some() {
        // Leases on this database are of a process that has ended, or the folder would be locked: they must keep no
        // node out.
        store.void_leases().await?;
    }
    let head = store.installation(&*seams.entropy).await?;
    let installation = head.installation;
    for address in config.record_stores.values() {
        if let RecordAddress::Database(DatabaseAddress::Sqlite(path)) = address {
            // As above. Where it cannot be made it cannot be opened either, which is said then.
            seams.disk.append(path).ok();
        }
    }
    let records =
        RecordStores::new(store.clone(), config.record_stores.clone(), installation.as_bytes().to_vec());
    let loopback = management.address().ip().is_loopback();
    let is_ours = brought.is_none() && !loopback;
    let address = management.address().ip();
    let order = Order {
        keys: config.authority_keys.clone(),
        folder: config.state_dir.clone(),
        installation,
        names: if is_ours { config.management_names.clone() } else { Vec::new() },
        address: Some(address).filter(|address| is_ours && !address.is_unspecified()),
    };
    let roots = store::authority_root::all(&store).await?;
    let authority = {
        let (trusted, seams) = (head.authority, seams.clone());
        aside(move || Authority::open(order, roots, trusted, &seams)).await?
    };
    // After its files: while no pin is kept, no node has joined, and another authority may be made.
    let (pin, certificate) = (authority.pin(), authority.certificate().to_vec());
    if store.trust(pin).await? != pin {
        let key = config.authority_keys.first().cloned();
        return Err(key.map_or(AuthorityError::NoKey { pin }, |key| AuthorityError::Other { key }).into());
    }
    store::authority_root::first(&store, HEXLOWER.encode(&pin), certificate).await?;
    let authority = Arc::new(authority);
    if config.accept_clock {
        store::clock::accept(&store).await?;
    }
    store::clock::seen(&store).await?;
    records.look_first().await;
    let bootstrap = if config.new_bootstrap_token {
        Some(bootstrap::renew(&store, &config.state_dir, &seams).await?)
    } else {
        bootstrap::provide(&store, &config.state_dir, &seams).await?
    };

    let events = Events::new(&observability);
    let readiness = Readiness::new();
    let (loaded, serving) = (readiness.register("configuration"), readiness.register("ports"));
    let publisher = Publisher::new(store.clone(), events.clone(), Arc::clone(&seams.entropy));
    let asked = Arc::downgrade(&publisher);
    store.admit_by(asked);
    let shown = Arc::downgrade(&publisher);
    let standing = records.clone();
    Events::show_record_stores(&observability, move || standing.standing());
    Events::show(&observability, move || shown.upgrade().map(|publisher| publisher.standing()));

    let (management_address, fleet_address, admin_address) =
        (management.address(), fleet.address(), admin.address());
    let management_tls = match brought {
        Some(brought) => Some(brought),
        None if loopback => None,
        None => Some(authority.management_tls()?),
    };
    let tls = management_tls.is_some();
    let services = Services {
        store: store.clone(),
        records: records.clone(),
        seams: seams.clone(),
        authority: Arc::clone(&authority),
        publisher: Arc::clone(&publisher),
        ceilings: config.limit_ceilings,
        tests: crate::service::TestBounds::default(),
        trials: crate::service::TrialBounds::default(),
        stop: front.0.stop(),
    };
    let answering = services.clone();
    let jobs = Jobs::new(services.clone(), events.clone(), config.keep_history);
    let attempts = Attempts::new(store.clone());
    let health = HealthService::new();
    let reporter = health.reporter();
    let (broken, unreadied, unhealthy) = (store.clone(), readiness.clone(), reporter.clone());
    let throttle = Arc::new(Throttle::new(config.limits.clone()));
    let api = Api { services, events: events.clone(), attempts: attempts.clone(), stop: front.0.stop() }
        .router(health, throttle)
        .await?;
    let base = Serving {
        router: api,
        tls: management_tls,
        admit: nobody(),
        strangers: None,
        patience: Some(PATIENCE),
        connections: config.limits.connections,
        events: events.clone(),
        tasks: front.1.clone(),
        stop: front.0.stop(),
        drain: config.drain,
    };
    let port = FleetPort {
        store: store.clone(),
        records: records.clone(),
        seams: seams.clone(),
        authority: Arc::clone(&authority),
        publisher: Arc::clone(&publisher),
        events,
        tasks: front.1.clone(),
        stop: front.0.stop(),
        gate: Arc::new(Gate::new(config.fleet_stream_rate)),
        pace: Arc::default(),
    };
    let fleet_serving = Serving {
        router: port.routes().prepare().into_axum_router(),
        tls: Some(authority.fleet_tls()?),
        admit: nodes(Arc::clone(&authority)),
        strangers: Some(JOINING),
        // A node that answers pings and reads nothing would keep its transaction in memory for good.
        patience: Some(config.fleet_patience),
        connections: CONNECTIONS,
        ..base.clone()
    };
    let admin_serving = Serving {
        router: admin::router(readiness.clone(), observability.clone(), admin_token.clone()),
        tls: None,
        tasks: watch.1.clone(),
        stop: watch.0.stop(),
        drain: Duration::ZERO,
        ..base.clone()
    };
    // From here on nothing fails: what is started below is ended by `stop` alone.
    if let Some(lock) = lock.clone() {
        // For a control plane that is dropped and goes on.
        let stop = back.0.stop();
        back.1.spawn("state folder", async move {
            stop.requested().await;
            drop(lock);
        });
    }
    back.1.spawn("publish", Arc::clone(&publisher).run(back.0.stop(), loaded));
    back.1.spawn("reports", publisher.fleet().clone().run(back.0.stop()));
    back.1.spawn("questions of replicas", publisher.fleet().clone().answer(back.0.stop()));
    back.1.spawn("tests for replicas", answering.answer_tests(back.0.stop()));
    back.1.spawn("refused attempts", attempts.run(back.0.stop()));
    back.1.spawn("record stores", records.clone().follow(back.0.stop()));
    let replica = publisher.fleet().replica().to_owned();
    back.1.spawn("roots of the authority", authority.follow(store.clone(), replica, back.0.stop()));
    back.1.spawn("other replicas", store.clone().listen(back.0.stop()));
    jobs.spawn(&back.1, &back.0.stop());
    let stop = back.0.stop();
    back.1.spawn("database that keeps", async move {
        if stop.cut(broken.broken()).await.is_some() {
            let _held = unreadied.register(NOT_KEPT);
            unready(&unhealthy).await;
            stop.requested().await;
        }
    });
    front.1.spawn("management port", management.serve(base));
    front.1.spawn("fleet port", fleet.serve(fleet_serving));
    if let Some(token) = admin_token {
        watch.1.spawn("admin token", token.follow(watch.0.stop()));
    }
    watch.1.spawn("admin port", admin.serve(admin_serving));
    serving.done();
    readiness.wait().await;
    info!(
        management = %management_address,
        fleet = %fleet_address,
        admin = %admin_address,
        tls,
        database = %config.database,
        installation.id = %installation,
        "control plane is ready"
    );
    Ok(Running {
        management: management_address,
        fleet: fleet_address,
        admin: admin_address,
        bootstrap,
        installation,
        readiness,
        observability,
        health: reporter,
        store,
        records,
        front,
        back,
        watch,
        drain: config.drain,
        lock,
    })
}

impl Running {
    /// Where the management API listens.
    pub fn management(&self) -> SocketAddr {
        self.management
    }

    /// Where nodes connect.
    pub fn fleet(&self) -> SocketAddr {
        self.fleet
    }

    /// Where health, readiness and metrics are.
    pub fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// The file of the first token, while the installation has no other.
    pub fn bootstrap_token_path(&self) -> Option<&Path> {
        self.bootstrap.as_deref()
    }

    /// Part of the context of every sealed secret.
    pub fn installation(&self) -> InstallationId {
        self.installation
    }

    /// Whether everything is up.
    pub fn readiness(&self) -> &Readiness {
        &self.readiness
    }

    /// Metrics of this control plane.
    pub fn observability(&self) -> &Observability {
        &self.observability
    }

    /// Its database.
    #[cfg(test)]
    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    /// Its stores of records.
    #[cfg(test)]
    pub(crate) fn records(&self) -> &RecordStores {
        &self.records
    }

    /// Ends it in order, within the drain and a few seconds more.
    pub async fn stop(self) {
        let stopping = self.readiness.register("stopping");
        unready(&self.health).await;
        self.front.0.begin();
        end("open calls", &self.front.1, self.drain + GOODBYE).await;
        self.back.0.begin();
        end("last writes", &self.back.1, LAST_WRITES).await;
        self.records.close().await;
        self.store.close().await;
        drop(self.lock);
        info!("control plane stopped");
        drop(stopping);
        self.watch.0.begin();
        end("admin port", &self.watch.1, GOODBYE).await;
    }
}

/// Beside the threads that serve: the authority's key may be with a program that takes its time.
async fn aside<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, AuthorityError> + Send + 'static,
) -> Result<T, AuthorityError> {
    spawn_blocking(work).await.map_err(|_| SignError::Ended)?
}

fn make_folder(config: &Config, seams: &Seams) -> Result<(), StartError> {
    seams
        .disk
        .create_dir_all(&config.state_dir)
        .map_err(|source| StartError::StateDir { path: config.state_dir.clone(), source })
}

fn parts() -> (Shutdown, Tasks) {
    (Shutdown::new(), Tasks::new())
}

async fn end(what: &'static str, tasks: &Tasks, limit: Duration) {
    let left = tasks.wait(limit).await;
    if !left.is_empty() {
        warn!(what, ?left, "tasks did not end within the drain and are aborted");
        tasks.abort();
    }
}

/// A port that asks for no certificate.
fn nobody() -> Admit {
    Arc::new(|_certificate, _extensions| {})
}

/// Nodes of this installation.
fn nodes(authority: Arc<Authority>) -> Admit {
    Arc::new(move |certificate, extensions| {
        if let Some(shown) = authority.read(certificate) {
            extensions.insert(shown);
        }
    })
}
