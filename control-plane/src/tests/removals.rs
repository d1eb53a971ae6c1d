//! What a removal or a rollback says before it is done, what it leaves, and what comes back of it.

use serde_json::{Value, json};

use super::client::{Client, number};
use super::world::World;

const ORG: &str = "/v1/orgs/acme";

/// `acme` with everything that one proxy needs.
async fn furnished() -> (World, Client) {
    let world = World::start().await;
    let region = world.region("eu").await;
    world.furnish(&region).await;
    let operator = world.operator();
    (world, operator)
}

/// What a plan says of each, in its order: action, kind, name, and whether it is for good.
fn told(answer: &Value) -> Vec<(String, bool)> {
    let listed = answer["changes"].as_array().cloned().unwrap_or_default();
    listed
        .iter()
        .map(|it| {
            let text = |field: &str| it[field].as_str().unwrap_or_default().to_owned();
            let action = text("action").replace("CHANGE_ACTION_", "").to_lowercase();
            (format!("{action} {} {}", text("kind"), text("name")), it["irreversible"].is_string())
        })
        .collect()
}

fn said(text: &str, for_good: bool) -> (String, bool) {
    (text.to_owned(), for_good)
}

async fn with_second_caller(world: &World, operator: &Client) {
    world.caller("acme", "second").await;
    let both = json!({"callerCredentials": ["app", "second"]});
    operator.patch(&format!("{ORG}/proxies/echo"), both).await.good();
}

/// It deleted the proxy, and the other caller had nothing to call.
#[tokio::test]
async fn a_cascade_takes_a_caller_from_a_proxy_that_has_another_and_leaves_the_proxy() {
    let (world, operator) = furnished().await;
    with_second_caller(&world, &operator).await;
    let path = format!("{ORG}/credentials/app");
    operator.delete(&path).await.refused(400, "in-use");
    operator.delete(&format!("{path}?cascade=target/echo")).await.refused(400, "in-use");
    // In the singular, as everywhere else, or in the plural.
    let singular = operator.delete(&format!("{path}?cascade=proxy/echo&dryRun=true")).await.good();
    let planned = operator.delete(&format!("{path}?cascade=proxies/echo&dryRun=true")).await.good();
    assert_eq!(told(&singular), told(&planned));
    assert_eq!(told(&planned), [said("delete credential app", true), said("update proxy echo", false)]);
    let detail = planned["changes"][1]["detail"].as_str().unwrap_or_default();
    assert!(detail.contains("\"app\"") && detail.contains("keeps the others"), "{detail}");
    assert_eq!(planned["revision"], Value::Null, "a look is no revision");
    let done = operator.delete(&format!("{path}?cascade=proxies/echo")).await.good();
    assert_eq!((told(&done), &done["plan"]), (told(&planned), &planned["plan"]));
    let second = operator.get(&format!("{ORG}/credentials/second")).await.good();
    let proxy = operator.get(&format!("{ORG}/proxies/echo")).await.good();
    assert_eq!(proxy["proxy"]["callerCredentials"], json!([second["credential"]["id"]]));
    // The last one takes the proxy along, as it says.
    let path = format!("{ORG}/credentials/second?cascade=proxies/echo");
    let gone = operator.delete(&path).await.good();
    assert_eq!(told(&gone), [said("delete credential second", true), said("delete proxy echo", true)]);
    operator.get(&format!("{ORG}/proxies/echo")).await.refused(404, "not-found");
    world.running.stop().await;
}

#[tokio::test]
async fn a_token_that_may_not_change_the_proxy_does_not_take_a_caller_from_it() {
    let (world, operator) = furnished().await;
    with_second_caller(&world, &operator).await;
    let grants = json!([{"role": "ROLE_EDITOR", "org": "acme"}]);
    let narrow = async |calls: &[&str]| {
        let body = json!({"name": "narrow", "grants": grants, "calls": calls});
        let made = operator.post("/v1/tokens", body).await.good();
        world.client(made["secret"].as_str().expect("a text"))
    };
    let path = format!("{ORG}/credentials/app?cascade=proxies/echo");
    let deletes = narrow(&["CredentialService.DeleteCredential", "ProxyService.DeleteProxy"]).await;
    deletes.delete(&path).await.refused(403, "call-not-allowed");
    let updates = narrow(&["CredentialService.DeleteCredential", "ProxyService.UpdateProxy"]).await;
    updates.delete(&path).await.good();
    world.running.stop().await;
}

