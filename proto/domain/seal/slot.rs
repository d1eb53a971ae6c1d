//! Where in a request a secret goes.
//!
//! Puts nothing there. The invariant: no slot changes how a request is framed, or where it is sent.

use rr_wire::fleet;

use crate::model::header;
use crate::model::invalid::{Invalid, Violations};

const NAME_MAX: usize = 256;
const PREFIX_MAX: usize = 64;

/// Where in a request a secret goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Slot {
    /// A header.
    Header {
        /// Its name.
        name: http::HeaderName,
        /// What stands before the value, its space included.
        prefix: String,
    },
    /// A parameter of the query.
    Query {
        /// Its name, as it stands in the query.
        name: String,
    },
}

impl Slot {
    /// A header and what stands before the value in it, its space included.
    pub fn header(name: &str, prefix: &str) -> Result<Self, Invalid> {
        let mut faults = Violations::default();
        let header = faults.take("slot.header", name.parse::<http::HeaderName>());
        if header.as_ref().is_some_and(header::is_framing) {
            faults.add("slot.header", "decides how the request is framed and cannot hold a secret");
        }
        if name.len() > NAME_MAX {
            faults.add("slot.header", format!("is longer than {NAME_MAX} bytes"));
        }
        if !prefix.bytes().all(|b| (b' '..=b'~').contains(&b)) || prefix.len() > PREFIX_MAX {
            faults.add("slot.prefix", format!("is at most {PREFIX_MAX} printable ASCII characters"));
        }
        faults.finish(|| Some(Self::Header { name: header?, prefix: prefix.to_owned() }))
    }

    /// A parameter of the query.
    pub fn query(name: &str) -> Result<Self, Invalid> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~$[]:@!*".contains(&byte);
        if name.is_empty() || name.len() > NAME_MAX || !name.bytes().all(plain) {
            let reason = format!(
                "is 1 to {NAME_MAX} letters, digits and `-._~$[]:@!*`, as it stands in the query without escapes"
            );
            return Err(Invalid::field("slot.query", reason));
        }
        Ok(Self::Query { name: name.to_owned() })
    }

    /// `Authorization: Bearer` and the value.
    pub fn bearer() -> Self {
        Self::Header { name: http::header::AUTHORIZATION, prefix: "Bearer ".to_owned() }
    }

    /// `Authorization: Basic` and the value, which is user and password as RFC 7617 has them.
    pub fn basic() -> Self {
        Self::Header { name: http::header::AUTHORIZATION, prefix: "Basic ".to_owned() }
    }

    /// Whether two values would take each other's place; names are compared as servers do that read `x_name` for `x-name`,
    /// and parameters without regard to case.
    pub(super) fn is_same_place(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Header { name, .. }, Self::Header { name: other, .. }) => {
                header::hyphened(name) == header::hyphened(other)
            }
            (Self::Query { name }, Self::Query { name: other }) => name.eq_ignore_ascii_case(other),
            (Self::Header { .. }, Self::Query { .. }) | (Self::Query { .. }, Self::Header { .. }) => false,
        }
    }

    /// Whether a value can stand there.
    pub(super) fn takes(&self, value: &[u8]) -> bool {
        match self {
            Self::Header { .. } => http::HeaderValue::from_bytes(value).is_ok(),
            // It is escaped.
            Self::Query { .. } => true,
        }
    }

    pub(super) fn to_wire(&self) -> fleet::Slot {
        match self {
            Self::Header { name, prefix } => fleet::Slot {
                header: name.as_str().to_owned(),
                prefix: prefix.clone(),
                ..fleet::Slot::default()
            },
            Self::Query { name } => fleet::Slot { query: name.clone(), ..fleet::Slot::default() },
        }
    }
}

impl TryFrom<fleet::Slot> for Slot {
    type Error = Invalid;

    fn try_from(wire: fleet::Slot) -> Result<Self, Invalid> {
        let fleet::Slot { header, prefix, query } = wire;
        if query.is_empty() {
            return Self::header(&header, &prefix);
        }
        if !(header.is_empty() && prefix.is_empty()) {
            return Err(Invalid::field("slot", "is a header or a parameter of the query, and not both"));
        }
        Self::query(&query)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_that_would_frame_the_request_is_refused() {
        for name in [
            "host",
            "Content-Length",
            "transfer-encoding",
            "connection",
            "keep-alive",
            "expect",
            "bad name",
            "",
            &"x".repeat(300),
        ] {
            assert!(Slot::header(name, "").is_err(), "{name}");
        }
        assert!(Slot::header("x-api-key", "Token ").is_ok());
        assert!(Slot::header("x-api-key", "Töken ").is_err() && Slot::header("x", &"p".repeat(65)).is_err());
    }

    #[test]
    fn a_parameter_whose_name_would_have_to_be_escaped_or_begin_another_is_refused() {
        for name in ["", "a b", "a&b", "a=b", "a#b", "a%20b", "a+b", "ä", "a/b", "a?b", &"x".repeat(257)] {
            assert!(Slot::query(name).is_err(), "{name}");
        }
        for name in ["key", "api_key", "access-token", "$key", "auth[token]", &"x".repeat(256)] {
            assert!(Slot::query(name).is_ok(), "{name}");
        }
    }

    #[test]
    fn a_slot_is_a_header_or_a_parameter() {
        let both = fleet::Slot { header: "x".into(), query: "y".into(), ..fleet::Slot::default() };
        let prefixed = fleet::Slot { prefix: "p ".into(), query: "y".into(), ..fleet::Slot::default() };
        for wire in [both, prefixed, fleet::Slot::default()] {
            assert!(Slot::try_from(wire.clone()).is_err(), "{wire:?}");
        }
        for slot in [Slot::bearer(), Slot::basic(), Slot::query("key").expect("a slot")] {
            assert_eq!(Slot::try_from(slot.to_wire()).expect("a slot"), slot);
        }
    }

    #[test]
    fn values_that_a_server_could_take_for_one_another_are_in_one_place() {
        let header = |name| Slot::header(name, "").expect("a slot");
        let query = |name| Slot::query(name).expect("a slot");
        assert!(header("x-key").is_same_place(&header("X_Key")) && query("key").is_same_place(&query("KEY")));
        assert!(!header("key").is_same_place(&query("key")) && !header("a").is_same_place(&header("b")));
    }
}
