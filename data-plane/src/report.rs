//! Records of requests, from the worker to the control plane.
//!
//! `ring` takes them from the workers, `spool` writes them to disk, `upload` sends them. A request never waits for
//! any of it, and each record that is lost on the way is counted in the stream itself.

mod raw_record;
mod ring;
mod spool;
mod upload;

pub(crate) use self::raw_record::RawRecord;
pub(crate) use self::ring::{Ring, ring};
pub use self::spool::SpoolError;
pub(crate) use self::spool::{Spool, SpoolHandle};
pub(crate) use self::upload::Upload;
