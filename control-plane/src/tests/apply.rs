//! `Apply`: whole sets, planned, repeated, pruned and refused.

use rr_contract::wire::management as wire;
use rr_contract::wire::management::apply_request::Part;
use rr_contract::wire::management::apply_service_client::ApplyServiceClient;
use serde_json::{Value, json};
use tonic::Code;

use super::client::{Client, number};
use super::world::{World, by, target};

const APPLY: &str = "/v1/orgs/acme:apply";

async fn world() -> (World, Client) {
    let world = World::start().await;
    world.region("eu").await;
    world.org("acme").await;
    let operator = world.operator();
    (world, operator)
}

/// Out of order on purpose: names stand for what is only about to be made.
fn set() -> Vec<Value> {
    vec![
        json!({"rule": {"name": "no-delete", "proxy": "echo", "effect": "EFFECT_DENY"}}),
        json!({"proxy": {"name": "echo", "callerCredentials": ["app"], "target": "echo",
            "upstreamCredential": "open", "regions": ["eu"]}}),
        json!({"credential": {"name": "app", "caller": {"kind": "CALLER_KIND_API_KEY"}}}),
        json!({"credential": {"name": "open", "upstream": {"kind": "UPSTREAM_KIND_NONE"}}}),
        json!({"target": {"name": "echo", "baseUrl": "https://a.example.com"}}),
    ]
}

fn counts(answer: &Value) -> [u64; 4] {
    ["created", "updated", "deleted", "unchanged"].map(|count| number(&answer["outcome"][count]))
}

#[tokio::test]
async fn a_set_is_one_revision_and_the_same_set_again_is_none() {
    let (world, operator) = world().await;
    let head = operator.head().await;
    let body = |set: Vec<Value>| json!({"owner": "ci", "prune": true, "documents": set});
    let made = operator.post(APPLY, body(set())).await.good();
    assert_eq!(counts(&made), [5, 0, 0, 0], "{made}");
    assert_eq!(number(&made["outcome"]["revision"]), head + 1);
    assert_eq!(made["outcome"]["keys"].as_array().map(Vec::len), Some(1), "of the one caller credential");
    let again = operator.post(APPLY, body(set())).await.good();
    assert_eq!((counts(&again), number(&again["outcome"]["revision"])), ([0, 0, 0, 5], 0));
    assert_eq!(operator.head().await, head + 1);

    let mut changed = set();
    changed[4] = json!({"target": {"name": "echo", "baseUrl": "https://b.example.com"}});
    changed.remove(0);
    // What another made or keeps is none of this owner's.
    world.target("acme", target("by-hand", "https://h.example.com")).await.expect("is made");
    let theirs = json!({"owner": "others", "documents": [{"target": {"name": "theirs", "baseUrl": "https://t.example.com"}}]});
    operator.post(APPLY, theirs).await.good();
    let updated = operator.post(APPLY, body(changed)).await.good();
    assert_eq!(counts(&updated), [0, 1, 1, 3], "{updated}");
    let actions: Vec<&Value> =
        updated["outcome"]["changes"].as_array().expect("a list").iter().map(|it| &it["action"]).collect();
    assert_eq!(actions, ["APPLY_ACTION_UPDATE", "APPLY_ACTION_DELETE"]);
    assert_eq!(operator.names("/v1/orgs/acme/targets", "targets").await, ["by-hand", "echo", "theirs"]);
    assert!(operator.names("/v1/orgs/acme/rules", "rules").await.is_empty());

    // Its label takes over nothing of another set: only the document does.
    let over =
        |own: &str| json!({"target": {"name": "theirs", "baseUrl": "https://t.example.com", "owner": own}});
    let set = |owner: &str, own: &str| json!({"owner": owner, "documents": [over(own)]});
    assert_eq!(operator.post(APPLY, set("ci", "")).await.faults(), ["documents[0].target.name"]);
    let unlabelled = operator.post(APPLY, set("", "")).await.good();
    assert_eq!(counts(&unlabelled), [0, 0, 0, 1], "it keeps its label");
    assert_eq!(counts(&operator.post(APPLY, set("", "ours")).await.good()), [0, 1, 0, 0]);
    assert_eq!(counts(&operator.post(APPLY, set("others", "others")).await.good()), [0, 1, 0, 0]);

    // Something of its own that another's proxy needs is not pruned behind its back.
    operator.patch("/v1/orgs/acme/proxies/echo", json!({"owner": "others"})).await.good();
    operator.post(APPLY, body(Vec::new())).await.refused(400, "in-use");
    let without = json!({"owner": "", "prune": true, "documents": []});
    assert_eq!(operator.post(APPLY, without).await.faults(), ["owner"]);
    world.running.stop().await;
}

