//! From a target to a connection: name, guard, TCP, TLS, HTTP.
//!
//! A dial is no request's own: it goes on when the one that it was begun for has another connection, or left to others
//! that wait. It waits in turn within the time for connecting. Only addresses that the guard let through are connected
//! to: there is no second look-up between the check and the connection.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use hyper::client::conn::{http1, http2};
use hyper::rt::Executor;
use hyper_util::rt::{TokioIo, TokioTimer};
use rr_contract::model::id::OrgId;
use rr_contract::model::tls::{HttpVersion, Wire};
use rr_contract::outbound::{Judged, Outbound, OutboundError};
use rr_contract::runtime::Tasks;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tracing::debug;

use crate::deadline::Deadline;
use crate::executor::LocalExec;
use crate::snapshot::{CompiledTarget, OwnCertificate};

use super::SendError;
use super::course::Course;
use super::dials::{DialPermit, Dials};
use super::pool::{Connection, Http1, Origin, Slot};
use super::request_body::RequestBody;
use super::room::{Place, Room};
use super::socket::{Counted, Duplex, Socket, Watch};
use super::streams::{CONNECTION_WINDOW, Channel, STREAM_WINDOW, UNSAID};
use super::tls::{self, Trust, WorkerTls};

/// Finds a dead peer under requests that wait for it.
const PING_EVERY: Duration = Duration::from_secs(20);
/// The same limit as for callers.
pub(super) const HEADERS_MAX: usize = 128;
pub(super) const HEAD_BYTES_MAX: u32 = 64 * 1024;
/// Buffer for an upload inside the HTTP library.
const SEND_BUFFER: usize = 256 * 1024;

type Http2<S> = http2::Connection<TokioIo<Counted<S>>, RequestBody, StreamExec>;

/// Bytes of a response that are read ahead; also the longest head.
pub(super) const READ_AHEAD: usize = 64 * 1024;

pub(super) struct Dialer {
    outbound: Arc<Outbound>,
    tls: WorkerTls,
    dials: Dials,
    room: Rc<Room>,
    tasks: Tasks,
}

impl Dialer {
    pub(super) fn new(outbound: Arc<Outbound>, trust: Arc<Trust>, room: Rc<Room>, tasks: Tasks) -> Self {
        Self { outbound, tls: WorkerTls::new(trust), dials: Dials::new(), room, tasks }
    }

    /// Opens a connection for those who wait at the origin.
    pub(super) fn start(self: &Rc<Self>, target: &Arc<CompiledTarget>, slot: Slot) {
        let (dialer, target) = (Rc::clone(self), Arc::clone(target));
        self.tasks.spawn_local("upstream dial", async move {
            let dialed = async {
                let turn = dialer.turn(target.org).await;
                slot.connects();
                dialer.dial(&target, slot.origin(), turn, None).await
            };
            let dialed = tokio::select! {
                dialed = timeout(target.connect_timeout, dialed) => dialed,
                // Nobody is left for it: its socket is another's.
                () = slot.is_surplus() => return,
            };
            let late = || Err(if slot.is_connecting() { SendError::ConnectTimeout } else { SendError::Busy });
            let dialed = dialed.unwrap_or_else(|_| late());
            slot.end(dialed);
        });
    }

    /// Waits for an organization's turn to connect, and a place for the socket. The caller bounds the time.
    pub(super) async fn turn(&self, org: OrgId) -> (DialPermit, Place) {
        let permit = self.dials.take(org).await;
        (permit, self.room.take(org).await)
    }

    /// Opens a connection, and notes how far it comes where somebody wants to know.
    pub(super) async fn dial(
        &self,
        target: &CompiledTarget,
        origin: &Rc<Origin>,
        (permit, place): (DialPermit, Place),
        mut course: Option<&mut Course>,
    ) -> Result<Connection, SendError> {
        let judged = self.addresses(target).await?;
        if let Some(course) = course.as_deref_mut() {
            course.is_resolved();
        }
        let stream = self.connect(&judged, target.connect_timeout, &permit).await?;
        if let Some(course) = course.as_deref_mut() {
            course.is_connected(stream.peer_addr().ok(), target);
        }
        stream.set_nodelay(true).map_err(SendError::Connect)?;
        let socket = if target.is_tls() { Socket::under_tls(stream) } else { Socket::new(stream) };
        socket.hold(place);
        let watch = socket.watch();
        if !target.is_tls() {
            return match target.wire.http {
                HttpVersion::V2 => self.http2(socket, watch, origin).await,
                HttpVersion::V1_1 | HttpVersion::Agreed => self.http1(socket, watch).await,
            };
        }
        let shown = origin.shown();
        let stream = self.tls.connect(target.org, target.base.host(), &target.wire, shown, socket).await?;
        if let Some(course) = course {
            course.is_secure(stream.get_ref().1);
        }
        if tls::agreed_on_http2(&stream) {
            return self.http2(stream, watch, origin).await;
        }
        origin.speaks_http1();
        self.http1(stream, watch).await
    }

