//! Numbers of the United States, the United Kingdom, Germany, France, Spain and Italy.

use super::*;

pub(super) fn ssn_digits(dice: &mut Dice) -> String {
    let area = loop {
        let area = 1 + dice.below(899);
        if area != 666 {
            break area;
        }
    };
    format!("{area:03}{:02}{:04}", 1 + dice.below(99), 1 + dice.below(9999))
}

pub(super) fn ssn(dice: &mut Dice) -> String {
    let text = ssn_digits(dice);
    written(
        dice,
        &text,
        &[&[(3, "-"), (2, "-"), (4, "")], &[(3, "-"), (2, "-"), (4, "")], &[(3, " "), (2, " "), (4, "")]],
    )
}

pub(super) fn rare_ssn(dice: &mut Dice) -> String {
    let text = ssn_digits(dice);
    written(dice, &text, &[&[(9, "")], &[(3, "."), (2, "."), (4, "")], &[(3, " - "), (2, " - "), (4, "")]])
}

/// There is no check digit: what has its shape and begins so is one.
pub(super) fn no_ssn(dice: &mut Dice) -> String {
    dice.draw(&[
        "000-!#-####",
        "666-!#-####",
        "9##-!#-####",
        "!##-00-####",
        "!##-!#-0000",
        "!##-!##-####",
        "!##-!#-#####",
        "!#-!##-####",
        "!###-!#-####",
        "!##-!#-###",
        "4##-!#-#### (part)",
        "A!##-!#-####",
        "!##.!#.####.#",
    ])
}

pub(super) fn nino_of(dice: &mut Dice, first: &str, second: &str) -> String {
    loop {
        let letters: String =
            [first, second].map(|from| char::from(from.as_bytes()[dice.below(from.len())])).iter().collect();
        if !["BG", "GB", "KN", "NK", "NT", "TN", "ZZ"].contains(&&*letters) {
            return format!("{letters}{}{}", dice.draw(&["#{6}"]), dice.one(&["A", "B", "C", "D"]));
        }
    }
}

pub(super) fn nino_plain(dice: &mut Dice) -> String {
    nino_of(dice, "ABCEGHJKLMNOPRSTWXYZ", "ABCEGHJKLMNPRSTWXYZ")
}

pub(super) fn nino(dice: &mut Dice) -> String {
    let text = nino_plain(dice);
    let spaced: &[(usize, &str)] = &[(2, " "), (2, " "), (2, " "), (2, " "), (1, "")];
    let text = written(dice, &text, &[&[(9, "")], &[(9, "")], spaced]);
    if !text.contains(' ') && dice.below(4) == 0 { text.to_lowercase() } else { text }
}

pub(super) fn rare_nino(dice: &mut Dice) -> String {
    let text = nino_plain(dice);
    written(
        dice,
        &text,
        &[
            &[(2, "-"), (2, "-"), (2, "-"), (2, "-"), (1, "")],
            &[(2, " "), (6, " "), (1, "")],
            &[(2, "."), (2, "."), (2, "."), (2, "."), (1, "")],
        ],
    )
}

pub(super) fn no_nino(dice: &mut Dice) -> String {
    match dice.below(3) {
        0 => nino_of(dice, "DFIQUV", "ABC"),
        1 => nino_of(dice, "ABC", "DFIQUVO"),
        _ => dice.draw(&[
            "GB#{6}A", "AB#{6}E", "AB#{5}C", "AB#{7}C", "ABC#{6}D", "AB#{6}CD", "A#{6}C", "AB-#{6}",
            "AB #{6}X",
        ]),
    }
}

pub(super) fn is_nhs(text: &str) -> bool {
    weighed(text, &[10, 9, 8, 7, 6, 5, 4, 3, 2, 1]).is_multiple_of(11)
}

const NHS_WAYS: [&[(usize, &str)]; 3] =
    [&[(3, " "), (3, " "), (4, "")], &[(10, "")], &[(3, "-"), (3, "-"), (4, "")]];

