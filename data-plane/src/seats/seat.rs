//! The state of one caller connection: requests in progress, buffered bytes, unread responses.
//!
//! Knows of no other connection; `seats` decides which one is closed.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use rr_contract::runtime::patience::Asked;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use crate::counters::Cut;

use super::{Bounds, SLOW, Table};

/// One connection.
pub(crate) struct Seat {
    pub(super) table: Rc<Table>,
    pub(super) id: u64,
    pub(super) opened: Instant,
    pub(super) is_http2: Cell<bool>,
    /// Requests under way.
    pub(super) busy: Cell<u32>,
    pub(super) has_asked: Cell<bool>,
    /// When it became idle.
    pub(super) rested: Cell<u64>,
    /// The rest that a sweep last found it in, and when it first did.
    pub(super) found: Cell<Option<(u64, Instant)>>,
    /// Bytes received while no request was in progress.
    pub(super) head: Cell<usize>,
    pub(super) head_since: Cell<Option<Instant>>,
    /// Since when its caller takes nothing of the written bytes.
    pub(super) stuck_since: Cell<Option<Instant>>,
    pub(super) streams: RefCell<Vec<Weak<Stream>>>,
    pub(super) task: RefCell<Option<AbortHandle>>,
    pub(super) leaves: Cell<bool>,
}

/// One response on an HTTP/2 connection.
pub(crate) struct Stream {
    pub(super) table: Rc<Table>,
    pub(super) asked: RefCell<Option<Arc<Asked>>>,
    pub(super) task: RefCell<Option<AbortHandle>>,
}

/// A connection's right to its seat; gives the seat back when dropped.
pub(crate) struct SeatPermit(pub(super) Rc<Seat>);

/// Marks a request as in progress until it is dropped.
pub(crate) struct Busy(Rc<Seat>);

impl Seat {
    pub(super) fn new(table: &Rc<Table>, id: u64) -> Self {
        Self {
            table: Rc::clone(table),
            id,
            opened: Instant::now(),
            is_http2: Cell::new(false),
            busy: Cell::new(0),
            has_asked: Cell::new(false),
            rested: Cell::new(table.rest()),
            found: Cell::new(None),
            head: Cell::new(0),
            head_since: Cell::new(None),
            stuck_since: Cell::new(None),
            streams: RefCell::default(),
            task: RefCell::default(),
            leaves: Cell::new(false),
        }
    }

    pub(super) fn is_idle(&self) -> bool {
        self.busy.get() == 0 && self.stuck_since.get().is_none() && !self.leaves.get()
    }

    /// Whether its caller has taken nothing of any of its responses for a while.
    pub(super) fn is_deaf(&self, now: Instant) -> bool {
        if self.leaves.get() {
            return false;
        }
        let limit = SLOW.min(self.table.bounds.patience);
        let is_long = |since: Instant| now - since >= limit;
        if self.stuck_since.get().is_some_and(is_long) {
            return true;
        }
        // Of several responses, one that is read or has not begun is enough.
        let streams = self.streams.borrow();
        let mut open = streams.iter().filter_map(Weak::upgrade).peekable();
        open.peek().is_some() && open.all(|stream| stream.unasked().is_some_and(is_long))
    }

    pub(super) fn is_late(&self, now: Instant, limit: Duration) -> bool {
        let since = match (self.busy.get(), self.has_asked.get()) {
            (0, false) => Some(self.opened),
            // On HTTP/2 the connection's pings bound the wait for a head: they cannot be answered in the middle of
            // one.
            (0, true) if !self.is_http2.get() => self.head_since.get(),
            _ => None,
        };
        since.is_some_and(|since| now - since >= limit)
    }

    /// Whether it has been idle for so long since a request. Sweeps find out when that began, so that no request reads a
    /// clock for it.
    pub(super) fn is_unused(&self, now: Instant, limit: Duration) -> bool {
        // The pings of HTTP/2 are for that. A head that has begun has a limit of its own.
        if self.is_http2.get() || !self.has_asked.get() || !self.is_idle() || self.head.get() > 0 {
            return false;
        }
        match self.found.get() {
            Some((rested, since)) if rested == self.rested.get() => now - since >= limit,
            _ => {
                self.found.set(Some((self.rested.get(), now)));
                false
            }
        }
    }

    pub(crate) fn bounds(&self) -> &Bounds {
        &self.table.bounds
    }

