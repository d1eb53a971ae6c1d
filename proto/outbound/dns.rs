//! Names by the system's files and name servers: `/etc/hosts`, then `/etc/resolv.conf` and DNS.
//!
//! Nothing is read or opened before the first name is looked up. Both files are read again when they change. Knows no
//! other source of `nsswitch.conf`. Keeps no answer. The invariant: a name goes out whole, with no search domain behind
//! it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};
use std::{fs, io};

use futures_util::future::{Either, select};
use hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::Query;
use hickory_resolver::proto::rr::{Name, RecordType};
use hickory_resolver::{Hosts, TokioResolver, lookup};
use tokio::sync::watch;
use tokio::time::{Instant, timeout};
use tracing::{debug, warn};

use super::names::{Found, Lookup, NameError, Names};

const RESOLV_CONF: &str = "/etc/resolv.conf";
const HOSTS: &str = "/etc/hosts";
/// How often, at most, the files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long a look-up waits for files that were read before: their disk may hang.
const DISK_PATIENCE: Duration = Duration::from_secs(1);
/// How long a family's addresses wait for those of the other.
const FAMILY_PATIENCE: Duration = Duration::from_millis(500);
/// How long an answer is good that lacks what the other family may have.
const HALF_FOR: Duration = Duration::from_secs(30);
/// How long what the files say is good.
const FILES_FOR: Duration = Duration::from_secs(30);

/// The names of this system.
pub struct DnsNames(Arc<Source>);

struct Source {
    from: Place,
    loaded: watch::Sender<Option<Arc<Loaded>>>,
    is_loading: AtomicBool,
}

enum Place {
    Files { resolv_conf: PathBuf, hosts: PathBuf },
    Servers(Vec<SocketAddr>),
}

/// What the files said when they were last read.
#[derive(Clone)]
struct Loaded {
    /// `None`: no resolver can be made of it.
    resolver: Option<TokioResolver>,
    hosts: Arc<Hosts>,
    stamps: [Option<Stamp>; 2],
    looked: Instant,
}

/// Tells one content of a file from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    modified: Option<SystemTime>,
    length: u64,
    #[cfg(unix)]
    inode: u64,
}

impl DnsNames {
    /// Asks as this system's files say.
    pub fn system() -> Self {
        Self::of(Place::Files { resolv_conf: RESOLV_CONF.into(), hosts: HOSTS.into() })
    }

    /// Asks these name servers, and reads no file.
    pub fn asking(servers: Vec<SocketAddr>) -> Self {
        Self::of(Place::Servers(servers))
    }

    fn of(from: Place) -> Self {
        Self(Arc::new(Source { from, loaded: watch::channel(None).0, is_loading: AtomicBool::new(false) }))
    }

    /// What is to be asked, as the files say now.
    async fn loaded(&self) -> Result<Arc<Loaded>, NameError> {
        let mut loaded = self.0.loaded.subscribe();
        let have = loaded.borrow_and_update().clone();
        if let Some(have) = &have
            && have.looked.elapsed() < LOOK_EVERY
        {
            return Ok(Arc::clone(have));
        }
        if !self.0.is_loading.swap(true, Ordering::AcqRel) {
            let loading = Loading(Arc::clone(&self.0));
            // Not on this thread: it may be one that serves requests.
            tokio::task::spawn_blocking(move || loading.run());
        }
        match have {
            None => {
                let first = loaded
                    .wait_for(Option::is_some)
                    .await
                    .map_err(|error| NameError::Failed(error.into()))?;
                Ok(Arc::clone(first.as_ref().expect("that was waited for")))
            }
            Some(old) => {
                // Late or cut off: the next look-up sees it.
                let read = timeout(DISK_PATIENCE, loaded.changed()).await;
                debug!(in_time = read.is_ok(), "files of names looked at");
                Ok(loaded.borrow().clone().unwrap_or(old))
            }
        }
    }
}

impl Names for DnsNames {
    fn look_up<'n>(&'n self, name: &'n str) -> Lookup<'n> {
        Box::pin(async move {
            let loaded = self.loaded().await?;
            let mut whole = Name::from_ascii(name).map_err(|error| NameError::Failed(error.into()))?;
            whole.set_fqdn(true);
            match in_hosts(&loaded.hosts, &whole) {
                Some(found) => Ok(found),
                None => match &loaded.resolver {
                    Some(resolver) => ask(resolver, whole).await,
                    None => Err(NameError::Failed(format!("{RESOLV_CONF} cannot be used").into())),
                },
            }
        })
    }
}

