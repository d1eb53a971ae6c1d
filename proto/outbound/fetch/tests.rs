//! Fetches from a server of a test's own, over TLS and in the clear.

mod inward;

use std::net::{IpAddr, SocketAddr};
use std::sync::Mutex;

use ::url::Host;
use rcgen::{CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rr_runtime::{Tasks, chain};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::super::address_guard::AddressGuard;
use super::super::names::{Found, Lookup, Names};
use super::super::resolver::Resolver;
use super::*;

const BOUNDS: Bounds = Bounds { time: Duration::from_secs(20), bytes: 1024 };

/// Every name is this machine.
struct Here;

impl Names for Here {
    fn look_up<'n>(&'n self, _: &'n str) -> Lookup<'n> {
        Box::pin(async {
            Ok(Found { addresses: vec![IpAddr::from([127, 0, 0, 1])], good_for: Duration::from_secs(60) })
        })
    }
}

fn outbound(allowed: &[&str]) -> Arc<Outbound> {
    let allowed = allowed.iter().map(|net| net.parse().expect("a network")).collect();
    Outbound::new(AddressGuard::new(allowed), Resolver::new(Arc::new(Here)), None)
}

/// Answers every request with these bytes, and then holds the connection open or closes it.
struct Server {
    address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
    root: CertificateDer<'static>,
}

impl Server {
    async fn start(answer: impl Into<Vec<u8>>, name: Option<&str>, stays: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let heads: Arc<Mutex<Vec<String>>> = Arc::default();
        let (seen, answer) = (Arc::clone(&heads), answer.into());
        let (acceptor, root) = acceptor(name.unwrap_or("unused.example"));
        let is_tls = name.is_some();
        Tasks::new().spawn("server", async move {
            loop {
                let (stream, _) = listener.accept().await.expect("loopback");
                let (answer, seen) = (answer.clone(), Arc::clone(&seen));
                if !is_tls {
                    serve(stream, &answer, &seen, stays).await;
                } else if let Ok(stream) = acceptor.accept(stream).await {
                    serve(stream, &answer, &seen, stays).await;
                }
            }
        });
        Self { address, heads, root }
    }

    async fn plain(answer: impl Into<Vec<u8>>) -> Self {
        Self::start(answer, None, false).await
    }

    fn url(&self, scheme: &str, host: &str, rest: &str) -> FetchUrl {
        format!("{scheme}://{host}:{}{rest}", self.address.port()).parse().expect("a URL")
    }

    fn head(&self) -> String {
        self.heads.lock().expect("no panic").last().expect("a request").clone()
    }
}

async fn serve<S>(mut stream: S, answer: &[u8], seen: &Mutex<Vec<String>>, stays: bool)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    let head = String::from_utf8(head).expect("text");
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    let mut body = vec![0; length.map_or(0, |length| length.parse().expect("a number"))];
    stream.read_exact(&mut body).await.expect("a whole body");
    seen.lock().expect("no panic").push(head + &String::from_utf8(body).expect("text"));
    // The other side may have enough before the end.
    stream.write_all(answer).await.ok();
    stream.flush().await.ok();
    if stays {
        std::future::pending::<()>().await;
    }
    stream.shutdown().await.ok();
}

fn acceptor(name: &str) -> (TlsAcceptor, CertificateDer<'static>) {
    let mut params = CertificateParams::new(Vec::new()).expect("a certificate");
    params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let root = CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("a root");
    let key = KeyPair::generate().expect("a key");
    let leaf =
        CertificateParams::new([name.to_owned()]).expect("a name").signed_by(&key, &root).expect("a leaf");
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![leaf.into()], PrivateKeyDer::try_from(key.serialize_der()).expect("a key"))
        .expect("they fit");
    (TlsAcceptor::from(Arc::new(config)), root.der().clone())
}

fn org() -> OrgId {
    OrgId::from_random([1; 16])
}

