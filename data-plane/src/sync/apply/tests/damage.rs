//! Memory that does not keep what it was given.

use super::*;
use crate::fixture::{caller, credential_key, proxy, proxy_key, target_key};

fn all(node: &Node) -> Vec<fleet::Resource> {
    vec![
        org(false),
        target(1, "https://a.example"),
        caller(1, 1, &[1]),
        node.region.upstream(2, 1, "s", "x-key", &["https://a.example"]),
        proxy(1, &[1], 1, 2),
    ]
}

fn configured() -> Node {
    configured_with().0
}

/// The same, with what it was sent: a seal is another one each time that it is made.
fn configured_with() -> (Node, Vec<fleet::Resource>) {
    let mut node = Node::new();
    let all = all(&node);
    assert_eq!(node.delta(6, &all[1..], &[]).outcome(), Outcome::Active);
    node.seats.remove(0).sit().tick();
    wait(node.applier.tend());
    (node, all)
}

// I11, the first half.
#[test]
fn a_flipped_bit_is_found_within_a_pass_and_told_and_right_again_after_a_reconcile() {
    for key in [Key::org(fixture::ORG), target_key(1), credential_key(1), credential_key(2), proxy_key(1)] {
        let (mut node, all) = configured_with();
        let (before, on_disk) = (node.running(), node.disk.0.files().clone());
        let runs = node.applier.publisher.current().dump();
        assert!(!wait(node.applier.tend()), "all is well");
        node.applier.inventory.flip_bit(&key);
        let log = fixture::log_of(|| assert!(wait(node.applier.tend()), "it is to be told at once"));
        assert!(log.contains("ERROR") && log.contains(&key.to_string()), "{log}");
        assert_ne!(node.running().digest, before.digest);
        assert_eq!((node.running().count, node.running().revision), (before.count, before.revision));
        assert_eq!(node.running().digest, node.applier.inventory.after(Mode::Delta, &Default::default()).0);
        // What runs was compiled before, and what is on disk is what was sent.
        assert_eq!(node.applier.publisher.current().dump(), runs);
        assert!(!wait(node.applier.mend()) && !wait(node.applier.tend()));
        assert!(*node.disk.0.files() == on_disk);

        let right = all.into_iter().find(|one| one.key == Some(key.to_wire())).expect("it is one of them");
        let body = fixture::body(&[right], &[]);
        let begin =
            fleet::Begin { base: node.running().digest.to_vec(), chunks: 1, ..begin(Mode::Reconcile) };
        let verdict = node.say(begin, before.to_wire(), body);
        assert_eq!((verdict.outcome(), node.running()), (Outcome::Active, before), "{key}: {verdict:?}");
        assert_eq!(node.applier.publisher.current().dump(), runs);
        assert!(!node.applier.inventory.is_damaged());
        node.kill();
        assert_eq!((node.running(), node.applier.publisher.current().dump()), (before, runs));
    }
}

#[test]
fn nothing_is_compiled_from_damaged_bytes() {
    let mut node = configured();
    node.applier.inventory.flip_bit(&proxy_key(1));
    assert!(wait(node.applier.tend()));
    assert_eq!(node.delta(7, &[target(1, "https://b.example")], &[]).outcome(), Outcome::Active);
    let runs = node.applier.publisher.current().dump();
    assert!(runs.contains("https://b.example"), "the proxy goes on with what it was: {runs}");
}

// Negative control: without a pass nobody knows.
#[test]
fn before_a_pass_damage_is_not_seen() {
    let mut node = configured();
    let before = node.running();
    node.applier.inventory.flip_bit(&target_key(1));
    assert_eq!(node.running(), before);
}

#[test]
fn a_large_view_is_gone_through_a_slice_at_a_time() {
    let mut node = Node::new();
    let many: Vec<_> = (0..200).map(|n| target(n, "https://a.example")).collect();
    node.delta(6, &many, &[]);
    node.seats.remove(0).sit().tick();
    wait(node.applier.tend());
    node.applier.inventory.flip_bit(&target_key(199));
    let passed = (0..5).position(|_| wait(node.applier.tend()));
    assert!(passed.is_some_and(|slices| slices > 0), "{passed:?}");
}
