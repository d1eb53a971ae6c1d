//! Tunnels that could not be opened any more end, and others do not.

use std::time::{Duration, SystemTime};

use prost::Message as _;
use rr_contract::model::time::timestamp;
use rr_contract::wire::fleet;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

use crate::access_token::tests::Endpoint;
use crate::fixture::{self, Region, caller_message, credential_key, proxy_key, target};

use super::access_tokens::spec;
use super::edge::Edge;
use super::websockets::{Raw, open, proxy, read_head, read_rest, read_text, tunnel, upgrade};
use super::with_key;

/// A look a second, and what a slow machine takes.
const SOON: Duration = Duration::from_secs(10);

/// What the configuration becomes; `None` removes a resource of the usual ones.
type Change = fn(&mut Vec<fleet::Resource>);

async fn ends(change: Change, case: &str) {
    let upstream = Raw::new().await;
    let region = Region::new();
    let all = open(&region, &upstream.url());
    let mut edge = Edge::start(region.snapshot(&all), &["127.0.0.0/8"]);
    let (mut near, mut far) = tunnel(&edge, &upstream).await;
    let mut changed = all.clone();
    change(&mut changed);
    edge.activate(region.snapshot(&changed));
    timeout(SOON, async {
        assert_eq!(read_rest(&mut near).await, "", "{case}");
        assert_eq!(read_rest(&mut far).await, "", "{case}");
    })
    .await
    .unwrap_or_else(|_| panic!("{case}: the tunnel goes on"));
    let record = edge.record().await;
    assert_eq!((record.tunnel_end(), record.aborted), (fleet::TunnelEnd::Withdrawn, true), "{case}");
}

fn without(all: &mut Vec<fleet::Resource>, key: &rr_contract::model::resource::Key) {
    all.retain(|resource| resource.key.as_ref() != Some(&key.to_wire()));
}

fn in_own_header(version: u64) -> fleet::Resource {
    let mut message = caller_message(1, version, &[1]);
    let Some(fleet::credential_resource::Usage::Caller(caller)) = &mut message.usage else {
        unreachable!("it is a caller credential")
    };
    caller.header = "x-own".to_owned();
    fixture::resource(credential_key(1), message.encode_to_vec())
}

fn expired() -> fleet::Resource {
    let not_after = Some(timestamp(SystemTime::UNIX_EPOCH));
    let message = fleet::CredentialResource { not_after, ..caller_message(1, 1, &[1]) };
    fixture::resource(credential_key(1), message.encode_to_vec())
}

#[tokio::test]
async fn a_tunnel_ends_soon_after_it_could_not_be_opened_any_more() {
    let cases: [(&str, Change); 16] = [
        ("the proxy is gone", |all| without(all, &proxy_key(1))),
        ("the proxy is off", |all| all.push(proxy(|proxy| proxy.active = false))),
        ("the proxy takes no WebSockets", |all| all.push(proxy(|proxy| proxy.websocket = false))),
        ("the proxy wants client certificates", |all| {
            all.push(proxy(|proxy| proxy.client_certificates = true))
        }),
        ("the proxy bounds bodies", |all| all.push(proxy(|proxy| proxy.max_response_bytes = 1))),
        ("the proxy admits somebody else", |all| {
            all.push(fixture::caller(3, 1, &[3]));
            all.push(proxy(|proxy| proxy.caller_credentials = vec![credential_key(3).id_text()]));
        }),
        ("the proxy is closed", |all| all.push(fixture::future_rule(1, proxy_key(1)))),
        ("the proxy leads elsewhere", |all| all.push(target(1, "http://127.0.0.1:1"))),
        ("a rule denies it", |all| all.push(fixture::deny_path(1, proxy_key(1), "^/chat$"))),
        ("a rule of the caller denies it", |all| all.push(fixture::deny_path(1, credential_key(1), "^/c"))),
        ("a filter would look at it", |all| {
            all.push(fixture::filter(1, fixture::target_key(1), fleet::FilterAction::Destroy, &["a"]));
        }),
        ("the credential is gone", |all| without(all, &credential_key(1))),
        ("the key is another one", |all| all.push(fixture::caller(1, 2, &[2]))),
        ("the credential is presented elsewhere", |all| all.push(in_own_header(1))),
        ("the credential has expired", |all| all.push(expired())),
        ("the organization is suspended", |all| all.push(fixture::org(true))),
    ];
    let all = cases.map(|(case, change)| ends(change, case));
    futures_util::future::join_all(all).await;
}