#[tokio::test]
async fn a_look_at_a_removal_names_what_goes_with_it_and_changes_nothing() {
    let (world, operator) = furnished().await;
    let rule = json!({"name": "first", "proxy": "echo", "effect": "EFFECT_DENY"});
    operator.post(&format!("{ORG}/rules"), rule).await.good();
    let filter = json!({"name": "slim", "target": "echo", "action": "FILTER_ACTION_RETAIN", "paths": ["a"]});
    operator.post(&format!("{ORG}/filters"), filter).await.good();
    let head = operator.head().await;
    let path = format!("{ORG}/targets/echo?cascade=proxies/echo&dryRun=true");
    let planned = operator.delete(&path).await.good();
    let mut names = told(&planned);
    assert_eq!(names[0], said("delete target echo", false));
    names.sort();
    assert_eq!(
        names,
        [
            said("delete filter slim", false),
            said("delete proxy echo", false),
            said("delete rule first", false),
            said("delete target echo", false),
        ]
    );
    let org = operator.delete(&format!("{ORG}?dryRun=true")).await.good();
    assert_eq!(number(&org["changeCount"]), 7, "{org}");
    assert_eq!(told(&org)[0], said("delete org acme", false));
    // What stops the removal stops the look at it.
    operator.delete(&format!("{ORG}/targets/echo?dryRun=true")).await.refused(400, "in-use");
    operator.delete("/v1/regions/eu?dryRun=true").await.refused(400, "in-use");
    assert_eq!(operator.head().await, head, "a look changes nothing");
    operator.get(&format!("{ORG}/proxies/echo")).await.good();

    world.region("us").await;
    let region = operator.delete("/v1/regions/us?dryRun=true").await.good();
    assert_eq!(told(&region), [said("delete region us", true)]);
    world.running.stop().await;
}

#[tokio::test]
async fn what_was_agreed_to_is_what_is_removed_or_nothing_is() {
    let (world, operator) = furnished().await;
    let path = format!("{ORG}/proxies/echo");
    let planned = operator.delete(&format!("{path}?dryRun=true")).await.good();
    let plan = planned["plan"].as_str().expect("a text");
    let rule = json!({"name": "later", "proxy": "echo", "effect": "EFFECT_DENY"});
    operator.post(&format!("{ORG}/rules"), rule).await.good();
    operator.delete(&format!("{path}?expectedPlan={plan}")).await.refused(409, "changed");
    operator.get(&path).await.good();
    let planned = operator.delete(&format!("{path}?dryRun=true")).await.good();
    let plan = planned["plan"].as_str().expect("a text");
    operator.delete(&format!("{path}?expectedPlan={plan}")).await.good();
    operator.get(&path).await.refused(404, "not-found");
    world.running.stop().await;
}

/// A look passed, and the removal was refused.
#[tokio::test]
async fn a_look_is_refused_where_the_fleet_would_stop_what_it_looks_at() {
    let (world, operator) = furnished().await;
    let before = operator.head().await;
    let documents: Vec<Value> = (0..60)
        .map(|n| json!({"rule": {"name": format!("rule-{n}"), "proxy": "echo", "effect": "EFFECT_DENY", "owner": "git"}}))
        .collect();
    let apply = |documents: &[Value], more: Value| {
        let mut body = json!({"documents": documents, "owner": "git"});
        body.as_object_mut().expect("one").extend(more.as_object().expect("one").clone());
        let operator = operator.clone();
        async move { operator.post(&format!("{ORG}:apply"), body).await }
    };
    apply(&documents, json!({})).await.good();
    let path = format!("{ORG}/proxies/echo");
    operator.delete(&format!("{path}?dryRun=true")).await.refused(400, "mass-removal");
    operator.delete(&format!("{path}?dryRun=true&allowMassRemoval=true")).await.good();
    let back = json!({"revision": before.to_string(), "dryRun": true});
    operator.post(&format!("{ORG}:rollback"), back).await.refused(400, "mass-removal");
    let prune = json!({"prune": true, "dryRun": true});
    apply(&[], prune).await.refused(400, "mass-removal");
    let agreed = json!({"prune": true, "dryRun": true, "allowMassRemoval": true});
    let planned = apply(&[], agreed).await.good();
    assert!(planned["outcome"]["dryRun"] == true && planned["outcome"]["plan"].is_string(), "{planned}");
    operator.get(&path).await.good();
    world.running.stop().await;
}

/// All of it went without a word, and the keys of its callers with it.
#[tokio::test]
async fn a_rollback_to_before_everything_says_by_name_what_goes_for_good() {
    let world = World::start().await;
    let region = world.region("eu").await;
    let operator = world.operator();
    let before = operator.head().await;
    world.furnish(&region).await;
    world.target("acme", super::world::target("spare", "https://b.example.com")).await.expect("is made");
    let rule = json!({"name": "first", "credential": "app", "effect": "EFFECT_DENY"});
    operator.post(&format!("{ORG}/rules"), rule).await.good();
    let head = operator.head().await;
    let look = json!({"revision": before.to_string(), "dryRun": true});
    let planned = operator.post(&format!("{ORG}:rollback"), look).await.good();
    let mut names = told(&planned);
    names.sort();
    assert_eq!(
        names,
        [
            said("delete credential app", true),
            said("delete credential openai", true),
            said("delete proxy echo", true),
            said("delete rule first", true),
            said("delete target echo", false),
            said("delete target spare", false),
        ]
    );
    assert_eq!((number(&planned["irreversible"]), number(&planned["baseRevision"])), (4, head));
    assert_eq!(operator.head().await, head);
    let back = json!({"revision": before.to_string(), "expectedRevision": head.to_string()});
    let done = operator.post(&format!("{ORG}:rollback"), back).await.good();
    assert_eq!(told(&done), told(&planned));
    // And so it is: a rollback to where it all was brings back the targets and nothing else.
    let again = json!({"revision": head.to_string(), "allowPartial": true});
    let again = operator.post(&format!("{ORG}:rollback"), again).await.good();
    let mut names = told(&again);
    names.sort();
    assert_eq!(names, [said("create target echo", false), said("create target spare", false)]);
    world.running.stop().await;
}
