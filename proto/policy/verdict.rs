//! Whether rules let a request pass.
//!
//! In a scope every matching rule counts: any deny denies, else any allow allows, else the scope's default
//! says. All four scopes must allow. The order of rules, and so their priority, never changes the verdict; it
//! only chooses which rule is reported: the first scope's that denies, and of its matching rules the one of the
//! highest priority, then of the smallest id, those that need no body before those that do. The body is looked
//! at only when the verdict depends on it.

use std::cmp::Reverse;
use std::sync::Arc;

use rr_domain::model::effect::Effect;
use rr_domain::model::id::RuleId;
use rr_domain::model::name::Name;
use rr_domain::model::rule::Rule;

use super::condition::{BodyIndex, Condition};
use super::json::JsonError;
use super::pattern::{Patterns, Uncompilable};
use super::request::{RequestBody, RequestView};

/// A rule that can be run.
#[derive(Debug)]
pub struct CompiledRule {
    /// Which rule.
    pub id: RuleId,
    /// Its name.
    pub name: Name,
    /// What it says.
    pub effect: Effect,
    /// How it stands among those that match.
    pub priority: u16,
    /// Shown to the caller who is refused.
    pub notes: Box<str>,
    condition: Condition,
}

/// All rules of one scope.
#[derive(Debug, Default)]
pub struct ScopeRules {
    /// In the order in which they are reported.
    denies: Box<[Indexed]>,
    allows: Box<[Indexed]>,
    default: Effect,
    body: BodyIndex,
}

#[derive(Debug)]
struct Indexed {
    rule: Arc<CompiledRule>,
    /// Where its looks start in the index of bodies.
    looks_from: usize,
}

/// Whose rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// The caller credential's.
    Caller,
    /// The upstream credential's.
    Upstream,
    /// The proxy's.
    Proxy,
    /// The target's.
    Target,
}

/// The four scopes that a request has to pass.
#[derive(Debug, Clone, Copy)]
pub struct Scopes<'r> {
    /// Of the caller credential that was presented.
    pub caller: &'r ScopeRules,
    /// Of the credential that is injected.
    pub upstream: &'r ScopeRules,
    /// Of the proxy.
    pub proxy: &'r ScopeRules,
    /// Of the target.
    pub target: &'r ScopeRules,
}

/// What the rules say.
#[derive(Debug)]
pub enum Verdict<'r> {
    /// It may pass.
    Allow {
        /// The rule that is reported, of the first scope that has one; `None` when only defaults spoke.
        by: Option<(Scope, &'r CompiledRule)>,
    },
    /// It is refused.
    Deny {
        /// The first scope that denies.
        scope: Scope,
        /// The rule that is reported; `None` when the scope's default denies.
        by: Option<&'r CompiledRule>,
    },
    /// Give the body and ask again.
    NeedsBody,
    /// It is refused: a rule must look at the body, and it cannot be read.
    Unreadable(JsonError),
}

