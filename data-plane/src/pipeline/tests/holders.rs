//! Limits by who holds a token: whom they count apart, whom they let in at all, and what the count outlasts.

use prost::Message as _;
use rr_contract::model::caller::jwt::Algorithm;
use rr_contract::wire::fleet::{self, LimitKind, Window, caller_jwt_verify::Keys};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;

use crate::fixture::{self, Region, meter, meter_message, proxy_key, resource};
use crate::jwt::issuers_tests::{Publisher, follow};
use crate::jwt::mint::{Key, claims, document, verify};

use super::edge::Edge;
use super::origin::Upstream;
use super::signed_tokens::{bearer, now, of};
use super::token_issuers::{HOUR, in_memory};
use super::websockets::{self, Raw, read_head, upgrade};
use super::{get, resources, with_key};

const PATH: &str = "/api/acme.proxy-1/";

/// Credential `n`, which takes tokens of a key and tells holders apart by a claim.
fn by(n: u8, key: &Key, claim: &str) -> fleet::Resource {
    by_keys(n, &[key.published("k")], claim)
}

fn by_keys(n: u8, keys: &[Value], claim: &str) -> fleet::Resource {
    of(
        n,
        "",
        verify(Keys::Jwks(document(keys)), &["EdDSA"], |verify| verify.identity_claim = claim.to_owned()),
    )
}

/// The proxy, of these callers, each of whom may call so many times a day.
fn a_day(callers: &[u8], limit: u64) -> fleet::Resource {
    let limits_per_caller = Some(fleet::Limits { per_minute_per_node: 0, per_day_per_node: limit });
    let message = fleet::ProxyResource { limits_per_caller, ..fixture::proxy_message(1, callers, 1, 2) };
    resource(proxy_key(1), message.encode_to_vec())
}

fn token(key: &Key, changes: &Value) -> String {
    bearer(&key.token(Algorithm::EdDSA, "k", &claims(now(), changes)))
}

async fn ask(edge: &Edge, headers: &str) -> (u16, fleet::Record) {
    let status = edge.send(&get(PATH, headers)).await.status;
    (status, edge.record().await)
}

async fn status(edge: &Edge, headers: &str) -> u16 {
    ask(edge, headers).await.0
}

#[tokio::test]
async fn those_who_hold_tokens_of_one_credential_are_counted_apart_by_the_claim_that_it_names() {
    let upstream = Upstream::echo().await;
    let key = Key::ed25519();
    for (claim, bob) in
        [("sub", json!({"sub": "bob"})), ("tenant", json!({"tenant": "t2"})), ("uid", json!({"uid": 7}))]
    {
        let ann = if claim == "uid" { json!({"uid": "7"}) } else { json!({}) };
        let region = Region::new();
        let mut all = resources(&region, &upstream.url(""));
        all.extend([by(3, &key, claim), a_day(&[3], 2)]);
        let edge = Edge::start(region.snapshot(&all), &["127.0.0.0/8"]);
        let first = token(&key, &ann);
        // The second is another token of the same holder.
        let mut other = ann.clone();
        other["jti"] = "2".into();
        let second = token(&key, &other);
        let (came, record) = ask(&edge, &first).await;
        assert_eq!((came, status(&edge, &second).await), (200, 200), "{claim}");
        let state = record.limits[0];
        assert_eq!((state.kind(), state.window(), state.used), (LimitKind::Caller, Window::Day, 1));
        // Whether the worker has seen the token before or not.
        let third = token(&key, &{
            other["jti"] = "3".into();
            other.clone()
        });
        assert_eq!((status(&edge, &first).await, status(&edge, &third).await), (429, 429), "{claim}");
        assert_eq!(status(&edge, &token(&key, &bob)).await, 200, "{claim}");
        assert!(!format!("{record:?}").contains("ann"), "no record says who it was: {record:?}");
    }
}

#[tokio::test]
async fn without_such_a_claim_all_who_hold_tokens_are_one_caller() {
    let upstream = Upstream::echo().await;
    let region = Region::new();
    let key = Key::ed25519();
    let mut all = resources(&region, &upstream.url(""));
    all.extend([by(3, &key, ""), a_day(&[3], 1)]);
    let edge = Edge::start(region.snapshot(&all), &["127.0.0.0/8"]);
    assert_eq!(status(&edge, &token(&key, &json!({}))).await, 200);
    assert_eq!(status(&edge, &token(&key, &json!({"sub": "bob"}))).await, 429);
    assert_eq!(status(&edge, &token(&key, &json!({"sub": null}))).await, 429, "nobody asks who it is");
}

