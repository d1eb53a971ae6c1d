//! What callers tried once and must not get again: each was a hole.

use std::time::Duration;

use http_body_util::BodyExt as _;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rr_contract::runtime::Tasks;
use rr_contract::wire::fleet::WatchNodesRequest;
use rr_contract::wire::management as wire;
use rr_contract::wire::management::apply_service_client::ApplyServiceClient;
use rr_contract::wire::management::org_service_client::OrgServiceClient;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tonic::Code;

use super::client::Client;
use super::world::{World, by};

const SOON: Duration = Duration::from_secs(20);

/// A token of the right form that nobody has.
fn made_up() -> String {
    let (token, _) = rr_contract::api_key::make(rr_contract::api_key::KeyKind::Token, &[7; 32]);
    String::from_utf8_lossy(token.expose()).into_owned()
}

async fn world() -> (World, Client) {
    let world = World::start().await;
    world.region("eu").await;
    world.org("acme").await;
    let operator = world.operator();
    (world, operator)
}

#[tokio::test]
async fn a_rollback_to_no_revision_is_refused_and_takes_nothing_away() {
    let (world, owner) = world().await;
    owner
        .post("/v1/orgs/acme/targets", json!({"name": "a", "baseUrl": "https://a.example.com"}))
        .await
        .good();
    for body in [json!({}), json!({"revision": "0", "dryRun": true})] {
        assert_eq!(owner.post("/v1/orgs/acme:rollback", body).await.faults(), ["revision"]);
    }
    owner.get("/v1/orgs/acme/targets/a").await.good();
    world.running.stop().await;
}

#[tokio::test]
async fn a_name_that_was_given_again_comes_back_to_who_had_it() {
    let (world, owner) = world().await;
    let target = json!({"name": "re", "baseUrl": "https://a.example.com"});
    let first = owner.post("/v1/orgs/acme/targets", target.clone()).await.good();
    let then = owner.head().await;
    owner.delete("/v1/orgs/acme/targets/re").await.good();
    owner.post("/v1/orgs/acme/targets", target).await.good();
    owner.post("/v1/orgs/acme:rollback", json!({"revision": then.to_string()})).await.good();
    let back = owner.get("/v1/orgs/acme/targets/re").await.good();
    assert_eq!(back["target"]["id"], first["target"]["id"]);
    world.running.stop().await;
}

#[tokio::test]
async fn a_set_with_one_id_twice_is_refused() {
    let (world, owner) = world().await;
    let id = "cr_00000000000000000000000000";
    let open = |name: &str| json!({"credential": {"id": id, "name": name, "upstream": {"kind": "UPSTREAM_KIND_NONE"}}});
    let refused = owner.post("/v1/orgs/acme:apply", json!({"documents": [open("a"), open("b")]})).await;
    assert_eq!(refused.faults(), ["documents[1].credential.id"]);
    world.running.stop().await;
}

#[tokio::test]
async fn a_prune_takes_nothing_that_is_not_shared() {
    let (world, owner) = world().await;
    let sharing = json!({"sharing": {"targets": false}});
    owner.patch("/v1/orgs/acme?updateMask=sharing", sharing).await.good();
    let target = |name: &str| json!({"target": {"name": name, "baseUrl": "https://a.example.com"}});
    owner
        .post("/v1/orgs/acme:apply", json!({"owner": "git", "documents": [target("precious")]}))
        .await
        .good();
    let editor = world.user("edi", "acme", "ROLE_EDITOR").await;
    let prune = json!({"owner": "git", "prune": true, "documents": [target("other")]});
    editor.post("/v1/orgs/acme:apply", prune).await.refused(403, "not-shared");
    owner.get("/v1/orgs/acme/targets/precious").await.good();
    world.running.stop().await;
}

#[tokio::test]
async fn a_token_for_some_calls_takes_nothing_along_by_others() {
    let (world, owner) = world().await;
    let made = json!({"documents": [
        {"target": {"name": "t", "baseUrl": "https://a.example.com"}},
        {"credential": {"name": "app", "caller": {"kind": "CALLER_KIND_API_KEY"}}},
        {"credential": {"name": "open", "upstream": {"kind": "UPSTREAM_KIND_NONE"}}},
        {"proxy": {"name": "p", "callerCredentials": ["app"], "target": "t", "upstreamCredential": "open", "regions": ["eu"]}},
    ]});
    owner.post("/v1/orgs/acme:apply", made).await.good();
    let token = json!({"name": "narrow", "calls": ["TargetService.*"], "grants": [{"role": "ROLE_EDITOR", "org": "acme"}]});
    let secret = owner.post("/v1/tokens", token).await.good();
    let narrow = world.client(secret["secret"].as_str().expect("is shown"));
    narrow.delete("/v1/orgs/acme/targets/t?cascade=proxies/p").await.refused(403, "call-not-allowed");
    owner.get("/v1/orgs/acme/proxies/p").await.good();
    world.running.stop().await;
}

