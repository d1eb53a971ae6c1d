//! The places of fields in files that were read.
//!
//! Lines of fields are looked up where something is wrong: they are kept for nobody who does not need them.

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;

use rr_contract::document;
use rr_contract::file::node::{self, Node};

use super::file::{At, FileDocument};
use crate::excerpt::{Fault, Texts};

/// Lines of fields.
pub(in crate::command) struct Places<'t> {
    texts: &'t Texts,
    nodes: HashMap<PathBuf, Vec<Node>>,
}

impl<'t> Places<'t> {
    pub(in crate::command) fn of(texts: &'t Texts) -> Self {
        Self { texts, nodes: HashMap::new() }
    }

    /// A fault of a field of a document, named with the document.
    pub(in crate::command) fn fault(
        &mut self,
        one: &FileDocument,
        field: &str,
        what: impl fmt::Display,
    ) -> Fault {
        let (kind, name) = document::label(&one.document);
        let field = field.strip_prefix('.').unwrap_or(field);
        let of = if name.is_empty() { kind.to_owned() } else { format!("{kind} {name}") };
        Fault::new(&one.location.file, self.line(one, field), field, format_args!("{what} ({of})"))
    }

    /// The line of a field, or of what is around it. `None` where lines are not known.
    fn line(&mut self, one: &FileDocument, field: &str) -> Option<u64> {
        let file = &one.location.file;
        let nodes = self.nodes.entry(file.clone()).or_insert_with(|| {
            let text = self.texts.get(file);
            text.and_then(|text| node::documents(text).ok()).unwrap_or_default()
        });
        let line = nodes.get(one.location.nth).map(|node| node.line_of(field));
        line.or(match one.location.at {
            At::Line(line) => Some(line),
            At::Document(_) => None,
        })
    }
}
