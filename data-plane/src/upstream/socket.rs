//! The socket under an upstream connection: looked at while it is idle, and bounded while it is read, as is what the
//! HTTP library reads of it above TLS.
//!
//! Understands nothing of what passes. The invariants: a connection that had received unsolicited bytes or its end
//! when the loop last looked at its sockets is never reported as quiet; and no peer, however fast it sends, keeps a
//! worker from its other work. It does not ask the system about a socket on which the loop saw nothing: that would
//! cost each request a system call.

use std::cell::{Cell, RefCell};
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, ready};

use rr_contract::runtime::give_way;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;

use super::ending::Ending;
use super::frames::Frames;
use super::interim::{INTERIM_MAX, Place};
use super::request_body::Passage;
use super::room;

/// What may come before the end of an answer's head, interim answers included: twice what a head may be. The
/// HTTP library passes over interim answers without a bound, and does not pause between two.
const BEFORE_HEAD: usize = 128 * 1024;
/// After this many successful reads in a row, other tasks have their turn.
const READS_IN_A_ROW: u32 = 16;
/// And after this many heads of HTTP/2: each takes up memory, a hundred times its length at the worst, until whoever
/// waits for the answer has had its turn.
const HEADS_IN_A_ROW: u32 = 8;

/// Bytes both ways, with or without TLS.
pub(crate) trait Duplex: AsyncRead + AsyncWrite + Unpin {}

impl<T: AsyncRead + AsyncWrite + Unpin> Duplex for T {}

/// What is read at a time under TLS, whose library asks for 4 KiB and would pay a system call for each.
const AHEAD: usize = 32 * 1024;

/// What the HTTP library, or TLS below it, reads and writes.
pub(super) struct Socket(Rc<Wire>);

/// Looks at a [`Socket`] without holding it open.
#[derive(Clone, Default)]
pub(super) struct Watch(Weak<Wire>);

struct Wire {
    stream: RefCell<TcpStream>,
    /// Bytes that may still come before an answer goes on; `None` while no request waits for that.
    may_come: Cell<Option<usize>>,
    /// The same of heads, on a connection that requests share.
    heads: Cell<u32>,
    /// Where in the head the next byte without TLS stands, and the request that waits for it.
    place: Cell<Place>,
    waits: RefCell<Option<Rc<Passage>>>,
    reads: Cell<u32>,
    reads_ahead: bool,
    ahead: RefCell<Ahead>,
    /// Its right to be open.
    holds: RefCell<Option<room::Place>>,
    /// Of the task that works on the connection.
    ending: Rc<Ending>,
}

/// Bytes that were read and not asked for yet. It takes up memory only while there are any.
#[derive(Default)]
struct Ahead {
    bytes: Box<[u8]>,
    from: usize,
}

impl Ahead {
    fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Passes on what is asked for, and keeps the rest. Not inlined, since other reads must not pay for its stack.
    #[inline(never)]
    fn read(
        &mut self,
        stream: &mut TcpStream,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut space = [MaybeUninit::uninit(); AHEAD];
        let mut space = ReadBuf::uninit(&mut space);
        ready!(Pin::new(stream).poll_read(cx, &mut space))?;
        let (first, rest) = space.filled().split_at(space.filled().len().min(buf.remaining()));
        buf.put_slice(first);
        *self = Self { bytes: rest.into(), from: 0 };
        Poll::Ready(Ok(()))
    }

    /// Passes on as many as are asked for.
    fn pass(&mut self, buf: &mut ReadBuf<'_>) {
        let left = &self.bytes[self.from..];
        let count = left.len().min(buf.remaining());
        buf.put_slice(&left[..count]);
        self.from += count;
        if self.from == self.bytes.len() {
            *self = Self::default();
        }
    }
}

impl Socket {
    pub(super) fn new(stream: TcpStream) -> Self {
        Self::reading(stream, false)
    }

    /// For TLS.
    pub(super) fn under_tls(stream: TcpStream) -> Self {
        Self::reading(stream, true)
    }

    fn reading(stream: TcpStream, reads_ahead: bool) -> Self {
        let (stream, may_come, reads) = (RefCell::new(stream), Cell::default(), Cell::default());
        let (place, waits) = (Cell::new(Place::Answer), RefCell::default());
        let (ahead, holds, ending, heads) = Default::default();
        Self(Rc::new(Wire {
            stream,
            may_come,
            heads,
            place,
            waits,
            reads,
            reads_ahead,
            ahead,
            holds,
            ending,
        }))
    }

    /// Holds a place for as long as it is open.
    pub(super) fn hold(&self, place: room::Place) {
        self.0.holds.replace(Some(place));
    }

    pub(super) fn watch(&self) -> Watch {
        Watch(Rc::downgrade(&self.0))
    }
}

impl Watch {
    /// Whether it is open and nothing has come on it. The task that reads the connection may not have had its turn
    /// since something came; what it has not read yet would be taken for the answer to whatever is sent next.
    pub(super) fn is_quiet(&self) -> bool {
        let Some(wire) = self.0.upgrade() else { return false };
        if !wire.ahead.borrow().is_empty() {
            return false;
        }
        let stream = wire.stream.borrow();
        let mut byte = [MaybeUninit::uninit()];
        // Asks the system only where the loop saw something that was not read since.
        let seen = stream.try_io(Interest::READABLE, || SockRef::from(&*stream).peek(&mut byte));
        seen.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }

