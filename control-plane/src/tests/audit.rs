//! The audit: who did what, without secrets, and in a chain that a rewritten history does not fit.

use std::time::Duration;

use rr_contract::audit::{Chain, Entry, check_documents};
use rr_contract::wire::management as wire;
use rr_contract::wire::management::audit_service_client::AuditServiceClient;
use serde_json::{Value, json};
use tokio_stream::StreamExt as _;

use super::world::{World, by, target};

async fn export(world: &World) -> Vec<wire::AuditEntry> {
    let request = by(&world.operator, wire::ExportAuditRequest::default());
    let stream = AuditServiceClient::new(world.channel.clone()).export_audit(request).await.expect("opens");
    let messages: Vec<_> = stream.into_inner().collect().await;
    messages.into_iter().map(|it| it.expect("is good").entry.expect("is there")).collect()
}

/// Where the chain leads, and the first revision whose own head is another.
fn verify(entries: &[wire::AuditEntry]) -> ([u8; 32], Option<u64>) {
    let (mut chain, mut broken) = (Chain::start(), None);
    for entry in entries {
        let mut digest = Entry::new(entry);
        for change in &entry.changes {
            digest = digest.change(change);
            if check_documents(change).is_err() {
                broken.get_or_insert(entry.revision);
            }
        }
        chain = chain.next(entry.revision, &digest.finish());
        if chain.head().as_slice() != entry.audit {
            broken.get_or_insert(entry.revision);
        }
    }
    (*chain.head(), broken)
}

#[tokio::test]
async fn an_entry_says_who_did_what_from_where_and_what_it_was_before_and_after() {
    let world = World::start().await;
    world.org("acme").await;
    let made = world.target("acme", target("echo", "https://a.example.com")).await.expect("is made");
    let bob = world.user("bob", "acme", "ROLE_EDITOR").await;
    bob.patch("/v1/orgs/acme/targets/echo", json!({"baseUrl": "https://b.example.com"})).await.good();
    let operator = world.operator();
    let listed = operator.get(&format!("/v1/orgs/acme/audit?resource={}", made.id)).await.good();
    let [second, first] = listed["entries"].as_array().expect("a list").as_slice() else {
        panic!("{listed}")
    };
    assert_eq!(
        (&first["call"], &second["call"]),
        (&json!("TargetService.CreateTarget"), &json!("TargetService.UpdateTarget"))
    );
    assert!(first["at"].is_string() && first["actor"]["token"].as_str().expect("a text").starts_with("tk_"));
    assert_eq!(first["actor"]["name"], "operator");
    assert!(first["actor"]["address"].as_str().expect("a text").starts_with("127.0.0.1"), "{first}");
    assert!(first["actor"]["userAgent"].as_str().expect("a text").contains("tonic"), "{first}");
    assert_eq!(second["actor"]["name"], "bob");
    assert!(second["actor"]["user"].as_str().expect("a text").starts_with("us_"), "{second}");
    let change = &second["changes"][0];
    assert_eq!((&change["kind"], &change["name"]), (&json!("target"), &json!("echo")));
    assert_eq!(change["before"]["target"]["baseUrl"], "https://a.example.com");
    assert_eq!(change["after"]["target"]["baseUrl"], "https://b.example.com");
    assert!(first["changes"][0]["before"].is_null());
    // By actor and by time.
    let user = second["actor"]["user"].as_str().expect("a text");
    let by_actor = operator.get(&format!("/v1/orgs/acme/audit?actor={user}")).await.good();
    assert_eq!(by_actor["entries"].as_array().map(Vec::len), Some(1));
    let at = second["at"].as_str().expect("a text").replace('+', "%2B");
    let before = operator.get(&format!("/v1/orgs/acme/audit?before={at}&resource={}", made.id)).await.good();
    assert_eq!(before["entries"].as_array().map(Vec::len), Some(1));
    world
        .service(wire::Role::Editor, "acme")
        .await
        .get("/v1/orgs/acme/audit")
        .await
        .refused(403, "role-missing");
    world.running.stop().await;
}

