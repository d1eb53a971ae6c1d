//! The spans of a trace, with the attributes of the semantic conventions for HTTP and a few of our own.
//!
//! Sends nothing. The invariant: of what a caller sends, spans have the method, and the path of the record where the settings
//! say so; no query, no header, no body.

use std::borrow::Cow;
use std::time::SystemTime;

use http::{Method, StatusCode, Version};
use opentelemetry::trace::{SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};
use url::Host;

use crate::outcome::Code;

use super::{RawAttempt, RawTrace, text};

/// Where this node is, once it has joined.
pub(super) struct Place {
    pub(super) node: String,
    pub(super) region: String,
}

/// Methods that the conventions know. Another one is a text of the caller.
fn method(method: &Method) -> Option<&'static str> {
    Some(match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        Method::PATCH => "PATCH",
        _ => return None,
    })
}

fn version(version: Version) -> &'static str {
    match version {
        Version::HTTP_2 => "2",
        Version::HTTP_10 => "1.0",
        _ => "1.1",
    }
}

fn status(status: StatusCode) -> KeyValue {
    KeyValue::new("http.response.status_code", i64::from(status.as_u16()))
}

/// Adds the spans of a trace: the request's, then one of each attempt.
pub(super) fn add(
    trace: RawTrace,
    place: Option<&Place>,
    scope: &InstrumentationScope,
    out: &mut Vec<SpanData>,
) {
    let id = TraceId::from_bytes(trace.own.trace);
    let state = trace.caller.as_ref().and_then(|caller| text(caller.state.as_ref()?).parse().ok());
    let state: TraceState = state.unwrap_or_default();
    let context = |span| SpanContext::new(id, span, TraceFlags::SAMPLED, false, state.clone());
    let span = SpanId::from_bytes(trace.own.span);
    let parent = trace.caller.as_ref().map(|caller| SpanId::from_bytes(caller.parent));
    let name = Cow::Borrowed(method(&trace.method).unwrap_or("HTTP"));
    let made = |span, parent, kind, (began, ended), attributes, status| SpanData {
        span_context: context(span),
        parent_span_id: parent,
        parent_span_is_remote: false,
        span_kind: kind,
        name: name.clone(),
        start_time: began,
        end_time: ended,
        attributes,
        dropped_attributes_count: 0,
        events: SpanEvents::default(),
        links: SpanLinks::default(),
        status,
        instrumentation_scope: scope.clone(),
    };
    let began = trace.began;
    let (attributes, outcome) = of_request(&trace, place);
    out.push(SpanData {
        parent_span_is_remote: parent.is_some(),
        ..made(
            span,
            parent.unwrap_or(SpanId::INVALID),
            SpanKind::Server,
            (began, began + trace.took),
            attributes,
            outcome,
        )
    });
    for (resent, attempt) in trace.own.attempts.iter().enumerate() {
        let times: (SystemTime, SystemTime) =
            (began + attempt.began, began + attempt.ended.unwrap_or(trace.took));
        let (attributes, outcome) = of_attempt(&trace, attempt, resent);
        let id = SpanId::from_bytes(attempt.span);
        out.push(made(id, span, SpanKind::Client, times, attributes, outcome));
    }
}

/// The method, and the caller's word for it where the conventions have none: it is short.
fn of_method(asked: &Method) -> [Option<KeyValue>; 2] {
    let known = method(asked);
    let original =
        known.is_none().then(|| KeyValue::new("http.request.method_original", asked.as_str().to_owned()));
    [Some(KeyValue::new("http.request.method", known.unwrap_or("_OTHER"))), original]
}

fn of_request(trace: &RawTrace, place: Option<&Place>) -> (Vec<KeyValue>, Status) {
    let code = trace.code.unwrap_or(Code::CallerGone);
    let mut attributes = Vec::with_capacity(14);
    attributes.extend(of_method(&trace.method).into_iter().flatten());
    attributes.extend([
        KeyValue::new("url.scheme", trace.own.scheme),
        KeyValue::new("network.protocol.version", version(trace.own.version)),
        KeyValue::new("requestrocket.request.id", trace.id.to_string()),
        KeyValue::new("requestrocket.code", code.as_str()),
        // Counts one by one.
        KeyValue::new("requestrocket.revision", i64::try_from(trace.revision).unwrap_or(i64::MAX)),
    ]);
    attributes.extend(trace.status.map(status));
    attributes.extend(trace.org.map(|id| KeyValue::new("requestrocket.org.id", id.to_string())));
    attributes.extend(trace.proxy.map(|id| KeyValue::new("requestrocket.proxy.id", id.to_string())));
    if let Some(place) = place {
        attributes.push(KeyValue::new("requestrocket.node.id", place.node.clone()));
        attributes.push(KeyValue::new("requestrocket.region.id", place.region.clone()));
    }
    attributes.extend(trace.path.as_deref().map(|path| KeyValue::new("url.path", path.to_owned())));
    // A caller that leaves is no fault of ours.
    let is_fault = trace.status.is_none_or(|status| status.is_server_error()) || trace.is_aborted;
    let is_fault = is_fault && code != Code::CallerGone;
    if is_fault {
        let kind = match (code, trace.status) {
            (Code::Granted, Some(status)) => status.as_str().to_owned(),
            (code, _) => code.as_str().to_owned(),
        };
        attributes.push(KeyValue::new("error.type", kind));
    }
    (attributes, if is_fault { Status::error("") } else { Status::Unset })
}

fn of_attempt(trace: &RawTrace, attempt: &RawAttempt, resent: usize) -> (Vec<KeyValue>, Status) {
    let target = &attempt.target;
    let address = match target.base.host() {
        // Without the brackets that it has in a URL.
        Host::Ipv6(address) => address.to_string(),
        host => host.to_string(),
    };
    let mut attributes = Vec::with_capacity(10);
    attributes.extend(of_method(&trace.method).into_iter().flatten());
    attributes.extend([
        KeyValue::new("url.scheme", if target.is_tls() { "https" } else { "http" }),
        KeyValue::new("server.address", address),
        KeyValue::new("server.port", i64::from(target.base.port())),
        KeyValue::new("requestrocket.target.id", target.id.to_string()),
    ]);
    if resent > 0 {
        // At most as many as are kept.
        attributes
            .push(KeyValue::new("http.request.resend_count", i64::try_from(resent).unwrap_or(i64::MAX)));
    }
    let error = match attempt.came {
        Ok(Some((came, spoken))) => {
            attributes.push(status(came));
            attributes.push(KeyValue::new("network.protocol.version", version(spoken)));
            (came.is_client_error() || came.is_server_error()).then(|| came.as_str().to_owned())
        }
        // It was broken off, by what the request ended by.
        Ok(None) => Some(trace.code.unwrap_or(Code::CallerGone).as_str().to_owned()),
        Err(code) => Some(code.as_str().to_owned()),
    };
    let outcome = if error.is_some() { Status::error("") } else { Status::Unset };
    attributes.extend(error.map(|kind| KeyValue::new("error.type", kind)));
    (attributes, outcome)
}
