//! HTTP/2 to an upstream: callers that do not read, and more requests than it takes at a time.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt as _, Full, combinators::BoxBody};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message as _;
use rr_contract::runtime::Tasks;
use rr_contract::wire::fleet;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::{Barrier, watch};
use tokio::time::{interval, timeout};

use crate::fixture::{self, Region, caller_key};

use super::edge::Edge;
use super::over_tls::Secure;
use super::{get, resources, resources_of_another, with_key};

/// Long for whatever has to happen; a test that waits for it has failed.
const FAILED: Duration = Duration::from_secs(20);

/// A body without end, and how much of it was asked for.
struct Flood(Arc<AtomicUsize>);

impl http_body::Body for Flood {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        static PART: [u8; 16 * 1024] = [b'x'; 16 * 1024];
        self.0.fetch_add(PART.len(), Ordering::Relaxed);
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&PART)))))
    }
}

/// Floods whoever asks for `/flood`, and holds all others until the gate is open.
#[derive(Clone)]
struct Script {
    streams: u32,
    flooded: Arc<AtomicUsize>,
    arrived: Arc<AtomicUsize>,
    gate: watch::Receiver<bool>,
}

impl Script {
    async fn start(streams: u32, gate: watch::Receiver<bool>) -> (Self, Secure) {
        let script = Self { streams, flooded: Arc::default(), arrived: Arc::default(), gate };
        let serving = script.clone();
        let upstream = Secure::serving(b"h2", move |stream| {
            let (script, mut server) = (serving.clone(), http2::Builder::new(TokioExecutor::new()));
            server.max_concurrent_streams(script.streams);
            async move {
                let service = service_fn(move |request| script.clone().answer(request));
                // The test sees how it ended on the other side.
                server.serve_connection(TokioIo::new(stream), service).await.ok();
            }
        })
        .await;
        (script, upstream)
    }

    async fn answer(
        mut self,
        request: Request<Incoming>,
    ) -> Result<Response<BoxBody<Bytes, Infallible>>, Infallible> {
        if request.uri().path() == "/flood" {
            return Ok(Response::new(Flood(self.flooded).boxed()));
        }
        self.arrived.fetch_add(1, Ordering::Relaxed);
        self.gate.wait_for(|open| *open).await.expect("the test holds the gate");
        let te = request.headers().get("te").map_or("none", |te| te.to_str().expect("text")).to_owned();
        Ok(Response::new(Full::new(Bytes::from(te)).boxed()))
    }
}

/// Ends with these trailers.
struct Trailed(Option<HeaderMap>);

impl http_body::Body for Trailed {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.take().map(|trailers| Ok(Frame::trailers(trailers))))
    }
}

