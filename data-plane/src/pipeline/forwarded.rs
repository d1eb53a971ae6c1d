//! Who sent a request, where a proxy in front of this node says so: `X-Forwarded-For`, `X-Forwarded-Proto` and
//! `Forwarded` (RFC 7239).
//!
//! Adds nothing to a request: `tell` says what the upstream is told. The invariant: these headers decide nothing unless the connection's peer is a trusted
//! proxy, and then no entry does that stands left of an address which is not trusted: anybody could have written it.

pub(super) mod tell;

use std::net::{IpAddr, SocketAddr};

use http::HeaderMap;
use http::header::{FORWARDED, HeaderName};
use ipnet::IpNet;

use super::header_name::begins;
use super::hop::{Hop, holds};

const FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// Where a request comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sender {
    /// Of the caller.
    pub(super) address: IpAddr,
    /// Whether the caller used TLS.
    pub(super) is_https: bool,
}

impl Sender {
    pub(super) fn scheme(self) -> &'static str {
        if self.is_https { "https" } else { "http" }
    }
}

/// Whose request it is. What cannot be read in one way leads to the peer itself.
pub(super) fn sender(hop: &Hop, headers: &HeaderMap) -> Sender {
    let peer = Sender { address: hop.peer, is_https: hop.tls.is_some() };
    let Some(trusted) = &hop.trusted else { return peer };
    let by_list = headers.contains_key(FOR).then(|| listed(headers, trusted, peer, &mut |_| {}));
    let by_elements = headers.contains_key(FORWARDED).then(|| elements(headers, trusted, peer, &mut |_| {}));
    match (by_list, by_elements) {
        (None, None) => peer,
        (Some(said), None) | (None, Some(said)) => said.unwrap_or(peer),
        // A proxy that writes one of them may pass on the other as its caller wrote it.
        (Some(one), Some(other)) => match (one, other) {
            (Some(one), Some(other)) if one.address == other.address => one,
            _ => peer,
        },
    }
}

/// Whether only proxies in front of this node may set a header.
pub(super) fn is_forwarded(name: &HeaderName) -> bool {
    begins(name, "x-forwarded-") || begins(name, "x-real-ip") || *name == FORWARDED
}

/// What `X-Forwarded-For` says. `note` gets each address that counts, from the right.
fn listed(
    headers: &HeaderMap,
    trusted: &[IpNet],
    peer: Sender,
    note: &mut impl FnMut(IpAddr),
) -> Option<Sender> {
    let mut first = None;
    for value in headers.get_all(FOR).iter().rev() {
        for entry in value.to_str().ok()?.rsplit(',') {
            let address = node(entry.trim())?;
            first = Some(address);
            note(address);
            if !holds(trusted, address) {
                return Some(Sender { address, ..scheme(headers, peer) });
            }
        }
    }
    first.map(|address| Sender { address, ..scheme(headers, peer) })
}

/// With the scheme that the nearest proxy says.
fn scheme(headers: &HeaderMap, peer: Sender) -> Sender {
    let said = headers.get_all(PROTO).iter().next_back().and_then(|value| value.to_str().ok());
    let said = said.and_then(|said| said.rsplit(',').next());
    Sender { is_https: said.map_or(peer.is_https, is_https), ..peer }
}

/// What `Forwarded` says. `note` gets each address that counts, from the right.
fn elements(
    headers: &HeaderMap,
    trusted: &[IpNet],
    peer: Sender,
    note: &mut impl FnMut(IpAddr),
) -> Option<Sender> {
    let mut first = None;
    for value in headers.get_all(FORWARDED).iter().rev() {
        for element in split(value.to_str().ok()?, b',')?.into_iter().rev() {
            let sender = element_sender(element, peer)?;
            first = Some(sender);
            note(sender.address);
            if !holds(trusted, sender.address) {
                return first;
            }
        }
    }
    first
}

fn element_sender(element: &str, peer: Sender) -> Option<Sender> {
    let (mut address, mut is_https) = (None, None);
    for pair in split(element, b';')? {
        let (name, value) = pair.trim().split_once('=')?;
        let value = unquoted(value)?;
        if name.eq_ignore_ascii_case("for") {
            // Twice is two claims.
            if address.replace(node(value)?).is_some() {
                return None;
            }
        } else if name.eq_ignore_ascii_case("proto") {
            is_https = Some(self::is_https(value));
        }
    }
    Some(Sender { address: address?, is_https: is_https.unwrap_or(peer.is_https) })
}

/// The parts between separators outside of quotes; `None` where a quote does not end.
fn split(text: &str, separator: u8) -> Option<Vec<&str>> {
    let (mut parts, mut start, mut is_quoted) = (Vec::new(), 0, false);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'"' => is_quoted = !is_quoted,
            // Nothing that an address needs is escaped.
            b'\\' => return None,
            _ if byte == separator && !is_quoted => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    (!is_quoted).then_some(parts)
}

fn unquoted(value: &str) -> Option<&str> {
    match value.strip_prefix('"') {
        Some(rest) => rest.strip_suffix('"'),
        None => Some(value),
    }
}

fn is_https(scheme: &str) -> bool {
    scheme.trim().eq_ignore_ascii_case("https")
}

/// An address, with or without a port.
fn node(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let address = bare.parse().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|socket| socket.ip()));
    address.map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests;
