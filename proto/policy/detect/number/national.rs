//! Numbers that countries give their people: a table of what each looks like, and how it is checked.

use std::ops::Range;

use rr_domain::model::detector::{Detector, Detectors};

use super::{Groups, begins_chain, ends_chain, is_end, luhn};

/// A number of digits alone.
struct Shape {
    detector: Detector,
    /// Lengths of the groups in which it is written.
    groups: &'static [usize],
    /// What stands between them.
    separators: &'static [u8],
    is_one: fn(&[u8]) -> bool,
}

const SHAPES: [Shape; 23] = [
    Shape { detector: Detector::UsSsn, groups: &[3, 2, 4], separators: b"- ", is_one: us_ssn },
    Shape { detector: Detector::CaSin, groups: &[3, 3, 3], separators: b"- ", is_one: ca_sin },
    Shape { detector: Detector::CaSin, groups: &[9], separators: b"", is_one: ca_sin },
    Shape { detector: Detector::NlBsn, groups: &[9], separators: b"", is_one: nl_bsn },
    Shape { detector: Detector::NlBsn, groups: &[4, 2, 3], separators: b". ", is_one: nl_bsn },
    Shape { detector: Detector::UkNhs, groups: &[3, 3, 4], separators: b" -", is_one: uk_nhs },
    Shape { detector: Detector::UkNhs, groups: &[10], separators: b"", is_one: uk_nhs },
    Shape { detector: Detector::DeTaxId, groups: &[11], separators: b"", is_one: de_tax_id },
    Shape { detector: Detector::DeTaxId, groups: &[2, 3, 3, 3], separators: b" ", is_one: de_tax_id },
    Shape { detector: Detector::BrCpf, groups: &[11], separators: b"", is_one: br_cpf },
    Shape { detector: Detector::PlPesel, groups: &[11], separators: b"", is_one: pl_pesel },
    Shape { detector: Detector::InAadhaar, groups: &[12], separators: b"", is_one: in_aadhaar },
    Shape { detector: Detector::InAadhaar, groups: &[4, 4, 4], separators: b" -", is_one: in_aadhaar },
    Shape { detector: Detector::ChAhv, groups: &[13], separators: b"", is_one: ch_ahv },
    Shape { detector: Detector::ChAhv, groups: &[3, 4, 4, 2], separators: b".", is_one: ch_ahv },
    Shape { detector: Detector::FrNir, groups: &[15], separators: b"", is_one: fr_nir },
    Shape { detector: Detector::FrNir, groups: &[13, 2], separators: b" ", is_one: fr_nir },
    Shape { detector: Detector::FrNir, groups: &[1, 2, 2, 2, 3, 3, 2], separators: b" ", is_one: fr_nir },
    Shape { detector: Detector::FrNir, groups: &[1, 2, 2, 5, 3, 2], separators: b" ", is_one: fr_nir },
    Shape { detector: Detector::CnResidentId, groups: &[18], separators: b"", is_one: cn_resident_id },
    Shape { detector: Detector::CnResidentId, groups: &[6, 8, 4], separators: b" ", is_one: cn_resident_id },
    Shape { detector: Detector::BrCpf, groups: &[3, 3, 5], separators: b".", is_one: br_cpf },
    Shape { detector: Detector::CaSin, groups: &[3, 6], separators: b" ", is_one: ca_sin },
];

/// What chains numbers to others: an id in an address of a page or a version is none of these.
const LINKS: &[u8] = b".-/";

pub(super) fn number(groups: &Groups<'_>, set: Detectors) -> Option<(Detector, usize)> {
    let text = groups.text;
    let is_segment = groups.start.checked_sub(1).is_some_and(|before| text[before] == b'/');
    if is_segment || !begins_chain(text, groups.start, LINKS) {
        return None;
    }
    let found = SHAPES.iter().find_map(|shape| {
        if groups.lengths[0] != shape.groups[0] || !set.has(shape.detector) {
            return None;
        }
        let end = groups.are(shape.groups, shape.separators)?;
        let length = shape.groups.iter().sum();
        let is_one = ends_chain(text, end, LINKS) && (shape.is_one)(groups.digits.get(..length)?);
        is_one.then_some((shape.detector, end))
    });
    found.or_else(|| with_letters_or_two_signs(groups, set))
}

