//! Who a caller is, where programs in front of this node say so.

use prost::Message as _;
use rr_contract::wire::fleet;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::counters::Cut;
use crate::fixture::{self, Region};
use crate::listen::{Door, Neighbours};
use crate::pipeline::{Trusted, TrustedHeader};
use crate::seats::Bounds;

use super::edge::{Answer, Edge};
use super::origin::Upstream;
use super::{get, proxy_id, resources, with_key};

/// A worker whose proxy takes one request a minute of each address.
async fn limited(proxy_protocol_from: &[&str], trusted_proxies: &[&str]) -> (Edge, Upstream) {
    let upstream = Upstream::echo().await;
    let region = Region::new();
    let mut all = resources(&region, &upstream.url(""));
    let limits = fleet::Limits { per_minute_per_node: 1, ..fleet::Limits::default() };
    let proxy =
        fleet::ProxyResource { limits_per_address: Some(limits), ..fixture::proxy_message(1, &[1], 1, 2) };
    all.push(fixture::resource(fixture::proxy_key(1), proxy.encode_to_vec()));
    (behind(&region, &all, proxy_protocol_from, trusted_proxies), upstream)
}

fn behind(
    region: &Region,
    all: &[fleet::Resource],
    proxy_protocol_from: &[&str],
    trusted_proxies: &[&str],
) -> Edge {
    behind_reading(TrustedHeader::XForwardedFor, region, all, proxy_protocol_from, trusted_proxies)
}

fn behind_reading(
    header: TrustedHeader,
    region: &Region,
    all: &[fleet::Resource],
    proxy_protocol_from: &[&str],
    trusted_proxies: &[&str],
) -> Edge {
    let networks = |texts: &[&str]| texts.iter().map(|text| text.parse().expect("a network")).collect();
    let neighbours = Neighbours {
        proxy_protocol_from: networks(proxy_protocol_from),
        trusted: Trusted { proxies: networks(trusted_proxies), header },
    };
    let door = move || Door { tls: None, neighbours };
    Edge::start_behind(region.snapshot(all), &["127.0.0.0/8"], door, Bounds::of(100))
}

fn request(headers: &str) -> String {
    get("/api/acme.proxy-1/x", &format!("{}{headers}", with_key(1)))
}

/// A PROXY header for a caller at 198.51.100.`last`.
fn header(last: u8) -> Vec<u8> {
    let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c".to_vec();
    header.extend_from_slice(&[198, 51, 100, last, 127, 0, 0, 1, 0x10, 0, 0x20, 0]);
    header
}

async fn send(edge: &Edge, pieces: &[&[u8]]) -> Vec<u8> {
    let mut stream = edge.connect().await;
    stream.set_nodelay(true).expect("a socket");
    for piece in pieces {
        // It may be closed by now, or reset while it is read: not all was taken.
        if stream.write_all(piece).await.is_err() {
            break;
        }
        tokio::task::yield_now().await;
    }
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await.ok();
    bytes
}

async fn status_behind(edge: &Edge, header: &[u8]) -> u16 {
    Answer::parse(&send(edge, &[header, request("").as_bytes()]).await).status
}

#[tokio::test]
async fn a_forged_header_changes_no_limit_and_reaches_no_upstream() {
    let (edge, upstream) = limited(&[], &["192.0.2.0/24"]).await;
    let forged =
        "X-Forwarded-For: 6.6.6.6\r\nforwarded: for=6.6.6.6\r\nX-Real-IP: 6.6.6.6\r\nx-forwarded-host: a\r\n";
    assert_eq!(edge.send(&request(forged)).await.status, 200);
    assert!(!upstream.last().text().contains("forwarded") && !upstream.last().text().contains("6.6.6.6"));
    assert_eq!(edge.send(&request(&forged.replace("6.6.6.6", "7.7.7.7"))).await.status, 429);
}

#[tokio::test]
async fn a_trusted_proxy_says_whose_request_it_is() {
    let (edge, upstream) = limited(&[], &["127.0.0.0/8"]).await;
    let from = |list: &str| request(&format!("X-Forwarded-For: {list}\r\nX-Forwarded-Proto: https\r\n"));
    assert_eq!(edge.send(&from("6.6.6.6, 198.51.100.1")).await.status, 200);
    assert_eq!(upstream.last().header("x-forwarded-for"), None, "the proxy tells its upstream nothing");
    assert_eq!(edge.send(&from("7.7.7.7, 198.51.100.1, 127.0.0.9")).await.status, 429);
    assert_eq!(edge.send(&from("6.6.6.6, 198.51.100.2")).await.status, 200);
    // `Connection` takes headers out of a request, and must not take out who sent it.
    let hidden = format!("{}connection: x-forwarded-for\r\n\r\n", from("198.51.100.1").trim_end());
    let hidden = hidden.replacen("\r\nconnection: close", "", 1).replace("https", "https\r\nx-end: 1");
    assert_eq!(status_closing(&edge, &hidden).await, 429);
}

