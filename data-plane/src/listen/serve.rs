//! The loop of one worker: accept, serve HTTP/1.1 and HTTP/2, drain.
//!
//! Bounds what a caller can hold, whether it sends a request or not: connections, heads, buffers; `seats` decides
//! how long and how many. The invariant: after a stop nothing new is accepted, and what is under way may end within
//! the drain.

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io;
use std::net::{IpAddr, TcpListener as StdListener};
use std::os::fd::{AsFd as _, OwnedFd};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rr_contract::runtime::patience::{self, Asked, Watched};
use rr_contract::runtime::{Stop, Tasks};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::yield_now;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tracing::{debug, warn};

use crate::pipeline::{self, HEADERS_MAX, Hop, ReplyBody, Tunnel};
use crate::seats::{Bounds, CallerSocket, Seat, SeatPermit, Seats, Stream};
use crate::worker::Worker;

use super::arrive::{Arrived, CallerStream, Door};
use super::descriptors::Notices;
use super::drain::{Drain, Drained};

/// How often a worker reports what it runs on.
const TICK: Duration = Duration::from_millis(100);
/// Ticks between two checks for callers that take too long.
const LOOK: u32 = 10;
/// Ticks between two sweeps of idle upstream connections.
const SWEEP: u32 = 50;
const HEAD_BYTES_MAX: usize = 64 * 1024;
/// Buffer for a response that its caller does not read, and for a request body that is read ahead.
const BUFFER_MAX: usize = 64 * 1024;
const STREAMS_MAX: u32 = 256;
/// When no descriptor is left, retrying at once would only burn a core.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// As [`crate::executor::LocalExec`], for the responses of one connection: each is tracked, so that one that its
/// caller does not read can be ended alone.
#[derive(Clone, Default)]
struct AnswerExec(Rc<RefCell<Option<Rc<Stream>>>>);

impl<F: Future + 'static> hyper::rt::Executor<F> for AnswerExec {
    fn execute(&self, future: F) {
        // The library asks the service for a future, and the next that it does is to run it.
        let stream = self.0.take();
        let running = stream.clone();
        #[expect(clippy::disallowed_methods, reason = "hyper owns the task, and starts one a stream")]
        let task = tokio::task::spawn_local(async move {
            let _running = running;
            future.await;
        });
        if let Some(stream) = stream {
            stream.runs_as(task.abort_handle());
        }
    }
}

/// The limits of a worker.
#[derive(Clone)]
pub(crate) struct Limits {
    pub(crate) drain: Duration,
    pub(crate) bounds: Bounds,
    pub(crate) notices: Arc<Notices>,
}

/// Serves until `stop`, then drains. Must run on a local runtime.
pub(crate) async fn run(
    worker: Rc<Worker>,
    listener: StdListener,
    door: Door,
    tasks: Tasks,
    limits: Limits,
    stop: Stop,
) -> io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    let drain = Drain::new();
    let seats = Seats::new(limits.bounds, Arc::clone(&worker.counters));
    let door = Rc::new(door);
    let ticker = tasks.spawn_local("tick", tick(Rc::clone(&worker), Rc::clone(&door), seats.clone()));
    let callers = Callers { worker, door, seats, tasks: tasks.clone(), drain, notices: limits.notices, stop };
    callers.stop.cut(callers.accept(&listener)).await;
    callers.worker.stops();
    drop(listener);
    if timeout(limits.drain, callers.drain.finish()).await.is_err() {
        warn!(drain = ?limits.drain, "requests were still in progress at the end of the drain and were cut off");
    }
    ticker.abort();
    tasks.abort();
    Ok(())
}

async fn tick(worker: Rc<Worker>, door: Rc<Door>, seats: Seats) {
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut count = 0_u32;
    loop {
        ticks.tick().await;
        worker.tick();
        door.tick();
        count = count.wrapping_add(1);
        if count.is_multiple_of(LOOK) {
            seats.sweep();
        }
        if count.is_multiple_of(SWEEP) {
            worker.connections.sweep();
        }
    }
}

