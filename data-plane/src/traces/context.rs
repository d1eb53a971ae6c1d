//! W3C Trace Context: what a caller says of the trace that its request belongs to, and what an upstream is told.
//!
//! Decides nothing. The invariants: a `traceparent` that is not exactly right counts as none, and a `tracestate` without it
//! too; what is kept of both has a bound.

use data_encoding::HEXLOWER;
use http::header::HeaderName;
use http::{HeaderMap, HeaderValue};

/// Of a trace.
pub(super) type TraceId = [u8; 16];
/// Of a span.
pub(crate) type SpanId = [u8; 8];

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
/// Whoever sent this traces it.
pub(super) const SAMPLED: u8 = 1;
/// The flags that have a meaning: that one, and that the trace's id was drawn.
const KNOWN: u8 = 3;
/// `00-`, the trace, `-`, the span, `-` and the flags.
const LENGTH: usize = 55;
/// Bytes of a `tracestate`, which is as much as has to be passed on.
const STATE_MAX: usize = 512;
const MEMBERS_MAX: usize = 32;

/// Whether a header says something of traces: the caller's own goes no further than this node.
pub(crate) fn is_of_traces(name: &HeaderName) -> bool {
    matches!(name.as_str(), "traceparent" | "tracestate" | "baggage")
}

/// What a caller says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Context {
    pub(super) trace: TraceId,
    /// The caller's span.
    pub(super) parent: SpanId,
    flags: u8,
    pub(super) state: Option<HeaderValue>,
}

impl Context {
    pub(super) fn of(headers: &HeaderMap) -> Option<Self> {
        let mut said = headers.get_all(TRACEPARENT).iter();
        let (Some(one), None) = (said.next(), said.next()) else { return None };
        let (trace, parent, flags) = parse(one.as_bytes())?;
        Some(Self { trace, parent, flags, state: state(headers) })
    }

    pub(super) fn is_sampled(&self) -> bool {
        self.flags & SAMPLED != 0
    }

    pub(super) fn flags(&self) -> u8 {
        self.flags
    }
}

/// Any version that may follow is read as the first one, as far as that goes.
fn parse(text: &[u8]) -> Option<(TraceId, SpanId, u8)> {
    let (head, behind) = text.split_at_checked(LENGTH)?;
    let [version] = hex(&head[..2])?;
    let goes_on =
        if version == 0 { behind.is_empty() } else { behind.first().is_none_or(|&byte| byte == b'-') };
    let is_divided = [head[2], head[35], head[52]] == [b'-'; 3];
    if version == 0xff || !goes_on || !is_divided {
        return None;
    }
    let (trace, parent, [flags]) = (hex(&head[3..35])?, hex(&head[36..52])?, hex(&head[53..])?);
    (trace != [0; 16] && parent != [0; 8]).then_some((trace, parent, flags & KNOWN))
}

fn hex<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    let is_whole = text.len() == 2 * N && HEXLOWER.decode_mut(text, &mut bytes).is_ok();
    is_whole.then_some(bytes)
}

/// All of it as one, or nothing where it is longer than has to be passed on.
fn state(headers: &HeaderMap) -> Option<HeaderValue> {
    let mut values = headers.get_all(TRACESTATE).iter();
    let first = values.next()?;
    let mut all = first.to_str().ok()?.to_owned();
    for value in values {
        all.push(',');
        all.push_str(value.to_str().ok()?);
        if all.len() > STATE_MAX {
            return None;
        }
    }
    let is_kept = !all.is_empty() && all.len() <= STATE_MAX && all.split(',').count() <= MEMBERS_MAX;
    is_kept.then(|| HeaderValue::try_from(all).ok()).flatten()
}

/// Tells an upstream of a trace, in the place of what was told before.
pub(super) fn put(
    headers: &mut HeaderMap,
    trace: TraceId,
    span: SpanId,
    flags: u8,
    state: Option<&HeaderValue>,
) {
    let mut text = String::with_capacity(LENGTH);
    text.push_str("00-");
    HEXLOWER.encode_append(&trace, &mut text);
    text.push('-');
    HEXLOWER.encode_append(&span, &mut text);
    text.push('-');
    HEXLOWER.encode_append(&[flags], &mut text);
    headers.insert(TRACEPARENT, HeaderValue::try_from(text).expect("digits and hyphens"));
    match state {
        Some(state) => headers.insert(TRACESTATE, state.clone()),
        None => headers.remove(TRACESTATE),
    };
}
