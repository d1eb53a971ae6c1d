//! A document while it is read: places in it, references between them, and all that is wrong.
//!
//! Knows no part of a document. The invariant: a reference leads to a place in the document, by a few steps, or is a fault.

use super::super::schema::Fault;
use super::super::tree::{Step, Tree, pointer};

/// Faults that are told.
const FAULTS_MAX: usize = 10;
/// How much of a text is told, in characters.
const TOLD_MAX: usize = 80;
/// References that may lead from one to the next.
const STEPS_MAX: usize = 8;

/// A value, and where it stands.
#[derive(Debug, Clone)]
pub(super) struct Place<'t> {
    pub(super) tree: &'t Tree<'t>,
    /// A JSON pointer into the document.
    pub(super) at: String,
}

/// A document that is read.
pub(super) struct Document<'t> {
    root: &'t Tree<'t>,
    pub(super) faults: Vec<Fault>,
}

impl<'t> Place<'t> {
    /// A member, if it is there.
    pub(super) fn get(&self, key: &str) -> Option<Self> {
        Some(self.below(self.tree.get(key)?, Step::Key(key.into())))
    }

    /// The members, by key.
    pub(super) fn members(&self) -> impl Iterator<Item = (&'t str, Self)> {
        let members: &'t [_] = if let Tree::Object(members) = self.tree { members } else { &[] };
        members.iter().map(|(key, tree)| (&**key, self.below(tree, Step::Key((**key).into()))))
    }

    /// The elements.
    pub(super) fn items(&self) -> impl Iterator<Item = Self> {
        let items: &'t [_] = if let Tree::List(items) = self.tree { items } else { &[] };
        items.iter().enumerate().map(|(at, tree)| self.below(tree, Step::At(at)))
    }

    fn below(&self, tree: &'t Tree<'t>, step: Step) -> Self {
        Self { tree, at: format!("{}{}", self.at, pointer(&[step])) }
    }

    /// What tells it from other places of the document.
    pub(super) fn id(&self) -> usize {
        std::ptr::from_ref(self.tree).addr()
    }
}

impl<'t> Document<'t> {
    pub(super) fn new(root: &'t Tree<'t>) -> Self {
        Self { root, faults: Vec::new() }
    }

    pub(super) fn root(&self) -> Place<'t> {
        Place { tree: self.root, at: String::new() }
    }

    pub(super) fn fault(&mut self, at: &str, what: impl Into<String>) {
        if self.faults.len() < FAULTS_MAX {
            self.faults.push(Fault { at: at.to_owned(), what: what.into() });
        }
    }

    /// The object that a place is, or that it refers to.
    pub(super) fn object(&mut self, place: Place<'t>) -> Option<Place<'t>> {
        let began = place.at.clone();
        let mut place = place;
        for _ in 0..=STEPS_MAX {
            if !matches!(place.tree, Tree::Object(_)) {
                self.fault(&place.at, "is no object");
                return None;
            }
            let Some(reference) = place.get("$ref") else { return Some(place) };
            let Some(text) = reference.tree.text() else {
                self.fault(&reference.at, "is no text");
                return None;
            };
            place = self.target(text, &reference.at)?;
        }
        self.fault(&began, format!("leads to itself, or through more than {STEPS_MAX} references"));
        None
    }

    /// What a reference leads to.
    pub(super) fn target(&mut self, reference: &str, at: &str) -> Option<Place<'t>> {
        let fragment = reference.strip_prefix('#').filter(|fragment| fragment.starts_with('/'));
        let Some(fragment) = fragment else {
            let remedy = "put what it refers to below `components`, and refer to `#/components/…`";
            self.fault(at, format!("is {}, no place in the document: {remedy}", told(reference)));
            return None;
        };
        let found = target(self.root, fragment);
        if found.is_none() {
            self.fault(at, format!("is {}, which is not there", told(reference)));
        }
        found
    }

    /// Refuses members that are none of an object of this kind: a word that is misspelled would say nothing.
    pub(super) fn known(&mut self, place: &Place<'t>, kind: &str, keys: &[&str]) {
        for (key, member) in place.members() {
            if !key.starts_with("x-") && !keys.contains(&key) {
                self.fault(&member.at, format!("is nothing that {kind} of OpenAPI 3.1 has"));
            }
        }
    }

    /// A member that is true or false.
    pub(super) fn flag(&mut self, place: &Place<'t>, key: &str) -> Option<bool> {
        let member = place.get(key)?;
        match member.tree {
            Tree::Bool(bool) => Some(*bool),
            _ => {
                self.fault(&member.at, "is neither true nor false");
                None
            }
        }
    }

    /// A member that is a text.
    pub(super) fn text(&mut self, place: &Place<'t>, key: &str) -> Option<&'t str> {
        let member = place.get(key)?;
        let text = member.tree.text();
        if text.is_none() {
            self.fault(&member.at, "is no text");
        }
        text
    }
}

/// A text of a document as it is told: the beginning of a long one.
pub(super) fn told(text: &str) -> String {
    match text.char_indices().nth(TOLD_MAX) {
        None => format!("{text:?}"),
        Some((end, _)) => format!("{:?}…", &text[..end]),
    }
}

/// What the fragment of a reference leads to.
pub(super) fn target<'t>(root: &'t Tree<'t>, fragment: &str) -> Option<Place<'t>> {
    let at = percent_encoding::percent_decode_str(fragment).decode_utf8().ok()?;
    Some(Place { tree: root.at(&at)?, at: at.into_owned() })
}
