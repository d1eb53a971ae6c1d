//! A connection that takes no endless head of an answer.
//!
//! The HTTP library bounds a head, but passes over interim answers without a bound. Bodies are bounded elsewhere.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What may come before the end of the head, interim answers included.
const BEFORE_HEAD: usize = 128 * 1024;
const NO_BOUND: usize = usize::MAX;

pub(super) struct BoundedHead<S> {
    stream: S,
    left: Arc<AtomicUsize>,
}

/// Tells a [`BoundedHead`] stream when the head has come.
pub(super) struct Head(Arc<AtomicUsize>);

impl Head {
    pub(super) fn has_come(&self) {
        self.0.store(NO_BOUND, Ordering::Relaxed);
    }
}

impl<S> BoundedHead<S> {
    pub(super) fn new(stream: S) -> (Self, Head) {
        let left = Arc::new(AtomicUsize::new(BEFORE_HEAD));
        (Self { stream, left: Arc::clone(&left) }, Head(left))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for BoundedHead<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let left = self.left.load(Ordering::Relaxed);
        if left == 0 {
            let text = "more than 128 KiB came before the end of the answer's head";
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, text)));
        }
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        if left != NO_BOUND {
            let came = buf.filled().len() - before;
            self.left.store(left.saturating_sub(came), Ordering::Relaxed);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for BoundedHead<S> {
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
