//! Records of requests: sent by a node, read by its organizations.

use futures_util::StreamExt as _;
use prost::Message as _;
use rr_contract::wire::fleet::telemetry_service_client::TelemetryServiceClient;
use rr_contract::wire::management::request_service_client::RequestServiceClient;
use rr_contract::wire::{fleet, management};
use serde_json::{Value, json};

use super::stream::joined;
use super::world::{World, by};

#[tokio::test]
async fn records_of_a_node_can_be_read_and_those_of_proxies_that_it_does_not_serve_are_dropped() {
    let world = World::start().await;
    let node = joined(&world).await;
    let request = management::ListProxiesRequest { org: "acme".into(), ..Default::default() };
    let mut proxies = management::proxy_service_client::ProxyServiceClient::new(world.channel.clone());
    let proxies =
        proxies.list_proxies(by(&world.operator, request)).await.expect("lists").into_inner().proxies;
    let record = |id: &str, proxy: &str, second: i64| fleet::Record {
        id: id.into(),
        org: proxies[0].org.clone(),
        proxy: proxy.into(),
        received_at: Some(pbjson_types::Timestamp { seconds: second, nanos: 0 }),
        status: 200,
        ..Default::default()
    };
    let batch = fleet::Batch {
        records: vec![
            record("rq_1", &proxies[0].id, 100),
            record("rq_2", &proxies[0].id, 200),
            record("rq_3", "px_other", 300),
        ],
        ..Default::default()
    };
    let body = batch.encode_to_vec();
    let upload = |sequence, body: Vec<u8>| {
        let crc32 = crc32fast::hash(&body);
        fleet::UploadRequest { spool: vec![3; 16], sequence, body, crc32, ..Default::default() }
    };
    let damaged = fleet::UploadRequest { crc32: 1, ..upload(2, body.clone()) };
    let uploads = vec![upload(2, body.clone()), upload(1, body.clone()), upload(1, body), damaged];
    let mut client = TelemetryServiceClient::new(node.channel.clone());
    let stream = tokio_stream::iter(uploads);
    let answers: Vec<_> = client
        .upload(stream)
        .await
        .expect("opens")
        .into_inner()
        .map(|it| it.expect("is good"))
        .collect()
        .await;
    let said: Vec<_> = answers.iter().map(|it| (it.through, it.expected, it.poison.len())).collect();
    assert_eq!(said, [(0, 1, 0), (1, 0, 0), (1, 0, 0), (2, 0, 1)]);
    let request = management::ListRequestsRequest { org: "acme".into(), page_size: 1, ..Default::default() };
    let mut client = RequestServiceClient::new(world.channel.clone());
    let page = client.list_requests(by(&world.operator, request.clone())).await.expect("lists").into_inner();
    assert_eq!(page.requests[0].record.as_ref().expect("is there").id, "rq_2", "newest first");
    assert_eq!(page.requests[0].node, node.id);
    let request = management::ListRequestsRequest { page_token: page.next_page_token, ..request };
    let page = client.list_requests(by(&world.operator, request)).await.expect("lists").into_inner();
    assert_eq!(page.requests[0].record.as_ref().expect("is there").id, "rq_1");
    assert!(page.next_page_token.is_empty());
    world.running.stop().await;
}

/// A node with what a test uploads for it.
async fn uploaded(world: &World, node: &super::machine::Node, records: Vec<fleet::Record>) {
    uploaded_as(world, node, 1, records).await;
}

/// The same as the batch of a number.
pub(super) async fn uploaded_as(
    world: &World,
    node: &super::machine::Node,
    sequence: u64,
    records: Vec<fleet::Record>,
) {
    let body = fleet::Batch { records, ..Default::default() }.encode_to_vec();
    let crc32 = crc32fast::hash(&body);
    let upload = fleet::UploadRequest { spool: vec![4; 16], sequence, body, crc32, ..Default::default() };
    let mut client = TelemetryServiceClient::new(node.channel.clone());
    let mut answers = client.upload(tokio_stream::iter([upload])).await.expect("opens").into_inner();
    let answer = answers.next().await.expect("is answered").expect("is good");
    assert_eq!((answer.through, answer.poison.len()), (sequence, 0));
    assert!(world.running.readiness().is_ready());
}

