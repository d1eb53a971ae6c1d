//! Tokens whose keys their issuer publishes: who waits for them, and how long an issuer is asked.

use std::sync::Arc;
use std::time::Duration;

use rr_contract::model::caller::jwt::Algorithm;
use rr_contract::seam::{Seams, Volatile};
use rr_contract::wire::fleet::caller_jwt_verify::Keys;
use serde_json::json;
use tokio::task::yield_now;
use tokio::time::timeout;

use crate::fixture::{ORG, Region, credential_key, proxy};
use crate::jwt::issuers_tests::{Publisher, follow, goes_stale, named, publishes};
use crate::jwt::mint::{Key, claims, document, verify};

use super::edge::Edge;
use super::origin::Upstream;
use super::signed_tokens::{bearer, now, of, published, reason};
use super::{resources, with_key};

pub(super) const HOUR: Duration = Duration::from_secs(3600);

pub(super) fn in_memory() -> Seams {
    Seams { disk: Arc::new(Volatile::default()), ..Seams::real() }
}

#[tokio::test]
async fn keys_are_fetched_and_those_of_a_rotation_are_waited_for_once() {
    let upstream = Upstream::echo().await;
    let region = Region::new();
    let (old, new) = (Key::ed25519(), Key::ed25519());
    let publisher = Publisher::start(&document(&[old.published("old")])).await;
    let _following = follow(region.standings.issuers(), &in_memory(), HOUR);
    let mut all = resources(&region, &upstream.url(""));
    all.extend([of(3, "", verify(Keys::JwksUrl(publisher.url()), &["EdDSA"], |_| {})), proxy(1, &[3], 1, 2)]);
    let edge = Edge::start(region.snapshot(&all), &["127.0.0.0/8"]);
    let path = "/api/acme.proxy-1/x";
    let token = |key: &Key, kid: &str, n: u32| {
        bearer(&key.token(Algorithm::EdDSA, kid, &claims(now(), &json!({"n": n}))))
    };
    // Those that come before the keys wait for them.
    let first: Vec<String> = (0..20).map(|n| token(&old, "old", n)).collect();
    let first = first.iter().map(|headers| reason(&edge, path, headers));
    for (status, said, _) in futures_util::future::join_all(first).await {
        assert_eq!((status, &*said), (200, ""));
    }
    assert_eq!(publisher.count(), 1);
    // A name that nobody has published asks for a fetch in half a minute, and is refused until then.
    publisher.says(&document(&[old.published("old"), new.published("new")]));
    for n in 0..5 {
        assert_eq!(reason(&edge, path, &token(&new, "new", n)).await.1, "token-key");
    }
    assert_eq!(publisher.count(), 1);
    assert_eq!(reason(&edge, path, &token(&old, "old", 99)).await.0, 200);
}

#[tokio::test]
async fn a_token_that_was_seen_counts_no_longer_once_its_key_is_withdrawn_or_keys_are_stale() {
    let upstream = Upstream::echo().await;
    let region = Region::new();
    let (old, new) = (Key::ed25519(), Key::ed25519());
    let both = document(&[old.published("old"), new.published("new")]);
    let publisher = Publisher::start(&both).await;
    let (issuers, url) = (region.standings.issuers(), publisher.url());
    let _following = follow(issuers, &in_memory(), HOUR);
    let mut all = resources(&region, &upstream.url(""));
    all.extend([of(3, "", verify(Keys::JwksUrl(url.clone()), &["EdDSA"], |_| {})), proxy(1, &[3], 1, 2)]);
    let edge = Edge::start(region.snapshot(&all), &["127.0.0.0/8"]);
    let token = |key: &Key, kid: &str| bearer(&key.token(Algorithm::EdDSA, kid, &claims(now(), &json!({}))));
    let (old_one, new_one) = (token(&old, "old"), token(&new, "new"));
    let ask = async |headers: &str| reason(&edge, "/api/acme.proxy-1/x", headers).await.1;
    for _ in 0..2 {
        assert_eq!((ask(&old_one).await, ask(&new_one).await), (String::new(), String::new()));
    }
    publishes(issuers, ORG, &url, &document(&[new.published("new")]));
    assert_eq!((&*ask(&old_one).await, &*ask(&new_one).await), ("token-key", ""));
    publishes(issuers, ORG, &url, &both);
    for _ in 0..2 {
        assert_eq!(ask(&old_one).await, "");
    }
    goes_stale(issuers, ORG, &url);
    assert_eq!((&*ask(&old_one).await, &*ask(&new_one).await), ("issuer-stale", "issuer-stale"));
    publishes(issuers, ORG, &url, &both);
    assert_eq!((&*ask(&old_one).await, &*ask(&new_one).await), ("", ""));
}

