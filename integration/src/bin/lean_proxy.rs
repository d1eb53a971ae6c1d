//! `lean-proxy`: the floor for a proxy on this HTTP library. One thread, connections of its own in a stack, a gateway's
//! job and nothing else: no timeouts, no second try, no metrics, no drain.
//!
//! Benches measure it beside the edge; nothing else uses it.

use std::cell::RefCell;
use std::collections::HashMap;
use std::convert::Infallible;
use std::fmt::Write as _;
use std::fs::File;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use bytes::{Buf as _, Bytes};
use clap::Parser;
use http::header::{AUTHORIZATION, CONNECTION, HOST, TRANSFER_ENCODING, UPGRADE};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rr_contract::runtime::Tasks;
use sha2::{Digest as _, Sha256};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::LocalOptions;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Bytes of log lines that go to the file at once.
const PIECE: usize = 64 * 1024;
/// A limit that nobody reaches.
const RATE: u64 = 1_000_000;
const BURST: u64 = 100_000;

/// The least that a proxy takes for a gateway's job.
#[derive(Parser)]
#[command(name = "lean-proxy")]
struct Arguments {
    /// Where callers call.
    #[arg(long)]
    listen: SocketAddr,
    /// Where requests go.
    #[arg(long)]
    upstream: SocketAddr,
    /// What the upstream is told in the place of the caller's key.
    #[arg(long)]
    secret: String,
    /// A key and its consumer in each line.
    #[arg(long)]
    keys: PathBuf,
    /// One line a request, in JSON.
    #[arg(long)]
    log: PathBuf,
}

struct Consumer {
    name: Box<str>,
    /// The time at which its bucket is full again, in nanoseconds.
    full_at: AtomicU64,
}

struct Proxy {
    upstream: SocketAddr,
    host: HeaderValue,
    secret: HeaderValue,
    consumers: HashMap<[u8; 32], Rc<Consumer>>,
    idle: RefCell<Vec<SendRequest<Incoming>>>,
    lines: RefCell<String>,
    log: SyncSender<String>,
    tasks: Tasks,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build_local(LocalOptions::default())?;
    runtime.block_on(serve(arguments))
}

async fn serve(arguments: Arguments) -> anyhow::Result<()> {
    let Arguments { listen, upstream, secret, keys, log } = arguments;
    let text = std::fs::read_to_string(&keys).context("read the keys")?;
    let consumer = |line: &str| {
        let (key, name) = line.split_once(' ')?;
        let consumer = Consumer { name: name.into(), full_at: AtomicU64::new(0) };
        Some((Sha256::digest(key).into(), Rc::new(consumer)))
    };
    let mut file = File::create(&log).context("open the log")?;
    let (log, pieces) = sync_channel::<String>(64);
    std::thread::spawn(move || {
        for piece in pieces {
            // A full disk is no reason to stop the bench.
            file.write_all(piece.as_bytes()).ok();
        }
    });
    let tasks = Tasks::new();
    let proxy = Rc::new(Proxy {
        upstream,
        host: HeaderValue::from_str(&upstream.to_string())?,
        secret: HeaderValue::from_str(&format!("Bearer {secret}"))?,
        consumers: text.lines().filter_map(consumer).collect(),
        idle: RefCell::default(),
        lines: RefCell::new(String::with_capacity(PIECE + 1024)),
        log,
        tasks: tasks.clone(),
    });
    let listener = TcpListener::bind(listen).await.context("listen")?;
    loop {
        let (socket, from) = listener.accept().await?;
        socket.set_nodelay(true)?;
        let proxy = Rc::clone(&proxy);
        let service = service_fn(move |request| {
            let proxy = Rc::clone(&proxy);
            async move { Ok::<_, Infallible>(answer(proxy, from, request).await) }
        });
        let connection = http1::Builder::new().serve_connection(TokioIo::new(socket), service);
        // Whoever hangs up has been answered.
        tasks.spawn_local("connection", async move { connection.await.ok() });
    }
}

async fn answer(proxy: Rc<Proxy>, from: SocketAddr, request: Request<Incoming>) -> Response<Reply> {
    let began = SystemTime::now();
    let consumer = match proxy.admit(request.headers(), began) {
        Ok(consumer) => consumer,
        Err(status) => {
            let mut refused = Response::new(Reply { body: None, bytes: 0, note: None });
            *refused.status_mut() = status;
            return refused;
        }
    };
    let (mut head, body) = request.into_parts();
    let (method, path) = (head.method.clone(), head.uri.path_and_query().cloned());
    head.uri = Uri::from(path.clone().unwrap_or(PathAndQuery::from_static("/")));
    strip(&mut head.headers);
    head.headers.insert(HOST, proxy.host.clone());
    head.headers.insert(AUTHORIZATION, proxy.secret.clone());
    let answered = proxy.send(Request::from_parts(head, body)).await;
    let (status, response) = match answered {
        Ok(response) => (response.status(), Some(response)),
        Err(_) => (StatusCode::BAD_GATEWAY, None),
    };
    let note = Some(Note { proxy, consumer, from, began, method, path, status });
    match response {
        Some(response) => {
            let (mut head, body) = response.into_parts();
            strip(&mut head.headers);
            Response::from_parts(head, Reply { body: Some(body), bytes: 0, note })
        }
        None => {
            let mut failed = Response::new(Reply { body: None, bytes: 0, note });
            *failed.status_mut() = status;
            failed
        }
    }
}