/// Three megabytes of keys that nothing knows.
fn unknown_keys() -> String {
    let keys: Vec<String> = (0..300_000).map(|n| format!("\"k{n}\":0")).collect();
    format!("{{{}}}", keys.join(","))
}

/// It was read whole and answered with 170 MB, for a gigabyte and a half of memory.
#[tokio::test]
async fn a_made_up_token_is_refused_before_its_body_comes() {
    let (world, _) = world().await;
    let mut stream = TcpStream::connect(world.running.management()).await.expect("connects");
    let head = format!(
        "POST /v1/orgs/acme:apply HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\n\
         content-type: application/json\r\ncontent-length: 3145728\r\n\r\n",
        made_up()
    );
    stream.write_all(head.as_bytes()).await.expect("writes");
    let mut answer = Vec::new();
    let mut piece = [0; 4096];
    while !answer.ends_with(b"}") {
        let read = timeout(SOON, stream.read(&mut piece)).await.expect("nothing of the body is waited for");
        let read = read.expect("reads");
        assert!(read > 0 && answer.len() < 8192, "{}", String::from_utf8_lossy(&answer));
        answer.extend_from_slice(&piece[..read]);
    }
    let answer = String::from_utf8_lossy(&answer).into_owned();
    assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
    world.running.stop().await;
}

#[tokio::test]
async fn a_made_up_token_is_refused_before_its_message_comes() {
    let (world, _) = world().await;
    let mut client = ApplyServiceClient::new(world.channel.clone());
    let never = tokio_stream::pending::<wire::ApplyRequest>();
    let refused = timeout(SOON, client.apply(by(&made_up(), never))).await.expect("no message is waited for");
    assert_eq!(refused.expect_err("is nobody").code(), Code::Unauthenticated);
    world.running.stop().await;
}

#[tokio::test]
async fn a_body_of_faults_gets_a_short_answer_that_says_how_many_there_are() {
    let (world, owner) = world().await;
    let body: bytes::Bytes = unknown_keys().into();
    let answer = super::rest::send(
        world.running.management(),
        "POST",
        "/v1/orgs/acme:apply",
        &owner.token,
        "application/json",
        body,
    )
    .await;
    assert!(answer.text.len() < 64 * 1024, "{} bytes", answer.text.len());
    let problem = answer.refused(400, "invalid");
    let errors = problem["errors"].as_array().expect("a list");
    assert_eq!(errors.len(), 51);
    assert_eq!(errors[50], json!({"field": "", "reason": "and 299950 more"}));
    // One key is as good as many.
    let long = json!({"x".repeat(900_000): 0});
    let answer = owner.post("/v1/orgs/acme/targets", long).await;
    assert!(answer.text.len() < 8 * 1024, "{} bytes", answer.text.len());
    answer.refused(400, "invalid");
    world.running.stop().await;
}

/// What a caller wrote is quoted, and clients take 16 KiB of trailers.
#[tokio::test]
async fn an_answer_that_quotes_a_caller_fits_into_trailers() {
    let (world, owner) = world().await;
    let long = "\u{e9}".repeat(300_000);
    let mut client = OrgServiceClient::new(world.channel.clone());
    let request = wire::GetOrgRequest { org: long.clone(), ..Default::default() };
    let refused = client.get_org(by(&owner.token, request)).await.expect_err("there is none");
    assert_eq!(refused.code(), Code::NotFound);
    assert!(refused.message().len() <= 1200 && refused.message().ends_with('\u{2026}'), "{refused}");
    let documents: Vec<_> = (0..60)
        .map(|n| {
            json!({"proxy": {"name": format!("p{n}"), "target": "y".repeat(9_000), "upstreamCredential": "z",
            "callerCredentials": ["w"], "regions": ["eu"]}})
        })
        .collect();
    let answer = owner.post("/v1/orgs/acme:apply", json!({"documents": documents})).await;
    assert!(answer.text.len() < 32 * 1024, "{} bytes", answer.text.len());
    let problem = answer.refused(400, "invalid");
    let last = problem["errors"].as_array().and_then(|errors| errors.last()).expect("one");
    assert!(last["reason"].as_str().is_some_and(|reason| reason.ends_with(" more")), "{last}");
    world.running.stop().await;
}

