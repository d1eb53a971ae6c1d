//! Rules, filters and meters: refused with everything that is wrong, and attached to what is there.

use serde_json::json;

use super::world::World;

const ORG: &str = "/v1/orgs/acme";

#[tokio::test]
async fn a_pattern_that_looks_around_is_refused_with_itself_and_the_column() {
    let world = World::start().await;
    let region = world.region("eu").await;
    world.furnish(&region).await;
    let operator = world.operator();
    let rule = |regex: &str| json!({"name": "first", "proxy": "echo", "effect": "EFFECT_DENY", "when": {"path": {"regex": regex}}});
    for regex in ["^/a(?!b)", "^/a(?=b)", "^/(?<=a)b", "^/(?<!a)b", "^/(a)\\1"] {
        let refused = operator.post(&format!("{ORG}/rules"), rule(regex)).await.refused(400, "invalid");
        let error = &refused["errors"][0];
        assert_eq!(error["field"], "rule.when.path.regex", "{refused}");
        let reason = error["reason"].as_str().expect("a text");
        assert!(reason.contains(&format!("{regex:?}")) && reason.contains("column"), "{regex}: {reason}");
    }
    operator.post(&format!("{ORG}/rules"), rule("^/a[^b]")).await.good();
    world.running.stop().await;
}

#[tokio::test]
async fn every_field_at_fault_is_told_at_once() {
    let world = World::start().await;
    let region = world.region("eu").await;
    world.furnish(&region).await;
    let operator = world.operator();
    let rule = json!({"name": "First!", "proxy": "nothing", "priority": 5000, "effect": "EFFECT_DENY",
        "when": {"path": {"regex": "("}, "headers": [{"value": {"regex": "["}}], "body": [{"path": "a[0]"}]}});
    assert_eq!(
        operator.post(&format!("{ORG}/rules"), rule).await.faults(),
        [
            "rule.name",
            "rule.priority",
            "rule.proxy",
            "rule.when.body[0].path",
            "rule.when.headers[0].value.regex",
            "rule.when.path.regex"
        ]
    );
    let filter = json!({"name": "first", "proxy": "echo", "action": "FILTER_ACTION_MASK", "order": 1001, "paths": ["a..b", "c"]});
    assert_eq!(
        operator.post(&format!("{ORG}/filters"), filter).await.faults(),
        ["filter.order", "filter.paths[0]"]
    );
    let meter = json!({"name": "first", "proxy": "echo", "value": {"bodyPath": "a..b"}, "perHourPerNode": "5",
        "onlyWhen": {"path": {"regex": "("}}});
    assert_eq!(
        operator.post(&format!("{ORG}/meters"), meter).await.faults(),
        ["meter.only_when.path.regex", "meter.value.body_path"]
    );
    world.running.stop().await;
}

#[tokio::test]
async fn what_they_charge_and_whether_they_observe_is_kept_and_changed() {
    let world = World::start().await;
    let region = world.region("eu").await;
    world.furnish(&region).await;
    let operator = world.operator();
    let value = json!({"header": "x-cost", "reserve": "500", "onMissing": "0"});
    let meter = json!({"name": "cost", "proxy": "echo", "value": value, "perDayPerNode": "900"});
    let made = operator.post(&format!("{ORG}/meters"), meter).await.good();
    assert_eq!(made["meter"]["value"], value, "0 is not the same as nothing");
    let path = format!("{ORG}/meters/cost?updateMask=value");
    let unsaid = json!({"value": {"header": "x-cost", "reserve": "500"}});
    let refused = operator.patch(&path, unsaid.clone()).await;
    assert_eq!(refused.faults(), ["meter.value.on_missing"]);
    let lowered = json!({"perDayPerNode": "499"});
    let refused = operator.patch(&format!("{ORG}/meters/cost?updateMask=per_day_per_node"), lowered).await;
    assert!(refused.text.contains("is 500, above the limit of 499 a day"), "{}", refused.text);
    assert_eq!(refused.faults(), ["meter.value.reserve"]);
    let without = format!("{ORG}/meters/cost?updateMask=value,per_day_per_node");
    let changed = operator.patch(&without, unsaid.clone()).await.good();
    assert_eq!(changed["meter"]["value"], unsaid["value"], "it has no limit now");
    let rule = json!({"name": "sees", "proxy": "echo", "effect": "EFFECT_DENY", "observe": true,
        "when": {"path": {"regex": "^/admin", "flags": "i"}}});
    let made = operator.post(&format!("{ORG}/rules"), rule.clone()).await.good();
    assert_eq!((&made["rule"]["observe"], &made["rule"]["when"]), (&rule["observe"], &rule["when"]));
    let path = format!("{ORG}/rules/sees?updateMask=observe");
    let changed = operator.patch(&path, json!({})).await.good();
    assert!(changed["rule"]["observe"].is_null(), "it decides from now on");
    world.running.stop().await;
}

#[tokio::test]
async fn each_belongs_to_one_thing_and_is_found_by_it() {
    let world = World::start().await;
    let region = world.region("eu").await;
    world.furnish(&region).await;
    let operator = world.operator();
    for (parent, name) in [("proxy", "echo"), ("target", "echo"), ("credential", "app")] {
        let rule = json!({"name": format!("of-{parent}"), parent: name, "effect": "EFFECT_DENY"});
        operator.post(&format!("{ORG}/rules"), rule).await.good();
        let filter = json!({"name": format!("of-{parent}"), parent: name, "action": "FILTER_ACTION_RETAIN", "paths": ["a"]});
        operator.post(&format!("{ORG}/filters"), filter).await.good();
    }
    let orphan = json!({"name": "orphan", "effect": "EFFECT_DENY"});
    let refused = operator.post(&format!("{ORG}/rules"), orphan).await;
    assert_eq!(refused.status, 400, "{}", refused.text);
    assert!(refused.text.contains("rule.parent"), "{}", refused.text);
    for kind in ["rules", "filters"] {
        let found = operator.names(&format!("{ORG}/{kind}?filter=uses%3Dapp"), kind).await;
        assert_eq!(found, ["of-credential"]);
    }
    let meter = json!({"name": "hourly", "proxy": "echo", "requests": {}, "perHourPerNode": "5"});
    let made = operator.post(&format!("{ORG}/meters"), meter).await.good();
    assert_eq!(made["meter"]["active"], true);
    let off = operator
        .patch(&format!("{ORG}/meters/hourly?updateMask=active"), json!({"active": false}))
        .await
        .good();
    assert_eq!(off["meter"]["active"], false);
    assert_eq!(
        operator.patch(&format!("{ORG}/meters/hourly?updateMask=active"), json!({})).await.faults(),
        ["meter.active"]
    );
    world.running.stop().await;
}
