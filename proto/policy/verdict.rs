//! Whether rules let a request pass.
//!
//! In a scope every matching rule counts: any deny denies, else any allow allows, else the scope's default
//! says. All four scopes must allow. A body that is an array is judged element by element, and each element must
//! be allowed. The order of rules, and so their priority, never changes the verdict; it only chooses which rule is
//! reported: the first scope's that denies, and of its matching rules the one of the highest priority, then of the
//! smallest id, those that need no body before those that do. The body is looked at only when the verdict depends
//! on it. Rules that only observe change no verdict and ask for no body.

use super::condition::Seen;
use super::json::JsonError;
use super::pace::{HeadWork, Pace, at_once};
use super::request::{RequestBody, RequestView};

use self::scope::{Answer, Said, Works};

mod matched;
mod rule;
mod scope;

pub use self::matched::{MATCHED_MAX, Matched};
pub use self::rule::CompiledRule;
pub use self::scope::ScopeRules;

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

/// What the rules say of a request.
#[derive(Debug)]
pub struct Decision<'r> {
    /// What becomes of it: by the rules and defaults that enforce.
    pub verdict: Verdict<'r>,
    /// What would become of it if those that only observe enforced too. `None` where nothing observes.
    pub observed: Option<Observed<'r>>,
    /// The rules that matched.
    pub matched: Matched<'r>,
}

/// What the rules that enforce say.
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
    /// It is refused: a rule must look at the body, and it cannot be read, or the rules are too much work.
    Unreadable(JsonError),
}

/// What all rules together would say.
#[derive(Debug, Clone, Copy)]
pub enum Observed<'r> {
    /// It might pass.
    Allow {
        /// As in [`Verdict::Allow`].
        by: Option<(Scope, &'r CompiledRule)>,
    },
    /// It would be refused.
    Deny {
        /// As in [`Verdict::Deny`].
        scope: Scope,
        /// As in [`Verdict::Deny`].
        by: Option<&'r CompiledRule>,
    },
    /// It depends on a body that is not there or cannot be read, or is too much work.
    Unreadable,
}

