//! Values as they go into requests to upstreams: each in the form of its place.
//!
//! Puts them into no request. The invariant: nothing in here can be printed.

use std::fmt::Write as _;
use std::sync::{Arc, OnceLock};

use http::{HeaderName, HeaderValue};
use rr_contract::api_key::{self, KeyKind};
use rr_contract::seal::Slot;
use rr_contract::secret::Secret;
use zeroize::Zeroizing;

use crate::echo::{Needles, VALUE_MIN};

/// Values of one request.
pub(crate) struct Values {
    /// Marked sensitive. Not wiped when dropped: the bytes have been in send buffers by then.
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
    pub(crate) text: Box<str>,
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
                    let mut value = HeaderValue::from_bytes(&text).ok()?;
                    value.set_sensitive(true);
                    headers.push((name.clone(), value));
                }
                Slot::Query { name } => {
                    let text = [name, "=", &encoded(value.expose())].concat().into();
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

/// Letters, digits and `-._~` as they are, any other byte as an escape in capitals: every reader reads that alike.
pub(crate) fn encoded(text: &[u8]) -> Box<str> {
    let mut out = String::with_capacity(text.len());
    for byte in text {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(byte) {
            out.push(char::from(*byte));
        } else {
            write!(out, "%{byte:02X}").expect("a string takes every write");
        }
    }
    out.into()
}
