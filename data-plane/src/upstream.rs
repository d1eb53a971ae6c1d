//! Connections to upstreams: each worker has its own, and shares none; nor do two organizations, or two certificates of
//! ours.
//!
//! Speaks HTTP/1.1, or HTTP/2 where TLS agrees on it or the target says so; knows nothing of proxies and credentials. The invariants: an
//! address is connected to only after the guard has judged that very address, a request is sent again only when it
//! certainly was not taken, and waiting for this node or the caller is not counted as the upstream's time.

mod course;
mod dial;
mod dials;
mod ending;
mod frames;
pub(crate) mod health;
mod interim;
mod pool;
mod queue;
mod request_body;
pub(crate) mod retry;
mod room;
mod socket;
mod streams;
mod tls;
mod upgrade;

use std::cell::RefCell;
use std::collections::HashMap;
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http::header::{HOST, HeaderValue, TE, TRANSFER_ENCODING};
use http::uri::{PathAndQuery, Scheme};
use http::{Request, Response, Uri, Version};
use http_body::Body as _;
use hyper::body::Incoming;
use rustls::AlertDescription;
use tokio::time::{Instant, timeout, timeout_at};

use rr_contract::model::tls::HttpVersion;
use rr_contract::outbound::{LookupError, Outbound};
use rr_contract::runtime::Tasks;

use crate::counters::Counters;
use crate::deadline::Deadline;
use crate::snapshot::prepared::{Hashed, Prepared};
use crate::snapshot::{CompiledTarget, OwnCertificate, PoolKey, SentHost};

use self::pool::{Connection, News, Origin, Spoken};
use self::room::{Kept, Room};
use self::streams::STREAM_WAIT;

pub(crate) use self::course::{Course, Phase, Spans, TlsFacts};
pub(crate) use self::dials::DIALS_A_WORKER;
pub(crate) use self::pool::Lease;
#[cfg(test)]
pub(crate) use self::request_body::CALLER_SLOW;
pub(crate) use self::request_body::{CALLER_IDLE, CallerFault, Passage, ReadFault, RequestBody, Turn};
pub(crate) use self::tls::{Trust, TrustError, certificates};
pub(crate) use self::upgrade::{Switch, Switched};

/// How long a connection may be idle. Shorter than what servers commonly allow, so that we let go first.
const IDLE_MAX: Duration = Duration::from_secs(50);
/// How much is read of a response that nobody gets, so that its connection can be used again.
const DISCARDED_MAX: usize = 64 * 1024;
const DISCARDED_FOR: Duration = Duration::from_secs(1);
/// How long a wait sleeps at least before it looks again whose turn it is, however little time either side has.
pub(crate) const LOOK_AFTER: Duration = Duration::from_millis(100);
/// How often a request is sent again because the peer reported that it was not processed.
const UNTOUCHED_MAX: u32 = 2;

