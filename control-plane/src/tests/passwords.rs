//! Callers with user and password: the hash comes in, goes to nodes and to nobody else, and a user is one caller of a proxy.

use serde_json::{Value, json};

use super::client::{Client, number};
use super::world::World;

const ALL: &str = "/v1/orgs/acme/credentials";
const PROXIES: &str = "/v1/orgs/acme/proxies";
const APPLY: &str = "/v1/orgs/acme:apply";
const ROLL: &str = "/v1/orgs/acme/credentials/reports:roll";

async fn world() -> (World, Client) {
    let world = World::start().await;
    world.org("acme").await;
    let operator = world.operator();
    (world, operator)
}

/// A hash, of whatever password.
fn hash(of: char) -> String {
    format!("$argon2id$v=19$m=19456,t=2,p=1$BwcHBwcHBwcHBwcHBwcHBw${of}{}", "A".repeat(42))
}

fn user(name: &str, user: &str, hash: &str) -> Value {
    let mut caller = json!({"kind": "CALLER_KIND_BASIC", "username": user});
    if !hash.is_empty() {
        caller["passwordHash"] = hash.into();
    }
    json!({"name": name, "caller": caller})
}

#[tokio::test]
async fn a_password_comes_as_its_hash_and_is_rolled_like_other_values() {
    let (world, operator) = world().await;
    let made = operator.post(ALL, user("reports", "ann", &hash('A'))).await.good();
    assert_eq!(made["credential"]["caller"]["username"], "ann");
    let rolled = operator.post(ROLL, json!({"passwordHash": hash('B'), "overlap": "3600s"})).await.good();
    assert_eq!(number(&rolled["credential"]["version"]), 2);
    assert_eq!(rolled["key"].as_str().unwrap_or_default(), "");
    let shown = operator.get(&format!("{ALL}/reports")).await;
    for text in [made.to_string(), rolled.to_string(), shown.text] {
        assert!(!text.contains("argon2id"), "{text}");
    }
    let third = operator.post(ROLL, json!({"passwordHash": hash('C'), "overlap": "1s"})).await;
    third.refused(400, "two-values-live");
    for (body, field) in [
        (json!({}), "password_hash"),
        (json!({"passwordHash": hash('B')}), "password_hash"),
        (json!({"passwordHash": hash('A')}), "password_hash"),
        (json!({"passwordHash": hash('C').replace("t=2", "t=3")}), "password_hash"),
        (json!({"passwordHash": hash('C'), "valueHash": "AAAA"}), "value_hash"),
    ] {
        assert_eq!(operator.post(ROLL, body.clone()).await.faults(), [field], "{body}");
    }
    operator.post(ROLL, json!({"passwordHash": hash('C')})).await.good();
    world.running.stop().await;
}

#[tokio::test]
async fn what_is_no_user_or_no_hash_of_a_password_is_refused_by_name() {
    let (world, operator) = world().await;
    let other = |kind: &str, caller: Value| {
        let mut wrong = json!({"name": "wrong", "caller": caller});
        wrong["caller"]["kind"] = format!("CALLER_KIND_{kind}").into();
        wrong
    };
    for (wrong, field) in [
        (user("wrong", "ann", ""), "credential.caller.password_hash"),
        (user("wrong", "ann", "hunter2"), "credential.caller.password_hash"),
        (user("wrong", "ann", &hash('A').replace("m=19456", "m=65536")), "credential.caller.password_hash"),
        (user("wrong", "", &hash('A')), "credential.caller.basic.user"),
        (user("wrong", "a:b", &hash('A')), "credential.caller.basic.user"),
        (user("wrong", &"n".repeat(129), &hash('A')), "credential.caller.basic.user"),
        (other("API_KEY", json!({"username": "ann"})), "credential.caller.username"),
        (other("BEARER", json!({"passwordHash": hash('A')})), "credential.caller.password_hash"),
        (other("BASIC", json!({"username": "ann", "valueHash": "AAAA"})), "credential.caller.value_hash"),
    ] {
        let refused = operator.post(ALL, wrong.clone()).await;
        assert!(!refused.text.contains("hunter2"), "{}", refused.text);
        assert_eq!(refused.faults(), [field], "{wrong}");
    }
    let said = operator.post(ALL, user("wrong", "ann", "hunter2")).await.text;
    assert!(said.contains("rrctl credential create-caller") && said.contains("-k 19456"), "{said}");
    world.running.stop().await;
}

#[tokio::test]
async fn two_callers_of_one_proxy_have_two_users() {
    let (world, operator) = world().await;
    for (name, is) in [("one", "ann"), ("other", "ann"), ("third", "bob")] {
        operator.post(ALL, user(name, is, &hash('A'))).await.good();
    }
    operator.post(ALL, json!({"name": "open", "upstream": {"kind": "UPSTREAM_KIND_NONE"}})).await.good();
    operator.post("/v1/orgs/acme/targets", json!({"name": "t", "baseUrl": "https://t.example"})).await.good();
    let proxy = |name: &str, callers: Value| json!({"name": name, "callerCredentials": callers, "target": "t", "upstreamCredential": "open", "regions": []});
    let field = "caller_credentials[1]";
    let refused = operator.post(PROXIES, proxy("p", json!(["one", "other"]))).await;
    for part in ["has user", "rrctl credential roll one"] {
        assert!(refused.text.contains(part), "{}", refused.text);
    }
    let faults = refused.faults();
    assert!(faults.contains(&format!("proxy.{field}")), "{faults:?}");
    let fine = operator.post(PROXIES, proxy("p", json!(["one", "third"]))).await;
    assert!(!fine.text.contains("has user"), "{}", fine.text);
    // In a set, of credentials that it brings, too.
    let set = json!({"documents": [
        {"credential": user("new", "bob", &hash('B'))},
        {"proxy": proxy("p", json!(["third", "new"]))},
    ]});
    let faults = operator.post(APPLY, set).await.faults();
    assert!(faults.contains(&format!("documents[1].proxy.{field}")), "{faults:?}");
    // A hash finds nobody, so two users may have one.
    let alike = json!({"documents": [
        {"credential": user("fourth", "eve", &hash('C'))},
        {"credential": user("fifth", "joe", &hash('C'))},
    ]});
    assert_eq!(number(&operator.post(APPLY, alike).await.good()["outcome"]["created"]), 2);
    // A user is not changed under a proxy that has another one of that name.
    let renamed = json!({"documents": [{"credential": user("third", "ann", "")}]});
    assert_eq!(operator.post(APPLY, renamed).await.faults(), ["documents[0].credential.caller.username"]);
    let same = json!({"documents": [{"credential": user("third", "bob", "")}]});
    assert_eq!(number(&operator.post(APPLY, same).await.good()["outcome"]["unchanged"]), 1);
    world.running.stop().await;
}
