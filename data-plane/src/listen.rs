//! Traffic: one thread a worker, each with its own listener, runtime, connections and counters.
//!
//! The kernel spreads connections over the listeners (SO_REUSEPORT); after that nothing is shared but the
//! snapshot, which is only read. Decides nothing about requests: that is `pipeline`.

mod caller;
mod counters;
mod descriptors;
mod places;
mod serve;
mod socket;
mod worker;

pub(crate) use self::caller::Caller;
#[cfg(test)]
pub(crate) use self::counters::Cut;
pub(crate) use self::counters::{Counters, Totals};
pub(crate) use self::descriptors::{Descriptors, Notices};
pub(crate) use self::places::{Bounds, Busy, Places};
pub(crate) use self::serve::{HEADERS_MAX, Limits, LocalExec, run};
pub use self::socket::BindError;
pub(crate) use self::socket::{admin, proxy};
pub(crate) use self::worker::Worker;
