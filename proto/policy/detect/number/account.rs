//! Numbers of bank accounts: IBAN, with the length of its country and its check digits.

use super::is_end;

/// How long the numbers of each country are.
const LENGTHS: [(&[u8; 2], usize); 88] = [
    (b"AD", 24),
    (b"AE", 23),
    (b"AL", 28),
    (b"AT", 20),
    (b"AZ", 28),
    (b"BA", 20),
    (b"BE", 16),
    (b"BG", 22),
    (b"BH", 22),
    (b"BI", 27),
    (b"BR", 29),
    (b"BY", 28),
    (b"CH", 21),
    (b"CR", 22),
    (b"CY", 28),
    (b"CZ", 24),
    (b"DE", 22),
    (b"DJ", 27),
    (b"DK", 18),
    (b"DO", 28),
    (b"EE", 20),
    (b"EG", 29),
    (b"ES", 24),
    (b"FI", 18),
    (b"FK", 18),
    (b"FO", 18),
    (b"FR", 27),
    (b"GB", 22),
    (b"GE", 22),
    (b"GI", 23),
    (b"GL", 18),
    (b"GR", 27),
    (b"GT", 28),
    (b"HN", 28),
    (b"HR", 21),
    (b"HU", 28),
    (b"IE", 22),
    (b"IL", 23),
    (b"IQ", 23),
    (b"IS", 26),
    (b"IT", 27),
    (b"JO", 30),
    (b"KW", 30),
    (b"KZ", 20),
    (b"LB", 28),
    (b"LC", 32),
    (b"LI", 21),
    (b"LT", 20),
    (b"LU", 20),
    (b"LV", 21),
    (b"LY", 25),
    (b"MC", 27),
    (b"MD", 24),
    (b"ME", 22),
    (b"MK", 19),
    (b"MN", 20),
    (b"MR", 27),
    (b"MT", 31),
    (b"MU", 30),
    (b"NI", 28),
    (b"NL", 18),
    (b"NO", 15),
    (b"OM", 23),
    (b"PK", 24),
    (b"PL", 28),
    (b"PS", 29),
    (b"PT", 25),
    (b"QA", 29),
    (b"RO", 24),
    (b"RS", 22),
    (b"RU", 33),
    (b"SA", 24),
    (b"SC", 31),
    (b"SD", 18),
    (b"SE", 24),
    (b"SI", 19),
    (b"SK", 24),
    (b"SM", 27),
    (b"SO", 23),
    (b"ST", 25),
    (b"SV", 28),
    (b"TL", 23),
    (b"TN", 24),
    (b"TR", 26),
    (b"UA", 29),
    (b"VA", 22),
    (b"VG", 24),
    (b"XK", 20),
];

/// Where the number ends that begins with the two letters at `start`.
pub(super) fn iban(text: &[u8], start: usize) -> Option<usize> {
    let country = [text[start].to_ascii_uppercase(), text[start + 1].to_ascii_uppercase()];
    let at = LENGTHS.binary_search_by(|(known, _)| (**known).cmp(&country)).ok()?;
    let length = LENGTHS[at].1;
    let (mut at, mut count, mut group) = (start, 0, 0);
    // Country and check digits stand behind the others when the remainder is made, and it can be made in this order too:
    // their part is added with the weight of its place at the end.
    let (mut head, mut rest) = (0_u32, 0_u32);
    while count < length {
        let byte = *text.get(at)?;
        if byte == b' ' || byte == b'-' {
            // In groups of four, or of any length where the letters of a bank stand alone.
            if group == 0 {
                return None;
            }
            (group, at) = (0, at + 1);
            continue;
        }
        let value = u32::from(match byte {
            b'0'..=b'9' => byte - b'0',
            b'A'..=b'Z' => byte - b'A' + 10,
            b'a'..=b'z' => byte - b'a' + 10,
            _ => return None,
        });
        if count == 2 || count == 3 {
            if value > 9 {
                return None;
            }
        } else if count < 2 && value < 10 {
            return None;
        }
        let push = |sum: u32| (sum * if value > 9 { 100 } else { 10 } + value) % 97;
        if count < 4 {
            head = push(head)
        } else {
            rest = push(rest)
        }
        (count, group, at) = (count + 1, group + 1, at + 1);
    }
    // Two letters and two digits are six digits: 10^6 mod 97 is 27.
    ((rest * 27 + head) % 97 == 1 && is_end(text, at)).then_some(at)
}
