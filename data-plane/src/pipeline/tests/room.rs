//! A worker that has no more sockets to upstreams: who waits, who is told so, and what is closed for others.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use rr_contract::runtime::Tasks;
use rr_contract::wire::fleet;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{interval, timeout};

use crate::fixture::{self, Region, caller, millis, open_upstream, org, proxy};
use crate::upstream::Trust;

use super::edge::{Answer, Edge};
use super::over_tls::answer;
use super::{get, resources_of_another, with_key};

/// Long for whatever has to happen; a test that waits for it has failed.
const FAILED: Duration = Duration::from_secs(20);

/// Answers by HTTP/1.1 or HTTP/2, and counts the connections that are open.
async fn upstream(tasks: &Tasks, open: &Arc<AtomicUsize>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("it is bound"));
    let (of_upstream, open) = (tasks.clone(), Arc::clone(open));
    tasks.spawn("upstream", async move {
        loop {
            let (stream, _) = listener.accept().await.expect("it listens");
            let open = Arc::clone(&open);
            of_upstream.spawn("connection", async move {
                open.fetch_add(1, Ordering::Relaxed);
                let server = auto::Builder::new(TokioExecutor::new());
                // The test sees how it ended on the other side.
                server.serve_connection(TokioIo::new(stream), service_fn(answer)).await.ok();
                open.fetch_sub(1, Ordering::Relaxed);
            });
        }
    });
    url
}

#[tokio::test]
async fn connections_that_lie_idle_give_way_to_those_that_are_needed() {
    const SOCKETS: usize = 4;
    for version in ["1.1", "2"] {
        let (tasks, open) = (Tasks::new(), Arc::<AtomicUsize>::default());
        let mut all = vec![org(false), caller(1, 1, &[1]), open_upstream(2)];
        for n in 1..=12 {
            let url = upstream(&tasks, &open).await;
            let target = fleet::TargetResource {
                http_version: version.to_owned(),
                ..fixture::target_message(n, &url)
            };
            all.extend([fixture::target_of(n, &target), proxy(n, &[1], n, 2)]);
        }
        let snapshot = Region::new().snapshot(&all);
        let edge = Edge::start_narrow(snapshot, &["127.0.0.0/8"], Trust::new(None), SOCKETS);
        for _ in 0..2 {
            for n in 1..=12 {
                let request = get(&format!("/api/acme.proxy-{n}/"), &with_key(1));
                let answer = timeout(FAILED, edge.send(&request)).await.expect("it waits for nobody");
                assert_eq!(answer.status, 200, "over HTTP/{version}: {answer:?}");
            }
        }
        let mut pace = interval(Duration::from_millis(5));
        let few = async {
            while open.load(Ordering::Relaxed) > SOCKETS {
                pace.tick().await;
            }
        };
        timeout(FAILED, few).await.expect("the others are closed");
        tasks.abort();
    }
}

#[tokio::test]
async fn requests_for_which_no_socket_is_left_are_told_so_and_another_organization_is_served() {
    const SOCKETS: usize = 16;
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", silent.local_addr().expect("it is bound"));
    let target = fleet::TargetResource { connect_timeout: millis(300), ..fixture::target_message(1, &url) };
    let mut all = vec![org(false), caller(1, 1, &[1]), open_upstream(2)];
    all.extend([fixture::target_of(1, &target), proxy(1, &[1], 1, 2)]);
    let (tasks, open) = (Tasks::new(), Arc::default());
    all.extend(resources_of_another(&upstream(&tasks, &open).await));
    let snapshot = Region::new().snapshot(&all);
    let edge = Edge::start_narrow(snapshot, &["127.0.0.0/8"], Trust::new(None), SOCKETS);
    let mut callers = Vec::new();
    for _ in 0..3 * SOCKETS {
        let mut caller = edge.connect().await;
        caller.write_all(get("/api/acme.proxy-1/x", &with_key(1)).as_bytes()).await.expect("it reads");
        callers.push(caller);
    }
    let mut held: Vec<TcpStream> = Vec::new();
    while held.len() < SOCKETS - SOCKETS / 8 {
        held.push(timeout(FAILED, silent.accept()).await.expect("it connects").expect("it listens").0);
    }
    // Those of the callers that have none.
    for _ in held.len()..callers.len() {
        let record = timeout(FAILED, edge.record()).await.expect("it is told in time");
        assert_eq!((record.status, &*record.code), (503, "upstream-busy"));
    }
    assert!(timeout(Duration::from_millis(50), silent.accept()).await.is_err(), "no socket more");
    let other = edge.send(&get("/api/other.proxy-11/x", &with_key(11))).await;
    assert_eq!(other.status, 200, "{other:?}");
    // What one lets go of is another's.
    let mut first = held.swap_remove(0);
    let mut head = [0; 4096];
    assert!(first.read(&mut head).await.expect("it asks") > 0);
    first.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.expect("it reads");
    let mut caller = edge.connect().await;
    caller.write_all(get("/api/acme.proxy-1/x", &with_key(1)).as_bytes()).await.expect("it reads");
    let served = async {
        let mut seen = [0; 1];
        tokio::select! {
            again = first.read_exact(&mut seen) => {
                if again.is_ok() {
                    first.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.expect("it reads");
                    return;
                }
                held.push(silent.accept().await.expect("it listens").0);
            }
            accepted = silent.accept() => held.push(accepted.expect("it listens").0),
        }
        let stream = held.last_mut().expect("it was put there");
        assert!(stream.read(&mut head).await.expect("it asks") > 0);
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.expect("it reads");
    };
    let both = async { tokio::join!(Answer::read(caller), served).0 };
    assert_eq!(timeout(FAILED, both).await.expect("it has its turn").status, 200);
    tasks.abort();
}
