//! Heads of requests that are too long, or that could be read in two ways.

use rr_contract::runtime::Tasks;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::fixture::caller_key;

use super::bounds::{ask, http2_to};
use super::edge::{Answer, Edge};
use super::origin::Upstream;
use super::{edge_to, get, with_key};

const PATH: &str = "/api/acme.proxy-1/";

/// Sends a request, and reads what comes until the connection ends: the edge may close it before it has read all.
async fn answer_to(edge: &Edge, request: &str) -> String {
    let mut stream = edge.connect().await;
    // It may be closed on us while we speak.
    stream.write_all(request.as_bytes()).await.ok();
    let mut seen = Vec::new();
    stream.read_to_end(&mut seen).await.ok();
    String::from_utf8_lossy(&seen).into_owned()
}

#[tokio::test]
async fn a_head_has_64_kib_at_the_most_over_either_protocol() {
    let upstream = Upstream::echo().await;
    let edge = edge_to(&upstream.url("")).await;
    let tasks = Tasks::new();
    let mut sender = http2_to(&edge, &tasks).await;
    for (length, is_taken) in [(60_000, true), (70_000, false), (200_000, false)] {
        let long = format!("x-long: {}\r\n", "x".repeat(length));
        let answer = answer_to(&edge, &get(PATH, &format!("{}{long}", with_key(1)))).await;
        assert_eq!(answer.starts_with("HTTP/1.1 200 "), is_taken, "{length}: {answer}");
        let mut request = ask("proxy-1");
        let value = http::HeaderValue::from_str(&"x".repeat(length)).expect("a value");
        request.headers_mut().insert("x-long", value);
        let answer = sender.send_request(request).await;
        assert_eq!(answer.is_ok_and(|answer| answer.status() == 200), is_taken, "{length}");
    }
    assert_eq!(upstream.count(), 2);
}

#[tokio::test]
async fn a_target_that_is_too_long_behind_its_base_path_is_refused() {
    let upstream = Upstream::echo().await;
    let edge = edge_to(&upstream.url(&format!("/{}", "b".repeat(2_000)))).await;
    for (length, status) in [(1_000, 200), (64_000, 400)] {
        let answer = edge.send(&get(&format!("{PATH}{}", "a".repeat(length)), &with_key(1))).await;
        assert_eq!(answer.status, status, "{length}");
    }
    assert_eq!(upstream.count(), 1);
}

#[tokio::test]
async fn what_concerns_one_hop_only_is_not_passed_on() {
    let upstream = Upstream::echo().await;
    let edge = edge_to(&upstream.url("")).await;
    let headers = format!(
        "{}connection: x-secret-hop\r\nx-secret-hop: 1\r\nkeep-alive: timeout=5\r\nte: gzip\r\nexpect: 100-continue\r\n\
         proxy-authenticate: x\r\nproxy-connection: keep-alive\r\ntrailer: x-end\r\nproxy-authorization: x\r\nupgrade: websocket\r\nrequestrocket-request-id: forged\r\nrequestrocket_request_id: forged\r\nx_forwarded_for: 6.6.6.6\r\nx-kept: 1\r\n\
         content_length: 7\r\ntransfer_encoding: chunked\r\nkeep_alive: x\r\nproxy_connection: x\r\n\
         proxy_authorization: x\r\nproxy_authenticate: x\r\nhttp2_settings: x\r\nx_kept: 2\r\n",
        with_key(1)
    );
    let answer = edge.send(&get("/api/acme.proxy-1/hop", &headers)).await;
    assert_eq!(answer.status, 200);
    let seen = upstream.last();
    for name in [
        "connection",
        "x-secret-hop",
        "keep-alive",
        "te",
        "expect",
        "trailer",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "upgrade",
        "requestrocket-request-id",
        "requestrocket_request_id",
        "x_forwarded_for",
        "content_length",
        "transfer_encoding",
        "keep_alive",
        "proxy_connection",
        "proxy_authorization",
        "proxy_authenticate",
        "http2_settings",
    ] {
        assert_eq!(seen.header(name), None, "{name}");
    }
    assert_eq!((seen.header("x-kept"), seen.header("x_kept")), (Some("1"), Some("2")));
    // The upstream sends the same kinds back.
    assert_eq!(answer.all("set-cookie"), ["a=1", "b=2"]);
    assert_eq!((answer.header("x-hop"), answer.header("requestrocket-forged")), (None, None));
}

#[tokio::test]
async fn a_connection_to_somewhere_else_is_not_made() {
    let upstream = Upstream::echo().await;
    let edge = edge_to(&upstream.url("")).await;
    let answer = edge.send(&get(PATH, &with_key(1)).replace("GET", "CONNECT")).await;
    assert_eq!((answer.status, answer.json()["code"].clone()), (405, "method-refused".into()));
    assert!(
        answer.header("allow").is_some_and(|methods| methods.contains("GET") && !methods.contains("TRACE"))
    );
    assert_eq!(upstream.connections(), 0);
}

