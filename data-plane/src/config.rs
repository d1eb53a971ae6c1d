//! Settings of the program: flags over `RR_EDGE_*` over a TOML file, checked once.
//!
//! Opens no socket and writes nothing. Secrets come as paths, and the node token as a path or in the environment,
//! never as an argument. The invariant: a [`Config`] can be started, unless the machine refuses a resource.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fs, thread};

use ipnet::IpNet;
use rr_contract::outbound::NextHop;
use rr_contract::runtime::observe::ObserveArgs;
use rr_contract::seal::node_token::{InvalidNodeToken, NodeToken};
use rr_contract::seam::{Disk as _, RealDisk};
use rr_contract::secret::Secret;
use serde::Deserialize;

use crate::control_plane::ControlPlaneAddress;
use crate::standalone::Standalone;
use crate::traces::{TraceSettings, TraceShare};
use crate::upstream::{TrustError, certificates};

mod callers;
mod error;

pub use self::callers::Callers;
pub use self::error::ConfigError;
pub use crate::pipeline::TrustedHeader;

/// The environment variable that may hold the node token itself.
pub const NODE_TOKEN_VARIABLE: &str = "RR_EDGE_NODE_TOKEN";

/// The organization of a node without a control plane where none is given.
const ORG: &str = "local";
const WORKERS_MAX: usize = 256;
/// Traces in a second where nothing is said.
const TRACES_PER_SECOND: u32 = 200;
const SPOOL_QUOTA: u64 = 1024 * 1024 * 1024;
/// Memory for bodies that are held whole, in all.
const GATHERED_MIB: usize = 256;
/// The same of one thread, at least: half of it, which is what an organization may have, holds a body of 8 MiB beside its
/// decoded copy.
const GATHERED_MIB_LEAST: usize = 32;
const MIB: usize = 1024 * 1024;

