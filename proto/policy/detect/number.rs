//! Numbers of cards, telephones and accounts, and those that countries give their people, by their shape and their check
//! digits.
//!
//! Asked at the beginning of each group of digits, and looks a bounded way ahead of it and back.

use std::ops::Range;

use rr_domain::model::detector::{Detector, Detectors};

mod account;
mod national;
mod phone;

/// The most digits, and groups of digits, that a number has.
const DIGITS_MAX: usize = 20;
const GROUPS_MAX: usize = 8;

/// Groups of digits with one separator between each two of them.
struct Groups<'t> {
    text: &'t [u8],
    start: usize,
    digits: [u8; DIGITS_MAX],
    lengths: [usize; GROUPS_MAX],
    separators: [u8; GROUPS_MAX],
    ends: [usize; GROUPS_MAX],
    count: usize,
}

/// Whether no letter or digit stands before a place. The letter of an escape that was written twice is none.
fn is_begin(text: &[u8], at: usize) -> bool {
    let Some(before) = at.checked_sub(1) else { return true };
    match text[before] {
        b'n' | b't' | b'r' | b'f' | b'b' => before.checked_sub(1).is_some_and(|it| text[it] == b'\\'),
        byte => !byte.is_ascii_alphanumeric() && byte != b'_',
    }
}

/// Whether none stands there.
fn is_end(text: &[u8], at: usize) -> bool {
    text.get(at).is_none_or(|byte| !byte.is_ascii_alphanumeric() && *byte != b'_')
}

/// Whether a number does not go on before a place: behind the point of a fraction, or in a chain of numbers.
fn begins_chain(text: &[u8], at: usize, links: &[u8]) -> bool {
    at < 2 || !links.contains(&text[at - 1]) || !text[at - 2].is_ascii_digit()
}

/// The same behind it.
fn ends_chain(text: &[u8], at: usize, links: &[u8]) -> bool {
    !text.get(at).is_some_and(|byte| links.contains(byte))
        || !text.get(at + 1).is_some_and(u8::is_ascii_digit)
}

impl<'t> Groups<'t> {
    fn read(text: &'t [u8], start: usize) -> Self {
        let mut groups = Self {
            text,
            start,
            digits: [0; DIGITS_MAX],
            lengths: [0; GROUPS_MAX],
            separators: [0; GROUPS_MAX],
            ends: [0; GROUPS_MAX],
            count: 0,
        };
        let (mut at, mut total) = (start, 0);
        while groups.count < GROUPS_MAX {
            let begin = at;
            while let Some(digit) = text.get(at).filter(|byte| byte.is_ascii_digit()) {
                if total == DIGITS_MAX {
                    return groups;
                }
                groups.digits[total] = digit - b'0';
                total += 1;
                at += 1;
            }
            if at == begin {
                break;
            }
            groups.lengths[groups.count] = at - begin;
            groups.ends[groups.count] = at;
            groups.count += 1;
            let Some(separator @ (b' ' | b'-' | b'.' | b'/')) = text.get(at).copied() else { break };
            groups.separators[groups.count - 1] = separator;
            at += 1;
        }
        groups
    }

    /// Where the first groups end, if they are of these lengths, with the same of these separators between them.
    fn are(&self, lengths: &[usize], separators: &[u8]) -> Option<usize> {
        if self.count < lengths.len() || self.lengths[..lengths.len()] != *lengths {
            return None;
        }
        let between = &self.separators[..lengths.len() - 1];
        let is_same = between.iter().all(|one| *one == between[0])
            && between.iter().all(|one| separators.contains(one));
        let end = self.ends[lengths.len() - 1];
        (is_same && is_end(self.text, end)).then_some(end)
    }

    /// Where so many digits in one piece end.
    fn is_piece(&self, length: usize) -> Option<usize> {
        self.are(&[length], &[])
    }
}

