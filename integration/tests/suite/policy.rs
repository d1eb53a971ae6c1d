//! Rules, limits, meters and filters, from a write to a request: they decide moments after they are written, the
//! record says what they decided, and counts of a day outlive a kill.

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;

use rr_contract::wire::FieldMask;
use rr_contract::wire::fleet::{self, Effect, FilterAction};
use rr_contract::wire::management as mg;
use rr_contract::wire::management::document::Resource;
use rr_contract::wire::management::proxy_service_client::ProxyServiceClient;
use rr_integration::api::Api;
use rr_integration::caller::{Caller, Reply, send};
use rr_integration::process::{Edge, admin};
use rr_integration::sample::{ORG, REGION, Sample, apply};
use rr_integration::upstream::Upstream;
use rr_integration::wait::eventually;
use rr_integration::world::World;

fn json(text: &'static str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(text));
    response.headers_mut().insert("content-type", http::HeaderValue::from_static("application/json"));
    response
}

fn deny(path: &str) -> mg::Rule {
    let pattern = fleet::Pattern { regex: path.to_owned(), ..Default::default() };
    mg::Rule {
        name: "no-admin".to_owned(),
        parent: Some(mg::rule::Parent::Proxy("echo".to_owned())),
        effect: Effect::Deny.into(),
        when: Some(fleet::RequestMatch { path: Some(pattern), ..Default::default() }),
        notes: "nobody administers through this proxy".to_owned(),
        ..Default::default()
    }
}

