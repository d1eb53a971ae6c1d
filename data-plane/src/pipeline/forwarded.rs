//! Who sent a request, where a proxy in front of this node says so: in `X-Forwarded-For`, `-Proto` and `-Host`, or in
//! `Forwarded` (RFC 7239). The settings of the node name the one that is read.
//!
//! Adds nothing to a request and takes nothing out of it: `tell` says what the upstream is told, and `clean` removes both.
//! The invariants: these headers decide nothing unless the peer of the connection is a trusted proxy; of the other
//! headers nothing is read, which a proxy may pass on as its caller wrote them; no entry decides that stands left of an
//! address which is not trusted, because anybody could have written it; and a request whose sender cannot be read is
//! nobody's, least of all the proxy's own.

pub(super) mod tell;

use std::net::{IpAddr, SocketAddr};
use std::str;

use http::HeaderMap;
use http::header::{FORWARDED, HeaderName};

use crate::reply::Denial;

use super::header_name::begins;
use super::hop::{Hop, Trusted, TrustedHeader, holds};

const FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const ITS_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// Where a request comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sender {
    /// Of the caller.
    pub(super) address: IpAddr,
    /// Whether the caller used TLS.
    pub(super) is_https: bool,
}

/// What is known of a sender.
struct Said<'h> {
    sender: Sender,
    /// The host that it asked for, by the word of a trusted proxy.
    host: Option<&'h [u8]>,
}

impl Sender {
    pub(super) fn scheme(self) -> &'static str {
        if self.is_https { "https" } else { "http" }
    }

    /// The other end of the connection.
    pub(super) fn of_peer(hop: &Hop) -> Self {
        Self { address: hop.peer, is_https: hop.tls.is_some() }
    }
}

/// Whose request it is.
pub(super) fn sender(hop: &Hop, headers: &HeaderMap) -> Result<Sender, Denial> {
    Ok(said(hop, headers, &mut |_| {})?.sender)
}

/// Whether only proxies in front of this node may set a header.
pub(super) fn is_forwarded(name: &HeaderName) -> bool {
    begins(name, "x-forwarded-") || begins(name, "x-real-ip") || *name == FORWARDED
}

/// `note` gets each address that counts, from the right.
fn said<'h>(hop: &Hop, headers: &'h HeaderMap, note: &mut impl FnMut(IpAddr)) -> Result<Said<'h>, Denial> {
    let peer = Sender::of_peer(hop);
    let Some(trusted) = &hop.trusted else { return Ok(Said { sender: peer, host: None }) };
    let said = match trusted.header {
        TrustedHeader::XForwardedFor => listed(headers, trusted, peer, note),
        TrustedHeader::Forwarded => elements(headers, trusted, peer, note),
    };
    said.ok_or(Denial::Sender)
}

/// What `X-Forwarded-For` says, and those beside it, of which the nearest proxy's word counts.
fn listed<'h>(
    headers: &'h HeaderMap,
    trusted: &Trusted,
    peer: Sender,
    note: &mut impl FnMut(IpAddr),
) -> Option<Said<'h>> {
    let is_https = match last(headers, &PROTO) {
        Some(scheme) => is_https(scheme)?,
        None => peer.is_https,
    };
    let said = |address| Said { sender: Sender { address, is_https }, host: last(headers, &ITS_HOST) };
    let mut address = peer.address;
    // Several lines are one list.
    for value in headers.get_all(FOR).iter().rev() {
        for entry in value.as_bytes().rsplit(|byte| *byte == b',') {
            // An empty one, too, is what a proxy appended: in its place the entry left of it would be believed.
            address = node(entry.trim_ascii())?;
            note(address);
            if !holds(&trusted.proxies, address) {
                return Some(said(address));
            }
        }
    }
    Some(said(address))
}

/// The last entry of all lines of a header.
fn last<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h [u8]> {
    let line = headers.get_all(name).iter().next_back()?;
    line.as_bytes().rsplit(|byte| *byte == b',').next().map(<[u8]>::trim_ascii)
}

/// What `Forwarded` says.
fn elements<'h>(
    headers: &'h HeaderMap,
    trusted: &Trusted,
    peer: Sender,
    note: &mut impl FnMut(IpAddr),
) -> Option<Said<'h>> {
    let mut said = Said { sender: peer, host: None };
    for value in headers.get_all(FORWARDED).iter().rev() {
        for element in split(value.as_bytes(), b',')?.into_iter().rev() {
            said = of_element(element, peer)?;
            note(said.sender.address);
            if !holds(&trusted.proxies, said.sender.address) {
                return Some(said);
            }
        }
    }
    Some(said)
}

fn of_element(element: &[u8], peer: Sender) -> Option<Said<'_>> {
    let (mut address, mut scheme, mut host) = (None, None, None);
    for pair in split(element, b';')? {
        let pair = pair.trim_ascii();
        if pair.is_empty() {
            continue;
        }
        let (name, value) = pair.split_at(pair.iter().position(|byte| *byte == b'=')?);
        let value = unquoted(&value[1..])?;
        // Twice is two claims.
        let is_second = if name.eq_ignore_ascii_case(b"for") {
            address.replace(node(value)?).is_some()
        } else if name.eq_ignore_ascii_case(b"proto") {
            scheme.replace(is_https(value)?).is_some()
        } else if name.eq_ignore_ascii_case(b"host") {
            host.replace(value).is_some()
        } else {
            false
        };
        if is_second {
            return None;
        }
    }
    let sender = Sender { address: address?, is_https: scheme.unwrap_or(peer.is_https) };
    Some(Said { sender, host })
}

/// The parts between separators outside of quotes; `None` where a quote does not end.
fn split(text: &[u8], separator: u8) -> Option<Vec<&[u8]>> {
    let (mut parts, mut start, mut is_quoted, mut is_escaped) = (Vec::new(), 0, false, false);
    for (at, byte) in text.iter().enumerate() {
        if is_escaped {
            is_escaped = false;
            continue;
        }
        match byte {
            b'"' => is_quoted = !is_quoted,
            b'\\' => is_escaped = is_quoted,
            _ if *byte == separator && !is_quoted => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    (!is_quoted).then_some(parts)
}

/// A value without its quotes. What is escaped in it stays so, and is no part of an address, a scheme or a host.
fn unquoted(value: &[u8]) -> Option<&[u8]> {
    match value.strip_prefix(b"\"") {
        Some(rest) => rest.strip_suffix(b"\""),
        None => Some(value),
    }
}

/// `None` for what is no scheme of requests.
fn is_https(scheme: &[u8]) -> Option<bool> {
    let is = |known: [&str; 2]| known.iter().any(|known| scheme.eq_ignore_ascii_case(known.as_bytes()));
    if is(["https", "wss"]) { Some(true) } else { is(["http", "ws"]).then_some(false) }
}

/// An address, with or without a port.
fn node(text: &[u8]) -> Option<IpAddr> {
    let text = str::from_utf8(text).ok()?;
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let address = bare.parse().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|socket| socket.ip()));
    address.map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests;
