//! Requests that are signed for upstreams that check it, by other code than signs.

use std::convert::Infallible;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use aws_lc_rs::{digest, hmac};
use bytes::Bytes;
use data_encoding::{HEXLOWER, HEXUPPER};
use http::{Request, Response};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use prost::Message as _;
use rr_contract::seal::{Means, SecretSpec};
use rr_contract::secret::Secret;
use rr_contract::wire::fleet;
use tokio::io::AsyncWriteExt as _;

use crate::fixture::{
    self, ORG, Region, caller_key, millis, proxy_key, proxy_message, resource, sealed_upstream,
};
use crate::seats::Bounds;

use super::edge::Edge;
use super::gathered::about_body;
use super::over_tls::Secure;
use super::records::Wall;
use super::script::{Script, says};
use super::websockets::Raw;
use super::{get, resources, with_key};

const PATH: &str = "/api/acme.proxy-1";
const KEY: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
const MIB: usize = 1024 * 1024;

/// A request as an upstream has it.
#[derive(Debug, Clone, Default)]
struct Got {
    method: String,
    target: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Got {
    fn parse(text: &str) -> Self {
        let (head, body) = text.split_once("\r\n\r\n").expect("a head");
        let mut lines = head.lines();
        let mut line = lines.next().expect("a request line").split(' ').map(str::to_owned);
        let (method, target) = (line.next().expect("a method"), line.next().expect("a target"));
        let header =
            |line: &str| line.split_once(": ").map(|(name, value)| (name.to_lowercase(), value.to_owned()));
        let headers = lines.filter_map(header).collect();
        Self { method, target, headers, body: body.as_bytes().to_vec() }
    }

    fn all(&self, name: &str) -> Vec<&str> {
        self.headers.iter().filter(|(have, _)| have == name).map(|(_, value)| &**value).collect()
    }

    fn one(&self, name: &str) -> &str {
        let [one] = self.all(name)[..] else { panic!("{name}: {self:?}") };
        one
    }

    /// Checks the signature as AWS documents it, and hands over the names of what was signed.
    fn check_aws(&self, service: &str) -> String {
        let said = self.one("authorization").to_owned();
        let date = self.one("x-amz-date");
        let scope = format!("{}/us-east-1/{service}/aws4_request", &date[..8]);
        let rest =
            said.strip_prefix(&format!("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/{scope}, SignedHeaders="));
        let (names, signature) = rest.and_then(|rest| rest.split_once(", Signature=")).expect("both");
        let (path, query) = self.target.split_once('?').unwrap_or((&self.target, ""));
        let escaped = |byte: u8| {
            if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
                char::from(byte).to_string()
            } else {
                format!("%{}", HEXUPPER.encode(&[byte]))
            }
        };
        let path = if service == "s3" { path.to_owned() } else { path.bytes().map(escaped).collect() };
        let pair = |pair: &str| if pair.contains('=') { pair.to_owned() } else { format!("{pair}=") };
        let mut query: Vec<String> = query.split('&').filter(|pair| !pair.is_empty()).map(pair).collect();
        query.sort();
        let header = |name: &str| format!("{name}:{}\n", self.all(name).join(","));
        let headers: String = names.split(';').map(header).collect();
        let hash = self.one("x-amz-content-sha256");
        if hash != "UNSIGNED-PAYLOAD" {
            assert_eq!(hash, sha256(&self.body));
        }
        let text = format!("{}\n{path}\n{}\n{headers}\n{names}\n{hash}", self.method, query.join("&"));
        let text = format!("AWS4-HMAC-SHA256\n{date}\n{scope}\n{}", sha256(text.as_bytes()));
        let first = format!("AWS4{KEY}").into_bytes();
        let key = scope.split('/').fold(first, |key, part| keyed(hmac::HMAC_SHA256, &key, part.as_bytes()));
        assert_eq!(signature, HEXLOWER.encode(&keyed(hmac::HMAC_SHA256, &key, text.as_bytes())), "{self:?}");
        names.to_owned()
    }
}

fn sha256(bytes: &[u8]) -> String {
    HEXLOWER.encode(digest::digest(&digest::SHA256, bytes).as_ref())
}

fn keyed(hash: hmac::Algorithm, key: &[u8], text: &[u8]) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hash, key), text).as_ref().to_vec()
}

