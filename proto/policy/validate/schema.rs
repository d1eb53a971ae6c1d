//! What a schema would cost, found by looking at it once, and what of it is not taken.
//!
//! Compiles nothing: the validator does, and looks for faults of its keywords. The invariant: a schema that passes here
//! refers to nothing outside its document, cannot be applied to one value without end, and has patterns of linear time.

use std::collections::HashMap;

use percent_encoding::percent_decode_str;
use rr_domain::model::pattern::{Flags, Pattern};

use super::number::double;
use super::tree::{Step, Tree, pointer};
use super::work::Price;

/// Schemas within a document.
const SCHEMAS_MAX: usize = 5_000;
/// How many of them may be applied to one value.
const APPLIED_MAX: u64 = 4_096;
/// How many may be applied to one value each by the other.
const HEIGHT_MAX: u32 = 24;
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

/// Looks at the schemas of a document: those at `roots`, and whatever they refer to.
pub(super) fn survey(document: &Tree<'_>, roots: &[(&Tree<'_>, String)]) -> Result<Cost, Vec<Fault>> {
    let mut survey = Survey { document, ..Survey::empty(document) };
    for (root, at) in roots {
        survey.schema(root, &mut at.clone(), at.is_empty());
    }
    survey.follow();
    let cost = survey.cost();
    if survey.faults.is_empty() { Ok(cost) } else { Err(survey.faults) }
}

struct Survey<'t, 'a> {
    document: &'t Tree<'a>,
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

#[derive(Default, Clone, Copy)]
enum Measured {
    #[default]
    Not,
    Begun,
    Is {
        applied: u64,
        height: u32,
    },
}

impl<'t, 'a> Survey<'t, 'a> {
    fn empty(document: &'t Tree<'a>) -> Self {
        Self {
            document,
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
                self.fault(at, "names a document within the document: leave it out, and refer to `#/$defs/…`");
            }
            ("$anchor" | "$dynamicAnchor", Some(name)) => {
                self.anchors.insert(name.to_owned(), id);
            }
            ("$ref" | "$dynamicRef", Some(reference)) => match reference.strip_prefix('#') {
                Some(fragment) => self.references.push((id, fragment.to_owned(), at.clone())),
                None => self.fault(
                    at,
                    format!("is {reference:?}, outside the document: put it below `$defs`, and refer to `#/$defs/…`"),
                ),
            },
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
        if !fragment.is_empty() && !fragment.starts_with('/') {
            return self.anchors.get(&*fragment).copied().ok_or("and no schema has such an anchor");
        }
        let mut tree = self.document;
        for step in fragment.split('/').skip(1) {
            let key = step.replace("~1", "/").replace("~0", "~");
            let found = match tree {
                Tree::List(items) => key.parse::<usize>().ok().and_then(|at| items.get(at)),
                other => other.get(&key),
            };
            tree = found.ok_or("which is not there")?;
        }
        match tree {
            Tree::Object(_) | Tree::Bool(_) => Ok(self.schema(tree, &mut fragment.into_owned(), false)),
            _ => Err("which is no schema"),
        }
    }

    /// What all schemas cost.
    fn cost(&mut self) -> Cost {
        let (mut applied, mut height) = (1, 1);
        for id in 0..self.schemas.len() {
            if !self.faults.is_empty() {
                break;
            }
            let (of_it, its_height) = self.measure(id, 1);
            (applied, height) = (of_it.max(applied), its_height.max(height));
        }
        let value = applied / 8;
        let member = value.saturating_mul(self.price.member.max(1)).saturating_add(self.price.member);
        Cost { price: Price { value, member, ..self.price }, height }
    }

    /// How many schemas are applied to one value with this one, itself included, and each by the other.
    fn measure(&mut self, id: usize, depth: u32) -> (u64, u32) {
        let at = self.schemas[id].at.clone();
        match self.schemas[id].measured {
            Measured::Is { applied, height } => return (applied, height),
            Measured::Begun => {
                self.fault(&at, "is applied to a value because it is applied to it, without end");
                return (1, 1);
            }
            Measured::Not if depth > HEIGHT_MAX => {
                self.fault(&at, too_high());
                return (1, 1);
            }
            Measured::Not => self.schemas[id].measured = Measured::Begun,
        }
        let (mut applied, mut height) = (1_u64, 0);
        for inner in self.schemas[id].same.clone() {
            let (of_inner, its_height) = self.measure(inner, depth + 1);
            (applied, height) = (applied.saturating_add(of_inner), its_height.max(height));
            if !self.faults.is_empty() {
                break;
            }
        }
        height += 1;
        if applied > APPLIED_MAX {
            self.fault(&at, format!("applies more than {APPLIED_MAX} schemas to one value, itself again where it is referred to"));
        } else if height > HEIGHT_MAX {
            self.fault(&at, too_high());
        }
        self.schemas[id].measured = Measured::Is { applied, height };
        (applied, height)
    }
}

fn too_high() -> String {
    format!("is in a row of more than {HEIGHT_MAX} schemas that are applied to one value each by the other")
}
