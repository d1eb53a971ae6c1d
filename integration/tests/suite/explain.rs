//! What `explain` says is what callers get, whatever it is that a node refuses.

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::Full;
use rr_contract::wire::fleet::fleet_service_client::FleetServiceClient;
use rr_contract::wire::fleet::{ExplainResourceRequest, ExplainResourceResponse};
use rr_integration::caller::send;
use rr_integration::wait::eventually;
use rr_integration::world::World;
use serde_json::{Value, json};

/// What is written with `allow_partial` and not run by the node, how it is undone, what refuses, and what callers get.
struct Case {
    write: (Method, &'static str, Value),
    undo: (Method, &'static str, Value),
    cause: (&'static str, &'static str),
    status: u16,
    says: &'static str,
}

const CLOSED: &str = "callers of proxy \"echo\" get 503 proxy-closed on 1 of 1 connected nodes";

fn made(noun: &'static str, path: &'static str, document: Value) -> Case {
    let deletes = ["/v1/orgs/acme/rules/it", "/v1/orgs/acme/filters/it", "/v1/orgs/acme/meters/it"];
    let delete = deletes.into_iter().find(|delete| delete.starts_with(path)).expect("one of them");
    Case {
        write: (Method::POST, path, document),
        undo: (Method::DELETE, delete, Value::Null),
        cause: (noun, "it"),
        status: 503,
        says: CLOSED,
    }
}

fn changed(
    cause: (&'static str, &'static str),
    path: &'static str,
    change: (Value, Value),
    status: u16,
    says: &'static str,
) -> Case {
    let (write, undo) = change;
    Case { write: (Method::PATCH, path, write), undo: (Method::PATCH, path, undo), cause, status, says }
}

fn cases() -> Vec<Case> {
    let rules = "/v1/orgs/acme/rules";
    let rule = |parent: &str, name: &str| json!({"name": "it", parent: name, "effect": "EFFECT_DENY"});
    let effect = || (json!({"defaultEffect": "EFFECT_DENY"}), json!({"defaultEffect": "EFFECT_ALLOW"}));
    vec![
        made("rule", rules, rule("proxy", "echo")),
        made("rule", rules, rule("target", "echo")),
        made("rule", rules, rule("credential", "app")),
        made("rule", rules, rule("credential", "echo-secret")),
        made(
            "filter",
            "/v1/orgs/acme/filters",
            json!({"name": "it", "target": "echo", "action": "FILTER_ACTION_DESTROY", "paths": ["a"]}),
        ),
        made(
            "meter",
            "/v1/orgs/acme/meters",
            json!({"name": "it", "proxy": "echo", "requests": {}, "active": false}),
        ),
        changed(
            ("target", "echo"),
            "/v1/orgs/acme/targets/echo?updateMask=defaultEffect",
            effect(),
            503,
            CLOSED,
        ),
        changed(
            ("credential", "app"),
            "/v1/orgs/acme/credentials/app?updateMask=defaultEffect",
            effect(),
            503,
            "callers of proxy \"echo\" get 503 proxy-closed with that credential, or 401 where the node cannot tell whose \
             it is, on 1 of 1 connected nodes",
        ),
    ]
}

async fn call(world: &World, method: &Method, path: &str, body: &Value) {
    let to = world.control_plane.management;
    let joint = if path.contains('?') { '&' } else { '?' };
    let request = Request::builder()
        .method(method)
        .uri(format!("{path}{joint}allowPartial=true"))
        .header("host", to.to_string())
        .header("content-type", "application/json")
        .header("authorization", format!("Bearer {}", world.api.token()));
    let body = if body.is_null() { Bytes::new() } else { Bytes::from(body.to_string()) };
    let reply = send(to, request.body(Full::from(body)).expect("a request")).await.expect("answered");
    assert_eq!(reply.status, 200, "{path}: {}", reply.text());
}

async fn explain(world: &World, kind: &str, resource: &str) -> ExplainResourceResponse {
    let ask = ExplainResourceRequest {
        org: "acme".to_owned(),
        kind: kind.to_owned(),
        resource: resource.to_owned(),
    };
    let mut stub = FleetServiceClient::new(world.api.connection());
    stub.explain_resource(ask).await.expect("explains").into_inner()
}

/// Asks until it says so: what a node says comes a moment after what it does.
async fn says(world: &World, kind: &str, resource: &str, words: &str) -> ExplainResourceResponse {
    let what = format!("{kind} {resource}: {words}");
    eventually(&what, || async {
        let explained = explain(world, kind, resource).await;
        explained.why.contains(words).then_some(explained)
    })
    .await
}

#[tokio::test]
async fn explain_says_what_callers_get_and_names_what_causes_it_wherever_it_lies() {
    let world = World::start().await;
    world.log.announce("refused");
    world.log.announce("refuses");
    let node = world.api.nodes().await.expect("lists").remove(0).id;
    let whole = "all 1 connected nodes run the published version of proxy \"echo\"";
    for Case { write, undo, cause: (kind, name), status, says: words } in cases() {
        call(&world, &write.0, write.1, &write.2).await;
        world.in_step().await;
        let reply = world.caller_of("echo").get("/x").await;
        assert_eq!(reply.status, status, "{write:?}: {}", reply.text());
        let of_proxy = says(&world, "proxy", "echo", words).await;
        let because = format!("{node} refuses {kind} {name:?} (WHY_UNKNOWN_FEATURE");
        assert!(of_proxy.why.contains(&because), "{}", of_proxy.why);
        let harm = &of_proxy.regions[0].harms[0];
        assert_eq!((harm.name.as_str(), harm.node.as_str()), ("echo", node.as_str()));
        assert_eq!((harm.cause_kind.as_str(), harm.cause_name.as_str()), (kind, name));
        // Whoever asks about the cause hears what it does.
        let of_cause = explain(&world, kind, name).await.why;
        let does = words.trim_start_matches("callers of proxy \"echo\" ");
        assert!(of_cause.contains(does) && of_cause.contains("\"echo\""), "{of_cause}");
        call(&world, &undo.0, undo.1, &undo.2).await;
        world.in_step().await;
        assert_eq!(world.caller_of("echo").get("/x").await.status, 200, "{write:?} undone");
        let again = says(&world, "proxy", "echo", whole).await;
        assert!(again.regions[0].harms.is_empty());
    }
    // What is whole and off is no refusal.
    call(&world, &Method::PATCH, "/v1/orgs/acme/proxies/echo?updateMask=active", &json!({"active": false}))
        .await;
    world.in_step().await;
    let reply = world.caller_of("echo").get("/x").await;
    assert_eq!(reply.status, 403);
    says(&world, "proxy", "echo", "403 proxy-inactive").await;
    world.end().await;
}

/// A proxy that a node has no version of: its callers get 503, and `explain` says whose fault it is.
#[tokio::test]
async fn a_proxy_that_a_node_cannot_run_is_explained_as_absent_there() {
    let world = World::start().await;
    world.log.announce("refused");
    world.log.announce("refuses");
    let path = "/v1/orgs/acme/proxies/echo?updateMask=limits";
    call(&world, &Method::PATCH, path, &json!({"limits": {"perMinutePerNode": "5"}})).await;
    world.in_step().await;
    assert_eq!(world.caller_of("echo").get("/x").await.status, 503);
    let explained = says(&world, "proxy", "echo", CLOSED).await;
    assert!(explained.why.contains("refuses proxy \"echo\" (WHY_UNKNOWN_FEATURE"), "{}", explained.why);
    world.end().await;
}
