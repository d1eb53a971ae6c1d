//! Connections of one organization to one origin, on one worker.
//!
//! Idle HTTP/1.1 connections lie on a stack, so that a burst leaves the oldest to age out; HTTP/2
//! connections are in `streams`. Who finds none waits in a queue, and is given what comes first: a connection that is
//! given back, a stream, or the right to dial. Opens nothing itself. The invariants: a connection is used again only
//! when its last response was read to its end, could be read in one way alone, and nothing has come behind it; a
//! connection that was dialed for somebody who left is another's; nobody waits for a dial that has failed; and of dials
//! that nobody waits for, one goes on at the most.

mod waiting;

use std::cell::{Cell, RefCell};
use std::error::Error as _;
use std::rc::Rc;
use std::time::Duration;

use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper::rt::Executor as _;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::deadline::Deadline;
use crate::executor::LocalExec;

use super::ending::Ending;
use super::queue::Queue;
use super::request_body::{Carrier, Passage, RequestBody};
use super::socket::Watch;
use super::streams::{CONNECTIONS_MAX, Channel, Streams};
use super::{IDLE_MAX, Reply};

pub(super) use self::waiting::{News, Slot, Spoken, Waiter};

/// What one worker keeps to one origin, for one organization.
const IDLE_COUNT: usize = 256;
/// What one worker keeps in all before each origin is left with [`IDLE_FEW`]: an organization with many
/// origins must not use up the node's descriptors, nor leave the others without a connection to use again.
const IDLE_PLENTY: usize = 2048;
const IDLE_FEW: usize = 4;
const IDLE_ALL: usize = 4096;

/// Connections that one worker dials to one origin at a time.
const DIALS_MAX: usize = 64;
/// How long the dials to an origin of which nothing is up have, until one more goes beside them; from then on, each time
/// that it has doubled, twice as many.
const PATIENCE: Duration = Duration::from_millis(250);
/// Requests that may wait for a stream of connections that are up; one more is refused at once.
const WAITING_MAX: usize = 1024;

/// What is open to one origin, and who waits for it.
pub(crate) struct Origin {
    idle: RefCell<Vec<Idle>>,
    streams: Streams,
    /// How many connections lie idle on the whole worker.
    kept: Rc<Cell<usize>>,
    spoken: Cell<Spoken>,
    queue: Queue<News>,
    dialing: Cell<usize>,
    /// Since when there is at least one.
    dialing_since: Cell<Instant>,
    /// Of these, those that have their turn.
    connecting: Cell<usize>,
    /// Tells those who dial that one less waits.
    fewer: Notify,
    /// Dials that have failed since one came through.
    failures: Cell<u32>,
    /// The stream whose body the library has just begun to ask for.
    begun: RefCell<Option<Rc<StreamPermit>>>,
}

struct Idle {
    connection: Http1,
    since: Instant,
}

/// An HTTP/1.1 connection.
pub(super) struct Http1 {
    pub(super) sender: http1::SendRequest<RequestBody>,
    pub(super) watch: Watch,
    /// Of the answer that is waited for.
    pub(super) deadline: Deadline,
}

impl Drop for Http1 {
    fn drop(&mut self) {
        self.watch.is_left();
    }
}

/// A connection that can take a request.
pub(super) enum Connection {
    Http1(Http1),
    Http2(Rc<StreamPermit>),
}

/// The right to one stream on a connection, from before it is opened until both its directions have ended.
pub(super) struct StreamPermit {
    channel: Rc<Channel>,
    origin: Rc<Origin>,
    /// The library has begun to ask for the body.
    is_begun: Cell<bool>,
    ending: Ending,
}

impl StreamPermit {
    pub(super) fn take(channel: &Rc<Channel>, origin: &Rc<Origin>) -> Rc<Self> {
        channel.take();
        let (channel, origin) = (Rc::clone(channel), Rc::clone(origin));
        Rc::new(Self { channel, origin, is_begun: Cell::default(), ending: Ending::default() })
    }

    pub(super) fn sender(&self) -> http2::SendRequest<RequestBody> {
        self.channel.sender()
    }

    /// The peer has answered on the connection, so it has said by now what it allows.
    pub(super) fn answered(&self) {
        self.channel.answered();
    }

