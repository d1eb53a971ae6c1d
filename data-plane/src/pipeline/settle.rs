//! The end of a request: streams the response body and writes the record.
//!
//! Never waits: a record that finds no room is counted and dropped. The invariant: each request leaves
//! exactly one record or one count, whichever way its future or its body ends, because both happen in `drop`.

use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use bytes::{Buf as _, Bytes};
use http::{HeaderValue, Method, StatusCode};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use rr_contract::model::id::{ProxyId, RequestId};
use tokio::time::Instant;

use crate::deadline::Deadline;
use crate::outcome::Code;
use crate::report::RawRecord;
use crate::seats::Busy;
use crate::upstream::Lease;
use crate::worker::Worker;

use super::admit::Admitted;
use super::authenticate::Authenticated;
use super::resolve::Resolved;

/// Bytes of a path that go into a record.
const PATH_MAX: usize = 1024;

/// A record in the making.
pub(crate) struct Draft {
    worker: Rc<Worker>,
    busy: Busy,
    started: Instant,
    request_bytes: Rc<Cell<u64>>,
    /// `None` once it was handed over.
    record: Option<Box<RawRecord>>,
}

impl Draft {
    pub(super) fn begin(worker: &Rc<Worker>, busy: Busy, revision: u64, method: &Method) -> Self {
        worker.counters.request_began();
        let record = Box::new(RawRecord {
            id: worker.next_request_id(),
            received_at: worker.clock.now(),
            org: None,
            proxy: None,
            caller: None,
            target: None,
            upstream: None,
            method: method.clone(),
            path: Box::default(),
            status: None,
            upstream_status: None,
            code: None,
            duration: Duration::ZERO,
            upstream_duration: None,
            request_bytes: 0,
            response_bytes: 0,
            revision,
            aborted: true,
        });
        Self {
            worker: Rc::clone(worker),
            busy,
            started: Instant::now(),
            request_bytes: Rc::default(),
            record: Some(record),
        }
    }

    fn kept(&self) -> &RawRecord {
        self.record.as_ref().expect("a record is taken in drop alone")
    }

    pub(super) fn id(&self) -> RequestId {
        self.kept().id
    }

    pub(super) fn revision(&self) -> u64 {
        self.kept().revision
    }

    pub(super) fn proxy(&self) -> Option<ProxyId> {
        self.kept().proxy
    }

    fn record(&mut self) -> &mut RawRecord {
        self.record.as_mut().expect("a record is taken in drop alone")
    }

    pub(super) fn request_id(&mut self) -> HeaderValue {
        HeaderValue::from_maybe_shared(Bytes::from(self.record().id.text()))
            .expect("an id is letters, digits and an underscore")
    }

    pub(super) fn received_at(&mut self) -> SystemTime {
        self.record().received_at
    }

    pub(super) fn request_bytes(&self) -> Rc<Cell<u64>> {
        Rc::clone(&self.request_bytes)
    }

    pub(super) fn busy(&self) -> Busy {
        self.busy.clone()
    }

    pub(super) fn resolved(&mut self, request: &Resolved<'_>) {
        let path = &request.path;
        let record = self.record();
        record.path = path[..path.floor_char_boundary(PATH_MAX)].into();
        if let Some(proxy) = request.proxy {
            record.org = Some(proxy.org_id);
            record.proxy = Some(proxy.id);
        }
    }

    pub(super) fn authenticated(&mut self, request: &Authenticated<'_>) {
        self.record().caller = Some(request.caller);
    }

    pub(super) fn admitted(&mut self, request: &Admitted<'_>) {
        let record = self.record();
        record.target = Some(request.route.target.id);
        record.upstream = request.proxy.upstream_credential();
        debug_assert_eq!(record.caller, Some(request.caller));
    }

    pub(super) fn upstream_took(&mut self, duration: Duration) {
        self.record().upstream_duration = Some(duration);
    }

    pub(super) fn upstream_answered(&mut self, status: StatusCode) {
        self.record().upstream_status = Some(status);
    }

    pub(super) fn answered(&mut self, code: Code, status: StatusCode) {
        let record = self.record();
        record.code = Some(code);
        record.status = Some(status);
    }

    fn delivered(&mut self) {
        self.record().aborted = false;
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        let Some(mut record) = self.record.take() else { return };
        record.duration = self.started.elapsed();
        record.request_bytes = self.request_bytes.get();
        self.worker.counters.request_ended(record.code, record.duration);
        self.worker.records.push(record);
    }
}

/// The response body for the caller.
pub(crate) struct ReplyBody {
    inner: Inner,
    /// `None`: not a proxied request.
    draft: Option<Draft>,
}

enum Inner {
    Upstream { body: Incoming, lease: Option<Lease>, silence: Silence },
    Own(Option<Bytes>),
}

/// Why a response body broke off.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BodyError {
    #[error("upstream broke off its response")]
    Broken(#[source] hyper::Error),
    #[error("upstream sent nothing more of its response")]
    Silent,
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

impl ReplyBody {
    pub(super) fn upstream(body: Incoming, lease: Lease, draft: Draft) -> Self {
        let silence = Silence::new(draft.worker.silence);
        let inner = Inner::Upstream { body, lease: Some(lease), silence };
        let mut reply = Self { inner, draft: Some(draft) };
        reply.settle_at_end();
        reply
    }

    pub(super) fn own(body: Bytes, mut draft: Draft) -> Self {
        // The server never polls the body of a response to HEAD.
        if draft.record().method == Method::HEAD {
            draft.delivered();
        }
        Self { inner: Inner::Own(Some(body)), draft: Some(draft) }
    }

    /// A response about this node, without a record.
    pub(super) fn unrecorded(body: Bytes) -> Self {
        Self { inner: Inner::Own(Some(body)), draft: None }
    }

    /// Gives the connection back as soon as nothing more can come on it: the server does not ask a body of
    /// known length for its end.
    fn settle_at_end(&mut self) {
        if self.is_end_stream() {
            self.settle();
        }
    }

    fn settle(&mut self) {
        if let Some(draft) = &mut self.draft {
            draft.delivered();
        }
        if let Inner::Upstream { lease, .. } = &mut self.inner
            && let Some(lease) = lease.take()
        {
            lease.give_back();
        }
    }
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let frame = match &mut self.inner {
            Inner::Upstream { body, silence, .. } => match Pin::new(body).poll_frame(cx) {
                Poll::Ready(frame) => {
                    silence.is_broken();
                    frame.map(|frame| frame.map_err(BodyError::Broken))
                }
                Poll::Pending if silence.is_over(cx) => Some(Err(BodyError::Silent)),
                Poll::Pending => return Poll::Pending,
            },
            Inner::Own(body) => body.take().map(|bytes| Ok(Frame::data(bytes))),
        };
        match &frame {
            Some(Ok(frame)) => {
                if let (Some(data), Some(draft)) = (frame.data_ref(), &mut self.draft) {
                    draft.record().response_bytes += data.remaining() as u64;
                }
                self.settle_at_end();
            }
            Some(Err(_)) => {}
            None => self.settle(),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        match &self.inner {
            Inner::Upstream { body, .. } => body.is_end_stream(),
            Inner::Own(body) => body.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.inner {
            Inner::Upstream { body, .. } => body.size_hint(),
            Inner::Own(body) => SizeHint::with_exact(body.as_ref().map_or(0, |bytes| bytes.len() as u64)),
        }
    }
}
