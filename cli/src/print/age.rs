//! Times in tables: how long ago, or how long still.
//!
//! Rows give times in RFC 3339, as everything else shows them, and those that are known to the minute without seconds; a
//! table alone counts from now.

use chrono::{DateTime, NaiveDateTime, Utc};

/// A time that is known to the minute, as rows give it: `2026-01-31T08:00Z`.
pub(super) const MINUTE: &str = "%Y-%m-%dT%H:%MZ";

/// A cell of a table: a time becomes the time from now; other texts stay.
pub(super) fn relative(cell: String, now: DateTime<Utc>) -> String {
    if let Some(at) = exact(&cell) {
        return from_now((now - at).num_seconds());
    }
    match minute(&cell) {
        Some(at) => in_minutes((now - at).num_seconds()),
        None => cell,
    }
}

/// A cell of a row that stays on the terminal while time goes on: a time keeps its seconds and loses what is below.
pub(super) fn to_the_second(cell: String) -> String {
    match exact(&cell) {
        Some(at) => at.to_rfc3339_opts(chrono::SecondsFormat::Secs, true),
        None => cell,
    }
}

/// As `time` writes it: `2026-01-31T08:00:00.000Z`.
fn exact(cell: &str) -> Option<DateTime<Utc>> {
    let is_time = cell.len() == 24 && cell.ends_with('Z');
    is_time.then(|| DateTime::parse_from_rfc3339(cell).ok()).flatten().map(|at| at.to_utc())
}

fn minute(cell: &str) -> Option<DateTime<Utc>> {
    let is_time = cell.len() == 17 && cell.ends_with('Z');
    is_time.then(|| NaiveDateTime::parse_from_str(cell, MINUTE).ok()).flatten().map(|at| at.and_utc())
}

fn from_now(seconds: i64) -> String {
    match seconds {
        0.. => format!("{} ago", span(seconds.unsigned_abs())),
        _ => format!("in {}", span(seconds.unsigned_abs())),
    }
}

/// What happened at some time of a minute says nothing of seconds.
fn in_minutes(seconds: i64) -> String {
    match seconds {
        ..60 => "<1m ago".to_owned(),
        60..3600 => format!("{}m ago", seconds / 60),
        _ => from_now(seconds),
    }
}

/// Seconds of each unit.
const UNITS: [(u64, &str); 5] = [(31_536_000, "y"), (86_400, "d"), (3600, "h"), (60, "m"), (1, "s")];

/// Two units at most, and one where the second says little: `45s`, `3m12s`, `5h`, `12d`. To the nearest: a second less than
/// a day is a day.
fn span(seconds: u64) -> String {
    let unit_of = |seconds| UNITS.iter().position(|(unit, _)| seconds >= *unit).unwrap_or(UNITS.len() - 1);
    let unit = unit_of(seconds);
    // From ten of a unit on, the one below it says little.
    let said = if seconds / UNITS[unit].0 < 10 { (unit + 1).min(UNITS.len() - 1) } else { unit };
    let (smallest, _) = UNITS[said];
    let seconds = (seconds + smallest / 2) / smallest * smallest;
    let (unit, name) = UNITS[unit_of(seconds)];
    let (whole, rest) = (seconds / unit, seconds % unit);
    match UNITS.get(unit_of(seconds) + 1) {
        Some((below, small)) if whole < 10 && rest >= *below => {
            format!("{whole}{name}{}{small}", rest / below)
        }
        _ => format!("{whole}{name}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        relative(text.to_owned(), "2026-01-31T08:00:00Z".parse().expect("a time"))
    }

    #[test]
    fn a_time_in_a_table_is_the_time_from_now() {
        assert_eq!(shown("2026-01-31T07:59:15.000Z"), "45s ago");
        assert_eq!(shown("2026-01-31T07:56:48.400Z"), "3m11s ago");
        assert_eq!(shown("2026-01-31T02:00:00.000Z"), "6h ago");
        assert_eq!(shown("2026-01-19T08:00:00.000Z"), "12d ago");
        assert_eq!(shown("2024-01-31T08:00:00.000Z"), "2y1d ago");
        assert_eq!(shown("2026-02-02T09:00:00.000Z"), "in 2d1h");
        assert_eq!(shown("2026-01-31T08:00:00.000Z"), "0s ago");
    }

    #[test]
    fn a_second_less_than_a_day_is_a_day_and_half_of_one_less_is_not() {
        assert_eq!(shown("2026-02-01T07:59:58.000Z"), "in 1d");
        assert_eq!(shown("2026-03-02T07:59:00.000Z"), "in 30d");
        assert_eq!(shown("2026-02-01T07:20:00.000Z"), "in 23h");
        assert_eq!(shown("2026-03-01T19:00:00.000Z"), "in 29d");
        assert_eq!(shown("2026-01-31T08:09:59.000Z"), "in 9m59s");
        assert_eq!(shown("2026-01-31T08:59:50.000Z"), "in 1h");
        assert_eq!(shown("2026-01-31T10:59:50.000Z"), "in 3h");
    }

    /// A credential that was used a second ago was used "43s ago", before it was made.
    #[test]
    fn what_is_known_to_the_minute_says_no_seconds() {
        assert_eq!(shown("2026-01-31T08:00Z"), "<1m ago");
        assert_eq!(shown("2026-01-31T07:59Z"), "1m ago");
        assert_eq!(shown("2026-01-31T07:57Z"), "3m ago");
        assert_eq!(shown("2026-01-31T03:00Z"), "5h ago");
        // The clock here may be behind.
        assert_eq!(shown("2026-01-31T08:01Z"), "<1m ago");
    }

    #[test]
    fn a_row_that_stays_keeps_the_second_of_its_time() {
        assert_eq!(to_the_second("2026-01-31T07:56:48.400Z".to_owned()), "2026-01-31T07:56:48Z");
        assert_eq!(to_the_second("echo".to_owned()), "echo");
    }

    #[test]
    fn what_is_no_time_stays_as_it_is() {
        for text in [
            "",
            "echo",
            "2026-01-31",
            "twenty-four-characters-Z",
            "api.example.com/a/b/c/dZ",
            "seventeen-chars-Z",
        ] {
            assert_eq!(relative(text.to_owned(), Utc::now()), text);
        }
    }
}
