//! A history as it was made, and every way in which it may have been rewritten.

use rr_contract::audit::document_hash;
use rr_contract::wire::management::document::Resource;

use super::*;

fn change(n: u64) -> mg::AuditChange {
    let target = mg::Target { name: format!("t{n}"), ..mg::Target::default() };
    let after = mg::Document { resource: Some(Resource::Target(target)) };
    mg::AuditChange {
        kind: "target".into(),
        id: format!("tg_{n}"),
        after_hash: document_hash(&after).to_vec(),
        after: Some(after),
        ..mg::AuditChange::default()
    }
}

fn entry(revision: u64, chain: &mut Chain) -> mg::AuditEntry {
    let changes = vec![change(revision), change(revision + 100)];
    let mut entry = mg::AuditEntry {
        revision,
        call: "TargetService.CreateTarget".into(),
        change_count: 2,
        changes,
        ..mg::AuditEntry::default()
    };
    let hash = entry.changes.iter().fold(Entry::new(&entry), |hash, change| hash.change(change));
    *chain = chain.next(revision, &hash.finish());
    entry.audit = chain.head().to_vec();
    entry
}

/// Three revisions; the second comes in two parts.
fn export() -> Vec<mg::AuditEntry> {
    let mut chain = Chain::start();
    let [one, two, three] = [1, 2, 3].map(|n| entry(n, &mut chain));
    let (mut first, mut second) = (two.clone(), two);
    first.changes.truncate(1);
    second.changes.remove(0);
    vec![one, first, second, three]
}

fn verify(export: Vec<mg::AuditEntry>, wanted: &[u64]) -> Result<History, Misfit> {
    let mut history = History::new(wanted.iter().copied());
    for part in export {
        history.take(part)?;
    }
    history.finish(3)?;
    Ok(history)
}

fn claim(revision: u64, audit: &[u8]) -> Claim {
    Claim {
        who: format!("node {revision}"),
        asked: false,
        lineage: Some(vec![7]),
        revision,
        audit: audit.to_vec(),
    }
}

#[test]
fn a_history_as_it_was_made_fits_in_parts_or_whole() {
    let history = verify(export(), &[0, 2, 3]).expect("it fits");
    assert_eq!(history.revision, 3);
    assert_eq!(history.heads.keys().copied().collect::<Vec<_>>(), [0, 2, 3]);
}

type Fault = fn(&mut Vec<mg::AuditEntry>);

#[test]
fn the_first_revision_that_was_rewritten_is_named() {
    let faults: [(u64, Fault); 10] = [
        (1, |export| export[0].call.push('x')),
        (1, |export| export[0].audit[0] ^= 1),
        (1, |export| export[0].changes[0].name.push('x')),
        (1, |export| drop(export.remove(0))),
        (2, |export| drop(export.remove(2))),
        (2, |export| drop(export.drain(1..3))),
        (2, |export| export[2].call.push('x')),
        (2, |export| export[1].changes[0].after = change(9).after),
        (3, |export| drop(export.pop())),
        (2, |export| export.swap(1, 3)),
    ];
    for (n, (revision, fault)) in faults.into_iter().enumerate() {
        let mut changed = export();
        fault(&mut changed);
        assert_eq!(verify(changed, &[]).err().map(|misfit| misfit.revision), Some(revision), "fault {n}");
    }
}

#[test]
fn a_history_that_was_rewritten_from_its_start_does_not_fit_what_nodes_keep() {
    let old = verify(export(), &[2]).expect("it fits").heads[&2];
    let mut chain = Chain::start();
    let mut first = entry(1, &mut Chain::start());
    first.call = "TargetService.DeleteTarget".into();
    let hash = first.changes.iter().fold(Entry::new(&first), |hash, change| hash.change(change));
    chain = chain.next(1, &hash.finish());
    first.audit = chain.head().to_vec();
    let rest = [2, 3].map(|n| entry(n, &mut chain));
    let history = verify([vec![first], rest.to_vec()].concat(), &[2]).expect("fits itself");

    let findings = compare(&[claim(2, &old)], &[7], &history, None);
    assert_eq!(findings[0].fits, Some(true));
    assert!(findings[1].fits == Some(false) && findings[1].why.contains("another"), "{findings:?}");
}

#[test]
fn a_claim_fits_only_in_its_own_history_and_at_its_own_revision() {
    let history = verify(export(), &[2, 3, 4]).expect("it fits");
    let (two, three) = (history.heads[&2], history.heads[&3]);
    let fits = |claim: Claim| compare(&[claim], &[7], &history, None)[1].fits == Some(true);
    assert!(fits(claim(2, &two)) && fits(claim(3, &three)));
    assert!(!fits(claim(3, &two)));
    assert!(!fits(claim(3, &[1; 32])));
    assert!(!fits(claim(4, &three)), "a node ahead of the history");
    assert!(!fits(Claim { lineage: Some(vec![8]), ..claim(2, &two) }), "another history");
}

#[test]
fn whoever_was_asked_and_knows_no_head_does_not_fit_and_a_node_that_never_had_one_says_nothing() {
    let history = verify(export(), &[2, 3]).expect("it fits");
    let fits = |claim: Claim| compare(&[claim], &[7], &history, None)[1].fits;
    assert_eq!(fits(claim(3, &[])), None);
    assert_eq!(fits(Claim { asked: true, ..claim(3, &[]) }), Some(false));
}

#[test]
fn nodes_bear_witness_by_what_they_run_by_what_they_keep_and_by_what_they_were_told() {
    let at = |revision| rr_contract::wire::fleet::Position {
        lineage: vec![7],
        revision,
        audit: vec![9; 32],
        ..Default::default()
    };
    let node = |running, on_disk, history_rewritten| Node {
        id: "nd_1".into(),
        running,
        on_disk,
        history_rewritten,
        ..Node::default()
    };
    let nodes = [
        node(Some(at(3)), Some(at(3)), false),
        node(Some(at(3)), Some(at(2)), true),
        node(None, None, false),
    ];
    let claims: Vec<u64> = of_nodes(&nodes).iter().map(|claim| claim.revision).collect();
    assert_eq!(claims, [3, 3, 2]);
    let told: Vec<Finding> = witnesses(&nodes).collect();
    assert_eq!((told.len(), told[0].fits, told[0].revision), (1, Some(false), 3));
}
