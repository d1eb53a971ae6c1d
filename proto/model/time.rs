//! Times and durations between the wire and `std`.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use pbjson_types as pb;

/// A wire time or duration that `std` cannot hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("out of range")]
pub struct OutOfRange;

/// A time for the wire. Times before 1970 become 1970.
pub fn timestamp(time: SystemTime) -> pb::Timestamp {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    pb::Timestamp {
        seconds: i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
        nanos: since.subsec_nanos() as i32,
    }
}

/// A time from the wire: 1970 or later, before the year 10000.
pub fn system_time(time: &pb::Timestamp) -> Result<SystemTime, OutOfRange> {
    const YEAR_10000: u64 = 253_402_300_800;
    let seconds = u64::try_from(time.seconds).map_err(|_| OutOfRange)?;
    let nanos = u32::try_from(time.nanos).map_err(|_| OutOfRange)?;
    if seconds >= YEAR_10000 || nanos >= 1_000_000_000 {
        return Err(OutOfRange);
    }
    Ok(UNIX_EPOCH + Duration::new(seconds, nanos))
}

/// A duration for the wire.
pub fn wire_duration(duration: Duration) -> pb::Duration {
    pb::Duration {
        seconds: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        nanos: duration.subsec_nanos() as i32,
    }
}

/// A duration from the wire: not negative.
pub fn duration(duration: &pb::Duration) -> Result<Duration, OutOfRange> {
    let seconds = u64::try_from(duration.seconds).map_err(|_| OutOfRange)?;
    let nanos = u32::try_from(duration.nanos).map_err(|_| OutOfRange)?;
    if nanos >= 1_000_000_000 {
        return Err(OutOfRange);
    }
    Ok(Duration::new(seconds, nanos))
}
