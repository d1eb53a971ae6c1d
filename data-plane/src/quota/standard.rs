//! What a reply says of limits: the fields `RateLimit-Policy` and `RateLimit` of
//! draft-ietf-httpapi-ratelimit-headers-11, and `Retry-After`.
//!
//! Items are sorted by nothing but the order in which they are given; where there are more than fit, the ones that
//! are nearest to their limits stay. The draft's units are a closed list, so the values of a meter are marked by a
//! parameter of ours, which the draft has readers take for a comment. The invariant: a field is one structured list
//! that parses, whatever names and numbers it is made from.

use std::fmt::{self, Write as _};

use http::HeaderValue;

use super::moment::{Moment, Window};

/// How many items a field has at the most.
const ITEMS: usize = 8;
/// Room for so many of the longest items.
const ROOM: usize = 1280;
/// The largest integer of a structured field.
const INTEGER_MAX: u64 = 999_999_999_999_999;
/// From so many percent on, a reply carries a warning.
const WARN_PERCENT: u128 = 80;

/// Whose limit it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Policy<'a> {
    /// All requests of the proxy.
    Proxy,
    /// Those of the caller credential.
    Caller,
    /// Those from the address.
    Address,
    /// The requests that the meter of this name counts.
    MeterOfRequests(&'a str),
    /// The values that the meter of this name counts, in millionths.
    MeterOfValues(&'a str),
}

/// How a limit stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct State<'a> {
    /// Whose.
    pub(crate) policy: Policy<'a>,
    /// Which window's.
    pub(crate) window: Window,
    /// How much there may be.
    pub(crate) limit: u64,
    /// How much there is.
    pub(crate) used: u64,
}

impl State<'_> {
    /// Whether four fifths of the limit are used.
    pub(crate) fn is_near(&self) -> bool {
        u128::from(self.used) * 100 >= u128::from(self.limit) * WARN_PERCENT
    }

    /// Millionths of values are told as values; a part of one does not count as left.
    fn told(&self, amount: u64) -> u64 {
        let amount = match self.policy {
            Policy::MeterOfValues(_) => amount / 1_000_000,
            _ => amount,
        };
        amount.min(INTEGER_MAX)
    }

    /// Whether less is left of this one than of the other, each for what its limit is.
    fn is_nearer(&self, other: &Self) -> bool {
        let share = |one: &Self, by: &Self| u128::from(one.used) * u128::from(by.limit);
        share(self, other) > share(other, self)
    }

    fn name(&self, out: &mut Buffer) -> fmt::Result {
        out.write_str("\"")?;
        match self.policy {
            Policy::Proxy => out.write_str("proxy")?,
            Policy::Caller => out.write_str("caller")?,
            Policy::Address => out.write_str("address")?,
            Policy::MeterOfRequests(name) | Policy::MeterOfValues(name) => {
                out.write_str("meter-")?;
                // A name of a resource has no other characters; a text that has breaks no field.
                let is_plain = |c: &char| matches!(c, ' '..='~') && !matches!(c, '"' | '\\');
                name.chars().filter(is_plain).take(63).try_for_each(|c| out.write_char(c))?;
            }
        }
        write!(out, "-{}\"", self.window.as_str())
    }

    fn policy(&self, at: &Moment, out: &mut Buffer) -> fmt::Result {
        self.name(out)?;
        write!(out, ";q={};w={}", self.told(self.limit), at.length(self.window))?;
        match self.policy {
            Policy::MeterOfValues(_) => out.write_str(";requestrocket-unit=\"value\""),
            _ => Ok(()),
        }
    }

    fn limit(&self, at: &Moment, out: &mut Buffer) -> fmt::Result {
        self.name(out)?;
        let left = self.limit.saturating_sub(self.used);
        write!(out, ";r={};t={}", self.told(left), at.left(self.window))
    }
}

/// How the limits of one request stand, for its reply.
#[derive(Debug, Default)]
pub(crate) struct StandardLimits<'a> {
    states: [Option<State<'a>>; ITEMS],
    is_near: bool,
}

impl<'a> StandardLimits<'a> {
    /// Takes a limit in. Where there is no room, the one that is farthest from its limit goes.
    pub(crate) fn add(&mut self, state: State<'a>) {
        self.is_near |= state.is_near();
        if let Some(free) = self.states.iter_mut().find(|slot| slot.is_none()) {
            *free = Some(state);
            return;
        }
        let mut farthest = 0;
        for at in 1..ITEMS {
            if let (Some(one), Some(other)) = (&self.states[farthest], &self.states[at])
                && one.is_nearer(other)
            {
                farthest = at;
            }
        }
        if self.states[farthest].is_some_and(|other| state.is_nearer(&other)) {
            self.states[farthest] = Some(state);
        }
    }

    /// Whether any limit is used to four fifths or more.
    pub(crate) const fn is_near(&self) -> bool {
        self.is_near
    }

    /// Values of `ratelimit-policy` and `ratelimit`; `None` where there is no limit.
    pub(crate) fn fields(&self, at: &Moment) -> Option<(HeaderValue, HeaderValue)> {
        self.states[0]?;
        let (mut policies, mut limits) = (Buffer::default(), Buffer::default());
        for state in self.states.iter().flatten() {
            policies.item(|out| state.policy(at, out));
            limits.item(|out| state.limit(at, out));
        }
        Some((policies.value()?, limits.value()?))
    }
}

/// Value of `retry-after`.
pub(crate) fn retry_after(seconds: u64) -> HeaderValue {
    HeaderValue::from(seconds)
}

/// A text without an allocation.
struct Buffer {
    bytes: [u8; ROOM],
    length: usize,
}

impl Default for Buffer {
    fn default() -> Self {
        Self { bytes: [0; ROOM], length: 0 }
    }
}

impl fmt::Write for Buffer {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let end = self.length + text.len();
        self.bytes.get_mut(self.length..end).ok_or(fmt::Error)?.copy_from_slice(text.as_bytes());
        self.length = end;
        Ok(())
    }
}

impl Buffer {
    /// Appends an item to the list, whole or not at all.
    fn item(&mut self, write: impl FnOnce(&mut Self) -> fmt::Result) {
        let before = self.length;
        let separator = if before == 0 { "" } else { ", " };
        if self.write_str(separator).and_then(|()| write(self)).is_err() {
            self.length = before;
        }
    }

    fn value(&self) -> Option<HeaderValue> {
        HeaderValue::from_bytes(&self.bytes[..self.length]).ok()
    }
}

#[cfg(test)]
mod tests;