/// A client takes a status in a head for the whole answer only where nothing follows: with an empty piece behind it,
/// what failed looked like a fault of the transport.
#[tokio::test]
async fn a_stream_that_is_refused_under_a_deadline_ends_with_its_head() {
    let (world, owner) = world().await;
    let tasks = Tasks::new();
    let stream = TcpStream::connect(world.running.management()).await.expect("connects");
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .expect("speaks HTTP/2");
    tasks.spawn("client", connection);
    let message =
        prost::Message::encode_to_vec(&WatchNodesRequest { region: "none".into(), ..Default::default() });
    let length = u32::try_from(message.len()).expect("short");
    let framed = [&[0][..], &length.to_be_bytes(), &message].concat();
    for timeout in [None, Some("20S")] {
        let mut request = http::Request::post("http://x/requestrocket.fleet.v1.FleetService/WatchNodes")
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .header("authorization", format!("Bearer {}", owner.token));
        if let Some(timeout) = timeout {
            request = request.header("grpc-timeout", timeout);
        }
        let body = http_body_util::Full::new(bytes::Bytes::from(framed.clone()));
        let answer = sender.send_request(request.body(body).expect("a request")).await.expect("answers");
        assert_eq!(answer.headers()["grpc-status"], "5", "{timeout:?}");
        let mut body = answer.into_body();
        assert!(hyper::body::Body::is_end_stream(&body), "{timeout:?}");
        assert!(body.frame().await.is_none());
    }
    world.running.stop().await;
}

/// It was put into the path's organization in silence, where making it one at a time refuses it.
#[tokio::test]
async fn a_set_with_documents_of_another_organization_is_refused_as_each_of_them_is() {
    let (world, owner) = world().await;
    world.org("evil").await;
    let head = owner.head().await;
    let target = |org: &str| json!({"name": "t", "org": org, "baseUrl": "https://a.example.com"});
    let alone = owner.post("/v1/orgs/acme/targets", target("evil")).await.refused(400, "invalid");
    assert_eq!(alone["errors"][0]["field"], "target.org");
    let caller =
        json!({"credential": {"name": "app", "org": "evil", "caller": {"kind": "CALLER_KIND_API_KEY"}}});
    let set = json!({"documents": [caller, {"target": target("evil")}]});
    for dry_run in [false, true] {
        let mut set = set.clone();
        set["dryRun"] = dry_run.into();
        let refused = owner.post("/v1/orgs/acme:apply", set).await.refused(400, "invalid");
        let fields: Vec<_> =
            refused["errors"].as_array().expect("a list").iter().map(|it| it["field"].clone()).collect();
        assert!(fields.contains(&json!("documents[0].credential.org")), "{refused}");
        assert!(fields.contains(&json!("documents[1].target.org")), "{refused}");
        assert_eq!(refused["errors"][0]["reason"], alone["errors"][0]["reason"]);
    }
    assert_eq!(owner.head().await, head);
    // Its own, by name or id, is none.
    owner.post("/v1/orgs/acme:apply", json!({"documents": [{"target": target("acme")}]})).await.good();
    world.running.stop().await;
}

/// Two bytes of it became hundreds.
#[tokio::test]
async fn a_message_of_countless_empty_parts_is_refused_before_it_is_decoded() {
    const PARTS: usize = 200_000;
    let (world, owner) = world().await;
    let mut client = ApplyServiceClient::new(world.channel.clone());
    let documents = vec![wire::Document::default(); PARTS];
    let once =
        wire::ApplyOnceRequest { org: "acme".into(), documents: documents.clone(), ..Default::default() };
    let refused = client.apply_once(by(&owner.token, once)).await.expect_err("is too much");
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert!(refused.message().contains("too many elements"), "{refused}");
    let header = wire::ApplyHeader { org: "acme".into(), ..Default::default() };
    let parts = [
        wire::apply_request::Part::Header(header),
        wire::apply_request::Part::Chunk(wire::ApplyChunk { documents }),
    ];
    let parts = parts.map(|part| wire::ApplyRequest { part: Some(part) });
    let refused = client.apply(by(&owner.token, tokio_stream::iter(parts))).await.expect_err("is too much");
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert!(refused.message().contains("too many elements"), "{refused}");
    let body = format!("{{\"documents\":[{}]}}", vec!["{}"; PARTS].join(","));
    let address = world.running.management();
    let answer = super::rest::send(
        address,
        "POST",
        "/v1/orgs/acme:apply",
        &owner.token,
        "application/json",
        body.into(),
    )
    .await;
    let problem = answer.refused(400, "invalid");
    assert_eq!(problem["errors"].as_array().map(Vec::len), Some(1), "{problem}");
    assert_eq!(problem["errors"][0]["field"], "documents");
    world.running.stop().await;
}
