//! Upstreams that mean harm: what they may cost, and whom.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use crate::fixture::{self, Region};

use super::edge::{Answer, Edge};
use super::origin::Upstream;
use super::over_tls::Secure;
use super::{get, resources, resources_of_another, with_key};

/// Long for whatever has to happen; a test that waits for it has failed.
const FAILED: Duration = Duration::from_secs(20);

/// An edge whose one upstream is the test, with half a second for each head, and another org's is honest.
async fn edge_to_the_test() -> (Edge, TcpListener, Upstream) {
    let region = Region::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let base_url = format!("http://{}", listener.local_addr().expect("it is bound"));
    let mut all = resources(&region, &base_url);
    all.push(fixture::target_with_timeouts(1, &base_url, 1_000, 500));
    let honest = Upstream::echo().await;
    all.extend(resources_of_another(&honest.url("")));
    (Edge::start(region.snapshot(&all), &["127.0.0.0/8"]), listener, honest)
}

async fn take_request(listener: &TcpListener) -> TcpStream {
    let (mut stream, _) = timeout(FAILED, listener.accept()).await.expect("in time").expect("it listens");
    let mut seen = Vec::new();
    while !seen.ends_with(b"\r\n\r\n") {
        seen.push(stream.read_u8().await.expect("the edge sends"));
    }
    stream
}

/// Sends the same again and again until the edge has had enough; says how much it took.
async fn flood(stream: &mut TcpStream, begin: &str, again: &[u8]) -> usize {
    let mut sent = 0;
    if stream.write_all(begin.as_bytes()).await.is_err() {
        return sent;
    }
    while stream.write_all(again).await.is_ok() {
        sent += again.len();
    }
    sent
}

/// What the caller gets of a flood, and how much of it the edge and the system took, while another
/// organization's callers are served.
async fn answer_to(begin: &str, again: &[u8]) -> (String, usize) {
    let (edge, listener, _honest) = edge_to_the_test().await;
    let upstream = async {
        let mut stream = take_request(&listener).await;
        flood(&mut stream, begin, again).await
    };
    let others = async {
        for _ in 0..20 {
            assert_eq!(edge.send(&get("/api/other.proxy-11/", &with_key(11))).await.status, 200);
        }
    };
    let caller = async {
        let mut stream = edge.connect().await;
        let request = get("/api/acme.proxy-1/", &with_key(1));
        stream.write_all(request.as_bytes()).await.expect("the edge reads");
        let mut seen = Vec::new();
        // Cut off or ended: both are an end.
        stream.read_to_end(&mut seen).await.ok();
        String::from_utf8_lossy(&seen).into_owned()
    };
    let all = async { tokio::join!(caller, upstream, others) };
    let (text, sent, ()) = timeout(FAILED, all).await.expect("the edge lets go of it");
    (text, sent)
}

/// More than what the buffers of both ends' systems take unread.
const UNREAD: usize = 32 * 1024 * 1024;

#[tokio::test]
async fn an_endless_head_is_a_bad_gateway() {
    for (begin, again) in [
        ("HTTP/1.1 200 OK\r\n", "x-more: 0123456789\r\n".repeat(100)),
        ("HTTP/1.1 200 OK\r\nx-long: ", "0123456789".repeat(100)),
        ("HTTP/1.1 200 ", "0123456789".repeat(100)),
    ] {
        let (text, sent) = answer_to(begin, again.as_bytes()).await;
        assert!(text.contains(" 502 ") && text.contains("upstream-unreachable"), "{begin:?}: {text}");
        assert!(sent < UNREAD, "{begin:?}: {sent}");
    }
}

#[tokio::test]
async fn endless_interim_answers_are_a_bad_gateway_and_take_no_worker() {
    let interim = "HTTP/1.1 102 Processing\r\n\r\n".repeat(500);
    let (text, sent) = answer_to("", interim.as_bytes()).await;
    assert!(text.contains(" 502 ") && text.contains("upstream-unreachable"), "{text}");
    assert!(sent < UNREAD, "{sent}");
}

