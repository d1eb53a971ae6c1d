//! Listeners: bound before anything else is touched, then served with or without TLS until the stop.
//!
//! Knows no service. Every connection has a handshake deadline, a keepalive and a place under the limit, or, where it
//! shows no certificate though one is expected, one in the [`lobby`]; at the stop they are asked to finish, and cut off
//! when the time is over.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use rr_contract::runtime::patience::{self, Socket, Watch};
use rr_contract::runtime::{Seldom, Stop, Tasks, chain};
use rustls_pki_types::pem::{self, PemObject as _};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt as _;
use tracing::{debug, warn};

use crate::events::{ConnectionOutcome, Events};

use lobby::{Caller, Guest, Lobby};

mod lobby;

pub(crate) use lobby::Strangers;

/// All nodes come back at once after an outage: the default queue of 1024 overflows silently.
const BACKLOG: u32 = 4096;
/// Open connections, where nobody says another number.
pub(crate) const CONNECTIONS: usize = 20_000;
/// How long a caller may read nothing of what it asked for.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);
const HEADER_LIMIT: Duration = Duration::from_secs(15);
const KEEPALIVE_EVERY: Duration = Duration::from_secs(20);
const KEEPALIVE_LIMIT: Duration = Duration::from_secs(10);
const STREAMS: u32 = 256;
/// How often the log says that connections are turned away: who floods the port is not to flood the log.
const LOG_EVERY: Duration = Duration::from_secs(60);
/// What is held of a stream that its reader does not read, besides one message.
const SEND_BUFFER: usize = 64 * 1024;

/// A listener that could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address} ({port}): {}; choose another with --{port}", said(cause))]
pub struct BindError {
    /// The address that was asked for.
    pub address: SocketAddr,
    /// What it is for, and the flag that moves it.
    pub port: &'static str,
    /// Part of the text, so no source.
    cause: io::Error,
}

/// A certificate or key in files that cannot be served with.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// A file is not what it should be.
    #[error("cannot read {what} from {}: {cause}", path.display())]
    File {
        /// Which of them.
        what: &'static str,
        /// Its path.
        path: PathBuf,
        /// Why; part of the text, so no source.
        cause: pem::Error,
    },
    /// The two do not go together, or are not understood.
    #[error("cannot serve TLS with the certificate {}; does the key belong to it?", path.display())]
    Tls {
        /// The certificate's file.
        path: PathBuf,
        /// The cause.
        source: rustls::Error,
    },
}

/// TLS with a certificate that somebody else issued, without client certificates.
pub(crate) fn server_tls(
    certificate: &Path,
    key: &Path,
) -> Result<Arc<rustls::ServerConfig>, CertificateError> {
    let file = |what, path: &Path, cause| CertificateError::File { what, path: path.to_owned(), cause };
    let of_certificate = |cause| file("a certificate", certificate, cause);
    let chain: Vec<CertificateDer<'static>> =
        CertificateDer::pem_file_iter(certificate).and_then(Iterator::collect).map_err(of_certificate)?;
    if chain.is_empty() {
        return Err(of_certificate(pem::Error::NoItemsFound));
    }
    let secret = PrivateKeyDer::from_pem_file(key).map_err(|cause| file("a key", key, cause))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let built = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, secret));
    let mut config =
        built.map_err(|source| CertificateError::Tls { path: certificate.to_owned(), source })?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn said(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => "address in use".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        io::ErrorKind::AddrNotAvailable => "no such address on this machine".to_owned(),
        _ => error.to_string(),
    }
}

/// A listener with its port, not served yet.
pub(crate) struct Bound {
    listener: TcpListener,
    address: SocketAddr,
    port: &'static str,
}

/// Who is at the other end of a connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer(pub(crate) SocketAddr);

/// Ends the connection of a request once its answers are out: no further request is taken on it. Clones end the same one.
#[derive(Debug, Clone, Default)]
pub(crate) struct Hangup(Arc<Notify>);

impl Hangup {
    pub(crate) fn ask(&self) {
        // One permit is kept: it may be asked before anybody waits.
        self.0.notify_one();
    }
}

/// How a port is served.
#[derive(Clone)]
pub(crate) struct Serving {
    pub(crate) router: axum::Router,
    pub(crate) tls: Option<Arc<rustls::ServerConfig>>,
    /// Puts what a verified client certificate says into every request.
    pub(crate) admit: Admit,
    /// What connections without a client certificate may take, where one is expected.
    pub(crate) strangers: Option<Strangers>,
    /// How long a peer may ask for nothing at first, and take nothing of what is written to it later, where
    /// that is bounded.
    pub(crate) patience: Option<Duration>,
    /// How many may be open at once; where certificates are expected, of those that show one.
    pub(crate) connections: usize,
    pub(crate) events: Events,
    pub(crate) tasks: Tasks,
    pub(crate) stop: Stop,
    pub(crate) drain: Duration,
}

