//! The body of an upstream's response: watched, bounded, and its connection given back at the end.
//!
//! Looks at no byte of it but trailers, unless it is searched for the upstream's secret. The invariants: a connection is used again only when its response was read to the end, and
//! an upstream that waits for more of the request is not taken for a silent one.

use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::Instant;

use crate::deadline::Deadline;
use crate::reply::BodyBroken;
use crate::snapshot::Shape;
use crate::upstream::{CALLER_IDLE, LOOK_AFTER, Lease, Passage, Turn};

use super::clean::strip_trailers;
use super::echo::{Guard, Step};
use super::{cors, rewrite};

/// Why a response body broke off.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BodyError {
    #[error("response broke off")]
    Broken(#[source] BodyBroken),
    #[error("response body is longer than the proxy lets through")]
    TooLong,
}

/// A response body on its way from the upstream.
pub(crate) struct UpstreamBody {
    body: Incoming,
    /// Taken when the body has ended.
    lease: Option<Lease>,
    silence: Silence,
    /// Bytes that may still come.
    left: u64,
    /// How its trailers are changed; `None`: not at all.
    shape: Option<Arc<Shape>>,
    /// Searches it for the upstream's secret; `None`: nobody does.
    guard: Option<Box<Guard>>,
}

impl UpstreamBody {
    /// A body of at most `most` bytes, if it does not say of itself that it is longer.
    pub(super) fn new(body: Incoming, mut lease: Lease, waits: Waits, most: u64) -> Result<Self, BodyError> {
        // Of one that has ended, its head may say how long another would be: that of a GET, for a HEAD.
        if !body.is_end_stream() && body.size_hint().lower() > most {
            return Err(BodyError::TooLong);
        }
        let silence = Silence { waits, since: None, deadline: lease.deadline() };
        let mut body = Self { body, lease: Some(lease), silence, left: most, shape: None, guard: None };
        body.settle_at_end();
        Ok(body)
    }

    /// Has its trailers changed.
    pub(super) fn is_shaped_by(&mut self, shape: &Arc<Shape>) {
        self.shape = Some(Arc::clone(shape));
    }

    /// Has it searched for the upstream's secret.
    pub(super) fn is_searched(&mut self, guard: Guard) {
        self.guard = Some(Box::new(guard));
    }

    /// Whether that was found in what has come, and masked.
    pub(super) fn has_echoed(&self) -> bool {
        self.guard.as_ref().is_some_and(|guard| guard.has_echoed())
    }

    /// Gives the connection back as soon as nothing more can come on it: the server does not ask a body of
    /// known length for its end.
    fn settle_at_end(&mut self) {
        if self.body.is_end_stream() {
            self.settle();
        }
    }

    fn settle(&mut self) {
        if let Some(mut lease) = self.lease.take() {
            lease.keep(std::mem::take(&mut self.silence.deadline));
            lease.give_back();
        }
    }
}

type Polled = Poll<Option<Result<Frame<Bytes>, BodyError>>>;

impl Body for UpstreamBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Polled {
        let Some(mut guard) = self.guard.take() else { return self.poll_as_it_comes(cx) };
        let polled = loop {
            match guard.next() {
                Step::Goes(frame) => break Poll::Ready(frame.map(Ok)),
                Step::Fails(broken) => break Poll::Ready(Some(Err(BodyError::Broken(broken)))),
                Step::Waits => {}
            }
            match self.poll_as_it_comes(cx) {
                Poll::Ready(Some(Ok(frame))) => guard.take(frame, self.body.is_end_stream()),
                Poll::Ready(Some(Err(error))) => break Poll::Ready(Some(Err(error))),
                Poll::Ready(None) => guard.end(),
                Poll::Pending => break guard.overdue(cx).map(|held| Some(Ok(Frame::data(held)))),
            }
        };
        self.guard = Some(guard);
        polled
    }

    fn is_end_stream(&self) -> bool {
        match &self.guard {
            Some(guard) => guard.is_at_end(self.body.is_end_stream()),
            None => self.body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.guard {
            Some(guard) => guard.size_hint(self.body.size_hint()),
            None => self.body.size_hint(),
        }
    }
}

impl UpstreamBody {
    fn poll_as_it_comes(&mut self, cx: &mut Context<'_>) -> Polled {
        let this = self;
        if this.silence.is_late() {
            return Poll::Ready(Some(Err(BodyError::Broken(BodyBroken::Late))));
        }
        let frame = match Pin::new(&mut this.body).poll_frame(cx) {
            Poll::Ready(mut frame) => {
                this.silence.is_broken();
                if let Some(Ok(frame)) = &mut frame
                    && let Some(trailers) = frame.trailers_mut()
                {
                    strip_trailers(trailers);
                    if let Some(shape) = &this.shape {
                        rewrite::trailers(shape, trailers);
                        cors::strip(shape, trailers);
                    }
                }
                frame
            }
            Poll::Pending => match this.silence.end(cx) {
                Some(broken) => return Poll::Ready(Some(Err(BodyError::Broken(broken)))),
                None => return Poll::Pending,
            },
        };
        match &frame {
            Some(Ok(frame)) => {
                if let Some(lease) = &this.lease {
                    lease.moves();
                }
                let bytes = frame.data_ref().map_or(0, |data| data.remaining() as u64);
                let Some(left) = this.left.checked_sub(bytes) else {
                    return Poll::Ready(Some(Err(BodyError::TooLong)));
                };
                this.left = left;
                this.settle_at_end();
            }
            Some(Err(_)) => {}
            None => this.settle(),
        }
        Poll::Ready(frame.map(|frame| frame.map_err(|error| BodyError::Broken(BodyBroken::Broken(error)))))
    }
}

/// How long more of a response is waited for.
pub(crate) struct Waits {
    /// For each part.
    pub(super) idle: Duration,
    /// For all of it.
    pub(super) until: Option<Instant>,
    /// The body of the request, where it had not been sent whole before the response began.
    pub(super) upload: Option<Rc<Passage>>,
}

/// Timer for an upstream that sends nothing in the middle of a body.
struct Silence {
    waits: Waits,
    since: Option<Instant>,
    /// The connection's.
    deadline: Deadline,
}

impl Silence {
    fn is_broken(&mut self) {
        self.since = None;
    }

    /// Whether the time for all of it is over.
    fn is_late(&self) -> bool {
        self.waits.until.is_some_and(|until| until <= Instant::now())
    }

    /// Why it is not waited for any longer, if so. Wakes the task when that may have changed.
    fn end(&mut self, cx: &mut Context<'_>) -> Option<BodyBroken> {
        let since = *self.since.get_or_insert_with(Instant::now);
        let idle = self.waits.idle;
        loop {
            let mut look = since + idle;
            let (mut end, mut broken) = (look, BodyBroken::Silent);
            if let Some(upload) = &self.waits.upload {
                let (turn, moved) = upload.turn();
                end = since.max(moved) + idle;
                look = end;
                if !upload.is_whole() {
                    if turn == Turn::Caller {
                        (end, broken) = (since.max(moved) + idle.max(CALLER_IDLE), BodyBroken::Stalled);
                    }
                    // The turn may change while this sleeps: the other has as much from then on, and is looked at a
                    // little late.
                    look = end.min(Instant::now() + idle.max(LOOK_AFTER));
                }
            }
            if let Some(until) = self.waits.until
                && until <= look
            {
                return self.deadline.is_over(until, cx).then_some(BodyBroken::Late);
            }
            if !self.deadline.is_over(look, cx) {
                return None;
            }
            if look == end {
                return Some(broken);
            }
        }
    }
}
