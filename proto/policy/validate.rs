//! Whether a request is as a schema says.
//!
//! Holds the body against JSON Schema 2020-12. The crate that does so sees each value through `node`, which counts: the
//! work of a validation is bounded by the schema, the body and a fixed effort, never by time. The invariant: what is not
//! understood, has a key twice, or would take too long is refused, and nobody is told a value.

mod node;
mod number;
mod schema;
mod tree;
mod work;

use std::sync::Arc;

use jsonschema::{PatternOptions, ValidationError};
use rr_domain::model::invalid::{Invalid, Violations};
use rr_domain::model::validation::{Subject, Validation};

use crate::json::JsonError;

use self::node::{Body, Handle};
use self::schema::{Cost, Fault, survey};
use self::tree::{NoTree, Tree, pointer, read};
use self::work::{AT_LENGTH, AT_ONCE, Stop, Work, until_stopped};

/// How much a compiled pattern may take, in bytes. The weight of patterns keeps them below it.
const COMPILED_MAX: usize = 16 * 1024 * 1024;
/// How much its lazy automaton may take.
const LAZY_MAX: usize = 256 * 1024;
/// The longest place that is told, in bytes. Of a longer one the beginning is.
const PLACE_MAX: usize = 512;

/// A schema that is ready.
pub struct Validator {
    schema: jsonschema::Validator<Body>,
    methods: Arc<[Box<str>]>,
    cost: Cost,
}

/// What of a request is known before its body.
#[derive(Debug, Clone, Copy)]
pub struct Head<'r> {
    /// The method.
    pub method: &'r str,
    /// Whether a body comes, or may.
    pub has_body: bool,
}

/// What follows from a head.
#[derive(Debug, PartialEq, Eq)]
pub enum Look {
    /// The validation is not about the request.
    Passes,
    /// It hangs on the body.
    Body,
    /// It is not as it has to be.
    Refused(Refusal),
}

/// How a request is not as it has to be. Holds names and places, never a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// A JSON pointer into the body.
    pub pointer: Box<str>,
    /// The keyword of the schema, or a word of ours: `schema` where it would take too long to find the place.
    pub keyword: Box<str>,
    /// A JSON pointer to the keyword in the schema. Empty: the word is ours.
    pub schema: Box<str>,
}

/// How much a validation may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effort {
    /// As much as others can wait for.
    AtOnce,
    /// As much as there may be, with a stack of [`STACK`].
    AtLength,
}

/// What the stack of whoever validates at length has to hold, in bytes.
pub const STACK: usize = 32 * 1024 * 1024;

/// How long a body may be that is validated at once, in bytes.
pub const AT_ONCE_MAX: usize = 64 * 1024;

/// Why a body does not pass.
#[derive(Debug, PartialEq, Eq)]
pub enum Stopped {
    /// It is not as it has to be.
    Refused(Refusal),
    /// It takes more than can be done at once.
    TooMuch,
}

/// Checks a validation as a node does. The field at fault is below the resource.
pub fn check(validation: &Validation) -> Result<(), Invalid> {
    Validator::compile(validation).map(|_| ())
}

impl Validator {
    /// Reads the document of a validation, and makes it ready.
    pub fn compile(validation: &Validation) -> Result<Self, Invalid> {
        let Subject::JsonSchema(text) = &validation.subject;
        let at_fault = |faults: Vec<Fault>| invalid("validation.json_schema", faults);
        let read = read(text.as_bytes(), u32::MAX).map_err(|error| at_fault(vec![unreadable(error)]))?;
        let cost = survey(&read.tree, &[(&read.tree, String::new())]).map_err(at_fault)?;
        if !matches!(read.tree, Tree::Object(_) | Tree::Bool(_)) {
            let what = "is neither an object nor a boolean".to_owned();
            return Err(at_fault(vec![Fault { at: String::new(), what }]));
        }
        let patterns = PatternOptions::regex().size_limit(COMPILED_MAX).dfa_size_limit(LAZY_MAX);
        let schema = jsonschema::options_for::<Body>()
            .with_draft(jsonschema::Draft::Draft202012)
            .with_pattern_options(patterns)
            .should_validate_formats(false)
            .offline()
            .build(&read.tree.to_value())
            .map_err(|error| at_fault(vec![of_schema(&error)]))?;
        Ok(Self { schema, methods: validation.methods.clone(), cost })
    }

