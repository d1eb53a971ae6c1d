//! `World::start()`: both planes in this process, on port zero, with real TLS between them.
//!
//! Each world has its own folder, its own database and its own sample: organization `acme`, region `eu`, proxy
//! `acme.echo` in front of a scripted upstream. Planes can be stopped and started again on their folders.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use rr_contract::runtime::observe::Observability;
use rr_contract::seal::region_key::RegionKeys;
use rr_contract::seam::{Clock, Seams};

use crate::api::Api;
use crate::caller::Caller;
use crate::logs::Log;
use crate::process::Port;
use crate::upstream::Upstream;
use crate::wait::eventually;

/// The organization of the sample.
pub const ORG: &str = "acme";
/// The region of the sample.
pub const REGION: &str = "eu";
/// What the upstream is to be shown.
pub const UPSTREAM_SECRET: &str = "upstream-secret-8d1f";

/// Seconds that a stop waits.
const DRAIN: u64 = 5;

/// A running installation with one node and a sample.
pub struct World {
    /// The control plane.
    pub control_plane: ControlPlane,
    /// The edge node.
    pub node: Node,
    /// The upstream of the sample.
    pub upstream: Upstream,
    /// An operator's API, who owns the sample.
    pub api: Api,
    /// The region's private keys, as its operator has them.
    pub keys: RegionKeys,
    /// The key of the sample's caller credential.
    pub caller_key: String,
    /// What both planes log.
    pub log: Log,
    /// The clock of both planes.
    pub later: Later,
    folder: tempfile::TempDir,
}

impl World {
    /// Starts everything, makes the sample, and waits until the node serves it.
    pub async fn start() -> Self {
        Self::start_with(Upstream::start().await).await
    }

    /// The same in front of an upstream of the test's own.
    pub async fn start_with(upstream: Upstream) -> Self {
        let log = Log::capture();
        let folder = tempfile::tempdir().expect("a temporary folder");
        let later = Later::default();
        let control_plane = ControlPlane::start_at(folder.path().join("control"), later.clone()).await;
        let api = control_plane.bootstrap().await;
        api.org(ORG).await.expect("make the org");
        let keys = api.region(REGION, "").await.expect("make the region");
        let token = api.node_token(REGION, &keys, 1).await.expect("make a node token");
        let origin = upstream.url();
        api.target(ORG, "echo", &origin).await.expect("make the target");
        api.upstream(ORG, "echo-secret", &keys, &origin, UPSTREAM_SECRET).await.expect("seal the secret");
        let caller_key = api.caller(ORG, "app").await.expect("make the caller credential");
        api.proxy(ORG, "echo", "app", "echo", "echo-secret", REGION).await.expect("make the proxy");
        let node = Node::join(folder.path().join("edge"), control_plane.fleet, token, later.clone()).await;
        let world = Self { control_plane, node, upstream, api, keys, caller_key, log, later, folder };
        world.in_step().await;
        world
    }

    /// A caller of a proxy of the sample's organization, with the sample's key.
    pub fn caller_of(&self, proxy: &str) -> Caller {
        Caller::new(self.node.listen, &format!("{ORG}.{proxy}"), &self.caller_key)
    }

    /// Waits until every traffic worker of the node runs on the newest revision.
    pub async fn in_step(&self) {
        let head = self.api.revision().await.expect("the control plane answers");
        eventually(&format!("the node serves revision {head}"), || async move {
            (self.node.serving()? >= head).then_some(())
        })
        .await;
    }

    /// Stops both planes in order, and fails if one logged what no test announced.
    pub async fn end(self) {
        drop(self.end_keeping_files().await);
    }

    /// The same; what lies on disk stays until the folder is dropped.
    pub async fn end_keeping_files(mut self) -> tempfile::TempDir {
        self.node.stop().await;
        self.control_plane.stop().await;
        self.log.check();
        self.folder
    }
}

/// The system's clock, set forward by so much. Clones share it.
#[derive(Clone, Default)]
pub struct Later(Arc<AtomicU64>);

impl Later {
    /// Sets it forward, from the system's time on.
    pub fn set(&self, later: Duration) {
        self.0.store(later.as_secs(), Ordering::Relaxed);
    }
}

impl Clock for Later {
    fn now(&self) -> SystemTime {
        SystemTime::now() + Duration::from_secs(self.0.load(Ordering::Relaxed))
    }
}

/// A control plane that can be stopped and started again.
pub struct ControlPlane {
    state: PathBuf,
    later: Later,
    running: Option<rr_control_plane::Running>,
    /// Management API.
    pub management: SocketAddr,
    /// Where nodes connect.
    pub fleet: SocketAddr,
    /// Where the keys of its authority are, from its next start on; where they are by themselves when there are none.
    pub authority_keys: Vec<String>,
    ports: [Port; 3],
}

