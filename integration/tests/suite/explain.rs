//! What `explain` says is what callers get, whatever it is that a node refuses.

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::Full;
use rr_contract::seal::region_key::RegionKeys;
use rr_contract::seam::SystemEntropy;
use rr_contract::wire::fleet::fleet_service_client::FleetServiceClient;
use rr_contract::wire::fleet::{ExplainResourceRequest, ExplainResourceResponse};
use rr_integration::caller::send;
use rr_integration::wait::eventually;
use rr_integration::world::{ORG, World};
use serde_json::{Value, json};

/// What is written with `allow_partial` and not run by the node, how it is undone, what refuses, and what callers get.
struct Case {
    write: (Method, &'static str, Value),
    undo: (Method, &'static str, Value),
    cause: (&'static str, &'static str),
    status: u16,
    says: &'static str,
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
    // What a node cannot run; rules, filters, meters and callers are judged alike.
    vec![changed(
        ("credential", "foreign"),
        "/v1/orgs/acme/proxies/echo?updateMask=upstreamCredential",
        (json!({"upstreamCredential": "foreign"}), json!({"upstreamCredential": "echo-secret"})),
        502,
        "callers of proxy \"echo\" get 502 credential-unusable on 1 of 1 connected nodes",
    )]
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
    let whole = "the one connected node runs the published version of proxy \"echo\"";
    // Sealed to a key that no node has.
    let others = RegionKeys::generate(world.keys.region(), &SystemEntropy);
    let origin = world.upstream.url();
    world.api.upstream(ORG, "foreign", &others, &origin, "value").await.expect("made");
    for Case { write, undo, cause: (kind, name), status, says: words } in cases() {
        call(&world, &write.0, write.1, &write.2).await;
        world.in_step().await;
        let reply = world.caller_of("echo").get("/x").await;
        assert_eq!(reply.status, status, "{write:?}: {}", reply.text());
        let of_proxy = says(&world, "proxy", "echo", words).await;
        let because = format!("{node} refuses {kind} {name:?} (unseal");
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
