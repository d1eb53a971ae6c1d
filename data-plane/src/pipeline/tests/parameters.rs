//! Paths with parameters, which are segments like others here, and which some upstreams take out.

use rr_contract::wire::fleet;

use crate::fixture::{Region, deny_path, proxy_key};

use super::edge::Edge;
use super::origin::Upstream;
use super::{get, resources, with_key};

fn edge_with(upstream: &Upstream, rules: impl IntoIterator<Item = fleet::Resource>) -> Edge {
    let region = Region::new();
    let mut all = resources(&region, &upstream.url(""));
    all.extend(rules);
    Edge::start(region.snapshot(&all), &["127.0.0.0/8"])
}

/// To an upstream that takes parameters out, each is `/admin` or lies below it.
const SPELLINGS: [&str; 6] =
    ["admin;x", "admin;x/users", "admin%3bx=1/users", ";x/admin", "%3B/admin/users", "a;x/../;y/admin"];

#[tokio::test]
async fn a_semicolon_is_a_part_of_its_segment_and_goes_on_as_it_came() {
    let upstream = Upstream::echo().await;
    let edge = edge_with(&upstream, [deny_path(7, proxy_key(1), "^/admin(/|$)")]);
    assert_eq!(edge.send(&get("/api/acme.proxy-1/admin/users", &with_key(1))).await.status, 400);
    for (sent, seen) in [("admin;x/users", "/admin;x/users"), ("admin%3bx", "/admin%3Bx")] {
        assert_eq!(edge.send(&get(&format!("/api/acme.proxy-1/{sent}"), &with_key(1))).await.status, 200);
        assert_eq!(upstream.last().target, seen);
    }
}

#[tokio::test]
async fn the_rule_that_the_manual_gives_for_upstreams_that_take_parameters_out_covers_all_spellings() {
    let upstream = Upstream::echo().await;
    let manual = include_str!("../../../../docs/apply.md");
    let example = manual.split_once("name: no-path-parameters\n").expect("it is in the manual").1;
    let regex =
        example.split_once("regex: '").and_then(|(_, rest)| rest.split_once('\'')).expect("a pattern").0;
    let rules = [deny_path(7, proxy_key(1), "^/admin(/|$)"), deny_path(8, proxy_key(1), regex)];
    let edge = edge_with(&upstream, rules);
    for spelling in SPELLINGS {
        let answer = edge.send(&get(&format!("/api/acme.proxy-1/{spelling}"), &with_key(1))).await;
        assert_eq!(answer.status, 400, "{spelling}");
    }
    assert_eq!(upstream.count(), 0);
    assert_eq!(edge.send(&get("/api/acme.proxy-1/users/1?a;b", &with_key(1))).await.status, 200);
}
