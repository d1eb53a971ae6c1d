//! Connections of one organization to one origin, on one worker.
//!
//! Idle HTTP/1.1 connections lie on a stack, so that a burst leaves the oldest to age out; HTTP/2
//! connections are in `streams`. The invariant: a connection is used again only when its last response was
//! read to its end, could be read in one way alone, and nothing has come behind it.

use std::cell::{Cell, RefCell};
use std::error::Error as _;
use std::rc::Rc;

use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use tokio::time::Instant;

use crate::deadline::Deadline;

use super::request_body::{Passage, RequestBody};
use super::socket::Watch;
use super::streams::{Channel, Streams};
use super::{IDLE_MAX, Reply};

/// What one worker keeps to one origin, for one organization.
const IDLE_COUNT: usize = 256;
/// What one worker keeps in all before each origin is left with [`IDLE_FEW`]: an organization with many
/// origins must not use up the node's descriptors, nor leave the others without a connection to use again.
const IDLE_PLENTY: usize = 2048;
const IDLE_FEW: usize = 4;
const IDLE_ALL: usize = 4096;

/// What is open to one scheme, host and port.
pub(crate) struct Origin {
    idle: RefCell<Vec<Idle>>,
    streams: Streams,
    /// How many connections lie idle on the whole worker.
    kept: Rc<Cell<usize>>,
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

/// A connection that can take a request.
pub(super) enum Connection {
    Http1(Http1),
    Http2(Rc<StreamPermit>),
}

/// The right to one stream on a connection, from before it is opened until both its directions have ended.
pub(super) struct StreamPermit {
    channel: Rc<Channel>,
    origin: Rc<Origin>,
}

impl StreamPermit {
    pub(super) fn take(channel: &Rc<Channel>, origin: &Rc<Origin>) -> Rc<Self> {
        channel.take();
        // The next waiting request may take the remaining room.
        origin.streams().wake();
        Rc::new(Self { channel: Rc::clone(channel), origin: Rc::clone(origin) })
    }

    pub(super) fn sender(&self) -> http2::SendRequest<RequestBody> {
        self.channel.sender()
    }

    /// The peer has answered on the connection, so it has said by now what it allows.
    pub(super) fn answered(&self) {
        self.channel.answered();
    }
}

impl Drop for StreamPermit {
    fn drop(&mut self) {
        self.channel.give_back();
        self.origin.streams().wake();
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
    pub(super) fn new(kept: Rc<Cell<usize>>) -> Self {
        Self { idle: RefCell::default(), streams: Streams::default(), kept }
    }

    pub(super) fn streams(&self) -> &Streams {
        &self.streams
    }

    /// A connection that is open and free. A new request does not pass those that `waited`.
    pub(super) fn checkout(self: &Rc<Self>, waited: bool) -> Option<Connection> {
        if let Some(channel) = self.streams.find(waited) {
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

    fn give_back(&self, connection: Http1) {
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

    pub(super) async fn send(
        self,
        mut request: Request<RequestBody>,
        passage: &Passage,
        origin: &Rc<Origin>,
    ) -> Result<Reply, Unanswered> {
        let result = match self {
            Self::Http1(mut http1) => {
                http1.watch.waits_for_head(true);
                http1.sender.try_send_request(request).await.map(|response| {
                    http1.watch.waits_for_head(false);
                    let origin = is_clear(&response, passage).then(|| Rc::clone(origin));
                    Reply { lease: Lease(Held::Http1(http1, origin)), response }
                })
            }
            Self::Http2(permit) => {
                // An upload may outlast its answer, and takes up the stream as long.
                let held: Rc<StreamPermit> = Rc::clone(&permit);
                request.body_mut().hold(held);
                // Boxed: on HTTP/1.1 it would be state for nothing.
                Box::pin(permit.sender().try_send_request(request)).await.map(|response| {
                    permit.answered();
                    Reply { lease: Lease(Held::Http2(permit)), response }
                })
            }
        };
        result.map_err(|mut failed| {
            let unsent = failed.take_message().map(Box::new);
            Unanswered { error: failed.into_error(), unsent }
        })
    }
}

/// Whether two readers see the same end of a response, and of the request before it.
fn is_clear(response: &Response<Incoming>, passage: &Passage) -> bool {
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
    // An upstream that answers before it has the whole body may take the rest for the next request.
    one_end && empty && passage.is_whole()
}

/// Holds a connection while its response is read. Dropped instead of given back, it closes it.
pub(crate) struct Lease(Held);

enum Held {
    /// Without an origin it is not to be used again.
    Http1(Http1, Option<Rc<Origin>>),
    Http2(#[expect(dead_code, reason = "held for its drop")] Rc<StreamPermit>),
}

impl Lease {
    /// Of a connection that is closed when it is given back.
    pub(super) fn last(http1: Http1) -> Self {
        Self(Held::Http1(http1, None))
    }

    /// Takes the timer for the connection's next answer.
    pub(super) fn keep(&mut self, deadline: Deadline) {
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
