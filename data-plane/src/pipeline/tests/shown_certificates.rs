//! Upstreams that want a client certificate: which they are shown, and that none is ever taken for another.

use prost::Message as _;
use rr_contract::model::id::OrgId;
use rr_contract::model::resource::Key;
use rr_contract::wire::fleet;
use rustls::HandshakeKind;
use rustls::version::{TLS12, TLS13};

use crate::fixture::demanding::{ClientPair, Demanding, authority};
use crate::fixture::{
    self, ORG, Region, caller, millis, org, proxy_key, proxy_message, resource, sealed_upstream,
    target_message, target_of,
};
use crate::upstream::Trust;

use super::edge::{Answer, Edge};
use super::origin::Upstream;
use super::{get, with_key};

const BOTH: [&[u8]; 2] = [b"h2", b"http/1.1"];
const ANOTHER: OrgId = OrgId::from_random([33; 16]);
const ALLOWED: [&str; 2] = ["127.0.0.0/8", "::1/128"];

/// What an organization has whose proxy `n` shows the `n`-th of these, each of a credential and version of its own.
fn resources_of(
    region: &Region,
    of: OrgId,
    upstream: &Demanding,
    shown: &[(&ClientPair, u64)],
) -> Vec<fleet::Resource> {
    let mut target = target_message(1, &upstream.url());
    target.ca = upstream.own().to_owned();
    let mut all = vec![org(false), caller(1, 1, &[1]), target_of(1, &target)];
    for (n, (pair, version)) in (1..).zip(shown) {
        let spec = pair.spec(&upstream.url(), Some(upstream.own()));
        all.push(sealed_upstream(10 + n, *version, &region.seal_of(of, 10 + n, *version, &spec)));
        all.push(fixture::proxy(n, &[1], 1, 10 + n));
    }
    all
}

/// Gives them to another organization, whose proxies, callers and all else have the same ids plus 100.
fn of_another(region: &Region, upstream: &Demanding, shown: &ClientPair) -> Vec<fleet::Resource> {
    let payload = fleet::OrgResource { name: "other".to_owned(), suspended: false };
    let mut target = target_message(101, &upstream.url());
    target.ca = upstream.own().to_owned();
    let spec = shown.spec(&upstream.url(), Some(upstream.own()));
    let mut all = vec![
        resource(fixture::org_key(), payload.encode_to_vec()),
        caller(101, 1, &[101]),
        target_of(101, &target),
        sealed_upstream(111, 1, &region.seal_of(ANOTHER, 111, 1, &spec)),
        fixture::proxy(101, &[101], 101, 111),
    ];
    for resource in &mut all {
        let mut key = Key::try_from(resource.key.as_ref().expect("each has one")).expect("a key");
        key.org = ANOTHER;
        resource.key = Some(key.to_wire());
    }
    all
}

fn edge_with(region: &Region, all: &[fleet::Resource]) -> Edge {
    Edge::start_trusting(region.snapshot(all), &ALLOWED, Trust::new(None))
}

async fn ask(edge: &Edge, proxy: &str, key: u8) -> Answer {
    edge.send(&get(&format!("/api/{proxy}/x"), &with_key(key))).await
}