    /// A request on the connection was not answered in time. Whatever its peer does instead, the next goes elsewhere.
    pub(super) fn was_late(&self) {
        self.origin.streams.retire(&self.channel);
    }

    /// Of the task that sends the request's body.
    pub(super) fn ending(&self) -> &Ending {
        &self.ending
    }
}

impl Carrier for StreamPermit {
    fn is_asked(self: Rc<Self>) {
        if !self.is_begun.replace(true) {
            let origin = Rc::clone(&self.origin);
            origin.begun.replace(Some(self));
        }
    }
}

impl Drop for StreamPermit {
    fn drop(&mut self) {
        self.channel.give_back();
        self.origin.serve();
    }
}

/// A request that was not answered.
pub(super) struct Unanswered {
    pub(super) error: hyper::Error,
    /// The request itself, when not a byte of it has gone out.
    pub(super) unsent: Option<Box<Request<RequestBody>>>,
}

impl Unanswered {
    /// Whether the peer reports that it did not process the request: the stream was refused, or is behind the last
    /// one that it took before it went away (RFC 9113, 8.7).
    pub(super) fn is_untouched(&self) -> bool {
        let cause = self.error.source().and_then(|cause| cause.downcast_ref::<h2::Error>());
        cause.is_some_and(|cause| {
            let refused = cause.is_reset() && cause.reason() == Some(h2::Reason::REFUSED_STREAM);
            cause.is_remote() && (refused || cause.is_go_away())
        })
    }
}

impl Origin {
    pub(super) fn new(kept: Rc<Cell<usize>>, spoken: Spoken) -> Self {
        Self {
            idle: RefCell::default(),
            streams: Streams::default(),
            kept,
            spoken: Cell::new(spoken),
            queue: Queue::default(),
            dialing: Cell::default(),
            dialing_since: Cell::new(Instant::now()),
            connecting: Cell::default(),
            fewer: Notify::new(),
            failures: Cell::default(),
            begun: RefCell::default(),
        }
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
        self.connecting.get() > 0
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
            && self.may_dial()
            && let Some(place) = self.queue.without_dial()
        {
            drop(place.give(News::Dial(Slot::take(self, &place))));
        }
    }

    /// Whether one more is to be dialed.
    fn may_dial(&self) -> bool {
        let dialing = self.dialing.get();
        // The first goes alone while it is not known whether its connection can be shared. Where dials fail or hang,
        // those who wait must not learn it one after the other: twice as many go with each failure, and with time.
        let at_once = 1 << self.failures.get().max(self.doublings()).min(DIALS_MAX.ilog2());
        match self.spoken.get() {
            Spoken::Unknown => dialing < at_once,
            Spoken::Http1 => dialing < DIALS_MAX,
            Spoken::Http2 => {
                let waiting = self.queue.len().saturating_sub(dialing);
                let failing = at_once > 1 && !self.is_up();
                self.streams.want_more(waiting, dialing)
                    || (failing && dialing < at_once.min(CONNECTIONS_MAX))
            }
        }
    }

    /// How often the patience with the dials under way has doubled.
    fn doublings(&self) -> u32 {
        if self.dialing.get() == 0 {
            return 0;
        }
        let over = self.dialing_since.get().elapsed().as_millis() / PATIENCE.as_millis();
        over.checked_ilog2().map_or(0, |doublings| doublings + 1)
    }

    /// When more may dial although none has ended.
    pub(super) fn look_again(&self) -> Option<Instant> {
        let is_open = self.spoken.get() == Spoken::Http1 || self.is_up();
        let (dialing, doublings) = (self.dialing.get(), self.doublings());
        let may_grow = !is_open && dialing > 0 && doublings < DIALS_MAX.ilog2();
        may_grow.then(|| self.dialing_since.get() + PATIENCE * (1 << doublings))
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
            self.kept.update(|kept| kept - 1);
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
        let most = if self.kept.get() < IDLE_PLENTY { IDLE_COUNT } else { IDLE_FEW };
        if idle.len() < most && self.kept.get() < IDLE_ALL && !connection.sender.is_closed() {
            self.kept.update(|kept| kept + 1);
            idle.push(Idle { connection, since: Instant::now() });
        }
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
        self.kept.update(|kept| kept - (before - idle.len()));
        let streams = self.streams.sweep();
        !idle.is_empty() || streams
    }
}