/// The proxy passes on what a caller wrote into the header that it does not set itself.
#[tokio::test]
async fn a_caller_cannot_hide_behind_a_trusted_proxy_with_a_header_that_the_proxy_does_not_set() {
    let upstream = Upstream::echo().await;
    for (header, set, passed) in [
        (TrustedHeader::XForwardedFor, "x-forwarded-for: 198.51.100.1", "forwarded: for=6.6.6.N"),
        (TrustedHeader::XForwardedFor, "x-forwarded-for: 198.51.100.1", "forwarded: for=\"N"),
        (TrustedHeader::Forwarded, "forwarded: for=198.51.100.1", "x-forwarded-for: 6.6.6.N"),
        (TrustedHeader::Forwarded, "forwarded: for=198.51.100.1", "x-forwarded-for: N"),
    ] {
        // Each with counts of its own.
        let region = Region::new();
        let mut all = resources(&region, &upstream.url(""));
        let limits = fleet::Limits { per_minute_per_node: 1, ..fleet::Limits::default() };
        let proxy = fleet::ProxyResource {
            limits_per_address: Some(limits),
            ..fixture::proxy_message(1, &[1], 1, 2)
        };
        all.push(fixture::resource(fixture::proxy_key(1), proxy.encode_to_vec()));
        let edge = behind_reading(header, &region, &all, &[], &["127.0.0.0/8"]);
        for (n, status) in [("1", 200), ("2", 429), ("3", 429)] {
            let said = request(&format!("{}\r\n{set}\r\n", passed.replace('N', n)));
            assert_eq!(edge.send(&said).await.status, status, "{said}");
            assert!(!upstream.last().text().contains("forwarded"), "neither goes on");
        }
    }
}

#[tokio::test]
async fn a_request_whose_sender_a_trusted_proxy_does_not_say_is_refused_and_the_record_says_why() {
    let (edge, upstream) = limited(&[], &["127.0.0.0/8"]).await;
    for said in
        ["x-forwarded-for: unknown\r\n", "x-forwarded-for: 6.6.6.6\r\nx-forwarded-for: 127.0.0.2,\r\n"]
    {
        // Alike, whoever asks for whatever.
        for request in
            [request(said), request(said).replace("proxy-1", "proxy-9"), get("/api/acme.proxy-1/x", said)]
        {
            let answer = edge.send(&request).await;
            assert_eq!((answer.status, &answer.json()["code"]), (400, &"malformed-request".into()));
        }
        // What names no proxy leaves no record.
        for _ in 0..2 {
            let record = edge.record().await;
            assert_eq!((&*record.code, &*record.reason), ("malformed-request", "sender"));
            assert_eq!(record.proxy, proxy_id(1).to_string());
        }
    }
    assert_eq!(upstream.count(), 0);
    assert_eq!(edge.send(&request("x-forwarded-for: unknown, 6.6.6.6\r\n")).await.status, 200);
}

#[tokio::test]
async fn an_upstream_is_told_of_callers_as_the_proxy_says_and_rules_see_it() {
    let upstream = Upstream::echo().await;
    let region = Region::new();
    let mut all = resources(&region, &upstream.url(""));
    for (n, how) in [(1, fleet::ForwardedHeaders::XForwarded), (2, fleet::ForwardedHeaders::Forwarded)] {
        let proxy = fleet::ProxyResource { forwarded: how.into(), ..fixture::proxy_message(n, &[1], 1, 2) };
        all.push(fixture::resource(fixture::proxy_key(n), proxy.encode_to_vec()));
    }
    let pattern = |regex: &str| Some(fleet::Pattern { regex: regex.to_owned(), ..Default::default() });
    let name_and_value = fleet::PairCheck {
        name: pattern("^x-forwarded-for$"),
        value: pattern("^198.51.100.66,"),
        absent: false,
    };
    let rule = fleet::RuleResource {
        effect: fleet::Effect::Deny.into(),
        when: Some(fleet::RequestMatch { headers: vec![name_and_value], ..Default::default() }),
        ..fixture::rule_message(1, fixture::proxy_key(1))
    };
    all.push(fixture::resource(fixture::rule_key(1), rule.encode_to_vec()));
    let said = "x-forwarded-for: 6.6.6.6, 198.51.100.1\r\nX-Real-IP: 6.6.6.6\r\nx-forwarded-port: 1\r\n";
    let (open, trusting) = (behind(&region, &all, &[], &[]), behind(&region, &all, &[], &["127.0.0.0/8"]));
    for (edge, chain, elements) in [
        (&open, "127.0.0.1", "for=127.0.0.1;proto=http;host=edge"),
        (&trusting, "198.51.100.1, 127.0.0.1", "for=198.51.100.1;proto=http;host=edge, for=127.0.0.1"),
    ] {
        assert_eq!(edge.send(&request(said)).await.status, 200);
        let seen = upstream.last();
        assert_eq!(seen.all("x-forwarded-for"), [chain]);
        assert_eq!(
            (seen.all("x-forwarded-proto"), seen.all("x-forwarded-host")),
            (vec!["http"], vec!["edge"])
        );
        assert!(!seen.text().contains("6.6.6.6") && seen.header("x-forwarded-port").is_none());
        let answer = edge.send(&request(said).replace("proxy-1", "proxy-2")).await;
        let seen = upstream.last();
        assert_eq!((answer.status, seen.all("forwarded")), (200, vec![elements]));
        assert!(!seen.text().contains("x-forwarded"), "in one form alone");
    }
    let denied = request("x-forwarded-for: 198.51.100.66\r\n");
    assert_eq!(open.send(&denied).await.status, 200);
    assert_eq!(trusting.send(&denied).await.status, 400);
}

