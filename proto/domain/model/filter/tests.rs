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
        ..fleet::FilterResource::default()
    }
}

fn redact(detectors: &[i32], patterns: &[&str]) -> fleet::FilterResource {
    fleet::FilterResource {
        detectors: detectors.to_vec(),
        patterns: patterns.iter().map(|it| (*it).to_owned()).collect(),
        direction: fleet::FilterDirection::Request.into(),
        ..wire(fleet::FilterAction::Redact, &[], "")
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
fn what_redacts_is_read_and_written_as_the_same_and_needs_no_path() {
    let filter = Filter::try_from(redact(&[1, 22], &["EMP-[0-9]{1,20}", "(?i)secret"])).expect("a filter");
    assert_eq!(Filter::try_from(filter.to_wire()), Ok(filter.clone()));
    assert_eq!(filter.direction, Direction::Request);
    let Action::Redact(redact) = &filter.action else { panic!("{:?}", filter.action) };
    assert_eq!(redact.detectors.iter().collect::<Vec<_>>(), [Detector::Email, Detector::CaSin]);
    assert_eq!((redact.patterns.len(), &*redact.mask), (2, MASK));
    assert_eq!(
        Model::Filter(filter).needs(),
        [feature::FILTERS, feature::FILTER_REDACT, feature::FILTER_REQUEST]
    );
}

#[test]
fn what_redacts_says_what_is_wrong_with_each_detector_and_pattern() {
    assert_eq!(faults(redact(&[], &[])), ["detectors"]);
    assert_eq!(faults(redact(&[0, 1, 1, 99], &[])), ["detectors[0]", "detectors[2]", "detectors[3]"]);
    let patterns = ["a+", "x*", "(?=a)", "", "b{300}", "[0-9]{4}", "[0-9]{4}", "$"];
    let wanted = [0, 1, 2, 3, 4, 6, 7].map(|i| format!("patterns[{i}]"));
    assert_eq!(faults(redact(&[], &patterns)), wanted);
    assert_eq!(faults(redact(&[], &["a"; 17])), ["patterns"]);
    let wrong = fleet::FilterResource {
        detectors: vec![1],
        patterns: vec!["a".to_owned()],
        direction: 7,
        ..wire(fleet::FilterAction::Mask, &["a"], "")
    };
    assert_eq!(faults(wrong), ["detectors", "patterns", "direction"]);
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