#[tokio::test]
async fn a_holder_whose_token_waits_for_the_keys_of_its_issuer_is_counted_like_any_other() {
    let upstream = Upstream::echo().await;
    let region = Region::new();
    let key = Key::ed25519();
    let publisher = Publisher::start(&document(&[key.published("k")])).await;
    let _following = follow(region.standings.issuers(), &in_memory(), HOUR);
    let mut all = resources(&region, &upstream.url(""));
    let fetched = verify(Keys::JwksUrl(publisher.url()), &["EdDSA"], |verify| {
        verify.identity_claim = "sub".to_owned();
    });
    all.extend([of(3, "", fetched), a_day(&[3], 1)]);
    let edge = Edge::start(region.snapshot(&all), &["127.0.0.0/8"]);
    let (ann, bob) = (token(&key, &json!({})), token(&key, &json!({"sub": "bob"})));
    // The first one comes before the keys.
    assert_eq!((status(&edge, &ann).await, publisher.count()), (200, 1));
    let again = token(&key, &json!({"jti": "2"}));
    assert_eq!((status(&edge, &ann).await, status(&edge, &again).await), (429, 429));
    assert_eq!((status(&edge, &bob).await, status(&edge, &bob).await), (200, 429));
}

#[tokio::test]
async fn the_same_name_at_two_credentials_is_two_holders() {
    let upstream = Upstream::echo().await;
    let region = Region::new();
    let (one, other) = (Key::ed25519(), Key::ed25519());
    let mut all = resources(&region, &upstream.url(""));
    all.extend([by(3, &one, "sub"), by(4, &other, "sub"), a_day(&[3, 4], 1)]);
    let edge = Edge::start(region.snapshot(&all), &["127.0.0.0/8"]);
    for key in [&one, &other] {
        let ann = token(key, &json!({}));
        assert_eq!((status(&edge, &ann).await, status(&edge, &ann).await), (200, 429));
    }
}

#[tokio::test]
async fn a_token_that_does_not_say_who_holds_it_is_refused_unless_another_credential_takes_it() {
    let upstream = Upstream::echo().await;
    let region = Region::new();
    let key = Key::ed25519();
    let mut all = resources(&region, &upstream.url(""));
    all.extend([by(3, &key, "uid"), a_day(&[3], 1)]);
    let mut edge = Edge::start(region.snapshot(&all), &["127.0.0.0/8"]);
    for bad in [
        json!({}),
        json!({"uid": ""}),
        json!({"uid": "u".repeat(257)}),
        json!({"uid": ["ann"]}),
        json!({"uid": false}),
        json!({"uid": {"sub": "ann"}}),
    ] {
        let (came, record) = ask(&edge, &token(&key, &bad)).await;
        assert_eq!((came, &*record.reason), (401, "token-claim"), "{bad}");
    }
    assert_eq!(status(&edge, &token(&key, &json!({"uid": "u".repeat(256)}))).await, 200);
    all.extend([by(4, &key, ""), a_day(&[3, 4], 1)]);
    edge.activate(region.snapshot(&all));
    let (came, record) = ask(&edge, &token(&key, &json!({}))).await;
    assert_eq!((came, record.caller_credential), (200, fixture::credential_key(4).id_text()));
}

#[tokio::test]
async fn a_new_key_or_configuration_keeps_what_was_counted_and_another_claim_begins_anew() {
    let upstream = Upstream::echo().await;
    let region = Region::new();
    let (old, new) = (Key::ed25519(), Key::ed25519());
    let mut all = resources(&region, &upstream.url(""));
    all.extend([by(3, &old, "sub"), a_day(&[3], 2)]);
    let mut edge = Edge::start(region.snapshot(&all), &["127.0.0.0/8"]);
    let ann = token(&old, &json!({}));
    assert_eq!(status(&edge, &ann).await, 200);
    all.push(by_keys(3, &[new.published("k")], "sub"));
    edge.activate(region.snapshot(&all));
    assert_eq!(ask(&edge, &ann).await.1.reason, "token-signature");
    let ann = token(&new, &json!({}));
    assert_eq!((status(&edge, &ann).await, status(&edge, &ann).await), (200, 429));
    assert_eq!(status(&edge, &token(&new, &json!({"sub": "bob"}))).await, 200);
    // What the worker remembers of the token says who holds it by the claim of before.
    all.push(by(3, &new, "tenant"));
    edge.activate(region.snapshot(&all));
    assert_eq!((status(&edge, &ann).await, status(&edge, &ann).await), (200, 200));
    assert_eq!(status(&edge, &token(&new, &json!({"sub": "bob"}))).await, 429, "it is the same tenant");
}

#[tokio::test]
async fn a_tunnel_counts_for_who_holds_the_token_that_opens_it() {
    let upstream = Raw::new().await;
    let region = Region::new();
    let key = Key::ed25519();
    let mut all = websockets::open(&region, &upstream.url());
    all.push(by(1, &key, "sub"));
    all.push(websockets::proxy(|proxy| {
        proxy.limits_per_caller = Some(fleet::Limits { per_minute_per_node: 0, per_day_per_node: 1 });
    }));
    let edge = Edge::start(region.snapshot(&all), &["127.0.0.0/8"]);
    let (ann, bob) = (token(&key, &json!({})), token(&key, &json!({"sub": "bob"})));
    let _open = websockets::tunnel_of(&edge, &upstream, &ann).await;
    let mut again = edge.connect().await;
    again.write_all(upgrade("/api/acme.proxy-1/chat", &ann).as_bytes()).await.expect("the edge reads");
    let head = read_head(&mut again).await;
    assert!(head.starts_with("HTTP/1.1 429 "), "{head}");
    let _open = websockets::tunnel_of(&edge, &upstream, &bob).await;
}