#[tokio::test]
async fn no_entry_holds_a_secret() {
    let world = World::start().await;
    let region = world.region("eu").await;
    world.furnish(&region).await;
    let (_, key) = world.caller("acme", "second").await;
    let token = world.node_token(&region, 1).await;
    let node_token = String::from_utf8_lossy(token.to_secret().expose()).into_owned();
    let operator = world.operator();
    let texts = [
        format!("{:?}", export(&world).await),
        operator.get("/v1/audit").await.text,
        operator.get("/v1/orgs/acme/audit").await.text,
        operator.get("/v1/orgs/acme:diff").await.text,
    ];
    for text in texts {
        assert!(text.contains("openai") && text.contains("second"), "{text}");
        for secret in [key.as_str(), world.operator.as_str(), node_token.as_ref()] {
            assert!(!text.contains(secret));
        }
        assert!(!text.contains("\"sealed\":") && !text.contains("sealed: Some"), "{text}");
    }
    world.running.stop().await;
}

#[tokio::test]
async fn the_exported_chain_ends_at_the_head_and_an_altered_row_breaks_it_where_it_is() {
    let world = World::start().await;
    let region = world.region("eu").await;
    world.furnish(&region).await;
    world.suspend("acme", true).await;
    let installation = world.installation().await;
    let entries = export(&world).await;
    assert_eq!(entries.len() as u64, installation.revision);
    let (head, broken) = verify(&entries);
    assert_eq!((head.to_vec(), broken), (installation.audit.clone(), None));
    for (tampering, undoing, at) in [
        (
            "UPDATE \"change\" SET \"name\" = 'other' WHERE \"rev\" = 4",
            "UPDATE \"change\" SET \"name\" = 'echo' WHERE \"rev\" = 4",
            4,
        ),
        (
            "UPDATE \"revision\" SET \"actor\" = 'nobody' WHERE \"rev\" = 5",
            "UPDATE \"revision\" SET \"actor\" = 'operator' WHERE \"rev\" = 5",
            5,
        ),
    ] {
        world.tamper(tampering).await;
        let (_, broken) = verify(&export(&world).await);
        assert_eq!(broken, Some(at), "{tampering}");
        world.tamper(undoing).await;
    }
    // Whoever rewrites what was done, and every head behind it, still does not have the head that nodes keep.
    world.tamper("UPDATE \"change\" SET \"before\" = NULL WHERE \"before\" IS NOT NULL").await;
    let (head, _) = verify(&export(&world).await);
    assert_ne!(head.to_vec(), installation.audit);
    world.running.stop().await;
}

#[tokio::test]
async fn what_known_actors_were_refused_is_counted_by_actor_call_and_minute() {
    let world = World::start().await;
    world.org("acme").await;
    let viewer = world.service(wire::Role::Viewer, "acme").await;
    let operator = world.operator();
    let target = json!({"name": "echo", "baseUrl": "https://a.example.com"});
    for _ in 0..3 {
        viewer.post("/v1/orgs/acme/targets", target.clone()).await.refused(403, "role-missing");
    }
    viewer.get("/v1/orgs/elsewhere").await.refused(404, "not-found");
    world.client("rr_token_nonsense").get("/v1/orgs").await.refused(401, "unauthenticated");
    let id = viewer.get("/v1/self").await.good()["token"]["id"].as_str().expect("a text").to_owned();
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    let attempts = loop {
        let listed = operator.get(&format!("/v1/audit/refused?actor={id}")).await.good();
        let attempts = listed["attempts"].as_array().cloned().unwrap_or_default();
        if attempts.len() >= 2 {
            break attempts;
        }
        assert!(tokio::time::Instant::now() < deadline, "{attempts:?}");
    };
    let count = |call: &str| -> u64 {
        let of = attempts.iter().filter(|it| it["call"] == call);
        of.map(|it| super::client::number(&it["count"])).sum()
    };
    assert_eq!((count("TargetService.CreateTarget"), count("OrgService.GetOrg")), (3, 1), "{attempts:?}");
    let refused: Vec<&Value> =
        attempts.iter().filter(|it| it["call"] == "TargetService.CreateTarget").collect();
    assert_eq!(refused[0]["reason"], "ROLE_MISSING");
    assert!(refused[0]["address"].as_str().expect("a text").starts_with("127.0.0.1"));
    assert!(refused[0]["minute"].as_str().expect("a text").contains(":00+"), "{refused:?}");
    let all = operator.get("/v1/audit/refused").await.good();
    assert_eq!(all["attempts"].as_array().map(Vec::len), Some(attempts.len()), "of unknown ones none");
    viewer.get("/v1/audit/refused").await.refused(403, "role-missing");
    world.running.stop().await;
}
