//! Bodies on a whole installation: what `rrctl` says of them is what the node does moments later. Filters that redact both
//! ways, a schema, and a change of it.

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use rr_integration::caller::{Reply, send};
use rr_integration::desk::Desk;
use rr_integration::sample::ORG;
use rr_integration::upstream::Upstream;
use rr_integration::wait::eventually;
use rr_integration::world::World;
use serde_json::{Value, json};

/// Answers with what it was sent, and an address of its own.
async fn upstream() -> Upstream {
    Upstream::start_with(|seen| {
        let seen: Value = serde_json::from_slice(&seen.body).unwrap_or(Value::Null);
        let answer = json!({ "seen": seen, "from": "desk@example.com" });
        let mut response = Response::new(Full::from(answer.to_string()));
        response.headers_mut().insert("content-type", http::HeaderValue::from_static("application/json"));
        response
    })
    .await
}

async fn post(world: &World, body: &Value) -> Reply {
    let request = Request::post(format!("/api/{ORG}.echo/orders"))
        .header("host", world.node.listen.to_string())
        .header("authorization", &world.caller_key)
        .header("content-type", "application/json")
        .body(Full::new(Bytes::from(body.to_string())));
    send(world.node.listen, request.expect("a request")).await.expect("an answer")
}

fn answer(reply: &Reply) -> Value {
    serde_json::from_slice(&reply.body).expect("JSON")
}

fn write(desk: &Desk, schema: &Value) {
    std::fs::write(desk.folder().join("order.json"), schema.to_string()).expect("it is written");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_rrctl_says_of_bodies_is_what_the_node_does_and_a_change_of_it_too() {
    let world = World::start_with(upstream().await).await;
    let desk = Desk::of(&world);
    let order = json!({ "to": "ann@example.com", "card": 4_111_111_111_111_111_u64, "price": 7 });
    let reply = post(&world, &order).await;
    assert_eq!(answer(&reply), json!({ "seen": order, "from": "desk@example.com" }), "nothing is said yet");

    let of_requests =
        ["filter", "create", "no-cards", "--on", "proxy/echo", "--detect", "card", "--direction", "request"];
    desk.done(&world, &[&of_requests[..], &["--mask-with", "[card]", "--org", ORG]].concat()).await;
    let of_answers =
        ["filter", "create", "no-mail", "--on", "target/echo", "--detect", "email", "--org", ORG];
    desk.done(&world, &of_answers).await;
    world.in_step().await;
    let reply = post(&world, &order).await;
    let seen = json!({ "to": "***", "card": "[card]", "price": 7 });
    assert_eq!(answer(&reply), json!({ "seen": seen, "from": "***" }));
    let came: Value = serde_json::from_slice(&world.upstream.seen().last().expect("one").body).expect("JSON");
    assert_eq!(
        came,
        json!({ "to": "ann@example.com", "card": "[card]", "price": 7 }),
        "the upstream saw no card"
    );

    write(
        &desk,
        &json!({ "type": "object", "properties": { "price": { "type": "number", "maximum": 10 } } }),
    );
    let validated = ["proxy", "update", "echo", "--validate-schema", "order.json", "--org", ORG];
    desk.done(&world, &validated).await;
    world.in_step().await;
    let dear = json!({ "to": "ann@example.com", "price": 11 });
    let refused = post(&world, &dear).await;
    let told = (refused.status.as_u16(), refused.header("requestrocket-proxy-code"));
    assert_eq!(told, (400, "invalid-request"), "{}", refused.text());
    let violation =
        json!({ "pointer": "/price", "keyword": "maximum", "schema": "/properties/price/maximum" });
    assert_eq!(answer(&refused)["violation"], violation);
    assert_eq!(post(&world, &order).await.status, 200);

    // A change takes effect, and one that cannot be taken in leaves what was.
    write(
        &desk,
        &json!({ "type": "object", "properties": { "price": { "type": "number", "maximum": 20 } } }),
    );
    desk.done(&world, &validated).await;
    world.in_step().await;
    assert_eq!(post(&world, &dear).await.status, 200);
    write(
        &desk,
        &json!({ "type": "object", "properties": { "price": { "$ref": "https://example.com/price" } } }),
    );
    let output = desk.rrctl(&world, &validated).await;
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("#/$defs/"), "{said}");
    assert_eq!(post(&world, &json!({ "price": 21 })).await.status, 400);

    desk.done(&world, &["proxy", "update", "echo", "--no-validation", "--org", ORG]).await;
    desk.done(&world, &["filter", "delete", "no-cards", "--org", ORG, "--yes"]).await;
    world.in_step().await;
    let reply = post(&world, &json!({ "card": 4_111_111_111_111_111_u64, "price": 21 })).await;
    assert_eq!(answer(&reply)["seen"], json!({ "card": 4_111_111_111_111_111_u64, "price": 21 }));

    let records = eventually("the requests are stored", || async {
        Some(world.api.requests(ORG).await.ok()?).filter(|requests| requests.len() == 7)
    })
    .await;
    let stored: Vec<String> = records.iter().map(|request| format!("{request:?}")).collect();
    assert!(stored.iter().all(|record| !record.contains("4111111111111111") && !record.contains("ann@")));
    let values = |values: u64| {
        let records = records.iter().filter_map(|request| request.record.as_ref()?.filters);
        records.filter(|effect| effect.values == values).count()
    };
    assert_eq!(values(3), 2, "a card, two addresses");
    world.end().await;
}
