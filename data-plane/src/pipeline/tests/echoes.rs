//! Upstreams that send back the secret that they were sent: what goes out, what is recorded, and what is not held up.

use std::io::Write as _;

use prost::Message as _;
use rr_contract::api_key::{self, KeyKind};
use rr_contract::wire::fleet::{self, EchoGuard, EchoOutcome, FilterAction};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::mpsc::{Sender, channel};
use tokio::task::JoinHandle;

use crate::fixture::{Region, filter, proxy_key, proxy_message, resource};

use super::edge::{Answer, Edge};
use super::{HEADER, get, resources, with_key};

pub(super) const VALUE: &str = "sk-live-0123456789/abcdef+ghijkl";
const PATH: &str = "/api/acme.proxy-1/";

/// An upstream that answers each connection once, with the pieces that the test gives.
pub(super) struct Upstream {
    url: String,
    pieces: Sender<Vec<u8>>,
    heads: tokio::sync::mpsc::Receiver<String>,
    task: JoinHandle<()>,
}

impl Upstream {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("it is bound"));
        let (pieces, mut given) = channel::<Vec<u8>>(16);
        let (tell, heads) = channel(16);
        let task = rr_contract::runtime::Tasks::new().spawn("upstream", async move {
            loop {
                let (mut stream, _) = listener.accept().await.expect("it listens");
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    let Ok(byte) = stream.read_u8().await else { break };
                    head.push(byte);
                }
                tell.send(String::from_utf8(head).expect("text")).await.ok();
                // An empty piece ends the connection.
                while let Some(piece) = given.recv().await.filter(|piece| !piece.is_empty()) {
                    stream.write_all(&piece).await.ok();
                }
            }
        });
        Self { url, pieces, heads, task }
    }

    pub(super) async fn says(&self, piece: impl Into<Vec<u8>>) {
        self.pieces.send(piece.into()).await.expect("it runs");
    }

    /// An answer with this body and its length.
    pub(super) async fn answers(&self, headers: &str, body: &[u8]) {
        let head = format!("HTTP/1.1 200 OK\r\n{headers}content-length: {}\r\n\r\n", body.len());
        self.says([head.as_bytes(), body].concat()).await;
        self.says("").await;
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

pub(super) async fn edge_that(guard: EchoGuard, value: &str, more: &[fleet::Resource]) -> (Upstream, Edge) {
    let upstream = Upstream::start().await;
    let region = Region::new();
    let mut all = resources(&region, &upstream.url);
    all[3] = region.upstream(2, 1, value, HEADER, &[&upstream.url]);
    let proxy = fleet::ProxyResource { echo_guard: guard.into(), ..proxy_message(1, &[1], 1, 2) };
    all[4] = resource(proxy_key(1), proxy.encode_to_vec());
    all.extend_from_slice(more);
    (upstream, Edge::start(region.snapshot(&all), &["127.0.0.0/8"]))
}

fn body(answer: &Answer) -> &str {
    answer.text.split_once("\r\n\r\n").expect("a head").1
}

fn stars(text: &str) -> String {
    text.replace(VALUE, &"*".repeat(VALUE.len()))
}

/// What comes of an answer that is broken off.
async fn cut(edge: &Edge) -> Vec<u8> {
    let mut stream = edge.connect().await;
    stream.write_all(get(PATH, &with_key(1)).as_bytes()).await.expect("the edge reads");
    let mut got = Vec::new();
    // A reset is an end, too.
    stream.read_to_end(&mut got).await.ok();
    got
}

/// A body that came in chunks.
fn unchunked(mut chunks: &str) -> String {
    let mut text = String::new();
    while let Some((size, rest)) = chunks.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).expect("a size");
        text.push_str(&rest[..size]);
        chunks = &rest[size + 2..];
    }
    text
}

async fn asked(edge: &Edge, headers: &str) -> Answer {
    edge.send(&get(PATH, &format!("{}{headers}", with_key(1)))).await
}

