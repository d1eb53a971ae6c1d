//! How many of several occurrences have to match.

use rr_domain::model::effect::Effect;

/// What a condition is for: it decides how several occurrences count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// One occurrence that matches is enough; with `absent`, none may match.
    Meter,
    /// One occurrence that matches is enough; with `absent`, it holds unless there is one and all match.
    Deny,
    /// There is an occurrence, and all match; with `absent`, none may match.
    Allow,
}

/// What a check asks of the occurrences whose name or path matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    /// One matches.
    One,
    /// There is one, and all match.
    All,
    /// None matches.
    No,
    /// There is none, or one that does not match.
    NotAll,
}

/// What was found of the occurrences whose name or path matches.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in super::super) struct Found {
    /// One that matches.
    pub(super) good: bool,
    /// One that does not.
    pub(super) bad: bool,
}

impl From<Effect> for Purpose {
    fn from(effect: Effect) -> Self {
        match effect {
            Effect::Allow => Self::Allow,
            Effect::Deny => Self::Deny,
        }
    }
}

impl Need {
    pub(super) fn new(purpose: Purpose, absent: bool) -> Self {
        match (purpose, absent) {
            (Purpose::Meter | Purpose::Deny, false) => Self::One,
            (Purpose::Meter | Purpose::Allow, true) => Self::No,
            (Purpose::Deny, true) => Self::NotAll,
            (Purpose::Allow, false) => Self::All,
        }
    }

    pub(super) fn is_met(self, found: Found) -> bool {
        match self {
            Self::One => found.good,
            Self::All => found.good && !found.bad,
            Self::No => !found.good,
            Self::NotAll => !found.good || found.bad,
        }
    }

    /// Looks at occurrences until they decide.
    pub(super) fn is_met_by(self, occurrences: impl Iterator<Item = bool>) -> bool {
        let mut found = Found::default();
        for good in occurrences {
            found.note(good);
            let decided = match self {
                Self::One | Self::No => found.good,
                Self::All | Self::NotAll => found.bad,
            };
            if decided {
                break;
            }
        }
        self.is_met(found)
    }
}

impl Found {
    pub(super) fn note(&mut self, good: bool) {
        self.good |= good;
        self.bad |= !good;
    }

    /// Whether another occurrence could still change what it says.
    pub(super) fn is_open(self) -> bool {
        !(self.good && self.bad)
    }
}
