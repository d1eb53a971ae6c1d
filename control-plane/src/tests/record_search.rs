//! Records of requests: found by what they have, and followed as they come.

use std::time::Duration;

use futures_util::StreamExt as _;
use rr_contract::wire::management::request_service_client::RequestServiceClient;
use rr_contract::wire::{fleet, management};
use serde_json::{Value, json};
use tokio::time::timeout;

use super::client::Client;
use super::machine::Node;
use super::records::uploaded_as;
use super::stream::joined;
use super::world::{World, by};

const SOON: Duration = Duration::from_secs(20);

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// Makes records of the proxy `echo`.
struct Maker {
    org: String,
    proxy: String,
}

impl Maker {
    async fn of(operator: &Client) -> Self {
        let proxy = operator.get("/v1/orgs/acme/proxies/echo").await.good()["proxy"].clone();
        Self { org: text(&proxy["org"]), proxy: text(&proxy["id"]) }
    }

    fn record(&self, id: &str, status: u32, code: &str, path: &str) -> fleet::Record {
        fleet::Record {
            id: id.to_owned(),
            org: self.org.clone(),
            proxy: self.proxy.clone(),
            status,
            code: code.to_owned(),
            path: path.to_owned(),
            received_at: Some(pbjson_types::Timestamp { seconds: 100, nanos: 0 }),
            ..Default::default()
        }
    }
}

#[tokio::test]
async fn records_are_found_by_status_code_path_rule_region_and_node() {
    let world = World::start().await;
    let node = joined(&world).await;
    let operator = world.operator();
    let maker = Maker::of(&operator).await;
    let rule = json!({"name": "no-delete", "proxy": "echo", "effect": "EFFECT_DENY"});
    let rule = text(&operator.post("/v1/orgs/acme/rules", rule).await.good()["rule"]["id"]);
    let decided = fleet::RuleOutcome { rule: rule.clone(), ..Default::default() };
    let records = vec![
        maker.record("rq_1", 200, "proxy-access-granted", "/v1/users"),
        maker.record("rq_2", 404, "proxy-access-granted", "/v1/users/7"),
        fleet::Record {
            rules: Some(decided),
            ..maker.record("rq_3", 403, "denied-by-rule", "/V1/users/100%_a")
        },
        maker.record("rq_4", 503, "upstream-unreachable", "/v1/größe/7"),
    ];
    uploaded_as(&world, &node, 1, records).await;
    let listed = async |filter: &str| {
        let filter: String = filter.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let listed = operator.get(&format!("/v1/orgs/acme/requests?filter={filter}")).await.good();
        let requests = listed["requests"].as_array().cloned().unwrap_or_default();
        let mut ids: Vec<_> = requests.iter().map(|it| text(&it["record"]["id"])).collect();
        ids.sort();
        ids
    };
    for (filter, found) in [
        ("status = 404", &["rq_2"][..]),
        ("status >= 400 AND status < 500", &["rq_2", "rq_3"]),
        ("status != 200", &["rq_2", "rq_3", "rq_4"]),
        ("code = denied-by-rule", &["rq_3"]),
        ("code != proxy-access-granted", &["rq_3", "rq_4"]),
        ("path = /v1/users", &["rq_1"]),
        ("path = /v1/users*", &["rq_1", "rq_2"]),
        ("path = /v1/*", &["rq_1", "rq_2", "rq_4"]),
        ("path = /V1/users/100%_*", &["rq_3"]),
        ("path = /v1/users/_*", &[]),
        ("path = /v1/größe/*", &["rq_4"]),
        ("rule = no-delete", &["rq_3"]),
        (&format!("rule = {rule}"), &["rq_3"]),
        ("rule = rl_another", &[]),
        ("region = eu", &["rq_1", "rq_2", "rq_3", "rq_4"]),
        ("region = rg_us", &[]),
        ("status >= 600 AND status < 1000", &[]),
        (&format!("node = {}", node.id), &["rq_1", "rq_2", "rq_3", "rq_4"]),
        ("node = nd_another", &[]),
        ("status >= 500 AND path = /v1/* AND region = eu", &["rq_4"]),
    ] {
        assert_eq!(listed(filter).await, found, "{filter}");
    }
    // A name that was mistyped is told from one of which there is nothing.
    for (filter, said) in
        [("rule", "rule \"another\""), ("region", "region \"another\""), ("caller", "caller \"another\"")]
    {
        let path = format!("/v1/orgs/acme/requests?filter={filter}%3Danother");
        let refused = operator.get(&path).await.refused(400, "invalid").to_string();
        assert!(refused.contains(&said.replace('"', "\\\"")) && refused.contains("not there"), "{refused}");
    }
    // One that is gone is still in records, by its id.
    operator.delete("/v1/orgs/acme/proxies/echo").await.good();
    let of_gone = operator.get(&format!("/v1/orgs/acme/requests?proxy={}", maker.proxy)).await.good();
    assert_eq!(of_gone["requests"].as_array().map(Vec::len), Some(4));
    world.running.stop().await;
}

/// A tail, and what it has to say.
async fn tail(world: &World, filter: &str) -> tonic::Streaming<management::TailRequestsResponse> {
    tail_of(world, &world.operator, filter).await
}

/// The same, of whoever has a token.
async fn tail_of(
    world: &World,
    token: &str,
    filter: &str,
) -> tonic::Streaming<management::TailRequestsResponse> {
    let request =
        management::TailRequestsRequest { org: "acme".into(), filter: filter.into(), ..Default::default() };
    let mut client = RequestServiceClient::new(world.channel.clone());
    client.tail_requests(by(token, request)).await.expect("opens").into_inner()
}

