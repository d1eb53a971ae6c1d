//! One pass of several filters over one document.
//!
//! What a filter does to a value depends on the way to the value and on whether it is a container, which the filters
//! before it change in one way only: the value is gone, or is a text now. So all filters are asked about a value one
//! after the other, in the order in which they run, and the result is that of a pass for each. Nobody looks into a
//! value that no path goes through. What is redacted is looked for in a value as it came, by each filter; where two find
//! the same, the first one's mask stands. A pass can be left between two values, and within a long one, and gone on with
//! later.

use std::borrow::Cow;

use crate::json::{JsonError, Reader, Text, Value};
use crate::path::Paths;

use super::redact::{Found, Hunt, Hunter, Redaction};
use super::{CompiledAction, CompiledFilter, Filtered};

/// How often filters may be asked about a value in one pass.
const ASKED_MAX: u64 = 64_000_000;
/// How often they are asked before whoever runs them is let go: less than a millisecond.
const SLICE: u64 = 20_000;
/// How many bytes of a text are looked through for what is redacted in the time of a question.
const BYTES_ASKED: u64 = 8;
/// Up to here, a text is looked through in one go.
const SHORT: usize = 4 * 1024;
/// The longest key in which something may have to be redacted.
const KEY_MAX: usize = 64 * 1024;
/// The place at which all that is there and below it is redacted, whatever the paths of the filter.
const BELOW: u32 = u32::MAX - 2;

/// Filters under way over a document.
pub struct Pass<'f, 'd> {
    filters: Vec<&'f CompiledFilter>,
    document: &'d [u8],
    reader: Reader<'d>,
    /// The containers that are looked into, outermost first. Nesting is bounded by the reader.
    open: Vec<Open>,
    /// A stack: for each of them the nodes that its place has reached. Those of one container are in the order of the
    /// filters.
    reached: Vec<Reached>,
    out: Vec<u8>,
    /// How much of the document stands in `out`, or was taken.
    copied: usize,
    taken: u64,
    /// How often filters may still be asked.
    left: u64,
    /// A long text that is looked through.
    hunt: Option<Hunt<'f, 'd>>,
    /// What was found in the text that is looked through, emptied and used again.
    found: Vec<Found<'f>>,
    /// The filters that look through a text, likewise.
    list: Vec<&'f Redaction>,
}

/// A container whose members or elements are being read.
#[derive(Debug, Clone, Copy)]
struct Open {
    is_object: bool,
    /// Its nodes on the stack.
    from: usize,
    to: usize,
    first: bool,
    /// Something of it was kept.
    kept: bool,
    /// Behind what was read of it.
    start: usize,
}

/// A node in the paths of a filter. A filter that has none at a place leaves what is there as it is.
#[derive(Debug, Clone, Copy)]
struct Reached {
    filter: usize,
    node: u32,
}

/// What becomes of a value.
#[derive(Debug, Clone, Copy)]
enum Fate<'f> {
    Copy,
    Drop,
    Mask(&'f str),
    /// What is found in it goes. The filters that look are on top of the stack.
    Redact,
    /// Its members or elements are asked about in their turn.
    Descend,
}

impl<'f, 'd> Pass<'f, 'd> {
    /// Begins a pass of filters in their order. With none, the document is not looked at.
    pub(super) fn begin(filters: Vec<&'f CompiledFilter>, document: &'d [u8]) -> Result<Self, JsonError> {
        let reader = Reader::new(if filters.is_empty() { b"" } else { document })?;
        let (open, reached, out) = (Vec::new(), Vec::new(), Vec::new());
        let (hunt, found, list) = (None, Vec::new(), Vec::new());
        let (copied, taken, left) = (0, 0, ASKED_MAX);
        let mut pass =
            Self { filters, document, reader, open, reached, out, copied, taken, left, hunt, found, list };
        if !pass.filters.is_empty() {
            pass.root()?;
        }
        Ok(pass)
    }

    /// Goes on for a while, and says whether it is done.
    pub fn advance(&mut self) -> Result<bool, JsonError> {
        let mut slice = SLICE;
        while slice > 0 {
            if let Some(hunt) = self.hunt.take() {
                slice = self.hunt_on(hunt, slice)?;
                continue;
            }
            let Some(open) = self.open.pop() else {
                if !self.filters.is_empty() {
                    self.reader.end()?;
                }
                return Ok(true);
            };
            slice = self.items(open, slice)?;
        }
        Ok(false)
    }

    /// How many bytes its copy has room for, or [`Self::finish`] would have copied by now: none, as long as nothing was taken.
    pub fn copies(&self) -> usize {
        let copied = self.out.len() + self.document.len() - self.copied;
        let copied = if self.taken > 0 { copied.max(self.out.capacity()) } else { 0 };
        let found = self.found.capacity() * size_of::<Found<'_>>();
        copied + found + self.hunt.as_ref().map_or(0, Hunt::copies)
    }

