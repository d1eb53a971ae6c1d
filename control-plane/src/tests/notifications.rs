//! Notifications as their readers see and mark them: of an organization and of the installation.

use rr_contract::model::time;
use rr_contract::wire::management as wire;
use rr_contract::wire::management::notification_service_client::NotificationServiceClient;
use serde_json::{Value, json};

use super::client::{Client, number};
use super::world::{World, by};
use crate::store::time_of;

/// 2026-01-01, in microseconds.
const THEN: i64 = 1_767_225_600_000_000;

/// A notification of an organization, or of the installation for an empty id, so many seconds after [`THEN`].
async fn tell(world: &World, org: &str, n: i64) -> String {
    let id = format!("no_{}{n:04}", if org.is_empty() { "installation" } else { org });
    let at = at(n);
    let statement = format!(
        "INSERT INTO notification (id, org, kind, subject, \"window\", title, message, created_at) \
         VALUES ('{id}', '{org}', 1, 'px_1', '{n}', 'title {n}', 'message', {at})"
    );
    world.tamper(&statement).await;
    id
}

fn at(n: i64) -> i64 {
    THEN + n * 1_000_000
}

/// As REST has a time.
fn shown(n: i64) -> Value {
    serde_json::to_value(time::timestamp(time_of(at(n)))).expect("is a text")
}

/// The ids in a list.
async fn ids(client: &Client, path: &str) -> Vec<String> {
    let listed = client.get(path).await.good();
    let items = listed["notifications"].as_array().cloned().unwrap_or_default();
    items.iter().map(|it| it["id"].as_str().expect("has an id").to_owned()).collect()
}

async fn marked(client: &Client, path: &str, body: Value) -> u64 {
    number(&client.post(path, body).await.good()["marked"])
}

/// Somebody who looked at three must not mark the fourth, which came meanwhile, without having seen it.
#[tokio::test]
async fn all_are_marked_that_came_up_to_a_time_and_none_of_another_organization() {
    let world = World::start().await;
    let (mine, theirs) = (world.org("mine").await.id, world.org("theirs").await.id);
    for n in 1..=4 {
        tell(&world, &mine, n).await;
        tell(&world, &theirs, n).await;
        tell(&world, "", n).await;
    }
    let editor = world.service(wire::Role::Editor, "mine").await;
    let (list, mark) = ("/v1/orgs/mine/notifications?unread=true", "/v1/orgs/mine/notifications:markRead");
    assert_eq!(ids(&editor, list).await.len(), 4);
    assert_eq!(marked(&editor, mark, json!({"all": true, "through": shown(3)})).await, 3);
    assert_eq!(ids(&editor, list).await, [format!("no_{mine}0004")]);
    assert_eq!(marked(&editor, mark, json!({"all": true, "through": shown(3)})).await, 0, "they are");
    tell(&world, &mine, 5).await;
    assert_eq!(marked(&editor, mark, json!({"all": true})).await, 2);
    assert!(ids(&editor, list).await.is_empty());

    let operator = world.operator();
    assert_eq!(ids(&operator, "/v1/orgs/theirs/notifications?unread=true").await.len(), 4);
    assert_eq!(ids(&operator, "/v1/notifications?unread=true").await.len(), 4);
    let mark = "/v1/notifications:markRead";
    assert_eq!(marked(&operator, mark, json!({"all": true, "through": shown(2)})).await, 2);
    editor.post(mark, json!({"all": true})).await.refused(403, "role-missing");
    // The same over gRPC.
    let mut calls = NotificationServiceClient::new(world.channel.clone());
    let ask = wire::MarkInstallationNotificationsReadRequest { all: true, ..Default::default() };
    let answer = calls.mark_installation_notifications_read(by(&world.operator, ask)).await.expect("marks");
    assert_eq!(answer.into_inner().marked, 2);
    let through = Some(time::timestamp(time_of(at(1))));
    let ask = wire::MarkNotificationsReadRequest { org: theirs, all: true, through, ..Default::default() };
    let answer = calls.mark_notifications_read(by(&world.operator, ask)).await.expect("marks");
    assert_eq!(answer.into_inner().marked, 1);
    world.running.stop().await;
}

#[tokio::test]
async fn ids_and_all_together_a_time_without_all_and_neither_are_refused_by_field() {
    let world = World::start().await;
    world.org("mine").await;
    let operator = world.operator();
    for path in ["/v1/orgs/mine/notifications:markRead", "/v1/notifications:markRead"] {
        for (body, field) in [
            (json!({"all": true, "notifications": ["no_a"]}), "notifications"),
            (json!({"notifications": ["no_a"], "through": shown(1)}), "through"),
            (json!({"through": shown(1)}), "through"),
            (json!({}), "notifications"),
        ] {
            assert_eq!(operator.post(path, body).await.faults(), [field], "{path}");
        }
    }
    world.running.stop().await;
}