fn trailers(names: &[&'static str]) -> HeaderMap {
    names.iter().map(|name| (HeaderName::from_static(name), HeaderValue::from_static("1"))).collect()
}

#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "bodies of this test, which end")]
async fn trailers_of_requests_do_not_go_out_and_those_of_responses_go_without_what_is_ours() {
    let upstream = Secure::serving(b"h2", |stream| async move {
        let service = service_fn(|request: Request<Incoming>| async {
            let whole = request.into_body().collect().await.expect("a body");
            let came = whole.trailers().is_some_and(|trailers| !trailers.is_empty());
            let names: &[&str] =
                if came { &["x-came"] } else { &["grpc-status", "requestrocket-proxy-code"] };
            Ok::<_, Infallible>(Response::new(Trailed(Some(trailers(names)))))
        });
        let server = http2::Builder::new(TokioExecutor::new());
        // The test sees how it ended on the other side.
        server.serve_connection(TokioIo::new(stream), service).await.ok();
    })
    .await;
    let edge = edge_to(&upstream);
    let io = TokioIo::new(edge.connect().await);
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.expect("it speaks h2");
    let driven = Tasks::new().spawn("h2", connection);
    let request = Request::post("http://edge/api/acme.proxy-1/")
        .header("authorization", caller_key(1))
        .header("te", "trailers")
        .body(Trailed(Some(trailers(&["x-role", "authorization"]))))
        .expect("a request");
    let answer = sender.send_request(request).await.expect("an answer");
    assert_eq!(answer.status(), 200);
    let whole = answer.into_body().collect().await.expect("a body");
    assert_eq!(whole.trailers(), Some(&trailers(&["grpc-status"])));
    driven.abort();
}

#[tokio::test]
async fn an_answer_without_a_body_is_not_too_long_whatever_length_its_head_names() {
    let upstream = Secure::serving(b"h2", |stream| async move {
        let service = service_fn(|_: Request<Incoming>| async {
            let mut answer = Response::new(Full::new(Bytes::new()));
            answer.headers_mut().insert("content-length", HeaderValue::from_static("5000"));
            Ok::<_, Infallible>(answer)
        });
        let server = http2::Builder::new(TokioExecutor::new());
        // The test sees how it ended on the other side.
        server.serve_connection(TokioIo::new(stream), service).await.ok();
    })
    .await;
    let region = Region::new();
    let mut all = resources(&region, &upstream.url());
    let bounded = fleet::ProxyResource { max_response_bytes: 10, ..fixture::proxy_message(1, &[1], 1, 2) };
    all.push(fixture::resource(fixture::proxy_key(1), bounded.encode_to_vec()));
    let edge = Edge::start_trusting(region.snapshot(&all), &["127.0.0.0/8", "::1/128"], upstream.trust());
    let answer = edge.send(&get("/api/acme.proxy-1/", &with_key(1)).replace("GET", "HEAD")).await;
    assert_eq!((answer.status, answer.header("content-length")), (200, Some("5000")));
}

fn edge_to(upstream: &Secure) -> Edge {
    let region = Region::new();
    let mut all = resources(&region, &upstream.url());
    all.extend(resources_of_another(&upstream.url()));
    Edge::start_trusting(region.snapshot(&all), &["127.0.0.0/8", "::1/128"], upstream.trust())
}

#[tokio::test]
async fn callers_that_do_not_read_stop_nobody_elses_requests_to_their_upstream() {
    let (_gate, open) = watch::channel(true);
    let (script, upstream) = Script::start(250, open).await;
    let edge = edge_to(&upstream);
    let mut idle = Vec::new();
    for _ in 0..8 {
        let mut caller = edge.connect().await;
        let request = get("/api/acme.proxy-1/flood", &with_key(1));
        caller.write_all(request.as_bytes()).await.expect("the edge reads");
        // It takes the beginning of what it asked for, and no more.
        caller.read_exact(&mut [0; 1024]).await.expect("the edge answers");
        idle.push(caller);
    }
    // Until all that lies between is full.
    let (mut pace, mut before, mut still) = (interval(Duration::from_millis(20)), 0, 0);
    while still < 10 {
        pace.tick().await;
        let now = script.flooded.load(Ordering::Relaxed);
        still = if now == before { still + 1 } else { 0 };
        before = now;
    }
    for (path, key) in [("/api/other.proxy-11/x", 11), ("/api/acme.proxy-1/x", 1)] {
        let answer = timeout(FAILED, edge.send(&get(path, &with_key(key)))).await;
        assert_eq!(answer.expect("nobody's reading is waited for").status, 200, "{path}");
    }
    drop(idle);
}

#[tokio::test]
async fn an_answer_that_goes_on_has_no_bound() {
    let (_gate, open) = watch::channel(true);
    let (_script, upstream) = Script::start(250, open).await;
    let edge = edge_to(&upstream);
    let mut caller = edge.connect().await;
    let request = get("/api/acme.proxy-1/flood", &with_key(1));
    caller.write_all(request.as_bytes()).await.expect("the edge reads");
    // More than may come while nothing moves.
    let mut part = vec![0; 8 * 1024 * 1024];
    timeout(FAILED, caller.read_exact(&mut part)).await.expect("in time").expect("the edge answers");
}

#[tokio::test]
async fn a_connection_on_which_a_request_was_late_gets_no_other() {
    let (_gate, open) = watch::channel(false);
    let (_script, upstream) = Script::start(250, open).await;
    let region = Region::new();
    let mut all = resources(&region, &upstream.url());
    all.push(fixture::target_with_timeouts(1, &upstream.url(), 10_000, 200));
    let snapshot = region.snapshot(&all);
    let edge = Edge::start_trusting(snapshot, &["127.0.0.0/8", "::1/128"], upstream.trust());
    for count in 1..=2 {
        assert_eq!(edge.send(&get("/api/acme.proxy-1/x", &with_key(1))).await.status, 504);
        assert_eq!(upstream.connections(), count);
    }
}

#[tokio::test]
async fn more_requests_than_the_peer_takes_at_a_time_are_all_answered() {
    const CALLERS: usize = 60;
    for (streams, at_once) in [(1, 32), (4, CALLERS)] {
        let (gate, open) = watch::channel(true);
        let (script, upstream) = Script::start(streams, open).await;
        let edge = Arc::new(edge_to(&upstream));
        // Nobody waits for too long, however long it takes.
        let _timeless = edge.timeless().await;
        // With the first one, the edge learns what this upstream speaks.
        assert_eq!(edge.send(&get("/api/acme.proxy-1/x", &with_key(1))).await.status, 200);
        gate.send_replace(false);
        script.arrived.store(0, Ordering::Relaxed);
        let tasks = Tasks::new();
        let barrier = Arc::new(Barrier::new(CALLERS));
        let callers: Vec<_> = (0..CALLERS)
            .map(|_| {
                let (edge, barrier) = (Arc::clone(&edge), Arc::clone(&barrier));
                tasks.spawn("caller", async move {
                    barrier.wait().await;
                    edge.send(&get("/api/acme.proxy-1/x", &with_key(1))).await.status
                })
            })
            .collect();
        let all = async {
            let mut pace = interval(Duration::from_millis(5));
            while script.arrived.load(Ordering::Relaxed) < at_once {
                pace.tick().await;
            }
        };
        timeout(FAILED, all).await.expect("they are spread over several connections");
        // While one organization takes all that it may, another is answered.
        let other = async { edge.send(&get("/api/other.proxy-11/x", &with_key(11))).await.status };
        let open = async {
            let mut pace = interval(Duration::from_millis(5));
            while script.arrived.load(Ordering::Relaxed) <= at_once {
                pace.tick().await;
            }
            gate.send_replace(true);
        };
        let (status, ()) =
            timeout(FAILED, async { tokio::join!(other, open) }).await.expect("it has its own");
        assert_eq!(status, 200);
        for caller in callers {
            let status = timeout(FAILED, caller).await.expect("in time").expect("no panic");
            assert_eq!(status, 200, "with {streams} streams a connection");
        }
        assert!(upstream.connections() <= 33, "{}", upstream.connections());
    }
}

#[tokio::test]
async fn of_the_codings_that_a_caller_takes_only_trailers_goes_on() {
    let (_gate, open) = watch::channel(true);
    let (_script, upstream) = Script::start(100, open).await;
    let edge = edge_to(&upstream);
    for (sent, seen) in [
        ("gzip, trailers", "trailers"),
        ("Trailers;q=0.5", "none"),
        ("gzip, chunked", "none"),
        ("trailers", "trailers"),
    ] {
        let headers = format!("{}te: {sent}\r\n", with_key(1));
        let answer = edge.send(&get("/api/acme.proxy-1/x", &headers)).await;
        assert!(answer.status == 200 && answer.text.ends_with(seen), "{sent}: {answer:?}");
    }
}
