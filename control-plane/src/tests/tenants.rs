//! Two organizations with everything: whatever names a thing of the other one, by id or by name, finds nothing, over
//! gRPC and REST, for an owner and for an operator who may see both.

use futures_util::StreamExt as _;
use prost::Message as _;
use rr_contract::wire::fleet::{self, telemetry_service_client::TelemetryServiceClient};
use rr_contract::wire::management as wire;
use rr_contract::wire::management::request_service_client::RequestServiceClient;
use serde_json::{Value, json};
use tonic::Code;

use super::client::Client;
use super::model::calls::{Ask, Calls};
use super::world::{Region, World, by, credential_id, target};
use crate::document::{Resource as _, each};
use crate::noun::Noun;

/// Nouns of organizations, as paths have them.
const NOUNS: [(Noun, &str); 7] = [
    (Noun::Target, "targets"),
    (Noun::Credential, "credentials"),
    (Noun::Proxy, "proxies"),
    (Noun::Rule, "rules"),
    (Noun::Filter, "filters"),
    (Noun::Meter, "meters"),
    (Noun::Member, "members"),
];

/// An organization with one of everything, all of it called after it.
async fn furnish(world: &World, region: &Region, name: &str) -> wire::Org {
    let org = world.org(name).await;
    let operator = world.operator();
    let called = |what: &str| format!("{name}-{what}");
    world.target(name, target(&called("target"), "https://api.example.com")).await.expect("is made");
    world.caller(name, &called("caller")).await;
    world.upstream(&org, &called("upstream"), credential_id(), &[region]).await.expect("is made");
    let proxy = wire::Proxy {
        name: called("proxy"),
        caller_credentials: vec![called("caller")],
        target: called("target"),
        upstream_credential: called("upstream"),
        regions: vec![region.name.clone()],
        ..Default::default()
    };
    world.proxy(name, proxy).await.expect("is made");
    let path = format!("/v1/orgs/{name}");
    let rule = json!({"name": called("rule"), "proxy": called("proxy"), "effect": "EFFECT_DENY"});
    operator.post(&format!("{path}/rules"), rule).await.good();
    let filter = json!({"name": called("filter"), "proxy": called("proxy"), "action": "FILTER_ACTION_RETAIN", "paths": ["a"]});
    operator.post(&format!("{path}/filters"), filter).await.good();
    let meter =
        json!({"name": called("meter"), "proxy": called("proxy"), "requests": {}, "perHourPerNode": "5"});
    operator.post(&format!("{path}/meters"), meter).await.good();
    world.user(&called("member"), name, "ROLE_EDITOR").await;
    org
}

/// Everything of an organization as the operator sees it.
async fn everything(world: &World, org: &str) -> Vec<Value> {
    let operator = world.operator();
    let mut all = Vec::new();
    for (_, plural) in NOUNS {
        all.push(operator.get(&format!("/v1/orgs/{org}/{plural}")).await.good());
    }
    all.push(operator.get(&format!("/v1/orgs/{org}/requests")).await.good());
    all
}

/// The ids in a list.
fn ids(listed: &Value, plural: &str) -> Vec<String> {
    let items = listed[plural].as_array().cloned().unwrap_or_default();
    items.iter().map(|it| it["id"].as_str().expect("has an id").to_owned()).collect()
}

/// Records of proxies, from a node of the region that serves them.
async fn records(two: &Two, rows: &[(&str, &str, &str, i64)]) {
    let token = two.world.node_token(&two.region, 1).await;
    let node = two.world.join(&token).await.expect("joins");
    let records = rows.iter().map(|(id, org, proxy, seconds)| fleet::Record {
        id: (*id).to_owned(),
        org: (*org).to_owned(),
        proxy: (*proxy).to_owned(),
        received_at: Some(pbjson_types::Timestamp { seconds: *seconds, nanos: 0 }),
        status: 200,
        ..Default::default()
    });
    let batch = fleet::Batch { records: records.collect(), ..Default::default() };
    let body = batch.encode_to_vec();
    let crc32 = crc32fast::hash(&body);
    let upload = fleet::UploadRequest { spool: vec![3; 16], sequence: 1, body, crc32, ..Default::default() };
    let mut client = TelemetryServiceClient::new(node.channel.clone());
    let mut answers = client.upload(tokio_stream::iter([upload])).await.expect("opens").into_inner();
    let answer = answers.next().await.expect("answers").expect("is good");
    assert_eq!(answer.through, 1);
}