fn aws(service: &str, unsigned_payload: bool) -> Means {
    let form = fleet::AwsSignature {
        access_key_id: "AKIDEXAMPLE".to_owned(),
        region: "us-east-1".to_owned(),
        service: service.to_owned(),
        unsigned_payload,
        ..fleet::AwsSignature::default()
    };
    Means::Aws(form.try_into().expect("a form"))
}

fn keyed_hash(text: &str, headers: &[(&str, &str)]) -> Means {
    let header =
        |(name, text): &(&str, &str)| fleet::Parameter { name: (*name).to_owned(), text: (*text).to_owned() };
    let form = fleet::HmacSignature {
        text: text.to_owned(),
        headers: headers.iter().map(header).collect(),
        ..fleet::HmacSignature::default()
    };
    Means::Hmac(form.try_into().expect("a form"))
}

/// What the usual organization has, with a credential that signs for these origins and a proxy that may be changed.
fn signing(
    means: Means,
    urls: &[String],
    change: impl FnOnce(&mut fleet::ProxyResource, &mut Vec<fleet::Resource>),
) -> (Region, Vec<fleet::Resource>) {
    let region = Region::new();
    let mut all = resources(&region, &urls[0]);
    let spec = SecretSpec {
        value: Secret::from(KEY.to_owned()),
        origins: urls.iter().map(|url| url.parse().expect("an origin")).collect(),
        means,
        not_after: None,
        ca: None,
    };
    all.push(sealed_upstream(2, 1, &region.seal_of(ORG, 2, 1, &spec)));
    let mut target = fixture::target_message(1, &urls[0]);
    target.more_base_urls = urls[1..].to_vec();
    all.push(fixture::target_of(1, &target));
    let mut proxy = proxy_message(1, &[1], 1, 2);
    change(&mut proxy, &mut all);
    all.push(resource(proxy_key(1), proxy.encode_to_vec()));
    (region, all)
}

fn edge_to(means: Means, url: &str) -> Edge {
    let (region, all) = signing(means, &[url.to_owned()], |_, _| {});
    Edge::start(region.snapshot(&all), &["127.0.0.0/8"])
}

fn post(path: &str, headers: &str, body: &str) -> String {
    let headers = format!("{headers}content-length: {}\r\n", body.len());
    get(&format!("{PATH}{path}"), &headers).replace("GET", "POST") + body
}

