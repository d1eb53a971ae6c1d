//! What rows have in common on their way out.

use pbjson_types::Timestamp;
use rr_contract::model::time;

use crate::store::time_of;

pub(super) fn at(micros: i64) -> Option<Timestamp> {
    Some(time::timestamp(time_of(micros)))
}

pub(super) fn maybe_at(micros: Option<i64>) -> Option<Timestamp> {
    micros.and_then(at)
}

pub(super) fn number(row: i64) -> u64 {
    u64::try_from(row).unwrap_or_default()
}