#[tokio::test]
async fn a_request_that_a_later_limit_refuses_gives_its_holder_back_what_it_took() {
    let upstream = Upstream::echo().await;
    let region = Region::new();
    let key = Key::ed25519();
    let limits = |per_day_per_node| Some(fleet::Limits { per_minute_per_node: 0, per_day_per_node });
    let proxy = |per_address| {
        let message = fleet::ProxyResource {
            limits_per_caller: limits(2),
            limits_per_address: limits(per_address),
            ..fixture::proxy_message(1, &[3], 1, 2)
        };
        resource(proxy_key(1), message.encode_to_vec())
    };
    let mut all = resources(&region, &upstream.url(""));
    all.extend([by(3, &key, "sub"), proxy(1)]);
    let mut edge = Edge::start(region.snapshot(&all), &["127.0.0.0/8"]);
    let ann = token(&key, &json!({}));
    assert_eq!(status(&edge, &ann).await, 200);
    for _ in 0..3 {
        assert_eq!(status(&edge, &ann).await, 429);
    }
    all.push(proxy(9));
    edge.activate(region.snapshot(&all));
    assert_eq!((status(&edge, &ann).await, status(&edge, &ann).await), (200, 429));
}

#[tokio::test]
async fn a_meter_of_each_caller_counts_holders_of_tokens_and_keys_each_by_itself() {
    let upstream = Upstream::echo().await;
    let region = Region::new();
    let key = Key::ed25519();
    let mut all = resources(&region, &upstream.url(""));
    let of_each = |per_caller| {
        meter(1, &fleet::MeterResource { per_day_per_node: 2, per_caller, ..meter_message(1, 1) })
    };
    all.extend([by(3, &key, "sub"), fixture::proxy(1, &[1, 3], 1, 2), of_each(true)]);
    let mut edge = Edge::start(region.snapshot(&all), &["127.0.0.0/8"]);
    let (ann, bob) = (token(&key, &json!({})), token(&key, &json!({"sub": "bob"})));
    for headers in [&ann, &bob, &with_key(1)] {
        for left in [1, 0] {
            let answer = edge.send(&get(PATH, headers)).await;
            assert_eq!(answer.status, 200);
            assert_eq!(answer.header("ratelimit-policy"), Some("\"meter-meter-1-day\";q=2;w=86400"));
            assert!(answer.header("ratelimit").is_some_and(|text| text.contains(&format!(";r={left};"))));
            assert_eq!(edge.record().await.meters[0].charged_millionths, 1_000_000);
        }
        let answer = edge.send(&get(PATH, headers)).await;
        assert_eq!((answer.status, &answer.json()["limit"]["meter"]["name"]), (429, &json!("meter-1")));
        assert_eq!(edge.record().await.meters[0].exceeded(), Window::Day);
    }
    // The whole meter has counted nothing yet.
    all.push(of_each(false));
    edge.activate(region.snapshot(&all));
    let asked = [status(&edge, &ann).await, status(&edge, &bob).await, status(&edge, &with_key(1)).await];
    assert_eq!(asked, [200, 200, 429]);
}

#[tokio::test]
async fn what_a_response_costs_is_charged_to_who_holds_the_token() {
    let upstream = Upstream::mirror().await;
    let region = Region::new();
    let key = Key::ed25519();
    let mut all = resources(&region, &upstream.url(""));
    let location = Some(fleet::meter_value::Location::BodyPath("usage.total".to_owned()));
    let value = fleet::MeterValue { location, reserve: 0, on_missing: Some(0), ..Default::default() };
    let counts = Some(fleet::meter_resource::Counts::Value(value));
    let of_each =
        fleet::MeterResource { counts, per_month_per_node: 14, per_caller: true, ..meter_message(1, 1) };
    all.extend([by(3, &key, "sub"), fixture::proxy(1, &[3], 1, 2), meter(1, &of_each)]);
    let edge = Edge::start(region.snapshot(&all), &["127.0.0.0/8"]);
    let (ann, bob) = (token(&key, &json!({})), token(&key, &json!({"sub": "bob"})));
    for (headers, expected) in [(&ann, 200), (&ann, 200), (&bob, 200), (&ann, 429), (&bob, 200), (&bob, 429)]
    {
        let body = r#"{"usage":{"total":7}}"#;
        let headers =
            format!("{headers}content-type: application/json\r\ncontent-length: {}\r\n", body.len());
        let request = format!("{}{body}", get(PATH, &headers).replace("GET", "POST"));
        let came = edge.send(&request).await.status;
        let record = edge.record().await;
        let charged = if expected == 200 { 7_000_000 } else { 0 };
        assert_eq!((came, record.meters[0].charged_millionths), (expected, charged));
    }
}
