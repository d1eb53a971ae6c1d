//! Checks of request fields: required messages, output-only fields, update masks, times.

use pbjson_types::Timestamp;
use rr_contract::model::time;
use rr_contract::wire::FieldMask;

use super::{OrgRow, ServiceError};
use crate::document::{MaskPath, Resource};
use crate::store::micros;

/// The message that a call is about.
pub(super) fn required<T>(field: &str, value: Option<T>) -> Result<T, ServiceError> {
    value.ok_or_else(|| ServiceError::field(field, "is missing"))
}

/// An id that the control plane sets.
pub(super) fn unset_id(field: &str, id: &str) -> Result<(), ServiceError> {
    if id.is_empty() {
        Ok(())
    } else {
        Err(ServiceError::field(field, "is set by the control plane: leave it empty"))
    }
}

/// An organization inside a body: the path's, or none.
pub(super) fn same_org(field: &str, said: &str, org: &OrgRow) -> Result<(), ServiceError> {
    if is_same_org(said, org) { Ok(()) } else { Err(ServiceError::field(field, ANOTHER_ORG)) }
}

/// Whether an organization inside a body is the path's, or none.
pub(super) fn is_same_org(said: &str, org: &OrgRow) -> bool {
    said.is_empty() || said == org.id || said == org.name
}

pub(super) const ANOTHER_ORG: &str = "differs from the organization in the path";

/// The paths of an update: those that the mask names, or, without one, those at which the message has a value.
#[derive(Debug)]
pub(super) struct Chosen<R: 'static>(Vec<&'static MaskPath<R>>);

impl<R: Resource> Chosen<R> {
    pub(super) fn of(mask: Option<FieldMask>, wire: &R) -> Result<Self, ServiceError> {
        let names = || R::MASK.iter().map(|it| it.path).collect::<Vec<_>>().join(", ");
        let chosen: Vec<&MaskPath<R>> = match mask {
            Some(mask) if !mask.paths.is_empty() => mask
                .paths
                .iter()
                .map(|path| {
                    R::MASK.iter().find(|it| it.path == path).ok_or_else(|| {
                        ServiceError::field(
                            "update_mask",
                            format!(
                                "names {path:?}, which an update cannot change: name some of {}",
                                names()
                            ),
                        )
                    })
                })
                .collect::<Result<_, _>>()?,
            _ => R::MASK.iter().filter(|it| (it.is_set)(wire)).collect(),
        };
        if chosen.is_empty() {
            return Err(ServiceError::field(
                "update_mask",
                format!("names nothing to change: name some of {}", names()),
            ));
        }
        if let Some(unset) = chosen.iter().find(|it| it.needs_value && !(it.is_set)(wire)) {
            return Err(ServiceError::field(
                format!("{}.{}", R::NOUN.text(), unset.path),
                "is named by the mask but has no value: set it",
            ));
        }
        Ok(Self(chosen))
    }

    pub(super) fn contains(&self, path: &MaskPath<R>) -> bool {
        self.0.iter().any(|it| it.path == path.path)
    }

    pub(super) fn names(&self, path: &str) -> bool {
        self.0.iter().any(|it| it.path == path)
    }

    /// Copies what was chosen from one message into another.
    pub(super) fn apply(&self, to: &mut R, from: &R) {
        for path in &self.0 {
            (path.apply)(to, from);
        }
    }
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
    use rr_contract::wire::management::Target;

    use super::*;

    fn masked(mask: Option<FieldMask>) -> Result<Vec<&'static str>, ServiceError> {
        let wire = Target { base_url: "https://api.example.com".into(), ..Target::default() };
        Chosen::of(mask, &wire).map(|chosen| chosen.0.iter().map(|it| it.path).collect())
    }

    #[test]
    fn a_mask_names_what_changes_and_without_one_it_is_what_was_said() {
        let mask = FieldMask { paths: vec!["danger_plaintext".into()] };
        assert_eq!(masked(Some(mask)).expect("known"), ["danger_plaintext"]);
        assert_eq!(masked(None).expect("one is said"), ["base_url"]);
    }

    #[test]
    fn an_unknown_path_is_refused_by_name() {
        let mask = FieldMask { paths: vec!["nmae".into()] };
        let refused = masked(Some(mask)).expect_err("unknown").to_string();
        assert!(refused.contains("nmae") && refused.contains("base_url"), "{refused}");
    }
}
