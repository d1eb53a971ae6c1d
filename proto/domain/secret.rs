//! Bytes that must not be seen.
//!
//! A [`Secret`] has no `Debug`, `Display`, `Serialize` or `Clone`, and is wiped when dropped. Who needs
//! the bytes says so by calling [`Secret::expose`], which a reviewer can search for.

use zeroize::Zeroizing;

/// Bytes that must not be seen.
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// Takes the bytes over; no other copy should be left.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The bytes, for the one place that must have them.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// How many bytes there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self::new(text.into_bytes())
    }
}