#[tokio::test]
async fn a_secret_in_headers_and_body_is_masked_recorded_counted_and_told() {
    let (upstream, edge) = edge_that(EchoGuard::Unspecified, VALUE, &[]).await;
    let text = format!("{{\"headers\":{{\"x-api-key\":\"{VALUE}\"}}}}");
    upstream.answers(&format!("x-said: Bearer {VALUE};\r\n"), text.as_bytes()).await;
    let got = asked(&edge, "").await;
    assert_eq!((got.status, body(&got)), (200, &*stars(&text)), "{got:?}");
    assert_eq!(got.header("x-said"), Some(&*stars(&format!("Bearer {VALUE};"))));
    assert_eq!(got.header("content-length"), Some(&*text.len().to_string()));
    let record = edge.record().await;
    assert_eq!((record.echo(), record.code.as_str()), (EchoOutcome::Masked, "proxy-access-granted"));
    assert!(!record.aborted);
    assert_eq!((edge.totals().echoes_masked, edge.totals().echoes_refused), (1, 0));
    let told = edge.echoes_told();
    let [echoed] = &told[..] else { panic!("{told:?}") };
    assert_eq!((echoed.credential.to_string(), echoed.refused), (record.upstream_credential, false));
    assert_eq!((echoed.org.to_string(), echoed.proxy.to_string()), (record.org, record.proxy));

    upstream.answers("", b"{}").await;
    assert_eq!(body(&asked(&edge, "").await), "{}");
    assert_eq!(edge.record().await.echo(), EchoOutcome::Unspecified);
}

#[tokio::test]
async fn a_reason_phrase_that_is_the_secret_does_not_go_out() {
    let (upstream, edge) = edge_that(EchoGuard::Mask, VALUE, &[]).await;
    upstream.says(format!("HTTP/1.1 400 Bad key {VALUE}\r\ncontent-length: 0\r\n\r\n")).await;
    upstream.says("").await;
    let got = asked(&edge, "").await;
    assert_eq!(got.status, 400);
    assert!(!got.text.contains(VALUE), "{got:?}");
    assert_eq!(edge.record().await.echo(), EchoOutcome::Masked);
}

#[tokio::test]
async fn a_secret_that_is_cut_by_chunks_is_masked_behind_its_first_bytes() {
    let (upstream, edge) = edge_that(EchoGuard::Mask, VALUE, &[]).await;
    for cut in [1, 15, 16, 20, VALUE.len() - 1] {
        let (one, two) = VALUE.split_at(cut);
        let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
        upstream.says(format!("{head}{:x}\r\n{one}\r\n", one.len())).await;
        let mut stream = edge.connect().await;
        stream.write_all(get(PATH, &with_key(1)).as_bytes()).await.expect("the edge reads");
        let mut got = Vec::new();
        let seen = if cut < 16 { format!("\r\n{one}\r\n") } else { "\r\n\r\n".to_owned() };
        while !String::from_utf8_lossy(&got).contains(&seen) {
            got.push(stream.read_u8().await.expect("what is short comes at once"));
        }
        upstream.says(format!("{:x}\r\n{two}\r\n0\r\n\r\n", two.len())).await;
        upstream.says("").await;
        stream.read_to_end(&mut got).await.expect("the edge answers");
        let text = String::from_utf8(got).expect("text");
        assert!(text.contains(&"*".repeat(VALUE.len() - if cut < 16 { cut } else { 0 })), "{cut}: {text}");
        assert!(!text.contains(&VALUE[15..]), "{cut}: {text}");
        assert_eq!(edge.record().await.echo(), EchoOutcome::Masked);
    }
}

