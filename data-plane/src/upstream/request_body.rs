//! The caller's body on its way to the upstream: counted, and watched.
//!
//! The wait for a response depends on whose turn it is. The invariant: a caller that stalls, disconnects or sends
//! invalid framing is never blamed on the upstream, nor an upstream that does not read on the caller.

use std::cell::{Cell, RefCell};
use std::error::Error as _;
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::Instant;

use crate::body::{GatherError, Held, Whole, gather};
use crate::deadline::Deadline;
use crate::seats::Busy;

use super::in_turn;

/// How long a caller may send nothing in the middle of a body.
pub(crate) const CALLER_IDLE: Duration = Duration::from_secs(60);

/// A caller that has let its upstream wait this long for a body, however long at a time, may be what that gave up on. An
/// upstream that breaks at a body's first bytes does so sooner.
pub(crate) const CALLER_SLOW: Duration = Duration::from_secs(1);

/// A fault of the caller in its own request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CallerFault {
    #[error("caller disconnected before the end of the request body")]
    Gone,
    #[error("request body has invalid framing")]
    Malformed,
    #[error("caller sent nothing more of the request body")]
    Stalled,
    #[error("request body is longer than the proxy takes")]
    TooLong,
}

/// Why a body was not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReadFault {
    Caller(CallerFault),
    /// This node's side: it holds as much of bodies as it may.
    NoRoom,
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
    /// How long the caller has let it wait, before the turn that goes on.
    waited: Cell<Duration>,
    fault: Cell<Option<CallerFault>>,
    whole: Cell<bool>,
    interim: Cell<u32>,
    /// Something of it was taken from the caller.
    begun: Cell<bool>,
}

impl Passage {
    fn new(now: Instant) -> Rc<Self> {
        let (fault, whole, interim, begun) = Default::default();
        let (turn, moved, waited) = (Cell::new(Turn::Upstream), Cell::new(now), Cell::default());
        Rc::new(Self { turn, moved, waited, fault, whole, interim, begun })
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
            let now = Instant::now();
            self.waited.set(self.waited(now));
            self.moved.set(now);
        }
        self.turn.set(turn);
    }

    /// How long the caller has let the upstream wait in all.
    fn waited(&self, now: Instant) -> Duration {
        let turn = if self.turn.get() == Turn::Caller { now - self.moved.get() } else { Duration::ZERO };
        self.waited.get() + turn
    }

    /// Whether the upstream may have given up for the caller's sake: it has not got the whole body, and had to wait for
    /// what it has.
    pub(crate) fn is_slow(&self, now: Instant) -> bool {
        !self.is_whole() && self.waited(now) >= CALLER_SLOW
    }

    /// Whose turn it is, and since when.
    pub(crate) fn turn(&self) -> (Turn, Instant) {
        (self.turn.get(), self.moved.get())
    }

    pub(crate) fn fault(&self) -> Option<CallerFault> {
        self.fault.get()
    }

    /// So many interim answers more have come; says how many these are in all.
    pub(super) fn heard(&self, more: u32) -> u32 {
        self.interim.update(|interim| interim.saturating_add(more));
        self.interim.get()
    }

    /// How many interim answers came before the answer. Those of HTTP/2 are bounded, and not counted: the library tells nobody.
    pub(crate) fn interim(&self) -> u32 {
        self.interim.get()
    }

    /// Whether the whole body has been sent.
    pub(crate) fn is_whole(&self) -> bool {
        self.whole.get()
    }
}

/// The body itself.
pub(crate) struct RequestBody {
    source: Source,
    /// Bytes that may still come from the caller.
    left: u64,
    sent: Rc<Cell<u64>>,
    passage: Rc<Passage>,
    /// A response may end before the request body does.
    busy: Option<Busy>,
    /// Kept until the body ends.
    carrier: Option<Rc<dyn Carrier>>,
}

/// What a body goes out on, where that is shared: its stream on a connection.
pub(super) trait Carrier {
    /// More of the body is asked for.
    fn is_asked(self: Rc<Self>);

    /// There is more of it.
    fn moves(&self);
}

/// Where the bytes come from.
enum Source {
    /// There is nothing to send.
    Nothing,
    Caller(Incoming),
    /// The caller's, of a request that may be sent again.
    Shared(Rc<Shared>, u32),
    /// It was read before, for rules or meters; so much of it has gone out. Attempts have it in common.
    Gathered(Rc<Whole>, usize),
}

