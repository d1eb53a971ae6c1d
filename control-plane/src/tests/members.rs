//! Who belongs where: users, members, and what their tokens follow.

use rr_contract::wire::management as wire;
use serde_json::json;

use super::world::World;

const MEMBERS: &str = "/v1/orgs/acme/members";
const TARGETS: &str = "/v1/orgs/acme/targets";

#[tokio::test]
async fn an_organization_keeps_an_owner() {
    let world = World::start().await;
    let operator = world.operator();
    let alice = world.user("alice", "", "").await;
    operator.patch("/v1/users/alice", json!({"operator": true})).await.good();
    alice.post("/v1/orgs", json!({"name": "acme"})).await.good();
    let alice_member = format!("{MEMBERS}/alice");
    let shown = alice.get(&alice_member).await.good();
    assert_eq!(shown["member"]["role"], "ROLE_OWNER", "whoever makes an organization owns it");
    for client in [&alice, &operator] {
        client.delete(&alice_member).await.refused(400, "last-owner");
        client.patch(&alice_member, json!({"role": "ROLE_ADMIN"})).await.refused(400, "last-owner");
    }
    operator.delete("/v1/users/alice").await.refused(400, "last-owner");
    world.user("bob", "acme", "ROLE_OWNER").await;
    alice.patch(&alice_member, json!({"role": "ROLE_ADMIN"})).await.good();
    operator.delete("/v1/users/bob").await.refused(400, "last-owner");
    operator.delete("/v1/users/alice").await.good();
    assert_eq!(operator.names(MEMBERS, "members").await, ["bob"]);
    world.running.stop().await;
}

#[tokio::test]
async fn nobody_gives_or_takes_a_role_that_is_more_than_his_own() {
    let world = World::start().await;
    world.org("acme").await;
    let operator = world.operator();
    for name in ["carol", "dave"] {
        operator.post("/v1/users", json!({"name": name})).await.good();
    }
    let admin = world.user("alice", "acme", "ROLE_ADMIN").await;
    let editor = world.user("bob", "acme", "ROLE_EDITOR").await;
    let member = |name: &str, role: &str| json!({"user": name, "role": role});
    admin.post(MEMBERS, member("carol", "ROLE_OWNER")).await.refused(403, "grant-too-wide");
    editor.post(MEMBERS, member("carol", "ROLE_VIEWER")).await.refused(403, "role-missing");
    assert_eq!(operator.post(MEMBERS, member("carol", "ROLE_OPERATOR")).await.faults(), ["member.role"]);
    assert_eq!(operator.post(MEMBERS, member("nobody", "ROLE_VIEWER")).await.faults(), ["member.user"]);
    admin.post(MEMBERS, member("carol", "ROLE_ADMIN")).await.good();
    admin.post(MEMBERS, member("carol", "ROLE_VIEWER")).await.refused(409, "name-taken");
    operator.post(MEMBERS, member("dave", "ROLE_OWNER")).await.good();
    admin.delete(&format!("{MEMBERS}/dave")).await.refused(403, "grant-too-wide");
    let less = json!({"role": "ROLE_VIEWER"});
    admin.patch(&format!("{MEMBERS}/dave"), less.clone()).await.refused(403, "grant-too-wide");
    admin.patch(&format!("{MEMBERS}/carol"), less).await.good();
    admin
        .patch(&format!("{MEMBERS}/alice"), json!({"role": "ROLE_OWNER"}))
        .await
        .refused(403, "grant-too-wide");
    world.running.stop().await;
}

#[tokio::test]
async fn a_users_token_can_what_his_memberships_allow_now() {
    let world = World::start().await;
    world.org("acme").await;
    let operator = world.operator();
    let bob = world.user("bob", "acme", "ROLE_VIEWER").await;
    let make = |name: &str| json!({"name": name, "baseUrl": "https://a.example.com"});
    bob.get(TARGETS).await.good();
    bob.post(TARGETS, make("a")).await.refused(403, "role-missing");
    let me = bob.get("/v1/self").await.good();
    assert_eq!((&me["user"]["name"], &me["grants"][0]["role"]), (&json!("bob"), &json!("ROLE_VIEWER")));
    operator.patch(&format!("{MEMBERS}/bob"), json!({"role": "ROLE_EDITOR"})).await.good();
    let made = bob.post(TARGETS, make("a")).await.good();
    assert_eq!(made["target"]["createdBy"], me["user"]["id"], "a user made it, not his token");
    operator.delete(&format!("{MEMBERS}/bob")).await.good();
    bob.get(TARGETS).await.refused(404, "not-found");
    assert!(bob.names("/v1/orgs", "orgs").await.is_empty());
    // Operators are operators by their users.
    bob.get("/v1/users").await.refused(403, "role-missing");
    operator.patch("/v1/users/bob", json!({"operator": true})).await.good();
    bob.get("/v1/users").await.good();
    // Who sees every organization is told what it takes.
    bob.get(TARGETS).await.refused(403, "role-missing");
    world.running.stop().await;
}

