//! The rules of one scope, and what they say by the head and by the body.
//!
//! Every look answers twice: what the rules that enforce say, and what all of them would say.

use std::cmp::Reverse;
use std::sync::Arc;

use rr_domain::model::effect::Effect;
use rr_domain::model::id::RuleId;
use rr_domain::model::rule::Rule;

use super::super::condition::{BodyIndex, Found, Seen};
use super::super::json::JsonError;
use super::super::pace::{HeadWork, Pace};
use super::super::pattern::{Matcher, PatternSet, Patterns, Screen, Uncompilable};
use super::matched::Matched;
use super::rule::CompiledRule;

/// All rules of one scope.
#[derive(Debug, Default)]
pub struct ScopeRules {
    /// Those that deny, then those that allow; each in the order in which they are reported.
    entries: Box<[Entry]>,
    default: Effect,
    /// The default only observes, and so does every rule.
    observe: bool,
    body: BodyIndex,
    /// The regular expressions on the path, if they are many.
    paths: Option<Arc<PatternSet>>,
    /// Something of it observes.
    observes: bool,
    reads_query: bool,
    reads_body: bool,
}

/// A rule, and what rules it out without a look at it.
#[derive(Debug)]
struct Entry {
    rule: Arc<CompiledRule>,
    observes: bool,
    methods: u16,
    /// Where the pattern that it needs is in the set of paths.
    slot: Option<usize>,
    /// Where its looks start in the index of bodies.
    looks_from: usize,
}

/// What some rules of a scope say.
#[derive(Debug, Clone, Copy)]
pub(super) enum Said<'r> {
    Deny(Option<&'r CompiledRule>),
    Allow(Option<&'r CompiledRule>),
    /// The body decides; unless a rule that needs it denies, this one allows.
    Open(Option<&'r CompiledRule>),
}

/// What the rules of a scope say.
#[derive(Debug, Clone, Copy)]
pub(super) struct Answer<'r> {
    /// Those that enforce.
    pub(super) enforced: Said<'r>,
    /// All of them.
    pub(super) all: Said<'r>,
}

/// The work of a head. Rules that only observe have their own, so that they change no verdict.
#[derive(Debug, Default)]
pub(super) struct Works {
    pub(super) enforced: HeadWork,
    pub(super) observed: HeadWork,
}

/// What of some rules matches by the head.
#[derive(Clone, Copy, Default)]
struct Head<'r> {
    deny: Option<&'r CompiledRule>,
    allow: Option<&'r CompiledRule>,
    /// A rule that denies, and one that allows, depend on the body.
    deny_open: bool,
    allow_open: bool,
}

/// What of some rules matches by the body.
#[derive(Clone, Copy, Default)]
struct Body<'r> {
    deny: Option<&'r CompiledRule>,
    allow: Option<&'r CompiledRule>,
    /// No rule allows one of the documents.
    unallowed: bool,
}

impl ScopeRules {
    /// Puts compiled rules together. Their order makes no difference. With `observe`, the rules and the default
    /// decide nothing.
    pub fn new(mut rules: Vec<Arc<CompiledRule>>, default: Effect, observe: bool) -> Self {
        rules.sort_by_key(|rule| (rule.effect == Effect::Allow, Reverse(rule.priority), rule.id));
        let body = BodyIndex::new(rules.iter().flat_map(|rule| rule.condition().looks()));
        let paths = Matcher::set_of(rules.iter().filter_map(|rule| rule.condition().needs_in_path()));
        let mut looks_from = 0;
        let entries = rules.into_iter().map(|rule| {
            let slot = paths.as_ref().and_then(|paths| rule.condition().needs_in_path()?.slot_in(paths));
            let (observes, methods) = (observe || rule.observe, rule.condition().method_bits());
            let entry = Entry { observes, methods, slot, looks_from, rule };
            looks_from += entry.rule.condition().looks().len();
            entry
        });
        let entries: Box<[Entry]> = entries.collect();
        Self {
            observes: observe || entries.iter().any(|entry| entry.observes),
            reads_query: entries.iter().any(|entry| entry.rule.condition().reads_query()),
            reads_body: entries.iter().any(|entry| !entry.observes && entry.rule.condition().reads_body()),
            entries,
            default,
            observe,
            body,
            paths,
        }
    }

    /// Compiles rules and puts them together.
    pub fn compile<'m>(
        rules: impl IntoIterator<Item = (RuleId, &'m Rule)>,
        default: Effect,
        patterns: &mut Patterns,
        observe: bool,
    ) -> Result<Self, Uncompilable> {
        let rules =
            rules.into_iter().map(|(id, rule)| CompiledRule::compile(id, rule, patterns).map(Arc::new));
        Ok(Self::new(rules.collect::<Result<_, _>>()?, default, observe))
    }

    /// Whether there is nothing to look at: it has no rule, every request passes, and nothing observes.
    pub fn allows_all(&self) -> bool {
        self.entries.is_empty() && self.default == Effect::Allow && !self.observe
    }

    /// Whether a verdict can depend on the body.
    pub fn reads_body(&self) -> bool {
        self.reads_body
    }

    /// Whether a verdict, or what is observed, can depend on the query.
    pub fn reads_query(&self) -> bool {
        self.reads_query
    }

    /// Whether a rule or the default only observes.
    pub(super) fn observes(&self) -> bool {
        self.observes
    }

