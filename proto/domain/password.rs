//! Hashes of callers' passwords: Argon2id with one set of parameters.
//!
//! Keeps no password, and stores nothing. The invariant: every hash costs whoever checks it the same, so that what a
//! password costs says nothing about its owner, and a node knows beforehand what it has to compute.

use std::fmt;
use std::hint::black_box;

use argon2::{Algorithm, Argon2, Block, Params, Version};
use data_encoding::BASE64_NOPAD;
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use crate::secret::Secret;

/// KiB of memory: 19 MiB.
const MEMORY: u32 = 19_456;
const PASSES: u32 = 2;
const LANES: u32 = 1;
/// How every hash begins.
const PARAMETERS: &str = "$argon2id$v=19$m=19456,t=2,p=1$";
/// The shortest and the longest salt, in bytes.
const SALT: std::ops::RangeInclusive<usize> = 16..=48;
/// Bytes of a salt of our making.
pub const SALT_BYTES: usize = 16;
const OUTPUT: usize = 32;

/// Argon2id of a password.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash {
    salt: Box<[u8]>,
    output: [u8; OUTPUT],
}

/// A text that is no hash that a node would compute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "is not `{PARAMETERS}` with 16 to 48 bytes of salt, `$` and 32 bytes of hash, both in base64 without padding: \
     `rrctl credential create-caller NAME --kind basic --user USER` makes one, or \
     `argon2 \"$(openssl rand -hex 16)\" -id -t 2 -k 19456 -p 1 -l 32 -e` of the password on its standard input, \
     without a line end"
)]
pub struct InvalidPasswordHash;

impl PasswordHash {
    /// Of a password, with 16 random bytes.
    pub fn make(password: &Secret, salt: [u8; SALT_BYTES], scratch: &mut Scratch) -> Self {
        let output = *scratch.run(password.expose(), &salt);
        Self { salt: Box::new(salt), output }
    }

    /// One that is nobody's: what is computed in the place of a user who is not there.
    pub fn nobodys() -> Self {
        Self { salt: Box::new([0; SALT_BYTES]), output: [0; OUTPUT] }
    }

    /// Whether it is this password's.
    pub fn is_of(&self, password: &[u8], scratch: &mut Scratch) -> bool {
        bool::from(scratch.run(password, &self.salt).ct_eq(&self.output))
    }

    /// As a PHC string.
    pub fn to_phc(&self) -> String {
        format!("{PARAMETERS}{}${}", BASE64_NOPAD.encode(&self.salt), BASE64_NOPAD.encode(&self.output))
    }
}

impl TryFrom<&str> for PasswordHash {
    type Error = InvalidPasswordHash;

    fn try_from(text: &str) -> Result<Self, InvalidPasswordHash> {
        let rest = text.strip_prefix(PARAMETERS).ok_or(InvalidPasswordHash)?;
        let (salt, output) = rest.split_once('$').ok_or(InvalidPasswordHash)?;
        let bytes = |text: &str| BASE64_NOPAD.decode(text.as_bytes()).map_err(|_| InvalidPasswordHash);
        let (salt, output) = (bytes(salt)?, bytes(output)?);
        if !SALT.contains(&salt.len()) {
            return Err(InvalidPasswordHash);
        }
        let output = output.try_into().map_err(|_| InvalidPasswordHash)?;
        Ok(Self { salt: salt.into(), output })
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Passwords are guessed from it.
        f.write_str("PasswordHash")
    }
}

/// The memory that a hash is computed in. What a password left in it is gone when the hash is there.
pub struct Scratch(Box<[Block]>);

impl Default for Scratch {
    fn default() -> Self {
        Self(vec![Block::new(); usize::try_from(MEMORY).expect("it is small")].into())
    }
}

impl Scratch {
    fn run(&mut self, password: &[u8], salt: &[u8]) -> Zeroizing<[u8; OUTPUT]> {
        let params =
            Params::new(MEMORY, PASSES, LANES, Some(OUTPUT)).expect("they are within Argon2's limits");
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        let mut output = Zeroizing::new([0; OUTPUT]);
        argon2
            .hash_password_into_with_memory(password, salt, &mut *output, &mut *self.0)
            .expect("password and salt are short, and the memory is as large as it has to be");
        self.wipe();
        output
    }

