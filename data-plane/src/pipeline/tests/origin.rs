//! An upstream that notes what it gets.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures_util::stream;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, Request, Response};
use http_body_util::{BodyExt as _, Full, StreamBody, combinators::BoxBody};
use hyper::body::{Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rr_contract::runtime::Tasks;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

/// What the upstream saw.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    pub(super) target: String,
    headers: HeaderMap,
}

impl Seen {
    /// A head in one piece.
    fn parse(head: &[u8]) -> Self {
        let head = std::str::from_utf8(head).expect("text");
        let mut lines = head.lines();
        let target = lines.next().and_then(|line| line.split(' ').nth(1)).expect("a target").to_owned();
        let pair = |line: &str| {
            let (name, value) = line.split_once(": ")?;
            Some((name.parse::<HeaderName>().expect("a name"), value.parse().expect("a value")))
        };
        Self { target, headers: lines.filter_map(pair).collect() }
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().expect("text"))
    }

    pub(super) fn all(&self, name: &str) -> Vec<&str> {
        self.headers.get_all(name).iter().map(|value| value.to_str().expect("text")).collect()
    }

    pub(super) fn text(&self) -> String {
        let headers = self.headers.iter().map(|(name, value)| format!("{name}: {value:?}\n"));
        format!("{}\n{}", self.target, headers.collect::<String>())
    }
}

#[derive(Default)]
struct Log {
    seen: Mutex<Vec<Seen>>,
    connections: AtomicUsize,
}

/// It ends with the test's runtime.
pub(super) struct Upstream {
    address: SocketAddr,
    log: Arc<Log>,
}

impl Upstream {
    /// Answers each request with a few words, and with headers that must not be passed on.
    pub(super) async fn echo() -> Self {
        Self::start(|_, _| {
            Response::builder()
                .header("set-cookie", "a=1")
                .header("set-cookie", "b=2")
                .header("connection", "x-hop")
                .header("x-hop", "1")
                .header("requestrocket-forged", "1")
                .body(Full::new(Bytes::from_static(b"hello")).map_err(|never| match never {}).boxed())
                .expect("a response")
        })
        .await
    }

    /// Sends each body back as it comes, with what its headers say of it.
    pub(super) async fn mirror() -> Self {
        Self::start(|headers, body| {
            let mut response = Response::new(body.boxed());
            for name in [CONTENT_TYPE, CONTENT_ENCODING] {
                if let Some(value) = headers.get(&name) {
                    response.headers_mut().insert(name, value.clone());
                }
            }
            response
        })
        .await
    }

    /// Sends each body back under the status in `x-status`, and with the headers whose names begin with `x-answer-`.
    pub(super) async fn told() -> Self {
        Self::start(|headers, body| {
            let mut response = Response::new(body.boxed());
            if let Some(status) = headers.get("x-status") {
                *response.status_mut() = status.as_bytes().try_into().expect("a status");
            }
            for (name, value) in headers {
                if let Some(name) = name.as_str().strip_prefix("x-answer-") {
                    let name: HeaderName = name.parse().expect("a name");
                    response.headers_mut().append(name, value.clone());
                }
            }
            response
        })
        .await
    }

    /// Answers with a document of as many bytes as `x-length` says.
    pub(super) async fn long() -> Self {
        Self::start(|headers, _| {
            let text = |value: &http::HeaderValue| value.to_str().expect("text").parse().expect("a number");
            let length: usize = headers.get("x-length").map_or(100, text);
            let (begin, end) = (r#"{"secret":1,"kept":""#, r#""}"#);
            let body = format!("{begin}{}{end}", "x".repeat(length - begin.len() - end.len()));
            Response::new(Full::new(Bytes::from(body)).map_err(|never| match never {}).boxed())
        })
        .await
    }

    /// Answers 401 to whoever does not show this value in a header, which the test may change.
    pub(super) async fn that_takes(taken: &Arc<Mutex<String>>) -> Self {
        let taken = Arc::clone(taken);
        Self::start(move |headers, _| {
            let taken = taken.lock().expect("no test panics with it").clone();
            let is_shown = headers.values().any(|value| value.as_bytes() == taken.as_bytes());
            let text = headers.get("authorization").map(|it| it.to_str().expect("text").to_owned());
            let mut response = Response::new(
                Full::new(Bytes::from(text.unwrap_or_default())).map_err(|never| match never {}).boxed(),
            );
            if !is_shown {
                *response.status_mut() = http::StatusCode::UNAUTHORIZED;
            }
            response
        })
        .await
    }

    /// Answers with a body that has no end.
    pub(super) async fn endless() -> Self {
        Self::start(|_, _| {
            let parts = std::iter::repeat_with(|| Ok(Frame::data(Bytes::from_static(&[b'x'; 64 * 1024]))));
            Response::new(StreamBody::new(stream::iter(parts)).boxed())
        })
        .await
    }

    /// Answers one request on each connection and closes it without having said so.
    pub(super) async fn abrupt() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let log: Arc<Log> = Arc::default();
        let noted = Arc::clone(&log);
        Tasks::new().spawn("upstream", async move {
            loop {
                let (mut stream, _) = listener.accept().await.expect("it listens");
                noted.connections.fetch_add(1, Ordering::Relaxed);
                let mut head = [0; 4096];
                let count = stream.read(&mut head).await.expect("the edge sends");
                noted.seen.lock().expect("no test panics with it").push(Seen::parse(&head[..count]));
                let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
                stream.write_all(answer).await.expect("the edge reads");
            }
        });
        Self { address, log }
    }

    async fn start<F>(answer: F) -> Self
    where
        F: Fn(&HeaderMap, Incoming) -> Response<BoxBody<Bytes, hyper::Error>> + Clone + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let log: Arc<Log> = Arc::default();
        let noted = Arc::clone(&log);
        let tasks = Tasks::new();
        tasks.clone().spawn("upstream", async move {
            loop {
                let (stream, _) = listener.accept().await.expect("it listens");
                noted.connections.fetch_add(1, Ordering::Relaxed);
                let (noted, answer) = (Arc::clone(&noted), answer.clone());
                let service = service_fn(move |request: Request<Incoming>| {
                    let (parts, body) = request.into_parts();
                    let answer = answer(&parts.headers, body);
                    let seen = Seen { target: parts.uri.to_string(), headers: parts.headers };
                    noted.seen.lock().expect("no test panics with it").push(seen);
                    async move { Ok::<_, Infallible>(answer) }
                });
                // The test sees how it ended on the other side.
                tasks.spawn("connection", async move {
                    http1::Builder::new()
                        .max_headers(200)
                        .serve_connection(TokioIo::new(stream), service)
                        .await
                        .ok();
                });
            }
        });
        Self { address, log }
    }

    pub(super) fn authority(&self) -> String {
        self.address.to_string()
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(super) fn last(&self) -> Seen {
        self.log.seen.lock().expect("no test panics with it").last().expect("a request came").clone()
    }

    pub(super) fn all(&self) -> Vec<Seen> {
        self.log.seen.lock().expect("no test panics with it").clone()
    }

    pub(super) fn count(&self) -> usize {
        self.log.seen.lock().expect("no test panics with it").len()
    }

    pub(super) fn connections(&self) -> usize {
        self.log.connections.load(Ordering::Relaxed)
    }
}
