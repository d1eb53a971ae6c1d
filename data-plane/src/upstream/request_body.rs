//! The caller's body on its way to the upstream: counted, and watched.
//!
//! The wait for a response depends on whose turn it is. The invariant: a caller that stalls, disconnects or sends
//! invalid framing is never blamed on the upstream, nor an upstream that does not read on the caller.

use std::any::Any;
use std::cell::Cell;
use std::error::Error as _;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::Instant;

use crate::seats::Busy;

/// How long a caller may send nothing in the middle of a body.
pub(crate) const CALLER_IDLE: Duration = Duration::from_secs(60);

/// A fault of the caller in its own request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CallerFault {
    #[error("caller disconnected before the end of the request body")]
    Gone,
    #[error("request body has invalid framing")]
    Malformed,
    #[error("caller sent nothing more of the request body")]
    Stalled,
}

/// Whose turn it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    /// There is more to come from the caller.
    Caller,
    /// The upstream has the whole body, or does not read it.
    Upstream,
}

/// The progress of a body.
pub(crate) struct Passage {
    turn: Cell<Turn>,
    moved: Cell<Instant>,
    fault: Cell<Option<CallerFault>>,
    whole: Cell<bool>,
}

impl Passage {
    fn new(now: Instant) -> Rc<Self> {
        let (fault, whole) = (Cell::default(), Cell::default());
        Rc::new(Self { turn: Cell::new(Turn::Upstream), moved: Cell::new(now), fault, whole })
    }

    /// A passage whose turn began that long ago.
    #[cfg(test)]
    pub(crate) fn since(turn: Turn, ago: Duration) -> Rc<Self> {
        let passage = Self::new(Instant::now() - ago);
        passage.turn.set(turn);
        passage
    }

    fn note(&self, turn: Turn) {
        // A second poll without data is no progress.
        if (turn, self.turn.get()) != (Turn::Caller, Turn::Caller) {
            self.moved.set(Instant::now());
        }
        self.turn.set(turn);
    }

    /// The request is sent at this time: time spent before does not count.
    pub(crate) fn begin(&self, now: Instant) {
        self.moved.set(now);
    }

    /// Whose turn it is, and since when.
    pub(crate) fn turn(&self) -> (Turn, Instant) {
        (self.turn.get(), self.moved.get())
    }

    pub(crate) fn fault(&self) -> Option<CallerFault> {
        self.fault.get()
    }

    /// Whether the whole body has been sent.
    pub(crate) fn is_whole(&self) -> bool {
        self.whole.get()
    }
}

/// The body itself.
pub(crate) struct RequestBody {
    /// `None`: there is nothing to send.
    inner: Option<Incoming>,
    sent: Rc<Cell<u64>>,
    passage: Rc<Passage>,
    /// A response may end before the request body does.
    busy: Busy,
    /// Kept until the body ends: its stream on a shared connection.
    permit: Option<Rc<dyn Any>>,
}

impl RequestBody {
    pub(crate) fn new(inner: Incoming, sent: Rc<Cell<u64>>, busy: Busy, now: Instant) -> Self {
        let passage = Passage::new(now);
        let inner = Some(inner).filter(|inner| !inner.is_end_stream());
        passage.whole.set(inner.is_none());
        Self { inner, sent, passage, busy, permit: None }
    }

    /// The same body, if there is nothing in it.
    pub(crate) fn again(&self) -> Option<Self> {
        let (sent, passage, busy) = (Rc::clone(&self.sent), Rc::clone(&self.passage), self.busy.clone());
        self.inner.is_none().then_some(Self { inner: None, sent, passage, busy, permit: None })
    }

    /// Holds a permit until the whole body has been sent, even if the response ends before.
    pub(crate) fn hold(&mut self, permit: Rc<dyn Any>) {
        self.permit = Some(permit);
    }

    pub(crate) fn passage(&self) -> Rc<Passage> {
        Rc::clone(&self.passage)
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Some(inner) = &mut self.inner else { return Poll::Ready(None) };
        let frame = match Pin::new(inner).poll_frame(cx) {
            Poll::Ready(frame) => frame,
            Poll::Pending => {
                self.passage.note(Turn::Caller);
                return Poll::Pending;
            }
        };
        self.passage.note(Turn::Upstream);
        match &frame {
            Some(Ok(frame)) => {
                let bytes = frame.data_ref().map_or(0, |data| data.remaining() as u64);
                self.sent.set(self.sent.get() + bytes);
            }
            Some(Err(error)) => self.passage.fault.set(Some(fault(error))),
            None => {}
        }
        if frame.is_none() || self.is_end_stream() {
            self.passage.whole.set(true);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(Incoming::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.as_ref().map_or_else(|| SizeHint::with_exact(0), Incoming::size_hint)
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        // A sender of a body of known length does not poll it for its end.
        if self.passage.turn.get() == Turn::Caller {
            self.passage.note(Turn::Upstream);
        }
    }
}

fn fault(error: &hyper::Error) -> CallerFault {
    let mut cause = error.source();
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            let framing = matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData);
            return if framing { CallerFault::Malformed } else { CallerFault::Gone };
        }
        cause = error.source();
    }
    CallerFault::Gone
}
