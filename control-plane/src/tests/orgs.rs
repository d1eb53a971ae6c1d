//! Organizations that are deleted: hidden at once, gone after a while.

use std::time::Duration;

use rr_contract::wire::fleet;
use rr_contract::wire::fleet::fleet_service_client::FleetServiceClient;
use rr_contract::wire::management as wire;
use serde_json::json;

use super::world::{World, by};

const DAY: Duration = Duration::from_secs(86_400);

/// Until nodes of the one region that there is are sent so many resources.
async fn published(world: &World, count: u64) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    loop {
        let mut client = FleetServiceClient::new(world.channel.clone());
        let request = by(&world.operator, fleet::ListNodesRequest::default());
        let nodes = client.list_nodes(request).await.expect("lists").into_inner().nodes;
        let desired = nodes[0].desired.as_ref().map_or(0, |at| at.count);
        if desired == count {
            return;
        }
        assert!(tokio::time::Instant::now() < deadline, "{desired} resources, not {count}");
    }
}

/// A world with `acme`, which is served by a node.
async fn world() -> (World, wire::Org) {
    let world = World::start().await;
    let region = world.region("eu").await;
    let org = world.furnish(&region).await;
    let token = world.node_token(&region, 1).await;
    world.join(&token).await.expect("joins");
    published(&world, 5).await;
    (world, org)
}

#[tokio::test]
async fn a_deleted_organization_is_hidden_stops_and_can_be_brought_back() {
    let (world, org) = world().await;
    let operator = world.operator();
    let viewer = world.service(wire::Role::Viewer, "acme").await;
    let proxy = operator.get("/v1/orgs/acme/proxies/echo").await.good();
    operator.delete("/v1/orgs/acme").await.good();
    published(&world, 0).await;
    for name in ["acme", org.id.as_str()] {
        for client in [&operator, &viewer] {
            let refused = client.get(&format!("/v1/orgs/{name}/targets")).await.refused(404, "not-found");
            let way_back = format!("rrctl org undelete {}", org.id);
            let detail = refused["detail"].as_str().expect("a text");
            assert_eq!(detail.contains(&way_back), client.token == operator.token, "{detail}");
        }
        viewer.get(&format!("/v1/orgs/{name}")).await.refused(404, "not-found");
        // Who can bring it back sees that it is deleted, and until when that can be done.
        let shown = &operator.get(&format!("/v1/orgs/{name}")).await.good()["org"];
        assert_eq!(shown["id"], json!(org.id));
        assert!(shown["deletedAt"].is_string() && shown["purgeAt"].is_string(), "{shown}");
    }
    for (client, path, names) in [
        (&viewer, "/v1/orgs", vec![]),
        (&viewer, "/v1/orgs?deleted=true", vec![]),
        (&operator, "/v1/orgs", vec![]),
        (&operator, "/v1/orgs?deleted=true", vec!["acme"]),
    ] {
        assert_eq!(client.names(path, "orgs").await, names, "{path}");
    }
    // Its name is another's to take, and then it cannot have it back.
    world.org("acme").await;
    let undelete = format!("/v1/orgs/{}:undelete", org.id);
    operator.post(&undelete, json!({})).await.refused(409, "name-taken");
    operator.delete("/v1/orgs/acme").await.good();
    // Two had the name.
    let named = operator.post("/v1/orgs/acme:undelete", json!({})).await.refused(400, "invalid");
    assert!(named.to_string().contains(&org.id), "{named}");
    let back = operator.post(&undelete, json!({})).await.good();
    assert_eq!((&back["org"]["name"], &back["org"]["id"]), (&json!("acme"), &json!(org.id)));
    published(&world, 5).await;
    let again = operator.get("/v1/orgs/acme/proxies/echo").await.good();
    assert_eq!(
        (&again["proxy"]["id"], &again["proxy"]["etag"]),
        (&proxy["proxy"]["id"], &proxy["proxy"]["etag"])
    );
    viewer.get("/v1/orgs/acme/targets").await.good();
    assert_eq!(operator.post(&undelete, json!({})).await.faults(), ["org"]);
    world.running.stop().await;
}

#[tokio::test]
async fn after_thirty_days_a_deleted_organization_is_gone_and_its_audit_stays() {
    let (world, org) = world().await;
    let operator = world.operator();
    operator.delete("/v1/orgs/acme").await.good();
    let undelete = format!("/v1/orgs/{}:undelete", org.id);
    let world = world.restart_later(29 * DAY).await;
    let operator = world.client(&operator.token);
    operator.post(&undelete, json!({})).await.good();
    operator.delete("/v1/orgs/acme").await.good();
    // It is counted from the last time.
    let world = world.restart_later(58 * DAY).await;
    let operator = world.client(&operator.token);
    let head = operator.head().await;
    assert!(operator.get(&format!("/v1/audit?resource={}", org.id)).await.good()["entries"].is_array());
    let world = world.restart_later(60 * DAY).await;
    let operator = world.client(&operator.token);
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    while operator.head().await == head {
        assert!(tokio::time::Instant::now() < deadline, "it is never purged");
    }
    operator.post(&undelete, json!({})).await.refused(404, "not-found");
    let audit = operator.get(&format!("/v1/audit?resource={}", org.id)).await.good();
    let entries = audit["entries"].as_array().expect("a list");
    assert_eq!(entries[0]["actor"]["name"], "system");
    assert_eq!(entries.last().expect("is there")["call"], "OrgService.CreateOrg");
    let gone = entries[0]["changes"].as_array().expect("a list");
    assert_eq!(gone.len(), 5, "{gone:?}");
    assert!(gone.iter().all(|change| change["after"].is_null()));
    // Its name and its credentials' ids are nobody's; the ids stay so.
    world.org("acme").await;
    world.running.stop().await;
}

#[tokio::test]
async fn admins_say_how_many_days_records_are_kept_within_bounds() {
    let world = World::start().await;
    world.org("acme").await;
    let admin = world.service(wire::Role::Admin, "acme").await;
    let editor = world.service(wire::Role::Editor, "acme").await;
    let days = |days: u32| json!({"recordDays": days});
    let path = "/v1/orgs/acme?updateMask=record_days";
    editor.patch(path, days(7)).await.refused(403, "role-missing");
    for good in [1, 400] {
        let said = admin.patch(path, days(good)).await.good();
        assert_eq!(said["org"]["recordDays"], json!(good), "{said}");
    }
    for bad in [401, u32::MAX] {
        assert_eq!(admin.patch(path, days(bad)).await.faults(), ["org.record_days"]);
        let org = json!({"name": "other", "recordDays": bad});
        assert_eq!(world.operator().post("/v1/orgs", org).await.faults(), ["org.record_days"]);
    }
    let said = admin.patch(path, days(0)).await.good();
    assert!(said["org"]["recordDays"].is_null(), "as it was never given: {said}");
    world.running.stop().await;
}
