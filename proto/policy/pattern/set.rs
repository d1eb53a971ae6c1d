//! Many patterns tried on one text at once: whether none of them is found, before each is tried by itself.
//!
//! Equal sets are compiled once and shared. Looking allocates nothing: a set says whether some pattern of it is
//! found, and if so, the texts that each pattern needs say which of them it may be. Patterns that are too large
//! together have no set, and are tried one by one; so are those of a set where it could take long on a text.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use aho_corasick::AhoCorasick;
use aho_corasick::automaton::OverlappingState;
use regex::{RegexSet, RegexSetBuilder};
use regex_syntax::ParserBuilder;

use rr_domain::model::pattern::NESTING_MAX;

use super::super::pace::Credit;
use super::texts::needed;

/// From how many patterns on a set pays.
const FROM: usize = 8;
/// How many patterns of a set are told apart; the others may always be found.
const TOLD_APART: usize = 256;
/// How much a compiled set may take, in bytes.
const COMPILED_MAX: usize = 1024 * 1024;
/// How much its lazy automaton may take, in bytes.
const LAZY_MAX: usize = 512 * 1024;

/// Patterns that are tried at once.
#[derive(Debug)]
pub(crate) struct PatternSet {
    all: RegexSet,
    /// Of all together.
    weight: u64,
    /// What patterns need, if any is known to need something.
    texts: Option<AhoCorasick>,
    /// The slots of the patterns that need the texts, in the order of the texts.
    needs: Box<[usize]>,
    /// Patterns of which nothing is known.
    always: Slots,
    /// With their flags, sorted: the place of a pattern is its slot.
    sources: Box<[Box<str>]>,
}

/// Some of the slots below [`TOLD_APART`].
type Slots = [u64; TOLD_APART / 64];

/// What a set says of one text, asked once at the most.
#[derive(Debug)]
pub(crate) struct Screen<'s> {
    set: Option<&'s PatternSet>,
    may: Option<May>,
}

#[derive(Debug, Clone, Copy)]
enum May {
    /// All: the engine may not be asked.
    Any,
    /// No pattern is found.
    None,
    /// Some is: one of these, or of those that are not told apart.
    Some(Slots),
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
    pub(super) fn of(&self, mut weighed: Vec<(Box<str>, u32)>) -> Option<Arc<PatternSet>> {
        weighed.sort();
        weighed.dedup();
        if weighed.len() < FROM {
            return None;
        }
        let weight = weighed.iter().map(|(_, weight)| u64::from(*weight)).sum();
        let sources: Box<[Box<str>]> = weighed.into_iter().map(|(source, _)| source).collect();
        if let Some(set) = self.lock().sets.get(&sources).and_then(Weak::upgrade) {
            return Some(set);
        }
        // Not under the lock: it takes long.
        let set = Arc::new(PatternSet::new(sources, weight)?);
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
    fn new(sources: Box<[Box<str>]>, weight: u64) -> Option<Self> {
        let all = RegexSetBuilder::new(sources.iter().map(|source| &**source))
            .nest_limit(NESTING_MAX)
            .size_limit(COMPILED_MAX)
            .dfa_size_limit(LAZY_MAX)
            .build()
            .ok()?;
        let (mut texts, mut needs, mut always) = (Vec::new(), Vec::new(), Slots::default());
        for (slot, source) in sources.iter().enumerate().take(TOLD_APART) {
            let hir = ParserBuilder::new().nest_limit(NESTING_MAX).build().parse(source).ok();
            match hir.as_ref().and_then(needed) {
                Some(needed) => {
                    needs.resize(needs.len() + needed.len(), slot);
                    texts.extend(needed);
                }
                None => put(&mut always, slot),
            }
        }
        let texts = if texts.is_empty() { None } else { Some(AhoCorasick::new(texts).ok()?) };
        Some(Self { all, weight, texts, needs: needs.into(), always, sources })
    }

    fn may(&self, text: &str, credit: &mut Credit) -> May {
        if !credit.take(self.weight, text.len()) {
            return May::Any;
        }
        if !self.all.is_match(text) {
            return May::None;
        }
        let mut slots = self.always;
        if let Some(texts) = &self.texts {
            let mut state = OverlappingState::start();
            loop {
                texts.find_overlapping(text, &mut state);
                let Some(found) = state.get_match() else { break };
                put(&mut slots, self.needs[found.pattern().as_usize()]);
            }
        }
        May::Some(slots)
    }

    /// The slot of a pattern.
    pub(super) fn slot(&self, source: &str) -> Option<usize> {
        self.sources.binary_search_by(|one| (**one).cmp(source)).ok()
    }
}

impl<'s> Screen<'s> {
    pub(crate) fn new(set: Option<&'s PatternSet>) -> Self {
        Self { set, may: None }
    }

    /// Whether the set has looked at the text; one without patterns need not.
    pub(crate) fn was_asked(&self) -> bool {
        self.set.is_none() || self.may.is_some()
    }

    /// Whether the pattern of a slot may be found in the text; always of the same text.
    pub(crate) fn may_have(&mut self, slot: usize, text: &str, credit: &mut Credit) -> bool {
        let Some(set) = self.set else { return true };
        match self.may.get_or_insert_with(|| set.may(text, credit)) {
            May::Any => true,
            May::None => false,
            May::Some(slots) => slots.get(slot / 64).is_none_or(|bits| bits & (1 << (slot % 64)) != 0),
        }
    }
}

fn put(slots: &mut Slots, slot: usize) {
    slots[slot / 64] |= 1 << (slot % 64);
}
