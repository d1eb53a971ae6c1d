//! Tokens: what they are narrowed to, who may give them what, and their end.

use rr_contract::api_key::{self, KeyKind};
use rr_contract::wire::management as wire;
use rr_contract::wire::management::token_service_client::TokenServiceClient;
use serde_json::{Value, json};

use super::client::Client;
use super::world::{World, by, target};

const TARGETS: &str = "/v1/orgs/acme/targets";

/// A token of a service that edits `acme`, with more said of it.
async fn token(world: &World, maker: &Client, more: Value) -> Client {
    let mut body = json!({"name": "narrow", "grants": [{"role": "ROLE_EDITOR", "org": "acme"}]});
    body.as_object_mut().expect("one").extend(more.as_object().expect("one").clone());
    let made = maker.post("/v1/tokens", body).await.good();
    world.client(made["secret"].as_str().expect("a text"))
}

async fn world() -> (World, Client, String, String) {
    let world = World::start().await;
    world.org("acme").await;
    let mut ids = Vec::new();
    for name in ["a", "b"] {
        ids.push(world.target("acme", target(name, "https://a.example.com")).await.expect("is made").id);
    }
    let operator = world.operator();
    let [a, b] = ids.try_into().expect("two");
    (world, operator, a, b)
}

#[tokio::test]
async fn a_token_for_some_calls_makes_no_others_and_no_token_that_does() {
    let (world, operator, ..) = world().await;
    let calls = json!({"calls": ["TargetService.GetTarget", "TokenService.*"]});
    let narrow = token(&world, &operator, calls).await;
    narrow.get(&format!("{TARGETS}/a")).await.good();
    narrow.get(TARGETS).await.refused(403, "call-not-allowed");
    narrow.delete(&format!("{TARGETS}/a")).await.refused(403, "call-not-allowed");
    narrow.get("/v1/self").await.good();
    let grants = json!([{"role": "ROLE_VIEWER", "org": "acme"}]);
    let wider = json!({"name": "wider", "grants": grants});
    assert_eq!(narrow.post("/v1/tokens", wider).await.faults(), ["token.calls"]);
    let wider = json!({"name": "wider", "grants": grants, "calls": ["TargetService.*"]});
    assert_eq!(narrow.post("/v1/tokens", wider).await.faults(), ["token.calls"]);
    let same = json!({"name": "same", "grants": grants, "calls": ["TargetService.GetTarget"]});
    narrow.post("/v1/tokens", same).await.good();
    let unknown = json!({"name": "x", "grants": grants, "calls": ["TargetService.Explode"]});
    assert_eq!(operator.post("/v1/tokens", unknown).await.faults(), ["token.calls[0]"]);
    world.running.stop().await;
}

#[tokio::test]
async fn a_token_for_some_resources_sees_and_changes_these_and_what_belongs_to_them() {
    let (world, operator, a, b) = world().await;
    let narrow = token(&world, &operator, json!({"resources": [a]})).await;
    let rules = "/v1/orgs/acme/rules";
    let rule = |name: &str, of: &str| json!({"name": name, "target": of, "effect": "EFFECT_DENY"});
    operator.post(rules, rule("of-b", "b")).await.good();
    assert_eq!(narrow.names(TARGETS, "targets").await, ["a"]);
    narrow.patch(&format!("{TARGETS}/a"), json!({"baseUrl": "https://b.example.com"})).await.good();
    let missed = narrow.get(&format!("{TARGETS}/b")).await.refused(404, "not-found");
    let nothing = narrow.get(&format!("{TARGETS}/c")).await.refused(404, "not-found");
    assert_eq!(missed.to_string().replace("\\\"b\\\"", "\\\"c\\\""), nothing.to_string());
    narrow.get(&format!("{TARGETS}/{b}")).await.refused(404, "not-found");
    narrow
        .patch(&format!("{TARGETS}/b"), json!({"baseUrl": "https://b.example.com"}))
        .await
        .refused(404, "not-found");
    narrow.delete(&format!("{TARGETS}/b")).await.refused(404, "not-found");
    narrow.get(&format!("{rules}/of-b")).await.refused(404, "not-found");
    narrow.post(rules, rule("of-a", "a")).await.good();
    narrow.get(&format!("{rules}/of-a")).await.good();
    // Everything else is not what it is for.
    let head = operator.head().await;
    narrow.post(rules, rule("other", "b")).await.refused(403, "call-not-allowed");
    let new = json!({"name": "new", "baseUrl": "https://n.example.com"});
    narrow.post(TARGETS, new.clone()).await.refused(403, "call-not-allowed");
    let caller = json!({"name": "new", "caller": {"kind": "CALLER_KIND_API_KEY"}});
    narrow.post("/v1/orgs/acme/credentials", caller).await.refused(403, "call-not-allowed");
    let set = json!({"documents": [{"target": new}]});
    narrow.post("/v1/orgs/acme:apply", set).await.refused(403, "call-not-allowed");
    let grants = json!([{"role": "ROLE_VIEWER", "org": "acme"}]);
    let wider = json!({"name": "wider", "grants": grants, "resources": [b]});
    assert_eq!(narrow.post("/v1/tokens", wider).await.faults(), ["token.resources"]);
    assert_eq!(operator.head().await, head);
    world.running.stop().await;
}

