//! The REST form of the same calls, around the transcoder that decodes and encodes them.
//!
//! Every error is problem+json with a stable `code`, every violation and the details that gRPC callers get.
//! Bodies are JSON and say so: a form that a browser sends across sites is refused. What the body or the path
//! says, the query does not say again: the transcoder lets it win over the body, and so it is refused.

use std::sync::Arc;

use axum::body::{Body as HttpBody, to_bytes};
use axum::extract::Request;
use axum::response::Response;
use bytes::Bytes;
use http::header::{ACCEPT, ALLOW, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use rest_over_grpc::transcoding::{Transcode, TranscodeResponse};
use rr_contract::wire::rest::Transcoder;
use rr_contract::wire::{fleet, management};

use super::Api;
use super::route::{Found, Route};
use super::schema::Body;
use super::status::{self, FIELD_MOST, cut};
use crate::throttle::Portion;

use brief::BriefBytes;
use problem::Problem;
use stream::{Form, KEEP_ALIVE};

mod brief;
mod input;
mod problem;
mod stream;

/// Where the document of this API is.
pub(super) const OPENAPI: &str = "/openapi.json";

/// The REST side. Clones share the routes.
#[derive(Clone)]
pub(super) struct Rest {
    routes: Arc<dyn Answer>,
}

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
        use management::__rest_over_grpc_bridge_ApplyService::ApplyServiceRestBridge;
        use management::__rest_over_grpc_bridge_AuditService::AuditServiceRestBridge;
        use management::__rest_over_grpc_bridge_AuthorityService::AuthorityServiceRestBridge;
        use management::__rest_over_grpc_bridge_CredentialService::CredentialServiceRestBridge;
        use management::__rest_over_grpc_bridge_FilterService::FilterServiceRestBridge;
        use management::__rest_over_grpc_bridge_InstallationService::InstallationServiceRestBridge;
        use management::__rest_over_grpc_bridge_MemberService::MemberServiceRestBridge;
        use management::__rest_over_grpc_bridge_MeterService::MeterServiceRestBridge;
        use management::__rest_over_grpc_bridge_MetricsService::MetricsServiceRestBridge;
        use management::__rest_over_grpc_bridge_NodeTokenService::NodeTokenServiceRestBridge;
        use management::__rest_over_grpc_bridge_NotificationService::NotificationServiceRestBridge;
        use management::__rest_over_grpc_bridge_OrgService::OrgServiceRestBridge;
        use management::__rest_over_grpc_bridge_ProxyService::ProxyServiceRestBridge;
        use management::__rest_over_grpc_bridge_RegionKeyService::RegionKeyServiceRestBridge;
        use management::__rest_over_grpc_bridge_RegionService::RegionServiceRestBridge;
        use management::__rest_over_grpc_bridge_RequestService::RequestServiceRestBridge;
        use management::__rest_over_grpc_bridge_RevisionService::RevisionServiceRestBridge;
        use management::__rest_over_grpc_bridge_RuleService::RuleServiceRestBridge;
        use management::__rest_over_grpc_bridge_TargetService::TargetServiceRestBridge;
        use management::__rest_over_grpc_bridge_TokenService::TokenServiceRestBridge;
        use management::__rest_over_grpc_bridge_UserService::UserServiceRestBridge;

        // "Externally": every handler authorizes itself, on either way in.
        let routes = Arc::new(Routes(Transcoder::new(
            FleetServiceRestBridge::externally_authenticated(api.clone()),
            CredentialServiceRestBridge::externally_authenticated(api.clone()),
            FilterServiceRestBridge::externally_authenticated(api.clone()),
            UserServiceRestBridge::externally_authenticated(api.clone()),
            TokenServiceRestBridge::externally_authenticated(api.clone()),
            MemberServiceRestBridge::externally_authenticated(api.clone()),
            MeterServiceRestBridge::externally_authenticated(api.clone()),
            NodeTokenServiceRestBridge::externally_authenticated(api.clone()),
            OrgServiceRestBridge::externally_authenticated(api.clone()),
            ProxyServiceRestBridge::externally_authenticated(api.clone()),
            RegionServiceRestBridge::externally_authenticated(api.clone()),
            RuleServiceRestBridge::externally_authenticated(api.clone()),
            TargetServiceRestBridge::externally_authenticated(api.clone()),
            ApplyServiceRestBridge::externally_authenticated(api.clone()),
            AuditServiceRestBridge::externally_authenticated(api.clone()),
            AuthorityServiceRestBridge::externally_authenticated(api.clone()),
            InstallationServiceRestBridge::externally_authenticated(api.clone()),
            MetricsServiceRestBridge::externally_authenticated(api.clone()),
            NotificationServiceRestBridge::externally_authenticated(api.clone()),
            RegionKeyServiceRestBridge::externally_authenticated(api.clone()),
            RequestServiceRestBridge::externally_authenticated(api.clone()),
            RevisionServiceRestBridge::externally_authenticated(api.clone()),
        )));
        Self { routes }
    }

    /// Answers a request by the match of its method and path. The memory of its body is counted in `portion`.
    pub(super) async fn answer(&self, request: Request, found: &Found, portion: Option<Portion>) -> Response {
        match self.call(request, found, portion).await {
            Ok(response) => response,
            Err(refused) => refused,
        }
    }

    async fn call(
        &self,
        request: Request,
        found: &Found,
        portion: Option<Portion>,
    ) -> Result<Response, Response> {
        let (head, body) = request.into_parts();
        let path = head.uri.path();
        let route = match found {
            Found::Route(route) => *route,
            Found::Methods(methods) => return Err(not_allowed(methods.iter().copied())),
            Found::Nothing if path == OPENAPI && head.method == Method::GET => return Ok(document()),
            Found::Nothing if path == OPENAPI => return Err(not_allowed(["GET"])),
            Found::Nothing => {
                let text = format!("no such call: {} {}", head.method, cut(path, FIELD_MOST));
                return Err(Problem::new(StatusCode::NOT_FOUND, "no-such-call", text).answer());
            }
        };
        let held = |bytes: usize| portion.as_ref().map_or(Ok(()), |portion| portion.grow(bytes));
        let full = |refused| refusal(&status::of_refusal(refused));
        // A request that does not announce its length may send as much as a body may hold.
        let most = route.operation().class.body() as u64;
        let length = http_body::Body::size_hint(&body).exact().unwrap_or(most).min(most);
        held(usize::try_from(length).unwrap_or(usize::MAX)).map_err(full)?;
        let is_secret = route.operation().may_hold_secret();
        let body = BriefBytes { bytes: body_of(route, &head.headers, body).await?, is_secret };
        let target = head.uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
        let input = input::read(route, target, &head.headers, &body.bytes)
            .map_err(|invalid| Problem::invalid(&invalid).answer())?;
        held(input.weight).map_err(full)?;
        let body = match input.body {
            Some(bytes) => BriefBytes { bytes: bytes.into(), is_secret },
            None => body,
        };
        let form = Form::of(&head.headers);
        let mut headers = head.headers;
        headers.insert(ACCEPT, HeaderValue::from_static(form.content_type()));
        match self.routes.call(head.method, input.target, headers, body.bytes.clone()).await {
            Some(TranscodeResponse::Unary(unary)) if unary.status().is_success() => {
                Ok(unary.into_http().map(HttpBody::from))
            }
            Some(TranscodeResponse::Unary(unary)) => {
                Err(Problem::said(unary.status(), unary.body()).answer_with(unary.headers()))
            }
            Some(TranscodeResponse::Streaming(streaming)) => Ok(stream::answer(streaming, form, KEEP_ALIVE)),
            // The transcoder reads paths more strictly than the routes are matched.
            None => Err(Problem::new(StatusCode::NOT_FOUND, "no-such-call", "no such call").answer()),
        }
    }
}

