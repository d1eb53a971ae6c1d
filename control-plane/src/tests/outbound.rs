//! Values of targets and proxies that no node could serve, or that mean something else than they look like: each is
//! refused by its field.

use serde_json::{Value, json};

use super::world::World;

const ORG: &str = "/v1/orgs/acme";

fn lists(count: usize, one: impl Fn(usize) -> Value) -> Value {
    (0..count).map(one).collect()
}

#[tokio::test]
async fn what_no_node_could_serve_is_refused_by_its_field() {
    let world = World::start().await;
    let region = world.region("eu").await;
    world.furnish(&region).await;
    let operator = world.operator();
    let urls = |count| lists(count, |n| format!("https://n{n}.example").into());
    for (field, value) in [
        ("baseUrl", json!("https://user:word@api.example.com")),
        ("baseUrl", json!("https://@api.example.com")),
        ("baseUrl", json!("https://api.example.com\\@evil.example")),
        ("baseUrl", json!("https://api.example.com\u{0}.evil.example")),
        ("baseUrl", json!("https://api.example.com/?a=1")),
        ("baseUrl", json!("https://*.example.com")),
        ("baseUrl", json!("https://api..example.com")),
        ("baseUrl", json!("ftp://api.example.com")),
        ("baseUrl", json!("https:/api.example.com")),
        ("baseUrl", json!("https://api.example.com:70000")),
        ("baseUrl", json!(format!("https://api.example.com/{}", "a".repeat(2100)))),
        ("moreBaseUrls", json!(["https://API.example.com:443"])),
        ("moreBaseUrls", json!(["https://b.example", "https://b.example:443"])),
        ("moreBaseUrls", json!(["http://b.example"])),
        ("moreBaseUrls", json!(["https://b.example/other"])),
        ("moreBaseUrls", json!(["https://u@b.example"])),
        ("moreBaseUrls", json!([""])),
        ("moreBaseUrls", urls(32)),
        ("moreBaseUrls", urls(20_000)),
        ("balance", json!("BALANCE_WHATEVER")),
        ("balance", json!(7)),
        ("idleTimeout", json!("0s")),
        ("idleTimeout", json!("-1s")),
        ("idleTimeout", json!("86400.000000001s")),
        ("totalTimeout", json!("999999999999s")),
        ("totalTimeout", json!("1e3s")),
        ("connectTimeout", json!("61s")),
        ("outlierEjection", json!({"consecutiveFailures": 4_294_967_295_u32})),
        ("outlierEjection", json!({"maxEjectedPercent": 101})),
        ("outlierEjection", json!({"ejectionTime": "0s"})),
        ("circuitBreaker", json!({"openFor": "3601s"})),
        ("circuitBreaker", json!({"consecutiveFailures": -1})),
        ("healthCheck", json!({"path": "up"})),
        ("healthCheck", json!({"path": "/<up>"})),
        ("healthCheck", json!({"path": "/up\r\nhost: evil"})),
        ("healthCheck", json!({"interval": "0.5s"})),
        ("healthCheck", json!({"interval": "5s", "timeout": "6s"})),
        ("healthCheck", json!({"maxStatus": 99})),
        ("ca", json!("nothing of PEM")),
        ("ca", json!("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")),
        ("ca", json!("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")),
        ("ca", json!("x".repeat(70_000))),
        ("minTls", json!("1.1")),
        ("minTls", json!("TLS1.3")),
        ("httpVersion", json!("3")),
        ("httpVersion", json!("1.0")),
    ] {
        let mut target = json!({"name": "new", "baseUrl": "https://api.example.com"});
        target[field] = value.clone();
        let refused = operator.post(&format!("{ORG}/targets"), target).await;
        assert_eq!(refused.status, 400, "{field} {value}: {}", refused.text);
    }
    let pairs = |count| lists(count, |n| json!({"name": format!("x-{n}"), "value": "a"}));
    let edits = |list: &str, value: Value| json!({"requestHeaders": {list: value}});
    let cors = |field: &str, value: Value| {
        let mut cors = json!({"origins": ["https://app.example"]});
        cors[field] = value;
        cors
    };
    for (field, value) in [
        ("retry", json!({})),
        ("retry", json!({"attempts": 6})),
        ("retry", json!({"attempts": 1, "statuses": [404]})),
        ("retry", json!({"attempts": 1, "statuses": [503, 503]})),
        ("retry", json!({"attempts": 1, "statuses": lists(1000, |_| 503.into())})),
        ("retry", json!({"attempts": 1, "budgetPercent": 101})),
        ("retry", json!({"attempts": 1, "backoff": "11s", "maxBackoff": "60s"})),
        ("retry", json!({"attempts": 1, "backoff": "3s", "maxBackoff": "2s"})),
        ("rewrite", json!({"host": "user@api.example.com"})),
        ("rewrite", json!({"host": "api.example.com:99999"})),
        ("rewrite", json!({"host": "api.example.com:"})),
        ("rewrite", json!({"host": "api.example.com/x"})),
        ("rewrite", json!({"host": "api.example.com\r\nx: y"})),
        ("rewrite", json!({"host": ":80"})),
        ("rewrite", json!({"stripPrefix": "v1"})),
        ("rewrite", json!({"stripPrefix": "/v1/"})),
        ("rewrite", json!({"addPrefix": "/a//b"})),
        ("rewrite", json!({"addPrefix": "/a/../b"})),
        ("rewrite", json!({"addPrefix": "/a/%2e%2e/b"})),
        ("rewrite", json!({"addPrefix": "/a/..;/b"})),
        ("rewrite", edits("set", pairs(33))),
        ("rewrite", edits("set", json!([{"name": "host", "value": "evil"}]))),
        ("rewrite", edits("set", json!([{"name": "content-length", "value": "1"}]))),
        ("rewrite", edits("set", json!([{"name": "transfer-encoding", "value": "chunked"}]))),
        ("rewrite", edits("add", json!([{"name": "cookie", "value": "a=1"}]))),
        ("rewrite", edits("add", json!([{"name": "requestrocket-x", "value": "1"}]))),
        ("rewrite", edits("add", json!([{"name": "x-a", "value": "a\r\nb: c"}]))),
        ("rewrite", edits("add", json!([{"name": "x-a", "value": "a\u{0}"}]))),
        ("rewrite", edits("remove", json!(["authorization"]))),
        ("rewrite", edits("remove", json!(["X-Upper"]))),
        ("rewrite", edits("rename", json!([{"from": "x-a", "to": "connection"}]))),
        ("rewrite", edits("rename", json!([{"from": "x-a", "to": "x-a"}]))),
        ("rewrite", json!({"query": {"remove": ["Authorization"]}})),
        ("rewrite", json!({"query": {"set": [{"name": "", "value": "1"}]}})),
        ("rewrite", json!({"responseHeaders": {"set": [{"name": "set-cookie", "value": "a=1"}]}})),
        ("cors", json!({})),
        ("cors", cors("origins", json!(["*", "https://app.example"]))),
        ("cors", cors("origins", json!(["https://*"]))),
        ("cors", cors("origins", json!(["https://*.com"]))),
        ("cors", cors("origins", json!(["https://app.example/x"]))),
        ("cors", cors("origins", json!(["null"]))),
        ("cors", json!({"origins": ["*"], "credentials": true})),
        ("cors", cors("methods", json!(["get"]))),
        ("cors", cors("methods", json!(["GET, PUT"]))),
        ("cors", cors("headers", json!(["X-Upper"]))),
        ("cors", cors("exposedHeaders", lists(65, |n| format!("x-{n}").into()))),
        ("cors", cors("maxAge", json!("86401s"))),
        ("forwarded", json!("FORWARDED_HEADERS_WHATEVER")),
        ("forwarded", json!(9)),
        ("echoGuard", json!("ECHO_GUARD_WHATEVER")),
        ("echoGuard", json!(9)),
        ("recording", json!({"samplePerThousand": 1001})),
        ("recording", json!({"samplePerThousand": 1, "durable": true})),
        ("maxConcurrentRequestsPerNode", json!(-1)),
        ("maxConcurrentRequestsPerNode", json!(4_294_967_296_u64)),
        ("tunnelsUnread", json!(true)),
        ("denyStatus", json!(200)),
    ] {
        let patch = format!("{ORG}/proxies/echo?updateMask={}", snake(field));
        let refused = operator.patch(&patch, json!({field: value.clone()})).await;
        assert_eq!(refused.status, 400, "{field} {value}: {}", refused.text);
    }
    // Nothing of it came to be.
    assert_eq!(operator.names(&format!("{ORG}/targets"), "targets").await, ["echo"]);
    world.running.stop().await;
}

fn snake(field: &str) -> String {
    field
        .chars()
        .flat_map(|c| if c.is_uppercase() { vec!['_', c.to_ascii_lowercase()] } else { vec![c] })
        .collect()
}
