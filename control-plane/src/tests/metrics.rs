//! Metrics: what requests add up to, over the whole way from a node to a reader.

use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use prost::Message as _;
use rr_contract::model::latency::Latencies;
use rr_contract::wire::fleet;
use rr_contract::wire::fleet::telemetry_service_client::TelemetryServiceClient;
use serde_json::{Value, json};

use super::client::Client;
use super::machine::Node;
use super::stream::joined;
use super::world::World;

const SOON: Duration = Duration::from_secs(30);

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// 2026-11-20T10:00:00Z, in minutes.
const THEN: u64 = 29_919_480;
const HOUR: &str = "after=2026-11-20T10:00:00Z&before=2026-11-20T11:00:00Z";

/// Sends a batch of sums; returns how many batches could not be read.
pub(super) async fn tell(node: &Node, sequence: u64, sums: Vec<fleet::Sum>) -> usize {
    let body = fleet::Batch { sums, ..Default::default() }.encode_to_vec();
    let crc32 = crc32fast::hash(&body);
    let upload = fleet::UploadRequest { spool: vec![6; 16], sequence, body, crc32, ..Default::default() };
    let mut client = TelemetryServiceClient::new(node.channel.clone());
    let mut answers = client.upload(tokio_stream::iter([upload])).await.expect("opens").into_inner();
    let answer = answers.next().await.expect("is answered").expect("is good");
    assert_eq!(answer.through, sequence);
    answer.poison.len()
}

/// What a call answers once the sums are added up.
async fn once(operator: &Client, path: &str, requests: &str) -> Value {
    let begun = Instant::now();
    loop {
        let answer = operator.get(path).await.good();
        if answer["all"]["total"]["requests"] == requests {
            return answer;
        }
        assert!(begun.elapsed() < SOON, "{path} never comes to {requests}: {answer}");
    }
}

pub(super) struct Maker {
    org: String,
    proxy: String,
}

impl Maker {
    pub(super) async fn of(operator: &Client) -> Self {
        let proxy = operator.get("/v1/orgs/acme/proxies/echo").await.good()["proxy"].clone();
        Self { org: text(&proxy["org"]), proxy: text(&proxy["id"]) }
    }

    pub(super) fn sum(&self, minute: u64, status: u32, requests: u64) -> fleet::Sum {
        let mut latencies = Latencies::default();
        (0..requests).for_each(|_| latencies.add(Duration::from_micros(16_400)));
        fleet::Sum {
            minute: THEN + minute,
            org: self.org.clone(),
            proxy: self.proxy.clone(),
            status,
            code: "proxy-access-granted".to_owned(),
            revision: 5,
            requests,
            response_bytes: requests * 100,
            micros: requests * 16_400,
            longest_micros: 16_400,
            latencies: latencies.encode(),
            ..fleet::Sum::default()
        }
    }
}

