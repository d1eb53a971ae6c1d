//! Which kinds of value a schema can let pass at all: how the text of a parameter is to be read.
//!
//! Judges no value. The invariant: a kind that is not among them passes the schema by no value of it. Looks at schemas
//! that were surveyed: none refers to itself for one and the same value.

use std::collections::HashMap;

use super::super::tree::Tree;
use super::document::{Document, Place, target};

/// A set of kinds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Kinds(u8);

impl Kinds {
    pub(super) const NONE: Self = Self(0);
    pub(super) const NULL: Self = Self(1);
    pub(super) const BOOLEAN: Self = Self(2);
    pub(super) const NUMBER: Self = Self(4);
    pub(super) const TEXT: Self = Self(8);
    pub(super) const LIST: Self = Self(16);
    pub(super) const OBJECT: Self = Self(32);
    pub(super) const ALL: Self = Self(63);

    pub(super) fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    fn named(name: &str) -> Self {
        match name {
            "null" => Self::NULL,
            "boolean" => Self::BOOLEAN,
            "integer" | "number" => Self::NUMBER,
            "string" => Self::TEXT,
            "array" => Self::LIST,
            "object" => Self::OBJECT,
            _ => Self::NONE,
        }
    }

    fn of(value: &Tree<'_>) -> Self {
        match value {
            Tree::Null => Self::NULL,
            Tree::Bool(_) => Self::BOOLEAN,
            Tree::Number(_) => Self::NUMBER,
            Tree::Text(_) => Self::TEXT,
            Tree::List(_) => Self::LIST,
            Tree::Object(_) => Self::OBJECT,
        }
    }
}

/// What is asked of which schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Whose {
    /// The kinds of the value itself.
    Value,
    /// The kinds of the elements of a list; all where nothing is said of them.
    Items,
}

/// Answers, by the address of the schema.
#[derive(Default)]
pub(super) struct KindsOf(HashMap<(usize, Whose), Kinds>);

impl KindsOf {
    pub(super) fn get<'t>(&mut self, document: &Document<'t>, schema: &Place<'t>, whose: Whose) -> Kinds {
        if let Some(known) = self.0.get(&(schema.id(), whose)) {
            return *known;
        }
        let kinds = self.find(document, schema, whose);
        self.0.insert((schema.id(), whose), kinds);
        kinds
    }

    fn find<'t>(&mut self, document: &Document<'t>, schema: &Place<'t>, whose: Whose) -> Kinds {
        if let Tree::Bool(false) = schema.tree {
            return Kinds::NONE;
        }
        let mut kinds = Kinds::ALL;
        for (key, value) in schema.members() {
            kinds = kinds.and(match (key, whose) {
                ("$ref", _) => match value.tree.text().and_then(|text| text.strip_prefix('#')) {
                    Some(fragment) => match target(document.root().tree, fragment) {
                        Some(to) => self.get(document, &to, whose),
                        None => Kinds::ALL,
                    },
                    None => Kinds::ALL,
                },
                ("allOf", _) => value
                    .items()
                    .fold(Kinds::ALL, |kinds, inner| kinds.and(self.get(document, &inner, whose))),
                ("anyOf" | "oneOf", _) => value
                    .items()
                    .fold(Kinds::NONE, |kinds, inner| kinds.or(self.branch(document, &inner, whose))),
                ("type", Whose::Value) => match value.tree {
                    Tree::List(names) => {
                        names.iter().filter_map(Tree::text).map(Kinds::named).fold(Kinds::NONE, Kinds::or)
                    }
                    tree => tree.text().map_or(Kinds::ALL, Kinds::named),
                },
                ("const", Whose::Value) => Kinds::of(value.tree),
                ("enum", Whose::Value) => {
                    value.items().map(|item| Kinds::of(item.tree)).fold(Kinds::NONE, Kinds::or)
                }
                ("items", Whose::Items) => match asks_nothing(value.tree) {
                    true => Kinds::TEXT,
                    false => match self.get(document, &value, Whose::Value) {
                        // Something is asked of them, and nothing says of what they are.
                        Kinds::ALL => Kinds::OBJECT,
                        kinds => kinds,
                    },
                },
                // How an element is read would hang on its place.
                ("prefixItems", Whose::Items) => Kinds::OBJECT,
                _ => Kinds::ALL,
            });
        }
        kinds
    }

    /// Of one of several schemas, which says nothing of elements where it lets no list pass.
    fn branch<'t>(&mut self, document: &Document<'t>, schema: &Place<'t>, whose: Whose) -> Kinds {
        match whose {
            Whose::Items if !self.get(document, schema, Whose::Value).has(Kinds::LIST) => Kinds::NONE,
            whose => self.get(document, schema, whose),
        }
    }
}

/// Whether a schema lets every value pass.
pub(super) fn asks_nothing(schema: &Tree<'_>) -> bool {
    match schema {
        Tree::Bool(bool) => *bool,
        Tree::Object(members) => members.iter().all(|(key, _)| tells_only(key)),
        _ => false,
    }
}

/// Whether a schema lets every text pass.
pub(super) fn takes_any_text(schema: &Tree<'_>) -> bool {
    let Tree::Object(members) = schema else { return asks_nothing(schema) };
    members.iter().all(|(key, value)| tells_only(key) || (**key == *"type" && value.text() == Some("string")))
}

/// Whether a keyword says something to readers, and nothing of values.
fn tells_only(key: &str) -> bool {
    key.starts_with("x-")
        || matches!(
            key,
            "$comment"
                | "contentEncoding"
                | "contentMediaType"
                | "default"
                | "deprecated"
                | "description"
                | "example"
                | "examples"
                | "externalDocs"
                | "format"
                | "readOnly"
                | "title"
                | "writeOnly"
                | "xml"
        )
}
