//! Sizes of bodies on the command line: `8MiB`, `500kB`, or bytes.

/// Units, longest first; the short ones mean what they mean to `nginx`.
const UNITS: [(&str, u64); 10] = [
    ("kib", 1 << 10),
    ("mib", 1 << 20),
    ("gib", 1 << 30),
    ("kb", 1_000),
    ("mb", 1_000_000),
    ("gb", 1_000_000_000),
    ("k", 1 << 10),
    ("m", 1 << 20),
    ("g", 1 << 30),
    ("b", 1),
];

/// Reads a size as a number of bytes.
pub(crate) fn parse(text: &str) -> Result<u64, String> {
    let lower = text.trim().to_lowercase();
    let unit = UNITS.iter().find_map(|(unit, bytes)| Some((lower.strip_suffix(unit)?, *bytes)));
    let (number, bytes) = unit.unwrap_or((&lower, 1));
    let whole = number.trim_end().parse::<u64>().ok().and_then(|number| number.checked_mul(bytes));
    whole.ok_or_else(|| format!("{text:?} is not a size; write 8MiB, 500kB or a number of bytes"))
}

/// A size in the largest unit that it is a whole number of.
pub(crate) fn text(bytes: u64) -> String {
    for (unit, size) in [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)] {
        if bytes > 0 && bytes.is_multiple_of(size) {
            return format!("{}{unit}", bytes / size);
        }
    }
    format!("{bytes}B")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_read_in_the_units_that_people_write_and_shown_in_one() {
        for (typed, bytes, shown) in [
            ("0", 0, "0B"),
            ("1500", 1500, "1500B"),
            ("8MiB", 8 << 20, "8MiB"),
            ("8 mib", 8 << 20, "8MiB"),
            ("8m", 8 << 20, "8MiB"),
            ("64k", 64 << 10, "64KiB"),
            ("1GiB", 1 << 30, "1GiB"),
            ("2GB", 2_000_000_000, "1953125KiB"),
            ("500kB", 500_000, "500000B"),
            ("12b", 12, "12B"),
        ] {
            assert_eq!(parse(typed), Ok(bytes), "{typed}");
            assert_eq!(text(bytes), shown, "{typed}");
        }
    }

    #[test]
    fn what_is_no_size_is_named_with_one_that_is() {
        for typed in ["", "MiB", "-1", "1.5MiB", "8TiB", "99999999999GiB", "a lot", "8ü"] {
            let error = parse(typed).expect_err(typed);
            assert!(error.contains("8MiB"), "{error}");
        }
    }
}
