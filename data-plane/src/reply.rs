//! Decides what callers are told: the only place where an outcome becomes a status, headers and a body.
//!
//! Texts in here are for callers and constant: no cause, no address, no hint of a secret. Causes go to the
//! log and the record. The invariant: an unknown proxy and a bad credential answer alike, byte for byte,
//! but for request id and date.

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE, HeaderName, HeaderValue, WWW_AUTHENTICATE};
use http::{HeaderMap, Response, StatusCode};
use rr_contract::model::path::InvalidPath;

use crate::outcome::Code;
use crate::snapshot::upstream::Unusable;
use crate::upstream::{CallerFault, LookupError, SendError};

const PROXY_CODE: HeaderName = HeaderName::from_static("requestrocket-proxy-code");
const PROXY_MESSAGE: HeaderName = HeaderName::from_static("requestrocket-proxy-message");
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
    BadCredential,
    /// Switched off.
    #[error("proxy is inactive")]
    Inactive,
    /// The organization is suspended.
    #[error("organization is suspended")]
    Suspended,
    /// Part of its configuration was refused by this node.
    #[error("proxy is closed")]
    Closed,
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
            Self::UnknownProxy | Self::BadCredential => Code::AccessDenied,
            Self::Inactive => Code::Inactive,
            Self::Suspended => Code::Suspended,
            Self::Closed => Code::Closed,
        }
    }
}

impl Failure {
    fn code(&self) -> Code {
        match self {
            Self::Credential(_) => Code::CredentialUnusable,
            Self::Upstream(error) => match error {
                SendError::Guarded => Code::UpstreamRefused,
                SendError::Busy | SendError::Resolve(LookupError::Crowded) => Code::UpstreamBusy,
                SendError::ConnectTimeout
                | SendError::ResponseTimeout
                | SendError::Resolve(LookupError::Silent) => Code::UpstreamTimeout,
                SendError::Caller(CallerFault::Gone) => Code::CallerGone,
                SendError::Caller(CallerFault::Malformed) => Code::Malformed,
                SendError::Caller(CallerFault::Stalled) => Code::RequestTimeout,
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
pub(crate) fn refused(code: Code, request_id: HeaderValue) -> Response<Bytes> {
    let status = code.status().unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    // Every text is a constant without quotes, so no escaping is needed.
    let body = format!(
        r#"{{"type":"urn:requestrocket:{code}","title":"{title}","status":{status},"detail":"{detail}","code":"{code}","request_id":"{id}"}}"#,
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

/// Which region this node serves, as JSON.
pub(crate) fn statement(json: &str) -> Response<Bytes> {
    let mut response = Response::new(Bytes::copy_from_slice(json.as_bytes()));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
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
            let reply = refused(code, HeaderValue::from_static("rq_1"));
            let json: serde_json::Value = serde_json::from_slice(reply.body()).expect("problem json");
            assert_eq!(json["code"], code.as_str());
            assert_eq!(json["status"], reply.status().as_u16());
            assert_eq!(code.status().is_none(), code == Code::Granted);
        }
    }
}