    /// Notes bytes that were read. Outside of a request they are a head, or a part of one; of a connection that leaves
    /// they are nothing any more.
    pub(crate) fn read(&self, bytes: usize) {
        if bytes == 0 || self.busy.get() > 0 || self.leaves.get() {
            return;
        }
        self.head.set(self.head.get() + bytes);
        if self.head_since.get().is_none() {
            self.head_since.set(Some(Instant::now()));
        }
        let heads = self.table.heads.get() + bytes;
        self.table.heads.set(heads);
        if heads > self.table.bounds.heads {
            self.table.shed_head();
        }
    }

    /// Notes that all that was read so far came before the first head: a handshake, or the word of a proxy in front.
    pub(crate) fn has_arrived(&self) {
        self.forget(usize::MAX);
        self.head_since.set(None);
    }

    pub(crate) fn is_busy(&self) -> bool {
        self.busy.get() > 0
    }

    /// Notes whether the caller takes the written bytes.
    pub(crate) fn waits(&self, waits: bool) {
        if !waits {
            self.stuck_since.set(None);
        } else if self.stuck_since.get().is_none() {
            self.stuck_since.set(Some(Instant::now()));
        }
    }

    /// Notes that the connection ended because its caller took nothing of the written bytes.
    pub(crate) fn gave_up(&self) {
        if !self.leaves.get() {
            self.table.counters.cut(Cut::Stalled);
        }
    }

    pub(crate) fn speaks_http2(&self) {
        self.is_http2.set(true);
    }

    /// Sets the task that is aborted with it.
    pub(crate) fn runs_as(&self, task: AbortHandle) {
        self.task.replace(Some(task));
    }

    /// Marks a request as in progress.
    pub(crate) fn begin(self: &Rc<Self>) -> Busy {
        self.has_asked.set(true);
        self.forget(usize::MAX);
        self.head_since.set(None);
        self.busy.set(self.busy.get() + 1);
        Busy(Rc::clone(self))
    }

    /// Registers a response, which the connection's task runs as a task of its own.
    pub(crate) fn stream(&self) -> Rc<Stream> {
        let open = self.table.streams.get() + 1;
        self.table.streams.set(open);
        self.table.streams_are(open);
        let table = Rc::clone(&self.table);
        let stream = Rc::new(Stream { table, asked: RefCell::default(), task: RefCell::default() });
        let mut streams = self.streams.borrow_mut();
        if streams.len() == streams.capacity() {
            streams.retain(|stream| stream.strong_count() > 0);
        }
        streams.push(Rc::downgrade(&stream));
        stream
    }

    /// Reduces the count of head bytes.
    pub(super) fn forget(&self, bytes: usize) {
        let less = bytes.min(self.head.get());
        self.head.set(self.head.get() - less);
        self.table.heads.set(self.table.heads.get() - less);
    }

    pub(super) fn leave(&self, why: Cut) {
        if !self.leaves.get() {
            self.table.counters.cut(why);
        }
        self.expire();
    }

    /// Ends the connection in the ordinary course.
    pub(super) fn expire(&self) {
        if self.leaves.replace(true) {
            return;
        }
        // Its seat counts as free: the next connection must not close another one for it.
        self.forget(usize::MAX);
        self.table.leaving.set(self.table.leaving.get() + 1);
        if let Some(task) = &*self.task.borrow() {
            task.abort();
        }
    }
}

impl Stream {
    /// Since when nobody has asked for more of the response.
    pub(super) fn unasked(&self) -> Option<Instant> {
        self.asked.borrow().as_ref()?.since()
    }

    pub(crate) fn answers(&self, asked: Arc<Asked>) {
        self.asked.replace(Some(asked));
    }

    pub(crate) fn runs_as(&self, task: AbortHandle) {
        self.task.replace(Some(task));
    }
}

impl SeatPermit {
    pub(crate) fn seat(&self) -> &Rc<Seat> {
        &self.0
    }
}

impl Drop for SeatPermit {
    fn drop(&mut self) {
        let seat = &self.0;
        seat.forget(usize::MAX);
        if seat.leaves.get() {
            seat.table.leaving.set(seat.table.leaving.get() - 1);
        } else {
            seat.leaves.set(true);
        }
        seat.table.seats.borrow_mut().remove(&seat.id);
    }
}

impl Clone for Busy {
    fn clone(&self) -> Self {
        self.0.busy.set(self.0.busy.get() + 1);
        Self(Rc::clone(&self.0))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let busy = self.0.busy.get() - 1;
        self.0.busy.set(busy);
        if busy == 0 {
            self.0.rested.set(self.0.table.rest());
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.table.streams.set(self.table.streams.get() - 1);
    }
}