/// What a scope says by the head alone.
enum Head<'r> {
    Deny(Option<&'r CompiledRule>),
    Allow(Option<&'r CompiledRule>),
    /// The body decides; unless a rule that needs it denies, this one allows.
    Open(Option<&'r CompiledRule>),
}

impl CompiledRule {
    /// Compiles a rule.
    pub fn compile(id: RuleId, rule: &Rule, patterns: &mut Patterns) -> Result<Self, Uncompilable> {
        Ok(Self {
            id,
            name: rule.name.clone(),
            effect: rule.effect,
            priority: rule.priority,
            notes: rule.notes.as_str().into(),
            condition: Condition::compile(&rule.when, patterns)?,
        })
    }

    /// Its condition.
    pub fn condition(&self) -> &Condition {
        &self.condition
    }
}

impl ScopeRules {
    /// Puts compiled rules together. Their order makes no difference.
    pub fn new(mut rules: Vec<Arc<CompiledRule>>, default: Effect) -> Self {
        rules.sort_by_key(|rule| (rule.effect == Effect::Allow, Reverse(rule.priority), rule.id));
        let body = BodyIndex::new(rules.iter().map(|rule| rule.condition()));
        let mut looks_from = 0;
        let mut indexed: Vec<Indexed> = Vec::with_capacity(rules.len());
        for rule in rules {
            let looks = rule.condition.looks();
            indexed.push(Indexed { rule, looks_from });
            looks_from += looks;
        }
        let allows = indexed.split_off(indexed.partition_point(|one| one.rule.effect == Effect::Deny));
        Self { denies: indexed.into(), allows: allows.into(), default, body }
    }

    /// Compiles rules and puts them together.
    pub fn compile<'m>(
        rules: impl IntoIterator<Item = (RuleId, &'m Rule)>,
        default: Effect,
        patterns: &mut Patterns,
    ) -> Result<Self, Uncompilable> {
        let rules =
            rules.into_iter().map(|(id, rule)| CompiledRule::compile(id, rule, patterns).map(Arc::new));
        Ok(Self::new(rules.collect::<Result<_, _>>()?, default))
    }

    /// Whether there is nothing to look at: every request passes.
    pub fn allows_all(&self) -> bool {
        self.denies.is_empty() && self.default == Effect::Allow
    }

    /// Whether a verdict can depend on the body.
    pub fn reads_body(&self) -> bool {
        self.body.len() > 0
    }

    /// Whether a verdict can depend on the query.
    pub fn reads_query(&self) -> bool {
        self.denies.iter().chain(&self.allows).any(|one| one.rule.condition.reads_query())
    }

    fn head(&self, request: &RequestView<'_>) -> Head<'_> {
        let mut open = false;
        for one in &self.denies {
            if one.rule.condition.matches_head(request) {
                if !one.rule.condition.reads_body() {
                    return Head::Deny(Some(&one.rule));
                }
                open = true;
            }
        }
        let mut open_allow = false;
        let mut allow = None;
        for one in &self.allows {
            if one.rule.condition.matches_head(request) {
                if !one.rule.condition.reads_body() {
                    allow = Some(&*one.rule);
                    break;
                }
                open_allow = true;
            }
        }
        match (allow, self.default) {
            _ if open => Head::Open(allow),
            (Some(rule), _) => Head::Allow(Some(rule)),
            (None, Effect::Deny) if open_allow => Head::Open(None),
            (None, Effect::Deny) => Head::Deny(None),
            (None, Effect::Allow) => Head::Allow(None),
        }
    }

    /// What an open scope says once the body is there. `Ok` allows.
    fn body(
        &self,
        request: &RequestView<'_>,
        body: &[u8],
        allow: Option<&CompiledRule>,
    ) -> Result<Head<'_>, JsonError> {
        let rules = || self.denies.iter().chain(&self.allows);
        let mut wanted = vec![false; self.body.len()];
        for one in rules() {
            let condition = &one.rule.condition;
            if condition.reads_body() && condition.matches_head(request) {
                wanted[one.looks_from..][..condition.looks()].fill(true);
            }
        }
        let found = self.body.look(body, &wanted)?;
        let matching = |one: &&Indexed| {
            let condition = &one.rule.condition;
            let looks = one.looks_from..one.looks_from + condition.looks();
            condition.reads_body() && wanted[one.looks_from] && condition.matches_body(&found[looks])
        };
        if let Some(deny) = self.denies.iter().find(matching) {
            return Ok(Head::Deny(Some(&deny.rule)));
        }
        let known = allow.and_then(|known| rules().find(|one| one.rule.id == known.id));
        Ok(match (known.or_else(|| self.allows.iter().find(matching)), self.default) {
            (Some(one), _) => Head::Allow(Some(&one.rule)),
            (None, Effect::Deny) => Head::Deny(None),
            (None, Effect::Allow) => Head::Allow(None),
        })
    }
}

impl<'r> Scopes<'r> {
    /// Whether a verdict can depend on the body. It may still be given without: [`Self::decide`] says when it
    /// cannot.
    pub fn reads_body(&self) -> bool {
        self.in_order().iter().any(|(_, rules)| rules.reads_body())
    }

    /// Whether a verdict can depend on the query.
    pub fn reads_query(&self) -> bool {
        self.in_order().iter().any(|(_, rules)| rules.reads_query())
    }

    /// Looks at a request.
    pub fn decide(&self, request: &RequestView<'_>) -> Verdict<'r> {
        let scopes = self.in_order();
        let mut heads = [const { Head::Allow(None) }; 4];
        for (head, (scope, rules)) in heads.iter_mut().zip(scopes) {
            *head = rules.head(request);
            if let Head::Deny(by) = *head {
                return Verdict::Deny { scope, by };
            }
        }
        let mut reported = None;
        for (head, (scope, rules)) in heads.into_iter().zip(scopes) {
            let settled = match (head, request.body) {
                (Head::Open(_), RequestBody::Unread) => return Verdict::NeedsBody,
                (Head::Open(allow), RequestBody::Read(body)) => match rules.body(request, body, allow) {
                    Ok(settled) => settled,
                    Err(error) => return Verdict::Unreadable(error),
                },
                (settled, _) => settled,
            };
            match settled {
                Head::Deny(by) => return Verdict::Deny { scope, by },
                Head::Allow(by) | Head::Open(by) => reported = reported.or(by.map(|rule| (scope, rule))),
            }
        }
        Verdict::Allow { by: reported }
    }

    fn in_order(&self) -> [(Scope, &'r ScopeRules); 4] {
        [
            (Scope::Caller, self.caller),
            (Scope::Upstream, self.upstream),
            (Scope::Proxy, self.proxy),
            (Scope::Target, self.target),
        ]
    }
}

#[cfg(test)]
mod reference;
#[cfg(test)]
mod tests;
