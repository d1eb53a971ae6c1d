//! What a request notes of its trace: that it has one, each time that it is sent, and what came of that.
//!
//! Costs a request that is not traced a look. The invariant: of what a caller says of traces an upstream hears only where its
//! target says so.

use std::sync::Arc;

use http::{HeaderMap, Request, StatusCode, Version};

use crate::reply::of_sending;
use crate::snapshot::CompiledTarget;
use crate::traces::Trace;
use crate::upstream::{Reply, SendError};

use super::super::forwarded::{self, Sender};
use super::super::hop::Hop;
use super::Draft;

impl Draft {
    /// It has a span of its own from here on, if it is one of those that are traced.
    pub(in crate::pipeline) fn begin_trace<B>(&mut self, request: &Request<B>, hop: &Hop) {
        let Some(tracer) = &self.worker.tracer else { return };
        // One that is nobody's is refused, and shown as it came.
        let sender = forwarded::sender(hop, request.headers()).unwrap_or_else(|_| Sender::of_peer(hop));
        let came = (sender.scheme(), request.version());
        self.trace = tracer.begin(request.headers(), self.started, came, || self.worker.draw());
    }

    /// Its target wants to know of traces: without one of its own, what the caller says goes on.
    pub(in crate::pipeline) fn keep_trace(&mut self, headers: &HeaderMap) {
        if self.trace.is_none() {
            self.trace = Trace::of_caller(headers);
        }
    }

    /// It goes out to this base URL of its target, with these headers. Before it is signed: nothing changes it then.
    pub(in crate::pipeline) fn begin_attempt(
        &mut self,
        target: &Arc<CompiledTarget>,
        headers: &mut HeaderMap,
    ) {
        if let Some(trace) = &mut self.trace {
            trace.attempt(target, headers, self.started.elapsed(), || self.worker.draw());
        }
    }

    /// The head of an answer came, or none will.
    pub(in crate::pipeline) fn end_attempt(&mut self, came: Result<(StatusCode, Version), &SendError>) {
        if let Some(trace) = &mut self.trace {
            trace.attempt_ended(came.map_err(of_sending), self.started.elapsed());
        }
    }

    /// The same of an ordinary answer.
    pub(in crate::pipeline) fn end_sending(&mut self, came: &Result<Reply, SendError>) {
        self.end_attempt(came.as_ref().map(|reply| (reply.response.status(), reply.response.version())));
    }
}
