//! HTTP/2 connections to one origin for one organization, and the queue for their streams.
//!
//! Opens nothing: it decides who may. The invariants: no more streams are asked of a connection than its peer
//! allows and than its flow-control window holds in full, so callers that do not read stop nobody else, and no
//! request waits inside the HTTP library, where its wait could not be told from the upstream's.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use hyper::client::conn::http2;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use super::IDLE_MAX;
use super::request_body::RequestBody;

/// Streams on one connection, whatever its peer allows.
const STREAMS_MAX: usize = 64;
/// What an upstream may send on one stream ahead of its reader.
pub(super) const STREAM_WINDOW: u32 = 256 * 1024;
/// Has room for every stream's window, so that streams which nobody reads leave the others theirs.
pub(super) const CONNECTION_WINDOW: u32 = STREAMS_MAX as u32 * STREAM_WINDOW;
/// Connections of one worker to one origin, for one organization.
const CONNECTIONS_MAX: usize = 32;
/// Requests that may wait for a stream; one more is refused at once.
const WAITING_MAX: usize = 1024;
/// How long a request waits for a stream.
pub(super) const STREAM_WAIT: Duration = Duration::from_secs(10);
/// What the library takes for the peer's limit until the peer has named one. No peer names this one.
pub(super) const UNSAID: usize = 1_000_003;

/// HTTP/2 connections and the requests that wait for a stream.
#[derive(Default)]
pub(super) struct Streams {
    open: RefCell<Vec<Rc<Channel>>>,
    /// Whether TLS agreed on HTTP/2 when it was last asked.
    spoken: Cell<bool>,
    dialing: Cell<usize>,
    waiting: Cell<usize>,
    turn: Notify,
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
}

impl Channel {
    pub(super) fn new(sender: http2::SendRequest<RequestBody>, limit: Box<dyn Fn() -> usize>) -> Rc<Self> {
        let (taken, answered, since) = (Cell::default(), Cell::default(), Cell::new(Instant::now()));
        Rc::new(Self { sender, limit, taken, answered, since })
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

    /// The peer has answered on the connection, so it has said by now what it allows.
    pub(super) fn answered(&self) {
        self.answered.set(true);
    }
}

impl Streams {
    /// A connection with room for one more stream. A new request does not pass those that wait.
    pub(super) fn find(&self, waited: bool) -> Option<Rc<Channel>> {
        if self.waiting.get() > 0 && !waited {
            return None;
        }
        self.open.borrow().iter().find(|channel| channel.has_room()).cloned()
    }

    /// Whether one more connection is to be opened, rather than waited for.
    pub(super) fn may_dial(&self) -> bool {
        if !self.spoken.get() {
            return true;
        }
        let open = self.open.borrow();
        let live = open.iter().filter(|channel| channel.sender.is_ready());
        // A connection whose peer has not sent its limit counts like one that is being opened.
        let (mut count, mut coming) = (0, self.dialing.get());
        for channel in live {
            count += 1;
            match channel.limit() {
                Some(limit) => self.expected.set(limit.max(1)),
                None => coming += 1,
            }
        }
        let expected = if self.expected.get() == 0 { STREAMS_MAX } else { self.expected.get() };
        let enough = coming > 0 && self.waiting.get() < coming * expected;
        count + self.dialing.get() < CONNECTIONS_MAX && !enough
    }

    /// One is on its way until what this returns is dropped.
    pub(super) fn dial<'o>(&'o self) -> Dialing<'o> {
        self.dialing.update(|dialing| dialing + 1);
        self.wake();
        Dialing(self)
    }

    /// TLS agreed on HTTP/1.1.
    pub(super) fn not_spoken(&self) {
        self.spoken.set(false);
    }

    /// Shares a connection, if there are not enough; otherwise it serves its own request.
    pub(super) fn adopt(&self, channel: &Rc<Channel>) {
        self.spoken.set(true);
        let mut open = self.open.borrow_mut();
        open.retain(|channel| channel.sender.is_ready());
        if open.len() < CONNECTIONS_MAX {
            open.push(Rc::clone(channel));
        }
    }

    /// Waits for a stream or a chance to dial; `false` when the time is over or too many wait.
    pub(super) async fn wait(&self, until: Instant) -> bool {
        if self.waiting.get() >= WAITING_MAX {
            return false;
        }
        let _waiting = Waiting::enter(self);
        timeout_at(until, self.turn.notified()).await.is_ok()
    }

    /// Whether a connection is up: then it is streams that are short.
    pub(super) fn is_up(&self) -> bool {
        self.open.borrow().iter().any(|channel| channel.sender.is_ready())
    }

    /// Wakes the next request, if there is a stream for it.
    pub(super) fn wake(&self) {
        if self.waiting.get() > 0 && (self.find(true).is_some() || self.may_dial()) {
            self.turn.notify_one();
        }
    }

    /// Drops what is closed or was idle too long; says whether anything is left.
    pub(super) fn sweep(&self) -> bool {
        let stays = |channel: &Rc<Channel>| {
            let idle = channel.taken.get() == 0 && channel.since.get().elapsed() >= IDLE_MAX;
            channel.sender.is_ready() && !idle
        };
        let gone: Vec<_> = self.open.borrow_mut().extract_if(.., |channel| !stays(channel)).collect();
        drop(gone);
        !self.open.borrow().is_empty()
    }
}

/// A connection on its way.
pub(super) struct Dialing<'o>(&'o Streams);

impl Drop for Dialing<'_> {
    fn drop(&mut self) {
        self.0.dialing.update(|dialing| dialing - 1);
        self.0.wake();
    }
}

struct Waiting<'o>(&'o Streams);

impl<'o> Waiting<'o> {
    fn enter(streams: &'o Streams) -> Self {
        streams.waiting.update(|waiting| waiting + 1);
        Self(streams)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.update(|waiting| waiting - 1);
    }
}

#[cfg(test)]
mod tests;
