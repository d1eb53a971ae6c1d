//! Callers that leave before their upstream has answered, and what that says of it.

use std::net::SocketAddr;
use std::time::Duration;

use rr_contract::wire::fleet;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket};
use tokio::time::{sleep, timeout};

use crate::fixture::{self, Region, millis};

use super::edge::Edge;
use super::full;
use super::script::{Script, says};
use super::{HEADER, SECRET, get, resources, with_key};

/// What the upstream of each test has, in milliseconds, for a connection and for an answer.
const TIME: u64 = 5_000;
/// More than half of it.
const LONG: Duration = Duration::from_millis(2_600);
const SOON: Duration = Duration::from_secs(20);

/// An edge to a target at these base URLs, of which two failures in a row are enough.
fn edge_to(region: &Region, urls: &[String]) -> Edge {
    let mut all = resources(region, &urls[0]);
    let origins: Vec<&str> = urls.iter().map(|url| &**url).collect();
    all.push(region.upstream(2, 1, SECRET, HEADER, &origins));
    let target = fleet::TargetResource {
        more_base_urls: urls[1..].to_vec(),
        connect_timeout: millis(TIME),
        response_timeout: millis(TIME),
        circuit_breaker: Some(fleet::CircuitBreaker { consecutive_failures: 2, open_for: millis(60_000) }),
        outlier_ejection: Some(fleet::OutlierEjection {
            consecutive_failures: 2,
            ..fleet::OutlierEjection::default()
        }),
        ..fixture::target_message(1, &urls[0])
    };
    all.push(fixture::target_of(1, &target));
    full::edge(region, all)
}

fn ask() -> String {
    get("/api/acme.proxy-1/", &with_key(1))
}

/// Has two callers send this and leave after so long, and waits until the edge is through with them.
async fn two_leave(edge: &Edge, request: &str, after: Duration) {
    let mut callers = Vec::new();
    for _ in 0..2 {
        let mut caller = edge.connect().await;
        caller.write_all(request.as_bytes()).await.expect("the edge reads");
        callers.push(caller);
    }
    sleep(after).await;
    drop(callers);
    for _ in 0..2 {
        let record = timeout(SOON, edge.record()).await.expect("it ends");
        assert_eq!(record.code, "caller-gone");
    }
}

/// An upstream that reads nothing and says nothing.
async fn silent() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("it is bound"));
    (listener, url)
}

#[tokio::test]
async fn an_upstream_that_hangs_is_found_out_by_callers_that_have_waited_for_half_of_its_time() {
    let (_silent, url) = silent().await;
    let region = Region::new();
    let edge = edge_to(&region, &[url]);
    two_leave(&edge, &ask(), LONG).await;
    let answer = edge.send(&ask()).await;
    assert_eq!((answer.status, answer.json()["code"].clone()), (503, "circuit-open".into()));
    assert_eq!(region.standings.numbers().openings, 1);
}

#[tokio::test]
async fn callers_that_leave_at_once_open_no_circuit() {
    let (silent, url) = silent().await;
    let region = Region::new();
    let edge = edge_to(&region, &[url]);
    let mut head = [0; 4096];
    for _ in 0..4 {
        let mut caller = edge.connect().await;
        caller.write_all(ask().as_bytes()).await.expect("the edge reads");
        let (mut stream, _) = timeout(SOON, silent.accept()).await.expect("in time").expect("it listens");
        assert_ne!(stream.read(&mut head).await.expect("the edge sends"), 0);
        drop(caller);
        assert_eq!(edge.record().await.code, "caller-gone");
    }
    assert_eq!(region.standings.numbers().openings, 0);
}

#[tokio::test]
async fn a_caller_that_keeps_its_body_to_itself_opens_no_circuit_by_leaving() {
    let (_silent, url) = silent().await;
    let region = Region::new();
    let edge = edge_to(&region, &[url]);
    let upload = ask().replace("GET", "PUT").replacen("\r\n\r\n", "\r\ncontent-length: 4\r\n\r\n", 1);
    two_leave(&edge, &upload, LONG).await;
    assert_eq!(region.standings.numbers().openings, 0);
}

/// An address at which connections hang: its queue is full.
fn hanging() -> (TcpListener, SocketAddr, Vec<std::net::TcpStream>) {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind("127.0.0.1:0".parse().expect("an address")).expect("a free port");
    let listener = socket.listen(0).expect("it is bound");
    let address = listener.local_addr().expect("it is bound");
    let shortly = Duration::from_millis(100);
    let fill = || std::net::TcpStream::connect_timeout(&address, shortly).ok();
    (listener, address, std::iter::from_fn(fill).take(64).collect())
}

#[tokio::test]
async fn an_upstream_that_takes_no_connection_is_found_out_in_the_same_way() {
    let (_listener, address, _filled) = hanging();
    let region = Region::new();
    let edge = edge_to(&region, &[format!("http://{address}")]);
    two_leave(&edge, &ask(), LONG).await;
    assert_eq!(edge.send(&ask()).await.json()["code"], "circuit-open");
}

#[tokio::test]
async fn callers_that_do_not_wait_for_a_connection_open_no_circuit() {
    let (_listener, address, _filled) = hanging();
    let region = Region::new();
    let edge = edge_to(&region, &[format!("http://{address}")]);
    for n in 1..=4 {
        let mut caller = edge.connect().await;
        caller.write_all(ask().as_bytes()).await.expect("the edge reads");
        let dials = async {
            while edge.checkouts().0 < n {
                tokio::task::yield_now().await;
            }
        };
        timeout(SOON, dials).await.expect("it is dialed");
        drop(caller);
        assert_eq!(edge.record().await.code, "caller-gone");
    }
    assert_eq!(region.standings.numbers().openings, 0);
}

#[tokio::test]
async fn of_several_base_urls_the_one_that_hangs_is_ejected() {
    let (silent, url) = silent().await;
    let good = Script::always(200).await;
    let region = Region::new();
    let edge = edge_to(&region, &[url, good.url()]);
    let mut leaving = Vec::new();
    while leaving.len() < 2 {
        let mut caller = edge.connect().await;
        caller.write_all(ask().as_bytes()).await.expect("the edge reads");
        leaving.push((caller, timeout(SOON, silent.accept()).await.expect("it is asked")));
        // The next one's turn is at the other base URL.
        assert_eq!(edge.send(&ask()).await.status, 200);
    }
    sleep(LONG).await;
    drop(leaving);
    let is_out = async {
        while region.standings.numbers().ejected == 0 {
            tokio::task::yield_now().await;
        }
    };
    timeout(SOON, is_out).await.expect("it is ejected");
    assert_eq!(region.standings.numbers().circuits_open, 0, "the other one has succeeded");
    for _ in 0..3 {
        assert_eq!(edge.send(&ask()).await.status, 200);
    }
}

#[tokio::test]
async fn a_caller_that_leaves_while_this_node_has_no_room_for_it_says_nothing_of_the_upstream() {
    let upstream = Script::start(|_| says(200, "connection: close\r\n")).await;
    let region = Region::new();
    let edge = edge_to(&region, &[upstream.url()]);
    let _taken = full::take(&edge).await;
    two_leave(&edge, &ask(), LONG).await;
    assert_eq!(region.standings.numbers().openings, 0);
}
