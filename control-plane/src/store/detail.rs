//! What series tell apart. Reads nothing.
//!
//! Few questions are about all of it, and coarse series have few rows. The invariant: the series of each detail by
//! themselves add up to every request.

/// Which of a request's marks a series has. All have organization, region, status, code, and whether rules that only
/// observe would have denied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Detail {
    /// Proxy, caller, both rules, and by minute the revision.
    Full,
    /// The proxy, and by minute the revision.
    Proxies,
    /// The caller.
    Callers,
    /// Both rules.
    Rules,
    /// None.
    Plain,
}

impl Detail {
    /// All others.
    pub(crate) const COARSE: [Self; 4] = [Self::Proxies, Self::Callers, Self::Rules, Self::Plain];

    /// As columns have it.
    pub(crate) const fn row(self) -> i16 {
        match self {
            Self::Full => 0,
            Self::Proxies => 1,
            Self::Callers => 2,
            Self::Rules => 3,
            Self::Plain => 4,
        }
    }

    /// The one with the fewest series that tells these apart.
    pub(crate) const fn of(wanted: Wanted) -> Self {
        let Wanted { proxy, caller, rule, revision } = wanted;
        match (proxy || revision, caller, rule) {
            (false, false, false) => Self::Plain,
            (true, false, false) => Self::Proxies,
            (false, true, false) => Self::Callers,
            (false, false, true) => Self::Rules,
            _ => Self::Full,
        }
    }

    /// Whether rows of minutes tell revisions apart.
    pub(crate) const fn has_revisions(self) -> bool {
        matches!(self, Self::Full | Self::Proxies)
    }
}

/// What a question tells apart.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted {
    pub(crate) proxy: bool,
    pub(crate) caller: bool,
    /// One of both.
    pub(crate) rule: bool,
    pub(crate) revision: bool,
}