async fn limit_a_day(api: &Api, limit: u64) {
    let limits = Some(fleet::Limits { per_minute_per_node: 0, per_day_per_node: limit });
    let ask = mg::UpdateProxyRequest {
        org: ORG.to_owned(),
        name: "echo".to_owned(),
        proxy: Some(mg::Proxy { limits, ..Default::default() }),
        update_mask: Some(FieldMask { paths: vec!["limits".to_owned()] }),
        ..Default::default()
    };
    ProxyServiceClient::new(api.connection()).update_proxy(ask).await.expect("the proxy is limited");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_applied_decides_requests_and_records_say_what_was_decided() {
    let upstream =
        Upstream::start_with(|_| json(r#"{"id":7,"email":"a@b.example","usage":{"total":3}}"#)).await;
    let world = World::start_with(upstream).await;
    let caller = world.caller_of("echo");
    assert_eq!(caller.get("/admin/users").await.status, 200, "nothing is denied yet");
    let location = Some(fleet::meter_value::Location::BodyPath("usage.total".to_owned()));
    let value = fleet::MeterValue { location, reserve: 1, on_missing: Some(1), ..Default::default() };
    let set = [
        Resource::Rule(deny("^/admin/")),
        Resource::Filter(mg::Filter {
            name: "no-email".to_owned(),
            parent: Some(mg::filter::Parent::Proxy("echo".to_owned())),
            action: FilterAction::Mask.into(),
            paths: vec!["email".to_owned()],
            ..Default::default()
        }),
        Resource::Meter(mg::Meter {
            name: "tokens".to_owned(),
            proxy: "echo".to_owned(),
            counts: Some(mg::meter::Counts::Value(value)),
            per_day_per_node: 6,
            ..Default::default()
        }),
    ];
    let set = set.map(|resource| mg::Document { resource: Some(resource) });
    apply(&world.api, ORG, "test", set.to_vec()).await.expect("the set is good");
    world.in_step().await;

    let denied = caller.get("/admin/users").await;
    assert_eq!((denied.status.as_u16(), denied.header("requestrocket-proxy-code")), (400, "rule-denied"));
    assert!(denied.text().contains("nobody administers") && denied.text().contains("no-admin"));
    for _ in 0..2 {
        let passed = caller.get("/users/7").await;
        assert_eq!(passed.text(), r#"{"id":7,"email":"***","usage":{"total":3}}"#);
    }
    let full = caller.get("/users/7").await;
    assert_eq!((full.status.as_u16(), full.header("requestrocket-proxy-code")), (429, "rate-limited"));
    assert!(full.header("retry-after").parse::<u64>().is_ok_and(|seconds| seconds > 0));

    let records = eventually("five records are stored", || async {
        Some(world.api.requests(ORG).await.ok()?).filter(|requests| requests.len() == 5)
    })
    .await;
    let records: Vec<fleet::Record> = records.into_iter().filter_map(|request| request.record).collect();
    let of = |code: &str| records.iter().filter(|record| record.code == code).collect::<Vec<_>>();
    let rules = of("rule-denied")[0].rules.as_ref().expect("the rules were asked");
    assert_eq!((rules.effect(), rules.scope()), (Effect::Deny, fleet::Scope::Proxy));
    assert!(rules.rule.starts_with("rl_"));
    let passed = of("proxy-access-granted");
    assert_eq!(passed.iter().filter(|record| !record.meters.is_empty()).count(), 2);
    assert!(
        passed.iter().all(|record| record.meters.iter().all(|meter| meter.charged_millionths == 3_000_000))
    );
    assert_eq!(passed.iter().filter(|record| record.filters.is_some_and(|done| done.values == 1)).count(), 2);
    assert_eq!(of("rate-limited")[0].meters[0].exceeded(), fleet::Window::Day);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_made_for_a_heavy_pattern_is_refused_and_others_are_served() {
    let world = World::start().await;
    let pattern = || fleet::Pattern { regex: "a[a-z]{3000}[^a-z]".to_owned(), ..Default::default() };
    let check = fleet::BodyCheck { path: "m".to_owned(), value: Some(pattern()), ..Default::default() };
    let rule = |name: &str, when: fleet::RequestMatch| mg::Rule {
        name: name.to_owned(),
        when: Some(when),
        ..deny("")
    };
    let set = [
        rule("on-path", fleet::RequestMatch { path: Some(pattern()), ..Default::default() }),
        rule("on-body", fleet::RequestMatch { body: vec![check], ..Default::default() }),
    ];
    let set = set.map(|rule| mg::Document { resource: Some(Resource::Rule(rule)) });
    apply(&world.api, ORG, "test", set.to_vec()).await.expect("the set is good");
    world.in_step().await;
    let caller = world.caller_of("echo");
    let post = |length: usize| {
        let request = Request::post(format!("/api/{ORG}.echo/b"))
            .header("host", world.node.listen.to_string())
            .header("authorization", &world.caller_key)
            .header("content-type", "application/json");
        let body = format!(r#"{{"m":"{}"}}"#, "a".repeat(length));
        send(world.node.listen, request.body(Full::from(body)).expect("a request"))
    };
    let code = |reply: Reply| (reply.status.as_u16(), reply.header("requestrocket-proxy-code").to_owned());

    let unreadable = (400, "request-unreadable".to_owned());
    let passed = (200, "proxy-access-granted".to_owned());
    assert_eq!(code(caller.get(&format!("/{}", "a".repeat(8_000))).await), unreadable);
    assert_eq!(code(post(20).await.expect("an answer")), passed);
    let others = async {
        for _ in 0..20 {
            assert_eq!(caller.get("/c").await.status, 200);
        }
    };
    let (heavy, again, ()) = tokio::join!(post(4 << 20), post(1 << 20), others);
    assert_eq!(code(heavy.expect("an answer")), unreadable);
    assert_eq!(code(again.expect("an answer")), unreadable);
    world.end().await;
}

/// How many requests of a day's limit of 1,000 are used, by a reply.
fn used(reply: &Reply) -> u64 {
    let field = reply.header("ratelimit");
    let left = field.split(";r=").nth(1).and_then(|rest| rest.split(';').next());
    1000 - left.and_then(|left| left.parse::<u64>().ok()).expect("a reply says what is left")
}

#[tokio::test(flavor = "multi_thread")]
async fn counts_of_a_day_come_back_after_a_kill() {
    let (folder, upstream) = (tempfile::tempdir().expect("a folder"), Upstream::start().await);
    let sample = Sample::start(folder.path(), &upstream.url(), &[]).await.expect("a sample");
    limit_a_day(&sample.api, 1000).await;
    let token = sample.api.node_token(REGION, &sample.keys, 1).await.expect("a token");
    let mut edge = Edge::start(&folder.path().join("edge"), sample.control.fleet, token.to_secret().expose());
    edge.ready().await;
    let caller = Caller::new(edge.listen, &format!("{ORG}.echo"), &sample.key);
    for _ in 0..9 {
        caller.get("/").await;
    }
    let counted = used(&caller.get("/").await);
    assert!(counted >= 10);
    let port = edge.admin;
    let saves = async || {
        let metrics = admin(port, "/metrics").await.ok()?;
        let mut lines = metrics.text().lines();
        let line = lines.find(|line| line.contains("limit_saves_total") && line.contains("done"))?;
        line.rsplit(' ').next()?.parse::<f64>().ok()
    };
    // A save that is under way may have begun before the last request; the one after it has not.
    let before = saves().await.unwrap_or(0.0);
    eventually("two saves end while requests go on", || async {
        caller.try_get("/").await.ok()?;
        (saves().await? >= before + 2.0).then_some(())
    })
    .await;
    edge.kill();
    let edge = edge.restart();
    edge.ready().await;
    let again = caller.at(edge.listen);
    let after = used(&again.get("/").await);
    assert!(after > counted, "{after} after the kill, {counted} before");
}
