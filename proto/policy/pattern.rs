//! Patterns as matchers. Texts, anchored texts and alternations of them never reach the regex engine.
//!
//! The engine is asked only where it cannot take long; elsewhere patterns are walked, with the same answer.
//!
//! Works on bytes: values of headers need not be UTF-8, and a value that could not be looked at would be a way
//! around a rule. To the engine, what is no UTF-8 is U+FFFD, which `.` and negated classes match.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Weak};

use aho_corasick::AhoCorasick;
use memchr::memmem::Finder;
use regex::{Regex, RegexBuilder};
use regex_syntax::hir::{Hir, HirKind, Look};

use rr_domain::model::filter::FOUND_MAX;
use rr_domain::model::pattern::{Flags, NESTING_MAX, Pattern};

use super::json::JsonError;
use super::pace::{Credit, HeadWork, Pace};

use self::set::Sets;
use self::texts::{joined, stands_for};
use self::walk::{Automaton, Walk};

mod set;
mod texts;
mod walk;

pub(super) use self::set::{PatternSet, Screen};

/// How much a compiled pattern may take, in bytes. The model's limit on weight keeps patterns below it.
const COMPILED_MAX: usize = 16 * 1024 * 1024;
/// How much the lazy automaton of one pattern may take, in bytes.
const LAZY_MAX: usize = 1024 * 1024;

