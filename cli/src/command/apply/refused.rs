//! What the control plane says of documents, with the lines of the fields that it names.
//!
//! Reads the files again: lines of fields are kept for nobody who does not need them.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use rr_contract::file::node::{self, Node};
use tonic::Status;
use tonic_types::StatusExt as _;

use super::file::{At, FileDocument, Location};
use super::format;

/// The error of the control plane, with the place of each document that it names by number.
pub(super) fn located(written: &[FileDocument], status: Status) -> anyhow::Error {
    let mut locations: Vec<String> = Vec::new();
    let mut lines = Lines::default();
    let violations = status.get_details_bad_request().map(|bad| bad.field_violations).unwrap_or_default();
    for violation in violations {
        let found = violation.field.strip_prefix("documents[").and_then(|rest| rest.split_once(']'));
        let found = found.and_then(|(number, path)| Some((number.parse::<usize>().ok()?, path)));
        if let Some((number, path, one)) =
            found.and_then(|(number, path)| Some((number, path, written.get(number)?)))
        {
            let (kind, name) = format::label(&one.document);
            let place = &one.location;
            let field = path.strip_prefix('.').unwrap_or(path);
            let field = field.strip_prefix(kind).and_then(|rest| rest.strip_prefix('.')).unwrap_or(field);
            let place = match lines.of_field(&place.file, place.nth, field) {
                Some(line) => Location { at: At::Line(line), ..place.clone() },
                None => place.clone(),
            };
            locations.push(format!("documents[{number}] is {kind} {name}: {place}"));
        }
    }
    locations.dedup();
    let error = anyhow::Error::new(status);
    if locations.is_empty() { error } else { error.context(locations.join("\n")) }
}

/// Lines of fields in files that were read before.
#[derive(Default)]
struct Lines(HashMap<PathBuf, Vec<Node>>);

impl Lines {
    /// The line of a field, or of what is around it, in the nth document. `None` where the file cannot be read again.
    fn of_field(&mut self, file: &Path, nth: usize, field: &str) -> Option<u64> {
        let nodes = self.0.entry(file.to_owned()).or_insert_with(|| {
            let text = std::fs::read_to_string(file).unwrap_or_default();
            node::documents(&text).unwrap_or_default()
        });
        nodes.get(nth).map(|node| node.line_of(field))
    }
}

#[cfg(test)]
mod tests {
    use super::super::file;
    use super::*;

    #[test]
    fn what_the_control_plane_says_of_a_document_names_its_place() {
        let found = file::parse(Path::new("x.yaml"), "kind: target\nname: a\n").expect("documents");
        let mut details = tonic_types::ErrorDetails::new();
        details.add_bad_request_violation("documents[0].base_url", "is empty");
        let status = Status::with_error_details(tonic::Code::InvalidArgument, "invalid", details);
        let error = located(&found, status);
        assert_eq!(error.to_string(), "documents[0] is target a: x.yaml, line 1");
    }

    #[test]
    fn what_the_control_plane_says_of_a_field_names_its_line() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("x.yaml");
        let text = "kind: target\nname: a\n---\nkind: rule\nname: b\nwhen:\n  path:\n    regex: (\n";
        std::fs::write(&path, text).expect("a file");
        let found = file::read(std::slice::from_ref(&path)).expect("documents");
        let mut details = tonic_types::ErrorDetails::new();
        details.add_bad_request_violation("documents[1].rule.when.path.regex", "is none");
        details.add_bad_request_violation("documents[1].rule.proxy", "is missing");
        let status = Status::with_error_details(tonic::Code::InvalidArgument, "invalid", details);
        let error = located(&found, status).to_string();
        let place = |line| format!("documents[1] is rule b: {}, line {line}", path.display());
        assert_eq!(error, format!("{}\n{}", place(8), place(4)));
    }
}
