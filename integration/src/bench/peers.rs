//! What a bench of requests measures: this edge, other proxies with the same job, and the upstream behind all of them.
//!
//! The job is a gateway's: find the consumer of a key among many, refuse others, hold a limit by consumer, put another
//! credential in, write one record a request. Each peer is one thread, pinned to one processor; the upstream is pinned
//! to another. Whoever is not installed is left out, and the report says so.

mod document;
mod edge;
mod envoy;
mod haproxy;
mod keys;
mod lean;
mod nginx;
mod upstream;
mod variants;

use std::any::Any;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use rr_integration::process::{Port, Process};
use rr_integration::secure::Secure;
use rr_integration::wait::eventually;
use rustls::ClientConfig;

use crate::carriers::NGINX;
use crate::line::Line;
use crate::machine;

use self::keys::Keys;

pub(crate) use self::upstream::Upstream;
pub(crate) use self::variants::Job;

/// What upstreams are told in the place of the caller's key.
const SECRET: &str = "upstream-secret-of-the-bench";
/// Asked of every peer, behind the address of the proxy where there is one.
const PATH: &str = "/v1/items";

/// Where peers run and what they are given.
#[derive(clap::Args, Clone)]
pub(crate) struct Place {
    /// The processor of the proxies.
    #[arg(long, default_value_t = 0)]
    proxy_processor: usize,
    /// The processor of load and upstream.
    #[arg(long, default_value_t = 1)]
    pub(crate) load_processor: usize,
    /// Callers, each with a key of its own.
    #[arg(long, default_value_t = 10_000)]
    callers: usize,
    /// Another build of `rr-edge` to measure in the same rounds: a name, `=`, and the path of the program.
    #[arg(long = "edge", value_name = "NAME=PATH")]
    edges: Vec<String>,
    /// Only peers whose name begins so; may be repeated.
    #[arg(long)]
    only: Vec<String>,
    /// For the edge alone; `None`: all peers, as gateways.
    #[arg(skip)]
    pub(crate) job: Option<Job>,
    /// Where TLS is spoken; `None`: nowhere.
    #[arg(skip)]
    pub(crate) tls: Option<Tls>,
}

/// Where TLS is spoken: version 1.3, with keys of ECDSA P-256.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Tls {
    /// Between proxy and upstream.
    Upstream,
    /// Between caller and proxy.
    Caller,
    /// On both sides.
    Both,
}

impl Tls {
    fn is_to_upstream(self) -> bool {
        self != Self::Caller
    }

    fn is_from_caller(self) -> bool {
        self != Self::Upstream
    }
}

/// What both sides of it are told.
struct Secured {
    files: Secure,
    tls: Tls,
}

impl Secured {
    /// The folder of the files, where the upstream speaks TLS.
    fn upstream(&self) -> Option<&Secure> {
        self.tls.is_to_upstream().then_some(&self.files)
    }

    /// The same, where callers do.
    fn caller(&self) -> Option<&Secure> {
        self.tls.is_from_caller().then_some(&self.files)
    }
}

/// A proxy that is up.
pub(crate) struct Peer {
    pub(crate) name: String,
    pub(crate) address: SocketAddr,
    pub(crate) path: String,
    /// Of the caller.
    pub(crate) key: String,
    /// Further lines of its request.
    pub(crate) headers: Vec<String>,
    /// The first of its processes.
    pub(crate) process: u32,
    /// How callers speak TLS to it; `None`: not at all.
    pub(crate) tls: Option<Arc<ClientConfig>>,
    _held: Box<dyn Any + Send + Sync>,
}

impl Peer {
    /// A node that somebody else holds.
    pub(crate) fn of(name: &str, address: SocketAddr, path: &str, key: &str, process: u32) -> Self {
        Self {
            name: name.to_owned(),
            address,
            path: path.to_owned(),
            key: key.to_owned(),
            headers: Vec::new(),
            process,
            tls: None,
            _held: Box::new(()),
        }
    }

    /// The request that it is asked.
    pub(crate) fn request(&self) -> Vec<u8> {
        let Self { path, address, key, headers, .. } = self;
        let headers: String = headers.iter().map(|line| format!("{line}\r\n")).collect();
        let head = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {key}\r\n");
        format!("{head}{headers}\r\n").into_bytes()
    }