/// Sends a request on a connection that is closed from this side.
async fn status_closing(edge: &Edge, request: &str) -> u16 {
    let mut stream = edge.connect().await;
    stream.write_all(request.as_bytes()).await.expect("the edge reads");
    Answer::read_one(&mut stream).await.status
}

#[tokio::test]
async fn a_load_balancer_says_whose_connection_it_is_before_anything_else() {
    let (edge, _upstream) = limited(&["127.0.0.1/32"], &["198.51.100.9/32"]).await;
    assert_eq!(status_behind(&edge, &header(1)).await, 200);
    assert_eq!(status_behind(&edge, &header(1)).await, 429);
    assert_eq!(status_behind(&edge, &header(2)).await, 200);
    // Torn anywhere.
    let whole = header(3);
    let mut pieces: Vec<&[u8]> = whole.chunks(1).collect();
    let text = request("");
    pieces.push(text.as_bytes());
    assert_eq!(Answer::parse(&send(&edge, &pieces).await).status, 200);
    // A caller that it names may be a trusted proxy.
    let behind = request("x-forwarded-for: 198.51.100.1\r\n");
    assert_eq!(Answer::parse(&send(&edge, &[&header(9), behind.as_bytes()]).await).status, 429);
    // A health check of its own.
    assert_eq!(status_behind(&edge, b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0").await, 200);
    // One that only connects.
    let mut stream = edge.connect().await;
    stream.shutdown().await.expect("it is open");
    assert_eq!(stream.read_to_end(&mut Vec::new()).await.expect("it is closed"), 0);
    assert_eq!(edge.cut(Cut::ProxyHeader).await, 0);
    let mut oversized = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff".to_vec();
    oversized.extend_from_slice(&[0; 4096]);
    for begin in [&b""[..], &header(4)[1..], &oversized, b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n"] {
        assert!(send(&edge, &[begin, request("").as_bytes()]).await.is_empty(), "it is closed");
    }
    assert_eq!(edge.cut(Cut::ProxyHeader).await, 4);
}

#[tokio::test]
async fn a_proxy_header_is_no_part_of_the_first_head() {
    let (upstream, region) = (Upstream::echo().await, Region::new());
    let snapshot = region.snapshot(&resources(&region, &upstream.url("")));
    let proxy_protocol_from = ["127.0.0.1/32".parse().expect("a network")].into();
    let neighbours = Neighbours { proxy_protocol_from, trusted: Trusted::default() };
    // Fewer bytes than both have together.
    let bounds = Bounds { heads: 4_100, ..Bounds::of(10) };
    let edge = Edge::start_behind(snapshot, &["127.0.0.0/8"], || Door { tls: None, neighbours }, bounds);
    let mut long = header(1);
    long[14..16].copy_from_slice(&4_000_u16.to_be_bytes());
    long.resize(16 + 4_000, 0);
    assert_eq!(status_behind(&edge, &long).await, 200);
    assert_eq!(edge.cut(Cut::Heads).await, 0);
}

#[tokio::test]
async fn a_proxy_header_from_anybody_else_is_no_request() {
    let (edge, upstream) = limited(&["192.0.2.0/24"], &[]).await;
    assert_eq!(edge.send(&request("")).await.status, 200, "nothing is expected of it");
    let answer = send(&edge, &[&header(1), request("").as_bytes()]).await;
    assert!(answer.is_empty() || Answer::parse(&answer).status == 400, "{answer:?}");
    assert_eq!(upstream.count(), 1);
}
