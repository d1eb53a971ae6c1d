//! Filters on the wire: what parses, and every fault of what does not.

use crate::model::feature;
use crate::model::id::{CredentialId, OrgId};
use crate::model::resource::{Model, ResourceId};

use super::*;

fn wire(action: fleet::FilterAction, paths: &[&str], mask: &str) -> fleet::FilterResource {
    let parent =
        Key::new(OrgId::from_random([1; 16]), ResourceId::Credential(CredentialId::from_random([1; 16])));
    fleet::FilterResource {
        parent: Some(parent.to_wire()),
        name: "no-secrets".to_owned(),
        action: action.into(),
        paths: paths.iter().map(|path| (*path).to_owned()).collect(),
        order: 7,
        mask: mask.to_owned(),
    }
}

fn faults(wire: fleet::FilterResource) -> Vec<String> {
    let invalid = Filter::try_from(wire).expect_err("it is wrong");
    invalid.violations().iter().map(|violation| violation.field.clone()).collect()
}

#[test]
fn what_is_read_is_written_as_the_same() {
    for (action, mask) in [
        (fleet::FilterAction::Retain, ""),
        (fleet::FilterAction::Destroy, ""),
        (fleet::FilterAction::Mask, ""),
        (fleet::FilterAction::Mask, "[gone]"),
    ] {
        let filter =
            Filter::try_from(wire(action, &["a.b[*].c", "*", "a[\"b.c\"]"], mask)).expect("a filter");
        assert_eq!(Filter::try_from(filter.to_wire()), Ok(filter));
    }
    let masked = Filter::try_from(wire(fleet::FilterAction::Mask, &["a"], "")).expect("a filter");
    assert_eq!(masked.action, Action::Mask("***".to_owned()));
}

#[test]
fn every_fault_is_told_at_once_and_each_with_its_field() {
    let wrong = fleet::FilterResource {
        parent: None,
        name: String::new(),
        order: 1001,
        ..wire(fleet::FilterAction::Unspecified, &["a", "b[0]", "a", "c["], &"x".repeat(101))
    };
    assert_eq!(
        faults(wrong),
        ["parent", "name", "action", "mask", "paths[1]", "paths[2]", "paths[3]", "order"]
    );
    assert_eq!(faults(wire(fleet::FilterAction::Retain, &["a"], "x")), ["mask"]);
    assert_eq!(faults(wire(fleet::FilterAction::Retain, &[], "")), ["paths"]);
    let many: Vec<String> = (0..65).map(|i| format!("a{i}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    assert_eq!(faults(wire(fleet::FilterAction::Destroy, &many, "")), ["paths"]);
    assert!(Filter::try_from(wire(fleet::FilterAction::Destroy, &many[..64], "")).is_ok());
}

#[test]
fn two_spellings_of_one_path_are_one_path() {
    assert_eq!(faults(wire(fleet::FilterAction::Retain, &["a[*].b", "a.*[\"b\"]"], "")), ["paths[1]"]);
}

#[test]
fn a_node_has_to_know_filters() {
    let filter = Filter::try_from(wire(fleet::FilterAction::Destroy, &["a"], "")).expect("a filter");
    assert_eq!(Model::Filter(filter).needs(), [feature::FILTERS]);
}
