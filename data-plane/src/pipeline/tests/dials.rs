//! Many requests at once to an upstream that nobody is connected to.

use std::sync::Arc;
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use rr_contract::runtime::Tasks;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{Instant, interval, timeout};
use tokio_rustls::server::TlsStream;

use crate::fixture::{Region, caller, open_upstream, org, proxy, target_with_timeouts};
use crate::upstream::Trust;

use super::edge::Edge;
use super::over_tls::{Secure, answer};
use super::{get, with_key};

/// Long for whatever has to happen; a test that waits for it has failed.
const FAILED: Duration = Duration::from_secs(20);
const CALLERS: usize = 200;

async fn serve(stream: TlsStream<TcpStream>) {
    let server = auto::Builder::new(TokioExecutor::new());
    // The test sees how it ended on the other side.
    server.serve_connection(TokioIo::new(stream), service_fn(answer)).await.ok();
}

async fn gated(protocol: &'static [u8], permits: usize) -> (Secure, Arc<Semaphore>) {
    let gate = Arc::new(Semaphore::new(permits));
    let upstream = Secure::gated(&[protocol], rustls::DEFAULT_VERSIONS, Arc::clone(&gate), serve).await;
    (upstream, gate)
}

/// An edge that has `connect` milliseconds for a connection.
fn edge_to(base_url: &str, trust: Arc<Trust>, connect: u64) -> Arc<Edge> {
    let all = [
        org(false),
        caller(1, 1, &[1]),
        open_upstream(2),
        target_with_timeouts(1, base_url, connect, 20_000),
        proxy(1, &[1], 1, 2),
    ];
    let snapshot = Region::new().snapshot(&all);
    Arc::new(Edge::start_trusting(snapshot, &["127.0.0.0/8", "::1/128"], trust))
}

/// How many of these callers got which status.
async fn burst(edge: &Arc<Edge>, callers: usize) -> Vec<u16> {
    let tasks = Tasks::new();
    // They are there when the worker looks again.
    let held = edge.hold().await;
    let mut asked = Vec::new();
    for _ in 0..callers {
        let mut stream = edge.connect().await;
        let request = get("/api/acme.proxy-1/x", &with_key(1));
        stream.write_all(request.as_bytes()).await.expect("the kernel takes it");
        asked.push(tasks.spawn("caller", super::edge::Answer::read(stream)));
    }
    drop(held);
    let mut statuses = Vec::new();
    for answer in asked {
        let answer = timeout(FAILED, answer).await.expect("in time").expect("no panic");
        statuses.push(answer.status);
    }
    statuses
}

async fn until(is_so: impl AsyncFn() -> bool) {
    let wait = async {
        let mut pace = interval(Duration::from_millis(5));
        while !is_so().await {
            pace.tick().await;
        }
    };
    timeout(FAILED, wait).await.expect("it comes to that");
}

#[tokio::test]
async fn a_burst_to_a_cold_origin_of_http2_opens_as_many_connections_as_its_streams_need() {
    for (callers, most) in [(60, 1), (CALLERS, CALLERS.div_ceil(64))] {
        let (upstream, _gate) = gated(b"h2", Semaphore::MAX_PERMITS).await;
        let edge = edge_to(&upstream.url(), upstream.trust(), 10_000);
        // A dial that takes for long does not go alone, and how long it takes hangs on the machine.
        let _timeless = edge.timeless().await;
        assert_eq!(burst(&edge, callers).await, vec![200; callers]);
        let (opened, reused) = edge.checkouts();
        assert!(opened <= most as u64, "{opened} for {callers}");
        assert_eq!(opened + reused, callers as u64);
        until(async || upstream.dials() as u64 == opened).await;
    }
}

#[tokio::test]
async fn requests_to_a_cold_origin_of_http1_take_what_others_give_back_while_their_dials_go_on() {
    // It shakes hands four times, and then not any more.
    let (upstream, gate) = gated(b"http/1.1", 4).await;
    let edge = edge_to(&upstream.url(), upstream.trust(), 20_000);
    assert_eq!(burst(&edge, CALLERS).await, vec![200; CALLERS]);
    assert_eq!(upstream.connections(), 4);
    // The first alone, 64 behind it, and one for each that came through.
    assert!(upstream.dials() <= 1 + 64 + 3, "{}", upstream.dials());
    // Dials that nobody waits for any more are not lost.
    gate.add_permits(Semaphore::MAX_PERMITS / 2);
    let dials = upstream.dials();
    until(async || edge.idle_upstreams().await == dials).await;
    assert_eq!(burst(&edge, dials).await, vec![200; dials]);
    assert_eq!(upstream.dials(), dials);
}

#[tokio::test]
async fn a_dial_is_kept_for_the_next_request_when_its_own_has_left() {
    let (upstream, gate) = gated(b"http/1.1", 0).await;
    let edge = edge_to(&upstream.url(), upstream.trust(), 20_000);
    let mut caller = edge.connect().await;
    caller.write_all(get("/api/acme.proxy-1/x", &with_key(1)).as_bytes()).await.expect("the edge reads");
    until(async || upstream.dials() == 1).await;
    drop(caller);
    assert!(edge.record().await.aborted);
    gate.add_permits(1);
    until(async || edge.idle_upstreams().await == 1).await;
    assert_eq!(edge.send(&get("/api/acme.proxy-1/x", &with_key(1))).await.status, 200);
    assert_eq!(upstream.dials(), 1);
}

#[tokio::test]
async fn all_who_wait_for_an_origin_that_never_answers_are_told_in_time() {
    let (upstream, _gate) = gated(b"h2", 0).await;
    let edge = edge_to(&upstream.url(), upstream.trust(), 300);
    let began = Instant::now();
    assert_eq!(burst(&edge, CALLERS).await, vec![504; CALLERS]);
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    assert!(upstream.dials() < CALLERS, "{}", upstream.dials());
}

#[tokio::test]
async fn all_who_wait_for_an_origin_that_refuses_are_told_so_and_not_that_it_is_slow() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("https://{}", listener.local_addr().expect("it is bound"));
    drop(listener);
    let edge = edge_to(&url, Trust::new(None), 10_000);
    assert_eq!(burst(&edge, CALLERS).await, vec![502; CALLERS]);
}
