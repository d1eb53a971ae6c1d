//! What requests have to be like: a document that says it, and which requests it is about.
//!
//! Reads no document: whoever runs it does, and both planes with the same code.

use std::sync::Arc;

use rr_wire::fleet;
use rr_wire::fleet::validation::What;

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
        let (field, text) = match wire.what {
            Some(What::JsonSchema(text)) => ("validation.json_schema", text),
            None => {
                faults.add("validation", "has nothing that says what requests are like: set json_schema");
                return None;
            }
        };
        if text.len() > DOCUMENT_MAX {
            faults.add(field, format!("has {} bytes, more than {DOCUMENT_MAX}", text.len()));
            return None;
        }
        let methods = wire.methods.into_iter().map(Into::into).collect();
        Some(Self { subject: Subject::JsonSchema(text.into()), methods })
    }
}
