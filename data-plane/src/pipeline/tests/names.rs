//! Upstreams that are names: good and bad addresses, and name servers that are silent.

use std::future::pending;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use rr_contract::outbound::{Found, Lookup, Names};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;
use tokio::time::timeout;

use crate::fixture::{self, Region, caller, org, proxy, target_with_timeouts};
use crate::upstream::Trust;

use super::edge::Edge;
use super::origin::Upstream;
use super::{get, resources, resources_of_another, with_key};

/// Long for whatever has to happen; a test that waits for it has failed.
const FAILED: Duration = Duration::from_secs(20);

/// Knows the same addresses for every name, and never answers for those that begin with `dead`.
struct Zone(Vec<IpAddr>);

impl Names for Zone {
    fn look_up<'n>(&'n self, name: &'n str) -> Lookup<'n> {
        Box::pin(async move {
            if name.starts_with("dead") {
                pending::<()>().await;
            }
            Ok(Found { addresses: self.0.clone(), good_for: FAILED })
        })
    }
}

fn zone(addresses: &[[u8; 4]]) -> Arc<Zone> {
    Arc::new(Zone(addresses.iter().map(|octets| IpAddr::from(*octets)).collect()))
}

#[tokio::test]
async fn of_a_names_addresses_only_those_are_tried_that_the_guard_lets_through() {
    let upstream = Upstream::echo().await;
    let port: u16 =
        upstream.authority().rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port");
    // The same port of another address that this node does not open.
    let bad = TcpListener::bind(("127.0.0.2", port)).await.expect("nobody else is there");
    let zone = zone(&[[127, 0, 0, 2], [127, 0, 0, 1], [127, 0, 0, 2]]);
    let region = Region::new();
    let snapshot = region.snapshot(&resources(&region, &format!("http://mixed.example:{port}")));
    let edge = Edge::start_asking(snapshot, &["127.0.0.1/32"], Trust::new(None), zone);
    let request = get("/api/acme.proxy-1/", &with_key(1));
    let answer = tokio::select! {
        answer = edge.send(&request) => answer,
        _ = bad.accept() => panic!("an address that the guard refuses was connected to"),
    };
    assert_eq!(answer.status, 200, "{answer:?}");
    let refused = timeout(Duration::ZERO, bad.accept()).await;
    assert!(refused.is_err(), "an address that the guard refuses was connected to");
}

#[tokio::test]
async fn name_servers_of_one_organization_that_are_silent_stop_no_other() {
    const DEAD: u8 = 40;
    let upstream = Upstream::echo().await;
    let port = upstream.authority().rsplit(':').next().expect("a port").to_owned();
    let region = Region::new();
    let mut all = vec![org(false), caller(1, 1, &[1]), fixture::open_upstream(2)];
    for n in 100..100 + DEAD {
        all.push(target_with_timeouts(n, &format!("http://dead-{n}.example:{port}"), 60_000, 5_000));
        all.push(proxy(n, &[1], n, 2));
    }
    all.extend(resources_of_another(&format!("http://good.example:{port}")));
    let zone = zone(&[[127, 0, 0, 1]]);
    let edge = Edge::start_asking(region.snapshot(&all), &["127.0.0.0/8"], Trust::new(None), zone);
    let mut waiting = Vec::new();
    for n in 100..100 + DEAD {
        let mut caller = edge.connect().await;
        let request = get(&format!("/api/acme.proxy-{n}/"), &with_key(1));
        caller.write_all(request.as_bytes()).await.expect("the edge reads");
        waiting.push(caller);
    }
    let answer = timeout(FAILED, edge.send(&get("/api/other.proxy-11/", &with_key(11)))).await;
    assert_eq!(answer.expect("its name server answers").status, 200);
}
