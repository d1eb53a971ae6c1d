//! Uploads that go on behind the end of their answers, because the caller does not send the rest or the upstream does not
//! read it.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use prost::Message as _;
use rr_contract::runtime::Tasks;
use rr_contract::wire::fleet;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::mpsc::error::TryRecvError;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::time::timeout;

use crate::fixture::{self, Region, caller_key};
use crate::upstream::Trust;

use super::edge::Edge;
use super::over_tls::Secure;
use super::{get, resources, with_key};

/// Long for whatever has to happen; a test that waits for it has failed.
const FAILED: Duration = Duration::from_secs(20);
/// How long an upload has behind the end of its answer.
const LINGER: Duration = Duration::from_secs(30);

/// A body of 5 bytes of which 2 come, or one without an end.
struct Upload {
    left: Vec<Bytes>,
    is_endless: bool,
    /// Closed when nobody asks for more of it.
    _open: Sender<()>,
}

impl Upload {
    fn begun() -> (Self, Receiver<()>) {
        let (open, dropped) = channel(1);
        (Self { left: vec![Bytes::from_static(b"up")], is_endless: false, _open: open }, dropped)
    }

    fn endless() -> (Self, Receiver<()>) {
        let (upload, dropped) = Self::begun();
        (Self { is_endless: true, ..upload }, dropped)
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        static PART: [u8; 16 * 1024] = [b'x'; 16 * 1024];
        let part = if self.is_endless { Some(Bytes::from_static(&PART)) } else { self.left.pop() };
        part.map_or(Poll::Pending, |part| Poll::Ready(Some(Ok(Frame::data(part)))))
    }

    fn size_hint(&self) -> SizeHint {
        if self.is_endless { SizeHint::default() } else { SizeHint::with_exact(5) }
    }
}

/// An upstream that answers once it has the beginning of a request, or at once where streams have no window, and says
/// when the rest has broken off.
async fn answering_early(protocol: &'static [u8], window: Option<u32>) -> (Secure, Receiver<()>) {
    let (broke_off, broken_off) = channel(1);
    let upstream = Secure::serving(protocol, move |stream| {
        let broke_off = broke_off.clone();
        async move {
            let reads = window != Some(0);
            let service = service_fn(move |request| answer(request, reads, broke_off.clone()));
            let mut server = auto::Builder::new(TokioExecutor::new());
            server.http2().initial_stream_window_size(window);
            // The test sees how it ended on the other side.
            server.serve_connection(TokioIo::new(stream), service).await.ok();
        }
    })
    .await;
    (upstream, broken_off)
}

async fn answer(
    request: Request<Incoming>,
    reads: bool,
    broke_off: Sender<()>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let mut body = request.into_body();
    if !body.is_end_stream() {
        if reads {
            let part = body.frame().await.expect("a part").expect("a part");
            assert_eq!(part.into_data().expect("bytes"), "up");
        }
        Tasks::new().spawn("rest", async move {
            assert!(body.frame().await.is_none_or(|rest| rest.is_err()), "nothing more comes");
            broke_off.send(()).await.ok();
        });
    }
    Ok(Response::new(Full::new(Bytes::from_static(b"early"))))
}

/// A proxy that may have one request under way.
fn edge_to(url: &str, trust: Arc<Trust>) -> Edge {
    let region = Region::new();
    let mut all = resources(&region, url);
    let proxy =
        fleet::ProxyResource { max_concurrent_requests_per_node: 1, ..fixture::proxy_message(1, &[1], 1, 2) };
    all.push(fixture::resource(fixture::proxy_key(1), proxy.encode_to_vec()));
    Edge::start_trusting(region.snapshot(&all), &["127.0.0.0/8", "::1/128"], trust)
}

