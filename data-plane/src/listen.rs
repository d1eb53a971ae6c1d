//! Traffic: one thread a worker, each with its own listener, runtime, connections and counters.
//!
//! The kernel spreads connections over the listeners (SO_REUSEPORT); after that nothing is shared but the
//! snapshot, which is only read. Decides nothing about requests: that is `pipeline`.

mod arrive;
mod descriptors;
mod drain;
mod proxy_header;
mod serve;
mod socket;

pub(crate) use self::arrive::{Door, Neighbours};
pub(crate) use self::descriptors::{Descriptors, Notices};
pub(crate) use self::serve::{Limits, run};
pub use self::socket::BindError;
pub(crate) use self::socket::{admin, proxy};