#[tokio::test]
async fn an_issuer_that_was_never_reached_refuses_its_tokens_and_nobody_elses() {
    let upstream = Upstream::echo().await;
    let region = Region::new();
    let key = Key::ed25519();
    let publisher = Publisher::start("").await;
    publisher.breaks();
    let _following = follow(region.standings.issuers(), &in_memory(), HOUR);
    let mut all = resources(&region, &upstream.url(""));
    all.extend([
        of(3, "", verify(Keys::JwksUrl(publisher.url()), &["EdDSA"], |_| {})),
        proxy(1, &[1, 3], 1, 2),
    ]);
    let edge = Edge::start(region.snapshot(&all), &["127.0.0.0/8"]);
    let token = bearer(&key.token(Algorithm::EdDSA, "k", &claims(now(), &json!({}))));
    let asked = reason(&edge, "/api/acme.proxy-1/x", &token).await;
    assert_eq!((asked.0, &*asked.1), (401, "issuer-stale"));
    assert_eq!(reason(&edge, "/api/acme.proxy-1/x", &with_key(1)).await.0, 200);
}

#[tokio::test]
async fn an_issuer_is_let_go_with_its_credential_however_long_its_tokens_would_be_remembered() {
    let upstream = Upstream::echo().await;
    let region = Region::new();
    let key = Key::ed25519();
    let publisher = Publisher::start(&document(&[key.published("k")])).await;
    let issuers = region.standings.issuers();
    let _following = follow(issuers, &in_memory(), HOUR);
    let mut all = resources(&region, &upstream.url(""));
    let without = region.snapshot(&all);
    all.extend([of(3, "", verify(Keys::JwksUrl(publisher.url()), &["EdDSA"], |_| {})), proxy(1, &[3], 1, 2)]);
    let mut edge = Edge::start(region.snapshot(&all), &["127.0.0.0/8"]);
    let token = bearer(&key.token(Algorithm::EdDSA, "k", &claims(now(), &json!({}))));
    for _ in 0..2 {
        assert_eq!(reason(&edge, "/api/acme.proxy-1/x", &token).await.0, 200);
    }
    assert_eq!(named(issuers), 1);
    let generation = edge.activate(without);
    edge.tells(generation).await;
    timeout(Duration::from_secs(10), async {
        while named(issuers) > 0 {
            edge.bury();
            yield_now().await;
        }
    })
    .await
    .expect("nobody names it any more");
}

#[tokio::test]
async fn a_token_waits_for_keys_of_its_issuer_whatever_keys_another_credential_has() {
    let upstream = Upstream::echo().await;
    let region = Region::new();
    let (key, other) = (Key::ed25519(), Key::ed25519());
    let publisher = Publisher::start(&document(&[key.published("k")])).await;
    let mut nameless = other.published("");
    nameless.as_object_mut().expect("an object").remove("kid");
    let mut all = resources(&region, &upstream.url(""));
    all.extend([
        of(3, "", verify(Keys::JwksUrl(publisher.url()), &["EdDSA"], |_| {})),
        // Any token can mean its key.
        of(4, "", verify(published(&[nameless]), &["EdDSA"], |_| {})),
        proxy(1, &[3, 4], 1, 2),
    ]);
    let edge = Edge::start(region.snapshot(&all), &["127.0.0.0/8"]);
    let token = bearer(&key.token(Algorithm::EdDSA, "k", &claims(now(), &json!({}))));
    let fetches = async {
        while edge.tokens_read().await == 0 {
            yield_now().await;
        }
        follow(region.standings.issuers(), &in_memory(), HOUR)
    };
    let (asked, _following) = tokio::join!(reason(&edge, "/api/acme.proxy-1/x", &token), fetches);
    assert_eq!(asked, (200, String::new(), credential_key(3).id_text()));
}
