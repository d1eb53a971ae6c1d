//! Filters run on responses: bytes of JSON in, bytes of JSON out.
//!
//! Four stages, each on what the one before left, so nothing that was taken away comes back. What stays is
//! written as it was, every digit and every duplicate of it; only the space between is dropped.

use std::sync::Arc;

use rr_domain::model::filter::{Action, Filter};
use rr_domain::model::id::FilterId;
use rr_domain::model::name::Name;

use super::json::{JsonError, Reader, Text, Value};
use super::path::{Paths, Place, Walk};

/// A filter that can be run.
#[derive(Debug)]
pub struct CompiledFilter {
    /// Which filter.
    pub id: FilterId,
    /// Its name.
    pub name: Name,
    order: u16,
    action: CompiledAction,
    paths: Paths,
}

#[derive(Debug)]
enum CompiledAction {
    Retain,
    Destroy,
    /// A JSON text.
    Mask(Box<str>),
}

/// The filters of one credential, target or proxy, in their order.
#[derive(Debug, Default)]
pub struct FilterStage(Box<[Arc<CompiledFilter>]>);

/// The four stages that a response goes through, in this order.
#[derive(Debug, Clone, Copy)]
pub struct FilterChain<'f> {
    /// Of the upstream credential: what its key is entitled to.
    pub upstream: &'f FilterStage,
    /// Of the target: policy for that API.
    pub target: &'f FilterStage,
    /// Of the caller credential: what this caller may see.
    pub caller: &'f FilterStage,
    /// Of the proxy.
    pub proxy: &'f FilterStage,
}

/// A document that filters went over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filtered {
    /// What is left.
    pub document: Vec<u8>,
    /// How many values were removed or masked, those inside of them not counted.
    pub taken: u64,
    /// How many filters ran.
    pub filters: u32,
}

impl CompiledFilter {
    /// Compiles a filter.
    pub fn compile(id: FilterId, filter: &Filter) -> Self {
        let action = match &filter.action {
            Action::Retain => CompiledAction::Retain,
            Action::Destroy => CompiledAction::Destroy,
            Action::Mask(text) => {
                CompiledAction::Mask(serde_json::Value::from(text.as_str()).to_string().into())
            }
        };
        let paths = Paths::new(&filter.paths);
        Self { id, name: filter.name.clone(), order: filter.order, action, paths }
    }

    /// Runs on one document.
    pub fn apply(&self, document: &[u8]) -> Result<Filtered, JsonError> {
        let (walk, root) = self.paths.walk();
        let mut pass = Pass {
            action: &self.action,
            reader: Reader::new(document)?,
            walk,
            out: Vec::with_capacity(document.len()),
            taken: 0,
        };
        let value = pass.reader.value()?;
        match pass.fate(root, value) {
            // A document that is not there at all would be none.
            Fate::Drop => {
                pass.write(Fate::Drop, root, value)?;
                pass.out.extend_from_slice(b"null");
            }
            fate => pass.write(fate, root, value)?,
        }
        let Pass { reader, out, taken, .. } = pass;
        reader.end()?;
        Ok(Filtered { document: out, taken, filters: 1 })
    }
}

impl FilterStage {
    /// Puts filters into their order.
    pub fn new(mut filters: Vec<Arc<CompiledFilter>>) -> Self {
        filters.sort_by_key(|filter| (filter.order, filter.id));
        Self(filters.into())
    }

    /// Whether there is nothing to run.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The filters in the order in which they run.
    pub fn filters(&self) -> &[Arc<CompiledFilter>] {
        &self.0
    }
}

impl FilterChain<'_> {
    /// Whether there is nothing to run: the response need not be read.
    pub fn is_empty(&self) -> bool {
        self.stages().iter().all(|stage| stage.is_empty())
    }

    /// Runs all stages. With no filters at all the document comes back as it is, and is not looked at.
    pub fn apply(&self, document: Vec<u8>) -> Result<Filtered, JsonError> {
        let mut filtered = Filtered { document, taken: 0, filters: 0 };
        for filter in self.stages().into_iter().flat_map(FilterStage::filters) {
            let next = filter.apply(&filtered.document)?;
            filtered = Filtered {
                document: next.document,
                taken: filtered.taken + next.taken,
                filters: filtered.filters + 1,
            };
        }
        Ok(filtered)
    }

    fn stages(&self) -> [&FilterStage; 4] {
        [self.upstream, self.target, self.caller, self.proxy]
    }
}

