//! Who has a connection, and who gives it up when there are too many.
//!
//! Counts and judges for one thread, and shares nothing with another. A connection is *idle* while it has no
//! request under way and nothing to write that its caller does not take; one that never asked for anything is a
//! *stranger*. The invariant: nobody gives way to a newcomer who has a request under way.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use rr_contract::runtime::patience::Asked;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::Counters;
use super::counters::Cut;

/// So many are chosen at one look through all, so that a flood does not cost a look for each.
const CHOSEN: usize = 64;
/// Of those that asked before, fewer: strangers may have come meanwhile, and go first.
const CHOSEN_KNOWN: usize = 8;
/// Who takes nothing for so long is counted as one that does not read.
const SLOW: Duration = Duration::from_secs(5);
/// What an idle HTTP/2 connection may send a second and not be held to be sending a head: pings and the like.
const CHATTER: usize = 64;

/// What bounds the callers of one thread.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// Open connections.
    pub(crate) connections: usize,
    /// A stranger of this age has had its time to ask; a younger one's request may be on its way.
    pub(crate) grace: Duration,
    /// For a whole head from its first byte, and for the first request of a connection.
    pub(crate) head: Duration,
    /// Bytes of heads that are not whole yet, of all connections together.
    pub(crate) heads: usize,
    /// How long a caller may take nothing of its answer.
    pub(crate) patience: Duration,
    /// How many may do so at once.
    pub(crate) stalled: usize,
    /// Answers over HTTP/2 that may be open before those that are not asked for are ended at once.
    pub(crate) streams: usize,
    /// How long an upstream may send nothing in the middle of a body.
    pub(crate) silence: Duration,
}

impl Bounds {
    /// So many connections, and what else is sane.
    pub(crate) const fn of(connections: usize) -> Self {
        Self {
            connections,
            grace: Duration::from_secs(1),
            head: Duration::from_secs(15),
            heads: 8 * 1024 * 1024,
            patience: Duration::from_secs(30),
            stalled: 512,
            streams: 4096,
            silence: Duration::from_secs(300),
        }
    }
}

/// The connections of one thread.
#[derive(Clone)]
pub(crate) struct Places(Rc<Table>);

struct Table {
    bounds: Bounds,
    counters: Arc<Counters>,
    seats: RefCell<BTreeMap<u64, Rc<Seat>>>,
    next: Cell<u64>,
    /// How many of them were told to leave and have not left.
    leaving: Cell<usize>,
    /// Counts the times that a connection came to rest.
    rests: Cell<u64>,
    /// Bytes of unfinished heads.
    heads: Cell<usize>,
    /// Open answers over HTTP/2.
    streams: Cell<usize>,
    /// Who leaves next, the last one first, by what it was chosen for.
    chosen: RefCell<Vec<Choice>>,
}

/// When a connection came to rest, and which it is.
type Choice = (u64, u64);

/// One connection.
pub(crate) struct Seat {
    table: Rc<Table>,
    id: u64,
    opened: Instant,
    is_http2: Cell<bool>,
    /// Requests under way.
    busy: Cell<u32>,
    has_asked: Cell<bool>,
    /// When it came to rest.
    rested: Cell<u64>,
    /// Bytes that came while no request was under way.
    head: Cell<usize>,
    head_since: Cell<Option<Instant>>,
    /// Since when its caller takes nothing of what is written.
    stuck_since: Cell<Option<Instant>>,
    streams: RefCell<Vec<Weak<Stream>>>,
    task: RefCell<Option<AbortHandle>>,
    leaves: Cell<bool>,
}

/// One answer on an HTTP/2 connection.
pub(super) struct Stream {
    table: Rc<Table>,
    asked: RefCell<Option<Arc<Asked>>>,
    task: RefCell<Option<AbortHandle>>,
}

/// A connection's hold on its place; gives it back when dropped.
pub(crate) struct Place(Rc<Seat>);

/// Says that a request is under way, for as long as there is one.
pub(crate) struct Busy(Rc<Seat>);

/// There is no place, and nobody who could give one up.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Full;

impl Places {
    pub(crate) fn new(bounds: Bounds, counters: Arc<Counters>) -> Self {
        Self(Rc::new(Table {
            bounds,
            counters,
            seats: RefCell::default(),
            next: Cell::default(),
            leaving: Cell::default(),
            rests: Cell::default(),
            heads: Cell::default(),
            streams: Cell::default(),
            chosen: RefCell::default(),
        }))
    }

    pub(crate) fn bounds(&self) -> &Bounds {
        &self.0.bounds
    }

    /// Whether the next one has a place without another one leaving.
    pub(crate) fn has_room(&self) -> bool {
        self.0.seats.borrow().len() - self.0.leaving.get() < self.0.bounds.connections
    }