async fn plainly(server: &Server, bounds: Bounds) -> Result<Fetched, FetchError> {
    let fetch = Fetch::new(outbound(&["127.0.0.0/8"]), Vec::new()).in_plaintext_too();
    fetch.get(org(), &server.url("http", "api.example", "/keys?a=1"), HeaderMap::new(), bounds).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_is_fetched_over_tls_with_a_root_of_the_callers() {
    let server =
        Server::start("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi", Some("api.example"), true).await;
    let fetch = Arc::new(Fetch::new(outbound(&["127.0.0.0/8"]), vec![server.root.clone()]));
    let url = server.url("https", "api.example", "/keys/?a=b%20c");
    let from_a_task = Arc::clone(&fetch);
    let asked = Tasks::new().spawn("fetch", async move {
        let mut headers = HeaderMap::new();
        headers.insert("x-mine", HeaderValue::from_static("1"));
        from_a_task.get(org(), &url, headers, BOUNDS).await
    });
    let fetched = asked.await.expect("no panic").expect("an answer");
    assert_eq!((fetched.status, &*fetched.body), (StatusCode::OK, &b"hi"[..]));
    let head = server.head();
    assert!(head.starts_with("GET /keys/?a=b%20c HTTP/1.1\r\n"), "{head}");
    let port = server.address.port();
    for line in [
        &format!("host: api.example:{port}"),
        &format!("user-agent: {AGENT}"),
        "accept-encoding: identity",
        "connection: close",
        "x-mine: 1",
    ] {
        assert!(head.contains(&format!("\r\n{line}\r\n")), "{line}: {head}");
    }
    assert!(!head.contains("cookie"), "{head}");
}

#[tokio::test]
async fn a_peer_without_a_good_certificate_gets_no_request() {
    let server = Server::start("HTTP/1.1 200 OK\r\n\r\n", Some("api.example"), false).await;
    let untrusting = Fetch::new(outbound(&["127.0.0.0/8"]), Vec::new());
    let trusting = Fetch::new(outbound(&["127.0.0.0/8"]), vec![server.root.clone()]);
    for (fetch, host) in
        [(&untrusting, "api.example"), (&trusting, "other.example"), (&trusting, "127.0.0.1")]
    {
        let error = fetch.get(org(), &server.url("https", host, "/"), HeaderMap::new(), BOUNDS).await;
        assert!(matches!(error, Err(FetchError::Tls(_) | FetchError::Roots(_))), "{host}: {error:?}");
    }
    assert!(server.heads.lock().expect("no panic").is_empty());
    // Nor does one that speaks in the clear.
    let plain = Server::plain("HTTP/1.1 200 OK\r\n\r\n").await;
    let refused = trusting.get(org(), &plain.url("http", "api.example", "/"), HeaderMap::new(), BOUNDS).await;
    assert!(matches!(refused, Err(FetchError::Url(InvalidFetchUrl::Plaintext))), "{refused:?}");
}

#[tokio::test]
async fn a_body_is_posted() {
    let server = Server::plain("HTTP/1.1 201 Created\r\ncontent-length: 0\r\n\r\n").await;
    let fetch = Fetch::new(outbound(&["127.0.0.0/8"]), Vec::new()).in_plaintext_too();
    let url = server.url("http", "api.example", "");
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_LENGTH, HeaderValue::from_static("9000"));
    headers.insert(HOST, HeaderValue::from_static("other.example"));
    let fetched =
        fetch.post(org(), &url, headers, Bytes::from_static(b"a=1"), BOUNDS).await.expect("an answer");
    assert_eq!(fetched.status, StatusCode::CREATED);
    let head = server.head();
    assert!(head.starts_with("POST / HTTP/1.1\r\n") && head.ends_with("\r\n\r\na=1"), "{head}");
    assert!(head.contains("content-length: 3\r\n") && !head.contains("other.example"), "{head}");
}

#[tokio::test]
async fn a_redirect_is_an_error_that_names_where_to_and_no_more() {
    for (location, origin) in [
        ("http://169.254.169.254/latest/meta-data?token=s3cret", "to http://169.254.169.254,"),
        ("https://u:s3cret@Other.example/s3cret", "to https://other.example,"),
        ("//127.0.0.1:8080/s3cret", "to http://127.0.0.1:8080,"),
        ("/s3cret", "to http://api.example:"),
        ("file:///etc/s3cret", "to nowhere,"),
        ("javascript:s3cret", "to nowhere,"),
    ] {
        for status in [301, 302, 303, 307, 308] {
            let answer =
                format!("HTTP/1.1 {status} Moved\r\nLocation: {location}\r\ncontent-length: 0\r\n\r\n");
            let server = Server::plain(answer).await;
            let error = plainly(&server, BOUNDS).await.expect_err("it is a redirect");
            let text = chain(&error).to_string();
            assert!(text.contains(origin) && text.contains(&status.to_string()), "{text}");
            assert!(!text.contains("s3cret"), "{text}");
            assert_eq!(server.heads.lock().expect("no panic").len(), 1);
        }
    }
}

