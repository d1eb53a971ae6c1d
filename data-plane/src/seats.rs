//! Limits of the connections of callers, and which connection is closed when there are too many.
//!
//! Works for one thread, and shares nothing with another. A connection is *idle* while it has no request in progress and
//! nothing to write that its caller does not take; one that never sent a request is a *stranger*; one whose caller reads
//! nothing of its responses is *deaf*. The invariant: a connection with a request in progress is closed for a new one
//! only if it is deaf.

mod caller_socket;
mod seat;

use std::cell::{Cell, RefCell};
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::counters::{Counters, Cut};

pub(crate) use self::caller_socket::CallerSocket;
pub(crate) use self::seat::{Busy, Seat, SeatPermit, Stream};

/// How many are selected in one pass over all connections, so that a flood does not cost a pass for each.
const CHOSEN: usize = 64;
/// Fewer of the other classes: strangers may have come meanwhile, and go first.
const CHOSEN_OTHERS: usize = 8;
/// A caller that takes nothing for this long counts as one that does not read.
const SLOW: Duration = Duration::from_secs(5);
/// Bytes a second that an idle HTTP/2 connection may send for pings and the like without counting as a request
/// head.
const CHATTER: usize = 64;

/// The limits for the callers of one thread.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// Open connections.
    pub(crate) connections: usize,
    /// A stranger older than this has had time to send a request; a younger one's request may be on its way.
    pub(crate) grace: Duration,
    /// How long an HTTP/1.1 connection may be idle between two requests. Less would cut off callers that keep a pool.
    pub(crate) idle: Duration,
    /// Time for a complete head from its first byte, and for the first request of a connection.
    pub(crate) head: Duration,
    /// Bytes of incomplete heads, of all connections together.
    pub(crate) heads: usize,
    /// How often a caller over HTTP/2 is asked for a sign of life, and how long it may take for one.
    pub(crate) pings: Duration,
    /// How long a caller may take nothing of its response.
    pub(crate) patience: Duration,
    /// How many may stall at once.
    pub(crate) stalled: usize,
    /// HTTP/2 responses beyond which those that nobody asks for are ended at once, those first that wait for longest.
    /// Of those that are asked for there may be any number.
    pub(crate) streams: usize,
}

impl Bounds {
    /// Defaults for this number of connections.
    pub(crate) const fn of(connections: usize) -> Self {
        Self {
            connections,
            grace: Duration::from_secs(1),
            idle: Duration::from_secs(60),
            head: Duration::from_secs(15),
            heads: 8 * 1024 * 1024,
            pings: Duration::from_secs(20),
            patience: Duration::from_secs(30),
            stalled: 512,
            streams: 4096,
        }
    }
}

/// The connections of one thread.
#[derive(Clone)]
pub(crate) struct Seats(Rc<Table>);

struct Table {
    bounds: Bounds,
    counters: Arc<Counters>,
    seats: RefCell<BTreeMap<u64, Rc<Seat>>>,
    next: Cell<u64>,
    /// How many of them are closing.
    leaving: Cell<usize>,
    /// Counts how often a connection became idle.
    rests: Cell<u64>,
    /// Bytes of incomplete heads.
    heads: Cell<usize>,
    /// Open HTTP/2 responses.
    streams: Cell<usize>,
    /// With how many of them it is looked for those that nobody asks for.
    look_at: Cell<usize>,
    /// Connections to close next, the last one first.
    chosen: RefCell<Vec<Choice>>,
}

/// The class of a connection, when it became idle, and its id.
type Choice = (Class, u64, u64);

/// In the order in which they are closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Class {
    /// A stranger that has had time to send a request.
    Stranger,
    /// Has sent a request before, and is idle.
    Idle,
    /// A stranger that has just come.
    Fresh,
    /// Does not read its response: otherwise a caller without a key could occupy all seats.
    Deaf,
}

/// All seats are taken, and no connection can be closed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Full;

