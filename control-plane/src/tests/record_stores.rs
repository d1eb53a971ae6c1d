//! Records of a region in a database of its own: what lies where, and what is read of both together.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use rr_contract::runtime::Tasks;
use rr_contract::wire::management::request_service_client::RequestServiceClient;
use rr_contract::wire::{fleet, management};
use sea_orm::{
    ConnectionTrait as _, Database, DatabaseBackend, DatabaseConnection, Statement, TransactionTrait as _,
};
use serde_json::{Value, json};
use tokio::time::timeout;

use super::client::Client;
use super::machine::Node;
use super::metrics::{Maker, tell};
use super::postgres;
use super::records::uploaded_as;
use super::world::{World, by, config, credential_id, proxy, target};
use crate::DatabaseAddress;

const SOON: Duration = Duration::from_secs(30);

/// Two regions with a node in each, and one proxy that both serve. Records of `eu` go to another database.
struct Two {
    world: World,
    eu: Node,
    us: Node,
    org: String,
    proxy: String,
}

impl Two {
    async fn start(folder: tempfile::TempDir, store: DatabaseAddress) -> Self {
        let mut config = config(folder.path());
        config.record_stores = BTreeMap::from([("europe".to_owned(), store.into())]);
        let world = World::over(folder, config).await;
        let (eu, us) = (world.region("eu").await, world.region("us").await);
        let operator = world.operator();
        operator.patch("/v1/regions/eu", json!({"recordStore": "europe"})).await.good();
        let org = world.org("acme").await;
        world.target("acme", target("echo", "https://api.example.com")).await.expect("is made");
        world.caller("acme", "app").await;
        world.upstream(&org, "openai", credential_id(), &[&eu, &us]).await.expect("is made");
        world.proxy("acme", proxy("echo", &["eu", "us"])).await.expect("is made");
        let (at_eu, at_us) = (world.node_token(&eu, 5).await, world.node_token(&us, 5).await);
        let (eu, us) = (world.join(&at_eu).await.expect("joins"), world.join(&at_us).await.expect("joins"));
        let shown = operator.get("/v1/orgs/acme/proxies/echo").await.good()["proxy"]["id"].clone();
        Self { world, eu, us, org: org.id, proxy: text(&shown) }
    }

    /// Of a node, received so many seconds after a time.
    fn record(&self, id: &str, second: i64) -> fleet::Record {
        fleet::Record {
            id: id.into(),
            org: self.org.clone(),
            proxy: self.proxy.clone(),
            path: format!("/path-of-{id}"),
            received_at: Some(pbjson_types::Timestamp { seconds: 1_700_000_000 + second, nanos: 0 }),
            status: 200,
            ..Default::default()
        }
    }

