//! How a request is not as it has to be, as its caller is told.
//!
//! The invariant: names, places and keywords, and never a value.

use jsonschema::ValidationError;

/// The longest place that is told, in bytes. Of a longer one the beginning is.
const PLACE_MAX: usize = 512;

/// How a request is not as it has to be. Holds names and places, never a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The parameter that it is about, as `query.limit`. `None`: the body, or the whole request.
    pub parameter: Option<Box<str>>,
    /// A JSON pointer into the body, or into the list that a parameter is.
    pub pointer: Box<str>,
    /// The keyword of the schema or the document, or a word of ours: `schema` where it would take too long to find the place.
    pub keyword: Box<str>,
    /// A JSON pointer to the keyword in the schema or the document. Empty: the word is ours.
    pub schema: Box<str>,
}

impl Refusal {
    /// One that no schema says, but we.
    pub fn ours(pointer: &str, keyword: &str) -> Self {
        Self {
            parameter: None,
            pointer: cut(pointer).into(),
            keyword: keyword.into(),
            schema: Box::default(),
        }
    }

    /// One that a schema says.
    pub(super) fn of(error: &ValidationError<'_>) -> Self {
        Self {
            parameter: None,
            pointer: cut(error.instance_path().as_str()).into(),
            keyword: error.kind().keyword().into(),
            schema: cut(error.schema_path().as_str()).into(),
        }
    }

    /// The same of a parameter.
    pub(super) fn of_parameter(self, parameter: &str) -> Self {
        Self { parameter: Some(cut(parameter).into()), ..self }
    }
}

/// The beginning of a place, up to a step of it.
pub(super) fn cut(place: &str) -> &str {
    if place.len() <= PLACE_MAX {
        return place;
    }
    let end = place.as_bytes()[..=PLACE_MAX].iter().rposition(|byte| *byte == b'/');
    &place[..end.unwrap_or_default()]
}
