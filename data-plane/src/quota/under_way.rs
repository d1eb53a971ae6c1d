//! How many requests a proxy has under way on this node.
//!
//! One number a proxy, which no other proxy's requests touch, and which outlives a change of the configuration. The
//! invariant: it never exceeds the limit that a request came in under, and each request that was counted is counted
//! out, however it ends.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// The requests of a proxy that are under way.
#[derive(Debug, Default)]
pub(super) struct Gauge(AtomicU32);

/// One of them, until it is dropped.
#[derive(Debug)]
pub(crate) struct UnderWay(Arc<Gauge>);

impl Gauge {
    /// Counts a request in; `None` where as many as there may be are under way.
    pub(super) fn enter(self: &Arc<Self>, most: NonZeroU32) -> Option<UnderWay> {
        // Nothing else is read by it.
        let enters = |count: u32| (count < most.get()).then_some(count + 1);
        let entered = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, enters);
        entered.is_ok().then(|| UnderWay(Arc::clone(self)))
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use rr_contract::model::id::ProxyId;

    use super::*;
    use crate::quota::Quotas;

    const MOST: NonZeroU32 = NonZeroU32::new(3).expect("not zero");

    #[test]
    fn as_many_as_the_limit_are_under_way_and_a_new_configuration_counts_them_on() {
        let quotas = Quotas::fleeting();
        let id = ProxyId::from_random([1; 16]);
        let before = quotas.proxy(id);
        let mut held: Vec<_> = (0..3).map(|_| before.enter(MOST).expect("there is room")).collect();
        drop(before);
        let after = quotas.proxy(id);
        assert!(after.enter(MOST).is_none());
        assert!(quotas.proxy(ProxyId::from_random([2; 16])).enter(MOST).is_some(), "of another proxy");
        held.pop();
        held.push(after.enter(MOST).expect("one has ended"));
        assert!(after.enter(MOST).is_none());
        let higher = NonZeroU32::new(4).expect("not zero");
        assert!(after.enter(higher).is_some());
    }

    #[test]
    fn however_many_come_at_once_no_more_than_the_limit_are_under_way() {
        let gauge = Arc::new(Gauge::default());
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..10_000 {
                        let entered = gauge.enter(MOST);
                        assert!(gauge.0.load(Ordering::Relaxed) <= MOST.get());
                        drop(entered);
                    }
                });
            }
        });
        assert_eq!(gauge.0.load(Ordering::Relaxed), 0);
    }
}