/// A pattern that did not compile although the model took it: a fault of ours.
#[derive(Debug, Clone, thiserror::Error)]
#[error("pattern {0:?} does not compile")]
pub struct Uncompilable(String, #[source] regex::Error);

/// Whether a text has a pattern.
#[derive(Debug)]
pub struct Matcher(Kind);

#[derive(Debug)]
enum Kind {
    Always,
    Exactly(Box<[Box<[u8]>]>),
    Starts(Box<[Box<[u8]>]>),
    Ends(Box<[Box<[u8]>]>),
    Holds(Box<Finder<'static>>),
    HoldsOne(Box<AhoCorasick>),
    Regex(Engine),
}

#[derive(Debug)]
struct Engine {
    regex: Regex,
    flags: Flags,
    weight: u32,
    /// For texts on which the engine could take long.
    automaton: Automaton,
    sets: Sets,
}

impl Matcher {
    /// Whether the pattern is found in a part of a head. Once the work is over it says no, which is void. Allocates
    /// only for what is no UTF-8, and where the engine could take long.
    pub(super) fn is_in(&self, text: &[u8], work: &mut HeadWork) -> bool {
        self.plainly(text).unwrap_or_else(|engine| match std::str::from_utf8(text) {
            Ok(text) => engine.is_in(text, work),
            Err(_) => engine.is_in(&String::from_utf8_lossy(text), work),
        })
    }

    /// The same of what is known to be UTF-8.
    pub(super) fn is_in_text(&self, text: &str, work: &mut HeadWork) -> bool {
        self.plainly(text.as_bytes()).unwrap_or_else(|engine| engine.is_in(text, work))
    }

    /// Whether the pattern is found in a text of a body.
    pub(super) async fn is_in_body<R: AsyncFnMut()>(
        &self,
        text: &str,
        pace: &mut Pace<R>,
    ) -> Result<bool, JsonError> {
        match self.plainly(text.as_bytes()) {
            Ok(found) => Ok(found),
            Err(engine) => match engine.asked(text, pace.credit()) {
                Some(found) => Ok(found),
                // Apart, so that it takes no room where it does not come to that.
                None => Box::pin(engine.walk(text, pace)).await,
            },
        }
    }

    /// Whether the pattern is found, if that takes no engine.
    fn plainly(&self, text: &[u8]) -> Result<bool, &Engine> {
        Ok(match &self.0 {
            Kind::Always => true,
            Kind::Exactly(texts) => texts.iter().any(|one| **one == *text),
            Kind::Starts(texts) => texts.iter().any(|one| text.starts_with(one)),
            Kind::Ends(texts) => texts.iter().any(|one| text.ends_with(one)),
            Kind::Holds(finder) => finder.find(text).is_some(),
            Kind::HoldsOne(finder) => finder.is_match(text),
            Kind::Regex(engine) => return Err(engine),
        })
    }

    /// The texts that it is exactly, if that is all it is.
    pub(super) fn texts(&self) -> Option<&[Box<[u8]>]> {
        match &self.0 {
            Kind::Exactly(texts) => Some(texts),
            _ => None,
        }
    }

    /// Whether the regex engine runs: such checks come last.
    pub fn is_regex(&self) -> bool {
        matches!(self.0, Kind::Regex(_))
    }

    /// One set of all that need the engine, if that pays. Of one reading.
    pub(super) fn set_of<'m>(matchers: impl Iterator<Item = &'m Self>) -> Option<Arc<PatternSet>> {
        let mut engines = matchers.filter_map(Self::engine).peekable();
        let sets = engines.peek()?.sets.clone();
        sets.of(engines.map(|engine| (engine.source(), engine.weight)).collect())
    }

    /// Its slot in a set.
    pub(super) fn slot_in(&self, set: &PatternSet) -> Option<usize> {
        set.slot(&self.engine()?.source())
    }

    fn engine(&self) -> Option<&Engine> {
        match &self.0 {
            Kind::Regex(engine) => Some(engine),
            _ => None,
        }
    }

    fn new(pattern: &Pattern, reading: Reading, sets: &Sets) -> Result<Self, Uncompilable> {
        let flags = pattern.flags();
        let kind = match reading {
            Reading::Text => plain(&pattern.hir(flags)),
            // The text is in lower case already, so case need not be folded at each look.
            Reading::HeaderName => plain(&pattern.hir(Flags { ignore_case: false, ..flags })).and_then(fold),
        };
        match kind {
            Some(kind) => Ok(Self(kind)),
            None => {
                let flags =
                    Flags { ignore_case: flags.ignore_case || reading == Reading::HeaderName, ..flags };
                let regex = engine(pattern, flags)?;
                let automaton = Automaton::new(&pattern.hir(flags));
                let (weight, sets) = (pattern.weight(), sets.clone());
                Ok(Self(Kind::Regex(Engine { regex, flags, weight, automaton, sets })))
            }
        }
    }
}

impl Engine {
    /// What the regex engine says, if it may be asked.
    fn asked(&self, text: &str, credit: &mut Credit) -> Option<bool> {
        credit.take(self.weight.into(), text.len()).then(|| self.regex.is_match(text))
    }

    fn is_in(&self, text: &str, work: &mut HeadWork) -> bool {
        let asked = self.asked(text, work.credit());
        asked.or_else(|| work.walk(|steps| Walk::new(&self.automaton, text, steps).advance(steps)))
            == Some(true)
    }

    async fn walk<R: AsyncFnMut()>(&self, text: &str, pace: &mut Pace<R>) -> Result<bool, JsonError> {
        let mut walk = None;
        pace.walk(|steps| walk.get_or_insert_with(|| Walk::new(&self.automaton, text, steps)).advance(steps))
            .await
    }

    /// The pattern with its flags.
    fn source(&self) -> Box<str> {
        match self.flags.to_string() {
            flags if flags.is_empty() => self.regex.as_str().into(),
            // Without a group of its own, whose end a comment in the pattern could hide. They hold up to its end.
            flags => format!("(?{flags}){}", self.regex.as_str()).into(),
        }
    }
}

/// Where a pattern is found, if what it finds is [bounded](FOUND_MAX): the engine looks no further than that behind the
/// start of a find, so it never goes over a long text again and again.
#[derive(Debug)]
pub(super) struct PatternFinder(Regex);

impl PatternFinder {
    /// The first find that begins from `at` on and before `until`. Both are borders of characters.
    pub(super) fn next(&self, text: &str, at: usize, until: usize) -> Option<Range<usize>> {
        // Behind the end of whatever begins before, and of the character there.
        let end = text.ceil_char_boundary(until.saturating_add(FOUND_MAX + 4).min(text.len()));
        let found = self.0.find_at(&text[..end], at)?;
        (found.start() < until).then(|| found.range())
    }
}

/// What a pattern is looked for in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Reading {
    Text,
    /// In lower case, whatever the caller wrote; so the pattern is taken without regard to case.
    HeaderName,
}

/// The matchers in use: equal patterns are compiled once and shared.
#[derive(Debug, Default)]
pub struct Patterns {
    shared: HashMap<(Pattern, Reading), Weak<Matcher>>,
    sweep_at: usize,
    finders: HashMap<Pattern, Weak<PatternFinder>>,
    sweep_finders_at: usize,
    sets: Sets,
}

impl Patterns {
    /// The matcher of a pattern.
    pub fn matcher(&mut self, pattern: &Pattern) -> Result<Arc<Matcher>, Uncompilable> {
        self.shared(pattern, Reading::Text)
    }

    /// The matcher of a pattern for names of headers in lower case: case makes no difference.
    pub fn header_name(&mut self, pattern: &Pattern) -> Result<Arc<Matcher>, Uncompilable> {
        self.shared(pattern, Reading::HeaderName)
    }

