//! Names: what people and files call a resource.

use std::fmt;
use std::str::FromStr;

/// A slug: 1 to 63 of `a-z`, `0-9` and `-`, starting and ending with a letter or digit. No dot, so that
/// `org.proxy` splits once; no underscore, so that no name looks like an id.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Box<str>);

/// A text that is not a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a name: 1 to 63 of a-z, 0-9 and -, starting and ending with a letter or digit")]
pub struct InvalidName;

impl Name {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Name {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let edge = |c: Option<&u8>| c.is_some_and(u8::is_ascii_alphanumeric);
        let bytes = text.as_bytes();
        let chars = bytes.iter().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || *c == b'-');
        if bytes.len() > 63 || !chars || !edge(bytes.first()) || !edge(bytes.last()) {
            return Err(InvalidName);
        }
        Ok(Self(text.into()))
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::Name;

    #[test]
    fn slugs_are_names_and_nothing_else_is() {
        for good in ["a", "a-b", "0", "echo-2", &"x".repeat(63)] {
            assert!(good.parse::<Name>().is_ok(), "{good}");
        }
        for bad in ["", "-a", "a-", "A", "a.b", "a_b", "a b", "ä", &"x".repeat(64)] {
            assert!(bad.parse::<Name>().is_err(), "{bad}");
        }
    }

    proptest::proptest! {
        #[test]
        fn what_parses_is_kept_as_it_is(text in "\\PC{0,70}|[a-z0-9-]{0,70}") {
            if let Ok(name) = text.parse::<Name>() {
                proptest::prop_assert_eq!(name.as_str(), text.as_str());
                proptest::prop_assert!(!text.contains(['.', '_', '/', '%']));
            }
        }
    }
}
