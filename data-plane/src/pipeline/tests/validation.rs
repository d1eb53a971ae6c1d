//! Requests that a schema or a document of operations is about: what passes, what is told to the caller, and that nothing is
//! counted.

use prost::Message as _;
use rr_contract::wire::fleet;
use rr_contract::wire::fleet::validation::What;
use serde_json::json;

use crate::fixture::{self, Region, deny_path, proxy_key, resource, target_message, target_of};

use super::edge::{Answer, Edge};
use super::limits::PATH;
use super::origin::Upstream;
use super::{get, resources, with_key};

fn validation(schema: &str) -> Option<fleet::Validation> {
    Some(fleet::Validation { what: Some(What::JsonSchema(schema.to_owned())), ..Default::default() })
}

fn edge_of(
    upstream: &Upstream,
    proxy: impl FnOnce(&mut fleet::ProxyResource),
    target: impl FnOnce(&mut fleet::TargetResource),
    more: impl IntoIterator<Item = fleet::Resource>,
) -> Edge {
    let region = Region::new();
    let mut all = resources(&region, &upstream.url(""));
    let mut message = fixture::proxy_message(1, &[1], 1, 2);
    proxy(&mut message);
    all.push(resource(proxy_key(1), message.encode_to_vec()));
    let mut message = target_message(1, &upstream.url(""));
    target(&mut message);
    all.push(target_of(1, &message));
    all.extend(more);
    Edge::start(region.snapshot(&all), &["127.0.0.0/8"])
}

fn post(headers: &str, body: &[u8]) -> Vec<u8> {
    let headers = format!("{}{headers}content-length: {}\r\n", with_key(1), body.len());
    [get(PATH, &headers).replacen("GET", "POST", 1).as_bytes(), body].concat()
}

async fn send(edge: &Edge, request: &[u8]) -> Answer {
    let mut stream = edge.connect().await;
    tokio::io::AsyncWriteExt::write_all(&mut stream, request).await.expect("the edge reads");
    Answer::read_one(&mut stream).await
}

const ORDER: &str = r#"{"type":"object","required":["price"],"properties":{"price":{"type":"number"}}}"#;

