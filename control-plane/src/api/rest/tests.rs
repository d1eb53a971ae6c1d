//! REST over a transcoder that answers what a test wants.

use std::sync::Mutex;
use std::time::Duration;

use futures_util::{Stream, StreamExt as _, stream as streams};
use http::header::AUTHORIZATION;
use http_body_util::{BodyExt as _, Limited};
use rest_over_grpc::handling::Status;
use rest_over_grpc::transcoding::{StreamEncoding, StreamingResponse};
use serde_json::{Value, json};

use super::*;
use crate::api::route::ROUTES;

type Items = futures_util::stream::BoxStream<'static, Result<Value, Status>>;

/// Answers one call with a stream.
struct Once(Mutex<Option<Items>>);

impl Transcode for Once {
    async fn try_transcode(
        &self,
        _method: &str,
        _target: &str,
        headers: HeaderMap,
        _body: &[u8],
    ) -> Option<TranscodeResponse> {
        let accept = headers.get(ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
        let items = self.0.lock().expect("whole").take()?;
        Some(StreamingResponse::encode(items, StreamEncoding::from_accept(accept)).into())
    }
}

fn rest_of(routes: impl Transcode + Send + 'static) -> Rest {
    Rest { routes: Arc::new(Routes(routes)) }
}

fn over(items: impl Stream<Item = Result<Value, Status>> + Send + 'static) -> Rest {
    rest_of(Once(Mutex::new(Some(items.boxed()))))
}

impl<F, A> Transcode for Answering<F>
where
    F: Fn() -> A + Send + Sync,
    A: Future<Output = Option<TranscodeResponse>> + Send,
{
    async fn try_transcode(
        &self,
        _method: &str,
        _target: &str,
        _headers: HeaderMap,
        _body: &[u8],
    ) -> Option<TranscodeResponse> {
        (self.0)().await
    }
}

struct Answering<F>(F);

impl Rest {
    /// Whose calls do this.
    pub(in crate::api) fn answering<F, A>(answer: F) -> Self
    where
        F: Fn() -> A + Send + Sync + 'static,
        A: Future<Output = Option<TranscodeResponse>> + Send + 'static,
    {
        rest_of(Answering(answer))
    }
}

fn request(accept: &str) -> Request {
    let request = http::Request::get("/v1/orgs").header(AUTHORIZATION, "Bearer x").header(ACCEPT, accept);
    request.body(HttpBody::empty()).expect("a request")
}

async fn text(response: Response) -> String {
    #[expect(clippy::disallowed_methods, reason = "it is limited")]
    let body = Limited::new(response.into_body(), 1 << 20).collect().await.expect("reads").to_bytes();
    String::from_utf8_lossy(&body).into_owned()
}

/// As the entry has it answered.
async fn answer(rest: &Rest, request: Request) -> Response {
    let found = ROUTES.find(request.method(), request.uri().path());
    rest.answer(request, &found, None).await
}

fn kind(response: &Response) -> &str {
    response.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default()
}

fn two_and_a_failure() -> Items {
    let failure = Status::new(rest_over_grpc::handling::Code::Unavailable, "gone");
    streams::iter([Ok(json!({"n": 1})), Ok(json!({"n": 2})), Err(failure)]).boxed()
}

#[tokio::test]
async fn a_stream_is_events_where_they_are_asked_for_and_says_at_its_end_that_it_failed() {
    let response = answer(&over(two_and_a_failure()), request("text/event-stream")).await;
    assert_eq!((response.status(), kind(&response)), (StatusCode::OK, "text/event-stream"));
    assert_eq!(response.headers()["cache-control"], "no-store");
    let text = text(response).await;
    let (items, error) = text.split_once("event: error\ndata: ").expect("an error");
    assert_eq!(items, "data: {\"n\":1}\n\ndata: {\"n\":2}\n\n");
    let problem: Value = serde_json::from_str(error.trim_end()).expect("JSON");
    assert_eq!((&problem["status"], &problem["detail"]), (&json!(503), &json!("gone")));
    assert!(error.ends_with("\n\n"));
}

#[tokio::test]
async fn a_stream_is_one_json_text_a_line_for_everybody_else() {
    for accept in ["application/json", "*/*", "application/x-ndjson", "text/html"] {
        let response = answer(&over(two_and_a_failure()), request(accept)).await;
        assert_eq!(
            (response.status(), kind(&response)),
            (StatusCode::OK, "application/x-ndjson"),
            "{accept}"
        );
        let text = text(response).await;
        let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        assert_eq!((&lines[0], &lines[1]["n"]), (&json!({"n": 1}), &json!(2)));
        assert_eq!((lines.len(), &lines[2]["error"]["status"]), (3, &json!(503)));
    }
}

#[tokio::test]
async fn a_quiet_stream_of_events_gives_signs_of_life() {
    let quiet = streams::once(async { Ok(json!(1)) }).chain(streams::pending());
    let streaming = StreamingResponse::encode(quiet, StreamEncoding::Sse);
    let mut body = stream::answer(streaming, Form::Events, Duration::from_millis(1)).into_body();
    let mut seen = Vec::new();
    for _ in 0..3 {
        let frame = body.frame().await.expect("goes on").expect("is well");
        seen.push(String::from_utf8_lossy(&frame.into_data().expect("data")).into_owned());
    }
    assert_eq!(seen, ["data: 1\n\n", ": keep-alive\n\n", ": keep-alive\n\n"]);
}

#[tokio::test]
async fn a_caller_that_goes_ends_the_call() {
    let (held, mut watched) = tokio::sync::mpsc::channel::<()>(1);
    let items = streams::once(async { Ok(json!(1)) }).chain(streams::pending().map(move |item| {
        let _held = &held;
        item
    }));
    let mut body = answer(&over(items), request("text/event-stream")).await.into_body();
    body.frame().await.expect("one item").expect("is well");
    drop(body);
    assert!(watched.recv().await.is_none(), "whoever makes the items is gone");
}

#[tokio::test]
async fn a_path_that_is_known_says_its_methods_and_another_is_not_found() {
    let ask = async |method: &str, path: &str| {
        let request = http::Request::builder().method(method).uri(path).body(HttpBody::empty());
        answer(&over(streams::empty()), request.expect("a request")).await
    };
    for (method, path, allowed) in [
        ("DELETE", "/v1/orgs", "GET, POST"),
        ("HEAD", "/v1/orgs/acme/targets/echo", "DELETE, GET, PATCH"),
        ("GET", "/v1/orgs/acme/credentials/up:replaceSecret", "POST"),
        ("POST", "/openapi.json", "GET"),
    ] {
        let response = ask(method, path).await;
        assert_eq!(
            (response.status(), &response.headers()[ALLOW]),
            (StatusCode::METHOD_NOT_ALLOWED, &HeaderValue::from_static(allowed)),
            "{method} {path}"
        );
    }
    assert_eq!(ask("DELETE", "/v1/nothing").await.status(), StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn the_document_is_served_to_everybody() {
    let request = http::Request::get("/openapi.json").body(HttpBody::empty()).expect("a request");
    let response = answer(&over(streams::empty()), request).await;
    assert_eq!(kind(&response), "application/json");
    let document: Value = serde_json::from_str(&text(response).await).expect("JSON");
    assert_eq!(document["openapi"], "3.1.0");
}

/// A handler finds the caller's program and token there, whichever way the call came.
#[tokio::test]
async fn headers_reach_the_handlers() {
    #[derive(Clone)]
    struct Echo(Arc<Mutex<HeaderMap>>);
    impl Transcode for Echo {
        async fn try_transcode(
            &self,
            _method: &str,
            _target: &str,
            headers: HeaderMap,
            _body: &[u8],
        ) -> Option<TranscodeResponse> {
            *self.0.lock().expect("whole") = headers;
            None
        }
    }
    let echo = Echo(Arc::new(Mutex::new(HeaderMap::new())));
    let rest = rest_of(echo.clone());
    let mut request = request("*/*");
    request.headers_mut().insert("user-agent", HeaderValue::from_static("curl/8"));
    answer(&rest, request).await;
    let headers = echo.0.lock().expect("whole").clone();
    assert_eq!(headers["user-agent"], "curl/8");
    assert_eq!(headers[AUTHORIZATION], "Bearer x");
}
