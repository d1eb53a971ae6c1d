//! Requests that become WebSockets: who may have one, how it is opened, and how it ends.
//!
//! Such a request goes through all stages. Then the bytes of both sides pass without being looked at, which is why a
//! proxy that looks at bodies has to say that it accepts this. The invariants: nothing of what a caller sends behind
//! its request goes to an upstream that has not proved that it switched; a tunnel that could not be opened by now ends.

mod carry;
mod handshake;
mod standing;

use std::future::poll_fn;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::ORIGIN;
use http::request::Parts;
use http::{HeaderName, HeaderValue, Request, Response, StatusCode, Version};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use rr_contract::model::tls::HttpVersion;
use rr_contract::runtime::patience::Asked;
use rr_contract::wire::fleet::TunnelEnd;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use crate::reply::{BadSwitch, Denial, Failure, Refused};
use crate::snapshot::Snapshot;
use crate::upstream::{Switch, Switched};
use crate::worker::Worker;

use super::activate::Active;
use super::admit::Admitted;
use super::attempts::count_ended;
use super::authenticate::{FoundBy, Memory};
use super::clean::{self, Cleaned, strip};
use super::cors;
use super::forward::{self, Forwarded};
use super::hop::Hop;
use super::inject::Injected;
use super::settle::Draft;
use super::sign;
use super::upstream_body::Waits;

use self::carry::{Carrying, Ended};
use self::handshake::Wish;
use self::standing::Standing;

pub(super) use self::handshake::wish;

/// The longest head of a request that becomes a tunnel, which keeps it to be judged again.
const HEAD_MAX: usize = 8 * 1024;
/// How far behind its end a credential is looked at.
const BEHIND: Duration = Duration::from_millis(100);

/// A request that can become a WebSocket.
pub(super) struct Candidate {
    stream: Option<OnUpgrade>,
    /// What the caller is to be told; `None` where it gave no key.
    accept: Option<HeaderValue>,
    found_by: FoundBy,
    has_certificate: bool,
    /// All that it says of the page that it comes from.
    origins: Box<[HeaderValue]>,
    standing: Option<Standing>,
}

/// What became of it.
pub(super) enum Opened {
    Tunnel(Response<()>, Box<OpenTunnel>),
    /// An ordinary response.
    Answered(Forwarded),
}

/// A tunnel that is open towards its upstream.
pub(crate) struct OpenTunnel {
    switched: Switched,
    stream: Option<OnUpgrade>,
    standing: Standing,
    idle: Duration,
}

/// Whether requests to a proxy that bear these origins may become WebSockets.
fn permits(active: &Active<'_>, origins: &[HeaderValue]) -> Result<(), Denial> {
    let (model, route) = (active.model, active.route);
    // Upstreams that are spoken to in HTTP/2 alone cannot be asked.
    if !model.websocket || route.target.wire.http == HttpVersion::V2 {
        return Err(Denial::UpgradeNotAllowed);
    }
    if !cors::takes_websocket(route.shape.as_deref(), origins) {
        return Err(Denial::Origin);
    }
    if model.tunnels_unread {
        return Ok(());
    }
    let meters = route.policy.meters.iter().map(|running| &running.meter);
    let mut meters = meters.filter(|meter| meter.active);
    let is_read = model.max_request_bytes.is_some()
        || model.max_response_bytes.is_some()
        || route.validator.is_some()
        || route.target.validator.is_some()
        || !super::filter::chain(route, active.caller).is_empty()
        || !super::filter::request_chain(route, active.caller).is_empty()
        || super::authorize::scopes(active).reads_body()
        || meters.any(|meter| meter.condition().reads_body() || meter.reads_response_body());
    if is_read { Err(Denial::TunnelUnread) } else { Ok(()) }
}

fn head_bytes(parts: &Parts) -> usize {
    let headers = parts.headers.iter().map(|(name, value)| name.as_str().len() + value.len());
    parts.uri.path_and_query().map_or(0, |path| path.as_str().len()) + headers.sum::<usize>()
}

