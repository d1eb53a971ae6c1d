//! Where a fleet connects: addresses that may change, the installation's root, and connections over TLS whose
//! bytes are counted.
//!
//! One connection a call; nothing is pooled, so that a node's socket is its own.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use anyhow::Context as _;
use http::Uri;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rr_contract::runtime::Tasks;
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::script::{Counts, add};

/// The name on the control plane's certificate.
pub const SERVER_NAME: &str = "control-plane.requestrocket.internal";
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// As the edge does.
const PING_EVERY: Duration = Duration::from_secs(20);
const PING_TIMEOUT: Duration = Duration::from_secs(10);
/// What hyper's client takes ahead by itself.
const WINDOW: u32 = 2 * 1024 * 1024;
/// What a slow reader takes ahead.
const SMALL_WINDOW: u32 = 16 * 1024;

/// An installation's fleet port, or several replicas'.
#[derive(Clone)]
pub struct Place(Arc<Inner>);

struct Inner {
    addresses: Mutex<Vec<SocketAddr>>,
    verifier: Arc<WebPkiServerVerifier>,
    provider: Arc<CryptoProvider>,
    root: CertificateDer<'static>,
}

/// Certificate and key of a node.
pub(crate) struct Identity {
    pub(crate) id: String,
    pub(crate) tls: Arc<ClientConfig>,
}

/// A connection. Dropping it cuts the socket.
pub(crate) struct Connection {
    pub(crate) sender: http2::SendRequest<tonic::body::Body>,
    task: JoinHandle<Result<(), hyper::Error>>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Place {
    /// The fleet port of a control plane with this state folder.
    pub fn new(address: SocketAddr, state: &Path) -> anyhow::Result<Self> {
        let root = CertificateDer::from_pem_file(state.join("authority.crt")).context("the authority")?;
        let provider = Arc::new(aws_lc_rs::default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(root.clone())?;
        let verifier =
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build()?;
        let addresses = Mutex::new(vec![address]);
        Ok(Self(Arc::new(Inner { addresses, verifier, provider, root })))
    }

    /// The same installation at other addresses.
    #[must_use]
    pub fn at(&self, addresses: &[SocketAddr]) -> Self {
        Self(Arc::new(Inner {
            addresses: Mutex::new(addresses.to_vec()),
            verifier: Arc::clone(&self.0.verifier),
            provider: Arc::clone(&self.0.provider),
            root: self.0.root.clone(),
        }))
    }

    /// Sends everybody elsewhere from now on. Of several addresses, the next is tried after each failure.
    pub fn go_to(&self, addresses: &[SocketAddr]) {
        *self.0.addresses.lock().unwrap_or_else(PoisonError::into_inner) = addresses.to_vec();
    }

    /// The installation's root.
    pub fn root(&self) -> &CertificateDer<'static> {
        &self.0.root
    }

    pub(crate) fn provider(&self) -> Arc<CryptoProvider> {
        Arc::clone(&self.0.provider)
    }

    fn address(&self, turn: usize) -> io::Result<SocketAddr> {
        let addresses = self.0.addresses.lock().unwrap_or_else(PoisonError::into_inner);
        let nobody = || io::Error::other("no address");
        addresses.get(turn % addresses.len().max(1)).copied().ok_or_else(nobody)
    }

    /// TLS with or without a certificate of one's own. What is alike for all nodes is there once.
    pub(crate) fn tls(
        &self,
        identity: Option<(Vec<CertificateDer<'static>>, Vec<u8>)>,
    ) -> Result<Arc<ClientConfig>, rustls::Error> {
        let builder = ClientConfig::builder_with_provider(self.provider())
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(Arc::clone(&self.0.verifier) as _);
        let mut tls = match identity {
            Some((chain, key)) => {
                builder.with_client_auth_cert(chain, PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key)))?
            }
            None => builder.with_no_client_auth(),
        };
        tls.alpn_protocols = vec![b"h2".to_vec()];
        tls.resumption = Resumption::in_memory_sessions(1);
        Ok(Arc::new(tls))
    }

    /// Opens a connection. `turn` picks the address.
    pub(crate) async fn connect(
        &self,
        tls: &Arc<ClientConfig>,
        turn: usize,
        counts: &Arc<Counts>,
        slow: bool,
    ) -> anyhow::Result<Connection> {
        let address = self.address(turn)?;
        let opening = async {
            let socket = TcpStream::connect(address).await?;
            socket.set_nodelay(true)?;
            let socket = Counted { socket, counts: Arc::clone(counts) };
            let name = ServerName::try_from(SERVER_NAME).expect("the constant is a DNS name");
            let before = counts.of(|counts| &counts.read);
            let stream = TlsConnector::from(Arc::clone(tls)).connect(name, socket).await?;
            add(&counts.greeting, counts.of(|counts| &counts.read) - before);
            let window = if slow { SMALL_WINDOW } else { WINDOW };
            let handshake = http2::Builder::new(TokioExecutor::new())
                .timer(TokioTimer::new())
                .initial_stream_window_size(window)
                .initial_connection_window_size(window.max(65_535))
                .keep_alive_interval(PING_EVERY)
                .keep_alive_timeout(PING_TIMEOUT)
                .keep_alive_while_idle(true)
                .handshake(TokioIo::new(stream));
            anyhow::Ok(handshake.await?)
        };
        let (sender, connection) = timeout(CONNECT_TIMEOUT, opening).await.context("not in time")??;
        add(&counts.connections, 1);
        let task = Tasks::new().spawn("light connection", connection);
        Ok(Connection { sender, task })
    }
}

/// Where calls go; the connection is there already.
pub(crate) fn origin() -> Uri {
    Uri::from_static("http://control-plane.requestrocket.internal")
}

impl Connection {
    /// A service for a generated client.
    pub(crate) fn service(
        &self,
    ) -> impl tonic::client::GrpcService<
        tonic::body::Body,
        ResponseBody = hyper::body::Incoming,
        Error = hyper::Error,
        Future: Send,
    > + Clone
    + Send
    + 'static {
        let sender = self.sender.clone();
        tower::service_fn(move |request: http::Request<tonic::body::Body>| {
            let mut sender = sender.clone();
            async move { sender.send_request(request).await }
        })
    }
}

/// A socket that counts what goes over it.
struct Counted {
    socket: TcpStream,
    counts: Arc<Counts>,
}

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.socket).poll_read(context, buffer))?;
        add(&self.counts.read, (buffer.filled().len() - before) as u64);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Counted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.socket).poll_write(context, bytes))?;
        add(&self.counts.written, written as u64);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(context)
    }
}