    /// Opens a connection that will not be shared, and on which nothing but HTTP/1.1 was agreed.
    pub(super) async fn dial_http1(
        &self,
        target: &CompiledTarget,
        shown: Option<&Arc<OwnCertificate>>,
        (permit, place): (DialPermit, Place),
    ) -> Result<(Box<dyn Duplex>, Watch), SendError> {
        let stream = self.connect(&self.addresses(target).await?, target.connect_timeout, &permit).await?;
        stream.set_nodelay(true).map_err(SendError::Connect)?;
        let socket = if target.is_tls() { Socket::under_tls(stream) } else { Socket::new(stream) };
        socket.hold(place);
        let watch = socket.watch();
        if !target.is_tls() {
            return Ok((Box::new(Counted::new(socket, watch.clone())), watch));
        }
        let wire = Wire { http: HttpVersion::V1_1, ..target.wire.clone() };
        let stream = self.tls.connect(target.org, target.base.host(), &wire, shown, socket).await?;
        Ok((Box::new(Counted::new(stream, watch.clone())), watch))
    }

    /// Lets go of TLS sessions that were not used for long, and of organizations that dial nothing or have nothing open.
    pub(super) fn sweep(&self) {
        self.dials.sweep();
        self.room.sweep();
        self.tls.sweep();
    }

    /// A target, resolved, and each of its addresses judged.
    async fn addresses(&self, target: &CompiledTarget) -> Result<Judged, SendError> {
        let judged = self.outbound.judge(target.org, target.base.host(), target.base.port());
        judged.await.map_err(SendError::from)
    }

    /// Connects to an address that was judged.
    async fn connect(
        &self,
        judged: &Judged,
        within: Duration,
        permit: &DialPermit,
    ) -> Result<TcpStream, SendError> {
        self.outbound.connect(judged, within, || permit.spare()).await.map_err(SendError::from)
    }

    async fn http1<S>(&self, stream: S, watch: Watch) -> Result<Connection, SendError>
    where
        S: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        let (sender, connection) = http1::Builder::new()
            .max_buf_size(READ_AHEAD)
            .max_headers(HEADERS_MAX)
            .max_header_size(HEAD_BYTES_MAX as usize)
            .handshake(TokioIo::new(Counted::new(stream, watch.clone())))
            .await
            .map_err(SendError::broken)?;
        self.drive("upstream h1", &watch, connection);
        Ok(Connection::Http1(Http1 { sender, watch, deadline: Deadline::default() }))
    }

    async fn http2<S>(&self, stream: S, watch: Watch, origin: &Rc<Origin>) -> Result<Connection, SendError>
    where
        S: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        let (sender, connection): (_, Http2<S>) = http2::Builder::new(StreamExec(Rc::downgrade(origin)))
            .timer(TokioTimer::new())
            .keep_alive_interval(PING_EVERY)
            .initial_max_send_streams(UNSAID)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_header_list_size(HEAD_BYTES_MAX)
            .max_send_buf_size(SEND_BUFFER)
            .handshake(TokioIo::new(Counted::framed(stream, watch.clone())))
            .await
            .map_err(SendError::broken)?;
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
        let connection = poll_fn(move |cx| Pin::new(&mut *connection.borrow_mut()).poll(cx));
        self.drive("upstream h2", &watch, connection);
        let channel = Channel::new(sender, Box::new(limit), watch);
        Ok(origin.adopt(&channel))
    }

    pub(super) fn drive(
        &self,
        name: &'static str,
        watch: &Watch,
        connection: impl Future<Output = hyper::Result<()>> + 'static,
    ) {
        let ending = watch.ending();
        self.tasks.spawn_local(name, async move {
            match ending.bound(pin!(connection)).await {
                // A request that waits on it gets the error itself; this is for an idle connection.
                Some(Err(error)) => debug!(%error, "upstream connection ended"),
                Some(Ok(())) => {}
                None => debug!("upstream connection still had something to send long after its last answer; it was closed"),
            }
        });
    }
}

impl From<OutboundError> for SendError {
    fn from(error: OutboundError) -> Self {
        match error {
            OutboundError::Guarded => Self::Guarded,
            OutboundError::Resolve(error) => Self::Resolve(error),
            OutboundError::Connect(error) => Self::Connect(error),
            OutboundError::TimedOut => Self::ConnectTimeout,
        }
    }
}

/// Runs the tasks of an HTTP/2 connection, and looks after those who wait after each poll, because the peer may have
/// raised its limit. A task that sends a body ends a while after the answer.
#[derive(Clone)]
struct StreamExec(Weak<Origin>);

impl<F: Future + 'static> Executor<F> for StreamExec {
    fn execute(&self, future: F) {
        let origin = Weak::clone(&self.0);
        let carries = origin.upgrade().and_then(|origin| origin.begun());
        LocalExec.execute(async move {
            let mut future = pin!(future);
            let mut serving = poll_fn(move |cx| {
                let polled = future.as_mut().poll(cx);
                if let Some(origin) = origin.upgrade() {
                    origin.serve();
                }
                polled
            });
            match carries {
                Some(stream) => _ = stream.ending().bound(Pin::new(&mut serving)).await,
                None => _ = serving.await,
            }
        });
    }
}
