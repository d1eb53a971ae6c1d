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
    /// The proxy.
    Proxies,
    /// The caller.
    Callers,
    /// None.
    Plain,
}

impl Detail {
    /// All others.
    pub(crate) const COARSE: [Self; 3] = [Self::Proxies, Self::Callers, Self::Plain];

    /// As columns have it.
    pub(crate) const fn row(self) -> i16 {
        match self {
            Self::Full => 0,
            Self::Proxies => 1,
            Self::Callers => 2,
            Self::Plain => 3,
        }
    }

    /// The one with the fewest series that tells these apart.
    pub(crate) const fn of(proxy: bool, caller: bool, rest: bool) -> Self {
        match (proxy, caller, rest) {
            (_, _, true) | (true, true, _) => Self::Full,
            (true, false, false) => Self::Proxies,
            (false, true, false) => Self::Callers,
            (false, false, false) => Self::Plain,
        }
    }
}
