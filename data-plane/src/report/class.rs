//! Which records are left out: those that their proxy samples away, and, where room is short, those of requests that were granted.
//!
//! Decides, and counts nothing. The invariant: a request that was refused, that failed or that broke off is never left out here.
//! There is no class of debugging: nothing writes such records.

use crate::outcome::Code;

use super::RawRecord;

/// Reasons, as `Dropped` has them.
pub(super) const SAMPLED: &str = "sampled";
pub(super) const NEAR_FULL: &str = "spool-near-full";

/// Why a record is left out; `None`: it is kept.
pub(super) fn left_out(record: &RawRecord, is_short: bool) -> Option<&'static str> {
    if !gives_way(record) {
        return None;
    }
    if record.sample.is_some_and(|share| drawn(record) >= share) {
        return Some(SAMPLED);
    }
    is_short.then_some(NEAR_FULL)
}

/// Whether a record goes before others: its request was granted, and answered whole, and nobody waited for it.
pub(super) fn gives_way(record: &RawRecord) -> bool {
    record.code == Some(Code::Granted)
        && !record.aborted
        && !record.has_begun
        && record.status.is_some_and(|status| status.as_u16() < 500)
}

/// Of a thousand. Ids are made of random bytes, so no caller chooses which requests are kept.
fn drawn(record: &RawRecord) -> u16 {
    let [first, second, third, fourth, ..] = *record.id.as_bytes();
    (u32::from_le_bytes([first, second, third, fourth]) % 1000) as u16
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use http::{Method, StatusCode};
    use rr_contract::model::id::RequestId;

    use super::*;

    fn granted(n: u32) -> RawRecord {
        let mut id = [0; 16];
        id[..4].copy_from_slice(&n.wrapping_mul(2_654_435_761).to_le_bytes());
        RawRecord {
            code: Some(Code::Granted),
            status: Some(StatusCode::OK),
            aborted: false,
            ..RawRecord::new(RequestId::from_random(id), SystemTime::UNIX_EPOCH, Method::GET, 1)
        }
    }

    #[test]
    fn a_share_of_what_was_granted_is_kept_and_all_of_the_rest() {
        for (share, least, most) in [(0, 0, 0), (100, 900, 1100), (999, 9_900, 9_999), (1000, 10_000, 10_000)]
        {
            let kept = (0..10_000)
                .map(|n| RawRecord { sample: Some(share), ..granted(n) })
                .filter(|record| left_out(record, false).is_none())
                .count();
            assert!((least..=most).contains(&kept), "{kept} of 10000 at {share}");
        }
        let none = |record| RawRecord { sample: Some(0), ..record };
        assert_eq!(left_out(&none(granted(1)), true), Some(SAMPLED), "which would be so with room, too");
        for kept in [
            RawRecord { aborted: true, ..granted(1) },
            RawRecord { status: Some(StatusCode::BAD_GATEWAY), ..granted(1) },
            RawRecord { status: None, ..granted(1) },
            RawRecord { code: Some(Code::RuleDenied), ..granted(1) },
            RawRecord { code: Some(Code::AccessDenied), ..granted(1) },
            RawRecord { code: None, ..granted(1) },
            RawRecord { has_begun: true, ..granted(1) },
        ] {
            assert_eq!(left_out(&none(kept), true), None);
        }
    }

    #[test]
    fn where_room_is_short_what_was_granted_gives_way_whatever_its_proxy_samples() {
        assert_eq!(left_out(&granted(1), false), None);
        assert_eq!(left_out(&granted(1), true), Some(NEAR_FULL));
        assert_eq!(left_out(&RawRecord { sample: Some(1000), ..granted(1) }, true), Some(NEAR_FULL));
    }
}
