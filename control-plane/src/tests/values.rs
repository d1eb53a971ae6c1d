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
        ("BASIC", hash("v").into(), "credential.caller.value_hash"),
    ] {
        let mut wrong = caller("wrong", kind, "");
        if !hash.is_null() {
            wrong["caller"]["valueHash"] = hash;
        }
        assert_eq!(operator.post(ALL, wrong).await.faults(), [field], "{kind}");
    }
    for (field, value) in [("id", json!("cr_x")), ("version", json!("2"))] {
        let mut wrong = caller("wrong", "BEARER", "wrong");
        wrong[field] = value;
        assert_eq!(operator.post(ALL, wrong).await.faults(), [format!("credential.{field}")]);
    }
    // Which values are live is not the caller's to say.
    let mut ends = caller("ends", "BEARER", "ends");
    for field in ["rolledAt", "previousNotAfter"] {
        ends["caller"][field] = "2100-01-01T00:00:00Z".into();
    }
    let made = operator.post(ALL, ends).await.good();
    let made = &made["credential"]["caller"];
    assert!(made["rolledAt"].is_null() && made["previousNotAfter"].is_null(), "{made}");
    let basic = json!({"name": "basic", "caller": {"kind": "CALLER_KIND_BEARER", "prefix": "Basic"}});
    assert_eq!(operator.post(ALL, basic).await.faults(), ["credential.caller.bearer.prefix"]);
    world.running.stop().await;
}

#[tokio::test]
async fn a_kind_without_a_word_before_its_value_takes_none() {
    let (world, operator) = world().await;
    for (kind, value) in [("API_KEY", ""), ("JWT", "jwt")] {
        let mut wrong = caller("wrong", kind, value);
        wrong["caller"]["prefix"] = "Key".into();
        assert_eq!(operator.post(ALL, wrong).await.faults(), ["credential.caller.prefix"], "{kind}");
        operator.post(ALL, caller("right", kind, value)).await.good();
        let one = format!("{ALL}/right");
        let changed = operator.patch(&one, json!({"caller": {"prefix": "Key"}})).await;
        assert_eq!(changed.faults(), ["credential.caller.prefix"], "{kind}");
        operator.delete(&one).await.good();
    }
    world.running.stop().await;
}