/// Settings as given, not yet checked. Everything may be missing.
#[derive(Debug, Clone, Default, PartialEq, clap::Args, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Settings {
    /// Folder for identity, last-known-good and records [default: rr-edge-state]
    #[arg(long, env = "RR_EDGE_STATE_DIR", value_name = "DIR")]
    pub state_dir: Option<PathBuf>,
    /// Fleet port of the control plane, such as `https://control.example.com:7421`; list several
    /// replicas with commas
    #[arg(long, env = "RR_EDGE_CONTROL_PLANE", value_name = "URL")]
    pub control_plane: Option<String>,
    /// File with the node token from `rrctl node token`; needed for the first start only
    #[arg(long, env = "RR_EDGE_NODE_TOKEN_FILE", value_name = "FILE")]
    pub node_token_file: Option<PathBuf>,
    /// File with the 32-byte key that encrypts the state [default: node.key in the state folder]
    #[arg(long, env = "RR_EDGE_NODE_KEY_FILE", value_name = "FILE")]
    pub node_key_file: Option<PathBuf>,
    /// Address for callers [default: 127.0.0.1:7430]
    #[arg(long, env = "RR_EDGE_LISTEN", value_name = "ADDRESS")]
    pub listen: Option<SocketAddr>,
    /// Address for health, metrics and the position of the configuration [default: 127.0.0.1:7431]
    #[arg(long, env = "RR_EDGE_ADMIN", value_name = "ADDRESS")]
    pub admin: Option<SocketAddr>,
    /// File with a token of 32 or more characters, which then every request to the admin port but /healthz has to show as
    /// `Authorization: Bearer`; needed where the admin port is not on loopback
    #[arg(long, env = "RR_EDGE_ADMIN_TOKEN_FILE", value_name = "FILE")]
    pub admin_token_file: Option<PathBuf>,
    /// Number of traffic threads [default: one for each core]
    #[arg(long, env = "RR_EDGE_WORKERS", value_name = "COUNT")]
    pub workers: Option<usize>,
    /// Maximum number of open caller connections on all threads together; fewer if the limit of open files is too low
    /// for twice that, and about 2,050 and 528 for each thread [default: 20000]
    #[arg(long, env = "RR_EDGE_CONNECTION_LIMIT", value_name = "CONNECTIONS")]
    pub connection_limit: Option<usize>,
    /// Memory for bodies that rules, filters and meters have to see whole, on all threads together; at least 32 for each
    /// thread. One organization takes at most half of it; a request whose body finds no room gets 503 [default: 256, or
    /// the least where that is more]
    #[arg(long, env = "RR_EDGE_GATHERED_BODIES_MIB", value_name = "MIB")]
    pub gathered_bodies_mib: Option<usize>,
    /// PEM file with a certificate for callers, then those above it; with --tls-key, the port for callers speaks TLS
    /// alone. May be repeated: callers get the certificate for the name that they ask for, or else the first one
    #[arg(long, env = "RR_EDGE_TLS_CERTIFICATE", value_name = "FILE", value_delimiter = ',')]
    pub tls_certificate: Option<Vec<PathBuf>>,
    /// PEM file with the key of a certificate; as many as there are certificates, in the same order
    #[arg(long, env = "RR_EDGE_TLS_KEY", value_name = "FILE", value_delimiter = ',')]
    pub tls_key: Option<Vec<PathBuf>>,
    /// Oldest version of TLS for callers, 1.2 or 1.3 [default: 1.2]
    #[arg(long, env = "RR_EDGE_TLS_MIN_VERSION", value_name = "VERSION")]
    pub tls_min_version: Option<String>,
    /// Network of a load balancer that begins each connection with a PROXY header of version 2; may be repeated. From
    /// there a connection without the header is closed; from elsewhere none is read
    #[arg(long, env = "RR_EDGE_PROXY_PROTOCOL_FROM", value_name = "CIDR", value_delimiter = ',')]
    pub proxy_protocol_from: Option<Vec<String>>,
    /// Network of proxies in front of this node that are believed about who sent a request; may be repeated
    #[arg(long, env = "RR_EDGE_TRUSTED_PROXIES", value_name = "CIDR", value_delimiter = ',')]
    pub trusted_proxies: Option<Vec<String>>,
    /// With --trusted-proxies: the header that is read, x-forwarded-for (with -proto and -host) or forwarded; the proxies
    /// have to set it, and nothing is read of the other [default: x-forwarded-for]
    #[arg(long, env = "RR_EDGE_TRUSTED_HEADER", value_name = "HEADER")]
    pub trusted_header: Option<String>,
    /// Non-public network that upstreams may be in; may be repeated
    #[arg(long, env = "RR_EDGE_ALLOW_UPSTREAM", value_name = "CIDR", value_delimiter = ',')]
    pub allow_upstream: Option<Vec<String>>,
    /// PEM file with root certificates for upstreams, in addition to those of the system
    #[arg(long, env = "RR_EDGE_UPSTREAM_CA", value_name = "FILE")]
    pub upstream_ca: Option<PathBuf>,
    /// How long the keys of an issuer of tokens count when the issuer cannot be reached [default: 24]
    #[arg(long, env = "RR_EDGE_ISSUER_KEYS_HOURS", value_name = "HOURS")]
    pub issuer_keys_hours: Option<u32>,
    /// HTTP proxy that connections to upstreams go through, such as `http://proxy.example.com:3128`
    #[arg(long, env = "RR_EDGE_UPSTREAM_PROXY", value_name = "URL")]
    pub upstream_proxy: Option<String>,
    /// With --upstream-proxy: file with `user:password` for it, to which nobody else has access
    #[arg(long, env = "RR_EDGE_UPSTREAM_PROXY_CREDENTIALS_FILE", value_name = "FILE")]
    pub upstream_proxy_credentials_file: Option<PathBuf>,
    /// With --upstream-proxy: the proxy resolves names and decides which addresses may be reached [default: false]
    #[arg(
        long,
        env = "RR_EDGE_UPSTREAM_PROXY_JUDGES",
        value_name = "BOOL",
        num_args = 0..=1,
        default_missing_value = "true"
    )]
    pub upstream_proxy_judges: Option<bool>,
    /// With --upstream-proxy: network, address, host, or `.suffix` of hosts that is connected to without it; may be
    /// repeated
    #[arg(long, env = "RR_EDGE_UPSTREAM_PROXY_EXCEPT", value_name = "WHERE", value_delimiter = ',')]
    pub upstream_proxy_except: Option<Vec<String>>,
    /// Time that requests in progress get to finish at a stop [default: 30]
    #[arg(long, env = "RR_EDGE_DRAIN", value_name = "SECONDS")]
    pub drain: Option<u64>,
    /// Disk space for records that cannot be sent yet [default: 1024]
    #[arg(long, env = "RR_EDGE_SPOOL_QUOTA_MIB", value_name = "MIB")]
    pub spool_quota_mib: Option<u64>,
    /// Serve without a control plane what stands in this file, in the form that `rrctl apply` takes; see
    /// docs/standalone.md
    #[arg(long, env = "RR_EDGE_STANDALONE", value_name = "FILE")]
    pub standalone: Option<PathBuf>,
    /// With --standalone: the organization, which is the part before the dot in addresses [default: local]
    #[arg(long, env = "RR_EDGE_ORG", value_name = "NAME")]
    pub org: Option<String>,
    /// File that gets a line of JSON for each record of a request, with the record's fields; `-` is standard output. Moved
    /// away, or at SIGHUP, it is opened anew [default: none]
    #[arg(long, env = "RR_EDGE_RECORDS", value_name = "FILE")]
    pub records: Option<PathBuf>,
    /// With --standalone: key file of the region that secrets in the file are sealed to
    #[arg(long, env = "RR_EDGE_REGION_KEY", value_name = "FILE")]
    pub region_key: Option<PathBuf>,
    /// With --region-key: file with its passphrase
    #[arg(long, env = "RR_EDGE_REGION_PASSPHRASE_FILE", value_name = "FILE")]
    pub region_passphrase_file: Option<PathBuf>,
    /// With --region-key: id of the installation that secrets in the file were sealed in
    #[arg(long, env = "RR_EDGE_INSTALLATION", value_name = "ID")]
    pub installation: Option<String>,
    /// With --otlp-endpoint: percent of the requests that are traced, of those whose caller says nothing of traces in
    /// `traceparent`; of the others, those that are traced there [default: 100]
    #[arg(long, env = "RR_EDGE_TRACE_PERCENT", value_name = "PERCENT")]
    pub trace_percent: Option<TraceShare>,
    /// With --otlp-endpoint: how many requests are traced in a second at most, on all threads together; those that callers
    /// ask for are at most half of them [default: 200]
    #[arg(long, env = "RR_EDGE_TRACES_PER_SECOND", value_name = "COUNT")]
    pub traces_per_second: Option<u32>,
    /// With --otlp-endpoint: traces say the path of a request as its record does [default: false]
    #[arg(
        long,
        env = "RR_EDGE_TRACE_PATHS",
        value_name = "BOOL",
        num_args = 0..=1,
        default_missing_value = "true"
    )]
    pub trace_paths: Option<bool>,
    /// Logs and telemetry.
    #[command(flatten)]
    pub observe: ObserveArgs,
}

