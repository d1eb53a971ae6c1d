//! What was: differences, resources as they were, and back to an older revision.

use rr_contract::model::id::CredentialId;
use rr_contract::wire::management as wire;
use rr_contract::wire::management::credential_service_client::CredentialServiceClient;
use serde_json::{Value, json};

use super::client::{Client, number};
use super::world::{World, by};

const ORG: &str = "/v1/orgs/acme";

/// `acme` with everything that one proxy needs, and the revision that it stands at.
async fn furnished() -> (World, Client, super::world::Region, wire::Org, u64) {
    let world = World::start().await;
    let region = world.region("eu").await;
    let org = world.furnish(&region).await;
    let operator = world.operator();
    let head = operator.head().await;
    (world, operator, region, org, head)
}

async fn rollback(client: &Client, body: Value) -> super::rest::Answer {
    client.post(&format!("{ORG}:rollback"), body).await
}

#[tokio::test]
async fn a_difference_shows_what_was_and_what_is_in_either_direction() {
    let (world, operator, _, _, from) = furnished().await;
    operator.patch(&format!("{ORG}/targets/echo"), json!({"baseUrl": "https://b.example.com"})).await.good();
    operator.patch(&format!("{ORG}/targets/echo"), json!({"baseUrl": "https://c.example.com"})).await.good();
    operator
        .post(&format!("{ORG}/targets"), json!({"name": "new", "baseUrl": "https://n.example.com"}))
        .await
        .good();
    operator.delete(&format!("{ORG}/proxies/echo")).await.good();
    // There and gone between the two: no difference.
    operator
        .post(&format!("{ORG}/targets"), json!({"name": "brief", "baseUrl": "https://x.example.com"}))
        .await
        .good();
    operator.delete(&format!("{ORG}/targets/brief")).await.good();
    let to = operator.head().await;
    let listed = operator.get("/v1/revisions?pageSize=6").await.good();
    let said = listed["revisions"].as_array().expect("revisions").iter().map(|it| {
        let change = &it["changes"][0];
        (change["created"] == true, change["removed"] == true)
    });
    let (made, changed, gone) = ((true, false), (false, false), (false, true));
    assert_eq!(said.collect::<Vec<_>>(), [gone, made, gone, made, changed, changed], "newest first");
    let shown = async |query: String| {
        let mut found = Vec::new();
        let mut token = String::new();
        loop {
            let page = operator.get(&format!("{ORG}:diff?{query}&pageSize=1&pageToken={token}")).await.good();
            assert_eq!(number(&page["to"]), if query.contains("to=") { from } else { to });
            for it in page["differences"].as_array().into_iter().flatten() {
                let url = |side: &str| it[side]["target"]["baseUrl"].as_str().unwrap_or_default().to_owned();
                let there = |side: &str| !it[side].is_null();
                let name = it["name"].as_str().expect("a text").to_owned();
                found.push((name, url("before"), url("after"), there("before"), there("after")));
            }
            token = page["nextPageToken"].as_str().unwrap_or_default().to_owned();
            if token.is_empty() {
                found.sort();
                return found;
            }
        }
    };
    let (a, c, n) = ("https://api.example.com", "https://c.example.com", "https://n.example.com");
    let text = str::to_owned;
    assert_eq!(
        shown(format!("from={from}")).await,
        [
            (text("echo"), text(""), text(""), true, false),
            (text("echo"), text(a), text(c), true, true),
            (text("new"), text(""), text(n), false, true),
        ]
    );
    assert_eq!(
        shown(format!("from={to}&to={from}")).await,
        [
            (text("echo"), text(""), text(""), false, true),
            (text("echo"), text(c), text(a), true, true),
            (text("new"), text(n), text(""), true, false),
        ]
    );
    assert_eq!(operator.get(&format!("{ORG}:diff?from={}", to + 1)).await.faults(), ["from"]);
    let was = operator.get(&format!("{ORG}/targets/echo?revision={from}")).await.good();
    assert_eq!(was["target"]["baseUrl"], a);
    let was = operator.get(&format!("{ORG}/proxies/echo?revision={from}")).await.good();
    assert_eq!(was["proxy"]["name"], "echo");
    operator.get(&format!("{ORG}/targets/new?revision={from}")).await.refused(404, "not-found");
    assert_eq!(operator.get(&format!("{ORG}/targets/echo?revision={}", to + 1)).await.faults(), ["revision"]);
    world.running.stop().await;
}

