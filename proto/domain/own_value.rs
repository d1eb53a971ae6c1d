//! Values that callers bring themselves: which may be one, and how hard one is to guess.
//!
//! What is kept of a value is its plain hash, so whoever reads the hashes can try values as fast as a machine hashes. The
//! invariant: a value whose hash leaves here is out of reach of that, as far as a value's looks can tell. Knows no words
//! but a few; weaker values can be passwords, whose hashes are slow and have a bound of their own.

pub mod password;
pub mod shared;

use zeroize::Zeroizing;

use crate::api_key::{self, KeyHash, KeyKind};
use crate::model::caller::VALUE_MAX;

/// The shortest value, in bytes.
pub const VALUE_MIN: usize = 32;
/// The least that guessing one takes, in bits.
pub const BITS_MIN: u32 = 80;
/// How much of a value is looked at for that.
const LOOKED_AT: usize = 512;

/// What people type without thinking: as good as known.
const USUAL: &[u8] = b"qwertyuiopasdfghjklzxcvbnm12345678901qaz2wsx3edc4rfv5tgb6yhn7ujm8ik,9ol.0p;/!@#$%^&*()\
    passwordpassw0rdsecretchangemetokenbearerapikeyapi-keyapi_keyadmintestexampleletmeinwelcomedefaultplaceholderyour";

/// Why a value is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WeakValue {
    /// Headers lose it, or split it.
    #[error("holds a space, a control character or one that is not ASCII: give visible ASCII alone")]
    Invisible,
    /// It is too short.
    #[error("is {0} characters long: {VALUE_MIN} at least; a shorter one can only be the password of a user")]
    Short(usize),
    /// It is longer than nodes compare.
    #[error("is {0} characters long: {VALUE_MAX} at most")]
    Long(usize),
    /// It repeats itself, or consists of what everybody tries.
    #[error(
        "takes an estimated {0} bits to guess: {BITS_MIN} at least; draw it at random, as `openssl rand -hex 32` does"
    )]
    Guessable(u32),
    /// It looks like one, and its checksum is wrong.
    #[error("has the form of a key of RequestRocket, and is none: it was cut off or changed")]
    BrokenKey,
}

/// The hash by which a value is known, if it can be one: a value of one's own, or a key that RequestRocket made.
pub fn hash(value: &[u8]) -> Result<KeyHash, WeakValue> {
    if let Some(hash) = api_key::hash(KeyKind::Caller, value) {
        return Ok(hash);
    }
    if api_key::hash_unsummed(KeyKind::Caller, value).is_some() {
        return Err(WeakValue::BrokenKey);
    }
    if !value.iter().all(u8::is_ascii_graphic) {
        return Err(WeakValue::Invisible);
    }
    if value.len() < VALUE_MIN {
        return Err(WeakValue::Short(value.len()));
    }
    if value.len() > VALUE_MAX {
        return Err(WeakValue::Long(value.len()));
    }
    let bits = bits(value);
    if bits < BITS_MIN {
        return Err(WeakValue::Guessable(bits));
    }
    Ok(api_key::hash_foreign(value))
}

/// How many bits it takes to say a value to somebody who knows what is usual; no more is counted than is needed.
fn bits(value: &[u8]) -> u32 {
    let value: Zeroizing<Vec<u8>> =
        Zeroizing::new(value.iter().take(LOOKED_AT).map(u8::to_ascii_lowercase).collect());
    let each = each(&value);
    let mut known = Zeroizing::new(Vec::with_capacity(USUAL.len() + value.len()));
    known.extend_from_slice(USUAL);
    known.extend_from_slice(&value);
    let (mut bits, mut at) = (0.0, 0);
    while at < value.len() && bits < f64::from(BITS_MIN) {
        let left = &value[at..];
        let length = repeated(&known, USUAL.len() + at).max(run(left));
        // Where it stands, and how long it is.
        let pointer = f64::from(u32::try_from(USUAL.len() + at).unwrap_or(u32::MAX)).log2() + 3.0;
        let spelled = each * length as f64;
        if length >= 3 && pointer < spelled {
            bits += pointer;
            at += length;
        } else {
            bits += each;
            at += 1;
        }
    }
    // A value that is not enough is never rounded up to enough.
    bits.floor().min(f64::from(u32::MAX)) as u32
}