/// The number that begins with the group of digits at `at`, or with letters before it. The digits are `length`, of which
/// the first is.
pub(super) fn number(
    text: &[u8],
    at: usize,
    length: usize,
    set: Detectors,
) -> Option<(Detector, Range<usize>)> {
    let letters =
        text[at.saturating_sub(6)..at].iter().rev().take_while(|it| it.is_ascii_alphabetic()).count();
    if letters > 0
        && let Some(found) = behind_letters(text, at, letters, length, set)
    {
        return Some(found);
    }
    if length >= DIGITS_MAX {
        return None;
    }
    if length == 2
        && set.has(Detector::UkNino)
        && let Some(range) = national::spaced_nino(text, at)
    {
        return Some((Detector::UkNino, range));
    }
    // By one separator, or in brackets.
    let is_grouped = match text.get(at + length) {
        Some(b' ' | b'-' | b'.' | b'/') => text.get(at + length + 1).is_some_and(u8::is_ascii_digit),
        Some(b')') => true,
        _ => false,
    };
    // Most numbers are short and alone.
    if length < 8 && !is_grouped && text.get(at.wrapping_sub(1)) != Some(&b'+') {
        return None;
    }
    // Of dates and versions, the later parts are looked at no further: only cards have groups that others are chained to.
    if !is_begin(text, at) || length < 4 && !begins_chain(text, at, b".-/") {
        return None;
    }
    let groups = Groups::read(text, at);
    if set.has(Detector::Card)
        && let Some(end) = card(&groups)
    {
        return Some((Detector::Card, at..end));
    }
    if let Some((detector, end)) = national::number(&groups, set) {
        return Some((detector, at..end));
    }
    if set.has(Detector::Phone)
        && let Some(range) = phone::number(text, at, &groups)
    {
        return Some((Detector::Phone, range));
    }
    None
}

fn behind_letters(
    text: &[u8],
    at: usize,
    letters: usize,
    length: usize,
    set: Detectors,
) -> Option<(Detector, Range<usize>)> {
    // The letter of an escape that was written twice is not of the number.
    let escape = usize::from(text.get(at.wrapping_sub(letters + 1)) == Some(&b'\\'));
    match letters - escape.min(letters) {
        0 => None,
        1 | 2 | 6 => {
            let start = at - (letters - escape);
            if !is_begin(text, start) {
                return None;
            }
            if set.has(Detector::Iban)
                && at - start == 2
                && let Some(end) = account::iban(text, start)
            {
                return Some((Detector::Iban, start..end));
            }
            national::behind_letters(text, start, at, length, set)
        }
        _ => None,
    }
}

/// The shortest number of a card.
pub(super) const CARD_MIN: usize = 13;

/// Lengths of the groups in which cards show their numbers.
const CARD_GROUPS: [&[usize]; 3] = [&[4, 4, 4, 4], &[4, 6, 5], &[4, 6, 4]];

fn card(groups: &Groups<'_>) -> Option<usize> {
    if !begins_chain(groups.text, groups.start, b".") {
        return None;
    }
    let (end, length) = match groups.lengths[0] {
        length @ CARD_MIN..=19 => (groups.is_piece(length)?, length),
        4 => CARD_GROUPS
            .iter()
            .find_map(|lengths| groups.are(lengths, b" -").map(|end| (end, lengths.iter().sum())))?,
        _ => return None,
    };
    let digits = &groups.digits[..length];
    (is_issued(digits) && luhn(digits)).then_some(end)
}

/// Where a card's number ends that begins at a group of digits.
pub(super) fn card_at(text: &[u8], at: usize) -> Option<usize> {
    if is_begin(text, at) { card(&Groups::read(text, at)) } else { None }
}

/// Whether somebody issues cards with such a beginning, of that length.
fn is_issued(digits: &[u8]) -> bool {
    let first = |count: usize| digits[..count].iter().fold(0_u32, |sum, digit| sum * 10 + u32::from(*digit));
    let (two, three, four) = (first(2), first(3), first(4));
    match digits.len() {
        13 => digits[0] == 4,
        14 => matches!(two, 36 | 38 | 39) || matches!(three, 300..=305),
        15 => matches!(two, 34 | 37),
        16 => {
            digits[0] == 4
                || matches!(two, 50..=58 | 62 | 65 | 36 | 38 | 39)
                || matches!(three, 300..=305 | 644..=649)
                || matches!(four, 2200..=2204 | 2221..=2720 | 3528..=3589 | 6011 | 6304 | 6759 | 6761..=6763)
        }
        17..=19 => {
            matches!(two, 62 | 65)
                || matches!(three, 644..=649)
                || matches!(four, 3528..=3589 | 6011 | 6304 | 6759 | 6761..=6763)
                || (digits.len() == 19 && digits[0] == 4)
        }
        _ => false,
    }
}

fn luhn(digits: &[u8]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(i, digit)| u32::from(if i % 2 == 0 { *digit } else { digit * 2 / 10 + digit * 2 % 10 }))
        .sum();
    sum.is_multiple_of(10)
}
