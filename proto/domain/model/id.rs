//! One typed id a noun. Prefixes are printed and parsed here and nowhere else.
//!
//! An id is 16 random bytes, written as a prefix and 26 characters. A name holds no underscore, so no
//! name looks like an id.

use std::fmt;
use std::str::FromStr;

/// Crockford's alphabet in lower case: no i, l, o, u.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
const TEXT: usize = 26;
/// What each byte is worth; 255: it is not in the alphabet. A node reads a million ids when it starts.
const DIGITS: [u8; 256] = {
    let mut digits = [u8::MAX; 256];
    let mut digit = 0;
    while digit < ALPHABET.len() {
        digits[ALPHABET[digit] as usize] = digit as u8;
        digit += 1;
    }
    digits
};

/// A text that is not an id of the kind wanted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not an id: wanted {prefix} and 26 characters")]
pub struct InvalidId {
    prefix: &'static str,
}

macro_rules! id {
    ($(#[doc = $doc:literal] $name:ident = $prefix:literal;)*) => {$(
        #[doc = $doc]
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; 16]);

        impl $name {
            /// What its text starts with.
            pub const PREFIX: &'static str = $prefix;

            /// An id of bytes that the caller drew at random.
            pub const fn from_random(bytes: [u8; 16]) -> Self {
                Self(bytes)
            }

            /// Its text, made in one piece.
            pub fn text(&self) -> String {
                let mut text = String::with_capacity($prefix.len() + TEXT);
                self.append_to(&mut text);
                text
            }

            /// Appends its text.
            pub fn append_to(&self, text: &mut String) {
                text.push_str($prefix);
                text.push_str(std::str::from_utf8(&encode(&self.0)).expect("the alphabet is ASCII"));
            }

            /// The bytes, for hashing and for binding seals.
            pub const fn as_bytes(&self) -> &[u8; 16] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str($prefix)?;
                f.write_str(std::str::from_utf8(&encode(&self.0)).expect("the alphabet is ASCII"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                text.strip_prefix($prefix)
                    .and_then(decode)
                    .map(Self)
                    .ok_or(InvalidId { prefix: $prefix })
            }
        }
    )*};
}

id! {
    /// An installation: one control plane with its database.
    InstallationId = "in_";
    /// An organization.
    OrgId = "og_";
    /// A region.
    RegionId = "rg_";
    /// A target.
    TargetId = "tg_";
    /// A credential.
    CredentialId = "cr_";
    /// A proxy.
    ProxyId = "px_";
    /// A rule.
    RuleId = "rl_";
    /// A filter.
    FilterId = "fl_";
    /// A meter.
    MeterId = "mt_";
    /// A token of a person or a service.
    TokenId = "tk_";
    /// A node token.
    NodeTokenId = "nt_";
    /// A node.
    NodeId = "nd_";
    /// A person.
    UserId = "us_";
    /// A person's place in an organization.
    MemberId = "mb_";
    /// A notification.
    NotificationId = "no_";
    /// A proxied request.
    RequestId = "rq_";
}

fn encode(bytes: &[u8; 16]) -> [u8; TEXT] {
    let value = u128::from_be_bytes(*bytes);
    std::array::from_fn(|i| {
        let shift = (TEXT - 1 - i) * 5;
        ALPHABET[((value >> shift) & 31) as usize]
    })
}

fn decode(text: &str) -> Option<[u8; 16]> {
    if text.len() != TEXT {
        return None;
    }
    let mut value: u128 = 0;
    for (i, c) in text.bytes().enumerate() {
        let digit = DIGITS[c as usize];
        if digit == u8::MAX {
            return None;
        }
        // 26 characters hold 130 bits; the two on top must be unset or two texts would mean one id.
        if i == 0 && digit > 7 {
            return None;
        }
        value = (value << 5) | u128::from(digit);
    }
    Some(value.to_be_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_comes_back_as_the_same_id() {
        for byte in [0, 1, 0x7f, 0xff] {
            let id = ProxyId::from_random([byte; 16]);
            assert_eq!(id.to_string().parse(), Ok(id));
            assert_eq!(id.to_string().len(), 29);
            assert_eq!(id.text(), id.to_string());
        }
    }

    #[test]
    fn another_kind_or_another_spelling_is_refused() {
        let id = ProxyId::from_random([9; 16]).to_string();
        assert!(id.parse::<TargetId>().is_err());
        assert!(id.to_uppercase().parse::<ProxyId>().is_err());
        assert!("px_z0000000000000000000000000".parse::<ProxyId>().is_err());
        assert!("px_".parse::<ProxyId>().is_err());
    }

    proptest::proptest! {
        #[test]
        fn every_id_has_one_text_and_no_text_is_both_id_and_name(bytes: [u8; 16], text in "\\PC{0,32}|px_[0-9a-zA-Z]{26}") {
            let id = ProxyId::from_random(bytes);
            proptest::prop_assert_eq!(id.to_string().parse(), Ok(id));
            proptest::prop_assert!(id.to_string().parse::<crate::model::name::Name>().is_err());
            if let Ok(id) = text.parse::<ProxyId>() {
                proptest::prop_assert_eq!(id.to_string(), text);
            }
        }
    }
}
