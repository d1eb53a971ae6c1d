//! Tokens: what they are narrowed to, who may give them what, and their end.

use std::time::{Duration, SystemTime};

use rr_contract::api_key::{self, KeyKind};
use rr_contract::wire::management as wire;
use rr_contract::wire::management::token_service_client::TokenServiceClient;
use serde_json::{Value, json};

use super::client::Client;
use super::world::{Later, World, by, target};

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
    let absent = narrow.post(rules, rule("other", "c")).await.refused(400, "invalid").to_string();
    let hidden = narrow.post(rules, rule("other", "b")).await.refused(400, "invalid").to_string();
    assert_eq!(hidden.replace("\\\"b\\\"", "\\\"c\\\""), absent);
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

/// It could be led to every target and every secret of the organization.
#[tokio::test]
async fn a_token_for_a_proxy_leads_it_to_nothing_that_the_token_is_not_for() {
    let world = World::start().await;
    let region = world.region("eu").await;
    let org = world.furnish(&region).await;
    let operator = world.operator();
    let other = world.target("acme", target("other", "https://api.example.com")).await.expect("is made").id;
    world.caller("acme", "theirs").await;
    world.upstream(&org, "precious", super::world::credential_id(), &[&region]).await.expect("is made");
    let path = "/v1/orgs/acme/proxies/echo";
    let id = operator.get(path).await.good()["proxy"]["id"].as_str().expect("a text").to_owned();
    let narrow = token(&world, &operator, json!({"resources": [id]})).await;
    let head = operator.head().await;
    for (change, field) in [
        (json!({"target": "other"}), "proxy.target"),
        (json!({"target": other}), "proxy.target"),
        (json!({"upstreamCredential": "precious"}), "proxy.upstream_credential"),
        (json!({"callerCredentials": ["app", "theirs"]}), "proxy.caller_credentials[1]"),
    ] {
        let hidden = narrow.patch(path, change.clone()).await.refused(400, "invalid");
        assert_eq!(hidden["errors"][0]["field"], field, "{change}");
        // As what is not there at all.
        let absent = change.to_string();
        for name in ["other", &other, "precious", "theirs"] {
            let absent: Value = serde_json::from_str(&absent.replace(name, "none")).expect("is still JSON");
            if absent != change {
                let absent = narrow.patch(path, absent).await.refused(400, "invalid").to_string();
                assert_eq!(hidden.to_string().replace(name, "none"), absent);
            }
        }
    }
    // Over gRPC alike.
    let mut client = wire::proxy_service_client::ProxyServiceClient::new(world.channel.clone());
    let request = wire::UpdateProxyRequest {
        org: "acme".into(),
        name: "echo".into(),
        proxy: Some(wire::Proxy { target: "other".into(), ..Default::default() }),
        ..Default::default()
    };
    let refused = client.update_proxy(by(&narrow.token, request)).await.expect_err("is not for it");
    assert_eq!(refused.code(), tonic::Code::InvalidArgument, "{refused}");
    let set = json!({"documents": [{"proxy": {"name": "echo", "target": "other", "callerCredentials": ["app"],
        "upstreamCredential": "openai", "regions": ["eu"]}}]});
    narrow.post("/v1/orgs/acme:apply", set.clone()).await.refused(403, "call-not-allowed");
    let admin = json!({"resources": [id], "grants": [{"role": "ROLE_ADMIN", "org": "acme"}]});
    let admin = token(&world, &operator, admin).await;
    let back = json!({"revision": head.to_string()});
    admin.post("/v1/orgs/acme:rollback", back).await.refused(403, "call-not-allowed");
    assert_eq!(operator.head().await, head + 1, "but for the token");
    // What it names already it may go on naming, and what it does not name any more it may let go.
    narrow.patch(path, json!({"active": false})).await.good();
    narrow.patch(path, json!({"target": "echo", "callerCredentials": ["app"], "active": true})).await.good();
    let wider = token(&world, &operator, json!({"resources": [id, other]})).await;
    let led = wider.patch(path, json!({"target": "other"})).await.good();
    assert_eq!(led["proxy"]["target"], other);
    wider.patch(path, json!({"upstreamCredential": "precious"})).await.refused(400, "invalid");
    world.running.stop().await;
}

