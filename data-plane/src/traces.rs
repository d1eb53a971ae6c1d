//! Traces of requests: which are traced, what of them is kept, and how they leave for a collector.
//!
//! A worker notes a trace beside the record of its request, and hands it over at the end; another thread makes spans of
//! it (OTLP). Knows nothing of who may call what. The invariants: without a collector nothing is noted; a request waits
//! for none of it; how many traces leave is bounded, whatever callers ask for, and each that does not is counted; no
//! header of a caller but `traceparent` and `tracestate` is looked at.

mod context;
mod export;
mod sampler;
mod spans;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderValue, Method, StatusCode, Version};
use rr_contract::model::id::{OrgId, ProxyId, RequestId};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::time::Instant;

use crate::counters::Counters;
use crate::outcome::Code;
use crate::report::RawRecord;
use crate::snapshot::CompiledTarget;

use self::context::{Context, TraceId};
use self::sampler::Sampler;

pub(crate) use self::context::{SpanId, is_of_traces};
pub(crate) use self::export::{Exporter, TraceTally};
pub use self::sampler::{InvalidShare, TraceShare};

/// Traces of a worker that wait for the collector; memory is taken as they do.
const CAPACITY: usize = 1024;
/// Attempts of one request that have spans of their own.
const ATTEMPTS_MAX: usize = 32;

/// What is traced, and what traces say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceSettings {
    /// Of the requests whose callers say nothing of it.
    pub share: TraceShare,
    /// How many requests are traced in a second, whoever asks for it.
    pub per_second: u32,
    /// Whether traces say the path that the record says.
    pub paths: bool,
}

/// What one worker traces by.
pub(crate) struct Tracer {
    sampler: Sampler,
    sender: Sender<Box<RawTrace>>,
    counters: Arc<Counters>,
    paths: bool,
}

/// Creates the two ends of a queue for one of so many workers.
pub(crate) fn tracer(
    settings: TraceSettings,
    workers: usize,
    counters: Arc<Counters>,
) -> (Tracer, Receiver<Box<RawTrace>>) {
    let (sender, receiver) = channel(CAPACITY);
    let sampler = Sampler::new(settings.share, settings.per_second, workers);
    (Tracer { sampler, sender, counters, paths: settings.paths }, receiver)
}

impl Tracer {
    /// Whether a request that begins now is traced: then it has a span of its own.
    pub(crate) fn begin(
        &self,
        headers: &HeaderMap,
        now: Instant,
        (scheme, version): (&'static str, Version),
        draw: impl FnOnce() -> [u8; 24],
    ) -> Option<Box<Trace>> {
        let caller = Context::of(headers);
        if caller.as_ref().is_some_and(|caller| !caller.is_sampled()) {
            return None;
        }
        let drawn = draw();
        let (trace, span) = drawn.split_first_chunk().expect("it is longer");
        let span = *span.first_chunk().expect("this is what is left");
        if caller.is_none() && !self.sampler.draws(trace) {
            return None;
        }
        if !self.sampler.has_room(caller.is_some(), now) {
            self.counters.trace_over_rate();
            return None;
        }
        let trace = caller.as_ref().map_or(*trace, |caller| caller.trace);
        let own = Own { trace, span, scheme, version, attempts: Vec::new() };
        Some(Box::new(Trace { caller, own: Some(own) }))
    }

    /// The request that this is the trace of has ended.
    pub(crate) fn end(&self, trace: Trace, record: &RawRecord) {
        let Trace { caller, own: Some(own) } = trace else { return };
        let trace = RawTrace {
            own,
            caller,
            id: record.id,
            org: record.org,
            proxy: record.proxy,
            revision: record.revision,
            method: record.method.clone(),
            status: record.status,
            code: record.code,
            is_aborted: record.aborted,
            began: record.received_at,
            took: record.duration,
            path: self.paths.then(|| record.path.text.clone()),
        };
        if self.sender.try_send(Box::new(trace)).is_err() {
            self.counters.trace_dropped();
        }
    }
}

/// What is known of the trace that a request under way belongs to.
pub(crate) struct Trace {
    caller: Option<Context>,
    /// `None`: the request is not traced here, and the upstream is told what its caller says.
    own: Option<Own>,
}

/// The spans of this node.
struct Own {
    trace: TraceId,
    span: SpanId,
    /// How the caller came.
    scheme: &'static str,
    version: Version,
    attempts: Vec<RawAttempt>,
}

/// One time that a request was sent.
struct RawAttempt {
    span: SpanId,
    target: Arc<CompiledTarget>,
    /// From the start of the request.
    began: Duration,
    /// `None`: the request ended first.
    ended: Option<Duration>,
    came: Result<Option<(StatusCode, Version)>, Code>,
}

/// A trace whose request has ended.
pub(crate) struct RawTrace {
    own: Own,
    caller: Option<Context>,
    id: RequestId,
    org: Option<OrgId>,
    proxy: Option<ProxyId>,
    revision: u64,
    method: Method,
    status: Option<StatusCode>,
    code: Option<Code>,
    is_aborted: bool,
    began: SystemTime,
    took: Duration,
    path: Option<Box<str>>,
}

impl Trace {
    /// That of the caller alone, if it says one.
    pub(crate) fn of_caller(headers: &HeaderMap) -> Option<Box<Self>> {
        Context::of(headers).map(|caller| Box::new(Self { caller: Some(caller), own: None }))
    }

    /// The request goes out to a base URL of its target; its upstream is told where the target says so.
    pub(crate) fn attempt(
        &mut self,
        target: &Arc<CompiledTarget>,
        headers: &mut HeaderMap,
        since: Duration,
        draw: impl FnOnce() -> SpanId,
    ) {
        let flags = self.caller.as_ref().map_or(0, Context::flags);
        let state = self.caller.as_ref().and_then(|caller| caller.state.as_ref());
        let (trace, parent, flags) = match (&mut self.own, &self.caller) {
            (Some(own), _) => {
                let span = draw();
                if own.attempts.len() < ATTEMPTS_MAX {
                    own.attempts.push(RawAttempt {
                        span,
                        target: Arc::clone(target),
                        began: since,
                        ended: None,
                        came: Ok(None),
                    });
                }
                (own.trace, span, flags | context::SAMPLED)
            }
            (None, Some(caller)) => (caller.trace, caller.parent, flags),
            (None, None) => return,
        };
        if target.trace_context {
            context::put(headers, trace, parent, flags, state);
        }
    }

    /// What came of the last one.
    pub(crate) fn attempt_ended(&mut self, came: Result<(StatusCode, Version), Code>, since: Duration) {
        if let Some(last) = self.own.as_mut().and_then(|own| own.attempts.last_mut()) {
            last.ended = Some(since);
            last.came = came.map(Some);
        }
    }
}

/// A header as a text, where it is one.
fn text(value: &HeaderValue) -> &str {
    value.to_str().unwrap_or_default()
}
