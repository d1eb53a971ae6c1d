//! Checks of bodies, found in one pass.
//!
//! A root array is a batch: each element is a document of its own, and paths start at it. Any other body is one
//! document; one that is empty, and an empty array, is a document without fields.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use rr_domain::model::json_path::JsonPath;

use super::super::json::{JsonError, Value};
use super::super::path::{self, Event, Paths};
use super::super::pattern::{Matcher, PatternSet, Screen};
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
    /// By the number of their path.
    groups: Box<[Group]>,
    looks: usize,
}

/// The looks at one path.
#[derive(Debug, Default)]
struct Group {
    sought: Vec<Sought>,
    /// The regular expressions on the value, if they are many.
    set: Option<Arc<PatternSet>>,
}

#[derive(Debug)]
struct Sought {
    /// The number of the look.
    number: usize,
    value: Option<Arc<Matcher>>,
    /// Where the pattern is in the group's set.
    slot: Option<usize>,
}

impl BodyIndex {
    /// Numbers the looks in their order.
    pub(in super::super) fn new<'l>(looks: impl Iterator<Item = &'l Look>) -> Self {
        let mut by_path: BTreeMap<&JsonPath, Group> = BTreeMap::new();
        let mut count = 0;
        for look in looks {
            let value = look.value.clone();
            by_path.entry(&look.path).or_default().sought.push(Sought { number: count, value, slot: None });
            count += 1;
        }
        let paths = Paths::new(by_path.keys().copied());
        let groups = by_path.into_values().map(Group::with_set).collect();
        Self { paths, groups, looks: count }
    }

    pub(in super::super) fn len(&self) -> usize {
        self.looks
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
                touched |= self.groups[number as usize].note(value, wanted, &mut found);
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

impl Group {
    fn with_set(mut self) -> Self {
        let values = self.sought.iter().filter_map(|one| one.value.as_deref());
        self.set = Matcher::set_of(values);
        if let Some(set) = &self.set {
            for one in &mut self.sought {
                one.slot = one.value.as_ref().and_then(|value| value.slot_in(set));
            }
        }
        self
    }

    /// Notes an occurrence for the wanted looks that it can still tell something, and says whether there were any.
    fn note(&self, value: &Value<'_>, wanted: &[bool], found: &mut [Found]) -> bool {
        let asks = |one: &&Sought, found: &[Found]| wanted[one.number] && found[one.number].is_open();
        if !self.sought.iter().any(|one| asks(&one, found)) {
            return false;
        }
        // Containers have no text, so no pattern is found in them.
        let text = match value {
            Value::Object | Value::Array => None,
            Value::Text(text) => Some(text.unescaped()),
            Value::Number(raw) => Some(Cow::Borrowed(*raw)),
            Value::Word(word) => Some(Cow::Borrowed(*word)),
        };
        let mut screen = Screen::new(self.set.as_deref());
        for one in &self.sought {
            if asks(&one, found) {
                found[one.number].note(match (&one.value, &text) {
                    (None, _) => true,
                    (Some(_), None) => false,
                    (Some(value), Some(text)) => {
                        one.slot.is_none_or(|slot| screen.may_have(slot, text)) && value.is_match_text(text)
                    }
                });
            }
        }
        true
    }
}