/// A name that the file has is not asked for, of neither family.
fn in_hosts(hosts: &Hosts, name: &Name) -> Option<Found> {
    let of = |family| hosts.lookup_static_host(&Query::query(name.clone(), family));
    let addresses: Vec<IpAddr> = [RecordType::AAAA, RecordType::A]
        .into_iter()
        .filter_map(of)
        .flat_map(|found| addresses(&found))
        .collect();
    (!addresses.is_empty()).then_some(Found { addresses, good_for: FILES_FOR })
}

/// Asks for both families at once.
async fn ask(resolver: &TokioResolver, name: Name) -> Result<Found, NameError> {
    let of = |family| Box::pin(resolver.lookup(name.clone(), family));
    let (v6, v4) = match select(of(RecordType::AAAA), of(RecordType::A)).await {
        Either::Left((v6, v4)) => {
            let v6 = Half::of(v6);
            let v4 = v6.awaits(v4).await;
            (v6, v4)
        }
        Either::Right((v4, v6)) => {
            let v4 = Half::of(v4);
            let v6 = v4.awaits(v6).await;
            (v6, v4)
        }
    };
    match (v6, v4) {
        (Half::Found(v6), Half::Found(v4)) => Ok(Found {
            good_for: v6.good_for.min(v4.good_for),
            addresses: v6.addresses.into_iter().chain(v4.addresses).collect(),
        }),
        (Half::Found(found), Half::Missing(_)) | (Half::Missing(_), Half::Found(found)) => Ok(found),
        (Half::Found(found), Half::Failed(_)) | (Half::Failed(_), Half::Found(found)) => {
            Ok(Found { good_for: found.good_for.min(HALF_FOR), ..found })
        }
        (Half::Missing(one), Half::Missing(other)) => Err(NameError::Missing { good_for: one.min(other) }),
        (Half::Failed(error), _) | (_, Half::Failed(error)) => Err(NameError::Failed(Box::new(error))),
    }
}

/// What name servers say of one family.
enum Half {
    Found(Found),
    Missing(Duration),
    Failed(NetError),
}

impl Half {
    fn of(answer: Result<lookup::Lookup, NetError>) -> Self {
        match answer {
            Ok(found) => {
                // Of the whole chain: an alias may be kept for a shorter time than what it stands for.
                let seconds = found.answers().iter().map(|record| record.ttl).min().unwrap_or_default();
                let good_for = Duration::from_secs(seconds.into());
                match addresses(&found) {
                    none if none.is_empty() => Self::Missing(Duration::ZERO),
                    addresses => Self::Found(Found { addresses, good_for }),
                }
            }
            Err(NetError::Dns(DnsError::NoRecordsFound(none))) if is_negative(none.response_code) => {
                Self::Missing(Duration::from_secs(none.negative_ttl.unwrap_or_default().into()))
            }
            Err(error) => Self::Failed(error),
        }
    }

    /// Waits for the other family, but not for long if this one can be used.
    async fn awaits(&self, other: impl Future<Output = Result<lookup::Lookup, NetError>>) -> Self {
        match self {
            Self::Found(_) => match timeout(FAMILY_PATIENCE, other).await {
                Ok(other) => Self::of(other),
                Err(_) => Self::Failed(NetError::Timeout),
            },
            _ => Self::of(other.await),
        }
    }
}

fn is_negative(code: hickory_resolver::proto::op::ResponseCode) -> bool {
    use hickory_resolver::proto::op::ResponseCode;
    matches!(code, ResponseCode::NoError | ResponseCode::NXDomain)
}

fn addresses(found: &lookup::Lookup) -> Vec<IpAddr> {
    found.answers().iter().filter_map(|record| record.data.ip_addr()).collect()
}

/// The right to read the files, which one at a time has.
struct Loading(Arc<Source>);

impl Loading {
    fn run(self) {
        let before = self.0.loaded.borrow().clone();
        let now = self.0.load(before.as_deref());
        self.0.loaded.send_replace(Some(Arc::new(now)));
    }
}