    /// What finds the places of a pattern that finds no long texts.
    pub(super) fn finder(&mut self, pattern: &Pattern) -> Result<Arc<PatternFinder>, Uncompilable> {
        if let Some(finder) = self.finders.get(pattern).and_then(Weak::upgrade) {
            return Ok(finder);
        }
        if self.finders.len() >= self.sweep_finders_at {
            self.finders.retain(|_, finder| finder.strong_count() > 0);
            self.sweep_finders_at = (self.finders.len() * 2).max(64);
        }
        let finder = Arc::new(PatternFinder(engine(pattern, pattern.flags())?));
        self.finders.insert(pattern.clone(), Arc::downgrade(&finder));
        Ok(finder)
    }

    /// How many patterns are in use.
    pub fn in_use(&self) -> usize {
        let finders = self.finders.values().filter(|finder| finder.strong_count() > 0).count();
        finders + self.shared.values().filter(|matcher| matcher.strong_count() > 0).count()
    }

    fn shared(&mut self, pattern: &Pattern, reading: Reading) -> Result<Arc<Matcher>, Uncompilable> {
        let key = (pattern.clone(), reading);
        if let Some(matcher) = self.shared.get(&key).and_then(Weak::upgrade) {
            return Ok(matcher);
        }
        if self.shared.len() >= self.sweep_at {
            self.shared.retain(|_, matcher| matcher.strong_count() > 0);
            self.sweep_at = (self.shared.len() * 2).max(1024);
        }
        let matcher = Arc::new(Matcher::new(pattern, reading, &self.sets)?);
        self.shared.insert(key, Arc::downgrade(&matcher));
        Ok(matcher)
    }
}

fn engine(pattern: &Pattern, flags: Flags) -> Result<Regex, Uncompilable> {
    RegexBuilder::new(pattern.regex())
        .case_insensitive(flags.ignore_case)
        .multi_line(flags.multi_line)
        .dot_matches_new_line(flags.dot_all)
        .nest_limit(NESTING_MAX)
        .size_limit(COMPILED_MAX)
        .dfa_size_limit(LAZY_MAX)
        .build()
        .map_err(|error| Uncompilable(pattern.regex().to_owned(), error))
}

/// What a pattern is without an engine, if it stands for a few texts only.
fn plain(hir: &Hir) -> Option<Kind> {
    let mut subs: &[Hir] = match hir.kind() {
        HirKind::Concat(subs) => subs,
        _ => std::slice::from_ref(hir),
    };
    let starts = matches!(subs.first().map(Hir::kind), Some(HirKind::Look(Look::Start)));
    if starts {
        subs = &subs[1..];
    }
    let ends = matches!(subs.last().map(Hir::kind), Some(HirKind::Look(Look::End)));
    if ends {
        subs = &subs[..subs.len() - 1];
    }
    let mut texts = vec![Vec::new()];
    for sub in subs {
        texts = joined(&texts, &stands_for(sub)?)?;
    }
    if !(starts && ends) && texts.iter().any(Vec::is_empty) {
        return Some(Kind::Always);
    }
    texts.sort();
    texts.dedup();
    let boxed = |texts: Vec<Vec<u8>>| texts.into_iter().map(Vec::into_boxed_slice).collect();
    Some(match (starts, ends) {
        (true, true) => Kind::Exactly(boxed(texts)),
        (true, false) => Kind::Starts(boxed(texts)),
        (false, true) => Kind::Ends(boxed(texts)),
        (false, false) => match texts.as_slice() {
            [one] => Kind::Holds(Box::new(Finder::new(one).into_owned())),
            many => Kind::HoldsOne(Box::new(AhoCorasick::new(many).ok()?)),
        },
    })
}

/// The same in lower case, where that says the same as ignoring case: names of headers are ASCII.
fn fold(kind: Kind) -> Option<Kind> {
    let lower = |texts: Box<[Box<[u8]>]>| {
        texts.iter().map(|text| text.to_ascii_lowercase().into_boxed_slice()).collect()
    };
    match kind {
        Kind::Exactly(texts) => Some(Kind::Exactly(lower(texts))),
        Kind::Starts(texts) => Some(Kind::Starts(lower(texts))),
        Kind::Ends(texts) => Some(Kind::Ends(lower(texts))),
        Kind::Holds(finder) => {
            Some(Kind::Holds(Box::new(Finder::new(&finder.needle().to_ascii_lowercase()).into_owned())))
        }
        Kind::Always => Some(Kind::Always),
        Kind::HoldsOne(_) | Kind::Regex(_) => None,
    }
}

#[cfg(test)]
mod tests;
