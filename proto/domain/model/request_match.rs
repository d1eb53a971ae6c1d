//! Which requests a rule or a meter is about: all stated parts must match, what is left out does not restrict.
//!
//! How several occurrences count is not said here: it depends on whether a rule allows or denies.

use rr_wire::fleet;

use super::invalid::Violations;
use super::json_path::JsonPath;
use super::pattern::{Flags, Pattern};

/// How many methods may be named.
pub const METHODS_MAX: usize = 16;
/// The longest name of a method.
pub const METHOD_MAX: usize = 32;
/// How many checks of headers, of query pairs and of body fields there may be, each.
pub const CHECKS_MAX: usize = 16;

/// A condition on requests.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RequestMatch {
    /// In upper case, none twice. Empty means every method.
    pub methods: Vec<String>,
    /// On the path, as rules see it.
    pub path: Option<PathCheck>,
    /// On each value of each header.
    pub headers: Vec<PairCheck>,
    /// On each pair of the query, decoded.
    pub query: Vec<PairCheck>,
    /// On fields of a JSON body; of each element by itself if it is an array.
    pub body: Vec<BodyCheck>,
}

/// A pattern that the path has, or has not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathCheck {
    /// What is looked for.
    pub pattern: Pattern,
    /// Matches when it is not found.
    pub absent: bool,
}

/// A pair that is there, or is not. At least one of name and value is given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PairCheck {
    /// `None`: any name.
    pub name: Option<Pattern>,
    /// `None`: any value.
    pub value: Option<Pattern>,
    /// The negation.
    pub absent: bool,
}

/// A field that is there, or is not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BodyCheck {
    /// The path of the field.
    pub path: JsonPath,
    /// `None`: any value.
    pub value: Option<Pattern>,
    /// The negation.
    pub absent: bool,
}

impl RequestMatch {
    /// Reads a condition, noting every fault under `field`.
    pub(crate) fn parse(faults: &mut Violations, field: &str, wire: &fleet::RequestMatch) -> Option<Self> {
        let methods = methods(faults, &format!("{field}.methods"), &wire.methods);
        let path = match &wire.path {
            None => Some(None),
            Some(wire) => pattern(faults, &format!("{field}.path"), wire)
                .map(|pattern| Some(PathCheck { pattern, absent: wire.absent })),
        };
        let headers = checks(faults, &format!("{field}.headers"), &wire.headers, pair_check);
        let query = checks(faults, &format!("{field}.query"), &wire.query, pair_check);
        let body = checks(faults, &format!("{field}.body"), &wire.body, body_check);
        Some(Self { methods: methods?, path: path?, headers: headers?, query: query?, body: body? })
    }

    /// For the wire.
    pub fn to_wire(&self) -> fleet::RequestMatch {
        let path = self
            .path
            .as_ref()
            .map(|path| fleet::Pattern { absent: path.absent, ..pattern_wire(&path.pattern) });
        let body = self.body.iter().map(|check| fleet::BodyCheck {
            path: check.path.to_string(),
            value: check.value.as_ref().map(pattern_wire),
            absent: check.absent,
        });
        fleet::RequestMatch {
            methods: self.methods.clone(),
            path,
            headers: self.headers.iter().map(PairCheck::to_wire).collect(),
            query: self.query.iter().map(PairCheck::to_wire).collect(),
            body: body.collect(),
        }
    }
}

impl PairCheck {
    fn to_wire(&self) -> fleet::PairCheck {
        fleet::PairCheck {
            name: self.name.as_ref().map(pattern_wire),
            value: self.value.as_ref().map(pattern_wire),
            absent: self.absent,
        }
    }
}

fn pattern_wire(pattern: &Pattern) -> fleet::Pattern {
    fleet::Pattern { regex: pattern.regex().to_owned(), flags: pattern.flags().to_string(), absent: false }
}

fn methods(faults: &mut Violations, field: &str, wire: &[String]) -> Option<Vec<String>> {
    if wire.len() > METHODS_MAX {
        faults.add(field, format!("has more than {METHODS_MAX}"));
        return None;
    }
    let mut good = true;
    for (i, method) in wire.iter().enumerate() {
        let fault = if !is_method(method) {
            format!("is no method: a token in upper case of at most {METHOD_MAX}, like GET")
        } else if wire[..i].contains(method) {
            "is there twice".to_owned()
        } else {
            continue;
        };
        faults.add(format!("{field}[{i}]"), fault);
        good = false;
    }
    good.then(|| wire.to_vec())
}

fn is_method(text: &str) -> bool {
    text.len() <= METHOD_MAX
        && !text.bytes().any(|b| b.is_ascii_lowercase())
        && http::Method::from_bytes(text.as_bytes()).is_ok()
}

fn checks<W, T>(
    faults: &mut Violations,
    field: &str,
    wire: &[W],
    parse: fn(&mut Violations, &str, &W) -> Option<T>,
) -> Option<Vec<T>> {
    if wire.len() > CHECKS_MAX {
        faults.add(field, format!("has more than {CHECKS_MAX}"));
        return None;
    }
    // All of them, so that every fault is noted.
    let parsed: Vec<Option<T>> =
        wire.iter().enumerate().map(|(i, wire)| parse(faults, &format!("{field}[{i}]"), wire)).collect();
    parsed.into_iter().collect()
}

fn pair_check(faults: &mut Violations, field: &str, wire: &fleet::PairCheck) -> Option<PairCheck> {
    if wire.name.is_none() && wire.value.is_none() {
        faults.add(field, "has neither a name nor a value to look for");
        return None;
    }
    let name = inner_pattern(faults, &format!("{field}.name"), wire.name.as_ref());
    let value = inner_pattern(faults, &format!("{field}.value"), wire.value.as_ref());
    Some(PairCheck { name: name?, value: value?, absent: wire.absent })
}

fn body_check(faults: &mut Violations, field: &str, wire: &fleet::BodyCheck) -> Option<BodyCheck> {
    let path = faults.take(format!("{field}.path"), wire.path.parse());
    let value = inner_pattern(faults, &format!("{field}.value"), wire.value.as_ref());
    Some(BodyCheck { path: path?, value: value?, absent: wire.absent })
}

/// A pattern inside a check; the check says whether it is negated, so that one thing is said in one place.
#[allow(clippy::option_option)] // read and not there; not to be read
fn inner_pattern(
    faults: &mut Violations,
    field: &str,
    wire: Option<&fleet::Pattern>,
) -> Option<Option<Pattern>> {
    let Some(wire) = wire else { return Some(None) };
    let pattern = pattern(faults, field, wire);
    if wire.absent {
        faults.add(format!("{field}.absent"), "is said of the whole check, not of its name or value");
        return None;
    }
    pattern.map(Some)
}

fn pattern(faults: &mut Violations, field: &str, wire: &fleet::Pattern) -> Option<Pattern> {
    let flags = faults.take(format!("{field}.flags"), Flags::parse(&wire.flags));
    // With wrong flags the pattern is still looked at, for its own faults.
    let pattern = faults.take(format!("{field}.regex"), Pattern::new(&wire.regex, flags.unwrap_or_default()));
    flags.and(pattern)
}
