//! Filters on real responses: what goes out, and what does not.

use prost::Message as _;
use rr_contract::wire::fleet::{self, FilterAction};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::fixture::{Region, credential_key, filter, proxy_key, proxy_message, resource, target_key};

use super::edge::{Answer, Edge};
use super::origin::Upstream;
use super::over_tls::Secure;
use super::{get, resources, with_key};

pub(super) fn edge_with(upstream: &Upstream, more: impl IntoIterator<Item = fleet::Resource>) -> Edge {
    let region = Region::new();
    let mut all = resources(&region, &upstream.url(""));
    all.extend(more);
    Edge::start(region.snapshot(&all), &["127.0.0.0/8"])
}

/// Has the upstream answer with this body under these headers.
pub(super) async fn answer(edge: &Edge, headers: &str, body: &[u8]) -> Answer {
    let headers = format!("{}{headers}content-length: {}\r\n", with_key(1), body.len());
    let head = get("/api/acme.proxy-1/", &headers).replace("GET", "POST");
    let mut stream = edge.connect().await;
    stream.write_all(&[head.as_bytes(), body].concat()).await.expect("the edge reads");
    Answer::read_one(&mut stream).await
}

pub(super) const JSON: &str = "content-type: application/json\r\n";

pub(super) fn body(answer: &Answer) -> &str {
    answer.text.split_once("\r\n\r\n").expect("a head").1
}