    /// What they say by the head alone; void where the work for it is over.
    pub(super) fn head<'r>(
        &'r self,
        seen: &Seen<'_>,
        matched: &mut Matched<'r>,
        works: &mut Works,
    ) -> Answer<'r> {
        let (mut enforced, mut all) = (Head::default(), Head::default());
        let mut screen = Screen::new(self.paths.as_deref());
        for entry in &self.entries {
            if !entry.matches_head(seen, &mut screen, works) {
                continue;
            }
            let rule = &*entry.rule;
            if !rule.condition().reads_body() {
                matched.note(rule);
            }
            all.note(rule);
            if !entry.observes {
                enforced.note(rule);
            }
        }
        let default = if self.observe { Effect::Allow } else { self.default };
        Answer { enforced: enforced.says(default), all: all.says(self.default) }
    }

    /// What they say once the body is there, where the head left it open. What all say is void where the work of
    /// those that observe is over.
    pub(super) async fn body<'r, R: AsyncFnMut()>(
        &'r self,
        seen: &Seen<'_>,
        body: &[u8],
        head: Answer<'r>,
        matched: &mut Matched<'r>,
        (pace, works): (&mut Pace<R>, &mut Works),
    ) -> Result<Answer<'r>, JsonError> {
        let mut screen = Screen::new(self.paths.as_deref());
        let asks = |entry: &&Entry| {
            entry.rule.condition().reads_body() && entry.matches_head(seen, &mut screen, works)
        };
        let mut asked: Vec<(&Entry, bool)> =
            self.entries.iter().filter(asks).map(|one| (one, false)).collect();
        if works.enforced.is_over() {
            return Err(JsonError::TooMuch);
        }
        let mut wanted = vec![false; self.body.len()];
        for (entry, _) in &asked {
            wanted[entry.looks()].fill(true);
        }
        let (mut enforced, mut all) = (Body::default(), Body::default());
        let judging = 1 + asked.len() as u64;
        let mut judge = |found: &[Found]| {
            let (mut allowed, mut allowed_at_all) = (false, false);
            for (entry, matches) in &mut asked {
                if entry.rule.condition().matches_body(&found[entry.looks()]) {
                    *matches = true;
                    let allows = entry.rule.effect == Effect::Allow;
                    allowed_at_all |= allows;
                    allowed |= allows && !entry.observes;
                }
            }
            enforced.unallowed |= !allowed;
            all.unallowed |= !allowed_at_all;
        };
        self.body.judge(body, &wanted, pace, judging, &mut judge).await?;
        for (entry, _) in asked.iter().filter(|(_, matches)| *matches) {
            matched.note(&entry.rule);
            all.note(&entry.rule);
            if !entry.observes {
                enforced.note(&entry.rule);
            }
        }
        Ok(Answer {
            enforced: enforced.settles(head.enforced, self.default),
            all: all.settles(head.all, self.default),
        })
    }
}

impl Entry {
    fn matches_head(&self, seen: &Seen<'_>, screen: &mut Screen<'_>, works: &mut Works) -> bool {
        if seen.method != 0 && self.methods & seen.method == 0 {
            return false;
        }
        let work = if self.observes { &mut works.observed } else { &mut works.enforced };
        self.slot.is_none_or(|slot| screen.may_have(slot, seen.request.path, work.credit()))
            && self.rule.condition().matches_head(seen, work)
            && !work.is_over()
    }

    fn looks(&self) -> std::ops::Range<usize> {
        self.looks_from..self.looks_from + self.rule.condition().looks().len()
    }
}

impl<'r> Head<'r> {
    fn note(&mut self, rule: &'r CompiledRule) {
        match (rule.condition().reads_body(), rule.effect) {
            (false, Effect::Deny) => self.deny = self.deny.or(Some(rule)),
            (false, Effect::Allow) => self.allow = self.allow.or(Some(rule)),
            (true, Effect::Deny) => self.deny_open = true,
            (true, Effect::Allow) => self.allow_open = true,
        }
    }

    fn says(self, default: Effect) -> Said<'r> {
        match (self.deny, self.allow, default) {
            (Some(deny), _, _) => Said::Deny(Some(deny)),
            (None, allow, _) if self.deny_open => Said::Open(allow),
            (None, Some(allow), _) => Said::Allow(Some(allow)),
            (None, None, Effect::Deny) if self.allow_open => Said::Open(None),
            (None, None, Effect::Deny) => Said::Deny(None),
            (None, None, Effect::Allow) => Said::Allow(None),
        }
    }
}

impl<'r> Body<'r> {
    fn note(&mut self, rule: &'r CompiledRule) {
        match rule.effect {
            Effect::Deny => self.deny = self.deny.or(Some(rule)),
            Effect::Allow => self.allow = self.allow.or(Some(rule)),
        }
    }

    /// A rule that allows by the head allows every document.
    fn settles(self, head: Said<'r>, default: Effect) -> Said<'r> {
        match head {
            Said::Deny(_) | Said::Allow(_) => head,
            Said::Open(_) if self.deny.is_some() => Said::Deny(self.deny),
            Said::Open(Some(allow)) => Said::Allow(Some(allow)),
            Said::Open(None) if self.unallowed && default == Effect::Deny => Said::Deny(None),
            Said::Open(None) => Said::Allow(self.allow),
        }
    }
}

impl Said<'_> {
    pub(super) fn is_open(self) -> bool {
        matches!(self, Self::Open(_))
    }
}

impl Answer<'_> {
    /// Of a scope that has nothing to say.
    pub(super) const ALLOW: Self = Self { enforced: Said::Allow(None), all: Said::Allow(None) };
}