#[tokio::test]
async fn an_owners_token_for_one_resource_does_not_reach_the_organization() {
    let (world, operator, a, _) = world().await;
    let owner = json!({"grants": [{"role": "ROLE_OWNER", "org": "acme"}], "resources": [a]});
    let narrow = token(&world, &operator, owner).await;
    let head = operator.head().await;
    narrow.delete("/v1/orgs/acme").await.refused(403, "call-not-allowed");
    narrow.patch("/v1/orgs/acme", json!({"displayName": "Mine"})).await.refused(403, "call-not-allowed");
    narrow.get("/v1/orgs/acme/members").await.refused(403, "call-not-allowed");
    narrow.get("/v1/orgs/acme/audit").await.refused(403, "call-not-allowed");
    narrow.get("/v1/orgs/acme:diff").await.refused(403, "call-not-allowed");
    narrow.get("/v1/tokens").await.refused(403, "call-not-allowed");
    narrow.get("/v1/orgs/acme").await.good();
    assert_eq!(operator.head().await, head);
    world.running.stop().await;
}

#[tokio::test]
async fn a_revoked_token_opens_nothing_and_is_still_shown() {
    let (world, operator, ..) = world().await;
    let other = token(&world, &operator, json!({})).await;
    let id = other.get("/v1/self").await.good()["token"]["id"].as_str().expect("a text").to_owned();
    let stranger = world.service(wire::Role::Viewer, "acme").await;
    stranger.delete(&format!("/v1/tokens/{id}")).await.refused(404, "not-found");
    operator.delete(&format!("/v1/tokens/{id}")).await.good();
    other.get("/v1/self").await.refused(401, "unauthenticated");
    let shown = operator.get(&format!("/v1/tokens/{id}")).await.good();
    assert!(shown["token"]["revokedAt"].is_string(), "{shown}");
    let head = operator.head().await;
    operator.delete(&format!("/v1/tokens/{id}")).await.good();
    assert_eq!(operator.head().await, head, "once is enough");
    world.running.stop().await;
}

#[tokio::test]
async fn an_operator_of_a_region_sees_its_nodes_and_makes_its_tokens_and_no_others() {
    let world = World::start().await;
    let (eu, us) = (world.region("eu").await, world.region("us").await);
    for region in [&eu, &us] {
        let token = world.node_token(region, 1).await;
        world.join(&token).await.expect("joins");
    }
    let operator = world.operator();
    let grants = json!([{"role": "ROLE_REGION_OPERATOR", "region": "eu"}]);
    let made = operator.post("/v1/tokens", json!({"name": "eu", "grants": grants})).await.good();
    let regional = world.client(made["secret"].as_str().expect("a text"));
    let nodes = regional.get("/v1/nodes").await.good();
    let regions: Vec<&Value> =
        nodes["nodes"].as_array().expect("a list").iter().map(|it| &it["region"]).collect();
    assert_eq!(regions.len(), 1, "{nodes}");
    regional.get("/v1/nodes?region=us").await.refused(403, "role-missing");
    let listed = regional.get("/v1/regions/eu/nodeTokens").await.good();
    assert_eq!(listed["nodeTokens"].as_array().map(Vec::len), Some(1));
    assert_eq!(listed["nodeTokens"][0]["used"], 1);
    regional.get("/v1/regions/us/nodeTokens").await.refused(403, "role-missing");
    regional.patch("/v1/regions/eu", json!({"displayName": "Mine"})).await.refused(403, "role-missing");
    let more = json!([{"role": "ROLE_REGION_OPERATOR", "region": "us"}]);
    regional.post("/v1/tokens", json!({"name": "us", "grants": more})).await.refused(403, "grant-too-wide");
    world.running.stop().await;
}

