//! The body of an upstream's response: watched, bounded, and its connection given back at the end.
//!
//! Looks at no byte of it. The invariant: a connection is used again only when its response was read to the end.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::Instant;

use crate::deadline::Deadline;
use crate::upstream::Lease;

use super::clean::strip;

/// Why a response body broke off.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BodyError {
    #[error("upstream broke off its response")]
    Broken(#[source] hyper::Error),
    #[error("upstream sent nothing more of its response")]
    Silent,
    #[error("response body is longer than the proxy lets through")]
    TooLong,
}

/// A response body on its way from the upstream.
pub(crate) struct UpstreamBody {
    body: Incoming,
    /// Taken when the body has ended.
    lease: Option<Lease>,
    silence: Silence,
    /// Bytes that may still come.
    left: u64,
}

impl UpstreamBody {
    /// A body of at most `most` bytes, if it does not say of itself that it is longer.
    pub(super) fn new(body: Incoming, lease: Lease, silence: Duration, most: u64) -> Result<Self, BodyError> {
        if body.size_hint().lower() > most {
            return Err(BodyError::TooLong);
        }
        let silence = Silence::new(silence);
        let mut body = Self { body, lease: Some(lease), silence, left: most };
        body.settle_at_end();
        Ok(body)
    }

    /// Gives the connection back as soon as nothing more can come on it: the server does not ask a body of
    /// known length for its end.
    fn settle_at_end(&mut self) {
        if self.is_end_stream() {
            self.settle();
        }
    }

    fn settle(&mut self) {
        if let Some(lease) = self.lease.take() {
            lease.give_back();
        }
    }
}

impl Body for UpstreamBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        let frame = match Pin::new(&mut this.body).poll_frame(cx) {
            Poll::Ready(mut frame) => {
                this.silence.is_broken();
                if let Some(Ok(frame)) = &mut frame
                    && let Some(trailers) = frame.trailers_mut()
                {
                    strip(trailers, |_| false);
                }
                frame
            }
            Poll::Pending if this.silence.is_over(cx) => return Poll::Ready(Some(Err(BodyError::Silent))),
            Poll::Pending => return Poll::Pending,
        };
        match &frame {
            Some(Ok(frame)) => {
                let bytes = frame.data_ref().map_or(0, |data| data.remaining() as u64);
                let Some(left) = this.left.checked_sub(bytes) else {
                    return Poll::Ready(Some(Err(BodyError::TooLong)));
                };
                this.left = left;
                this.settle_at_end();
            }
            Some(Err(_)) => {}
            None => this.settle(),
        }
        Poll::Ready(frame.map(|frame| frame.map_err(BodyError::Broken)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Timer for an upstream that sends nothing in the middle of a body.
struct Silence {
    limit: Duration,
    since: Option<Instant>,
    deadline: Deadline,
}

impl Silence {
    fn new(limit: Duration) -> Self {
        Self { limit, since: None, deadline: Deadline::default() }
    }

    fn is_broken(&mut self) {
        self.since = None;
    }

    /// Whether it has lasted too long. Wakes the task at the deadline.
    fn is_over(&mut self, cx: &mut Context<'_>) -> bool {
        let end = *self.since.get_or_insert_with(Instant::now) + self.limit;
        self.deadline.is_over(end, cx)
    }
}
