//! Bodies that decode to very much more than came, in each coding: through filters and meters of streams, and as requests
//! that filters or a schema have to look at. What a node holds for them is bounded, and what it says is clear.

use std::time::Duration;

use prost::Message as _;
use rr_contract::wire::fleet::{self, Detector, FilterAction, FilterDirection};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

use crate::body::{Coding, encoded};
use crate::fixture::{Region, filter, proxy_key, proxy_message, redacts, resource};
use crate::seats::Bounds;

use super::edge::{Answer, Edge};
use super::limits::{PATH, by_body};
use super::origin::Upstream;
use super::{get, resources, with_key};

const CODINGS: [(Coding, &str); 4] =
    [(Coding::Gzip, "gzip"), (Coding::Deflate, "deflate"), (Coding::Br, "br"), (Coding::Zstd, "zstd")];
/// What a bomb decodes to.
const DECODED: usize = 16 * 1024 * 1024;
/// More than may be decoded of any, and the largest window of a coding; less than a bomb decodes to and its window.
const ROOM: usize = 20 * 1024 * 1024;
/// What a bomb may decode to before it is stopped, whatever its ratio.
const FREE: usize = 1024 * 1024;
/// Long for whatever has to happen; a test that waits for it has failed.
const FAILED: Duration = Duration::from_secs(60);

/// A node that holds no more bytes of bodies than one bomb may come to.
fn edge_with(upstream: &Upstream, more: impl IntoIterator<Item = fleet::Resource>) -> Edge {
    let region = Region::new();
    let mut all = resources(&region, &upstream.url(""));
    all.extend(more);
    Edge::start_holding(region.snapshot(&all), &["127.0.0.0/8"], ROOM, Bounds::of(100))
}

