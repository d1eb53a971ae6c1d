//! Wrong signatures without end: what is looked at of them, and what becomes of good tokens meanwhile.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use rr_contract::model::caller::jwt::Algorithm;
use rr_contract::seam::Clock;
use rr_contract::wire::fleet::caller_jwt_verify::Keys;
use serde_json::{Value, json};

use crate::fixture::{Region, proxy};
use crate::jwt::issuers_tests::{Publisher, follow};
use crate::jwt::mint::{Key, claims, document, verify};

use super::edge::Edge;
use super::origin::Upstream;
use super::signed_tokens::{Moved, bearer, now, of, published, reason};
use super::token_issuers::{HOUR, in_memory};
use super::{get, resources};

#[tokio::test]
async fn a_flood_of_wrong_signatures_is_not_looked_at_beyond_its_rate_and_what_was_seen_goes_on() {
    let upstream = Upstream::echo().await;
    let region = Region::new();
    let key = Key::ed25519();
    let mut all = resources(&region, &upstream.url(""));
    all.extend([
        of(3, "", verify(published(&[key.published("k")]), &["EdDSA"], |_| {})),
        proxy(1, &[3], 1, 2),
        proxy(2, &[3], 1, 2),
    ]);
    let from = now();
    let clock = Arc::new(Moved(from.into()));
    let edge = Edge::start_at(region.snapshot(&all), &["127.0.0.0/8"], Arc::clone(&clock) as Arc<dyn Clock>);
    let forger = Key::ed25519();
    let path = "/api/acme.proxy-1/x";
    let good = bearer(&key.token(Algorithm::EdDSA, "k", &claims(from, &json!({}))));
    let fresh = |n: u32| bearer(&key.token(Algorithm::EdDSA, "k", &claims(from, &json!({"n": n}))));
    assert_eq!(reason(&edge, path, &good).await.0, 200);
    for n in 0..200 {
        let wrong = forger.token(Algorithm::EdDSA, "k", &claims(from, &json!({"n": n})));
        assert_eq!(edge.send(&get(path, &bearer(&wrong))).await.status, 401);
    }
    // It is not said to be wrong, for nobody has looked at it.
    let answer =
        edge.send(&get(path, &bearer(&forger.token(Algorithm::EdDSA, "k", &claims(from, &json!({})))))).await;
    assert_eq!((answer.status, answer.header("retry-after")), (429, Some("1")));
    assert_eq!(
        (answer.json()["code"].as_str(), answer.header("www-authenticate")),
        (Some("too-many-signatures"), None)
    );
    let mut record = edge.record().await;
    while record.reason != "token-flood" {
        record = edge.record().await;
    }
    assert_eq!((&*record.code, &*record.caller_credential), ("too-many-signatures", ""));
    assert_eq!(reason(&edge, path, &fresh(1)).await.0, 429);
    // Whoever has not got as far as a signature is told as always, and where there is no proxy, there is no flood.
    let audience = key.token(Algorithm::EdDSA, "k", &claims(from, &json!({"aud": "x"})));
    assert_eq!(reason(&edge, path, &bearer(&audience)).await.0, 401);
    assert_eq!(edge.send(&get("/api/acme.nobody/x", &fresh(1))).await.status, 401);
    assert_eq!(reason(&edge, path, &good).await.0, 200, "it was seen");
    assert_eq!(reason(&edge, "/api/acme.proxy-2/x", &fresh(2)).await.0, 200, "another proxy");
    clock.0.fetch_add(1, Ordering::Relaxed);
    assert_eq!(reason(&edge, path, &fresh(3)).await.0, 200, "a second later");
}

#[tokio::test]
async fn a_wrong_signature_counts_as_often_as_keys_were_tried_for_it() {
    let upstream = Upstream::echo().await;
    let region = Region::new();
    let keys: Vec<Key> = (0..5).map(|_| Key::ed25519()).collect();
    let named: Vec<Value> = (0..).zip(&keys).map(|(n, key)| key.published(&format!("k{n}"))).collect();
    let mut all = resources(&region, &upstream.url(""));
    let publisher = Publisher::start(&document(&named)).await;
    let _following = follow(region.standings.issuers(), &in_memory(), HOUR);
    all.extend([
        of(3, "", verify(published(&named), &["EdDSA"], |_| {})),
        of(4, "", verify(Keys::JwksUrl(publisher.url()), &["EdDSA"], |_| {})),
        proxy(1, &[3], 1, 2),
        proxy(2, &[3], 1, 2),
        proxy(3, &[4], 1, 2),
    ]);
    let from = now();
    let clock: Arc<dyn Clock> = Arc::new(Moved(from.into()));
    let edge = Edge::start_at(region.snapshot(&all), &["127.0.0.0/8"], clock);
    let forger = Key::ed25519();
    // Four keys are tried with a token that names none, and 200 of one proxy in a second.
    for (proxy, wrong, is_looked_at) in [(1, 49, true), (2, 50, false), (3, 50, false)] {
        let path = format!("/api/acme.proxy-{proxy}/x");
        for n in 0..wrong {
            let nameless = json!({"alg": "EdDSA"});
            let forged = forger.token_as(Algorithm::EdDSA, &nameless, &claims(from, &json!({"n": n})));
            assert_eq!(edge.send(&get(&path, &bearer(&forged))).await.status, 401);
        }
        let good = bearer(&keys[4].token(Algorithm::EdDSA, "k4", &claims(from, &json!({}))));
        assert_eq!(edge.send(&get(&path, &good)).await.status == 200, is_looked_at, "after {wrong}");
    }
}
