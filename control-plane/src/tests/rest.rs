//! The same API over REST, on a real port.

use std::net::SocketAddr;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::rt::TokioIo;
use rr_contract::runtime::Tasks;
use serde_json::{Value, json};
use tokio::net::TcpStream;

use super::world::{World, target};

pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) kind: String,
    pub(super) text: String,
}

impl Answer {
    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.text).expect("JSON")
    }
}

pub(super) async fn get(address: SocketAddr, path: &str, token: &str) -> Answer {
    send(address, "GET", path, token, "", Bytes::new()).await
}

async fn post(address: SocketAddr, path: &str, token: &str, body: Value) -> Answer {
    send(address, "POST", path, token, "application/json", body.to_string().into()).await
}

pub(super) async fn send(
    address: SocketAddr,
    method: &str,
    path: &str,
    token: &str,
    kind: &str,
    body: Bytes,
) -> Answer {
    let stream = TcpStream::connect(address).await.expect("connects");
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.expect("speaks HTTP");
    Tasks::new().spawn("connection", connection);
    let mut request = Request::builder().method(method).uri(path).header("host", "control");
    if !token.is_empty() {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    if !kind.is_empty() {
        request = request.header("content-type", kind);
    }
    let request = request.body(Full::new(body)).expect("a request");
    let response = sender.send_request(request).await.expect("answers");
    let (head, body) = response.into_parts();
    #[expect(clippy::disallowed_methods, reason = "it is limited")]
    let body = match head.status == 200 && (path.ends_with(":watch") || path.ends_with(":tail")) {
        // It never ends.
        true => Bytes::new(),
        false => Limited::new(body, 1 << 22).collect().await.expect("reads").to_bytes(),
    };
    Answer {
        status: head.status.as_u16(),
        kind: head
            .headers
            .get("content-type")
            .and_then(|kind| kind.to_str().ok())
            .unwrap_or_default()
            .to_owned(),
        text: String::from_utf8_lossy(&body).into_owned(),
    }
}

#[tokio::test]
async fn calls_work_over_rest_as_over_grpc() {
    let world = World::start().await;
    let (address, token) = (world.running.management(), world.operator.clone());
    let made = post(address, "/v1/orgs", &token, json!({"name": "acme", "displayName": "Acme"})).await;
    assert_eq!(made.status, 200, "{}", made.text);
    assert_eq!(made.json()["revision"], "2", "after the operator's own token");
    let made = post(
        address,
        "/v1/orgs/acme/targets",
        &token,
        json!({"name": "echo", "baseUrl": "https://api.example.com/v1", "connectTimeout": "2.5s"}),
    )
    .await;
    assert_eq!(made.status, 200, "{}", made.text);
    assert_eq!(made.json()["target"]["connectTimeout"], "2.500s");
    let patched = send(
        address,
        "PATCH",
        "/v1/orgs/acme/targets/echo?updateMask=baseUrl",
        &token,
        "application/json; charset=utf-8",
        json!({"baseUrl": "https://b.example.com"}).to_string().into(),
    )
    .await;
    assert_eq!(patched.json()["target"]["baseUrl"], "https://b.example.com", "{}", patched.text);
    let listed = get(address, "/v1/orgs/acme/targets?pageSize=1", &token).await;
    assert_eq!(listed.json()["targets"][0]["name"], "echo");
    assert_eq!(listed.kind, "application/json");
    let gone = send(address, "DELETE", "/v1/orgs/acme/targets/echo", &token, "", Bytes::new()).await;
    assert_eq!(gone.status, 200, "{}", gone.text);
    world.running.stop().await;
}

/// Neither a body's own fields nor the query lead a call to another organization or resource than its path.
#[tokio::test]
async fn the_path_is_never_overridden() {
    let world = World::start().await;
    let (address, token) = (world.running.management(), world.operator.clone());
    let (acme, evil) = (world.org("acme").await, world.org("evil").await);
    world.target("evil", target("echo", "https://evil.example.com")).await.expect("is made");
    let body = json!({"name": "echo", "baseUrl": "https://api.example.com", "org": "evil"});
    let refused = post(address, "/v1/orgs/acme/targets", &token, body).await;
    assert_eq!(refused.status, 400);
    assert_eq!(refused.json()["errors"][0]["field"], "target.org");
    let body = json!({"name": "echo", "baseUrl": "https://api.example.com"});
    let refused = post(address, "/v1/orgs/acme/targets?org=evil", &token, body.clone()).await;
    assert_eq!(refused.status, 400, "{}", refused.text);
    let made = post(address, "/v1/orgs/acme/targets", &token, body.clone()).await;
    assert_eq!(made.json()["target"]["org"], acme.id.as_str(), "{}", made.text);
    let refused = post(address, "/v1/orgs/acme/targets?target.id=tg_x", &token, body.clone()).await;
    assert_eq!(refused.status, 400, "{}", refused.text);
    let patch = json!({"id": "tg_00000000000000000000000000", "baseUrl": "https://c.example.com"});
    let path = format!("/v1/orgs/acme/targets/echo?name=other&target.org={}", evil.id);
    let refused = send(address, "PATCH", &path, &token, "application/json", patch.to_string().into()).await;
    assert_eq!(refused.status, 400, "{}", refused.text);
    let path = "/v1/orgs/acme/targets/echo";
    let patched = send(address, "PATCH", path, &token, "application/json", patch.to_string().into()).await;
    assert_eq!(patched.json()["target"]["org"], acme.id.as_str(), "{}", patched.text);
    let refused = get(address, "/v1/orgs/acme/targets/echo?org=evil", &token).await;
    assert_eq!(refused.json()["errors"][0]["field"], "org", "{}", refused.text);
    let untouched = get(address, "/v1/orgs/evil/targets/echo", &token).await;
    assert_eq!(untouched.json()["target"]["baseUrl"], "https://evil.example.com");
    world.running.stop().await;
}

/// The transcoder lays the query over the body: what a log or a review of bodies shows would not be stored.
#[tokio::test]
async fn the_body_is_never_overridden_by_the_query() {
    let world = World::start().await;
    let (address, token) = (world.running.management(), world.operator.clone());
    world.org("acme").await;
    let body = |name: &str| json!({"name": name, "baseUrl": "https://safe.com"});
    let made = post(address, "/v1/orgs/acme/targets", &token, body("there")).await;
    assert_eq!(made.status, 200, "{}", made.text);
    for (query, named) in [
        ("target.base_url=https://evil.com", "target.base_url"),
        ("target.baseUrl=https://evil.com", "target.baseUrl"),
        ("target%2Ebase%5Furl=https://evil.com", "target.base_url"),
        ("%74arget.baseUrl=https://evil.com", "target.baseUrl"),
    ] {
        let refused = post(address, &format!("/v1/orgs/acme/targets?{query}"), &token, body("new")).await;
        assert_eq!((refused.status, refused.kind.as_str()), (400, "application/problem+json"), "{query}");
        assert_eq!(refused.json()["errors"][0]["field"], named);
        let path = format!("/v1/orgs/acme/targets/there?update_mask=base_url&{query}");
        let patch = json!({"baseUrl": "https://b.safe.com"}).to_string().into();
        let refused = send(address, "PATCH", &path, &token, "application/json", patch).await;
        assert_eq!((refused.status, refused.kind.as_str()), (400, "application/problem+json"), "{query}");
        assert_eq!(refused.json()["errors"][0]["field"], named);
    }
    let listed = get(address, "/v1/orgs/acme/targets", &token).await;
    assert_eq!(listed.json()["targets"].as_array().map(Vec::len), Some(1));
    assert_eq!(listed.json()["targets"][0]["baseUrl"], "https://safe.com");
    for mask in ["updateMask=baseUrl", "update_mask=base_url"] {
        let patch = json!({"baseUrl": format!("https://{}.safe.com", mask.len())}).to_string().into();
        let path = format!("/v1/orgs/acme/targets/there?{mask}");
        let patched = send(address, "PATCH", &path, &token, "application/json", patch).await;
        assert_eq!(patched.json()["target"]["baseUrl"], format!("https://{}.safe.com", mask.len()));
    }
    world.running.stop().await;
}

#[tokio::test]
async fn errors_are_problems_with_a_code_and_every_violation() {
    let world = World::start().await;
    let (address, token) = (world.running.management(), world.operator.clone());
    world.org("acme").await;
    let body = json!({"name": "Bad Name", "baseUrl": "ftp://x", "connectTimeout": "999s"});
    let refused = post(address, "/v1/orgs/acme/targets", &token, body).await;
    assert_eq!((refused.status, refused.kind.as_str()), (400, "application/problem+json"));
    let problem = refused.json();
    let fields: Vec<&str> =
        problem["errors"].as_array().expect("a list").iter().filter_map(|it| it["field"].as_str()).collect();
    assert_eq!(fields, ["target.name", "target.base_url", "target.connect_timeout"]);
    assert_eq!(problem["code"], "invalid");
    let types: Vec<&str> =
        problem["details"].as_array().expect("a list").iter().filter_map(|it| it["@type"].as_str()).collect();
    assert!(types.contains(&"type.googleapis.com/google.rpc.BadRequest"), "{types:?}");

    let taken = post(address, "/v1/orgs", &token, json!({"name": "acme"})).await;
    assert_eq!((taken.status, taken.json()["code"].as_str()), (409, Some("name-taken")));
    let unknown = post(address, "/v1/orgs", &token, json!({"nmae": "b"})).await;
    assert_eq!((unknown.status, unknown.json()["code"].as_str()), (400, Some("invalid")), "{}", unknown.text);
    let anonymous = get(address, "/v1/self", "").await;
    assert_eq!((anonymous.status, anonymous.json()["code"].as_str()), (401, Some("unauthenticated")));
    let nowhere = get(address, "/v1/nothing", &token).await;
    assert_eq!((nowhere.status, nowhere.kind.as_str()), (404, "application/problem+json"));
    let options = send(address, "OPTIONS", "/v1/orgs", &token, "", Bytes::new()).await;
    assert_eq!(options.status, 405);
    world.running.stop().await;
}

#[tokio::test]
async fn a_body_that_is_not_called_json_or_is_too_large_is_refused() {
    let world = World::start().await;
    let (address, token) = (world.running.management(), world.operator.clone());
    for kind in ["application/x-www-form-urlencoded", "text/plain", ""] {
        let body = Bytes::from_static(br#"{"name": "acme"}"#);
        let refused = send(address, "POST", "/v1/orgs", &token, kind, body).await;
        assert_eq!(refused.status, 415, "{kind}");
    }
    let body = Bytes::from(vec![b' '; 1024 * 1024 + 1]);
    let refused = send(address, "POST", "/v1/orgs", &token, "application/json", body).await;
    assert_eq!((refused.status, refused.json()["code"].as_str()), (413, Some("request-too-large")));
    world.running.stop().await;
}

/// A token that was refused was answered as if none had come.
#[tokio::test]
async fn a_token_that_is_not_good_and_none_at_all_are_told_apart_and_nothing_more() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = super::world::config(folder.path());
    let path = config.state_dir.join("bootstrap-token");
    let world = World::over(folder, config).await;
    let address = world.running.management();
    let used = std::fs::read_to_string(path).expect("reads").trim().to_owned();
    let unknown = rr_contract::api_key::make(rr_contract::api_key::KeyKind::Token, &[7; 32]).0;
    let unknown = String::from_utf8_lossy(unknown.expose()).into_owned();
    let mut told = Vec::new();
    for token in [used.as_str(), unknown.as_str(), "rr_token_nonsense", "nonsense"] {
        let refused = get(address, "/v1/self", token).await;
        assert_eq!((refused.status, refused.json()["code"].as_str()), (401, Some("unauthenticated")));
        assert_eq!(
            refused.json()["detail"],
            "the token is not valid: it is unknown, used up, revoked or expired",
            "{token}"
        );
        told.push(refused.text);
    }
    told.dedup();
    assert_eq!(told.len(), 1, "{told:?}");
    let none = get(address, "/v1/self", "").await;
    assert_eq!(none.json()["detail"], "the request has no token: send `authorization: Bearer rr_token_…`");
    world.running.stop().await;
}