    /// What is left of the document, once all of it was gone over.
    pub fn finish(mut self) -> Filtered<'d> {
        let ran = u32::try_from(self.filters.len()).expect("a view is bounded, so filters are");
        if self.taken > 0 {
            self.out.extend_from_slice(&self.document[self.copied..]);
        }
        let left = if self.taken > 0 { Cow::Owned(self.out) } else { Cow::Borrowed(self.document) };
        Filtered { document: left, taken: self.taken, filters: ran }
    }

    /// Reads the start of the document.
    fn root(&mut self) -> Result<(), JsonError> {
        let start = self.reader.position();
        let value = self.reader.value()?;
        if let Value::Object | Value::Array = value {
            let is_object = matches!(value, Value::Object);
            let root = if is_object { Paths::ROOT } else { Paths::BATCH };
            self.reached.extend(self.filters.iter().enumerate().map(|(filter, what)| {
                let node = if what.redacts() && what.is_everywhere { BELOW } else { root };
                Reached { filter, node }
            }));
            self.enter(is_object, 0);
        } else if self.filters.iter().any(|filter| matches!(filter.action, CompiledAction::Retain)) {
            // A document that is not there at all would be none.
            self.put(0, "null", self.document.len());
        } else {
            let redact =
                self.filters.iter().enumerate().filter(|(_, what)| what.is_everywhere && what.redacts());
            self.reached.extend(redact.map(|(filter, _)| Reached { filter, node: BELOW }));
            if !self.reached.is_empty() {
                let to = self.reached.len();
                self.redact(value, start, 0, to)?;
                self.reached.clear();
            }
        }
        Ok(())
    }

    /// Looks through a value, at `start` of the document, for the filters on the stack in `from..to` that redact all that is at
    /// their place. Returns what that took: of a long one nothing, which is looked through later.
    fn redact(&mut self, value: Value<'d>, start: usize, from: usize, to: usize) -> Result<u64, JsonError> {
        let mut list = std::mem::take(&mut self.list);
        list.clear();
        for reached in &self.reached[from..to] {
            let filter: &'f CompiledFilter = self.filters[reached.filter];
            if let (BELOW, CompiledAction::Redact(redaction)) = (reached.node, &filter.action) {
                list.push(redaction);
            }
        }
        match Hunt::begin(value, start, list) {
            Err(list) => {
                self.list = list;
                Ok(0)
            }
            Ok(hunt) if hunt.length() > SHORT => {
                self.hunt = Some(hunt);
                Ok(0)
            }
            Ok(hunt) => Ok(u64::MAX - self.hunt_on(hunt, u64::MAX)?),
        }
    }

    /// The same for a key of the place whose nodes are in `from..to`.
    fn redact_key(&mut self, key: Text<'d>, from: usize, to: usize) -> Result<u64, JsonError> {
        if !self.reached[from..to].iter().any(|reached| reached.node == BELOW) {
            return Ok(0);
        }
        if key.raw.len() > KEY_MAX {
            return Err(JsonError::TooMuch);
        }
        let start = key.raw.as_ptr().addr() - self.document.as_ptr().addr();
        let took = self.redact(Value::Text(key), start, from, to)?;
        match self.hunt.take() {
            Some(hunt) => Ok(u64::MAX - self.hunt_on(hunt, u64::MAX)?),
            None => Ok(took),
        }
    }

    /// Goes on looking through a text. Returns what is left of the slice.
    fn hunt_on(&mut self, mut hunt: Hunt<'f, 'd>, mut slice: u64) -> Result<u64, JsonError> {
        while slice > 0 {
            let asked = match hunt.advance(&mut self.found) {
                Hunter::Looked(bytes) => 1 + bytes as u64 / BYTES_ASKED,
                Hunter::Found(part, mask) => {
                    self.put(part.start, "", part.start);
                    self.out.extend_from_slice(mask.as_bytes());
                    self.copied = part.end;
                    1
                }
                Hunter::Done => {
                    self.list = hunt.into_list();
                    return Ok(slice);
                }
            };
            self.left = self.left.checked_sub(asked).ok_or(JsonError::TooMuch)?;
            slice = slice.saturating_sub(asked);
        }
        self.hunt = Some(hunt);
        Ok(0)
    }

    fn enter(&mut self, is_object: bool, from: usize) {
        let (to, start) = (self.reached.len(), self.reader.at());
        self.open.push(Open { is_object, from, to, first: true, kept: false, start });
    }

    /// Reads on in a container, which was taken off the stack, until it ends, something in it is to be looked into,
    /// or the slice is used up. Returns what is left of the slice.
    fn items(&mut self, mut open: Open, mut slice: u64) -> Result<u64, JsonError> {
        let to = open.to;
        let asked = 1 + (to - open.from) as u64;
        while slice > 0 {
            let key = match open.is_object {
                true => match self.reader.member(open.first)? {
                    Some(key) => Some(key),
                    None => return Ok(self.leave(slice)),
                },
                false if self.reader.element(open.first)? => None,
                false => return Ok(self.leave(slice)),
            };
            self.left = self.left.checked_sub(asked).ok_or(JsonError::TooMuch)?;
            slice = slice.saturating_sub(asked);
            open.first = false;
            let value_start = self.reader.position();
            let is_container = self.reader.is_before_container();
            let name = key.as_ref().map(|key| key.unescaped());
            let fate = self.step(open.from, to, name.as_deref(), is_container);
            if let (Some(key), false) = (key, matches!(fate, Fate::Drop)) {
                slice = slice.saturating_sub(self.redact_key(key, open.from, to)?);
            }
            if let Fate::Redact = fate {
                let value = self.reader.value()?;
                let looked_from = self.reached.len();
                slice = slice.saturating_sub(self.redact(value, value_start, to, looked_from)?);
                self.reached.truncate(to);
                (open.kept, open.start) = (true, self.reader.position() + 1);
                if self.hunt.is_some() {
                    self.open.push(open);
                    return Ok(slice);
                }
                continue;
            }
            if let Fate::Descend = fate {
                let is_object = matches!(self.reader.value()?, Value::Object);
                self.open.push(open);
                self.enter(is_object, to);
                return Ok(slice);
            }
            self.reader.pass()?;
            self.reached.truncate(to);
            if let Fate::Mask(mask) = fate {
                self.put(value_start, mask, self.reader.at());
            }
            // At the comma or the closing bracket.
            let end = self.reader.position();
            match fate {
                // The comma before it goes too.
                Fate::Drop if open.kept => self.put(open.start - 1, "", end),
                // The comma behind it goes too.
                Fate::Drop => {
                    self.put(open.start, "", end + usize::from(self.document.get(end) == Some(&b',')));
                }
                Fate::Copy | Fate::Descend | Fate::Mask(_) | Fate::Redact => open.kept = true,
            }
            open.start = end + 1;
        }
        self.open.push(open);
        Ok(0)
    }

    /// A container has ended: its parent is read on.
    fn leave(&mut self, slice: u64) -> u64 {
        let end = self.reader.position();
        if let Some(parent) = self.open.last_mut() {
            self.reached.truncate(parent.to);
            parent.kept = true;
            parent.start = end + 1;
        }
        slice
    }

    /// Asks all filters about the value at a step down from the place whose nodes are `from..to`. The nodes of the
    /// value's place are on top of the stack afterwards, if it is to be looked into.
    fn step(&mut self, from: usize, to: usize, key: Option<&str>, mut is_container: bool) -> Fate<'f> {
        let mut fate = Fate::Copy;
        let mut at = from;
        while at < to {
            let number = self.reached[at].filter;
            let filter = self.filters[number];
            let (start, mut named) = (self.reached.len(), false);
            while at < to && self.reached[at].filter == number {
                let node = self.reached[at].node;
                if node == BELOW {
                    named = true;
                    at += 1;
                    continue;
                }
                filter.paths.step(node, key, |node, ends| {
                    named |= ends;
                    self.reached.push(Reached { filter: number, node });
                });
                at += 1;
            }
            let below = is_container && self.reached.len() > start;
            match (&filter.action, named, below) {
                (CompiledAction::Retain, false, false) | (CompiledAction::Destroy, true, _) => {
                    return Fate::Drop;
                }
                (CompiledAction::Mask(mask), true, _) => {
                    fate = Fate::Mask(mask);
                    is_container = false;
                    self.reached.truncate(to);
                }
                // Of a text that another filter has put there, nothing is looked for.
                (CompiledAction::Redact(_), true, _) => {
                    self.reached.truncate(start);
                    if !matches!(fate, Fate::Mask(_)) {
                        self.reached.push(Reached { filter: number, node: BELOW });
                    }
                }
                (CompiledAction::Redact(_), false, false) => self.reached.truncate(start),
                (CompiledAction::Retain, true, _)
                | (CompiledAction::Destroy | CompiledAction::Mask(_), false, false) => {
                    self.reached.truncate(start);
                }
                (_, false, true) => {}
            }
        }
        match self.reached.len() > to {
            true if is_container => Fate::Descend,
            true => Fate::Redact,
            false => fate,
        }
    }

    /// Writes the document up to `start`, and `text` in the place of what stands from there to `end`.
    fn put(&mut self, start: usize, text: &str, end: usize) {
        if self.taken == 0 {
            self.out.reserve(self.document.len());
        }
        self.taken += 1;
        self.out.extend_from_slice(&self.document[self.copied..start]);
        self.out.extend_from_slice(text.as_bytes());
        self.copied = end;
    }
}
