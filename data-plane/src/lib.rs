//! The edge of RequestRocket: takes callers' requests and sends them on with a secret that they never see.
//!
//! It promises that a request waits for nobody but its caller and its upstream, and that a node that has ever
//! worked works again without the control plane. It never decides what the configuration is, and asks nobody
//! about a request.
//!
//! The modules, top to bottom; none imports from above:
//!
//! * `app`, `bench`: start and stop of a node; the parts of one that benches drive;
//! * `admin`, `events`: the port for operators, and the metrics;
//! * [`config`], `identity`: settings, and the certificate and keys of this node;
//! * `listen`, `pipeline`, `reply`, `worker`: the path of a request, and the state of a traffic thread;
//! * [`standalone`]: a file in the place of the stream;
//! * `sync`: the stream of configuration, checked, compiled, kept on disk;
//! * `report`: records of requests, on disk until the control plane has them;
//! * `traces`: traces of requests, on their way to a collector;
//! * `upstream`: connections to upstreams; [`caller_tls`]: certificates that callers are shown;
//! * `current`, `snapshot`: the configuration in force, and what it is compiled to;
//! * `seats`: the connections of callers; [`control_plane`]: the connection to the control plane;
//! * `body`: bodies that a stage looks at, gathered and decoded;
//! * `quota`: what limits and meters count, in memory and on disk;
//! * `passwords`: passwords checked, beside the traffic workers; `jwt`: signed tokens of callers; `client_certificate`: those
//!   that callers show; `sign`: requests to upstreams signed; `echo`: secrets that upstreams send back;
//!   `access_token`: tokens for upstreams, got from issuers;
//! * `values`: what goes into requests to upstreams, in the form of its place;
//! * `fetches`, `shelf`: what is fetched as long as configuration names it, and the same on disk;
//! * `counters`, `outcome`, `backoff`, `executor`: leaves.

mod access_token;
mod admin;
mod app;
mod backoff;
#[doc(hidden)]
pub mod bench;
mod body;
pub mod caller_tls;
mod client_certificate;
pub mod config;
pub mod control_plane;
mod counters;
mod current;
mod deadline;
mod echo;
mod events;
mod executor;
mod fetches;
#[cfg(test)]
mod fixture;
mod holder;
mod identity;
mod jwt;
mod listen;
mod open_secrets;
mod outcome;
mod passwords;
mod pipeline;
mod quota;
mod renewal;
mod reply;
mod report;
mod scrub;
mod seats;
mod shelf;
mod sign;
mod snapshot;
pub mod standalone;
mod standing;
mod sync;
mod target_test;
mod traces;
mod trials;
mod upstream;
mod validations;
mod values;
mod worker;

pub use app::{Hooks, Probe, Running, StartError, start, start_with};
pub use config::{Config, ConfigError, Settings};
pub use identity::{IdentityFileError, JoinError, NodeKeyError};
pub use listen::BindError;
#[doc(hidden)]
pub use report::json_line;
pub use report::{RecordsError, SpoolError};
pub use sync::{AuditHead, Position};
pub use traces::{InvalidShare, TraceSettings, TraceShare};

/// Version of the program, for people.
pub const BUILD: &str = env!("CARGO_PKG_VERSION");
