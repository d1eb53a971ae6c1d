//! What input fields have in common: required messages, output-only fields, update masks, times.

use std::collections::BTreeSet;

use pbjson_types::Timestamp;
use rr_contract::model::time;
use rr_contract::wire::FieldMask;

use super::{OrgRow, ServiceError};
use crate::store::micros;

/// The message that a call is about.
pub(super) fn required<T>(field: &str, value: Option<T>) -> Result<T, ServiceError> {
    value.ok_or_else(|| ServiceError::field(field, "is missing"))
}

/// An id that the control plane sets.
pub(super) fn unset_id(field: &str, id: &str) -> Result<(), ServiceError> {
    if id.is_empty() { Ok(()) } else { Err(ServiceError::field(field, "is set by the control plane")) }
}

/// An organization inside a body: the path's, or none.
pub(super) fn same_org(field: &str, said: &str, org: &OrgRow) -> Result<(), ServiceError> {
    if is_same_org(said, org) { Ok(()) } else { Err(ServiceError::field(field, ANOTHER_ORG)) }
}

/// Whether an organization inside a body is the path's, or none.
pub(super) fn is_same_org(said: &str, org: &OrgRow) -> bool {
    said.is_empty() || said == org.id || said == org.name
}

pub(super) const ANOTHER_ORG: &str = "is another organization than the path names";

/// The fields that an update is about: those that the mask names, or, without one, those that are not empty.
pub(super) fn masked(
    mask: Option<FieldMask>,
    fields: &[(&'static str, bool)],
) -> Result<BTreeSet<&'static str>, ServiceError> {
    let names = || fields.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
    let chosen: BTreeSet<&'static str> = match mask {
        Some(mask) if !mask.paths.is_empty() => mask
            .paths
            .iter()
            .map(|path| {
                fields.iter().find(|(name, _)| name == path).map(|(name, _)| *name).ok_or_else(|| {
                    ServiceError::field("update_mask", format!("{path:?} is none of {}", names()))
                })
            })
            .collect::<Result<_, _>>()?,
        _ => fields.iter().filter(|(_, said)| *said).map(|(name, _)| *name).collect(),
    };
    if chosen.is_empty() {
        return Err(ServiceError::field(
            "update_mask",
            format!("nothing to change: name some of {}", names()),
        ));
    }
    Ok(chosen)
}

/// A time as rows have it.
pub(super) fn time_row(field: &str, time: Option<&Timestamp>) -> Result<Option<i64>, ServiceError> {
    time.map(|at| {
        time::system_time(at).map(micros).map_err(|error| ServiceError::field(field, error.to_string()))
    })
    .transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIELDS: [(&str, bool); 2] = [("base_url", true), ("danger_plaintext", false)];

    #[test]
    fn a_mask_names_what_changes_and_without_one_it_is_what_was_said() {
        let mask = FieldMask { paths: vec!["danger_plaintext".into()] };
        assert_eq!(masked(Some(mask), &FIELDS).expect("known"), ["danger_plaintext"].into());
        assert_eq!(masked(None, &FIELDS).expect("one is said"), ["base_url"].into());
    }

    #[test]
    fn an_unknown_path_is_refused_by_name() {
        let mask = FieldMask { paths: vec!["nmae".into()] };
        let refused = masked(Some(mask), &FIELDS).expect_err("unknown").to_string();
        assert!(refused.contains("nmae") && refused.contains("base_url"), "{refused}");
    }
}