    /// A place for a newcomer. Where all are taken, whoever is idle for longest is told to leave.
    pub(crate) fn take(&self) -> Result<Place, Full> {
        if !self.has_room() && !self.shed() {
            self.0.counters.cut(Cut::Full);
            return Err(Full);
        }
        let table = &self.0;
        let id = table.next.get();
        table.next.set(id + 1);
        let seat = Rc::new(Seat {
            table: Rc::clone(table),
            id,
            opened: Instant::now(),
            is_http2: Cell::new(false),
            busy: Cell::new(0),
            has_asked: Cell::new(false),
            rested: Cell::new(table.rest()),
            head: Cell::new(0),
            head_since: Cell::new(None),
            stuck_since: Cell::new(None),
            streams: RefCell::default(),
            task: RefCell::default(),
            leaves: Cell::new(false),
        });
        table.seats.borrow_mut().insert(id, Rc::clone(&seat));
        Ok(Place(seat))
    }

    /// Tells the connection to leave that is idle for longest. Returns whether there is one.
    pub(crate) fn shed(&self) -> bool {
        let table = &self.0;
        loop {
            let choice = table.chosen.borrow_mut().pop();
            let Some((rested, id)) = choice else {
                if !self.choose() {
                    return false;
                }
                continue;
            };
            let seat = table.seats.borrow().get(&id).cloned();
            if let Some(seat) = seat.filter(|seat| seat.is_idle() && seat.rested.get() == rested) {
                seat.leave(Cut::Shed);
                return true;
            }
        }
    }

    /// Chooses who leaves next: strangers that had their time to ask, then whoever asked before, then strangers
    /// that have just come; always who is idle for longest. Returns whether there is anybody.
    fn choose(&self) -> bool {
        let table = &self.0;
        let now = Instant::now();
        let class = |seat: &Seat| match seat.has_asked.get() {
            false if now - seat.opened >= table.bounds.grace => 0_u8,
            true => 1,
            false => 2,
        };
        let seats = table.seats.borrow();
        let idle = seats.values().filter(|seat| seat.is_idle());
        let mut idle: Vec<(u8, Choice)> =
            idle.map(|seat| (class(seat), (seat.rested.get(), seat.id))).collect();
        let Some(first) = idle.iter().map(|(class, _)| *class).min() else { return false };
        idle.retain(|(class, _)| *class == first);
        let most = if first == 1 { CHOSEN_KNOWN } else { CHOSEN };
        if idle.len() > most {
            idle.select_nth_unstable(most);
            idle.truncate(most);
        }
        idle.sort_unstable_by(|one, other| other.cmp(one));
        table.chosen.borrow_mut().extend(idle.into_iter().map(|(_, choice)| choice));
        true
    }

    /// Ends what takes too long: heads that do not come whole, answers that are not read.
    pub(crate) fn sweep(&self) {
        let Table { bounds, seats, .. } = &*self.0;
        let now = Instant::now();
        let seats: Vec<Rc<Seat>> =
            seats.borrow().values().filter(|seat| !seat.leaves.get()).cloned().collect();
        let mut slow: Vec<(Instant, Slow)> = Vec::new();
        for seat in &seats {
            if seat.is_late(now, bounds.head) {
                seat.leave(Cut::Late);
                continue;
            }
            let is_slow = |since: &Instant| now - *since >= SLOW.min(bounds.patience);
            if let Some(since) = seat.stuck_since.get().filter(is_slow) {
                slow.push((since, Slow::Connection(Rc::clone(seat))));
            }
            if !seat.is_http2.get() {
                continue;
            }
            seat.forget(CHATTER);
            seat.streams.borrow_mut().retain(|stream| stream.strong_count() > 0);
            for stream in seat.streams.borrow().iter().filter_map(Weak::upgrade) {
                if let Some(since) = stream.unasked().filter(is_slow) {
                    slow.push((since, Slow::Stream(stream)));
                }
            }
        }
        // Each holds what its answer has come to: more than so many at once would be a caller's way to fill memory.
        let over = slow.len().saturating_sub(bounds.stalled);
        slow.sort_unstable_by_key(|(since, _)| *since);
        for (at, (since, slow)) in slow.into_iter().enumerate() {
            if at < over || now - since >= bounds.patience {
                slow.end(&self.0.counters);
            }
        }
    }
}

impl Table {
    fn rest(&self) -> u64 {
        let rests = self.rests.get();
        self.rests.set(rests + 1);
        rests
    }

    /// Ends answers that nobody asks for more of, those first that wait for longest. Many at once, so that a flood
    /// does not cost a look for each.
    fn shed_streams(&self) {
        let mut unasked = Vec::new();
        for seat in self.seats.borrow().values().filter(|seat| seat.is_http2.get()) {
            let streams = seat.streams.borrow();
            let since = |stream: Rc<Stream>| Some((stream.unasked()?, stream));
            unasked.extend(streams.iter().filter_map(Weak::upgrade).filter_map(since));
        }
        unasked.sort_unstable_by_key(|(since, _)| *since);
        unasked.truncate((self.bounds.streams / 8).max(1));
        for (_, stream) in unasked {
            Slow::Stream(stream).end(&self.counters);
        }
    }