/// The next so many, by their ids, each with how many were left out before it.
async fn next(
    tail: &mut tonic::Streaming<management::TailRequestsResponse>,
    count: usize,
) -> Vec<(String, u64)> {
    let mut found = Vec::new();
    while found.len() < count {
        let said =
            timeout(SOON, tail.next()).await.expect("it comes").expect("it goes on").expect("it is good");
        let record = said.request.and_then(|request| request.record).unwrap_or_default();
        found.push((record.id, said.skipped));
    }
    found
}

async fn sent(world: &World, node: &Node, sequence: u64, maker: &Maker, ids: impl Iterator<Item = u32>) {
    let record = |n: u32| maker.record(&format!("rq_{n}"), 200 + n % 2, "ok", "/");
    uploaded_as(world, node, sequence, ids.map(record).collect()).await;
}

#[tokio::test]
async fn a_tail_shows_what_comes_in_its_order_and_says_how_much_it_left_out() {
    let world = World::start().await;
    let node = joined(&world).await;
    let maker = Maker::of(&world.operator()).await;
    sent(&world, &node, 1, &maker, 0..5).await;
    let (mut all, mut odd) = (tail(&world, "").await, tail(&world, "status = 201").await);
    let named = |ids: &mut dyn Iterator<Item = u32>| ids.map(|n| (format!("rq_{n}"), 0)).collect::<Vec<_>>();
    // Nothing of before it began. Received at one time, they keep the order in which they came.
    sent(&world, &node, 2, &maker, 10..13).await;
    assert_eq!(next(&mut all, 3).await, named(&mut (10..13)));
    assert_eq!(next(&mut odd, 1).await, named(&mut (11..12)));
    // More than it shows at once: the newest are shown.
    sent(&world, &node, 3, &maker, 1000..1250).await;
    let mut shown = named(&mut (1050..1250));
    shown[0].1 = 50;
    assert_eq!(next(&mut all, 200).await, shown);
    assert_eq!(next(&mut odd, 125).await, named(&mut (1000..1250).filter(|n| n % 2 == 1)));
    sent(&world, &node, 4, &maker, 20..22).await;
    assert_eq!(next(&mut all, 2).await, named(&mut (20..22)));
    world.running.stop().await;
    let end = timeout(SOON, all.next()).await.expect("it ends").expect("it says why");
    assert_eq!(end.err().map(|status| status.code()), Some(tonic::Code::Unavailable));
}

#[tokio::test]
async fn pages_and_tails_of_large_records_end_early_and_leave_none_out_unsaid() {
    let world = World::start().await;
    let node = joined(&world).await;
    let operator = world.operator();
    let maker = Maker::of(&operator).await;
    let mut tail = tail(&world, "").await;
    let value = fleet::KeptValue { name: "n".repeat(64), value: "v".repeat(256), ..Default::default() };
    let large = |n: u32| fleet::Record {
        kept_values: vec![value.clone(); 48],
        ..maker.record(&format!("rq_{n:04}"), 200, "ok", "/")
    };
    for (sequence, from) in (1..).zip((0..300).step_by(50)) {
        uploaded_as(&world, &node, sequence, (from..from + 50).map(large).collect()).await;
    }
    let (mut shown, mut left_out) = (0, 0);
    while shown + left_out < 300 {
        let (_, skipped) = next(&mut tail, 1).await.remove(0);
        (shown, left_out) = (shown + 1, left_out + skipped);
    }
    assert!(left_out > 0, "who does not read would have all of it kept");
    let (mut ids, mut pages, mut token) = (std::collections::BTreeSet::new(), 0, String::new());
    loop {
        let path = format!("/v1/orgs/acme/requests?pageSize=1000&pageToken={token}");
        let page = operator.get(&path).await.good();
        pages += 1;
        let requests = page["requests"].as_array().cloned().unwrap_or_default();
        ids.extend(requests.iter().map(|it| text(&it["record"]["id"])));
        token = text(&page["nextPageToken"]);
        if token.is_empty() {
            break;
        }
    }
    assert_eq!((pages, ids.len()), (2, 300));
    world.running.stop().await;
}

#[tokio::test]
async fn a_tail_is_refused_for_what_a_list_is_refused_for() {
    let world = World::start().await;
    joined(&world).await;
    let mut client = RequestServiceClient::new(world.channel.clone());
    for (proxy, filter, code) in
        [("", "status = ok", tonic::Code::InvalidArgument), ("nobody", "", tonic::Code::NotFound)]
    {
        let request = management::TailRequestsRequest {
            org: "acme".into(),
            proxy: proxy.into(),
            filter: filter.into(),
        };
        let Err(refused) = client.tail_requests(by(&world.operator, request)).await else {
            panic!("it is refused")
        };
        assert_eq!(refused.code(), code, "{refused}");
    }
    world.running.stop().await;
}

#[tokio::test]
async fn a_tail_ends_with_the_right_to_it() {
    let world = World::start().await;
    let node = joined(&world).await;
    let maker = Maker::of(&world.operator()).await;
    let ann = world.user("ann", "acme", "ROLE_VIEWER").await;
    let mut tail = tail_of(&world, &ann.token, "").await;
    sent(&world, &node, 1, &maker, 0..1).await;
    assert_eq!(next(&mut tail, 1).await, [("rq_0".to_owned(), 0)]);
    world.operator().delete("/v1/orgs/acme/members/ann").await.good();
    sent(&world, &node, 2, &maker, 1..2).await;
    let end = timeout(SOON, tail.next()).await.expect("it ends").expect("it says why");
    assert!(end.is_err(), "nobody who has no right to it sees a record: {end:?}");
    world.running.stop().await;
}
