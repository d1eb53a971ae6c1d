//! Each names its thing and its place, and a command that is there.

use rr_contract::model::id::{NodeId, RegionId};
use rr_contract::wire::fleet::{Position, Why};

use super::*;
use crate::noun::Noun;

const NOW: i64 = 1_767_225_600_000_000;

fn refusal() -> Refusal {
    Refusal {
        why: Why::Invalid.into(),
        detail: "bad\nname".to_owned(),
        wanted: vec![7],
        ..Default::default()
    }
}

fn of() -> Refused<'static> {
    Refused { org: "og_a", noun: Noun::Target, id: "tg_a", name: "shop" }
}

#[test]
fn a_withdrawal_names_the_revisions_and_the_reason_on_one_line() {
    let refusal = refusal();
    let counted = Counted { region: "eu", refusing: 3, nodes: 10, refusal: &refusal };
    let row = withdrawn(NOW, &of(), &counted, [7, 5, 8]);
    assert_eq!(row.title, "target shop was withdrawn to what it was in revision 5");
    let wanted = "refused by 3 of 10 nodes in region eu: bad name (invalid)";
    assert!(row.message.contains(wanted) && row.message.contains("rrctl org diff 5 7"), "{}", row.message);
    assert!(!row.message.contains('\n'));
    assert_ne!(row.id, withdrawn(NOW, &of(), &counted, [9, 5, 10]).id, "each time is news");
}

#[test]
fn what_is_left_to_a_person_says_why_and_is_other_news_than_the_refusal() {
    let refusal = refusal();
    let counted = Counted { region: "eu", refusing: 2, nodes: 2, refusal: &refusal };
    let row = not_withdrawn(NOW, &of(), &counted, 7, "there is no older version");
    assert!(row.message.contains("for there is no older version"), "{}", row.message);
    assert!(row.message.contains("rrctl explain target shop"), "{}", row.message);
    assert_ne!(row.id, super::super::resource_refused(NOW, &of(), &refusal, "eu").id);
}

#[test]
fn trouble_with_nodes_has_one_id_whoever_writes_it_and_says_what_helps() {
    let (node, region) = (NodeId::from_random([1; 16]), RegionId::from_random([2; 16]));
    let met = |at: i64| NodeClash {
        node,
        region,
        there: "10.0.0.1:1".to_owned(),
        newcomer: "10.0.0.2:2".to_owned(),
        at,
    };
    let clash = |at: i64| node_clash(NOW + at, "", &met(NOW + at), "eu");
    assert_eq!(clash(0).id, clash(HOUR - 1).id);
    assert_ne!(clash(0).id, clash(HOUR).id);
    assert!(clash(0).message.contains("10.0.0.2:2") && clash(0).message.contains("rrctl node token create"));

    let crash = crash_row::Model {
        region: region.to_string(),
        digest: vec![1],
        node: node.to_string(),
        revision: 12,
        at: NOW,
    };
    let row = node_crashed(NOW + 9, "og_a", &crash, "eu");
    assert_eq!((row.org.as_str(), row.subject), ("og_a", node.to_string()));
    assert!(row.title.contains("did not survive revision 12"), "{}", row.title);

    let state = region_state_row::Model {
        region: region.to_string(),
        held_revision: Some(12),
        held_digest: vec![1],
        held_why: "2 nodes ended on it".to_owned(),
        held_at: Some(NOW),
        adopted_lineage: Vec::new(),
        adopted_revision: None,
        adopted_revived: String::new(),
        adopted_at: None,
    };
    let row = region_held(NOW, "", &state, "eu");
    assert!(row.message.contains("rrctl revision release --region eu 12"), "{}", row.message);

    let at = Position { revision: 40, ..Position::default() };
    let stray = Stray { node: node.to_string(), region: region.to_string(), at, since: NOW };
    let row = node_diverged(NOW, "", &stray, "eu");
    assert!(row.message.contains("rrctl revision adopt --region eu --dry-run"), "{}", row.message);
    assert_eq!(row.id, node_diverged(NOW + 5, "", &stray, "eu").id);
}

#[test]
fn an_issuer_is_told_of_once_an_hour_for_each_node_and_url_and_apart_from_its_return() {
    let of = |node, jwks_url, since, back_at| {
        let of = Issuer { org: "og_1", node, region: "eu", jwks_url, since, never_there: false, back_at };
        issuer(5 * HOUR, &of).id
    };
    let first = of("nd_1", "https://a.example", HOUR, None);
    assert_eq!(of("nd_1", "https://a.example", 2 * HOUR - 1, None), first);
    let others = [
        of("nd_1", "https://a.example", 2 * HOUR, None),
        of("nd_2", "https://a.example", HOUR, None),
        of("nd_1", "https://b.example", HOUR, None),
        of("nd_1", "https://a.example", HOUR, Some(HOUR + 1)),
        of("nd_1", "https://a.example", HOUR, Some(2 * HOUR)),
    ];
    assert!(!others.contains(&first));
    assert_eq!(of("nd_1", "https://a.example", 7, Some(HOUR + 2)), others[3], "it comes and goes");
    assert_eq!(others.iter().collect::<std::collections::BTreeSet<_>>().len(), others.len());
}

#[test]
fn a_secret_that_comes_back_is_told_once_an_hour_and_credential_wherever_it_is_seen() {
    let of = |credential, region, at, refused| {
        let of = Echoed { org: "og_1", credential: (credential, "key"), proxy: "shop", region, at, refused };
        secret_echoed(5 * HOUR, &of)
    };
    let first = of("cr_1", "eu", HOUR, false);
    assert_eq!(of("cr_1", "us", 2 * HOUR - 1, true).id, first.id);
    assert_ne!(of("cr_1", "eu", 2 * HOUR, false).id, first.id);
    assert_ne!(of("cr_2", "eu", HOUR, false).id, first.id);
    assert_eq!((first.org.as_str(), first.subject.as_str()), ("og_1", "cr_1"));
    assert!(
        first.message.contains("It was masked.") && first.message.contains("through proxy shop in region eu")
    );
    assert!(of("cr_1", "eu", HOUR, true).message.contains("The answer was refused."));
}