    /// Ends the connection with the most of an unfinished head.
    fn shed_head(&self) {
        let seats = self.seats.borrow();
        let holds = seats.values().filter(|seat| !seat.leaves.get());
        if let Some(seat) = holds.max_by_key(|seat| seat.head.get()) {
            seat.leave(Cut::Heads);
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.table.streams.set(self.table.streams.get() - 1);
    }
}

/// Something whose caller does not read.
enum Slow {
    Connection(Rc<Seat>),
    Stream(Rc<Stream>),
}

impl Slow {
    fn end(self, counters: &Counters) {
        match self {
            Self::Connection(seat) => seat.leave(Cut::Stalled),
            Self::Stream(stream) => {
                // It lasts until its task has seen that it is over, and must not be ended twice.
                if stream.asked.take().is_none() {
                    return;
                }
                counters.cut(Cut::Stalled);
                if let Some(task) = stream.task.take() {
                    task.abort();
                }
            }
        }
    }
}

impl Seat {
    fn is_idle(&self) -> bool {
        self.busy.get() == 0 && self.stuck_since.get().is_none() && !self.leaves.get()
    }

    fn is_late(&self, now: Instant, limit: Duration) -> bool {
        let since = match (self.busy.get(), self.has_asked.get()) {
            (0, false) => Some(self.opened),
            // The head of an HTTP/2 stream is waited for by the connection's pings, which cannot be answered
            // in the middle of one.
            (0, true) if !self.is_http2.get() => self.head_since.get(),
            _ => None,
        };
        since.is_some_and(|since| now - since >= limit)
    }

    /// Notes what was read. Outside of a request that is a head, or a piece of one.
    pub(super) fn read(&self, bytes: usize) {
        if bytes == 0 || self.busy.get() > 0 {
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

    pub(super) fn is_busy(&self) -> bool {
        self.busy.get() > 0
    }

    /// Notes whether the caller takes what is written.
    pub(super) fn waits(&self, waits: bool) {
        if !waits {
            self.stuck_since.set(None);
        } else if self.stuck_since.get().is_none() {
            self.stuck_since.set(Some(Instant::now()));
        }
    }

    /// Notes that the connection ended because its caller took nothing of what was written.
    pub(super) fn gave_up(&self) {
        if !self.leaves.get() {
            self.table.counters.cut(Cut::Stalled);
        }
    }

    pub(super) fn speaks_http2(&self) {
        self.is_http2.set(true);
    }

    /// Which task ends with it.
    pub(crate) fn runs_as(&self, task: AbortHandle) {
        self.task.replace(Some(task));
    }

    /// Says that a request is under way.
    pub(crate) fn begin(self: &Rc<Self>) -> Busy {
        self.has_asked.set(true);
        self.forget(usize::MAX);
        self.head_since.set(None);
        self.busy.set(self.busy.get() + 1);
        Busy(Rc::clone(self))
    }

    /// An answer that has the connection's task start another one.
    pub(super) fn stream(&self) -> Rc<Stream> {
        let open = self.table.streams.get() + 1;
        self.table.streams.set(open);
        if open > self.table.bounds.streams {
            self.table.shed_streams();
        }
        let table = Rc::clone(&self.table);
        let stream = Rc::new(Stream { table, asked: RefCell::default(), task: RefCell::default() });
        let mut streams = self.streams.borrow_mut();
        if streams.len() == streams.capacity() {
            streams.retain(|stream| stream.strong_count() > 0);
        }
        streams.push(Rc::downgrade(&stream));
        stream
    }

    /// Counts less of a head, as far as there is any.
    fn forget(&self, bytes: usize) {
        let less = bytes.min(self.head.get());
        self.head.set(self.head.get() - less);
        self.table.heads.set(self.table.heads.get() - less);
    }

    fn leave(&self, why: Cut) {
        if self.leaves.replace(true) {
            return;
        }
        // What it holds is as good as free: whoever comes next must not have another one leave for it.
        self.forget(usize::MAX);
        self.table.leaving.set(self.table.leaving.get() + 1);
        self.table.counters.cut(why);
        if let Some(task) = &*self.task.borrow() {
            task.abort();
        }
    }
}

impl Stream {
    /// Since when nobody asks for more of the answer.
    fn unasked(&self) -> Option<Instant> {
        self.asked.borrow().as_ref()?.since()
    }

    pub(super) fn answers(&self, asked: Arc<Asked>) {
        self.asked.replace(Some(asked));
    }

    pub(super) fn runs_as(&self, task: AbortHandle) {
        self.task.replace(Some(task));
    }
}

impl Place {
    pub(crate) fn seat(&self) -> &Rc<Seat> {
        &self.0
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let seat = &self.0;
        seat.forget(usize::MAX);
        if seat.leaves.get() {
            seat.table.leaving.set(seat.table.leaving.get() - 1);
        } else {
            // What is still read meanwhile counts for nothing.
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

#[cfg(test)]
mod tests;
