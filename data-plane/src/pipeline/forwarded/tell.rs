//! What the upstream is told about the sender of a request: `X-Forwarded-For`, `-Proto` and `-Host`, or `Forwarded`
//! (RFC 7239).
//!
//! Only what a proxy asks for. The invariant: nothing in it was written by the caller but the host that it asked for; of
//! a list, no entry stays that stands left of an address which is not trusted.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::str;

use bytes::Bytes;
use http::HeaderMap;
use http::header::{FORWARDED, HOST, HeaderName, HeaderValue};
use http::request::Parts;
use rr_contract::model::proxy::Forwarded;

use crate::reply::Denial;

use super::super::hop::Hop;
use super::{FOR, ITS_HOST, PROTO, Said, Sender, said};

/// The longest name of a host, and a port.
const HOST_MAX: usize = 262;

/// Headers about the sender of a request.
pub(in crate::pipeline) struct Told(Vec<(HeaderName, HeaderValue)>);

impl Told {
    pub(in crate::pipeline) fn put(self, headers: &mut HeaderMap) {
        for (name, value) in self.0 {
            headers.insert(name, value);
        }
    }
}

/// Reads it from a request as it came. `None`: nothing is told.
pub(in crate::pipeline) fn told(how: Forwarded, hop: &Hop, parts: &Parts) -> Result<Option<Told>, Denial> {
    if how == Forwarded::Nothing {
        return Ok(None);
    }
    // The sender's first and the peer's last.
    let mut chain = Vec::new();
    let Said { sender, host } = said(hop, &parts.headers, &mut |address| chain.push(address))?;
    chain.reverse();
    chain.push(hop.peer);
    let host = plain(host, parts);
    let told = match how {
        Forwarded::Nothing => return Ok(None),
        Forwarded::XForwarded => {
            let addresses: Vec<String> = chain.iter().map(ToString::to_string).collect();
            let mut told =
                vec![(FOR, value(addresses.join(", "))), (PROTO, HeaderValue::from_static(sender.scheme()))];
            told.extend(host.map(|host| (ITS_HOST, value(host.to_owned()))));
            told
        }
        Forwarded::Standard => vec![(FORWARDED, value(list(&chain, sender, host)))],
    };
    Ok(Some(Told(told)))
}

/// The host that the sender asked for: what a trusted proxy says, or else what the request does. One that could be read
/// in two ways is not told.
fn plain<'p>(said: Option<&'p [u8]>, parts: &'p Parts) -> Option<&'p str> {
    let target = || parts.uri.authority().map(|authority| authority.as_str().as_bytes());
    let header = || parts.headers.get(HOST).map(HeaderValue::as_bytes);
    let host = said.or_else(target).or_else(header)?;
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~:[]".contains(byte);
    let is_told = !host.is_empty() && host.len() <= HOST_MAX && host.iter().all(is_plain);
    if is_told { str::from_utf8(host).ok() } else { None }
}

/// As RFC 7239 writes it.
fn list(chain: &[IpAddr], sender: Sender, host: Option<&str>) -> String {
    let mut list = String::new();
    for (at, address) in chain.iter().enumerate() {
        let put = match address {
            IpAddr::V4(address) => write!(list, "{}for={address}", if at == 0 { "" } else { ", " }),
            IpAddr::V6(address) => write!(list, "{}for=\"[{address}]\"", if at == 0 { "" } else { ", " }),
        };
        put.expect("a string takes every write");
        if at == 0 {
            list.push_str(";proto=");
            list.push_str(sender.scheme());
            if let Some(host) = host {
                // A colon is nothing for a bare word.
                let quote = if host.contains([':', '[', ']']) { "\"" } else { "" };
                write!(list, ";host={quote}{host}{quote}").expect("a string takes every write");
            }
        }
    }
    list
}

fn value(text: String) -> HeaderValue {
    HeaderValue::from_maybe_shared(Bytes::from(text)).expect("addresses and plain characters are a value")
}

#[cfg(test)]
mod tests {
    use super::super::tests::hop;
    use super::*;
    use crate::pipeline::TrustedHeader;

    /// What is told of a request to `edge.example:8443` from this address, where X-Forwarded-For is read.
    fn of(how: Forwarded, peer: &str, headers: &[(&str, &str)]) -> Vec<String> {
        of_reading(TrustedHeader::XForwardedFor, how, peer, headers)
    }

