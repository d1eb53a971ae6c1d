//! Where a time stands in the calendar: its minute, hour, day and month in UTC, and how long each of them lasts.
//!
//! Reads no clock. The invariant: the four windows of a moment hold it, and each begins where the one before it
//! ends, for every time from 1970 on.

use std::num::NonZeroU64;
use std::time::Duration;
#[cfg(test)]
use std::time::SystemTime;

use rr_contract::model::meter::Windows;
use rr_contract::wire::fleet;

/// A stretch of the calendar after which counting begins anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Window {
    /// A minute.
    Minute,
    /// An hour.
    Hour,
    /// A day, in UTC.
    Day,
    /// A month, in UTC.
    Month,
}

impl Window {
    /// The shortest first.
    pub(crate) const ALL: [Self; 4] = [Self::Minute, Self::Hour, Self::Day, Self::Month];

    /// As names of policies and records say it.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Minute => "minute",
            Self::Hour => "hour",
            Self::Day => "day",
            Self::Month => "month",
        }
    }

    /// For records.
    pub(crate) const fn to_wire(self) -> fleet::Window {
        match self {
            Self::Minute => fleet::Window::Minute,
            Self::Hour => fleet::Window::Hour,
            Self::Day => fleet::Window::Day,
            Self::Month => fleet::Window::Month,
        }
    }

    /// The limit for this window.
    pub(crate) const fn limit(self, limits: &Windows) -> Option<NonZeroU64> {
        match self {
            Self::Minute => limits.minute,
            Self::Hour => limits.hour,
            Self::Day => limits.day,
            Self::Month => limits.month,
        }
    }
}

/// One certain minute, hour, day or month. A later one is greater, and so is each that comes after the node followed
/// a clock that had been set back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Term(u64);

impl Term {
    /// Bits of a term.
    pub(super) const BITS: u32 = 56;
    /// No request was ever in it.
    pub(super) const NONE: Self = Self(u64::MAX);

    pub(super) const fn new(era: u32, index: u32) -> Self {
        Self((((era & 0x00ff_ffff) as u64) << 32) | index as u64)
    }

    pub(super) const fn from_bits(bits: u64) -> Self {
        Self(bits & ((1 << Self::BITS) - 1))
    }

    pub(super) const fn bits(self) -> u64 {
        self.0
    }

    /// How many windows of its kind there were before it since 1970; since the year 0 for months.
    pub(super) const fn index(self) -> u32 {
        self.0 as u32
    }

    /// How often the node has followed a clock that was set back.
    pub(super) const fn era(self) -> u32 {
        (self.0 >> 32) as u32
    }
}

const MINUTE: u64 = 60;
const HOUR: u64 = 3600;
const DAY: u64 = 86_400;
/// In the year 10,136; a later time counts as this one.
const LATEST: u64 = u32::MAX as u64 * MINUTE;

/// A time, as the four windows that hold it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Moment {
    era: u32,
    /// Seconds since 1970.
    seconds: u64,
    /// Number of the day, and of the month.
    day: u32,
    month: u32,
    /// When the month began and when it ends, in days since 1970.
    month_days: (u32, u32),
}

impl Moment {
    /// The moment of a time of day. A time before 1970 counts as 1970.
    #[cfg(test)]
    pub(crate) fn of(time: SystemTime) -> Self {
        Self::at(time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default(), 0)
    }

    pub(super) fn at(since_1970: Duration, era: u32) -> Self {
        let seconds = since_1970.as_secs().min(LATEST);
        let day = (seconds / DAY) as u32;
        let (month, month_days) = month_of(day);
        Self { era, seconds, day, month, month_days }
    }

    /// Seconds since 1970.
    pub(super) const fn seconds(&self) -> u64 {
        self.seconds
    }

    pub(super) const fn term(&self, window: Window) -> Term {
        let index = match window {
            Window::Minute => (self.seconds / MINUTE) as u32,
            Window::Hour => (self.seconds / HOUR) as u32,
            Window::Day => self.day,
            Window::Month => self.month,
        };
        Term::new(self.era, index)
    }

    /// Seconds until the window ends, at least 1. Parts of a second count as whole ones: who waits that long does
    /// not come too early.
    pub(crate) const fn left(&self, window: Window) -> u64 {
        match window {
            Window::Minute => MINUTE - self.seconds % MINUTE,
            Window::Hour => HOUR - self.seconds % HOUR,
            Window::Day => DAY - self.seconds % DAY,
            Window::Month => self.month_days.1 as u64 * DAY - self.seconds,
        }
    }

    /// Seconds from the beginning of the window to its end.
    pub(crate) const fn length(&self, window: Window) -> u64 {
        match window {
            Window::Minute => MINUTE,
            Window::Hour => HOUR,
            Window::Day => DAY,
            Window::Month => (self.month_days.1 - self.month_days.0) as u64 * DAY,
        }
    }
}

/// The number of the month of a day, and the days on which it and the next begin.
///
/// Counts years from the first of March, so that a leap day is the last of its year; a month then begins
/// (153 n + 2) / 5 days after the year.
fn month_of(day: u32) -> (u32, (u32, u32)) {
    /// Days of 400 years, after which the calendar repeats itself.
    const CYCLE: u64 = 146_097;
    /// From the first of March of the year 0 to 1970.
    const TO_1970: u64 = 719_468;

    let days = u64::from(day) + TO_1970;
    let (cycle, within) = (days / CYCLE, days % CYCLE);
    let year = (within - within / 1460 + within / 36_524 - within / (CYCLE - 1)) / 365;
    let of_year = within - (365 * year + year / 4 - year / 100);
    let since_march = (5 * of_year + 2) / 153;
    let begin = days - of_year + (153 * since_march + 2) / 5;
    let length = match since_march {
        11 => {
            let next = year + 1;
            let is_leap = next.is_multiple_of(4) && (!next.is_multiple_of(100) || next.is_multiple_of(400));
            28 + u64::from(is_leap)
        }
        _ => (153 * (since_march + 1) + 2) / 5 - (153 * since_march + 2) / 5,
    };
    // March of the year 0 is month 2.
    let month = (cycle * 400 + year) * 12 + since_march + 2;
    let begin = begin - TO_1970;
    (month as u32, (begin as u32, (begin + length) as u32))
}

#[cfg(test)]
mod tests;
