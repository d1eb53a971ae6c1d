//! A node that may have few files open: what it lives on is left to it, however much its callers ask for.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rr_contract::runtime::Tasks;
use rr_integration::caller::Caller;
use rr_integration::frames::{self, PREFACE};
use rr_integration::process::admin;
use rr_integration::standalone::{Behind, Standalone};
use rr_integration::wait::{DEADLINE, eventually};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

/// Connections of callers, and requests on each.
const CALLERS: usize = 6;
const STREAMS: usize = 200;

#[tokio::test]
async fn many_requests_on_few_connections_leave_a_node_the_descriptors_that_it_lives_on() {
    let (tasks, held) = (Tasks::new(), Arc::<AtomicUsize>::default());
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", silent.local_addr().expect("it is bound"));
    let counted = Arc::clone(&held);
    tasks.spawn("silent upstream", async move {
        let mut open = Vec::new();
        loop {
            open.push(silent.accept().await.expect("it listens"));
            counted.fetch_add(1, Ordering::Relaxed);
        }
    });
    // What is held is held for longer than the test waits.
    let behind = Behind::new("silent", &url).target("response_timeout: 900s");
    let node = Standalone::start_with_files(1024, &[behind]).await;
    let mut callers = Vec::new();
    for _ in 0..CALLERS {
        let mut caller = node.connect().await;
        let mut bytes = [&PREFACE[..], &frames::settings(&[])].concat();
        for n in 0..STREAMS {
            let fields = [
                (":method", "GET"),
                (":scheme", "http"),
                (":path", "/api/local.silent/"),
                (":authority", "edge"),
                ("authorization", node.key()),
            ];
            let stream = u32::try_from(2 * n + 1).expect("a small number");
            bytes.extend(frames::headers(stream, true, &fields));
        }
        caller.write_all(&bytes).await.expect("the node reads");
        callers.push(caller);
    }
    // Each has a connection to the upstream, or was told that there is none.
    eventually("all of them have come to that", || async {
        let told = node.records(0).await.len();
        (told + held.load(Ordering::Relaxed) >= CALLERS * STREAMS).then_some(())
    })
    .await;
    let alive = timeout(DEADLINE, admin(node.admin(), "/healthz")).await.expect("the port answers");
    assert_eq!(alive.expect("an answer").status, 200);
    let stranger = Caller::new(node.listen(), "local.silent", "nobody");
    let answer = timeout(DEADLINE, stranger.get("/")).await.expect("a further caller is let in");
    assert_eq!(answer.status, 401);
    tasks.abort();
}

/// Has a caller without a key ask, and leaves its connection open.
async fn ask(caller: &mut TcpStream) {
    caller.write_all(b"GET /api/local.unused/ HTTP/1.1\r\nhost: edge\r\n\r\n").await.expect("the node reads");
    let mut answer = Vec::new();
    while !answer.ends_with(b"}") {
        let read = timeout(DEADLINE, caller.read_buf(&mut answer)).await.expect("it is let in");
        assert_ne!(read.expect("the node answers"), 0);
    }
    assert!(answer.starts_with(b"HTTP/1.1 401"));
}

#[tokio::test]
async fn where_no_further_file_can_be_opened_an_idle_caller_gives_way_to_each_that_comes_and_no_other() {
    let node = Standalone::start(&[Behind::new("unused", "http://127.0.0.1:9")], &[]).await;
    let mut idle = Vec::new();
    for _ in 0..10 {
        let mut caller = node.connect().await;
        ask(&mut caller).await;
        idle.push(caller);
    }
    let limit = node.process().next_file();
    node.process().opens_below(limit);
    // A file that it had open for a moment may leave room for one or two.
    let mut newcomers = Vec::new();
    for _ in 0..6 {
        let mut caller = node.connect().await;
        ask(&mut caller).await;
        newcomers.push(caller);
    }
    let end = timeout(DEADLINE, idle[0].read_buf(&mut Vec::new())).await.expect("it has given way");
    assert_eq!(end.expect("it is closed in order"), 0);
    // One that was closed for nobody would leave its descriptor unused, until the node needs one itself.
    let in_use = eventually("all descriptors are in use", || async {
        (node.process().next_file() >= limit).then_some(())
    });
    timeout(Duration::from_secs(5), in_use).await.expect("all descriptors are in use");
    ask(&mut idle[9]).await;
    for caller in &mut newcomers {
        ask(caller).await;
    }
}
