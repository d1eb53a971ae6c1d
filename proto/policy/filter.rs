//! Filters run on responses and requests: bytes of JSON in, bytes of JSON out.
//!
//! Four stages, each on what the one before left, so nothing that was taken away comes back. What stays is
//! written as it was: every digit, every duplicate and the space around them. What goes, goes with the space around
//! it and one comma.

mod pass;
mod redact;

pub use self::pass::Pass;

use std::borrow::Cow;
use std::sync::Arc;

use rr_domain::model::filter::{Action, Direction, Filter};
use rr_domain::model::id::FilterId;
use rr_domain::model::name::Name;

use super::json::JsonError;
use super::path::Paths;
use super::pattern::{Patterns, Uncompilable};

use self::redact::Redaction;

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
    /// It has no paths.
    is_everywhere: bool,
    direction: Direction,
}

#[derive(Debug)]
enum CompiledAction {
    Retain,
    Destroy,
    /// A JSON text.
    Mask(Box<str>),
    Redact(Redaction),
}

/// The filters of one credential, target or proxy for bodies of one direction, in their order.
#[derive(Debug, Default)]
pub struct FilterStage(Box<[Arc<CompiledFilter>]>);

/// The four stages that a body goes through, in this order.
#[derive(Debug, Clone, Copy)]
pub struct FilterChain<'f> {
    /// Only what redacts: of responses that are no success, nothing else is taken.
    pub redacts_only: bool,
    /// Of the upstream credential: what its key is entitled to.
    pub upstream: &'f FilterStage,
    /// Of the target: policy for that API.
    pub target: &'f FilterStage,
    /// Of the caller credential: what this caller may see.
    pub caller: &'f FilterStage,
    /// Of the proxy.
    pub proxy: &'f FilterStage,
}

/// The filters of a chain in the order in which they run, kept for a stream.
#[derive(Debug)]
pub struct FilterRun(Box<[Arc<CompiledFilter>]>);

/// A document that filters went over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filtered<'d> {
    /// What is left. Borrowed: nothing was taken.
    pub document: Cow<'d, [u8]>,
    /// How many values were removed or masked, each counted once and those inside of them not at all, and how many parts of
    /// texts, numbers and keys were redacted.
    pub taken: u64,
    /// How many filters ran.
    pub filters: u32,
}

impl CompiledFilter {
    /// Compiles a filter.
    pub fn compile(id: FilterId, filter: &Filter, patterns: &mut Patterns) -> Result<Self, Uncompilable> {
        let action = match &filter.action {
            Action::Retain => CompiledAction::Retain,
            Action::Destroy => CompiledAction::Destroy,
            Action::Mask(text) => {
                CompiledAction::Mask(serde_json::Value::from(text.as_str()).to_string().into())
            }
            Action::Redact(redact) => CompiledAction::Redact(Redaction::compile(redact, patterns)?),
        };
        let (name, order, direction) = (filter.name.clone(), filter.order, filter.direction);
        let (paths, is_everywhere) = (Paths::new(&filter.paths), filter.paths.is_empty());
        Ok(Self { id, name, order, action, paths, is_everywhere, direction })
    }

    /// Which bodies it goes over.
    pub fn direction(&self) -> Direction {
        self.direction
    }

    fn redacts(&self) -> bool {
        matches!(self.action, CompiledAction::Redact(_))
    }

    /// Runs on one document.
    pub fn apply<'d>(&self, document: &'d [u8]) -> Result<Filtered<'d>, JsonError> {
        through(Pass::begin(vec![self], document)?)
    }
}

impl FilterStage {
    /// Puts filters into their order.
    pub fn new(mut filters: Vec<Arc<CompiledFilter>>) -> Self {
        filters.sort_by_key(|filter| (filter.order, filter.id));
        Self(filters.into())
    }

    /// The filters in the order in which they run.
    pub fn filters(&self) -> &[Arc<CompiledFilter>] {
        &self.0
    }
}

impl<'f> FilterChain<'f> {
    /// Begins to run all stages.
    pub fn begin<'d>(&self, document: &'d [u8]) -> Result<Pass<'f, 'd>, JsonError> {
        Pass::begin(self.filters().collect(), document)
    }

    /// Whether there is nothing to run: the body need not be read.
    pub fn is_empty(&self) -> bool {
        self.filters().next().is_none()
    }

    fn filters(self) -> impl Iterator<Item = &'f CompiledFilter> {
        let filters = self.stages().into_iter().flat_map(FilterStage::filters).map(|filter| &**filter);
        filters.filter(move |filter| !self.redacts_only || filter.redacts())
    }

    /// Runs all stages in one go. With no filters at all the document comes back as it is, and is not looked at.
    pub fn apply<'d>(&self, document: &'d [u8]) -> Result<Filtered<'d>, JsonError> {
        through(self.begin(document)?)
    }

    /// The same filters, to go over each part of a stream.
    pub fn to_run(&self) -> FilterRun {
        let filters = self.stages().into_iter().flat_map(FilterStage::filters);
        FilterRun(filters.filter(|filter| !self.redacts_only || filter.redacts()).cloned().collect())
    }

    fn stages(&self) -> [&'f FilterStage; 4] {
        [self.upstream, self.target, self.caller, self.proxy]
    }
}

impl FilterRun {
    /// How many filters there are.
    pub fn len(&self) -> u32 {
        u32::try_from(self.0.len()).expect("a view is bounded, so filters are")
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Runs all of them in one go.
    pub fn apply<'d>(&self, document: &'d [u8]) -> Result<Filtered<'d>, JsonError> {
        through(Pass::begin(self.0.iter().map(|filter| &**filter).collect(), document)?)
    }
}

fn through<'d>(mut pass: Pass<'_, 'd>) -> Result<Filtered<'d>, JsonError> {
    while !pass.advance()? {}
    Ok(pass.finish())
}

#[cfg(test)]
mod tests;
