//! What texts say and do not.

use super::*;

const NOW: i64 = 1_767_225_600_000_000;

fn record(status: i32, code: &str) -> request_row::Model {
    request_row::Model {
        id: "rq".to_owned(),
        org: "og_a".to_owned(),
        proxy: "px_a".to_owned(),
        caller: String::new(),
        received_at: NOW,
        stored_at: NOW,
        node: String::new(),
        region: String::new(),
        status,
        code: code.to_owned(),
        path: String::new(),
        rule: String::new(),
        arrival: 0,
        count: 1,
        record: Vec::new(),
    }
}

#[test]
fn only_our_own_refusal_over_a_limit_is_one() {
    assert!(is_limited(&record(429, "rate-limited")));
    assert!(!is_limited(&record(429, "proxy-access-granted")), "the upstream's own");
    assert!(!is_limited(&record(200, "rate-limited")));
}

#[test]
fn the_same_news_has_the_same_id_whenever_it_is_written_and_other_news_another() {
    let one = limit_reached(NOW, "og_a", "px_a", "p", NOW);
    let later = limit_reached(NOW + 5, "og_a", "px_a", "renamed", NOW + HOUR - 1);
    assert_eq!((&one.id, &one.window), (&later.id, &later.window));
    let others = [
        limit_reached(NOW, "og_a", "px_a", "p", NOW + HOUR),
        limit_reached(NOW, "og_a", "px_b", "p", NOW),
        limit_reached(NOW, "og_b", "px_a", "p", NOW),
        credential_near_expiry(NOW, "og_a", "px_a", "p", NOW, true),
    ];
    assert!(others.iter().all(|other| other.id != one.id));
    assert!(one.message.contains("`rrctl request list --proxy p -o wide`"), "{}", one.message);
}

#[test]
fn a_credential_is_named_with_its_end_and_what_to_do() {
    let soon = credential_near_expiry(NOW, "og_a", "cr_a", "stripe", NOW + HOUR, true);
    let before = credential_near_expiry(NOW - 48 * HOUR, "og_a", "cr_a", "stripe", NOW + HOUR, true);
    assert_ne!(before.id, soon.id, "the last day is other news");
    for (row, is_of_it) in [(&soon, true), (&before, true)] {
        assert_eq!(is_of_end(&row.window, NOW + HOUR), is_of_it);
        assert!(!is_of_end(&row.window, NOW + 2 * HOUR));
    }
    assert_eq!(soon.title, "credential stripe ends at 2026-01-01T01:00:00Z");
    assert!(soon.message.contains("rrctl credential replace-secret stripe"), "{}", soon.message);
    let over = credential_near_expiry(NOW, "og_a", "cr_a", "mobile", NOW - HOUR, false);
    assert!(over.title.contains("ended at"), "{}", over.title);
    assert!(over.message.contains("create-caller"), "{}", over.message);
}

#[test]
fn what_a_node_gives_as_its_reason_is_one_short_line() {
    let refusal = Refusal {
        why: Why::Unseal.into(),
        detail: format!("seal\nbroken{}", "x".repeat(1000)),
        wanted: vec![0xab],
        ..Default::default()
    };
    let of = Refused { org: "og_a", noun: Noun::Credential, id: "cr_a", name: "stripe" };
    let row = resource_refused(NOW, &of, &refusal, "eu");
    assert!(row.message.contains("seal broken") && row.message.contains("(unseal)"), "{}", row.message);
    assert!(row.message.chars().count() < 800 && !row.message.contains('\n'));
    assert_eq!(row.window, "ab");
}