#[tokio::test]
async fn a_few_interim_answers_are_passed_over() {
    let (edge, listener, _honest) = edge_to_the_test().await;
    let upstream = async {
        let mut stream = take_request(&listener).await;
        let interim = "HTTP/1.1 103 Early Hints\r\nlink: </a>; rel=preload\r\n\r\n".repeat(20);
        let answer = format!("{interim}HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
        stream.write_all(answer.as_bytes()).await.expect("the edge reads");
        stream
    };
    let request = get("/api/acme.proxy-1/", &with_key(1));
    let (answer, _upstream) = tokio::join!(edge.send(&request), upstream);
    assert!(answer.status == 200 && answer.text.ends_with("ok"), "{answer:?}");
}

#[tokio::test]
async fn a_body_whose_frame_never_ends_is_cut_off() {
    let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    for (begin, again) in [
        (format!("{head}1;"), "extension".repeat(100)),
        (format!("{head}2\r\nok\r\n0\r\n"), "x-trailer: 0123456789\r\n".repeat(100)),
        (format!("{head}2\r\nok\r\n0\r\nx-long: "), "0123456789".repeat(100)),
        (head.to_owned(), "f".repeat(100)),
    ] {
        let (text, sent) = answer_to(&begin, again.as_bytes()).await;
        assert!(!text.ends_with("\r\n0\r\n\r\n"), "it looks whole: {text}");
        assert!(sent < UNREAD, "{begin:?}: {sent}");
    }
}

/// What an upstream does about a stream.
#[derive(Clone, Copy, PartialEq)]
enum Does {
    Answer,
    Refuse,
    Break,
    GoAway,
}

/// Speaks HTTP/2 frame by frame; says how many requests came, and on how many connections.
async fn frames(script: &'static [Does]) -> (Secure, Arc<AtomicUsize>) {
    let asked: Arc<AtomicUsize> = Arc::default();
    let counted = Arc::clone(&asked);
    let upstream = Secure::serving(b"h2", move |mut stream| {
        let asked = Arc::clone(&counted);
        async move {
            let mut preface = [0; 24];
            stream.read_exact(&mut preface).await.expect("the edge speaks first");
            stream.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await.expect("the edge reads");
            let mut head = [0; 9];
            while stream.read_exact(&mut head).await.is_ok() {
                let [a, b, c, kind, _, id @ ..] = head;
                let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
                stream.read_exact(&mut payload).await.expect("frames are whole");
                if kind != 1 {
                    continue;
                }
                let does = script[asked.fetch_add(1, Ordering::Relaxed)];
                let mut frame = match does {
                    Does::Answer => vec![0, 0, 1, 1, 5],
                    Does::Refuse | Does::Break => vec![0, 0, 4, 3, 0],
                    Does::GoAway => vec![0, 0, 8, 7, 0],
                };
                frame.extend(if does == Does::GoAway { [0; 4] } else { id });
                frame.extend_from_slice(match does {
                    Does::Answer => &[0x88],
                    Does::Refuse => &[0, 0, 0, 7],
                    Does::Break => &[0, 0, 0, 2],
                    Does::GoAway => &[0; 8],
                });
                stream.write_all(&frame).await.expect("the edge reads");
            }
        }
    })
    .await;
    (upstream, asked)
}

#[tokio::test]
async fn what_a_peer_says_that_it_did_not_touch_is_sent_again_if_it_has_no_body() {
    use Does::{Answer, Break, GoAway, Refuse};
    let bare = get("/api/acme.proxy-1/", &with_key(1));
    let post = bare.replace("GET", "POST").replace("\r\n\r\n", "\r\ncontent-length: 4\r\n\r\nbody");
    let cases: [(&str, &'static [Does], u16, usize); 6] = [
        (&bare, &[Refuse, Answer], 200, 2),
        (&bare, &[GoAway, Answer], 200, 2),
        (&bare, &[Refuse, GoAway, Answer], 200, 3),
        (&bare, &[Refuse, Refuse, Refuse, Answer], 502, 3),
        (&bare, &[Break, Answer], 502, 1),
        (&post, &[Refuse, Answer], 502, 1),
    ];
    for (case, (request, script, status, times)) in cases.into_iter().enumerate() {
        let (upstream, asked) = frames(script).await;
        let region = Region::new();
        let snapshot = region.snapshot(&resources(&region, &upstream.url()));
        let edge = Edge::start_trusting(snapshot, &["127.0.0.0/8", "::1/128"], upstream.trust());
        let answer = timeout(FAILED, edge.send(request)).await.expect("it is answered");
        assert_eq!((answer.status, asked.load(Ordering::Relaxed)), (status, times), "case {case}");
    }
}

#[tokio::test]
async fn what_a_peer_did_not_touch_is_sent_again_with_a_body_of_which_nothing_was_taken() {
    let (upstream, asked) = frames(&[Does::Refuse, Does::GoAway, Does::Answer]).await;
    let region = Region::new();
    let snapshot = region.snapshot(&resources(&region, &upstream.url()));
    let edge = Edge::start_trusting(snapshot, &["127.0.0.0/8", "::1/128"], upstream.trust());
    let bare = get("/api/acme.proxy-1/", &with_key(1));
    let head = bare.replace("GET", "POST").replace("\r\n\r\n", "\r\ncontent-length: 4\r\n\r\n");
    let mut caller = edge.connect().await;
    // The body waits for the answer.
    caller.write_all(head.as_bytes()).await.expect("the edge reads");
    let answer = timeout(FAILED, Answer::read_one(&mut caller)).await.expect("it is answered");
    assert_eq!((answer.status, asked.load(Ordering::Relaxed)), (200, 3));
}
