//! Times in tables: how long ago, or how long still.
//!
//! Rows give times in RFC 3339, as everything else shows them; a table alone counts from now.

use chrono::{DateTime, Utc};

/// A cell of a table: a time becomes the time from now; other texts stay.
pub(super) fn relative(cell: String, now: DateTime<Utc>) -> String {
    // As `time` writes it: `2026-01-31T08:00:00.000Z`.
    let is_time = cell.len() == 24 && cell.ends_with('Z');
    let at = is_time.then(|| DateTime::parse_from_rfc3339(&cell).ok()).flatten();
    match at {
        Some(at) => from_now((now - at.to_utc()).num_seconds()),
        None => cell,
    }
}

fn from_now(seconds: i64) -> String {
    match seconds {
        0.. => format!("{} ago", span(seconds.unsigned_abs())),
        _ => format!("in {}", span(seconds.unsigned_abs())),
    }
}

/// Two units at most, and one where the second says little: `45s`, `3m12s`, `5h`, `12d`.
fn span(seconds: u64) -> String {
    const UNITS: [(u64, &str); 5] = [(31_536_000, "y"), (86_400, "d"), (3600, "h"), (60, "m"), (1, "s")];
    let at = UNITS.iter().position(|(unit, _)| seconds >= *unit).unwrap_or(UNITS.len() - 1);
    let (unit, name) = UNITS[at];
    let whole = seconds / unit;
    let text = format!("{whole}{name}");
    match UNITS.get(at + 1) {
        Some((below, name)) if whole < 10 && seconds % unit >= *below => {
            format!("{text}{}{name}", seconds % unit / below)
        }
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_in_a_table_is_the_time_from_now() {
        let now = "2026-01-31T08:00:00Z".parse().expect("a time");
        let shown = |text: &str| relative(text.to_owned(), now);
        assert_eq!(shown("2026-01-31T07:59:15.000Z"), "45s ago");
        assert_eq!(shown("2026-01-31T07:56:48.400Z"), "3m11s ago");
        assert_eq!(shown("2026-01-31T02:00:00.000Z"), "6h ago");
        assert_eq!(shown("2026-01-19T08:00:00.000Z"), "12d ago");
        assert_eq!(shown("2024-01-31T08:00:00.000Z"), "2y1d ago");
        assert_eq!(shown("2026-02-02T09:00:00.000Z"), "in 2d1h");
        assert_eq!(shown("2026-01-31T08:00:00.000Z"), "0s ago");
    }

    #[test]
    fn what_is_no_time_stays_as_it_is() {
        for text in ["", "echo", "2026-01-31", "twenty-four-characters-Z", "api.example.com/a/b/c/dZ"] {
            assert_eq!(relative(text.to_owned(), Utc::now()), text);
        }
    }
}