/// A body that several attempts have in turn.
struct Shared {
    inner: RefCell<Incoming>,
    /// The one attempt that reads it. What belongs to an earlier one may be polled for longer than its request lasts.
    reader: Cell<u32>,
    /// How many attempts there are.
    attempts: Cell<u32>,
}

/// Why a request body broke off.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RequestBodyError {
    #[error("caller broke off its request")]
    Broken(#[source] hyper::Error),
    #[error("caller sends more than the proxy takes")]
    TooLong,
    #[error("a later attempt sends the body")]
    Superseded,
}

impl RequestBody {
    /// A body of at most `most` bytes.
    pub(crate) fn new(inner: Incoming, most: u64, sent: Rc<Cell<u64>>, busy: Busy, now: Instant) -> Self {
        let passage = Passage::new(now);
        passage.whole.set(inner.is_end_stream());
        let source = if inner.is_end_stream() { Source::Nothing } else { Source::Caller(inner) };
        Self { source, left: most, sent, passage, busy: Some(busy), carrier: None }
    }

    /// A body that was read already, and counted.
    pub(crate) fn gathered(body: Whole, busy: Busy, now: Instant) -> Self {
        let passage = Passage::new(now);
        passage.whole.set(body.is_empty());
        let source = if body.is_empty() { Source::Nothing } else { Source::Gathered(Rc::new(body), 0) };
        Self { source, left: 0, sent: Rc::default(), passage, busy: Some(busy), carrier: None }
    }

    /// Reads all of it, into at most `most` bytes.
    pub(crate) async fn read(self, most: usize, held: &mut Held) -> Result<Bytes, ReadFault> {
        let passage = self.passage();
        self.begin(Instant::now());
        let mut gathering = pin!(gather(self, most, held));
        let gathered =
            in_turn(&passage, CALLER_IDLE, None, &mut Deadline::default(), gathering.as_mut()).await;
        match gathered {
            Ok(Ok(bytes)) => Ok(bytes),
            Ok(Err(GatherError::TooLarge(_))) => Err(ReadFault::Caller(CallerFault::TooLong)),
            Ok(Err(GatherError::Body(_))) => {
                Err(ReadFault::Caller(passage.fault().unwrap_or(CallerFault::Gone)))
            }
            Ok(Err(GatherError::NoRoom(_))) => Err(ReadFault::NoRoom),
            // Nothing is sent meanwhile, so it is the caller's turn alone.
            Err(_) => Err(ReadFault::Caller(CallerFault::Stalled)),
        }
    }

    /// A body that nobody sent.
    #[cfg(test)]
    pub(crate) fn of(bytes: &'static [u8], now: Instant) -> Self {
        let mut body = Self::nothing(now);
        let whole = Whole::new(Bytes::from_static(bytes), Held::ample());
        body.source = Source::Gathered(Rc::new(whole), 0);
        body
    }

    /// No body, of a request of this node's own.
    pub(crate) fn nothing(now: Instant) -> Self {
        let passage = Passage::new(now);
        Self { source: Source::Nothing, left: 0, sent: Rc::default(), passage, busy: None, carrier: None }
    }

    /// It is sent at this time: time spent before does not count.
    pub(crate) fn begin(&self, now: Instant) {
        self.passage.moved.set(now);
        self.passage.whole.set(self.is_end_stream());
    }

    /// The same body, to be sent after it, if it can be [claimed](Self::claim) then.
    pub(crate) fn again(&mut self) -> Self {
        let source = match std::mem::replace(&mut self.source, Source::Nothing) {
            Source::Caller(inner) => {
                let (inner, reader, attempts) = (RefCell::new(inner), Cell::new(0), Cell::new(1));
                Source::Shared(Rc::new(Shared { inner, reader, attempts }), 0)
            }
            other => other,
        };
        let again = match &source {
            Source::Shared(shared, _) => {
                let attempt = shared.attempts.replace(shared.attempts.get() + 1);
                Source::Shared(Rc::clone(shared), attempt)
            }
            Source::Gathered(whole, _) => Source::Gathered(Rc::clone(whole), 0),
            Source::Nothing | Source::Caller(_) => Source::Nothing,
        };
        self.source = source;
        let (sent, passage, busy) = (Rc::clone(&self.sent), Rc::clone(&self.passage), self.busy.clone());
        Self { source: again, left: self.left, sent, passage, busy, carrier: None }
    }

