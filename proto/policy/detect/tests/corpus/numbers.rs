//! Numbers of telephones, cards and accounts, and what looks like them; keys and tokens behind them, in the order of detectors.

use rr_domain::model::detector::Detector;

use super::{Dice, Kind, texts};

pub(super) fn kinds() -> Vec<Kind> {
    let mut kinds = vec![
        Kind { detector: Detector::Phone, usual: phone, rare: rare_phone, alike: no_phone },
        Kind { detector: Detector::Card, usual: card, rare: rare_card, alike: no_card },
        Kind { detector: Detector::Iban, usual: iban, rare: rare_iban, alike: no_iban },
    ];
    kinds.extend(texts::secrets());
    kinds
}

/// A digit that begins neither an area nor an exchange of North America is left out: these begin with 2 to 9.
fn phone(dice: &mut Dice) -> String {
    let (area, exchange) = (200 + dice.below(800), 200 + dice.below(800));
    let line = format!("{:04}", dice.below(10_000));
    match dice.below(3) {
        0 => {
            let all = [
                format!("({area}) {exchange}-{line}"),
                format!("{area}-{exchange}-{line}"),
                format!("{area}.{exchange}.{line}"),
                format!("1-{area}-{exchange}-{line}"),
                format!("+1 ({area}) {exchange}-{line}"),
                format!("+1{area}{exchange}{line}"),
                format!("+1-{area}-{exchange}-{line}"),
            ];
            all[dice.below(all.len())].clone()
        }
        1 => dice.draw(&[
            "+49 30 !#{6}",
            "+49!#{9}",
            "+44 (0)20 7!## ####",
            "+44 20 7!## ####",
            "+33.1.!#.##.##.##",
            "+33 6 !# ## ## ##",
            "+34 6!# ## ## ##",
            "+48 6## ### ###",
            "+91 9!### #####",
            "+81-3-!###-####",
            "+55 11 9!###-####",
            "+86 13! #### ####",
            "+358 40 !######",
            "+61 4## ### ###",
        ]),
        _ => dice.draw(&[
            "0049 30 !#{6}",
            "030 !#{6}",
            "030/!#{6}",
            "0171-!#{6}",
            "0171 !#{6}",
            "01 !# ## ## ##",
            "06.!#.##.##.##",
            "020 7!## ####",
            "07!## ######",
            "0161 !## ####",
            "089-!#{7}",
        ]),
    }
}

fn rare_phone(dice: &mut Dice) -> String {
    dice.draw(&[
        "415!#{6}",
        "030!#{6}",
        "07!#{8}",
        "415 / 555 ####",
        "6!# ## ## ##",
        "6!# ### ###",
        "!# ## ## ##",
        "555-####",
        "49 30 !#{6}",
        "0221 / !#{6}",
        "+49\u{a0}30\u{a0}!#{6}",
        "(030) !#{6}",
        "030 !## ## ##-##",
        "+1 415 555 #### x!#",
        "1 (415) 555-####",
        "9!###-####",
        "++49 30 !#{6}",
    ])
}

fn no_phone(dice: &mut Dice) -> String {
    dice.draw(&[
        "2026-11-29",
        "2026-11-29 10:2#:3#",
        "0#-0#-2026",
        "05.12.2026 10:20",
        "1#:3#:5#",
        "v1.!#.###",
        "192.168.!##.!##",
        "11#-555-####",
        "1 ### ###,00",
        "10-20-!#",
        "2026-00#-####",
        "978-3-16-!#{5}#-#",
        "+52.!#{5},+13.!#{5}",
        "UTC+02:00",
        "94107-####",
        "+!##",
        "01 02 03",
        "00#-##-####",
        "!#{8}",
        "3.14159265358979",
        "1 + !##",
        "&{8}-####-4###-a###-#{12}",
        "2026/11/29",
        "0.!#{9}",
        "INV-2026-0####",
        "12 345 678 901",
        "ISBN 0-306-!#{4}#-#",
        "+!#{7}%",
        "0 0 1 0 0 1",
    ])
}

fn luhn(digits: &str) -> char {
    let sum: u32 = digits
        .bytes()
        .rev()
        .enumerate()
        .map(|(place, digit)| {
            let digit = u32::from(digit - b'0');
            if place % 2 == 0 { digit * 2 % 10 + digit * 2 / 10 } else { digit }
        })
        .sum();
    char::from(b'0' + ((10 - sum % 10) % 10) as u8)
}

fn card_digits(dice: &mut Dice) -> String {
    let body = dice.draw(&[
        "4#{14}",
        "51#{13}",
        "55#{13}",
        "2221#{11}",
        "2720#{11}",
        "34#{12}",
        "37#{12}",
        "6011#{11}",
        "65#{13}",
        "3528#{11}",
        "62#{13}",
        "36#{11}",
        "305#{10}",
        "5018#{11}",
        "4#{14}",
        "53#{13}",
    ]);
    format!("{body}{}", luhn(&body))
}

