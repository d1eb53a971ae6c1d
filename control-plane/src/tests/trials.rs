//! Permissions to have a request explained: who gets one, and what for.

use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use prost::Message as _;
use rr_contract::trial::{LASTS, Unverified};
use rr_contract::wire::fleet;
use serde_json::{Value, json};

use super::stream::joined;
use super::world::World;

const TRY: &str = "/v1/orgs/acme/proxies/echo:try";

#[tokio::test]
async fn an_editor_gets_a_permission_for_one_proxy_one_region_and_a_minute() {
    let world = World::start().await;
    joined(&world).await;
    let editor = world.user("edi", "acme", "ROLE_EDITOR").await;
    let answer = editor.post(TRY, json!({})).await.good();
    let text = answer["permission"].as_str().expect("there is one");
    let claims = Unverified::read(text.as_bytes()).expect("a permission").claims;
    let id = |answer: Value, noun: &str| answer[noun]["id"].as_str().expect("an id").to_owned();
    let proxy = id(editor.get("/v1/orgs/acme/proxies/echo").await.good(), "proxy");
    let region =
        world.operator().get(&format!("/v1/regions/{}", answer["region"].as_str().expect("one"))).await;
    assert_eq!((claims.proxy.to_string(), claims.region.to_string()), (proxy, id(region.good(), "region")));
    assert_eq!(claims.not_after, claims.issued_at + LASTS);
    assert_eq!(answer["pathPrefix"], "/api/acme.echo");
    let bytes = BASE64URL_NOPAD.decode(text.as_bytes()).expect("base64");
    let signed = fleet::TrialPermission::decode(bytes.as_slice()).expect("a message");
    let roots = world.operator().get("/v1/authority").await.good();
    assert_eq!(HEXLOWER.encode(&signed.root), roots["roots"][0]["pin"]);
    let another = editor.post(TRY, json!({})).await.good();
    assert_ne!(another["permission"], answer["permission"], "each has a nonce of its own");
    assert_eq!(editor.post(TRY, json!({"region": "elsewhere"})).await.faults(), ["region"]);
    world.running.stop().await;
}

#[tokio::test]
async fn nobody_else_gets_one_and_no_organization_has_them_without_end() {
    let world = World::start().await;
    joined(&world).await;
    let viewer = world.user("vic", "acme", "ROLE_VIEWER").await;
    viewer.post(TRY, json!({})).await.refused(403, "role-missing");
    world.user("stranger", "", "").await.post(TRY, json!({})).await.refused(404, "not-found");
    let editor = world.user("edi", "acme", "ROLE_EDITOR").await;
    editor.post("/v1/orgs/acme/proxies/none:try", json!({})).await.refused(404, "not-found");
    for _ in 0..60 {
        editor.post(TRY, json!({})).await.good();
    }
    let problem = editor.post(TRY, json!({})).await.refused(429, "too-many-tests");
    assert!(problem["detail"].as_str().expect("a text").contains("60 times within a minute"), "{problem}");
    world.running.stop().await;
}