#[tokio::test]
async fn the_filters_of_all_four_parents_run_and_nothing_comes_back() {
    let upstream = Upstream::mirror().await;
    let filters = [
        filter(1, credential_key(2), FilterAction::Destroy, &["a"]),
        filter(2, target_key(1), FilterAction::Destroy, &["b"]),
        filter(3, credential_key(1), FilterAction::Mask, &["c"]),
        filter(4, proxy_key(1), FilterAction::Retain, &["a", "b", "c", "d"]),
    ];
    let edge = edge_with(&upstream, filters);
    let got = answer(&edge, JSON, br#"{"a":1,"b":2,"c":3,"d":4.0,"e":5}"#).await;
    assert_eq!((got.status, body(&got)), (200, r#"{"c":"***","d":4.0}"#), "{got:?}");
    let effect = edge.record().await.filters.expect("they ran");
    assert_eq!((effect.filters, effect.bytes_before), (4, 33));
}

#[tokio::test]
async fn a_response_that_filters_cannot_go_over_does_not_go_out() {
    let upstream = Upstream::mirror().await;
    let edge = edge_with(&upstream, [filter(1, proxy_key(1), FilterAction::Destroy, &["secret"])]);
    for (headers, text) in [
        ("content-type: text/html\r\n", "<secret>"),
        ("content-type: application/json-seq\r\n", "{\"secret\":1}"),
        (JSON, "{\"secret\":1"),
        ("content-type: application/json\r\ncontent-encoding: rot13\r\n", "{}"),
        ("content-type: application/json\r\ncontent-encoding: gzip\r\n", "{}"),
    ] {
        let got = answer(&edge, headers, text.as_bytes()).await;
        assert_eq!((got.status, got.json()["code"].clone()), (422, "response-not-json".into()), "{text}");
        assert!(!got.text.contains("secret\":1"));
    }
    let endless = Upstream::endless().await;
    let edge = edge_with(&endless, [filter(1, proxy_key(1), FilterAction::Destroy, &["secret"])]);
    let got = edge.send(&get("/api/acme.proxy-1/", &with_key(1))).await;
    assert_eq!((got.status, got.json()["code"].clone()), (413, "response-too-large".into()));
}

#[tokio::test]
async fn a_body_under_a_status_that_has_none_is_filtered_all_the_same() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let region = Region::new();
    let url = format!("http://{}", listener.local_addr().expect("it is bound"));
    let mut all = resources(&region, &url);
    all.push(filter(1, proxy_key(1), FilterAction::Destroy, &["secret"]));
    let edge = Edge::start(region.snapshot(&all), &["127.0.0.0/8"]);
    let answering = async {
        let (mut stream, _) = listener.accept().await.expect("the edge connects");
        assert_ne!(stream.read(&mut [0; 4096]).await.expect("the edge sends"), 0);
        let head = "HTTP/1.1 205 X\r\ncontent-type: application/json\r\ncontent-length: 22\r\n\r\n";
        let text = format!(r#"{head}{{"secret":1,"kept":22}}"#);
        stream.write_all(text.as_bytes()).await.expect("the edge reads");
    };
    let request = get("/api/acme.proxy-1/", &with_key(1));
    let (got, ()) = tokio::join!(edge.send(&request), answering);
    assert!(!got.text.contains("secret"), "{got:?}");
    assert_eq!(got.status, 205);
    assert!(edge.record().await.filters.is_some());
}

#[tokio::test]
async fn a_compressed_response_is_filtered_and_goes_out_compressed_to_a_caller_that_takes_it() {
    let upstream = Upstream::mirror().await;
    let edge = edge_with(&upstream, [filter(1, proxy_key(1), FilterAction::Destroy, &["secret"])]);
    let coded = crate::body::gzipped(br#"{"secret":1,"kept":2}"#);
    let got = answer(&edge, "content-type: application/json\r\ncontent-encoding: gzip\r\n", &coded).await;
    assert_eq!((got.status, body(&got), got.header("content-encoding")), (200, r#"{"kept":2}"#, None));
    assert_eq!(upstream.last().header("accept-encoding"), None, "nobody asked for a coding");
    for (accepted, asked) in [
        ("accept-encoding: br, gzip\r\n", "gzip"),
        ("accept-encoding: br\r\naccept-encoding: gzip;q=0.5\r\n", "gzip"),
        ("accept-encoding: gzip\r\naccept-encoding: br\r\n", "gzip"),
        ("accept-encoding: br\r\n", "identity"),
        ("accept-encoding: gzip;q=0, *\r\n", "identity"),
    ] {
        let headers = format!("content-type: application/json\r\ncontent-encoding: gzip\r\n{accepted}");
        let got = answer(&edge, &headers, &coded).await;
        let coding = Some("gzip").filter(|_| asked == "gzip");
        assert_eq!((got.status, got.header("content-encoding")), (200, coding), "{accepted}");
        assert_eq!(upstream.last().all("accept-encoding"), [asked], "{accepted}");
    }
}

#[tokio::test]
async fn a_part_of_a_document_is_neither_asked_for_nor_let_through() {
    let upstream = Upstream::mirror().await;
    let edge = edge_with(&upstream, [filter(1, proxy_key(1), FilterAction::Destroy, &["secret"])]);
    let got = answer(&edge, "content-type: application/json\r\nrange: bytes=10-20\r\n", b"{}").await;
    assert_eq!(got.status, 200);
    assert_eq!(upstream.last().header("range"), None);
}

/// An edge in front of an upstream that does as it is told, with a filter that takes `secret` out.
async fn filtering() -> (Upstream, Edge) {
    let upstream = Upstream::told().await;
    let edge = edge_with(&upstream, [filter(1, proxy_key(1), FilterAction::Destroy, &["secret"])]);
    (upstream, edge)
}

#[tokio::test]
async fn only_what_succeeded_is_filtered_and_a_part_of_it_does_not_go_out() {
    let (_upstream, edge) = filtering().await;
    for (status, wanted, left) in [
        (200, 200, r#"{"kept":2}"#),
        (201, 201, r#"{"kept":2}"#),
        (404, 404, r#"{"secret":1,"kept":2}"#),
        (500, 500, r#"{"secret":1,"kept":2}"#),
        (206, 422, ""),
    ] {
        let got = answer(&edge, &format!("x-status: {status}\r\n"), br#"{"secret":1,"kept":2}"#).await;
        assert_eq!(got.status, wanted, "{status}: {got:?}");
        assert!(wanted == 422 || body(&got) == left, "{status}: {got:?}");
        assert!(wanted != 422 || !got.text.contains("secret"), "{got:?}");
    }
    let got = answer(&edge, "x-status: 404\r\nx-answer-content-type: text/html\r\n", b"<p>").await;
    assert_eq!((got.status, body(&got)), (404, "<p>"));
}

#[tokio::test]
async fn what_headers_say_of_the_bytes_goes_with_them_and_a_tag_becomes_weak() {
    let (_upstream, edge) = filtering().await;
    let of_the_bytes = ["accept-ranges", "content-md5", "content-digest", "repr-digest"];
    let told: String = of_the_bytes.iter().map(|name| format!("x-answer-{name}: x\r\n")).collect();
    for (text, left) in [(r#"{"secret":1,"kept":2}"#, r#"{"kept":2}"#), (r#"{"kept":2}"#, r#"{"kept":2}"#)] {
        let headers = format!("{told}x-answer-etag: \"v1\"\r\nx-answer-content-length: {}\r\n", text.len());
        let got = answer(&edge, &headers, text.as_bytes()).await;
        assert_eq!((got.status, body(&got)), (200, left), "{got:?}");
        assert_eq!(got.all("content-length"), [left.len().to_string()]);
        assert_eq!(got.all("etag"), ["W/\"v1\""]);
        for name in of_the_bytes {
            assert_eq!(got.header(name), None, "{name}");
        }
    }
    let got = answer(&edge, "x-answer-etag: W/\"v1\"\r\n", b"{}").await;
    assert_eq!(got.all("etag"), ["W/\"v1\""]);
    let error = format!("x-status: 404\r\n{told}x-answer-etag: \"v1\"\r\n");
    let got = answer(&edge, &error, b"{}").await;
    assert_eq!((got.header("etag"), got.header("content-md5")), (Some("\"v1\""), Some("x")), "not filtered");
}

#[tokio::test]
async fn the_upstream_is_asked_for_what_can_be_read_and_compressed_only_where_it_was() {
    let (upstream, edge) = filtering().await;
    for (accepts, asked) in [
        ("", "identity"),
        ("br, zstd", "identity"),
        ("gzip;q=0, br", "identity"),
        ("gzip; q=0.000", "identity"),
        ("GZip;q=0.5", "gzip"),
        ("br, gzip", "gzip"),
    ] {
        let headers = format!("accept-encoding: {accepts}\r\nrange: bytes=0-1\r\nif-range: \"v1\"\r\n");
        let got = answer(&edge, &headers, br#"{"kept":2}"#).await;
        assert_eq!((got.status, body(&got), got.header("content-encoding")), (200, r#"{"kept":2}"#, None));
        let seen = upstream.last();
        assert_eq!(seen.all("accept-encoding"), [asked], "{accepts}");
        assert_eq!((seen.header("range"), seen.header("if-range")), (None, None));
    }
    let plain = edge_with(&upstream, []);
    answer(&plain, "accept-encoding: br\r\nrange: bytes=0-1\r\n", b"{}").await;
    let seen = upstream.last();
    assert_eq!((seen.header("accept-encoding"), seen.header("range")), (Some("br"), Some("bytes=0-1")));
}

#[tokio::test]
async fn a_response_that_decodes_to_far_more_than_came_is_too_large() {
    let (_upstream, edge) = filtering().await;
    let coded = |length| crate::body::gzipped(format!("{}1", " ".repeat(length)).as_bytes());
    for (length, status) in [(1_000_000, 200), (3_000_000, 413)] {
        let got = answer(&edge, "x-answer-content-encoding: gzip\r\n", &coded(length)).await;
        assert_eq!(got.status, status, "{length}");
    }
}

#[tokio::test]
async fn the_proxys_bound_on_responses_holds_for_those_that_are_filtered() {
    let upstream = Upstream::told().await;
    let bounded = fleet::ProxyResource { max_response_bytes: 10, ..proxy_message(1, &[1], 1, 2) };
    let filter = filter(1, proxy_key(1), FilterAction::Destroy, &["secret"]);
    let edge = edge_with(&upstream, [resource(proxy_key(1), bounded.encode_to_vec()), filter]);
    for (text, status) in [(&br#"{"kept":2}"#[..], 200), (br#"{"kept":22}"#, 413)] {
        assert_eq!(answer(&edge, "", text).await.status, status);
        let chunks = format!("{:x}\r\n{}\r\n0\r\n\r\n", text.len(), String::from_utf8_lossy(text));
        let head = get("/api/acme.proxy-1/", &format!("{}transfer-encoding: chunked\r\n", with_key(1)));
        let got = edge.send(&format!("{}{chunks}", head.replace("GET", "POST"))).await;
        assert_eq!(got.status, status, "without a length");
    }
}

#[tokio::test]
async fn an_empty_response_passes_whatever_its_headers_say() {
    let (_upstream, edge) = filtering().await;
    let chunked = format!("{}transfer-encoding: chunked\r\n", with_key(1));
    let post = get("/api/acme.proxy-1/", &chunked).replace("GET", "POST");
    assert_eq!(edge.send(&format!("{post}0\r\n\r\n")).await.status, 200);
    assert!(!edge.record().await.aborted);
    for (method, status) in [("HEAD", 200), ("GET", 204), ("GET", 205), ("GET", 200)] {
        let headers = format!("{}x-status: {status}\r\nx-answer-content-type: text/html\r\n", with_key(1));
        let got = edge.send(&get("/api/acme.proxy-1/", &headers).replace("GET", method)).await;
        assert_eq!((got.status, body(&got)), (status, ""), "{method} {status}");
    }
}

/// Speaks HTTP/2, and answers with a head that does not say that nothing follows it, and then with nothing.
async fn open_ended(status: u8) -> Secure {
    Secure::serving(b"h2", move |mut stream| async move {
        let mut preface = [0; 24];
        stream.read_exact(&mut preface).await.expect("the edge speaks first");
        stream.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await.expect("the edge reads");
        let mut head = [0; 9];
        while stream.read_exact(&mut head).await.is_ok() {
            let [a, b, c, kind, _, id @ ..] = head;
            let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
            stream.read_exact(&mut payload).await.expect("frames are whole");
            if kind == 1 {
                // The status and a content type; then DATA that ends the stream.
                let fields = [&[status, 0x5f, 9][..], b"text/html"].concat();
                let frames = [&[0, 0, 12, 1, 4][..], &id, &fields, &[0, 0, 0, 0, 1], &id].concat();
                stream.write_all(&frames).await.expect("the edge reads");
            }
        }
    })
    .await
}

#[tokio::test]
async fn what_has_no_body_passes_though_the_upstream_leaves_its_end_open() {
    for (method, status, said) in [("HEAD", 200, 0x88), ("GET", 204, 0x89)] {
        let upstream = open_ended(said).await;
        let region = Region::new();
        let mut all = resources(&region, &upstream.url());
        all.push(filter(1, proxy_key(1), FilterAction::Destroy, &["secret"]));
        let snapshot = region.snapshot(&all);
        let edge = Edge::start_trusting(snapshot, &["127.0.0.0/8", "::1/128"], upstream.trust());
        let got = edge.send(&get("/api/acme.proxy-1/", &with_key(1)).replace("GET", method)).await;
        assert_eq!((got.status, body(&got)), (status, ""), "{method}: {got:?}");
    }
}
