//! What a write is asked about because of the fleet, and how far it comes.

use std::time::Duration;

use rr_contract::wire::fleet;
use rr_contract::wire::fleet::fleet_service_client::FleetServiceClient;
use serde_json::json;

use super::client::number;
use super::stream::{Edge, joined};
use super::world::{World, by};

const RULES: &str = "/v1/orgs/acme/rules";

fn rule(n: usize) -> serde_json::Value {
    json!({"name": format!("rule-{n}"), "proxy": "echo", "effect": "EFFECT_DENY"})
}

#[tokio::test]
async fn what_a_connected_node_cannot_understand_needs_a_word() {
    let world = World::start().await;
    let node = joined(&world).await;
    let operator = world.operator();
    operator.post(RULES, rule(0)).await.good();
    let mut edge = Edge::open(&node, None).await;
    edge.take_well().await;
    // It has no feature at all.
    let refused = operator.post(RULES, rule(1)).await;
    assert_eq!(refused.json()["code"], "features-missing", "{}", refused.text);
    assert!(refused.text.contains(&node.id) && refused.text.contains("region eu"), "{}", refused.text);
    // A target is understood by everybody.
    let target = json!({"name": "other", "baseUrl": "https://other.example.com"});
    operator.post("/v1/orgs/acme/targets", target).await.good();
    operator.post(&format!("{RULES}?allowPartial=true"), rule(1)).await.good();
    edge.take_well().await;
    // What goes is understood by everybody, too.
    operator.delete(&format!("{RULES}/rule-1")).await.good();
    world.running.stop().await;
}

/// A node that runs rules and limits, as they were before these features, would enforce what only observes, and would
/// not count by caller nor measure bodies.
#[tokio::test]
async fn a_field_that_a_connected_node_does_not_know_needs_a_word_and_names_the_feature() {
    let world = World::start().await;
    let node = joined(&world).await;
    let operator = world.operator();
    let mut edge = Edge::open_with(&node, None, &["rules.v1", "limits.v1"]).await;
    edge.take_well().await;
    let proxy = "/v1/orgs/acme/proxies/echo";
    operator.patch(proxy, json!({"limits": {"perDayPerNode": "9"}})).await.good();
    let day = json!({"perDayPerNode": "9"});
    for (change, feature) in [
        (json!({"observe": true}), "rule-observe.v1"),
        (json!({"limitsPerCaller": day}), "keyed-limits.v1"),
        (json!({"limitsPerAddress": day}), "keyed-limits.v1"),
        (json!({"maxRequestBytes": "9"}), "body-limits.v1"),
        (json!({"maxResponseBytes": "9"}), "body-limits.v1"),
        (json!({"recording": {"pathTemplates": ["/users/{id}"]}}), "recording.v1"),
    ] {
        let refused = operator.patch(proxy, change.clone()).await;
        assert_eq!(refused.json()["code"], "features-missing", "{change}: {}", refused.text);
        assert!(refused.text.contains(feature) && refused.text.contains(&node.id), "{}", refused.text);
    }
    operator.post(RULES, rule(0)).await.good();
    let observing = json!({"name": "sees", "proxy": "echo", "effect": "EFFECT_DENY", "observe": true});
    let refused = operator.post(RULES, observing.clone()).await;
    assert_eq!(refused.json()["code"], "features-missing", "{}", refused.text);
    assert!(refused.text.contains("rule-observe.v1"), "{}", refused.text);
    let made = operator.post(&format!("{RULES}?allowPartial=true"), observing).await.good();
    assert_eq!(made["rule"]["observe"], true);
    // With what it needs, which is looked at there.
    edge.take_well().await;
    world.running.stop().await;
}

