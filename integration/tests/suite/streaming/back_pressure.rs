//! Whoever does not read stops whoever sends: what lies between is bounded, and nothing of it is lost.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tokio::sync::watch;
use tokio::time::{interval, timeout};

use super::{Bench, Body, FAILED};

/// Far more than all buffers between two peers hold together.
const WHOLE: u64 = 96 * 1024 * 1024;
/// What the systems of both sides and the peers' libraries take unread; the node's own part is in [`MEMORY`].
const BETWEEN: u64 = 24 * 1024 * 1024;
/// What the node may hold of one body, and what else it takes meanwhile.
const MEMORY: u64 = 8 * 1024 * 1024;

/// A body of [`WHOLE`] bytes, and how many of them were asked for.
struct Long {
    left: u64,
    asked: Arc<AtomicU64>,
}

impl Long {
    fn boxed(asked: &Arc<AtomicU64>) -> Body {
        Body::new(Self { left: WHOLE, asked: Arc::clone(asked) })
    }
}

impl http_body::Body for Long {
    type Data = Bytes;
    type Error = tonic::Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, tonic::Status>>> {
        static PART: [u8; 64 * 1024] = [b'x'; 64 * 1024];
        if self.left == 0 {
            return Poll::Ready(None);
        }
        self.left -= PART.len() as u64;
        self.asked.fetch_add(PART.len() as u64, Ordering::Relaxed);
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&PART)))))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

/// Waits until no more is asked for, and says how much it was.
async fn at_rest(asked: &AtomicU64) -> u64 {
    let (mut pace, mut before, mut still) = (interval(Duration::from_millis(20)), 0, 0);
    let rest = async {
        while still < 15 {
            pace.tick().await;
            let now = asked.load(Ordering::Relaxed);
            still = if now == before && now > 0 { still + 1 } else { 0 };
            before = now;
        }
    };
    timeout(FAILED, rest).await.expect("what lies between is full");
    before
}

async fn count(mut body: Incoming) -> u64 {
    let mut came = 0;
    while let Some(frame) = body.frame().await {
        let data = frame.expect("it does not break off").into_data().unwrap_or_default();
        came += data.len() as u64;
    }
    came
}

#[tokio::test]
async fn an_upload_that_the_upstream_does_not_read_stops_its_caller() {
    let (gate, open) = watch::channel(false);
    let bench = Bench::start(move |request: Request<Incoming>| {
        let mut open = open.clone();
        async move {
            open.wait_for(|open| *open).await.expect("the test holds the gate");
            let came = count(request.into_body()).await;
            Response::new(Body::new(http_body_util::Full::from(came.to_string())))
        }
    })
    .await;
    for is_http2 in [false, true] {
        for target in ["plain", "secure", "h2c"] {
            gate.send_replace(false);
            let before = bench.node(is_http2).process.resident().expect("it runs");
            let asked = Arc::default();
            let (answer, ()) = tokio::join!(bench.ask(target, "/", is_http2, Long::boxed(&asked)), async {
                let rest = at_rest(&asked).await;
                let grown = bench.node(is_http2).process.resident().expect("it runs").saturating_sub(before);
                assert!(rest < BETWEEN, "{target}, HTTP/2: {is_http2}: {rest}");
                assert!(grown < MEMORY, "{target}, HTTP/2: {is_http2}: {grown}");
                gate.send_replace(true);
            });
            #[expect(clippy::disallowed_methods, reason = "it is a number")]
            let whole = answer.into_body().collect().await.expect("a body").to_bytes();
            assert_eq!(whole, WHOLE.to_string().as_bytes(), "{target}, HTTP/2: {is_http2}");
        }
    }
}

#[tokio::test]
async fn a_download_that_the_caller_does_not_read_stops_its_upstream() {
    let asked: Arc<AtomicU64> = Arc::default();
    let given = Arc::clone(&asked);
    let bench = Bench::start(move |_| {
        let body = Long::boxed(&given);
        async move { Response::new(body) }
    })
    .await;
    for is_http2 in [false, true] {
        for target in ["plain", "secure", "h2c"] {
            let before = bench.node(is_http2).process.resident().expect("it runs");
            asked.store(0, Ordering::Relaxed);
            let answer = bench.ask(target, "/", is_http2, Body::empty()).await;
            let rest = at_rest(&asked).await;
            let grown = bench.node(is_http2).process.resident().expect("it runs").saturating_sub(before);
            assert!(rest < BETWEEN, "{target}, HTTP/2: {is_http2}: {rest}");
            assert!(grown < MEMORY, "{target}, HTTP/2: {is_http2}: {grown}");
            let came = timeout(FAILED, count(answer.into_body())).await.expect("it goes on");
            assert_eq!(came, WHOLE, "{target}, HTTP/2: {is_http2}");
        }
    }
}
