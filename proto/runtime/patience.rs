//! How long a peer may keep us waiting while we write: a caller that does not read holds memory and a place.
//!
//! Two ways not to read, two watches: the socket takes nothing ([`Socket`]), or an HTTP/2 stream has no
//! window, so that nobody asks for the next piece of a body ([`Watched`]). Neither ends anything but itself.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
#[cfg(target_os = "linux")]
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep};

/// A body goes out in pieces of this size, so that each waits for room of its own.
const PIECE: usize = 16 * 1024;

/// So much of what was written may wait in the kernel for its turn. Without it a slow reader finds megabytes
/// there, and the next that can be written comes so late that a reader looks like one that does not read.
#[cfg(target_os = "linux")]
const NOT_SENT_MOST: u32 = 128 * 1024;

/// Has a socket send small answers at once, and say early that it can take more.
pub fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    #[cfg(target_os = "linux")]
    SockRef::from(stream).set_tcp_notsent_lowat(NOT_SENT_MOST)?;
    Ok(())
}

/// A socket whose peer takes something in time, or is cut off.
#[derive(Debug)]
pub struct Socket<S> {
    inner: S,
    patience: Option<Duration>,
    waiting: Option<Pin<Box<Sleep>>>,
}

impl<S> Socket<S> {
    /// Watches a socket; without patience it is passed through.
    pub fn new(inner: S, patience: Option<Duration>) -> Self {
        Self { inner, patience, waiting: None }
    }

    /// The socket itself.
    pub fn get_ref(&self) -> &S {
        &self.inner
    }

    /// Whether what was written last still waits for the peer.
    pub fn is_waiting(&self) -> bool {
        self.waiting.is_some()
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

/// Since when a body could go on and nobody asks it to. Nothing while it is asked and has nothing.
#[derive(Debug)]
pub struct Asked(Mutex<Option<Instant>>);

impl Asked {
    /// For something other than a body.
    pub fn unwatched() -> Arc<Self> {
        Arc::new(Self(Mutex::new(None)))
    }

    /// Notes since when there is something that nobody takes.
    pub fn waits(&self, since: Option<Instant>) {
        self.mark(since);
    }

    fn mark(&self, since: Option<Instant>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = since;
    }

    /// Since when nobody asks.
    pub fn since(&self) -> Option<Instant> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The open bodies of one connection.
#[derive(Debug, Clone, Default)]
pub struct Watch(Arc<Mutex<Vec<Weak<Asked>>>>);

impl Watch {
    /// Watches a body.
    pub fn body<B: Body<Data = Bytes>>(&self, inner: B) -> Watched<B> {
        let watched = Watched::new(inner);
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|asked| asked.strong_count() > 0);
        all.push(Arc::downgrade(&watched.asked));
        watched
    }

    /// Ends once a body was not asked for more for this long.
    pub async fn stalled(&self, patience: Duration) {
        loop {
            let oldest = {
                let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
                all.iter().filter_map(Weak::upgrade).filter_map(|asked| asked.since()).min()
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

/// A body that says since when nobody asks for more of it, and goes out in small pieces.
#[derive(Debug)]
pub struct Watched<B> {
    inner: B,
    asked: Arc<Asked>,
    rest: Bytes,
}

impl<B: Body<Data = Bytes>> Watched<B> {
    /// Watches a body.
    pub fn new(inner: B) -> Self {
        // One that is at its end is never asked.
        let since = if inner.is_end_stream() { None } else { Some(Instant::now()) };
        Self { inner, asked: Arc::new(Asked(Mutex::new(since))), rest: Bytes::new() }
    }

    /// What says since when nobody asks.
    pub fn asked(&self) -> &Arc<Asked> {
        &self.asked
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Watched<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        if self.rest.is_empty() {
            let polled = Pin::new(&mut self.inner).poll_frame(context);
            let frame = match polled {
                Poll::Ready(Some(Ok(frame))) => frame,
                other => {
                    self.asked.mark(None);
                    return other;
                }
            };
            match frame.into_data() {
                Ok(data) => self.rest = data,
                Err(frame) => {
                    self.asked.mark(None);
                    return Poll::Ready(Some(Ok(frame)));
                }
            }
        }
        let length = self.rest.len().min(PIECE);
        let piece = self.rest.split_to(length);
        self.asked.mark(Some(Instant::now()));
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
