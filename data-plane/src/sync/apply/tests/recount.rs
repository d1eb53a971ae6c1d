//! A digest that is wrong although what is held is right.

use super::*;

#[test]
fn a_digest_that_was_wrong_is_added_up_anew_and_the_transaction_is_taken() {
    let mut node = Node::new();
    let before = node.running();
    let more = [target(1, "https://a.example")];
    let right = node.after(6, &[org(false), more[0].clone()]);
    node.applier.inventory.lose_digest();
    let body = fixture::body(&more, &[]);
    let begin = fleet::Begin { base: before.digest.to_vec(), chunks: 1, ..begin(Mode::Delta) };
    let mut verdict = None;
    let log = fixture::log_of(|| verdict = Some(node.say(begin, right.to_wire(), body)));
    assert!(log.contains("ERROR") && log.contains("digest"), "{log}");
    assert_eq!((verdict.map(|verdict| verdict.outcome()), node.running()), (Some(Outcome::Active), right));
}
