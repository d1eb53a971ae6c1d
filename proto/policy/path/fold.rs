//! Keys without regard to case: some readers of JSON take `Name` for `name`, and then the last of them counts.

use std::borrow::Cow;

/// A key in the form in which all its spellings are equal.
pub(super) fn fold(key: &str) -> Cow<'_, str> {
    if key.bytes().all(|byte| byte.is_ascii() && !byte.is_ascii_uppercase()) {
        return Cow::Borrowed(key);
    }
    Cow::Owned(key.chars().map(folded).collect())
}

/// By way of the upper case: the long s, the final sigma and the sign of Kelvin have letters of their own.
fn folded(c: char) -> char {
    let upper = only(c.to_uppercase()).unwrap_or(c);
    only(upper.to_lowercase()).unwrap_or(upper)
}

fn only(mut chars: impl Iterator<Item = char>) -> Option<char> {
    let first = chars.next()?;
    chars.next().is_none().then_some(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_that_differ_in_case_alone_are_equal() {
        for (one, other) in [
            ("name", "Name"),
            ("name", "NAME"),
            ("kiss", "\u{212a}i\u{17f}S"),
            ("größe", "GRÖßE"),
            ("σος", "ΣΟΣ"),
            ("straße", "STRAẞE"),
        ] {
            assert_eq!(fold(one), fold(other), "{one} {other}");
        }
        assert_ne!(fold("name"), fold("names"));
        assert!(matches!(fold("tool_name-1"), Cow::Borrowed(_)));
    }
}
