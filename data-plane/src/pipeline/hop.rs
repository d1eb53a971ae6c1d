//! What is known of the connection that a request came on.
//!
//! Made once a connection, by `listen`. The invariant: nothing in here was said in a request.

use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

use http::header::HOST;
use http::request::Parts;
use http::uri::Authority;
use ipnet::IpNet;

use crate::client_certificate::Shown;

/// Networks of programs that stand in front of this node.
pub(crate) type Networks = Arc<[IpNet]>;

/// Whose word about the sender of a request counts, and in which header.
#[derive(Debug, Clone, Default)]
pub(crate) struct Trusted {
    pub(crate) proxies: Networks,
    pub(crate) header: TrustedHeader,
}

/// The header in which trusted proxies say who sent a request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum TrustedHeader {
    /// `X-Forwarded-For`, and `X-Forwarded-Proto` and `-Host` beside it.
    #[default]
    XForwardedFor,
    /// `Forwarded` (RFC 7239).
    Forwarded,
}

/// The last stretch of a request's way to this node.
pub(crate) struct Hop {
    /// The other end, or what a trusted PROXY header says of it.
    pub(crate) peer: IpAddr,
    /// `None`: no TLS.
    pub(crate) tls: Option<HopTls>,
    /// All trusted proxies, where the peer is one of them.
    pub(crate) trusted: Option<Trusted>,
    /// It speaks without TLS to a port that has TLS.
    pub(crate) is_out_of_place: bool,
    pub(crate) is_http2: bool,
}

/// What the handshake has shown.
pub(crate) struct HopTls {
    /// The name that the caller asked for, in lower case.
    pub(crate) name: Option<Box<str>>,
    /// The client certificate.
    pub(crate) shown: Option<Rc<Shown>>,
    /// Whether a client certificate was asked for.
    pub(crate) was_asked: bool,
}

impl Hop {
    /// A connection from `peer`, of which nothing else is known.
    pub(crate) fn new(peer: IpAddr, trusted: &Trusted) -> Self {
        let peer = peer.to_canonical();
        let is_trusted = !trusted.proxies.is_empty() && holds(&trusted.proxies, peer);
        let trusted = is_trusted.then(|| trusted.clone());
        Self { peer, tls: None, trusted, is_out_of_place: false, is_http2: false }
    }
}

impl Hop {
    /// The client certificate that was shown.
    pub(super) fn shown(&self) -> Option<&Rc<Shown>> {
        self.tls.as_ref()?.shown.as_ref()
    }

    pub(super) fn has_shown(&self) -> bool {
        self.shown().is_some()
    }
}

impl HopTls {
    /// Whether a request names another host than the handshake did: what was shown there was shown to that host alone
    /// (RFC 9110, 15.5.20).
    pub(super) fn is_of_another_host(&self, parts: &Parts) -> bool {
        let headers = parts.headers.get_all(HOST).iter();
        let mut named = headers.map(|host| Authority::try_from(host.as_bytes()).ok());
        let is_named = |authority: &Authority| self.is_host(authority.host());
        parts.uri.authority().is_some_and(|authority| !is_named(authority))
            || named.any(|host| !host.as_ref().is_some_and(is_named))
    }

    /// Callers ask for no name where they go to an address.
    fn is_host(&self, host: &str) -> bool {
        match &self.name {
            Some(name) => host.strip_suffix('.').unwrap_or(host).eq_ignore_ascii_case(name),
            None => host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok(),
        }
    }
}

/// Whether an address is in one of these networks.
pub(crate) fn holds(networks: &[IpNet], address: IpAddr) -> bool {
    // On a socket for both versions, one of version 4 comes as one of version 6.
    let address = address.to_canonical();
    networks.iter().any(|network| network.contains(&address))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_of_version_4_is_in_its_network_however_it_is_written() {
        let networks = ["10.0.0.0/8", "fd00::/8"].map(|network| network.parse().expect("a network"));
        for (address, is_in) in [
            ("10.1.2.3", true),
            ("::ffff:10.1.2.3", true),
            ("fd00::1", true),
            ("11.1.2.3", false),
            ("::ffff:11.1.2.3", false),
            ("::10.1.2.3", false),
        ] {
            assert_eq!(holds(&networks, address.parse().expect("an address")), is_in, "{address}");
        }
        let trusted = Trusted { proxies: Arc::from(networks), header: TrustedHeader::default() };
        let hop = Hop::new("::ffff:10.1.2.3".parse().expect("an address"), &trusted);
        assert_eq!((hop.peer.to_string(), hop.trusted.is_some()), ("10.1.2.3".to_owned(), true));
        assert!(Hop::new(hop.peer, &Trusted::default()).trusted.is_none());
    }
}
