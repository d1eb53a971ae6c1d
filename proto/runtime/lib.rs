//! What every program of ours does alike: logs and metrics, readiness, stopping, named tasks, and what bounds peers.
//!
//! Knows nothing of configuration, requests or either plane, opens no port, and writes no log line of
//! its own but about a task that panicked or telemetry that could not be flushed.
//! There is one copy of this, so that both planes are watched and stopped in the same way.

pub mod descriptors;
pub mod observe;
pub mod patience;

mod chain;
mod folder_lock;
mod ready;
mod seldom;
mod stop;
mod task;

pub use chain::chain;
pub use folder_lock::{FolderLock, LockError};
pub use ready::{Gate, Readiness};
pub use seldom::Seldom;
pub use stop::{Shutdown, Stop};
pub use task::{Tasks, logging_alike};
