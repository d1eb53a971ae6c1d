//! Amounts of meters: exact counts of millionths, and how they are read from text.

use std::fmt;

use super::ReadingError;

/// Millionths in one.
const SCALE: u64 = 1_000_000;

/// How much was counted: an exact count of millionths, what is less rounded up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Amount(u64);

impl Amount {
    /// A whole number; what is too large is the largest.
    pub const fn whole(number: u64) -> Self {
        Self(number.saturating_mul(SCALE))
    }

    /// So many millionths.
    pub const fn of_millionths(millionths: u64) -> Self {
        Self(millionths)
    }

    /// In millionths.
    pub const fn millionths(self) -> u64 {
        self.0
    }

    /// Rounded up.
    pub const fn rounded_up(self) -> u64 {
        self.0.div_ceil(SCALE)
    }

    /// The sum, unless it is too large.
    pub fn plus(self, other: Self) -> Option<Self> {
        self.0.checked_add(other.0).map(Self)
    }

    /// Reads a number as JSON writes it, from zero up: digit by digit, so nothing is rounded but what is below a
    /// millionth, and that up.
    pub(super) fn parse(text: &str) -> Result<Self, ReadingError> {
        let (mantissa, exponent) = match text.split_once(['e', 'E']) {
            // An exponent that is no i32 is beyond anything; its sign still says which way.
            Some((mantissa, exponent)) => (mantissa, parse_exponent(exponent)?),
            None => (text, 0),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, "0"));
        let negative = whole.starts_with('-');
        let whole = whole.strip_prefix('-').unwrap_or(whole);
        let digits = || whole.bytes().chain(fraction.bytes());
        if whole.is_empty() || fraction.is_empty() || !digits().all(|b| b.is_ascii_digit()) {
            return Err(ReadingError::NotANumber);
        }
        if digits().all(|b| b == b'0') {
            return Ok(Self(0));
        }
        if negative {
            return Err(ReadingError::NotANumber);
        }
        // The place of the last digit that is kept: a millionth is place 0.
        let mut place = exponent.saturating_add(whole.len() as i64).saturating_add(6);
        let (mut value, mut more) = (0_u64, false);
        for digit in digits() {
            place = place.saturating_sub(1);
            if place >= 0 {
                let digit = u64::from(digit - b'0');
                let next = value.checked_mul(10).and_then(|value| value.checked_add(digit));
                value = next.ok_or(ReadingError::TooLarge)?;
            } else {
                more |= digit != b'0';
            }
        }
        // 20 more places are beyond u64 for anything but zero.
        for _ in 0..place.clamp(0, 20) {
            value = value.checked_mul(10).ok_or(ReadingError::TooLarge)?;
        }
        if more {
            value = value.checked_add(1).ok_or(ReadingError::TooLarge)?;
        }
        Ok(Self(value))
    }
}

fn parse_exponent(text: &str) -> Result<i64, ReadingError> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(ReadingError::NotANumber);
    }
    let size = digits.parse::<i64>().unwrap_or(i64::MAX);
    Ok(if text.starts_with('-') { -size } else { size })
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, rest) = (self.0 / SCALE, self.0 % SCALE);
        if rest == 0 {
            return write!(f, "{whole}");
        }
        let fraction = format!("{rest:06}");
        write!(f, "{whole}.{}", fraction.trim_end_matches('0'))
    }
}
