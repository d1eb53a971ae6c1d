//! What callers see of a response, and upstreams of a request: the filters of the upstream credential, the target, the caller
//! and the proxy.
//!
//! Changes JSON alone, of responses that are no success only by what redacts, and has the whole of it before a byte goes out;
//! of a stream, the whole of each part. The invariant: where filters exist, no body that they are about goes out that they
//! did not go over.

use std::sync::Arc;

use http::header::{
    ACCEPT_ENCODING, ACCEPT_RANGES, CONTENT_ENCODING, CONTENT_LENGTH, ETAG, HeaderName, HeaderValue,
    IF_RANGE, RANGE,
};
use http::{HeaderMap, Method, Response, StatusCode, Version};
use http_body::Body as _;
use rr_contract::policy::filter::FilterChain;
use rr_contract::policy::stream::Framing;
use tokio::time::Instant;

use crate::body::{Coding, DecodeError, GatherError, Whole, decode, gather, gzip};
use crate::counters::Gathered;
use crate::reply::{Denial, Failure, Unreadable};
use crate::snapshot::{CompiledCaller, Route, Shape};

use super::admit::Admitted;
use super::echo::{Guard, Search, search_head};
use super::forward::Forwarded;
use super::left::{NotFiltered, coding, go_over};
use super::settle::Draft;
use super::stream_filter::{StreamFilter, filtered_framing};
use super::tee::{Tee, may_be_json};
use super::upstream_body::{BodyError, UpstreamBody};

/// How long a body may be that filters go over, in bytes as it comes.
const GATHERED_MAX: u64 = 8 * 1024 * 1024;
/// Up to this length, an answer that is to be refused for a secret in it is refused before its head goes out.
const SEARCHED_WHOLE_MAX: u64 = 1024 * 1024;

/// Headers about the bytes of a body, which are others after a filter.
const OF_THE_BYTES: [HeaderName; 6] = [
    CONTENT_ENCODING,
    CONTENT_LENGTH,
    ACCEPT_RANGES,
    HeaderName::from_static("content-md5"),
    HeaderName::from_static("content-digest"),
    HeaderName::from_static("repr-digest"),
];

/// A response as the caller is to see it.
pub(crate) struct Filtered {
    pub(super) head: Response<()>,
    pub(super) body: FilteredBody,
}

/// Its body.
pub(crate) enum FilteredBody {
    /// As it comes.
    Passing(UpstreamBody, Option<Box<Beside>>),
    /// What filters left of it.
    Whole(Whole),
}

/// What looks at a body on its way. Boxed: few have one, and all would carry it.
pub(crate) enum Beside {
    /// Meters, of which it knows nothing.
    Meters(Tee),
    /// Filters, which leave of it what goes out.
    Filters(Box<StreamFilter>),
}

impl FilteredBody {
    /// Has its trailers changed as its head is. A body that filters have gone over has none.
    pub(super) fn is_shaped_by(&mut self, shape: &Arc<Shape>) {
        if let Self::Passing(body, _) = self {
            body.is_shaped_by(shape);
        }
    }
}

/// The filters of a request, in their order.
pub(super) fn request_chain<'s>(route: &'s Route, caller: &'s CompiledCaller) -> FilterChain<'s> {
    FilterChain {
        redacts_only: false,
        upstream: &route.upstream_policy.request_filters,
        target: &route.target_policy.request_filters,
        caller: &caller.policy.request_filters,
        proxy: &route.policy.request_filters,
    }
}

/// The filters of a request's response, in their order.
pub(super) fn chain<'s>(route: &'s Route, caller: &'s CompiledCaller) -> FilterChain<'s> {
    FilterChain {
        redacts_only: false,
        upstream: &route.upstream_policy.filters,
        target: &route.target_policy.filters,
        caller: &caller.policy.filters,
        proxy: &route.policy.filters,
    }
}

/// Has the upstream answer whole, and in codings that can be read. Returns the coding in which the caller takes it.
pub(super) fn ask_for_readable(headers: &mut HeaderMap) -> Coding {
    let (mut asks_for_part, mut accepted) = (false, None);
    // Once over them: to look for each by its name takes longer.
    for (name, value) in &*headers {
        if name == ACCEPT_ENCODING {
            accepted = Some(accepts_gzip(value.as_bytes()) || accepted == Some(true));
        } else if name == RANGE || name == IF_RANGE {
            asks_for_part = true;
        }
    }
    if asks_for_part {
        // A part of a document could be JSON without the fields that filters look for.
        headers.remove(RANGE);
        headers.remove(IF_RANGE);
    }
    // To whom no coding is named, servers send none.
    let Some(accepts_gzip) = accepted else { return Coding::Identity };
    let (coding, name) = if accepts_gzip { (Coding::Gzip, "gzip") } else { (Coding::Identity, "identity") };
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static(name));
    coding
}

