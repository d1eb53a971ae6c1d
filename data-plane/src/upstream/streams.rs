//! HTTP/2 connections to one origin for one organization.
//!
//! Opens nothing: it says whether there are enough. The invariants: no more streams are asked of a connection than its peer
//! allows and than its flow-control window holds in full, so callers that do not read stop nobody else, and no
//! request waits inside the HTTP library, where its wait could not be told from the upstream's.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use hyper::client::conn::http2;
use tokio::time::Instant;

use super::IDLE_MAX;
use super::request_body::RequestBody;
use super::socket::Watch;

/// Streams on one connection, whatever its peer allows.
const STREAMS_MAX: usize = 64;
/// What an upstream may send on one stream ahead of its reader.
pub(super) const STREAM_WINDOW: u32 = 256 * 1024;
/// Has room for every stream's window, so that streams which nobody reads leave the others theirs.
pub(super) const CONNECTION_WINDOW: u32 = STREAMS_MAX as u32 * STREAM_WINDOW;
/// Connections of one worker to one origin, for one organization.
pub(super) const CONNECTIONS_MAX: usize = 32;
/// How long a request waits for a stream.
pub(super) const STREAM_WAIT: Duration = Duration::from_secs(10);
/// What the library takes for the peer's limit until the peer has named one. No peer names this one.
pub(super) const UNSAID: usize = 1_000_003;

/// The connections.
#[derive(Default)]
pub(super) struct Streams {
    open: RefCell<Vec<Rc<Channel>>>,
    /// How many streams a new connection will presumably take; zero while unknown.
    expected: Cell<usize>,
}

/// One connection.
pub(super) struct Channel {
    sender: http2::SendRequest<RequestBody>,
    /// What the peer allows at this moment.
    limit: Box<dyn Fn() -> usize>,
    taken: Cell<usize>,
    answered: Cell<bool>,
    since: Cell<Instant>,
    watch: Watch,
}

impl Drop for Channel {
    fn drop(&mut self) {
        self.watch.is_left();
    }
}

impl Channel {
    pub(super) fn new(
        sender: http2::SendRequest<RequestBody>,
        limit: Box<dyn Fn() -> usize>,
        watch: Watch,
    ) -> Rc<Self> {
        let (taken, answered, since) = (Cell::default(), Cell::default(), Cell::new(Instant::now()));
        Rc::new(Self { sender, limit, taken, answered, since, watch })
    }

    /// How many streams it takes; `None` while the peer has not said.
    fn limit(&self) -> Option<usize> {
        match (self.limit)() {
            UNSAID if !self.answered.get() => None,
            limit => Some(limit.min(STREAMS_MAX)),
        }
    }

    fn has_room(&self) -> bool {
        // Every peer takes one; a second one might be refused.
        self.taken.get() < self.limit().unwrap_or(1) && self.sender.is_ready()
    }

    pub(super) fn sender(&self) -> http2::SendRequest<RequestBody> {
        self.sender.clone()
    }

    /// One stream more is asked of it.
    pub(super) fn take(&self) {
        self.taken.update(|taken| taken + 1);
    }

    /// A stream has ended.
    pub(super) fn give_back(&self) {
        self.taken.update(|taken| taken - 1);
        self.since.set(Instant::now());
    }

    /// Whether no stream is open on it.
    pub(super) fn is_idle(&self) -> bool {
        self.taken.get() == 0
    }

    /// The peer has answered on the connection, so it has said by now what it allows.
    pub(super) fn answered(&self) {
        self.answered.set(true);
    }
}

impl Streams {
    /// A connection with room for one more stream.
    pub(super) fn find(&self) -> Option<Rc<Channel>> {
        self.open.borrow().iter().find(|channel| channel.has_room()).cloned()
    }

    /// Whether one more connection is to be opened for those who wait, beside those that are being opened.
    pub(super) fn want_more(&self, waiting: usize, dialing: usize) -> bool {
        let open = self.open.borrow();
        let live = open.iter().filter(|channel| channel.sender.is_ready());
        // A connection whose peer has not sent its limit counts like one that is being opened.
        let (mut count, mut coming) = (0, dialing);
        for channel in live {
            count += 1;
            match channel.limit() {
                Some(limit) => self.expected.set(limit.max(1)),
                None => coming += 1,
            }
        }
        let expected = if self.expected.get() == 0 { STREAMS_MAX } else { self.expected.get() };
        let enough = coming > 0 && waiting < coming * expected;
        count + dialing < CONNECTIONS_MAX && !enough
    }

    /// Shares a connection, if there are not enough; otherwise it serves its own request.
    pub(super) fn adopt(&self, channel: &Rc<Channel>) {
        let mut open = self.open.borrow_mut();
        open.retain(|channel| channel.sender.is_ready());
        if open.len() < CONNECTIONS_MAX {
            open.push(Rc::clone(channel));
        }
    }

    /// Gives a connection no further stream. It closes when those that it has are through.
    pub(super) fn retire(&self, channel: &Rc<Channel>) {
        self.open.borrow_mut().retain(|open| !Rc::ptr_eq(open, channel));
    }

    /// Closes a connection on which no stream is open; says whether there was one.
    pub(super) fn shed(&self) -> bool {
        let mut open = self.open.borrow_mut();
        let idle = open.iter().position(|channel| channel.is_idle());
        idle.is_some_and(|idle| {
            open.swap_remove(idle);
            true
        })
    }

    /// Whether a connection is up: then it is streams that are short.
    pub(super) fn is_up(&self) -> bool {
        self.open.borrow().iter().any(|channel| channel.sender.is_ready())
    }

    /// Drops what is closed or was idle too long; says whether anything is left.
    pub(super) fn sweep(&self) -> bool {
        let stays = |channel: &Rc<Channel>| {
            let idle = channel.is_idle() && channel.since.get().elapsed() >= IDLE_MAX;
            channel.sender.is_ready() && !idle
        };
        let gone: Vec<_> = self.open.borrow_mut().extract_if(.., |channel| !stays(channel)).collect();
        drop(gone);
        !self.open.borrow().is_empty()
    }
}

#[cfg(test)]
mod tests;
