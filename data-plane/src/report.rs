//! Records of requests, sums of them and last uses of callers, from the worker to the control plane; records alone to a log
//! of lines, beside that or in its place.
//!
//! `ring` and `uses` take them from the workers, `sums` adds up, `class` says which records are left out, `spool` writes them to disk, `upload` sends them. A node without a control
//! plane has `lines` in the place of the last two; another one may have it beside them. A request never waits for any of it, and each record that is lost on the way is
//! counted in the stream itself.

mod class;
mod lines;
mod loss;
mod raw_record;
mod refusals;
mod ring;
mod spool;
mod sums;
mod upload;
mod uses;

pub use self::lines::RecordsError;
pub(crate) use self::lines::{Lines, LinesHandle, Tee};
pub(crate) use self::raw_record::{
    KeptValue, LimitState, METERS_MAX, METHOD_MAX, MeterState, RawRecord, Reason, RuleOutcome,
};
pub(crate) use self::refusals::Refusals;
#[cfg(test)]
pub(crate) use self::ring::RingEnd;
pub(crate) use self::ring::{Ring, ring};
pub use self::spool::SpoolError;
pub(crate) use self::spool::{Spool, SpoolHandle};
pub(crate) use self::upload::Upload;
pub(crate) use self::uses::{UseReceiver, UseSender, Uses, uses};

/// The thread that empties the rings.
pub(crate) enum Sink {
    /// With the log of lines beside it, if there is one.
    Spool(Spool, Option<Lines>),
    Lines(Lines),
}

impl Sink {
    /// Writes what the rings still hold, and ends. Blocks until then.
    pub(crate) fn close(self) {
        match self {
            Self::Spool(spool, lines) => {
                spool.close();
                if let Some(lines) = lines {
                    lines.close();
                }
            }
            Self::Lines(lines) => lines.close(),
        }
    }
}

/// The figures of that thread.
#[derive(Clone)]
pub(crate) enum Tally {
    Spool(SpoolHandle),
    Lines(LinesHandle),
}

impl Tally {
    /// Bytes waiting for upload.
    pub(crate) fn bytes(&self) -> u64 {
        match self {
            Self::Spool(spool) => spool.bytes(),
            Self::Lines(_) => 0,
        }
    }

    /// Records lost since the start.
    pub(crate) fn dropped(&self) -> u64 {
        match self {
            Self::Spool(spool) => spool.dropped(),
            Self::Lines(lines) => lines.dropped(),
        }
    }

    /// Damaged parts found since the start.
    pub(crate) fn damaged(&self) -> u64 {
        match self {
            Self::Spool(spool) => spool.damaged(),
            Self::Lines(_) => 0,
        }
    }
}

/// A record as a line of JSON, for the test that holds its fields against the schema.
#[doc(hidden)]
pub fn json_line(record: &rr_contract::wire::fleet::Record) -> String {
    lines::of(record)
}