    /// All of it, if nothing of it has gone out yet.
    pub(crate) fn whole(&self) -> Option<&[u8]> {
        match &self.source {
            Source::Nothing => Some(&[]),
            Source::Gathered(whole, 0) => Some(whole.bytes()),
            Source::Gathered(..) | Source::Caller(_) | Source::Shared(..) => None,
        }
    }

    /// Whether all of it is there whatever became of the one before: there is none, or it was read already.
    pub(crate) fn is_at_hand(&self) -> bool {
        matches!(self.source, Source::Nothing | Source::Gathered(..))
    }

    /// Whether it was read before it was sent.
    pub(crate) fn is_gathered(&self) -> bool {
        matches!(self.source, Source::Gathered(..))
    }

    /// Takes the body over from the attempt before, if all of it is there: it is at hand, or nothing of it was taken.
    /// From then on that attempt gets nothing of it, however long its connection goes on.
    pub(crate) fn claim(&self) -> bool {
        match &self.source {
            Source::Shared(_, _) if self.passage.begun.get() => false,
            Source::Shared(shared, attempt) => {
                shared.reader.set(*attempt);
                true
            }
            Source::Nothing | Source::Gathered(..) => true,
            Source::Caller(_) => false,
        }
    }

    fn is_superseded(&self) -> bool {
        matches!(&self.source, Source::Shared(shared, attempt) if shared.reader.get() != *attempt)
    }

    /// Holds what it goes out on until the whole body has been sent, even if the response ends before.
    pub(super) fn hold(&mut self, carrier: Rc<dyn Carrier>) {
        self.carrier = Some(carrier);
    }

    pub(crate) fn passage(&self) -> Rc<Passage> {
        Rc::clone(&self.passage)
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = RequestBodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, RequestBodyError>>> {
        if let Some(carrier) = &self.carrier {
            Rc::clone(carrier).is_asked();
        }
        if self.is_superseded() {
            return Poll::Ready(Some(Err(RequestBodyError::Superseded)));
        }
        let polled = match &mut self.source {
            Source::Caller(inner) => Pin::new(inner).poll_frame(cx),
            Source::Shared(shared, _) => Pin::new(&mut *shared.inner.borrow_mut()).poll_frame(cx),
            Source::Nothing => return Poll::Ready(None),
            Source::Gathered(whole, at) => {
                let piece = whole.piece(*at);
                *at += piece.len();
                if *at == whole.len() {
                    self.source = Source::Nothing;
                    self.passage.whole.set(true);
                }
                self.passage.note(Turn::Upstream);
                if let Some(carrier) = &self.carrier {
                    carrier.moves();
                }
                return Poll::Ready(Some(Ok(Frame::data(piece))));
            }
        };
        let frame = match polled {
            Poll::Ready(frame) => frame,
            Poll::Pending => {
                self.passage.note(Turn::Caller);
                return Poll::Pending;
            }
        };
        self.passage.note(Turn::Upstream);
        self.passage.begun.set(true);
        if let Some(carrier) = &self.carrier {
            carrier.moves();
        }
        // Neither rules nor the stage that takes the caller's credential out have seen trailers.
        let frame = frame.filter(|frame| !frame.as_ref().is_ok_and(Frame::is_trailers));
        match &frame {
            Some(Ok(frame)) => {
                let bytes = frame.data_ref().map_or(0, |data| data.remaining() as u64);
                self.sent.set(self.sent.get() + bytes);
                let Some(left) = self.left.checked_sub(bytes) else {
                    self.passage.fault.set(Some(CallerFault::TooLong));
                    return Poll::Ready(Some(Err(RequestBodyError::TooLong)));
                };
                self.left = left;
            }
            Some(Err(error)) => self.passage.fault.set(Some(fault(error))),
            None => {}
        }
        if frame.is_none() || self.is_end_stream() {
            self.passage.whole.set(true);
        }
        Poll::Ready(frame.map(|frame| frame.map_err(RequestBodyError::Broken)))
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Nothing => true,
            Source::Caller(inner) => inner.is_end_stream(),
            Source::Shared(shared, _) => shared.inner.borrow().is_end_stream(),
            Source::Gathered(whole, at) => *at == whole.len(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Nothing => SizeHint::with_exact(0),
            Source::Caller(inner) => inner.size_hint(),
            Source::Shared(shared, _) => shared.inner.borrow().size_hint(),
            Source::Gathered(whole, at) => SizeHint::with_exact((whole.len() - at) as u64),
        }
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        // A sender of a body of known length does not poll it for its end. Whose turn it is, is the last attempt's to say.
        if self.passage.turn.get() == Turn::Caller && !self.is_superseded() {
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
