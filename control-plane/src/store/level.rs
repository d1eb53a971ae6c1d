//! Over how long requests are added up, and how long that is kept. Reads nothing.

/// In microseconds.
const MINUTE: i64 = 60 * 1_000_000;

/// Over how long requests are added up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    Minute,
    Hour,
    Day,
}

impl Level {
    pub(crate) const ALL: [Self; 3] = [Self::Minute, Self::Hour, Self::Day];

    /// As columns have it.
    pub(crate) const fn row(self) -> i16 {
        match self {
            Self::Minute => 1,
            Self::Hour => 2,
            Self::Day => 3,
        }
    }

    /// In microseconds.
    pub(crate) const fn length(self) -> i64 {
        match self {
            Self::Minute => MINUTE,
            Self::Hour => 60 * MINUTE,
            Self::Day => 24 * 60 * MINUTE,
        }
    }

    pub(crate) fn begin(self, at: i64) -> i64 {
        at - at.rem_euclid(self.length())
    }
}

/// How long rollups of a level are kept.
pub(crate) const fn kept(level: Level) -> i64 {
    let days = match level {
        Level::Minute => 35,
        Level::Hour => 400,
        Level::Day => 3650,
    };
    days * Level::Day.length()
}
