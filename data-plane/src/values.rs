//! Values as they go into requests to upstreams: each in the form of its place.
//!
//! Puts them into no request. The invariant: nothing in here can be printed.

use std::fmt::Write as _;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use http::{HeaderName, HeaderValue};
use rr_contract::api_key::{self, KeyKind};
use rr_contract::seal::Slot;
use rr_contract::secret::Secret;
use zeroize::Zeroizing;

use crate::echo::{Needles, VALUE_MIN};

/// Values of one request.
pub(crate) struct Values {
    /// Marked sensitive, and wiped when the last request that bears one is gone.
    headers: Box<[(HeaderName, HeaderValue)]>,
    pairs: Box<[Pair]>,
    /// One has the form of a caller's key.
    is_key: bool,
    /// Those but passwords, as far as they are looked for in what upstreams answer.
    guarded: Box<[Zeroizing<Vec<u8>>]>,
    needles: OnceLock<Option<Arc<Needles>>>,
}

/// A value in the query.
pub(crate) struct Pair {
    /// As it stands in the query.
    pub(crate) name: Box<str>,
    /// Name and value, as they stand in the query.
    pub(crate) text: Zeroizing<String>,
}

impl Values {
    /// Puts values into the forms of their places. `None`: one cannot stand in its place.
    pub(crate) fn of<'v>(values: impl Iterator<Item = (&'v Secret, &'v Slot)>) -> Option<Self> {
        let (mut headers, mut pairs, mut is_key) = (Vec::new(), Vec::new(), false);
        let mut guarded = Vec::new();
        for (value, slot) in values {
            // Behind whichever word, as the next edge would find it.
            is_key |= value
                .expose()
                .split(u8::is_ascii_whitespace)
                .any(|word| api_key::hash_unsummed(KeyKind::Caller, word).is_some());
            if value.len() >= VALUE_MIN && !is_password(slot) {
                guarded.push(Zeroizing::new(value.expose().to_vec()));
            }
            match slot {
                Slot::Header { name, prefix } => {
                    let mut text = Zeroizing::new(Vec::with_capacity(prefix.len() + value.len()));
                    text.extend_from_slice(prefix.as_bytes());
                    text.extend_from_slice(value.expose());
                    headers.push((name.clone(), sensitive(text)?));
                }
                Slot::Query { name } => {
                    let value = encoded(value.expose());
                    let mut text = Zeroizing::new(String::with_capacity(name.len() + 1 + value.len()));
                    text.extend([name.as_str(), "=", value.as_str()]);
                    pairs.push(Pair { name: name.as_str().into(), text });
                }
            }
        }
        Some(Self {
            headers: headers.into(),
            pairs: pairs.into(),
            is_key,
            guarded: guarded.into(),
            needles: OnceLock::new(),
        })
    }

    /// Nothing; this one is looked for in what upstreams answer.
    pub(crate) fn looked_for(value: Option<&Secret>) -> Self {
        let long = value.into_iter().filter(|value| value.len() >= VALUE_MIN);
        let guarded = long.map(|value| Zeroizing::new(value.expose().to_vec())).collect();
        Self {
            headers: Box::default(),
            pairs: Box::default(),
            is_key: false,
            guarded,
            needles: OnceLock::new(),
        }
    }

    /// Values in headers.
    pub(crate) fn headers(&self) -> &[(HeaderName, HeaderValue)] {
        &self.headers
    }

    /// Values in the query.
    pub(crate) fn pairs(&self) -> &[Pair] {
        &self.pairs
    }

    /// Whether one of them is a caller's key of an edge: the upstream is one, or wants to be taken for one.
    pub(crate) fn is_key(&self) -> bool {
        self.is_key
    }

    /// Made with the first request: few credentials of a region are used at each node.
    pub(crate) fn needles(&self) -> Option<&Arc<Needles>> {
        let make = || Needles::of(self.guarded.iter().map(|value| &***value)).map(Arc::new);
        self.needles.get_or_init(make).as_ref()
    }
}

/// Whether it holds user and password: what somebody chose can be guessed, and a mask would confirm it.
fn is_password(slot: &Slot) -> bool {
    matches!(slot, Slot::Header { prefix, .. } if prefix.trim().eq_ignore_ascii_case("basic"))
}

/// A header that is not printed, and whose bytes are wiped when the last copy of it is gone. `None`: no header can carry them.
pub(crate) fn sensitive(text: Zeroizing<Vec<u8>>) -> Option<HeaderValue> {
    unprinted(text)
}

fn unprinted(bytes: impl AsRef<[u8]> + Send + 'static) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_maybe_shared(Bytes::from_owner(bytes)).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// Letters, digits and `-._~` as they are, any other byte as an escape in capitals: every reader reads that alike.
pub(crate) fn encoded(text: &[u8]) -> Zeroizing<String> {
    // Sized once: a text that grows leaves pieces of itself behind.
    let mut out = Zeroizing::new(String::with_capacity(3 * text.len()));
    for byte in text {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(byte) {
            out.push(char::from(*byte));
        } else {
            write!(out, "%{byte:02X}").expect("a string takes every write");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    #[test]
    fn a_header_lives_in_the_bytes_that_are_wiped_and_not_in_a_copy_of_them() {
        let text = Zeroizing::new(b"Bearer secret".to_vec());
        let at = text.as_ptr();
        let value = sensitive(text).expect("a header");
        // As it goes into a request.
        let sent = value.clone();
        drop(value);
        assert_eq!((sent.as_bytes().as_ptr(), sent.as_bytes()), (at, &b"Bearer secret"[..]));
        assert!(sent.is_sensitive() && sensitive(Zeroizing::new(b"a\nb".to_vec())).is_none());
    }

    /// What a header is made of, and whether it is gone.
    struct Watched(Zeroizing<Vec<u8>>, Arc<AtomicBool>);

    impl AsRef<[u8]> for Watched {
        fn as_ref(&self) -> &[u8] {
            &self.0
        }
    }

    impl Drop for Watched {
        fn drop(&mut self) {
            self.1.store(true, Ordering::Relaxed);
        }
    }

    #[test]
    fn the_bytes_of_a_header_are_dropped_and_so_wiped_with_the_last_copy_of_it_and_not_before() {
        let is_gone = Arc::new(AtomicBool::new(false));
        let owner = Watched(Zeroizing::new(b"Bearer secret".to_vec()), Arc::clone(&is_gone));
        let value = unprinted(owner).expect("a header");
        let sent = value.clone();
        drop(value);
        assert!(!is_gone.load(Ordering::Relaxed));
        drop(sent);
        assert!(is_gone.load(Ordering::Relaxed));
    }
}
