//! Who reads a long document of a response for meters, on one worker.
//!
//! Reads none, and holds none: what waits is in the budget of bodies. The invariant: one organization's are read one
//! after the other, whatever its upstreams answer; another one's do not wait for them.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::{Arc, Weak};

use rr_contract::model::id::OrgId;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The queues in which documents wait.
#[derive(Default)]
pub(crate) struct Readings(RefCell<HashMap<OrgId, Weak<Semaphore>>>);

/// That of one organization.
pub(crate) struct Queue(Arc<Semaphore>);

/// The right to read.
pub(crate) struct Turn(#[expect(dead_code, reason = "held, and never looked at")] OwnedSemaphorePermit);

impl Readings {
    /// The queue of an organization.
    pub(crate) fn queue(&self, org: OrgId) -> Queue {
        let mut orgs = self.0.borrow_mut();
        if let Some(turn) = orgs.get(&org).and_then(Weak::upgrade) {
            return Queue(turn);
        }
        orgs.retain(|_, turn| turn.strong_count() > 0);
        let turn = Arc::new(Semaphore::new(1));
        orgs.insert(org, Arc::downgrade(&turn));
        Queue(turn)
    }
}

impl Queue {
    /// Waits for the turn.
    pub(crate) async fn turn(self) -> Turn {
        Turn(self.0.acquire_owned().await.expect("no semaphore of ours is ever closed"))
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    fn org(n: u8) -> OrgId {
        OrgId::from_random([n; 16])
    }

    fn turn(queue: Queue) -> Result<Turn, ()> {
        match pin!(queue.turn()).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(turn) => Ok(turn),
            Poll::Pending => Err(()),
        }
    }

    #[test]
    fn an_organization_reads_one_after_the_other_and_waits_for_no_other() {
        let readings = Readings::default();
        let reads = turn(readings.queue(org(1))).expect("it is the first");
        assert!(turn(readings.queue(org(1))).is_err());
        let beside = turn(readings.queue(org(2))).expect("it waits for no other organization");
        drop((reads, beside));
        assert!(turn(readings.queue(org(3))).is_ok(), "both have gone");
        assert_eq!(readings.0.borrow().len(), 1);
    }
}