/// Accepts the connections of callers.
struct Callers {
    worker: Rc<Worker>,
    door: Rc<Door>,
    seats: Seats,
    tasks: Tasks,
    drain: Drain,
    notices: Arc<Notices>,
    stop: Stop,
}

impl Callers {
    async fn accept(&self, listener: &TcpListener) {
        let mut spare = spare(listener);
        loop {
            match listener.accept().await {
                Ok((stream, peer)) => self.take(stream, peer.ip()).await,
                // The caller gave up while it was queued: no fault of this node.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => self.cannot_accept(listener, &mut spare, &error).await,
            }
        }
    }

    /// No connection can be accepted, for want of a descriptor as a rule. Linux says so whether anybody waits or not, so
    /// the spare one is used to find out: nobody's connection is closed for a caller who is not there.
    async fn cannot_accept(&self, listener: &TcpListener, spare: &mut Option<OwnedFd>, error: &io::Error) {
        drop(spare.take());
        let next = poll_fn(|cx| Poll::Ready(listener.poll_accept(cx))).await;
        if next.is_ready() {
            self.notices.not_accepted(error);
            // Closing an idle connection frees a descriptor for the spare one, or the next try.
            self.seats.shed();
            if let Poll::Ready(Ok((stream, peer))) = next {
                self.take(stream, peer.ip()).await;
            }
            sleep(ACCEPT_PAUSE).await;
        }
        *spare = self::spare(listener);
    }

    async fn take(&self, stream: TcpStream, peer: IpAddr) {
        self.worker.counters.accepted();
        let has_room = self.seats.has_room();
        let permit = self.seats.take();
        if !has_room {
            self.notices.full(self.seats.bounds().connections, permit.is_ok());
        }
        let Ok(permit) = permit else { return };
        let seat = Rc::clone(permit.seat());
        let connection = connection(
            Rc::clone(&self.worker),
            Rc::clone(&self.door),
            (stream, peer),
            permit,
            self.seats.bounds().patience,
            (self.drain.connection(), self.tasks.clone()),
            self.stop.clone(),
        );
        let task = self.tasks.spawn_local("connection", connection);
        seat.runs_as(task.abort_handle());
        if !has_room {
            // The connection that was told to close does so now, before further ones are accepted.
            yield_now().await;
        }
    }
}

/// A descriptor for the case that there is no other.
fn spare(listener: &TcpListener) -> Option<OwnedFd> {
    listener.as_fd().try_clone_to_owned().ok()
}

async fn connection(
    worker: Rc<Worker>,
    door: Rc<Door>,
    (stream, peer): (TcpStream, IpAddr),
    permit: SeatPermit,
    patience: Duration,
    (drained, tasks): (Drained, Tasks),
    stop: Stop,
) {
    if let Err(error) = patience::prepare(&stream) {
        debug!(%error, "connection ended at once");
        return;
    }
    let seat = Rc::clone(permit.seat());
    let socket = CallerSocket::new(stream, patience, Rc::clone(&seat));
    // Nothing is under way before the first request, so a drain does not wait for it. Boxed: an idle connection does
    // not hold the room that a handshake takes.
    let arriving = Box::pin(door.arrive(socket, peer, &seat, &worker));
    let Some(Some(Arrived { stream, hop })) = stop.cut(arriving).await else { return };
    let is_http2 = hop.is_http2;
    let (answers, io) = (Answers { worker, hop, seat, tasks }, TokioIo::new(stream));
    // What serves it is made and boxed outside of this future, whose room is that of all of its parts together.
    let served = if is_http2 { answers.over_http2(io, drained) } else { answers.over_http1(io, drained) };
    if let Err(error) = served.await {
        debug!(%error, "caller's connection ended");
    }
    drop(permit);
}

type Served = Pin<Box<dyn Future<Output = hyper::Result<()>>>>;

/// Answers the requests of one connection.
struct Answers {
    worker: Rc<Worker>,
    hop: Rc<Hop>,
    seat: Rc<Seat>,
    tasks: Tasks,
}

