//! Decides what callers are told: the only place where an outcome becomes a status, headers and a body.
//!
//! Texts in here are for callers and constant: no cause, no address, no hint of a secret. Causes go to the
//! log and the record. The invariant: an unknown proxy and a bad credential answer alike, byte for byte,
//! but for request id and date.

use bytes::Bytes;
use http::header::{
    ALLOW, CONNECTION, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER, SEC_WEBSOCKET_VERSION,
    WWW_AUTHENTICATE,
};
use http::{HeaderMap, Response, StatusCode};

use crate::outcome::Code;
use crate::quota::retry_after;

mod refusal;

pub(crate) use self::refusal::{
    BadSwitch, BodyBroken, Denial, Failure, Limited, NotAsSaid, Refused, RuleDenial, Sayer, Unreadable,
    Whose, of_sending,
};

const PROXY_CODE: HeaderName = HeaderName::from_static("requestrocket-proxy-code");
const PROXY_MESSAGE: HeaderName = HeaderName::from_static("requestrocket-proxy-message");
const PROXY_WARNING: HeaderName = HeaderName::from_static("requestrocket-proxy-warning");
const RATELIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const RATELIMIT: HeaderName = HeaderName::from_static("ratelimit");
const REQUEST_ID: HeaderName = HeaderName::from_static("requestrocket-request-id");

/// Prefix of all headers of RequestRocket, in requests and responses.
pub(crate) const OURS: &str = "requestrocket-";

impl Code {
    /// `None` where the upstream's own status is passed on.
    const fn status(self) -> Option<StatusCode> {
        match self {
            Self::Granted => None,
            Self::NotFound => Some(StatusCode::NOT_FOUND),
            Self::MethodRefused => Some(StatusCode::METHOD_NOT_ALLOWED),
            // Not an upstream's fault and not for good: a caller may try again, here or elsewhere.
            Self::NotReady
            | Self::Closed
            | Self::UpstreamBusy
            | Self::CircuitOpen
            | Self::TooManyBodies
            | Self::RecordUnsure => Some(StatusCode::SERVICE_UNAVAILABLE),
            // A caller that is gone reads no status, unless it only closed its sending side.
            Self::HttpOnTlsPort | Self::Malformed | Self::CallerGone => Some(StatusCode::BAD_REQUEST),
            Self::HeadersTooMany => Some(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE),
            Self::RequestTimeout => Some(StatusCode::REQUEST_TIMEOUT),
            Self::Misdirected => Some(StatusCode::MISDIRECTED_REQUEST),
            Self::AccessDenied => Some(StatusCode::UNAUTHORIZED),
            Self::Inactive => Some(StatusCode::FORBIDDEN),
            Self::Suspended => Some(StatusCode::PAYMENT_REQUIRED),
            // A proxy may ask for 403 where rules deny.
            Self::RuleDenied | Self::RequestUnreadable | Self::RequestInvalid | Self::Unsignable => {
                Some(StatusCode::BAD_REQUEST)
            }
            Self::RequestTooLarge | Self::TooLargeToSign | Self::ResponseTooLarge => {
                Some(StatusCode::PAYLOAD_TOO_LARGE)
            }
            // Not 401 where a credential was not looked at: whoever has a good one is to come again, not to get another.
            Self::RateLimited
            | Self::TooManyConcurrent
            | Self::TooManyPasswords
            | Self::TooManySignatures => Some(StatusCode::TOO_MANY_REQUESTS),
            Self::ResponseUnreadable => Some(StatusCode::UNPROCESSABLE_ENTITY),
            Self::RequestUnfilterable => Some(StatusCode::UNSUPPORTED_MEDIA_TYPE),
            Self::CredentialUnusable
            | Self::UpstreamRefused
            | Self::UpstreamUnreachable
            | Self::SecretEchoed => Some(StatusCode::BAD_GATEWAY),
            Self::UpgradeMalformed => Some(StatusCode::BAD_REQUEST),
            Self::UpgradeNotAllowed | Self::TunnelUnread => Some(StatusCode::FORBIDDEN),
            Self::ProtocolUnknown => Some(StatusCode::NOT_IMPLEMENTED),
            Self::UpgradeRefused => Some(StatusCode::BAD_GATEWAY),
            Self::Stopping => Some(StatusCode::SERVICE_UNAVAILABLE),
            Self::UpstreamTimeout | Self::UpstreamTotalTimeout | Self::UpstreamIdle => {
                Some(StatusCode::GATEWAY_TIMEOUT)
            }
            Self::LoopDetected => Some(StatusCode::LOOP_DETECTED),
            Self::Preflight => Some(StatusCode::NO_CONTENT),
            Self::PreflightRefused | Self::OriginRefused | Self::TrialRefused => Some(StatusCode::FORBIDDEN),
        }
    }