    /// What follows from the head of a request.
    pub fn look(&self, head: Head<'_>) -> Look {
        let is_about = if self.methods.is_empty() {
            head.has_body || matches!(head.method, "POST" | "PUT" | "PATCH")
        } else {
            self.methods.iter().any(|method| **method == *head.method)
        };
        match is_about {
            false => Look::Passes,
            true if head.has_body => Look::Body,
            true => Look::Refused(Refusal::ours("", "no-body")),
        }
    }

    /// Whether a body is as it has to be.
    pub fn body(&self, body: &[u8], effort: Effort) -> Result<(), Stopped> {
        let most = match effort {
            Effort::AtOnce if body.len() > AT_ONCE_MAX => return Err(Stopped::TooMuch),
            Effort::AtOnce => AT_ONCE,
            Effort::AtLength => AT_LENGTH,
        };
        let too_much = || match effort {
            Effort::AtOnce => Stopped::TooMuch,
            Effort::AtLength => Stopped::Refused(Refusal::ours("", "too-much-work")),
        };
        let refused = |pointer: &str, keyword: &str| Stopped::Refused(Refusal::ours(pointer, keyword));
        if body.is_empty() {
            return Err(refused("", "no-body"));
        }
        let read = read(body, most.values).map_err(|error| match error {
            NoTree::Json(JsonError::Depth) => refused("", "too-deep"),
            NoTree::Json(_) => refused("", "not-json"),
            NoTree::Twice(steps) => refused(&pointer(&steps), "duplicate-key"),
            NoTree::TooMany => too_much(),
        })?;
        if read.depth.saturating_mul(self.cost.height) > most.levels {
            return Err(too_much());
        }
        let work = Work::new(most, self.cost.price);
        match until_stopped(|| self.schema.is_valid(Handle { tree: &read.tree, work: &work })) {
            Ok(true) => Ok(()),
            Ok(false) => {
                let tells = work.to_tell(most);
                let told = until_stopped(|| {
                    let found = self.schema.validate(Handle { tree: &read.tree, work: &tells });
                    found.err().map(|error| refusal(&error))
                });
                Err(Stopped::Refused(told.ok().flatten().unwrap_or_else(|| Refusal::ours("", "schema"))))
            }
            Err(Stop::TooMuch) => Err(too_much()),
            Err(Stop::Inexact(address)) => {
                let steps = read.tree.find(address).unwrap_or_default();
                Err(refused(&pointer(&steps), "inexact-number"))
            }
        }
    }
}

impl Refusal {
    /// One that no schema says, but we.
    pub fn ours(pointer: &str, keyword: &str) -> Self {
        Self { pointer: cut(pointer).into(), keyword: keyword.into(), schema: Box::default() }
    }
}

fn refusal(error: &ValidationError<'_>) -> Refusal {
    Refusal {
        pointer: cut(error.instance_path().as_str()).into(),
        keyword: error.kind().keyword().into(),
        schema: cut(error.schema_path().as_str()).into(),
    }
}

/// The beginning of a place, up to a step of it.
fn cut(pointer: &str) -> &str {
    if pointer.len() <= PLACE_MAX {
        return pointer;
    }
    let end = pointer.as_bytes()[..=PLACE_MAX].iter().rposition(|byte| *byte == b'/');
    &pointer[..end.unwrap_or_default()]
}

fn unreadable(error: NoTree) -> Fault {
    match error {
        NoTree::Json(error) => Fault { at: String::new(), what: format!("is {error}") },
        NoTree::Twice(steps) => Fault { at: pointer(&steps), what: "is there twice".to_owned() },
        NoTree::TooMany => Fault { at: String::new(), what: "has too many values".to_owned() },
    }
}

/// What the crate says of a schema, without the value.
fn of_schema(error: &ValidationError<'_>) -> Fault {
    let mut what = String::from("is no JSON Schema 2020-12: ");
    let text = error.masked().to_string();
    what.extend(text.chars().take(300));
    Fault { at: error.instance_path().as_str().to_owned(), what }
}

fn invalid(field: &str, faults: Vec<Fault>) -> Invalid {
    let mut violations = Violations::default();
    for Fault { at, what } in faults {
        let mut reason = String::new();
        if !at.is_empty() {
            reason = format!("at `{}`: ", cut(&at));
        }
        reason.push_str(&what);
        violations.add(field, reason);
    }
    match violations.finish(|| None::<std::convert::Infallible>) {
        Ok(never) => match never {},
        Err(invalid) => invalid,
    }
}

#[cfg(test)]
mod tests;