/// Reads a client certificate into the extensions of a connection's requests.
pub(crate) type Admit = Arc<dyn Fn(&CertificateDer<'_>, &mut http::Extensions) + Send + Sync>;

impl Bound {
    /// Opens a listener.
    pub(crate) fn bind(port: &'static str, address: SocketAddr) -> Result<Self, BindError> {
        let open = || {
            let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
            socket.set_reuseaddr(true)?;
            socket.bind(address)?;
            let listener = socket.listen(BACKLOG)?;
            let address = listener.local_addr()?;
            Ok(Self { listener, address, port })
        };
        open().map_err(|cause| BindError { address, port, cause })
    }

    /// Where it listens; the port is real even where zero was asked for.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until the stop, then drains.
    pub(crate) async fn serve(self, serving: Serving) {
        let graceful = GracefulShutdown::new();
        let places = Arc::new(Semaphore::new(serving.connections));
        let lobby = serving.strangers.map(|bounds| Arc::new(Lobby::new(bounds, serving.connections)));
        let seldom = Seldom::every(LOG_EVERY);
        loop {
            let accepted = tokio::select! {
                () = serving.stop.requested() => break,
                accepted = self.listener.accept() => accepted,
            };
            let (stream, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of descriptors, mostly: waiting is all that helps, and spinning makes it worse.
                    if let Some(held) = seldom.may() {
                        warn!(
                            error = %chain(&error),
                            port = self.port,
                            held,
                            "cannot accept connections; if no descriptors are left, raise the limit of open files \
                             (LimitNOFILE= of the service, `ulimit -n`)"
                        );
                    }
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            };
            let arrived = match &lobby {
                Some(lobby) => lobby.arriving.enter().map(|guest| Arrived::InLobby(Arc::clone(lobby), guest)),
                None => Arc::clone(&places).try_acquire_owned().ok().map(Arrived::InPlace),
            };
            let Some(arrived) = arrived else {
                serving.events.connection(self.port, ConnectionOutcome::Limit);
                if let Some(held) = seldom.may() {
                    warn!(
                        port = self.port,
                        held,
                        "connection refused: too many are open at this port; --connection-limit bounds those of \
                         the management API"
                    );
                }
                continue;
            };
            let connection = Connection {
                serving: serving.clone(),
                port: self.port,
                peer,
                _watcher: graceful.watcher(),
                places: Arc::clone(&places),
            };
            serving.tasks.spawn("connection", connection.run(stream, arrived));
        }
        drop(self.listener);
        if timeout(serving.drain, graceful.shutdown()).await.is_err() {
            debug!(port = self.port, "connections cut off");
        }
    }
}

struct Connection {
    serving: Serving,
    port: &'static str,
    peer: SocketAddr,
    /// Counts it among those that a stop waits for.
    _watcher: Watcher,
    /// Of those whose certificate is expected, and shown.
    places: Arc<Semaphore>,
}

/// Where a connection is before it has said anything.
enum Arrived {
    InPlace(OwnedSemaphorePermit),
    InLobby(Arc<Lobby>, Guest),
}

impl Connection {
    async fn run(self, stream: TcpStream, arrived: Arrived) {
        if let Err(error) = patience::prepare(&stream) {
            debug!(%error, "connection is served as it is");
        }
        let mut extensions = http::Extensions::new();
        extensions.insert(Peer(self.peer));
        let stream = Socket::new(stream, self.serving.patience);
        let Some(tls) = self.serving.tls.clone() else {
            self.serving.events.connection(self.port, ConnectionOutcome::Accepted);
            return Box::pin(self.http(stream, extensions, None)).await;
        };
        // Boxed, here and below: what a connection costs as long as it lasts is then what it needs at the time.
        let handshake = Box::pin(timeout(HANDSHAKE_LIMIT, TlsAcceptor::from(tls).accept(stream)));
        let shaken = match &arrived {
            Arrived::InPlace(_) => handshake.await,
            Arrived::InLobby(_, guest) => tokio::select! {
                shaken = handshake => shaken,
                () = guest.shown_out() => return self.shown_out(),
            },
        };
        match shaken {
            Ok(Ok(stream)) => {
                let stream = Box::new(stream);
                let certificate = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
                if let Some(certificate) = certificate {
                    (self.serving.admit)(certificate, &mut extensions);
                }
                let (lobby, place) = match (arrived, certificate) {
                    (Arrived::InPlace(place), _) => (None, Some(place)),
                    (Arrived::InLobby(..), Some(_)) => {
                        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
                            self.serving.events.connection(self.port, ConnectionOutcome::Limit);
                            return;
                        };
                        (None, Some(place))
                    }
                    (Arrived::InLobby(lobby, _), None) => (Some(lobby), None),
                };
                self.serving.events.connection(self.port, ConnectionOutcome::Accepted);
                match lobby {
                    Some(lobby) => self.stranger(stream, extensions, &lobby).await,
                    None => Box::pin(self.http(stream, extensions, None)).await,
                }
                drop(place);
            }
            Ok(Err(error)) => {
                self.serving.events.connection(self.port, ConnectionOutcome::Handshake);
                debug!(%error, peer = %self.peer, port = self.port, "no TLS handshake");
            }
            Err(_elapsed) => {
                self.serving.events.connection(self.port, ConnectionOutcome::Handshake);
                debug!(peer = %self.peer, port = self.port, "no TLS handshake in time");
            }
        }
    }

    /// Serves a connection without a certificate where one is expected: within bounds, or anybody who knows the address could take every place and
    /// keep it.
    async fn stranger<S>(self, stream: S, extensions: http::Extensions, lobby: &Lobby)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let Some(guest) = lobby.staying.enter() else { return self.shown_out() };
        let (port, peer, events) = (self.port, self.peer, self.serving.events.clone());
        tokio::select! {
            () = Box::pin(self.http(stream, extensions, Some(guest.caller()))) => return,
            () = guest.shown_out() => {}
            () = guest.idle(lobby.bounds.idle) => {}
            () = tokio::time::sleep(lobby.bounds.lasts) => {}
        }
        events.connection(port, ConnectionOutcome::Stranger);
        debug!(%peer, port, "connection without a certificate closed");
    }

    fn shown_out(&self) {
        self.serving.events.connection(self.port, ConnectionOutcome::Stranger);
        debug!(peer = %self.peer, port = self.port, "connection without a certificate made room for another");
    }

    async fn http<S>(self, stream: S, extensions: http::Extensions, caller: Option<Caller>)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let router = self.serving.router.clone();
        let (hangup, mut extensions) = (Hangup::default(), extensions);
        extensions.insert(hangup.clone());
        let (patience, watch) = (self.serving.patience, Watch::default());
        let bodies = patience.map(|_| watch.clone());
        let called = Arc::new(Notify::new());
        let call = Arc::clone(&called);
        let service = hyper::service::service_fn(move |mut request: Request<Incoming>| {
            let (router, bodies) = (router.clone(), bodies.clone());
            request.extensions_mut().extend(extensions.clone());
            call.notify_one();
            let counted = caller.as_ref().map(Caller::call);
            async move {
                let _counted = counted;
                let answer: Result<Response<Body>, Infallible> = router.oneshot(request.map(Body::new)).await;
                answer.map(|answer| match bodies {
                    Some(bodies) => answer.map(|body| Body::new(bodies.body(body))),
                    None => answer,
                })
            }
        });
        let mut builder = Builder::new(TokioExecutor::new());
        builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADER_LIMIT);
        builder
            .http2()
            .timer(TokioTimer::new())
            .keep_alive_interval(KEEPALIVE_EVERY)
            .keep_alive_timeout(KEEPALIVE_LIMIT)
            .max_send_buf_size(SEND_BUFFER)
            .max_concurrent_streams(STREAMS);
        let mut connection =
            std::pin::pin!(builder.serve_connection(TokioIo::new(stream), service).into_owned());
        let served = async {
            tokio::select! {
                ended = connection.as_mut() => return ended,
                () = self.serving.stop.requested() => {}
                () = hangup.0.notified() => {}
            }
            connection.as_mut().graceful_shutdown();
            connection.await
        };
        let stalled = async {
            match patience {
                // No protocol reads a connection that sends nothing at all, and so none times it.
                Some(patience) => match timeout(patience, called.notified()).await {
                    Ok(()) => watch.stalled(patience).await,
                    Err(_silent) => {}
                },
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            ended = served => {
                if let Err(error) = ended {
                    debug!(error = %chain(&*error), peer = %self.peer, port = self.port, "connection broke");
                }
            }
            () = stalled => {
                self.serving.events.connection(self.port, ConnectionOutcome::Stalled);
                debug!(peer = %self.peer, port = self.port, "connection cut off: it says or reads nothing");
            }
        }
    }
}

#[cfg(test)]
mod tests;
