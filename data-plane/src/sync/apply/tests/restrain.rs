//! What a node that is not brought on hears was taken away.

use crate::fixture::{caller, credential_key, position, proxy, proxy_key};

use super::*;

fn serving() -> Node {
    let mut node = Node::new();
    let secret = node.region.upstream(2, 1, "s", "x-key", &["https://a.example"]);
    let parts = [target(1, "https://a.example"), caller(1, 1, &[1, 2]), caller(3, 1, &[3]), secret];
    node.delta(6, &parts, &[]);
    node.delta(7, &[proxy(1, &[1, 3], 1, 2), proxy(2, &[3], 1, 2)], &[]);
    assert!([1, 2, 3].iter().all(|key| node.accepts(*key)));
    node
}

fn restrain(node: &mut Node, until: Position, upserts: &[fleet::Resource], removals: &[Key]) -> bool {
    let body = fixture::body(upserts, removals);
    let message = fleet::Restrain { until: Some(until.to_wire()), body };
    wait(node.applier.restrain(&message)).expect("it can be read")
}

fn accepted(node: &Node) -> Vec<u8> {
    (1..=9).filter(|key| node.accepts(*key)).collect()
}

fn serves(node: &Node, name: &str) -> bool {
    node.applier.activator.current().proxy(name).is_some_and(|proxy| proxy.route.is_some())
}

#[test]
fn what_was_taken_away_is_gone_at_once_over_restarts_and_until_the_node_is_brought_on() {
    let mut node = serving();
    let before = node.running();
    let until = position(9, ([7; 32], 3));
    // The key 7 is new there, and does not come in force by this.
    let taken = [caller(1, 1, &[2, 7]), caller(8, 1, &[8])];
    assert!(restrain(&mut node, until, &taken, &[credential_key(3), proxy_key(2)]));
    for _ in 0..2 {
        assert_eq!((accepted(&node), serves(&node, "acme.proxy-2")), (vec![2], false));
        assert_eq!((node.running(), node.applier.on_disk()), (before, Some(before)));
        let refused: Vec<Why> = node.applier.standing().iter().map(fleet::Refusal::why).collect();
        assert_eq!(refused, [Why::Revoked; 3]);
        node.kill();
    }
    // More of the same comes on top, and the same again changes nothing.
    assert!(!restrain(&mut node, until, &taken, &[credential_key(3)]));
    assert!(restrain(&mut node, position(10, ([8; 32], 3)), &[caller(1, 1, &[7])], &[]));
    assert!(accepted(&node).is_empty());
    // An older revision does not end it; the place itself does, and says what holds there.
    node.delta(8, &[target(1, "https://b.example")], &[]);
    assert!(accepted(&node).is_empty());
    node.delta(10, &[caller(1, 1, &[7])], &[credential_key(3), proxy_key(2)]);
    assert_eq!(accepted(&node), [7]);
    node.delta(11, &[caller(3, 1, &[3])], &[]);
    assert_eq!((accepted(&node), node.applier.standing().len()), (vec![3, 7], 0));
    node.kill();
    assert_eq!(accepted(&node), [3, 7]);
}

#[test]
fn what_still_holds_at_the_place_comes_back_when_the_node_serves() {
    let mut node = serving();
    assert!(restrain(&mut node, position(9, ([7; 32], 3)), &[], &[credential_key(3)]));
    assert_eq!(accepted(&node), [1, 2]);
    // Published anew by then: a mark with the content that the node has.
    let marked = Position { revision: 12, ..node.running() };
    let marked = Position { audit: Some(audit(12)), ..marked };
    assert_eq!(node.mark(marked), Ok(()));
    assert_eq!((accepted(&node), node.applier.standing().len()), (vec![1, 2, 3], 0));
    node.kill();
    assert_eq!(accepted(&node), [1, 2, 3]);
}

#[test]
fn about_another_history_another_region_or_the_past_nothing_is_taken_away() {
    let mut node = serving();
    let good = position(9, ([7; 32], 3));
    let others = [
        Position { lineage: [8; 16], ..good },
        Position { region: RegionId::from_random([8; 16]), ..good },
        Position { revision: 6, ..good },
    ];
    for until in others {
        assert!(!restrain(&mut node, until, &[], &[credential_key(3)]));
    }
    assert_eq!(accepted(&node), [1, 2, 3]);
}

#[test]
fn a_disk_that_refuses_does_not_keep_a_revoked_key_alive() {
    let mut node = serving();
    node.disk.0.is_full.store(true, Ordering::Relaxed);
    assert!(restrain(&mut node, position(9, ([7; 32], 3)), &[], &[credential_key(3)]));
    assert_eq!((accepted(&node), node.applier.on_disk()), (vec![1, 2], None));
    node.disk.0.is_full.store(false, Ordering::Relaxed);
    assert!(wait(node.applier.mend()));
    node.kill();
    assert_eq!(accepted(&node), [1, 2]);
}

#[test]
fn a_rule_that_denies_goes_on_where_it_was_deleted_later_and_one_that_allows_does_not() {
    let mut node = serving();
    let rules = [fixture::deny_path(1, proxy_key(1), "^/x"), fixture::rule(2, proxy_key(2))];
    node.delta(8, &rules, &[]);
    assert!(serves(&node, "acme.proxy-1") && serves(&node, "acme.proxy-2"));
    let gone = [fixture::rule_key(1), fixture::rule_key(2)];
    assert!(restrain(&mut node, position(9, ([7; 32], 3)), &[], &gone));
    assert!(serves(&node, "acme.proxy-1"), "without it, more would be allowed");
    assert!(!serves(&node, "acme.proxy-2"), "with it, more would be allowed");
}