struct Two {
    world: World,
    region: Region,
    mine: wire::Org,
    theirs: wire::Org,
    others: Vec<Others>,
}

/// Things of one noun that are theirs.
struct Others {
    noun: Noun,
    plural: &'static str,
    /// Id and name of each.
    items: Vec<(String, String)>,
}

async fn two() -> Two {
    let world = World::start().await;
    let region = world.region("eu").await;
    let mine = furnish(&world, &region, "mine").await;
    let theirs = furnish(&world, &region, "theirs").await;
    let operator = world.operator();
    let mut others = Vec::new();
    for (noun, plural) in NOUNS {
        let listed = operator.get(&format!("/v1/orgs/theirs/{plural}")).await.good();
        let items = listed[plural].as_array().expect("a list").clone();
        let text = |it: &Value, field: &str| it[field].as_str().expect("a text").to_owned();
        let items: Vec<_> = items.iter().map(|it| (text(it, "id"), text(it, "name"))).collect();
        assert!(!items.is_empty(), "{plural}");
        others.push(Others { noun, plural, items });
    }
    Two { world, region, mine, theirs, others }
}

impl Two {
    fn other(&self, noun: Noun, name: &str) -> &str {
        let others = self.others.iter().find(|others| others.noun == noun).expect("is there");
        others.items.iter().find(|(_, it)| it == name).map(|(id, _)| id.as_str()).expect("is there")
    }

    /// Whoever may ask in `mine`: its owner, and the operator, who may ask in `theirs` too.
    async fn callers(&self) -> [Client; 2] {
        [self.world.service(wire::Role::Owner, "mine").await, self.world.operator()]
    }
}

#[tokio::test]
async fn what_another_organization_has_is_not_got_changed_or_deleted_by_its_id_over_rest() {
    let two = two().await;
    let before = everything(&two.world, "theirs").await;
    for client in two.callers().await {
        let head = client.head().await;
        for Others { plural, items, .. } in &two.others {
            for (id, name) in items {
                for reference in [id, name] {
                    let path = format!("/v1/orgs/mine/{plural}/{reference}");
                    client.get(&path).await.refused(404, "not-found");
                    if *plural != "members" {
                        client.get(&format!("{path}?revision={head}")).await.refused(404, "not-found");
                    }
                    let owner = if *plural == "members" {
                        json!({"role": "ROLE_VIEWER"})
                    } else {
                        json!({"owner": "ci"})
                    };
                    client.patch(&path, owner).await.refused(404, "not-found");
                    client.delete(&path).await.refused(404, "not-found");
                    if *plural == "credentials" {
                        let sealed = json!({});
                        let answer = client.post(&format!("{path}:replaceSecret"), sealed).await;
                        assert!((400..500).contains(&answer.status), "{}", answer.text);
                    }
                }
            }
        }
        assert_eq!(client.head().await, head, "nothing was written");
    }
    assert_eq!(everything(&two.world, "theirs").await, before);
    two.world.running.stop().await;
}

#[tokio::test]
async fn what_another_organization_has_is_not_got_changed_or_deleted_by_its_id_over_grpc() {
    let two = two().await;
    let before = everything(&two.world, "theirs").await;
    for client in two.callers().await {
        let calls = Calls { channel: two.world.channel.clone(), token: client.token, org: "mine".into() };
        let own =
            Calls { channel: calls.channel.clone(), token: two.world.operator.clone(), org: "theirs".into() };
        for Others { noun, items, .. } in two.others.iter().filter(|others| others.noun != Noun::Member) {
            for (id, name) in items {
                let mut theirs = own.get(*noun, id, 0).await.expect("is theirs");
                each!(theirs.resource.as_mut().expect("is whole"), it => {
                    let fields = it.fields();
                    fields.etag.clear();
                    fields.org.map(String::clear);
                });
                for reference in [id, name] {
                    let got = calls.get(*noun, reference, 0).await.expect_err("is not ours");
                    assert_eq!(got.code(), Code::NotFound, "{got:?}");
                    let mask = rr_contract::wire::FieldMask { paths: vec!["owner".to_owned()] };
                    let changed = calls.update(reference, theirs.clone(), Some(mask)).await;
                    assert_eq!(changed.expect_err("is not ours").code(), Code::NotFound);
                    let gone = calls.delete(*noun, reference, String::new(), &[]).await;
                    assert_eq!(gone.expect_err("is not ours").code(), Code::NotFound);
                    let filter = format!("uses = {reference}");
                    let (found, _) =
                        calls.list(*noun, Ask { filter, ..Ask::default() }).await.expect("lists");
                    assert!(found.is_empty(), "{found:?}");
                }
            }
        }
    }
    assert_eq!(everything(&two.world, "theirs").await, before);
    two.world.running.stop().await;
}