/// The few that have another sign than digits and one separator.
fn with_letters_or_two_signs(groups: &Groups<'_>, set: Detectors) -> Option<(Detector, usize)> {
    let (text, digits) = (groups.text, &groups.digits);
    match groups.lengths[0] {
        // 000.000.000-00
        3 if set.has(Detector::BrCpf) && groups.count >= 4 && groups.lengths[..4] == [3, 3, 3, 2] => {
            let end = groups.ends[3];
            let is_one = groups.separators[..3] == *b"..-" && is_end(text, end) && br_cpf(&digits[..11]);
            is_one.then_some((Detector::BrCpf, end))
        }
        // 00000000A, 00000000-A
        8 if set.has(Detector::EsDni) => {
            let at = groups.ends[0] + usize::from(matches!(text.get(groups.ends[0]), Some(b'-' | b' ')));
            let is_one =
                text.get(at)?.to_ascii_uppercase() == dni_letter(value(&digits[..8])) && is_end(text, at + 1);
            is_one.then_some((Detector::EsDni, at + 1))
        }
        // 00000000000000000X
        17 if set.has(Detector::CnResidentId) => {
            let end = groups.ends[0] + 1;
            let is_one = matches!(text.get(end - 1), Some(b'X' | b'x'))
                && is_end(text, end)
                && is_cn(&digits[..17], 10);
            is_one.then_some((Detector::CnResidentId, end))
        }
        _ => None,
    }
}

/// A number that begins with the letters at `start`; the digits behind them at `at` are `length`.
pub(super) fn behind_letters(
    text: &[u8],
    start: usize,
    at: usize,
    length: usize,
    set: Detectors,
) -> Option<(Detector, Range<usize>)> {
    match at - start {
        1 if length == 7 && set.has(Detector::EsDni) => {
            let first = match text[start].to_ascii_uppercase() {
                b'X' => 0,
                b'Y' => 1,
                b'Z' => 2,
                _ => return None,
            };
            let number = text[at..at + 7].iter().fold(first, |sum, digit| sum * 10 + u64::from(digit - b'0'));
            let last = at + 7 + usize::from(text.get(at + 7) == Some(&b'-'));
            let is_one = text.get(last)?.to_ascii_uppercase() == dni_letter(number) && is_end(text, last + 1);
            is_one.then_some((Detector::EsDni, start..last + 1))
        }
        2 if length == 6 && set.has(Detector::UkNino) => {
            let end = uk_nino(text, start, at, 0)?;
            Some((Detector::UkNino, start..end))
        }
        6 if length == 2 && set.has(Detector::ItFiscalCode) => {
            let end = it_fiscal_code(text, start)?;
            Some((Detector::ItFiscalCode, start..end))
        }
        _ => None,
    }
}

/// `AB 12 34 56 C`: its letters stand apart from the digits at `at`.
pub(super) fn spaced_nino(text: &[u8], at: usize) -> Option<Range<usize>> {
    let start = at.checked_sub(3)?;
    let is_apart = text[at - 1] == b' ' && text[start..start + 2].iter().all(u8::is_ascii_uppercase);
    if !is_apart || !super::is_begin(text, start) {
        return None;
    }
    uk_nino(text, start, at, 1).map(|end| start..end)
}

