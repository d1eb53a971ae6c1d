//! What is kept of targets and proxies, and for how long.

use rr_contract::wire::fleet;

use crate::fixture::{self, ORG, Region};
use crate::snapshot::Snapshot;

use super::*;

fn proxy(n: u128) -> ProxyId {
    ProxyId::from_random(n.to_be_bytes())
}

#[test]
fn as_long_as_something_names_a_proxy_it_has_one_budget_and_none_is_kept_of_those_that_are_gone() {
    let standings = Standings::default();
    let held = standings.budget(ORG, proxy(0));
    for n in 1..10_000 {
        standings.budget(ORG, proxy(n));
    }
    assert!(Arc::ptr_eq(&held, &standings.budget(ORG, proxy(0))));
    assert!(standings.named().budgets.by_name.len() <= FEW);
}

#[test]
fn a_target_that_is_left_with_one_base_url_and_nothing_else_is_not_asked_any_longer() {
    let region = Region::new();
    let with_check = |health_check| {
        let target =
            fleet::TargetResource { health_check, ..fixture::target_message(1, "https://api.example.com") };
        fixture::target_of(1, &target)
    };
    // Requests in progress hold it.
    let before = region.snapshot(&[
        fixture::org(false),
        with_check(Some(fleet::HealthCheck::default())),
        fixture::caller(1, 1, &[1]),
        fixture::open_upstream(2),
        fixture::proxy(1, &[1], 1, 2),
    ]);
    assert_eq!(region.standings.watched().len(), 1);
    let mut inventory = region.inventory();
    let changes = crate::sync::changes(&fixture::body(&[with_check(None)], &[]));
    inventory.apply(fleet::Mode::Delta, changes, &mut Snapshot::default());
    assert!(region.standings.watched().is_empty());
    drop(before);
}
