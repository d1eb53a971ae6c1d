//! Numbers of the Netherlands, Brazil, India, Poland, Switzerland, China and Canada: digits, and checks of them.

use super::*;

pub(super) fn is_bsn(text: &str) -> bool {
    // The last counts less one.
    let (front, last) = text.split_at(8);
    let sum = weighed(front, &[9, 8, 7, 6, 5, 4, 3, 2]) + 11 * 9;
    (sum - digits(last)[0]).is_multiple_of(11)
}

const BSN_WAYS: [&[(usize, &str)]; 3] = [&[(9, "")], &[(9, "")], &[(4, "."), (2, "."), (3, "")]];

pub(super) fn bsn(dice: &mut Dice) -> String {
    let text = with_digit(dice, |dice| dice.draw(&["!#{7}"]), is_bsn);
    written(dice, &text, &BSN_WAYS)
}

pub(super) fn rare_bsn(dice: &mut Dice) -> String {
    let text = with_digit(dice, |dice| dice.draw(&["!#{7}"]), is_bsn);
    written(
        dice,
        &text,
        &[&[(3, " "), (3, " "), (3, "")], &[(3, "."), (3, "."), (3, "")], &[(4, "-"), (2, "-"), (3, "")]],
    )
}

pub(super) fn no_bsn(dice: &mut Dice) -> String {
    let text = wrong(&with_digit(dice, |dice| dice.draw(&["!#{7}"]), is_bsn));
    written(dice, &text, &BSN_WAYS)
}

pub(super) fn is_cpf(text: &str) -> bool {
    let check = |length: usize| {
        let weights: Vec<u64> = (2..=length as u64 + 1).rev().collect();
        let rest = weighed(&text[..length], &weights) % 11;
        digits(text)[length] == if rest < 2 { 0 } else { 11 - rest }
    };
    (text.len() == 10 || check(10)) && check(9)
}

pub(super) fn cpf_plain(dice: &mut Dice) -> String {
    with_digit(dice, |dice| with_digit(dice, |dice| dice.draw(&["#{9}"]), is_cpf), is_cpf)
}

const CPF_WAYS: [&[(usize, &str)]; 2] = [&[(11, "")], &[(3, "."), (3, "."), (3, "-"), (2, "")]];

pub(super) fn cpf(dice: &mut Dice) -> String {
    let text = cpf_plain(dice);
    written(dice, &text, &CPF_WAYS)
}

pub(super) fn rare_cpf(dice: &mut Dice) -> String {
    let text = cpf_plain(dice);
    written(
        dice,
        &text,
        &[
            &[(9, "-"), (2, "")],
            &[(3, " "), (3, " "), (3, " "), (2, "")],
            &[(3, "."), (3, "."), (3, "/"), (2, "")],
        ],
    )
}

pub(super) fn no_cpf(dice: &mut Dice) -> String {
    let text = wrong(&cpf_plain(dice));
    written(dice, &text, &CPF_WAYS)
}

/// Verhoeff, by the tables of its inventor.
pub(super) fn is_aadhaar(text: &str) -> bool {
    const TIMES: [&str; 10] = [
        "0123456789",
        "1234067895",
        "2340178956",
        "3401289567",
        "4012395678",
        "5987604321",
        "6598710432",
        "7659821043",
        "8765932104",
        "9876543210",
    ];
    const PLACES: [&str; 8] = [
        "0123456789",
        "1576283094",
        "5803796142",
        "8916043527",
        "9453126870",
        "4286573901",
        "2793806415",
        "7046913258",
    ];
    let at = |row: &str, column: u64| u64::from(row.as_bytes()[column as usize] - b'0');
    let sum = digits(text)
        .iter()
        .rev()
        .enumerate()
        .fold(0, |sum, (place, digit)| at(TIMES[sum as usize], at(PLACES[place % 8], *digit)));
    sum == 0
}

const AADHAAR_WAYS: [&[(usize, &str)]; 3] =
    [&[(12, "")], &[(4, " "), (4, " "), (4, "")], &[(4, "-"), (4, "-"), (4, "")]];

pub(super) fn aadhaar_plain(dice: &mut Dice) -> String {
    with_digit(dice, |dice| dice.draw(&["2#{10}", "5#{10}", "9#{10}"]), is_aadhaar)
}

pub(super) fn aadhaar(dice: &mut Dice) -> String {
    let text = aadhaar_plain(dice);
    written(dice, &text, &AADHAAR_WAYS)
}

pub(super) fn rare_aadhaar(dice: &mut Dice) -> String {
    let text = aadhaar_plain(dice);
    written(
        dice,
        &text,
        &[&[(4, "."), (4, "."), (4, "")], &[(4, "  "), (4, "  "), (4, "")], &[(6, " "), (6, "")]],
    )
}

pub(super) fn no_aadhaar(dice: &mut Dice) -> String {
    let text = wrong(&aadhaar_plain(dice));
    written(dice, &text, &AADHAAR_WAYS)
}

