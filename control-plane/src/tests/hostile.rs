//! What callers tried once and must not get again: each was a hole.

use serde_json::json;

use super::client::Client;
use super::world::World;

async fn world() -> (World, Client) {
    let world = World::start().await;
    world.region("eu").await;
    world.org("acme").await;
    let operator = world.operator();
    (world, operator)
}

#[tokio::test]
async fn a_rollback_to_no_revision_is_refused_and_takes_nothing_away() {
    let (world, owner) = world().await;
    owner
        .post("/v1/orgs/acme/targets", json!({"name": "a", "baseUrl": "https://a.example.com"}))
        .await
        .good();
    for body in [json!({}), json!({"revision": "0", "dryRun": true})] {
        assert_eq!(owner.post("/v1/orgs/acme:rollback", body).await.faults(), ["revision"]);
    }
    owner.get("/v1/orgs/acme/targets/a").await.good();
    world.running.stop().await;
}

#[tokio::test]
async fn a_name_that_was_given_again_comes_back_to_who_had_it() {
    let (world, owner) = world().await;
    let target = json!({"name": "re", "baseUrl": "https://a.example.com"});
    let first = owner.post("/v1/orgs/acme/targets", target.clone()).await.good();
    let then = owner.head().await;
    owner.delete("/v1/orgs/acme/targets/re").await.good();
    owner.post("/v1/orgs/acme/targets", target).await.good();
    owner.post("/v1/orgs/acme:rollback", json!({"revision": then.to_string()})).await.good();
    let back = owner.get("/v1/orgs/acme/targets/re").await.good();
    assert_eq!(back["target"]["id"], first["target"]["id"]);
    world.running.stop().await;
}

#[tokio::test]
async fn a_set_with_one_id_twice_is_refused() {
    let (world, owner) = world().await;
    let id = "cr_00000000000000000000000000";
    let open = |name: &str| json!({"credential": {"id": id, "name": name, "upstream": {"kind": "UPSTREAM_KIND_NONE"}}});
    let refused = owner.post("/v1/orgs/acme:apply", json!({"documents": [open("a"), open("b")]})).await;
    assert_eq!(refused.faults(), ["documents[1].credential.id"]);
    world.running.stop().await;
}

#[tokio::test]
async fn a_prune_takes_nothing_that_is_not_shared() {
    let (world, owner) = world().await;
    let sharing = json!({"sharing": {"targets": false}});
    owner.patch("/v1/orgs/acme?updateMask=sharing", sharing).await.good();
    let target = |name: &str| json!({"target": {"name": name, "baseUrl": "https://a.example.com"}});
    owner
        .post("/v1/orgs/acme:apply", json!({"owner": "git", "documents": [target("precious")]}))
        .await
        .good();
    let editor = world.user("edi", "acme", "ROLE_EDITOR").await;
    let prune = json!({"owner": "git", "prune": true, "documents": [target("other")]});
    editor.post("/v1/orgs/acme:apply", prune).await.refused(403, "not-shared");
    owner.get("/v1/orgs/acme/targets/precious").await.good();
    world.running.stop().await;
}

#[tokio::test]
async fn a_token_for_some_calls_takes_nothing_along_by_others() {
    let (world, owner) = world().await;
    let made = json!({"documents": [
        {"target": {"name": "t", "baseUrl": "https://a.example.com"}},
        {"credential": {"name": "app", "caller": {"kind": "CALLER_KIND_API_KEY"}}},
        {"credential": {"name": "open", "upstream": {"kind": "UPSTREAM_KIND_NONE"}}},
        {"proxy": {"name": "p", "callerCredentials": ["app"], "target": "t", "upstreamCredential": "open", "regions": ["eu"]}},
    ]});
    owner.post("/v1/orgs/acme:apply", made).await.good();
    let token = json!({"name": "narrow", "calls": ["TargetService.*"], "grants": [{"role": "ROLE_EDITOR", "org": "acme"}]});
    let secret = owner.post("/v1/tokens", token).await.good();
    let narrow = world.client(secret["secret"].as_str().expect("is shown"));
    narrow.delete("/v1/orgs/acme/targets/t?cascade=proxies/p").await.refused(403, "call-not-allowed");
    owner.get("/v1/orgs/acme/proxies/p").await.good();
    world.running.stop().await;
}
