//! Many patterns tried on one text at once: whether none of them is found, before each is tried by itself.
//!
//! Equal sets are compiled once and shared. Looking allocates nothing: a set says only whether some pattern of
//! it is found, so a large one is asked first, then small ones of a few patterns each. Patterns that are too large
//! together have no set, and are tried one by one.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use regex::{RegexSet, RegexSetBuilder};

use rr_domain::model::pattern::NESTING_MAX;

/// From how many patterns on a set pays.
const FROM: usize = 8;
/// How many patterns a small set has, while there are no more than 64 of those.
const SMALL: usize = 5;
/// How much a compiled set may take, in bytes.
const COMPILED_MAX: usize = 1024 * 1024;
/// How much its lazy automaton may take, in bytes.
const LAZY_MAX: usize = 512 * 1024;

/// Patterns that are tried at once.
#[derive(Debug)]
pub(crate) struct PatternSet {
    all: RegexSet,
    /// Of `size` patterns each.
    small: Box<[RegexSet]>,
    size: usize,
    /// With their flags, sorted: the place of a pattern is its slot.
    sources: Box<[Box<str>]>,
}

/// What a set says of one text; each part of it is asked once at the most.
#[derive(Debug)]
pub(crate) struct Screen<'s> {
    set: Option<&'s PatternSet>,
    asked: bool,
    /// Bits of small sets: those that were asked, and those of which some pattern is found.
    small_asked: u64,
    small_found: u64,
    found: bool,
}

/// The sets in use.
#[derive(Debug, Clone, Default)]
pub(super) struct Sets(Arc<Mutex<Shared>>);

#[derive(Debug, Default)]
struct Shared {
    sets: HashMap<Box<[Box<str>]>, Weak<PatternSet>>,
    sweep_at: usize,
}

impl Sets {
    /// The set of some patterns, if there are enough of them and it is not too large.
    pub(super) fn of(&self, mut sources: Vec<Box<str>>) -> Option<Arc<PatternSet>> {
        sources.sort();
        sources.dedup();
        if sources.len() < FROM {
            return None;
        }
        let sources: Box<[Box<str>]> = sources.into();
        if let Some(set) = self.lock().sets.get(&sources).and_then(Weak::upgrade) {
            return Some(set);
        }
        // Not under the lock: it takes long.
        let set = Arc::new(PatternSet::new(sources)?);
        let mut shared = self.lock();
        if shared.sets.len() >= shared.sweep_at {
            shared.sets.retain(|_, set| set.strong_count() > 0);
            shared.sweep_at = (shared.sets.len() * 2).max(64);
        }
        shared.sets.insert(set.sources.clone(), Arc::downgrade(&set));
        Some(set)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Shared> {
        // Whatever was interrupted has left a map that is whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PatternSet {
    fn new(sources: Box<[Box<str>]>) -> Option<Self> {
        let size = SMALL.max(sources.len().div_ceil(64));
        let all = compiled(&sources)?;
        let small = sources.chunks(size).map(compiled).collect::<Option<_>>()?;
        Some(Self { all, small, size, sources })
    }

    /// The slot of a pattern.
    pub(super) fn slot(&self, source: &str) -> Option<usize> {
        self.sources.binary_search_by(|one| (**one).cmp(source)).ok()
    }
}

impl<'s> Screen<'s> {
    pub(crate) fn new(set: Option<&'s PatternSet>) -> Self {
        Self { set, asked: false, small_asked: 0, small_found: 0, found: false }
    }

    /// Whether the pattern of a slot may be found in the text; always of the same text.
    pub(crate) fn may_have(&mut self, slot: usize, text: &str) -> bool {
        let Some(set) = self.set else { return true };
        if !self.asked {
            self.asked = true;
            self.found = set.all.is_match(text);
        }
        if !self.found {
            return false;
        }
        let (at, bit) = (slot / set.size, 1 << (slot / set.size));
        if self.small_asked & bit == 0 {
            self.small_asked |= bit;
            if set.small[at].is_match(text) {
                self.small_found |= bit;
            }
        }
        self.small_found & bit != 0
    }
}

fn compiled(sources: &[Box<str>]) -> Option<RegexSet> {
    RegexSetBuilder::new(sources.iter().map(|source| &**source))
        .nest_limit(NESTING_MAX)
        .size_limit(COMPILED_MAX)
        .dfa_size_limit(LAZY_MAX)
        .build()
        .ok()
}
