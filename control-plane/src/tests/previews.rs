//! Labels of previews: who gives them, and what goes with them. The job that ends previews is tested beside it.

use rr_contract::wire::management as wire;
use serde_json::{Value, json};

use super::client::{Client, number};
use super::world::World;

const ORG: &str = "/v1/orgs/acme";
const APPLY: &str = "/v1/orgs/acme:apply";
/// Kinds of a set, and where they are.
const KINDS: [(&str, &str); 6] = [
    ("target", "targets"),
    ("credential", "credentials"),
    ("proxy", "proxies"),
    ("rule", "rules"),
    ("filter", "filters"),
    ("meter", "meters"),
];

/// With a set of the name "real" and no label.
async fn world() -> (World, Client) {
    let world = World::start().await;
    world.region("eu").await;
    world.org("acme").await;
    let operator = world.operator();
    let open = json!({"credential": {"name": "open", "upstream": {"kind": "UPSTREAM_KIND_NONE"}}});
    let documents = [set("real"), vec![open]].concat();
    operator.post(APPLY, json!({"documents": documents})).await.good();
    (world, operator)
}

/// One of each kind, all of one name.
fn set(name: &str) -> Vec<Value> {
    vec![
        json!({"target": {"name": name, "baseUrl": "https://a.example.com"}}),
        json!({"credential": {"name": name, "caller": {"kind": "CALLER_KIND_API_KEY"}}}),
        json!({"proxy": {"name": name, "callerCredentials": [name], "target": name,
            "upstreamCredential": "open", "regions": ["eu"]}}),
        json!({"rule": {"name": name, "proxy": name, "effect": "EFFECT_DENY"}}),
        json!({"filter": {"name": name, "proxy": name, "action": "FILTER_ACTION_DESTROY", "paths": ["iban"]}}),
        json!({"meter": {"name": name, "proxy": name, "requests": {}}}),
    ]
}

/// The rule of a set, with an owner of its own.
fn rule(name: &str, owner: &str) -> Value {
    let mut rule = set(name).remove(3);
    rule["rule"]["owner"] = owner.into();
    rule
}

fn deleted(answer: &Value) -> u64 {
    number(&answer["outcome"]["deleted"])
}

#[tokio::test]
async fn no_call_on_one_resource_gives_it_the_label_of_a_preview() {
    let (world, operator) = world().await;
    let head = operator.head().await;
    for label in ["preview/a:1", "preview/", "preview/no-label"] {
        for (kind, plural) in KINDS {
            let path = format!("{ORG}/{plural}/real");
            let faults = operator.patch(&path, json!({"owner": label})).await.faults();
            assert_eq!(faults, [format!("{kind}.owner")], "{label}");
            let made = set("new").into_iter().find_map(|one| one.get(kind).cloned());
            let text = made.expect("one of each").to_string();
            // What it refers to is there.
            let mut made: Value = serde_json::from_str(&text.replace("new", "real")).expect("JSON");
            (made["name"], made["owner"]) = ("new".into(), label.into());
            let faults = operator.post(&format!("{ORG}/{plural}"), made).await.faults();
            assert_eq!(faults, [format!("{kind}.owner")], "{label}");
        }
    }
    assert_eq!(operator.head().await, head);
    operator.patch(&format!("{ORG}/rules/real"), json!({"owner": "previews"})).await.good();
    world.running.stop().await;
}

#[tokio::test]
async fn what_bears_the_label_of_a_preview_can_be_changed_and_lose_it() {
    let (world, operator) = world().await;
    let label = "preview/a:4000000000";
    operator.post(APPLY, json!({"owner": label, "documents": set("a")})).await.good();
    let path = format!("{ORG}/rules/a");
    operator.patch(&path, json!({"notes": "a word"})).await.good();
    operator.patch(&path, json!({"owner": label, "notes": "another"})).await.good();
    let other_end = json!({"owner": "preview/a:1"});
    assert_eq!(operator.patch(&path, other_end).await.faults(), ["rule.owner"]);
    operator.patch(&path, json!({"owner": "git"})).await.good();
    assert_eq!(operator.patch(&path, json!({"owner": label})).await.faults(), ["rule.owner"]);
    world.running.stop().await;
}

