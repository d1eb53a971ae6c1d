//! Decides what callers are told: the only place where an outcome becomes a status, headers and a body.
//!
//! Texts in here are for callers and constant: no cause, no address, no hint of a secret. Causes go to the
//! log and the record. The invariant: an unknown proxy and a bad credential answer alike, byte for byte,
//! but for request id and date.

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderMap, Response, StatusCode};
use rr_contract::model::id::{MeterId, RuleId};
use rr_contract::model::name::Name;
use rr_contract::model::path::InvalidPath;
use rr_contract::model::proxy::DenyStatus;
use rr_contract::policy::json::JsonError;
use rr_contract::policy::meter::Amount;
use rr_contract::policy::verdict::Scope;
use rr_contract::wire::fleet::LimitKind;
use serde_json::json;

use crate::body::DecodeError;
use crate::outcome::Code;
use crate::quota::{Exceeded, retry_after};
use crate::report::{LimitState, MeterState, Reason};
use crate::snapshot::upstream::Unusable;
use crate::upstream::{CallerFault, LookupError, SendError};

const PROXY_CODE: HeaderName = HeaderName::from_static("requestrocket-proxy-code");
const PROXY_MESSAGE: HeaderName = HeaderName::from_static("requestrocket-proxy-message");
const PROXY_WARNING: HeaderName = HeaderName::from_static("requestrocket-proxy-warning");
const RATELIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const RATELIMIT: HeaderName = HeaderName::from_static("ratelimit");
const REQUEST_ID: HeaderName = HeaderName::from_static("requestrocket-request-id");

/// Prefix of all headers of RequestRocket, in requests and responses.
pub(crate) const OURS: &str = "requestrocket-";

