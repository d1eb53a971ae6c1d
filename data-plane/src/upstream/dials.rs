//! How many dials of one worker go on at once, of each organization and in all.
//!
//! Opens nothing. The invariant: however many connections an organization wants, and however many addresses are silent,
//! the sockets that are being connected are bounded, and an organization without one does not wait for those that have
//! many.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::{Rc, Weak};
use std::sync::Arc;

use rr_contract::model::id::OrgId;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Sockets that one organization connects at a time, on one worker.
const BY_ORG: usize = 64;
/// Of these, what is left to dials that wait when others attempt several addresses at once.
const FOR_DIALS: usize = BY_ORG / 2;
/// Sockets of all organizations, for any of them; and those kept for organizations that connect none.
const FOR_ANY: usize = 448;
const FOR_FIRST: usize = 64;
/// Sockets that one worker connects at a time.
pub(crate) const DIALS_A_WORKER: usize = FOR_ANY + FOR_FIRST;

/// The dials of one worker.
pub(super) struct Dials {
    orgs: RefCell<HashMap<OrgId, Weak<Share>>>,
    any: Arc<Semaphore>,
    first: Arc<Semaphore>,
}

/// What one organization connects.
struct Share {
    own: Arc<Semaphore>,
}

/// The right to connect one socket at a time.
pub(super) struct DialPermit {
    share: Rc<Share>,
    any: Arc<Semaphore>,
    _held: [OwnedSemaphorePermit; 2],
}

impl Dials {
    pub(super) fn new() -> Self {
        let of = |places| Arc::new(Semaphore::new(places));
        Self { orgs: RefCell::default(), any: of(FOR_ANY), first: of(FOR_FIRST) }
    }

    /// Waits for the organization's turn. The caller bounds the time.
    pub(super) async fn take(&self, org: OrgId) -> DialPermit {
        let share = self.share(org);
        let closed = "no semaphore of ours is ever closed";
        let own = Arc::clone(&share.own).acquire_owned().await.expect(closed);
        let is_first = share.own.available_permits() + 1 == BY_ORG;
        let any = match Arc::clone(&self.any).try_acquire_owned() {
            Ok(any) => any,
            Err(_) if is_first => Arc::clone(&self.first).acquire_owned().await.expect(closed),
            Err(_) => Arc::clone(&self.any).acquire_owned().await.expect(closed),
        };
        DialPermit { share, any: Arc::clone(&self.any), _held: [own, any] }
    }

    fn share(&self, org: OrgId) -> Rc<Share> {
        let mut orgs = self.orgs.borrow_mut();
        if let Some(share) = orgs.get(&org).and_then(Weak::upgrade) {
            return share;
        }
        let share = Rc::new(Share { own: Arc::new(Semaphore::new(BY_ORG)) });
        orgs.insert(org, Rc::downgrade(&share));
        share
    }

    /// Forgets organizations that dial nothing.
    pub(super) fn sweep(&self) {
        self.orgs.borrow_mut().retain(|_, share| share.strong_count() > 0);
    }
}

impl DialPermit {
    /// The right to connect one more, if nobody has to wait for it.
    pub(super) fn spare(&self) -> Option<[OwnedSemaphorePermit; 2]> {
        if self.share.own.available_permits() <= FOR_DIALS {
            return None;
        }
        let own = Arc::clone(&self.share.own).try_acquire_owned().ok()?;
        let any = Arc::clone(&self.any).try_acquire_owned().ok()?;
        Some([own, any])
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    fn org(n: u8) -> OrgId {
        OrgId::from_random([n; 16])
    }

    /// The permit, if it is there at once.
    fn take(dials: &Dials, n: u8) -> Option<DialPermit> {
        match pin!(dials.take(org(n))).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(permit) => Some(permit),
            Poll::Pending => None,
        }
    }

    #[test]
    fn an_organization_dials_so_much_at_a_time_and_attempts_no_more_where_dials_wait() {
        let dials = Dials::new();
        let first = take(&dials, 1).expect("there is room");
        let beside: Vec<_> = std::iter::from_fn(|| first.spare()).collect();
        assert_eq!(beside.len(), BY_ORG - FOR_DIALS - 1);
        let mut all: Vec<_> = std::iter::from_fn(|| take(&dials, 1)).collect();
        assert_eq!(all.len(), FOR_DIALS);
        assert!(take(&dials, 2).is_some(), "another waits for none of them");
        all.pop();
        assert!(first.spare().is_none() && take(&dials, 1).is_some());
        drop((first, beside, all));
        dials.sweep();
        assert!(dials.orgs.borrow().is_empty());
        assert_eq!(dials.any.available_permits(), FOR_ANY);
    }

    #[test]
    fn organizations_that_dial_all_that_may_be_leave_some_to_whoever_dials_nothing() {
        let dials = Dials::new();
        let greedy = (FOR_ANY / BY_ORG) as u8;
        let held: Vec<_> =
            (0..greedy).flat_map(|n| std::iter::from_fn(|| take(&dials, n)).collect::<Vec<_>>()).collect();
        assert_eq!(held.len(), FOR_ANY);
        let first = take(&dials, 200).expect("it is kept for it");
        assert!(take(&dials, 200).is_none() && first.spare().is_none());
        let others = (100..200).filter_map(|n| take(&dials, n).map(|permit| (n, permit))).count();
        assert_eq!(others, 100, "each was given back");
    }
}