pub(super) fn nhs_plain(dice: &mut Dice) -> String {
    with_digit(dice, |dice| dice.draw(&["4#{8}", "6#{8}", "7#{8}"]), is_nhs)
}

pub(super) fn nhs(dice: &mut Dice) -> String {
    let text = nhs_plain(dice);
    written(dice, &text, &NHS_WAYS)
}

pub(super) fn rare_nhs(dice: &mut Dice) -> String {
    let text = nhs_plain(dice);
    written(
        dice,
        &text,
        &[&[(3, "."), (3, "."), (4, "")], &[(5, " "), (5, "")], &[(3, "/"), (3, "/"), (4, "")]],
    )
}

pub(super) fn no_nhs(dice: &mut Dice) -> String {
    let text = wrong(&nhs_plain(dice));
    written(dice, &text, &NHS_WAYS)
}

/// One of the first ten stands there two or three times, and no other more than once.
pub(super) fn is_tax_id(text: &str) -> bool {
    let digits = digits(text);
    let times: Vec<usize> =
        (0..10).map(|one| digits[..10].iter().filter(|digit| **digit == one).count()).collect();
    let several: Vec<&usize> = times.iter().filter(|times| **times > 1).collect();
    let mut remainder = 10;
    for digit in &digits[..10] {
        let sum = (digit + remainder) % 10;
        remainder = (if sum == 0 { 10 } else { sum }) * 2 % 11;
    }
    let is_told = several.len() == 1 && *several[0] <= 3;
    is_told && digits[0] != 0 && (remainder + digits[10]) % 10 == 1
}

const TAX_WAYS: [&[(usize, &str)]; 2] = [&[(11, "")], &[(2, " "), (3, " "), (3, " "), (3, "")]];

pub(super) fn tax_id(dice: &mut Dice) -> String {
    let text = with_digit(dice, |dice| dice.draw(&["!#{9}"]), is_tax_id);
    written(dice, &text, &TAX_WAYS)
}

pub(super) fn rare_tax_id(dice: &mut Dice) -> String {
    let text = with_digit(dice, |dice| dice.draw(&["!#{9}"]), is_tax_id);
    written(
        dice,
        &text,
        &[
            &[(2, "."), (3, "."), (3, "."), (3, "")],
            &[(2, "-"), (3, "-"), (3, "-"), (3, "")],
            &[(2, "/"), (3, "/"), (6, "")],
        ],
    )
}

pub(super) fn no_tax_id(dice: &mut Dice) -> String {
    let text = wrong(&with_digit(dice, |dice| dice.draw(&["!#{9}"]), is_tax_id));
    written(dice, &text, &TAX_WAYS)
}

pub(super) fn nir_of(dice: &mut Dice, add: u64) -> String {
    let (sex, month) = (1 + dice.below(2), 1 + dice.below(12));
    let body =
        format!("{sex}{}{month:02}{}", dice.draw(&["##"]), dice.draw(&["0!###!##", "75###!##", "974##!##"]));
    let key = 97 - body.parse::<u64>().expect("digits") % 97;
    format!("{body}{:02}", (key + add - 1) % 97 + 1)
}

const NIR_WAYS: [&[(usize, &str)]; 3] = [
    &[(15, "")],
    &[(13, " "), (2, "")],
    &[(1, " "), (2, " "), (2, " "), (2, " "), (3, " "), (3, " "), (2, "")],
];

pub(super) fn nir(dice: &mut Dice) -> String {
    let text = nir_of(dice, 0);
    written(dice, &text, &NIR_WAYS)
}

pub(super) fn rare_nir(dice: &mut Dice) -> String {
    let text = nir_of(dice, 0);
    match dice.below(4) {
        0 => text[..13].to_owned(),
        1 => {
            // Of Corsica: A counts as a million less.
            let (sex, rest) = (1 + dice.below(2), dice.draw(&["8#0!", "7#1#"]));
            format!("{sex}{rest}2A###!##42")
        }
        2 => split(&text, &[(1, "."), (2, "."), (2, "."), (2, "."), (3, "."), (3, "."), (2, "")]),
        _ => split(&text, &[(13, "/"), (2, "")]),
    }
}