#[tokio::test]
async fn fewer_than_sixteen_bytes_of_a_secret_at_the_end_of_a_chunk_come_before_anything_else_does() {
    let (upstream, edge) = edge_that(EchoGuard::Mask, VALUE, &[]).await;
    let mut stream = edge.connect().await;
    stream.write_all(get(PATH, &with_key(1)).as_bytes()).await.expect("the edge reads");
    upstream
        .says("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
        .await;
    let mut got = Vec::new();
    for length in 0..16 {
        let event = format!("data: {length:02} {}", &VALUE[..length]);
        upstream.says(format!("{:x}\r\n{event}\r\n", event.len())).await;
        // Nothing further is said before it has come.
        while !String::from_utf8_lossy(&got).contains(&event) {
            got.push(stream.read_u8().await.expect("it comes at once"));
        }
        upstream.says("2\r\n\n\n\r\n").await;
    }
    upstream.says("0\r\n\r\n").await;
    upstream.says("").await;
    stream.read_to_end(&mut got).await.expect("the edge answers");
    assert_eq!(edge.record().await.echo(), EchoOutcome::Unspecified);
}

#[tokio::test]
async fn where_the_proxy_says_so_an_answer_with_the_secret_is_refused_and_one_that_has_begun_broken_off() {
    let (upstream, edge) = edge_that(EchoGuard::Refuse, VALUE, &[]).await;
    let hex = data_encoding::HEXLOWER.encode(VALUE.as_bytes());
    for (headers, text) in [(format!("x-said: {VALUE}\r\n"), ""), (String::new(), &*hex)] {
        upstream.answers(&headers, text.as_bytes()).await;
        let got = asked(&edge, "").await;
        assert_eq!((got.status, got.json()["code"].clone()), (502, "secret-echoed".into()), "{got:?}");
        let record = edge.record().await;
        assert_eq!((record.echo(), &*record.code), (EchoOutcome::Refused, "secret-echoed"));
    }
    let chunks = format!("6\r\nbefore\r\n{:x}\r\n{VALUE}\r\n6\r\nbehind\r\n0\r\n\r\n", VALUE.len());
    upstream.says(format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{chunks}")).await;
    upstream.says("").await;
    let got = String::from_utf8(cut(&edge).await).expect("text");
    assert!(!got.contains(&VALUE[15..]) && !got.contains("behind"), "{got}");
    assert!(!got.ends_with("0\r\n\r\n"), "it is not whole: {got}");
    let record = edge.record().await;
    assert_eq!((record.echo(), &*record.code, record.aborted), (EchoOutcome::Refused, "secret-echoed", true));
    assert_eq!((edge.totals().echoes_masked, edge.totals().echoes_refused), (0, 3));
    assert!(edge.echoes_told()[0].refused);

    upstream.answers("etag: \"a\"\r\n", b"good").await;
    let got = asked(&edge, "").await;
    assert_eq!((got.status, body(&got), got.header("etag")), (200, "good", Some("\"a\"")));
}

#[tokio::test]
async fn trailers_with_the_secret_break_off_an_answer_that_is_to_be_refused() {
    let (upstream, edge) = edge_that(EchoGuard::Refuse, VALUE, &[]).await;
    upstream
        .says(format!(
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-end\r\n\r\n2\r\nok\r\n0\r\nx-end: {VALUE}\r\n\r\n"
        ))
        .await;
    upstream.says("").await;
    let got = String::from_utf8(cut(&edge).await).expect("text");
    assert!(!got.contains(VALUE) && !got.ends_with("0\r\n\r\n"), "{got}");
    assert_eq!(edge.record().await.echo(), EchoOutcome::Refused);
}

#[tokio::test]
async fn requests_ask_for_what_can_be_searched_where_there_is_something_to_search_for() {
    let asks = "range: bytes=0-1\r\nif-range: \"a\"\r\naccept-encoding: br, gzip, zstd\r\n";
    for (guard, value, is_searched) in [
        (EchoGuard::Unspecified, VALUE, true),
        (EchoGuard::Mask, VALUE, true),
        (EchoGuard::Refuse, VALUE, true),
        (EchoGuard::Off, VALUE, false),
        (EchoGuard::Mask, "sk-23-characters-at-all", false),
    ] {
        let (mut upstream, edge) = edge_that(guard, value, &[]).await;
        let text = format!("the key is {value}");
        upstream.answers("", if is_searched { b"ok" } else { text.as_bytes() }).await;
        let got = asked(&edge, asks).await;
        assert_eq!(body(&got), if is_searched { "ok" } else { &*text });
        let head = upstream.heads.recv().await.expect("it was asked");
        assert_eq!(head.contains("range"), !is_searched, "{head}");
        assert_eq!(head.contains("accept-encoding: gzip\r\n"), is_searched, "{head}");
        assert_eq!(head.contains("accept-encoding: br, gzip, zstd\r\n"), !is_searched, "{head}");
        assert_eq!(edge.record().await.echo(), EchoOutcome::Unspecified);
    }
}

fn coded(coding: &str, text: &[u8]) -> Vec<u8> {
    match coding {
        "gzip" => crate::body::gzipped(text).to_vec(),
        "deflate" => {
            let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(text).expect("memory takes every write");
            encoder.finish().expect("memory takes every write")
        }
        "br" => {
            let mut coded = Vec::new();
            brotli::CompressorWriter::new(&mut coded, 4096, 5, 18).write_all(text).expect("it fits");
            coded
        }
        _ => {
            let mut coded = vec![0; text.len() + 1024];
            let length = zstd_safe::compress(&mut coded[..], text, 3).expect("it fits");
            coded.truncate(length);
            coded
        }
    }
}

#[tokio::test]
async fn a_coded_body_is_decoded_searched_and_passed_on_as_it_is() {
    let (upstream, edge) = edge_that(EchoGuard::Mask, VALUE, &[]).await;
    let long = (0..40_000).map(|n| format!("{n} ")).collect::<String>();
    let text = format!("{long}{VALUE} {long}");
    for coding in ["gzip", "deflate", "br", "zstd"] {
        let headers = format!("content-encoding: {coding}\r\netag: \"a\"\r\ncontent-md5: x\r\n");
        upstream.answers(&headers, &coded(coding, text.as_bytes())).await;
        let got = asked(&edge, "accept-encoding: gzip\r\n").await;
        let unchunked = unchunked(body(&got));
        assert!(got.status == 200 && unchunked == stars(&text), "{coding}: {:.300}", got.text);
        for name in ["content-encoding", "content-length", "content-md5"] {
            assert_eq!(got.header(name), None, "{coding}: {name}");
        }
        assert_eq!(got.header("etag"), Some("W/\"a\""));
        let record = edge.record().await;
        assert_eq!((record.echo(), record.aborted), (EchoOutcome::Masked, false));
        edge.holds_at_most(0).await;
    }
}

#[tokio::test]
async fn what_cannot_be_decoded_is_refused_or_broken_off() {
    let (upstream, edge) = edge_that(EchoGuard::Mask, VALUE, &[]).await;
    upstream.answers("content-encoding: rot13\r\n", b"abc").await;
    let got = asked(&edge, "").await;
    assert_eq!((got.status, got.json()["code"].clone()), (422, "response-not-json".into()));
    edge.record().await;
    upstream.says("HTTP/1.1 206 Part\r\ncontent-encoding: gzip\r\ncontent-length: 3\r\n\r\nabc").await;
    upstream.says("").await;
    assert_eq!(asked(&edge, "").await.status, 422);
    edge.record().await;
    let whole = coded("gzip", b"a text that is long enough to be cut somewhere in the middle of it");
    for broken in [&whole[..whole.len() - 9], b"no gzip at all", &[&whole[..], b"more"].concat()] {
        upstream.answers("content-encoding: gzip\r\n", broken).await;
        let got = cut(&edge).await;
        assert!(!got.ends_with(b"0\r\n\r\n"), "{}", String::from_utf8_lossy(&got));
        let record = edge.record().await;
        assert_eq!((record.aborted, &*record.code), (true, "response-not-json"));
    }
    // Without a body there is nothing to be decoded.
    upstream.says("HTTP/1.1 304 Same\r\ncontent-encoding: rot13\r\netag: \"a\"\r\n\r\n").await;
    upstream.says("").await;
    let got = asked(&edge, "").await;
    assert_eq!((got.status, got.header("content-encoding")), (304, Some("rot13")));
}

#[tokio::test]
async fn a_body_that_decodes_to_far_too_much_is_broken_off() {
    let (upstream, edge) = edge_that(EchoGuard::Mask, VALUE, &[]).await;
    for coding in ["gzip", "br", "zstd"] {
        upstream
            .answers(&format!("content-encoding: {coding}\r\n"), &coded(coding, &vec![0; 64 << 20]))
            .await;
        let got = cut(&edge).await;
        assert!(got.len() < 32 << 20, "{coding}: {} bytes", got.len());
        let record = edge.record().await;
        assert_eq!((record.aborted, &*record.code), (true, "response-too-large"), "{coding}");
    }
}

#[tokio::test]
async fn what_filters_go_over_is_searched_too() {
    let filters = [filter(1, proxy_key(1), FilterAction::Destroy, &["gone"])];
    let text = format!(r#"{{"gone":1,"key":"{}"}}"#, VALUE.replace('/', "\\/"));
    for guard in [EchoGuard::Mask, EchoGuard::Refuse] {
        let (upstream, edge) = edge_that(guard, VALUE, &filters).await;
        upstream.answers("content-type: application/json\r\n", text.as_bytes()).await;
        let got = asked(&edge, "").await;
        let outcome = edge.record().await.echo();
        if guard == EchoGuard::Mask {
            assert_eq!(body(&got), format!(r#"{{"key":"{}"}}"#, "*".repeat(VALUE.len() + 1)));
            assert_eq!(outcome, EchoOutcome::Masked);
        } else {
            assert_eq!((got.status, outcome), (502, EchoOutcome::Refused));
        }
    }
}

/// One that wants a caller's key of another edge is no exception.
#[tokio::test]
async fn a_key_of_another_edge_is_a_secret_too() {
    let key = String::from_utf8(api_key::make(KeyKind::Caller, &[9; 32]).0.expose().to_vec()).expect("ASCII");
    let (upstream, edge) = edge_that(EchoGuard::Mask, &key, &[]).await;
    upstream.answers("", key.as_bytes()).await;
    assert_eq!(body(&asked(&edge, "").await), "*".repeat(key.len()));
}
