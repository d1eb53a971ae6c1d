//! Times and durations between the wire and `std`.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use pbjson_types as pb;

/// A wire time or duration that `std` cannot hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("out of range")]
pub struct OutOfRange;

const YEAR_10000: u64 = 253_402_300_800;

/// A time for the wire. Times before 1970 become 1970, and those after the year 9999 its last second, so
/// that [`system_time`] takes whatever comes out.
pub fn timestamp(time: SystemTime) -> pb::Timestamp {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let since = since.min(Duration::from_secs(YEAR_10000 - 1));
    pb::Timestamp { seconds: since.as_secs() as i64, nanos: since.subsec_nanos() as i32 }
}

/// A time from the wire: 1970 or later, before the year 10000.
pub fn system_time(time: &pb::Timestamp) -> Result<SystemTime, OutOfRange> {
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_time_that_the_wire_cannot_hold_becomes_the_nearest_that_it_can() {
        for (seconds, wanted) in
            [(YEAR_10000 - 1, YEAR_10000 - 1), (YEAR_10000, YEAR_10000 - 1), (1 << 60, YEAR_10000 - 1)]
        {
            let time = UNIX_EPOCH + Duration::from_secs(seconds);
            assert_eq!(system_time(&timestamp(time)), Ok(UNIX_EPOCH + Duration::from_secs(wanted)));
        }
        assert_eq!(system_time(&timestamp(UNIX_EPOCH - Duration::from_secs(1))), Ok(UNIX_EPOCH));
    }

    proptest! {
        #[test]
        fn no_number_on_the_wire_panics(seconds in any::<i64>(), nanos in any::<i32>()) {
            let time = pb::Timestamp { seconds, nanos };
            if let Ok(parsed) = system_time(&time) {
                prop_assert_eq!(timestamp(parsed), time);
            }
            let wire = pb::Duration { seconds, nanos };
            if let Ok(parsed) = duration(&wire) {
                prop_assert_eq!(wire_duration(parsed), wire);
            }
        }
    }
}
