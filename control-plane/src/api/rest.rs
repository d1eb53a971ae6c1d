//! REST out of the same calls: what the transcoder leaves to us.
//!
//! Every error is problem+json with a stable `code`, every violation and the details that gRPC callers get.
//! Bodies are JSON and say so: a form that a browser sends across sites is refused. What the body or the path
//! says, the query does not say again: the transcoder lets it win over the body, and so it is refused.

use std::sync::Arc;

use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use prost::Message as _;
use rest_over_grpc::transcoding::{Transcode, TranscodeResponse};
use rr_contract::wire::google::rpc;
use rr_contract::wire::rest::Transcoder;
use rr_contract::wire::{fleet, management};
use serde_json::{Map, Value, json};
use tonic_types::pb;

use super::Api;

mod query;

/// The largest body: a sealed secret and what is around it.
const BODY_MOST: usize = 1024 * 1024;

/// The REST side. Clones share the routes.
#[derive(Clone)]
pub(super) struct Rest(Arc<dyn Answer>);

/// The transcoder's type has ten parameters; here they end.
trait Answer: Send + Sync {
    fn call(
        &self,
        method: Method,
        target: String,
        headers: HeaderMap,
        body: Bytes,
    ) -> futures_util::future::BoxFuture<'_, Option<TranscodeResponse>>;
}

struct Routes<T>(T);

impl<T: Transcode + Send + Sync> Answer for Routes<T> {
    fn call(
        &self,
        method: Method,
        target: String,
        headers: HeaderMap,
        body: Bytes,
    ) -> futures_util::future::BoxFuture<'_, Option<TranscodeResponse>> {
        Box::pin(async move { self.0.try_transcode(method.as_str(), &target, headers, &body).await })
    }
}

impl Rest {
    pub(super) fn new(api: &Api) -> Self {
        use fleet::__rest_over_grpc_bridge_FleetService::FleetServiceRestBridge;
        use management::__rest_over_grpc_bridge_CredentialService::CredentialServiceRestBridge;
        use management::__rest_over_grpc_bridge_InstallationService::InstallationServiceRestBridge;
        use management::__rest_over_grpc_bridge_NodeTokenService::NodeTokenServiceRestBridge;
        use management::__rest_over_grpc_bridge_OrgService::OrgServiceRestBridge;
        use management::__rest_over_grpc_bridge_ProxyService::ProxyServiceRestBridge;
        use management::__rest_over_grpc_bridge_RegionService::RegionServiceRestBridge;
        use management::__rest_over_grpc_bridge_RequestService::RequestServiceRestBridge;
        use management::__rest_over_grpc_bridge_TargetService::TargetServiceRestBridge;
        use management::__rest_over_grpc_bridge_TokenService::TokenServiceRestBridge;

        // "Externally": every handler authorizes itself, on either way in.
        Self(Arc::new(Routes(Transcoder::new(
            FleetServiceRestBridge::externally_authenticated(api.clone()),
            CredentialServiceRestBridge::externally_authenticated(api.clone()),
            InstallationServiceRestBridge::externally_authenticated(api.clone()),
            NodeTokenServiceRestBridge::externally_authenticated(api.clone()),
            OrgServiceRestBridge::externally_authenticated(api.clone()),
            ProxyServiceRestBridge::externally_authenticated(api.clone()),
            RegionServiceRestBridge::externally_authenticated(api.clone()),
            RequestServiceRestBridge::externally_authenticated(api.clone()),
            TargetServiceRestBridge::externally_authenticated(api.clone()),
            TokenServiceRestBridge::externally_authenticated(api.clone()),
        ))))
    }