    /// Whoever reads its first blocks guesses passwords without Argon2's cost.
    fn wipe(&mut self) {
        self.0.fill(Block::new());
        // The writes are seen.
        black_box(&*self.0);
    }
}

#[cfg(test)]
mod tests {
    use argon2::PasswordHasher as _;
    use argon2::password_hash::phc;

    use super::*;

    const PASSWORD: &[u8] = "corrêct horse: battery".as_bytes();

    fn made(salt: u8) -> PasswordHash {
        PasswordHash::make(&Secret::new(PASSWORD.to_vec()), [salt; 16], &mut Scratch::default())
    }

    #[test]
    fn a_hash_is_its_passwords_and_no_others() {
        let (hash, mut scratch) = (made(1), Scratch::default());
        assert!(hash.is_of(PASSWORD, &mut scratch));
        for other in [&PASSWORD[1..], b"", &[PASSWORD, b"\n"].concat()] {
            assert!(!hash.is_of(other, &mut scratch));
        }
        assert_ne!(hash, made(2));
        assert!(!PasswordHash::nobodys().is_of(PASSWORD, &mut scratch));
    }

    #[test]
    fn a_hash_is_what_any_program_makes_that_knows_argon2() {
        let params = Params::new(MEMORY, PASSES, LANES, Some(OUTPUT)).expect("parameters");
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        let phc: phc::PasswordHash = argon2.hash_password_with_salt(PASSWORD, &[1; 16]).expect("a hash");
        assert_eq!(phc.to_string(), made(1).to_phc());
        assert_eq!(PasswordHash::try_from(&*phc.to_string()), Ok(made(1)));
    }

    #[test]
    fn nothing_of_a_password_stays_in_the_scratch() {
        let mut scratch = Scratch::default();
        assert!(made(1).is_of(PASSWORD, &mut scratch));
        let mut words = scratch.0.iter().flat_map(|block| block.as_ref());
        assert!(words.all(|word| *word == 0));
    }

    #[test]
    fn a_hash_with_other_parameters_is_refused_with_a_way_to_make_one() {
        let good = made(1).to_phc();
        assert!(PasswordHash::try_from(&*good).is_ok());
        for (from, to) in [
            ("argon2id", "argon2i"),
            ("argon2id", "argon2d"),
            ("argon2id", "scrypt"),
            ("v=19", "v=16"),
            ("$v=19", ""),
            ("m=19456", "m=19455"),
            ("m=19456", "m=65536"),
            ("t=2", "t=3"),
            ("p=1", "p=2"),
            ("m=19456,t=2", "t=2,m=19456"),
            ("p=1", "p=1,data=AAAA"),
            ("p=1", "p=1,keyid=AAAA"),
            ("AQEB", ""),
        ] {
            let text = good.replacen(from, to, 1);
            assert_ne!(text, good, "{from}");
            assert_eq!(PasswordHash::try_from(&*text), Err(InvalidPasswordHash), "{text}");
        }
        for text in
            ["", "hunter2", PARAMETERS, &good[..good.len() - 1], &format!("{good}="), &format!("{good}A")]
        {
            assert_eq!(PasswordHash::try_from(text), Err(InvalidPasswordHash), "{text}");
        }
        let long = |bytes: usize| {
            let salt = BASE64_NOPAD.encode(&vec![1; bytes]);
            PasswordHash::try_from(&*format!("{PARAMETERS}{salt}${}", BASE64_NOPAD.encode(&[0; 32])))
        };
        assert!(long(15).is_err() && long(16).is_ok() && long(48).is_ok() && long(49).is_err());
        let said = InvalidPasswordHash.to_string();
        for part in
            ["$argon2id$v=19$m=19456,t=2,p=1$", "rrctl credential create-caller", "argon2 \"$(", "-k 19456"]
        {
            assert!(said.contains(part), "{said}");
        }
    }

    #[test]
    fn nothing_of_a_hash_is_printed() {
        assert_eq!(format!("{:?}", made(1)), "PasswordHash");
    }
}
