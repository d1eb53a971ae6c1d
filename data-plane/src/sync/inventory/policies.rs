//! Rules, filters and meters by what they bear on, and what they are compiled to together.
//!
//! Parses nothing. The invariants: a policy that does not run closes the proxies that it bears on, and no other; what
//! belongs to one parent is compiled again only when it or the parent has changed.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use rr_contract::model::effect::Effect;
use rr_contract::model::resource::{Key, ResourceId};

use crate::snapshot::{CompiledCaller, Policy, PolicyParts, Snapshot};

use super::Inventory;
use super::held::{CallerPart, Part};

/// What bears on which parent.
#[derive(Default)]
pub(super) struct Policies {
    of: HashMap<Key, Bearing>,
    /// Parents whose policy has to be compiled again.
    stale: HashSet<Key>,
}

/// What bears on one parent.
#[derive(Default)]
struct Bearing {
    policies: Vec<Key>,
    /// `None`: it is not compiled, or something of it does not run.
    compiled: Option<(Said, Arc<Policy>)>,
}

/// What a parent says of its own scope: its default effect, and whether the scope only observes.
type Said = (Effect, bool);

impl Policies {
    /// Has a policy bear on these parents and no longer on those of before.
    pub(super) fn bear(&mut self, policy: Key, before: &[Key], after: &[Key]) {
        for parent in before.iter().filter(|parent| !after.contains(parent)) {
            self.stale.insert(*parent);
            if let Some(bearing) = self.of.get_mut(parent) {
                bearing.policies.retain(|one| *one != policy);
                if bearing.policies.is_empty() {
                    self.of.remove(parent);
                }
            }
        }
        for parent in after {
            self.stale.insert(*parent);
            let bearing = self.of.entry(*parent).or_default();
            if !bearing.policies.contains(&policy) {
                bearing.policies.push(policy);
            }
        }
    }

    /// Notes that a parent itself has changed.
    pub(super) fn parent_changed(&mut self, parent: &Key) {
        if self.of.contains_key(parent) {
            self.stale.insert(*parent);
        }
    }

    /// Whether something that bears on a parent does not run.
    pub(super) fn closes(&self, parent: &Key) -> bool {
        self.of.get(parent).is_some_and(|bearing| bearing.compiled.is_none())
    }
}

impl Inventory {
    /// Compiles what belongs to parents that have changed, and has callers run on it.
    pub(super) fn compile_policies(&mut self, snapshot: &mut Snapshot) {
        for parent in std::mem::take(&mut self.policies.stale) {
            let said = self.said_of_itself(&parent);
            let compiled =
                self.policies.of.get(&parent).map(|bearing| self.together(&bearing.policies, said));
            if let (Some(compiled), Some(bearing)) = (compiled, self.policies.of.get_mut(&parent)) {
                bearing.compiled = compiled.map(|policy| (said, policy));
            }
            self.caller_runs_on(&parent, self.policy(&parent, said), snapshot);
        }
    }

    /// The policy of a parent that says this of its own scope.
    pub(super) fn policy(&self, parent: &Key, said: Said) -> Arc<Policy> {
        let bearing = self.policies.of.get(parent);
        match bearing.map(|bearing| (&bearing.compiled, &bearing.policies)) {
            Some((Some((before, policy)), _)) if *before == said => Arc::clone(policy),
            // Another version of the parent runs than the one that it was compiled for.
            Some((Some(_), policies)) => {
                self.together(policies, said).unwrap_or_else(|| Policy::plain(Effect::Deny, false))
            }
            // Where something does not run, the proxies concerned are closed.
            Some((None, _)) => Policy::plain(Effect::Deny, false),
            None => Policy::plain(said.0, said.1),
        }
    }

    /// `None`: something of it does not run, or does not bear on what it should.
    fn together(&self, policies: &[Key], (default, observe): Said) -> Option<Arc<Policy>> {
        let mut parts = PolicyParts::default();
        for key in policies {
            match self.running(key)? {
                Part::Rule(rule) => parts.rules.push(Arc::clone(rule)),
                Part::Filter(filter) => parts.filters.push(Arc::clone(filter)),
                Part::Meter(meter) => parts.meters.push(meter.clone()),
                Part::Org(_) | Part::Target(_) | Part::Caller(_) | Part::Upstream(_) | Part::Proxy(_) => {
                    return None;
                }
            }
        }
        // In one order, whatever the order in which they came.
        parts.rules.sort_by_key(|rule| rule.id);
        parts.filters.sort_by_key(|filter| filter.id);
        Some(Arc::new(Policy::new(parts, default, observe)))
    }

    /// The default effect that a parent's running version gives, and whether its own scope only observes.
    fn said_of_itself(&self, parent: &Key) -> Said {
        match self.running(parent) {
            Some(Part::Target(target)) => (target.default_effect, false),
            Some(Part::Caller(caller)) => (caller.default_effect, false),
            Some(Part::Upstream(credential)) => (credential.default_effect(), false),
            Some(Part::Proxy(proxy)) => (proxy.default_effect, proxy.observe),
            Some(Part::Org(_) | Part::Rule(_) | Part::Filter(_) | Part::Meter(_)) | None => {
                (Effect::Allow, false)
            }
        }
    }

    fn caller_runs_on(&mut self, key: &Key, policy: Arc<Policy>, snapshot: &mut Snapshot) {
        let ResourceId::Credential(_) = key.id else { return };
        let Some(entry) = self.entries.get_mut(key) else { return };
        let Some(running) = &mut entry.running else { return };
        let Part::Caller(part) = &running.part else { return };
        let caller = CompiledCaller { policy, ..part.caller.clone() };
        let part = Arc::new(CallerPart { hashes: part.hashes.clone(), caller, ..**part });
        running.part = Part::Caller(Arc::clone(&part));
        part.runs_in(snapshot);
    }
}
