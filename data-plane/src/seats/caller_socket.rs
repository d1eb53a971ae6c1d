//! A caller's socket: reports to its seat what is read, and what the caller does not take.
//!
//! Parses nothing. The invariant: between two requests no more is read at once than the usual size of a head, so
//! that early bytes are bounded.

use std::io;
use std::mem;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rr_contract::runtime::patience::Socket;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::Seat;

const HEAD_AT_ONCE: usize = 8 * 1024;

pub(crate) struct CallerSocket {
    socket: Socket<TcpStream>,
    seat: Rc<Seat>,
    /// Bytes that were read in a row.
    run: usize,
    /// Whether something was written since.
    has_written: bool,
}

impl CallerSocket {
    pub(crate) fn new(stream: TcpStream, patience: Duration, seat: Rc<Seat>) -> Self {
        let socket = Socket::new(stream, Some(patience));
        Self { socket, seat, run: 0, has_written: false }
    }

    /// Bytes that were read last with nothing written between them.
    pub(crate) fn last_run(&self) -> usize {
        self.run
    }

    /// Looks at the first bytes without taking them.
    pub(crate) async fn peek(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.socket.get_ref().peek(buffer).await
    }

    fn wrote<T>(&mut self, polled: T) -> T {
        self.has_written = true;
        self.seat.waits(self.socket.is_waiting());
        polled
    }
}

impl AsyncRead for CallerSocket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        if self.seat.is_busy() || buffer.remaining() <= HEAD_AT_ONCE {
            ready!(Pin::new(&mut self.socket).poll_read(context, buffer))?;
        } else {
            let mut some = ReadBuf::new(buffer.initialize_unfilled_to(HEAD_AT_ONCE));
            ready!(Pin::new(&mut self.socket).poll_read(context, &mut some))?;
            let read = some.filled().len();
            buffer.advance(read);
        }
        let read = buffer.filled().len() - before;
        if read > 0 && mem::take(&mut self.has_written) {
            self.run = 0;
        }
        self.run = self.run.saturating_add(read);
        self.seat.read(read);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for CallerSocket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.socket).poll_write(context, bytes);
        self.wrote(polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.socket).poll_write_vectored(context, buffers);
        self.wrote(polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.socket).poll_flush(context);
        self.wrote(polled)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.socket).poll_shutdown(context);
        self.wrote(polled)
    }
}

impl Drop for CallerSocket {
    fn drop(&mut self) {
        // Otherwise the kernel would keep the unread bytes for minutes, in its own memory.
        if !self.socket.is_waiting() {
            return;
        }
        self.seat.gave_up();
        if let Err(error) = self.socket.get_ref().set_zero_linger() {
            tracing::debug!(%error, "connection of a caller that does not read could not be reset; leaving it to the kernel");
        }
    }
}