fn accepts_gzip(value: &[u8]) -> bool {
    value.split(|byte| *byte == b',').any(|member| {
        let mut parts = member.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
        let is_gzip = parts.next().is_some_and(|name| name.eq_ignore_ascii_case(b"gzip"));
        is_gzip && !parts.any(|part| matches!(part, b"q=0" | b"q=0.0" | b"q=0.00" | b"q=0.000"))
    })
}

/// What becomes of a response, by its head.
pub(super) enum Passed {
    /// It goes out as it comes.
    As(Filtered),
    ToFilter(Unfiltered),
    /// It is short, and is to be refused as a whole if the upstream's secret is in it.
    ToSearch(Filtered),
}

/// A response that filters have to go over.
pub(super) struct Unfiltered {
    parts: http::response::Parts,
    body: UpstreamBody,
}

pub(super) fn pass(
    forwarded: Forwarded,
    chain: &mut FilterChain<'_>,
    search: Option<Search<'_>>,
    most: u64,
    draft: &mut Draft,
) -> Result<Passed, Failure> {
    let Forwarded { mut response, lease, waits, version, shown: _ } = forwarded;
    search_head(&mut response, search, draft)?;
    let (mut parts, body) = response.into_parts();
    chain.redacts_only = !parts.status.is_success();
    // A status without a body is not trusted to have none: whatever body there is, filters go over it.
    let is_filtered = !chain.is_empty() && draft.method() != Method::HEAD;
    let framing = if is_filtered { filtered_framing(&parts.headers) } else { None };
    let most = if is_filtered && framing.is_none() { most.min(GATHERED_MAX) } else { most };
    let mut body = UpstreamBody::new(body, lease, waits, most).map_err(broken)?;
    draft.read_headers(&parts.headers);
    if let Some(framing) = framing
        && !body.is_end_stream()
    {
        return stream(parts, body, (chain, framing), search, draft).map(Passed::As);
    }
    if is_filtered && !body.is_end_stream() {
        return Ok(Passed::ToFilter(Unfiltered { parts, body }));
    }
    let mut is_whole = false;
    if let Some(search) = search
        && !body.is_end_stream()
    {
        // HTTP/2 can have trailers behind any body, which would be lost.
        let length = body.size_hint().exact().filter(|_| version == Version::HTTP_11);
        is_whole = search.refuses && length.is_some_and(|length| length <= SEARCHED_WHOLE_MAX);
        let coding = Coding::of(&parts.headers).map_err(|_| Failure::Unreadable(Unreadable::Coding))?;
        if coding != Coding::Identity {
            if parts.status == StatusCode::PARTIAL_CONTENT {
                return Err(Failure::Unreadable(Unreadable::Partial));
            }
            of_other_bytes(&mut parts.headers);
        }
        body.is_searched(Guard::new(search, coding, || draft.holds(Gathered::Response)));
    }
    if is_whole {
        let body = FilteredBody::Passing(body, None);
        return Ok(Passed::ToSearch(Filtered { head: Response::from_parts(parts, ()), body }));
    }
    let beside = if draft.reads_bodies() {
        let tee = Tee::of(&parts.headers, || draft.holds(Gathered::Copy));
        tee.map(|tee| Box::new(Beside::Meters(tee)))
    } else {
        None
    };
    let body = FilteredBody::Passing(body, beside);
    Ok(Passed::As(Filtered { head: Response::from_parts(parts, ()), body }))
}

