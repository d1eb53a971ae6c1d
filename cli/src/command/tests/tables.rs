//! Tables of each noun as a terminal of 80 columns shows them: what counts is there, and whole.

use std::time::{Duration, SystemTime};

use rr_contract::model::id::RegionId;
use rr_contract::seal::region_key::RegionKeys;
use rr_contract::seam::SystemEntropy;
use rr_contract::wire::{fleet, management as mg};

use crate::print::{Format, Printer, Row};

const CODES: [&str; 2] = ["proxy-access-granted", "proxy-access-denied"];

/// The lines in a terminal this wide, and what is left out.
fn shown<T: Row>(items: &[T], room: usize) -> (Vec<String>, Vec<&'static str>) {
    let (lines, left_out) = Printer::new(Format::Table).table(items, Some(room));
    assert!(lines.iter().all(|line| line.chars().count() <= room), "{lines:?}");
    (lines, left_out)
}

fn requests() -> Vec<mg::Request> {
    let request = |(nth, code): (usize, &str)| {
        let record = fleet::Record {
            id: format!("rq_{nth:026}"),
            method: "DELETE".into(),
            proxy: "px_1".into(),
            path: "/hello".into(),
            status: 401,
            code: code.into(),
            caller_credential: "cr_1".into(),
            reason: if nth == 1 { "unknown".into() } else { String::new() },
            ..fleet::Record::default()
        };
        let names = [("px_1", "echo"), ("cr_1", "demo-caller")];
        let names = names.map(|(id, name)| (id.to_owned(), name.to_owned())).into();
        mg::Request { record: Some(record), names, ..mg::Request::default() }
    };
    CODES.into_iter().enumerate().map(request).collect()
}

#[test]
fn a_list_of_requests_shows_the_whole_code_and_the_caller_and_the_id_where_it_fits() {
    let (lines, left_out) = shown(&requests(), 80);
    for (line, code) in lines[1..].iter().zip(CODES) {
        assert!(line.contains(code) && line.contains("demo-caller"), "{lines:?}");
    }
    assert!(!lines.concat().contains('…'), "{lines:?}");
    assert!(left_out.contains(&"id"), "it is named: {left_out:?}");
    let (lines, _) = shown(&requests(), 120);
    assert!(lines[1].contains("rq_00000000000000000000000000"), "{lines:?}");
}

#[test]
fn a_code_is_left_out_rather_than_cut() {
    for room in 20..80 {
        let (lines, left_out) = shown(&requests(), room);
        let is_whole = lines[1].contains(CODES[0]);
        assert!(is_whole || left_out.contains(&"code"), "{room}: {lines:?}");
    }
}

#[test]
fn a_list_of_tokens_shows_whole_grants_and_no_empty_column() {
    let grant =
        |role: mg::Role, org: &str| mg::Grant { role: role.into(), org: org.into(), ..mg::Grant::default() };
    let token = mg::Token {
        id: format!("tk_{:026}", 1),
        name: "laptop-of-an-operator".into(),
        grants: vec![grant(mg::Role::Operator, ""), grant(mg::Role::Editor, "acme")],
        expires_at: Some(pbjson_types::Timestamp { seconds: 4_000_000_000, nanos: 0 }),
        ..mg::Token::default()
    };
    let (lines, left_out) = shown(std::slice::from_ref(&token), 80);
    assert!(lines[1].contains("operator, editor@acme"), "{lines:?}");
    assert!(lines[0].contains("EXPIRES") && left_out.is_empty(), "{lines:?} {left_out:?}");
    for empty in ["USER", "ONLY CALLS", "ONLY RESOURCES", "REVOKED"] {
        assert!(!lines[0].contains(empty), "{lines:?}");
    }
    // What has a value stays.
    let narrow = mg::Token { user: "ann".into(), ..token };
    assert!(shown(&[narrow], 80).0[0].contains("USER"));
}

#[test]
fn a_list_of_regions_shows_whole_fingerprints() {
    let keys = RegionKeys::generate(RegionId::from_random([7; 16]), &SystemEntropy);
    let now = SystemTime::now();
    let statement = keys.statement(now, now + Duration::from_secs(3600));
    let region = mg::Region {
        name: "local".into(),
        base_url: "http://127.0.0.1:7430".into(),
        key: Some(statement.to_wire()),
        ..mg::Region::default()
    };
    let (lines, left_out) = shown(&[region], 80);
    assert!(lines[1].contains(&statement.fingerprint().to_string()), "{lines:?}");
    assert!(lines[1].ends_with("http://127.0.0.1:7430") && left_out.is_empty(), "{lines:?} {left_out:?}");
}

#[test]
fn a_list_of_notifications_shows_the_whole_id_and_more_of_the_title_than_before() {
    let title = "region eu is held at revision 7";
    let id = format!("no_{:026}", 1);
    let notification = mg::Notification {
        id: id.clone(),
        title: title.into(),
        kind: 2,
        message: "Nodes crashed on revision 8. Release it when the cause is mended.".into(),
        ..mg::Notification::default()
    };
    let (lines, _) = shown(&[notification], 80);
    assert!(lines[1].contains(title) && lines[1].contains(&id), "{lines:?}");
}

#[test]
fn a_node_that_has_something_to_say_says_it_beside_its_whole_id() {
    let node = fleet::Node {
        id: format!("nd_{:026}", 1),
        region: "local".into(),
        state: fleet::NodeState::Disconnected.into(),
        why: "it was seen last 3 minutes ago, and nobody told it to leave".into(),
        ..fleet::Node::default()
    };
    let (lines, _) = shown(&[node], 80);
    assert!(lines[1].contains(&format!("nd_{:026}", 1)) && lines[1].contains("disconnected"), "{lines:?}");
    assert!(lines[1].contains("it was seen last 3"), "{lines:?}");
}

fn check<T: Row>() {
    for heading in T::WIDE.iter().chain(T::WHOLE) {
        assert!(T::COLUMNS.contains(heading), "{heading} is no column of {:?}", T::COLUMNS);
    }
}

#[test]
fn a_column_that_is_wide_or_whole_is_a_column() {
    check::<mg::Request>();
    check::<mg::Token>();
    check::<mg::Region>();
    check::<mg::Notification>();
    check::<mg::Credential>();
    check::<mg::Proxy>();
    check::<mg::Target>();
    check::<mg::Org>();
    check::<mg::Revision>();
    check::<mg::AuditEntry>();
    check::<mg::RefusedAttempt>();
    check::<mg::NodeToken>();
    check::<fleet::Node>();
    check::<fleet::NodeAccount>();
    check::<fleet::RegionState>();
}
