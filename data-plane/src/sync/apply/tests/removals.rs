//! A transaction that takes away more than anybody meant.

use rr_contract::model::id::TargetId;
use rr_contract::model::resource::ResourceId;

use super::*;

fn key(n: u16) -> Key {
    let mut id = [0; 16];
    id[..2].copy_from_slice(&n.to_le_bytes());
    Key::new(fixture::ORG, ResourceId::Target(TargetId::from_random(id)))
}

fn one(n: u16) -> fleet::Resource {
    let payload = target(1, "https://a.example").payload.to_vec();
    fixture::resource(key(n), payload)
}

/// Holds the org and this many targets.
fn full(targets: u16) -> Node {
    let mut node = Node::new();
    let all: Vec<_> = (0..targets).map(one).collect();
    assert_eq!(node.delta(6, &all, &[]).outcome(), Outcome::Active);
    node
}

fn meaning(mode: Mode, intended_removals: u64) -> fleet::Begin {
    fleet::Begin { intended_removals, ..begin(mode) }
}

/// Removes so many targets of so many.
fn remove(node: &mut Node, begin: fleet::Begin, of: u16, removed: u16) -> fleet::Verdict {
    if begin.mode() == Mode::Snapshot {
        let rest: Vec<_> = (removed..of).map(one).chain([org(false)]).collect();
        return node.offer(begin, 7, &rest, &[]);
    }
    let gone: Vec<_> = (0..removed).map(key).collect();
    node.offer(begin, 7, &[], &gone)
}

#[test]
fn a_mass_removal_that_nobody_meant_is_refused_whatever_brings_it() {
    for mode in [Mode::Delta, Mode::Reconcile, Mode::Snapshot] {
        let mut node = full(99);
        let before = node.running();
        let verdict = remove(&mut node, begin(mode), 99, 51);
        assert!(is_refused(&verdict, Why::Limit), "{mode:?}: {verdict:?}");
        assert!(verdict.refusals[0].detail.contains("51 of 100"), "{:?}", verdict.refusals);
        check_untouched(&mut node, before);
        // One of them was meant: 50 are left, and as many may go by mistake.
        let verdict = remove(&mut node, meaning(mode, 1), 99, 51);
        assert_eq!((verdict.outcome(), node.running().count), (Outcome::Active, 49), "{mode:?}");
    }
}

#[test]
fn a_few_or_a_small_part_may_go() {
    for mode in [Mode::Delta, Mode::Reconcile, Mode::Snapshot] {
        // 50, although it is nearly all.
        assert_eq!(remove(&mut full(55), begin(mode), 55, 50).outcome(), Outcome::Active);
        // 60 of 200 are 30 %, 61 are more.
        assert_eq!(remove(&mut full(199), begin(mode), 199, 60).outcome(), Outcome::Active);
        assert!(is_refused(&remove(&mut full(199), begin(mode), 199, 61), Why::Limit));
    }
}

#[test]
fn what_is_not_here_cannot_be_removed_and_does_not_count() {
    let mut node = full(10);
    let strangers: Vec<_> = (1_000..1_200).map(key).collect();
    assert_eq!(node.reconcile(7, &[], &strangers).outcome(), Outcome::Active);
}
