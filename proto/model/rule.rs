//! Rules: which requests a scope allows and which it denies.

use crate::wire::fleet;

use super::invalid::{Invalid, Violations};
use super::name::Name;
use super::request_match::RequestMatch;
use super::resource::{Key, ResourceId};

/// The highest priority.
pub const PRIORITY_MAX: u16 = 1000;
/// The longest notes, in characters.
pub const NOTES_MAX: usize = 1000;

/// What a rule says of the requests that it matches, and a scope of those that no rule matches.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Effect {
    /// They may pass.
    #[default]
    Allow,
    /// They are refused.
    Deny,
}

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
}

impl Effect {
    /// The default of a scope: unset means allow.
    pub(crate) fn parse_default(faults: &mut Violations, wire: i32) -> Option<Self> {
        match fleet::Effect::try_from(wire) {
            Ok(fleet::Effect::Unspecified | fleet::Effect::Allow) => Some(Self::Allow),
            Ok(fleet::Effect::Deny) => Some(Self::Deny),
            Err(_) => {
                faults.add("default_effect", "is neither allow nor deny");
                None
            }
        }
    }

    /// For the wire.
    pub fn to_wire(self) -> fleet::Effect {
        match self {
            Self::Allow => fleet::Effect::Allow,
            Self::Deny => fleet::Effect::Deny,
        }
    }
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
        }
    }
}

impl TryFrom<fleet::RuleResource> for Rule {
    type Error = Invalid;

    fn try_from(wire: fleet::RuleResource) -> Result<Self, Invalid> {
        let mut faults = Violations::default();
        let parent = parent(&mut faults, wire.parent.as_ref());
        let name = faults.take("name", wire.name.parse());
        let effect = match fleet::Effect::try_from(wire.effect) {
            Ok(fleet::Effect::Allow) => Some(Effect::Allow),
            Ok(fleet::Effect::Deny) => Some(Effect::Deny),
            Ok(fleet::Effect::Unspecified) | Err(_) => {
                faults.add("effect", "is neither allow nor deny");
                None
            }
        };
        let priority = at_most(&mut faults, "priority", wire.priority, PRIORITY_MAX);
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
            })
        })
    }
}

/// What a rule or filter may belong to.
pub(super) fn parent(faults: &mut Violations, wire: Option<&fleet::Key>) -> Option<Key> {
    let Some(wire) = wire else {
        faults.add("parent", "is missing: a credential, target or proxy");
        return None;
    };
    let key = faults.take("parent", Key::try_from(wire))?;
    match key.id {
        ResourceId::Credential(_) | ResourceId::Target(_) | ResourceId::Proxy(_) => Some(key),
        ResourceId::Org | ResourceId::Rule(_) | ResourceId::Filter(_) | ResourceId::Meter(_) => {
            faults.add("parent", "is neither a credential nor a target nor a proxy");
            None
        }
    }
}

pub(super) fn at_most(faults: &mut Violations, field: &str, value: u32, most: u16) -> Option<u16> {
    match u16::try_from(value) {
        Ok(value) if value <= most => Some(value),
        _ => {
            faults.add(field, format!("is over {most}"));
            None
        }
    }
}

#[cfg(test)]
mod tests;