    /// Waits until it answers the caller, and nobody else.
    async fn ready(self) -> anyhow::Result<Self> {
        let ask = |key: &str| {
            let request = String::from_utf8_lossy(&self.request()).replace(&self.key, key).into_bytes();
            Line::connect(self.address, self.tls.as_ref()).and_then(|mut line| line.ask(&request)).ok()
        };
        eventually(&format!("{} answers", self.name), || {
            let answer = ask(&self.key);
            async move { (answer == Some(200)).then_some(()) }
        })
        .await;
        let stranger = ask("sk-nobody");
        anyhow::ensure!(stranger == Some(401), "{} answers {stranger:?} to anybody", self.name);
        Ok(self)
    }
}

/// All that are up, and why the others are not.
pub(crate) struct Peers {
    pub(crate) peers: Vec<Peer>,
    pub(crate) missing: Vec<String>,
    pub(crate) upstream: Upstream,
}

impl Peers {
    /// Starts them, with configuration and logs in a folder.
    pub(crate) async fn start(folder: &Path, place: &Place) -> anyhow::Result<Self> {
        let secured = place.tls.map(|tls| Secured { files: Secure::new(), tls });
        let behind = secured.as_ref().and_then(Secured::upstream);
        let upstream = Upstream::start(folder, place.load_processor, behind)?;
        let keys = Keys::make(place.callers);
        let (processor, address, tls) = (place.proxy_processor, upstream.address(), secured.as_ref());
        let stage = Stage { folder, processor, upstream: address, keys: &keys, tls };
        let wanted = |name: &str| {
            if let Some(job) = place.job {
                return name.contains("edge") || (job == Job::Record && name == NGINX);
            }
            // The others would be compared with by other keys and versions.
            if place.tls.is_some() && ["haproxy", "envoy", lean::NAME].contains(&name) {
                return false;
            }
            place.only.is_empty() || place.only.iter().any(|only| name.starts_with(only.as_str()))
        };
        let (mut peers, mut missing) = (Vec::new(), Vec::new());
        for (name, start) in [
            (NGINX, nginx::start as fn(&Stage<'_>, &Path) -> anyhow::Result<Peer>),
            ("haproxy", haproxy::start),
            ("envoy", envoy::start),
        ] {
            match machine::installed(name) {
                Some(program) if wanted(name) => peers.push(start(&stage, &program)?.ready().await?),
                None => missing.push(name.to_owned()),
                Some(_) => {}
            }
        }
        if wanted(lean::NAME) {
            peers.push(lean::start(&stage)?.ready().await?);
        }
        let mut builds = vec![("rr-edge".to_owned(), PathBuf::from("rr-edge"))];
        for edge in &place.edges {
            let (name, path) = edge.split_once('=').unwrap_or((edge, edge));
            builds.push((name.to_owned(), PathBuf::from(path)));
        }
        builds.retain(|(name, _)| wanted(name));
        for edge in edge::start(&stage, &builds, place.job).await? {
            peers.push(edge.ready().await?);
        }
        Ok(Self { peers, missing, upstream })
    }
}

/// What each peer is given.
struct Stage<'a> {
    folder: &'a Path,
    processor: usize,
    upstream: SocketAddr,
    keys: &'a Keys,
    tls: Option<&'a Secured>,
}

impl Stage<'_> {
    /// A folder of its own.
    fn folder(&self, name: &str) -> anyhow::Result<PathBuf> {
        let folder = self.folder.join(name);
        std::fs::create_dir_all(&folder)?;
        Ok(folder)
    }

    /// How callers speak TLS to a peer.
    fn caller_tls(&self) -> Option<Arc<ClientConfig>> {
        self.tls.and_then(Secured::caller).map(Secure::client)
    }

    /// Starts a program that listens on a port.
    fn start(&self, name: &str, command: &mut Command, port: Port) -> anyhow::Result<Peer> {
        let log = self.folder(name)?.join("log");
        let process = machine::on(self.processor, || Process::start(command, &log))?;
        Ok(Peer {
            name: name.to_owned(),
            address: port.address(),
            path: PATH.to_owned(),
            key: self.keys.one().to_owned(),
            process: process.id(),
            headers: Vec::new(),
            tls: self.caller_tls(),
            _held: Box::new((process, port)),
        })
    }
}
