//! The body of a response, with the place among the open streams and the deadline that end with it.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::Body;
use bytes::Bytes;
use http::HeaderMap;
use http_body::{Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep_until};

use super::Portion;

/// A body that gives its place back when it ends, and that ends in time.
pub(crate) struct Held {
    inner: Body,
    place: Option<Portion>,
    deadline: Option<(Pin<Box<Sleep>>, HeaderMap)>,
}

impl Held {
    /// `late` is the trailers that a body ends with which is not ready at its deadline.
    pub(crate) fn new(inner: Body, place: Option<Portion>, deadline: Option<(Instant, HeaderMap)>) -> Self {
        Self { inner, place, deadline: deadline.map(|(at, late)| (Box::pin(sleep_until(at)), late)) }
    }
}

impl http_body::Body for Held {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if let Some((sleep, _)) = &mut self.deadline
            && sleep.as_mut().poll(context).is_ready()
        {
            self.place = None;
            self.inner = Body::empty();
            let late = self.deadline.take().map(|(_, late)| Ok(Frame::trailers(late)));
            return Poll::Ready(late);
        }
        let polled = Pin::new(&mut self.inner).poll_frame(context);
        if matches!(polled, Poll::Ready(None | Some(Err(_)))) {
            self.place = None;
            self.deadline = None;
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        // Also before the deadline: a call that fails at once says so in its head, and clients take a head for the
        // end only where nothing follows it, not even an empty piece.
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