impl Settings {
    /// Reads a TOML file. An unknown key is refused with its line.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = fs::read_to_string(path).map_err(|source| ConfigError::Read {
            flag: "--config",
            path: path.to_owned(),
            source,
        })?;
        toml::from_str(&text).map_err(|error: toml::de::Error| ConfigError::Syntax {
            path: path.to_owned(),
            line: error.span().map_or(1, |span| {
                1 + text.as_bytes()[..span.start.min(text.len())]
                    .iter()
                    .filter(|byte| **byte == b'\n')
                    .count()
            }),
            reason: error.message().to_owned(),
        })
    }

    /// These settings, with those of `other` where they are missing here.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        let is_said = self.tls_certificate.is_some() || self.tls_key.is_some();
        let tls = if is_said {
            (self.tls_certificate, self.tls_key)
        } else {
            (other.tls_certificate, other.tls_key)
        };
        Self {
            state_dir: self.state_dir.or(other.state_dir),
            control_plane: self.control_plane.or(other.control_plane),
            node_token_file: self.node_token_file.or(other.node_token_file),
            node_key_file: self.node_key_file.or(other.node_key_file),
            listen: self.listen.or(other.listen),
            admin: self.admin.or(other.admin),
            admin_token_file: self.admin_token_file.or(other.admin_token_file),
            workers: self.workers.or(other.workers),
            connection_limit: self.connection_limit.or(other.connection_limit),
            gathered_bodies_mib: self.gathered_bodies_mib.or(other.gathered_bodies_mib),
            // A pair is not made of two sources.
            tls_certificate: tls.0,
            tls_key: tls.1,
            tls_min_version: self.tls_min_version.or(other.tls_min_version),
            proxy_protocol_from: self.proxy_protocol_from.or(other.proxy_protocol_from),
            trusted_proxies: self.trusted_proxies.or(other.trusted_proxies),
            trusted_header: self.trusted_header.or(other.trusted_header),
            allow_upstream: self.allow_upstream.or(other.allow_upstream),
            upstream_ca: self.upstream_ca.or(other.upstream_ca),
            issuer_keys_hours: self.issuer_keys_hours.or(other.issuer_keys_hours),
            upstream_proxy: self.upstream_proxy.or(other.upstream_proxy),
            upstream_proxy_credentials_file: self
                .upstream_proxy_credentials_file
                .or(other.upstream_proxy_credentials_file),
            upstream_proxy_judges: self.upstream_proxy_judges.or(other.upstream_proxy_judges),
            upstream_proxy_except: self.upstream_proxy_except.or(other.upstream_proxy_except),
            drain: self.drain.or(other.drain),
            spool_quota_mib: self.spool_quota_mib.or(other.spool_quota_mib),
            standalone: self.standalone.or(other.standalone),
            org: self.org.or(other.org),
            records: self.records.or(other.records),
            region_key: self.region_key.or(other.region_key),
            region_passphrase_file: self.region_passphrase_file.or(other.region_passphrase_file),
            installation: self.installation.or(other.installation),
            trace_percent: self.trace_percent.or(other.trace_percent),
            traces_per_second: self.traces_per_second.or(other.traces_per_second),
            trace_paths: self.trace_paths.or(other.trace_paths),
            observe: self.observe.or(other.observe),
        }
    }
}

