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

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::sync::Arc;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use crate::counters::{Counters, Cut};
    use crate::seats::{Bounds, SeatPermit, Seats};

    use super::*;

    /// A caller, and this side of its connection.
    async fn pair(counters: &Arc<Counters>) -> (TcpStream, CallerSocket, SeatPermit) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let (caller, taken) = tokio::join!(TcpStream::connect(address), listener.accept());
        let seats = Seats::new(Bounds::of(1), Arc::clone(counters));
        let permit = seats.take().unwrap_or_else(|_| panic!("there is room"));
        let stream = taken.expect("it is taken").0;
        let socket = CallerSocket::new(stream, Duration::from_secs(3600), Rc::clone(permit.seat()));
        (caller.expect("it is connected"), socket, permit)
    }

    #[tokio::test]
    async fn no_more_than_a_head_is_read_at_once_between_two_requests() {
        let (mut caller, mut socket, _permit) = pair(&Arc::default()).await;
        caller.write_all(&[0; 3 * HEAD_AT_ONCE]).await.expect("it is open");
        let mut bytes = vec![0; 8 * HEAD_AT_ONCE];
        let (mut read, mut most) = (0, 0);
        while read < 3 * HEAD_AT_ONCE {
            let some = socket.read(&mut bytes).await.expect("it is open");
            (read, most) = (read + some, most.max(some));
        }
        assert!(most <= HEAD_AT_ONCE, "{most}");
    }

    #[tokio::test]
    async fn a_run_of_reads_begins_behind_what_was_written() {
        let (mut caller, mut socket, _permit) = pair(&Arc::default()).await;
        let mut bytes = [0; 64];
        for (sent, last) in [(10, 10), (20, 30)] {
            caller.write_all(&bytes[..sent]).await.expect("it is open");
            socket.read_exact(&mut bytes[..sent]).await.expect("it is open");
            assert_eq!(socket.last_run(), last);
        }
        socket.write_all(&bytes).await.expect("it is open");
        assert_eq!(socket.last_run(), 30, "until the next is read");
        caller.write_all(&bytes[..5]).await.expect("it is open");
        socket.read_exact(&mut bytes[..5]).await.expect("it is open");
        assert_eq!(socket.last_run(), 5);
    }

    #[tokio::test]
    async fn a_connection_whose_caller_does_not_read_is_reset_and_leaves_the_kernel_nothing() {
        let counters = Arc::default();
        let (mut caller, mut socket, permit) = pair(&counters).await;
        let bytes = vec![0; 1 << 20];
        let fills = |context: &mut Context<'_>| {
            while let Poll::Ready(wrote) = Pin::new(&mut socket).poll_write(context, &bytes) {
                wrote.expect("it is open");
            }
            Poll::Ready(())
        };
        poll_fn(fills).await;
        drop((socket, permit));
        let error = caller.read_to_end(&mut Vec::new()).await.expect_err("it has no end");
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        assert_eq!(counters.cut_for(Cut::Stalled), 1);
    }
}
