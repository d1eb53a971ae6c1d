//! What is known of the connection that a request came on.
//!
//! Made once a connection, by `listen`; decides nothing. The invariant: nothing in here was said in a request.

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

/// Networks of programs that stand in front of this node.
pub(crate) type Networks = Arc<[IpNet]>;

/// The last stretch of a request's way to this node.
#[derive(Debug)]
pub(crate) struct Hop {
    /// The other end, or what a trusted PROXY header says of it.
    pub(crate) peer: IpAddr,
    /// `None`: no TLS.
    pub(crate) tls: Option<HopTls>,
    /// All trusted proxies, where the peer is one of them.
    pub(crate) trusted: Option<Networks>,
    /// It speaks without TLS to a port that has TLS.
    pub(crate) is_out_of_place: bool,
}

/// What the handshake has shown.
#[derive(Debug)]
pub(crate) struct HopTls {
    /// The name that the caller asked for, in lower case.
    pub(crate) name: Option<Box<str>>,
}

impl Hop {
    /// A connection from `peer`, of which nothing else is known.
    pub(crate) fn new(peer: IpAddr, trusted: &Networks) -> Self {
        let peer = peer.to_canonical();
        let is_trusted = !trusted.is_empty() && holds(trusted, peer);
        Self { peer, tls: None, trusted: is_trusted.then(|| Arc::clone(trusted)), is_out_of_place: false }
    }
}

/// Whether an address is in one of these networks.
pub(crate) fn holds(networks: &[IpNet], address: IpAddr) -> bool {
    networks.iter().any(|network| network.contains(&address))
}
