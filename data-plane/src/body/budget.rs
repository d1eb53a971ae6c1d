//! How many bytes of bodies one worker holds because a stage has to see them whole.
//!
//! Holds no body: whoever does has a [`Held`] beside its bytes, decoded and rewritten copies included. Nobody waits for
//! room. The invariants: what is held is never more than the worker may hold, whatever is announced and however little
//! comes of it; no organization holds more than half of that; and those that hold much keep none out that hold little.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use rr_contract::model::id::OrgId;
use rr_contract::runtime::Seldom;
use tracing::warn;

use crate::counters::{Counters, Gathered};

use super::buffer::Buffer;

/// Which part of all bytes one organization holds at the most.
const ORG_PART: usize = 2;
/// Which part of all bytes is kept for organizations that hold few, and which part is few.
const KEPT_PART: usize = 8;
const FEW_PART: usize = 64;
/// Up to here, what a buffer has beyond its bytes is not worth a copy, unless it is more than these.
const SPARE_MAX: usize = 64 * 1024;
const LOG_EVERY: Duration = Duration::from_secs(60);

/// There is no room for more of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("as many bytes of bodies are held as the worker, or the organization, may hold")]
pub(crate) struct NoRoom;

/// The bytes of one worker.
pub(crate) struct BodyBudget {
    most: usize,
    held: Cell<usize>,
    /// What each organization holds.
    orgs: RefCell<HashMap<OrgId, Weak<Share>>>,
    counters: Arc<Counters>,
    full: Seldom,
}

/// The bytes of one organization.
struct Share {
    budget: Rc<BodyBudget>,
    org: OrgId,
    held: Cell<usize>,
}

/// The right to hold the bytes of one body, or of one copy of it.
pub(crate) struct Held {
    share: Rc<Share>,
    bytes: usize,
    what: Gathered,
}

impl BodyBudget {
    /// Of so many bytes.
    pub(crate) fn new(most: usize, counters: Arc<Counters>) -> Rc<Self> {
        let (held, orgs, full) = (Cell::default(), RefCell::default(), Seldom::every(LOG_EVERY));
        Rc::new(Self { most, held, orgs, counters, full })
    }

    /// For a body of an organization, of which nothing has come.
    pub(crate) fn hold(self: &Rc<Self>, org: OrgId, what: Gathered) -> Held {
        Held { share: self.share(org), bytes: 0, what }
    }

    fn share(self: &Rc<Self>, org: OrgId) -> Rc<Share> {
        let mut orgs = self.orgs.borrow_mut();
        if let Some(share) = orgs.get(&org).and_then(Weak::upgrade) {
            return share;
        }
        let share = Rc::new(Share { budget: Rc::clone(self), org, held: Cell::default() });
        orgs.insert(org, Rc::downgrade(&share));
        share
    }

    fn tell(&self, org: OrgId, by_org: usize) {
        if let Some(held) = self.full.may() {
            warn!(
                held,
                %org,
                by_org,
                by_all = self.held.get(),
                most = self.most,
                "no room for a body that a rule, a filter or a meter has to see whole: a worker holds as many bytes of them as it may, or half of these for this organization; raise --gathered-bodies-mib, or bound the requests under way of its proxies (max_concurrent_requests_per_node)"
            );
        }
    }
}

impl Share {
    /// Whether there is room for so many bytes more.
    fn has_room(&self, more: usize) -> bool {
        let budget = &self.budget;
        let (Some(by_org), Some(by_all)) =
            (self.held.get().checked_add(more), budget.held.get().checked_add(more))
        else {
            return false;
        };
        let is_few = by_org <= budget.most / FEW_PART;
        let kept = if is_few { 0 } else { budget.most / KEPT_PART };
        by_org <= budget.most / ORG_PART && by_all <= budget.most - kept
    }

    fn change(&self, by: impl Fn(usize) -> usize) {
        self.held.update(&by);
        self.budget.held.update(&by);
        self.budget.counters.gathered(self.budget.held.get());
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.orgs.borrow_mut().remove(&self.org);
    }
}

