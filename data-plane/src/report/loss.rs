//! Records that are missing, as the stream and the log of lines say it.

use std::time::SystemTime;

use rr_contract::model::time::timestamp;
use rr_contract::wire::fleet;

pub(super) fn dropped(records: u64, from: SystemTime, to: SystemTime, reason: &str) -> fleet::Dropped {
    fleet::Dropped {
        records,
        from: Some(timestamp(from)),
        to: Some(timestamp(to)),
        reason: reason.to_owned(),
    }
}
