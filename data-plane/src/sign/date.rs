//! Times as signatures write them, in UTC.
//!
//! Reads no clock.

use std::time::{SystemTime, UNIX_EPOCH};

use rr_contract::seal::means::DateForm;

const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// A time in this form.
pub(super) fn write(at: SystemTime, form: DateForm) -> String {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    let seconds = since.as_secs();
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    let (hour, minute, second) = (rest / 3_600, rest / 60 % 60, rest % 60);
    let (year, month, day) = civil(days);
    match form {
        DateForm::Unix => seconds.to_string(),
        DateForm::UnixMillis => since.as_millis().to_string(),
        DateForm::Rfc3339 => format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z"),
        DateForm::Http => {
            let (name, month) = (DAYS[(days % 7) as usize], MONTHS[month as usize - 1]);
            format!("{name}, {day:02} {month} {year:04} {hour:02}:{minute:02}:{second:02} GMT")
        }
    }
}

/// Year, month and day of so many days after 1970-01-01.
fn civil(days: u64) -> (u64, u64, u64) {
    // Years that begin in March end with the day that not every year has; 400 of them have the same days.
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (era * 400 + year + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_time_is_written_in_the_form_that_was_asked_for() {
        for (seconds, http, rfc3339) in [
            (0, "Thu, 01 Jan 1970 00:00:00 GMT", "1970-01-01T00:00:00Z"),
            (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT", "1994-11-06T08:49:37Z"),
            (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT", "2000-02-29T00:00:00Z"),
            (951_868_799, "Tue, 29 Feb 2000 23:59:59 GMT", "2000-02-29T23:59:59Z"),
            (1_709_251_200, "Fri, 01 Mar 2024 00:00:00 GMT", "2024-03-01T00:00:00Z"),
            (1_795_770_000, "Fri, 27 Nov 2026 09:00:00 GMT", "2026-11-27T09:00:00Z"),
            (4_102_444_800, "Fri, 01 Jan 2100 00:00:00 GMT", "2100-01-01T00:00:00Z"),
            (4_107_542_400, "Mon, 01 Mar 2100 00:00:00 GMT", "2100-03-01T00:00:00Z"),
        ] {
            let at = UNIX_EPOCH + Duration::from_millis(seconds * 1000 + 7);
            assert_eq!(write(at, DateForm::Http), http);
            assert_eq!(write(at, DateForm::Rfc3339), rfc3339);
            assert_eq!(write(at, DateForm::Unix), seconds.to_string());
            assert_eq!(write(at, DateForm::UnixMillis), (seconds * 1000 + 7).to_string());
        }
    }
}