/// What becomes of a value.
#[derive(Debug, Clone, Copy)]
enum Fate {
    Copy,
    Drop,
    Mask,
    /// Written, and its members or elements asked in their turn.
    Descend,
}

struct Pass<'a> {
    action: &'a CompiledAction,
    reader: Reader<'a>,
    walk: Walk<'a>,
    out: Vec<u8>,
    taken: u64,
}

impl<'a> Pass<'a> {
    fn fate(&self, place: Place, value: Value<'_>) -> Fate {
        let named = self.walk.ends(place).next().is_some();
        let below = self.walk.is_on_the_way(place) && matches!(value, Value::Object | Value::Array);
        match (self.action, named, below) {
            (CompiledAction::Retain, true, _) => Fate::Copy,
            (CompiledAction::Retain, false, true) => Fate::Descend,
            (CompiledAction::Retain, false, false) | (CompiledAction::Destroy, true, _) => Fate::Drop,
            (CompiledAction::Mask(_), true, _) => Fate::Mask,
            (CompiledAction::Destroy | CompiledAction::Mask(_), false, true) => Fate::Descend,
            (CompiledAction::Destroy | CompiledAction::Mask(_), false, false) => Fate::Copy,
        }
    }

    /// Nesting is bounded by the reader.
    fn write(&mut self, fate: Fate, place: Place, value: Value<'a>) -> Result<(), JsonError> {
        match (fate, value) {
            (Fate::Drop, _) => {
                self.taken += 1;
                self.reader.skip(value)
            }
            (Fate::Mask, _) => {
                if let CompiledAction::Mask(mask) = self.action {
                    self.taken += 1;
                    self.out.extend_from_slice(mask.as_bytes());
                }
                self.reader.skip(value)
            }
            (Fate::Copy | Fate::Descend, Value::Text(text)) => self.put(text.raw),
            (Fate::Copy | Fate::Descend, Value::Number(raw)) => self.put(raw),
            (Fate::Copy | Fate::Descend, Value::Word(word)) => self.put(word),
            (Fate::Copy | Fate::Descend, Value::Object) => self.members(fate, place),
            (Fate::Copy | Fate::Descend, Value::Array) => self.elements(fate, place),
        }
    }

    fn members(&mut self, fate: Fate, place: Place) -> Result<(), JsonError> {
        self.out.push(b'{');
        let (mut first, mut written) = (true, false);
        while let Some(key) = self.reader.member(first)? {
            first = false;
            written |= self.child(fate, place, Some(key), written)?;
        }
        self.out.push(b'}');
        Ok(())
    }

    fn elements(&mut self, fate: Fate, place: Place) -> Result<(), JsonError> {
        self.out.push(b'[');
        let (mut first, mut written) = (true, false);
        while self.reader.element(first)? {
            first = false;
            written |= self.child(fate, place, None, written)?;
        }
        self.out.push(b']');
        Ok(())
    }

    /// Writes a member or element, unless it is dropped, which is the answer.
    fn child(
        &mut self,
        parent: Fate,
        place: Place,
        key: Option<Text<'a>>,
        comma: bool,
    ) -> Result<bool, JsonError> {
        let value = self.reader.value()?;
        let (fate, below) = match parent {
            Fate::Descend => {
                let name = key.map(|key| key.unescaped());
                let below = self.walk.step(place, name.as_deref());
                (self.fate(below, value), Some(below))
            }
            Fate::Copy | Fate::Drop | Fate::Mask => (Fate::Copy, None),
        };
        let kept = !matches!(fate, Fate::Drop);
        if kept && comma {
            self.out.push(b',');
        }
        if kept && let Some(key) = key {
            self.put(key.raw)?;
            self.out.push(b':');
        }
        self.write(fate, below.unwrap_or(place), value)?;
        if let Some(below) = below {
            self.walk.back(below);
        }
        Ok(kept)
    }

    fn put(&mut self, text: &str) -> Result<(), JsonError> {
        self.out.extend_from_slice(text.as_bytes());
        Ok(())
    }
}

#[cfg(test)]
mod tests;