#[tokio::test]
async fn a_body_that_is_not_as_the_schema_says_is_refused_and_counts_for_nothing() {
    let upstream = Upstream::echo().await;
    let limit = Some(fleet::Limits { per_minute_per_node: 0, per_day_per_node: 1 });
    let edge = edge_of(
        &upstream,
        |proxy| (proxy.validation, proxy.limits) = (validation(ORDER), limit),
        |_| {},
        [deny_path(7, proxy_key(1), "^/denied$")],
    );
    for (body, pointer, keyword, schema) in [
        (r#"{"price":"much"}"#, "/price", "type", "/properties/price/type"),
        ("{}", "", "required", "/required"),
        (r#"{"price":1,"price":2}"#, "/price", "duplicate-key", ""),
        (r#"{"price":1,}"#, "", "not-json", ""),
        ("", "", "no-body", ""),
    ] {
        let answer = send(&edge, &post("", body.as_bytes())).await;
        assert_eq!(
            (answer.status, answer.header("requestrocket-proxy-code")),
            (400, Some("invalid-request"))
        );
        assert_eq!(answer.header("content-type"), Some("application/problem+json"));
        let problem = answer.json();
        let violation = json!({"pointer": pointer, "keyword": keyword, "schema": schema});
        assert_eq!((&problem["scope"], &problem["violation"]), (&json!("proxy"), &violation), "{body}");
        assert!(!answer.text.contains("much"), "no value is told");
        assert!(answer.header("ratelimit").is_none());
        let record = edge.record().await;
        assert_eq!((record.status, record.code.as_str(), record.limits.len()), (400, "invalid-request", 0));
    }
    assert_eq!(upstream.count(), 0);
    let answer = send(&edge, &post("", br#"{"price":1}"#)).await;
    assert_eq!(answer.status, 200, "the one request that there may be is still to be had");
    let answer = send(&edge, &post("", br#"{"price":1}"#)).await;
    assert_eq!(answer.status, 429);
    // A request that rules deny learns nothing of the schema.
    let denied = post("", b"{}");
    let denied = String::from_utf8(denied).expect("text").replacen(PATH, "/api/acme.proxy-1/denied", 1);
    assert_eq!(edge.send(&denied).await.json()["code"], "rule-denied");
}

#[tokio::test]
async fn proxy_and_target_both_have_their_say_and_a_request_without_body_passes() {
    let upstream = Upstream::echo().await;
    let edge = edge_of(
        &upstream,
        |proxy| proxy.validation = validation(ORDER),
        |target| {
            target.validation = validation(r#"{"additionalProperties":false,"properties":{"price":true}}"#)
        },
        [],
    );
    let answer = send(&edge, &post("", br#"{"price":1,"more":2}"#)).await;
    assert_eq!((answer.status, answer.json()["scope"].clone()), (400, json!("target")));
    assert_eq!(send(&edge, &post("", br#"{"more":2}"#)).await.json()["scope"], "proxy");
    assert_eq!(send(&edge, &post("", br#"{"price":1}"#)).await.status, 200);
    assert_eq!(edge.send(&get(PATH, &with_key(1))).await.status, 200);
}

#[tokio::test]
async fn what_cannot_be_read_is_refused_and_what_is_sent_on_is_what_came() {
    let upstream = Upstream::mirror().await;
    let edge = edge_of(&upstream, |proxy| proxy.validation = validation(ORDER), |_| {}, []);
    for coding in ["lzma", "gzip", "gzip, gzip"] {
        let answer = send(&edge, &post(&format!("content-encoding: {coding}\r\n"), br#"{"price":1}"#)).await;
        assert_eq!(
            (answer.status, answer.json()["violation"]["keyword"].clone()),
            (400, json!("unreadable"))
        );
    }
    let form = "content-type: application/x-www-form-urlencoded\r\n";
    let answer = send(&edge, &post(form, br#"{"price":1}"#)).await;
    assert_eq!(answer.json()["violation"]["keyword"], "unreadable");
    let spaced = "{ \"price\" : 1.50 }";
    let answer = send(&edge, &post("", spaced.as_bytes())).await;
    assert!(answer.status == 200 && answer.text.contains(spaced), "{answer:?}");
}

#[tokio::test]
async fn a_body_that_turns_out_to_be_none_is_none() {
    let upstream = Upstream::echo().await;
    let edge = edge_of(&upstream, |proxy| proxy.validation = validation(ORDER), |_| {}, []);
    let chunked = get(PATH, &format!("{}transfer-encoding: chunked\r\n", with_key(1)));
    assert_eq!(edge.send(&format!("{chunked}0\r\n\r\n")).await.status, 200, "no schema is about it");
    let post = chunked.replacen("GET", "POST", 1);
    let answer = edge.send(&format!("{post}0\r\n\r\n")).await;
    assert_eq!((answer.status, answer.json()["violation"]["keyword"].clone()), (400, json!("no-body")));
}

#[tokio::test]
async fn a_long_body_is_validated_while_others_pass() {
    let upstream = Upstream::mirror().await;
    let schema = r#"{"type":"array","items":{"type":"object","required":["a"]},"uniqueItems":true}"#;
    let edge = edge_of(&upstream, |proxy| proxy.validation = validation(schema), |_| {}, []);
    let long = |last: &str| {
        let items: Vec<String> = (0..10_000).map(|i| format!(r#"{{"a":{i}}}"#)).collect();
        post("", format!("[{},{last}]", items.join(",")).as_bytes())
    };
    let other = get(PATH, &with_key(1)).into_bytes();
    let (good, bad, twice) = (long(r#"{"a":-1}"#), long(r#"{"b":-1}"#), long(r#"{"a":77}"#));
    let (good, bad, twice, other) =
        tokio::join!(send(&edge, &good), send(&edge, &bad), send(&edge, &twice), send(&edge, &other),);
    assert_eq!((good.status, other.status), (200, 200));
    assert_eq!(bad.json()["violation"]["pointer"], "/10000");
    assert_eq!(twice.json()["violation"]["keyword"], "uniqueItems");
    assert_eq!((bad.status, twice.status), (400, 400));
}

#[tokio::test]
async fn a_web_socket_passes_no_schema_unless_somebody_accepts_that() {
    let upstream = Upstream::echo().await;
    let upgrade =
        "upgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n";
    let request = get(PATH, &format!("{}{upgrade}", with_key(1))).replacen(
        "connection: close",
        "connection: upgrade",
        1,
    );
    for of_target in [false, true] {
        let edge = edge_of(
            &upstream,
            |proxy| {
                proxy.websocket = true;
                proxy.validation = validation(ORDER).filter(|_| !of_target);
            },
            |target| target.validation = validation(ORDER).filter(|_| of_target),
            [],
        );
        assert_eq!(send(&edge, request.as_bytes()).await.json()["code"], "tunnel-unread", "{of_target}");
    }
}

fn operations(unlisted: fleet::UnlistedOperations) -> Option<fleet::Validation> {
    let order = json!({"type": "object", "required": ["price"], "properties": {"price": {"type": "number"}}});
    let id = json!({"name": "id", "in": "path", "required": true, "schema": {"type": "integer"}});
    let limit = json!({"name": "limit", "in": "query", "schema": {"type": "integer", "maximum": 100}});
    let slow =
        json!({"name": "slow", "in": "query", "schema": {"type": "string", "pattern": "([a-z]*[0-9]){40}x"}});
    let document = json!({
        "openapi": "3.1.0",
        "info": {"title": "Orders", "version": "1"},
        "paths": {
            "/orders": {
                "get": {"parameters": [limit, slow]},
                "post": {"requestBody": {"required": true, "content": {"application/json": {"schema": order}}}},
            },
            "/orders/{id}": {"parameters": [id], "get": {}},
        },
    });
    let what = Some(What::Openapi(document.to_string()));
    Some(fleet::Validation { what, unlisted: unlisted.into(), ..Default::default() })
}

#[tokio::test]
async fn a_request_is_an_operation_of_the_document_as_it_says_or_is_refused_and_counts_for_nothing() {
    let upstream = Upstream::mirror().await;
    let limit = Some(fleet::Limits { per_minute_per_node: 0, per_day_per_node: 7 });
    let edge = edge_of(
        &upstream,
        |proxy| {
            proxy.limits = limit;
            proxy.validation = operations(fleet::UnlistedOperations::Unspecified);
        },
        |_| {},
        [],
    );
    let at = |path: &str| get(&format!("/api/acme.proxy-1{path}"), &with_key(1));
    let sent = |kind: &str, body: &str| {
        let request = post(&format!("content-type: {kind}\r\n"), body.as_bytes());
        String::from_utf8(request).expect("text").replacen(PATH, "/api/acme.proxy-1/orders", 1)
    };
    let long_json = |price: &str| format!(r#"{{"note":"{}","price":{price}}}"#, "n".repeat(100_000));
    let slow = "a".repeat(6_000);
    for (request, parameter, pointer, keyword) in [
        (at("/other"), None, "", "operation"),
        (at("/orders/"), None, "", "operation"),
        (at("/orders/7").replacen("GET", "DELETE", 1), None, "", "operation"),
        (at("/orders/seven"), Some("path.id"), "", "type"),
        (at("/orders?limit=101"), Some("query.limit"), "", "maximum"),
        (at("/orders?limit=1&limit=101"), Some("query.limit"), "", "duplicate-parameter"),
        (at("/orders?limit=1&%6cimit=101"), Some("query.limit"), "", "duplicate-parameter"),
        (at(&format!("/orders?slow={slow}")), Some("query.slow"), "", "pattern"),
        (sent("application/json", r#"{"price":"much"}"#), None, "/price", "type"),
        (sent("application/json", &long_json("null")), None, "/price", "type"),
        (sent("application/json", r#"{"price":1,"price":2}"#), None, "/price", "duplicate-key"),
        (sent("text/plain", r#"{"price":1}"#), Some("header.content-type"), "", "content"),
        (sent("application/json", ""), None, "", "no-body"),
    ] {
        let answer = edge.send(&request).await;
        let problem = answer.json();
        let violation = &problem["violation"];
        assert_eq!((answer.status, &problem["code"]), (400, &json!("invalid-request")), "{keyword}");
        let told = (violation["parameter"].as_str(), &violation["pointer"], &violation["keyword"]);
        assert_eq!(told, (parameter, &json!(pointer), &json!(keyword)), "{violation}");
        assert!(!answer.text.contains("much") && !answer.text.contains("seven"), "no value is told");
    }
    assert_eq!(upstream.count(), 0);
    for request in [
        at("/orders"),
        at("/orders").replacen("GET", "HEAD", 1),
        at("/orders?limit=100&other=1"),
        at("//orders/./%37?x"),
        sent("application/json; charset=utf-8", r#"{"price":1}"#),
        sent("application/json", &long_json("1.0")),
        at("/orders/7"),
    ] {
        assert_eq!(edge.send(&request).await.status, 200, "what was refused took nothing of the limit");
    }
    assert_eq!(edge.send(&at("/orders")).await.status, 429);
}

#[tokio::test]
async fn an_operation_that_is_not_listed_passes_where_the_document_is_not_all_there_is() {
    let upstream = Upstream::echo().await;
    let said = operations(fleet::UnlistedOperations::Pass);
    let edge = edge_of(&upstream, |_| {}, |target| target.validation = said, []);
    let at = |path: &str| get(&format!("/api/acme.proxy-1{path}"), &with_key(1));
    assert_eq!(edge.send(&at("/other?limit=1000")).await.status, 200);
    let answer = edge.send(&at("/orders?limit=1000")).await;
    assert_eq!((answer.status, answer.json()["scope"].clone()), (400, json!("target")));
}
