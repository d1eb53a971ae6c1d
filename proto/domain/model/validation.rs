//! What requests have to be like: a document that says it, and which requests it is about.
//!
//! Reads no document: whoever runs it does, and both planes with the same code.

use std::sync::Arc;

use rr_wire::fleet::validation::What;
use rr_wire::fleet::{self, UnlistedOperations};

use super::invalid::{Invalid, Violations};

/// The longest document, in bytes.
pub const DOCUMENT_MAX: usize = 256 * 1024;
/// How many methods may be named.
const METHODS_MAX: usize = 16;
const METHOD_MAX: usize = 32;

/// What requests have to be like.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Validation {
    /// What says it.
    pub subject: Subject,
    /// Which requests a JSON Schema is about. Empty: those with a body, and POST, PUT and PATCH.
    pub methods: Arc<[Box<str>]>,
}

/// What says what requests have to be like.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Subject {
    /// JSON Schema 2020-12, for bodies.
    JsonSchema(Arc<str>),
    /// OpenAPI 3.1, for operations; what becomes of those that it does not list.
    OpenApi(Arc<str>, Unlisted),
}

/// What becomes of requests to operations that a document does not list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Unlisted {
    /// They are refused.
    Refuse,
    /// They pass, and nothing of them is looked at.
    Pass,
}

impl TryFrom<fleet::Validation> for Validation {
    type Error = Invalid;

    fn try_from(wire: fleet::Validation) -> Result<Self, Invalid> {
        let mut faults = Violations::default();
        let validation = Self::read(&mut faults, wire);
        faults.finish(|| validation)
    }
}

impl Validation {
    pub(crate) fn read(faults: &mut Violations, wire: fleet::Validation) -> Option<Self> {
        if wire.methods.len() > METHODS_MAX {
            faults.add("validation.methods", format!("has at most {METHODS_MAX}"));
        }
        for (i, method) in wire.methods.iter().take(METHODS_MAX).enumerate() {
            let is_one = (1..=METHOD_MAX).contains(&method.len())
                && method.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'-');
            if !is_one {
                let what = format!("is a method in upper case, of at most {METHOD_MAX} characters");
                faults.add(format!("validation.methods[{i}]"), what);
            }
        }
        let unlisted = match UnlistedOperations::try_from(wire.unlisted) {
            Ok(UnlistedOperations::Unspecified | UnlistedOperations::Refuse) => Unlisted::Refuse,
            Ok(UnlistedOperations::Pass) => Unlisted::Pass,
            Err(_) => {
                faults.add("validation.unlisted", "is neither refuse nor pass");
                Unlisted::Refuse
            }
        };
        let (field, text) = match &wire.what {
            Some(What::JsonSchema(text)) => ("validation.json_schema", text),
            Some(What::Openapi(text)) => ("validation.openapi", text),
            None => {
                let what = "has nothing that says what requests are like: set json_schema or openapi";
                faults.add("validation", what);
                return None;
            }
        };
        if text.len() > DOCUMENT_MAX {
            faults.add(field, format!("has {} bytes, more than {DOCUMENT_MAX}", text.len()));
            return None;
        }
        let subject = match wire.what? {
            What::JsonSchema(text) => {
                if wire.unlisted != 0 {
                    let what =
                        "is about operations, and a JSON Schema lists none: set openapi, or leave it out";
                    faults.add("validation.unlisted", what);
                }
                Subject::JsonSchema(text.into())
            }
            What::Openapi(text) => {
                if !wire.methods.is_empty() {
                    let what =
                        "are those of the operations that the OpenAPI document lists: leave them out here";
                    faults.add("validation.methods", what);
                }
                Subject::OpenApi(text.into(), unlisted)
            }
        };
        let methods = wire.methods.into_iter().map(Into::into).collect();
        Some(Self { subject, methods })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(wire: fleet::Validation) -> Vec<String> {
        let Err(invalid) = Validation::try_from(wire) else { return Vec::new() };
        invalid.violations().iter().map(|fault| format!("{}: {}", fault.field, fault.reason)).collect()
    }

    #[test]
    fn each_document_takes_what_is_said_of_its_own_kind_and_names_what_is_not() {
        let schema = || Some(What::JsonSchema("{}".to_owned()));
        let openapi = || Some(What::Openapi("{}".to_owned()));
        let methods = || vec!["POST".to_owned()];
        let pass = i32::from(UnlistedOperations::Pass);
        for (wire, fault) in [
            (fleet::Validation { what: openapi(), methods: methods(), unlisted: 0 }, "validation.methods: "),
            (
                fleet::Validation { what: schema(), methods: methods(), unlisted: pass },
                "validation.unlisted: ",
            ),
            (
                fleet::Validation { what: openapi(), unlisted: 7, methods: vec![] },
                "validation.unlisted: is neither",
            ),
            (fleet::Validation::default(), "validation: has nothing"),
            (
                fleet::Validation {
                    what: Some(What::Openapi(" ".repeat(DOCUMENT_MAX + 1))),
                    ..Default::default()
                },
                "validation.openapi: has 262145 bytes",
            ),
        ] {
            let found = faults(wire);
            assert!(found.len() == 1 && found[0].starts_with(fault), "{fault} {found:?}");
        }
        let read = |unlisted| {
            let wire = fleet::Validation { what: openapi(), unlisted, methods: vec![] };
            Validation::try_from(wire).expect("it is whole").subject
        };
        assert_eq!(read(0), read(1));
        assert_eq!(read(0), Subject::OpenApi("{}".into(), Unlisted::Refuse));
        assert_eq!(read(pass), Subject::OpenApi("{}".into(), Unlisted::Pass));
    }
}
