//! Upstreams behind an HTTP proxy.

use std::sync::{Arc, Mutex};

use rr_contract::outbound::NextHop;
use rr_contract::runtime::Tasks;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

use crate::fixture::Region;

use super::edge::Edge;
use super::origin::Upstream;
use super::{get, resources, with_key};

/// Opens what it is asked for, unless it refuses all; remembers what that was.
async fn proxy(refuses: bool) -> (NextHop, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("it is bound"));
    let asked: Arc<Mutex<Vec<String>>> = Arc::default();
    let seen = Arc::clone(&asked);
    let tasks = Tasks::new();
    let tunnels = tasks.clone();
    tasks.spawn("proxy", async move {
        loop {
            let (mut stream, _) = listener.accept().await.expect("loopback");
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.expect("a whole head"));
            }
            let head = String::from_utf8(head).expect("text");
            let target = head.split(' ').nth(1).expect("a target").to_owned();
            seen.lock().expect("no panic").push(target.clone());
            if refuses {
                stream.write_all(b"HTTP/1.1 403 Forbidden\r\n\r\n").await.expect("it reads");
                continue;
            }
            tunnels.spawn("tunnel", async move {
                let mut upstream = TcpStream::connect(target).await.expect("it is there");
                stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.expect("it reads");
                // Either side may end it in the way it likes.
                copy_bidirectional(&mut stream, &mut upstream).await.ok();
            });
        }
    });
    (NextHop::new(&url, None, false, &[]).expect("a proxy"), asked)
}

#[tokio::test]
async fn a_request_goes_through_the_proxy_to_the_address_that_was_judged() {
    let upstream = Upstream::echo().await;
    let (hop, asked) = proxy(false).await;
    let region = Region::new();
    let edge =
        Edge::start_over(region.snapshot(&resources(&region, &upstream.url(""))), &["127.0.0.0/8"], hop);
    for _ in 0..2 {
        let answer = edge.send(&get("/api/acme.proxy-1/x", &with_key(1))).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    // The second request finds the way open.
    assert_eq!(*asked.lock().expect("no panic"), [upstream.authority()]);
    assert_eq!(upstream.count(), 2);
}

#[tokio::test]
async fn what_the_guard_refuses_is_not_asked_for_and_what_the_proxy_refuses_is_unreachable() {
    let upstream = Upstream::echo().await;
    let region = Region::new();
    let snapshot = || region.snapshot(&resources(&region, &upstream.url("")));
    let (hop, asked) = proxy(false).await;
    let edge = Edge::start_over(snapshot(), &[], hop);
    let refused = edge.send(&get("/api/acme.proxy-1/x", &with_key(1))).await;
    assert_eq!((refused.status, refused.header("requestrocket-proxy-code")), (502, Some("upstream-refused")));
    assert!(asked.lock().expect("no panic").is_empty());
    let (hop, asked) = proxy(true).await;
    let edge = Edge::start_over(snapshot(), &["127.0.0.0/8"], hop);
    let refused = edge.send(&get("/api/acme.proxy-1/x", &with_key(1))).await;
    assert_eq!(
        (refused.status, refused.header("requestrocket-proxy-code")),
        (502, Some("upstream-unreachable"))
    );
    assert_eq!((asked.lock().expect("no panic").len(), upstream.count()), (1, 0));
}