/// A decision of this node, not a fault.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Denial {
    /// Not a path of this node.
    #[error("path is not below /api/")]
    NotFound,
    /// CONNECT and TRACE.
    #[error("method is refused")]
    Method,
    /// No configuration was ever received.
    #[error("no configuration yet")]
    NotReady,
    /// The path is ambiguous.
    #[error("malformed path")]
    Malformed(#[source] InvalidPath),
    /// The body has a hop-by-hop coding.
    #[error("request body has a transfer coding other than chunked")]
    Coded,
    /// The request names no host, or two.
    #[error("not exactly one Host header")]
    Host,
    /// More headers than a request may have.
    #[error("too many headers")]
    Headers,
    /// The request cannot be sent on as it is.
    #[error("request target is too long")]
    TooLong,
    /// No such proxy.
    #[error("unknown proxy")]
    UnknownProxy,
    /// No, unknown, wrong, expired or foreign credential.
    #[error("missing or invalid credential")]
    BadCredential(Reason),
    /// Switched off.
    #[error("proxy is inactive")]
    Inactive,
    /// The organization is suspended.
    #[error("organization is suspended")]
    Suspended,
    /// Part of its configuration was refused by this node.
    #[error("proxy is closed")]
    Closed,
    /// The body is longer than the proxy takes, or than rules and meters may look at.
    #[error("request body is too long")]
    RequestTooLarge,
    /// The rules of a scope.
    #[error("rules deny the request")]
    Rule(Box<RuleDenial>),
    /// A rule or a meter must look at the body, and it cannot be read.
    #[error("request body cannot be read by a rule or a meter that must look at it")]
    Unreadable,
    /// A limit or a meter has no room.
    #[error("limit is exceeded")]
    Limited(Box<Limited>),
    /// The caller, while its body was read for a rule or a meter.
    #[error("caller did not send the whole request")]
    Caller(#[source] CallerFault),
}

/// Which rule refuses a request.
#[derive(Debug)]
pub(crate) struct RuleDenial {
    pub(crate) status: DenyStatus,
    pub(crate) scope: Scope,
    /// Id, name and notes; `None`: the default of the scope.
    pub(crate) rule: Option<(RuleId, Name, Box<str>)>,
}

/// Which limit refuses a request, and when there is room again.
#[derive(Debug)]
pub(crate) struct Limited {
    pub(crate) whose: Whose,
    pub(crate) exceeded: Exceeded,
    /// Values of `ratelimit-policy` and `ratelimit`.
    pub(crate) fields: Option<(HeaderValue, HeaderValue)>,
}

/// Whose limit it is.
#[derive(Debug)]
pub(crate) enum Whose {
    Proxy(LimitKind),
    Meter(MeterId, Name),
}

/// A fault on the way to the upstream.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// This node's side: no secret can be injected.
    #[error("upstream credential cannot be used")]
    Credential(#[source] Unusable),
    /// The upstream's side, or the caller's during its body.
    #[error("upstream did not answer the request")]
    Upstream(#[source] SendError),
    /// The upstream's side: its response is longer than the proxy lets through, or than filters may go over.
    #[error("response body is too long")]
    ResponseTooLarge,
    /// The upstream's side, while its response was gathered for filters.
    #[error("response broke off before filters had all of it")]
    Response(#[source] BodyBroken),
    /// The upstream's side: filters cannot go over the response.
    #[error("filters cannot go over the response")]
    Unreadable(#[source] Unreadable),
}

/// How a response ended too early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BodyBroken {
    #[error("upstream broke off its response")]
    Broken(#[source] hyper::Error),
    #[error("upstream sent nothing more of its response")]
    Silent,
}

/// Why filters cannot go over a response.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unreadable {
    #[error("content type is not JSON")]
    Type,
    #[error("content coding is not known")]
    Coding,
    #[error("response is a part of a document")]
    Partial,
    #[error("body cannot be decoded")]
    Decoding(#[source] DecodeError),
    #[error("body is not JSON")]
    Json(#[source] JsonError),
}

/// Why a request was not answered by its upstream.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refused {
    #[error(transparent)]
    Denial(#[from] Denial),
    #[error(transparent)]
    Failure(#[from] Failure),
}

impl Code {
    /// `None` where the upstream's own status is passed on.
    const fn status(self) -> Option<StatusCode> {
        match self {
            Self::Granted => None,
            Self::NotFound => Some(StatusCode::NOT_FOUND),
            Self::MethodRefused => Some(StatusCode::METHOD_NOT_ALLOWED),
            // Not an upstream's fault and not for good: a caller may try again, here or elsewhere.
            Self::NotReady | Self::Closed | Self::UpstreamBusy => Some(StatusCode::SERVICE_UNAVAILABLE),
            // A caller that is gone reads no status, unless it only closed its sending side.
            Self::Malformed | Self::CallerGone => Some(StatusCode::BAD_REQUEST),
            Self::HeadersTooMany => Some(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE),
            Self::RequestTimeout => Some(StatusCode::REQUEST_TIMEOUT),
            Self::AccessDenied => Some(StatusCode::UNAUTHORIZED),
            Self::Inactive => Some(StatusCode::FORBIDDEN),
            Self::Suspended => Some(StatusCode::PAYMENT_REQUIRED),
            // A proxy may ask for 403 where rules deny.
            Self::RuleDenied | Self::RequestUnreadable => Some(StatusCode::BAD_REQUEST),
            Self::RequestTooLarge | Self::ResponseTooLarge => Some(StatusCode::PAYLOAD_TOO_LARGE),
            Self::RateLimited => Some(StatusCode::TOO_MANY_REQUESTS),
            Self::ResponseUnreadable => Some(StatusCode::UNPROCESSABLE_ENTITY),
            Self::CredentialUnusable | Self::UpstreamRefused | Self::UpstreamUnreachable => {
                Some(StatusCode::BAD_GATEWAY)
            }
            Self::UpstreamTimeout => Some(StatusCode::GATEWAY_TIMEOUT),
        }
    }

    const fn message(self) -> &'static str {
        match self {
            Self::Granted => "granted",
            Self::NotFound => "nothing is served here; requests go to /api/{proxy}/{path}",
            Self::MethodRefused => "CONNECT and TRACE are not forwarded",
            Self::NotReady => "this node has no configuration yet",
            Self::Malformed => "the path, the host or the body's framing cannot be read in one way only",
            Self::HeadersTooMany => "the request has more than 128 headers",
            Self::AccessDenied => "unknown proxy, or no valid credential for it",
            Self::Inactive => "the proxy is switched off",
            Self::RuleDenied => "the rules of the proxy deny the request",
            Self::RequestUnreadable => {
                "the body must be looked at, and is not JSON in a known content coding"
            }
            Self::RequestTooLarge => "the body of the request is longer than the proxy takes",
            Self::RateLimited => "a limit of the proxy is used up; retry-after says when to try again",
            Self::ResponseTooLarge => "the body of the response is longer than the proxy lets through",
            Self::ResponseUnreadable => {
                "the response must be filtered, and is not JSON in a known content coding"
            }
            Self::Suspended => "the organization is suspended",
            Self::Closed => "the proxy is closed because this node refused part of its configuration",
            Self::CredentialUnusable => "the credential for the upstream cannot be used",
            Self::UpstreamRefused => "the upstream's address is not one that this node may connect to",
            Self::UpstreamBusy => "too many requests to the upstream are under way",
            Self::UpstreamUnreachable => "the upstream could not be reached or broke the connection",
            Self::UpstreamTimeout => "the upstream did not answer in time",
            Self::RequestTimeout => "the rest of the request did not come in time",
            Self::CallerGone => "the request ended before all of it had come",
        }
    }
}

impl Denial {
    fn code(&self) -> Code {
        match self {
            Self::NotFound => Code::NotFound,
            Self::Method => Code::MethodRefused,
            Self::NotReady => Code::NotReady,
            Self::Malformed(_) | Self::Coded | Self::Host | Self::TooLong => Code::Malformed,
            Self::Headers => Code::HeadersTooMany,
            // Alike, so that ids and names cannot be probed.
            Self::UnknownProxy | Self::BadCredential(_) => Code::AccessDenied,
            Self::Inactive => Code::Inactive,
            Self::Suspended => Code::Suspended,
            Self::Closed => Code::Closed,
            Self::RequestTooLarge => Code::RequestTooLarge,
            Self::Rule(_) => Code::RuleDenied,
            Self::Unreadable => Code::RequestUnreadable,
            Self::Limited(_) => Code::RateLimited,
            Self::Caller(fault) => of_caller(*fault),
        }
    }
}

fn of_caller(fault: CallerFault) -> Code {
    match fault {
        CallerFault::Gone => Code::CallerGone,
        CallerFault::Malformed => Code::Malformed,
        CallerFault::Stalled => Code::RequestTimeout,
        CallerFault::TooLong => Code::RequestTooLarge,
    }
}

impl Failure {
    fn code(&self) -> Code {
        match self {
            Self::Credential(_) => Code::CredentialUnusable,
            Self::ResponseTooLarge => Code::ResponseTooLarge,
            Self::Response(BodyBroken::Broken(_)) => Code::UpstreamUnreachable,
            Self::Response(BodyBroken::Silent) => Code::UpstreamTimeout,
            Self::Unreadable(_) => Code::ResponseUnreadable,
            Self::Upstream(error) => match error {
                SendError::Guarded => Code::UpstreamRefused,
                SendError::Busy | SendError::Resolve(LookupError::Crowded) => Code::UpstreamBusy,
                SendError::ConnectTimeout
                | SendError::ResponseTimeout
                | SendError::Resolve(LookupError::Silent) => Code::UpstreamTimeout,
                SendError::Caller(fault) => of_caller(*fault),
                SendError::Resolve(LookupError::Failed(_))
                | SendError::Connect(_)
                | SendError::Tls(_)
                | SendError::Trust(_)
                | SendError::Broken(_)
                | SendError::Switched
                | SendError::Coded => Code::UpstreamUnreachable,
            },
        }
    }
}

impl Refused {
    pub(crate) fn code(&self) -> Code {
        match self {
            Self::Denial(denial) => denial.code(),
            Self::Failure(failure) => failure.code(),
        }
    }
}

/// The whole reply to a request that is not passed on, or was not answered.
pub(crate) fn refused(refused: &Refused, request_id: HeaderValue) -> Response<Bytes> {
    let code = refused.code();
    match refused {
        Refused::Denial(Denial::Rule(denial)) => {
            let status = StatusCode::from_u16(denial.status.code()).ok();
            problem(code, status, &denial.member(), request_id)
        }
        Refused::Denial(Denial::Limited(limited)) => {
            let mut response = problem(code, None, &limited.member(), request_id);
            let headers = response.headers_mut();
            headers.insert(RETRY_AFTER, retry_after(limited.exceeded.retry_after));
            if let Some((policy, limit)) = &limited.fields {
                put_limits(headers, policy.clone(), limit.clone());
            }
            response
        }
        Refused::Denial(_) | Refused::Failure(_) => problem(code, None, "", request_id),
    }
}

/// A problem in the form of RFC 9457. `more` is further members, each with a comma before it.
fn problem(code: Code, status: Option<StatusCode>, more: &str, request_id: HeaderValue) -> Response<Bytes> {
    let status = status.or(code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    // Every text but `more` is a constant without quotes, so no escaping is needed.
    let body = format!(
        r#"{{"type":"urn:requestrocket:{code}","title":"{title}","status":{status},"detail":"{detail}","code":"{code}","request_id":"{id}"{more}}}"#,
        code = code.as_str(),
        title = status.canonical_reason().unwrap_or("Error"),
        status = status.as_u16(),
        detail = code.message(),
        id = request_id.to_str().unwrap_or_default(),
    );
    let mut response = Response::new(Bytes::from(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    if code == Code::AccessDenied {
        headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    if code == Code::MethodRefused {
        headers.insert(ALLOW, HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"));
    }
    sign(headers, code, request_id);
    response
}

impl RuleDenial {
    /// The scope, and the rule unless the scope's default denies.
    fn member(&self) -> String {
        let scope = scope_name(self.scope);
        let rule = self
            .rule
            .as_ref()
            .map(|(id, name, notes)| json!({"id": id.to_string(), "name": name.as_str(), "notes": notes}));
        format!(r#","scope":"{scope}","rule":{}"#, rule.unwrap_or(serde_json::Value::Null))
    }
}

impl Limited {
    /// As a record keeps it.
    pub(crate) fn states(&self) -> (Option<LimitState>, Option<MeterState>) {
        let Exceeded { window, limit, used, .. } = self.exceeded;
        match &self.whose {
            Whose::Proxy(kind) => {
                (Some(LimitState { kind: *kind, window: window.to_wire(), limit, used }), None)
            }
            Whose::Meter(id, _) => {
                let exceeded = Some(window.to_wire());
                (None, Some(MeterState { meter: *id, charged: 0, missing: false, exceeded }))
            }
        }
    }

    /// The limit that has no room.
    fn member(&self) -> String {
        let Exceeded { window, limit, .. } = self.exceeded;
        let (limit, meter) = match &self.whose {
            // Meters count in millionths.
            Whose::Meter(id, name) => {
                let meter = json!({"id": id.to_string(), "name": name.as_str()});
                (Amount::of_millionths(limit).rounded_up(), Some(meter))
            }
            Whose::Proxy(_) => (limit, None),
        };
        let limit = json!({"window": window.as_str(), "limit": limit, "meter": meter});
        format!(r#","limit":{limit}"#)
    }
}

/// As callers and records name it.
fn scope_name(scope: Scope) -> &'static str {
    match scope {
        Scope::Caller => "caller",
        Scope::Upstream => "upstream",
        Scope::Proxy => "proxy",
        Scope::Target => "target",
    }
}

/// Which region this node serves, as JSON.
pub(crate) fn statement(json: &str) -> Response<Bytes> {
    let mut response = Response::new(Bytes::copy_from_slice(json.as_bytes()));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// Tells a caller how far limits are used.
pub(crate) fn put_limits(headers: &mut HeaderMap, policy: HeaderValue, limit: HeaderValue) {
    headers.insert(RATELIMIT_POLICY, policy);
    headers.insert(RATELIMIT, limit);
}

/// Says that a limit is nearly used up.
pub(crate) fn warn(headers: &mut HeaderMap) {
    headers.insert(PROXY_WARNING, HeaderValue::from_static("a limit of the proxy is used to 80 % or more"));
}

/// Adds the headers of this node to a reply.
pub(crate) fn sign(headers: &mut HeaderMap, code: Code, request_id: HeaderValue) {
    headers.insert(PROXY_CODE, HeaderValue::from_static(code.as_str()));
    headers.insert(PROXY_MESSAGE, HeaderValue::from_static(code.message()));
    headers.insert(REQUEST_ID, request_id);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_outcome_but_success_has_a_status_and_a_body_that_is_json() {
        for code in Code::ALL {
            let reply = problem(code, None, "", HeaderValue::from_static("rq_1"));
            let json: serde_json::Value = serde_json::from_slice(reply.body()).expect("problem json");
            assert_eq!(json["code"], code.as_str());
            assert_eq!(json["status"], reply.status().as_u16());
            assert_eq!(code.status().is_none(), code == Code::Granted);
        }
    }
}
