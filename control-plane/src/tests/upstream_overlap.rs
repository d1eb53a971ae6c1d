//! Two live secrets of an upstream credential: for how long, and by what that ends.

use serde_json::{Value, json};

use super::client::Client;
use super::world::{Region, World, credential_id};

const ALL: &str = "/v1/orgs/acme/credentials";
const REPLACE: &str = "/v1/orgs/acme/credentials/up:replaceSecret";

async fn world() -> (World, Client, Region, rr_contract::wire::management::Org) {
    let world = World::start().await;
    let region = world.region("eu").await;
    let org = world.org("acme").await;
    let operator = world.operator();
    (world, operator, region, org)
}

#[tokio::test]
async fn a_secret_that_is_replaced_with_an_overlap_is_live_until_its_end_and_no_third_one_beside() {
    let (world, operator, eu, org) = world().await;
    let id = credential_id();
    world.upstream(&org, "up", id, &[&eu]).await.expect("is made");
    let body = async |version: u64, overlap: &str| {
        let sealed = serde_json::to_value(world.seal(&org, id, version, &[&eu]).await).expect("JSON");
        json!({"version": version.to_string(), "sealed": sealed, "overlap": overlap})
    };
    let until = |answer: &Value| answer["credential"]["upstream"]["previousNotAfter"].clone();
    for overlap in ["7776001s", "-1s"] {
        let refused = operator.post(REPLACE, body(2, overlap).await).await;
        assert_eq!(refused.faults(), ["overlap"], "{overlap}");
    }
    let first = operator.get(&format!("{ALL}/up")).await.good();
    assert!(until(&first).is_null(), "{first}");
    let two = operator.post(REPLACE, body(2, "3600s").await).await.good();
    assert!(until(&two).is_string(), "{two}");
    operator.post(REPLACE, body(3, "60s").await).await.refused(400, "two-values-live");
    // Nothing but a replacement changes which are live: neither a change, nor an older revision, nor a set.
    let head = operator.head().await;
    operator.patch(&format!("{ALL}/up"), json!({"defaultEffect": "EFFECT_DENY"})).await.good();
    operator.post("/v1/orgs/acme:rollback", json!({"revision": head.to_string()})).await.good();
    let same = json!({"name": "up", "upstream": {"kind": "UPSTREAM_KIND_BEARER"}});
    operator.post("/v1/orgs/acme:apply", json!({"documents": [{"credential": same}]})).await.good();
    let still = operator.get(&format!("{ALL}/up")).await.good();
    assert_eq!(until(&still), until(&two));
    let one = operator.post(REPLACE, body(3, "0s").await).await.good();
    assert!(until(&one).is_null(), "{one}");
    let one = operator.post(REPLACE, body(4, "60s").await).await.good();
    assert!(until(&one).is_string(), "another overlap can begin: {one}");
    world.running.stop().await;
}
