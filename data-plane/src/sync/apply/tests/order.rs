//! Messages that come twice, late, or for another transaction.

use proptest::prelude::*;
use rr_contract::wire::fleet::sync_response::Message as Heard;

use super::*;

fn messages(node: &Node, txn: u8, revision: u64, resources: &[fleet::Resource]) -> Vec<Heard> {
    let body = fixture::body(resources, &[]);
    let foretold = node.applier.inventory.after(Mode::Delta, &crate::sync::changes(&body));
    let txn = vec![txn; 8];
    let begin = fleet::Begin {
        txn: txn.clone(),
        base: node.running().digest.to_vec(),
        chunks: 1,
        ..begin(Mode::Delta)
    };
    let crc32 = crc32fast::hash(&body);
    let position = Some(fixture::position(revision, foretold).to_wire());
    vec![
        Heard::Begin(begin),
        Heard::Chunk(fleet::Chunk { txn: txn.clone(), body: body.into(), crc32, index: 0 }),
        Heard::Commit(fleet::Commit { txn, position, prove_for: None }),
    ]
}

fn hear(node: &mut Node, message: &Heard) -> Option<fleet::Verdict> {
    let answer = match message {
        Heard::Begin(begin) => node.applier.begin(begin.clone()),
        Heard::Chunk(chunk) => node.applier.chunk(chunk),
        Heard::Commit(commit) => wait(node.applier.commit(commit)),
        Heard::Mark(mark) => {
            // Refused or not, the state tells.
            wait(node.applier.mark(mark)).ok();
            None
        }
        _ => None,
    };
    answer.map(|answer| answer.0)
}

// I5
#[test]
fn a_transaction_that_comes_twice_is_taken_once() {
    let mut node = Node::new();
    let messages = messages(&node, 1, 6, &[org(true)]);
    let verdicts: Vec<_> = messages.iter().filter_map(|message| hear(&mut node, message)).collect();
    assert_eq!(verdicts.len(), 1);
    let (here, holds) = (node.running(), node.holds());
    let again: Vec<_> = messages.iter().filter_map(|message| hear(&mut node, message)).collect();
    assert!(again.iter().all(|verdict| is_refused(verdict, Why::BaseMismatch)), "{again:?}");
    assert!(holds == node.holds());
    check_untouched(&mut node, here);
}

// I5
#[test]
fn chunks_and_commits_of_another_transaction_are_ignored() {
    let mut node = Node::new();
    let here = node.running();
    let (one, two) = (messages(&node, 1, 6, &[org(true)]), messages(&node, 2, 6, &[org(true)]));
    for message in [&one[0], &two[1], &two[2], &one[2]] {
        let verdict = hear(&mut node, message);
        assert!(verdict.is_none_or(|verdict| is_refused(&verdict, Why::Transport)));
    }
    assert_eq!(hear(&mut node, &one[1]), None, "it was closed");
    assert_eq!(hear(&mut node, &two[2]), None, "it was never opened");
    check_untouched(&mut node, here);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    // I5: whatever is doubled, lost or mixed up, nobody goes back, and every state is one that was published.
    #[test]
    fn a_node_that_hears_everything_in_disorder_never_goes_back(
        picks in prop::collection::vec((0..6_usize, 0..4_usize), 1..60)
    ) {
        let mut twin = Node::new();
        let mut published = vec![twin.running()];
        let mut rounds = Vec::new();
        for round in 0..6_u8 {
            let revision = 6 + u64::from(round);
            let change = [target(round % 2, &format!("https://{round}.example"))];
            let mut said = messages(&twin, round, revision, &change);
            for message in &said {
                hear(&mut twin, message);
            }
            published.push(twin.running());
            said.push(Heard::Mark(fleet::Mark { position: Some(twin.running().to_wire()) }));
            rounds.push(said);
        }
        let mut node = Node::new();
        let mut newest = node.running().revision;
        for (round, message) in picks {
            hear(&mut node, &rounds[round][message]);
            prop_assert!(node.running().revision >= newest);
            newest = node.running().revision;
            prop_assert!(published.contains(&node.running()));
        }
        let here = node.running();
        node.kill();
        prop_assert_eq!(node.running(), here);
    }
}