#[tokio::test]
async fn series_have_a_point_for_every_step_and_say_what_requests_add_up_to() {
    let world = World::start().await;
    let node = joined(&world).await;
    let operator = world.operator();
    let maker = Maker::of(&operator).await;
    let caller = operator.get("/v1/orgs/acme/credentials/app").await.good()["credential"]["id"].clone();
    let rule = json!({"name": "no-delete", "proxy": "echo", "effect": "EFFECT_DENY"});
    let rule = text(&operator.post("/v1/orgs/acme/rules", rule).await.good()["rule"]["id"]);
    let meter = json!({"name": "daily", "proxy": "echo", "requests": {}});
    let meter = text(&operator.post("/v1/orgs/acme/meters", meter).await.good()["meter"]["id"]);
    let metered = fleet::MeterSum { meter, charged_millionths: 3_000_000, missing: 0, exceeded: 1 };
    let sums = vec![
        fleet::Sum { caller_credential: text(&caller), meters: vec![metered], ..maker.sum(0, 200, 8) },
        maker.sum(3, 503, 2),
        fleet::Sum { rule, code: "rule-denied".to_owned(), ..maker.sum(3, 403, 5) },
        fleet::Sum { observed_denial: true, observed_rule: "rl_gone".to_owned(), ..maker.sum(59, 201, 1) },
    ];
    assert_eq!(tell(&node, 1, sums).await, 0);
    let answer = once(&operator, &format!("/v1/orgs/acme/metrics?{HOUR}&step=60s"), "16").await;
    assert_eq!((&answer["after"], &answer["step"]), (&json!("2026-11-20T10:00:00+00:00"), &json!("60s")));
    let all = &answer["all"];
    let points = all["points"].as_array().expect("a list");
    assert_eq!((points.len(), answer["series"].as_array().map(Vec::len)), (60, Some(1)), "one series");
    let counted: Vec<_> = points.iter().map(|it| text(&it["requests"]).parse::<u64>().unwrap_or(0)).collect();
    assert_eq!((counted[0], counted[1], counted[3], counted[59]), (8, 0, 7, 1));
    assert_eq!(points[1]["at"], "2026-11-20T10:01:00+00:00", "a step without requests");
    let total = &all["total"];
    for (field, value) in [
        ("errors", json!("2")),
        ("errorRate", json!(0.125)),
        ("denials", json!("5")),
        ("observedDenials", json!("1")),
        ("responseBytes", json!("1600")),
        ("mean", json!("0.016400s")),
        ("max", json!("0.016400s")),
    ] {
        assert_eq!(total[field], value, "{field}");
    }
    // The middle of its bucket lies above all that fell into it.
    assert_eq!(total["p99"], total["max"]);
    let meters = json!([{"meter": total["meters"][0]["meter"], "name": "daily", "chargedMillionths": "3000000", "exceeded": "1"}]);
    assert_eq!(total["meters"], meters);

    let series = async |query: &str| {
        let answer = operator.get(&format!("/v1/orgs/acme/metrics?{HOUR}&step=3600s&{query}")).await.good();
        let named = |label: &Value| format!("{}={}", text(&label["value"]), text(&label["name"]));
        let labels = |it: &Value| {
            it["labels"].as_array().into_iter().flatten().map(named).collect::<Vec<_>>().join(",")
        };
        let one = |it: &Value| (labels(it), text(&it["total"]["requests"]));
        let mut all: Vec<_> = answer["series"].as_array().into_iter().flatten().map(one).collect();
        if answer["others"] != Value::Null {
            all.push((format!("others {}", answer["othersCount"]), one(&answer["others"]).1));
        }
        all
    };
    let by = |label: &str, requests: &str| (label.to_owned(), requests.to_owned());
    let class = "groupBy=METRIC_DIMENSION_STATUS_CLASS";
    assert_eq!(series(class).await, [by("2xx=", "9"), by("4xx=", "5"), by("5xx=", "2")]);
    assert_eq!(series(&format!("{class}&limit=1")).await, [by("2xx=", "9"), by("others 2", "7")]);
    let (app, none) = (format!("{}=app", text(&caller)), "=".to_owned());
    assert_eq!(series("groupBy=METRIC_DIMENSION_CALLER").await, [by(&none, "8"), by(&app, "8")]);
    let both =
        series("groupBy=METRIC_DIMENSION_CODE&groupBy=METRIC_DIMENSION_STATUS&filter=status%20%3E%3D%20500")
            .await;
    assert_eq!(both, [by("proxy-access-granted=,503=", "2")]);
    for (filter, requests) in [
        ("status = 200", "8"),
        ("status != 200", "8"),
        ("code = rule-denied", "5"),
        ("rule = no-delete", "5"),
        ("caller = app", "8"),
        ("region = eu AND status < 500", "14"),
    ] {
        let filter: String = filter.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let found = series(&format!("filter={filter}")).await;
        assert_eq!(found.iter().map(|(_, requests)| requests.as_str()).collect::<Vec<_>>(), [requests]);
    }
    assert!(series("filter=region%20%3D%20rg_us").await.is_empty());
    // As pages have it: of a proxy, and of all.
    for path in ["proxies/echo/telemetry", "telemetry", "metrics"] {
        let answer = operator.get(&format!("/v1/orgs/acme/{path}?{HOUR}")).await.good();
        assert_eq!(answer["all"]["total"]["requests"], "16", "{path}");
    }
    world.running.stop().await;
}