#[tokio::test]
async fn a_record_says_what_each_stage_decided_and_names_what_it_names() {
    let world = World::start().await;
    let node = joined(&world).await;
    let operator = world.operator();
    let rule = json!({"name": "no-delete", "proxy": "echo", "effect": "EFFECT_DENY"});
    let rule = operator.post("/v1/orgs/acme/rules", rule).await.good()["rule"].clone();
    let meter = json!({"name": "daily", "proxy": "echo", "requests": {}});
    let meter = operator.post("/v1/orgs/acme/meters", meter).await.good()["meter"].clone();
    let proxy = operator.get("/v1/orgs/acme/proxies/echo").await.good()["proxy"].clone();
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let outcome = |effect: fleet::Effect| fleet::RuleOutcome {
        effect: effect.into(),
        scope: fleet::Scope::Proxy.into(),
        rule: text(&rule["id"]),
    };
    let (kind, window) = (fleet::LimitKind::Caller.into(), fleet::Window::Minute.into());
    let record = fleet::Record {
        id: "rq_1".into(),
        org: text(&proxy["org"]),
        proxy: text(&proxy["id"]),
        caller_credential: text(&proxy["callerCredentials"][0]),
        target: text(&proxy["target"]),
        received_at: Some(pbjson_types::Timestamp { seconds: 100, nanos: 0 }),
        status: 400,
        rules: Some(outcome(fleet::Effect::Deny)),
        observed: Some(fleet::RuleOutcome { effect: 0, ..outcome(fleet::Effect::Deny) }),
        matched_rules: vec![text(&rule["id"]), "rl_gone".into()],
        limits: vec![fleet::LimitState { kind, window, limit: 60, used: 7 }],
        meters: vec![fleet::MeterState {
            meter: text(&meter["id"]),
            charged_millionths: 1_000_000,
            ..Default::default()
        }],
        filters: Some(fleet::FilterEffect { filters: 1, values: 2, bytes_before: 300 }),
        decide_duration: Some(pbjson_types::Duration { seconds: 0, nanos: 40_000 }),
        count: 12,
        ..Default::default()
    };
    uploaded(&world, &node, vec![record]).await;
    let listed = operator.get("/v1/orgs/acme/requests").await.good();
    let shown = operator.get("/v1/orgs/acme/requests/rq_1").await.good();
    assert_eq!(listed["requests"][0], shown["request"]);
    let (record, names) = (&shown["request"]["record"], &shown["request"]["names"]);
    assert_eq!(record["rules"]["effect"], "EFFECT_DENY");
    assert_eq!((&record["rules"]["scope"], &record["rules"]["rule"]), (&json!("SCOPE_PROXY"), &rule["id"]));
    assert!(record["observed"]["effect"].is_null(), "it could not say");
    assert_eq!(record["matchedRules"], json!([rule["id"], "rl_gone"]));
    assert_eq!(
        record["limits"][0],
        json!({"kind": "LIMIT_KIND_CALLER", "window": "WINDOW_MINUTE", "limit": "60", "used": "7"})
    );
    assert_eq!(record["meters"][0]["chargedMillionths"], "1000000");
    assert_eq!(record["filters"], json!({"filters": 1, "values": "2", "bytesBefore": "300"}));
    assert_eq!((&record["count"], &record["decideDuration"]), (&json!("12"), &json!("0.000040s")));
    for (id, name) in [
        (&rule["id"], "no-delete"),
        (&meter["id"], "daily"),
        (&proxy["id"], "echo"),
        (&proxy["target"], "echo"),
        (&proxy["callerCredentials"][0], "app"),
    ] {
        assert_eq!(names[text(id)], name, "{names}");
    }
    assert!(names["rl_gone"].is_null(), "what is gone has no name");
    let region = text(&shown["request"]["region"]);
    assert_eq!(names[region], "eu");
    world.running.stop().await;
}

