//! The stages of a request; each stage takes what only the one before it makes.
//!
//! ```text
//! resolve       path to proxy                        Resolved
//! authenticate  whose key is it                      Authenticated
//! admit         active, paid for, open               Admitted
//! inject        their credential out, ours in        Injected
//! forward       send, wait for the head              Forwarded
//! settle        stream the body, write the record    –
//! ```
//!
//! Waits for nothing but caller and upstream. Leaving a stage out does not compile.

mod admit;
mod authenticate;
mod forward;
mod inject;
mod query;
mod resolve;
mod settle;
#[cfg(test)]
mod tests;

use std::rc::Rc;

use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use tracing::{Instrument as _, Span, debug, field, trace_span};

use rr_contract::runtime::chain;
use rr_contract::runtime::observe::TRACE;

use crate::outcome::Code;
use crate::reply::{self, Refused};
use crate::seats::Busy;
use crate::snapshot::Snapshot;
use crate::worker::Worker;

use self::forward::Forwarded;
use self::settle::Draft;

pub(crate) use self::resolve::HEADERS_MAX;
pub(crate) use self::settle::ReplyBody;

/// Answers to anybody which region this node serves, for comparison with what is published elsewhere.
const WELL_KNOWN: &str = "/.well-known/requestrocket";

/// Answers one request.
pub(crate) async fn handle(
    worker: Rc<Worker>,
    request: Request<Incoming>,
    busy: Busy,
) -> Response<ReplyBody> {
    if request.uri().path() == WELL_KNOWN
        && let Some(statement) = worker.statement.get()
    {
        return reply::statement(statement).map(ReplyBody::unrecorded);
    }
    let view = worker.view();
    let mut draft = Draft::begin(&worker, busy, view.revision, request.method());
    let request_id = draft.request_id();
    let span = span(&request, &draft);
    let passing = pass(&worker, &view, request, &mut draft);
    // A future that is wrapped is moved, and boxed so that this one stays small.
    let passed =
        if span.is_disabled() { passing.await } else { Box::pin(passing.instrument(span.clone())).await };
    match passed {
        Ok(Forwarded { mut response, lease }) => {
            traced(&span, &draft, Code::Granted, response.status());
            reply::sign(response.headers_mut(), Code::Granted, request_id);
            draft.answered(Code::Granted, response.status());
            let (parts, body) = response.into_parts();
            Response::from_parts(parts, ReplyBody::upstream(body, lease, draft))
        }
        Err(refused) => {
            let code = refused.code();
            debug!(code = code.as_str(), reason = %chain(&refused), "request refused or not answered");
            let response = reply::refused(code, request_id);
            traced(&span, &draft, code, response.status());
            if code == Code::CallerGone {
                // No caller is left to answer; the record already says so.
                return response.map(ReplyBody::unrecorded);
            }
            draft.answered(code, response.status());
            response.map(|body| ReplyBody::own(body, draft))
        }
    }
}

/// The request as a trace shows it, until the response's head; no span at all where no collector takes traces. The
/// path is in the record alone: traces leave the installation for the collector.
fn span(request: &Request<Incoming>, draft: &Draft) -> Span {
    trace_span!(
        target: TRACE,
        "request",
        otel.kind = "server",
        http.request.method = %request.method(),
        http.response.status_code = field::Empty,
        request.id = %draft.id(),
        revision = draft.revision(),
        proxy.id = field::Empty,
        code = field::Empty,
    )
}

fn traced(span: &Span, draft: &Draft, code: Code, status: StatusCode) {
    if span.is_disabled() {
        return;
    }
    span.record("http.response.status_code", status.as_u16());
    span.record("code", code.as_str());
    if let Some(proxy) = draft.proxy() {
        span.record("proxy.id", field::display(proxy));
    }
}

async fn pass(
    worker: &Rc<Worker>,
    snapshot: &Snapshot,
    request: Request<Incoming>,
    draft: &mut Draft,
) -> Result<Forwarded, Refused> {
    let (parts, body) = request.into_parts();
    let now = draft.received_at();
    let resolved = resolve::resolve(snapshot, &parts)?;
    draft.resolved(&resolved);
    let authenticated = authenticate::authenticate(resolved, snapshot, &parts, now)?;
    draft.authenticated(&authenticated);
    let admitted = admit::admit(authenticated)?;
    draft.admitted(&admitted);
    let injected = inject::inject(admitted, parts, now)?;
    let forwarded = forward::forward(injected, body, worker, draft).await?;
    Ok(forwarded)
}