impl Drop for Loading {
    fn drop(&mut self) {
        self.0.is_loading.store(false, Ordering::Release);
    }
}

impl Source {
    /// Reads what has changed since.
    fn load(&self, before: Option<&Loaded>) -> Loaded {
        let looked = Instant::now();
        let (resolv_conf, hosts) = match &self.from {
            Place::Files { resolv_conf, hosts } => (resolv_conf, hosts),
            Place::Servers(servers) => {
                let resolver =
                    before.and_then(|before| before.resolver.clone()).or_else(|| asking_these(servers));
                return Loaded { resolver, hosts: Arc::default(), stamps: [None; 2], looked };
            }
        };
        let stamps = [Stamp::of(resolv_conf), Stamp::of(hosts)];
        if let Some(before) = before
            && before.stamps == stamps
        {
            return Loaded { looked, ..before.clone() };
        }
        let read = |path: &Path| match fs::read(path) {
            Ok(bytes) => Some(bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Some(Vec::new()),
            Err(error) => {
                warn!(%error, path = %path.display(), "file of names cannot be read");
                None
            }
        };
        let old = |before: &Loaded| (before.resolver.clone(), Arc::clone(&before.hosts));
        let (old_resolver, old_hosts) = before.map(old).unwrap_or_default();
        let resolver = read(resolv_conf).map_or(old_resolver, |bytes| asking_as_written(&bytes));
        let hosts = read(hosts).map_or(old_hosts, |bytes| {
            let mut hosts = Hosts::default();
            // A slice can always be read, so it fails only where a line is no text.
            if let Err(error) = hosts.read_hosts_conf(&*bytes) {
                warn!(%error, "file of host names is read up to a line that is no text");
            }
            Arc::new(hosts)
        });
        debug!("files of names read");
        Loaded { resolver, hosts, stamps, looked }
    }
}

impl Stamp {
    fn of(path: &Path) -> Option<Self> {
        let meta = fs::metadata(path).ok()?;
        Some(Self {
            modified: meta.modified().ok(),
            length: meta.len(),
            #[cfg(unix)]
            inode: std::os::unix::fs::MetadataExt::ino(&meta),
        })
    }
}

/// A resolver as `resolv.conf` wants it. Without a name server there it is one on this machine, as for programs of C.
fn asking_as_written(bytes: &[u8]) -> Option<TokioResolver> {
    #[cfg(not(target_vendor = "apple"))]
    let written = hickory_resolver::system_conf::parse_resolv_conf(bytes);
    #[cfg(target_vendor = "apple")]
    let written = hickory_resolver::system_conf::read_system_conf();
    let (servers, options) = match written {
        Ok((config, options)) => (config.name_servers().to_vec(), options),
        Err(error) => {
            debug!(%error, "no name servers are configured");
            (vec![NameServerConfig::udp_and_tcp(Ipv4Addr::LOCALHOST.into())], ResolverOpts::default())
        }
    };
    build(servers, options)
}

fn asking_these(servers: &[SocketAddr]) -> Option<TokioResolver> {
    let server = |address: &SocketAddr| {
        let mut connections = vec![ConnectionConfig::udp(), ConnectionConfig::tcp()];
        connections.iter_mut().for_each(|connection| connection.port = address.port());
        let mut server = NameServerConfig::udp_and_tcp(address.ip());
        server.connections = connections;
        server
    };
    build(servers.iter().map(server).collect(), ResolverOpts::default())
}

fn build(servers: Vec<NameServerConfig>, mut options: ResolverOpts) -> Option<TokioResolver> {
    // The file counts attempts, the library those after the first.
    options.attempts = options.attempts.saturating_sub(1);
    options.cache_size = 0;
    // An answer in another case than the question was asked in is forged: some bits more to guess.
    options.case_randomization = true;
    options.use_hosts_file = ResolveHosts::Never;
    // Search domains stay behind: every name is whole.
    let config = ResolverConfig::from_parts(None, Vec::new(), servers);
    let built = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
        .with_options(options)
        .build();
    built.inspect_err(|error| warn!(%error, "no resolver can be made")).ok()
}

#[cfg(test)]
use rr_runtime::Tasks;

#[cfg(test)]
pub(crate) mod name_server;
#[cfg(test)]
mod tests;