pub(super) fn is_pesel(text: &str) -> bool {
    weighed(text, &[1, 3, 7, 9, 1, 3, 7, 9, 1, 3, 1]).is_multiple_of(10)
}

pub(super) fn pesel(dice: &mut Dice) -> String {
    let born = |dice: &mut Dice| {
        let month = 1 + dice.below(12) + 20 * dice.below(2);
        format!("{:02}{month:02}{:02}{:04}", dice.below(100), 1 + dice.below(28), dice.below(10_000))
    };
    with_digit(dice, born, is_pesel)
}

pub(super) fn rare_pesel(dice: &mut Dice) -> String {
    let text = pesel(dice);
    written(
        dice,
        &text,
        &[&[(6, " "), (5, "")], &[(6, "-"), (5, "")], &[(2, " "), (2, " "), (2, " "), (5, "")]],
    )
}

pub(super) fn no_pesel(dice: &mut Dice) -> String {
    wrong(&pesel(dice))
}

pub(super) fn is_ahv(text: &str) -> bool {
    weighed(text, &[1, 3, 1, 3, 1, 3, 1, 3, 1, 3, 1, 3, 1]).is_multiple_of(10)
}

const AHV_WAYS: [&[(usize, &str)]; 2] = [&[(3, "."), (4, "."), (4, "."), (2, "")], &[(13, "")]];

pub(super) fn ahv_plain(dice: &mut Dice) -> String {
    with_digit(dice, |dice| dice.draw(&["756#{9}"]), is_ahv)
}

pub(super) fn ahv(dice: &mut Dice) -> String {
    let text = ahv_plain(dice);
    written(dice, &text, &AHV_WAYS)
}

pub(super) fn rare_ahv(dice: &mut Dice) -> String {
    let text = ahv_plain(dice);
    written(
        dice,
        &text,
        &[
            &[(3, " "), (4, " "), (4, " "), (2, "")],
            &[(3, "-"), (4, "-"), (4, "-"), (2, "")],
            &[(3, "."), (10, "")],
        ],
    )
}

pub(super) fn no_ahv(dice: &mut Dice) -> String {
    let text = wrong(&ahv_plain(dice));
    written(dice, &text, &AHV_WAYS)
}

pub(super) fn cn_of(dice: &mut Dice, add: u64) -> String {
    let area = dice.draw(&["11010#", "31011#", "44030#", "51010#"]);
    let (year, month, day) = (1940 + dice.below(80), 1 + dice.below(12), 1 + dice.below(28));
    let body = format!("{area}{year}{month:02}{day:02}{:03}", dice.below(1000));
    let sum = weighed(&body, &[7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2]) + add;
    // With the last, of weight one, it is one more than a multiple of eleven.
    let last = (0..11).find(|last| (sum + last) % 11 == 1).expect("one of eleven");
    format!("{body}{}", if last == 10 { "X".to_owned() } else { last.to_string() })
}

pub(super) fn cn(dice: &mut Dice) -> String {
    let text = cn_of(dice, 0);
    match dice.below(4) {
        0 => text.to_lowercase(),
        1 if !text.ends_with('X') => split(&text, &[(6, " "), (8, " "), (4, "")]),
        _ => text,
    }
}

pub(super) fn rare_cn(dice: &mut Dice) -> String {
    let text = cn_of(dice, 0);
    match dice.below(3) {
        // As it was before 1999.
        0 => format!("{}{}", &text[..6], &text[8..17]),
        1 => split(&text, &[(6, "-"), (8, "-"), (4, "")]),
        _ => split(&text, &[(6, " "), (4, " "), (4, " "), (4, "")]),
    }
}

pub(super) fn no_cn(dice: &mut Dice) -> String {
    let add = 1 + dice.below(10) as u64;
    cn_of(dice, add)
}

const SIN_WAYS: [&[(usize, &str)]; 3] =
    [&[(3, " "), (3, " "), (3, "")], &[(3, "-"), (3, "-"), (3, "")], &[(9, "")]];

pub(super) fn sin_plain(dice: &mut Dice) -> String {
    with_digit(dice, |dice| dice.draw(&["1#{7}", "4#{7}", "7#{7}", "9#{7}"]), luhn)
}

pub(super) fn sin(dice: &mut Dice) -> String {
    let text = sin_plain(dice);
    written(dice, &text, &SIN_WAYS)
}

pub(super) fn rare_sin(dice: &mut Dice) -> String {
    let text = sin_plain(dice);
    written(
        dice,
        &text,
        &[&[(3, "."), (3, "."), (3, "")], &[(3, "  "), (3, "  "), (3, "")], &[(3, "/"), (3, "/"), (3, "")]],
    )
}

pub(super) fn no_sin(dice: &mut Dice) -> String {
    let text = wrong(&sin_plain(dice));
    written(dice, &text, &SIN_WAYS)
}
