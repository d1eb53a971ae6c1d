//! Keys of our own making: `rr_<kind>_<random>_<checksum>`.
//!
//! 256 random bits, so a plain hash is enough to keep and to look up. The checksum lets scanners find
//! leaked keys and lets us refuse junk without a look-up; it protects nothing.

use std::fmt;
use std::sync::LazyLock;

use blake3::hazmat::{ContextKey, HasherExt as _, hash_derive_key_context};
use data_encoding::HEXLOWER;
use zeroize::Zeroizing;

use crate::secret::Secret;

/// What a key is for. Part of its text and of its hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyKind {
    /// A caller's, for the edge.
    Caller,
    /// A person's or a service's, for the management API.
    Token,
    /// The first token of an installation.
    Bootstrap,
}

impl KeyKind {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Caller => "key",
            Self::Token => "token",
            Self::Bootstrap => "bootstrap",
        }
    }

    fn label(self) -> &'static Label {
        match self {
            Self::Caller => &CALLER_KEY,
            // One label for both: a token is looked up before its kind is known.
            Self::Token | Self::Bootstrap => &TOKEN,
        }
    }
}

/// What a hash is bound to, hashed once.
type Label = LazyLock<ContextKey>;

static CALLER_KEY: Label = LazyLock::new(|| hash_derive_key_context("requestrocket caller key 1"));
static TOKEN: Label = LazyLock::new(|| hash_derive_key_context("requestrocket token 1"));
static CALLER_VALUE: Label = LazyLock::new(|| hash_derive_key_context("requestrocket caller value 1"));
static CLIENT_KEY: Label = LazyLock::new(|| hash_derive_key_context("requestrocket client key 1"));
static CLIENT_NAME: Label = LazyLock::new(|| hash_derive_key_context("requestrocket client name 1"));

/// What is kept of a key.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyHash([u8; 32]);

/// Bytes that are not the hash of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a key's hash is 32 bytes: in JSON as base64, not in hexadecimal")]
pub struct InvalidKeyHash;

impl KeyHash {
    /// The hash.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl TryFrom<&[u8]> for KeyHash {
    type Error = InvalidKeyHash;

    fn try_from(bytes: &[u8]) -> Result<Self, InvalidKeyHash> {
        bytes.try_into().map(Self).map_err(|_| InvalidKeyHash)
    }
}

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Enough to tell two apart, not enough to look one up.
        write!(f, "KeyHash({:02x}{:02x}…)", self.0[0], self.0[1])
    }
}

/// Makes a key out of 32 random bytes: its text, shown once, and the hash that is kept.
pub fn make(kind: KeyKind, random: &[u8; 32]) -> (Secret, KeyHash) {
    // Sized once: a text that grows leaves pieces of the key behind.
    let mut text = Zeroizing::new(String::with_capacity(kind.as_str().len() + 4 + 64 + 9));
    text.push_str("rr_");
    text.push_str(kind.as_str());
    text.push('_');
    HEXLOWER.encode_append(random, &mut text);
    let sum = checksum(text.as_bytes());
    text.push('_');
    text.push_str(std::str::from_utf8(&sum).expect("hex is ASCII"));
    let hash = digest(kind, text.as_bytes());
    (Secret::new(text.as_bytes().to_vec()), hash)
}

/// The hash to look up for a presented key; `None` when it is no key of this kind. Does not allocate.
pub fn hash(kind: KeyKind, presented: &[u8]) -> Option<KeyHash> {
    let sum = shaped(kind, presented)?;
    let body = &presented[..presented.len() - 9];
    (checksum(body) == sum).then(|| digest(kind, presented))
}

/// The same without a look at the checksum: for a look-up that finds no junk anyway, at half the price.
pub fn hash_unsummed(kind: KeyKind, presented: &[u8]) -> Option<KeyHash> {
    shaped(kind, presented).map(|_| digest(kind, presented))
}

/// The checksum of what has the form of a key of this kind.
fn shaped(kind: KeyKind, presented: &[u8]) -> Option<&[u8]> {
    let rest = presented.strip_prefix(b"rr_")?.strip_prefix(kind.as_str().as_bytes())?;
    let rest = rest.strip_prefix(b"_")?;
    // 64 hexadecimal digits, an underscore, 8 digits of checksum.
    (rest.len() == 73 && rest[64] == b'_').then(|| &rest[65..])
}

/// The hash of a value that callers present and that we did not make: a bearer's without its prefix, a fixed
/// token's. One label for all of them, so that one look-up finds any. Does not allocate.
pub fn hash_foreign(value: &[u8]) -> KeyHash {
    bound(&CALLER_VALUE, value)
}