/// Whom the upstream took it for.
async fn name(edge: &Edge, proxy: &str, key: u8) -> String {
    let answer = ask(edge, proxy, key).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.text.rsplit(' ').next().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn the_certificate_of_the_credential_is_shown_in_either_protocol_and_version_of_tls() {
    for (protocols, versions, http) in [
        (&BOTH[..1], &TLS13, "HTTP/2.0"),
        (&BOTH[..1], &TLS12, "HTTP/2.0"),
        (&BOTH[1..], &TLS13, "HTTP/1.1"),
        (&BOTH[1..], &TLS12, "HTTP/1.1"),
    ] {
        let (region, upstream) = (Region::new(), Demanding::start(protocols, &[versions], false).await);
        let ours = upstream.client("ours");
        let edge = edge_with(&region, &resources_of(&region, ORG, &upstream, &[(&ours, 1)]));
        for _ in 0..3 {
            let answer = ask(&edge, "acme.proxy-1", 1).await;
            assert!(answer.status == 200 && answer.text.ends_with(&format!("{http} ours")), "{answer:?}");
        }
        assert_eq!(upstream.handshakes().len(), 1, "{http}");
    }
}

#[tokio::test]
async fn one_that_the_upstream_does_not_take_or_misses_is_a_bad_gateway() {
    for (protocols, versions) in
        [(&BOTH[..1], &TLS13), (&BOTH[..1], &TLS12), (&BOTH[1..], &TLS13), (&BOTH[1..], &TLS12)]
    {
        let (region, upstream) = (Region::new(), Demanding::start(protocols, &[versions], false).await);
        let stranger = ClientPair::new("stranger", &authority("another"));
        let mut all = resources_of(&region, ORG, &upstream, &[(&stranger, 1)]);
        all.push(fixture::open_upstream(20));
        all.push(fixture::proxy(2, &[1], 1, 20));
        let edge = edge_with(&region, &all);
        for proxy in ["acme.proxy-1", "acme.proxy-2"] {
            let answer = ask(&edge, proxy, 1).await;
            assert_eq!((answer.status, answer.json()["code"].clone()), (502, "upstream-unreachable".into()));
        }
        assert!(upstream.handshakes().is_empty());
    }
}

#[tokio::test]
async fn no_two_organizations_or_credentials_share_a_connection_to_one_origin() {
    for protocols in [&BOTH[..1], &BOTH[1..]] {
        let versions = rustls::DEFAULT_VERSIONS;
        let (region, upstream) = (Region::new(), Demanding::start(protocols, versions, false).await);
        let [one, two, other] = ["one", "two", "other"].map(|name| upstream.client(name));
        let mut all = resources_of(&region, ORG, &upstream, &[(&one, 1), (&two, 1)]);
        all.extend(of_another(&region, &upstream, &other));
        let edge = edge_with(&region, &all);
        for _ in 0..3 {
            assert_eq!(name(&edge, "acme.proxy-1", 1).await, "one");
            assert_eq!(name(&edge, "acme.proxy-2", 1).await, "two");
            assert_eq!(name(&edge, "other.proxy-101", 101).await, "other");
        }
        assert_eq!(upstream.handshakes(), [HandshakeKind::Full; 3], "one connection each, and no session");
    }
}

#[tokio::test]
async fn a_session_is_taken_up_again_by_whom_it_was_given_to_alone() {
    for versions in [&TLS12, &TLS13] {
        let (region, upstream) = (Region::new(), Demanding::start(&BOTH[1..], &[versions], true).await);
        let [one, two, other] = ["one", "two", "other"].map(|name| upstream.client(name));
        let mut all = resources_of(&region, ORG, &upstream, &[(&one, 1), (&two, 1)]);
        all.extend(of_another(&region, &upstream, &other));
        let edge = edge_with(&region, &all);
        for kind in [HandshakeKind::Full, HandshakeKind::Resumed] {
            assert_eq!(name(&edge, "acme.proxy-1", 1).await, "one");
            assert_eq!(name(&edge, "acme.proxy-2", 1).await, "two");
            assert_eq!(name(&edge, "other.proxy-101", 101).await, "other");
            assert_eq!(upstream.handshakes(), [kind; 3], "{versions:?}");
        }
    }
}

#[tokio::test]
async fn after_a_replacement_no_request_goes_out_under_the_certificate_before() {
    for protocols in [&BOTH[..1], &BOTH[1..]] {
        let versions = rustls::DEFAULT_VERSIONS;
        let (region, upstream) = (Region::new(), Demanding::start(protocols, versions, false).await);
        let [before, after] = ["before", "after"].map(|name| upstream.client(name));
        let mut edge = edge_with(&region, &resources_of(&region, ORG, &upstream, &[(&before, 1)]));
        assert_eq!(name(&edge, "acme.proxy-1", 1).await, "before");
        edge.activate(region.snapshot(&resources_of(&region, ORG, &upstream, &[(&after, 2)])));
        for _ in 0..2 {
            assert_eq!(name(&edge, "acme.proxy-1", 1).await, "after");
        }
        // The same one again, in a configuration that is otherwise another.
        edge.activate(region.snapshot(&resources_of(&region, ORG, &upstream, &[(&after, 2)])));
        assert_eq!(name(&edge, "acme.proxy-1", 1).await, "after");
        assert_eq!(upstream.handshakes(), [HandshakeKind::Full; 2]);
    }
}

#[tokio::test]
async fn it_is_shown_by_requests_that_are_retried_and_by_those_for_a_websocket() {
    let (region, upstream) = (Region::new(), Demanding::start(&BOTH, rustls::DEFAULT_VERSIONS, false).await);
    let ours = upstream.client("ours");
    let mut all = resources_of(&region, ORG, &upstream, &[(&ours, 1)]);
    let retry = fleet::RetryPolicy { attempts: 1, backoff: millis(1), ..fleet::RetryPolicy::default() };
    let proxy = fleet::ProxyResource {
        retry: Some(retry),
        websocket: true,
        tunnels_unread: true,
        ..proxy_message(1, &[1], 1, 11)
    };
    all.push(resource(proxy_key(1), proxy.encode_to_vec()));
    let edge = edge_with(&region, &all);
    assert_eq!(name(&edge, "acme.proxy-1", 1).await, "ours");
    let wish = "connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let request = get("/api/acme.proxy-1/x", &with_key(1)).replace("connection: close\r\n", wish);
    let mut stream = edge.connect().await;
    tokio::io::AsyncWriteExt::write_all(&mut stream, request.as_bytes()).await.expect("the edge reads");
    // It switches nothing, and says whom it took it for.
    let answer = Answer::read_one(&mut stream).await;
    assert!(answer.text.ends_with("HTTP/1.1 ours"), "{answer:?}");
}

#[tokio::test]
async fn a_target_without_tls_is_refused_since_nothing_would_be_shown() {
    let (region, upstream) = (Region::new(), Upstream::echo().await);
    let ours = ClientPair::new("ours", &authority("another"));
    let sealed = region.seal_of(ORG, 2, 1, &ours.spec(&upstream.url(""), None));
    let mut all = super::resources(&region, &upstream.url(""));
    all.push(sealed_upstream(2, 1, &sealed));
    let edge = edge_with(&region, &all);
    let answer = ask(&edge, "acme.proxy-1", 1).await;
    assert_eq!((answer.status, answer.json()["code"].clone()), (502, "credential-unusable".into()));
    assert_eq!(edge.record().await.reason, "no-tls");
    assert_eq!(upstream.connections(), 0);
}
