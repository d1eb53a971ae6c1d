//! The body of a reply on its way to the caller, and the end of its request.
//!
//! Changes no byte. A number that a meter reads is looked for in a copy, or in the parts of a stream once they are on
//! their way, so nothing is delayed; in a long copy, by `numbers`. The invariant: a record says that a response was delivered only if the caller's side took all of it.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf as _, Bytes};
use http::Method;
use http_body::{Body, Frame, SizeHint};

use crate::body::Whole;
use crate::outcome::Code;

use super::filter::Beside;
use super::numbers;
use super::settle::Draft;
use super::stream_filter::{Step, StreamFilter};
use super::trial::Explaining;
use super::tunnel::Tunnel;
use super::upstream_body::{BodyError, UpstreamBody};

/// The response body for the caller.
pub(crate) struct ReplyBody {
    inner: Inner,
    /// `None`: not a proxied request.
    draft: Option<Draft>,
    beside: Option<Box<Beside>>,
}

enum Inner {
    Upstream(UpstreamBody),
    Own(Option<Bytes>),
    /// What filters left; so much of it has gone out.
    Whole(Whole, usize),
    /// None; whoever sends the head takes the tunnel, which begins behind it.
    Tunnel(Option<Box<Tunnel>>),
    /// The parts of an answer that explains its request, whose own response is in it.
    Explaining(Box<Explaining<ReplyBody>>),
}

impl ReplyBody {
    pub(super) fn tunnel(tunnel: Tunnel) -> Self {
        Self { inner: Inner::Tunnel(Some(Box::new(tunnel))), draft: None, beside: None }
    }

    /// The tunnel that begins behind the head, if one does.
    pub(crate) fn take_tunnel(&mut self) -> Option<Box<Tunnel>> {
        match &mut self.inner {
            Inner::Tunnel(tunnel) => tunnel.take(),
            Inner::Upstream(_) | Inner::Own(_) | Inner::Whole(..) | Inner::Explaining(_) => None,
        }
    }

    pub(super) fn upstream(body: UpstreamBody, beside: Option<Box<Beside>>, draft: Draft) -> Self {
        let mut reply = Self { inner: Inner::Upstream(body), draft: Some(draft), beside };
        reply.settle_at_end();
        reply
    }

    pub(super) fn whole(body: Whole, draft: Draft) -> Self {
        if body.is_empty() {
            return Self::own(Bytes::new(), draft);
        }
        Self { inner: Inner::Whole(body, 0), draft: Some(draft), beside: None }
    }

    pub(super) fn own(body: Bytes, mut draft: Draft) -> Self {
        // The server never polls the body of a response to HEAD.
        if draft.method() == Method::HEAD || body.is_empty() {
            draft.delivered();
        }
        let body = Some(body).filter(|body| !body.is_empty());
        Self { inner: Inner::Own(body), draft: Some(draft), beside: None }
    }

    pub(super) fn explaining(explaining: Explaining<Self>) -> Self {
        Self { inner: Inner::Explaining(Box::new(explaining)), draft: None, beside: None }
    }

    /// A response about this node, without a record.
    pub(super) fn unrecorded(body: Bytes) -> Self {
        Self { inner: Inner::Own(Some(body)), draft: None, beside: None }
    }

    fn settle_at_end(&mut self) {
        if self.is_end_stream() {
            self.settle();
        }
    }

    fn settle(&mut self) {
        if let Some(draft) = &mut self.draft {
            draft.delivered();
            self.read_numbers(true);
        }
    }

    /// Has meters come to their numbers; `whole`: all of the body has come.
    fn read_numbers(&mut self, whole: bool) {
        let tee = self.beside.take().and_then(|beside| match *beside {
            Beside::Meters(tee) => Some(tee),
            Beside::Filters(_) => None,
        });
        numbers::read(&mut self.draft, tee, whole);
    }
}