#[tokio::test]
async fn a_tunnel_outlives_changes_that_do_not_concern_whether_it_may_be_there() {
    let upstream = Raw::new().await;
    let region = Region::new();
    let mut all = open(&region, &upstream.url());
    let mut edge = Edge::start(region.snapshot(&all), &["127.0.0.0/8"]);
    let (mut near, mut far) = tunnel(&edge, &upstream).await;
    let (mut doomed, _far) = tunnel(&edge, &upstream).await;
    let changes: [fleet::Resource; 5] = [
        fixture::deny_path(1, proxy_key(1), "^/other$"),
        proxy(|proxy| proxy.name = "renamed".to_owned()),
        fixture::caller(1, 2, &[1, 2]),
        fixture::resource(
            fixture::target_key(1),
            fleet::TargetResource {
                name: "renamed".to_owned(),
                base_url: upstream.url(),
                ..fleet::TargetResource::default()
            }
            .encode_to_vec(),
        ),
        region.upstream(2, 2, "another secret", super::HEADER, &[&upstream.url()]),
    ];
    all.extend(changes);
    let generation = edge.activate(region.snapshot(&all));
    edge.tells(generation).await;
    // With the first it looks, and with the second it has looked.
    for text in ["still", "there"] {
        near.write_all(text.as_bytes()).await.expect("it is open");
        read_text(&mut far, text).await;
    }
    all.push(fixture::org(true));
    edge.activate(region.snapshot(&all));
    let mut byte = [0];
    for caller in [&mut near, &mut doomed] {
        let read = timeout(SOON, caller.read(&mut byte)).await.expect("it ends");
        assert!(matches!(read, Ok(0) | Err(_)));
    }
}

#[tokio::test]
async fn a_tunnel_that_was_let_in_by_a_header_of_its_own_is_found_again_by_it() {
    let upstream = Raw::new().await;
    let region = Region::new();
    let mut all = open(&region, &upstream.url());
    all.push(in_own_header(1));
    let mut edge = Edge::start(region.snapshot(&all), &["127.0.0.0/8"]);
    let mut near = edge.connect().await;
    let headers = with_key(1).replace("authorization", "x-own");
    near.write_all(upgrade("/api/acme.proxy-1/chat", &headers).as_bytes()).await.expect("the edge reads");
    let mut far = upstream.next().await;
    assert!(!far.head.text.contains("x-own"), "{}", far.head.text);
    far.switch("", "").await;
    assert!(read_head(&mut near).await.starts_with("HTTP/1.1 101 "));
    all.push(fixture::deny_path(1, proxy_key(1), "^/other$"));
    let generation = edge.activate(region.snapshot(&all));
    edge.tells(generation).await;
    for text in ["still", "there"] {
        near.write_all(text.as_bytes()).await.expect("it is open");
        read_text(&mut far.stream, text).await;
    }
    // The proxy admits somebody else.
    all.extend([
        fixture::caller(3, 1, &[3]),
        proxy(|proxy| proxy.caller_credentials = vec![credential_key(3).id_text()]),
    ]);
    edge.activate(region.snapshot(&all));
    assert_eq!(timeout(SOON, read_rest(&mut near)).await.expect("it ends"), "");
    assert_eq!(edge.record().await.tunnel_end(), fleet::TunnelEnd::Withdrawn);
}

