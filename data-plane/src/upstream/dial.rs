//! From a target to a connection: name, guard, TCP, TLS, HTTP.
//!
//! The caller bounds the time. Addresses are tried one after the other, and only those that the guard let
//! through: there is no second look-up between the check and the connection.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::{Pin, pin};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use hyper::client::conn::{http1, http2};
use hyper::rt::Executor;
use hyper_util::rt::{TokioIo, TokioTimer};
use rr_contract::runtime::Tasks;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;
use tracing::debug;
use url::Host;

use crate::deadline::Deadline;
use crate::executor::LocalExec;
use crate::snapshot::CompiledTarget;

use super::SendError;
use super::address_guard::AddressGuard;
use super::pool::{Connection, Http1, Origin, StreamPermit};
use super::request_body::RequestBody;
use super::resolve::Resolver;
use super::socket::{Duplex, Socket, Watch};
use super::streams::{CONNECTION_WINDOW, Channel, STREAM_WINDOW, UNSAID};
use super::tls::{self, Trust, WorkerTls};

/// Finds a dead peer under requests that wait for it.
const PING_EVERY: Duration = Duration::from_secs(20);
/// The same limit as for callers.
pub(super) const HEADERS_MAX: usize = 128;
pub(super) const HEAD_BYTES_MAX: u32 = 64 * 1024;
/// Buffer for an upload inside the HTTP library.
const SEND_BUFFER: usize = 256 * 1024;

type Http2 = http2::Connection<TokioIo<TlsStream<Socket>>, RequestBody, StreamExec>;

/// Bytes of a response that are read ahead; also the longest head.
pub(super) const READ_AHEAD: usize = 64 * 1024;

pub(super) struct Dialer {
    guard: Arc<AddressGuard>,
    resolver: Arc<Resolver>,
    tls: WorkerTls,
    tasks: Tasks,
}

impl Dialer {
    pub(super) fn new(
        guard: Arc<AddressGuard>,
        resolver: Arc<Resolver>,
        trust: Arc<Trust>,
        tasks: Tasks,
    ) -> Self {
        Self { guard, resolver, tls: WorkerTls::new(trust), tasks }
    }

    /// Opens a connection. One that speaks HTTP/2 is shared from now on.
    pub(super) async fn dial(
        &self,
        target: &CompiledTarget,
        origin: &Rc<Origin>,
    ) -> Result<Connection, SendError> {
        let _dialing = origin.streams().dial();
        let stream = self.connect(&self.addresses(target).await?, target.connect_timeout).await?;
        stream.set_nodelay(true).map_err(SendError::Connect)?;
        let socket = Socket::new(stream);
        let watch = socket.watch();
        if !target.is_tls() {
            return self.http1(socket, watch).await;
        }
        let stream = self.tls.connect(target.base.host(), socket).await?;
        if tls::agreed_on_http2(&stream) {
            return self.http2(stream, origin).await;
        }
        origin.streams().not_spoken();
        self.http1(stream, watch).await
    }

    /// Opens a connection that will not be shared, and on which nothing but HTTP/1.1 was agreed.
    pub(super) async fn dial_http1(
        &self,
        target: &CompiledTarget,
    ) -> Result<(Box<dyn Duplex>, Watch), SendError> {
        let stream = self.connect(&self.addresses(target).await?, target.connect_timeout).await?;
        stream.set_nodelay(true).map_err(SendError::Connect)?;
        let socket = Socket::new(stream);
        let watch = socket.watch();
        if !target.is_tls() {
            return Ok((Box::new(socket), watch));
        }
        Ok((Box::new(self.tls.connect_http1(target.base.host(), socket).await?), watch))
    }

