//! Connections of one organization to one origin, with one certificate of ours or none, on one worker.
//!
//! Idle HTTP/1.1 connections lie on a stack, so that a burst leaves the oldest to age out; HTTP/2
//! connections are in `streams`. Who finds none waits in a queue, and is given what comes first: a connection that is
//! given back, a stream, or the right to dial. Opens nothing itself. The invariants: a connection is used again only
//! when its last response was read to its end, could be read in one way alone, and nothing has come behind it; a
//! connection that was dialed for somebody who left is another's; nobody waits for a dial that has failed; and of dials
//! that nobody waits for, one goes on at the most.

mod connection;
mod dialing;
mod waiting;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use hyper::rt::Executor as _;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::executor::LocalExec;
use crate::snapshot::OwnCertificate;

use super::IDLE_MAX;
use super::queue::Queue;
use super::room::Kept;
use super::streams::{Channel, Streams};

use self::dialing::Dialing;

pub(crate) use self::connection::Lease;
pub(super) use self::connection::{Connection, Http1, StreamPermit};
pub(super) use self::waiting::{News, Slot, Spoken, Waiter};

/// What one worker keeps to one origin, for one organization.
const IDLE_COUNT: usize = 256;
/// What one worker keeps in all before each origin is left with [`IDLE_FEW`]: an organization with many
/// origins must not use up the node's descriptors, nor leave the others without a connection to use again.
const IDLE_PLENTY: usize = 2048;
const IDLE_FEW: usize = 4;
const IDLE_ALL: usize = 4096;

/// Requests that may wait for a stream of connections that are up; one more is refused at once.
const WAITING_MAX: usize = 1024;

/// What is open to one origin, and who waits for it.
pub(crate) struct Origin {
    idle: RefCell<Vec<Idle>>,
    streams: Streams,
    kept: Rc<Kept>,
    spoken: Cell<Spoken>,
    queue: Queue<News>,
    dialing: Dialing,
    /// Tells those who dial that one less waits.
    fewer: Notify,
    /// The stream whose body the library has just begun to ask for.
    begun: RefCell<Option<Rc<StreamPermit>>>,
    /// Goes with each connection.
    shown: Option<Arc<OwnCertificate>>,
}

struct Idle {
    connection: Http1,
    since: Instant,
}

impl Origin {
    pub(super) fn new(kept: Rc<Kept>, spoken: Spoken, shown: Option<Arc<OwnCertificate>>) -> Self {
        Self {
            idle: RefCell::default(),
            streams: Streams::default(),
            kept,
            spoken: Cell::new(spoken),
            queue: Queue::default(),
            dialing: Dialing::new(),
            fewer: Notify::new(),
            begun: RefCell::default(),
            shown,
        }
    }

    /// The certificate that is shown on its connections.
    pub(super) fn shown(&self) -> Option<&Arc<OwnCertificate>> {
        self.shown.as_ref()
    }

    /// The stream whose body a task goes on to send, which the library starts at this moment: it asks a body for its
    /// beginning, and the next that it does is to start a task for the rest, if there is one.
    pub(super) fn begun(&self) -> Option<Rc<StreamPermit>> {
        self.begun.take()
    }

    /// A connection that is open and free. A new request does not pass those that wait.
    pub(super) fn checkout(self: &Rc<Self>) -> Option<Connection> {
        if self.queue.is_empty() { self.free() } else { None }
    }

    /// Waits for a connection; `None` where too many do.
    pub(super) fn wait(self: &Rc<Self>) -> Option<Waiter> {
        if self.queue.len() >= WAITING_MAX && self.is_up() {
            return None;
        }
        let waiter = Waiter { origin: Rc::clone(self), place: self.queue.enter() };
        self.serve();
        Some(waiter)
    }

    /// Whether HTTP/2 is up: then it is streams that are short.
    pub(super) fn is_up(&self) -> bool {
        self.streams.is_up()
    }

    /// Whether a dial has its turn.
    pub(super) fn is_connecting(&self) -> bool {
        self.dialing.is_connecting()
    }

    /// TLS agreed on HTTP/1.1.
    pub(super) fn speaks_http1(&self) {
        self.spoken.set(Spoken::Http1);
    }