#[tokio::test]
async fn records_are_found_by_their_callers_and_by_what_callers_are_tagged_with() {
    let world = World::start().await;
    let node = joined(&world).await;
    let operator = world.operator();
    let made = json!({"name": "other", "caller": {"kind": "CALLER_KIND_API_KEY"}, "tags": ["silver"],
        "metadata": {"team": "b"}});
    let other = operator.post("/v1/orgs/acme/credentials", made).await.good()["credential"]["id"].clone();
    let tagged = json!({"tags": ["gold", "eu"], "metadata": {"team": "a"}});
    let app =
        operator.patch("/v1/orgs/acme/credentials/app", tagged).await.good()["credential"]["id"].clone();
    let proxy = operator.get("/v1/orgs/acme/proxies/echo").await.good()["proxy"].clone();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let record = |id: &str, caller: &Value, second: i64| fleet::Record {
        id: id.into(),
        org: text(&proxy["org"]),
        proxy: text(&proxy["id"]),
        caller_credential: text(caller),
        received_at: Some(pbjson_types::Timestamp { seconds: second, nanos: 0 }),
        ..Default::default()
    };
    let gone = "cr_00000000000000000000000000".into();
    let records = vec![
        record("rq_1", &app, 100),
        record("rq_2", &other, 200),
        record("rq_3", &Value::Null, 300),
        record("rq_4", &gone, 400),
        record("rq_5", &app, 500),
    ];
    uploaded(&world, &node, records).await;
    let listed = async |filter: &str| {
        let filter = filter.replace(' ', "%20").replace('=', "%3D");
        let listed = operator.get(&format!("/v1/orgs/acme/requests?filter={filter}")).await.good();
        let requests = listed["requests"].as_array().cloned().unwrap_or_default();
        requests.iter().map(|it| text(&it["record"]["id"])).collect::<Vec<_>>()
    };
    for (filter, found) in [
        ("", &["rq_5", "rq_4", "rq_3", "rq_2", "rq_1"][..]),
        ("caller = app", &["rq_5", "rq_1"]),
        ("tags = gold", &["rq_5", "rq_1"]),
        ("tags = gold AND tags = eu", &["rq_5", "rq_1"]),
        ("tags = gold AND tags = silver", &[]),
        ("metadata.team = b", &["rq_2"]),
        ("caller = app AND metadata.team = b", &[]),
    ] {
        assert_eq!(listed(filter).await, found, "{filter}");
    }
    for filter in ["status%20%3D%20ok", "tags%20!%3D%20gold", "caller%20%3D%20a%20AND%20caller%20%3D%20b"] {
        let answer = operator.get(&format!("/v1/orgs/acme/requests?filter={filter}")).await;
        assert_eq!(answer.faults(), ["filter"], "{filter}");
    }
    let shown = operator.get("/v1/orgs/acme/requests/rq_1").await.good()["request"].clone();
    assert_eq!(
        (&shown["callerTags"], &shown["callerMetadata"]),
        (&json!(["eu", "gold"]), &json!({"team": "a"}))
    );
    let shown = operator.get("/v1/orgs/acme/requests/rq_4").await.good()["request"].clone();
    assert_eq!(shown["callerTags"].as_array().map_or(0, Vec::len), 0, "what is gone has none");
    world.running.stop().await;
}

