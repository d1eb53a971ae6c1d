//! Records of requests, from the worker to the control plane.
//!
//! `ring` takes them from the workers, `spool` writes them to disk, `upload` sends them. A request never waits for
//! any of it, and each record that is lost on the way is counted in the stream itself.

mod raw_record;
mod refusals;
mod ring;
mod spool;
mod upload;

pub(crate) use self::raw_record::{FilterEffect, LimitState, MeterState, RawRecord, Reason, RuleOutcome};
pub(crate) use self::refusals::Refusals;
pub(crate) use self::ring::{Ring, ring};
pub use self::spool::SpoolError;
pub(crate) use self::spool::{Spool, SpoolHandle};
pub(crate) use self::upload::Upload;
