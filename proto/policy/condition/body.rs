//! Checks of bodies, found in one pass.
//!
//! A root array is a batch: each element is a document of its own, and paths start at it. Any other body is one
//! document; one that is empty, and an empty array, is a document without fields.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use rr_domain::model::json_path::JsonPath;

use super::super::json::{JsonError, Value};
use super::super::pace::Pace;
use super::super::path::{Batch, Event, Paths, Search};
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
        let paths = Paths::folded(by_path.keys().copied());
        let groups = by_path.into_values().map(Group::with_set).collect();
        Self { paths, groups, looks: count }
    }

    pub(in super::super) fn len(&self) -> usize {
        self.looks
    }

    /// Calls `judge` with what was found of the wanted looks, for each document of a body. Documents in which
    /// nothing was found are alike, so only the first of them is judged. `judging` is what a call is worth as work.
    pub(in super::super) async fn judge<R: AsyncFnMut()>(
        &self,
        body: &[u8],
        wanted: &[bool],
        pace: &mut Pace<R>,
        judging: u64,
        judge: &mut dyn FnMut(&[Found]),
    ) -> Result<(), JsonError> {
        let mut found = vec![Found::default(); self.len()];
        if body.is_empty() {
            judge(&found);
            return Ok(());
        }
        let (mut touched, mut blank_judged) = (false, false);
        let mut search = Search::new(body, &self.paths, Batch::Documents)?;
        while let Some(event) = search.next()? {
            match event {
                Event::Found(value, place) => {
                    for number in search.ends(place) {
                        let group = &self.groups[number as usize];
                        touched |= group.note(&value, wanted, &mut found, pace).await?;
                    }
                }
                Event::End => {
                    let is_judged = touched || !blank_judged;
                    pace.spend(if is_judged { judging } else { 1 }).await?;
                    if is_judged {
                        judge(&found);
                    }
                    if touched {
                        found.fill(Found::default());
                    } else {
                        blank_judged = true;
                    }
                    touched = false;
                }
            }
        }
        Ok(())
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
    async fn note<R: AsyncFnMut()>(
        &self,
        value: &Value<'_>,
        wanted: &[bool],
        found: &mut [Found],
        pace: &mut Pace<R>,
    ) -> Result<bool, JsonError> {
        // To ask who wants it is work, too.
        pace.spend(1 + self.sought.len() as u64 / 8).await?;
        let asks = |one: &Sought, found: &[Found]| wanted[one.number] && found[one.number].is_open();
        if !self.sought.iter().any(|one| asks(one, found)) {
            return Ok(false);
        }
        // Containers have no text, so no pattern is found in them.
        let text = match value {
            Value::Object | Value::Array => None,
            Value::Text(text) => Some(text.unescaped()),
            Value::Number(raw) => Some(Cow::Borrowed(*raw)),
            Value::Word(word) => Some(Cow::Borrowed(*word)),
        };
        let look = 1 + text.as_ref().map_or(0, |text| text.len() as u64 / 16);
        let mut screen = Screen::new(self.set.as_deref());
        for one in &self.sought {
            if !asks(one, found) {
                continue;
            }
            found[one.number].note(match (&one.value, &text) {
                (None, _) => true,
                (Some(_), None) => false,
                (Some(value), Some(text)) => {
                    if !screen.was_asked() {
                        pace.spend(look).await?;
                    }
                    if one.slot.is_none_or(|slot| screen.may_have(slot, text, pace.credit())) {
                        pace.spend(look).await?;
                        value.is_in_body(text, pace).await?
                    } else {
                        false
                    }
                }
            });
        }
        Ok(true)
    }
}
