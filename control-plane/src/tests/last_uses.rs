//! When callers were used last: told by nodes, shown with the credential, and no part of it.

use futures_util::StreamExt as _;
use prost::Message as _;
use rr_contract::wire::fleet;
use rr_contract::wire::fleet::telemetry_service_client::TelemetryServiceClient;
use serde_json::{Value, json};

use super::machine::Node;
use super::stream::joined;
use super::world::World;

/// Sends a batch of last uses; returns how many batches could not be read.
async fn tell(node: &Node, sequence: u64, uses: Vec<fleet::CallerUse>) -> usize {
    let body = fleet::Batch { uses, ..Default::default() }.encode_to_vec();
    let crc32 = crc32fast::hash(&body);
    let upload = fleet::UploadRequest { spool: vec![5; 16], sequence, body, crc32, ..Default::default() };
    let mut client = TelemetryServiceClient::new(node.channel.clone());
    let mut answers = client.upload(tokio_stream::iter([upload])).await.expect("opens").into_inner();
    let answer = answers.next().await.expect("is answered").expect("is good");
    assert_eq!(answer.through, sequence);
    answer.poison.len()
}

fn used(credential: &Value, minute: u64) -> fleet::CallerUse {
    fleet::CallerUse { caller_credential: credential.as_str().unwrap_or_default().to_owned(), minute }
}

#[tokio::test]
async fn a_last_use_is_shown_with_the_credential_and_changes_nothing_of_it() {
    let world = World::start().await;
    let node = joined(&world).await;
    let operator = world.operator();
    let (app, path) = ("/v1/orgs/acme/credentials/app", "/v1/orgs/acme/credentials");
    let before = operator.get(app).await.good()["credential"].clone();
    assert_eq!(before["lastUsedAt"], Value::Null, "never");
    let head = world.installation().await.revision;
    assert_eq!(tell(&node, 1, vec![used(&before["id"], 29_400_000)]).await, 0);
    let after = operator.get(app).await.good()["credential"].clone();
    assert_eq!(after["lastUsedAt"], "2025-11-24T16:00:00+00:00");
    let mut same = after.clone();
    same.as_object_mut().expect("an object").remove("lastUsedAt");
    let mut first = before.clone();
    first.as_object_mut().expect("an object").remove("lastUsedAt");
    assert_eq!(same, first, "not even its etag");
    assert_eq!(world.installation().await.revision, head, "no revision");
    let listed = operator.get(path).await.good()["credentials"].clone();
    let times: Vec<_> =
        listed.as_array().expect("a list").iter().map(|it| (&it["name"], &it["lastUsedAt"])).collect();
    assert_eq!(times, [(&json!("app"), &after["lastUsedAt"]), (&json!("openai"), &Value::Null)]);
    // What a caller says of it is not looked at, and an answer to a change has it too.
    let said = json!({"lastUsedAt": "2026-06-01T00:00:00Z", "tags": ["gold"], "etag": before["etag"]});
    let changed = operator.patch(app, said).await.good()["credential"].clone();
    assert_eq!(changed["lastUsedAt"], after["lastUsedAt"]);
    let rolled = operator.post(&format!("{app}:roll"), json!({})).await.good()["credential"].clone();
    assert_eq!(rolled["lastUsedAt"], after["lastUsedAt"], "whichever value it was");
    let past = operator.get(&format!("{app}?revision={head}")).await.good()["credential"].clone();
    assert_eq!((&past["name"], &past["lastUsedAt"]), (&json!("app"), &Value::Null));
    let made = json!({"name": "new", "caller": {"kind": "CALLER_KIND_API_KEY"}, "lastUsedAt": "2026-06-01T00:00:00Z"});
    let made = operator.post(path, made).await.good()["credential"].clone();
    assert_eq!(made["lastUsedAt"], Value::Null);
    // Not the region's: no proxy has it. And what is no id is nobody's.
    let uses = vec![used(&made["id"], 29_400_000), used(&json!("cr_\0"), 1), used(&before["id"], 29_399_999)];
    assert_eq!(tell(&node, 2, uses).await, 0);
    let world = world.restart().await;
    let operator = world.operator();
    assert_eq!(operator.get(app).await.good()["credential"]["lastUsedAt"], after["lastUsedAt"]);
    assert_eq!(operator.get(&format!("{path}/new")).await.good()["credential"]["lastUsedAt"], Value::Null);
    world.running.stop().await;
}

#[tokio::test]
async fn more_last_uses_than_a_node_puts_into_a_batch_are_not_read() {
    let world = World::start().await;
    let node = joined(&world).await;
    let operator = world.operator();
    let app = operator.get("/v1/orgs/acme/credentials/app").await.good()["credential"]["id"].clone();
    assert_eq!(tell(&node, 1, vec![used(&app, 29_400_000); 513]).await, 1);
    let shown = operator.get("/v1/orgs/acme/credentials/app").await.good()["credential"].clone();
    assert_eq!(shown["lastUsedAt"], Value::Null);
    assert_eq!(tell(&node, 2, vec![used(&app, 29_400_000); 512]).await, 0);
    let shown = operator.get("/v1/orgs/acme/credentials/app").await.good()["credential"].clone();
    assert_eq!(shown["lastUsedAt"], "2025-11-24T16:00:00+00:00");
    world.running.stop().await;
}
