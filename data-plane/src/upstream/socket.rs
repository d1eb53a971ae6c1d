//! The socket under an upstream connection: looked at while it is idle, and bounded while it is read.
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

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;

/// What may come before the end of an answer's head, interim answers included: twice what a head may be. The
/// HTTP library passes over interim answers without a bound, and does not pause between two.
const BEFORE_HEAD: usize = 128 * 1024;
/// After this many successful reads in a row, other tasks have their turn.
const READS_IN_A_ROW: u32 = 16;

/// Bytes both ways, with or without TLS.
pub(crate) trait Duplex: AsyncRead + AsyncWrite + Unpin {}

impl<T: AsyncRead + AsyncWrite + Unpin> Duplex for T {}

/// What the HTTP library, or TLS below it, reads and writes.
pub(super) struct Socket(Rc<Wire>);

/// Looks at a [`Socket`] without holding it open.
pub(super) struct Watch(Weak<Wire>);

struct Wire {
    stream: RefCell<TcpStream>,
    /// Bytes that may still come before a response head; `None` while no request waits for one.
    before_head: Cell<Option<usize>>,
    reads: Cell<u32>,
}

impl Socket {
    pub(super) fn new(stream: TcpStream) -> Self {
        let (before_head, reads) = (Cell::default(), Cell::default());
        Self(Rc::new(Wire { stream: RefCell::new(stream), before_head, reads }))
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
        let stream = wire.stream.borrow();
        let mut byte = [MaybeUninit::uninit()];
        // Asks the system only where the loop saw something that was not read since.
        let seen = stream.try_io(Interest::READABLE, || SockRef::from(&*stream).peek(&mut byte));
        seen.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }

    /// An answer's head is waited for from now on, or no longer.
    pub(super) fn waits_for_head(&self, waits: bool) {
        if let Some(wire) = self.0.upgrade() {
            wire.before_head.set(waits.then_some(BEFORE_HEAD));
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let wire = &self.0;
        if wire.before_head.get() == Some(0) {
            let text = "upstream sent more than 128 KiB before the end of its answer's head";
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, text)));
        }
        if wire.reads.get() >= READS_IN_A_ROW {
            wire.reads.set(0);
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let before = buf.filled().len();
        let read = Pin::new(&mut *wire.stream.borrow_mut()).poll_read(cx, buf);
        wire.reads.set(if read.is_ready() { wire.reads.get() + 1 } else { 0 });
        ready!(read)?;
        let came = buf.filled().len() - before;
        wire.before_head.update(|left| left.map(|left| left.saturating_sub(came)));
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

#[cfg(test)]
mod tests;
