//! Errors as REST says them: problem+json with a stable `code`, every violation, and the details that gRPC
//! callers get.

use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, StatusCode};
use prost::Message as _;
use rest_over_grpc::handling::Code;
use rr_contract::model::invalid::{Invalid, Violation};
use rr_contract::wire::google::rpc;
use serde_json::{Map, Value, json};
use tonic_types::pb;

use crate::api::status::{FIELD_MOST, REASON_MOST, cut};
use crate::throttle;

/// An error, before it is a response.
pub(super) struct Problem {
    status: StatusCode,
    code: String,
    detail: String,
    errors: Vec<Value>,
    details: Vec<Value>,
    retry: Option<Duration>,
}

impl Problem {
    pub(super) fn new(status: StatusCode, code: &str, detail: impl Into<String>) -> Self {
        let (code, detail) = (code.to_owned(), detail.into());
        Self { status, code, detail, errors: Vec::new(), details: Vec::new(), retry: None }
    }

    /// Input that does not follow the schemas.
    pub(super) fn invalid(invalid: &Invalid) -> Self {
        let cut = |it: &Violation| (cut(&it.field, FIELD_MOST), cut(&it.reason, REASON_MOST));
        let violations: Vec<(String, String)> = invalid.violations().iter().map(cut).collect();
        let texts: Vec<String> = violations
            .iter()
            .map(|(field, reason)| match field.as_str() {
                "" => reason.clone(),
                field => format!("{field} {reason}"),
            })
            .collect();
        let mut problem = Self::new(StatusCode::BAD_REQUEST, "invalid", texts.join("; "));
        problem.errors =
            violations.into_iter().map(|(field, reason)| json!({"field": field, "reason": reason})).collect();
        problem
    }

    /// A status of ours.
    pub(super) fn of(status: &tonic::Status) -> Self {
        let code = Code::from_i32(i32::from(status.code())).unwrap_or(Code::Unknown);
        let packed = (!status.details().is_empty()).then(|| pb::Status::decode(status.details()).ok());
        Self::made(code.to_http_status(), status.message(), packed.flatten().as_ref())
    }

    /// A call that failed, as the transcoder says it: `{code, message, details}`.
    pub(super) fn said(status: StatusCode, said: &[u8]) -> Self {
        let said: Value = serde_json::from_slice(said).unwrap_or_default();
        let details = said["details"].as_array().map_or(&[][..], Vec::as_slice);
        Self::made(status, said["message"].as_str().unwrap_or_default(), packed(details).as_ref())
    }

    /// A stream that failed.
    pub(super) fn of_stream(status: &rest_over_grpc::handling::Status) -> Self {
        let http = status.code().to_http_status();
        Self::made(http, status.message(), packed(status.details()).as_ref())
    }

    fn made(status: StatusCode, message: &str, packed: Option<&pb::Status>) -> Self {
        let mut problem = Self::new(status, &kebab(status.canonical_reason().unwrap_or("error")), message);
        for any in packed.iter().flat_map(|packed| &packed.details) {
            let Some(detail) = detail(&any.type_url, &any.value) else { continue };
            if let Some(reason) = detail["reason"].as_str() {
                problem.code = kebab(reason);
            }
            for violation in detail["fieldViolations"].as_array().into_iter().flatten() {
                let (field, reason) = (&violation["field"], &violation["description"]);
                problem.errors.push(json!({"field": field, "reason": reason}));
            }
            if any.type_url.ends_with(".RetryInfo") {
                let info = rpc::RetryInfo::decode(any.value.as_slice()).unwrap_or_default();
                problem.retry = info.retry_delay.and_then(|delay| delay.try_into().ok());
            }
            problem.details.push(detail);
        }
        if packed.is_none() && status == StatusCode::BAD_REQUEST {
            // The JSON itself is at fault; the decoder's text names the field where it knows it.
            problem.code = "invalid".to_owned();
            problem.errors.push(json!({"field": "", "reason": message}));
        }
        problem
    }

    /// The body.
    pub(super) fn body(&self) -> Vec<u8> {
        let mut body = Map::new();
        body.insert("type".into(), "about:blank".into());
        body.insert("title".into(), self.status.canonical_reason().unwrap_or("Error").into());
        body.insert("status".into(), self.status.as_u16().into());
        body.insert("detail".into(), self.detail.as_str().into());
        body.insert("code".into(), self.code.as_str().into());
        if !self.errors.is_empty() {
            body.insert("errors".into(), self.errors.clone().into());
        }
        if !self.details.is_empty() {
            body.insert("details".into(), self.details.clone().into());
        }
        serde_json::to_vec(&Value::Object(body)).expect("a JSON value serializes")
    }

    /// The answer.
    pub(super) fn answer(&self) -> Response {
        let mut response = Response::new(Body::from(self.body()));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(retry) = self.retry {
            headers.insert(RETRY_AFTER, throttle::seconds(retry).into());
        }
        response
    }

    /// The answer, with the challenge that a handler sent.
    pub(super) fn answer_with(&self, headers: &HeaderMap) -> Response {
        let mut response = self.answer();
        if let Some(challenge) = headers.get(WWW_AUTHENTICATE) {
            response.headers_mut().insert(WWW_AUTHENTICATE, challenge.clone());
        }
        response
    }
}

fn packed(details: &[Value]) -> Option<pb::Status> {
    details.iter().find_map(|detail| {
        let packed = (detail["kind"] == "grpc-status-details-bin").then(|| detail["value"].as_str())??;
        let bytes = STANDARD.decode(packed).ok()?;
        pb::Status::decode(bytes.as_slice()).ok()
    })
}

/// A detail in its JSON form; types that the control plane never sends are left out.
fn detail(type_url: &str, value: &[u8]) -> Option<Value> {
    fn json_of<M: prost::Message + Default + serde::Serialize>(value: &[u8]) -> Option<Value> {
        serde_json::to_value(M::decode(value).ok()?).ok()
    }
    let mut detail = match type_url.strip_prefix("type.googleapis.com/google.rpc.")? {
        "BadRequest" => json_of::<rpc::BadRequest>(value)?,
        "ErrorInfo" => json_of::<rpc::ErrorInfo>(value)?,
        "PreconditionFailure" => json_of::<rpc::PreconditionFailure>(value)?,
        "RetryInfo" => json_of::<rpc::RetryInfo>(value)?,
        _ => return None,
    };
    detail.as_object_mut()?.insert("@type".into(), type_url.into());
    Some(detail)
}

/// `NAME_TAKEN` and `Not Found` as problems name them.
fn kebab(text: &str) -> String {
    text.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' }).collect()
}
