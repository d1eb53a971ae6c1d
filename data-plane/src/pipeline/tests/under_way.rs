//! As many requests of a proxy are under way as it may have, and no more.

use std::time::Duration;

use prost::Message as _;
use rr_contract::wire::fleet;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use crate::fixture::{self, Region};

use super::edge::{Answer, Edge};
use super::{get, resources, with_key};

const SOON: Duration = Duration::from_secs(20);

/// A worker whose proxy may have one request under way and three a minute, and an upstream that the test plays.
async fn edge() -> (Edge, TcpListener) {
    let upstream = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let region = Region::new();
    let url = format!("http://{}", upstream.local_addr().expect("it is bound"));
    let mut all = resources(&region, &url);
    let limits = fleet::Limits { per_minute_per_node: 3, ..fleet::Limits::default() };
    let proxy = fleet::ProxyResource {
        max_concurrent_requests_per_node: 1,
        limits: Some(limits),
        ..fixture::proxy_message(1, &[1], 1, 2)
    };
    all.push(fixture::resource(fixture::proxy_key(1), proxy.encode_to_vec()));
    (Edge::start(region.snapshot(&all), &["127.0.0.0/8"]), upstream)
}

fn request() -> String {
    get("/api/acme.proxy-1/", &with_key(1))
}

/// Begins a request, and waits until the upstream has it.
async fn begin(edge: &Edge, upstream: &TcpListener) -> (TcpStream, TcpStream) {
    let mut caller = edge.connect().await;
    caller.write_all(request().as_bytes()).await.expect("the edge reads");
    let (taken, _) = timeout(SOON, upstream.accept()).await.expect("in time").expect("the edge connects");
    (caller, taken)
}

/// Sends requests until one comes in, which the upstream then has.
async fn comes_in(edge: &Edge, upstream: &TcpListener) -> (TcpStream, TcpStream) {
    loop {
        let mut caller = edge.connect().await;
        caller.write_all(request().as_bytes()).await.expect("the edge reads");
        tokio::select! {
            taken = upstream.accept() => return (caller, taken.expect("the edge connects").0),
            answer = Answer::read_one(&mut caller) => assert_eq!(answer.status, 429),
        }
    }
}

async fn is_refused(edge: &Edge) {
    let answer = edge.send(&request()).await;
    assert_eq!((answer.status, answer.header("retry-after")), (429, Some("1")), "{answer:?}");
    assert_eq!(answer.json()["code"], "too-many-concurrent");
}

#[tokio::test]
async fn one_more_is_refused_until_the_whole_answer_of_another_is_out_or_its_caller_leaves() {
    let (edge, upstream) = edge().await;
    let (mut caller, mut taken) = begin(&edge, &upstream).await;
    for _ in 0..5 {
        is_refused(&edge).await;
    }
    // With a bad key it is no request of the proxy.
    assert_eq!(edge.send(&get("/api/acme.proxy-1/", "")).await.status, 401);
    taken.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nab").await.expect("the edge reads");
    let mut head = Vec::new();
    while !head.ends_with(b"ab") {
        head.push(tokio::io::AsyncReadExt::read_u8(&mut caller).await.expect("the edge answers"));
    }
    is_refused(&edge).await;
    taken.write_all(b"cd").await.expect("the edge reads");
    drop(taken);
    // What was refused has used up nothing of the limit of three.
    let (caller, _taken) = timeout(SOON, comes_in(&edge, &upstream)).await.expect("there is room again");
    is_refused(&edge).await;
    drop(caller);
    let (_caller, _taken) = timeout(SOON, comes_in(&edge, &upstream)).await.expect("its caller has left");
}