/// The checked settings.
pub struct Config {
    /// Holds identity, last-known-good and records.
    pub state_dir: PathBuf,
    /// Where the control plane takes nodes; at least one, but for a node without a control plane.
    pub control_plane: Vec<ControlPlaneAddress>,
    /// For the first start.
    pub node_token: Option<NodeToken>,
    /// `None`: a key of its own, in the state folder.
    pub node_key_file: Option<PathBuf>,
    /// For callers.
    pub listen: SocketAddr,
    /// For operators.
    pub admin: SocketAddr,
    /// Holds the token of that port; there is one unless the port is on loopback.
    pub admin_token_file: Option<PathBuf>,
    /// Traffic threads; at least one.
    pub workers: usize,
    /// Connections of callers; at least one for each worker. `None`: the default.
    pub connections: Option<usize>,
    /// Bytes of bodies that each traffic thread holds whole at most.
    pub gathered_bodies: usize,
    /// How they are let in.
    pub callers: Callers,
    /// Networks that the guard lets through.
    pub allow_upstream: Vec<IpNet>,
    /// Roots for upstreams, beside the system's.
    pub upstream_ca: Option<PathBuf>,
    /// How long the keys of an issuer count that cannot be asked.
    pub issuer_keys_last: Duration,
    /// The proxy on the way to upstreams.
    pub next_hop: Option<NextHop>,
    /// How long requests under way may take at a stop.
    pub drain: Duration,
    /// Bytes that records may take on disk.
    pub spool_quota: u64,
    /// Gets a line for each record; `-` is standard output.
    pub records: Option<PathBuf>,
    /// What is traced, where a collector takes traces.
    pub traces: TraceSettings,
    /// Set for a node without a control plane.
    pub standalone: Option<Standalone>,
}