#[tokio::test]
async fn a_plan_is_carried_out_as_long_as_nothing_changed_since() {
    let (world, operator) = world().await;
    let head = operator.head().await;
    let plan = async || {
        let body = json!({"owner": "ci", "dryRun": true, "documents": set()});
        let planned = operator.post(APPLY, body).await.good();
        assert_eq!((counts(&planned), number(&planned["outcome"]["revision"])), ([5, 0, 0, 0], 0));
        assert_eq!(planned["outcome"]["keys"], Value::Null, "no key is made for a plan");
        planned["outcome"]["plan"].as_str().expect("a text").to_owned()
    };
    let stale = plan().await;
    assert_eq!(operator.head().await, head, "a look changes nothing");
    world.target("acme", target("by-hand", "https://h.example.com")).await.expect("is made");
    operator.post(APPLY, json!({"plan": stale})).await.refused(409, "changed");
    let fresh = plan().await;
    let editor = world.service(wire::Role::Editor, "acme").await;
    editor.post(APPLY, json!({"plan": fresh})).await.refused(404, "not-found");
    let done = operator.post(APPLY, json!({"plan": fresh})).await.good();
    assert_eq!(counts(&done), [5, 0, 0, 0]);
    let expected = json!({"owner": "ci", "documents": set(), "expectedRevision": head.to_string()});
    operator.post(APPLY, expected).await.refused(409, "changed");
    world.running.stop().await;
}

#[tokio::test]
async fn a_request_id_stands_for_one_set_and_is_done_once() {
    let (world, operator) = world().await;
    let body = |documents: Vec<Value>| json!({"owner": "ci", "requestId": "one", "documents": documents});
    let first = operator.post(APPLY, body(set())).await.good();
    let head = operator.head().await;
    operator.delete("/v1/orgs/acme/rules/no-delete").await.good();
    let again = operator.post(APPLY, body(set())).await.good();
    assert_eq!(counts(&again), counts(&first));
    assert_eq!(again["outcome"]["revision"], first["outcome"]["revision"]);
    assert_eq!(again["outcome"]["keys"], Value::Null, "a key is shown once");
    assert_eq!(operator.head().await, head + 1, "nothing was done again");
    let mut other = set();
    other.pop();
    other.remove(0);
    assert_eq!(operator.post(APPLY, body(other)).await.faults(), ["request_id"]);
    // It is its token's alone.
    let editor = world.service(wire::Role::Editor, "acme").await;
    let theirs = json!({"requestId": "one", "documents": []});
    editor.post(APPLY, theirs).await.good();
    world.running.stop().await;
}

#[tokio::test]
async fn every_fault_of_every_document_is_told_at_once_and_nothing_is_taken() {
    let (world, operator) = world().await;
    let head = operator.head().await;
    let mut bad = set();
    bad[0] = json!({"rule": {"name": "no-delete", "proxy": "nothing", "effect": "EFFECT_DENY"}});
    bad[1]["proxy"]["regions"] = json!(["mars"]);
    bad[4] = json!({"target": {"name": "echo", "baseUrl": "ftp://a.example.com", "testPath": "x"}});
    let faults = operator.post(APPLY, json!({"owner": "ci", "documents": bad})).await.faults();
    assert_eq!(
        faults,
        [
            "documents[0].rule.proxy",
            "documents[1].proxy.regions[0]",
            "documents[4].target.base_url",
            "documents[4].target.test_path"
        ]
    );
    let mut twice = set();
    twice.push(json!({"target": {"name": "echo", "baseUrl": "https://b.example.com"}}));
    twice.push(json!({"user": {"name": "alice"}}));
    let faults = operator.post(APPLY, json!({"documents": twice})).await.faults();
    assert_eq!(faults, ["documents[5].target.name", "documents[6]"]);
    assert_eq!(operator.head().await, head);
    world.running.stop().await;
}

#[tokio::test]
async fn a_stream_that_ends_before_its_commit_leaves_nothing() {
    let (world, operator) = world().await;
    let head = operator.head().await;
    let document = |name: &str| {
        let resource = wire::document::Resource::Target(target(name, "https://a.example.com"));
        wire::Document { resource: Some(resource) }
    };
    let header =
        Part::Header(wire::ApplyHeader { org: "acme".into(), owner: "ci".into(), ..Default::default() });
    let chunk = |name: &str| Part::Chunk(wire::ApplyChunk { documents: vec![document(name)] });
    let commit = |documents| Part::Commit(wire::ApplyCommit { documents });
    let send = async |parts: Vec<Part>| {
        let stream =
            tokio_stream::iter(parts.into_iter().map(|part| wire::ApplyRequest { part: Some(part) }));
        ApplyServiceClient::new(world.channel.clone()).apply(by(&world.operator, stream)).await
    };
    for parts in [
        vec![header.clone(), chunk("a"), chunk("b")],
        vec![header.clone(), chunk("a"), commit(2)],
        vec![chunk("a"), commit(1)],
        vec![header.clone(), header.clone(), commit(0)],
    ] {
        let refused = send(parts).await.expect_err("refused");
        assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
    }
    assert_eq!(operator.head().await, head);
    let done = send(vec![header, chunk("a"), chunk("b"), commit(2)]).await.expect("is done").into_inner();
    let outcome = done.outcome.expect("is there");
    assert_eq!((outcome.created, outcome.revision), (2, head + 1));
    world.running.stop().await;
}

