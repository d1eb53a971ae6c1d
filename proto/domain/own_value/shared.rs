//! Secrets that issuers of tokens share with nodes: which may be one.
//!
//! Seals nothing. Whoever has one token can try secrets on it as fast as a machine hashes, so as much is asked of a secret
//! as of a value that a plain hash keeps. The invariant: nothing that is taken is shorter than what its algorithms make.

use super::BITS_MIN;
use crate::model::caller::jwt::Algorithm;
use crate::model::sealed::VALUE_MAX;

/// Why a secret is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WeakShared {
    /// It verifies something else.
    #[error("verifies HS256, HS384 and HS512 alone, and {} is another family: give public keys for it, as a credential of its own", .0.as_str())]
    Family(Algorithm),
    /// It is too short.
    #[error(
        "is {length} bytes long: {} needs {least} at least (RFC 7518); `openssl rand -hex {least}` makes one",
        .algorithm.as_str()
    )]
    Short {
        /// How long it is.
        length: usize,
        /// How long it has to be.
        least: usize,
        /// For which.
        algorithm: Algorithm,
    },
    /// It is longer than what is sealed.
    #[error("is {0} bytes long: {VALUE_MAX} at most")]
    Long(usize),
    /// It repeats itself, or consists of what everybody tries.
    #[error(
        "takes an estimated {0} bits to guess from a token: {BITS_MIN} at least; draw it at random, as `openssl rand -hex 64` does"
    )]
    Guessable(u32),
}

/// Whether a secret may verify tokens of these algorithms.
pub fn check(secret: &[u8], algorithms: &[Algorithm]) -> Result<(), WeakShared> {
    for algorithm in algorithms.iter().copied() {
        let least = algorithm.secret_min().ok_or(WeakShared::Family(algorithm))?;
        if secret.len() < least {
            return Err(WeakShared::Short { length: secret.len(), least, algorithm });
        }
    }
    if secret.len() > VALUE_MAX {
        return Err(WeakShared::Long(secret.len()));
    }
    let bits = super::bits(secret);
    if bits < BITS_MIN { Err(WeakShared::Guessable(bits)) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    use Algorithm::{ES256, HS256, HS384, HS512, RS256};

    /// Hexadecimal digits that were drawn at random.
    fn drawn(length: usize) -> Vec<u8> {
        let digits =
            b"9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08e3b0c44298fc1c149afbf4c8";
        digits[..length].to_vec()
    }

    #[test]
    fn a_secret_is_as_long_as_the_longest_of_its_algorithms_asks() {
        for (algorithms, least) in
            [(&[HS256][..], 32), (&[HS384], 48), (&[HS512], 64), (&[HS256, HS512], 64), (&[HS384, HS256], 48)]
        {
            assert_eq!(check(&drawn(least), algorithms), Ok(()), "{algorithms:?}");
            let short = check(&drawn(least - 1), algorithms);
            assert!(
                matches!(short, Err(WeakShared::Short { least: said, .. }) if said == least),
                "{algorithms:?}: {short:?}"
            );
        }
    }

    #[test]
    fn what_is_guessed_from_a_token_is_none() {
        for guessable in [
            &[b'a'; 64][..],
            &b"changeme".repeat(8),
            &b"secretpasswordsecretpassword".repeat(3),
            b"0123456789".repeat(7).as_slice(),
        ] {
            assert!(matches!(check(guessable, &[HS256]), Err(WeakShared::Guessable(_))));
        }
        assert!(matches!(check(&drawn(32).repeat(3000), &[HS256]), Err(WeakShared::Long(_))));
    }

    #[test]
    fn a_secret_verifies_nothing_of_public_keys() {
        for algorithms in [&[RS256][..], &[HS256, ES256], &[ES256, HS256]] {
            assert!(matches!(check(&drawn(64), algorithms), Err(WeakShared::Family(ES256 | RS256))));
        }
    }

    #[test]
    fn why_it_is_refused_does_not_repeat_it() {
        for (secret, part) in [
            ("hunter2-hunter2", "15 bytes long: HS256 needs 32 at least"),
            ("changemechangemechangemechangeme", "bits to guess"),
        ] {
            let said = check(secret.as_bytes(), &[HS256]).expect_err("is weak").to_string();
            assert!(said.contains(part) && !said.contains(secret), "{said}");
        }
    }
}