/// Removes what concerns one hop only.
fn strip(headers: &mut HeaderMap) {
    const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
    for name in [CONNECTION, TRANSFER_ENCODING, UPGRADE, KEEP_ALIVE] {
        headers.remove(name);
    }
}

impl Proxy {
    fn admit(&self, headers: &HeaderMap, now: SystemTime) -> Result<Rc<Consumer>, StatusCode> {
        let key = headers.get(AUTHORIZATION).and_then(|value| value.as_bytes().strip_prefix(b"Bearer "));
        let digest: [u8; 32] = Sha256::digest(key.ok_or(StatusCode::UNAUTHORIZED)?).into();
        let consumer = self.consumers.get(&digest).ok_or(StatusCode::UNAUTHORIZED)?;
        if consumer.takes_one(now) { Ok(Rc::clone(consumer)) } else { Err(StatusCode::TOO_MANY_REQUESTS) }
    }

    async fn send(&self, request: Request<Incoming>) -> anyhow::Result<Response<Incoming>> {
        let mut sender = self.connection().await?;
        let response = sender.send_request(request).await?;
        self.idle.borrow_mut().push(sender);
        Ok(response)
    }

    /// The connection that was used last, or a new one.
    async fn connection(&self) -> anyhow::Result<SendRequest<Incoming>> {
        loop {
            let last = self.idle.borrow_mut().pop();
            match last {
                Some(sender) if sender.is_ready() => return Ok(sender),
                Some(sender) if sender.is_closed() => {}
                Some(mut sender) => {
                    if sender.ready().await.is_ok() {
                        return Ok(sender);
                    }
                }
                None => {
                    let socket = TcpStream::connect(self.upstream).await?;
                    socket.set_nodelay(true)?;
                    let (sender, connection) = handshake(TokioIo::new(socket)).await?;
                    // A request that waits on it gets the error itself.
                    self.tasks.spawn_local("upstream connection", async move { connection.await.ok() });
                    return Ok(sender);
                }
            }
        }
    }
}

impl Consumer {
    /// The generic cell rate algorithm: one request takes the time in which one is given back.
    fn takes_one(&self, now: SystemTime) -> bool {
        const EACH: u64 = 1_000_000_000 / RATE;
        let now = now.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64);
        let full_at = self.full_at.load(Ordering::Relaxed).max(now) + EACH;
        let takes = full_at - now <= BURST * EACH;
        if takes {
            self.full_at.store(full_at, Ordering::Relaxed);
        }
        takes
    }
}

/// What the log says of a request, once its answer has gone out.
struct Note {
    proxy: Rc<Proxy>,
    consumer: Rc<Consumer>,
    from: SocketAddr,
    began: SystemTime,
    method: Method,
    path: Option<PathAndQuery>,
    status: StatusCode,
}

impl Note {
    fn write(&self, bytes: u64) {
        let mut lines = self.proxy.lines.borrow_mut();
        let at = self.began.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
        let took = self.began.elapsed().unwrap_or(Duration::ZERO);
        writeln!(
            lines,
            r#"{{"ts":"{}.{:03}","method":"{}","path":"{}","status":{},"bytes":{bytes},"rt":"{}.{:03}","consumer":"{}","client":"{}"}}"#,
            at.as_secs(),
            at.subsec_millis(),
            self.method.as_str(),
            self.path.as_ref().map_or("/", PathAndQuery::path),
            self.status.as_u16(),
            took.as_secs(),
            took.subsec_millis(),
            self.consumer.name,
            self.from.ip(),
        )
        .expect("a text takes more");
        if lines.len() >= PIECE {
            let piece = std::mem::replace(&mut *lines, String::with_capacity(PIECE + 1024));
            // A disk that hangs loses lines and holds nobody up.
            self.proxy.log.try_send(piece).ok();
        }
    }
}

/// The answer's body, counted; writes the line when it is dropped.
struct Reply {
    body: Option<Incoming>,
    bytes: u64,
    note: Option<Note>,
}

impl Body for Reply {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let polled = Pin::new(body).poll_frame(context);
        if let Poll::Ready(Some(Ok(frame))) = &polled {
            self.bytes += frame.data_ref().map_or(0, |data| data.remaining() as u64);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Incoming::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), Incoming::size_hint)
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        if let Some(note) = &self.note {
            note.write(self.bytes);
        }
    }
}
