//! Where the authority's key is: in a file, behind a descriptor, or in a program that signs.
//!
//! Reads nothing. No source holds the key itself, so each can be printed.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// The setting, as errors name it.
pub(super) const FLAG: &str = "--authority-key";

/// Where the key of an authority is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeySource {
    /// A PEM file (PKCS#8), which the first start makes.
    File(PathBuf),
    /// A descriptor that this process was started with, from which the same is read to its end.
    Descriptor(u32),
    /// A program that signs, and never gives the key away.
    Program(PathBuf),
}

/// A text that names no such place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidKeySource {
    /// It has no known word in front.
    #[error("{FLAG} is none of file:PATH, fd:NUMBER and exec:PROGRAM")]
    Kind,
    /// It names no file.
    #[error("{FLAG} names no file behind `file:`")]
    File,
    /// It names no descriptor that can hold a key.
    #[error("{FLAG} names no descriptor behind `fd:`: a number from 3 on, which the shell opens with `3<`")]
    Descriptor,
    /// It names a program that would be looked for.
    #[error("{FLAG} names no program by its whole path behind `exec:`; arguments go into a script")]
    Program,
}

impl FromStr for KeySource {
    type Err = InvalidKeySource;

    fn from_str(text: &str) -> Result<Self, InvalidKeySource> {
        match text.split_once(':') {
            Some(("file", "")) => Err(InvalidKeySource::File),
            Some(("file", path)) => Ok(Self::File(path.into())),
            // The first three are what the process talks through.
            Some(("fd", number)) => match number.parse() {
                Ok(number @ 3..) => Ok(Self::Descriptor(number)),
                _ => Err(InvalidKeySource::Descriptor),
            },
            // Whoever could choose the working folder or the search path would choose the signer.
            Some(("exec", path)) if path.starts_with('/') => Ok(Self::Program(path.into())),
            Some(("exec", _)) => Err(InvalidKeySource::Program),
            _ => Err(InvalidKeySource::Kind),
        }
    }
}

impl fmt::Display for KeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "file:{}", path.display()),
            Self::Descriptor(number) => write!(f, "fd:{number}"),
            Self::Program(path) => write!(f, "exec:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_a_file_a_descriptor_or_a_program_by_its_whole_path() {
        for (text, wanted) in [
            ("file:/etc/rr/authority.key", KeySource::File("/etc/rr/authority.key".into())),
            ("file:a:b", KeySource::File("a:b".into())),
            ("fd:3", KeySource::Descriptor(3)),
            ("exec:/usr/lib/rr/sign", KeySource::Program("/usr/lib/rr/sign".into())),
        ] {
            let source: KeySource = text.parse().expect("one");
            assert_eq!((&source, source.to_string().as_str()), (&wanted, text));
        }
        for (text, why) in [
            ("/etc/rr/authority.key", InvalidKeySource::Kind),
            ("", InvalidKeySource::Kind),
            ("pkcs11:x", InvalidKeySource::Kind),
            ("file:", InvalidKeySource::File),
            ("fd:0", InvalidKeySource::Descriptor),
            ("fd:2", InvalidKeySource::Descriptor),
            ("fd:x", InvalidKeySource::Descriptor),
            ("exec:sign", InvalidKeySource::Program),
            ("exec:", InvalidKeySource::Program),
        ] {
            assert_eq!(text.parse::<KeySource>(), Err(why), "{text}");
            assert!(why.to_string().contains("--authority-key"), "{why}");
        }
    }
}
