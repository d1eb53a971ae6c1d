//! What a schema would cost, found by looking at it once, and what of it is not taken.
//!
//! Compiles nothing: the validator does, and looks for faults of its keywords. The invariant: a schema that passes here
//! refers to nothing outside its document, cannot be applied to one value without end, and has patterns of linear time.

mod measure;

use std::collections::HashMap;

use percent_encoding::percent_decode_str;
use rr_domain::model::pattern::{Flags, Pattern};

use super::number::double;
use super::tree::{Step, Tree, pointer};
use super::work::Price;

use self::measure::Measured;

/// Schemas within a document.
const SCHEMAS_MAX: usize = 5_000;
/// Patterns in a document, and their weight together.
const PATTERNS_MAX: usize = 128;
const WEIGHT_MAX: u64 = 200_000;
/// Faults that are told.
const FAULTS_MAX: usize = 10;

/// The dialect, with the empty fragment that some write behind it.
const DIALECT: &str = "https://json-schema.org/draft/2020-12/schema";

/// Keywords with a map of schemas; whether those are for the same value.
const MAPS: [(&str, bool); 5] = [
    ("$defs", false),
    ("definitions", false),
    ("properties", false),
    ("patternProperties", false),
    ("dependentSchemas", true),
];
const LISTS: [(&str, bool); 4] = [("allOf", true), ("anyOf", true), ("oneOf", true), ("prefixItems", false)];
const ONES: [(&str, bool); 11] = [
    ("not", true),
    ("if", true),
    ("then", true),
    ("else", true),
    ("items", false),
    ("contains", false),
    ("additionalProperties", false),
    ("propertyNames", false),
    ("unevaluatedItems", false),
    ("unevaluatedProperties", false),
    ("contentSchema", false),
];

/// What is wrong, and where.
pub(super) struct Fault {
    /// A JSON pointer into the document.
    pub(super) at: String,
    pub(super) what: String,
}

/// What applying a schema takes.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Cost {
    pub(super) price: Price,
    /// Schemas that are applied to one value each by the other.
    pub(super) height: u32,
}

/// What a document is that has schemas.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DocumentIs {
    /// A schema itself.
    Schema,
    /// One that describes operations, and has schemas at many places.
    OpenApi,
}

/// What was seen.
pub(super) struct Surveyed {
    pub(super) cost: Cost,
    /// Places of schemas that are in no other one of those that were looked at before: the roots, and what was referred to.
    pub(super) tops: Vec<String>,
}

