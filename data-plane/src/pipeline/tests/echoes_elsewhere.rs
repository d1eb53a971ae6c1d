//! Secrets that are sent back with a handshake, behind a body of HTTP/2, in long answers, and beside numbers of meters.

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, Request, Response};
use http_body::Frame;
use http_body_util::StreamBody;
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message as _;
use rr_contract::wire::fleet::{self, EchoGuard, EchoOutcome};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

use crate::fixture::{self, Region, proxy_key};

use super::echoes::{VALUE, edge_that};
use super::edge::{Answer, Edge};
use super::limits::by_body;
use super::over_tls::Secure;
use super::websockets::{Raw, open, proxy, read_head, upgrade};
use super::{HEADER, get, resources, trailers, with_key};

const PATH: &str = "/api/acme.proxy-1/";
/// No test waits for longer than this.
const SOON: Duration = Duration::from_secs(20);

#[tokio::test]
async fn a_secret_in_the_head_that_opens_a_websocket_is_masked_or_refused() {
    for guard in [EchoGuard::Mask, EchoGuard::Refuse] {
        let (upstream, region) = (Raw::new().await, Region::new());
        let mut all = open(&region, &upstream.url());
        all.push(proxy(|proxy| proxy.echo_guard = guard.into()));
        all.push(region.upstream(2, 1, VALUE, HEADER, &[&upstream.url()]));
        let edge = Edge::start(region.snapshot(&all), &["127.0.0.0/8"]);
        let mut caller = edge.connect().await;
        caller.write_all(upgrade(PATH, &with_key(1)).as_bytes()).await.expect("the edge reads");
        let mut came = upstream.next().await;
        came.switch(&format!("x-said: key {VALUE}\r\n"), "").await;
        if guard == EchoGuard::Refuse {
            let answer = Answer::read_one(&mut caller).await;
            assert_eq!((answer.status, answer.json()["code"].clone()), (502, "secret-echoed".into()));
            assert_eq!(edge.record().await.echo(), EchoOutcome::Refused);
            continue;
        }
        let head = read_head(&mut caller).await;
        assert!(head.starts_with("HTTP/1.1 101 ") && !head.contains(VALUE), "{head}");
        assert!(head.contains(&format!("x-said: key {}\r\n", "*".repeat(VALUE.len()))), "{head}");
        drop((caller, came));
        assert_eq!(edge.record().await.echo(), EchoOutcome::Masked);
    }
}

#[tokio::test]
async fn trailers_behind_a_body_of_known_length_come_through_a_guard_that_refuses() {
    let upstream = Secure::serving(b"h2", |stream| async move {
        let service = service_fn(|_: Request<Incoming>| async {
            let trailers = HeaderMap::from_iter([(http::header::ETAG, "end".parse().expect("a value"))]);
            let frames = [Frame::data(Bytes::from_static(b"ok")), Frame::trailers(trailers)];
            let mut response = Response::new(StreamBody::new(stream::iter(frames.map(Ok::<_, Infallible>))));
            response.headers_mut().insert(CONTENT_LENGTH, 2.into());
            Ok::<_, Infallible>(response)
        });
        let server = http2::Builder::new(TokioExecutor::new());
        // The test sees how it ended on the other side.
        server.serve_connection(TokioIo::new(stream), service).await.ok();
    })
    .await;
    let region = Region::new();
    let mut all = resources(&region, &upstream.url());
    all[3] = region.upstream(2, 1, VALUE, HEADER, &[&upstream.url()]);
    let refuses = fleet::ProxyResource {
        echo_guard: EchoGuard::Refuse.into(),
        ..fixture::proxy_message(1, &[1], 1, 2)
    };
    all.push(fixture::resource(proxy_key(1), refuses.encode_to_vec()));
    let edge = Edge::start_trusting(region.snapshot(&all), &["127.0.0.0/8", "::1/128"], upstream.trust());
    let (head, trailers) = trailers::ask(&edge).await;
    assert_eq!(
        (&head.headers[CONTENT_LENGTH], &trailers[http::header::ETAG]),
        (&"2".parse().expect("a value"), &"end".parse().expect("a value"))
    );
}

#[tokio::test]
async fn a_long_answer_that_would_be_refused_begins_before_all_of_it_has_come_and_a_short_one_does_not() {
    for (length, begins) in [(1024 * 1024 + 1, true), (1024 * 1024, false)] {
        let (upstream, edge) = edge_that(EchoGuard::Refuse, VALUE, &[]).await;
        let mut caller = edge.connect().await;
        caller.write_all(get(PATH, &with_key(1)).as_bytes()).await.expect("the edge reads");
        upstream.says(format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\nbegin")).await;
        let mut got = Vec::new();
        if begins {
            let reads = async {
                while !got.ends_with(b"begin") {
                    got.push(caller.read_u8().await.expect("it is open"));
                }
            };
            timeout(SOON, reads).await.expect("it comes before the rest is said");
        }
        let rest = length - "begin".len() - VALUE.len();
        upstream.says([&vec![b'.'; rest], VALUE.as_bytes()].concat()).await;
        upstream.says("").await;
        // A reset is an end, too.
        caller.read_to_end(&mut got).await.ok();
        let text = String::from_utf8(got).expect("text");
        assert_eq!(text.starts_with("HTTP/1.1 502 "), !begins, "{text:.100}");
        assert!(!text.contains(VALUE));
        assert_eq!(edge.record().await.echo(), EchoOutcome::Refused);
    }
}

#[tokio::test]
async fn a_meter_reads_its_number_from_json_alone_where_a_guard_has_read_the_answer() {
    let (upstream, edge) = edge_that(EchoGuard::Refuse, VALUE, &[by_body(1, 7, 1_000)]).await;
    for (media, charged) in [("application/json", 500_000_000), ("text/plain", 7_000_000)] {
        upstream.answers(&format!("content-type: {media}\r\n"), br#"{"usage":{"total":500}}"#).await;
        assert_eq!(edge.send(&get(PATH, &with_key(1))).await.status, 200);
        assert_eq!(edge.record().await.meters[0].charged_millionths, charged, "{media}");
    }
}

#[tokio::test]
async fn the_beginning_of_a_secret_goes_on_after_a_while_though_its_upstream_says_nothing_more() {
    let (upstream, edge) = edge_that(EchoGuard::Mask, VALUE, &[]).await;
    let mut caller = edge.connect().await;
    caller.write_all(get(PATH, &with_key(1)).as_bytes()).await.expect("the edge reads");
    let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    upstream.says(format!("{head}8\r\nat once.\r\n14\r\n{}\r\n", &VALUE[..20])).await;
    let mut got = Vec::new();
    let mut reads = async |end: &str| {
        while !String::from_utf8_lossy(&got).contains(end) {
            got.push(caller.read_u8().await.expect("it is open"));
        }
    };
    timeout(SOON, reads("at once.")).await.expect("it comes at once");
    edge.skips(Duration::from_secs(6)).await;
    timeout(SOON, reads(&VALUE[..20])).await.expect("it comes after a while");
    upstream.says("0\r\n\r\n").await;
    upstream.says("").await;
    timeout(SOON, reads("0\r\n\r\n")).await.expect("it ends");
    assert_eq!(edge.record().await.echo(), EchoOutcome::Unspecified);
}
