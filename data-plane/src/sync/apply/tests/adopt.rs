//! Another history goes on here, and what was revoked stays revoked.

use super::*;
use crate::fixture::{caller, credential_key};

const OTHER: [u8; 16] = [8; 16];

fn adopting(mode: Mode, revived: &[u8]) -> fleet::Begin {
    let revived = revived.iter().map(|n| credential_key(*n).id_text()).collect();
    fleet::Begin { adopted: true, revived, ..begin(mode) }
}

/// A node that has seen callers 1 and 2 revoked, and still has 3.
fn bereaved() -> Node {
    let mut node = Node::new();
    node.delta(6, &[caller(1, 1, &[1]), caller(2, 1, &[2]), caller(3, 1, &[3])], &[]);
    node.delta(7, &[], &[credential_key(1), credential_key(2)]);
    assert!(!node.accepts(1) && !node.accepts(2) && node.accepts(3));
    node
}

#[test]
fn another_history_or_an_older_revision_is_taken_only_where_a_person_decided_so() {
    for mode in [Mode::Snapshot, Mode::Reconcile] {
        let mut node = Node::new();
        let before = node.running();
        let older = node.offer(begin(mode), 4, &[org(true)], &[]);
        assert!(is_refused(&older, Why::BaseMismatch));
        let elsewhere = Position { lineage: OTHER, ..node.after(9, &[org(true)]) };
        let base = before.digest.to_vec();
        let begin = fleet::Begin { base, chunks: 1, ..begin(mode) };
        let other = node.transact(begin.clone(), elsewhere.to_wire(), &[org(true)]);
        assert!(is_refused(&other, Why::BaseMismatch));
        check_untouched(&mut node, before);

        let begin = fleet::Begin { adopted: true, ..begin };
        let verdict = node.transact(begin, elsewhere.to_wire(), &[org(true)]);
        assert_eq!((verdict.outcome(), node.running()), (Outcome::Active, elsewhere));
        let back = node.offer(adopting(mode, &[]), 2, &[org(false)], &[]);
        assert_eq!((back.outcome(), node.running().revision), (Outcome::Active, 2));
        let here = node.running();
        check_untouched(&mut node, here);
    }
}

#[test]
fn an_ordinary_reconcile_forward_in_one_history_needs_nobodys_decision() {
    let mut node = Node::new();
    let verdict = node.reconcile(6, &[org(true), target(1, "https://a.example")], &[]);
    assert_eq!((verdict.outcome(), verdict.durable), (Outcome::Active, true));
    let verdict = node.reconcile(6, &[], &[fixture::target_key(1)]);
    assert_eq!((verdict.outcome(), node.running().count), (Outcome::Active, 1));
    let here = node.running();
    check_untouched(&mut node, here);
}

#[test]
fn changes_within_one_history_cannot_adopt_another() {
    let mut node = Node::new();
    let verdict = node.offer(adopting(Mode::Delta, &[]), 6, &[org(true)], &[]);
    assert!(is_refused(&verdict, Why::BaseMismatch));
}

// restored_backup_does_not_revive_a_revoked_key, the node's half.
#[test]
fn what_was_revoked_stays_so_in_an_adopted_history_over_restarts_until_it_is_another_or_named() {
    for mode in [Mode::Snapshot, Mode::Reconcile] {
        let mut node = bereaved();
        node.kill();
        let all = [org(false), caller(1, 1, &[1]), caller(2, 1, &[2]), caller(3, 1, &[3])];
        let verdict = node.offer(adopting(mode, &[2]), 3, &all, &[]);
        let refused = [(credential_key(1).id_text(), Why::Revoked)];
        assert_eq!((verdict.outcome(), refusals(&verdict)), (Outcome::ActivePartial, refused.to_vec()));
        assert!(verdict.refusals[0].fails_closed && verdict.durable);
        let check = |node: &Node| {
            assert!(!node.accepts(1) && node.accepts(2) && node.accepts(3));
            assert_eq!(node.holds().2.len(), 1);
        };
        check(&node);
        node.kill();
        check(&node);
        // The same again is no other decision, whatever brings it.
        for mode in [Mode::Delta, Mode::Reconcile, Mode::Snapshot] {
            node.offer(begin(mode), 4, &all, &[]);
            check(&node);
        }
        node.delta(5, &[org(true)], &[]);
        node.kill();
        check(&node);
        // Another content is.
        node.delta(6, &[caller(1, 2, &[1])], &[]);
        assert!(node.accepts(1) && node.holds().2.is_empty());
        node.kill();
        assert!(node.accepts(1) && node.holds().2.is_empty());
    }
}

#[test]
fn a_name_brings_back_what_is_already_held_and_refused() {
    let mut node = bereaved();
    node.offer(adopting(Mode::Reconcile, &[]), 8, &[caller(1, 1, &[1]), caller(2, 1, &[2])], &[]);
    assert!(!node.accepts(1) && !node.accepts(2));
    // Nothing need be sent: it is here.
    let verdict = node.offer(adopting(Mode::Reconcile, &[1]), 9, &[], &[]);
    // Told with the status: the transaction was not about it.
    assert_eq!((verdict.outcome(), refusals(&verdict)), (Outcome::ActivePartial, Vec::new()));
    let standing: Vec<_> =
        node.holds().2.iter().map(|refusal| (refusal.key.clone(), refusal.why())).collect();
    assert_eq!(standing, [(Some(credential_key(2).to_wire()), Why::Revoked)]);
    assert!(node.accepts(1) && !node.accepts(2));
    node.kill();
    assert!(node.accepts(1) && !node.accepts(2));
    // Gone and back once more in a history that is adopted: still revoked.
    node.delta(10, &[], &[credential_key(2)]);
    assert!(node.holds().2.is_empty());
    node.kill();
    node.offer(adopting(Mode::Reconcile, &[]), 11, &[caller(2, 5, &[2])], &[]);
    assert!(!node.accepts(2));
}

// Negative control: without the adopted flag the tombstone does not bite, so it is the flag that the tests see.
#[test]
fn within_one_history_a_credential_may_come_back() {
    let mut node = bereaved();
    let verdict = node.delta(8, &[caller(1, 1, &[1])], &[]);
    assert_eq!(verdict.outcome(), Outcome::Active);
    assert!(node.accepts(1));
}

#[test]
fn an_upstream_credential_leaves_no_tombstone() {
    let mut node = Node::new();
    let upstream = node.region.upstream(4, 1, "s", "x-key", &["https://a.example"]);
    node.delta(6, std::slice::from_ref(&upstream), &[]);
    node.delta(7, &[], &[credential_key(4)]);
    let verdict = node.offer(adopting(Mode::Reconcile, &[]), 8, &[upstream], &[]);
    assert_eq!(verdict.outcome(), Outcome::Active);
}

#[test]
fn a_name_that_is_no_credential_is_refused() {
    let mut node = Node::new();
    let odd = fleet::Begin { revived: vec!["nobody".to_owned()], ..adopting(Mode::Reconcile, &[]) };
    assert!(is_refused(&node.offer(odd, 6, &[], &[]), Why::Transport));
}
