//! WebSockets of web pages: a browser asks nobody before it opens one, so the proxy's list of pages decides.

use std::time::Duration;

use http::{HeaderValue, StatusCode};
use rr_contract::wire::fleet;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::fixture::Region;

use super::edge::{Answer, Edge};
use super::websockets::{Raw, open, proxy, read_head, read_rest, read_text, upgrade};
use super::websockets_http2::{ask, connect, connect_request};
use super::with_key;

const PATH: &str = "/api/acme.proxy-1/";
const APP: &str = "https://app.example.com";
const SOON: Duration = Duration::from_secs(10);

fn origins(origins: &[&str]) -> fleet::Resource {
    let origins = origins.iter().map(|origin| (*origin).to_owned()).collect();
    proxy(|proxy| proxy.cors = Some(fleet::Cors { origins, ..fleet::Cors::default() }))
}

fn named() -> fleet::Resource {
    origins(&[APP, "https://*.pages.example", "http://localhost:3000"])
}

fn edge_of(upstream: &Raw, proxy: Option<fleet::Resource>) -> Edge {
    let region = Region::new();
    let mut all = open(&region, &upstream.url());
    all.extend(proxy);
    Edge::start(region.snapshot(&all), &["127.0.0.0/8"])
}

fn lines(origins: &[&str]) -> String {
    origins.iter().map(|origin| format!("origin: {origin}\r\n")).collect()
}

/// Both ends of a tunnel, and what the caller was answered.
async fn opens(edge: &Edge, upstream: &Raw, origins: &[&str]) -> (TcpStream, TcpStream, Answer) {
    let mut caller = edge.connect().await;
    let request = upgrade(PATH, &format!("{}{}", with_key(1), lines(origins)));
    caller.write_all(request.as_bytes()).await.expect("the edge reads");
    let mut came = upstream.next().await;
    assert_eq!(came.head.all("origin"), origins);
    came.switch("access-control-allow-origin: *\r\n", "").await;
    let answer = Answer::parse(read_head(&mut caller).await.as_bytes());
    assert_eq!(answer.status, 101, "{origins:?}: {answer:?}");
    (caller, came.stream, answer)
}

async fn is_refused(edge: &Edge, origins: &[&str], more: &str) {
    let headers = format!("{}{}connection: close\r\n{more}", with_key(1), lines(origins));
    let answer = edge.send(&upgrade(PATH, &headers)).await;
    assert_eq!((answer.status, answer.json()["code"].clone()), (403, "origin-refused".into()), "{origins:?}");
    assert!(!answer.text.contains("access-control-"), "{origins:?}");
    let record = edge.record().await;
    assert_eq!((record.status, &*record.code, record.upstream_status), (403, "origin-refused", 0));
}

#[tokio::test]
async fn a_page_opens_a_websocket_where_the_proxy_names_it_and_nobodys_page_is_asked() {
    let upstream = Raw::new().await;
    let edge = edge_of(&upstream, Some(named()));
    for origins in [&[APP][..], &["https://a.b.pages.example"], &["http://localhost:3000"], &[]] {
        let (_, _, answer) = opens(&edge, &upstream, origins).await;
        assert_eq!(answer.all("access-control-allow-origin"), origins, "the proxy is the one authority");
        assert_eq!(edge.record().await.status, 101, "{origins:?}");
    }
    for origins in [
        &["https://evil.com"][..],
        &["https://app.example.com.evil.com"],
        &["https://app.example.com."],
        &["https://app.example.com:443"],
        &["HTTPS://APP.EXAMPLE.COM"],
        &["http://app.example.com"],
        &["https://pages.example"],
        &["http://localhost"],
        &["null"],
        &["*"],
        &[""],
        &[APP, "https://evil.com"],
        &[APP, APP],
    ] {
        is_refused(&edge, origins, "").await;
    }
    // What a caller has the edge take out was there.
    is_refused(&edge, &["https://evil.com"], "connection: origin\r\n").await;
    assert_eq!(edge.tunnels(), 0);
}

