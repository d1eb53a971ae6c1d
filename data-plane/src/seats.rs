//! Who has a connection, and who gives it up when there are too many.
//!
//! Counts and judges for one thread, and shares nothing with another. A connection is *idle* while it has no
//! request under way and nothing to write that its caller does not take; one that never asked for anything is a
//! *stranger*; one whose caller reads nothing of the answers that it waits for is *deaf*. The invariant: nobody else
//! gives way to a newcomer who has a request under way.

mod caller_socket;
mod seat;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::counters::{Counters, Cut};

pub(crate) use self::caller_socket::CallerSocket;
pub(crate) use self::seat::{Busy, Seat, SeatPermit, Stream};

/// So many are chosen at one look through all, so that a flood does not cost a look for each.
const CHOSEN: usize = 64;
/// Of others fewer: strangers may have come meanwhile, and go first.
const CHOSEN_OTHERS: usize = 8;
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
pub(crate) struct Seats(Rc<Table>);

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

/// Why somebody may have to leave, when he came to rest, and which he is.
type Choice = (Class, u64, u64);

/// Who leaves before whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Class {
    /// A stranger that has had its time to ask.
    Stranger,
    /// Has asked before, and is idle.
    Idle,
    /// A stranger that has just come.
    Fresh,
    /// Has an answer that he does not read: or whoever wants all seats would need no key for that.
    Deaf,
}

/// There is no seat, and nobody who could give one up.
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
            chosen: RefCell::default(),
        }))
    }

    pub(crate) fn bounds(&self) -> &Bounds {
        &self.0.bounds
    }

    /// Whether the next one has a seat without another one leaving.
    pub(crate) fn has_room(&self) -> bool {
        self.0.seats.borrow().len() - self.0.leaving.get() < self.0.bounds.connections
    }

    /// A seat for a newcomer. Where all are taken, whoever is idle for longest is told to leave.
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

    /// Tells the connection to leave that is idle for longest. Returns whether there is one.
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

    /// Chooses who leaves next, of one class: always who is idle for longest. Returns whether there is anybody.
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

#[cfg(test)]
mod tests;