pub(super) fn no_nir(dice: &mut Dice) -> String {
    let add = 1 + dice.below(95) as u64;
    let text = nir_of(dice, add);
    written(dice, &text, &NIR_WAYS)
}

pub(super) fn dni_of(dice: &mut Dice, add: usize) -> (String, char) {
    let letter = |number: usize| char::from(b"TRWAGMYFPDXBNJZSQVHLCKE"[(number + add) % 23]);
    match dice.below(3) {
        0 => {
            let (first, rest) = (dice.below(3), dice.below(10_000_000));
            (format!("{}{rest:07}", ['X', 'Y', 'Z'][first]), letter(first * 10_000_000 + rest))
        }
        _ => {
            let number = dice.below(100_000_000);
            (format!("{number:08}"), letter(number))
        }
    }
}

pub(super) fn dni(dice: &mut Dice) -> String {
    let (number, letter) = dni_of(dice, 0);
    let text = format!("{number}{}{letter}", dice.one(&["", "", "-"]));
    if dice.below(4) == 0 { text.to_lowercase() } else { text }
}

pub(super) fn rare_dni(dice: &mut Dice) -> String {
    let (number, letter) = dni_of(dice, 0);
    let (front, back) = number.split_at(number.len() - 3);
    let (most, middle) = front.split_at(front.len() - 3);
    match dice.below(3) {
        0 => format!("{most}.{middle}.{back}-{letter}"),
        1 => format!("{most} {middle} {back} {letter}"),
        _ => format!("{number}/{letter}"),
    }
}

pub(super) fn no_dni(dice: &mut Dice) -> String {
    let add = 1 + dice.below(22);
    let (number, letter) = dni_of(dice, add);
    format!("{number}{letter}")
}

/// What a sign counts at an odd place, from the first: digits as the first ten letters.
const ODD: [u64; 26] =
    [1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23];

pub(super) fn fiscal_of(dice: &mut Dice, add: u64) -> String {
    let day = 1 + dice.below(28) + 40 * dice.below(2);
    let month = dice.one(&["A", "B", "C", "D", "E", "H", "L", "M", "P", "R", "S", "T"]);
    let body = format!("{}{month}{day:02}{}", dice.draw(&["^{6}##"]), dice.draw(&["^###"]));
    let sum: u64 = body
        .chars()
        .enumerate()
        .map(|(place, sign)| {
            let number =
                sign.to_digit(10).map_or_else(|| u64::from(u32::from(sign) - u32::from('A')), u64::from);
            if place % 2 == 0 { ODD[number as usize] } else { number }
        })
        .sum();
    format!("{body}{}", char::from(b'A' + ((sum + add) % 26) as u8))
}

pub(super) fn fiscal(dice: &mut Dice) -> String {
    let text = fiscal_of(dice, 0);
    if dice.below(4) == 0 { text.to_lowercase() } else { text }
}

pub(super) fn rare_fiscal(dice: &mut Dice) -> String {
    let text = fiscal_of(dice, 0);
    written(
        dice,
        &text,
        &[
            &[(3, " "), (3, " "), (5, " "), (5, "")],
            &[(6, " "), (2, " "), (3, " "), (5, "")],
            &[(6, "-"), (5, "-"), (5, "")],
        ],
    )
}

pub(super) fn no_fiscal(dice: &mut Dice) -> String {
    match dice.below(2) {
        0 => {
            let add = 1 + dice.below(25) as u64;
            fiscal_of(dice, add)
        }
        _ => dice.draw(&["^{6}##Z##^###^", "^{6}##A##^###", "^{16}", "^{6}##A##^####", "?{16}"]),
    }
}
