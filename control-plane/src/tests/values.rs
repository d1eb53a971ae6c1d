//! Values of caller credentials: own ones by their hashes, and the way from one value to the next.

use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use rr_contract::api_key::hash_foreign;
use rr_contract::wire::management as wire;
use serde_json::{Value, json};

use super::client::{Client, number};
use super::world::World;

const ALL: &str = "/v1/orgs/acme/credentials";
const APPLY: &str = "/v1/orgs/acme:apply";

async fn world() -> (World, Client) {
    let world = World::start().await;
    world.org("acme").await;
    let operator = world.operator();
    (world, operator)
}

fn hash(value: &str) -> String {
    BASE64_STANDARD.encode(hash_foreign(value.as_bytes()).as_bytes())
}

fn caller(name: &str, kind: &str, value: &str) -> Value {
    let mut caller = json!({"kind": format!("CALLER_KIND_{kind}")});
    if !value.is_empty() {
        caller["valueHash"] = hash(value).into();
    }
    json!({"name": name, "caller": caller})
}

fn roll(name: &str) -> String {
    format!("{ALL}/{name}:roll")
}

#[tokio::test]
async fn an_own_value_comes_as_its_hash_and_a_key_is_made_where_none_comes() {
    let (world, operator) = world().await;
    for (kind, value, shows_key) in [
        ("API_KEY", "", true),
        ("API_KEY", "key", false),
        ("BEARER", "", true),
        ("BEARER", "bearer", false),
        ("JWT", "jwt", false),
    ] {
        let name = format!("{}-{}", kind.to_lowercase().replace('_', "-"), u8::from(shows_key));
        let made = operator.post(ALL, caller(&name, kind, value)).await.good();
        assert_eq!(made["key"].as_str().is_some_and(|key| key.starts_with("rr_key_")), shows_key, "{made}");
        assert!(made["credential"]["caller"]["valueHash"].as_str().is_none_or(str::is_empty), "{made}");
        let shown = operator.get(&format!("{ALL}/{name}")).await;
        assert!(value.is_empty() || !shown.text.contains(&hash(value)), "{}", shown.text);
    }
    for (kind, hash, field) in [
        ("JWT", Value::Null, "credential.caller.value_hash"),
        ("BEARER", "AAAA".into(), "credential.caller.value_hash"),
        ("JWT_VERIFY", hash("v").into(), "credential.caller.value_hash"),
        ("BASIC", Value::Null, "credential.caller.kind"),
    ] {
        let mut wrong = caller("wrong", kind, "");
        if !hash.is_null() {
            wrong["caller"]["valueHash"] = hash;
        }
        assert_eq!(operator.post(ALL, wrong).await.faults(), [field], "{kind}");
    }
    let basic = json!({"name": "basic", "caller": {"kind": "CALLER_KIND_BEARER", "prefix": "Basic"}});
    assert_eq!(operator.post(ALL, basic).await.faults(), ["credential.caller.bearer.prefix"]);
    world.running.stop().await;
}