impl Config {
    /// Checks the settings. `token` is the node token from the environment, if there is one.
    pub fn resolve(settings: Settings, token: Option<Secret>) -> Result<Self, ConfigError> {
        let standalone = standalone(&settings)?;
        let control_plane = match (&settings.control_plane, &standalone) {
            (Some(_), Some(_)) => return Err(ConfigError::Standalone { flag: "--control-plane" }),
            (Some(urls), None) => addresses(urls)?,
            (None, Some(_)) => Vec::new(),
            (None, None) => return Err(ConfigError::NoControlPlane),
        };
        let node_token = match (&settings.node_token_file, token) {
            // A token in the environment of a machine says nothing about this process.
            (Some(_), _) if standalone.is_some() => {
                return Err(ConfigError::Standalone { flag: "--node-token-file" });
            }
            (_, _) if standalone.is_some() => None,
            (Some(path), _) => Some(token_file(path)?),
            (None, Some(text)) => Some(
                parse_token(&text)
                    .map_err(|source| ConfigError::Token { place: NODE_TOKEN_VARIABLE.into(), source })?,
            ),
            (None, None) => None,
        };
        let admin = settings.admin.unwrap_or_else(|| (Ipv4Addr::LOCALHOST, 7431).into());
        if !admin.ip().to_canonical().is_loopback() && settings.admin_token_file.is_none() {
            return Err(ConfigError::AdminOpen { admin });
        }
        let next_hop = next_hop(&settings)?;
        let callers = Callers::of(&settings)?;
        let allow_upstream = callers::networks("--allow-upstream", settings.allow_upstream.as_deref())?;
        let workers = match settings.workers {
            Some(workers) if !(1..=WORKERS_MAX).contains(&workers) => {
                return Err(ConfigError::Workers { workers });
            }
            Some(workers) => workers,
            None => thread::available_parallelism().map_or(1, |cores| cores.get().min(WORKERS_MAX)),
        };
        if let Some(connections) = settings.connection_limit.filter(|connections| *connections < workers) {
            return Err(ConfigError::ConnectionLimit { connections, workers });
        }
        let least = workers * GATHERED_MIB_LEAST;
        let gathered = match settings.gathered_bodies_mib {
            Some(mib) if mib < least => return Err(ConfigError::GatheredBodies { mib, least, workers }),
            Some(mib) => mib,
            None => GATHERED_MIB.max(least),
        };
        if let Some(path) = &settings.upstream_ca {
            certificates(path)
                .map_err(|source| ConfigError::UpstreamCa { source: Box::<TrustError>::new(source) })?;
        }
        Ok(Self {
            state_dir: settings.state_dir.unwrap_or_else(|| "rr-edge-state".into()),
            control_plane,
            node_token,
            node_key_file: settings.node_key_file,
            listen: settings.listen.unwrap_or_else(|| (Ipv4Addr::LOCALHOST, 7430).into()),
            admin,
            admin_token_file: settings.admin_token_file,
            workers,
            connections: settings.connection_limit,
            gathered_bodies: gathered.saturating_mul(MIB) / workers,
            callers,
            allow_upstream,
            upstream_ca: settings.upstream_ca,
            issuer_keys_last: Duration::from_secs(u64::from(settings.issuer_keys_hours.unwrap_or(24)) * 3600),
            next_hop,
            drain: Duration::from_secs(settings.drain.unwrap_or(30)),
            spool_quota: settings.spool_quota_mib.map_or(SPOOL_QUOTA, |mib| mib.saturating_mul(1024 * 1024)),
            records: settings.records,
            traces: TraceSettings {
                share: settings.trace_percent.unwrap_or(TraceShare::ALL),
                per_second: settings.traces_per_second.unwrap_or(TRACES_PER_SECOND),
                paths: settings.trace_paths.unwrap_or_default(),
            },
            standalone,
        })
    }
}

