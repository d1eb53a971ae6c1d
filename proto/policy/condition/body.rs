//! Checks of bodies, found in one pass.
//!
//! A root array is a batch: each element is a document of its own, and paths start at it. Any other body is one
//! document; one that is empty, and an empty array, is a document without fields.

use std::sync::Arc;

use rr_domain::model::json_path::JsonPath;

use super::super::json::{JsonError, Value};
use super::super::path::{self, Event, Paths};
use super::super::pattern::Matcher;
use super::need::{Found, Need};

/// A check of the fields at a path.
#[derive(Debug)]
pub(in super::super) struct Look {
    pub(super) path: JsonPath,
    pub(super) value: Option<Arc<Matcher>>,
    pub(super) need: Need,
}

/// What several conditions look for in a body.
#[derive(Debug, Default)]
pub(in super::super) struct BodyIndex {
    paths: Paths,
    values: Box<[Option<Arc<Matcher>>]>,
}

impl BodyIndex {
    /// Numbers the looks in their order.
    pub(in super::super) fn new<'l>(looks: impl Iterator<Item = &'l Look> + Clone) -> Self {
        Self {
            paths: Paths::new(looks.clone().map(|look| &look.path)),
            values: looks.map(|look| look.value.clone()).collect(),
        }
    }

    pub(in super::super) fn len(&self) -> usize {
        self.values.len()
    }

    /// Calls `judge` with what was found of the wanted looks, for each document of a body. Documents in which
    /// nothing was found are alike, so only the first of them is judged.
    pub(in super::super) fn judge(
        &self,
        body: &[u8],
        wanted: &[bool],
        judge: &mut dyn FnMut(&[Found]),
    ) -> Result<(), JsonError> {
        let mut found = vec![Found::default(); self.len()];
        if body.is_empty() {
            judge(&found);
            return Ok(());
        }
        let (mut touched, mut blank_judged) = (false, false);
        path::find_in_each(body, &self.paths, &mut |event| match event {
            Event::Found(number, value) => {
                let number = number as usize;
                if wanted[number] && found[number].is_open() {
                    touched = true;
                    found[number].note(is(&self.values[number], value));
                }
            }
            Event::End => {
                if touched || !blank_judged {
                    judge(&found);
                }
                if touched {
                    found.fill(Found::default());
                } else {
                    blank_judged = true;
                }
                touched = false;
            }
        })
    }
}

/// Containers have no text, so no pattern is found in them.
fn is(matcher: &Option<Arc<Matcher>>, value: &Value<'_>) -> bool {
    match (matcher, value) {
        (None, _) => true,
        (Some(_), Value::Object | Value::Array) => false,
        (Some(matcher), Value::Text(text)) => matcher.is_match_text(&text.unescaped()),
        (Some(matcher), Value::Number(raw)) => matcher.is_match_text(raw),
        (Some(matcher), Value::Word(word)) => matcher.is_match_text(word),
    }
}