impl Seats {
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
            look_at: Cell::new(bounds.streams),
            chosen: RefCell::default(),
        }))
    }

    pub(crate) fn bounds(&self) -> &Bounds {
        &self.0.bounds
    }

    /// Whether a new connection gets a seat without another one being closed.
    pub(crate) fn has_room(&self) -> bool {
        self.0.seats.borrow().len() - self.0.leaving.get() < self.0.bounds.connections
    }

    /// A seat for a new connection. Where all are taken, the connection that is idle for longest is closed.
    pub(crate) fn take(&self) -> Result<SeatPermit, Full> {
        if !self.has_room() && !self.shed() {
            self.0.counters.cut(Cut::Full);
            return Err(Full);
        }
        let table = &self.0;
        let id = table.next.get();
        table.next.set(id + 1);
        let seat = Rc::new(Seat::new(table, id));
        table.seats.borrow_mut().insert(id, Rc::clone(&seat));
        Ok(SeatPermit(seat))
    }

    /// Closes the connection that is idle for longest. Returns whether there is one.
    pub(crate) fn shed(&self) -> bool {
        let table = &self.0;
        loop {
            let choice = table.chosen.borrow_mut().pop();
            let Some((class, rested, id)) = choice else {
                if !self.choose() {
                    return false;
                }
                continue;
            };
            let seat = table.seats.borrow().get(&id).cloned();
            let Some(seat) = seat else { continue };
            let (is_still, why) = match class {
                Class::Deaf => (seat.is_deaf(Instant::now()), Cut::Stalled),
                _ => (seat.is_idle() && seat.rested.get() == rested, Cut::Shed),
            };
            if is_still {
                seat.leave(why);
                return true;
            }
        }
    }

    /// Selects the connections to close next, of one class, longest idle first. Returns whether there is any.
    fn choose(&self) -> bool {
        let table = &self.0;
        let now = Instant::now();
        let class = |seat: &Seat| match (seat.is_idle(), seat.has_asked.get()) {
            (true, false) if now - seat.opened >= table.bounds.grace => Some(Class::Stranger),
            (true, true) => Some(Class::Idle),
            (true, false) => Some(Class::Fresh),
            (false, _) => seat.is_deaf(now).then_some(Class::Deaf),
        };
        let seats = table.seats.borrow();
        let choice = |seat: &Rc<Seat>| Some((class(seat)?, seat.rested.get(), seat.id));
        let mut choices: Vec<Choice> = seats.values().filter_map(choice).collect();
        let Some(first) = choices.iter().map(|(class, ..)| *class).min() else { return false };
        choices.retain(|(class, ..)| *class == first);
        let most = if first == Class::Stranger { CHOSEN } else { CHOSEN_OTHERS };
        if choices.len() > most {
            choices.select_nth_unstable(most);
            choices.truncate(most);
        }
        choices.sort_unstable_by(|one, other| other.cmp(one));
        table.chosen.borrow_mut().extend(choices);
        true
    }

    /// Ends what takes too long: idle connections, incomplete heads, responses that are not read.
    pub(crate) fn sweep(&self) {
        let Table { bounds, seats, .. } = &*self.0;
        let now = Instant::now();
        let seats: Vec<Rc<Seat>> =
            seats.borrow().values().filter(|seat| !seat.leaves.get()).cloned().collect();
        // How many of one connection are slow, since when one is, and which.
        let mut slow: Vec<(usize, Instant, Slow)> = Vec::new();
        for seat in &seats {
            if seat.is_late(now, bounds.head) {
                seat.leave(Cut::Late);
                continue;
            }
            if seat.is_unused(now, bounds.idle) {
                seat.expire();
                continue;
            }
            let is_slow = |since: &Instant| now - *since >= SLOW.min(bounds.patience);
            let before = slow.len();
            if let Some(since) = seat.stuck_since.get().filter(is_slow) {
                slow.push((0, since, Slow::Connection(Rc::clone(seat))));
            }
            if seat.is_http2.get() {
                seat.forget(CHATTER);
                seat.streams.borrow_mut().retain(|stream| stream.strong_count() > 0);
            }
            for stream in seat.streams.borrow().iter().filter_map(Weak::upgrade) {
                if let Some(since) = stream.unasked().filter(is_slow) {
                    slow.push((0, since, Slow::Stream(stream)));
                }
            }
            let of_one = slow.len() - before;
            slow[before..].iter_mut().for_each(|(of, ..)| *of = of_one);
        }
        // Each holds a part of its response: without a limit, callers could fill the memory this way. Those of connections
        // with many go first, or else a few connections would take their time from all who read slowly.
        let over = slow.len().saturating_sub(bounds.stalled);
        slow.sort_unstable_by_key(|(of_one, since, _)| (Reverse(*of_one), *since));
        for (at, (_, since, slow)) in slow.into_iter().enumerate() {
            if at < over || now - since >= bounds.patience {
                slow.end(&self.0.counters);
            }
        }
        // Answers may have begun since it was last looked.
        self.0.look_at.set(bounds.streams);
        self.0.streams_are(self.0.streams.get());
    }
}

impl Table {
    fn rest(&self) -> u64 {
        let rests = self.rests.get();
        self.rests.set(rests + 1);
        rests
    }

    /// So many HTTP/2 responses are open. Ends what is too much of those that nobody asks for, those first that wait for
    /// longest: one that was written a moment ago waits for its caller to take it. Many at once, and the next time only
    /// with some more, so that a flood does not cost a pass over all of them for each.
    fn streams_are(&self, open: usize) {
        if open <= self.look_at.get() {
            return;
        }
        let mut unasked = Vec::new();
        for seat in self.seats.borrow().values().filter(|seat| seat.is_http2.get()) {
            let streams = seat.streams.borrow();
            let since = |stream: Rc<Stream>| Some((stream.unasked()?, stream));
            unasked.extend(streams.iter().filter_map(Weak::upgrade).filter_map(since));
        }
        let some = (self.bounds.streams / 8).max(1);
        self.look_at.set(open + some);
        unasked.sort_unstable_by_key(|(since, _)| *since);
        unasked.truncate(unasked.len().saturating_sub(self.bounds.streams - some));
        for (_, stream) in unasked {
            Slow::Stream(stream).end(&self.counters);
        }
    }

    /// Closes the connection with the largest incomplete head.
    fn shed_head(&self) {
        let seats = self.seats.borrow();
        // One that leaves has none.
        if let Some(seat) = seats.values().max_by_key(|seat| seat.head.get()) {
            seat.leave(Cut::Heads);
        }
    }
}

/// A connection or response that its caller does not read.
enum Slow {
    Connection(Rc<Seat>),
    Stream(Rc<Stream>),
}

impl Slow {
    fn end(self, counters: &Counters) {
        match self {
            Self::Connection(seat) => seat.leave(Cut::Stalled),
            Self::Stream(stream) => {
                // It lives until its task has ended, and must not be ended twice.
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

#[cfg(test)]
mod tests;