#[tokio::test]
async fn an_answer_that_is_longer_than_the_caller_takes_is_refused() {
    let body = "x".repeat(BOUNDS.bytes + 1);
    let chunks = "400\r\n".to_owned() + &body[..1024] + "\r\n1\r\nx\r\n0\r\n\r\n";
    for answer in [
        format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len()),
        "HTTP/1.1 200 OK\r\ncontent-length: 18446744073709551615\r\n\r\n".to_owned(),
        format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{chunks}"),
        format!("HTTP/1.1 200 OK\r\n\r\n{body}"),
    ] {
        let error = plainly(&Server::plain(answer.clone()).await, BOUNDS).await.expect_err("it is too long");
        assert!(
            matches!(error, FetchError::TooLong { limit: 1024 } | FetchError::Broken(_)),
            "{answer}: {error:?}"
        );
    }
    // One that says so is not waited for.
    let said = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
    let refused = plainly(&Server::start(said, None, true).await, BOUNDS).await;
    assert!(matches!(refused, Err(FetchError::TooLong { limit: 1024 })), "{refused:?}");
    let fits = format!("HTTP/1.1 200 OK\r\n\r\n{}", &body[1..]);
    assert_eq!(plainly(&Server::plain(fits).await, BOUNDS).await.expect("it fits").body.len(), BOUNDS.bytes);
}

#[tokio::test]
async fn answers_that_are_not_plain_documents_are_refused() {
    let coded =
        plainly(&Server::plain("HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\n\r\n").await, BOUNDS).await;
    assert!(matches!(coded, Err(FetchError::Coded)), "{coded:?}");
    let twice = "HTTP/1.1 200 OK\r\ncontent-encoding: identity\r\ncontent-encoding: br\r\n\r\n";
    let twice = plainly(&Server::plain(twice).await, BOUNDS).await;
    assert!(matches!(twice, Err(FetchError::Coded)), "{twice:?}");
    for answer in [
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhi",
        "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nhi",
        "hello\r\n\r\n",
        "",
    ] {
        let broken = plainly(&Server::plain(answer).await, BOUNDS).await;
        assert!(
            matches!(broken, Err(FetchError::Broken(_) | FetchError::Switched)),
            "{answer:?}: {broken:?}"
        );
    }
    // Nor does anybody read interim answers, or a head, without an end.
    let interim = "HTTP/1.1 103 Early Hints\r\nx: y\r\n\r\n".repeat(10_000);
    let long = format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "y".repeat(HEAD));
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "x: y\r\n".repeat(HEADERS + 1));
    for answer in [interim, long, many] {
        let broken = plainly(&Server::start(answer, None, true).await, BOUNDS).await;
        assert!(matches!(broken, Err(FetchError::Broken(_))));
    }
}

#[tokio::test]
async fn the_time_is_that_of_the_whole_answer() {
    let bounds = Bounds { time: Duration::from_millis(100), ..BOUNDS };
    for answer in ["", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhi"] {
        let server = Server::start(answer, None, true).await;
        let late = plainly(&server, bounds).await;
        assert!(matches!(late, Err(FetchError::TimedOut(_))), "{answer:?}: {late:?}");
    }
}

#[tokio::test]
async fn an_address_that_is_not_public_is_not_fetched_from() {
    let server = Server::plain("HTTP/1.1 200 OK\r\n\r\n").await;
    let fetch = Fetch::new(outbound(&["127.0.0.2/32"]), Vec::new()).in_plaintext_too();
    for host in ["api.example", "127.0.0.1", "2130706433", "0x7f.1", "[::ffff:127.0.0.1]"] {
        let refused = fetch.get(org(), &server.url("http", host, "/"), HeaderMap::new(), BOUNDS).await;
        assert!(matches!(refused, Err(FetchError::Outbound(OutboundError::Guarded))), "{host}: {refused:?}");
    }
    assert!(server.heads.lock().expect("no panic").is_empty());
}

#[test]
fn a_url_that_two_readers_read_differently_is_refused() {
    for text in [
        "https://a.example/#b",
        "https://a.example?b#c",
        "https://u@a.example/",
        "https://a.example\\@b.example/",
        "https://a.example/ b",
        "https://a.example/?b\tc",
        "https://a.example/?b\u{3000}c",
        "ftp://a.example/",
        "//a.example/",
        "https:///a.example/",
    ] {
        assert!(text.parse::<FetchUrl>().is_err(), "{text}");
    }
    let url: FetchUrl = "https://A.example/b/?c=%2F&d".parse().expect("a URL");
    assert_eq!(url.path_and_query(), "/b/?c=%2F&d");
    assert_eq!(url.host_header(), "a.example");
}
