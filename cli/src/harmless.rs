//! Texts of others as a terminal may get them: without characters that it obeys, or that turn the order of others around.
//!
//! Changes no data for programs. The invariant: whatever a control plane or a file says, it moves no cursor, hides no text and
//! adds no line to a list.

use std::borrow::Cow;

/// In the place of a character that is left out.
const REPLACED: char = '\u{fffd}';

/// A text on one line.
pub(crate) fn one_line(text: &str) -> Cow<'_, str> {
    without(text, is_obeyed)
}

/// A text that may have several lines.
pub(crate) fn lines(text: &str) -> Cow<'_, str> {
    without(text, |c| is_obeyed(c) && !matches!(c, '\n' | '\t'))
}

fn without(text: &str, is_refused: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.contains(&is_refused) {
        return Cow::Borrowed(text);
    }
    text.chars().map(|c| if is_refused(c) { REPLACED } else { c }).collect::<String>().into()
}

/// Controls, ends of lines, and what turns the direction of a text.
pub(crate) fn is_obeyed(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_obeys_nothing_of_a_text_and_a_list_gets_no_line() {
        let hostile = "a\x1b]0;x\x07\u{9b}2J\r\nreal  true\u{202e}";
        assert_eq!(one_line(hostile), "a\u{fffd}]0;x\u{fffd}\u{fffd}2J\u{fffd}\u{fffd}real  true\u{fffd}");
        assert_eq!(lines("a\n\tb\x1b[1m"), "a\n\tb\u{fffd}[1m");
        assert!(matches!(one_line("pay – é 日本"), Cow::Borrowed(_)), "any other text stays as it is");
    }
}