/// Looks at the schemas of a document: those at `roots`, and whatever they refer to.
pub(super) fn survey(
    document: &Tree<'_>,
    document_is: DocumentIs,
    roots: &[(&Tree<'_>, String)],
) -> Result<Surveyed, Vec<Fault>> {
    let mut survey = Survey::new(document, document_is);
    for (root, at) in roots {
        survey.tops.push(at.clone());
        survey.schema(root, &mut at.clone(), at.is_empty());
    }
    survey.follow();
    let cost = survey.cost();
    if survey.faults.is_empty() { Ok(Surveyed { cost, tops: survey.tops }) } else { Err(survey.faults) }
}

struct Survey<'t, 'a> {
    document: &'t Tree<'a>,
    document_is: DocumentIs,
    tops: Vec<String>,
    /// By address.
    ids: HashMap<usize, usize>,
    schemas: Vec<Schema>,
    anchors: HashMap<String, usize>,
    /// From which schema, to which fragment, and where that stands.
    references: Vec<(usize, String, String)>,
    patterns: usize,
    weight: u64,
    price: Price,
    faults: Vec<Fault>,
}

#[derive(Default)]
struct Schema {
    at: String,
    /// Those that are applied to the same value.
    same: Vec<usize>,
    measured: Measured,
}

impl<'t, 'a> Survey<'t, 'a> {
    fn new(document: &'t Tree<'a>, document_is: DocumentIs) -> Self {
        Self {
            document,
            document_is,
            tops: Vec::new(),
            ids: HashMap::new(),
            schemas: Vec::new(),
            anchors: HashMap::new(),
            references: Vec::new(),
            patterns: 0,
            weight: 0,
            price: Price::default(),
            faults: Vec::new(),
        }
    }

    fn fault(&mut self, at: &str, what: impl Into<String>) {
        if self.faults.len() < FAULTS_MAX {
            self.faults.push(Fault { at: at.to_owned(), what: what.into() });
        }
    }

    /// Takes in a schema and those in it.
    fn schema(&mut self, tree: &Tree<'_>, at: &mut String, is_root: bool) -> usize {
        let address = std::ptr::from_ref(tree).addr();
        if let Some(id) = self.ids.get(&address) {
            return *id;
        }
        let id = self.schemas.len();
        if id == SCHEMAS_MAX {
            self.fault(at, format!("is one schema too many: a document has at most {SCHEMAS_MAX}"));
        }
        if id >= SCHEMAS_MAX {
            return SCHEMAS_MAX - 1;
        }
        self.ids.insert(address, id);
        self.schemas.push(Schema { at: at.clone(), ..Schema::default() });
        if let Tree::Object(members) = tree {
            let mut of_names = 0;
            for (key, value) in members {
                let length = at.len();
                at.push_str(&pointer(&[Step::Key((**key).into())]));
                of_names += self.keyword(id, key, value, at, is_root);
                at.truncate(length);
            }
            self.price.name = self.price.name.max(of_names);
        }
        id
    }

    /// Takes in a keyword; returns the weight of the patterns of names that it has.
    fn keyword(&mut self, id: usize, key: &str, value: &Tree<'_>, at: &mut String, is_root: bool) -> u64 {
        match (key, value.text()) {
            ("$schema", Some(dialect)) if dialect.trim_end_matches('#') != DIALECT => {
                self.fault(at, format!("is {dialect:?}; schemas are of JSON Schema 2020-12: {DIALECT:?}"));
            }
            ("$id", Some(_)) if !is_root => {
                let place = self.document_is.place();
                let remedy = format!("leave it out, and refer to `#/{place}/…`");
                self.fault(at, format!("names a document within the document: {remedy}"));
            }
            ("$anchor" | "$dynamicAnchor", Some(name)) => {
                self.anchors.insert(name.to_owned(), id);
            }
            ("$ref" | "$dynamicRef", Some(reference)) => match reference.strip_prefix('#') {
                Some(fragment) => self.references.push((id, fragment.to_owned(), at.clone())),
                None => {
                    let place = self.document_is.place();
                    let remedy = format!("put it below `{place}`, and refer to `#/{place}/…`");
                    self.fault(at, format!("is {reference:?}, outside the document: {remedy}"));
                }
            },
            ("nullable", _) if self.document_is == DocumentIs::OpenApi => {
                self.fault(at, "is of OpenAPI 3.0: write `type: [\"…\", \"null\"]`");
            }
            ("$recursiveRef" | "$recursiveAnchor", _) => {
                self.fault(at, "is of an older draft: write `$dynamicRef` and `$dynamicAnchor`");
            }
            ("dependencies", _) => {
                self.fault(at, "is of an older draft: write `dependentSchemas` or `dependentRequired`");
            }
            ("pattern", Some(pattern)) => {
                let weight = self.pattern(pattern, at);
                self.price.text = self.price.text.max(weight);
            }
            _ => {}
        }
        let is = |of: &[(&str, bool)]| of.iter().find(|(name, _)| *name == key).map(|(_, same)| *same);
        let mut weight = 0;
        if let (Some(same), Tree::Object(members)) = (is(&MAPS), value) {
            for (name, value) in members {
                let length = at.len();
                at.push_str(&pointer(&[Step::Key((**name).into())]));
                if key == "patternProperties" {
                    weight += self.pattern(name, at);
                }
                self.inner(id, value, at, same);
                at.truncate(length);
            }
            if key == "patternProperties" {
                self.price.member = self.price.member.max(members.len() as u64);
            }
        } else if let (Some(same), Tree::List(items)) = (is(&LISTS), value) {
            for (place, value) in items.iter().enumerate() {
                let length = at.len();
                at.push_str(&pointer(&[Step::At(place)]));
                self.inner(id, value, at, same);
                at.truncate(length);
            }
        } else if let Some(same) = is(&ONES) {
            self.inner(id, value, at, same);
        } else {
            self.numbers(value, at);
        }
        weight
    }

    fn inner(&mut self, id: usize, value: &Tree<'_>, at: &mut String, same: bool) {
        if let Tree::Object(_) | Tree::Bool(_) = value {
            let inner = self.schema(value, at, false);
            if same {
                self.schemas[id].same.push(inner);
            }
        }
    }

    /// Numbers that a schema compares with are what they say.
    fn numbers(&mut self, value: &Tree<'_>, at: &str) {
        match value {
            Tree::Number(text) => {
                let is_whole = text.parse::<i64>().is_ok() || text.parse::<u64>().is_ok();
                if !is_whole && double(text).is_none() {
                    self.fault(at, "is a number that could only be compared rounded: write fewer digits");
                }
            }
            Tree::List(items) => {
                let below = items.iter().enumerate();
                below.for_each(|(i, item)| self.numbers(item, &format!("{at}{}", pointer(&[Step::At(i)]))));
            }
            Tree::Object(members) => {
                for (key, value) in members {
                    self.numbers(value, &format!("{at}{}", pointer(&[Step::Key((**key).into())])));
                }
            }
            _ => {}
        }
    }

    /// The weight of a pattern as it is run.
    fn pattern(&mut self, pattern: &str, at: &str) -> u64 {
        self.patterns += 1;
        if self.patterns == PATTERNS_MAX + 1 {
            self.fault(at, format!("is one pattern too many: a document has at most {PATTERNS_MAX}"));
        }
        // Finds nothing, and weighs nothing.
        if pattern.is_empty() {
            return 0;
        }
        let translated = jsonschema_regex::to_rust_regex(pattern);
        let read = match &translated {
            Ok(pattern) => Pattern::new(pattern, Flags::default()),
            // It says better what is wrong.
            Err(()) => Pattern::new(pattern, Flags::default()),
        };
        match (read, translated) {
            (Ok(_), Err(())) => self.fault(at, format!("cannot be run in linear time: {pattern:?}")),
            (Ok(read), Ok(_)) => {
                let weight = u64::from(read.weight());
                let before = self.weight;
                self.weight += weight;
                if before <= WEIGHT_MAX && self.weight > WEIGHT_MAX {
                    self.fault(
                        at,
                        format!("makes the patterns weigh more than {WEIGHT_MAX} together: repeat less"),
                    );
                }
                return weight;
            }
            (Err(fault), _) => self.fault(at, fault.to_string()),
        }
        0
    }

    /// Resolves references, and takes in what they lead to.
    fn follow(&mut self) {
        let mut done = 0;
        while let Some((from, fragment, at)) = self.references.get(done).cloned() {
            done += 1;
            let to = match self.resolve(&fragment) {
                Ok(to) => to,
                Err(what) => {
                    self.fault(&at, format!("is \"#{fragment}\", {what}"));
                    continue;
                }
            };
            self.schemas[from].same.push(to);
        }
    }

    fn resolve(&mut self, fragment: &str) -> Result<usize, &'static str> {
        let fragment = percent_decode_str(fragment).decode_utf8().map_err(|_| "which is not UTF-8")?;
        if self.document_is == DocumentIs::OpenApi && !fragment.starts_with('/') {
            return Err(
                "and schemas of an OpenAPI document are referred to by place: `#/components/schemas/…`",
            );
        }
        if !fragment.is_empty() && !fragment.starts_with('/') {
            return self.anchors.get(&*fragment).copied().ok_or("and no schema has such an anchor");
        }
        let tree = self.document.at(&fragment).ok_or("which is not there")?;
        if !matches!(tree, Tree::Object(_) | Tree::Bool(_)) {
            return Err("which is no schema");
        }
        let mut at = fragment.into_owned();
        if !self.ids.contains_key(&std::ptr::from_ref(tree).addr()) {
            self.tops.push(at.clone());
        }
        Ok(self.schema(tree, &mut at, false))
    }
}

impl DocumentIs {
    /// Where schemas stand that are referred to.
    fn place(self) -> &'static str {
        match self {
            Self::Schema => "$defs",
            Self::OpenApi => "components/schemas",
        }
    }
}