/// Has filters go over each part of a stream.
fn stream(
    mut parts: http::response::Parts,
    mut body: UpstreamBody,
    (chain, framing): (&FilterChain<'_>, Framing),
    search: Option<Search<'_>>,
    draft: &Draft,
) -> Result<Filtered, Failure> {
    if parts.status == StatusCode::PARTIAL_CONTENT {
        return Err(Failure::Unreadable(Unreadable::Partial));
    }
    let mut coding = Coding::of(&parts.headers).map_err(|_| Failure::Unreadable(Unreadable::Coding))?;
    if let Some(search) = search {
        body.is_searched(Guard::new(search, coding, || draft.holds(Gathered::Response)));
        // Whoever searches it has undone that.
        coding = Coding::Identity;
    }
    of_other_bytes(&mut parts.headers);
    let filter = StreamFilter::new(chain, framing, coding, draft.holds(Gathered::Response));
    let body = FilteredBody::Passing(body, Some(Box::new(Beside::Filters(Box::new(filter)))));
    Ok(Filtered { head: Response::from_parts(parts, ()), body })
}

/// Has all of a short body before a byte goes out, so that it can be refused.
pub(super) async fn search_whole(waiting: Filtered, draft: &mut Draft) -> Result<Filtered, Failure> {
    let Filtered { head, body } = waiting;
    let FilteredBody::Passing(body, _) = body else { return Ok(Filtered { head, body }) };
    let mut held = draft.holds(Gathered::Response);
    let bytes = gather(body, usize::try_from(GATHERED_MAX).unwrap_or(usize::MAX), &mut held).await;
    let bytes = bytes.map_err(ungathered)?;
    if draft.reads_bodies() && may_be_json(head.headers()) {
        draft.read_in_turn(&bytes, true).await;
    }
    Ok(Filtered { head, body: FilteredBody::Whole(Whole::new(bytes, held)) })
}

fn ungathered(error: GatherError<BodyError>) -> Failure {
    match error {
        GatherError::TooLarge(_) => Failure::ResponseTooLarge,
        GatherError::Body(error) => broken(error),
        GatherError::NoRoom(error) => Failure::NoRoom(error),
    }
}

pub(super) async fn filter(
    unfiltered: Unfiltered,
    chain: FilterChain<'_>,
    search: Option<Search<'_>>,
    takes: Coding,
    draft: &mut Draft,
) -> Result<Filtered, Failure> {
    let Unfiltered { mut parts, body } = unfiltered;
    if parts.status == StatusCode::PARTIAL_CONTENT {
        return Err(Failure::Unreadable(Unreadable::Partial));
    }
    let coding = coding(&parts.headers);
    // Whatever the head of one that should have no body says, there may be none.
    let should_be_empty = matches!(parts.status, StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT);
    let coding = coding.map_err(Failure::Unreadable);
    let coding = if should_be_empty { coding } else { Ok(coding?) };
    let mut held = draft.holds(Gathered::Response);
    let bytes = gather(body, usize::try_from(GATHERED_MAX).unwrap_or(usize::MAX), &mut held).await;
    let bytes = bytes.map_err(ungathered)?;
    if bytes.is_empty() {
        let body = FilteredBody::Whole(Whole::new(bytes, held));
        return Ok(Filtered { head: Response::from_parts(parts, ()), body });
    }
    let coding = coding?;
    let began = Instant::now();
    let mut of_document = held.another();
    let document = decode(coding, bytes, &mut of_document).await.map_err(undecodable)?;
    // One that was decoded is another copy, and what came is gone.
    let held = if coding == Coding::Identity { held } else { of_document };
    let document = match search {
        Some(search) => search.whole(document, draft).await?,
        None => document,
    };
    draft.read_in_turn(&document, true).await;
    let document = Whole::new(document, held);
    let before = document.len();
    let mut left = match go_over(document, &chain, draft, began).await {
        Ok((left, _)) => left,
        Err(NotFiltered::Json(error)) => return Err(Failure::Unreadable(Unreadable::Json(error))),
        Err(NotFiltered::NoRoom(error)) => return Err(Failure::NoRoom(error)),
    };
    draft.filters_saw(before);
    of_other_bytes(&mut parts.headers);
    // An upstream that compresses for this caller has a reason to. Where there is no room for a second copy, the caller
    // has the first.
    if coding != Coding::Identity && takes == Coding::Gzip {
        let mut of_compressed = left.another();
        if let Some(compressed) = gzip(left.bytes(), &mut of_compressed).await {
            left = Whole::new(compressed, of_compressed);
            parts.headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
    }
    Ok(Filtered { head: Response::from_parts(parts, ()), body: FilteredBody::Whole(left) })
}

/// Has the filters of a request go over its body. Nothing of it goes out that they did not go over.
pub(super) async fn request<'s>(
    mut admitted: Admitted<'s>,
    chain: FilterChain<'_>,
    draft: &mut Draft,
) -> Result<Admitted<'s>, Denial> {
    let headers = &mut admitted.cleaned.parts.headers;
    let (body, is_other) = admitted.body.filter(headers, &chain, draft).await?;
    if is_other {
        of_other_bytes(headers);
    }
    admitted.body = body;
    Ok(admitted)
}

fn broken(error: BodyError) -> Failure {
    match error {
        BodyError::TooLong => Failure::ResponseTooLarge,
        BodyError::Broken(broken) => Failure::Response(broken),
    }
}

fn undecodable(error: DecodeError) -> Failure {
    match error {
        DecodeError::TooLarge => Failure::ResponseTooLarge,
        error @ DecodeError::Malformed => Failure::Unreadable(Unreadable::Decoding(error)),
        DecodeError::NoRoom(error) => Failure::NoRoom(error),
    }
}

/// The body is another than the upstream said.
fn of_other_bytes(headers: &mut HeaderMap) {
    for name in &OF_THE_BYTES {
        headers.remove(name);
    }
    weaken(headers);
}

/// A filtered document is not the one that its tag stands for, byte for byte.
fn weaken(headers: &mut HeaderMap) {
    let Some(tag) = headers.get(ETAG) else { return };
    if !tag.as_bytes().starts_with(b"W/")
        && let Ok(weak) = HeaderValue::from_bytes(&[b"W/", tag.as_bytes()].concat())
    {
        headers.insert(ETAG, weak);
    }
}