impl ControlPlane {
    /// Starts on a folder, on ports that stay the same.
    async fn start_at(state: PathBuf, later: Later) -> Self {
        let ports = [Port::reserve(), Port::reserve(), Port::reserve()];
        let [management, fleet, _] = ports.each_ref().map(Port::address);
        let authority_keys = Vec::new();
        let mut plane = Self { state, later, running: None, management, fleet, authority_keys, ports };
        plane.restart().await;
        plane
    }

    /// Starts again on the same folder and ports.
    pub async fn restart(&mut self) {
        self.stop().await;
        let settings = rr_control_plane::Settings {
            state_dir: Some(self.state.clone()),
            authority_keys: self.authority_keys.clone(),
            management: Some(self.management),
            fleet: Some(self.fleet),
            admin: Some(self.ports[2].address()),
            drain: Some(DRAIN),
            // Tests call as fast as they can.
            token_rate: Some(0),
            ..rr_control_plane::Settings::default()
        };
        let config = rr_control_plane::Config::resolve(settings).expect("settings of ours are good");
        let seams = Seams { clock: Arc::new(self.later.clone()), ..Seams::real() };
        let running = rr_control_plane::start(config, seams, Observability::quiet("rr-control"))
            .await
            .unwrap_or_else(|error| panic!("start the control plane: {error:?}"));
        self.running = Some(running);
    }

    /// Its state folder.
    pub fn state(&self) -> &std::path::Path {
        &self.state
    }

    /// Stops it, if it runs.
    pub async fn stop(&mut self) {
        if let Some(running) = self.running.take() {
            running.stop().await;
        }
    }

    /// An operator's API, by way of the bootstrap token.
    pub async fn bootstrap(&self) -> Api {
        let running = self.running.as_ref().expect("it runs");
        let path = running.bootstrap_token_path().expect("the first start writes a bootstrap token");
        let token = std::fs::read_to_string(path).expect("the bootstrap token is a file");
        Api::bootstrap(self.management, token.trim()).await.expect("the bootstrap token works once")
    }
}

/// An edge node that can be stopped and started again.
pub struct Node {
    state: PathBuf,
    fleet: SocketAddr,
    later: Later,
    running: Option<rr_data_plane::Running>,
    /// How far its clock is ahead, or behind where it is not.
    pub clock: (Duration, bool),
    /// Where callers call.
    pub listen: SocketAddr,
    /// Admin port.
    pub admin: SocketAddr,
    _ports: [Port; 2],
}

/// A clock that is wrong by so much.
struct Wrong(Later, Duration, bool);

impl Clock for Wrong {
    fn now(&self) -> SystemTime {
        if self.2 { self.0.now() + self.1 } else { self.0.now() - self.1 }
    }
}

impl Node {
    /// Joins with a token, on ports that stay the same.
    pub async fn join(
        state: PathBuf,
        fleet: SocketAddr,
        token: rr_contract::seal::node_token::NodeToken,
        later: Later,
    ) -> Self {
        let ports = [Port::reserve(), Port::reserve()];
        let [listen, admin] = ports.each_ref().map(Port::address);
        let clock = (Duration::ZERO, true);
        let mut node = Self { state, fleet, later, running: None, clock, listen, admin, _ports: ports };
        node.run(Some(token)).await;
        node
    }

    /// Starts again on the same folder and ports, without a token.
    pub async fn restart(&mut self) {
        self.stop().await;
        self.run(None).await;
    }

    /// The same with a token, which counts where it cannot go on without one.
    pub async fn restart_with(&mut self, token: rr_contract::seal::node_token::NodeToken) {
        self.stop().await;
        self.run(Some(token)).await;
    }

    async fn run(&mut self, token: Option<rr_contract::seal::node_token::NodeToken>) {
        let settings = rr_data_plane::Settings {
            state_dir: Some(self.state.clone()),
            control_plane: Some(format!("https://{}", self.fleet)),
            listen: Some(self.listen),
            admin: Some(self.admin),
            workers: Some(2),
            allow_upstream: Some(vec!["127.0.0.0/8".to_owned()]),
            drain: Some(DRAIN),
            ..rr_data_plane::Settings::default()
        };
        let mut config = rr_data_plane::Config::resolve(settings, None).expect("settings of ours are good");
        config.node_token = token;
        let seams =
            Seams { clock: Arc::new(Wrong(self.later.clone(), self.clock.0, self.clock.1)), ..Seams::real() };
        let running = rr_data_plane::start(config, seams, Observability::quiet("rr-edge"))
            .await
            .unwrap_or_else(|error| panic!("start the node: {error:?}"));
        self.running = Some(running);
    }

    /// Stops it, if it runs.
    pub async fn stop(&mut self) {
        if let Some(running) = self.running.take() {
            running.stop().await;
        }
    }

    /// The revision that every traffic worker runs on.
    pub fn serving(&self) -> Option<u64> {
        self.running.as_ref()?.serving().map(|position| position.revision)
    }

    /// Waits until it can decide requests.
    pub async fn ready(&self) {
        self.running.as_ref().expect("it runs").readiness().wait().await;
    }
}
