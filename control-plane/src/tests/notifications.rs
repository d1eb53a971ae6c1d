//! Notifications as their readers see and mark them: of an organization and of the installation.

use rr_contract::model::time;
use rr_contract::wire::management as wire;
use rr_contract::wire::management::notification_service_client::NotificationServiceClient;
use serde_json::{Value, json};

use super::client::{Client, number};
use super::world::{World, by};
use crate::noun::Noun;
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
async fn an_id_of_another_organization_is_neither_shown_nor_marked_in_ones_own() {
    let world = World::start().await;
    let (mine, theirs) = (world.org("mine").await.id, world.org("theirs").await.id);
    let (ours, other, all) =
        (tell(&world, &mine, 1).await, tell(&world, &theirs, 1).await, tell(&world, "", 1).await);
    let editor = world.service(wire::Role::Editor, "mine").await;
    let path = |id: &str| format!("/v1/orgs/mine/notifications/{id}");
    assert_eq!(editor.get(&path(&ours)).await.good()["notification"]["id"], ours);
    for id in [&other, &all] {
        editor.get(&path(id)).await.refused(404, "not-found");
    }
    let mark = json!({"notifications": [&ours, &other, &all]});
    assert_eq!(marked(&editor, "/v1/orgs/mine/notifications:markRead", mark).await, 1);
    let operator = world.operator();
    assert_eq!(ids(&operator, "/v1/orgs/theirs/notifications?unread=true").await, [other]);
    assert_eq!(ids(&operator, "/v1/notifications?unread=true").await, [all]);
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

const MINE: &str = "/v1/self/notifications";
const MINE_UNREAD: &str = "/v1/self/notifications?unread=true";
const MARK_MINE: &str = "/v1/self/notifications:markRead";

#[tokio::test]
async fn ones_own_notifications_are_those_of_ones_organizations_and_an_operators_those_of_the_installation_too()
 {
    let world = World::start().await;
    let (a, b, c) = (world.org("a").await.id, world.org("b").await.id, world.org("c").await.id);
    let mut told = Vec::new();
    for n in 1..=3 {
        for org in [a.as_str(), &b, &c, ""] {
            told.push((org.to_owned(), tell(&world, org, n).await));
        }
    }
    let operator = world.operator();
    let alice = world.user("alice", "a", "ROLE_VIEWER").await;
    let member = json!({"user": "alice", "role": "ROLE_EDITOR"});
    operator.post("/v1/orgs/b/members", member).await.good();
    let of = |orgs: &[&str]| {
        let mut ids: Vec<&String> =
            told.iter().filter(|(org, _)| orgs.contains(&org.as_str())).map(|(_, id)| id).collect();
        // Newest first, and of one time by id.
        ids.sort_by(|x, y| (&y[y.len() - 4..], y).cmp(&(&x[x.len() - 4..], x)));
        ids.into_iter().cloned().collect::<Vec<_>>()
    };
    assert_eq!(ids(&alice, MINE).await, of(&[&a, &b]));
    assert_eq!(ids(&operator, MINE).await, of(&[&a, &b, &c, ""]), "its token owns all three");
    let stranger = world.user("mallory", "", "").await;
    assert_eq!(stranger.get(MINE).await.good(), json!({}));
    operator.patch("/v1/users/mallory", json!({"operator": true})).await.good();
    assert_eq!(ids(&stranger, MINE).await, of(&[""]), "an operator sees no organization's");
    let shown = alice.get(MINE).await.good()["notifications"].clone();
    assert!(shown.as_array().expect("a list").iter().all(|it| it["orgName"] == "a" || it["orgName"] == "b"));

    // Pages join, wherever they end.
    for size in 1..=7 {
        let (mut found, mut token) = (Vec::new(), String::new());
        loop {
            let listed = alice.get(&format!("{MINE}?pageSize={size}&pageToken={token}")).await.good();
            let items = listed["notifications"].as_array().expect("a list").clone();
            assert!(items.len() <= size);
            found.extend(items.iter().map(|it| it["id"].as_str().expect("an id").to_owned()));
            token = listed["nextPageToken"].as_str().unwrap_or_default().to_owned();
            if token.is_empty() {
                break;
            }
        }
        assert_eq!(found, of(&[&a, &b]), "by {size}");
    }
    // A page token of hers shows nobody anything that is not his.
    let token = alice.get(&format!("{MINE}?pageSize=1")).await.good()["nextPageToken"].clone();
    let path = format!("{MINE}?pageToken={}", token.as_str().expect("a text"));
    assert!(ids(&stranger, &path).await.iter().all(|id| id.starts_with("no_installation")));

    // Who leaves an organization, and whose organization goes, sees nothing of it from then on.
    operator.delete("/v1/orgs/b/members/alice").await.good();
    assert_eq!(ids(&alice, MINE).await, of(&[&a]));
    assert_eq!(marked(&alice, MARK_MINE, json!({"notifications": of(&[&b, &c, ""])})).await, 0);
    operator.delete("/v1/orgs/a").await.good();
    assert_eq!(alice.get(MINE).await.good(), json!({}));
    world.running.stop().await;
}

#[tokio::test]
async fn what_somebody_marks_for_himself_is_read_for_nobody_else() {
    let world = World::start().await;
    let org = world.org("a").await.id;
    for n in 1..=4 {
        tell(&world, &org, n).await;
    }
    let (alice, bob) =
        (world.user("alice", "a", "ROLE_VIEWER").await, world.user("bob", "a", "ROLE_EDITOR").await);
    let id = |n: i64| format!("no_{org}{n:04}");
    let one = json!({"notifications": [id(4), id(4), "no_none"]});
    assert_eq!(marked(&alice, MARK_MINE, one.clone()).await, 1);
    assert_eq!(marked(&alice, MARK_MINE, one).await, 0);
    assert_eq!(ids(&alice, MINE_UNREAD).await, [id(3), id(2), id(1)]);
    assert_eq!(marked(&alice, MARK_MINE, json!({"all": true, "through": shown(2)})).await, 2);
    assert_eq!(ids(&alice, MINE_UNREAD).await, [id(3)]);
    // A time that lies before changes nothing.
    assert_eq!(marked(&alice, MARK_MINE, json!({"all": true, "through": shown(1)})).await, 0);
    assert_eq!(ids(&alice, MINE_UNREAD).await, [id(3)]);
    let all = alice.get(MINE).await.good()["notifications"].clone();
    let seen: Vec<_> = all.as_array().expect("a list").iter().map(|it| it["seen"] == true).collect();
    assert_eq!(seen, [true, false, true, true]);
    assert!(all.as_array().expect("a list").iter().all(|it| it["readAt"].is_null()), "nobody else's mark");

    assert_eq!(ids(&bob, MINE_UNREAD).await.len(), 4);
    assert_eq!(ids(&bob, "/v1/orgs/a/notifications?unread=true").await.len(), 4);
    // What the organization has read, she may still have to look at.
    assert_eq!(marked(&bob, "/v1/orgs/a/notifications:markRead", json!({"all": true})).await, 4);
    assert_eq!(ids(&alice, MINE_UNREAD).await, [id(3)]);
    // Of another token of hers it is the same.
    let other = alice.post("/v1/tokens", json!({"name": "other", "user": "alice"})).await.good();
    let other = world.client(other["secret"].as_str().expect("is there"));
    assert_eq!(marked(&other, MARK_MINE, json!({"all": true})).await, 1);
    assert!(ids(&alice, MINE_UNREAD).await.is_empty());
    // What comes in an organization that she joins later was there before, and she has not seen it.
    let later = world.org("b").await.id;
    tell(&world, &later, 1).await;
    world.operator().post("/v1/orgs/b/members", json!({"user": "alice", "role": "ROLE_VIEWER"})).await.good();
    assert_eq!(ids(&alice, MINE_UNREAD).await, [format!("no_{later}0001")]);
    for (body, field) in [
        (json!({"all": true, "notifications": [id(1)]}), "notifications"),
        (json!({"notifications": [id(1)], "through": shown(1)}), "through"),
        (json!({}), "notifications"),
    ] {
        assert_eq!(alice.post(MARK_MINE, body).await.faults(), [field]);
    }
    world.running.stop().await;
}

/// A token that is for other calls, or for some resources, is none for these.
#[tokio::test]
async fn ones_own_notifications_are_the_same_over_grpc_and_a_narrow_token_has_none() {
    let world = World::start().await;
    let org = world.org("a").await.id;
    let id = tell(&world, &org, 1).await;
    tell(&world, "", 1).await;
    let alice = world.user("alice", "a", "ROLE_OWNER").await;
    let mut calls = NotificationServiceClient::new(world.channel.clone());
    let list = wire::ListMyNotificationsRequest { unread: true, ..Default::default() };
    let listed =
        calls.list_my_notifications(by(&alice.token, list.clone())).await.expect("lists").into_inner();
    let found: Vec<_> =
        listed.notifications.iter().map(|it| (it.id.as_str(), it.org_name.as_str(), it.seen)).collect();
    assert_eq!(found, [(id.as_str(), "a", false)]);
    let mark = wire::MarkMyNotificationsReadRequest { notifications: vec![id], ..Default::default() };
    let answer = calls.mark_my_notifications_read(by(&alice.token, mark)).await.expect("marks").into_inner();
    assert_eq!(answer.marked, 1);
    let listed = calls.list_my_notifications(by(&alice.token, list)).await.expect("lists").into_inner();
    assert!(listed.notifications.is_empty());

    for narrow in [json!({"calls": ["ProxyService.*"]}), json!({"resources": [Noun::Proxy.id([1; 16])]})] {
        let mut token = json!({"name": "narrow", "user": "alice"});
        token.as_object_mut().expect("an object").extend(narrow.as_object().expect("an object").clone());
        let made = alice.post("/v1/tokens", token).await.good();
        let narrow = world.client(made["secret"].as_str().expect("is there"));
        assert_eq!(narrow.get(MINE).await.status, 403);
        assert_eq!(narrow.post(MARK_MINE, json!({"all": true})).await.status, 403);
    }
    world.running.stop().await;
}
