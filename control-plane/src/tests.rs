//! The control plane as its callers and nodes see it, on real ports.

pub(crate) mod postgres;
pub(crate) mod stores;

mod access;
mod apply;
mod audit;
mod caller_certificates;
mod ceilings;
mod changes;
mod client;
mod consent;
mod first_start;
mod history;
mod hostile;
mod joining;
mod limits;
mod lists;
mod lost;
mod machine;
mod management;
mod members;
mod model;
mod orgs;
mod outbound;
mod passwords;
mod policy;
mod records;
mod rehearsal;
mod removals;
mod rest;
mod start;
mod stream;
mod tenants;
mod tokens;
mod values;
mod world;
