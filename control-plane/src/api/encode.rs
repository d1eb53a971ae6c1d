//! Conversions from rows to messages that several calls share.

use pbjson_types::Timestamp;
use rr_contract::model::time;

use crate::store::time_of;

pub(super) fn at(micros: i64) -> Option<Timestamp> {
    Some(time::timestamp(time_of(micros)))
}