    const fn message(self) -> &'static str {
        match self {
            Self::Granted => "granted",
            Self::NotFound => "nothing is served here; requests go to /api/{proxy}/{path}",
            Self::HttpOnTlsPort => "this port speaks TLS: use https",
            Self::Misdirected => "the request belongs on a connection of its own to the host that it names",
            Self::MethodRefused => "CONNECT, TRACE and methods that are not in upper case are not forwarded",
            Self::NotReady => "this node has no configuration yet",
            Self::Malformed => {
                "the path, the host, a header, the body's framing or who sent it cannot be read in one way only"
            }
            Self::HeadersTooMany => "the request has more than 128 headers",
            Self::AccessDenied => "unknown proxy, or no valid credential for it",
            Self::Inactive => "the proxy is switched off",
            Self::RuleDenied => "the rules of the proxy deny the request",
            Self::RequestUnreadable => {
                "the body must be looked at, and is not JSON in a known content coding, or rules have too much to look at"
            }
            Self::RequestInvalid => "the request is not as the schema of the proxy or its target says",
            Self::RequestTooLarge => "the body of the request is longer than the proxy takes",
            Self::TooLargeToSign => {
                "the upstream wants the body of the request signed, and it is longer than 1 MiB"
            }
            Self::Unsignable => {
                "the upstream wants the request signed, and a header or the query that is signed is not text, or the body is in chunks that are signed"
            }
            Self::RateLimited => "a limit of the proxy is used up; retry-after says when to try again",
            Self::TooManyConcurrent => "as many requests of the proxy are under way as it may have",
            Self::TooManyPasswords => "as many passwords wait to be checked as may",
            Self::TooManySignatures => {
                "so many tokens or certificates were wrong just now that this one was not looked at"
            }
            Self::ResponseTooLarge => "the body of the response is longer than the proxy lets through",
            Self::ResponseUnreadable => {
                "the response must be filtered or searched, and is not in a known content coding, not JSON, or has too many values"
            }
            Self::RequestUnfilterable => {
                "the body of the request must be filtered, and is not JSON in a known content coding, or has too many values"
            }
            Self::Suspended => "the organization is suspended",
            Self::Closed => "the proxy is closed because this node refused part of its configuration",
            Self::CredentialUnusable => "the credential for the upstream cannot be used",
            Self::UpstreamRefused => "the upstream's address is not one that this node may connect to",
            Self::UpstreamBusy => "too many requests to the upstream are under way",
            Self::CircuitOpen => {
                "requests to the upstream failed in a row, and none is sent for a while; retry-after says when to try again"
            }
            Self::UpstreamUnreachable => "the upstream could not be reached or broke the connection",
            Self::UpstreamTimeout => "the upstream did not answer in time",
            Self::UpstreamTotalTimeout => "the request took longer than the target allows",
            Self::UpstreamIdle => "the upstream sent nothing more of its response",
            Self::RequestTimeout => "the rest of the request did not come in time",
            Self::CallerGone => "the request ended before all of it had come",
            Self::UpgradeMalformed => {
                "the request asks for a WebSocket, and is not a GET without a body, of version 13, with a key"
            }
            Self::UpgradeNotAllowed => "the proxy takes no WebSockets",
            Self::TunnelUnread => {
                "the proxy looks at bodies, which a WebSocket would pass by; tunnels_unread would accept that"
            }
            Self::ProtocolUnknown => "the one protocol that CONNECT can ask for is websocket",
            Self::UpgradeRefused => "the upstream switched protocols in another way than it was asked to",
            Self::Stopping => "this node is being stopped",
            Self::LoopDetected => {
                "the request has passed this node before, or too many edges: the upstream leads back here"
            }
            Self::Preflight => "the web page may send what it asks for",
            Self::PreflightRefused => "the proxy does not take this method or these headers from web pages",
            Self::OriginRefused => "the proxy takes no WebSockets from web pages of this origin",
            Self::SecretEchoed => "the upstream sent back the secret that it was sent",
            Self::TrialRefused => {
                "the request shows a permission to be explained that this node does not take; reason says why"
            }
            Self::RecordUnsure => {
                "no record of the request could be made sure of in time; it was not sent to the upstream, and retry-after says when to try again"
            }
            Self::TooManyBodies => {
                "a body must be looked at whole, and this node holds as many as it may; retry-after says when to try again"
            }
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
        Refused::Denial(Denial::NotAsSaid(how)) => problem(code, None, &how.member(), request_id),
        Refused::Denial(Denial::Trial(fault)) => {
            problem(code, None, &format!(r#","reason":"{}""#, fault.as_str()), request_id)
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
        Refused::Failure(Failure::CircuitOpen(rest)) => {
            let mut response = problem(code, None, "", request_id);
            let seconds = rest.as_secs() + u64::from(rest.subsec_nanos() > 0);
            response.headers_mut().insert(RETRY_AFTER, retry_after(seconds.max(1)));
            response
        }
        Refused::Denial(Denial::Preflight) => {
            let mut response = Response::new(Bytes::new());
            *response.status_mut() = StatusCode::NO_CONTENT;
            sign(response.headers_mut(), code, request_id);
            response
        }
        Refused::Denial(Denial::Coded | Denial::Misdirected) => {
            let mut response = problem(code, None, "", request_id);
            // Where such a body ends is read in more than one way, and with it where the next request begins; and a
            // caller that keeps to a connection which was opened for another host would never get off it.
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
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
    if code == Code::UpgradeMalformed {
        headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
    }
    if matches!(
        code,
        Code::TooManyConcurrent
            | Code::TooManyBodies
            | Code::TooManyPasswords
            | Code::TooManySignatures
            | Code::RecordUnsure
    ) {
        headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
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