/// Judges a request that wants to become a WebSocket, while it is as it came.
pub(super) fn judge(
    wish: Wish,
    active: &Active<'_>,
    (parts, has_body): (&Parts, bool),
    hop: &Hop,
    snapshot: &Snapshot,
    worker: &Worker,
    now: SystemTime,
) -> Result<Candidate, Denial> {
    // Before `Connection` could take them out.
    let origins: Box<[HeaderValue]> = parts.headers.get_all(ORIGIN).iter().cloned().collect();
    permits(active, &origins)?;
    let accept = handshake::check(&wish, parts, has_body)?;
    if head_bytes(parts) > HEAD_MAX {
        return Err(Denial::Headers);
    }
    if worker.is_stopping() {
        return Err(Denial::Stopping);
    }
    let memory = Memory::of(worker);
    let found_by = FoundBy::of((parts, hop), active.proxy, active.caller, snapshot, memory, now);
    let found_by = found_by.ok_or(Denial::BadUpgrade)?;
    let has_certificate = hop.has_shown();
    Ok(Candidate { stream: wish.stream, accept, found_by, has_certificate, origins, standing: None })
}

/// Takes out of such a request what belongs to the caller's hop. Rules and meters see `upgrade: websocket`, which no
/// other request has.
pub(super) fn clean(parts: Parts, carried_in: Option<&HeaderName>) -> Result<Box<Cleaned>, Denial> {
    let mut cleaned = clean::clean(parts, carried_in)?;
    handshake::clean(&mut cleaned.parts.headers);
    Ok(cleaned)
}

impl Candidate {
    /// Keeps what the request was let in by.
    pub(super) fn admitted(&mut self, admitted: &Admitted<'_>, snapshot: &Snapshot, now: SystemTime) {
        let origins = std::mem::take(&mut self.origins);
        let (request, cleaned) = (&admitted.request, &admitted.cleaned);
        let found_by = self.found_by.clone();
        self.standing =
            Standing::new(snapshot, found_by, self.has_certificate, origins, request, cleaned, now);
    }

    /// Asks the upstream for a WebSocket, and opens the tunnel if it proves that it agreed. To how the target stands, it is
    /// a request like others, until the tunnel is open; it is under way there until that ends.
    pub(super) async fn open(
        self,
        request: Injected<'_>,
        worker: &Worker,
        draft: &mut Draft,
    ) -> Result<Opened, Refused> {
        // The one that the secret was judged for.
        let target = Arc::clone(request.target());
        let Injected { mut parts, body, route, endpoint, token: _, needles: _ } = request;
        let wanted = handshake::ask(&mut parts.headers, worker.draw());
        let asked = parts.headers.clone();
        let asked_at = Instant::now();
        let standing = route.target.standing.as_deref();
        let pass = standing.map(|standing| standing.admit(asked_at)).transpose();
        let pass = pass.map_err(|open| Failure::CircuitOpen(open.0))?.flatten();
        let mut request = Request::from_parts(parts, body.into_sent(draft, asked_at));
        draft.begin_attempt(&target, request.headers_mut());
        sign::sign(&mut request, route.upstream.as_deref(), &target, worker)?;
        match standing {
            None => draft.asks(),
            // Under way there for as long as the tunnel lasts.
            Some(standing) => {
                draft.attempts(target.endpoint.as_ref(), Some(standing.endpoint(endpoint).begin()));
            }
        }
        // It bounds the opening, and an answer that opens nothing.
        let until = target.total_timeout.map(|total| draft.started() + total);
        let passage = request.body().passage();
        let own = route.shown();
        let switch = worker.connections.switch(&target, own.as_ref(), request, until).await;
        if let Some(standing) = standing {
            let came = switch.as_ref().map(Switch::status);
            count_ended(standing, endpoint, pass, came, &passage, asked_at, Instant::now());
        }
        draft.end_attempt(switch.as_ref().map(|switch| (switch.status(), Version::HTTP_11)));
        draft.upstream_took(asked_at.elapsed(), passage.interim());
        let (answer, switched) = match switch.map_err(Failure::Upstream)? {
            // On HTTP/2 any success says that the tunnel is open.
            Switch::Answered(reply) if self.stream.is_some() && reply.response.status().is_success() => {
                draft.upstream_answered(reply.response.status());
                return Err(Failure::Switch(BadSwitch::Unswitched).into());
            }
            Switch::Answered(reply) => {
                let waits = Waits { idle: target.idle_timeout, until, upload: None };
                return Ok(Opened::Answered(forward::receive(reply, waits, draft)?));
            }
            Switch::Done(answer, switched) => (answer, switched),
        };
        draft.upstream_answered(answer.status());
        handshake::confirm(&asked, &wanted, answer.headers()).map_err(Failure::Switch)?;
        if worker.is_stopping() {
            return Err(Denial::Stopping.into());
        }
        let standing = self.standing.ok_or(Denial::Closed)?.ending_at(Arc::clone(&target));
        draft.read_headers(answer.headers());
        let (mut head, ()) = answer.into_parts();
        strip(&mut head.headers, |_| false);
        handshake::grant(&mut head.headers, self.accept);
        if self.stream.is_some() {
            head.status = StatusCode::OK;
        }
        let open = OpenTunnel { switched, stream: self.stream, standing, idle: target.idle_timeout };
        Ok(Opened::Tunnel(Response::from_parts(head, ()), Box::new(open)))
    }
}