#[tokio::test]
async fn one_value_is_one_credential_of_an_organization() {
    let (world, operator) = world().await;
    world.org("other").await;
    operator.post(ALL, caller("first", "BEARER", "one")).await.good();
    let refused = operator.post(ALL, caller("second", "JWT", "one")).await;
    assert!(refused.text.contains(r#"credential \"first\""#), "{}", refused.text);
    assert_eq!(refused.faults(), ["credential.caller.value_hash"]);
    operator.post(ALL, caller("second", "JWT", "two")).await.good();
    assert_eq!(
        operator.post(&roll("second"), json!({"valueHash": hash("one")})).await.faults(),
        ["value_hash"]
    );
    // One that is about to end counts as well.
    operator.post(&roll("first"), json!({"valueHash": hash("three"), "overlap": "3600s"})).await.good();
    assert_eq!(
        operator.post(&roll("second"), json!({"valueHash": hash("one")})).await.faults(),
        ["value_hash"]
    );
    for live in ["one", "three"] {
        let body = json!({"valueHash": hash(live)});
        assert_eq!(operator.post(&roll("first"), body).await.faults(), ["value_hash"], "{live}");
    }
    let set = |documents: Value| operator.post(APPLY, json!({"documents": documents}));
    let twice = json!([{"credential": caller("a", "JWT", "x")}, {"credential": caller("b", "JWT", "x")}]);
    assert_eq!(set(twice).await.faults(), ["documents"]);
    assert_eq!(set(json!([{"credential": caller("a", "JWT", "three")}])).await.faults(), ["documents"]);
    // Of another organization it is nobody's business.
    operator.post("/v1/orgs/other/credentials", caller("first", "BEARER", "one")).await.good();
    // A value that has ended is free again.
    operator.post(&roll("first"), json!({"valueHash": hash("four")})).await.good();
    operator.post(&roll("second"), json!({"valueHash": hash("one")})).await.good();
    world.running.stop().await;
}

#[tokio::test]
async fn a_roll_is_a_version_and_a_revision_and_keeps_the_value_before_for_a_time() {
    let (world, operator) = world().await;
    let made = operator.post(ALL, caller("app", "API_KEY", "")).await.good();
    let head = operator.head().await;
    let at_once = operator.post(&roll("app"), json!({})).await.good();
    assert_ne!(at_once["key"], made["key"]);
    assert_eq!((number(&at_once["revision"]), &at_once["credential"]["version"]), (head + 1, &json!("2")));
    let caller_of = |answer: &Value| answer["credential"]["caller"].clone();
    assert!(caller_of(&at_once)["previousNotAfter"].is_null() && caller_of(&at_once)["rolledAt"].is_string());
    assert_ne!(at_once["credential"]["etag"], made["credential"]["etag"]);

    let etag = made["credential"]["etag"].clone();
    operator.post(&roll("app"), json!({"overlap": "60s", "etag": etag})).await.refused(409, "stale");
    let overlapping = operator.post(&roll("app"), json!({"overlap": "60s"})).await.good();
    assert!(caller_of(&overlapping)["previousNotAfter"].is_string(), "{overlapping}");
    let third = operator.post(&roll("app"), json!({"overlap": "1s"})).await;
    assert!(third.text.contains("overlap of 0"), "{}", third.text);
    third.refused(400, "two-values-live");
    assert_eq!(operator.head().await, head + 2, "what was refused changed nothing");
    // Nothing but a roll changes which values are live.
    let body = json!({"caller": {"kind": "CALLER_KIND_API_KEY", "header": "x-own", "valueHash": hash("v")}});
    let updated = operator.patch(&format!("{ALL}/app"), body).await.good();
    assert_eq!(caller_of(&updated)["previousNotAfter"], caller_of(&overlapping)["previousNotAfter"]);
    assert_eq!(updated["credential"]["version"], "3");

    let world = world.restart_later(Duration::from_secs(61)).await;
    let operator = world.operator();
    operator.post(&roll("app"), json!({"overlap": "7776000s"})).await.good();
    let ended = operator.post(&roll("app"), json!({"overlap": "0s"})).await.good();
    assert!(caller_of(&ended)["previousNotAfter"].is_null(), "both end at once: {ended}");
    assert_eq!(operator.post(&roll("app"), json!({"overlap": "7776001s"})).await.faults(), ["overlap"]);
    assert_eq!(operator.post(&roll("app"), json!({"overlap": "-1s"})).await.faults(), ["overlap"]);
    world.running.stop().await;
}

#[tokio::test]
async fn what_has_no_value_is_not_rolled_and_a_viewer_rolls_nothing() {
    let (world, operator) = world().await;
    operator.post(ALL, json!({"name": "open", "upstream": {"kind": "UPSTREAM_KIND_NONE"}})).await.good();
    let verify = json!({"jwksUrl": "https://i.example/jwks", "issuer": "https://i.example", "audiences": ["a"],
        "algorithms": ["ES256"]});
    let verified =
        json!({"name": "verified", "caller": {"kind": "CALLER_KIND_JWT_VERIFY", "jwtVerify": verify}});
    operator.post(ALL, verified).await.good();
    operator.post(ALL, caller("fixed", "JWT", "one")).await.good();
    for (name, field) in [("open", "credential"), ("verified", "credential"), ("fixed", "value_hash")] {
        assert_eq!(operator.post(&roll(name), json!({})).await.faults(), [field], "{name}");
    }
    operator.post(&roll("nobody"), json!({})).await.refused(404, "not-found");
    let viewer = world.service(wire::Role::Viewer, "acme").await;
    viewer.post(&roll("fixed"), json!({"valueHash": hash("two")})).await.refused(403, "role-missing");
    world.running.stop().await;
}

#[tokio::test]
async fn a_set_brings_a_value_with_a_new_credential_and_replaces_none() {
    let (world, operator) = world().await;
    let set = |value: &str| {
        let documents = json!([{"credential": caller("fixed", "JWT", value)}]);
        operator.post(APPLY, json!({"documents": documents}))
    };
    let made = set("one").await.good();
    assert_eq!(made["outcome"]["keys"].as_array().map_or(0, Vec::len), 0, "{made}");
    let again = set("one").await.good();
    assert_eq!(number(&again["outcome"]["unchanged"]), 1, "{again}");
    let refused = set("two").await;
    assert!(refused.text.contains("rrctl credential roll fixed"), "{}", refused.text);
    assert_eq!(refused.faults(), ["documents[0].credential.caller.value_hash"]);
    operator.post(&roll("fixed"), json!({"valueHash": hash("two"), "overlap": "60s"})).await.good();
    let unchanged = set("two").await.good();
    assert_eq!(number(&unchanged["outcome"]["unchanged"]), 1, "the overlap stays: {unchanged}");
    // Without a value, the document says nothing of it.
    let silent = set("").await.good();
    assert_eq!(number(&silent["outcome"]["unchanged"]), 1, "{silent}");
    world.running.stop().await;
}

#[tokio::test]
async fn a_rollback_leaves_the_live_values_as_they_are() {
    let (world, operator) = world().await;
    operator.post(ALL, caller("app", "API_KEY", "")).await.good();
    let back_to = operator.head().await;
    operator.patch(&format!("{ALL}/app"), json!({"caller": {"header": "x-own"}})).await.good();
    let rolled = operator.post(&roll("app"), json!({"overlap": "3600s"})).await.good();
    let body = json!({"revision": back_to.to_string()});
    operator.post("/v1/orgs/acme:rollback", body).await.good();
    let back = operator.get(&format!("{ALL}/app")).await.good();
    let (back, rolled) = (&back["credential"], &rolled["credential"]);
    assert_eq!(back["caller"]["header"].as_str().unwrap_or_default(), "");
    assert_eq!(back["version"], rolled["version"]);
    for field in ["rolledAt", "previousNotAfter"] {
        assert!(
            back["caller"][field].is_string() && back["caller"][field] == rolled["caller"][field],
            "{back}"
        );
    }
    world.running.stop().await;
}
