//! Which rules matched, as far as they were looked at.

use super::rule::CompiledRule;

/// How many are named.
pub const MATCHED_MAX: usize = 16;

/// Rules that matched, those that only observe included, of the scopes that were looked at: the first
/// [`MATCHED_MAX`]. Those that need no body come first, each kind by scope and in the order in which its rules are
/// reported. A rule whose look into the body would have changed no verdict was not looked at, and is not here.
#[derive(Debug, Clone, Copy, Default)]
pub struct Matched<'r> {
    /// From the first on, without a gap.
    rules: [Option<&'r CompiledRule>; MATCHED_MAX],
}

impl<'r> Matched<'r> {
    /// The rules.
    pub fn iter(&self) -> impl Iterator<Item = &'r CompiledRule> + use<'r> {
        self.rules.into_iter().map_while(|rule| rule)
    }

    pub(super) fn note(&mut self, rule: &'r CompiledRule) {
        if let Some(free) = self.rules.iter_mut().find(|one| one.is_none()) {
            *free = Some(rule);
        }
    }
}
