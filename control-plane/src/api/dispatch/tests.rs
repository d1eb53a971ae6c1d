//! The throttle in front of both protocols, over calls that do what a test wants.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Mutex;
use std::time::Duration;

use futures_util::future::BoxFuture;
use http::{HeaderValue, StatusCode};
use http_body_util::BodyExt as _;
use rr_contract::runtime::observe::Observability;
use serde_json::Value;
use tokio::sync::mpsc;
use tonic::Code;
use tonic_types::StatusExt as _;

use super::*;
use crate::authz::Permission;
use crate::throttle::Limits;

/// Finds everybody who presents anything but a made-up token.
struct Open;

impl Authenticate for Open {
    fn authenticate<'a>(
        &'a self,
        head: &'a Head<'_>,
        _permission: Permission,
    ) -> BoxFuture<'a, Result<Principal, ServiceError>> {
        let token = head.headers.get("authorization").map(HeaderValue::as_bytes).unwrap_or_default();
        let found = match token {
            b"" => Err(ServiceError::Unauthenticated),
            b"Bearer made-up" => Err(ServiceError::BadToken),
            _ => Ok(Principal::default()),
        };
        Box::pin(std::future::ready(found))
    }
}

impl Expose for Open {
    fn expose<'a>(&'a self, org: &'a str) -> BoxFuture<'a, Result<String, Status>> {
        Box::pin(std::future::ready(Ok(format!("of {org}\n"))))
    }
}

/// What stands behind the dispatch.
#[derive(Clone, Copy)]
enum Behind {
    Answer,
    Silence,
    /// An answer that begins and does not end.
    Stream,
    /// A call that fails before it answers anything.
    Failure,
}

fn router(limits: Limits, behind: Behind) -> axum::Router {
    dispatch_to(limits, behind).router()
}

fn dispatch_to(limits: Limits, behind: Behind) -> Dispatch {
    let grpc = tower::service_fn(move |_: Request| async move {
        let body = match behind {
            Behind::Answer => Body::empty(),
            Behind::Silence => std::future::pending().await,
            Behind::Stream => {
                Body::from_stream(futures_util::stream::pending::<Result<bytes::Bytes, Infallible>>())
            }
            Behind::Failure => return Ok(Status::not_found("none").into_http()),
        };
        Ok::<_, Infallible>(Response::new(body))
    });
    let rest = Rest::answering(move || async move {
        match behind {
            Behind::Answer | Behind::Stream | Behind::Failure => None,
            Behind::Silence => std::future::pending().await,
        }
    });
    Dispatch {
        grpc: axum::Router::new().fallback_service(grpc),
        rest,
        authenticator: Arc::new(Open),
        exposition: Arc::new(Open),
        throttle: Arc::new(Throttle::new(limits)),
        events: Events::new(&Observability::quiet("rr-control")),
    }
}

async fn call(router: &axum::Router, mut request: Request) -> Response {
    request.extensions_mut().insert(Peer(SocketAddr::from((Ipv4Addr::LOCALHOST, 1))));
    router.clone().oneshot(request).await.expect("never fails")
}

const OURS: &str = "/requestrocket.management.v1.OrgService/GetOrg";
const FOREIGN: &str = "/grpc.health.v1.Health/Watch";

fn grpc(path: &str, timeout: &str) -> Request {
    let request = http::Request::post(path).header(CONTENT_TYPE, "application/grpc");
    let request = request.header("authorization", "Bearer x").header("grpc-timeout", timeout);
    request.body(Body::empty()).expect("a request")
}

fn rest() -> Request {
    let request = http::Request::get("/v1/orgs").header("authorization", "Bearer x");
    request.body(Body::empty()).expect("a request")
}

