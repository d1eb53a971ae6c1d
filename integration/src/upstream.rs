//! An upstream API under the test's control: remembers what it was sent, answers as it is told.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, Uri};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use rr_contract::runtime::{Shutdown, Tasks};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::secure::Secure;

/// A request as the upstream saw it.
#[derive(Debug, Clone)]
pub struct Seen {
    /// Its method.
    pub method: Method,
    /// Path and query.
    pub uri: Uri,
    /// All headers.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
}

/// Any free port.
const ANY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

type Answer = dyn Fn(&Seen) -> Response<Full<Bytes>> + Send + Sync;

/// A real HTTP server on port zero of loopback.
pub struct Upstream {
    address: SocketAddr,
    shared: Arc<Shared>,
    shutdown: Shutdown,
    is_secure: bool,
}

struct Shared {
    seen: Mutex<Vec<Seen>>,
    forgets: bool,
    answer: Box<Answer>,
}

impl Upstream {
    /// Answers 200 and `hello from upstream`.
    pub async fn start() -> Self {
        Self::start_with(|_| Response::new(Full::from("hello from upstream"))).await
    }

    /// Answers 200, and remembers nothing: for long loads.
    pub async fn start_forgetful() -> Self {
        Self::open(ANY, |_| Response::new(Full::from("hello from upstream")), true, None).await
    }

    /// Answers 200 and `hello from upstream` at an address of the test's choice.
    pub async fn start_at(address: SocketAddr) -> Self {
        Self::open(address, |_| Response::new(Full::from("hello from upstream")), false, None).await
    }

    /// Answers as `answer` says.
    pub async fn start_with(answer: impl Fn(&Seen) -> Response<Full<Bytes>> + Send + Sync + 'static) -> Self {
        Self::open(ANY, answer, false, None).await
    }

    /// Answers as `answer` says, and remembers nothing.
    pub async fn start_forgetful_with(
        answer: impl Fn(&Seen) -> Response<Full<Bytes>> + Send + Sync + 'static,
    ) -> Self {
        Self::open(ANY, answer, true, None).await
    }

    /// Answers 200 and `hello from upstream` over TLS alone, as `localhost`.
    pub async fn start_secure(tls: &Secure) -> Self {
        let answer = |_: &Seen| Response::new(Full::from("hello from upstream"));
        Self::open(ANY, answer, false, Some(tls.acceptor(&["h2", "http/1.1"]))).await
    }

    async fn open(
        address: SocketAddr,
        answer: impl Fn(&Seen) -> Response<Full<Bytes>> + Send + Sync + 'static,
        forgets: bool,
        tls: Option<TlsAcceptor>,
    ) -> Self {
        let listener = TcpListener::bind(address).await.expect("loopback has a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let shared = Arc::new(Shared { seen: Mutex::default(), forgets, answer: Box::new(answer) });
        let shutdown = Shutdown::new();
        let (tasks, stop, is_secure) = (Tasks::new(), shutdown.stop(), tls.is_some());
        let serving = Arc::clone(&shared);
        tasks.clone().spawn("upstream", async move {
            while let Some(accepted) = stop.cut(listener.accept()).await {
                let (socket, _) = accepted.expect("accept on loopback");
                let (shared, stop, tls) = (Arc::clone(&serving), stop.clone(), tls.clone());
                tasks.spawn("upstream connection", async move {
                    let service =
                        hyper::service::service_fn(move |request| serve(Arc::clone(&shared), request));
                    let mut builder = auto::Builder::new(TokioExecutor::new());
                    builder.http1().timer(TokioTimer::new());
                    // A caller that goes away is part of many tests.
                    let Some(tls) = tls else {
                        drop(stop.cut(builder.serve_connection(TokioIo::new(socket), service)).await);
                        return;
                    };
                    if let Some(Ok(socket)) = stop.cut(tls.accept(socket)).await {
                        drop(stop.cut(builder.serve_connection(TokioIo::new(socket), service)).await);
                    }
                });
            }
        });
        Self { address, shared, shutdown, is_secure }
    }

    /// Its base URL.
    pub fn url(&self) -> String {
        if self.is_secure {
            // The name that its certificate is for.
            return format!("https://localhost:{}", self.address.port());
        }
        format!("http://{}", self.address)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it was sent so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.shared.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.shutdown.begin();
    }
}

async fn serve(shared: Arc<Shared>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    #[expect(clippy::disallowed_methods, reason = "tests bound what they send")]
    let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let seen = Seen { method: head.method, uri: head.uri, headers: head.headers, body };
    let reply = (shared.answer)(&seen);
    if !shared.forgets {
        shared.seen.lock().unwrap_or_else(PoisonError::into_inner).push(seen);
    }
    Ok(reply)
}