/// Where one ends, with so many spaces between its pairs.
fn uk_nino(text: &[u8], start: usize, at: usize, spaces: usize) -> Option<usize> {
    let [first, second] = [text[start].to_ascii_uppercase(), text[start + 1].to_ascii_uppercase()];
    let is_never = [b"BG", b"GB", b"KN", b"NK", b"NT", b"TN", b"ZZ"].contains(&&[first, second]);
    if b"DFIQUV".contains(&first) || b"DFIQUVO".contains(&second) || is_never {
        return None;
    }
    let mut at = at;
    for _ in 0..3 {
        let pair = text.get(at..at + 2)?;
        if !pair.iter().all(u8::is_ascii_digit) {
            return None;
        }
        at += 2;
        if spaces > 0 {
            if text.get(at) != Some(&b' ') {
                return None;
            }
            at += 1;
        }
    }
    let is_one = matches!(text.get(at), Some(b'A'..=b'D' | b'a'..=b'd')) && is_end(text, at + 1);
    is_one.then_some(at + 1)
}

fn it_fiscal_code(text: &[u8], start: usize) -> Option<usize> {
    /// What a letter counts at an odd place; a digit counts as the letter of its number.
    const ODD: [u8; 26] =
        [1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23];
    let code = text.get(start..start + 16)?;
    let mut sum = 0;
    for (place, byte) in code.iter().enumerate() {
        let byte = byte.to_ascii_uppercase();
        let is_digit = byte.is_ascii_digit();
        // Digits may be letters in the place of each, where two persons would have the same.
        let may_be_digit = matches!(place, 6 | 7 | 9 | 10 | 12 | 13 | 14);
        let stands_for_digit = b"LMNPQRSTUV".contains(&byte);
        if may_be_digit && !is_digit && !stands_for_digit || !may_be_digit && !byte.is_ascii_uppercase() {
            return None;
        }
        if place == 8 && !b"ABCDEHLMPRST".contains(&byte) {
            return None;
        }
        let number = if is_digit { byte - b'0' } else { byte - b'A' };
        if place == 15 {
            let is_one = sum % 26 == u32::from(number) && is_end(text, start + 16);
            return is_one.then_some(start + 16);
        }
        sum += u32::from(if place % 2 == 0 { ODD[usize::from(number)] } else { number });
    }
    None
}

fn value(digits: &[u8]) -> u64 {
    digits.iter().fold(0, |sum, digit| sum * 10 + u64::from(*digit))
}

fn weighed(digits: &[u8], weights: &[u32]) -> u32 {
    digits.iter().zip(weights).map(|(digit, weight)| u32::from(*digit) * weight).sum()
}

fn are_alike(digits: &[u8]) -> bool {
    digits.iter().all(|digit| *digit == digits[0])
}

fn us_ssn(digits: &[u8]) -> bool {
    let (area, group, serial) = (value(&digits[..3]), value(&digits[3..5]), value(&digits[5..]));
    !matches!(area, 0 | 666 | 900..) && group != 0 && serial != 0
}

fn ca_sin(digits: &[u8]) -> bool {
    digits[0] != 0 && digits[0] != 8 && luhn(digits) && !are_alike(digits)
}

fn nl_bsn(digits: &[u8]) -> bool {
    let sum = weighed(&digits[..8], &[9, 8, 7, 6, 5, 4, 3, 2]);
    value(digits) > 9_999_999 && sum % 11 == u32::from(digits[8]) && !are_alike(digits)
}

/// Those of Scotland begin with a day of birth; of the others, some beginnings are nobody's. Times in seconds are none.
fn uk_nhs(digits: &[u8]) -> bool {
    let is_issued = match digits[0] {
        4 | 6 | 7 | 9 => true,
        3 if digits[1] >= 2 => true,
        0..=3 => matches!(value(&digits[..2]), 1..=31) && matches!(value(&digits[2..4]), 1..=12),
        _ => false,
    };
    let check = (11 - weighed(&digits[..9], &[10, 9, 8, 7, 6, 5, 4, 3, 2]) % 11) % 11;
    is_issued && check == u32::from(digits[9]) && !are_alike(digits)
}

