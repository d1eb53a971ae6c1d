//! How many long documents of responses wait to be read for meters, on one worker.
//!
//! Reads none. The invariant: one organization's are read one after the other, and hold no more memory than it may,
//! whatever its upstreams answer; another one's do not wait for them.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::{Rc, Weak};
use std::sync::Arc;

use rr_contract::model::id::OrgId;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bytes of one organization's documents, as they came.
const BY_ORG: usize = 64 * 1024 * 1024;

/// The documents that wait.
#[derive(Default)]
pub(crate) struct Readings(RefCell<HashMap<OrgId, Weak<Share>>>);

/// Those of one organization.
struct Share {
    bytes: Cell<usize>,
    turn: Arc<Semaphore>,
}

/// A place among those that wait.
pub(crate) struct Place {
    share: Rc<Share>,
    bytes: usize,
}

/// The right to read.
pub(crate) struct Turn {
    _place: Place,
    _turn: OwnedSemaphorePermit,
}

impl Readings {
    /// A place for a document of this length; `None`: too much waits.
    pub(crate) fn place(&self, org: OrgId, bytes: usize) -> Option<Place> {
        let share = self.share(org);
        let all = share.bytes.get() + bytes;
        (all <= BY_ORG).then(|| {
            share.bytes.set(all);
            Place { share, bytes }
        })
    }

    fn share(&self, org: OrgId) -> Rc<Share> {
        let mut orgs = self.0.borrow_mut();
        if let Some(share) = orgs.get(&org).and_then(Weak::upgrade) {
            return share;
        }
        orgs.retain(|_, share| share.strong_count() > 0);
        let share = Rc::new(Share { bytes: Cell::default(), turn: Arc::new(Semaphore::new(1)) });
        orgs.insert(org, Rc::downgrade(&share));
        share
    }
}

impl Place {
    /// Waits for the organization's turn.
    pub(crate) async fn turn(self) -> Turn {
        let turn = Arc::clone(&self.share.turn).acquire_owned().await;
        Turn { _place: self, _turn: turn.expect("no semaphore of ours is ever closed") }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.share.bytes.update(|bytes| bytes - self.bytes);
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

    fn turn(place: Place) -> Result<Turn, ()> {
        match pin!(place.turn()).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(turn) => Ok(turn),
            Poll::Pending => Err(()),
        }
    }

    #[test]
    fn an_organization_holds_so_much_and_reads_one_after_the_other() {
        let readings = Readings::default();
        let (first, second) = (readings.place(org(1), BY_ORG - 1), readings.place(org(1), 1));
        assert!(readings.place(org(1), 1).is_none());
        let other = readings.place(org(2), BY_ORG).expect("another has its own");
        let reads = turn(first.expect("there is room")).expect("it is the first");
        assert!(turn(second.expect("there is room")).is_err());
        let beside = turn(other).expect("it waits for no other organization");
        drop((reads, beside));
        let held = readings.place(org(1), 1);
        drop(readings.place(org(1), BY_ORG - 1).expect("there is room"));
        assert!(readings.place(org(1), BY_ORG - 1).is_some(), "what has left holds nothing");
        drop(held);
        // Both have gone, and so has the one that left while it waited.
        assert!(readings.place(org(1), BY_ORG).is_some());
        assert!(readings.place(org(3), 0).is_some());
        assert_eq!(readings.0.borrow().len(), 1);
    }
}
