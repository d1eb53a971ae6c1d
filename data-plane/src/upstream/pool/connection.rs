//! A connection as a request has it: to send on, to read the answer from, and to give back.
//!
//! Opens nothing, and chooses nothing. The invariants: a connection goes back only when its last response was read to its
//! end and could be read in one way alone, and its request had gone out whole; an upload whose answer has ended does not
//! hold its connection, or its stream, for long.

use std::cell::Cell;
use std::error::Error as _;
use std::rc::Rc;

use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{Request, Response, StatusCode, Version};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};

use crate::deadline::Deadline;

use super::super::Reply;
use super::super::ending::Ending;
use super::super::request_body::{Carrier, Passage, RequestBody};
use super::super::socket::Watch;
use super::super::streams::Channel;
use super::Origin;

/// An HTTP/1.1 connection.
pub(in crate::upstream) struct Http1 {
    pub(in crate::upstream) sender: http1::SendRequest<RequestBody>,
    pub(in crate::upstream) watch: Watch,
    /// Of the answer that is waited for.
    pub(in crate::upstream) deadline: Deadline,
}

impl Drop for Http1 {
    fn drop(&mut self) {
        self.watch.is_left();
    }
}

/// A connection that can take a request.
pub(in crate::upstream) enum Connection {
    Http1(Http1),
    Http2(Rc<StreamPermit>),
}

/// The right to one stream on a connection, from before it is opened until both its directions have ended.
pub(in crate::upstream) struct StreamPermit {
    channel: Rc<Channel>,
    origin: Rc<Origin>,
    /// The library has begun to ask for the body.
    is_begun: Cell<bool>,
    ending: Ending,
}

impl StreamPermit {
    pub(in crate::upstream) fn take(channel: &Rc<Channel>, origin: &Rc<Origin>) -> Rc<Self> {
        channel.take();
        let (channel, origin) = (Rc::clone(channel), Rc::clone(origin));
        Rc::new(Self { channel, origin, is_begun: Cell::default(), ending: Ending::default() })
    }

    pub(in crate::upstream) fn sender(&self) -> http2::SendRequest<RequestBody> {
        self.channel.sender()
    }

    /// The peer has answered on the connection, so it has said by now what it allows.
    pub(in crate::upstream) fn answered(&self) {
        self.channel.answered();
    }

    /// A request on the connection was not answered in time. Whatever its peer does instead, the next goes elsewhere.
    pub(in crate::upstream) fn was_late(&self) {
        self.origin.streams.retire(&self.channel);
    }

    /// Of the task that sends the request's body.
    pub(in crate::upstream) fn ending(&self) -> &Ending {
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
        // Others wait for what it takes up.
        if self.channel.is_idle() && self.origin.kept.room.is_full() {
            self.origin.streams.retire(&self.channel);
        }
        self.origin.serve();
    }
}

/// A request that was not answered.
pub(in crate::upstream) struct Unanswered {
    pub(in crate::upstream) error: hyper::Error,
    /// The request itself, when not a byte of it has gone out.
    pub(in crate::upstream) unsent: Option<Box<Request<RequestBody>>>,
}

impl Unanswered {
    /// Whether the peer reports that it did not process the request: the stream was refused, or is behind the last
    /// one that it took before it went away (RFC 9113, 8.7).
    pub(in crate::upstream) fn is_untouched(&self) -> bool {
        let cause = self.error.source().and_then(|cause| cause.downcast_ref::<h2::Error>());
        cause.is_some_and(|cause| {
            let refused = cause.is_reset() && cause.reason() == Some(h2::Reason::REFUSED_STREAM);
            cause.is_remote() && (refused || cause.is_go_away())
        })
    }
}

impl Connection {
    /// The timer for its answers.
    pub(in crate::upstream) fn deadline(&mut self) -> Deadline {
        match self {
            Self::Http1(http1) => std::mem::take(&mut http1.deadline),
            Self::Http2(_) => Deadline::default(),
        }
    }

    /// Its stream, where it is one.
    pub(in crate::upstream) fn stream(&self) -> Option<Rc<StreamPermit>> {
        match self {
            Self::Http1(_) => None,
            Self::Http2(permit) => Some(Rc::clone(permit)),
        }
    }

    pub(in crate::upstream) async fn send(
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

/// Whether two readers see the same end of a response, and the next request goes out as this one did.
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
    // The library would speak HTTP/1.0 from now on, in which a body of unknown length is left out without a word.
    one_end && empty && response.version() != Version::HTTP_10
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
    pub(in crate::upstream) fn last(http1: Http1) -> Self {
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
