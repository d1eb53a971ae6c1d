//! What is taken out of one text, number or key: found in what it stands for, and cut out of how it is written.
//!
//! Knows no paths. A hunt can be left after some thousand bytes and gone on with later.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use rr_domain::model::detector::Detectors;
use rr_domain::model::filter::{FOUND_MAX, Redact};

use crate::detect::Scan;
use crate::json::{Places, Text, Value};
use crate::pattern::{PatternFinder, Patterns, Uncompilable};

/// How many bytes are looked through at once.
const STEP: usize = 16 * 1024;
/// What is shorter has nothing that a detector finds.
const FOUND_MIN: usize = 6;

/// What one filter looks for, and what it puts in its place.
#[derive(Debug)]
pub(super) struct Redaction {
    detectors: Detectors,
    finders: Box<[Arc<PatternFinder>]>,
    /// A JSON text.
    mask: Box<str>,
}

/// A part of what a value stands for.
#[derive(Debug)]
pub(super) struct Found<'f> {
    at: Range<usize>,
    /// Which of the filters found it.
    by: usize,
    mask: &'f str,
}

/// A text, number or key that is looked through.
pub(super) struct Hunt<'f, 'd> {
    value: Written<'d>,
    /// Where it stands in the document.
    start: usize,
    plain: Cow<'d, str>,
    redactions: Vec<&'f Redaction>,
    /// Which of them looks.
    by: usize,
    stage: Stage<'d>,
}