#[tokio::test]
async fn metrics_take_a_token_and_a_place_in_the_throttle_as_calls_do() {
    let router = router(Limits { token_rate: 1, token_burst: 3, ..Limits::default() }, Behind::Answer);
    let get = |method: Method, token: &str| {
        let request = http::Request::builder().method(method).uri("/metrics/orgs/acme");
        request.header("authorization", token).body(Body::empty()).expect("a request")
    };
    let answer = call(&router, get(Method::GET, "Bearer x")).await;
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(answer.headers()[CONTENT_TYPE], "text/plain; version=0.0.4");
    let text = axum::body::to_bytes(answer.into_body(), 1 << 20).await.expect("reads");
    assert_eq!(text, "of acme\n");
    assert_eq!(call(&router, get(Method::GET, "Bearer made-up")).await.status(), StatusCode::UNAUTHORIZED);
    let answer = call(&router, get(Method::POST, "Bearer y")).await;
    assert_eq!(answer.status(), StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(answer.headers()["allow"], "GET");
    let mut last = StatusCode::OK;
    for _ in 0..4 {
        last = call(&router, get(Method::GET, "Bearer x")).await.status();
    }
    assert_eq!(last, StatusCode::TOO_MANY_REQUESTS);
}

async fn json(response: Response) -> Value {
    let bytes = axum::body::to_bytes(response.into_body(), 1 << 20).await.expect("reads");
    serde_json::from_slice(&bytes).expect("JSON")
}

#[tokio::test]
async fn a_caller_over_its_rate_is_told_when_to_come_again_on_both_ways() {
    let router = router(Limits { token_rate: 1, token_burst: 3, ..Limits::default() }, Behind::Answer);
    // The first counts for the address, for nobody knows the token yet.
    for _ in 0..4 {
        let answer = call(&router, grpc(OURS, "1H")).await;
        assert!(Status::from_header_map(answer.headers()).is_none());
    }
    let refused = Status::from_header_map(call(&router, grpc(OURS, "1H")).await.headers()).expect("refused");
    assert_eq!(refused.code(), Code::ResourceExhausted);
    let details = refused.get_error_details();
    assert!(details.retry_info().is_some_and(|info| info.retry_delay.is_some_and(|wait| !wait.is_zero())));

    let refused = call(&router, rest()).await;
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(refused.headers()["retry-after"], "1");
    let problem = json(refused).await;
    assert_eq!(problem["code"], "rate-limited");
    let details = problem["details"].as_array().expect("details");
    assert!(details.iter().any(|it| it["@type"] == "type.googleapis.com/google.rpc.RetryInfo"), "{problem}");
}

/// What the test above would show if nothing were bounded.
#[tokio::test]
async fn without_a_rate_every_call_passes() {
    let router = router(Limits { token_rate: 0, ..Limits::default() }, Behind::Answer);
    for _ in 0..1000 {
        let answer = call(&router, grpc(OURS, "1H")).await;
        assert!(Status::from_header_map(answer.headers()).is_none());
    }
}

#[tokio::test]
async fn a_call_that_takes_too_long_is_ended_on_both_ways() {
    let limits = Limits { call: Duration::from_millis(20), ..Limits::default() };
    let router = router(limits, Behind::Silence);
    let late = call(&router, rest()).await;
    assert_eq!(late.status(), StatusCode::GATEWAY_TIMEOUT);
    assert_eq!(json(late).await["code"], "deadline-exceeded");
    let late = Status::from_header_map(call(&router, grpc(OURS, "1H")).await.headers()).expect("late");
    assert_eq!(late.code(), Code::DeadlineExceeded);
}

#[tokio::test]
async fn a_body_that_never_ends_is_a_call_that_takes_too_long() {
    let limits = Limits { call: Duration::from_millis(20), ..Limits::default() };
    let router = router(limits, Behind::Answer);
    let (_sender, receiver) = mpsc::channel::<Result<bytes::Bytes, Infallible>>(1);
    let body = Body::from_stream(tokio_stream::wrappers::ReceiverStream::new(receiver));
    let request = http::Request::post("/v1/orgs").header("authorization", "Bearer x");
    let request = request.header(CONTENT_TYPE, "application/json").body(body).expect("a request");
    assert_eq!(call(&router, request).await.status(), StatusCode::GATEWAY_TIMEOUT);
}

#[tokio::test]
async fn a_caller_may_give_a_call_less_time() {
    let router = router(Limits::default(), Behind::Silence);
    let late = Status::from_header_map(call(&router, grpc(OURS, "20m")).await.headers()).expect("late");
    assert_eq!(late.code(), Code::DeadlineExceeded);
}

#[tokio::test]
async fn a_stream_ends_at_the_time_that_its_caller_gave_it() {
    let router = router(Limits::default(), Behind::Stream);
    let mut body = call(&router, grpc(FOREIGN, "20m")).await.into_body();
    let last = body.frame().await.expect("a frame").expect("is well").into_trailers().expect("trailers");
    assert_eq!(Status::from_header_map(&last).expect("a status").code(), Code::DeadlineExceeded);
    assert!(body.frame().await.is_none());
}

/// Clients take a status in a head for the end only where nothing follows, not even an empty piece.
#[tokio::test]
async fn a_stream_that_fails_at_once_ends_with_its_head_though_its_caller_gave_it_a_time() {
    let watch = "/requestrocket.fleet.v1.FleetService/WatchNodes";
    for (timeout, stream) in [("1H", watch), ("20m", watch), ("1H", FOREIGN)] {
        let answer = call(&router(Limits::default(), Behind::Failure), grpc(stream, timeout)).await;
        assert_eq!(Status::from_header_map(answer.headers()).expect("a status").code(), Code::NotFound);
        assert!(http_body::Body::is_end_stream(answer.body()), "{stream} in {timeout}");
    }
}

#[tokio::test]
async fn nothing_of_a_body_is_read_before_a_token_was_found_good() {
    let unread = || {
        Body::from_stream(futures_util::stream::poll_fn(
            |_| -> std::task::Poll<Option<Result<bytes::Bytes, Infallible>>> { panic!("the body was read") },
        ))
    };
    let router = router(Limits::default(), Behind::Answer);
    for token in ["", "Bearer made-up"] {
        let request = http::Request::post("/v1/orgs/acme:apply").header(CONTENT_TYPE, "application/json");
        let request = request.header("authorization", token).body(unread()).expect("a request");
        let answer = call(&router, request).await;
        assert_eq!(answer.status(), StatusCode::UNAUTHORIZED, "{token:?}");
        assert_eq!(answer.headers()["www-authenticate"], "Bearer");
        let mut request = grpc("/requestrocket.management.v1.ApplyService/ApplyOnce", "1H").map(|_| unread());
        request.headers_mut().insert("authorization", HeaderValue::from_static(token));
        let answer = call(&router, request).await;
        let status = Status::from_header_map(answer.headers()).expect("a status");
        assert_eq!(status.code(), Code::Unauthenticated, "{token:?}");
    }
}

#[tokio::test]
async fn no_route_answers_anything_to_a_caller_without_a_token() {
    let router = router(Limits { token_rate: 0, ..Limits::default() }, Behind::Answer);
    for route in ROUTES.iter() {
        let path = route.template(|_, _| "x".to_owned()).replace(['{', '}'], "");
        for token in [None, Some(""), Some("Bearer made-up")] {
            let mut request = http::Request::builder().method(&route.binding.method).uri(&path);
            if let Some(token) = token {
                request = request.header("authorization", token);
            }
            let answer = call(&router, request.body(Body::empty()).expect("a request")).await;
            assert_eq!(answer.status(), StatusCode::UNAUTHORIZED, "{} {path}", route.binding.method);
        }
    }
}

#[tokio::test]
async fn streams_over_the_limit_are_refused_until_one_ends() {
    let router = router(Limits { token_rate: 0, ..Limits::default() }, Behind::Stream);
    let mut open = Vec::new();
    let refused = loop {
        let answer = call(&router, grpc(FOREIGN, "1H")).await;
        match Status::from_header_map(answer.headers()) {
            Some(refused) => break refused,
            None => open.push(answer),
        }
        assert!(open.len() < 1000, "there is a limit");
    };
    assert_eq!(refused.code(), Code::ResourceExhausted);
    assert!(Status::from_header_map(call(&router, grpc(OURS, "1H")).await.headers()).is_none());
    open.pop();
    assert!(Status::from_header_map(call(&router, grpc(FOREIGN, "1H")).await.headers()).is_none());
}

#[tokio::test]
async fn where_a_caller_is_comes_from_the_connection_alone() {
    /// Remembers the address that it was told.
    struct Remembering(Arc<Mutex<Option<String>>>);
    impl Authenticate for Remembering {
        fn authenticate<'a>(
            &'a self,
            head: &'a Head<'_>,
            _permission: Permission,
        ) -> BoxFuture<'a, Result<Principal, ServiceError>> {
            self.0.lock().expect("whole").clone_from(&head.address);
            Box::pin(std::future::ready(Ok(Principal::default())))
        }
    }
    for mut request in [grpc(OURS, "1H"), rest()] {
        let address = Arc::new(Mutex::new(None));
        let mut dispatch = dispatch_to(Limits::default(), Behind::Answer);
        dispatch.authenticator = Arc::new(Remembering(Arc::clone(&address)));
        for name in ["requestrocket-peer", "x-forwarded-for", "forwarded"] {
            request.headers_mut().append(name, HeaderValue::from_static("10.9.9.9:1"));
        }
        call(&dispatch.router(), request).await;
        assert_eq!(address.lock().expect("whole").as_deref(), Some("127.0.0.1:1"));
    }
}
