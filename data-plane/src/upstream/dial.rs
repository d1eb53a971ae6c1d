//! From a target to a connection: name, guard, TCP, TLS, HTTP.
//!
//! The caller bounds the time. Addresses are tried one after the other, and only those that the guard let
//! through: there is no second look-up between the check and the connection.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioIo, TokioTimer};
use rr_contract::runtime::Tasks;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;
use tracing::debug;
use url::Host;

use crate::snapshot::CompiledTarget;

use super::SendError;
use super::guard::Guard;
use super::pool::Connection;
use super::tls::{self, Trust, WorkerTls};

/// Finds a dead peer under an idle HTTP/2 connection.
const PING_EVERY: Duration = Duration::from_secs(20);

/// What is read of an answer before its caller takes it; also the longest head.
const READ_AHEAD: usize = 64 * 1024;

pub(super) struct Dialer {
    guard: Arc<Guard>,
    tls: WorkerTls,
    tasks: Tasks,
}

impl Dialer {
    pub(super) fn new(guard: Arc<Guard>, trust: Arc<Trust>, tasks: Tasks) -> Self {
        Self { guard, tls: WorkerTls::new(trust), tasks }
    }

    pub(super) async fn dial(&self, target: &CompiledTarget) -> Result<Connection, SendError> {
        let stream = self.connect(&self.addresses(target).await?, target.connect_timeout).await?;
        stream.set_nodelay(true).map_err(SendError::Connect)?;
        if !target.is_tls() {
            return self.http1(stream).await;
        }
        let stream = self.tls.connect(target.base.host(), stream).await?;
        if tls::agreed_on_http2(&stream) { self.http2(stream).await } else { self.http1(stream).await }
    }

    /// The addresses of a target that may be connected to.
    async fn addresses(&self, target: &CompiledTarget) -> Result<Vec<SocketAddr>, SendError> {
        let port = target.base.port();
        let found: Vec<SocketAddr> = match target.base.host() {
            Host::Ipv4(ip) => vec![(IpAddr::from(*ip), port).into()],
            Host::Ipv6(ip) => vec![(IpAddr::from(*ip), port).into()],
            Host::Domain(name) => {
                lookup_host((name.as_str(), port)).await.map_err(SendError::Resolve)?.collect()
            }
        };
        if found.is_empty() {
            return Err(SendError::Resolve(io::Error::from(io::ErrorKind::NotFound)));
        }
        let allowed: Vec<_> = found.into_iter().filter(|address| self.guard.allows(address.ip())).collect();
        if allowed.is_empty() { Err(SendError::Guarded) } else { Ok(allowed) }
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

    async fn http1<S>(&self, stream: S) -> Result<Connection, SendError>
    where
        S: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        let (sender, connection) = http1::Builder::new()
            .max_buf_size(READ_AHEAD)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(SendError::Broken)?;
        self.drive("upstream h1", connection);
        Ok(Connection::Http1(sender))
    }

    async fn http2<S>(&self, stream: S) -> Result<Connection, SendError>
    where
        S: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        let (sender, connection) = http2::Builder::new(crate::listen::LocalExec)
            .timer(TokioTimer::new())
            .keep_alive_interval(PING_EVERY)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(SendError::Broken)?;
        self.drive("upstream h2", connection);
        Ok(Connection::Http2(sender))
    }

    fn drive(&self, name: &'static str, connection: impl Future<Output = hyper::Result<()>> + 'static) {
        self.tasks.spawn_local(name, async move {
            // Whoever waits for an answer on it gets the error itself; this is for an idle one.
            if let Err(error) = connection.await {
                debug!(%error, "upstream connection ended");
            }
        });
    }
}
