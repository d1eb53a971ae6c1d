//! One pass of several filters over one document.
//!
//! What a filter does to a value depends on the way to the value and on whether it is a container, which the filters
//! before it change in one way only: the value is gone, or is a text now. So all filters are asked about a value one
//! after the other, in the order in which they run, and the result is that of a pass for each. Nobody looks into a
//! value that no path goes through.

use std::borrow::Cow;

use crate::json::{JsonError, Reader, Value};
use crate::path::Paths;

use super::{CompiledAction, CompiledFilter, Filtered};

/// Runs filters in their order. There is at least one.
pub(super) fn run<'d>(filters: &[&CompiledFilter], document: &'d [u8]) -> Result<Filtered<'d>, JsonError> {
    let mut reader = Reader::new(document)?;
    let value = reader.value()?;
    let roots = (0..filters.len()).map(|filter| Reached { filter, node: Paths::ROOT });
    let mut pass =
        Pass { filters, document, reader, reached: roots.collect(), out: Vec::new(), copied: 0, taken: 0 };
    if let Value::Object | Value::Array = value {
        pass.items(value, 0)?;
    } else if filters.iter().any(|filter| matches!(filter.action, CompiledAction::Retain)) {
        // A document that is not there at all would be none.
        pass.put(0, "null", document.len());
    }
    pass.reader.end()?;
    if pass.taken > 0 {
        pass.out.extend_from_slice(&document[pass.copied..]);
    }
    let left = if pass.taken > 0 { Cow::Owned(pass.out) } else { Cow::Borrowed(document) };
    let ran = u32::try_from(filters.len()).expect("a view is bounded, so filters are");
    Ok(Filtered { document: left, taken: pass.taken, filters: ran })
}

struct Pass<'f, 'd> {
    filters: &'f [&'f CompiledFilter],
    document: &'d [u8],
    reader: Reader<'d>,
    /// A stack: for each open container that somebody looks into, the nodes that its place has reached. Those of one
    /// container are in the order of the filters.
    reached: Vec<Reached>,
    out: Vec<u8>,
    /// How much of the document stands in `out`, or was taken.
    copied: usize,
    taken: u64,
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
    /// Its members or elements are asked about in their turn.
    Descend,
}

impl<'f> Pass<'f, '_> {
    /// Reads the members or elements of a container whose nodes are on the stack from `from` on. Nesting is bounded
    /// by the reader.
    fn items(&mut self, container: Value<'_>, from: usize) -> Result<(), JsonError> {
        let to = self.reached.len();
        let (mut first, mut kept) = (true, false);
        let mut start = self.reader.at();
        loop {
            let key = match container {
                Value::Object => match self.reader.member(first)? {
                    Some(key) => Some(key),
                    None => return Ok(()),
                },
                _ if self.reader.element(first)? => None,
                _ => return Ok(()),
            };
            first = false;
            let value_start = self.reader.position();
            let is_container = self.reader.is_before_container();
            let name = key.as_ref().map(|key| key.unescaped());
            let fate = self.step(from, to, name.as_deref(), is_container);
            match fate {
                Fate::Descend => {
                    let container = self.reader.value()?;
                    self.items(container, to)?;
                }
                Fate::Copy | Fate::Drop | Fate::Mask(_) => self.reader.pass()?,
            }
            self.reached.truncate(to);
            if let Fate::Mask(mask) = fate {
                self.put(value_start, mask, self.reader.at());
            }
            // At the comma or the closing bracket.
            let end = self.reader.position();
            match fate {
                // The comma before it goes too.
                Fate::Drop if kept => self.put(start - 1, "", end),
                // The comma behind it goes too.
                Fate::Drop => self.put(start, "", end + usize::from(self.document.get(end) == Some(&b','))),
                Fate::Copy | Fate::Descend | Fate::Mask(_) => kept = true,
            }
            start = end + 1;
        }
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
                (CompiledAction::Retain, true, _)
                | (CompiledAction::Destroy | CompiledAction::Mask(_), false, false) => {
                    self.reached.truncate(start);
                }
                (_, false, true) => {}
            }
        }
        if self.reached.len() > to { Fate::Descend } else { fate }
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
