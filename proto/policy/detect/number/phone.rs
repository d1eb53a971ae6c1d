//! Numbers of telephones: with `+` and a country, and in shapes of countries where separators make one likely.

use std::ops::Range;

use super::{Groups, begins_chain, ends_chain, is_end};

/// Digits behind `+`, of the country included.
const INTERNATIONAL: std::ops::RangeInclusive<usize> = 8..=15;
/// Signs of one, separators included.
const LONGEST: usize = 32;

pub(super) fn number(text: &[u8], at: usize, groups: &Groups<'_>) -> Option<Range<usize>> {
    let plus = at.checked_sub(1).filter(|before| text[*before] == b'+');
    if let Some(plus) = plus {
        return international(text, at).map(|end| plus..end);
    }
    let digits = &groups.digits;
    if digits[0] == 0 && digits[1] == 0 && digits[2] != 0 && groups.count > 1 {
        // As it is dialled.
        return international(text, at + 2).map(|end| at..end);
    }
    if !begins_chain(text, at, b".-/") {
        return None;
    }
    american(text, at, groups).or_else(|| national(groups).map(|end| at..end))
}

/// Where it ends: one digit, one separator or two between them. What stands behind it may be a number of its own: it ends
/// where it is longest.
fn international(text: &[u8], start: usize) -> Option<usize> {
    if matches!(text.get(start), None | Some(b'0')) {
        return None;
    }
    let (mut end, mut digits, mut between) = (None, 0, 0);
    for (at, byte) in text.iter().enumerate().skip(start).take(LONGEST) {
        match byte {
            b'0'..=b'9' if digits < *INTERNATIONAL.end() => {
                (digits, between) = (digits + 1, 0);
                if INTERNATIONAL.contains(&digits) && is_end(text, at + 1) {
                    end = Some(at + 1);
                }
            }
            b' ' | b'-' | b'.' | b'/' | b'(' | b')' if between < 2 => between += 1,
            _ => break,
        }
    }
    end
}

/// `(415) 555-2671`, `415-555-2671`, `1-415-555-2671`: neither area nor exchange begins with 0 or 1.
fn american(text: &[u8], at: usize, groups: &Groups<'_>) -> Option<Range<usize>> {
    let is_two_to_nine = |digit: u8| digit >= 2;
    let opens = at.checked_sub(1).filter(|before| text[*before] == b'(' && text.get(at + 3) == Some(&b')'));
    if let Some(open) = opens {
        // `(415) 555-2671`.
        if groups.lengths[0] != 3 {
            return None;
        }
        let next = at + 4 + usize::from(matches!(text.get(at + 4), Some(b' ' | b'-' | b'.')));
        let rest = Groups::read(text, next);
        let end = rest.are(&[3, 4], b" -.")?;
        return (is_two_to_nine(groups.digits[0]) && is_two_to_nine(rest.digits[0])).then_some(open..end);
    }
    let (lengths, from): (&[usize], usize) = match (groups.lengths[0], groups.digits[0]) {
        (1, 1) => (&[1, 3, 3, 4], 1),
        (3, _) => (&[3, 3, 4], 0),
        _ => return None,
    };
    let end = groups.are(lengths, b" -.")?;
    let is_one = is_two_to_nine(groups.digits[from]) && is_two_to_nine(groups.digits[from + 3]);
    (is_one && ends_chain(text, end, b"-./")).then_some(at..end)
}

/// `030 1234567`, `0171/1234567`, `01 23 45 67 89`: a zero and an area, then groups with the same separator.
fn national(groups: &Groups<'_>) -> Option<usize> {
    if groups.digits[0] != 0 || groups.digits[1] == 0 || !(2..=5).contains(&groups.lengths[0]) {
        return None;
    }
    let (mut digits, mut count, mut found) = (groups.lengths[0], 1, None);
    while count < groups.count {
        let (before, length) = (groups.separators[count - 1], groups.lengths[count]);
        let is_same = count == 1 || before == groups.separators[1];
        // Dates have dots behind both of their first groups, and times have two digits.
        let is_like_first = count == 1 || before == groups.separators[0] || groups.separators[0] != b'.';
        if !is_same || !is_like_first || length < 2 || digits + length > 12 {
            break;
        }
        (digits, count) = (digits + length, count + 1);
        let end = groups.ends[count - 1];
        let is_pairs = groups.lengths[..count].iter().all(|length| *length == 2);
        let is_one = (9..=12).contains(&digits) && (!is_pairs || count == 5);
        // What stands behind it may be a number of its own, but a pair behind pairs is not.
        if is_one && is_end(groups.text, end) && ends_chain(groups.text, end, b"-.") {
            found = Some(end);
        } else if is_pairs {
            found = None;
        }
    }
    found
}
