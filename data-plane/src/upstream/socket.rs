//! The socket under an upstream connection, and a way to look at it while it is idle.
//!
//! Reads nothing away and changes nothing. The invariant: a connection on which anything had come that nobody
//! asked for, its end included, when the loop last looked at its sockets, is never said to be quiet. It does not
//! ask the system about a socket on which the loop saw nothing: that would cost each request a system call.

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll};

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;

/// What the HTTP library, or TLS below it, reads and writes.
pub(super) struct Socket(Rc<RefCell<TcpStream>>);

/// Looks at a [`Socket`] without holding it open.
pub(super) struct Watch(Weak<RefCell<TcpStream>>);

impl Socket {
    pub(super) fn new(stream: TcpStream) -> Self {
        Self(Rc::new(RefCell::new(stream)))
    }

    pub(super) fn watch(&self) -> Watch {
        Watch(Rc::downgrade(&self.0))
    }
}

impl Watch {
    /// Whether it is open and nothing has come on it. The task that reads the connection may not have had its turn
    /// since something came; what it has not read yet would be taken for the answer to whatever is sent next.
    pub(super) fn is_quiet(&self) -> bool {
        let Some(stream) = self.0.upgrade() else { return false };
        let stream = stream.borrow();
        let mut byte = [MaybeUninit::uninit()];
        // Asks the system only where the loop saw something and nobody has read it since.
        let seen = stream.try_io(Interest::READABLE, || SockRef::from(&*stream).peek(&mut byte));
        seen.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0.borrow_mut()).poll_read(cx, buf)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.0.borrow_mut()).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0.borrow_mut()).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0.borrow_mut()).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.0.borrow_mut()).poll_write_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.borrow().is_write_vectored()
    }
}

#[cfg(test)]
mod tests;
