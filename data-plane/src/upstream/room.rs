//! How many sockets one worker has open to upstreams.
//!
//! Opens and closes nothing. The invariant: they are no more than there are descriptors for, however many requests are
//! under way on few connections of callers; and an organization that has few of them does not wait for those that have
//! many.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use rr_contract::model::id::OrgId;
use rr_contract::runtime::Seldom;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tracing::warn;

/// So many sockets of an organization are few.
const FEW: usize = 4;
/// Which part of all places is kept for organizations with few sockets, and how many at the most.
const KEPT_PART: usize = 8;
const KEPT_MAX: usize = 64;
const LOG_EVERY: Duration = Duration::from_secs(60);

/// The places of one worker.
pub(super) struct Room {
    any: Arc<Semaphore>,
    for_few: Arc<Semaphore>,
    /// What each organization has open.
    open: RefCell<HashMap<OrgId, Weak<Cell<usize>>>>,
    full: Seldom,
}

/// What a whole worker keeps for later.
pub(super) struct Kept {
    /// How many HTTP/1.1 connections lie idle.
    pub(super) count: Cell<usize>,
    pub(super) room: Rc<Room>,
}

impl Kept {
    pub(super) fn new(room: Rc<Room>) -> Self {
        Self { count: Cell::default(), room }
    }
}

/// The right to have one socket open.
pub(super) struct Place {
    open: Rc<Cell<usize>>,
    _held: OwnedSemaphorePermit,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.open.update(|open| open - 1);
    }
}

impl Room {
    /// Room for so many sockets, and for one in any case.
    pub(super) fn new(sockets: usize) -> Self {
        let for_few = (sockets / KEPT_PART).min(KEPT_MAX);
        let any = (sockets - for_few).clamp(1, Semaphore::MAX_PERMITS);
        let of = |places| Arc::new(Semaphore::new(places));
        Self { any: of(any), for_few: of(for_few), open: RefCell::default(), full: Seldom::every(LOG_EVERY) }
    }

    /// Waits for a place. The caller bounds the time.
    pub(super) async fn take(&self, org: OrgId) -> Place {
        let open = self.open_of(org);
        let held = match Arc::clone(&self.any).try_acquire_owned() {
            Ok(held) => held,
            Err(_) => {
                self.tell();
                let kept = (open.get() < FEW).then(|| Arc::clone(&self.for_few).try_acquire_owned());
                match kept {
                    Some(Ok(held)) => held,
                    Some(Err(_)) | None => {
                        let any = Arc::clone(&self.any).acquire_owned().await;
                        any.expect("no semaphore of ours is ever closed")
                    }
                }
            }
        };
        open.update(|open| open + 1);
        Place { open, _held: held }
    }

    /// Whether whoever has many sockets has to wait for the next.
    pub(super) fn is_full(&self) -> bool {
        self.any.available_permits() == 0
    }

    /// Forgets organizations that have nothing open.
    pub(super) fn sweep(&self) {
        self.open.borrow_mut().retain(|_, open| open.strong_count() > 0);
    }

    fn open_of(&self, org: OrgId) -> Rc<Cell<usize>> {
        let mut all = self.open.borrow_mut();
        if let Some(open) = all.get(&org).and_then(Weak::upgrade) {
            return open;
        }
        let open = Rc::default();
        all.insert(org, Rc::downgrade(&open));
        open
    }

    fn tell(&self) {
        if let Some(held) = self.full.may() {
            warn!(
                held,
                "a worker has as many connections to upstreams as there are file descriptors for; raise the limit of open files (LimitNOFILE= of the service, or `ulimit -n`), or bound the requests under way of its proxies"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    /// The place, if it is there at once.
    fn take(room: &Room, n: u8) -> Option<Place> {
        match pin!(room.take(OrgId::from_random([n; 16]))).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(place) => Some(place),
            Poll::Pending => None,
        }
    }

    #[test]
    fn sockets_are_bounded_and_some_are_kept_for_organizations_that_have_few() {
        let room = Room::new(80);
        let mut many: Vec<_> = std::iter::from_fn(|| take(&room, 1)).collect();
        assert_eq!(many.len(), 70);
        assert!(room.is_full());
        let few: Vec<_> = std::iter::from_fn(|| take(&room, 2)).collect();
        assert_eq!(few.len(), FEW);
        let others: Vec<_> = (3..100).filter_map(|n| take(&room, n)).collect();
        assert_eq!(others.len(), 10 - FEW);
        many.pop();
        assert!(!room.is_full() && take(&room, 1).is_some(), "a place that was given back is another's");
        drop((many, few, others));
        room.sweep();
        assert!(room.open.borrow().is_empty());
        assert!(take(&Room::new(0), 1).is_some(), "a node without upstreams is useless");
    }
}
