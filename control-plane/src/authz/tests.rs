//! The table of calls: complete, and obeyed.

use std::collections::BTreeSet;

use prost::Message as _;
use prost_types::FileDescriptorSet;

use super::*;

fn principal(operator: bool, orgs: &[(&str, Role)]) -> Principal {
    Principal {
        token: "tk".into(),
        name: "t".into(),
        operator,
        orgs: orgs.iter().map(|(org, role)| ((*org).to_owned(), *role)).collect(),
        ..Principal::default()
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
    let table: BTreeSet<String> = TABLE.iter().map(|it| it.call.to_owned()).collect();
    assert_eq!(calls, table);
    assert_eq!(TABLE.len(), table.len(), "no call stands there twice");
}

#[test]
fn an_operator_sees_no_targets_credentials_proxies_or_requests_of_an_org_and_is_told_which_role_does() {
    let operator = principal(true, &[]);
    for permission in TABLE.iter().filter(|it| matches!(it.least, InOrg(_))) {
        assert_eq!(
            permit(&operator, *permission, Named::Org("og_a")),
            Err(Denied::Least(permission.least)),
            "{}",
            permission.call
        );
    }
    assert_eq!(permit(&operator, CREATE_REGION, Named::Nothing), Ok(()));
}

#[test]
fn who_has_no_role_in_an_org_is_told_nothing_and_who_has_too_little_is_told_what_is_missing() {
    let viewer = principal(false, &[("og_a", Viewer)]);
    assert_eq!(permit(&viewer, GET_PROXY, Named::Org("og_a")), Ok(()));
    assert_eq!(permit(&viewer, CREATE_PROXY, Named::Org("og_a")), Err(Denied::Least(InOrg(Editor))));
    assert_eq!(permit(&viewer, GET_PROXY, Named::Org("og_b")), Err(Denied::Invisible));
    assert_eq!(permit(&viewer, CREATE_ORG, Named::Nothing), Err(Denied::Least(Operator)));
}

#[test]
fn the_bootstrap_token_makes_tokens_and_nothing_else() {
    let bootstrap = Principal { bootstrap: true, operator: true, ..principal(true, &[]) };
    for permission in TABLE {
        let expected = if *permission == CREATE_TOKEN { Ok(()) } else { Err(Denied::Bootstrap) };
        assert_eq!(permit(&bootstrap, *permission, Named::Nothing), expected, "{}", permission.call);
    }
}

#[test]
fn a_region_is_operated_by_its_operators_by_admins_of_whom_it_is_dedicated_to_and_by_operators() {
    let here = Principal { regions: vec!["rg_a".into()], ..principal(false, &[]) };
    let shared = Named::Region("rg_a", None);
    let dedicated = Named::Region("rg_b", Some("og_a"));
    let denied = Err(Denied::Least(InRegion));
    for (who, in_shared, in_dedicated) in [
        (principal(true, &[]), Ok(()), Ok(())),
        (here, Ok(()), denied),
        (principal(false, &[("og_a", Admin)]), denied, Ok(())),
        (principal(false, &[("og_a", Editor)]), denied, denied),
        (principal(false, &[("og_b", Owner)]), denied, denied),
    ] {
        assert_eq!(permit(&who, CREATE_NODE_TOKEN, shared), in_shared, "{who:?}");
        assert_eq!(permit(&who, CREATE_NODE_TOKEN, dedicated), in_dedicated, "{who:?}");
    }
}

#[test]
fn a_token_narrowed_to_calls_makes_no_other_and_may_always_ask_what_it_is() {
    let calls = vec!["ProxyService.*".to_owned(), "TargetService.GetTarget".to_owned()];
    let narrow = Principal { calls, ..principal(false, &[("og_a", Owner)]) };
    for permission in TABLE.iter().filter(|it| it.level == Org && matches!(it.least, InOrg(_))) {
        let within = permission.call.starts_with("ProxyService.") || *permission == GET_TARGET;
        let expected = if within { Ok(()) } else { Err(Denied::Call) };
        assert_eq!(permit(&narrow, *permission, Named::Org("og_a")), expected, "{}", permission.call);
    }
    assert_eq!(permit(&narrow, GET_SELF, Named::Nothing), Ok(()));
    assert_eq!(permit(&narrow, LIST_ORGS, Named::Nothing), Err(Denied::Call));
    // A narrowed token does not tell its holder that something exists.
    assert_eq!(permit(&narrow, GET_PROXY, Named::Org("og_b")), Err(Denied::Invisible));
}

/// A new call is for such a token only when somebody said so.
#[test]
fn a_token_narrowed_to_resources_makes_calls_about_resources_and_changes_nothing_else() {
    let resources = vec!["px_a".to_owned()];
    let narrow = Principal { resources, ..principal(true, &[("og_a", Owner)]) };
    let about = ["Target", "Credential", "Proxy", "Rule", "Filter", "Meter", "Apply"];
    for permission in TABLE {
        let named = match permission.level {
            Org => Named::Org("og_a"),
            Region => Named::Region("rg_a", None),
            Installation | Own => Named::Nothing,
        };
        let service = permission.call.split_once("Service.").expect("of a service").0;
        let said = about.contains(&service)
            || [GET_INSTALLATION, GET_ORG, LIST_ORGS, GET_REGION, LIST_REGIONS].contains(permission)
            // These look themselves.
            || [ROLLBACK_ORG, CREATE_TOKEN, GET_SELF].contains(permission);
        let expected = if said { Ok(()) } else { Err(Denied::Call) };
        assert_eq!(permit(&narrow, *permission, named), expected, "{}", permission.call);
    }
}
