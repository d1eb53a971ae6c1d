//! Records of what anybody can cause without a credential, refusals of credentials and senders and preflight requests:
//! each by itself up to a rate, and beyond it one for each proxy, reason or code, and minute.
//!
//! Belongs to one worker. The invariant: each is in one record, as itself or as one of its `count`.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::mem;
use std::time::SystemTime;

use rr_contract::model::id::ProxyId;

use crate::outcome::Code;

use super::RawRecord;
use super::raw_record::Reason;

/// A minute's refusals of one proxy for one reason, or its preflight requests, that have records of their own, on each worker.
const EACH: u32 = 10;
/// Proxies and reasons that are counted at once.
const KEYS: usize = 1024;

/// What one worker has refused in the present minute.
#[derive(Default)]
pub(crate) struct Refusals {
    by: RefCell<HashMap<(ProxyId, Kind), Refused>>,
    minute: Cell<u64>,
}

/// What is counted together.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    Reason(Reason),
    Preflight,
    PreflightRefused,
}

impl Kind {
    fn of(record: &RawRecord) -> Option<Self> {
        match record.code {
            Some(Code::Preflight) => Some(Self::Preflight),
            Some(Code::PreflightRefused) => Some(Self::PreflightRefused),
            // Only who has a good key comes to that.
            Some(Code::CredentialUnusable) => None,
            _ => record.reason.map(Self::Reason),
        }
    }
}

#[derive(Default)]
struct Refused {
    seen: u32,
    /// Stands for those beyond the rate.
    rest: Option<Box<RawRecord>>,
}

impl Refusals {
    /// Takes a record, and pushes those that are due. One that another stands for is counted.
    pub(crate) fn take(
        &self,
        record: Box<RawRecord>,
        mut push: impl FnMut(Box<RawRecord>),
        count: impl FnOnce(&RawRecord),
    ) {
        let (Some(proxy), Some(kind)) = (record.proxy, Kind::of(&record)) else { return push(record) };
        self.tick(record.received_at, &mut push);
        if self.by.borrow().len() >= KEYS && !self.by.borrow().contains_key(&(proxy, kind)) {
            self.flush(&mut push);
        }
        let mut by = self.by.borrow_mut();
        let refused = by.entry((proxy, kind)).or_default();
        refused.seen = refused.seen.saturating_add(1);
        if refused.seen <= EACH {
            return push(record);
        }
        match &mut refused.rest {
            Some(rest) => {
                rest.count += 1;
                count(&record);
            }
            None => refused.rest = Some(record),
        }
    }

    /// Pushes what a minute that is over came to.
    pub(crate) fn tick(&self, now: SystemTime, push: impl FnMut(Box<RawRecord>)) {
        let minute = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs() / 60;
        if self.minute.replace(minute) != minute {
            self.flush(push);
        }
    }

    /// Pushes all of it.
    pub(crate) fn flush(&self, push: impl FnMut(Box<RawRecord>)) {
        let by = mem::take(&mut *self.by.borrow_mut());
        by.into_values().filter_map(|refused| refused.rest).for_each(push);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rr_contract::model::id::RequestId;

    use super::*;

    fn refused(proxy: u8, reason: Reason, second: u64) -> Box<RawRecord> {
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(second);
        let mut record = Box::new(RawRecord::new(RequestId::from_random([7; 16]), at, http::Method::GET, 0));
        (record.proxy, record.reason) = (Some(ProxyId::from_random([proxy; 16])), Some(reason));
        record
    }

    #[test]
    fn beyond_the_rate_one_record_stands_for_the_rest_of_its_minute() {
        let (refusals, mut pushed, mut counted) = (Refusals::default(), Vec::new(), 0);
        for _ in 0..100 {
            refusals.take(
                refused(1, Reason::Unknown, 59),
                |record| pushed.push(record.count),
                |_| counted += 1,
            );
        }
        for other in [refused(1, Reason::Missing, 59), refused(2, Reason::Unknown, 59)] {
            refusals.take(other, |record| pushed.push(record.count), |_| panic!("it has its own"));
        }
        assert_eq!(counted, 89, "the first that others share a record with is in it itself");
        assert_eq!(pushed, [1; 12], "another reason and another proxy have their own");
        refusals.tick(SystemTime::UNIX_EPOCH + Duration::from_secs(59), |_| panic!("the minute goes on"));
        pushed.clear();
        refusals.take(refused(1, Reason::Unknown, 60), |record| pushed.push(record.count), |_| {});
        assert_eq!(pushed, [90, 1]);
        refusals.flush(|_| panic!("the new minute has one alone"));
    }

    #[test]
    fn however_many_proxies_are_tried_none_is_lost_and_the_table_has_a_bound() {
        let (refusals, mut sum) = (Refusals::default(), 0);
        for n in 0..3_000_u32 {
            for _ in 0..12 {
                let mut record = refused(1, Reason::Unknown, 5);
                let mut id = [0; 16];
                id[..4].copy_from_slice(&n.to_be_bytes());
                record.proxy = Some(ProxyId::from_random(id));
                refusals.take(record, |record| sum += record.count, |_| {});
                assert!(refusals.by.borrow().len() <= KEYS);
            }
        }
        refusals.flush(|record| sum += record.count);
        assert_eq!(sum, 3_000 * 12);
    }
}
