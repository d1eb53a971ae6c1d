//! Those who wait for one thing after another, in the order in which they came.
//!
//! Knows nothing of connections, and decides nothing. The invariant: what was given to a place is taken by who waits
//! there, or is handed back when that one leaves.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};

/// Places, the first one in front.
pub(super) struct Queue<T>(RefCell<VecDeque<Rc<Place<T>>>>);

/// Where somebody waits.
pub(super) struct Place<T> {
    given: Cell<Option<T>>,
    waker: Cell<Option<Waker>>,
    /// Whether who waits here dials.
    dials: Cell<bool>,
    is_out: Cell<bool>,
    /// Whether who waited here has left with nothing.
    is_left: Cell<bool>,
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self(RefCell::default())
    }
}

impl<T> Queue<T> {
    /// A place at the end.
    pub(super) fn enter(&self) -> Rc<Place<T>> {
        let (given, waker) = (Cell::new(None), Cell::default());
        let [dials, is_out, is_left] = Default::default();
        let place = Rc::new(Place { given, waker, dials, is_out, is_left });
        self.0.borrow_mut().push_back(Rc::clone(&place));
        place
    }

    pub(super) fn len(&self) -> usize {
        self.0.borrow().len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.borrow().is_empty()
    }

    /// Takes the first place out.
    pub(super) fn pop(&self) -> Option<Rc<Place<T>>> {
        let place = self.0.borrow_mut().pop_front()?;
        place.is_out.set(true);
        Some(place)
    }

    /// The first place from which nobody dials.
    pub(super) fn without_dial(&self) -> Option<Rc<Place<T>>> {
        self.0.borrow().iter().find(|place| !place.dials.get()).cloned()
    }

    /// Takes a place out; says whether it was there.
    pub(super) fn remove(&self, place: &Rc<Place<T>>) -> bool {
        // Most have had their turn: they are not looked for among those that wait.
        if place.is_out.replace(true) {
            return false;
        }
        let mut places = self.0.borrow_mut();
        let at = places.iter().position(|other| Rc::ptr_eq(other, place));
        at.is_some_and(|at| places.remove(at).is_some())
    }
}

impl<T> Place<T> {
    /// Gives something, and wakes who waits. Hands back what was there and was not taken.
    #[must_use = "what was not taken belongs to somebody else"]
    pub(super) fn give(&self, thing: T) -> Option<T> {
        let before = self.given.replace(Some(thing));
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
        before
    }

    /// Waits until something is given.
    pub(super) async fn take(&self) -> T {
        poll_fn(|cx| match self.left() {
            Some(thing) => Poll::Ready(thing),
            None => {
                self.waker.set(Some(cx.waker().clone()));
                Poll::Pending
            }
        })
        .await
    }

    /// Who waits here leaves with nothing.
    pub(super) fn leave(&self) {
        self.is_left.set(true);
    }

    pub(super) fn is_left(&self) -> bool {
        self.is_left.get()
    }

    /// What was given and not taken.
    pub(super) fn left(&self) -> Option<T> {
        self.given.take()
    }

    pub(super) fn set_dials(&self, dials: bool) {
        self.dials.set(dials);
    }
}