/// The bits of a character, by how often each occurs.
fn each(value: &[u8]) -> f64 {
    let mut counts = [0_u32; 256];
    value.iter().for_each(|byte| counts[usize::from(*byte)] += 1);
    let all = value.len() as f64;
    counts
        .iter()
        .filter(|count| **count > 0)
        .map(|count| f64::from(*count) / all)
        .map(|p| -p * p.log2())
        .sum()
}

/// How much of what stands at a place stood before it.
fn repeated(known: &[u8], at: usize) -> usize {
    let same =
        |from: usize| known[from..].iter().zip(&known[at..]).take_while(|(one, other)| one == other).count();
    (0..at).map(same).max().unwrap_or(0)
}

/// How far it counts up or down.
fn run(left: &[u8]) -> usize {
    let step = |pair: &[u8]| i16::from(pair[1]) - i16::from(pair[0]);
    let Some(first) = left.windows(2).next().map(step).filter(|step| step.abs() <= 1) else { return 0 };
    1 + left.windows(2).take_while(|pair| step(pair) == first).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_drawn_at_random_is_taken() {
        for value in [
            "9f86d081884c7d659a2feaa0c55ad015",
            "3f2b8c1d-7e54-4a09-9c6b-d18e2f7a5b30",
            "kqzvhwmtbxjrnyplcgfdsoaeiukqhzwt",
            "73940182650917364829105736482910",
            "uXk3vPq9ZrT7mWc2LbN8sYd5GhJ4fQe6",
            "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhbm4ifQ.SflKxwRJSMeKKF2QT4fwpMeJf36POk6yJV_adQssw5c",
        ] {
            assert_eq!(hash(value.as_bytes()), Ok(api_key::hash_foreign(value.as_bytes())), "{value}");
        }
    }

    #[test]
    fn what_everybody_would_try_is_not_taken_however_long_it_is() {
        for value in [
            "a".repeat(32),
            "a".repeat(VALUE_MAX),
            "ab".repeat(200),
            "changeme".repeat(4),
            "PasswordPassword1PasswordPassword2".to_owned(),
            "00000000-0000-0000-0000-000000000000".to_owned(),
            "abcdefghijklmnopqrstuvwxyz0123456789".to_owned(),
            "zyxwvutsrqponmlkjihgfedcba9876543210".to_owned(),
            "qwertyuiopasdfghjklzxcvbnm1234567890".to_owned(),
            "your-api-key-your-api-key-your-api-key".to_owned(),
            "x1y2z3x1y2z3x1y2z3x1y2z3x1y2z3x1y2z3x1y2z3x1y2z3x1y2z3x1y2z3".to_owned(),
        ] {
            assert!(
                matches!(hash(value.as_bytes()), Err(WeakValue::Guessable(_))),
                "{value}: {}",
                bits(value.as_bytes())
            );
        }
    }

    #[test]
    fn a_value_that_nearly_takes_enough_is_not_rounded_up() {
        // 79.5 bits.
        assert_eq!(hash(b"zqvkhqwhqzzqhzwhkkvwqzwzzqzkhkhk"), Err(WeakValue::Guessable(79)));
    }

    #[test]
    fn what_no_header_carries_whole_and_what_is_too_short_or_too_long_is_not_taken() {
        let strong = "9f86d081884c7d659a2feaa0c55ad01";
        assert_eq!(hash(strong.as_bytes()), Err(WeakValue::Short(31)));
        for with in [" ", "\n", "\t", "é", "\u{7f}", "\0"] {
            assert_eq!(hash(format!("{strong}{with}9f").as_bytes()), Err(WeakValue::Invisible), "{with:?}");
        }
        let long = vec![b'x'; VALUE_MAX + 1];
        assert_eq!(hash(&long), Err(WeakValue::Long(VALUE_MAX + 1)));
        assert_eq!(hash(b""), Err(WeakValue::Short(0)));
    }

    #[test]
    fn a_key_of_ours_is_known_by_the_hash_that_it_has_anyway_and_a_broken_one_by_none() {
        let (key, kept) = api_key::make(KeyKind::Caller, &[7; 32]);
        assert_eq!(hash(key.expose()), Ok(kept));
        let mut bent = key.expose().to_vec();
        bent[20] ^= 1;
        assert_eq!(hash(&bent), Err(WeakValue::BrokenKey));
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_panic_and_nothing_short_is_taken(value: Vec<u8>) {
            proptest::prop_assert!(hash(&value).is_err() || value.len() >= 32);
            let _ = bits(&value);
        }
    }
}