/// A node that verifies tokens, as it was before these features, would count all who hold them as one.
#[tokio::test]
async fn to_count_callers_apart_by_a_claim_needs_nodes_that_can() {
    let world = World::start().await;
    let node = joined(&world).await;
    let operator = world.operator();
    let mut edge = Edge::open_with(&node, None, &["caller.jwt-verify.v1", "meters.v1"]).await;
    edge.take_well().await;
    let mut checks = json!({
        "jwksUrl": "https://id.example.com/keys", "issuer": "https://id.example.com", "audiences": ["api"],
        "algorithms": ["RS256"],
    });
    let credentials = "/v1/orgs/acme/credentials";
    let users = json!({"name": "users", "caller": {"kind": "CALLER_KIND_JWT_VERIFY", "jwtVerify": checks}});
    operator.post(credentials, users).await.good();
    operator.patch("/v1/orgs/acme/proxies/echo", json!({"callerCredentials": ["users"]})).await.good();
    edge.take_well().await;
    checks["identityClaim"] = "sub".into();
    let change = json!({"caller": {"jwtVerify": checks}});
    let path = format!("{credentials}/users?updateMask=caller.jwt_verify");
    let refused = operator.patch(&path, change.clone()).await;
    assert_eq!(refused.json()["code"], "features-missing", "{}", refused.text);
    assert!(refused.text.contains("caller.identity-claim.v1"), "{}", refused.text);
    let made = operator.patch(&format!("{path}&allowPartial=true"), change).await.good();
    assert_eq!(made["credential"]["caller"]["jwtVerify"]["identityClaim"], "sub");
    let meter = json!({"name": "each", "proxy": "echo", "requests": {}, "perDayPerNode": "9"});
    operator.post("/v1/orgs/acme/meters", meter).await.good();
    let each = json!({"perCaller": true});
    let path_of_meter = "/v1/orgs/acme/meters/each";
    let refused = operator.patch(path_of_meter, each.clone()).await;
    assert_eq!(refused.json()["code"], "features-missing", "{}", refused.text);
    assert!(refused.text.contains("meter-per-caller.v1"), "{}", refused.text);
    let made = operator.patch(&format!("{path_of_meter}?allowPartial=true"), each).await.good();
    assert_eq!(made["meter"]["perCaller"], true);
    let off = operator.patch(&format!("{path_of_meter}?updateMask=per_caller"), json!({})).await.good();
    assert_ne!(off["meter"]["perCaller"], true);
    checks["identityClaim"] = "\n".into();
    let refused = operator.patch(&path, json!({"caller": {"jwtVerify": checks}})).await;
    assert_eq!(refused.faults(), ["credential.caller.jwt_verify.identity_claim"]);
    edge.take_well().await;
    world.running.stop().await;
}

#[tokio::test]
async fn what_takes_most_of_a_region_needs_a_word() {
    let world = World::start().await;
    let region = world.region("eu").await;
    world.furnish(&region).await;
    let operator = world.operator();
    for n in 0..50 {
        operator.post(RULES, rule(n)).await.good();
    }
    let proxy = "/v1/orgs/acme/proxies/echo";
    let refused = operator.delete(proxy).await;
    assert_eq!(refused.json()["code"], "mass-removal", "{}", refused.text);
    assert!(refused.text.contains("takes 55 of the 55"), "{}", refused.text);
    // A few go without.
    operator.delete(&format!("{RULES}/rule-0")).await.good();
    operator.delete(&format!("{proxy}?allowMassRemoval=true")).await.good();
    world.running.stop().await;
}

#[tokio::test]
async fn a_revision_is_waited_for_where_somebody_is_connected() {
    let world = World::start().await;
    let node = joined(&world).await;
    let operator = world.operator();
    let nobody = operator.get("/v1/revisions/0:wait").await.good();
    assert_eq!(nobody["reached"], true);
    assert_eq!(nobody["regions"][0]["disconnected"][0], node.id.as_str());
    let mut edge = Edge::open(&node, None).await;
    let taken = edge.take_well().await;
    let late = operator.get("/v1/revisions/0:wait?deadline=0.1s").await.good();
    assert_eq!(late["regions"][0]["behind"][0], node.id.as_str(), "it said nothing of serving yet");
    let mut client = FleetServiceClient::new(world.channel.clone());
    let ask = by(&world.operator, fleet::WaitForRevisionRequest::default());
    let at = Some(taken.position.clone());
    let status = fleet::Status { running: at.clone(), serving: at, ..Default::default() };
    let both = async { tokio::join!(client.wait_for_revision(ask), edge.say(status)) };
    let (answer, ()) = tokio::time::timeout(Duration::from_secs(20), both).await.expect("in time");
    let answer = answer.expect("is answered").into_inner();
    assert!(answer.reached && answer.regions[0].reached == 1, "{answer:?}");
    operator.get("/v1/revisions/99999:wait").await.refused(400, "invalid");
    world.running.stop().await;
}

