//! What the upstream is told about the sender of a request: `X-Forwarded-For`, `-Proto` and `-Host`, or `Forwarded`
//! (RFC 7239).
//!
//! Only what a proxy asks for. The invariant: nothing in it was written by the caller but the host that it asked for; of
//! a list, no entry stays that stands left of an address which is not trusted.

use std::fmt::Write as _;
use std::net::IpAddr;

use bytes::Bytes;
use http::HeaderMap;
use http::header::{FORWARDED, HOST, HeaderName, HeaderValue};
use http::request::Parts;
use rr_contract::model::proxy::Forwarded;

use super::super::hop::Hop;
use super::{FOR, PROTO, Sender, elements, listed, sender};

const ITS_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
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
pub(in crate::pipeline) fn told(how: Forwarded, hop: &Hop, parts: &Parts) -> Option<Told> {
    if how == Forwarded::Nothing {
        return None;
    }
    let sender = sender(hop, &parts.headers);
    let (chain, host) = (chain(hop, sender, &parts.headers), host(hop, parts));
    let told = match how {
        Forwarded::Nothing => return None,
        Forwarded::XForwarded => {
            let addresses: Vec<String> = chain.iter().map(ToString::to_string).collect();
            let mut told =
                vec![(FOR, value(addresses.join(", "))), (PROTO, HeaderValue::from_static(sender.scheme()))];
            told.extend(host.map(|host| (ITS_HOST, value(host.to_owned()))));
            told
        }
        Forwarded::Standard => vec![(FORWARDED, value(list(&chain, sender, host)))],
    };
    Some(Told(told))
}

/// The addresses by which a request came, the sender's first and the peer's last.
fn chain(hop: &Hop, sender: Sender, headers: &HeaderMap) -> Vec<IpAddr> {
    let mut chain = Vec::new();
    if let Some(trusted) = &hop.trusted
        && sender.address != hop.peer
    {
        let note = &mut |address| chain.push(address);
        // It was read in one way, by whichever is there.
        if headers.contains_key(FOR) {
            listed(headers, trusted, sender, note);
        } else {
            elements(headers, trusted, sender, note);
        }
        chain.reverse();
    }
    chain.push(hop.peer);
    chain
}

/// The host that the sender asked for: by the word of the nearest proxy if that is trusted. One that could be read in
/// two ways is not told.
fn host<'p>(hop: &Hop, parts: &'p Parts) -> Option<&'p str> {
    let last = |name| parts.headers.get_all(name).iter().next_back()?.to_str().ok()?.rsplit(',').next();
    let said = if hop.trusted.is_some() { last(ITS_HOST) } else { None };
    let asked = || parts.uri.authority().map(|authority| authority.as_str());
    let host = said.or_else(asked).or_else(|| last(HOST))?.trim();
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:[]".contains(&byte);
    (!host.is_empty() && host.len() <= HOST_MAX && host.bytes().all(is_plain)).then_some(host)
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
    use std::sync::Arc;

    use super::*;

    /// What is told of a request to `edge.example:8443` from this address, where 10.0.0.0/8 and fd00::/8 are trusted.
    fn of(how: Forwarded, peer: &str, headers: &[(&str, &str)]) -> Vec<String> {
        let trusted = ["10.0.0.0/8", "fd00::/8"].map(|net| net.parse().expect("a network"));
        let hop = Hop::new(peer.parse().expect("an address"), &Arc::from(trusted));
        let mut request = http::Request::get("/").body(()).expect("a request");
        let is_named = headers.iter().any(|(name, _)| *name == "host");
        let default = [("host", "edge.example:8443")];
        for (name, value) in default.iter().filter(|_| !is_named).chain(headers) {
            let name: HeaderName = name.parse().expect("a name");
            request.headers_mut().append(name, value.parse().expect("a value"));
        }
        let (parts, ()) = request.into_parts();
        let told = told(how, &hop, &parts).map_or_else(Vec::new, |told| told.0);
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
        let said = [("forwarded", "for=6.6.6.6, for=\"[2001:db8::7]\";proto=https, for=\"[fd00::2]:80\"")];
        assert_eq!(
            of(Forwarded::XForwarded, "fd00::1", &said),
            ["2001:db8::7, fd00::2, fd00::1", "https", "edge.example:8443"]
        );
    }

    #[test]
    fn what_cannot_be_read_in_one_way_is_not_told() {
        let two = [("x-forwarded-for", "198.51.100.7"), ("forwarded", "for=6.6.6.6")];
        assert_eq!(of(Forwarded::XForwarded, "10.0.0.1", &two)[0], "10.0.0.1");
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
