//! Settings that cannot be started with: each is one line that names what to change.
//!
//! Repeats no secret.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use rr_contract::model::id::InvalidId;
use rr_contract::model::name::InvalidName;
use rr_contract::outbound::InvalidNextHop;
use rr_contract::seal::node_token::InvalidNodeToken;
use rr_contract::seam::Exposure;

use crate::control_plane::InvalidControlPlaneAddress;

use super::{GATHERED_MIB_LEAST, WORKERS_MAX};

/// Settings that cannot be started with. Each prints as one line that names what to change.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file cannot be read.
    #[error("read {flag} {path}", path = path.display())]
    Read {
        /// The flag that names it.
        flag: &'static str,
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// Others can get at a file with a secret.
    #[error("{flag} {exposure}")]
    Open {
        /// The flag that names it.
        flag: &'static str,
        /// Why, and what helps.
        exposure: Exposure,
    },
    /// The file is not TOML, or has an unknown key.
    #[error("{path}:{line}: {reason}", path = path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Counts from 1.
        line: usize,
        /// Names the key.
        reason: String,
    },
    /// No control plane is configured.
    #[error(
        "no control plane is configured: pass --control-plane https://host:7421, or --standalone FILE to serve without one"
    )]
    NoControlPlane,
    /// A setting of a node that joins.
    #[error("--standalone serves without a control plane: leave out {flag}")]
    Standalone {
        /// The flag.
        flag: &'static str,
    },
    /// A setting of a node without a control plane.
    #[error("{flag} is for a node without a control plane: pass --standalone FILE with it, or leave it out")]
    NotStandalone {
        /// The flag.
        flag: &'static str,
    },
    /// Not the name of an organization.
    #[error("--org {text:?}")]
    Org {
        /// The value given.
        text: String,
        /// The cause.
        #[source]
        source: InvalidName,
    },
    /// Not the id of an installation.
    #[error("--installation {text:?}")]
    Installation {
        /// The value given.
        text: String,
        /// The cause.
        #[source]
        source: InvalidId,
    },
    /// The URL is not the address of a fleet port.
    #[error("--control-plane {url:?} is not a valid address")]
    ControlPlane {
        /// The value given.
        url: String,
        /// The cause.
        #[source]
        source: InvalidControlPlaneAddress,
    },
    /// The text is not a node token. It is not repeated.
    #[error("node token from {place}")]
    Token {
        /// File or variable.
        place: String,
        /// The cause.
        #[source]
        source: InvalidNodeToken,
    },
    /// Anybody could read metrics and the position.
    #[error(
        "--admin {admin} is not on loopback, and whoever reaches it would be answered: pass --admin-token-file FILE, or an address of 127.0.0.0/8"
    )]
    AdminOpen {
        /// The address given.
        admin: SocketAddr,
    },
    /// Not as many keys as certificates.
    #[error(
        "--tls-certificate and --tls-key are needed in pairs, and {certificates} and {keys} of them are given: name a key for each certificate, in the same order"
    )]
    TlsPairs {
        /// How many certificates are given.
        certificates: usize,
        /// How many keys are given.
        keys: usize,
    },
    /// A version of TLS for callers that are spoken to without.
    #[error(
        "--tls-min-version is about callers that are spoken to over TLS: pass --tls-certificate FILE and --tls-key FILE with it, or leave it out"
    )]
    NoTls,
    /// Not a version of TLS that can be the oldest one.
    #[error("--tls-min-version {text:?} is not a version of TLS for callers: it is 1.2 or 1.3")]
    TlsVersion {
        /// The value given.
        text: String,
    },
    /// Not a header that says who sent a request.
    #[error("--trusted-header {text:?} is not a header that is read: it is x-forwarded-for or forwarded")]
    TrustedHeader {
        /// The value given.
        text: String,
    },
    /// A header, and nobody who is believed.
    #[error(
        "--trusted-header is about trusted proxies: pass --trusted-proxies CIDR with it, or leave it out"
    )]
    NoTrustedProxies,
    /// Not a network.
    #[error("{flag} {text:?} is not a network: write it as 10.0.0.0/8")]
    Network {
        /// The flag.
        flag: &'static str,
        /// The value given.
        text: String,
    },
    /// No or too many threads.
    #[error("--workers {workers} is out of range: it must be 1 to {WORKERS_MAX}")]
    Workers {
        /// The number given.
        workers: usize,
    },
    /// Less memory than the largest body takes.
    #[error(
        "--gathered-bodies-mib {mib} is too low: it must be at least {least}, which is {GATHERED_MIB_LEAST} for each of --workers ({workers})"
    )]
    GatheredBodies {
        /// The number given.
        mib: usize,
        /// The least that may be.
        least: usize,
        /// The threads.
        workers: usize,
    },
    /// Fewer connections than threads.
    #[error("--connection-limit {connections} is too low: it must be at least --workers, which is {workers}")]
    ConnectionLimit {
        /// The number given.
        connections: usize,
        /// How many threads there are.
        workers: usize,
    },
    /// A proxy that cannot be used. Its URL is not repeated: somebody may have put a password into it.
    #[error("--upstream-proxy")]
    UpstreamProxy {
        /// The cause.
        #[source]
        source: InvalidNextHop,
    },
    /// A setting of a proxy that is not there.
    #[error(
        "{flag} is about the proxy on the way to upstreams: pass --upstream-proxy URL with it, or leave it out"
    )]
    NoUpstreamProxy {
        /// The flag.
        flag: &'static str,
    },
    /// Roots that cannot be read.
    #[error("load --upstream-ca")]
    UpstreamCa {
        /// The cause.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}