#[tokio::test]
async fn a_rollback_is_a_new_revision_that_leaves_secrets_at_their_newest() {
    let (world, operator, region, org, back_to) = furnished().await;
    let proxy = operator.get(&format!("{ORG}/proxies/echo")).await.good()["proxy"].clone();
    let rule = json!({"name": "first", "proxy": "echo", "effect": "EFFECT_DENY"});
    operator.patch(&format!("{ORG}/targets/echo"), json!({"baseUrl": "https://b.example.com"})).await.good();
    operator
        .post(&format!("{ORG}/targets"), json!({"name": "new", "baseUrl": "https://n.example.com"}))
        .await
        .good();
    operator.post(&format!("{ORG}/rules"), rule).await.good();
    operator.delete(&format!("{ORG}/proxies/echo")).await.good();
    let openai = operator.get(&format!("{ORG}/credentials/openai")).await.good();
    let id: CredentialId = openai["credential"]["id"].as_str().expect("a text").parse().expect("an id");
    let request = wire::ReplaceSecretRequest {
        org: "acme".into(),
        credential: "openai".into(),
        version: 2,
        sealed: Some(world.seal(&org, id, 2, &[&region]).await),
        ..Default::default()
    };
    let mut credentials = CredentialServiceClient::new(world.channel.clone());
    credentials.replace_secret(by(&world.operator, request)).await.expect("is replaced");
    let head = operator.head().await;

    let dry = json!({"revision": back_to.to_string(), "dryRun": true});
    let planned = rollback(&operator, dry).await.good();
    assert_eq!(operator.head().await, head, "a look changes nothing");
    let stale = json!({"revision": back_to.to_string(), "expectedRevision": back_to.to_string()});
    rollback(&operator, stale).await.refused(409, "changed");
    let done = json!({"revision": back_to.to_string(), "expectedRevision": head.to_string()});
    let done = rollback(&operator, done).await.good();
    assert_eq!(number(&done["revision"]), head + 1);
    for (count, wanted) in [("created", 1), ("updated", 1), ("deleted", 1)] {
        assert_eq!((number(&done[count]), number(&planned[count])), (wanted, wanted), "{count}: {done}");
    }
    let target = operator.get(&format!("{ORG}/targets/echo")).await.good();
    assert_eq!(target["target"]["baseUrl"], "https://api.example.com");
    operator.get(&format!("{ORG}/targets/new")).await.refused(404, "not-found");
    let back = operator.get(&format!("{ORG}/proxies/echo")).await.good()["proxy"].clone();
    assert_eq!((&back["id"], &back["etag"]), (&proxy["id"], &proxy["etag"]));
    let openai = operator.get(&format!("{ORG}/credentials/openai")).await.good();
    assert_eq!(openai["credential"]["version"], "2", "a replaced secret is not brought back");
    let again = rollback(&operator, json!({"revision": back_to.to_string()})).await.good();
    assert_eq!(number(&again["revision"]), 0, "it is there already");
    world.running.stop().await;
}

#[tokio::test]
async fn a_deleted_credential_does_not_come_back_and_what_needs_it_is_named() {
    let (world, operator, _, _, back_to) = furnished().await;
    operator.patch(&format!("{ORG}/targets/echo"), json!({"baseUrl": "https://b.example.com"})).await.good();
    operator.delete(&format!("{ORG}/proxies/echo")).await.good();
    operator.delete(&format!("{ORG}/credentials/openai")).await.good();
    let head = operator.head().await;
    let refused = rollback(&operator, json!({"revision": back_to.to_string()})).await;
    let refused = refused.refused(400, "not-restorable");
    let text = refused["detail"].as_str().expect("a text");
    assert!(text.contains("openai") && text.contains("proxy \"echo\""), "{text}");
    assert_eq!(operator.head().await, head);
    let left_out = |answer: &Value| {
        let listed = answer["notRestored"].as_array().cloned().unwrap_or_default();
        let mut names: Vec<String> = listed
            .iter()
            .map(|it| format!("{} {}", it["kind"].as_str().unwrap_or(""), it["name"].as_str().unwrap_or("")))
            .collect();
        names.sort();
        names
    };
    let dry = json!({"revision": back_to.to_string(), "dryRun": true, "allowPartial": true});
    let dry = rollback(&operator, dry).await.good();
    assert_eq!(left_out(&dry), ["credential openai", "proxy echo"]);
    let partial = json!({"revision": back_to.to_string(), "allowPartial": true});
    let partial = rollback(&operator, partial).await.good();
    assert_eq!(left_out(&partial), ["credential openai", "proxy echo"]);
    assert_eq!((number(&partial["revision"]), number(&partial["updated"])), (head + 1, 1));
    let target = operator.get(&format!("{ORG}/targets/echo")).await.good();
    assert_eq!(target["target"]["baseUrl"], "https://api.example.com");
    operator.get(&format!("{ORG}/proxies/echo")).await.refused(404, "not-found");
    world.running.stop().await;
}
