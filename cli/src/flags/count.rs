//! Whole numbers on the command line, with their bounds in the error.

/// Reads a whole number.
pub(crate) fn whole(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("the number is whole, and from 0 to {}", u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_whole_number_is_told_the_bounds() {
        assert_eq!(whole("0"), Ok(0));
        assert_eq!(whole("18446744073709551615"), Ok(u64::MAX));
        for typed in ["", "-1", "1.5", "1e3", "18446744073709551616", "many"] {
            let error = whole(typed).expect_err(typed);
            assert!(error.contains("from 0 to 18446744073709551615"), "{error}");
        }
    }
}
