//! Whether a request is as a schema says, or as an operation of an OpenAPI document.
//!
//! Holds bodies, and parameters, against JSON Schema 2020-12. The crate that does so sees each value through `node`, which counts: the
//! work of a validation is bounded by the schema, the value and a fixed effort, never by time. The invariant: what is not
//! understood, has a key twice, or would take too long is refused, and nobody is told a value.

mod node;
mod number;
mod openapi;
mod refusal;
mod schema;
mod tree;
mod work;

use std::sync::Arc;

use http::HeaderMap;
use jsonschema::{PatternOptions, ValidationError};
use rr_domain::model::invalid::{Invalid, Violations};
use rr_domain::model::validation::{Subject, Validation};

use crate::json::JsonError;

use self::node::{Body, Handle};
use self::openapi::{Asked, Compiled, Found, Operations};
use self::refusal::cut;
use self::schema::{Cost, DocumentIs, Fault, survey};
use self::tree::{NoTree, Tree, pointer, read};
use self::work::{AT_LENGTH, AT_ONCE, Stop, Work, until_stopped};

pub use self::refusal::Refusal;

/// How much a compiled pattern may take, in bytes. The weight of patterns keeps them below it.
const COMPILED_MAX: usize = 16 * 1024 * 1024;
/// How much its lazy automaton may take.
const LAZY_MAX: usize = 256 * 1024;

/// A document that is ready.
pub struct Validator {
    schema: jsonschema::Validator<Body>,
    about: About,
    cost: Cost,
}

/// Which requests it is about, and what of them.
enum About {
    /// Bodies, of requests of these methods.
    Bodies(Arc<[Box<str>]>),
    /// Parameters and bodies of operations.
    Operations(Box<Operations>),
}

/// What of a request is known before its body.
#[derive(Debug, Clone, Copy)]
pub struct Head<'r> {
    /// The method.
    pub method: &'r str,
    /// The path behind the name of the proxy, normalised.
    pub path: &'r str,
    /// The query as it is written.
    pub query: Option<&'r str>,
    /// The headers.
    pub headers: &'r HeaderMap,
    /// Whether a body comes, or may.
    pub has_body: bool,
}

/// What follows from a head.
#[derive(Debug, PartialEq, Eq)]
pub enum Look {
    /// Nothing more is asked of the request.
    Passes,
    /// It hangs on the body, of which this is asked.
    Body(Wanted),
    /// It is not as it has to be.
    Refused(Refusal),
    /// To look takes more than can be done at once.
    TooMuch,
}