#[tokio::test]
async fn an_apply_gives_the_label_by_its_header_alone() {
    let (world, operator) = world().await;
    for header in ["", "git", "preview/a:1", "preview/a:2"] {
        for name in ["real", "new"] {
            let body = json!({"owner": header, "documents": [rule(name, "preview/a:1")]});
            let faults = operator.post(APPLY, body).await.faults();
            assert!(faults.contains(&"documents[0].rule.owner".to_owned()), "{header} {name}: {faults:?}");
        }
    }
    let real = json!({"owner": "preview/a:1", "documents": set("real")});
    assert_eq!(operator.post(APPLY, real).await.faults().len(), 6, "all of it is none of the preview");
    let bent = json!({"owner": "preview/a", "documents": []});
    assert_eq!(operator.post(APPLY, bent).await.faults(), ["owner"]);
    // What an export says of a preview changes nothing.
    let label = "preview/a:4000000000";
    operator.post(APPLY, json!({"owner": label, "documents": set("a")})).await.good();
    let again = operator.post(APPLY, json!({"documents": [rule("a", label)]})).await.good();
    assert_eq!(number(&again["outcome"]["unchanged"]), 1, "{again}");
    world.running.stop().await;
}

#[tokio::test]
async fn a_preview_is_pruned_and_found_by_its_name_whatever_end_its_labels_say() {
    let (world, operator) = world().await;
    let label = |ends: u64| format!("preview/w:{ends}");
    let both = [set("one"), set("two")].concat();
    let body = json!({"owner": label(4_000_000_000), "prune": true, "documents": both});
    operator.post(APPLY, body).await.good();
    let other = json!({"owner": "preview/v:4000000000", "documents": set("other")});
    operator.post(APPLY, other).await.good();

    let fewer = json!({"owner": label(4_000_000_001), "prune": true, "documents": set("one")});
    let pruned = operator.post(APPLY, fewer).await.good();
    assert_eq!(deleted(&pruned), 6, "{pruned}");
    // Without a prune the former label stays, and is found by the name.
    let more = json!({"owner": label(4_000_000_002), "documents": set("three")});
    operator.post(APPLY, more).await.good();
    let listed = format!("{ORG}/rules?filter=owner%20%3D%20preview/w:*");
    assert_eq!(operator.names(&listed, "rules").await, ["one", "three"]);
    let gone = json!({"owner": label(5), "prune": true, "documents": []});
    assert_eq!(deleted(&operator.post(APPLY, gone).await.good()), 12);
    assert_eq!(operator.names(&format!("{ORG}/rules"), "rules").await, ["other", "real"]);
    world.running.stop().await;
}

/// Nothing goes that an apply did not make, and a prune removes the same: no other right is asked for.
#[tokio::test]
async fn who_may_apply_may_make_a_preview_and_who_may_only_change_a_rule_may_not() {
    let (world, operator) = world().await;
    let narrow = async |calls: Value| {
        let grants = json!([{"role": "ROLE_EDITOR", "org": "acme"}]);
        let body = json!({"name": "narrow", "grants": grants, "calls": calls});
        let made = operator.post("/v1/tokens", body).await.good();
        world.client(made["secret"].as_str().expect("a text"))
    };
    let updates = narrow(json!(["RuleService.UpdateRule"])).await;
    let forged = json!({"owner": "preview/a:1"});
    assert_eq!(updates.patch(&format!("{ORG}/rules/real"), forged).await.faults(), ["rule.owner"]);
    let body = json!({"owner": "preview/a:1", "documents": set("a")});
    updates.post(APPLY, body.clone()).await.refused(403, "call-not-allowed");
    let viewer = world.service(wire::Role::Viewer, "acme").await;
    assert_eq!(viewer.post(APPLY, body.clone()).await.status, 403);
    let applies = narrow(json!(["ApplyService.*"])).await;
    applies.post(APPLY, body).await.good();
    world.running.stop().await;
}