/// What comes next of a stream that filters go over.
fn filtered(
    body: &mut UpstreamBody,
    filters: &mut StreamFilter,
    draft: &mut Draft,
    cx: &mut Context<'_>,
) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
    loop {
        match filters.next(draft) {
            Step::Goes(frame) => return Poll::Ready(frame.map(Ok)),
            Step::Fails(broken) => return Poll::Ready(Some(Err(BodyError::Broken(broken)))),
            Step::Rests => {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            Step::Waits => {}
        }
        match Pin::new(&mut *body).poll_frame(cx) {
            Poll::Ready(frame) => {
                if body.has_echoed() {
                    draft.echoed(false);
                }
                match frame {
                    Some(Ok(frame)) => filters.take(frame, body.is_end_stream()),
                    Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                    None => filters.end(),
                }
            }
            Poll::Pending => return Poll::Pending,
        }
    }
}

impl Drop for ReplyBody {
    /// A caller that has the number does not leave without it.
    fn drop(&mut self) {
        self.read_numbers(false);
    }
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        if let (Some(Beside::Meters(tee)), Some(draft)) = (this.beside.as_deref_mut(), &mut this.draft)
            && tee.is_behind(draft)
        {
            // Others have their turn before more comes.
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let filters = match this.beside.as_deref_mut() {
            Some(Beside::Filters(filters)) => this.draft.as_mut().map(|draft| (filters, draft)),
            Some(Beside::Meters(_)) | None => None,
        };
        let frame = match (&mut this.inner, filters) {
            (Inner::Upstream(body), Some((filters, draft))) => match filtered(body, filters, draft, cx) {
                Poll::Ready(frame) => frame,
                Poll::Pending => return Poll::Pending,
            },
            (Inner::Upstream(body), None) => match Pin::new(&mut *body).poll_frame(cx) {
                Poll::Ready(frame) => {
                    if let Some(draft) = &mut this.draft
                        && body.has_echoed()
                    {
                        draft.echoed(false);
                    }
                    frame
                }
                Poll::Pending => return Poll::Pending,
            },
            (Inner::Own(body), _) => body.take().map(|bytes| Ok(Frame::data(bytes))),
            (Inner::Whole(whole, at), _) if *at < whole.len() => {
                let piece = whole.piece(*at);
                *at += piece.len();
                Some(Ok(Frame::data(piece)))
            }
            (Inner::Explaining(explaining), _) => match explaining.poll_part(cx) {
                Poll::Ready(part) => part.map(|part| Ok(Frame::data(part))),
                Poll::Pending => return Poll::Pending,
            },
            (Inner::Whole(..) | Inner::Tunnel(_), _) => None,
        };
        match &frame {
            Some(Ok(frame)) => {
                if let (Some(data), Some(draft)) = (frame.data_ref(), &mut this.draft) {
                    draft.sent(data.remaining() as u64);
                    if let Some(Beside::Meters(tee)) = this.beside.as_deref_mut() {
                        tee.push(data, draft);
                    }
                }
                this.settle_at_end();
            }
            Some(Err(error)) => {
                if let (BodyError::Broken(broken), Some(draft)) = (error, &mut this.draft)
                    && let Some(code) = broken.code()
                {
                    draft.broken_off(code);
                    if code == Code::SecretEchoed {
                        draft.echoed(true);
                    }
                }
            }
            None => this.settle(),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        match &self.inner {
            Inner::Upstream(body) => match self.beside.as_deref() {
                Some(Beside::Filters(filters)) => filters.is_at_end(body.is_end_stream()),
                Some(Beside::Meters(_)) | None => body.is_end_stream(),
            },
            Inner::Own(body) => body.is_none(),
            Inner::Whole(whole, at) => *at == whole.len(),
            Inner::Tunnel(_) => true,
            Inner::Explaining(explaining) => explaining.is_told(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.inner {
            Inner::Upstream(body) => match self.beside.as_deref() {
                Some(Beside::Filters(_)) => SizeHint::default(),
                Some(Beside::Meters(_)) | None => body.size_hint(),
            },
            Inner::Own(body) => SizeHint::with_exact(body.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Inner::Whole(whole, at) => SizeHint::with_exact((whole.len() - at) as u64),
            Inner::Tunnel(_) => SizeHint::with_exact(0),
            Inner::Explaining(_) => SizeHint::default(),
        }
    }
}