#[tokio::test]
async fn only_a_key_learns_that_a_page_may_not_open_a_websocket() {
    let upstream = Raw::new().await;
    let edge = edge_of(&upstream, Some(named()));
    let ask = |path: &str, key: &str| {
        upgrade(path, &format!("origin: https://evil.com\r\nconnection: close\r\n{key}"))
    };
    for key in [String::new(), with_key(9)] {
        let known = edge.send(&ask(PATH, &key)).await;
        let unknown = edge.send(&ask("/api/acme.nobody/", &key)).await;
        assert_eq!(known.status, 401);
        assert_eq!(known.without_id_and_date(), unknown.without_id_and_date());
    }
    // Nor is it told by one that takes no WebSockets.
    let none = proxy(|proxy| {
        proxy.websocket = false;
        proxy.cors = Some(fleet::Cors { origins: vec![APP.to_owned()], ..fleet::Cors::default() });
    });
    let answer = edge_of(&upstream, Some(none)).send(&ask(PATH, &with_key(1))).await;
    assert_eq!((answer.status, answer.json()["code"].clone()), (403, "upgrade-not-allowed".into()));
}

#[tokio::test]
async fn every_page_opens_one_where_all_are_named_and_where_nothing_is_said_of_pages() {
    let upstream = Raw::new().await;
    let all = edge_of(&upstream, Some(origins(&["*"])));
    for origins in [&["https://evil.com"][..], &["null"], &[]] {
        drop(opens(&all, &upstream, origins).await);
        all.record().await;
    }
    is_refused(&all, &["https://a.example", "https://b.example"], "").await;
    let none = edge_of(&upstream, None);
    for origins in [&["https://evil.com"][..], &["null"], &["https://a.example", "https://b.example"]] {
        let (_, _, answer) = opens(&none, &upstream, origins).await;
        assert_eq!(answer.all("access-control-allow-origin"), ["*"]);
    }
}

#[tokio::test]
async fn a_stream_of_http2_is_asked_for_its_page_like_a_connection() {
    let upstream = Raw::new().await;
    let edge = edge_of(&upstream, Some(named()));
    let mut sender = connect(&edge).await;
    for (origins, opens) in [
        (&[APP][..], true),
        (&[], true),
        (&["https://evil.com"], false),
        (&["null"], false),
        (&[APP, "https://evil.com"], false),
    ] {
        let mut request = connect_request(Some("websocket"));
        for origin in origins {
            request.headers_mut().append("origin", HeaderValue::from_static(origin));
        }
        let (answer, _to) = ask(&mut sender, request);
        if opens {
            upstream.next().await.switch("sec-websocket-protocol: b\r\n", "").await;
        }
        let answer = timeout(SOON, answer).await.expect("it comes").expect("an answer");
        let wanted = if opens {
            (StatusCode::OK, "proxy-access-granted")
        } else {
            (StatusCode::FORBIDDEN, "origin-refused")
        };
        let code = answer.headers()["requestrocket-proxy-code"].to_str().expect("text");
        assert_eq!((answer.status(), code), wanted, "{origins:?}");
    }
}

#[tokio::test]
async fn an_open_websocket_ends_when_its_page_is_not_named_any_more() {
    let upstream = Raw::new().await;
    let region = Region::new();
    let mut all = open(&region, &upstream.url());
    all.push(origins(&[APP]));
    let mut edge = Edge::start(region.snapshot(&all), &["127.0.0.0/8"]);
    let (mut page, _far_page, _) = opens(&edge, &upstream, &[APP]).await;
    let (mut program, mut far, _) = opens(&edge, &upstream, &[]).await;
    all.push(origins(&["https://other.example"]));
    edge.activate(region.snapshot(&all));
    assert_eq!(timeout(SOON, read_rest(&mut page)).await.expect("it ends"), "");
    assert_eq!(edge.record().await.tunnel_end(), fleet::TunnelEnd::Withdrawn);
    program.write_all(b"still").await.expect("it is open");
    read_text(&mut far, "still").await;
}
