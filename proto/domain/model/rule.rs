//! Rules: which requests a scope allows and which it denies.

use rr_wire::fleet;

use super::effect::Effect;
use super::invalid::{Invalid, Violations};
use super::key::{self, Key};
use super::name::Name;
use super::request_match::RequestMatch;

/// The highest priority.
pub const PRIORITY_MAX: u16 = 1000;
/// The longest notes, in characters.
pub const NOTES_MAX: usize = 1000;

/// A rule of a scope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// The credential, target or proxy whose scope it is in.
    pub parent: Key,
    /// Its name among the rules of its parent.
    pub name: Name,
    /// What it says.
    pub effect: Effect,
    /// Decides which matching rule is reported, never the verdict.
    pub priority: u16,
    /// Of which requests.
    pub when: RequestMatch,
    /// Shown to the caller who is refused.
    pub notes: String,
    /// It decides nothing, and the record says what it would have decided.
    pub observe: bool,
}

impl Rule {
    /// For the wire.
    pub fn to_wire(&self) -> fleet::RuleResource {
        fleet::RuleResource {
            parent: Some(self.parent.to_wire()),
            name: self.name.to_string(),
            effect: self.effect.to_wire().into(),
            priority: self.priority.into(),
            when: (self.when != RequestMatch::default()).then(|| self.when.to_wire()),
            notes: self.notes.clone(),
            observe: self.observe,
        }
    }
}

impl TryFrom<fleet::RuleResource> for Rule {
    type Error = Invalid;

    fn try_from(wire: fleet::RuleResource) -> Result<Self, Invalid> {
        let mut faults = Violations::default();
        let parent = key::parent(&mut faults, wire.parent.as_ref());
        let name = faults.take("name", wire.name.parse());
        let effect = match fleet::Effect::try_from(wire.effect) {
            Ok(fleet::Effect::Allow) => Some(Effect::Allow),
            Ok(fleet::Effect::Deny) => Some(Effect::Deny),
            Ok(fleet::Effect::Unspecified) | Err(_) => {
                faults.add("effect", "is neither allow nor deny");
                None
            }
        };
        let priority = faults.at_most("priority", wire.priority, PRIORITY_MAX);
        let when = match &wire.when {
            Some(when) => RequestMatch::parse(&mut faults, "when", when),
            None => Some(RequestMatch::default()),
        };
        if wire.notes.chars().count() > NOTES_MAX {
            faults.add("notes", format!("is longer than {NOTES_MAX} characters"));
        }
        faults.finish(|| {
            Some(Self {
                parent: parent?,
                name: name?,
                effect: effect?,
                priority: priority?,
                when: when?,
                notes: wire.notes,
                observe: wire.observe,
            })
        })
    }
}

#[cfg(test)]
mod tests;
