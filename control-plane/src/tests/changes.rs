//! Changes of what others change too: etags, and what is in use.

use serde_json::{Value, json};

use super::client::number;
use super::world::World;

const TARGETS: &str = "/v1/orgs/acme/targets";

/// What a problem says of itself to programs.
fn info(problem: &Value) -> Value {
    let details = problem["details"].as_array().expect("a list");
    let info = details.iter().find(|it| it["@type"].as_str().is_some_and(|kind| kind.ends_with("ErrorInfo")));
    info.expect("is there")["metadata"].clone()
}

#[tokio::test]
async fn a_stale_update_is_refused_with_both_etags_and_what_is_there_now() {
    let world = World::start().await;
    world.org("acme").await;
    let operator = world.operator();
    let made =
        operator.post(TARGETS, json!({"name": "echo", "baseUrl": "https://a.example.com"})).await.good();
    let first = made["target"]["etag"].as_str().expect("a text").to_owned();
    let echo = format!("{TARGETS}/echo");
    let update = |url: &str| json!({"baseUrl": url, "etag": first});
    let changed = operator.patch(&echo, update("https://b.example.com")).await.good();
    let second = changed["target"]["etag"].as_str().expect("a text").to_owned();
    assert_ne!(first, second);
    let stale = operator.patch(&echo, update("https://c.example.com")).await.refused(409, "stale");
    let told = info(&stale);
    assert_eq!((&told["given"], &told["current"]), (&json!(first), &json!(second)));
    assert!(told["current_value"].as_str().expect("a text").contains("https://b.example.com"), "{told}");
    operator.delete(&format!("{echo}?etag={first}")).await.refused(409, "stale");
    let there = operator.get(&echo).await.good();
    assert_eq!(there["target"]["baseUrl"], "https://b.example.com");
    operator.delete(&format!("{echo}?etag={second}")).await.good();
    operator.get(&echo).await.refused(404, "not-found");
    world.running.stop().await;
}

#[tokio::test]
async fn a_change_to_what_is_there_already_is_no_revision_and_keeps_the_etag() {
    let world = World::start().await;
    world.org("acme").await;
    let operator = world.operator();
    let made =
        operator.post(TARGETS, json!({"name": "echo", "baseUrl": "https://a.example.com"})).await.good();
    let before = operator.head().await;
    let same = json!({"baseUrl": "https://A.example.com:443/"});
    let changed = operator.patch(&format!("{TARGETS}/echo"), same).await.good();
    assert_eq!(number(&changed["revision"]), 0);
    assert_eq!(changed["target"]["etag"], made["target"]["etag"]);
    assert_eq!(changed["target"]["updatedAt"], made["target"]["updatedAt"]);
    assert_eq!(operator.head().await, before);
    world.running.stop().await;
}

#[tokio::test]
async fn a_proxy_without_an_upstream_credential_is_told_how_to_make_one_that_adds_nothing() {
    let world = World::start().await;
    let region = world.region("eu").await;
    world.furnish(&region).await;
    let operator = world.operator();
    let proxy = json!({"name": "open", "target": "echo", "callerCredentials": ["app"], "regions": ["eu"]});
    let refused = operator.post("/v1/orgs/acme/proxies", proxy).await;
    assert!(refused.text.contains("`rrctl credential create-upstream NAME --kind none`"), "{}", refused.text);
    assert_eq!(refused.faults(), ["proxy.upstream_credential"]);
    world.running.stop().await;
}

#[tokio::test]
async fn what_is_in_use_stays_and_its_users_are_listed_until_they_are_named_too() {
    let world = World::start().await;
    let region = world.region("eu").await;
    world.furnish(&region).await;
    let operator = world.operator();
    for (parent, name) in [("proxy", "echo"), ("target", "echo"), ("credential", "app")] {
        let rule = json!({"name": format!("of-{parent}"), parent: name, "effect": "EFFECT_DENY"});
        operator.post("/v1/orgs/acme/rules", rule).await.good();
    }
    let proxy = operator.get("/v1/orgs/acme/proxies/echo").await.good();
    let proxy = proxy["proxy"]["id"].as_str().expect("a text").to_owned();
    for path in ["targets/echo", "credentials/app", "credentials/openai"] {
        let refused = operator.delete(&format!("/v1/orgs/acme/{path}")).await.refused(400, "in-use");
        assert!(refused["detail"].as_str().expect("a text").contains("proxy \"echo\""), "{refused}");
        let listed = refused["details"].to_string();
        assert!(listed.contains(&format!("proxies/{proxy}")), "{listed}");
        let other = format!("/v1/orgs/acme/{path}?cascade=proxies/other&cascade=rules/of-proxy");
        operator.delete(&other).await.refused(400, "in-use");
    }
    let refused = operator.delete("/v1/regions/eu").await.refused(400, "in-use");
    assert!(refused["detail"].as_str().expect("a text").contains("echo"), "{refused}");

    let before = operator.head().await;
    let gone = operator.delete("/v1/orgs/acme/targets/echo?cascade=proxies/echo").await.good();
    assert_eq!(number(&gone["revision"]), before + 1, "all of it is one revision");
    assert!(operator.names("/v1/orgs/acme/proxies", "proxies").await.is_empty());
    let rules = operator.names("/v1/orgs/acme/rules", "rules").await;
    assert_eq!(rules, ["of-credential"], "children go along with what goes");
    world.running.stop().await;
}

#[tokio::test]
async fn what_uses_a_thing_goes_with_it_when_its_id_is_named() {
    let world = World::start().await;
    let region = world.region("eu").await;
    world.furnish(&region).await;
    let operator = world.operator();
    let proxy = operator.get("/v1/orgs/acme/proxies/echo").await.good();
    let id = proxy["proxy"]["id"].as_str().expect("a text");
    operator.delete(&format!("/v1/orgs/acme/credentials/openai?cascade={id}")).await.good();
    operator.get("/v1/orgs/acme/proxies/echo").await.refused(404, "not-found");
    world.running.stop().await;
}
