//! How a target says that it is to be spoken to: whose certificates vouch for it, from which TLS version on, in which
//! HTTP version.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use http::header::{CONNECTION, HeaderValue};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use prost::Message as _;
use rr_contract::model::tls::CaBundle;
use rr_contract::runtime::Tasks;
use rr_contract::wire::fleet;
use rustls::HandshakeKind;
use rustls::version::{TLS12, TLS13};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::server::TlsStream;

use crate::fixture::{Region, caller, open_upstream, org, proxy, resource, sealed_upstream, target_key};
use crate::upstream::Trust;

use super::edge::Edge;
use super::over_tls::{Secure, answer};
use super::{HEADER, get, with_key};

const BOTH: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// The fields of a target that are looked at here.
#[derive(Clone, Default)]
struct Says {
    ca: String,
    min_tls: &'static str,
    http_version: &'static str,
}

/// An edge whose proxy `n + 1` leads to the target that says the `n`-th of these, without a secret.
fn edge_to(base_url: &str, targets: &[Says], trust: Arc<Trust>) -> Edge {
    let mut all = vec![org(false), caller(1, 1, &[1]), open_upstream(2)];
    for (n, says) in (1..).zip(targets) {
        all.push(target(n, base_url, says));
        all.push(proxy(n, &[1], n, 2));
    }
    Edge::start_trusting(Region::new().snapshot(&all), &["127.0.0.0/8", "::1/128"], trust)
}

fn target(n: u8, base_url: &str, says: &Says) -> fleet::Resource {
    let payload = fleet::TargetResource {
        name: format!("target-{n}"),
        base_url: base_url.to_owned(),
        ca: says.ca.clone(),
        min_tls: says.min_tls.to_owned(),
        http_version: says.http_version.to_owned(),
        ..fleet::TargetResource::default()
    };
    resource(target_key(n), payload.encode_to_vec())
}

/// The status, and the version of HTTP as the upstream saw it.
async fn ask(edge: &Edge, n: u8) -> (u16, String) {
    let seen = edge.send(&get(&format!("/api/acme.proxy-{n}/x"), &with_key(1))).await;
    let version = seen.text.rsplit("\r\n").next().and_then(|body| body.split(' ').next());
    (seen.status, if seen.status == 200 { version.unwrap_or_default().to_owned() } else { String::new() })
}

async fn serve(stream: TlsStream<TcpStream>) {
    let server = auto::Builder::new(TokioExecutor::new());
    // The test sees how it ended on the other side.
    server.serve_connection(TokioIo::new(stream), service_fn(answer)).await.ok();
}

#[tokio::test]
async fn the_certificates_of_a_target_vouch_for_it_and_nobody_else_does() {
    let upstream = Secure::speaking(&BOTH, rustls::DEFAULT_VERSIONS, serve).await;
    let stranger = Secure::speaking(&BOTH, rustls::DEFAULT_VERSIONS, serve).await.authority();
    let says = |ca: String| Says { ca, ..Says::default() };
    let says = [says(upstream.authority()), says(stranger.clone()), says(stranger + &upstream.authority())];
    // The node trusts the authority of the upstream, and is asked not to.
    for trust in [Trust::new(None), upstream.trust()] {
        let edge = edge_to(&upstream.url(), &says, trust);
        for (n, status) in [(1, 200), (2, 502), (3, 200)] {
            assert_eq!(ask(&edge, n).await.0, status, "target {n}");
        }
    }
}

#[tokio::test]
async fn a_secret_goes_to_a_private_authority_only_if_its_seal_names_it() {
    let upstream = Secure::speaking(&BOTH, rustls::DEFAULT_VERSIONS, serve).await;
    let region = Region::new();
    let ca: CaBundle = upstream.authority().parse().expect("a certificate");
    let says = Says { ca: upstream.authority(), ..Says::default() };
    for (named, status) in [(Some(*ca.hash()), 200), (None, 502), (Some([7; 32]), 502)] {
        let sealed = region.seal_for(2, 1, "sk", HEADER, &[&upstream.url()], None, named);
        let all = [
            org(false),
            caller(1, 1, &[1]),
            sealed_upstream(2, 1, &sealed),
            target(1, &upstream.url(), &says),
            proxy(1, &[1], 1, 2),
        ];
        let edge = Edge::start_trusting(region.snapshot(&all), &["127.0.0.0/8", "::1/128"], upstream.trust());
        let answer = edge.send(&get("/api/acme.proxy-1/x", &with_key(1))).await;
        assert_eq!(answer.status, status, "{answer:?}");
        if status == 502 {
            assert_eq!(answer.json()["code"], "credential-unusable");
        }
    }
}

#[tokio::test]
async fn a_lower_version_of_tls_than_the_target_says_is_not_spoken() {
    for (version, min_tls, status) in
        [(&TLS12, "", 200), (&TLS12, "1.2", 200), (&TLS12, "1.3", 502), (&TLS13, "1.3", 200)]
    {
        let upstream = Secure::speaking(&BOTH, &[version], serve).await;
        let edge = edge_to(&upstream.url(), &[Says { min_tls, ..Says::default() }], upstream.trust());
        assert_eq!(ask(&edge, 1).await.0, status, "{version:?} {min_tls}");
    }
}