fn grouped(digits: &str, lengths: &[usize], separator: &str) -> String {
    let (mut at, mut groups) = (0, Vec::new());
    for length in lengths {
        groups.push(&digits[at..at + length]);
        at += length;
    }
    assert_eq!(at, digits.len(), "{digits} in {lengths:?}");
    groups.join(separator)
}

fn groups(digits: &str) -> &'static [usize] {
    match digits.len() {
        14 => &[4, 6, 4],
        15 => &[4, 6, 5],
        _ => &[4, 4, 4, 4],
    }
}

fn card(dice: &mut Dice) -> String {
    let digits = card_digits(dice);
    match dice.below(3) {
        0 => digits,
        1 => grouped(&digits, groups(&digits), " "),
        _ => grouped(&digits, groups(&digits), "-"),
    }
}

fn rare_card(dice: &mut Dice) -> String {
    let digits = card_digits(dice);
    match dice.below(5) {
        0 => grouped(&digits, groups(&digits), "."),
        1 => grouped(&digits, groups(&digits), "\u{a0}"),
        2 => grouped(&digits, groups(&digits), "  "),
        3 => format!("{} {}", &digits[..digits.len() - 8], &digits[digits.len() - 8..]),
        _ => {
            let body = dice.draw(&["62#{16}", "4#{17}"]);
            format!("{body}{}", luhn(&body))
        }
    }
}

/// Its last digit is another.
fn wrong(text: &str) -> String {
    let at = text.rfind(|sign: char| sign.is_ascii_digit()).expect("a digit");
    let digit = text.as_bytes()[at] - b'0';
    format!("{}{}{}", &text[..at], (digit + 1) % 10, &text[at + 1..])
}

fn no_card(dice: &mut Dice) -> String {
    match dice.below(2) {
        0 => wrong(&card(dice)),
        _ => dice.draw(&[
            "17#{11}",
            "17#{14}",
            "20261129#{6}",
            "35#{13}",
            "#{12}",
            "9#{15}",
            "1Z?{16}",
            "00340434#{12}",
            "4#{3}-#{4}",
            "0.4#{15}",
            "a4#{15}",
            "#{16}00##",
            "-&{16}",
        ]),
    }
}

/// Of some countries: how the rest is built.
const IBANS: [(&str, &str); 14] = [
    ("DE", "#{18}"),
    ("GB", "^{4}#{14}"),
    ("FR", "#{10}?{11}##"),
    ("NL", "^{4}#{10}"),
    ("ES", "#{20}"),
    ("IT", "^#{10}?{12}"),
    ("CH", "#{5}?{12}"),
    ("AT", "#{16}"),
    ("BE", "#{12}"),
    ("PL", "#{24}"),
    ("SE", "#{20}"),
    ("NO", "#{11}"),
    ("MT", "^{4}#{5}?{18}"),
    ("SA", "##?{18}"),
];

/// 98 less the remainder of all digits, letters as two each, by 97.
fn iban_check(country: &str, rest: &str) -> u32 {
    let sum = format!("{rest}{country}00").chars().fold(0, |sum, sign| {
        let value = sign.to_digit(36).expect("a letter or a digit");
        (sum * if value > 9 { 100 } else { 10 } + value) % 97
    });
    98 - sum
}

fn iban_of(dice: &mut Dice, add: u32) -> String {
    let (country, rest) = IBANS[dice.below(IBANS.len())];
    let rest = dice.draw(&[rest]);
    let check = (iban_check(country, &rest) + add) % 100;
    format!("{country}{check:02}{rest}")
}

fn in_fours(text: &str, separator: &str) -> String {
    let fours: Vec<&str> = (0..text.len()).step_by(4).map(|at| &text[at..text.len().min(at + 4)]).collect();
    fours.join(separator)
}

fn iban(dice: &mut Dice) -> String {
    let iban = iban_of(dice, 0);
    match dice.below(5) {
        0 | 1 => iban,
        2 => iban.to_lowercase(),
        _ => in_fours(&iban, " "),
    }
}

fn rare_iban(dice: &mut Dice) -> String {
    let iban = iban_of(dice, 0);
    match dice.below(5) {
        0 => in_fours(&iban, "."),
        1 => in_fours(&iban, "\u{a0}"),
        2 => in_fours(&iban, "-"),
        3 => in_fours(&iban, "  "),
        _ => format!("IBAN{iban}"),
    }
}

fn no_iban(dice: &mut Dice) -> String {
    match dice.below(2) {
        0 => {
            let add = 1 + dice.below(90) as u32;
            iban_of(dice, add)
        }
        _ => dice.draw(&[
            "DE!#{8}",
            "GB!#{8}",
            "ATU#{8}",
            "FR??#{9}",
            "DE89 3704",
            "SKU-DE##-####",
            "PL#{10}",
            "NO##-#{6}",
            "XX##?{20}",
            "DE##?{30}",
            "ES?#{7}?",
            "US-CA-#{5}",
            "MT##?{10}",
        ]),
    }
}