#[tokio::test]
async fn a_disabled_users_tokens_open_nothing_until_he_is_enabled_and_a_deleted_ones_never() {
    let world = World::start().await;
    world.org("acme").await;
    let operator = world.operator();
    let bob = world.user("bob", "acme", "ROLE_VIEWER").await;
    operator.patch("/v1/users/bob", json!({"disabled": true})).await.good();
    bob.get("/v1/self").await.refused(401, "unauthenticated");
    operator.patch("/v1/users/bob?updateMask=disabled", json!({})).await.good();
    bob.get(TARGETS).await.good();
    operator.delete("/v1/users/bob").await.good();
    bob.get("/v1/self").await.refused(401, "unauthenticated");
    // Another user of the same name is another user.
    operator.post("/v1/users", json!({"name": "bob"})).await.good();
    bob.get("/v1/self").await.refused(401, "unauthenticated");
    assert!(operator.names(MEMBERS, "members").await.is_empty());
    world.running.stop().await;
}

/// What is not shared belongs to who made it, to admins and to owners.
#[tokio::test]
async fn what_is_not_shared_is_changed_and_used_by_its_maker_and_by_admins_alone() {
    let world = World::start().await;
    let region = world.region("eu").await;
    world.furnish(&region).await;
    let operator = world.operator();
    let all = json!({"sharing": {"callerCredentials": true, "upstreamCredentials": true, "proxies": true}});
    operator.patch("/v1/orgs/acme", all).await.good();
    let alice = world.user("alice", "acme", "ROLE_EDITOR").await;
    let bob = world.user("bob", "acme", "ROLE_EDITOR").await;
    let admin = world.service(wire::Role::Admin, "acme").await;
    alice.post(TARGETS, json!({"name": "hers", "baseUrl": "https://a.example.com"})).await.good();
    let hers = format!("{TARGETS}/hers");
    let change = |url: &str| json!({"baseUrl": url});
    bob.get(&hers).await.good();
    bob.patch(&hers, change("https://b.example.com")).await.refused(403, "not-shared");
    bob.delete(&hers).await.refused(403, "not-shared");
    let with = |target: &str| {
        json!({"name": format!("to-{target}"), "callerCredentials": ["app"], "target": target,
            "upstreamCredential": "openai", "regions": ["eu"]})
    };
    let proxies = "/v1/orgs/acme/proxies";
    assert_eq!(bob.post(proxies, with("hers")).await.faults(), ["proxy.target"]);
    let applied = json!({"documents": [{"proxy": with("hers")}]});
    assert_eq!(bob.post("/v1/orgs/acme:apply", applied).await.faults(), ["documents[0].proxy.target"]);
    let applied = json!({"documents": [{"target": {"name": "hers", "baseUrl": "https://b.example.com"}}]});
    bob.post("/v1/orgs/acme:apply", applied).await.refused(403, "not-shared");
    alice.patch(&hers, change("https://c.example.com")).await.good();
    admin.patch(&hers, change("https://d.example.com")).await.good();
    alice.post(proxies, with("hers")).await.good();
    operator.patch("/v1/orgs/acme", json!({"sharing": {"targets": true}})).await.good();
    bob.patch(&hers, change("https://e.example.com")).await.good();
    // Her proxy does not go along with his.
    bob.delete(&format!("{hers}?cascade=proxies/to-hers")).await.refused(403, "not-shared");
    alice.delete(&format!("{hers}?cascade=proxies/to-hers")).await.good();
    world.running.stop().await;
}

/// A roll takes the value before away from whoever has it.
#[tokio::test]
async fn a_credential_that_is_not_shared_is_rolled_by_its_maker_and_by_admins_alone() {
    let world = World::start().await;
    world.org("acme").await;
    let alice = world.user("alice", "acme", "ROLE_EDITOR").await;
    let bob = world.user("bob", "acme", "ROLE_EDITOR").await;
    let admin = world.service(wire::Role::Admin, "acme").await;
    world.operator().patch("/v1/orgs/acme", json!({"sharing": {"targets": true}})).await.good();
    let credentials = "/v1/orgs/acme/credentials";
    alice.post(credentials, json!({"name": "hers", "caller": {"kind": "CALLER_KIND_API_KEY"}})).await.good();
    let roll = format!("{credentials}/hers:roll");
    bob.post(&roll, json!({})).await.refused(403, "not-shared");
    alice.post(&roll, json!({})).await.good();
    admin.post(&roll, json!({})).await.good();
    world.running.stop().await;
}