    /// Nobody wants anything of the connection any more.
    pub(super) fn is_left(&self) {
        if let Some(wire) = self.0.upgrade() {
            wire.ending.begin();
        }
    }

    /// When the task has to have ended that works on the connection.
    pub(super) fn ending(&self) -> Rc<Ending> {
        self.0.upgrade().map_or_else(Rc::default, |wire| Rc::clone(&wire.ending))
    }

    /// The head of this request's answer is waited for from now on.
    pub(super) fn waits_for_head(&self, request: &Rc<Passage>) {
        if let Some(wire) = self.0.upgrade() {
            wire.may_come.set(Some(BEFORE_HEAD));
            wire.place.set(Place::START);
            wire.waits.replace(Some(Rc::clone(request)));
        }
    }

    /// The head has come.
    pub(super) fn has_head(&self) {
        if let Some(wire) = self.0.upgrade() {
            wire.may_come.set(None);
            wire.place.set(Place::Answer);
            wire.waits.replace(None);
        }
    }

    /// On a connection that requests share, something of one or of its answer has moved. So many bytes may come, of
    /// whatever they are, and so many heads, until something moves again.
    pub(super) fn moves(&self, may_come: usize, heads: u32) {
        if let Some(wire) = self.0.upgrade() {
            wire.may_come.set(Some(may_come));
            wire.heads.set(heads);
        }
    }

    /// Notes heads that have come on such a connection, and says whether they may.
    fn had_heads(&self, count: u32) -> bool {
        let Some(wire) = self.0.upgrade() else { return true };
        let left = wire.heads.get().checked_sub(count);
        wire.heads.set(left.unwrap_or_default());
        left.is_some()
    }

    /// Notes bytes without TLS on their way to whoever reads them, and says how many interim answers the request that
    /// waits has got.
    pub(super) fn passes(&self, bytes: &[u8]) -> u32 {
        let Some(wire) = self.0.upgrade() else { return 0 };
        let mut place = wire.place.get();
        if matches!(place, Place::Answer) {
            return 0;
        }
        let found = place.pass(bytes);
        wire.place.set(place);
        let waits = wire.waits.borrow();
        waits.as_ref().map_or(0, |request| if found > 0 { request.heard(found) } else { 0 })
    }
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let wire = &self.0;
        if wire.may_come.get() == Some(0) {
            let text = "upstream sent more than it may before it goes on with an answer";
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, text)));
        }
        if wire.reads.get() >= READS_IN_A_ROW {
            wire.reads.set(0);
            give_way(cx);
            return Poll::Pending;
        }
        let mut ahead = wire.ahead.borrow_mut();
        if !ahead.is_empty() {
            // It counts like a read of the socket: what a peer makes a worker do in one go is bounded by bytes.
            wire.reads.update(|reads| reads + 1);
            ahead.pass(buf);
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        let mut stream = wire.stream.borrow_mut();
        let read = if wire.reads_ahead && buf.remaining() < AHEAD {
            ahead.read(&mut stream, cx, buf)
        } else {
            Pin::new(&mut *stream).poll_read(cx, buf)
        };
        wire.reads.set(if read.is_ready() { wire.reads.get() + 1 } else { 0 });
        ready!(read)?;
        let came = buf.filled().len() - before + ahead.bytes.len();
        wire.may_come.update(|left| left.map(|left| left.saturating_sub(came)));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.0.stream.borrow_mut()).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0.stream.borrow_mut()).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0.stream.borrow_mut()).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.0.stream.borrow_mut()).poll_write_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.stream.borrow().is_write_vectored()
    }
}

/// What the HTTP library reads and writes: bytes without TLS.
pub(super) struct Counted<S> {
    stream: S,
    watch: Watch,
    /// Of HTTP/2.
    frames: Option<Frames>,
    heads: u32,
}

impl<S> Counted<S> {
    /// Answers of HTTP/1.1.
    pub(super) fn new(stream: S, watch: Watch) -> Self {
        Self { stream, watch, frames: None, heads: 0 }
    }

    /// Frames of HTTP/2.
    pub(super) fn framed(stream: S, watch: Watch) -> Self {
        Self { frames: Some(Frames::default()), ..Self::new(stream, watch) }
    }

    /// Looks at what has come; says what there is too much of.
    fn count(&mut self, bytes: &[u8]) -> Result<(), &'static str> {
        match &mut self.frames {
            None if self.watch.passes(bytes) > INTERIM_MAX => {
                Err("upstream sent more than 64 interim answers before its answer")
            }
            None => Ok(()),
            Some(frames) => {
                let heads = frames.pass(bytes);
                self.heads += heads;
                let is_too_much = heads > 0 && !self.watch.had_heads(heads);
                if is_too_much { Err("upstream sent more heads than its answers can have") } else { Ok(()) }
            }
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Counted<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.heads >= HEADS_IN_A_ROW {
            self.heads = 0;
            give_way(cx);
            return Poll::Pending;
        }
        let before = buf.filled().len();
        if Pin::new(&mut self.stream).poll_read(cx, buf)?.is_pending() {
            self.heads = 0;
            return Poll::Pending;
        }
        let counted = self.count(&buf.filled()[before..]);
        Poll::Ready(counted.map_err(|text| io::Error::new(io::ErrorKind::InvalidData, text)))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Counted<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests;
