//! Operations of an OpenAPI 3.1 document: which of them a request is, and what is asked of it.
//!
//! Applies no schema: gathers what is held against one, and says where in a request that stands. The invariants: what of a
//! document cannot be held against requests is refused when the document is read; a request is held against one operation;
//! what is checked of a request is all of it that an upstream could take for the same.

mod content;
mod document;
mod kinds;
mod parameter;
mod paths;
mod read;
mod schemas;

use std::borrow::Cow;
use std::sync::Arc;

use http::{HeaderMap, HeaderName};
use rr_domain::model::validation::Unlisted;

use super::schema::{Cost, Fault};
use super::tree::Tree;
use super::{Head, Refusal};

use self::content::{Content, Of};
use self::parameter::{Given, Parameter};
use self::paths::{Hole, Paths, Segments};
use self::schemas::{Key, Label};

/// The operations of a document.
#[derive(Debug)]
pub(super) struct Operations {
    paths: Paths,
    /// By the number of their template: methods in capitals, and the place of their operation.
    items: Vec<Vec<(Box<str>, usize)>>,
    operations: Vec<Operation>,
    labels: Vec<Label>,
    unlisted: Unlisted,
}

#[derive(Debug)]
struct Operation {
    path: Vec<(Hole, Arc<Parameter>)>,
    /// By name.
    query: Vec<Arc<Parameter>>,
    headers: Vec<(HeaderName, Arc<Parameter>)>,
    content: Option<Arc<Content>>,
}

/// Operations, and what they hold requests against.
pub(super) struct Compiled {
    pub(super) operations: Operations,
    /// One schema for an object with the members that are asked for.
    pub(super) schema: serde_json::Value,
    pub(super) cost: Cost,
}

/// Reads a document.
pub(super) fn compile(root: &Tree<'_>, unlisted: Unlisted) -> Result<Compiled, Vec<Fault>> {
    read::compile(root, unlisted)
}

/// What a request is.
pub(super) enum Found<'o, 'r> {
    /// No operation of the document, which is no fault.
    Unlisted,
    Operation(OperationAt<'o, 'r>),
}

/// The operation that a request is.
pub(super) struct OperationAt<'o, 'r> {
    operation: &'o Operation,
    number: usize,
    segments: Segments<'r>,
}

/// What is asked of the body of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Asked {
    operation: usize,
    of: Option<Of>,
}

impl Operations {
    pub(super) fn find<'r>(&self, head: &Head<'r>) -> Result<Found<'_, 'r>, Refusal> {
        let found = self.paths.find(head.path).and_then(|(item, segments)| {
            let methods = &self.items[item as usize];
            let of = |wanted: &str| methods.iter().find(|(method, _)| **method == *wanted);
            // The answer to HEAD is that to GET, without its body.
            let found = of(head.method).or_else(|| of("GET").filter(|_| head.method == "HEAD"));
            let number = found?.1;
            Some(OperationAt { operation: &self.operations[number], number, segments })
        });
        match (found, self.unlisted) {
            (Some(found), _) => Ok(Found::Operation(found)),
            (None, Unlisted::Pass) => Ok(Found::Unlisted),
            (None, Unlisted::Refuse) => Err(Refusal::ours("", "operation")),
        }
    }

    /// What of parameters is held against schemas; those that are missing, or more than one, are refused.
    pub(super) fn given<'o, 'r>(
        found: &'r OperationAt<'o, '_>,
        head: &Head<'r>,
    ) -> Result<Vec<Given<'o, 'r>>, Refusal> {
        let OperationAt { operation, segments, .. } = found;
        let mut given = Vec::new();
        for (hole, parameter) in &operation.path {
            given.push(parameter.of_path(hole.raw(segments), hole.plain(segments))?);
        }
        let mut of_query = vec![Vec::new(); operation.query.len()];
        if let Some(query) = head.query.filter(|_| !operation.query.is_empty()) {
            for pair in query.split('&').filter(|pair| !pair.is_empty()) {
                let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                let name = crate::request::decode(name);
                if let Ok(at) = operation.query.binary_search_by(|it| it.name.as_bytes().cmp(&name)) {
                    of_query[at].push(value);
                }
            }
        }
        for (parameter, raw) in operation.query.iter().zip(&of_query) {
            given.extend(parameter.of_query(raw)?);
        }
        for (name, parameter) in &operation.headers {
            given.extend(parameter.of_header(&values(head.headers, name))?);
        }
        Ok(given)
    }

    /// A value under the key of its schema.
    pub(super) fn member<'t>(&'t self, key: Key, value: Tree<'t>) -> (Cow<'t, str>, Tree<'t>) {
        (Cow::Borrowed(&key.label(&self.labels).key), value)
    }

    /// What is asked of a body; `None`: nothing.
    pub(super) fn asked(found: &OperationAt<'_, '_>, head: &Head<'_>) -> Result<Option<Asked>, Refusal> {
        let number = found.number;
        match &found.operation.content {
            None if head.has_body => Ok(Some(Asked { operation: number, of: None })),
            None => Ok(None),
            Some(content) if !head.has_body => match content.is_required {
                true => Err(Refusal::ours("", "no-body")),
                false => Ok(None),
            },
            Some(content) => match content.of(head.headers) {
                Of::Passes => Ok(None),
                of => Ok(Some(Asked { operation: number, of: Some(of) })),
            },
        }
    }

    /// Whether a body that was read may be that of an operation, and under which key its schema is.
    pub(super) fn body(&self, asked: Asked, is_empty: bool) -> Result<Option<Key>, Refusal> {
        let content = self.operations[asked.operation].content.as_deref();
        if is_empty {
            let is_required = content.is_some_and(|content| content.is_required);
            return if is_required { Err(Refusal::ours("", "no-body")) } else { Ok(None) };
        }
        match (asked.of, content) {
            (Some(Of::Schema(key)), _) => Ok(Some(key)),
            (Some(Of::Passes), _) => Ok(None),
            (Some(Of::Unlisted), Some(content)) => {
                let refusal = Refusal { schema: content.at.clone(), ..Refusal::ours("", "content") };
                Err(refusal.of_parameter("header.content-type"))
            }
            _ => Err(Refusal::ours("", "requestBody")),
        }
    }

    /// Says of a refusal of members under keys what it is of.
    pub(super) fn told(&self, refusal: Refusal) -> Refusal {
        let whole = refusal.pointer.strip_prefix('/').unwrap_or_default();
        let (key, rest) = whole.split_at(whole.find('/').unwrap_or(whole.len()));
        let label = key.parse::<usize>().ok().and_then(|key| self.labels.get(key));
        let parameter = label.and_then(|label| label.parameter.clone());
        Refusal { pointer: rest.into(), parameter, ..refusal }
    }
}

/// The values of a header, under whichever spelling a server takes for its name: some have one variable for `x_name` and
/// `x-name`.
fn values<'r>(headers: &'r HeaderMap, name: &HeaderName) -> Vec<&'r [u8]> {
    let read = |byte: u8| if byte == b'_' { b'-' } else { byte };
    let is_it = |have: &HeaderName| {
        let (have, name) = (have.as_str(), name.as_str());
        have.len() == name.len() && have.bytes().map(read).eq(name.bytes().map(read))
    };
    headers.iter().filter(|(have, _)| is_it(have)).map(|(_, value)| value.as_bytes()).collect()
}
