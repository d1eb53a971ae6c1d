//! The control plane of RequestRocket: management API, store, revisions, and the stream to the edge.
//!
//! It promises that a change is one transaction and one revision, all or nothing; that every node of a
//! region is sent exactly what the region's proxies reach; and that a record of a request is stored once.
//! It never touches a request, never opens an upstream secret (it has no key that could), and never takes
//! absence for deletion.
//!
//! In reading order: [`config`] says what is wanted, [`app`] builds it and owns start and stop; `listen`
//! serves ports; `api` is the management port, with `authz` before and `service` behind each call;
//! `compile` turns rows into what nodes are sent; `store` keeps everything; `publish` carries it to nodes;
//! `fleet_port` is what nodes connect to and [`authority`] their certificates; `bootstrap` makes the first token; `backup` copies the
//! database, and `restore` brings a copy back;
//! `throttle` bounds what a caller may take of it; `admin` is for probes; `events` is what can be observed.

pub mod app;
pub mod authority;
pub mod config;

mod admin;
mod api;
mod attempts;
mod authz;
mod backup;
mod bootstrap;
mod compile;
mod document;
mod events;
mod fleet_port;
mod jobs;
mod kind;
mod listen;
mod notice;
mod noun;
mod payload;
mod publish;
mod restore;
mod retry;
mod service;
mod store;
mod throttle;
mod word;

pub use api::ReflectionError;
pub use app::{Running, StartError, start};
pub use backup::{BackupError, BackupMade, BackupOrder, BringBackError, NotWhole, ProgramError, backup};
pub use bootstrap::BootstrapError;
pub use config::{Config, ConfigError, ManagementTls, Settings};
pub use kind::Kind;
pub use listen::{BindError, CertificateError};
pub use restore::{RestoreError, RestoreOrder, Restored, restore};
#[doc(hidden)]
pub use store::alone as store_alone;
pub use store::{
    Broken, ChainError, ClickHouseAddress, DatabaseAddress, InvalidClickHouse, InvalidDatabase,
    InvalidRecordAddress, RecordAddress, StoreError,
};
pub use throttle::Limits;

#[cfg(test)]
mod tests;