    async fn listed(&self, filter: &str) -> Vec<String> {
        let operator = self.world.operator();
        let filter = filter.replace(' ', "%20").replace('=', "%3D");
        let (mut ids, mut page) = (Vec::new(), String::new());
        loop {
            let path = format!("/v1/orgs/acme/requests?pageSize=2&filter={filter}&pageToken={page}");
            let listed = operator.get(&path).await.good();
            let requests = listed["requests"].as_array().cloned().unwrap_or_default();
            ids.extend(requests.iter().map(|it| text(&it["record"]["id"])));
            page = text(&listed["nextPageToken"]).replace('+', "%2B").replace('/', "%2F");
            if page.is_empty() {
                return ids;
            }
        }
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// Whether a text is anywhere in the files of a database.
fn holds(database: &Path, wanted: &str) -> bool {
    ["", "-wal"].iter().any(|end| {
        let bytes = std::fs::read(format!("{}{end}", database.display())).unwrap_or_default();
        bytes.windows(wanted.len()).any(|window| window == wanted.as_bytes())
    })
}

async fn once(operator: &Client, path: &str, is_so: impl Fn(&str) -> bool) -> String {
    let begun = Instant::now();
    loop {
        let answer = operator.get(path).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        if is_so(&answer.text) {
            return answer.text;
        }
        assert!(begun.elapsed() < SOON, "{path}: {}", answer.text);
    }
}

#[tokio::test]
async fn records_of_a_region_lie_in_its_store_alone_and_are_read_with_all_others() {
    let server = postgres::database("record stores");
    let folder = tempfile::tempdir().expect("a folder");
    let homes = [
        Some(DatabaseAddress::Sqlite(folder.path().join("europe.db"))),
        server.as_ref().map(|it| it.address()),
    ];
    for home in homes.into_iter().flatten() {
        let two = Two::start(tempfile::tempdir().expect("a folder"), home.clone()).await;
        let (world, operator) = (&two.world, two.world.operator());
        let request = management::TailRequestsRequest { org: "acme".into(), ..Default::default() };
        let mut client = RequestServiceClient::new(world.channel.clone());
        let mut tail = client.tail_requests(by(&world.operator, request)).await.expect("opens").into_inner();
        // Two of one time, one in each: a page ends between them.
        let of_eu = [("rq_e1", 1), ("rq_e2", 3), ("rq_e3", 4), ("rq_e4", 9)];
        let of_us = [("rq_u1", 2), ("rq_u2", 4), ("rq_u3", 5)];
        let records =
            |all: &[(&str, i64)]| all.iter().map(|(id, at)| two.record(id, *at)).collect::<Vec<_>>();
        uploaded_as(world, &two.eu, 1, records(&of_eu)).await;
        uploaded_as(world, &two.us, 1, records(&of_us)).await;
        // Again: by now it is known where the cursor is.
        uploaded_as(world, &two.eu, 1, records(&of_eu)).await;

        let central = two.world.folder.path().join("state/control.db");
        if let (DatabaseAddress::Sqlite(europe), DatabaseAddress::Sqlite(_)) = (&home, &home) {
            assert!(holds(europe, "/path-of-rq_e1") && !holds(europe, "/path-of-rq_u1"));
            assert!(holds(&central, "/path-of-rq_u1"));
        }
        assert!(!holds(&central, "/path-of-rq_e"), "nothing of it is in the central database");

        let all = ["rq_e4", "rq_u3", "rq_u2", "rq_e3", "rq_e2", "rq_u1", "rq_e1"];
        assert_eq!(two.listed("").await, all);
        assert_eq!(two.listed("region = us").await, ["rq_u3", "rq_u2", "rq_u1"]);
        assert_eq!(two.listed("region = eu").await, ["rq_e4", "rq_e3", "rq_e2", "rq_e1"]);
        for id in ["rq_e2", "rq_u1"] {
            let shown = operator.get(&format!("/v1/orgs/acme/requests/{id}")).await.good();
            assert_eq!(shown["request"]["record"]["path"], format!("/path-of-{id}"));
        }
        operator.get("/v1/orgs/acme/requests/rq_none").await.refused(404, "not-found");
        // Words of callers are in the central database alone.
        let app = json!({"tags": ["gold"]});
        let app =
            text(&operator.patch("/v1/orgs/acme/credentials/app", app).await.good()["credential"]["id"]);
        let called = |id, at| fleet::Record { caller_credential: app.clone(), ..two.record(id, at) };
        uploaded_as(world, &two.eu, 2, vec![called("rq_e5", 20)]).await;
        uploaded_as(world, &two.us, 2, vec![called("rq_u4", 21)]).await;
        assert_eq!(two.listed("tags = gold").await, ["rq_u4", "rq_e5"]);
        assert!(two.listed("tags = silver").await.is_empty());

        let mut followed = Vec::new();
        while followed.len() < 9 {
            let said =
                timeout(SOON, tail.next()).await.expect("it comes").expect("it goes on").expect("is good");
            assert_eq!(said.skipped, 0);
            followed.push(said.request.and_then(|it| it.record).unwrap_or_default().id);
        }
        followed.sort();
        let mut wanted: Vec<_> = all.into_iter().chain(["rq_e5", "rq_u4"]).collect();
        wanted.sort_unstable();
        assert_eq!(followed, wanted, "each once");

        let maker = Maker::of(&operator).await;
        let sum = |status, requests| fleet::Sum { minute: u64::MAX, ..maker.sum(0, status, requests) };
        assert_eq!(tell(&two.eu, 1, vec![sum(200, 8), sum(503, 2)]).await, 0);
        assert_eq!(tell(&two.us, 1, vec![sum(200, 5)]).await, 0);
        let path = "/v1/orgs/acme/metrics?groupBy=METRIC_DIMENSION_STATUS_CLASS";
        let answer = once(&operator, path, |it| it.contains(r#""requests":"15""#)).await;
        let answer: Value = serde_json::from_str(&answer).expect("JSON");
        let total = &answer["series"][0]["total"];
        assert_eq!(
            (&answer["series"][0]["labels"][0]["value"], &total["requests"]),
            (&json!("2xx"), &json!("13"))
        );
        assert_eq!(answer["all"]["total"]["errors"], "2");
        let of_us = once(&operator, &format!("{path}&filter=region%20%3D%20us"), |_| true).await;
        let of_us: Value = serde_json::from_str(&of_us).expect("JSON");
        assert_eq!(of_us["all"]["total"]["requests"], "5");
        let exposed = operator.get("/metrics/orgs/acme").await.text;
        for line in [
            r#"requestrocket_proxy_requests_total{proxy="echo",region="eu",status_class="2xx"} 8"#,
            r#"requestrocket_proxy_requests_total{proxy="echo",region="us",status_class="2xx"} 5"#,
        ] {
            assert!(exposed.contains(line), "{line} is not in {exposed}");
        }
        let accounts = operator.get("/v1/nodeAccounts").await.good();
        assert_eq!((&accounts["all"]["requests"], &accounts["all"]["stored"]), (&json!("15"), &json!("9")));
        assert_eq!(accounts["accounts"].as_array().map(Vec::len), Some(2));
        two.world.running.stop().await;
    }
}

#[tokio::test]
async fn a_store_that_is_away_stops_no_other_region_and_is_named_to_whoever_needs_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let away = folder.path().join("not-mounted");
    let store = DatabaseAddress::Sqlite(away.join("europe.db"));
    let two = Two::start(tempfile::tempdir().expect("a folder"), store).await;
    let (world, operator) = (&two.world, two.world.operator());
    let refused =
        operator.patch("/v1/regions/us", json!({"recordStore": "mars"})).await.refused(400, "invalid");
    assert!(refused.to_string().contains("--record-store NAME=URL"), "{refused}");
    uploaded_as(world, &two.us, 1, vec![two.record("rq_u1", 1)]).await;
    assert_eq!(two.listed("region = us").await, ["rq_u1"]);
    for path in [
        "/v1/orgs/acme/requests",
        "/v1/orgs/acme/requests?filter=region%20%3D%20eu",
        "/v1/orgs/acme/requests/rq_e1",
        "/v1/orgs/acme/metrics",
        "/v1/nodeAccounts",
        "/metrics/orgs/acme",
    ] {
        let answer = operator.get(path).await;
        assert_eq!(answer.status, 503, "{path}: {}", answer.text);
        assert!(
            answer.text.contains("europe") && !answer.text.contains("not-mounted"),
            "{path}: {}",
            answer.text
        );
    }
    // One that is found is whole, whoever is away.
    operator.get("/v1/orgs/acme/requests/rq_u1").await.good();
    let scraped = world.running.observability().scrape();
    let up = |scraped: &str| {
        let line = scraped
            .lines()
            .find(|it| it.starts_with("requestrocket_control_record_store_up{"))
            .map(str::to_owned);
        line.and_then(|line| line.rsplit(' ').next().map(str::to_owned))
    };
    assert_eq!(up(&scraped).as_deref(), Some("0"), "{scraped}");
    // What is not acknowledged stays with the node, and comes again.
    let mut client = fleet::telemetry_service_client::TelemetryServiceClient::new(two.eu.channel.clone());
    let body = prost::Message::encode_to_vec(&fleet::Batch {
        records: vec![two.record("rq_e1", 2)],
        ..Default::default()
    });
    let upload = fleet::UploadRequest {
        spool: vec![4; 16],
        sequence: 1,
        crc32: crc32fast::hash(&body),
        body,
        ..Default::default()
    };
    let mut answers = client.upload(tokio_stream::iter([upload])).await.expect("opens").into_inner();
    let refused = answers.next().await.expect("is answered").expect_err("is not stored");
    assert_eq!(refused.code(), tonic::Code::Unavailable);
    std::fs::create_dir(&away).expect("mounts");
    world.running.records().look().await;
    uploaded_as(world, &two.eu, 1, vec![two.record("rq_e1", 2)]).await;
    assert_eq!(two.listed("").await, ["rq_e1", "rq_u1"]);
    assert_eq!(up(&world.running.observability().scrape()).as_deref(), Some("1"));
    // A start whose settings name it no more says so, and answers for other regions.
    let world = two.world.restart().await;
    let operator = world.operator();
    let answer = operator.get("/v1/orgs/acme/requests").await;
    assert!(answer.status == 503 && answer.text.contains("--record-store europe=URL"), "{}", answer.text);
    operator.get("/v1/orgs/acme/requests?filter=region%20%3D%20us").await.good();
    assert_eq!(up(&world.running.observability().scrape()).as_deref(), Some("0"));
    world.running.stop().await;
}

#[tokio::test]
async fn a_request_that_began_in_one_store_and_ended_in_another_is_one_wherever_it_is_read() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = DatabaseAddress::Sqlite(folder.path().join("europe.db"));
    let two = Two::start(tempfile::tempdir().expect("a folder"), store).await;
    let operator = two.world.operator();
    let begun = |id: &str, second| fleet::Record { status: 0, ..two.record(id, second) };
    let ended = |id: &str, second| fleet::Batch {
        records: vec![two.record(id, second)],
        ended: vec![id.to_owned()],
        ..Default::default()
    };
    let batches = [
        ("", fleet::Batch { begun: vec![begun("rq_1", 1), begun("rq_2", 2)], ..Default::default() }),
        ("europe", fleet::Batch { begun: vec![begun("rq_3", 3)], ..ended("rq_1", 1) }),
        ("", ended("rq_3", 3)),
    ];
    // The region goes to the other store before each of them.
    for (sequence, (store, batch)) in (1..).zip(batches) {
        let path = "/v1/regions/eu?updateMask=record_store";
        operator.patch(path, json!({"recordStore": store})).await.good();
        let body = prost::Message::encode_to_vec(&batch);
        let upload = fleet::UploadRequest {
            spool: vec![4; 16],
            sequence,
            crc32: crc32fast::hash(&body),
            body,
            ..Default::default()
        };
        let mut client = fleet::telemetry_service_client::TelemetryServiceClient::new(two.eu.channel.clone());
        let mut answers = client.upload(tokio_stream::iter([upload])).await.expect("opens").into_inner();
        let answer = answers.next().await.expect("is answered").expect("is good");
        assert_eq!((answer.through, answer.poison.len()), (sequence, 0));
    }
    let statuses = [("rq_3", 200), ("rq_2", 0), ("rq_1", 200)];
    for filter in ["", "region = eu"] {
        assert_eq!(two.listed(filter).await, statuses.map(|(id, _)| id), "{filter:?}");
    }
    let path = "/v1/orgs/acme/requests";
    let all = operator.get(path).await.good();
    let of_region = operator.get(&format!("{path}?filter=region%20%3D%20eu")).await.good();
    for (n, (id, status)) in statuses.into_iter().enumerate() {
        let shown = operator.get(&format!("{path}/{id}")).await.good();
        let listed = [&all, &of_region].map(|it| &it["requests"][n]);
        for request in listed.into_iter().chain([&shown["request"]]) {
            let record = &request["record"];
            assert_eq!((text(&record["id"]).as_str(), record["status"].as_u64().unwrap_or(0)), (id, status));
        }
    }
    two.world.running.stop().await;
}

/// How many statements wait for a lock, on the server of a database.
async fn waiting(database: &DatabaseConnection) -> i64 {
    let text = "SELECT count(*) AS waiting FROM pg_locks WHERE NOT granted";
    let statement = Statement::from_string(DatabaseBackend::Postgres, text);
    let row = database.query_one_raw(statement).await.expect("reads").expect("is a row");
    row.try_get("", "waiting").expect("is a number")
}

#[tokio::test]
async fn a_store_that_is_slow_has_no_batch_of_another_regions_store_wait() {
    let Some(server) = postgres::database("slow store") else { return };
    let two = Two::start(tempfile::tempdir().expect("a folder"), server.address()).await;
    let DatabaseAddress::Postgres(url) = server.address() else { unreachable!("it is one") };
    let europe = Database::connect(url).await.expect("connects");
    let held = europe.begin().await.expect("begins");
    let lock = r#"LOCK TABLE "telemetry_cursor" IN EXCLUSIVE MODE"#;
    held.execute_unprepared(lock).await.expect("locks");
    let upload = |node: &Node, spool: u8| {
        let (body, channel) = (Vec::new(), node.channel.clone());
        let upload = fleet::UploadRequest { spool: vec![spool; 16], sequence: 1, body, ..Default::default() };
        async move {
            let mut client = fleet::telemetry_service_client::TelemetryServiceClient::new(channel);
            let mut answers = client.upload(tokio_stream::iter([upload])).await.expect("opens").into_inner();
            answers.next().await.expect("is answered").expect("is good").through
        }
    };
    // More than are stored at once.
    let tasks = Tasks::new();
    let waits: Vec<_> = (10..16).map(|spool| tasks.spawn("upload", upload(&two.eu, spool))).collect();
    let begun = Instant::now();
    while waiting(&europe).await < 3 {
        assert!(begun.elapsed() < SOON, "nobody waits");
    }
    assert_eq!(timeout(SOON, upload(&two.us, 20)).await.expect("nothing holds it up"), 1);
    held.commit().await.expect("lets go");
    for wait in waits {
        assert_eq!(wait.await.expect("no panic"), 1);
    }
    europe.close().await.expect("ends");
    two.world.running.stop().await;
}
