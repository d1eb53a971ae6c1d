//! What the control plane says of documents, at the lines of the fields that it names.

use tonic::Status;
use tonic_types::StatusExt as _;

use super::file::FileDocument;
use super::places::Places;
use super::{Set, VALUE_FROM};
use crate::excerpt::{Fault, Faults};

/// The error of the control plane, or the faults at their places where it names documents by number.
pub(in crate::command) fn located(set: &Set, status: Status) -> anyhow::Error {
    let violations = status.get_details_bad_request().map(|bad| bad.field_violations).unwrap_or_default();
    let mut places = Places::of(&set.texts);
    let (mut faults, mut is_any) = (Vec::new(), false);
    for violation in violations {
        let what = violation.description;
        match document(set, &violation.field) {
            Some((one, field)) => {
                is_any = true;
                let fault = match (field, what.as_str()) {
                    // What is sealed is made here, of what a document says of its value.
                    ("upstream.sealed" | "caller.sealed", what) if what.starts_with("is missing") => places
                        .fault(
                            one,
                            "value_from",
                            format_args!("is missing, and the credential is not there yet: {VALUE_FROM}"),
                        ),
                    _ => places.fault(one, field, what),
                };
                if !faults.contains(&fault) {
                    faults.push(fault);
                }
            }
            None => faults.push(Fault { file: None, line: None, field: violation.field, what }),
        }
    }
    set.conceal(&mut faults);
    match Faults::of(faults, set.texts.clone()) {
        Err(faults) if is_any => faults.into(),
        Ok(()) | Err(_) => status.into(),
    }
}

/// The document that a path names, and the field in it: `documents[1].rule.when.path`.
fn document<'s, 'p>(set: &'s Set, path: &'p str) -> Option<(&'s FileDocument, &'p str)> {
    let (number, rest) = path.strip_prefix("documents[")?.split_once(']')?;
    let one = set.documents.get(number.parse::<usize>().ok()?)?;
    let field = rest.strip_prefix('.').unwrap_or(rest);
    let kind = rr_contract::document::label(&one.document).0;
    let field = field.strip_prefix(kind).and_then(|rest| rest.strip_prefix('.')).unwrap_or(field);
    Some((one, field))
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};
    use std::sync::Arc;

    use super::super::file;
    use super::super::fill::Fill;
    use super::*;
    use crate::excerpt::Texts;

    #[test]
    fn a_credential_without_a_value_is_one_fault_that_names_value_from() {
        let text = "kind: credential\nname: c\nupstream: {kind: bearer}\n";
        let documents =
            file::parse(Path::new("x.yaml"), text, &Fill::nothing(), &Arc::default()).expect("documents");
        let set = Set::of(documents, Texts::from([(PathBuf::from("x.yaml"), Arc::from(text))]));
        let said = |what: &str| {
            let mut details = tonic_types::ErrorDetails::new();
            for remedy in ["", ": seal the value with `rrctl credential create-upstream`"] {
                let what = format!("{what}{remedy}");
                details.add_bad_request_violation("documents[0].credential.upstream.sealed", what);
            }
            located(&set, Status::with_error_details(tonic::Code::InvalidArgument, "invalid", details))
                .to_string()
        };
        let missing = said("is missing");
        assert!(missing.starts_with("x.yaml:1: value_from: is missing, and the credential"), "{missing}");
        assert!(missing.contains("`value_from: {env:") && missing.lines().count() == 1, "{missing}");
        // Another fault of a seal stays what it is.
        let broken = said("is broken");
        assert!(broken.contains("upstream.sealed: is broken") && !broken.contains("value_from"), "{broken}");
    }

    #[test]
    fn what_the_control_plane_says_of_a_field_has_its_file_and_line() {
        let text = "kind: target\nname: a\n---\nkind: rule\nname: b\nwhen:\n  path:\n    regex: (\n";
        let documents =
            file::parse(Path::new("x.yaml"), text, &Fill::nothing(), &Arc::default()).expect("documents");
        let set = Set::of(documents, Texts::from([(PathBuf::from("x.yaml"), Arc::from(text))]));
        let said = |fields: &[(&str, &str)]| {
            let mut details = tonic_types::ErrorDetails::new();
            for (field, what) in fields {
                details.add_bad_request_violation(*field, *what);
            }
            let status = Status::with_error_details(tonic::Code::InvalidArgument, "invalid", details);
            located(&set, status)
        };
        let error = said(&[
            ("documents[1].rule.when.path.regex", "is none"),
            ("documents[1].rule.proxy", "is missing"),
            ("documents[0].target.base_url", "is empty"),
            ("owner", "is long"),
        ]);
        assert_eq!(
            error.to_string(),
            "4 faults\nx.yaml:8: when.path.regex: is none (rule b)\nx.yaml:4: proxy: is missing (rule b)\nx.yaml:1: \
             base_url: is empty (target a)\nowner: is long"
        );
        // Nothing of the files: as any other call.
        assert!(said(&[("owner", "is long")]).is::<Status>());
    }
}
