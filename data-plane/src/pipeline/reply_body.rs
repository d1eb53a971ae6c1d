//! The body of a reply on its way to the caller, and the end of its request.
//!
//! Changes no byte. A number that a meter reads is looked for in a copy, so nothing is delayed; in a long one, by
//! `numbers`. The invariant: a record says that a response was delivered only if the caller's side took all of it.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf as _, Bytes};
use http::Method;
use http_body::{Body, Frame, SizeHint};

use crate::body::Whole;
use crate::outcome::Code;

use super::numbers;
use super::settle::Draft;
use super::tee::Tee;
use super::tunnel::Tunnel;
use super::upstream_body::{BodyError, UpstreamBody};

/// The response body for the caller.
pub(crate) struct ReplyBody {
    inner: Inner,
    /// `None`: not a proxied request.
    draft: Option<Draft>,
    /// What meters read their numbers from. Boxed: few replies have one, and all would carry it.
    tee: Option<Box<Tee>>,
}

enum Inner {
    Upstream(UpstreamBody),
    Own(Option<Bytes>),
    /// What filters left; so much of it has gone out.
    Whole(Whole, usize),
    /// None; whoever sends the head takes the tunnel, which begins behind it.
    Tunnel(Option<Box<Tunnel>>),
}

impl ReplyBody {
    pub(super) fn tunnel(tunnel: Tunnel) -> Self {
        Self { inner: Inner::Tunnel(Some(Box::new(tunnel))), draft: None, tee: None }
    }

    /// The tunnel that begins behind the head, if one does.
    pub(crate) fn take_tunnel(&mut self) -> Option<Box<Tunnel>> {
        match &mut self.inner {
            Inner::Tunnel(tunnel) => tunnel.take(),
            Inner::Upstream(_) | Inner::Own(_) | Inner::Whole(..) => None,
        }
    }

    pub(super) fn upstream(body: UpstreamBody, tee: Option<Box<Tee>>, draft: Draft) -> Self {
        let mut reply = Self { inner: Inner::Upstream(body), draft: Some(draft), tee };
        reply.settle_at_end();
        reply
    }

    pub(super) fn whole(body: Whole, draft: Draft) -> Self {
        if body.is_empty() {
            return Self::own(Bytes::new(), draft);
        }
        Self { inner: Inner::Whole(body, 0), draft: Some(draft), tee: None }
    }

    pub(super) fn own(body: Bytes, mut draft: Draft) -> Self {
        // The server never polls the body of a response to HEAD.
        if draft.method() == Method::HEAD || body.is_empty() {
            draft.delivered();
        }
        let body = Some(body).filter(|body| !body.is_empty());
        Self { inner: Inner::Own(body), draft: Some(draft), tee: None }
    }

    /// A response about this node, without a record.
    pub(super) fn unrecorded(body: Bytes) -> Self {
        Self { inner: Inner::Own(Some(body)), draft: None, tee: None }
    }

    fn settle_at_end(&mut self) {
        if self.is_end_stream() {
            self.settle();
        }
    }

    fn settle(&mut self) {
        if let Some(draft) = &mut self.draft {
            draft.delivered();
            numbers::read(&mut self.draft, self.tee.take(), true);
        }
    }
}

impl Drop for ReplyBody {
    /// A caller that has the number does not leave without it.
    fn drop(&mut self) {
        numbers::read(&mut self.draft, self.tee.take(), false);
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
        let frame = match &mut this.inner {
            Inner::Upstream(body) => match Pin::new(&mut *body).poll_frame(cx) {
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
            Inner::Own(body) => body.take().map(|bytes| Ok(Frame::data(bytes))),
            Inner::Whole(whole, at) if *at < whole.len() => {
                let piece = whole.piece(*at);
                *at += piece.len();
                Some(Ok(Frame::data(piece)))
            }
            Inner::Whole(..) | Inner::Tunnel(_) => None,
        };
        match &frame {
            Some(Ok(frame)) => {
                if let (Some(data), Some(draft)) = (frame.data_ref(), &mut this.draft) {
                    draft.sent(data.remaining() as u64);
                    if let Some(tee) = &mut this.tee {
                        tee.copy(data);
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
            Inner::Upstream(body) => body.is_end_stream(),
            Inner::Own(body) => body.is_none(),
            Inner::Whole(whole, at) => *at == whole.len(),
            Inner::Tunnel(_) => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.inner {
            Inner::Upstream(body) => body.size_hint(),
            Inner::Own(body) => SizeHint::with_exact(body.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Inner::Whole(whole, at) => SizeHint::with_exact((whole.len() - at) as u64),
            Inner::Tunnel(_) => SizeHint::with_exact(0),
        }
    }
}