/// What is asked of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted(Wants);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wants {
    Schema { may_be_empty: bool },
    Operation(Asked),
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
        let (field, text) = match &validation.subject {
            Subject::JsonSchema(text) => ("validation.json_schema", text),
            Subject::OpenApi(text, _) => ("validation.openapi", text),
        };
        let at_fault = |faults: Vec<Fault>| invalid(field, faults);
        let read = read(text.as_bytes(), u32::MAX).map_err(|error| at_fault(vec![unreadable(error)]))?;
        let (schema, about, cost) = match validation.subject {
            Subject::JsonSchema(_) => {
                let roots = [(&read.tree, String::new())];
                let surveyed = survey(&read.tree, DocumentIs::Schema, &roots).map_err(at_fault)?;
                if !matches!(read.tree, Tree::Object(_) | Tree::Bool(_)) {
                    let what = "is neither an object nor a boolean".to_owned();
                    return Err(at_fault(vec![Fault { at: String::new(), what }]));
                }
                (read.tree.to_value(), About::Bodies(validation.methods.clone()), surveyed.cost)
            }
            Subject::OpenApi(_, unlisted) => {
                let Compiled { operations, schema, cost } =
                    openapi::compile(&read.tree, unlisted).map_err(at_fault)?;
                // What is held against it is one level higher.
                let cost = Cost { height: cost.height + 1, ..cost };
                (schema, About::Operations(Box::new(operations)), cost)
            }
        };
        let patterns = PatternOptions::regex().size_limit(COMPILED_MAX).dfa_size_limit(LAZY_MAX);
        let schema = jsonschema::options_for::<Body>()
            .with_draft(jsonschema::Draft::Draft202012)
            .with_pattern_options(patterns)
            .should_validate_formats(false)
            .offline()
            .build(&schema)
            .map_err(|error| at_fault(vec![of_schema(&error)]))?;
        Ok(Self { schema, about, cost })
    }

    /// What follows from the head of a request.
    pub fn look(&self, head: Head<'_>, effort: Effort) -> Look {
        let operations = match &self.about {
            About::Bodies(methods) => return of_method(methods, head),
            About::Operations(operations) => operations,
        };
        match self.operation(operations, &head, effort) {
            Ok(None) => Look::Passes,
            Ok(Some(asked)) => Look::Body(Wanted(Wants::Operation(asked))),
            Err(Stopped::Refused(refusal)) => Look::Refused(refusal),
            Err(Stopped::TooMuch) => Look::TooMuch,
        }
    }

    /// Finds the operation that a request is, and holds its parameters against their schemas.
    fn operation(
        &self,
        operations: &Operations,
        head: &Head<'_>,
        effort: Effort,
    ) -> Result<Option<Asked>, Stopped> {
        let Found::Operation(found) = operations.find(head)? else { return Ok(None) };
        let given = Operations::given(&found, head)?;
        let mut members = Vec::with_capacity(given.len());
        for (given, key) in given.iter().filter_map(|given| Some((given, given.key()?))) {
            let mut value = given.value();
            // One that can be read in two ways passes if one of them does.
            if let Some(other) = given.other_value() {
                let alone = Tree::Object(Box::new([operations.member(key, given.value())]));
                match self.hold(&alone, 3, effort) {
                    Ok(()) => {}
                    Err(Stopped::Refused(_)) => value = other,
                    Err(Stopped::TooMuch) => return Err(Stopped::TooMuch),
                }
            }
            members.push(operations.member(key, value));
        }
        if !members.is_empty() {
            members.sort_by(|(one, _), (other, _)| one.cmp(other));
            // An object, a list in it, and its elements.
            self.hold(&Tree::Object(members.into()), 3, effort)
                .map_err(|stopped| told(operations, stopped))?;
        }
        Ok(Operations::asked(&found, head)?)
    }

    /// Whether a body is as it has to be.
    pub fn body(&self, wanted: Wanted, body: &[u8], effort: Effort) -> Result<(), Stopped> {
        if effort == Effort::AtOnce && body.len() > AT_ONCE_MAX {
            return Err(Stopped::TooMuch);
        }
        let key = match (wanted.0, &self.about) {
            (Wants::Operation(asked), About::Operations(operations)) => {
                let Some(key) = operations.body(asked, body.is_empty())? else { return Ok(()) };
                Some((operations, key))
            }
            (Wants::Schema { may_be_empty: true }, _) if body.is_empty() => return Ok(()),
            _ if body.is_empty() => return Err(Refusal::ours("", "no-body").into()),
            _ => None,
        };
        let read = read(body, effort.most().values).map_err(|error| match error {
            NoTree::Json(JsonError::Depth) => Refusal::ours("", "too-deep").into(),
            NoTree::Json(_) => Refusal::ours("", "not-json").into(),
            NoTree::Twice(steps) => Refusal::ours(&pointer(&steps), "duplicate-key").into(),
            NoTree::TooMany => effort.over(),
        })?;
        let Some((operations, key)) = key else { return self.hold(&read.tree, read.depth, effort) };
        let under = Tree::Object(Box::new([operations.member(key, read.tree)]));
        self.hold(&under, read.depth + 1, effort).map_err(|stopped| told(operations, stopped))
    }

    /// Holds a value against the schema.
    fn hold(&self, tree: &Tree<'_>, depth: u32, effort: Effort) -> Result<(), Stopped> {
        let most = effort.most();
        if depth.saturating_mul(self.cost.height) > most.levels {
            return Err(effort.over());
        }
        let work = Work::new(most, self.cost.price);
        match until_stopped(|| self.schema.is_valid(Handle { tree, work: &work })) {
            Ok(true) => Ok(()),
            Ok(false) => {
                let tells = work.to_tell(most);
                let told = until_stopped(|| {
                    let found = self.schema.validate(Handle { tree, work: &tells });
                    found.err().map(|error| Refusal::of(&error))
                });
                Err(told.ok().flatten().unwrap_or_else(|| Refusal::ours("", "schema")).into())
            }
            Err(Stop::TooMuch) => Err(effort.over()),
            Err(Stop::Inexact(address)) => {
                let steps = tree.find(address).unwrap_or_default();
                Err(Refusal::ours(&pointer(&steps), "inexact-number").into())
            }
        }
    }
}

impl Effort {
    fn most(self) -> work::Effort {
        match self {
            Self::AtOnce => AT_ONCE,
            Self::AtLength => AT_LENGTH,
        }
    }

    /// What becomes of whoever needs more.
    fn over(self) -> Stopped {
        match self {
            Self::AtOnce => Stopped::TooMuch,
            Self::AtLength => Refusal::ours("", "too-much-work").into(),
        }
    }
}

impl From<Refusal> for Stopped {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// What of a request a JSON Schema is about.
fn of_method(methods: &[Box<str>], head: Head<'_>) -> Look {
    let has_to = if methods.is_empty() {
        matches!(head.method, "POST" | "PUT" | "PATCH")
    } else {
        methods.iter().any(|method| **method == *head.method)
    };
    match (has_to, head.has_body) {
        (true, false) => Look::Refused(Refusal::ours("", "no-body")),
        (true, true) => Look::Body(Wanted(Wants::Schema { may_be_empty: false })),
        (false, true) if methods.is_empty() => Look::Body(Wanted(Wants::Schema { may_be_empty: true })),
        (false, _) => Look::Passes,
    }
}

/// The same, of the part of a request that it is of.
fn told(operations: &Operations, stopped: Stopped) -> Stopped {
    match stopped {
        Stopped::Refused(refusal) => operations.told(refusal).into(),
        Stopped::TooMuch => Stopped::TooMuch,
    }
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
