//! Numbers that countries give their people, made by the rules of each, and with a wrong check digit.
//!
//! Check digits are sought by the condition that they meet, not computed as the detectors do.

use rr_domain::model::detector::Detector;

use super::{Dice, Kind};

use self::checked::*;
use self::lettered::*;

mod checked;
mod lettered;

pub(super) fn kinds() -> Vec<Kind> {
    vec![
        Kind { detector: Detector::UsSsn, usual: ssn, rare: rare_ssn, alike: no_ssn },
        Kind { detector: Detector::UkNino, usual: nino, rare: rare_nino, alike: no_nino },
        Kind { detector: Detector::UkNhs, usual: nhs, rare: rare_nhs, alike: no_nhs },
        Kind { detector: Detector::DeTaxId, usual: tax_id, rare: rare_tax_id, alike: no_tax_id },
        Kind { detector: Detector::FrNir, usual: nir, rare: rare_nir, alike: no_nir },
        Kind { detector: Detector::EsDni, usual: dni, rare: rare_dni, alike: no_dni },
        Kind { detector: Detector::ItFiscalCode, usual: fiscal, rare: rare_fiscal, alike: no_fiscal },
        Kind { detector: Detector::NlBsn, usual: bsn, rare: rare_bsn, alike: no_bsn },
        Kind { detector: Detector::BrCpf, usual: cpf, rare: rare_cpf, alike: no_cpf },
        Kind { detector: Detector::InAadhaar, usual: aadhaar, rare: rare_aadhaar, alike: no_aadhaar },
        Kind { detector: Detector::PlPesel, usual: pesel, rare: rare_pesel, alike: no_pesel },
        Kind { detector: Detector::ChAhv, usual: ahv, rare: rare_ahv, alike: no_ahv },
        Kind { detector: Detector::CnResidentId, usual: cn, rare: rare_cn, alike: no_cn },
        Kind { detector: Detector::CaSin, usual: sin, rare: rare_sin, alike: no_sin },
    ]
}

/// The digits of a text, as numbers.
fn digits(text: &str) -> Vec<u64> {
    text.chars().map(|digit| digit.to_digit(10).expect("a digit").into()).collect()
}

fn weighed(text: &str, weights: &[u64]) -> u64 {
    assert_eq!(text.len(), weights.len(), "{text}");
    digits(text).iter().zip(weights).map(|(digit, weight)| digit * weight).sum()
}

/// Draws until there is a digit with which a number is one.
fn with_digit(dice: &mut Dice, body: impl Fn(&mut Dice) -> String, is_one: fn(&str) -> bool) -> String {
    loop {
        let body = body(dice);
        if let Some(text) = (0..10).map(|digit| format!("{body}{digit}")).find(|text| is_one(text)) {
            return text;
        }
    }
}

/// Groups, with what stands between them.
fn split(text: &str, parts: &[(usize, &str)]) -> String {
    let (mut at, mut out) = (0, String::new());
    for (length, behind) in parts {
        out.push_str(&text[at..at + length]);
        out.push_str(behind);
        at += length;
    }
    assert_eq!(at, text.len(), "{text}");
    out
}

/// In one of these ways.
fn written(dice: &mut Dice, text: &str, ways: &[&[(usize, &str)]]) -> String {
    split(text, ways[dice.below(ways.len())])
}

/// With another of its last digits.
fn wrong(text: &str) -> String {
    let at = text.rfind(|sign: char| sign.is_ascii_digit()).expect("a digit");
    let digit = text.as_bytes()[at] - b'0';
    format!("{}{}{}", &text[..at], (digit + 1) % 10, &text[at + 1..])
}

fn luhn(text: &str) -> bool {
    let of =
        |(place, digit): (usize, &u64)| if place % 2 == 0 { *digit } else { digit * 2 % 10 + digit * 2 / 10 };
    digits(text).iter().rev().enumerate().map(of).sum::<u64>() % 10 == 0
}