#[tokio::test]
async fn an_update_names_its_fields_with_the_value_before_and_after() {
    let (world, operator) = world().await;
    let body = |set: Vec<Value>| json!({"dryRun": true, "documents": set});
    operator.post(APPLY, json!({"documents": set()})).await.good();
    world.target("acme", target("other", "https://o.example.com")).await.expect("is made");

    let mut changed = set();
    changed[0] = json!({"rule": {"name": "no-delete", "proxy": "echo", "effect": "EFFECT_DENY", "when": {"methods": ["DELETE"]}}});
    changed[1]["proxy"]["target"] = "other".into();
    changed[1]["proxy"]["denyStatus"] = 403.into();
    changed[4] = json!({"target": {"name": "echo", "baseUrl": "https://b.example.com/"}});
    let planned = operator.post(APPLY, body(changed.clone())).await.good();
    let told = |answer: &Value| -> Vec<String> {
        let changes = answer["outcome"]["changes"].as_array().cloned().unwrap_or_default();
        let of = |change: &Value| {
            let fields = change["fields"].as_array().cloned().unwrap_or_default();
            let kind = change["kind"].as_str().expect("a kind").to_owned();
            let side = |value: &Value| value.as_str().unwrap_or("unset").to_owned();
            fields
                .iter()
                .map(move |one| {
                    format!(
                        "{kind} {}: {} -> {}",
                        side(&one["field"]),
                        side(&one["before"]),
                        side(&one["after"])
                    )
                })
                .collect::<Vec<_>>()
        };
        changes.iter().flat_map(of).collect()
    };
    let wanted = [
        r#"target base_url: "https://a.example.com" -> "https://b.example.com""#,
        "proxy deny_status: 400 -> 403",
        r#"proxy target: "echo" -> "other""#,
        r#"rule when.methods: unset -> ["DELETE"]"#,
    ];
    assert_eq!(told(&planned), wanted, "{planned}");
    // What is carried out says the same.
    let plan = planned["outcome"]["plan"].clone();
    let done = operator.post(APPLY, json!({"plan": plan})).await.good();
    assert_eq!(told(&done), wanted, "{done}");
    world.running.stop().await;
}

#[tokio::test]
async fn a_comparison_needs_no_value_and_keeps_no_plan() {
    let (world, operator) = world().await;
    let mut more = set();
    more[3] = json!({"credential": {"name": "open", "upstream": {"kind": "UPSTREAM_KIND_BEARER"}}});
    let planned = operator.post(APPLY, json!({"dryRun": true, "documents": more})).await;
    planned.refused(400, "not-sealed-to-region");
    let head = operator.head().await;
    let answer = operator.post(APPLY, json!({"compare": true, "documents": more})).await.good();
    assert_eq!(counts(&answer), [5, 0, 0, 0], "{answer}");
    let outcome = &answer["outcome"];
    assert!(outcome["plan"].is_null() || outcome["plan"] == "", "{outcome}");
    assert!(outcome["keys"].as_array().is_none_or(Vec::is_empty), "{outcome}");
    assert_eq!(operator.head().await, head, "nothing is changed");

    operator.post(APPLY, json!({"documents": set()})).await.good();
    let same = operator.post(APPLY, json!({"compare": true, "documents": set()})).await.good();
    assert_eq!(counts(&same), [0, 0, 0, 5], "{same}");
    let planned = operator.post(APPLY, json!({"dryRun": true, "documents": set()})).await.good();
    let body = json!({"compare": true, "plan": planned["outcome"]["plan"]});
    assert_eq!(operator.post(APPLY, body).await.faults(), ["compare"]);
    world.running.stop().await;
}

#[tokio::test]
async fn what_an_answer_tells_of_fields_stays_small_and_the_others_are_counted() {
    const RULES: usize = 700;
    let (world, operator) = world().await;
    let rules = |letter: &str| -> Vec<Value> {
        let notes = letter.repeat(300);
        let rule = |n| json!({"rule": {"name": format!("r{n}"), "proxy": "echo", "effect": "EFFECT_DENY", "notes": notes}});
        set().into_iter().chain((0..RULES).map(rule)).collect()
    };
    operator.post(APPLY, json!({"documents": rules("a")})).await.good();
    let answer = operator.post(APPLY, json!({"compare": true, "documents": rules("b")})).await.good();
    assert_eq!(counts(&answer), [0, RULES as u64, 0, 5]);
    let changes = answer["outcome"]["changes"].as_array().expect("changes");
    let size: usize = changes.iter().map(|change| change["fields"].to_string().len()).sum();
    assert!((200_000..400_000).contains(&size), "{size}");
    let more: u64 = changes.iter().map(|change| change["moreFields"].as_u64().unwrap_or_default()).sum();
    let told: usize = changes.iter().filter_map(|change| change["fields"].as_array()).map(Vec::len).sum();
    assert_eq!((told as u64 + more, more > 0), (RULES as u64, true));
    world.running.stop().await;
}