    /// A connection of HTTP/2 was opened. It is shared, if there are not enough; otherwise it serves its own request.
    pub(super) fn adopt(self: &Rc<Self>, channel: &Rc<Channel>) -> Connection {
        self.spoken.set(Spoken::Http2);
        self.streams.adopt(channel);
        Connection::Http2(StreamPermit::take(channel, self))
    }

    /// Gives those who wait what there is, and the right to dial where that is not enough.
    pub(super) fn serve(self: &Rc<Self>) {
        while !self.queue.is_empty()
            && let Some(connection) = self.free()
        {
            self.offer(connection, false);
        }
        while !self.queue.is_empty()
            && self.dialing.may_grow(self.spoken.get(), self.queue.len(), &self.streams)
            && let Some(place) = self.queue.without_dial()
        {
            drop(place.give(News::Dial(Slot::take(self, &place))));
        }
    }

    /// When more may dial although none has ended.
    pub(super) fn look_again(&self) -> Option<Instant> {
        let is_open = self.spoken.get() == Spoken::Http1 || self.is_up();
        if is_open { None } else { self.dialing.look_again() }
    }

    /// Gives a connection to the first who waits; it is kept where nobody does.
    fn offer(&self, connection: Connection, fresh: bool) {
        match (self.queue.pop(), connection) {
            // The right to dial that was not used is free again.
            (Some(place), connection) => drop(place.give(News::Connection(connection, fresh))),
            (None, Connection::Http1(connection)) => self.keep(connection),
            (None, Connection::Http2(_)) => {}
        }
    }

    fn free(self: &Rc<Self>) -> Option<Connection> {
        if let Some(channel) = self.streams.find() {
            return Some(Connection::Http2(StreamPermit::take(&channel, self)));
        }
        let mut idle = self.idle.borrow_mut();
        // One that was just given back may not have come to rest; it stays for the next.
        while let Some(at) = idle.iter().rposition(|idle| idle.connection.sender.is_ready()) {
            self.kept.count.update(|kept| kept - 1);
            let found = idle.swap_remove(at).connection;
            if found.watch.is_quiet() {
                return Some(Connection::Http1(found));
            }
        }
        None
    }

    fn give_back(self: &Rc<Self>, mut connection: Http1) {
        if self.queue.is_empty() {
            return self.keep(connection);
        }
        let origin = Rc::clone(self);
        // It ends with the connection at the latest.
        LocalExec.execute(async move {
            // It may not have come to rest.
            if connection.sender.ready().await.is_ok() && connection.watch.is_quiet() {
                origin.offer(Connection::Http1(connection), false);
            }
        });
    }

    fn keep(&self, connection: Http1) {
        let mut idle = self.idle.borrow_mut();
        let kept = self.kept.count.get();
        let most = if kept < IDLE_PLENTY { IDLE_COUNT } else { IDLE_FEW };
        let has_room = idle.len() < most && kept < IDLE_ALL && !self.kept.room.is_full();
        if has_room && !connection.sender.is_closed() {
            self.kept.count.set(kept + 1);
            idle.push(Idle { connection, since: Instant::now() });
        }
    }

    /// Closes a connection that lies idle; says whether there was one.
    pub(super) fn shed(&self) -> bool {
        let mut idle = self.idle.borrow_mut();
        let oldest = (0..idle.len()).min_by_key(|at| idle[*at].since);
        let Some(oldest) = oldest else { return self.streams.shed() };
        idle.swap_remove(oldest);
        self.kept.count.update(|kept| kept - 1);
        true
    }

    /// How many connections lie idle.
    #[cfg(test)]
    pub(super) fn idle(&self) -> usize {
        self.idle.borrow().len()
    }

    /// Drops what is closed or was idle too long; says whether anything is left.
    pub(super) fn sweep(&self) -> bool {
        let mut idle = self.idle.borrow_mut();
        let before = idle.len();
        idle.retain(|idle| !idle.connection.sender.is_closed() && idle.since.elapsed() < IDLE_MAX);
        self.kept.count.update(|kept| kept - (before - idle.len()));
        let streams = self.streams.sweep();
        !idle.is_empty() || streams
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        let idle = self.idle.get_mut().len();
        self.kept.count.update(|kept| kept - idle);
    }
}

#[cfg(test)]
mod tests;