#[tokio::test]
async fn a_key_in_a_header_is_the_one_that_counts_and_both_are_taken_out() {
    let upstream = Upstream::echo().await;
    let edge = edge_to(&upstream.url("")).await;
    for (in_header, in_query, status) in [(1, 9, 200), (9, 1, 401)] {
        let path = format!("{PATH}?Authorization={}", caller_key(in_query));
        let answer = edge.send(&get(&path, &with_key(in_header))).await;
        assert_eq!(answer.status, status);
        assert_eq!(answer.header("www-authenticate"), (status == 401).then_some("Bearer"));
    }
    let seen = upstream.last().text();
    assert!(!seen.contains(&caller_key(1)) && !seen.contains(&caller_key(9)), "{seen}");
    assert_eq!(upstream.count(), 1);
}

#[tokio::test]
async fn a_body_with_two_transfer_codings_is_refused() {
    let upstream = Upstream::mirror().await;
    let edge = edge_to(&upstream.url("")).await;
    for codings in
        [&["gzip, chunked"][..], &["gzip", "chunked"], &["identity", "chunked"], &["chunked", "chunked"]]
    {
        let lines: String = codings.iter().map(|coding| format!("transfer-encoding: {coding}\r\n")).collect();
        let head = get(PATH, &format!("{}{lines}", with_key(1))).replace("GET", "POST");
        let answer = answer_to(&edge, &format!("{head}2\r\nok\r\n0\r\n\r\n")).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{codings:?}: {answer}");
    }
    assert_eq!(upstream.count(), 0);
}

/// What becomes of a request whose upstream answers with this head.
async fn answered(request: &str, head: &str) -> Answer {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let edge = edge_to(&format!("http://{}", listener.local_addr().expect("it is bound"))).await;
    let upstream = async {
        let (mut stream, _) = listener.accept().await.expect("the edge connects");
        let mut seen = [0; 4096];
        assert_ne!(stream.read(&mut seen).await.expect("the edge sends"), 0);
        stream.write_all(head.as_bytes()).await.expect("the edge reads");
        stream
    };
    let (answer, _upstream) = tokio::join!(edge.send(request), upstream);
    answer
}

#[tokio::test]
async fn a_length_goes_on_if_it_is_one_and_no_connection_header_takes_it_away() {
    let request = get(PATH, &with_key(1)).replace("GET", "HEAD");
    for (said, wanted) in [
        ("content-length: 7", Some("7")),
        ("connection: content-length\r\ncontent-length: 7", Some("7")),
        ("content-length: 7, 8", None),
        ("content-length: +7", None),
        ("content-length: 7\r\ncontent-length: 8", None),
    ] {
        let answer = answered(&request, &format!("HTTP/1.1 200 OK\r\n{said}\r\n\r\n")).await;
        assert_eq!((answer.status, answer.header("content-length")), (200, wanted), "{said}: {answer:?}");
    }
}

#[tokio::test]
async fn a_switch_to_another_protocol_that_nobody_asked_for_is_a_bad_gateway() {
    let switch = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
    let headers = format!("{}upgrade: h2c\r\n", with_key(1));
    let request = get(PATH, &headers).replace("connection: close", "connection: close, upgrade");
    let answer = answered(&request, switch).await;
    assert_eq!((answer.status, answer.json()["code"].clone()), (502, "upstream-unreachable".into()));
}

#[tokio::test]
async fn a_request_goes_on_with_one_length_or_in_chunks() {
    let upstream = Upstream::mirror().await;
    let edge = edge_to(&upstream.url("")).await;
    for (framing, body, length) in [
        ("content-length: 2\r\ncontent-length: 2", "ok", &["2"][..]),
        ("transfer-encoding: chunked\r\ncontent-length: 2", "2\r\nok\r\n0\r\n\r\n", &[]),
    ] {
        let head = get(PATH, &format!("{}{framing}\r\n", with_key(1))).replace("GET", "POST");
        let answer = answer_to(&edge, &format!("{head}{body}")).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{framing}: {answer}");
        assert_eq!(upstream.last().all("content-length"), length, "{framing}");
    }
    let tasks = Tasks::new();
    let mut sender = http2_to(&edge, &tasks).await;
    let mut request = ask("proxy-1");
    for _ in 0..2 {
        request.headers_mut().append("content-length", http::HeaderValue::from(0));
    }
    assert_eq!(sender.send_request(request).await.expect("an answer").status(), 200);
    assert!(upstream.last().all("content-length").is_empty());
}
