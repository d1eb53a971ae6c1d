//! The schemas of a document that requests are held against, as one.
//!
//! Surveys none. Each stands under a key of its own in one object, so that all are compiled together, and what several
//! refer to is compiled once; what is held against some of them is an object with their keys.

use std::collections::BTreeMap;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

use super::super::tree::Tree;

/// What a fragment of a reference has without escapes.
const FRAGMENT: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'/').remove(b'~').remove(b'-').remove(b'.').remove(b'_');

/// Which of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) struct Key(u32);

/// What stands under a key.
#[derive(Debug)]
pub(super) struct Label {
    /// The key as a text.
    pub(super) key: Box<str>,
    /// The parameter that it is of; `None`: the body.
    pub(super) parameter: Option<Box<str>>,
}

#[derive(Debug, Default)]
pub(super) struct Schemas {
    places: Vec<String>,
    pub(super) labels: Vec<Label>,
}

impl Schemas {
    /// Takes in the schema at a place.
    pub(super) fn add(&mut self, at: &str, parameter: Option<Box<str>>) -> Key {
        let key = u32::try_from(self.places.len()).expect("documents are bounded, so schemas are");
        self.places.push(at.to_owned());
        self.labels.push(Label { key: key.to_string().into(), parameter });
        Key(key)
    }

    /// All as one.
    pub(super) fn to_value(&self, root: &Tree<'_>) -> Value {
        let of = |(place, label): (&String, &Label)| {
            let to = utf8_percent_encode(place, FRAGMENT);
            (label.key.to_string(), json!({"$ref": format!("#{to}")}))
        };
        let properties: BTreeMap<_, _> = self.places.iter().zip(&self.labels).map(of).collect();
        let mut all = json!({"properties": properties});
        for part in ["paths", "components"] {
            if let Some(tree) = root.get(part) {
                all[part] = tree.to_value();
            }
        }
        all
    }
}

impl Key {
    pub(super) fn label(self, labels: &[Label]) -> &Label {
        &labels[self.0 as usize]
    }
}