impl Connection {
    /// The timer for its answers.
    pub(super) fn deadline(&mut self) -> Deadline {
        match self {
            Self::Http1(http1) => std::mem::take(&mut http1.deadline),
            Self::Http2(_) => Deadline::default(),
        }
    }

    /// Its stream, where it is one.
    pub(super) fn stream(&self) -> Option<Rc<StreamPermit>> {
        match self {
            Self::Http1(_) => None,
            Self::Http2(permit) => Some(Rc::clone(permit)),
        }
    }

    pub(super) async fn send(
        self,
        mut request: Request<RequestBody>,
        passage: &Rc<Passage>,
        origin: &Rc<Origin>,
    ) -> Result<Reply, Unanswered> {
        let result = match self {
            Self::Http1(mut http1) => {
                http1.watch.waits_for_head(passage);
                http1.sender.try_send_request(request).await.map(|response| {
                    http1.watch.has_head();
                    // An upstream that answers before it has the whole body may take the rest for the next request.
                    let is_sent = passage.is_whole() && !http1.watch.is_stuck();
                    let origin = (is_sent && is_clear(&response)).then(|| Rc::clone(origin));
                    Reply { lease: Lease(Held::Http1(http1, origin)), response }
                })
            }
            Self::Http2(permit) => {
                // An upload may outlast its answer, and takes up the stream as long.
                let carrier: Rc<StreamPermit> = Rc::clone(&permit);
                request.body_mut().hold(carrier);
                // Boxed: on HTTP/1.1 it would be state for nothing.
                Box::pin(permit.sender().try_send_request(request)).await.map(|response| {
                    permit.answered();
                    Reply { lease: Lease(Held::Http2(Answer(permit))), response }
                })
            }
        };
        result.map_err(|mut failed| {
            let unsent = failed.take_message().map(Box::new);
            Unanswered { error: failed.into_error(), unsent }
        })
    }
}

/// Whether two readers see the same end of a response.
fn is_clear(response: &Response<Incoming>) -> bool {
    let headers = response.headers();
    let is_coded = headers.contains_key(TRANSFER_ENCODING);
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    let length = lengths.next().map(http::HeaderValue::as_bytes);
    let one_end = match length {
        None => true,
        // A list of equal numbers is read as one, by us.
        Some(length) => !is_coded && lengths.next().is_none() && length.iter().all(u8::is_ascii_digit),
    };
    // It has no body, but says that it has one.
    let empty = response.status() != StatusCode::NO_CONTENT
        || (!is_coded && length.is_none_or(|length| length == b"0"));
    one_end && empty
}

/// Holds a connection while its response is read. Dropped instead of given back, it closes it.
pub(crate) struct Lease(Held);

enum Held {
    /// Without an origin it is not to be used again.
    Http1(Http1, Option<Rc<Origin>>),
    Http2(#[expect(dead_code, reason = "held for its drop")] Answer),
}

/// An answer on a stream, which its request may outlast for a while.
struct Answer(Rc<StreamPermit>);

impl Drop for Answer {
    fn drop(&mut self) {
        if Rc::strong_count(&self.0) > 1 {
            self.0.ending.begin();
        }
    }
}

impl Lease {
    /// Of a connection that is closed when it is given back.
    pub(super) fn last(http1: Http1) -> Self {
        Self(Held::Http1(http1, None))
    }

    /// Hands out the timer, for the rest of the answer.
    pub(crate) fn deadline(&mut self) -> Deadline {
        match &mut self.0 {
            Held::Http1(connection, _) => std::mem::take(&mut connection.deadline),
            Held::Http2(_) => Deadline::default(),
        }
    }

    /// Takes the timer for the connection's next answer.
    pub(crate) fn keep(&mut self, deadline: Deadline) {
        if let Held::Http1(connection, _) = &mut self.0 {
            connection.deadline = deadline;
        }
    }

    /// The response was read to its end: the connection may take another request.
    pub(crate) fn give_back(self) {
        if let Held::Http1(connection, Some(origin)) = self.0 {
            origin.give_back(connection);
        }
    }
}

#[cfg(test)]
mod tests;