#[tokio::test]
async fn lists_hold_what_one_organization_has_and_nothing_of_another() {
    let two = two().await;
    let operator = two.world.operator();
    let proxy = |listed: Value| listed["proxies"][0]["id"].as_str().expect("is there").to_owned();
    let mine = proxy(operator.get("/v1/orgs/mine/proxies").await.good());
    let theirs = proxy(operator.get("/v1/orgs/theirs/proxies").await.good());
    let rows = [
        ("rq_mine", two.mine.id.as_str(), mine.as_str(), 100),
        ("rq_theirs", two.theirs.id.as_str(), theirs.as_str(), 100),
    ];
    records(&two, &rows).await;
    for client in two.callers().await {
        for Others { plural, items, .. } in &two.others {
            for query in ["", "?pageSize=1", "?orderBy=created_at", "?orderBy=updated_at%20desc"] {
                let listed = client.get(&format!("/v1/orgs/mine/{plural}{query}")).await.good();
                let found = ids(&listed, plural);
                assert!(!found.is_empty(), "{plural}{query}");
                assert!(items.iter().all(|(id, _)| !found.contains(id)), "{plural}{query}: {found:?}");
            }
        }
        let listed = client.get("/v1/orgs/mine/requests").await.good();
        let found: Vec<_> = listed["requests"].as_array().expect("a list").iter().collect();
        assert_eq!(found.len(), 1, "{listed}");
        assert_eq!(found[0]["record"]["id"], "rq_mine");
        client.get("/v1/orgs/mine/requests/rq_theirs").await.refused(404, "not-found");
        client.get("/v1/orgs/mine/requests/rq_mine").await.good();
        for reference in [theirs.as_str(), "theirs-proxy"] {
            client.get(&format!("/v1/orgs/mine/requests?proxy={reference}")).await.refused(404, "not-found");
        }
        let mut records = RequestServiceClient::new(two.world.channel.clone());
        let request = wire::GetRequestRequest { org: "mine".into(), request: "rq_theirs".into() };
        let got = records.get_request(by(&client.token, request)).await.expect_err("is not ours");
        assert_eq!(got.code(), Code::NotFound);
        let request = wire::ListRequestsRequest { org: "mine".into(), ..Default::default() };
        let listed = records.list_requests(by(&client.token, request)).await.expect("lists").into_inner();
        let found: Vec<_> =
            listed.requests.iter().filter_map(|it| it.record.as_ref()).map(|it| it.id.as_str()).collect();
        assert_eq!(found, ["rq_mine"]);
    }
    two.world.running.stop().await;
}

#[tokio::test]
async fn nothing_refers_to_what_another_organization_has() {
    let two = two().await;
    let before = everything(&two.world, "theirs").await;
    let (target, caller, upstream, proxy) = (
        two.other(Noun::Target, "theirs-target").to_owned(),
        two.other(Noun::Credential, "theirs-caller").to_owned(),
        two.other(Noun::Credential, "theirs-upstream").to_owned(),
        two.other(Noun::Proxy, "theirs-proxy").to_owned(),
    );
    for client in two.callers().await {
        let head = client.head().await;
        let good = json!({"name": "new", "target": "mine-target", "upstreamCredential": "mine-upstream",
            "callerCredentials": ["mine-caller"], "regions": ["eu"]});
        for (field, references, fault) in [
            ("target", [target.as_str(), "theirs-target"], "proxy.target"),
            ("upstreamCredential", [upstream.as_str(), "theirs-upstream"], "proxy.upstream_credential"),
            ("callerCredentials", [caller.as_str(), "theirs-caller"], "proxy.caller_credentials[0]"),
        ] {
            for reference in references {
                let value = if field == "callerCredentials" { json!([reference]) } else { json!(reference) };
                let mut proxy = good.clone();
                proxy[field] = value.clone();
                assert_eq!(client.post("/v1/orgs/mine/proxies", proxy).await.faults(), [fault]);
                let change = json!({ field: value });
                assert_eq!(client.patch("/v1/orgs/mine/proxies/mine-proxy", change).await.faults(), [fault]);
            }
        }
        for (parent, reference) in [("proxy", &proxy), ("target", &target), ("credential", &caller)] {
            let rule = json!({"name": "new", parent: reference, "effect": "EFFECT_DENY"});
            let fault = format!("rule.{parent}");
            assert_eq!(client.post("/v1/orgs/mine/rules", rule).await.faults(), [fault]);
            let filter =
                json!({"name": "new", parent: reference, "action": "FILTER_ACTION_RETAIN", "paths": ["a"]});
            let fault = format!("filter.{parent}");
            assert_eq!(client.post("/v1/orgs/mine/filters", filter).await.faults(), [fault]);
        }
        let meter = json!({"name": "new", "proxy": proxy, "requests": {}, "perHourPerNode": "5"});
        assert_eq!(client.post("/v1/orgs/mine/meters", meter).await.faults(), ["meter.proxy"]);
        let apply = json!({"documents": [{"proxy": {"name": "new", "target": target,
            "upstreamCredential": upstream, "callerCredentials": [caller], "regions": ["eu"]}}]});
        let refused = client.post("/v1/orgs/mine:apply", apply).await;
        assert_eq!(refused.status, 400, "{}", refused.text);
        // What goes along with mine is mine.
        let gone = client.delete(&format!("/v1/orgs/mine/targets/mine-target?cascade={proxy}")).await;
        assert!((400..500).contains(&gone.status), "{}", gone.text);
        assert_eq!(client.head().await, head, "nothing was written");
    }
    assert_eq!(everything(&two.world, "theirs").await, before);
    two.world.running.stop().await;
}

