//! A caller of the edge: plain HTTP/1.1 over a connection that is kept.

use std::net::SocketAddr;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rr_contract::runtime::Tasks;
use tokio::net::TcpStream;

use crate::wait::DEADLINE;

/// What came back.
#[derive(Debug)]
pub struct Reply {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
}

impl Reply {
    /// The body as text.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("the body is text")
    }

    /// A header as text; empty when it is not there.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("the header is text"))
    }
}

/// Calls one proxy with one key.
#[derive(Debug, Clone)]
pub struct Caller {
    edge: SocketAddr,
    proxy: String,
    key: String,
}

impl Caller {
    /// A caller of `proxy` (`org.name` or an id) at an edge.
    pub fn new(edge: SocketAddr, proxy: &str, key: &str) -> Self {
        Self { edge, proxy: proxy.to_owned(), key: key.to_owned() }
    }

    /// The same caller at another edge.
    pub fn at(&self, edge: SocketAddr) -> Self {
        Self { edge, ..self.clone() }
    }

    /// GET of a path behind the proxy's address.
    pub async fn get(&self, path: &str) -> Reply {
        self.try_get(path).await.unwrap_or_else(|error| panic!("GET {path} at {}: {error}", self.edge))
    }

    /// GET that may fail because nobody listens.
    pub async fn try_get(&self, path: &str) -> anyhow::Result<Reply> {
        let request = Request::builder()
            .method(Method::GET)
            .uri(format!("/api/{}{path}", self.proxy))
            .header("host", self.edge.to_string())
            .header("authorization", &self.key)
            .body(Full::default())?;
        send(self.edge, request).await
    }
}

/// A caller's connection that is kept, for as many requests as it lasts.
pub struct Kept {
    sender: http1::SendRequest<Full<Bytes>>,
    host: String,
}

impl Kept {
    /// Connects to an edge.
    pub async fn connect(edge: SocketAddr) -> anyhow::Result<Self> {
        let socket = TcpStream::connect(edge).await?;
        socket.set_nodelay(true)?;
        let (sender, connection) = http1::handshake(TokioIo::new(socket)).await?;
        Tasks::new().spawn("kept connection", connection);
        Ok(Self { sender, host: edge.to_string() })
    }

    /// GET of a whole path with a caller's key.
    pub async fn get(&mut self, path: &str, key: &str) -> anyhow::Result<Reply> {
        self.sender.ready().await?;
        let request = Request::get(path)
            .header("host", &self.host)
            .header("authorization", key)
            .body(Full::default())?;
        let exchange = async {
            let (head, body) = self.sender.send_request(request).await?.into_parts();
            #[expect(clippy::disallowed_methods, reason = "tests know what they are sent")]
            let body = body.collect().await?.to_bytes();
            anyhow::Ok(Reply { status: head.status, headers: head.headers, body })
        };
        tokio::time::timeout(DEADLINE, exchange).await?
    }
}

/// Sends one request on a connection of its own.
///
/// A test that would wait for ever fails instead.
pub async fn send(to: SocketAddr, request: Request<Full<Bytes>>) -> anyhow::Result<Reply> {
    match tokio::time::timeout(DEADLINE, exchange(to, request)).await {
        Ok(reply) => reply,
        Err(_) => anyhow::bail!("no whole answer from {to} within {DEADLINE:?}"),
    }
}

async fn exchange(to: SocketAddr, request: Request<Full<Bytes>>) -> anyhow::Result<Reply> {
    let socket = TcpStream::connect(to).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(socket)).await?;
    Tasks::new().spawn("caller connection", connection);
    let (head, body) = sender.send_request(request).await?.into_parts();
    #[expect(clippy::disallowed_methods, reason = "tests know what they are sent")]
    let body = body.collect().await?.to_bytes();
    Ok(Reply { status: head.status, headers: head.headers, body })
}