#[tokio::test]
async fn the_http_version_that_a_target_says_is_the_one_that_is_spoken() {
    for (protocols, http_version, wanted) in [
        (&BOTH[..], "", Some("HTTP/2.0")),
        (&BOTH, "1.1", Some("HTTP/1.1")),
        (&BOTH, "2", Some("HTTP/2.0")),
        (&BOTH[..1], "1.1", None),
        (&BOTH[1..], "2", None),
        // It agrees on nothing, which is HTTP/1.1.
        (&[], "1.1", Some("HTTP/1.1")),
        (&[], "2", None),
    ] {
        let upstream = Secure::speaking(protocols, rustls::DEFAULT_VERSIONS, serve).await;
        let edge = edge_to(&upstream.url(), &[Says { http_version, ..Says::default() }], upstream.trust());
        let seen = ask(&edge, 1).await;
        let wanted = wanted.map_or((502, String::new()), |version| (200, version.to_owned()));
        assert_eq!(seen, wanted, "{protocols:?} {http_version:?}");
    }
}

#[tokio::test]
async fn http2_without_tls_is_spoken_where_the_target_says_so() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("it is bound"));
    let tasks = Tasks::new();
    tasks.clone().spawn("upstream", async move {
        loop {
            let (stream, _) = listener.accept().await.expect("it listens");
            tasks.spawn("connection", async move {
                let server = auto::Builder::new(TokioExecutor::new());
                let service = service_fn(|request: http::Request<hyper::body::Incoming>| async {
                    let scheme = request.uri().scheme_str().unwrap_or("none").to_owned();
                    let mut answer = answer(request).await?;
                    answer.headers_mut().insert("x-scheme", HeaderValue::from_str(&scheme).expect("a word"));
                    Ok::<_, Infallible>(answer)
                });
                // The test sees how it ended on the other side.
                server.serve_connection(TokioIo::new(stream), service).await.ok();
            });
        }
    });
    let says = ["", "1.1", "2"].map(|http_version| Says { http_version, ..Says::default() });
    let edge = edge_to(&url, &says, Trust::new(None));
    for (n, version) in [(1, "HTTP/1.1"), (2, "HTTP/1.1"), (3, "HTTP/2.0")] {
        assert_eq!(ask(&edge, n).await, (200, version.to_owned()));
    }
    let answer = edge.send(&get("/api/acme.proxy-3/x", &with_key(1))).await;
    assert_eq!(answer.header("x-scheme"), Some("http"));
    assert_eq!(edge.checkouts(), (3, 1));
}

#[tokio::test]
async fn targets_of_one_origin_that_are_spoken_to_differently_share_neither_connections_nor_sessions() {
    let handshakes: Arc<Mutex<Vec<HandshakeKind>>> = Arc::default();
    let noted = Arc::clone(&handshakes);
    // Each connection serves one request of HTTP/1.1, or all of HTTP/2.
    let upstream = Secure::speaking(&BOTH, rustls::DEFAULT_VERSIONS, move |stream: TlsStream<TcpStream>| {
        let kind = stream.get_ref().1.handshake_kind().expect("it has ended");
        noted.lock().expect("nobody panics with it").push(kind);
        let service = service_fn(|request: http::Request<hyper::body::Incoming>| async {
            let ends = request.version() == http::Version::HTTP_11;
            let mut answer = answer(request).await?;
            if ends {
                answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            Ok::<_, Infallible>(answer)
        });
        async move {
            let server = auto::Builder::new(TokioExecutor::new());
            // The test sees how it ended on the other side.
            server.serve_connection(TokioIo::new(stream), service).await.ok();
        }
    })
    .await;
    let stranger = Secure::speaking(&BOTH, rustls::DEFAULT_VERSIONS, serve).await.authority();
    let base = Says { http_version: "1.1", ..Says::default() };
    let says = [
        base.clone(),
        Says { ca: upstream.authority(), ..base.clone() },
        Says { ca: upstream.authority() + &stranger, ..base.clone() },
        Says { min_tls: "1.3", ..base.clone() },
        Says { http_version: "2", ..base.clone() },
        Says::default(),
        base,
    ];
    let edge = edge_to(&upstream.url(), &says, upstream.trust());
    for n in 1..=6 {
        assert_eq!(ask(&edge, n).await.0, 200, "target {n}");
    }
    let kinds = || std::mem::take(&mut *handshakes.lock().expect("nobody panics with it"));
    assert_eq!(kinds(), [HandshakeKind::Full; 6], "each its own");
    // The last one is spoken to as the first.
    assert_eq!(ask(&edge, 7).await.0, 200);
    assert_eq!(ask(&edge, 2).await.0, 200);
    assert_eq!(
        kinds(),
        [HandshakeKind::Resumed; 2],
        "to the same upstream in the same way, a session goes on"
    );
}