/// Nothing but the clock ends a token, so that nothing but the clock shows it.
#[tokio::test]
async fn a_token_past_its_end_opens_nothing_whoever_has_it() {
    let world = World::start().await;
    world.org("acme").await;
    let operator = world.operator();
    let user = world.user("ann", "acme", "ROLE_EDITOR").await;
    let end = SystemTime::now() + Duration::from_secs(3600);
    let end = json!(serde_json::to_value(rr_contract::model::time::timestamp(end)).expect("JSON"));
    let service = token(&world, &operator, json!({"expiresAt": end})).await;
    let users = json!({"name": "brief", "user": "ann", "expiresAt": end});
    let users = user.post("/v1/tokens", users).await.good();
    let users = world.client(users["secret"].as_str().expect("a text"));
    for client in [&service, &users] {
        client.get(TARGETS).await.good();
    }
    let brief = [service.token.clone(), users.token.clone()];
    let world = world.restart_later(Duration::from_secs(3599)).await;
    for token in &brief {
        world.client(token).get(TARGETS).await.good();
    }
    let world = world.restart_later(Duration::from_secs(3601)).await;
    for token in &brief {
        world.client(token).get(TARGETS).await.refused(401, "unauthenticated");
        let mut client = TokenServiceClient::new(world.channel.clone());
        let refused = client.get_self(by(token, wire::GetSelfRequest {})).await.expect_err("is over");
        assert_eq!(refused.code(), tonic::Code::Unauthenticated);
    }
    // One without an end goes on.
    world.client(&user.token).get(TARGETS).await.good();
    world.running.stop().await;
}

#[tokio::test]
async fn a_bootstrap_token_past_its_end_makes_no_token() {
    let clock = Later::default();
    for (later, good) in [(86_400 + 60, false), (86_400 - 60, true)] {
        clock.set(Duration::ZERO);
        let folder = tempfile::tempdir().expect("a folder");
        let quiet = rr_contract::runtime::observe::Observability::quiet("rr-control");
        let running =
            crate::start(super::world::config(folder.path()), clock.seams(), quiet).await.expect("starts");
        let path = running.bootstrap_token_path().expect("a first start");
        let bootstrap = std::fs::read_to_string(path).expect("reads").trim().to_owned();
        clock.set(Duration::from_secs(later));
        let channel = super::world::plain(running.management()).await;
        let mut client = TokenServiceClient::new(channel);
        let grants = vec![wire::Grant { role: wire::Role::Operator.into(), ..Default::default() }];
        let token = wire::Token { name: "first".into(), grants, ..Default::default() };
        let request = wire::CreateTokenRequest { token: Some(token), ..Default::default() };
        let made = client.create_token(by(&bootstrap, request)).await.map(|_| ());
        match good {
            true => made.expect("its time is not over"),
            false => assert_eq!(made.expect_err("is over").code(), tonic::Code::Unauthenticated),
        }
        running.stop().await;
    }
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

/// A call whose answer is lost loses no token: the maker of the secret keeps it before the call.
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

#[tokio::test]
async fn a_token_is_shown_and_revoked_by_its_name_where_one_token_alone_has_it() {
    let (world, operator, ..) = world().await;
    let narrow = token(&world, &operator, json!({})).await;
    let id = narrow.get("/v1/self").await.good()["token"]["id"].clone();
    assert_eq!(operator.get("/v1/tokens/narrow").await.good()["token"]["id"], id);
    let second = token(&world, &operator, json!({})).await;
    let other = second.get("/v1/self").await.good()["token"]["id"].clone();
    for refused in [operator.get("/v1/tokens/narrow").await, operator.delete("/v1/tokens/narrow").await] {
        let text = refused.refused(400, "invalid").to_string();
        for id in [&id, &other] {
            assert!(text.contains(id.as_str().expect("a text")), "{text}");
        }
    }
    operator.delete(&format!("/v1/tokens/{}", id.as_str().expect("a text"))).await.good();
    // The one that is left is meant.
    operator.delete("/v1/tokens/narrow").await.good();
    second.get("/v1/self").await.refused(401, "unauthenticated");
    // Who may not see a token does not find it by its name either.
    world.org("theirs").await;
    let stranger = world.service(wire::Role::Viewer, "theirs").await;
    stranger.get("/v1/tokens/narrow").await.refused(404, "not-found");
    world.running.stop().await;
}