/// The hash to look up for the key of a client certificate, of which this is the SHA-256. Nobody who presents a value has it.
pub fn hash_client_key(sha256: &[u8; 32]) -> KeyHash {
    bound(&CLIENT_KEY, sha256)
}

/// The hash to look up for the name in a client certificate.
pub fn hash_client_name(name: &str) -> KeyHash {
    bound(&CLIENT_NAME, name.as_bytes())
}

fn digest(kind: KeyKind, text: &[u8]) -> KeyHash {
    bound(kind.label(), text)
}

fn bound(label: &Label, text: &[u8]) -> KeyHash {
    let mut hasher = blake3::Hasher::new_from_context_key(label);
    hasher.update(text);
    KeyHash(*hasher.finalize().as_bytes())
}

fn checksum(text: &[u8]) -> [u8; 8] {
    let mut digits = [0; 8];
    HEXLOWER.encode_mut(&blake3::hash(text).as_bytes()[..4], &mut digits);
    digits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_made_key_hashes_to_what_was_kept() {
        for kind in [KeyKind::Caller, KeyKind::Token, KeyKind::Bootstrap] {
            let (text, kept) = make(kind, &[7; 32]);
            assert_eq!(hash(kind, text.expose()), Some(kept));
            assert_eq!(hash_unsummed(kind, text.expose()), Some(kept));
        }
    }

    #[test]
    fn a_hash_is_bound_to_its_label_as_it_ever_was() {
        for (label, hash) in [
            ("requestrocket caller key 1", digest(KeyKind::Caller, b"text")),
            ("requestrocket token 1", digest(KeyKind::Token, b"text")),
            ("requestrocket caller value 1", hash_foreign(b"text")),
            ("requestrocket client name 1", hash_client_name("text")),
        ] {
            assert_eq!(blake3::derive_key(label, b"text"), *hash.as_bytes(), "{label}");
        }
        let of_key = blake3::derive_key("requestrocket client key 1", &[7; 32]);
        assert_eq!(of_key, *hash_client_key(&[7; 32]).as_bytes());
    }

    #[test]
    fn what_a_certificate_is_found_by_is_the_hash_of_no_value() {
        let text = "spiffe://a.example/b";
        assert_ne!(hash_client_name(text), hash_foreign(text.as_bytes()));
        assert_ne!(hash_client_key(&[7; 32]), hash_foreign(&[7; 32]));
        let name = str::from_utf8(&[7; 32]).expect("it is ASCII");
        assert_ne!(hash_client_key(&[7; 32]), hash_client_name(name));
    }

    #[test]
    fn without_the_checksum_junk_of_the_right_form_has_a_hash_that_no_key_has() {
        let (text, kept) = make(KeyKind::Caller, &[7; 32]);
        let mut bent = text.expose().to_vec();
        let last = bent.len() - 1;
        bent[last] ^= 1;
        assert!(hash_unsummed(KeyKind::Caller, &bent).is_some_and(|hash| hash != kept));
        assert_eq!(hash_unsummed(KeyKind::Token, text.expose()), None);
        assert_eq!(hash_unsummed(KeyKind::Caller, &bent[..last]), None);
    }

    #[test]
    fn a_value_that_we_did_not_make_has_another_hash_than_a_key_of_the_same_text() {
        let (text, kept) = make(KeyKind::Caller, &[7; 32]);
        assert_ne!(hash_foreign(text.expose()), kept);
        assert_eq!(hash_foreign(b"v"), hash_foreign(b"v"));
        assert_ne!(hash_foreign(b"v"), hash_foreign(b"w"));
    }

    #[test]
    fn junk_and_a_key_of_another_kind_are_refused_without_a_look_up() {
        let (text, _) = make(KeyKind::Caller, &[7; 32]);
        assert_eq!(hash(KeyKind::Token, text.expose()), None);
        for at in 0..text.len() {
            let mut bent = text.expose().to_vec();
            bent[at] ^= 1;
            assert_eq!(hash(KeyKind::Caller, &bent), None, "byte {at}");
        }
        for junk in [&b""[..], b"rr_key_", b"rr_key_zz_zz", b"Bearer x"] {
            assert_eq!(hash(KeyKind::Caller, junk), None);
        }
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_panic_and_only_a_made_key_has_a_hash(bytes: Vec<u8>, random: [u8; 32], at in 0_usize..90, put: u8) {
            proptest::prop_assert_eq!(hash(KeyKind::Caller, &bytes), None);
            let (text, _) = make(KeyKind::Token, &random);
            let mut bent = text.expose().to_vec();
            bent[at % text.len()] = put;
            proptest::prop_assert_eq!(hash(KeyKind::Token, &bent).is_some(), bent == text.expose());
        }
    }
}