/// Uploads until the whole answer is there.
async fn upload(edge: &Edge, is_http2: bool, body: Upload) -> String {
    let request = |uri: &str| {
        let request = Request::post(uri).header("authorization", caller_key(1)).header("host", "edge");
        request.body(body).expect("a request")
    };
    let (io, tasks) = (TokioIo::new(edge.connect().await), Tasks::new());
    let answered = if is_http2 {
        let (mut sender, connection) =
            http2::handshake(TokioExecutor::new(), io).await.expect("it speaks h2");
        tasks.spawn("caller", connection);
        let mut request = request("http://edge/api/acme.proxy-1/");
        request.headers_mut().remove("host");
        let answer = sender.send_request(request).await;
        // Its connection is kept.
        tasks.spawn("sender", async move { sender.ready().await.map(|()| std::future::pending::<()>()) });
        answer
    } else {
        let (mut sender, connection) = http1::handshake(io).await.expect("it speaks h1");
        tasks.spawn("caller", connection);
        let answer = sender.send_request(request("/api/acme.proxy-1/")).await;
        tasks.spawn("sender", async move { sender.ready().await });
        answer
    };
    let answer = timeout(FAILED, answered.expect("an answer").into_body().collect()).await.expect("in time");
    String::from_utf8(answer.expect("it is whole").to_bytes().to_vec()).expect("text")
}

#[tokio::test]
async fn the_rest_of_an_upload_is_not_waited_for_long_after_its_answer_has_ended() {
    for protocol in [&b"http/1.1"[..], b"h2"] {
        for is_http2 in [false, true] {
            let name = format!("{} {is_http2}", String::from_utf8_lossy(protocol));
            let (upstream, mut broken_off) = answering_early(protocol, None).await;
            let edge = edge_to(&upstream.url(), upstream.trust());
            let (body, mut dropped) = Upload::begun();
            assert_eq!(upload(&edge, is_http2, body).await, "early", "{name}");
            assert!(!edge.record().await.aborted);
            // It is not under way any longer.
            let next = edge.send(&get("/api/acme.proxy-1/", &with_key(1))).await;
            assert_eq!(next.status, 200, "{name}: {next:?}");
            edge.skips(LINGER - Duration::from_secs(1)).await;
            assert_eq!(dropped.try_recv(), Err(TryRecvError::Empty), "{name}");
            assert_eq!(broken_off.try_recv(), Err(TryRecvError::Empty), "{name}");
            edge.skips(Duration::from_secs(2)).await;
            timeout(FAILED, dropped.recv()).await.unwrap_or_else(|_| panic!("{name}: the caller goes on"));
            timeout(FAILED, broken_off.recv()).await.unwrap_or_else(|_| panic!("{name}: the upstream waits"));
        }
    }
}

#[tokio::test]
async fn an_upload_that_its_upstream_does_not_read_ends_as_soon() {
    // Its streams have no window, and the edge knows it since the first answer.
    let (upstream, mut broken_off) = answering_early(b"h2", Some(0)).await;
    let edge = edge_to(&upstream.url(), upstream.trust());
    assert_eq!(edge.send(&get("/api/acme.proxy-1/", &with_key(1))).await.status, 200);
    let (body, mut dropped) = Upload::begun();
    assert_eq!(upload(&edge, false, body).await, "early");
    edge.skips(LINGER).await;
    timeout(FAILED, dropped.recv()).await.expect("the caller is let go");
    timeout(FAILED, broken_off.recv()).await.expect("the stream is reset");

    // It reads nothing behind the head.
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("it is bound"));
    let edge = edge_to(&url, Trust::new(None));
    let answer = async {
        let (mut stream, _) = listener.accept().await.expect("the edge connects");
        let mut seen = Vec::new();
        while !seen.ends_with(b"\r\n\r\n") {
            seen.push(stream.read_u8().await.expect("the edge sends"));
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nearly").await.expect("the edge reads");
        stream
    };
    let (body, mut dropped) = Upload::endless();
    let (text, _stream) = tokio::join!(upload(&edge, false, body), answer);
    assert_eq!(text, "early");
    edge.skips(LINGER).await;
    timeout(FAILED, dropped.recv()).await.expect("the caller is let go");
}