#[tokio::test]
async fn a_dedicated_region_is_there_for_its_organization_alone() {
    let world = World::start().await;
    let shared = world.region("eu").await;
    world.furnish(&shared).await;
    world.org("theirs").await;
    world.dedicated_region("private", "acme").await;
    let (mine, stranger) =
        (world.service(wire::Role::Admin, "acme").await, world.service(wire::Role::Admin, "theirs").await);
    assert_eq!(mine.names("/v1/regions", "regions").await, ["eu", "private"]);
    assert_eq!(stranger.names("/v1/regions", "regions").await, ["eu"]);
    mine.get("/v1/regions/private/nodeTokens").await.good();
    mine.get("/v1/regions/eu/nodeTokens").await.refused(403, "role-missing");
    // Whatever names it, it looks as if there were none.
    let said = async |name: &str| {
        let open = json!({"name": "open", "upstream": {"kind": "UPSTREAM_KIND_NONE"}});
        stranger.post("/v1/orgs/theirs/credentials", open).await;
        let caller = json!({"name": "app", "caller": {"kind": "CALLER_KIND_API_KEY"}});
        stranger.post("/v1/orgs/theirs/credentials", caller).await;
        stranger
            .post("/v1/orgs/theirs/targets", json!({"name": "echo", "baseUrl": "https://a.example.com"}))
            .await;
        let proxy = json!({"name": "echo", "callerCredentials": ["app"], "target": "echo",
            "upstreamCredential": "open", "regions": [name]});
        let grants = json!([{"role": "ROLE_REGION_OPERATOR", "region": name}]);
        let answers = [
            stranger.post("/v1/orgs/theirs/proxies", proxy.clone()).await,
            stranger.post("/v1/orgs/theirs:apply", json!({"documents": [{"proxy": proxy}]})).await,
            stranger.post("/v1/tokens", json!({"name": "x", "grants": grants})).await,
            stranger.get(&format!("/v1/regions/{name}")).await,
            stranger.get(&format!("/v1/nodes?region={name}")).await,
            stranger.get(&format!("/v1/regions/{name}/nodeTokens")).await,
        ];
        answers.map(|answer| (answer.status, answer.text.replace(name, "it")))
    };
    let (hidden, missing) = (said("private").await, said("nowhere").await);
    assert_eq!(hidden, missing);
    assert!(hidden.iter().all(|(status, _)| matches!(status, 400 | 404)), "{hidden:?}");
    world.running.stop().await;
}

/// A call whose answer is lost loses no token: whoever made the secret keeps it before he calls.
#[tokio::test]
async fn a_token_opens_with_the_secret_that_its_maker_drew_and_whose_hash_alone_he_sent() {
    let (world, operator, ..) = world().await;
    let (secret, hash) = api_key::make(KeyKind::Token, &[7; 32]);
    let grants =
        vec![wire::Grant { role: wire::Role::Viewer.into(), org: "acme".into(), ..Default::default() }];
    let ask = |hash: &[u8]| {
        let token = wire::Token { name: "drawn".into(), grants: grants.clone(), ..Default::default() };
        by(&operator.token, wire::CreateTokenRequest { token: Some(token), secret_hash: hash.to_vec() })
    };
    let mut client = TokenServiceClient::new(world.channel.clone());
    let made = client.create_token(ask(hash.as_bytes())).await.expect("is made").into_inner();
    assert_eq!(made.secret, "", "the control plane does not know it");
    let drawn = world.client(std::str::from_utf8(secret.expose()).expect("text"));
    let me = drawn.get("/v1/self").await.good();
    assert_eq!(me["token"]["id"], made.token.expect("is there").id.as_str());
    // One secret opens one token; and what is no hash is none.
    for hash in [hash.as_bytes().as_slice(), &[7; 31], b"short"] {
        let refused = client.create_token(ask(hash)).await.expect_err("refused");
        assert_eq!(refused.code(), tonic::Code::InvalidArgument);
        assert!(refused.message().contains("secret_hash") || !refused.details().is_empty());
    }
    // The writes that were refused took none of their neighbours with them.
    operator.post("/v1/tokens", json!({"name": "x", "grants": [{"role": "ROLE_OPERATOR"}]})).await.good();
    world.running.stop().await;
}