/// An error of the throttle or of a handler, over REST.
pub(super) fn refusal(status: &tonic::Status) -> Response {
    Problem::of(status).answer()
}

fn document() -> Response {
    let mut response = Response::new(HttpBody::from(super::openapi::DOCUMENT.clone()));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

async fn body_of(route: &Route, headers: &HeaderMap, body: HttpBody) -> Result<Bytes, Response> {
    if route.binding.body != Body::None && !is_json(headers) {
        let text = "send the body as JSON, with `content-type: application/json`";
        let code = "unsupported-media-type";
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, code, text).answer());
    }
    let most = route.operation().class.body();
    to_bytes(body, most).await.map_err(|error| {
        let too_large = std::error::Error::source(&error)
            .is_some_and(|source| source.is::<http_body_util::LengthLimitError>());
        let problem = if too_large {
            let text = format!("the body is larger than {} MiB", most / 1024 / 1024);
            Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "request-too-large", text)
        } else {
            Problem::new(StatusCode::BAD_REQUEST, "invalid", "the body is incomplete")
        };
        problem.answer()
    })
}

fn is_json(headers: &HeaderMap) -> bool {
    let Some(kind) = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()) else { return false };
    kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"))
}

fn not_allowed<'a>(methods: impl IntoIterator<Item = &'a str>) -> Response {
    let methods: Vec<&str> = methods.into_iter().collect();
    let allowed = methods.join(", ");
    let text = format!("this path takes {allowed}");
    let mut response = Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", text).answer();
    response.headers_mut().insert(ALLOW, HeaderValue::try_from(allowed).expect("names of methods"));
    response
}

#[cfg(test)]
mod tests;
