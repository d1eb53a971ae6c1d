//! Durations on the command line, as `10s` or `500ms`: read, and written in the same form.
//!
//! Knows no bounds but a day, which is the longest that any field takes.

use std::time::Duration;

use pbjson_types::Duration as WireDuration;
use rr_contract::model::time::duration;

/// The units, the longest first.
const UNITS: [(&str, u64); 4] = [("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];
const LONGEST: Duration = Duration::from_secs(86_400);

/// A duration with its unit.
pub(crate) fn of(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let (_, millis) = UNITS.into_iter().find(|(name, _)| *name == unit)?;
    let millis = number.parse::<u64>().ok()?.checked_mul(millis)?;
    Some(Duration::from_millis(millis)).filter(|span| *span <= LONGEST)
}

/// A duration with its unit, or a number of seconds.
pub(crate) fn or_seconds(text: &str) -> Result<Duration, String> {
    let seconds = || Duration::try_from_secs_f64(text.parse().ok()?).ok().filter(|span| *span <= LONGEST);
    let wrong = || "write 500ms, 10s, 2m, 1h or a number of seconds; 24h at most".to_owned();
    of(text).or_else(seconds).ok_or_else(wrong)
}

/// A duration of the API, in the largest unit that it is a whole number of.
pub(crate) fn text(wire: &WireDuration) -> String {
    let Ok(span) = duration(wire) else { return format!("{} s", wire.seconds) };
    if span.subsec_nanos() % 1_000_000 != 0 {
        return format!("{}s", span.as_secs_f64());
    }
    let millis = span.as_millis();
    let unit = UNITS.into_iter().find(|(_, unit)| millis.is_multiple_of(u128::from(*unit)));
    match unit {
        Some((name, unit)) if millis > 0 => format!("{}{name}", millis / u128::from(unit)),
        _ => "0s".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use rr_contract::model::time::wire_duration;

    use super::*;

    #[test]
    fn a_duration_is_written_as_it_is_read() {
        for (written, millis) in [
            ("1ms", 1),
            ("1500ms", 1_500),
            ("10s", 10_000),
            ("2m", 120_000),
            ("90s", 90_000),
            ("24h", 86_400_000),
        ] {
            let span = Duration::from_millis(millis);
            assert_eq!(of(written), Some(span), "{written}");
            assert_eq!(text(&wire_duration(span)), written);
        }
        assert_eq!(text(&wire_duration(Duration::from_micros(1_500))), "0.0015s");
        assert_eq!(text(&wire_duration(Duration::ZERO)), "0s");
    }

    #[test]
    fn a_number_without_a_unit_is_seconds_where_it_can_be_and_what_is_wrong_is_named() {
        assert_eq!(or_seconds("90"), Ok(Duration::from_secs(90)));
        assert_eq!(or_seconds("0.5"), Ok(Duration::from_millis(500)));
        assert_eq!(or_seconds("2m"), Ok(Duration::from_secs(120)));
        assert_eq!(of("90"), None);
        for text in ["", "s", "-1", "10d", "1e9", "NaN", "inf", "25h", "5 s", "99999999999999999999s"] {
            let error = or_seconds(text).expect_err(text);
            assert!(error.contains("10s"), "{text}: {error}");
        }
    }
}