/// One record that could not be written as JSON would break every list that holds it.
#[tokio::test]
async fn a_record_of_a_hostile_node_breaks_no_list_and_takes_no_room() {
    let world = World::start().await;
    let node = joined(&world).await;
    let operator = world.operator();
    let proxy = operator.get("/v1/orgs/acme/proxies/echo").await.good()["proxy"].clone();
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let record = |id: &str| fleet::Record {
        id: id.into(),
        org: text(&proxy["org"]),
        proxy: text(&proxy["id"]),
        ..Default::default()
    };
    let wild = fleet::RuleOutcome { effect: 99, scope: -7, rule: "x".repeat(100_000) };
    let hostile = fleet::Record {
        received_at: Some(pbjson_types::Timestamp { seconds: i64::MAX, nanos: 0 }),
        duration: Some(pbjson_types::Duration { seconds: i64::MIN, nanos: 5 }),
        rules: Some(wild.clone()),
        observed: Some(wild),
        matched_rules: vec!["\0".into(); 10_000],
        meters: vec![fleet::MeterState { exceeded: 1 << 30, ..Default::default() }; 1_000],
        count: u64::MAX,
        ..record("rq_\0hostile")
    };
    uploaded(&world, &node, vec![hostile, record("rq_good")]).await;
    let listed = operator.get("/v1/orgs/acme/requests").await.good();
    let found = listed["requests"].as_array().expect("a list");
    assert_eq!(found.len(), 2, "{listed}");
    assert!(listed.to_string().len() < 10_000, "{}", listed.to_string().len());
    let hostile = found.iter().find(|it| it["record"]["id"] == "rq_ hostile").expect("is kept");
    assert_eq!(hostile["record"]["matchedRules"].as_array().map(Vec::len), Some(16));
    assert_eq!(hostile["record"]["count"], "1000000000");
    world.running.stop().await;
}

#[tokio::test]
async fn a_batch_above_its_bounds_is_taken_as_unreadable_when_it_is_due_and_one_of_no_spool_is_refused() {
    let world = World::start().await;
    let node = joined(&world).await;
    let record = fleet::Record::default;
    let upload = |sequence, batch: fleet::Batch| {
        let body = batch.encode_to_vec();
        let crc32 = crc32fast::hash(&body);
        fleet::UploadRequest { spool: vec![5; 16], sequence, body, crc32, ..Default::default() }
    };
    let wide = [
        fleet::Batch { records: vec![record(); 20_001], ..Default::default() },
        fleet::Batch { begun: vec![record(); 20_001], ..Default::default() },
        fleet::Batch { ended: vec![String::new(); 20_001], ..Default::default() },
        fleet::Batch { uses: vec![fleet::CallerUse::default(); 513], ..Default::default() },
        fleet::Batch { sums: vec![fleet::Sum::default(); 4_097], ..Default::default() },
    ];
    let mut uploads: Vec<_> = (1..).zip(wide).map(|(sequence, batch)| upload(sequence, batch)).collect();
    uploads.push(fleet::UploadRequest { crc32: 1, ..upload(9, fleet::Batch::default()) });
    let mut client = TelemetryServiceClient::new(node.channel.clone());
    let answers: Vec<_> = client
        .upload(tokio_stream::iter(uploads))
        .await
        .expect("opens")
        .into_inner()
        .map(|it| it.expect("is good"))
        .collect()
        .await;
    let said: Vec<_> = answers.iter().map(|it| (it.through, it.expected, it.poison.len())).collect();
    assert_eq!(said, [(1, 0, 1), (2, 0, 1), (3, 0, 1), (4, 0, 1), (5, 0, 1), (5, 6, 0)]);
    for answer in &answers[..5] {
        assert!(answer.poison[0].reason.contains("more than"), "{answer:?}");
    }
    for odd in [
        fleet::UploadRequest { spool: vec![5; 15], ..upload(6, fleet::Batch::default()) },
        upload(0, fleet::Batch::default()),
    ] {
        let mut answers = client.upload(tokio_stream::iter([odd])).await.expect("opens").into_inner();
        let refused = answers.next().await.expect("is answered").expect_err("is refused");
        assert_eq!(refused.code(), tonic::Code::InvalidArgument);
    }
    world.running.stop().await;
}