/// What is said from the first scope up to one of them.
#[derive(Debug, Clone, Copy)]
enum Course<'r> {
    Allow(Option<(Scope, &'r CompiledRule)>),
    /// The body decides.
    Open,
    Deny(Scope, Option<&'r CompiledRule>),
    Unreadable(JsonError),
}

/// What was seen so far.
struct Look<'r> {
    answers: [Answer<'r>; 4],
    enforced: Course<'r>,
    all: Course<'r>,
    observes: bool,
    matched: Matched<'r>,
}

impl<'r> Scopes<'r> {
    /// Whether a verdict can depend on the body. It may still be given without: [`Self::decide`] says when it
    /// cannot.
    pub fn reads_body(&self) -> bool {
        self.in_order().iter().any(|(_, rules)| rules.reads_body())
    }

    /// Whether a verdict, or what is observed, can depend on the query.
    pub fn reads_query(&self) -> bool {
        self.in_order().iter().any(|(_, rules)| rules.reads_query())
    }

    /// Whether there is nothing to look at: no scope has a rule, every request passes, and nothing observes.
    pub fn allows_all(&self) -> bool {
        self.in_order().iter().all(|(_, rules)| rules.allows_all())
    }

    /// Looks at a request, and at its body in one go.
    pub fn decide(&self, request: &RequestView<'_>) -> Decision<'r> {
        match request.body {
            RequestBody::Unread => self.look(&Seen::new(request), &mut Works::default()).decision(),
            RequestBody::Read(_) => at_once(async |pace| self.decide_at(pace, request).await),
        }
    }

    /// Looks at a request, and rests while it looks at its body.
    pub async fn decide_at<R: AsyncFnMut()>(
        &self,
        pace: &mut Pace<R>,
        request: &RequestView<'_>,
    ) -> Decision<'r> {
        let (seen, mut works) = (Seen::new(request), Works::default());
        let mut look = self.look(&seen, &mut works);
        if let RequestBody::Read(body) = request.body {
            let ask = (look.enforced.is_open(), look.observes && look.all.is_open());
            if ask.0 || ask.1 {
                let work = (pace, &mut works);
                let settled = self.read(&seen, body, look.answers, ask, &mut look.matched, work).await;
                look.enforced = if ask.0 { settled.0 } else { look.enforced };
                look.all = if ask.1 { settled.1 } else { look.all };
            }
        }
        look.decision()
    }

    /// Looks at the head.
    fn look(&self, seen: &Seen<'_>, works: &mut Works) -> Look<'r> {
        let scopes = self.in_order();
        let mut look = Look {
            answers: [Answer::ALLOW; 4],
            enforced: Course::Allow(None),
            all: Course::Allow(None),
            observes: scopes.iter().any(|(_, rules)| rules.observes()),
            matched: Matched::default(),
        };
        for (answer, (scope, rules)) in look.answers.iter_mut().zip(scopes) {
            if rules.allows_all() {
                continue;
            }
            *answer = rules.head(seen, &mut look.matched, works);
            look.enforced = look.enforced.within(&works.enforced).and(scope, answer.enforced);
            look.all = look.all.within(&works.enforced).within(&works.observed).and(scope, answer.all);
            if look.enforced.is_refused() && (look.all.is_refused() || !look.observes) {
                break;
            }
        }
        look
    }

    /// Settles with the body what the head left open: for the rules that enforce and for all, as `ask` says.
    async fn read<R: AsyncFnMut()>(
        &self,
        seen: &Seen<'_>,
        body: &[u8],
        answers: [Answer<'r>; 4],
        ask: (bool, bool),
        matched: &mut Matched<'r>,
        (pace, works): (&mut Pace<R>, &mut Works),
    ) -> (Course<'r>, Course<'r>) {
        let (mut enforced, mut all) = (Course::Allow(None), Course::Allow(None));
        for (mut answer, (scope, rules)) in answers.into_iter().zip(self.in_order()) {
            let open = (ask.0 && !enforced.is_denied() && answer.enforced.is_open())
                || (ask.1 && !all.is_denied() && answer.all.is_open());
            if open {
                match rules.body(seen, body, answer, matched, (pace, works)).await {
                    Ok(settled) => answer = settled,
                    // No scope has denied, or this one would not be asked.
                    Err(error) => return (Course::Unreadable(error), Course::Unreadable(error)),
                }
            }
            enforced = enforced.and(scope, answer.enforced);
            all = all.within(&works.observed).and(scope, answer.all);
        }
        (enforced, all)
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

impl<'r> Look<'r> {
    fn decision(self) -> Decision<'r> {
        let observed = self.observes.then(|| self.all.observed());
        Decision { verdict: self.enforced.verdict(), observed, matched: self.matched }
    }
}

impl<'r> Course<'r> {
    fn and(self, scope: Scope, said: Said<'r>) -> Self {
        match (self, said) {
            (Self::Deny(..) | Self::Unreadable(_), _) => self,
            (_, Said::Deny(by)) => Self::Deny(scope, by),
            (Self::Open, _) | (_, Said::Open(_)) => Self::Open,
            (Self::Allow(by), Said::Allow(next)) => Self::Allow(by.or(next.map(|rule| (scope, rule)))),
        }
    }

    fn is_open(self) -> bool {
        matches!(self, Self::Open)
    }

    fn is_denied(self) -> bool {
        matches!(self, Self::Deny(..))
    }

    fn is_refused(self) -> bool {
        matches!(self, Self::Deny(..) | Self::Unreadable(_))
    }

    /// What is said stands only within the work that a head may make.
    fn within(self, work: &HeadWork) -> Self {
        match self {
            Self::Allow(_) | Self::Open if work.is_over() => Self::Unreadable(JsonError::TooMuch),
            _ => self,
        }
    }

    fn verdict(self) -> Verdict<'r> {
        match self {
            Self::Allow(by) => Verdict::Allow { by },
            Self::Open => Verdict::NeedsBody,
            Self::Deny(scope, by) => Verdict::Deny { scope, by },
            Self::Unreadable(error) => Verdict::Unreadable(error),
        }
    }

    fn observed(self) -> Observed<'r> {
        match self {
            Self::Allow(by) => Observed::Allow { by },
            Self::Open | Self::Unreadable(_) => Observed::Unreadable,
            Self::Deny(scope, by) => Observed::Deny { scope, by },
        }
    }
}

#[cfg(test)]
mod reference;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tree;
