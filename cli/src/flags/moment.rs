//! Times on the command line: `2026-01-31`, `2026-01-31T08:00:00Z`, or a span from now, `30d`.

use std::str::FromStr;
use std::time::{Duration, SystemTime};

use pbjson_types::Timestamp;
use rr_contract::model::time::timestamp;

/// A time, or a span that starts or ends now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moment {
    At(SystemTime),
    Span(Duration),
}

/// The longest span: sums stay within the range of a time.
const LONGEST: Duration = Duration::from_secs(100 * 365 * 86_400);

impl Moment {
    /// The time; a span is added to now.
    pub(crate) fn ahead(self) -> Timestamp {
        timestamp(match self {
            Self::At(time) => time,
            Self::Span(span) => SystemTime::now() + span,
        })
    }

    /// The time; a span is subtracted from now.
    pub(crate) fn ago(self) -> Timestamp {
        timestamp(match self {
            Self::At(time) => time,
            Self::Span(span) => SystemTime::now().checked_sub(span).unwrap_or(SystemTime::UNIX_EPOCH),
        })
    }
}

/// An end that is still to come.
pub(crate) fn end(text: &str) -> Result<Moment, String> {
    let moment: Moment = text.parse()?;
    let is_over = match moment {
        Moment::At(time) => time <= SystemTime::now(),
        Moment::Span(span) => span.is_zero(),
    };
    if is_over {
        Err("is over already; write a time to come, as 30d or 2099-01-31".to_owned())
    } else {
        Ok(moment)
    }
}

impl FromStr for Moment {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is not a time; write 30d, 12h, 2026-01-31 or 2026-01-31T08:00:00Z");
        if let Some(span) = span(text) {
            return if span <= LONGEST { Ok(Self::Span(span)) } else { Err(wrong()) };
        }
        let day = |text: &str| Some(text.parse::<chrono::NaiveDate>().ok()?.and_hms_opt(0, 0, 0)?.and_utc());
        let time = match chrono::DateTime::parse_from_rfc3339(text) {
            Ok(time) => time.to_utc(),
            Err(_) => day(text).ok_or_else(wrong)?,
        };
        Ok(Self::At(time.into()))
    }
}

/// `90s`, `15m`, `12h`, `30d`, `4w`.
pub(crate) fn span(text: &str) -> Option<Duration> {
    let unit = text.chars().last()?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 86_400,
        'w' => 7 * 86_400,
        _ => return None,
    };
    let number: u64 = text[..text.len() - unit.len_utf8()].parse().ok()?;
    number.checked_mul(seconds).map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_counts_from_now_and_a_time_is_what_it_says() {
        let parse = |text: &str| text.parse::<Moment>();
        assert_eq!(parse("30d"), Ok(Moment::Span(Duration::from_secs(30 * 86_400))));
        let noon = SystemTime::UNIX_EPOCH + Duration::from_secs(12 * 3600);
        assert_eq!(parse("1970-01-01T12:00:00Z"), Ok(Moment::At(noon)));
        assert_eq!(parse("1970-01-01"), Ok(Moment::At(SystemTime::UNIX_EPOCH)));
        let now = timestamp(SystemTime::now()).seconds;
        assert!((parse("1h").expect("a span").ago().seconds - (now - 3600)).abs() < 60);
        assert!((parse("1h").expect("a span").ahead().seconds - (now + 3600)).abs() < 60);
    }

    /// What ends before it begins was made without a word, and taken nowhere.
    #[test]
    fn an_end_is_still_to_come() {
        for text in ["2020-01-01", "1970-01-01T12:00:00Z", "0s", "0d"] {
            assert!(end(text).expect_err(text).starts_with("is over already"), "{text}");
        }
        assert_eq!(end("1s"), Ok(Moment::Span(Duration::from_secs(1))));
        assert!(end("9000-01-01").is_ok());
        assert!(end("soon").expect_err("no time").contains("is not a time"));
    }

    #[test]
    fn what_is_no_time_is_named() {
        for text in
            ["", "d", "30", "30y", "-1d", "soon", "2026-13-01", "99999999999999999999d", "9999999d", "3ü"]
        {
            let error = text.parse::<Moment>().expect_err(text);
            assert!(error.contains("30d"), "{error}");
        }
    }
}