/// A tunnel of which the caller has been told.
pub(crate) struct Tunnel {
    open: OpenTunnel,
    draft: Draft,
}

impl Tunnel {
    pub(super) fn new(open: OpenTunnel, mut draft: Draft) -> Self {
        draft.opened();
        Self { open, draft }
    }

    /// Carries bytes between a caller's connection and the upstream. `early` had come from the caller before.
    pub(crate) async fn carry(self: Box<Self>, caller: impl AsyncRead + AsyncWrite + Unpin, early: Bytes) {
        self.run((caller, early), None).await;
    }

    /// The same on a stream of HTTP/2; `asked` is told when the caller does not read.
    pub(crate) async fn carry_stream(mut self: Box<Self>, asked: Arc<Asked>) {
        let Some(stream) = self.open.stream.take() else { return };
        // An error: the caller was gone before it could be told.
        if let Ok(stream) = stream.await {
            self.run((TokioIo::new(stream), Bytes::new()), Some(asked)).await;
        }
    }

    async fn run<C>(self: Box<Self>, caller: (C, Bytes), asked: Option<Arc<Asked>>)
    where
        C: AsyncRead + AsyncWrite + Unpin,
    {
        let Self { open, draft } = *self;
        let OpenTunnel { switched, mut standing, idle, stream: _ } = open;
        let Switched { stream, early } = switched;
        let mut counted = Counted { carrying: Carrying::new(caller, (stream, early), idle, asked), draft };
        let worker = counted.draft.worker();
        let mut revisions = worker.revisions();
        let ended = loop {
            // Before the first byte, too: what let it in may be gone since.
            if !standing.holds(&worker.view(), worker.clock.now()).await {
                break Ended { by: TunnelEnd::Withdrawn, is_whole: false };
            }
            let until = until(standing.not_after(), worker.clock.now());
            tokio::select! {
                biased;
                ended = poll_fn(|cx| worker.with_piece(|piece| counted.carrying.poll(cx, piece))) => break ended,
                () = changed(&mut revisions) => {}
                () = sleep_until(until) => {}
            }
        };
        counted.draft.tunnel_ended(ended.by, ended.is_whole);
    }
}

/// Writes down what has passed, also where the tunnel is ended from outside.
struct Counted<C, U>
where
    C: AsyncRead + AsyncWrite + Unpin,
    U: AsyncRead + AsyncWrite + Unpin,
{
    carrying: Carrying<C, U>,
    draft: Draft,
}

impl<C, U> Drop for Counted<C, U>
where
    C: AsyncRead + AsyncWrite + Unpin,
    U: AsyncRead + AsyncWrite + Unpin,
{
    fn drop(&mut self) {
        let (up, down) = self.carrying.passed();
        self.draft.request_bytes().set(up);
        self.draft.sent(down);
    }
}

async fn changed(revisions: &mut watch::Receiver<u64>) {
    if revisions.changed().await.is_err() {
        // The worker has ended, and ends this too.
        std::future::pending::<()>().await;
    }
}

/// When a credential has to be looked at for its end.
fn until(not_after: Option<SystemTime>, now: SystemTime) -> Instant {
    const FAR: Duration = Duration::from_secs(24 * 3600);
    let left = not_after.map_or(FAR, |end| end.duration_since(now).unwrap_or_default().min(FAR));
    Instant::now() + left + BEHIND
}