impl Held {
    /// For another copy of the same body.
    pub(crate) fn another(&self) -> Self {
        Self { share: Rc::clone(&self.share), bytes: 0, what: self.what }
    }

    /// Whether there is room for so many bytes in all.
    pub(crate) fn has_room(&self, bytes: usize) -> bool {
        bytes <= self.bytes || self.share.has_room(bytes - self.bytes)
    }

    /// Refuses what could not be held as it is announced. Holds nothing: what is announced need not come.
    pub(crate) fn check(&self, bytes: usize) -> Result<(), NoRoom> {
        if self.has_room(bytes) { Ok(()) } else { Err(self.refuse()) }
    }

    fn refuse(&self) -> NoRoom {
        let Share { budget, org, held } = &*self.share;
        budget.counters.not_gathered(self.what);
        budget.tell(*org, held.get());
        NoRoom
    }

    /// Holds so many bytes in all, if there is room for them; what it has held it goes on holding.
    pub(crate) fn hold(&mut self, bytes: usize) -> Result<(), NoRoom> {
        self.check(bytes)?;
        let before = std::mem::replace(&mut self.bytes, bytes);
        self.share.change(|held| held - before + bytes);
        Ok(())
    }

    /// Holds no more than so many bytes any longer.
    pub(crate) fn keep(&mut self, bytes: usize) {
        if bytes < self.bytes {
            let before = std::mem::replace(&mut self.bytes, bytes);
            self.share.change(|held| held - before + bytes);
        }
    }

    /// Makes room in a buffer, whose bytes this holds, for `more` of them and, up to `most` in all, for what comes next.
    /// Holds both copies while it moves.
    pub(crate) fn grow(
        &mut self,
        buffer: &mut Buffer,
        more: usize,
        ahead: usize,
        most: usize,
    ) -> Result<(), NoRoom> {
        let needed = buffer.len() + more;
        if needed <= buffer.room() {
            return Ok(());
        }
        // What grows where it is needs no more than a step; what moves gets as much again as it has, at least.
        let step = if buffer.is_long() { needed.saturating_add(SPARE_MAX) } else { buffer.room() * 2 };
        let to = needed.saturating_add(ahead).max(step).min(most).max(needed);
        self.hold(buffer.costs(to))?;
        let made = buffer.make_room(to, most);
        self.keep(buffer.room());
        made.map_err(|_| self.refuse())
    }

    /// Gives back what a buffer has beyond its bytes, once all of them are there.
    pub(crate) fn fit(&mut self, buffer: &mut Buffer) {
        let room = buffer.fit(SPARE_MAX.min(buffer.len()), |both| self.is_held(both));
        self.keep(room);
    }

    /// The same of a copy that is a vector.
    pub(crate) fn fit_copy(&mut self, copy: &mut Vec<u8>) {
        if copy.capacity() - copy.len() > SPARE_MAX && self.is_held(copy.capacity() + copy.len()) {
            copy.shrink_to_fit();
        }
        self.keep(copy.capacity());
    }

    /// Holds so many bytes in all, if there is room, of which nobody is told if there is none.
    fn is_held(&mut self, bytes: usize) -> bool {
        self.has_room(bytes) && self.hold(bytes).is_ok()
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.keep(0);
    }
}

#[cfg(test)]
impl BodyBudget {
    /// How many bytes are held.
    pub(crate) fn held(&self) -> usize {
        self.held.get()
    }
}

#[cfg(test)]
impl Held {
    /// Of a budget of its own, of so many bytes.
    pub(crate) fn of(most: usize) -> Self {
        BodyBudget::new(most, Arc::default()).hold(OrgId::from_random([1; 16]), Gathered::Request)
    }

    /// Of a budget that has room for everything.
    pub(crate) fn ample() -> Self {
        Self::of(usize::MAX)
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
mod tests;
