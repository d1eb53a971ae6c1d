//! How long a peer may keep us waiting while we write: a caller that does not read holds memory and a place.
//!
//! Two ways not to read, two watches: the socket takes nothing ([`Socket`]), or an HTTP/2 stream has no
//! window, so that nobody asks for the next piece of a body ([`Watch`]).

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

/// A body goes out in pieces of this size, so that each waits for room of its own.
const PIECE: usize = 16 * 1024;

/// A socket whose peer takes something in time, or is cut off.
pub(crate) struct Socket<S> {
    inner: S,
    patience: Option<Duration>,
    waiting: Option<Pin<Box<Sleep>>>,
}

impl<S> Socket<S> {
    pub(crate) fn new(inner: S, patience: Option<Duration>) -> Self {
        Self { inner, patience, waiting: None }
    }

    fn wrote<T>(&mut self, context: &mut Context<'_>, polled: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        let Some(patience) = self.patience else { return polled };
        if polled.is_ready() {
            self.waiting = None;
            return polled;
        }
        ready!(self.waiting.get_or_insert_with(|| Box::pin(sleep(patience))).as_mut().poll(context));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the peer does not read")))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Socket<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Socket<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.inner).poll_write(context, bytes);
        self.wrote(context, polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.inner).poll_write_vectored(context, buffers);
        self.wrote(context, polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.inner).poll_flush(context);
        self.wrote(context, polled)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.inner).poll_shutdown(context);
        self.wrote(context, polled)
    }
}

/// The open bodies of one connection.
#[derive(Clone, Default)]
pub(crate) struct Watch(Arc<Mutex<Vec<Weak<Asked>>>>);

/// Since when a body could go on and nobody asks it to. Nothing while it is asked and has nothing.
type Asked = Mutex<Option<Instant>>;

impl Watch {
    /// Watches a body.
    pub(crate) fn body(&self, inner: Body) -> Body {
        if http_body::Body::is_end_stream(&inner) {
            return inner;
        }
        let asked = Arc::new(Mutex::new(Some(Instant::now())));
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|asked| asked.strong_count() > 0);
        all.push(Arc::downgrade(&asked));
        Body::new(Watched { inner, asked, rest: Bytes::new() })
    }

    /// Ends once a body was not asked for more for this long.
    pub(crate) async fn stalled(&self, patience: Duration) {
        loop {
            let oldest = {
                let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
                let since = |asked: &Arc<Asked>| *asked.lock().unwrap_or_else(PoisonError::into_inner);
                all.iter().filter_map(Weak::upgrade).filter_map(|asked| since(&asked)).min()
            };
            let now = Instant::now();
            let left = oldest.map_or(patience, |since| (since + patience).saturating_duration_since(now));
            if left.is_zero() {
                return;
            }
            sleep(left).await;
        }
    }
}

struct Watched {
    inner: Body,
    asked: Arc<Asked>,
    rest: Bytes,
}

impl Watched {
    fn mark(&self, since: Option<Instant>) {
        *self.asked.lock().unwrap_or_else(PoisonError::into_inner) = since;
    }
}

impl http_body::Body for Watched {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if self.rest.is_empty() {
            let polled = Pin::new(&mut self.inner).poll_frame(context);
            let frame = match polled {
                Poll::Ready(Some(Ok(frame))) => frame,
                other => {
                    self.mark(None);
                    return other;
                }
            };
            match frame.into_data() {
                Ok(data) => self.rest = data,
                Err(frame) => {
                    self.mark(None);
                    return Poll::Ready(Some(Ok(frame)));
                }
            }
        }
        let length = self.rest.len().min(PIECE);
        let piece = self.rest.split_to(length);
        self.mark(Some(Instant::now()));
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let mut hint = self.inner.size_hint();
        let rest = self.rest.len() as u64;
        match hint.upper() {
            Some(upper) => {
                hint.set_upper(upper.saturating_add(rest));
                hint.set_lower(hint.lower().saturating_add(rest));
            }
            None => hint.set_lower(hint.lower().saturating_add(rest)),
        }
        hint
    }
}