#[tokio::test]
async fn a_request_is_signed_as_it_goes_out_and_no_part_of_a_callers_own_signature_does() {
    let upstream = Script::always(200).await;
    let (region, mut all) = signing(aws("service", false), &[upstream.url()], |_, _| {});
    // A caller whose key is elsewhere, so that `authorization` is its own.
    let mut caller = fixture::caller_message(1, 1, &[1]);
    if let Some(fleet::credential_resource::Usage::Caller(usage)) = &mut caller.usage {
        usage.header = "x-key".to_owned();
    }
    all.push(resource(fixture::credential_key(1), caller.encode_to_vec()));
    let edge = Edge::start(region.snapshot(&all), &["127.0.0.0/8"]);
    let headers = format!(
        "x-key: {}\r\nauthorization: AWS4-HMAC-SHA256 mine\r\nx-amz-date: mine\r\nX_Amz_Date: mine\r\n\
         x-amz-security-token: mine\r\nx-amz-content-sha256: mine\r\nx-amz-target: T.Get\r\ncontent-type: a/b\r\n",
        caller_key(1)
    );
    let query = "?b=2&X-Amz-Signature=mine&a=%20x&X-Amz-Credential=mine&x-amz-date=mine&acl";
    let answer = edge.send(&post(&format!("/a%20b/../c%3A{query}"), &headers, r#"{"id":1}"#)).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let seen = upstream.seen().remove(0);
    assert!(!seen.contains("mine"), "{seen}");
    let got = Got::parse(&seen);
    assert_eq!(got.target, "/c%3A?b=2&a=%20x&acl");
    assert_eq!(got.check_aws("service"), "content-type;host;x-amz-content-sha256;x-amz-date;x-amz-target");
    assert_eq!(got.all("x_amz_date"), [""; 0]);
    assert_eq!(got.one("host"), upstream.authority());
}

#[tokio::test]
async fn the_host_and_headers_that_the_proxy_sends_in_the_callers_place_are_signed() {
    let upstream = Script::always(200).await;
    let urls = [upstream.url(), "http://own.example:8080".to_owned()];
    let (region, all) = signing(aws("s3", false), &urls, |proxy, all| {
        all.push(fixture::target(1, &urls[0]));
        let acl = fleet::Pair { name: "x-amz-acl".to_owned(), value: "private".to_owned() };
        let request = fleet::PairEdits { set: vec![acl], ..fleet::PairEdits::default() };
        proxy.rewrite = Some(fleet::Rewrite {
            host: "own.example:8080".to_owned(),
            request_headers: Some(request),
            ..fleet::Rewrite::default()
        });
    });
    let edge = Edge::start(region.snapshot(&all), &["127.0.0.0/8"]);
    assert_eq!(edge.send(&get(&format!("{PATH}/k"), &with_key(1))).await.status, 200);
    let got = Got::parse(&upstream.seen()[0]);
    assert_eq!((got.one("host"), got.one("x-amz-acl")), ("own.example:8080", "private"));
    assert_eq!(got.check_aws("s3"), "host;x-amz-acl;x-amz-content-sha256;x-amz-date");
}

#[tokio::test]
async fn each_attempt_is_signed_by_itself_for_where_and_when_it_goes() {
    for means in
        [|| aws("service", false), || keyed_hash("{date}{host}{body}", &[("x-sig", "{signature} {nonce}")])]
    {
        let wall = Wall::default();
        wall.0.store(1_440_938_160, Ordering::Relaxed);
        let time = wall.clone();
        let bad = Script::start(move |_| {
            time.0.fetch_add(1, Ordering::Relaxed);
            says(503, "")
        })
        .await;
        let good = Script::always(200).await;
        let (region, all) = signing(means(), &[bad.url(), good.url()], |proxy, _| {
            let retry =
                fleet::RetryPolicy { attempts: 1, backoff: millis(1), ..fleet::RetryPolicy::default() };
            proxy.retry = Some(retry);
        });
        let edge = Edge::start_at(region.snapshot(&all), &["127.0.0.0/8"], Arc::new(wall));
        let request = post("/x", &with_key(1), "body").replace("POST", "PUT");
        assert_eq!(edge.send(&request).await.status, 200);
        let (first, second) = (Got::parse(&bad.seen()[0]), Got::parse(&good.seen()[0]));
        assert_eq!((first.one("host"), second.one("host")), (&*bad.authority(), &*good.authority()));
        if first.all("authorization").is_empty() {
            for (got, date) in [(&first, "1440938160"), (&second, "1440938161")] {
                let text = format!("{date}{}body", got.one("host"));
                let signature = HEXLOWER.encode(&keyed(hmac::HMAC_SHA256, KEY.as_bytes(), text.as_bytes()));
                assert!(got.one("x-sig").starts_with(&signature), "{got:?}");
            }
            let nonce = |got: &Got| got.one("x-sig").split_once(' ').expect("both").1.to_owned();
            assert_ne!(nonce(&first), nonce(&second));
        } else {
            assert_eq!(first.check_aws("service"), second.check_aws("service"));
            assert_eq!(
                (first.one("x-amz-date"), second.one("x-amz-date")),
                ("20150830T123600Z", "20150830T123601Z")
            );
        }
    }
}

#[tokio::test]
async fn a_body_that_is_signed_is_read_up_to_a_bound_and_no_longer_than_its_request_lasts() {
    let upstream = Script::always(200).await;
    for means in [aws("s3", false), keyed_hash("{body:sha256}", &[("x-sig", "{signature}")])] {
        let edge = edge_to(means, &upstream.url());
        let before = upstream.count();
        let most = "x".repeat(MIB);
        assert_eq!(edge.send(&post("/x", &with_key(1), &most)).await.status, 200);
        let head = post("/x", &with_key(1), "");
        let chunked = head.replace("content-length: 0\r\n", "transfer-encoding: chunked\r\n");
        let chunk = format!("{:x}\r\n{most}x\r\n0\r\n\r\n", MIB + 1);
        let declared = head.replace("content-length: 0", &format!("content-length: {}", MIB + 1));
        for request in [declared, chunked + &chunk] {
            let mut stream = edge.connect().await;
            stream.write_all(request.as_bytes()).await.ok();
            let answer = super::edge::Answer::read_one(&mut stream).await;
            let code = answer.json()["code"].clone();
            assert_eq!((answer.status, code), (413, "request-too-large-to-sign".into()));
        }
        assert_eq!(upstream.count(), before + 1);
        edge.holds_at_most(0).await;
    }
}

#[tokio::test]
async fn a_body_that_a_rule_has_read_is_signed_up_to_the_same_bound() {
    let upstream = Script::always(200).await;
    let (region, all) =
        signing(aws("s3", false), &[upstream.url()], |_, all| all.push(about_body(proxy_key(1))));
    let edge = Edge::start(region.snapshot(&all), &["127.0.0.0/8"]);
    for (length, status) in [(MIB, 200), (MIB + 1, 413)] {
        let body = format!("\"{}\"", "x".repeat(length - 2));
        assert_eq!(edge.send(&post("/x", &with_key(1), &body)).await.status, status, "{length}");
    }
    let seen = upstream.seen();
    assert_eq!(seen.len(), 1);
    Got::parse(&seen[0]).check_aws("s3");
    edge.holds_at_most(0).await;
}

#[tokio::test]
async fn a_body_that_filters_changed_is_signed_as_they_left_it() {
    let upstream = Script::always(200).await;
    let (region, all) = signing(aws("s3", false), &[upstream.url()], |_, all| {
        let request = fleet::FilterDirection::Request;
        all.push(fixture::redacts(1, proxy_key(1), request, &[fleet::Detector::Email]));
        all.push(about_body(proxy_key(1)));
    });
    let edge = Edge::start(region.snapshot(&all), &["127.0.0.0/8"]);
    let json = format!("{}content-type: application/json\r\n", with_key(1));
    assert_eq!(edge.send(&post("/x", &json, r#"{"to":"ann@example.com"}"#)).await.status, 200);
    let got = Got::parse(&upstream.seen()[0]);
    assert_eq!((&*got.body, got.one("content-length")), (&br#"{"to":"***"}"#[..], "12"));
    got.check_aws("s3");
}

#[tokio::test]
async fn bodies_that_are_signed_take_up_the_room_of_all_that_are_held() {
    let upstream = Script::always(200).await;
    let (region, all) = signing(aws("s3", false), &[upstream.url()], |_, _| {});
    let edge = Edge::start_holding(region.snapshot(&all), &["127.0.0.0/8"], MIB, Bounds::of(1_000));
    let answer = edge.send(&post("/x", &with_key(1), &"x".repeat(MIB - 1))).await;
    assert_eq!((answer.status, answer.json()["code"].clone()), (503, "too-many-bodies".into()));
    assert_eq!(upstream.count(), 0);
}

#[tokio::test]
async fn a_body_that_is_not_signed_streams() {
    for (means, streams) in [
        (aws("s3", true), true),
        (aws("s3", false), false),
        (keyed_hash("{method}", &[("x-sig", "{signature}")]), true),
    ] {
        let upstream = Raw::new().await;
        let edge = edge_to(means, &upstream.url());
        let mut caller = edge.connect().await;
        let request = post("/x", &with_key(1), "body").replace("POST", "GET");
        let (part, rest) = request.split_at(request.len() - 2);
        caller.write_all(part.as_bytes()).await.expect("the edge reads");
        if !streams {
            // It is held until all of it is there.
            while edge.held().await == 0 {
                tokio::task::yield_now().await;
            }
            caller.write_all(rest.as_bytes()).await.expect("the edge reads");
        }
        let came = upstream.next().await;
        if came.head.header("authorization").is_some() {
            let hash = came.head.header("x-amz-content-sha256");
            assert_eq!(hash == Some("UNSIGNED-PAYLOAD"), streams);
        }
    }
}

#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "a body of this test, which ends")]
async fn a_request_that_goes_over_http2_is_signed_too() {
    let seen: Arc<Mutex<Vec<Got>>> = Arc::default();
    let noted = Arc::clone(&seen);
    let upstream = Secure::serving(b"h2", move |stream| {
        let noted = Arc::clone(&noted);
        let service = service_fn(move |request: Request<Incoming>| {
            let noted = Arc::clone(&noted);
            async move {
                let (parts, body) = request.into_parts();
                let host = parts.uri.authority().expect("it has one").to_string();
                let text = |value: &http::HeaderValue| value.to_str().expect("text").to_owned();
                let mut headers: Vec<_> =
                    parts.headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect();
                headers.push(("host".to_owned(), host));
                let target = parts.uri.path_and_query().expect("it has one").to_string();
                let body = body.collect().await.expect("it is whole").to_bytes().to_vec();
                let got = Got { method: parts.method.to_string(), target, headers, body };
                noted.lock().expect("nobody panics with it").push(got);
                Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
            }
        });
        async move {
            // The test sees how it ended on the other side.
            auto::Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(stream), service)
                .await
                .ok();
        }
    })
    .await;
    let (region, all) = signing(aws("service", false), &[upstream.url()], |_, _| {});
    let edge = Edge::start_trusting(region.snapshot(&all), &["127.0.0.0/8", "::1/128"], upstream.trust());
    for _ in 0..2 {
        assert_eq!(edge.send(&post("/x?a=1", &with_key(1), "body")).await.status, 200);
    }
    let seen = seen.lock().expect("nobody panics with it").clone();
    assert_eq!((seen.len(), upstream.connections()), (2, 1));
    for got in &seen {
        assert_eq!(got.check_aws("service"), "host;x-amz-content-sha256;x-amz-date");
        assert_eq!(got.one("host"), upstream.url().strip_prefix("https://").expect("a URL"));
    }
}

#[tokio::test]
async fn a_request_for_a_websocket_is_signed() {
    let upstream = Raw::new().await;
    let means = keyed_hash("{method} {host}{target}", &[("x-sig", "{signature}")]);
    let (region, all) = signing(means, &[upstream.url()], |proxy, _| proxy.websocket = true);
    let edge = Edge::start(region.snapshot(&all), &["127.0.0.0/8"]);
    let wish = "connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let request = get(&format!("{PATH}/x?a=1"), &with_key(1)).replace("connection: close\r\n", wish);
    let mut caller = edge.connect().await;
    caller.write_all(request.as_bytes()).await.expect("the edge reads");
    let came = upstream.next().await;
    let text = format!("GET {}/x?a=1", upstream.url().strip_prefix("http://").expect("a URL"));
    let signature = HEXLOWER.encode(&keyed(hmac::HMAC_SHA256, KEY.as_bytes(), text.as_bytes()));
    assert_eq!(came.head.header("x-sig"), Some(&*signature));
}

#[tokio::test]
async fn what_cannot_be_signed_is_the_callers_fault() {
    let upstream = Script::always(200).await;
    let edge = edge_to(aws("service", false), &upstream.url());
    for (path, header) in [
        ("/x?a=%ff", ""),
        ("/x", "x-amz-meta-a: \u{e9}\r\n"),
        ("/x", "x-amz-content-sha256: STREAMING-AWS4-HMAC-SHA256-PAYLOAD\r\n"),
    ] {
        let answer = edge.send(&get(&format!("{PATH}{path}"), &format!("{}{header}", with_key(1)))).await;
        assert_eq!(
            (answer.status, answer.json()["code"].clone()),
            (400, "request-unsignable".into()),
            "{path}"
        );
    }
    assert_eq!(upstream.count(), 0);
}

#[tokio::test]
async fn what_signs_is_not_looked_for_in_answers_since_it_is_never_sent_and_a_session_token_is() {
    const TOKEN: &str = "a-session-token-of-32-characters";
    let answer =
        format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{KEY}{TOKEN}", KEY.len() + TOKEN.len());
    let form = fleet::AwsSignature {
        access_key_id: "AKIDEXAMPLE".to_owned(),
        region: "us-east-1".to_owned(),
        service: "service".to_owned(),
        session_token: TOKEN.into(),
        ..fleet::AwsSignature::default()
    };
    let with_token = Means::Aws(form.try_into().expect("a form"));
    for (means, is_masked) in [
        (with_token, true),
        (aws("service", false), false),
        (keyed_hash("{method}", &[("x-sig", "{signature}")]), false),
    ] {
        let answer = answer.clone();
        let upstream = Script::start(move |_| answer.clone()).await;
        let (region, all) = signing(means, &[upstream.url()], |_, _| {});
        let edge = Edge::start(region.snapshot(&all), &["127.0.0.0/8"]);
        let range = format!("{}range: bytes=0-9\r\n", with_key(1));
        let answer = edge.send(&get(&format!("{PATH}/x"), &range)).await;
        assert!(answer.text.contains(KEY), "{answer:?}");
        assert_eq!(answer.text.contains(TOKEN), !is_masked, "{answer:?}");
        // Parts are asked for where nothing has to be found in the whole.
        assert_eq!(upstream.seen()[0].contains("range: bytes=0-9"), !is_masked);
    }
}