/// The settings of a node without a control plane; without --standalone there are none, and none may be given.
fn standalone(settings: &Settings) -> Result<Option<Standalone>, ConfigError> {
    let Some(file) = settings.standalone.clone() else {
        let given = [
            ("--org", settings.org.is_some()),
            ("--region-key", settings.region_key.is_some()),
            ("--region-passphrase-file", settings.region_passphrase_file.is_some()),
            ("--installation", settings.installation.is_some()),
        ];
        return match given.into_iter().find(|(_, is_given)| *is_given) {
            Some((flag, _)) => Err(ConfigError::NotStandalone { flag }),
            None => Ok(None),
        };
    };
    let org = settings.org.as_deref().unwrap_or(ORG);
    let org = org.parse().map_err(|source| ConfigError::Org { text: org.to_owned(), source })?;
    let installation = settings.installation.as_deref().map(|text| {
        text.parse().map_err(|source| ConfigError::Installation { text: text.to_owned(), source })
    });
    Ok(Some(Standalone {
        file,
        org,
        installation: installation.transpose()?,
        region_key: settings.region_key.clone(),
        region_passphrase: settings.region_passphrase_file.clone(),
    }))
}

/// The proxy on the way to upstreams, which nothing but --upstream-proxy names: no proxy is taken from the environment.
fn next_hop(settings: &Settings) -> Result<Option<NextHop>, ConfigError> {
    let Some(url) = &settings.upstream_proxy else {
        let given = [
            ("--upstream-proxy-credentials-file", settings.upstream_proxy_credentials_file.is_some()),
            ("--upstream-proxy-judges", settings.upstream_proxy_judges == Some(true)),
            ("--upstream-proxy-except", settings.upstream_proxy_except.is_some()),
        ];
        return match given.into_iter().find(|(_, is_given)| *is_given) {
            Some((flag, _)) => Err(ConfigError::NoUpstreamProxy { flag }),
            None => Ok(None),
        };
    };
    let flag = "--upstream-proxy-credentials-file";
    let read = |path: &PathBuf| match RealDisk.read_private(path) {
        Ok(Ok(bytes)) => Ok(Secret::new(bytes)),
        Ok(Err(exposure)) => Err(ConfigError::Open { flag, exposure }),
        Err(source) => Err(ConfigError::Read { flag, path: path.to_owned(), source }),
    };
    let credentials = settings.upstream_proxy_credentials_file.as_ref().map(read).transpose()?;
    let judges = settings.upstream_proxy_judges.unwrap_or_default();
    let except = settings.upstream_proxy_except.as_deref().unwrap_or_default();
    let hop = NextHop::new(url, credentials.as_ref(), judges, except);
    hop.map(Some).map_err(|source| ConfigError::UpstreamProxy { source })
}

fn addresses(text: &str) -> Result<Vec<ControlPlaneAddress>, ConfigError> {
    let address = |url: &str| {
        let url = url.trim();
        url.parse().map_err(|source| ConfigError::ControlPlane { url: url.to_owned(), source })
    };
    text.split(',').map(address).collect()
}

fn token_file(path: &Path) -> Result<NodeToken, ConfigError> {
    let read = |source| ConfigError::Read { flag: "--node-token-file", path: path.to_owned(), source };
    let text = Secret::new(fs::read(path).map_err(read)?);
    parse_token(&text).map_err(|source| ConfigError::Token { place: path.display().to_string(), source })
}

fn parse_token(text: &Secret) -> Result<NodeToken, InvalidNodeToken> {
    std::str::from_utf8(text.expose()).map_err(|_| InvalidNodeToken)?.parse()
}

#[cfg(test)]
mod tests;
