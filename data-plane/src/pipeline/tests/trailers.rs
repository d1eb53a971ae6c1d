//! Trailers of upstreams' answers: what the proxy takes out of heads does not come behind the body.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, response};
use http_body::Frame;
use http_body_util::{BodyExt as _, Empty, StreamBody};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message as _;
use rr_contract::runtime::Tasks;
use rr_contract::wire::fleet;

use crate::fixture::{self, Region, caller_key, proxy_key};
use crate::upstream::Trust;

use super::edge::Edge;
use super::over_tls::Secure;
use super::script::Script;
use super::{get, resources, with_key};

const PATH: &str = "/api/acme.proxy-1/";

type Pairs = &'static [(&'static str, &'static str)];

/// What an upstream ends with, over either protocol.
const SENT: Pairs = &[
    ("grpc-status", "0"),
    ("x-internal", "secret"),
    ("x-internal", "twice"),
    ("x-from", "moved"),
    ("x-to", "was there"),
    ("x-set", "behind"),
    ("x-add", "behind"),
    ("x-kept", "kept"),
    ("access-control-allow-origin", "*"),
    ("requestrocket-proxy-code", "forged"),
    ("requestrocket_proxy_code", "forged"),
    ("content-length", "3"),
    ("content-type", "text/html"),
    ("host", "evil"),
    ("set-cookie", "a=1"),
    ("www-authenticate", "Basic"),
    ("trailer", "x"),
];

/// What only HTTP/1.1 can say.
const OF_ONE_HOP: Pairs = &[
    ("transfer-encoding", "chunked"),
    ("connection", "x-of-the-hop"),
    ("x-of-the-hop", "1"),
    ("keep-alive", "x"),
];

fn map(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
    pairs
        .iter()
        .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
        .collect()
}

/// A worker whose proxy changes responses, and has a word on pages, or neither.
fn edge(upstream: &str, trust: Arc<Trust>, is_shaped: bool) -> Edge {
    let region = Region::new();
    let mut all = resources(&region, upstream);
    let pair = |name: &str| fleet::Pair { name: name.to_owned(), value: "head".to_owned() };
    let edits = fleet::PairEdits {
        remove: vec!["x-internal".to_owned()],
        rename: vec![fleet::Rename { from: "x-from".to_owned(), to: "x-to".to_owned() }],
        set: vec![pair("x-set")],
        add: vec![pair("x-add"), pair("x-new")],
    };
    if is_shaped {
        let proxy = fleet::ProxyResource {
            rewrite: Some(fleet::Rewrite { response_headers: Some(edits), ..fleet::Rewrite::default() }),
            cors: Some(fleet::Cors { origins: vec!["*".to_owned()], ..fleet::Cors::default() }),
            ..fixture::proxy_message(1, &[1], 1, 2)
        };
        all.push(fixture::resource(proxy_key(1), proxy.encode_to_vec()));
    }
    Edge::start_trusting(region.snapshot(&all), &["127.0.0.0/8", "::1/128"], trust)
}

async fn over_http1() -> Script {
    let lines = SENT.iter().chain(OF_ONE_HOP).map(|(name, value)| format!("{name}: {value}\r\n"));
    let trailers: String = lines.collect();
    Script::start(move |_| {
        format!(
            "HTTP/1.1 200 OK\r\nx-internal: head\r\ntrailer: x-internal, x-kept\r\ntransfer-encoding: chunked\r\n\r\n\
             2\r\nok\r\n0\r\n{trailers}\r\n"
        )
    })
    .await
}

async fn over_http2() -> Secure {
    Secure::serving(b"h2", |stream| async move {
        let service = service_fn(|_: Request<Incoming>| async {
            let frames = [Frame::data(Bytes::from_static(b"ok")), Frame::trailers(map(SENT))];
            let body = StreamBody::new(stream::iter(frames.map(Ok::<_, Infallible>)));
            Ok::<_, Infallible>(Response::new(body))
        });
        let server = http2::Builder::new(TokioExecutor::new());
        // The test sees how it ended on the other side.
        server.serve_connection(TokioIo::new(stream), service).await.ok();
    })
    .await
}

#[expect(clippy::disallowed_methods, reason = "a body of this test, which ends")]
pub(super) async fn ask(edge: &Edge) -> (response::Parts, HeaderMap) {
    let io = TokioIo::new(edge.connect().await);
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.expect("it speaks h2");
    let driven = Tasks::new().spawn("h2", connection);
    let request = Request::get(format!("http://edge{PATH}"))
        .header("authorization", caller_key(1))
        .header("te", "trailers")
        .body(Empty::<Bytes>::new())
        .expect("a request");
    let (head, body) = sender.send_request(request).await.expect("an answer").into_parts();
    let whole = body.collect().await.expect("a whole body");
    let trailers = whole.trailers().cloned().unwrap_or_default();
    assert_eq!(whole.to_bytes(), "ok");
    driven.abort();
    (head, trailers)
}

#[tokio::test]
async fn a_header_that_is_removed_or_renamed_does_not_come_back_as_a_trailer() {
    let (http1, http2) = (over_http1().await, over_http2().await);
    let shaped = [("grpc-status", "0"), ("x-to", "moved"), ("x-add", "behind"), ("x-kept", "kept")];
    let plain = [
        ("grpc-status", "0"),
        ("x-internal", "secret"),
        ("x-internal", "twice"),
        ("x-from", "moved"),
        ("x-to", "was there"),
        ("x-set", "behind"),
        ("x-add", "behind"),
        ("x-kept", "kept"),
        ("access-control-allow-origin", "*"),
    ];
    for (url, trust) in [(http1.url(), Trust::new(None)), (http2.url(), http2.trust())] {
        let (head, trailers) = ask(&edge(&url, trust.clone(), true)).await;
        assert_eq!(trailers, map(&shaped), "{url}");
        // What is set and added stands in the head, once.
        assert!(head.headers["x-set"] == "head" && head.headers["x-new"] == "head", "{head:?}");
        assert!(!head.headers.contains_key("x-internal"));
        let (_, trailers) = ask(&edge(&url, trust, false)).await;
        assert_eq!(trailers, map(&plain), "{url}");
    }
}

#[tokio::test]
async fn a_caller_of_http1_gets_no_trailers_whatever_it_takes() {
    let (http1, http2) = (over_http1().await, over_http2().await);
    for (url, trust) in [(http1.url(), Trust::new(None)), (http2.url(), http2.trust())] {
        let edge = edge(&url, trust, false);
        let answer = edge.send(&get(PATH, &format!("{}te: trailers\r\n", with_key(1)))).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert!(answer.text.ends_with("\r\n\r\n2\r\nok\r\n0\r\n\r\n"), "{answer:?}");
        assert_eq!(answer.header("trailer"), None);
    }
}