#[derive(Clone, Copy)]
enum Written<'d> {
    Text(Text<'d>),
    Number(&'d str),
}

enum Stage<'d> {
    Detectors(Scan),
    /// The finder with this number, from this place on.
    Finder(usize, usize),
    /// The next find, and where its place is looked for.
    Cuts(usize, Places<'d>),
    Over,
}

/// What a step of a hunt came to.
pub(super) enum Hunter<'f> {
    /// So many bytes were looked through.
    Looked(usize),
    /// This part of the document is to be cut out, and this put in its place.
    Found(Range<usize>, &'f str),
    Done,
}

impl Redaction {
    pub(super) fn compile(redact: &Redact, patterns: &mut Patterns) -> Result<Self, Uncompilable> {
        let finders = redact.patterns.iter().map(|pattern| patterns.finder(pattern));
        Ok(Self {
            detectors: redact.detectors,
            finders: finders.collect::<Result<_, _>>()?,
            mask: serde_json::Value::from(redact.mask.as_str()).to_string().into(),
        })
    }

    /// The mask within a text.
    fn inner(&self) -> &str {
        &self.mask[1..self.mask.len() - 1]
    }
}

impl<'f, 'd> Hunt<'f, 'd> {
    /// Begins to look through a value that begins at `start` of the document. `None`: there is nothing in it.
    pub(super) fn begin(
        value: Value<'d>,
        start: usize,
        redactions: Vec<&'f Redaction>,
    ) -> Result<Self, Vec<&'f Redaction>> {
        let (value, plain) = match value {
            Value::Text(text) => (Written::Text(text), text.unescaped()),
            Value::Number(raw) => {
                // What is whole may be written with a fraction.
                let whole = raw.split_once('.').filter(|(_, fraction)| fraction.bytes().all(|it| it == b'0'));
                (Written::Number(raw), Cow::Borrowed(whole.map_or(raw, |(whole, _)| whole)))
            }
            Value::Object | Value::Array | Value::Word(_) => return Err(redactions),
        };
        let is_short = plain.len() < FOUND_MIN && redactions.iter().all(|one| one.finders.is_empty());
        let Some(first) = redactions.first().filter(|_| !is_short) else { return Err(redactions) };
        let stage = Stage::Detectors(Scan::new(first.detectors));
        Ok(Self { value, start, plain, redactions, by: 0, stage })
    }

    /// How many bytes it stands for.
    pub(super) fn length(&self) -> usize {
        self.plain.len()
    }

    /// How many bytes its copy has.
    pub(super) fn copies(&self) -> usize {
        match &self.plain {
            Cow::Borrowed(_) => 0,
            Cow::Owned(text) => text.capacity(),
        }
    }

    /// The list that it was begun with, to be used again.
    pub(super) fn into_list(self) -> Vec<&'f Redaction> {
        self.redactions
    }

    /// Goes on for a while. `found` is empty when it begins, and when it is done.
    pub(super) fn advance(&mut self, found: &mut Vec<Found<'f>>) -> Hunter<'f> {
        let Self { plain, by, .. } = self;
        match &mut self.stage {
            Stage::Detectors(scan) => {
                let Some(redaction) = self.redactions.get(*by) else { return Hunter::Done };
                let mask = redaction.inner();
                let is_done = scan.advance(plain.as_bytes(), STEP, &mut |_, Range { start, end }| {
                    let at = plain.floor_char_boundary(start)..plain.ceil_char_boundary(end);
                    found.push(Found { at, by: *by, mask });
                });
                if is_done {
                    self.stage = self.behind_finder(None, found);
                }
                Hunter::Looked(STEP.min(self.plain.len()))
            }
            Stage::Finder(number, at) => {
                let Some(redaction) = self.redactions.get(*by) else { return Hunter::Done };
                let until = plain.floor_char_boundary(at.saturating_add(STEP));
                let from = *at;
                match redaction.finders[*number].next(plain, from, until) {
                    Some(range) => {
                        *at = range.end;
                        found.push(Found { at: range, by: *by, mask: redaction.inner() });
                    }
                    None => *at = until,
                }
                let (number, at) = (*number, *at);
                if at >= plain.len() {
                    self.stage = self.behind_finder(Some(number), found);
                }
                // Also what lies behind the find and had to be looked at.
                Hunter::Looked(at - from + FOUND_MAX)
            }
            Stage::Cuts(next, places) => {
                let Some(Found { at, by, mask }) = found.get(*next) else {
                    found.clear();
                    self.stage = Stage::Over;
                    return Hunter::Done;
                };
                if let Written::Number(raw) = self.value {
                    // No number has room for a text.
                    let first = found.iter().min_by_key(|one| one.by).map_or(0, |one| one.by);
                    *next = found.len();
                    return match self.redactions.get(first) {
                        Some(redaction) => Hunter::Found(self.start..self.start + raw.len(), &redaction.mask),
                        None => Hunter::Done,
                    };
                }
                // Those that have something in common are one.
                let (mut end, mut first, mut mask) = (at.end, *by, *mask);
                let start = at.start;
                *next += 1;
                while let Some(other) = found.get(*next).filter(|other| other.at.start < end) {
                    end = end.max(other.at.end);
                    if other.by < first {
                        (first, mask) = (other.by, other.mask);
                    }
                    *next += 1;
                }
                let start = places.raw(start);
                Hunter::Found(self.start + start..self.start + places.raw(end), mask)
            }
            Stage::Over => Hunter::Done,
        }
    }

    /// What comes behind a finder of the filter that looks, or behind its detectors.
    fn behind_finder(&mut self, number: Option<usize>, found: &mut [Found<'f>]) -> Stage<'d> {
        let next = number.map_or(0, |number| number + 1);
        if self.redactions.get(self.by).is_some_and(|redaction| next < redaction.finders.len()) {
            return Stage::Finder(next, 0);
        }
        self.by += 1;
        if let Some(redaction) = self.redactions.get(self.by) {
            return Stage::Detectors(Scan::new(redaction.detectors));
        }
        if found.is_empty() {
            return Stage::Over;
        }
        found.sort_unstable_by_key(|one| (one.at.start, one.at.end));
        match self.value {
            Written::Text(text) => Stage::Cuts(0, Places::of(text)),
            Written::Number(raw) => Stage::Cuts(0, Places::plain(raw)),
        }
    }
}