impl Answers {
    fn over_http2(self, io: TokioIo<CallerStream>, mut drained: Drained) -> Served {
        let Self { worker, hop, seat, tasks } = self;
        seat.speaks_http2();
        let pings = seat.bounds().pings;
        let answers = AnswerExec::default();
        let (next, tasks) = (answers.clone(), Rc::new(tasks));
        let service = service_fn(move |request: Request<Incoming>| {
            let (worker, hop, tasks) = (Rc::clone(&worker), Rc::clone(&hop), Rc::clone(&tasks));
            let (busy, stream) = (seat.begin(), seat.stream());
            next.0.replace(Some(Rc::clone(&stream)));
            // Boxed, here and below: while a response goes out, or the connection is idle, the state of the handler
            // takes no memory.
            Box::pin(async move {
                let mut answer = pipeline::handle(worker, request, hop, busy).await;
                let tunnel = answer.body_mut().take_tunnel();
                let answer = answer.map(Watched::new);
                match tunnel {
                    None => stream.answers(Arc::clone(answer.body().asked())),
                    Some(tunnel) => carry_stream(tunnel, &stream, &tasks),
                }
                Ok::<Response<Watched<ReplyBody>>, Infallible>(answer)
            })
        });
        let connection = http2::Builder::new(answers)
            .timer(TokioTimer::new())
            .keep_alive_interval(pings)
            .keep_alive_timeout(pings)
            .max_concurrent_streams(STREAMS_MAX)
            .max_header_list_size(HEAD_BYTES_MAX as u32)
            .max_send_buf_size(BUFFER_MAX)
            .enable_connect_protocol()
            .serve_connection(io, service);
        Box::pin(async move {
            let mut connection = pin!(connection);
            tokio::select! {
                biased;
                outcome = connection.as_mut() => outcome,
                () = drained.begins() => {
                    connection.as_mut().graceful_shutdown();
                    connection.await
                }
            }
        })
    }

    fn over_http1(self, io: TokioIo<CallerStream>, mut drained: Drained) -> Served {
        let Self { worker, hop, seat, tasks: _ } = self;
        // What begins behind the answer that is going out.
        let tunnel: Rc<Cell<Option<Box<Tunnel>>>> = Rc::default();
        let begins = Rc::clone(&tunnel);
        let service = service_fn(move |request: Request<Incoming>| {
            let (worker, hop, busy) = (Rc::clone(&worker), Rc::clone(&hop), seat.begin());
            let begins = Rc::clone(&begins);
            Box::pin(async move {
                let mut answer = pipeline::handle(worker, request, hop, busy).await;
                if let Some(tunnel) = answer.body_mut().take_tunnel() {
                    begins.set(Some(tunnel));
                }
                Ok::<Response<ReplyBody>, Infallible>(answer)
            })
        });
        // Without a timer of the library's for heads: it would be set anew with each request. `seats` looks for
        // connections that are idle, and for heads that come late.
        let mut connection = http1::Builder::new()
            .max_headers(HEADERS_MAX)
            .max_header_size(HEAD_BYTES_MAX)
            .max_buf_size(BUFFER_MAX)
            .serve_connection(io, service);
        Box::pin(async move {
            let outcome = tokio::select! {
                biased;
                outcome = &mut connection => outcome,
                () = drained.begins() => {
                    Pin::new(&mut connection).graceful_shutdown();
                    (&mut connection).await
                }
            };
            if let (Ok(()), Some(tunnel)) = (&outcome, tunnel.take()) {
                // The library is done with the connection, and has not closed it.
                let parts = connection.into_parts();
                // Boxed: other connections do not hold the room for it.
                Box::pin(tunnel.carry(parts.io.into_inner(), parts.read_buf)).await;
            }
            outcome
        })
    }
}

/// Carries a tunnel on a stream, which is ended like an answer when its caller does not read.
fn carry_stream(tunnel: Box<Tunnel>, stream: &Rc<Stream>, tasks: &Tasks) {
    let asked = Asked::unwatched();
    stream.answers(Arc::clone(&asked));
    let running = Rc::clone(stream);
    let task = tasks.spawn_local("tunnel", async move {
        tunnel.carry_stream(asked).await;
        drop(running);
    });
    stream.runs_as(task.abort_handle());
}