#[tokio::test]
async fn a_query_that_cannot_be_answered_says_which_field_and_what_to_take() {
    let world = World::start().await;
    joined(&world).await;
    let operator = world.operator();
    for (query, said) in [
        ("step=90s", "whole minutes"),
        ("step=0s", "whole minutes"),
        ("after=2026-11-20T10:00:00Z&before=2026-11-20T10:00:00Z", "earlier than `before`"),
        ("after=2026-11-01T10:00:00Z&before=2026-11-20T10:00:00Z&step=60s", "1500 steps"),
        ("after=2020-11-01T10:00:00Z&before=2020-11-01T11:00:00Z", "35 days back"),
        ("after=2020-11-01T10:00:00Z&before=2020-11-01T11:00:00Z&step=3600s", "400 days back"),
        (
            "after=2020-11-01T10:00:00Z&before=2020-11-03T11:00:00Z&step=86400s&groupBy=METRIC_DIMENSION_REVISION",
            "by revision",
        ),
        ("limit=1001", "1 to 1000"),
        ("limit=-1", "1 to 1000"),
        ("groupBy=METRIC_DIMENSION_UNSPECIFIED", "the dimensions are"),
        ("groupBy=METRIC_DIMENSION_CODE&groupBy=METRIC_DIMENSION_CODE", "twice"),
        (
            "groupBy=METRIC_DIMENSION_CODE&groupBy=METRIC_DIMENSION_RULE&groupBy=METRIC_DIMENSION_PROXY&groupBy=METRIC_DIMENSION_CALLER",
            "at most 3",
        ),
        ("filter=path%20%3D%20%2Fa", "names path"),
        ("filter=node%20%3D%20nd_1", "names node"),
        ("filter=method%20%3D%20GET", "the fields are"),
    ] {
        let refused = operator.get(&format!("/v1/orgs/acme/metrics?{query}")).await;
        let problem = refused.refused(400, "invalid");
        assert!(problem.to_string().contains(said), "{query}: {problem}");
    }
    world.running.stop().await;
}

#[tokio::test]
async fn members_of_another_organization_see_nothing_and_a_hostile_node_makes_no_series() {
    let world = World::start().await;
    let node = joined(&world).await;
    let operator = world.operator();
    let maker = Maker::of(&operator).await;
    let hostile = fleet::Sum {
        minute: u64::MAX,
        caller_credential: "\u{1b}[2J".repeat(1_000),
        rule: "x".to_owned(),
        observed_denial: true,
        observed_rule: "\0".to_owned(),
        status: 77_777,
        code: "Robert'); --".to_owned(),
        revision: u64::MAX,
        requests: u64::MAX,
        aborted: u64::MAX,
        request_bytes: u64::MAX,
        micros: u64::MAX,
        latencies: vec![0x80; 100],
        meters: vec![fleet::MeterSum { meter: "mt".into(), ..Default::default() }; 10_000],
        ..maker.sum(0, 200, 1)
    };
    assert_eq!(tell(&node, 1, vec![hostile.clone(), hostile, maker.sum(0, 200, 1)]).await, 0);
    assert_eq!(tell(&node, 2, vec![maker.sum(0, 200, 1); 4_097]).await, 1, "too many");
    let answer = once(&operator, "/v1/orgs/acme/metrics?groupBy=METRIC_DIMENSION_CODE", "2000000000").await;
    let labels: Vec<_> =
        answer["series"].as_array().into_iter().flatten().map(|it| text(&it["labels"][0]["value"])).collect();
    assert_eq!(labels, [""]);
    let stranger = world.user("stranger", "", "").await;
    assert_eq!(stranger.get("/v1/orgs/acme/metrics").await.status, 404);
    world.running.stop().await;
}

#[tokio::test]
async fn an_answer_has_a_bounded_number_of_points_whatever_series_and_steps_there_are() {
    let world = World::start().await;
    let node = joined(&world).await;
    let operator = world.operator();
    let maker = Maker::of(&operator).await;
    let sums = (0..70).map(|n| maker.sum(0, 200 + n, 1)).collect();
    assert_eq!(tell(&node, 1, sums).await, 0);
    let day =
        "after=2026-11-20T00:00:00Z&before=2026-11-21T00:00:00Z&step=60s&groupBy=METRIC_DIMENSION_STATUS";
    once(&operator, &format!("/v1/orgs/acme/metrics?{day}"), "70").await;
    let refused = operator.get(&format!("/v1/orgs/acme/metrics?{day}&limit=1000")).await;
    let refused = refused.refused(400, "invalid").to_string();
    assert!(refused.contains("70 series of 1440 steps") && refused.contains("at most 69"), "{refused}");
    let answer = operator.get(&format!("/v1/orgs/acme/metrics?{day}&limit=69")).await.good();
    assert_eq!(answer["series"].as_array().map(Vec::len), Some(69));
    assert_eq!(answer["series"][0]["points"].as_array().map(Vec::len), Some(1440));
    assert_eq!((&answer["othersCount"], &answer["all"]["total"]["requests"]), (&json!(1), &json!("70")));
    world.running.stop().await;
}