    pub(super) async fn answer(&self, request: Request) -> Response {
        let (head, body) = request.into_parts();
        let carries = matches!(head.method, Method::POST | Method::PUT | Method::PATCH);
        if !carries && !matches!(head.method, Method::GET | Method::DELETE) {
            let mut refused = problem(
                StatusCode::METHOD_NOT_ALLOWED,
                "method-not-allowed",
                "this API knows GET, POST, PATCH and DELETE",
            );
            refused.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, POST, PATCH, DELETE"));
            return refused;
        }
        let Ok(body) = to_bytes(body, BODY_MOST).await else {
            return problem(
                StatusCode::PAYLOAD_TOO_LARGE,
                "request-too-large",
                "the body is cut off, or larger than 1 MiB",
            );
        };
        if carries && !is_json(&head.headers) {
            return problem(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "unsupported-media-type",
                "send the body as JSON, with `content-type: application/json`",
            );
        }
        if let Some(parameter) = query::misplaced(&head.method, &head.uri) {
            let text = format!("query parameter {parameter:?} is not taken here");
            let mut body = body_of(StatusCode::BAD_REQUEST, "invalid", &text);
            let reason = "belongs in the body or the path";
            body.insert("errors".into(), json!([{"field": parameter, "reason": reason}]));
            return respond(StatusCode::BAD_REQUEST, body);
        }
        let target = head.uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str).to_owned();
        match self.0.call(head.method.clone(), target, head.headers, body).await {
            Some(TranscodeResponse::Unary(unary)) if unary.status().is_success() => {
                unary.into_http().map(Body::from)
            }
            Some(TranscodeResponse::Unary(unary)) => failure(unary.status(), unary.headers(), unary.body()),
            // No call of this port streams; when one does, its errors need a form of their own.
            Some(TranscodeResponse::Streaming(_)) => {
                problem(StatusCode::NOT_IMPLEMENTED, "not-implemented", "this call is served over gRPC alone")
            }
            None => {
                let text = format!("no such call: {} {}", head.method, head.uri.path());
                problem(StatusCode::NOT_FOUND, "no-such-call", &text)
            }
        }
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let Some(kind) = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()) else { return false };
    kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"))
}

fn problem(status: StatusCode, code: &str, detail: &str) -> Response {
    respond(status, body_of(status, code, detail))
}

fn body_of(status: StatusCode, code: &str, detail: &str) -> Map<String, Value> {
    let mut body = Map::new();
    body.insert("type".into(), "about:blank".into());
    body.insert("title".into(), status.canonical_reason().unwrap_or("Error").into());
    body.insert("status".into(), status.as_u16().into());
    body.insert("detail".into(), detail.into());
    body.insert("code".into(), code.into());
    body
}

fn respond(status: StatusCode, body: Map<String, Value>) -> Response {
    let bytes = serde_json::to_vec(&Value::Object(body)).expect("a JSON value serializes");
    let mut response = Response::new(Body::from(bytes));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    if status == StatusCode::UNAUTHORIZED {
        response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    response
}

/// A failed call, as the transcoder says it: `{code, message, details}`.
fn failure(status: StatusCode, headers: &HeaderMap, said: &[u8]) -> Response {
    let said: Value = serde_json::from_slice(said).unwrap_or_default();
    let message = said["message"].as_str().unwrap_or_default();
    let packed = said["details"].as_array().into_iter().flatten().find_map(|detail| {
        let packed = (detail["kind"] == "grpc-status-details-bin").then(|| detail["value"].as_str())??;
        let bytes = STANDARD.decode(packed).ok()?;
        pb::Status::decode(bytes.as_slice()).ok()
    });
    let mut code = kebab(status.canonical_reason().unwrap_or("error"));
    let mut errors = Vec::new();
    let mut details = Vec::new();
    for any in packed.iter().flat_map(|packed| &packed.details) {
        let Some(detail) = detail(&any.type_url, &any.value) else { continue };
        if let Some(reason) = detail["reason"].as_str() {
            code = kebab(reason);
        }
        for violation in detail["fieldViolations"].as_array().into_iter().flatten() {
            errors.push(json!({"field": violation["field"], "reason": violation["description"]}));
        }
        details.push(detail);
    }
    if packed.is_none() && status == StatusCode::BAD_REQUEST {
        // The JSON itself is at fault; the decoder's text names the field where it knows it.
        code = "invalid".to_owned();
        errors.push(json!({"field": "", "reason": message}));
    }
    let mut body = body_of(status, &code, message);
    if !errors.is_empty() {
        body.insert("errors".into(), errors.into());
    }
    if !details.is_empty() {
        body.insert("details".into(), details.into());
    }
    let mut response = respond(status, body);
    if let Some(challenge) = headers.get(WWW_AUTHENTICATE) {
        response.headers_mut().insert(WWW_AUTHENTICATE, challenge.clone());
    }
    response
}

/// A detail in its JSON form; one that we never send is left out.
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
