//! Effects: what is said of a request.

use rr_wire::fleet;

use super::invalid::Violations;

/// What a rule says of the requests that it matches, and a scope of those that no rule matches.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Effect {
    /// They may pass.
    #[default]
    Allow,
    /// They are refused.
    Deny,
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