/// What clients send by themselves would count as a credential, and what a proxy writes would take its place.
#[tokio::test]
async fn a_header_that_requests_have_for_another_purpose_holds_no_credential() {
    let (world, operator) = world().await;
    operator.post(ALL, caller("app", "BEARER", "one")).await.good();
    let one = format!("{ALL}/app");
    for header in [
        "accept",
        "Accept-Encoding",
        "accept-language",
        "content-encoding",
        "content-type",
        "date",
        "forwarded",
        "origin",
        "referer",
        "user-agent",
        "via",
        "x-forwarded-for",
        "x_forwarded_anything",
        "x-real-ip",
    ] {
        let mut wrong = caller("wrong", "BEARER", "wrong");
        wrong["caller"]["header"] = header.into();
        let refused = operator.post(ALL, wrong.clone()).await;
        assert!(refused.text.contains("a header of its own, as `x-api-key`"), "{}", refused.text);
        assert_eq!(refused.faults(), ["credential.caller.header"], "{header}");
        let changed = operator.patch(&one, json!({"caller": {"header": header}})).await;
        assert_eq!(changed.faults(), ["credential.caller.header"], "{header}");
        for name in ["wrong", "app"] {
            wrong["name"] = name.into();
            let body = json!({"documents": [{"credential": wrong}]});
            let faults = operator.post(APPLY, body).await.faults();
            assert!(
                faults.contains(&"documents[0].credential.caller.header".to_owned()),
                "{header}: {faults:?}"
            );
        }
    }
    operator.patch(&one, json!({"caller": {"header": "x-api-key"}})).await.good();
    operator.patch(&one, json!({"caller": {"header": "authorization"}})).await.good();
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
    let refused = set(twice).await;
    assert!(refused.text.contains(r#"credential \"a\""#), "{}", refused.text);
    assert_eq!(refused.faults(), ["documents[1].credential.caller.value_hash"]);
    let one_of_two =
        json!([{"credential": caller("a", "JWT", "x")}, {"credential": caller("b", "JWT", "three")}]);
    let refused = set(one_of_two).await;
    assert!(refused.text.contains(r#"credential \"first\""#), "{}", refused.text);
    assert_eq!(refused.faults(), ["documents[1].credential.caller.value_hash"]);
    // Of another organization it is nobody's business.
    operator.post("/v1/orgs/other/credentials", caller("first", "BEARER", "one")).await.good();
    // A value that has ended is free again.
    operator.post(&roll("first"), json!({"valueHash": hash("four")})).await.good();
    operator.post(&roll("second"), json!({"valueHash": hash("one")})).await.good();
    // Also the newer of the two that ended at once.
    operator.post(&roll("second"), json!({"valueHash": hash("three")})).await.good();
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

/// The overlap would go by without another value, and the next one could not come before its end.
#[tokio::test]
async fn a_value_that_a_credential_has_already_is_not_its_next_one_and_uses_up_no_overlap() {
    let (world, operator) = world().await;
    for (name, kind) in [("key", "API_KEY"), ("bearer", "BEARER"), ("jwt", "JWT")] {
        let value = |which: &str| hash(&format!("{name}-{which}"));
        operator.post(ALL, caller(name, kind, &format!("{name}-one"))).await.good();
        let head = operator.head().await;
        let again = operator.post(&roll(name), json!({"valueHash": value("one"), "overlap": "60s"})).await;
        assert!(again.text.contains("the value that the credential has: give another one"), "{}", again.text);
        assert_eq!(again.faults(), ["value_hash"], "{kind}");
        assert_eq!(operator.head().await, head, "what was refused changed nothing");
        operator.post(&roll(name), json!({"valueHash": value("two"), "overlap": "60s"})).await.good();
        let back = operator.post(&roll(name), json!({"valueHash": value("one")})).await;
        assert!(back.text.contains("the value before the one that the credential has"), "{}", back.text);
        assert_eq!(back.faults(), ["value_hash"], "{kind}");
    }
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
    // A document that another installation exported has the id that it had there.
    let mut elsewhere = caller("elsewhere", "JWT", "elsewhere");
    elsewhere["id"] = "cr_x".into();
    let made = operator.post(APPLY, json!({"documents": [{"credential": elsewhere}]})).await.good();
    assert_eq!(number(&made["outcome"]["created"]), 1, "{made}");
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
async fn credentials_are_found_by_tags_and_metadata_which_hold_no_key() {
    let (world, operator) = world().await;
    let made = |name: &str, tags: Value, metadata: Value| {
        let mut credential = caller(name, "API_KEY", "");
        (credential["tags"], credential["metadata"]) = (tags, metadata);
        operator.post(ALL, credential)
    };
    let gold =
        made("gold", json!(["gold", "a", "gold"]), json!({"team": "pay ments", "tier": "1"})).await.good();
    assert_eq!(gold["credential"]["tags"], json!(["a", "gold"]), "each once, in order");
    made("silver", json!(["silver"]), json!({"team": "pay ments"})).await.good();
    made("plain", json!([]), json!({})).await.good();
    let listed = async |filter: &str| {
        let filter = filter.replace(' ', "%20").replace('=', "%3D");
        operator.names(&format!("{ALL}?filter={filter}"), "credentials").await
    };
    assert_eq!(listed("tags = gold").await, ["gold"]);
    assert_eq!(listed("metadata.team = pay ments").await, ["gold", "silver"]);
    assert_eq!(listed("metadata.team = pay ments AND tags = silver").await, ["silver"]);
    assert!(listed("tags = nobody").await.is_empty());
    // What is changed is found by what it is now; what is not named stays.
    let body = json!({"tags": ["silver"]});
    let changed = operator.patch(&format!("{ALL}/gold"), body).await.good();
    assert_eq!(changed["credential"]["metadata"]["tier"], "1");
    assert_eq!(listed("tags = silver").await, ["gold", "silver"]);
    assert!(listed("tags = gold").await.is_empty());
    let cleared = format!("{ALL}/gold?updateMask=tags,metadata");
    operator.patch(&cleared, json!({})).await.good();
    assert_eq!(listed("metadata.team = pay ments").await, ["silver"]);
    operator.delete(&format!("{ALL}/silver")).await.good();
    assert!(listed("metadata.team = pay ments").await.is_empty());
    let seventeen: Vec<String> = (0..17).map(|n| format!("t{n}")).collect();
    let pairs: serde_json::Map<String, Value> = (0..17).map(|n| (format!("t{n}"), "x".into())).collect();
    let (key, _) = rr_contract::api_key::make(rr_contract::api_key::KeyKind::Caller, &[7; 32]);
    let key = String::from_utf8_lossy(key.expose()).into_owned();
    for (tags, metadata, field) in [
        (json!(["Gold"]), json!({}), "credential.tags[0]"),
        (json!([""]), json!({}), "credential.tags[0]"),
        (json!(["x".repeat(64)]), json!({}), "credential.tags[0]"),
        (json!(seventeen), json!({}), "credential.tags"),
        (json!([]), Value::Object(pairs), "credential.metadata"),
        (json!([]), json!({"Team": "x"}), "credential.metadata"),
        (json!([]), json!({"team": ""}), "credential.metadata.team"),
        (json!([]), json!({"team": "a\nb"}), "credential.metadata.team"),
        (json!([]), json!({"team": "x".repeat(257)}), "credential.metadata.team"),
        (json!([]), json!({"team": key}), "credential.metadata.team"),
    ] {
        assert_eq!(
            made("wrong", tags.clone(), metadata.clone()).await.faults(),
            [field],
            "{tags} {metadata}"
        );
    }
    operator.get(&format!("{ALL}?filter=tags%20!%3D%20a")).await.refused(400, "invalid");
    operator.get("/v1/orgs/acme/proxies?filter=tags%20%3D%20a").await.refused(400, "invalid");
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

/// Records name the credential that was used; its value is in none of them.
#[tokio::test]
async fn a_header_in_which_a_caller_presents_its_credential_is_not_recorded_in_any_spelling() {
    let world = World::start().await;
    let region = world.region("eu").await;
    world.furnish(&region).await;
    let operator = world.operator();
    operator.patch(&format!("{ALL}/app"), json!({"caller": {"header": "x-own-key"}})).await.good();
    let recording = async |list: &str, names: Value| {
        let body = json!({"recording": {list: names}});
        operator.patch("/v1/orgs/acme/proxies/echo?updateMask=recording", body).await
    };
    for list in ["requestHeaders", "responseHeaders"] {
        for name in ["x-own-key", "x_own_key"] {
            let refused = recording(list, json!(["x-trace", name])).await;
            let field = if list == "requestHeaders" { "request_headers" } else { "response_headers" };
            assert_eq!(refused.faults(), [format!("proxy.recording.{field}[1]")], "{name}");
        }
        recording(list, json!(["x-trace", "x-own"])).await.good();
    }
    world.running.stop().await;
}
