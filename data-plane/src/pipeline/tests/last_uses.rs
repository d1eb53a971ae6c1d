//! When callers came last: told once a minute, at the time when they are let in.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use prost::Message as _;
use rr_contract::api_key::{self, KeyKind};
use rr_contract::model::id::CredentialId;
use rr_contract::wire::fleet;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;
use tokio::time::timeout;

use crate::fixture::{self, Region, caller, proxy, resource};

use super::edge::Edge;
use super::origin::Upstream;
use super::records::Wall;
use super::{get, resources, with_key};

const PATH: &str = "/api/acme.proxy-1/x";

fn credential(n: u8) -> CredentialId {
    fixture::credential_key(n).id_text().parse().expect("an id")
}

#[tokio::test]
async fn a_caller_is_told_of_once_a_minute_whatever_becomes_of_its_requests_and_nobody_else_is() {
    let upstream = Upstream::echo().await;
    let region = Region::new();
    let mut all = resources(&region, &upstream.url(""));
    let denies = fleet::RuleResource {
        effect: fleet::Effect::Deny.into(),
        ..fixture::rule_message(1, fixture::proxy_key(2))
    };
    all.extend([
        caller(3, 1, &[3]),
        caller(4, 1, &[4]),
        proxy(1, &[1, 3], 1, 2),
        proxy(2, &[1], 1, 2),
        resource(fixture::rule_key(1), denies.encode_to_vec()),
    ]);
    let wall = Wall::default();
    let edge = Edge::start_at(region.snapshot(&all), &["127.0.0.0/8"], Arc::new(wall.clone()));
    let status = async |path: &str, headers: &str| edge.send(&get(path, headers)).await.status;
    let denied = "/api/acme.proxy-2/x";
    // Each in seconds after 1970, and of whom is told then.
    for (now, path, n, answered, told) in [
        (600, PATH, 1, 200, Some((1, 10))),
        (601, PATH, 1, 200, None),
        (659, denied, 1, 400, None),
        (659, PATH, 3, 200, Some((3, 10))),
        (659, PATH, 4, 401, None),
        (659, PATH, 9, 401, None),
        (660, denied, 1, 400, Some((1, 11))),
        (661, PATH, 1, 200, None),
        // Somebody sets the clock right.
        (120, PATH, 1, 200, Some((1, 2))),
    ] {
        wall.0.store(now, Ordering::Relaxed);
        assert_eq!(status(path, &with_key(n)).await, answered, "{now} {n}");
        let told = told.map(|(n, minute)| (credential(n), minute));
        assert_eq!(edge.told().await, told, "{now} {n}");
    }
    assert_eq!(status(PATH, "").await, 401);
    assert_eq!(edge.told().await, None);
}

// A tunnel can last for days, and its record comes with its end.
#[tokio::test]
async fn a_use_is_told_when_the_request_begins() {
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let region = Region::new();
    let all = resources(&region, &format!("http://{}", silent.local_addr().expect("it is bound")));
    let wall = Wall::default();
    wall.0.store(600, Ordering::Relaxed);
    let edge = Edge::start_at(region.snapshot(&all), &["127.0.0.0/8"], Arc::new(wall.clone()));
    let mut stream = edge.connect().await;
    stream.write_all(get(PATH, &with_key(1)).as_bytes()).await.expect("it is taken");
    let told = timeout(Duration::from_secs(20), edge.tells_of_use()).await.expect("at once");
    assert_eq!(told, (credential(1), 10));
}

#[tokio::test]
async fn a_use_that_finds_no_room_comes_with_a_later_tick_of_its_worker() {
    let region = Region::new();
    let edge = Edge::start(region.snapshot(&resources(&region, "http://127.0.0.1:1")), &["127.0.0.0/8"]);
    // More than anybody takes at once, of one caller.
    const MOST: u64 = 5_000;
    let hash = api_key::hash_unsummed(KeyKind::Caller, fixture::caller_key(1).as_bytes()).expect("a key");
    edge.asks(move |worker| {
        let view = worker.view();
        let org = view.proxy("acme.proxy-1").expect("it is there").org_id;
        let caller = view.caller(org, &hash).expect("it is there");
        for minute in 1..=MOST {
            worker.caller_came(caller, SystemTime::UNIX_EPOCH + Duration::from_secs(minute * 60));
        }
    })
    .await;
    timeout(Duration::from_secs(20), async { while u64::from(edge.tells_of_use().await.1) != MOST {} })
        .await
        .expect("the newest one comes");
}
