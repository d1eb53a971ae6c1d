//! The edge of RequestRocket: takes callers' requests and sends them on with a secret that they never see.
//!
//! It promises that a request waits for nobody but its caller and its upstream, and that a node that has ever
//! worked works again without the control plane. It never decides what the configuration is, and asks nobody
//! about a request.
//!
//! * [`config`], `app`: what was said, and the order of start and stop;
//! * [`control_plane`], `identity`: the way to the control plane, and who this node is;
//! * `sync`: configuration as it comes, refused by name, kept on disk, compiled;
//! * `current`, `snapshot`: what is in force, and how a request sees it;
//! * `listen`, `pipeline`, `reply`, `upstream`: a request's way through;
//! * `report`: what is kept of it;
//! * `admin`, `events`: how all of it can be watched.

mod admin;
mod app;
mod backoff;
#[doc(hidden)]
pub mod bench;
pub mod config;
pub mod control_plane;
mod counters;
mod current;
mod events;
mod executor;
#[cfg(test)]
mod fixture;
mod identity;
mod listen;
mod outcome;
mod pipeline;
mod reply;
mod report;
mod seats;
mod snapshot;
mod sync;
mod upstream;
mod volatile;
mod worker;

pub use app::{Hooks, Probe, Running, StartError, start, start_with};
pub use config::{Config, ConfigError, Settings};
pub use identity::{IdentityFileError, JoinError, NodeKeyError};
pub use listen::BindError;
pub use report::SpoolError;
pub use sync::{AuditHead, Position};

/// Version of the program, for people.
pub const BUILD: &str = env!("CARGO_PKG_VERSION");
