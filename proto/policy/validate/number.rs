//! Numbers as they are written: which of them a double holds, and which are the same.
//!
//! Computes nothing. The invariant: no number is rounded and then compared. What cannot be held is said.

/// A number without the freedom that its spelling has: `0.[digits]` times ten to the `power`.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Decimal<'a> {
    is_negative: bool,
    /// Without zeros at either end. Empty: zero.
    digits: std::borrow::Cow<'a, [u8]>,
    power: i64,
}

impl<'a> Decimal<'a> {
    /// Of a number in the spelling of JSON.
    pub(super) fn of(text: &'a str) -> Self {
        let (is_negative, text) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
        let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
        let (whole, part) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let leading = |digits: &str| digits.bytes().take_while(|digit| *digit == b'0').count();
        let shift = if whole.bytes().all(|digit| digit == b'0') {
            // As if it had been written `0.00123`.
            -(leading(part) as i64)
        } else {
            (whole.len() - leading(whole)) as i64
        };
        let digits: std::borrow::Cow<'a, [u8]> = match (whole, part) {
            (whole, "") => whole.as_bytes().into(),
            (whole, part) if whole.bytes().all(|digit| digit == b'0') => part.as_bytes().into(),
            (whole, part) => [whole.as_bytes(), part.as_bytes()].concat().into(),
        };
        let digits = trimmed(digits);
        if digits.is_empty() {
            return Self { is_negative: false, digits, power: 0 };
        }
        Self { is_negative, digits, power: shift.saturating_add(power(exponent)) }
    }

    /// Whether it has no part behind the point.
    pub(super) fn is_integer(&self) -> bool {
        self.digits.len() as i64 <= self.power || self.digits.is_empty()
    }
}

fn power(exponent: &str) -> i64 {
    let (is_negative, digits) = match exponent.as_bytes() {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] | digits => (false, digits),
    };
    let power = digits.iter().fold(0_i64, |power, digit| {
        power.saturating_mul(10).saturating_add(i64::from(digit - b'0')).min(i64::MAX / 4)
    });
    if is_negative { -power } else { power }
}

fn trimmed(digits: std::borrow::Cow<'_, [u8]>) -> std::borrow::Cow<'_, [u8]> {
    let is_digit = |digit: &u8| *digit != b'0';
    let start = digits.iter().position(is_digit).unwrap_or(digits.len());
    let end = digits.iter().rposition(is_digit).map_or(start, |last| last + 1);
    match digits {
        std::borrow::Cow::Borrowed(digits) => digits[start..end].into(),
        std::borrow::Cow::Owned(mut digits) => {
            digits.truncate(end);
            digits.drain(..start);
            digits.into()
        }
    }
}

/// The double that stands for a number: the one that is written so, shortest or with all its 17 digits. `None`: it would
/// be rounded to another number.
pub(super) fn double(text: &str) -> Option<f64> {
    let value: f64 = text.parse().ok().filter(|value: &f64| value.is_finite())?;
    let decimal = Decimal::of(text);
    // So many digits come back from any double of such a size.
    if decimal.digits.len() <= 15 && (-280..280).contains(&decimal.power) || decimal.digits.is_empty() {
        return Some(value);
    }
    let is_so = |written: String| Decimal::of(&written) == decimal;
    (is_so(format!("{value:e}")) || is_so(format!("{value:.16e}"))).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_one_number_are_the_same_and_no_others() {
        for (one, other) in [
            ("1", "1.0"),
            ("100", "1e2"),
            ("100", "1E+2"),
            ("0.00120", "12e-4"),
            ("-0", "0"),
            ("0.0", "0e7"),
            ("12.50", "0.125e2"),
            ("10.05", "1005e-2"),
            ("1e400", "10e399"),
        ] {
            assert_eq!(Decimal::of(one), Decimal::of(other), "{one} {other}");
        }
        for (one, other) in [
            ("1", "-1"),
            ("1", "10"),
            ("9007199254740993", "9007199254740992"),
            ("0.1", "0.10000000000000001"),
            ("1e400", "1e401"),
            ("1.05", "1.5"),
        ] {
            assert_ne!(Decimal::of(one), Decimal::of(other), "{one} {other}");
        }
        for (text, is) in
            [("1.0", true), ("1e2", true), ("12e-1", false), ("0.0", true), ("1e-5", false), ("120e-1", true)]
        {
            assert_eq!(Decimal::of(text).is_integer(), is, "{text}");
        }
        assert!(Decimal::of("1e99999999999999999999999").is_integer());
    }

    #[test]
    fn a_double_stands_for_what_it_is_written_as_and_for_nothing_near_it() {
        for text in [
            "0.1",
            "1.5",
            "-2e10",
            "0.30000000000000004",
            "0.10000000000000001",
            "1e300",
            "0",
            "-0.0",
            "5e-324",
            "123456789012345",
            "1.7976931348623157e308",
            "18446744073709552000",
        ] {
            assert_eq!(double(text).expect(text).to_bits(), text.parse::<f64>().expect("a number").to_bits());
        }
        for text in [
            "1e400",
            "1.00000000000000000001",
            "9007199254740993.5",
            "18446744073709551617",
            "1e-400",
            "0.1000000000000000001",
        ] {
            assert_eq!(double(text), None, "{text}");
        }
    }
}
