//! The loop of one worker: accept, tell HTTP/1.1 from HTTP/2, serve, drain.
//!
//! Bounds what a caller can hold without sending a request: time for the first byte, time and size of a
//! head. The invariant: after a stop nothing new is accepted, and what is under way may end within the
//! drain.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::TcpListener as StdListener;
use std::rc::Rc;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulConnection, GracefulShutdown, Watcher};
use rr_contract::runtime::{Stop, Tasks};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tracing::{debug, warn};

use crate::pipeline::{self, ReplyBody};

use super::Worker;

/// How often a worker reports what it runs on.
const TICK: Duration = Duration::from_millis(100);
/// Every so many ticks, idle upstream connections are looked through.
const SWEEP: u32 = 50;
/// For the first byte of a connection.
const FIRST_BYTE: Duration = Duration::from_secs(10);
/// For a whole head, from the end of the request before: so it bounds idle keep-alive too, and less would
/// cut off callers that keep a pool.
const HEAD: Duration = Duration::from_secs(60);
const HEADERS_MAX: usize = 128;
const HEAD_BYTES_MAX: usize = 64 * 1024;
const STREAMS_MAX: u32 = 256;
/// When the system has no descriptor left, trying again at once would only burn a core.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Spawns on the thread it is on: hyper's HTTP/2 needs an executor.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LocalExec;

impl<F: Future + 'static> hyper::rt::Executor<F> for LocalExec {
    fn execute(&self, future: F) {
        // Its owner is the connection: hyper ends it with that.
        #[expect(clippy::disallowed_methods, reason = "hyper owns the task, and starts one a stream")]
        tokio::task::spawn_local(async move {
            future.await;
        });
    }
}

/// What bounds a worker.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) drain: Duration,
}

/// Serves until `stop`, then drains. Must run on a local runtime.
pub(crate) async fn run(
    worker: Rc<Worker>,
    listener: StdListener,
    tasks: Tasks,
    limits: Limits,
    stop: Stop,
) -> io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    let graceful = GracefulShutdown::new();
    let ticker = tasks.spawn_local("tick", tick(Rc::clone(&worker)));
    stop.cut(accept(&worker, &listener, &tasks, &graceful, &stop)).await;
    drop(listener);
    if timeout(limits.drain, graceful.shutdown()).await.is_err() {
        warn!(drain = ?limits.drain, "requests were still under way at the end of the drain");
    }
    ticker.abort();
    tasks.abort();
    Ok(())
}

async fn tick(worker: Rc<Worker>) {
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut count = 0_u32;
    loop {
        ticks.tick().await;
        worker.tick();
        count = count.wrapping_add(1);
        if count.is_multiple_of(SWEEP) {
            worker.connections.sweep();
        }
    }
}

async fn accept(
    worker: &Rc<Worker>,
    listener: &TcpListener,
    tasks: &Tasks,
    graceful: &GracefulShutdown,
    stop: &Stop,
) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                worker.counters.accepted();
                let connection = connection(Rc::clone(worker), stream, graceful.watcher(), stop.clone());
                tasks.spawn_local("connection", connection);
            }
            // The caller gave up while it was queued: nothing is wrong here.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                warn!(%error, "connection not accepted");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn connection(worker: Rc<Worker>, stream: TcpStream, watcher: Watcher, stop: Stop) {
    // Without it, the last segment of a small answer waits for an acknowledgement.
    if let Err(error) = stream.set_nodelay(true) {
        debug!(%error, "connection ended at once");
        return;
    }
    // Nothing is under way before the first byte, so a drain does not wait for it.
    let Some(Ok(Ok(http2))) = stop.cut(timeout(FIRST_BYTE, speaks_http2(&stream))).await else { return };
    let service = service_fn(move |request: Request<Incoming>| {
        let worker = Rc::clone(&worker);
        async move { Ok::<Response<ReplyBody>, Infallible>(pipeline::handle(worker, request).await) }
    });
    let io = TokioIo::new(stream);
    if http2 {
        let connection = http2::Builder::new(LocalExec)
            .timer(TokioTimer::new())
            .keep_alive_interval(Duration::from_secs(20))
            .max_concurrent_streams(STREAMS_MAX)
            .max_header_list_size(HEAD_BYTES_MAX as u32)
            .serve_connection(io, service);
        ended(watch(watcher, connection).await);
    } else {
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD)
            .max_headers(HEADERS_MAX)
            .max_header_size(HEAD_BYTES_MAX)
            .serve_connection(io, service);
        ended(watch(watcher, connection).await);
    }
}

async fn watch<C: GracefulConnection>(watcher: Watcher, connection: C) -> C::Output {
    watcher.watch(connection).await
}

fn ended(outcome: Result<(), hyper::Error>) {
    if let Err(error) = outcome {
        debug!(%error, "caller's connection ended");
    }
}

/// Looks at the first bytes without taking them. An HTTP/2 client without TLS opens with `PRI * HTTP/2.0`,
/// in one piece; no method of HTTP/1.1 that we take begins so.
async fn speaks_http2(stream: &TcpStream) -> io::Result<bool> {
    let mut first = [0; 4];
    let seen = stream.peek(&mut first).await?;
    Ok(first[..seen] == *b"PRI ")
}
