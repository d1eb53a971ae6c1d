//! The stages of a request; each stage takes what only the one before it makes.
//!
//! ```text
//! resolve       path to proxy                        Resolved
//! authenticate  whose key is it                      Authenticated
//! activate      switched on, paid for, open          Active
//! clean         the caller's credential and hop out  Cleaned
//! rewrite       what the proxy changes               Rewritten
//! authorize     what the rules say                   Authorized
//! validate      what its schema says of it            Validated
//! admit         limits and meters                    Admitted
//! filter        what the upstream may see            Admitted
//! inject        the upstream's secret in             Injected
//! forward       sign, send, wait for the head        Forwarded
//! filter        what the caller may see, and never   Filtered
//!               the upstream's secret
//! settle        meters, and the record               –
//! ```
//!
//! A request that wants a WebSocket goes through the same stages; `tunnel` judges it before `clean`, and sends it in the
//! place of `forward`.
//!
//! Waits for nothing but caller and upstream, for the keys of an issuer where a token needs one that is not known yet, and, where the
//! proxy wants that, until a record is on disk.
//! Leaving a stage out does not compile.

mod activate;
mod admit;
mod attempts;
mod authenticate;
mod authorize;
mod caller_body;
mod charges;
mod clean;
mod cors;
mod echo;
mod filter;
mod forward;
mod forwarded;
mod header_name;
mod hop;
mod inject;
mod keep;
mod left;
mod numbers;
mod parts;
mod presented;
mod query;
mod reply_body;
mod resolve;
mod rewrite;
mod second;
mod settle;
mod sign;
mod stream_filter;
mod tee;
mod test_request;
#[cfg(test)]
mod tests;
mod trial;
mod tunnel;
mod upstream_body;
mod validate;
mod via;

use std::num::NonZeroU64;
use std::rc::Rc;

use http::header::CONNECTION;
use http::{Method, Request, Response, Version};
use http_body::Body as _;
use hyper::body::Incoming;
use tracing::debug;

use rr_contract::runtime::chain;
use rr_contract::wire::fleet::RequestStage as Stage;

use crate::body::Coding;
use crate::outcome::Code;
use crate::reply::{self, Denial, Refused};
use crate::seats::Busy;
use crate::snapshot::Snapshot;
use crate::worker::Worker;

use self::admit::Counted;
use self::authorize::Looked;
use self::caller_body::CallerBody;
use self::cors::{Goes, Page};
use self::filter::{Filtered, FilteredBody, Passed};
use self::settle::{Draft, Explanation};
use self::tunnel::{OpenTunnel, Opened};

pub use self::hop::TrustedHeader;
pub(crate) use self::hop::{Hop, HopTls, Networks, Trusted, holds};
pub(crate) use self::inject::wait_for_token;
pub(crate) use self::reply_body::ReplyBody;
pub(crate) use self::resolve::HEADERS_MAX;
pub(crate) use self::test_request::test_request;
pub(crate) use self::tunnel::Tunnel;

/// Answers to anybody which region this node serves, for comparison with what is published elsewhere.
const WELL_KNOWN: &str = "/.well-known/requestrocket";

/// What comes behind the head of an answer.
enum Behind {
    Body(FilteredBody),
    Tunnel(Box<OpenTunnel>),
}

/// Answers one request.
pub(crate) async fn handle(
    worker: Rc<Worker>,
    request: Request<Incoming>,
    hop: Rc<Hop>,
    busy: Busy,
) -> Response<ReplyBody> {
    if request.uri().path() == WELL_KNOWN
        && !hop.is_out_of_place
        && let Some(statement) = worker.statement.get()
    {
        return reply::statement(statement).map(ReplyBody::unrecorded);
    }
    let view = worker.view();
    let mut draft = Draft::begin(&worker, busy, view.revision, request.method());
    let request_id = draft.request_id();
    draft.begin_trace(&request, &hop);
    let mut page = None;
    match pass(&worker, &view, request, &hop, &mut draft, &mut page).await {
        Ok((mut head, body)) => {
            draft.charges().put_fields(head.headers_mut());
            reply::sign(head.headers_mut(), Code::Granted, request_id);
            draft.answered(Code::Granted, head.status());
            let explanation = draft.explanation();
            explained(
                explanation,
                head.map(|()| match body {
                    Behind::Body(FilteredBody::Passing(body, beside)) => {
                        ReplyBody::upstream(body, beside, draft)
                    }
                    Behind::Body(FilteredBody::Whole(body)) => ReplyBody::whole(body, draft),
                    Behind::Tunnel(open) => ReplyBody::tunnel(Tunnel::new(*open, draft)),
                }),
            )
        }
        Err(refused) => {
            draft.refused(&refused);
            let refused =
                if draft.has_to_be_sure() { Box::pin(draft.made_sure(refused)).await } else { refused };
            let code = refused.code();
            debug!(code = code.as_str(), reason = %chain(&refused), "request refused or not answered");
            let mut response = reply::refused(&refused, request_id);
            if hop.is_http2 {
                // It has no such header: there, a caller is free to open another connection beside this one.
                response.headers_mut().remove(CONNECTION);
            }
            if let Some(page) = &page {
                page.put(code, response.headers_mut());
            }
            let explanation = draft.explanation();
            if code == Code::CallerGone {
                // No caller is left to answer; the record already says so.
                return response.map(ReplyBody::unrecorded);
            }
            draft.answered(code, response.status());
            explained(explanation, response.map(|body| ReplyBody::own(body, draft)))
        }
    }
}

