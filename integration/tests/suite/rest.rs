//! The same calls over REST, from the same schemas.

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::Full;
use rr_integration::caller::{Reply, send};
use rr_integration::world::World;
use serde_json::{Value, json};

async fn call(
    world: &World,
    method: Method,
    path: &str,
    token: Option<&str>,
    body: Option<Value>,
) -> (Reply, Value) {
    let to = world.control_plane.management;
    let mut request = Request::builder().method(method).uri(path).header("host", to.to_string());
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    if body.is_some() {
        request = request.header("content-type", "application/json");
    }
    let body = body.map_or_else(Bytes::new, |body| Bytes::from(body.to_string()));
    let reply = send(to, request.body(Full::from(body)).expect("a request")).await.expect("answered");
    let value = serde_json::from_slice(&reply.body).unwrap_or(Value::Null);
    (reply, value)
}

#[tokio::test]
async fn one_annotated_call_works_over_both() {
    let world = World::start().await;
    let token = world.api.token().to_owned();
    let target = json!({"name": "second", "baseUrl": "https://api.example.com/v1", "connectTimeout": "2.5s"});
    let (reply, made) = call(&world, Method::POST, "/v1/orgs/acme/targets", Some(&token), Some(target)).await;
    assert_eq!(reply.status, 200, "{made}");
    assert_eq!(made["target"]["baseUrl"], "https://api.example.com/v1");
    let (_, got) = call(&world, Method::GET, "/v1/orgs/acme/targets/second", Some(&token), None).await;
    assert_eq!(got["target"], made["target"]);
    assert_eq!(got["target"]["connectTimeout"], "2.500s");

    let ask = rr_contract::wire::management::GetTargetRequest {
        org: "acme".to_owned(),
        target: "second".to_owned(),
        revision: 0,
    };
    let mut stub = rr_contract::wire::management::target_service_client::TargetServiceClient::new(
        world.api.connection(),
    );
    let by_grpc = stub.get_target(ask).await.expect("found").into_inner().target.expect("found");
    assert_eq!(json!(by_grpc), got["target"]);
    world.end().await;
}

#[tokio::test]
async fn nothing_in_a_body_or_a_query_overrides_the_path() {
    let world = World::start().await;
    world.api.org("evil").await.expect("another org");
    let token = world.api.token().to_owned();
    let evil = world.api.org("evil-two").await.expect("a third org").id;
    for (path, body) in [
        ("/v1/orgs/acme/targets", json!({"name": "n1", "baseUrl": "https://a.example", "org": evil})),
        ("/v1/orgs/acme/targets?org=evil", json!({"name": "n2", "baseUrl": "https://a.example"})),
        ("/v1/orgs/acme/targets?target.org=evil", json!({"name": "n3", "baseUrl": "https://a.example"})),
        (
            "/v1/orgs/acme/targets?target.id=tg_00000000000000000000000000",
            json!({"name": "n4", "baseUrl": "https://a.example"}),
        ),
    ] {
        let (reply, answer) = call(&world, Method::POST, path, Some(&token), Some(body)).await;
        // Refused, or done where the path says: never elsewhere.
        assert!(reply.status == 200 || reply.status == 400, "{path}: {answer}");
        assert_ne!(answer["target"]["id"], "tg_00000000000000000000000000", "{path}");
    }
    for org in ["evil", "evil-two"] {
        let (_, list) =
            call(&world, Method::GET, &format!("/v1/orgs/{org}/targets"), Some(&token), None).await;
        assert!(list["targets"].as_array().is_none_or(Vec::is_empty), "{org}: {list}");
    }
    world.end().await;
}

#[tokio::test]
async fn a_refusal_names_every_field_at_fault_as_problem_json() {
    let world = World::start().await;
    let token = world.api.token().to_owned();
    let target = json!({"name": "Not A Name", "baseUrl": "https://"});
    let (reply, problem) =
        call(&world, Method::POST, "/v1/orgs/acme/targets", Some(&token), Some(target)).await;
    assert_eq!(reply.status, 400);
    assert_eq!(reply.header("content-type"), "application/problem+json");
    let text = problem.to_string();
    assert!(text.contains("base_url") && text.contains("name"), "{text}");
    world.end().await;
}

#[tokio::test]
async fn without_a_token_with_a_wrong_one_and_for_a_foreign_org_nothing_is_told() {
    let world = World::start().await;
    let (reply, _) = call(&world, Method::GET, "/v1/orgs/acme/targets", None, None).await;
    assert_eq!(reply.status, 401);
    let (reply, _) =
        call(&world, Method::GET, "/v1/orgs/acme/targets", Some("rr_token_nonsense"), None).await;
    assert_eq!(reply.status, 401);

    // An owner of one org asks for another, and for one that is not there.
    let body = json!({"name": "viewer", "grants": [{"role": "ROLE_VIEWER", "org": "acme"}]});
    let token = world.api.token().to_owned();
    let (reply, made) = call(&world, Method::POST, "/v1/tokens", Some(&token), Some(body)).await;
    assert_eq!(reply.status, 200, "{made}");
    let viewer = made["secret"].as_str().expect("a secret").to_owned();
    world.api.org("foreign").await.expect("another org");
    let (foreign, one) = call(&world, Method::GET, "/v1/orgs/foreign/targets", Some(&viewer), None).await;
    let (missing, two) = call(&world, Method::GET, "/v1/orgs/missing/targets", Some(&viewer), None).await;
    assert_eq!((foreign.status, missing.status), (missing.status, http::StatusCode::NOT_FOUND));
    assert_eq!(one.to_string().replace("foreign", "missing"), two.to_string());
    let (reply, _) = call(&world, Method::DELETE, "/v1/orgs/acme/proxies/echo", Some(&viewer), None).await;
    assert_eq!(reply.status, 403);
    world.end().await;
}