/// Very many spaces, and a number behind them that is only seen by who goes over all.
fn streams() -> [(&'static str, String); 2] {
    let spaces = " ".repeat(64 * 1024);
    let (event, line) = (format!(":{spaces}\n\n"), format!("7{spaces}\n"));
    let number = r#"{"usage":{"total":5}}"#;
    [
        ("text/event-stream", format!("{}data: {number}\n\n", event.repeat(DECODED / event.len()))),
        ("application/x-ndjson", format!("{}{number}\n", line.repeat(DECODED / line.len()))),
    ]
}

async fn post(edge: &Edge, headers: &str, body: &[u8]) -> Vec<u8> {
    let headers = format!("{}{headers}content-length: {}\r\n", with_key(1), body.len());
    let head = get(PATH, &headers).replacen("GET", "POST", 1);
    let mut stream = edge.connect().await;
    let (mut reading, mut writing) = stream.split();
    let mut answer = Vec::new();
    let (sent, _) = timeout(FAILED, async {
        tokio::join!(
            async { writing.write_all(&[head.as_bytes(), body].concat()).await },
            // One that is broken off may be reset.
            reading.read_to_end(&mut answer)
        )
    })
    .await
    .expect("in time");
    sent.expect("the edge reads");
    answer
}

fn split(answer: &[u8]) -> (String, &[u8]) {
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").expect("a head");
    (String::from_utf8_lossy(&answer[..end]).into_owned(), &answer[end + 4..])
}

#[tokio::test]
async fn a_stream_that_filters_go_over_is_cut_where_it_is_a_bomb() {
    let upstream = Upstream::mirror().await;
    let edge = edge_with(&upstream, [filter(1, proxy_key(1), FilterAction::Destroy, &["secret"])]);
    for (kind, stream) in streams() {
        for (coding, name) in CODINGS {
            let bomb = encoded(coding, stream.as_bytes());
            let headers = format!("content-type: {kind}\r\ncontent-encoding: {name}\r\n");
            let answer = post(&edge, &headers, &bomb).await;
            let (head, body) = split(&answer);
            assert!(
                head.starts_with("HTTP/1.1 200") && !body.ends_with(b"0\r\n\r\n"),
                "{kind} {name}: {head}"
            );
            let most = FREE.max(100 * bomb.len());
            assert!(body.len() < most + most / 8, "{kind} {name}: {} of {}", body.len(), bomb.len());
            let record = edge.record().await;
            assert_eq!((&*record.code, record.aborted), ("response-too-large", true), "{kind} {name}");
            edge.holds_at_most(0).await;
        }
    }
}

#[tokio::test]
async fn a_stream_that_a_meter_reads_passes_though_it_is_a_bomb_and_its_number_is_missing() {
    let upstream = Upstream::mirror().await;
    let edge = edge_with(&upstream, [by_body(9, 7, 1_000_000)]);
    for (kind, stream) in streams() {
        for (coding, name) in CODINGS {
            let bomb = encoded(coding, stream.as_bytes());
            let headers = format!("content-type: {kind}\r\ncontent-encoding: {name}\r\n");
            let answer = post(&edge, &headers, &bomb).await;
            let (head, body) = split(&answer);
            assert!(head.starts_with("HTTP/1.1 200"), "{kind} {name}: {head}");
            let came = if head.to_lowercase().contains("transfer-encoding: chunked") {
                unchunked(body)
            } else {
                body.to_vec()
            };
            assert!(came == bomb, "{kind} {name}: {} bytes of {}", came.len(), bomb.len());
            let record = edge.record().await;
            let meter = &record.meters[0];
            assert_eq!((record.status, record.aborted, meter.missing), (200, false, true), "{kind} {name}");
            assert_eq!(meter.charged_millionths, 7_000_000, "{kind} {name}");
            edge.holds_at_most(0).await;
        }
    }
}

fn unchunked(mut rest: &[u8]) -> Vec<u8> {
    let mut whole = Vec::new();
    while let Some(end) = rest.windows(2).position(|two| two == b"\r\n") {
        let length = std::str::from_utf8(&rest[..end]).expect("a length");
        let length = usize::from_str_radix(length, 16).expect("a length");
        whole.extend_from_slice(&rest[end + 2..end + 2 + length]);
        rest = &rest[end + 4 + length..];
    }
    whole
}

/// A document that is one, if all of it is read.
fn document() -> String {
    format!("{{\"a\":1{}}}", " ".repeat(DECODED - 7))
}

#[tokio::test]
async fn a_request_that_filters_have_to_go_over_is_refused_where_it_is_a_bomb() {
    let upstream = Upstream::mirror().await;
    let edge = edge_with(&upstream, [redacts(1, proxy_key(1), FilterDirection::Request, &[Detector::Email])]);
    let document = document();
    for (coding, name) in CODINGS {
        let bomb = encoded(coding, document.as_bytes());
        let headers = format!("content-type: application/json\r\ncontent-encoding: {name}\r\n");
        let answer = Answer::parse(&post(&edge, &headers, &bomb).await);
        assert_eq!(
            (answer.status, answer.json()["code"].clone()),
            (413, "request-too-large".into()),
            "{name}"
        );
        edge.holds_at_most(0).await;
        // One that decodes to no more than it may is redacted.
        let small = encoded(coding, format!("[\"a@b.de\"{}]", " ".repeat(FREE / 2)).as_bytes());
        let answer = post(&edge, &headers, &small).await;
        let (head, body) = split(&answer);
        assert!(head.starts_with("HTTP/1.1 200"), "{name}: {head}");
        assert!(String::from_utf8_lossy(body).contains("[\"***\""), "{name}");
    }
    assert_eq!(upstream.count(), CODINGS.len(), "of bombs nothing goes out");
}

#[tokio::test]
async fn a_request_that_a_schema_is_about_is_refused_where_it_is_a_bomb() {
    let upstream = Upstream::mirror().await;
    let what = fleet::validation::What::JsonSchema(r#"{"type":"object"}"#.to_owned());
    let validation = Some(fleet::Validation { what: Some(what), ..Default::default() });
    let proxy = fleet::ProxyResource { validation, ..proxy_message(1, &[1], 1, 2) };
    let edge = edge_with(&upstream, [resource(proxy_key(1), proxy.encode_to_vec())]);
    let document = document();
    for (coding, name) in CODINGS {
        let bomb = encoded(coding, document.as_bytes());
        let headers = format!("content-type: application/json\r\ncontent-encoding: {name}\r\n");
        let answer = Answer::parse(&post(&edge, &headers, &bomb).await);
        let problem = answer.json();
        assert_eq!((answer.status, problem["code"].clone()), (400, "invalid-request".into()), "{name}");
        assert_eq!(problem["violation"]["keyword"], "unreadable", "{name}");
        edge.holds_at_most(0).await;
        let small = encoded(coding, format!("{{\"a\":1{}}}", " ".repeat(FREE / 2)).as_bytes());
        let answer = post(&edge, &headers, &small).await;
        assert!(answer.starts_with(b"HTTP/1.1 200"), "{name}: {}", split(&answer).0);
    }
    assert_eq!(upstream.count(), CODINGS.len(), "of bombs nothing goes out");
}