/// Puts a response into what explains it, for who may see that.
fn explained(explanation: Option<Explanation>, response: Response<ReplyBody>) -> Response<ReplyBody> {
    match explanation {
        None => response,
        Some(explanation) => trial::explain(response, explanation).map(ReplyBody::explaining),
    }
}

async fn pass<'s>(
    worker: &Rc<Worker>,
    snapshot: &'s Snapshot,
    request: Request<Incoming>,
    hop: &Hop,
    draft: &mut Draft,
    page: &mut Option<Box<Page<'s>>>,
) -> Result<(Response<()>, Behind), Refused> {
    let (mut parts, body) = request.into_parts();
    if hop.is_out_of_place {
        return Err(Denial::OutOfPlace.into());
    }
    let now = draft.received_at();
    draft.tries(worker.trials.shown(&parts.headers).map_err(Denial::Trial)?);
    let wish = tunnel::wish(&mut parts);
    let addressed = resolve::address(snapshot, &parts)?;
    draft.is_tried_at(addressed.proxy)?;
    draft.addressed(addressed.proxy);
    draft.came_over(hop);
    let wish = wish?;
    if wish.is_some() || parts.method == Method::HEAD {
        draft.is_untried()?;
    }
    *page = cors::page(addressed.proxy, &parts);
    // Here, because `Connection` could take out what tells it.
    let caller = forwarded::sender(hop, &parts.headers)?.address;
    let mut resolved = resolve::resolve(addressed, &parts, hop)?;
    draft.resolved(&resolved);
    if cors::preflight(&mut resolved, &parts, page.as_deref_mut())? == Goes::WithoutProxy {
        draft.is_of_another_page();
    }
    draft.enters(Stage::Authenticate);
    // Few requests wait for what their credential is judged by, once each of them is known.
    let memory = authenticate::Memory::of(worker);
    let authenticated = match authenticate::authenticate(resolved, snapshot, memory, &parts, hop, now)? {
        authenticate::Looked::Passes(authenticated) => authenticated,
        authenticate::Looked::Waits(waiting) => {
            Box::pin(authenticate::waited(waiting, snapshot, memory, &parts, hop, now)).await?
        }
    };
    draft.authenticated(&authenticated);
    draft.enters(Stage::Activate);
    let active = activate::activate(authenticated)?;
    let mut tunnel = match wish {
        None => None,
        Some(wish) => {
            let request = (&parts, !body.is_end_stream());
            Some(Box::new(tunnel::judge(wish, &active, request, hop, snapshot, worker, now)?))
        }
    };
    admit::enter(&active, draft)?;
    let body = CallerBody::new(body, most(active.model.max_request_bytes))?;
    // What is needed behind the upstream is found again by these: the state of a request is small.
    let (proxy, route, model, credential) = (active.proxy, active.route, active.model, active.caller);
    let told = forwarded::tell::told(active.model.forwarded, hop, &parts)?;
    if route.target.trace_context {
        draft.keep_trace(&parts.headers);
    }
    draft.enters(Stage::Clean);
    let cleaned = match &tunnel {
        None => clean::clean(parts, credential.header())?,
        Some(_) => tunnel::clean(parts, credential.header())?,
    };
    draft.keeps(keep::request(
        proxy,
        route.upstream.as_deref(),
        &cleaned.parts.headers,
        cleaned.query.as_deref(),
    ));
    draft.enters(Stage::Rewrite);
    let rewritten = rewrite::request(active, cleaned, told, &worker.pseudonym, draft)?;
    draft.enters(Stage::Authorize);
    // Few requests wait for their bodies here, so the state of that is boxed: all others would carry it.
    let authorized = match authorize::authorize(rewritten, body, draft)? {
        Looked::Passes(authorized) => authorized,
        Looked::NeedsBody(waiting) => Box::pin(authorize::with_body(waiting, draft)).await?,
    };
    let validated = match validate::validate(authorized) {
        Ok(validated) => validated,
        Err(said) => {
            draft.enters(Stage::Validate);
            Box::pin(validate::look(said, &worker.validations, draft)).await?
        }
    };
    draft.enters(Stage::Admit);
    let mut admitted = match admit::admit(validated, caller, draft)? {
        Counted::Admitted(admitted) => admitted,
        Counted::NeedsBody(waiting) => Box::pin(admit::with_body(waiting, caller, draft)).await?,
    };
    draft.admitted(&admitted.request);
    if !filter::request_chain(route, credential).is_empty() {
        draft.enters(Stage::FilterRequest);
        admitted =
            Box::pin(filter::request(admitted, filter::request_chain(route, credential), draft)).await?;
    }
    if draft.has_to_be_sure() {
        draft.enters(Stage::Record);
        Box::pin(draft.make_sure()).await?;
    }
    if let Some(tunnel) = &mut tunnel {
        tunnel.admitted(&admitted, snapshot, now);
    }
    draft.enters(Stage::Inject);
    if let Some(source) = route.upstream.as_deref().and_then(|credential| credential.token_source())
        && !source.has_token(now)
    {
        Box::pin(wait_for_token(&source, now, forward::until(route, draft))).await;
    }
    let mut injected = inject::inject(admitted, worker, now)?;
    let mut shown = injected.needles.take();
    // Whoever could choose what cannot be read would choose what a meter charges.
    let is_searched = echo::search(model, shown.as_ref()).is_some();
    let is_read = is_searched || draft.reads_bodies() || !filter::chain(route, credential).is_empty();
    let takes =
        if is_read { filter::ask_for_readable(&mut injected.parts.headers) } else { Coding::Identity };
    draft.enters(Stage::Forward);
    if sign::reads_body(&injected, now) {
        injected = Box::pin(sign::with_body(injected, draft)).await?;
    }
    let forwarded = match tunnel {
        None => forward::forward(injected, worker, draft).await?,
        Some(tunnel) => match Box::pin(tunnel.open(injected, worker, draft)).await? {
            Opened::Tunnel(mut head, open) => {
                let search = echo::search(model, shown.as_ref());
                echo::search_head(&mut head, search, draft)?;
                if let Some(shape) = &route.shape {
                    rewrite::response(shape, head.headers_mut(), Version::HTTP_11, &worker.pseudonym);
                    cors::answer(shape, page.as_deref(), head.headers_mut());
                }
                let upstream = route.upstream.as_deref();
                let sent = keep::unsearched(model.echo_guard, shown.as_deref());
                draft.keeps(keep::response(proxy, upstream, sent, head.headers()));
                return Ok((head, Behind::Tunnel(open)));
            }
            Opened::Answered(forwarded) => forwarded,
        },
    };
    let version = forwarded.version;
    shown = forwarded.shown.clone().or(shown);
    let (mut chain, search) = (filter::chain(route, credential), echo::search(model, shown.as_ref()));
    if is_read {
        draft.enters(Stage::FilterResponse);
    }
    let passed = filter::pass(forwarded, &mut chain, search, most(model.max_response_bytes), draft)?;
    let Filtered { mut head, mut body } = match passed {
        Passed::As(filtered) => filtered,
        Passed::ToFilter(waiting) => Box::pin(filter::filter(waiting, chain, search, takes, draft)).await?,
        Passed::ToSearch(waiting) => Box::pin(filter::search_whole(waiting, draft)).await?,
    };
    if let Some(shape) = &route.shape {
        rewrite::response(shape, head.headers_mut(), version, &worker.pseudonym);
        cors::answer(shape, page.as_deref(), head.headers_mut());
        body.is_shaped_by(shape);
    }
    let upstream = route.upstream.as_deref();
    let sent = keep::unsearched(model.echo_guard, shown.as_deref());
    draft.keeps(keep::response(proxy, upstream, sent, head.headers()));
    Ok((head, Behind::Body(body)))
}

/// A bound on bytes.
fn most(bound: Option<NonZeroU64>) -> u64 {
    bound.map_or(u64::MAX, NonZeroU64::get)
}
