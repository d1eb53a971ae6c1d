//! The caller's key goes in, the upstream's secret goes out, and neither side sees the other's.

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use rr_integration::caller::send;
use rr_integration::world::{UPSTREAM_SECRET, World};

#[tokio::test]
async fn the_upstream_sees_its_own_secret_and_no_trace_of_the_callers_key() {
    let world = World::start().await;
    let reply = world.caller_of("echo").get("/hello?x=1").await;
    assert_eq!((reply.status.as_u16(), reply.text()), (200, "hello from upstream"));
    assert_eq!(reply.header("requestrocket-proxy-code"), "proxy-access-granted");

    let seen = world.upstream.seen();
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].uri.to_string(), "/hello?x=1");
    assert_eq!(seen[0].headers["authorization"], format!("Bearer {UPSTREAM_SECRET}").as_str());
    let trace = format!("{:?}", seen[0]);
    assert!(!trace.contains(&world.caller_key), "{trace}");
    let answer = format!("{reply:?}");
    assert!(!answer.contains(UPSTREAM_SECRET), "{answer}");
    world.end().await;
}

#[tokio::test]
async fn a_key_in_the_query_is_taken_out_before_the_request_goes_on() {
    let world = World::start().await;
    let edge = world.node.listen;
    for (query, left) in [
        (format!("?Authorization={}", world.caller_key), "/x"),
        (format!("?a=1&Authorization={}&b=2", world.caller_key), "/x?a=1&b=2"),
    ] {
        let request = Request::get(format!("/api/acme.echo/x{query}"))
            .header("host", edge.to_string())
            .body(Full::<Bytes>::default())
            .expect("a request");
        assert_eq!(send(edge, request).await.expect("answered").status, 200);
        assert_eq!(world.upstream.seen().last().expect("seen").uri.to_string(), left);
    }
    world.end().await;
}

#[tokio::test]
async fn an_unknown_proxy_and_a_wrong_key_are_answered_alike() {
    let world = World::start().await;
    let edge = world.node.listen;
    let ask = |proxy: &str, key: Option<&str>| {
        let mut request = Request::get(format!("/api/{proxy}/x")).header("host", edge.to_string());
        if let Some(key) = key {
            request = request.header("authorization", key);
        }
        send(edge, request.body(Full::default()).expect("a request"))
    };
    let other = world.api.caller("acme", "other").await.expect("another caller");
    world.in_step().await;
    let mut answers = Vec::new();
    for (proxy, key) in [
        ("acme.echo", None),
        ("acme.echo", Some("nonsense")),
        ("acme.echo", Some(other.as_str())),
        ("acme.missing", Some(world.caller_key.as_str())),
        ("nobody.echo", None),
        ("px_00000000000000000000000000", Some(world.caller_key.as_str())),
    ] {
        let reply = ask(proxy, key).await.expect("answered");
        assert_eq!(reply.status, 401, "{proxy} {key:?}");
        let id = reply.header("requestrocket-request-id").to_owned();
        let mut headers = reply.headers.clone();
        headers.remove("date");
        headers.remove("requestrocket-request-id");
        answers.push((format!("{headers:?}"), reply.text().replace(&id, "")));
    }
    answers.dedup();
    assert_eq!(answers.len(), 1, "{answers:#?}");
    assert!(world.upstream.seen().is_empty());
    world.end().await;
}
