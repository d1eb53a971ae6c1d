//! A rule that can be run.

use rr_domain::model::effect::Effect;
use rr_domain::model::id::RuleId;
use rr_domain::model::name::Name;
use rr_domain::model::rule::Rule;

use super::super::condition::Condition;
use super::super::pattern::{Patterns, Uncompilable};

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
    /// It decides nothing, whatever its scope says.
    pub observe: bool,
    condition: Condition,
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
            observe: rule.observe,
            condition: Condition::compile(&rule.when, rule.effect.into(), patterns)?,
        })
    }

    /// Its condition.
    pub fn condition(&self) -> &Condition {
        &self.condition
    }
}
