//! What every program of ours does alike: logs and metrics, readiness, the token of admin ports, stopping, named tasks, and what bounds peers.
//!
//! Knows nothing of configuration, requests or either plane, opens no port, and writes no log line of
//! its own but about a task that panicked, telemetry that could not be flushed, an admin token that changed, or memory that is open to
//! others.
//! There is one copy of this, so that both planes are watched and stopped in the same way.

pub mod descriptors;
pub mod memory;
pub mod observe;
pub mod patience;

mod admin_token;
mod chain;
mod folder_lock;
mod rank;
mod ready;
mod seldom;
mod stop;
mod task;
mod way;

pub use admin_token::{AdminToken, AdminTokenError};
pub use chain::chain;
pub use folder_lock::{FolderLock, LockError};
pub use rank::stand_behind;
pub use ready::{Gate, Readiness};
pub use seldom::Seldom;
pub use stop::{Shutdown, Stop};
pub use task::{Tasks, logging_alike};
pub use way::give_way;
