//! The table of calls: complete, and obeyed.

use std::collections::BTreeSet;

use prost::Message as _;
use prost_types::FileDescriptorSet;

use super::*;

fn principal(operator: bool, orgs: &[(&str, Role)]) -> Principal {
    Principal {
        token: "tk".into(),
        name: "t".into(),
        bootstrap: false,
        operator,
        orgs: orgs.iter().map(|(org, role)| ((*org).to_owned(), *role)).collect(),
        expires_at: None,
        created_at: 0,
    }
}

#[test]
fn every_call_of_the_schemas_is_in_the_table_and_nothing_else_is() {
    let files = FileDescriptorSet::decode(rr_contract::wire::DESCRIPTORS).expect("our own descriptors");
    let mut calls = BTreeSet::new();
    for file in &files.file {
        for service in &file.service {
            let served = match file.package() {
                "requestrocket.management.v1" => true,
                "requestrocket.fleet.v1" => service.name() == "FleetService",
                _ => false,
            };
            if served {
                calls.extend(
                    service.method.iter().map(|method| format!("{}.{}", service.name(), method.name())),
                );
            }
        }
    }
    let table: BTreeSet<String> = TABLE.iter().map(|rule| rule.call.to_owned()).collect();
    assert_eq!(calls, table);
    assert_eq!(TABLE.len(), table.len(), "no call stands there twice");
}

#[test]
fn an_operator_sees_no_targets_credentials_proxies_or_requests_of_an_org() {
    let operator = principal(true, &[]);
    for rule in TABLE.iter().filter(|rule| matches!(rule.least, InOrg(_))) {
        assert_eq!(permit(&operator, *rule, Some("og_a")), Err(Denied::Invisible), "{}", rule.call);
    }
    assert_eq!(permit(&operator, CREATE_REGION, None), Ok(()));
}

#[test]
fn who_has_no_role_in_an_org_is_told_nothing_and_who_has_too_little_is_told_what_is_missing() {
    let viewer = principal(false, &[("og_a", Viewer)]);
    assert_eq!(permit(&viewer, GET_PROXY, Some("og_a")), Ok(()));
    assert_eq!(permit(&viewer, CREATE_PROXY, Some("og_a")), Err(Denied::Least(InOrg(Editor))));
    assert_eq!(permit(&viewer, GET_PROXY, Some("og_b")), Err(Denied::Invisible));
    assert_eq!(permit(&viewer, CREATE_ORG, None), Err(Denied::Least(Operator)));
}

#[test]
fn the_bootstrap_token_makes_tokens_and_nothing_else() {
    let bootstrap = Principal { bootstrap: true, operator: true, ..principal(true, &[]) };
    for rule in TABLE {
        let expected = if *rule == CREATE_TOKEN { Ok(()) } else { Err(Denied::Bootstrap) };
        assert_eq!(permit(&bootstrap, *rule, None), expected, "{}", rule.call);
    }
}