/// Why a request has no response.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SendError {
    #[error("every address of the upstream is non-public and not covered by --allow-upstream")]
    Guarded,
    #[error("resolve the host name of the upstream")]
    Resolve(#[source] LookupError),
    #[error("connect to the upstream")]
    Connect(#[source] io::Error),
    #[error("TLS handshake with the upstream")]
    Tls(#[source] io::Error),
    /// In most cases after the handshake: TLS 1.3 does not wait for what the peer makes of it.
    #[error("upstream refuses the client certificate that it is shown, or wants one ({0:?})")]
    ClientCertificate(AlertDescription),
    #[error("load the root certificates for upstreams")]
    Trust(#[source] Arc<TrustError>),
    #[error("upstream does not agree over TLS on HTTP/{0}, which its target asks for (`http_version`)")]
    Version(&'static str),
    #[error("node had no room to connect to the upstream, or no connection a free stream, in time")]
    Busy,
    #[error("connection to the upstream was not established in time")]
    ConnectTimeout,
    #[error("upstream did not begin its response in time")]
    ResponseTimeout,
    #[error("request took longer than the total timeout of the target")]
    TotalTimeout {
        /// The upstream may have begun to work for it.
        is_asked: bool,
    },
    #[error("connection to the upstream broke before the response")]
    Broken(#[source] hyper::Error),
    #[error("caller did not send the whole request")]
    Caller(#[source] CallerFault),
    #[error("upstream switched protocols without a request to do so")]
    Switched,
    #[error("upstream answered with a transfer coding that was not requested")]
    Coded,
}

impl SendError {
    /// What a connection broke of.
    fn broken(error: hyper::Error) -> Self {
        tls::certificate_refused(&error).map_or(Self::Broken(error), Self::ClientCertificate)
    }
}

/// A response, and the lease of its connection.
pub(crate) struct Reply {
    pub(crate) response: Response<Incoming>,
    pub(crate) lease: Lease,
}

/// The connections of one worker.
pub(crate) struct Connections {
    origins: RefCell<HashMap<Hashed<PoolKey>, Rc<Origin>, Prepared>>,
    dialer: Rc<dial::Dialer>,
    counters: Arc<Counters>,
    tasks: Tasks,
    room: Rc<Room>,
    kept: Rc<Kept>,
}

impl Connections {
    /// No more than `sockets` at a time.
    pub(crate) fn new(
        outbound: Arc<Outbound>,
        trust: Arc<Trust>,
        counters: Arc<Counters>,
        tasks: Tasks,
        sockets: usize,
    ) -> Self {
        let room = Rc::new(Room::new(sockets));
        let dialer = Rc::new(dial::Dialer::new(outbound, trust, Rc::clone(&room), tasks.clone()));
        let kept = Rc::new(Kept::new(Rc::clone(&room)));
        Self { origins: RefCell::default(), dialer, counters, tasks, room, kept }
    }

    /// Sends to a target at this time, on a connection on which this certificate is shown, and waits for the head of its
    /// answer, until that time at the most. Takes the
    /// request when it goes out: one that is still there afterwards was not sent, or certainly not taken.
    pub(crate) async fn send(
        &self,
        target: &Arc<CompiledTarget>,
        shown: Option<&Arc<OwnCertificate>>,
        held: &mut Option<Request<RequestBody>>,
        mut now: Instant,
        until: Option<Instant>,
    ) -> Result<Reply, SendError> {
        let origin = self.origin(target, shown);
        let wants_trailers = held.as_ref().is_some_and(|request| request.headers().contains_key(TE));
        let mut untouched = 0;
        loop {
            if until.is_some_and(|until| until <= now) {
                return Err(SendError::TotalTimeout { is_asked: untouched > 0 });
            }
            let (mut connection, fresh) = match origin.checkout() {
                Some(connection) => {
                    self.counters.connection_reused();
                    (connection, false)
                }
                None => {
                    // Boxed, because opening takes much more state than sending, and happens rarely.
                    let opened = Box::pin(self.connection(target, &origin, until)).await?;
                    now = Instant::now();
                    opened
                }
            };
            let mut request = held.take().expect("it was put back where it was not sent");
            let is_http2 = matches!(connection, Connection::Http2(_));
            fit(&mut request, is_http2, target, wants_trailers);
            if !is_http2 {
                frame(&mut request);
            }
            let spare = (is_http2 && untouched < UNTOUCHED_MAX).then(|| again(&mut request));
            let passage = request.body().passage();
            request.body().begin(now);
            let mut deadline = connection.deadline();
            let stream = connection.stream();
            let answer = pin!(connection.send(request, &passage, &origin));
            let answered = in_turn(&passage, target.response_timeout, until, &mut deadline, answer).await;
            if let (Err(SendError::ResponseTimeout), Some(stream)) = (&answered, stream) {
                stream.was_late();
            }
            match answered? {
                Ok(mut reply) => {
                    reply.lease.keep(deadline);
                    return Ok(reply);
                }
                // Hyper closes the connection for it, so it looks like a fault of the upstream.
                Err(_) if let Some(fault) = passage.fault() => return Err(SendError::Caller(fault)),
                // An idle connection that was closed meanwhile returns the request unsent. On a new one, that is
                // the upstream's fault.
                Err(failed) => {
                    match (failed.is_untouched(), spare, failed.unsent) {
                        (_, _, Some(unsent)) if !fresh => *held = Some(*unsent),
                        (true, Some(spare), None) if spare.body().claim() => {
                            untouched += 1;
                            *held = Some(spare);
                        }
                        _ => return Err(SendError::broken(failed.error)),
                    }
                    now = Instant::now();
                }
            }
        }
    }

    /// Waits for a connection: one that is opened, here or for another, or one that is given back. Says whether it was
    /// just opened.
    async fn connection(
        &self,
        target: &Arc<CompiledTarget>,
        origin: &Rc<Origin>,
        until: Option<Instant>,
    ) -> Result<(Connection, bool), SendError> {
        let began = Instant::now();
        let end = || {
            let end = began + if origin.is_up() { STREAM_WAIT } else { target.connect_timeout };
            until.map_or(end, |until| until.min(end))
        };
        let waiter = origin.wait().ok_or(SendError::Busy)?;
        loop {
            let look = origin.look_again().map_or_else(end, |look| look.min(end()));
            match timeout_at(look, waiter.news()).await {
                Ok(News::Connection(connection, fresh)) => {
                    if !fresh {
                        self.counters.connection_reused();
                    }
                    return Ok((connection, fresh));
                }
                Ok(News::Failed(error)) => return Err(error),
                Ok(News::Dial(slot)) => {
                    self.counters.connection_opened();
                    self.make_room();
                    self.dialer.start(target, slot);
                }
                Err(_) => {
                    let now = Instant::now();
                    if until.is_some_and(|until| until <= now) {
                        return Err(SendError::TotalTimeout { is_asked: false });
                    }
                    if end() <= now {
                        let is_ours = origin.is_up() || !origin.is_connecting();
                        return Err(if is_ours { SendError::Busy } else { SendError::ConnectTimeout });
                    }
                    // A connection came up meanwhile and has no stream yet, or those that are dialed take long.
                    origin.serve();
                }
            }
        }
    }

    /// Closes a connection that lies idle, where there is room for no more.
    fn make_room(&self) {
        if self.room.is_full() {
            self.origins.borrow().values().any(|origin| origin.shed());
        }
    }

    /// Whether those who wait for a connection to a target wait for the upstream, and not for room at this node.
    pub(crate) fn waits_for_upstream(
        &self,
        target: &CompiledTarget,
        shown: Option<&Arc<OwnCertificate>>,
    ) -> bool {
        let origins = self.origins.borrow();
        let pool = target.pool(shown.map(|shown| &**shown));
        origins.get(&*pool).is_some_and(|origin| !origin.is_up() && origin.is_connecting())
    }

    /// Does without a response. Its connection can be used again if the rest of it is short.
    pub(crate) fn discard(&self, reply: Reply) {
        let Reply { response, lease } = reply;
        let mut body = response.into_body();
        if body.is_end_stream() {
            lease.give_back();
            return;
        }
        self.tasks.spawn_local("discarded response", async move {
            let mut left = DISCARDED_MAX;
            let read = async {
                while let Some(Ok(frame)) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
                    left = left.checked_sub(frame.data_ref().map_or(0, Bytes::len))?;
                }
                body.is_end_stream().then_some(())
            };
            if let Ok(Some(())) = timeout(DISCARDED_FOR, read).await {
                lease.give_back();
            }
        });
    }

    /// Keeps no connection to a target on which no certificate is shown. One that is in use goes when it is through.
    pub(crate) fn let_go(&self, target: &CompiledTarget) {
        let origin = self.origins.borrow_mut().remove(&*target.pool(None));
        // Outside of the borrow.
        drop(origin);
    }

    /// Lets go of connections that are closed or were idle too long.
    pub(crate) fn sweep(&self) {
        self.dialer.sweep();
        self.origins.borrow_mut().retain(|_, origin| origin.sweep() || Rc::strong_count(origin) > 1);
    }

    /// How many connections lie idle.
    #[cfg(test)]
    pub(crate) fn idle(&self) -> usize {
        self.origins.borrow().values().map(|origin| origin.idle()).sum()
    }

    fn origin(&self, target: &CompiledTarget, shown: Option<&Arc<OwnCertificate>>) -> Rc<Origin> {
        let pool = target.pool(shown.map(|shown| &**shown));
        if let Some(origin) = self.origins.borrow().get(&*pool) {
            return Rc::clone(origin);
        }
        let spoken = match target.wire.http {
            HttpVersion::V1_1 => Spoken::Http1,
            HttpVersion::V2 => Spoken::Http2,
            HttpVersion::Agreed if target.is_tls() => Spoken::Unknown,
            HttpVersion::Agreed => Spoken::Http1,
        };
        let origin = Rc::new(Origin::new(Rc::clone(&self.kept), spoken, shown.cloned()));
        self.origins.borrow_mut().insert(pool.into_owned(), Rc::clone(&origin));
        origin
    }
}

/// Waits for a response for as long as one side makes progress: `response_timeout` once the upstream has all that
/// it takes, [`CALLER_IDLE`] for more of the body. No longer than `until`.
fn in_turn<T>(
    passage: &Passage,
    response_timeout: Duration,
    until: Option<Instant>,
    deadline: &mut Deadline,
    mut answer: Pin<&mut impl Future<Output = T>>,
) -> impl Future<Output = Result<T, SendError>> {
    // Without a future around it, which would hold each argument a second time.
    poll_fn(move |cx| {
        if let Poll::Ready(answer) = answer.as_mut().poll(cx) {
            return Poll::Ready(Ok(answer));
        }
        loop {
            let (turn, since) = passage.turn();
            let (limit, error) = match turn {
                Turn::Caller => (CALLER_IDLE, SendError::Caller(CallerFault::Stalled)),
                Turn::Upstream => (response_timeout, SendError::ResponseTimeout),
            };
            let end = since + limit;
            let look = if passage.is_whole() {
                end
            } else {
                // The turn may change while this sleeps: the other has as much from then on, and is looked at a little late.
                end.min(Instant::now() + response_timeout.clamp(LOOK_AFTER, CALLER_IDLE))
            };
            if let Some(until) = until
                && until <= look
            {
                let is_over = deadline.is_over(until, cx);
                let late = SendError::TotalTimeout { is_asked: true };
                return if is_over { Poll::Ready(Err(late)) } else { Poll::Pending };
            }
            if !deadline.is_over(look, cx) {
                return Poll::Pending;
            }
            if look == end {
                return Poll::Ready(Err(error));
            }
        }
    })
}

/// The same request, to be sent after this one if its body is intact then.
pub(crate) fn again(request: &mut Request<RequestBody>) -> Request<RequestBody> {
    let mut again = Request::new(request.body_mut().again());
    *again.method_mut() = request.method().clone();
    *again.uri_mut() = request.uri().clone();
    *again.headers_mut() = request.headers().clone();
    if let Some(host) = request.extensions().get::<SentHost>() {
        again.extensions_mut().insert(host.clone());
    }
    again
}

/// Brings a request into the form of the connection's protocol, also after another connection has returned it.
fn fit<B>(request: &mut Request<B>, is_http2: bool, target: &CompiledTarget, wants_trailers: bool) {
    let path = |uri: &Uri| uri.path_and_query().cloned().unwrap_or(PathAndQuery::from_static("/"));
    if !is_http2 {
        *request.version_mut() = Version::HTTP_11;
        if request.uri().authority().is_some() {
            *request.uri_mut() = Uri::from(path(request.uri()));
        }
        let sent = request.extensions().get::<SentHost>();
        let host = sent.map_or(&target.host, |sent| &sent.value).clone();
        request.headers_mut().insert(HOST, host);
        if wants_trailers {
            // On HTTP/1.1 it would have to be named in `Connection`, and callers do not need it.
            request.headers_mut().remove(TE);
        }
        return;
    }
    *request.version_mut() = Version::HTTP_2;
    let sent = request.extensions().get::<SentHost>();
    let authority = sent.map_or(&target.authority, |sent| &sent.authority);
    // It may bear that of another base URL, whose connection has returned it.
    if request.uri().authority() != Some(authority) {
        let authority = authority.clone();
        let path = path(request.uri());
        let mut parts = http::uri::Parts::default();
        parts.scheme = Some(if target.is_tls() { Scheme::HTTPS } else { Scheme::HTTP });
        parts.authority = Some(authority);
        parts.path_and_query = Some(path);
        *request.uri_mut() = Uri::from_parts(parts).expect("it has all three");
    }
    request.headers_mut().remove(HOST);
    request.headers_mut().remove(TRANSFER_ENCODING);
    if wants_trailers {
        request.headers_mut().insert(TE, HeaderValue::from_static("trailers"));
    }
}

/// Has a body of unknown length go in chunks on HTTP/1.1, whatever the method: without a word about it, the library
/// leaves that of a GET or HEAD out.
fn frame(request: &mut Request<RequestBody>) {
    let body = request.body();
    if !body.is_end_stream() && body.size_hint().exact().is_none() {
        request.headers_mut().insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
}

#[cfg(test)]
mod tests;