#[tokio::test]
async fn a_drain_is_kept_and_audited() {
    let world = World::start().await;
    let node = joined(&world).await;
    let operator = world.operator();
    let path = format!("/v1/nodes/{}", node.id);
    let drained = operator.post(&format!("{path}:drain"), json!({})).await.good();
    assert_eq!(drained["node"]["draining"], true);
    assert!(number(&drained["revision"]) > 0);
    let again = operator.post(&format!("{path}:drain"), json!({})).await.good();
    assert_eq!(number(&again["revision"]), 0, "nothing changed");
    let entries = operator.get("/v1/revisions?pageSize=1").await.good();
    assert_eq!(entries["revisions"][0]["call"], "FleetService.DrainNode");
    let words = entries["revisions"][0]["changes"][0]["name"].as_str().unwrap_or_default().to_owned();
    assert!(words.contains(&node.id) && words.contains("out of service"), "{words}");
    let back = operator.post(&format!("{path}:drain"), json!({"undo": true})).await.good();
    assert_eq!(back["node"]["draining"], serde_json::Value::Null);
    world.running.stop().await;
}

#[tokio::test]
async fn a_resource_is_explained_by_who_runs_it() {
    let world = World::start().await;
    let node = joined(&world).await;
    let operator = world.operator();
    let explain = "/v1/orgs/acme/explain/target/echo";
    let nobody = operator.get(explain).await.good();
    assert!(nobody["why"].as_str().is_some_and(|why| why.contains("no node")), "{nobody}");
    let mut edge = Edge::open(&node, None).await;
    edge.take_well().await;
    let explained = loop {
        let explained = operator.get(explain).await.good();
        if explained["regions"][0]["running"][0]["published"] == true {
            break explained;
        }
    };
    assert_eq!(explained["regions"][0]["running"][0]["nodes"][0], node.id.as_str());
    assert_eq!(explained["regions"][0]["through"].as_array().map(Vec::len), Some(1));
    operator.get("/v1/orgs/acme/explain/thing/echo").await.refused(400, "invalid");
    world.running.stop().await;
}

/// A node takes no more away than this at once, so it has to be neither more nor less than what somebody agreed to.
#[tokio::test]
async fn a_node_is_told_how_many_removals_were_agreed_to_before_and_after_a_restart() {
    let world = World::start().await;
    let region = world.region("eu").await;
    world.furnish(&region).await;
    let token = world.node_token(&region, 2).await;
    let node = world.join(&token).await.expect("joins");
    let operator = world.operator();
    let echo = operator.get("/v1/orgs/acme/proxies/echo").await.good()["proxy"].clone();
    let proxies = "/v1/orgs/acme/proxies";
    for n in 0..5 {
        let proxy = json!({
            "name": format!("more-{n}"),
            "callerCredentials": echo["callerCredentials"],
            "target": echo["target"],
            "upstreamCredential": echo["upstreamCredential"],
            "regions": echo["regions"],
        });
        operator.post(proxies, proxy).await.good();
    }
    let gone = async |n: usize| operator.delete(&format!("{proxies}/more-{n}")).await.good();
    let mut edge = Edge::open(&node, None).await;
    let first = edge.take_well().await;
    assert_eq!((first.removals, first.intended), (0, 0), "who holds nothing loses nothing");
    let newest = world.suspend("acme", true).await;
    // They come together or one after the other, as the control plane has read them.
    loop {
        let changed = edge.take_well().await;
        assert_eq!((changed.removals, changed.intended), (0, 0), "nobody agreed to any");
        if changed.position.revision >= newest {
            break;
        }
    }
    gone(0).await;
    let one = edge.take_well().await;
    assert_eq!((one.removals, one.intended), (1, 1));
    // Two while it was away, and something else.
    let held = edge.held.clone();
    drop(edge);
    gone(1).await;
    gone(2).await;
    let newest = world.suspend("acme", false).await;
    let mut edge = Edge::open(&node, Some(one.position)).await;
    edge.held = held;
    let (mut removals, mut intended) = (0, 0);
    let stands = loop {
        let taken = edge.take_well().await;
        (removals, intended) = (removals + taken.removals, intended + taken.intended);
        if taken.position.revision >= newest {
            break taken.position;
        }
    };
    assert_eq!((removals, intended), (2, 2));
    // One more, and a control plane that has read none of these revisions.
    let held = edge.held.clone();
    drop((edge, node));
    gone(3).await;
    let world = world.restart().await;
    let again = world.join(&token).await.expect("joins");
    let mut edge = Edge::open(&again, Some(stands)).await;
    edge.held = held;
    let after = edge.take_well().await;
    assert_eq!((after.removals, after.intended), (1, 1));
    world.running.stop().await;
}