    /// The addresses of a target that may be connected to.
    async fn addresses(&self, target: &CompiledTarget) -> Result<Vec<SocketAddr>, SendError> {
        let allowed = |ip: &IpAddr| self.guard.allows(*ip);
        let allowed: Vec<IpAddr> = match target.base.host() {
            Host::Ipv4(ip) => Some(IpAddr::from(*ip)).into_iter().filter(allowed).collect(),
            Host::Ipv6(ip) => Some(IpAddr::from(*ip)).into_iter().filter(allowed).collect(),
            Host::Domain(name) => {
                let found = self.resolver.addresses(target.org, name).await.map_err(SendError::Resolve)?;
                found.iter().copied().filter(allowed).collect()
            }
        };
        if allowed.is_empty() {
            return Err(SendError::Guarded);
        }
        Ok(allowed.into_iter().map(|ip| (ip, target.base.port()).into()).collect())
    }

    async fn connect(&self, addresses: &[SocketAddr], within: Duration) -> Result<TcpStream, SendError> {
        // One address that swallows packets must not use up the time of the others.
        let share = within / u32::try_from(addresses.len()).unwrap_or(u32::MAX).max(1);
        let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
        for address in addresses {
            match timeout(share, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) => last = error,
                Err(_) => last = io::ErrorKind::TimedOut.into(),
            }
        }
        if last.kind() == io::ErrorKind::TimedOut {
            Err(SendError::ConnectTimeout)
        } else {
            Err(SendError::Connect(last))
        }
    }

    async fn http1<S>(&self, stream: S, watch: Watch) -> Result<Connection, SendError>
    where
        S: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        let (sender, connection) = http1::Builder::new()
            .max_buf_size(READ_AHEAD)
            .max_headers(HEADERS_MAX)
            .max_header_size(HEAD_BYTES_MAX as usize)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(SendError::Broken)?;
        self.drive("upstream h1", connection);
        Ok(Connection::Http1(Http1 { sender, watch, deadline: Deadline::default() }))
    }

    async fn http2(&self, stream: TlsStream<Socket>, origin: &Rc<Origin>) -> Result<Connection, SendError> {
        let (sender, connection): (_, Http2) = http2::Builder::new(StreamExec(Rc::downgrade(origin)))
            .timer(TokioTimer::new())
            .keep_alive_interval(PING_EVERY)
            .initial_max_send_streams(UNSAID)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_header_list_size(HEAD_BYTES_MAX)
            .max_send_buf_size(SEND_BUFFER)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(SendError::Broken)?;
        let connection = Rc::new(RefCell::new(connection));
        let (peer, last) = (Rc::downgrade(&connection), Cell::new(UNSAID));
        let limit = move || {
            // It is borrowed while it works, and what it lets go of then may be the reason to ask.
            if let Some(peer) = peer.upgrade()
                && let Ok(peer) = peer.try_borrow()
            {
                last.set(peer.current_max_send_streams());
            }
            last.get()
        };
        self.drive("upstream h2", poll_fn(move |cx| Pin::new(&mut *connection.borrow_mut()).poll(cx)));
        let channel = Channel::new(sender, Box::new(limit));
        origin.streams().adopt(&channel);
        Ok(Connection::Http2(StreamPermit::take(&channel, origin)))
    }

    pub(super) fn drive(
        &self,
        name: &'static str,
        connection: impl Future<Output = hyper::Result<()>> + 'static,
    ) {
        self.tasks.spawn_local(name, async move {
            // A request that waits on it gets the error itself; this is for an idle connection.
            if let Err(error) = connection.await {
                debug!(%error, "upstream connection ended");
            }
        });
    }
}

/// Runs the tasks of an HTTP/2 connection, and wakes waiting requests after each poll, because the peer may have
/// raised its limit.
#[derive(Clone)]
struct StreamExec(Weak<Origin>);

impl<F: Future + 'static> Executor<F> for StreamExec {
    fn execute(&self, future: F) {
        let origin = Weak::clone(&self.0);
        LocalExec.execute(async move {
            let mut future = pin!(future);
            poll_fn(move |cx| {
                let polled = future.as_mut().poll(cx);
                if let Some(origin) = origin.upgrade() {
                    origin.streams().wake();
                }
                polled
            })
            .await;
        });
    }
}
