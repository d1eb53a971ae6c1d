//! Passwords that people choose: which may be one of a caller, and the hash of it.
//!
//! Their hashes are slow, so less is asked of a password than of a value that a plain hash keeps. The invariant: nothing
//! that leaves here is what everybody tries first, as far as looks tell, or the name of its user.

use zeroize::Zeroizing;

use crate::password::{PasswordHash, SALT_BYTES, Scratch};
use crate::secret::Secret;

/// The fewest characters, the user's name not counted.
pub const PASSWORD_MIN: usize = 12;
/// The longest password, in bytes.
pub const PASSWORD_MAX: usize = 512;
/// The least that guessing one takes, in bits: at a thousand guesses a second, 50 days on average.
pub const PASSWORD_BITS_MIN: u32 = 33;
/// From how many characters on a user's name in a password is as good as known.
const NAME_MIN: usize = 3;

/// Why a password is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WeakPassword {
    /// Nobody could type it.
    #[error("is no text in UTF-8, or holds a control character: give characters that can be typed")]
    Untypable,
    /// It is too short.
    #[error("is {0} characters long without the name of the user: {PASSWORD_MIN} at least")]
    Short(usize),
    /// It is longer than nodes read.
    #[error("is {0} bytes long: {PASSWORD_MAX} at most")]
    Long(usize),
    /// It repeats itself, or consists of what everybody tries.
    #[error(
        "takes an estimated {0} bits to guess without the name of the user: {PASSWORD_BITS_MIN} at least; draw it at random, \
         as `openssl rand -base64 18` does, or string four or more words together"
    )]
    Guessable(u32),
}

/// The hash of a user's password, if it may be one.
pub fn hash(user: &str, password: &Secret, salt: [u8; SALT_BYTES]) -> Result<PasswordHash, WeakPassword> {
    let bytes = password.expose();
    let text = str::from_utf8(bytes).map_err(|_| WeakPassword::Untypable)?;
    if text.chars().any(char::is_control) {
        return Err(WeakPassword::Untypable);
    }
    if bytes.len() > PASSWORD_MAX {
        return Err(WeakPassword::Long(bytes.len()));
    }
    let lower = Zeroizing::new(text.to_lowercase());
    let known = user.chars().count() >= NAME_MIN;
    let left =
        Zeroizing::new(if known { lower.replace(&user.to_lowercase(), "") } else { lower.to_string() });
    let count = left.chars().count();
    if count < PASSWORD_MIN {
        return Err(WeakPassword::Short(count));
    }
    let bits = super::bits(left.as_bytes());
    if bits < PASSWORD_BITS_MIN {
        return Err(WeakPassword::Guessable(bits));
    }
    Ok(PasswordHash::make(password, salt, &mut Scratch::default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(user: &str, password: &str) -> Result<PasswordHash, WeakPassword> {
        hash(user, &Secret::new(password.as_bytes().to_vec()), [7; SALT_BYTES])
    }

    #[test]
    fn a_password_that_takes_some_guessing_is_taken_and_hashed_as_it_is() {
        for password in [
            "k3V9-xq7L_2m",
            "j8fhw0qnd6tz",
            "copper lantern orbit velvet",
            "Żółta łódź płynie nocą",
            "5f3a9c10e7b2",
            "ann k3V9-xq7L_2m",
        ] {
            let made = of("ann", password).unwrap_or_else(|error| panic!("{password} {error}"));
            assert!(made.is_of(password.as_bytes(), &mut Scratch::default()));
        }
    }

    #[test]
    fn what_everybody_tries_first_is_not_taken() {
        for password in [
            "aaaaaaaaaaaaaaaa",
            "abababababababab",
            "password12345",
            "Password1234!",
            "passwordpassword",
            "123456789012",
            "qwertyuiop12345",
            "changeme-changeme",
            "abcdefghijklmnop",
            "letmeinletmein",
        ] {
            assert!(matches!(of("ann", password), Err(WeakPassword::Guessable(_))), "{password}");
        }
    }

    #[test]
    fn what_is_short_long_or_cannot_be_typed_is_not_taken() {
        assert_eq!(of("ann", "k3V9-xq7L_2"), Err(WeakPassword::Short(11)));
        assert_eq!(of("ann", ""), Err(WeakPassword::Short(0)));
        assert_eq!(of("ann", &"k3V9-xq7L_2m".repeat(43)), Err(WeakPassword::Long(516)));
        assert_eq!(of("ann", "k3V9-xq7\nL_2m"), Err(WeakPassword::Untypable));
        let bytes = Secret::new(vec![0xff; 20]);
        assert_eq!(hash("ann", &bytes, [7; SALT_BYTES]), Err(WeakPassword::Untypable));
    }

    #[test]
    fn the_name_of_the_user_counts_for_nothing() {
        assert_eq!(of("reporting-service", "Reporting-Service-7"), Err(WeakPassword::Short(2)));
        assert_eq!(of("Reporting-Service", "reporting-service-7"), Err(WeakPassword::Short(2)));
        assert!(of("reporting-service", "reporting-service k3V9-xq7L_2m").is_ok());
        // A letter or two of a name is in many a password.
        assert!(of("q7", "k3V9-xq7L_2m").is_ok());
    }

    #[test]
    fn a_refusal_repeats_nothing_of_the_password() {
        for password in ["hunter2hunter2hunter2", "hunter2"] {
            let error = of("ann", password).expect_err("it is weak").to_string();
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}