/// A page may end among things of one time: nothing is passed over, and nothing comes twice.
#[tokio::test]
async fn what_came_at_one_time_is_listed_once_each_wherever_a_page_ends() {
    let two = two().await;
    let operator = two.world.operator();
    let documents: Vec<Value> = (0..7)
        .map(|n| json!({"target": {"name": format!("t{n}"), "baseUrl": "https://a.example.com"}}))
        .collect();
    operator.post("/v1/orgs/mine:apply", json!({ "documents": documents })).await.good();
    let all = |items: &[Value]| {
        items.iter().map(|it| it["createdAt"].as_str().expect("a text").to_owned()).collect::<Vec<_>>()
    };
    for order in ["name", "created_at", "created_at%20desc", "updated_at", "updated_at%20desc"] {
        for size in 1..=8 {
            let path = format!("/v1/orgs/mine/targets?orderBy={order}&pageSize={size}");
            let items = whole(&operator, &path, "targets").await;
            let mut times = all(&items);
            times.sort();
            times.dedup();
            assert_eq!(times.len(), 2, "all but the first are of one time");
            let mut names: Vec<_> =
                items.iter().map(|it| it["name"].as_str().expect("a text").to_owned()).collect();
            names.sort();
            assert_eq!(names, ["mine-target", "t0", "t1", "t2", "t3", "t4", "t5", "t6"], "{order} by {size}");
        }
    }
    let listed = operator.get("/v1/orgs/mine/proxies").await.good();
    let proxy = listed["proxies"][0]["id"].as_str().expect("is there");
    let names: Vec<String> = (0..7).map(|n| format!("rq_{n}")).collect();
    let rows: Vec<_> = names
        .iter()
        .enumerate()
        .map(|(n, name)| (name.as_str(), two.mine.id.as_str(), proxy, if n == 0 { 99 } else { 100 }))
        .collect();
    records(&two, &rows).await;
    for size in 1..=8 {
        let items = whole(&operator, &format!("/v1/orgs/mine/requests?pageSize={size}"), "requests").await;
        let mut found: Vec<_> =
            items.iter().map(|it| it["record"]["id"].as_str().expect("a text").to_owned()).collect();
        assert_eq!(found.last().map(String::as_str), Some("rq_0"), "the oldest is last");
        found.sort();
        assert_eq!(found, names, "by {size}");
    }
    two.world.running.stop().await;
}

/// All pages of a list.
async fn whole(client: &Client, path: &str, plural: &str) -> Vec<Value> {
    let (mut items, mut token) = (Vec::new(), String::new());
    loop {
        let listed = client.get(&format!("{path}&pageToken={token}")).await.good();
        items.extend(listed[plural].as_array().cloned().unwrap_or_default());
        token = listed["nextPageToken"].as_str().unwrap_or_default().to_owned();
        if token.is_empty() {
            return items;
        }
        assert!(items.len() < 100, "it never ends");
    }
}