#[tokio::test]
async fn a_tunnel_ends_when_no_secret_may_go_where_it_leads_any_more() {
    let upstream = Raw::new().await;
    let region = Region::new();
    let mut all = open(&region, &upstream.url());
    let mut edge = Edge::start(region.snapshot(&all), &["127.0.0.0/8"]);
    let (mut near, mut far) = tunnel(&edge, &upstream).await;
    // Another version, whose seal names another place.
    all.push(region.upstream(2, 2, super::SECRET, super::HEADER, &["https://elsewhere.example"]));
    edge.activate(region.snapshot(&all));
    assert_eq!(timeout(SOON, read_rest(&mut near)).await.expect("it ends"), "");
    assert_eq!(read_rest(&mut far).await, "");
    assert_eq!(edge.record().await.tunnel_end(), fleet::TunnelEnd::Withdrawn);
}

#[tokio::test]
async fn a_tunnel_outlives_that_there_is_no_token_but_not_that_none_may_go_where_it_leads() {
    let (upstream, issuer) = (Raw::new().await, Endpoint::start().await);
    issuer.says(401, r#"{"error":"invalid_client"}"#);
    let region = Region::new();
    let mut all = open(&region, &upstream.url());
    let mut edge = Edge::start(region.snapshot(&all), &["127.0.0.0/8"]);
    let (mut near, mut far) = tunnel(&edge, &upstream).await;
    let of_tokens = |version, origin: &str| {
        let spec = spec(&issuer.url(), "a client's secret", origin);
        fixture::sealed_upstream(2, version, &region.seal_spec(2, version, &spec))
    };
    all.push(of_tokens(2, &upstream.url()));
    let generation = edge.activate(region.snapshot(&all));
    edge.tells(generation).await;
    for text in ["still", "there"] {
        near.write_all(text.as_bytes()).await.expect("it is open");
        read_text(&mut far, text).await;
    }
    all.push(of_tokens(3, "https://elsewhere.example"));
    edge.activate(region.snapshot(&all));
    assert_eq!(timeout(SOON, read_rest(&mut near)).await.expect("it ends"), "");
    assert_eq!(edge.record().await.tunnel_end(), fleet::TunnelEnd::Withdrawn);
}

#[tokio::test]
async fn a_tunnel_ends_with_its_credential_though_nothing_changes() {
    let upstream = Raw::new().await;
    let region = Region::new();
    let mut all = open(&region, &upstream.url());
    let not_after = Some(timestamp(SystemTime::now() + Duration::from_millis(1500)));
    let message = fleet::CredentialResource { not_after, ..caller_message(1, 2, &[1]) };
    all.push(fixture::resource(credential_key(1), message.encode_to_vec()));
    let edge = Edge::start(region.snapshot(&all), &["127.0.0.0/8"]);
    let (mut near, _far) = tunnel(&edge, &upstream).await;
    assert_eq!(timeout(SOON, read_rest(&mut near)).await.expect("it ends"), "");
    assert_eq!(edge.record().await.tunnel_end(), fleet::TunnelEnd::Withdrawn);
}

#[tokio::test]
async fn a_tunnel_ends_with_the_older_value_that_let_it_in() {
    let upstream = Raw::new().await;
    let region = Region::new();
    let mut all = open(&region, &upstream.url());
    let mut message = caller_message(1, 2, &[2, 1]);
    if let Some(fleet::credential_resource::Usage::Caller(caller)) = &mut message.usage {
        caller.previous_not_after = Some(timestamp(SystemTime::now() + Duration::from_millis(1500)));
    }
    all.push(fixture::resource(credential_key(1), message.encode_to_vec()));
    let edge = Edge::start(region.snapshot(&all), &["127.0.0.0/8"]);
    let (mut near, _far) = tunnel(&edge, &upstream).await;
    assert_eq!(timeout(SOON, read_rest(&mut near)).await.expect("it ends"), "");
    assert_eq!(edge.record().await.tunnel_end(), fleet::TunnelEnd::Withdrawn);
}

#[tokio::test]
async fn a_tunnel_ends_with_the_upstreams_credential_though_nothing_changes() {
    // By the credential's own word, or by its seal's, whichever is sooner; one without an end ends nothing.
    let ends = async |of_credential: Option<u64>, of_seal: Option<u64>| {
        let upstream = Raw::new().await;
        let region = Region::new();
        let mut all = open(&region, &upstream.url());
        let end =
            |millis: Option<u64>| millis.map(|millis| SystemTime::now() + Duration::from_millis(millis));
        let sealed = region.seal(2, 2, super::SECRET, super::HEADER, &[&upstream.url()], end(of_seal));
        let resource = fixture::sealed_upstream(2, 2, &sealed);
        let mut message = fleet::CredentialResource::decode(&*resource.payload).expect("it is one");
        message.not_after = end(of_credential).map(timestamp);
        all.push(fixture::resource(credential_key(2), message.encode_to_vec()));
        let edge = Edge::start(region.snapshot(&all), &["127.0.0.0/8"]);
        let (mut near, mut far) = tunnel(&edge, &upstream).await;
        far.write_all(b"before").await.expect("it is open");
        read_text(&mut near, "before").await;
        assert_eq!(timeout(SOON, read_rest(&mut near)).await.expect("it ends"), "");
        assert_eq!(read_rest(&mut far).await, "");
        let record = edge.record().await;
        assert_eq!((record.tunnel_end(), record.aborted), (fleet::TunnelEnd::Withdrawn, true));
    };
    let far = Some(3_600_000);
    tokio::join!(
        ends(Some(1500), None),
        ends(None, Some(1500)),
        ends(far, Some(1500)),
        ends(Some(1500), far)
    );
}

#[tokio::test]
async fn a_key_that_is_revoked_while_the_upstream_switches_gets_no_byte_through() {
    let upstream = Raw::new().await;
    let region = Region::new();
    let mut all = open(&region, &upstream.url());
    let mut edge = Edge::start(region.snapshot(&all), &["127.0.0.0/8"]);
    let mut caller = edge.connect().await;
    let request = upgrade("/api/acme.proxy-1/chat", &with_key(1));
    caller.write_all(request.as_bytes()).await.expect("the edge reads");
    let mut came = upstream.next().await;
    without(&mut all, &credential_key(1));
    let generation = edge.activate(region.snapshot(&all));
    edge.tells(generation).await;
    came.switch("", "welcome").await;
    let answer = read_head(&mut caller).await;
    assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
    caller.write_all(b"hello").await.ok();
    assert_eq!((read_rest(&mut caller).await, came.rest().await), (String::new(), String::new()));
    assert_eq!(edge.record().await.tunnel_end(), fleet::TunnelEnd::Withdrawn);
}

#[tokio::test]
async fn a_tunnel_on_an_opaque_path_ends_when_its_proxy_takes_none_any_more() {
    let upstream = Raw::new().await;
    let region = Region::new();
    let mut all = open(&region, &upstream.url());
    all.push(proxy(|proxy| proxy.opaque_paths = true));
    let mut edge = Edge::start(region.snapshot(&all), &["127.0.0.0/8"]);
    let mut caller = edge.connect().await;
    let request = upgrade("/api/acme.proxy-1/a%2Fb", &with_key(1));
    caller.write_all(request.as_bytes()).await.expect("the edge reads");
    let mut came = upstream.next().await;
    came.switch("", "").await;
    read_head(&mut caller).await;
    all.push(proxy(|proxy| proxy.max_concurrent_requests_per_node = 9));
    edge.activate(region.snapshot(&all));
    assert_eq!(timeout(SOON, read_rest(&mut caller)).await.expect("it ends"), "");
    assert_eq!(edge.record().await.tunnel_end(), fleet::TunnelEnd::Withdrawn);
}