    fn of_reading(
        header: TrustedHeader,
        how: Forwarded,
        peer: &str,
        headers: &[(&str, &str)],
    ) -> Vec<String> {
        let hop = hop(header, peer);
        let mut request = http::Request::get("/").body(()).expect("a request");
        let is_named = headers.iter().any(|(name, _)| *name == "host");
        let default = [("host", "edge.example:8443")];
        for (name, value) in default.iter().filter(|_| !is_named).chain(headers) {
            let name: HeaderName = name.parse().expect("a name");
            request.headers_mut().append(name, value.parse().expect("a value"));
        }
        let (parts, ()) = request.into_parts();
        let told = told(how, &hop, &parts).expect("it is read").map_or_else(Vec::new, |told| told.0);
        told.iter().map(|(_, value)| value.to_str().expect("text").to_owned()).collect()
    }

    #[test]
    fn nothing_is_told_unless_the_proxy_asks_for_it() {
        assert!(of(Forwarded::Nothing, "10.0.0.1", &[("x-forwarded-for", "198.51.100.7")]).is_empty());
    }

    #[test]
    fn a_caller_is_told_of_and_nothing_that_it_says() {
        let said = [
            ("x-forwarded-for", "6.6.6.6"),
            ("forwarded", "for=6.6.6.6;host=a;proto=https"),
            ("x-forwarded-host", "evil"),
            ("x-forwarded-proto", "https"),
        ];
        assert_eq!(of(Forwarded::XForwarded, "192.0.2.1", &said), ["192.0.2.1", "http", "edge.example:8443"]);
        assert_eq!(
            of(Forwarded::Standard, "2001:db8::1", &said),
            ["for=\"[2001:db8::1]\";proto=http;host=\"edge.example:8443\""]
        );
    }

    #[test]
    fn the_chain_of_a_trusted_proxy_is_kept_from_the_caller_on() {
        for list in ["198.51.100.7, 10.9.9.9", "6.6.6.6, 198.51.100.7:99, 10.9.9.9"] {
            let said =
                [("x-forwarded-for", list), ("x-forwarded-proto", "https"), ("x-forwarded-host", "a, b")];
            assert_eq!(
                of(Forwarded::XForwarded, "10.0.0.1", &said),
                ["198.51.100.7, 10.9.9.9, 10.0.0.1", "https", "b"]
            );
            assert_eq!(
                of(Forwarded::Standard, "10.0.0.1", &said),
                ["for=198.51.100.7;proto=https;host=b, for=10.9.9.9, for=10.0.0.1"]
            );
        }
        let said = [
            ("forwarded", "for=6.6.6.6;host=a, for=\"[2001:db8::7]\";host=\"b:1\";proto=https"),
            ("forwarded", "for=\"[fd00::2]:80\";host=c"),
            ("x-forwarded-host", "evil"),
        ];
        assert_eq!(
            of_reading(TrustedHeader::Forwarded, Forwarded::XForwarded, "fd00::1", &said),
            ["2001:db8::7, fd00::2, fd00::1", "https", "b:1"]
        );
    }

    #[test]
    fn of_the_header_that_is_not_read_nothing_is_told() {
        let said = [
            ("x-forwarded-for", "198.51.100.7"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "a"),
            ("forwarded", "for=198.51.100.8;host=b"),
        ];
        for (header, told) in [
            (TrustedHeader::XForwardedFor, ["198.51.100.7, 10.0.0.1", "https", "a"]),
            (TrustedHeader::Forwarded, ["198.51.100.8, 10.0.0.1", "http", "b"]),
        ] {
            assert_eq!(of_reading(header, Forwarded::XForwarded, "10.0.0.1", &said), told);
        }
        assert_eq!(
            of_reading(TrustedHeader::Forwarded, Forwarded::XForwarded, "10.0.0.1", &said[..3]),
            ["10.0.0.1", "http", "edge.example:8443"]
        );
    }

    #[test]
    fn a_host_that_could_be_read_in_two_ways_is_not_told() {
        for host in ["a b", "", "a/b"] {
            let said = [("x-forwarded-for", "198.51.100.7"), ("x-forwarded-host", host)];
            assert_eq!(of(Forwarded::XForwarded, "10.0.0.1", &said).len(), 2, "{host}");
        }
        for host in ["a b", "a\"", "a,b;proto=https", "", "a/b", &"a".repeat(300)] {
            assert_eq!(of(Forwarded::XForwarded, "192.0.2.1", &[("host", host)]).len(), 2, "{host}");
            assert_eq!(
                of(Forwarded::Standard, "192.0.2.1", &[("host", host)]),
                ["for=192.0.2.1;proto=http"],
                "{host}"
            );
        }
    }
}