/// ISO 7064, MOD 11,10; one of the first ten digits stands there two or three times, and no other.
fn de_tax_id(digits: &[u8]) -> bool {
    let mut times = [0_u8; 10];
    digits[..10].iter().for_each(|digit| times[usize::from(*digit)] += 1);
    let more = times.iter().filter(|count| **count > 1).count();
    if digits[0] == 0 || more != 1 || times.iter().any(|count| *count > 3) {
        return false;
    }
    let product = digits[..10].iter().fold(10, |product, digit| {
        let sum = (u32::from(*digit) + product) % 10;
        if sum == 0 { 20 % 11 } else { sum * 2 % 11 }
    });
    (11 - product) % 10 == u32::from(digits[10])
}

fn br_cpf(digits: &[u8]) -> bool {
    let check = |count: u32| {
        let sum: u32 =
            digits.iter().zip((2..=count + 1).rev()).map(|(digit, it)| u32::from(*digit) * it).sum();
        sum * 10 % 11 % 10
    };
    !are_alike(digits) && check(9) == u32::from(digits[9]) && check(10) == u32::from(digits[10])
}

fn pl_pesel(digits: &[u8]) -> bool {
    let (month, day) = (value(&digits[2..4]) % 20, value(&digits[4..6]));
    let sum = weighed(&digits[..10], &[1, 3, 7, 9, 1, 3, 7, 9, 1, 3]);
    (1..=12).contains(&month) && (1..=31).contains(&day) && (10 - sum % 10) % 10 == u32::from(digits[10])
}

/// Verhoeff.
fn in_aadhaar(digits: &[u8]) -> bool {
    /// How places permute a digit: the fifth power of none is itself.
    const PERMUTE: [u8; 10] = [1, 5, 7, 6, 2, 8, 3, 0, 9, 4];
    /// The dihedral group of ten: turns, and turns of what was turned over.
    fn times(a: u8, b: u8) -> u8 {
        match (a < 5, b < 5) {
            (true, true) => (a + b) % 5,
            (true, false) => (a + b) % 5 + 5,
            (false, true) => (a - b % 5 + 5) % 5 + 5,
            (false, false) => (a + 5 - b) % 5,
        }
    }
    let sum = digits.iter().rev().enumerate().fold(0, |sum, (place, digit)| {
        let permuted = (0..place % 8).fold(*digit, |digit, _| PERMUTE[usize::from(digit)]);
        times(sum, permuted)
    });
    digits[0] > 1 && sum == 0
}

/// The check digit is that of an EAN.
fn ch_ahv(digits: &[u8]) -> bool {
    let sum = weighed(&digits[..12], &[1, 3, 1, 3, 1, 3, 1, 3, 1, 3, 1, 3]);
    digits[..3] == [7, 5, 6] && (10 - sum % 10) % 10 == u32::from(digits[12])
}

fn fr_nir(digits: &[u8]) -> bool {
    let month = value(&digits[3..5]);
    let is_month = matches!(month, 1..=12 | 20..=42 | 50..=99);
    let (number, key) = (value(&digits[..13]), value(&digits[13..]));
    matches!(digits[0], 1 | 2 | 3 | 4 | 7 | 8) && is_month && 97 - number % 97 == key
}

fn cn_resident_id(digits: &[u8]) -> bool {
    is_cn(&digits[..17], u32::from(digits[17]))
}

fn is_cn(digits: &[u8], last: u32) -> bool {
    let (year, month, day) = (value(&digits[6..10]), value(&digits[10..12]), value(&digits[12..14]));
    let sum = weighed(digits, &[7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2]);
    let is_born = (1850..2100).contains(&year) && (1..=12).contains(&month) && (1..=31).contains(&day);
    digits[0] != 0 && is_born && (12 - sum % 11) % 11 == last
}

fn dni_letter(number: u64) -> u8 {
    b"TRWAGMYFPDXBNJZSQVHLCKE"[(number % 23) as usize]
}
