//! Bodies that pass as they come: events, both directions at once, gRPC, and peers that do not read.
//!
//! Upstream and caller are programs of this test over plain HTTP/1.1, or over HTTP/2 with TLS.

mod back_pressure;
mod events;
mod grpc;
mod models;

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use rr_contract::runtime::Tasks;
use rr_integration::secure::Secure;
use rr_integration::standalone::{Behind, Standalone};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{Sender, channel};
use tokio_rustls::TlsConnector;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::ReceiverStream;

/// Long for whatever has to happen; a test that waits for it has failed.
const FAILED: Duration = Duration::from_secs(20);

type Body = tonic::body::Body;

/// A node with TLS on its own port, and what is needed to reach it.
struct Bench {
    tls: Secure,
    tasks: Tasks,
    /// Speaks TLS to callers.
    secure: Standalone,
    /// Speaks plain HTTP to callers.
    plain: Standalone,
}

impl Bench {
    /// Two nodes in front of one service, each of which reaches it as `plain` and as `secure`.
    async fn start<S, F>(answer: S) -> Self
    where
        S: Fn(Request<Incoming>) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Response<Body>> + Send + 'static,
    {
        let (tls, tasks) = (Secure::new(), Tasks::new());
        let behind = |plain, secure| {
            [
                Behind::new("plain", &format!("http://127.0.0.1:{plain}")),
                Behind::new("secure", &format!("https://localhost:{secure}")),
                // HTTP/2 without TLS, which both sides know before.
                Behind::new("h2c", &format!("http://127.0.0.1:{plain}")).target("http_version: \"2\""),
            ]
        };
        let plain = serve(&tasks, None, answer.clone()).await;
        let secure = serve(&tasks, Some(tls.acceptor(&["h2"])), answer).await;
        let ca = tls.file("ca.pem");
        let trust = ["--upstream-ca", &ca];
        let (certificate, key) = (tls.file("server.pem"), tls.file("server.key"));
        let offers = [&trust[..], &["--tls-certificate", &certificate, "--tls-key", &key]].concat();
        Self {
            secure: Standalone::start(&behind(plain, secure), &offers).await,
            plain: Standalone::start(&behind(plain, secure), &trust).await,
            tls,
            tasks,
        }
    }

    fn request(&self, target: &str, path: &str, is_http2: bool, body: Body) -> Request<Body> {
        let uri = format!("/api/local.{target}{path}");
        let (uri, key) = match is_http2 {
            true => (format!("https://localhost{uri}"), self.secure.key()),
            false => (uri, self.plain.key()),
        };
        Request::post(uri)
            .header("host", "localhost")
            .header("authorization", key)
            .body(body)
            .expect("a request")
    }

    /// Sends a request: over TLS and HTTP/2, or over neither.
    async fn ask(&self, target: &str, path: &str, is_http2: bool, body: Body) -> Response<Incoming> {
        let mut request = self.request(target, path, is_http2, body);
        let answer = if is_http2 {
            request.headers_mut().remove("host");
            let io = TokioIo::new(self.connect_tls().await);
            let (mut sender, connection) =
                http2::handshake(TokioExecutor::new(), io).await.expect("it speaks HTTP/2");
            self.tasks.spawn("caller", connection);
            tokio::time::timeout(FAILED, sender.send_request(request)).await
        } else {
            let io = TokioIo::new(self.plain.connect().await);
            let (mut sender, connection) = http1::handshake(io).await.expect("it speaks HTTP/1.1");
            self.tasks.spawn("caller", connection);
            tokio::time::timeout(FAILED, sender.send_request(request)).await
        };
        answer.expect("an answer begins in time").expect("an answer")
    }

    async fn connect_tls(&self) -> tokio_rustls::client::TlsStream<TcpStream> {
        let connector = connector(&self.tls);
        let name = rustls::pki_types::ServerName::try_from("localhost").expect("a name");
        connector.connect(name, self.secure.connect().await).await.expect("TLS")
    }

    fn node(&self, is_http2: bool) -> &Standalone {
        if is_http2 { &self.secure } else { &self.plain }
    }
}

/// A client of TLS that trusts the test's authority and offers HTTP/2.
fn connector(tls: &Secure) -> TlsConnector {
    let mut config = (*tls.client()).clone();
    config.alpn_protocols = vec![b"h2".to_vec()];
    TlsConnector::from(std::sync::Arc::new(config))
}

/// Serves on a free port of loopback, whose number it returns.
async fn serve<S, F>(tasks: &Tasks, acceptor: Option<tokio_rustls::TlsAcceptor>, answer: S) -> u16
where
    S: Fn(Request<Incoming>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = listener.local_addr().expect("it is bound").port();
    let connections = tasks.clone();
    tasks.spawn("upstream", async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, answer) = (acceptor.clone(), answer.clone());
            connections.spawn("upstream connection", async move {
                let service = service_fn(move |request| {
                    let answer = answer(request);
                    async move { Ok::<_, Infallible>(answer.await) }
                });
                let server = auto::Builder::new(TokioExecutor::new());
                // The test sees how it ended on the other side.
                match acceptor {
                    None => drop(server.serve_connection(TokioIo::new(stream), service).await),
                    Some(acceptor) => {
                        let Ok(stream) = acceptor.accept(stream).await else { return };
                        drop(server.serve_connection(TokioIo::new(stream), service).await);
                    }
                }
            });
        }
    });
    port
}

/// A body whose parts are what is sent here.
fn parts() -> (Sender<Bytes>, Body) {
    let (sender, parts) = channel(1);
    let frames = ReceiverStream::new(parts).map(|part| Ok::<_, Infallible>(Frame::data(part)));
    (sender, Body::new(StreamBody::new(frames)))
}

/// The next part of a body that is not empty; `None` at its end.
async fn next(body: &mut Incoming) -> Option<Bytes> {
    loop {
        let frame = tokio::time::timeout(FAILED, body.frame()).await.expect("a part comes in time")?;
        let data = frame.expect("it does not break off").into_data().unwrap_or_default();
        if !data.is_empty() {
            return Some(data);
        }
    }
}
